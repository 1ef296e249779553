"""Weak-score masking: a class that a window's clip score denies is silent in that window.

    p_tc ← p_tc · [p̄_c > θ_c]

with p the strong scores of a window, p̄ its weak ones and θ the thresholds. Systems of DCASE task 4
decode so (MAT-SED, arXiv 2408.08673): it raises PSDS2, which asks for the class more
than for the time. It happens before windows are blended, so recordings of any length, clips and
streams are masked alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from earmark.core.errors import ConfigError
from earmark.core.spec import ModelSpec, spec_of
from earmark.detect.network import AroundScorer
from earmark.detect.postprocess_spec import PostProcess, of_label

if TYPE_CHECKING:
    from earmark.detect.network import Network

NO_WEAK = "weak_threshold needs the scores of whole clips, and this network gives none"
HINT = "Set weak_threshold to 0 in postprocess.yaml"


def with_masks(network: Network, postprocess: PostProcess | None) -> Network:
    """A network as post-processing wants its scores: masked by weak ones, if it says so.

    Raises:
        ConfigError: A class has no threshold, or the network gives no weak scores.
    """
    if postprocess is None:
        return network
    labels, setting = spec_of(network).labels, postprocess.weak_threshold
    thresholds = [of_label("weak_threshold", setting, label) for label in labels]
    return MaskedNetwork(network, thresholds) if any(thresholds) else network


class MaskedNetwork(AroundScorer):
    """A scorer of windows whose classes are silent where the weak scores are too low.

    It does without `earmark.detect.one_pass`: weak scores are of a window as a whole.

    Args:
        network: What scores windows; its scorer must give weak scores (``score_both``).
        thresholds: Of the weak score of each class; 0 masks nothing.

    Raises:
        ConfigError: It gives none.
    """

    def __init__(self, network: Network, thresholds: Sequence[float]) -> None:
        super().__init__(network)
        if not hasattr(self._scorer, "score_both"):
            raise ConfigError(NO_WEAK, hint=HINT)
        self._thresholds = np.asarray(thresholds, dtype=np.float64)  # [C]

    @property
    def spec(self) -> ModelSpec:
        """Classes, window and frames."""
        return spec_of(self._scorer)

    def score_windows(
        self, waveforms: NDArray[np.float32], lengths: Sequence[int]
    ) -> NDArray[np.floating]:
        """Windows [B, S], padded after ``lengths`` samples → masked strong scores [B, T, C]."""
        strong, weak = self._scorer.score_both(waveforms, lengths)  # type: ignore[attr-defined]
        if np.isnan(weak).any():
            raise ConfigError(NO_WEAK, hint=HINT)
        heard = (weak > self._thresholds) | (self._thresholds == 0.0)  # [B, C]
        masked: NDArray[np.floating] = np.where(heard[:, None, :], strong, 0.0).astype(strong.dtype)
        return masked
