"""pi-PSDS: PSDS of scores as if their post-processing had been chosen best everywhere.

For each class, and for each rate of false positives, the best true-positive rate that any of
several post-processings reaches at any threshold: the envelope of their curves. Definition:
Ebbers, Haeb-Umbach, Serizel, "Post-Processing Independent Evaluation of Sound Event Detection
Systems", DCASE Workshop 2023 (arXiv:2306.15440).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from earmark.core.errors import ScoreError
from earmark.score.events import Bools, Floats, Ints
from earmark.score.psds.curves import best_curve
from earmark.score.psds.statistics import CELLS, PsdsResult, PsdsStatistics, areas_of


@dataclass(frozen=True)
class IndependentStatistics:
    """All that a pi-PSDS is computed from.

    Args:
        parts: Counts of the same clips, truth and parameters under each post-processing.

    Raises:
        ScoreError: If there are none, or they are of different evaluations.
    """

    parts: tuple[PsdsStatistics, ...]

    def __post_init__(self) -> None:
        alike = {(one.labels, one.clips, one.parameters) for one in self.parts}
        if len(alike) != 1:
            raise ScoreError("pi-PSDS needs one post-processing or more, of the same evaluation")

    @property
    def clips(self) -> tuple[str, ...]:
        """The N clips."""
        return self.parts[0].clips

    def eventful(self) -> Bools:
        """Which clips have true events ``[N]``."""
        return self.parts[0].eventful()

    def result(self) -> PsdsResult:
        """The score, with the envelopes of the classes' curves."""
        results, limit = [part.result() for part in self.parts], self.parts[0].parameters.max_efpr
        curves = {
            label: best_curve(
                np.concatenate([one.curves[label].efpr for one in results]),
                np.concatenate([one.curves[label].tpr for one in results]),
                limit,
            )
            for label in results[0].curves
        }
        return self.parts[0].result_of(curves)

    def resampled(self, weights: Ints) -> dict[str, Floats]:
        """The score of each of R resamples, ``[R]``, under the name "".

        Args:
            weights: How often each clip counts ``[R, N]``; some event in each.
        """
        steps = sum(max(map(len, part.sweeps), default=0) for part in self.parts)
        size = max(1, CELLS // max(1, steps))
        values = [self._values(weights[k : k + size]) for k in range(0, len(weights), size)]
        return {"": np.concatenate(values)}

    def _values(self, weights: Ints) -> Floats:
        each = [part.points_of(weights) for part in self.parts]
        points = {
            label: (
                np.concatenate([one[label][0] for one in each]),
                np.concatenate([one[label][1] for one in each]),
                present,
            )
            for label, (_, _, present) in each[0].items()
        }
        return areas_of(points, self.parts[0].parameters)


def pi_psds(parts: Sequence[PsdsStatistics]) -> PsdsResult:
    """pi-PSDS of one system's scores under several post-processings.

    Args:
        parts: Of `psds_statistics`, for each post-processing; clips and parameters are the same.

    Raises:
        ScoreError: If there are none, or they are of different evaluations.
    """
    return IndependentStatistics(tuple(parts)).result()
