"""Which classes sound in a clip at all: average precision and F1 of tags.

A clip's score for a class is the highest of its frames, unless clip scores are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from earmark.core.errors import ScoreError
from earmark.core.tables.scores import ScoreTable, common_labels
from earmark.score.events import Bools, Events, Floats, Ints, check_clips, left_out, tidy
from earmark.score.f1.best import BestF1Result, SweepStatistics, sweep_statistics
from earmark.score.f1.counts import F1Result, F1Statistics
from earmark.score.f1.events import thresholds_of
from earmark.score.f1.segments import item_steps


@dataclass(frozen=True)
class PrecisionResult:
    """Average precision of tags.

    Args:
        mean: Mean over the classes that have truth (mAP).
        per_class: Average precision of each class that has truth.
        left_out: Classes without truth.
    """

    mean: float
    per_class: dict[str, float]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class PrecisionStatistics:
    """Ranking of the clips of each class, from which average precision is computed."""

    ranking: SweepStatistics

    @property
    def clips(self) -> tuple[str, ...]:
        """The N clips."""
        return self.ranking.clips

    def eventful(self) -> Bools:
        """Which clips have tags ``[N]``."""
        return self.ranking.eventful()

    def result(self, weights: Ints | None = None) -> PrecisionResult:
        """Average precision with each clip counted ``weights`` times (once by default).

        Raises:
            ScoreError: If no class has truth.
        """
        once = np.ones(len(self.clips), dtype=np.int64) if weights is None else weights
        values, true = self._values(once[None])
        if not true.any():
            raise ScoreError("no class has ground truth", hint="mAP needs at least one tagged clip")
        labels = self.ranking.labels
        found = {label: float(values[c, 0]) for c, label in enumerate(labels) if true[c, 0]}
        without, _ = left_out(labels, found)
        return PrecisionResult(float(np.mean(list(found.values()))), found, without)

    def resampled(self, weights: Ints) -> dict[str, Floats]:
        """MAP of each of R resamples, from weights ``[R, N]``."""
        values, true = self._values(weights)
        present = true > 0
        mean = np.sum(values, axis=0, where=present) / np.count_nonzero(present, axis=0)
        return {"": mean}

    def _values(self, weights: Ints) -> tuple[Floats, Floats]:
        """Average precision and number of tagged clips, ``[C, R]`` each."""
        columns = np.ascontiguousarray(weights.T, dtype=np.float64)
        true = (weights @ self.ranking.true).T.astype(np.float64)
        pairs = zip(self.ranking.sweeps, true, strict=True)
        return np.array([sweep.average_precision(columns, own) for sweep, own in pairs]), true


@dataclass(frozen=True)
class TaggingResult:
    """Tags of clips.

    Args:
        average_precision: mAP and by class: the area under the precision-recall curve, as the sum
            of precisions at each rise of recall; clips of equal score come together.
        f1: At the given threshold.
        best: At each class's best threshold.
        warnings: What was changed or left out, in words.
    """

    average_precision: PrecisionResult
    f1: F1Result
    best: BestF1Result
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class TaggingStatistics:
    """What tags are measured by; each keeps its counts by clip."""

    average_precision: PrecisionStatistics
    f1: F1Statistics
    best: SweepStatistics

    def result(self) -> TaggingResult:
        """All measures, every clip counted once.

        Raises:
            ScoreError: If no class has truth.
        """
        f1 = self.f1.result()
        precision, best = self.average_precision.result(), self.best.result()
        return TaggingResult(precision, f1, best, f1.warnings)


def tagging_metrics(
    scores: Mapping[str, ScoreTable] | Mapping[str, Floats],
    truth: Events | Mapping[str, Sequence[str]],
    labels: Sequence[str] | None = None,
    threshold: float | Mapping[str, float] = 0.5,
) -> TaggingResult:
    """Average precision and F1 of clip-level tags.

    Args:
        scores: By clip id score tables, or one score per class ``[C]``.
        truth: By clip id events, or names of the classes that sound. Clips without any may be
            absent.
        labels: The classes; needed if ``scores`` are not tables.
        threshold: A class is detected if its score is above this; one for all, or one per label.

    Raises:
        ScoreError: If clips or classes do not fit together, a score is NaN, or nothing is true.
    """
    return tagging_statistics(scores, truth, labels, threshold).result()


def tagging_statistics(
    scores: Mapping[str, ScoreTable] | Mapping[str, Floats],
    truth: Events | Mapping[str, Sequence[str]],
    labels: Sequence[str] | None = None,
    threshold: float | Mapping[str, float] = 0.5,
) -> TaggingStatistics:
    """Counts of each clip; arguments and errors as for `tagging_metrics`."""
    found, names = _clip_scores(scores, labels)
    clips = tuple(scores)
    check_clips(truth, set(clips), "truth", "scores")
    true = _tags(truth, clips, names)
    steps = item_steps(found, true, np.arange(len(clips)))
    owner, label = np.nonzero(true)
    ranking = sweep_statistics(steps, (owner, label), clips, names)
    detected = found > thresholds_of(names, threshold)
    return TaggingStatistics(
        PrecisionStatistics(ranking), _f1_statistics(detected, true, clips, names), ranking
    )


def tag_statistics(
    detections: Events, truth: Events, labels: Sequence[str], clips: Sequence[str]
) -> F1Statistics:
    """Tags as detected events have them: a class is there if any of its events is.

    Args:
        detections: Detections by clip id.
        truth: Ground truth by clip id.
        labels: The classes.
        clips: The clips that count.

    Raises:
        ScoreError: If clips, classes or times do not fit together.
    """
    known = set(clips)
    check_clips(detections, known, "detections", "clips that count")
    check_clips(truth, known, "truth", "clips that count")
    tags = []
    for events, what in ((detections, "detections"), (truth, "truth")):
        found, _ = tidy(events, clips, labels, what, merge=False)
        there = np.zeros((len(clips), len(labels)), dtype=np.bool_)
        there[found.clip, found.label] = True
        tags.append(there)
    return _f1_statistics(tags[0], tags[1], clips, labels)


def _f1_statistics(
    detected: Bools, true: Bools, clips: Sequence[str], labels: Sequence[str]
) -> F1Statistics:
    tp, positive, actual = (found.astype(np.uint8) for found in (detected & true, detected, true))
    return F1Statistics(tuple(labels), tuple(clips), tp, positive, actual)


def _clip_scores(
    scores: Mapping[str, ScoreTable] | Mapping[str, Floats], labels: Sequence[str] | None
) -> tuple[Floats, tuple[str, ...]]:
    """Scores of all clips ``[N, C]`` and the classes."""
    tables = {clip: found for clip, found in scores.items() if isinstance(found, ScoreTable)}
    if len(tables) == len(scores):
        names = common_labels(tables.items())
        rows = [table.values.max(axis=0) for table in tables.values()]
    elif labels is None or tables:
        raise ScoreError("clip scores need labels", hint="Give the classes, or score tables only.")
    else:
        names = tuple(labels)
        rows = [np.asarray(found, dtype=np.float64) for found in scores.values()]
    for clip, row in zip(scores, rows, strict=True):
        if row.shape != (len(names),) or np.isnan(row).any():
            raise ScoreError(f"the clip scores of {clip} are not {len(names)} numbers")
    if labels is not None and tuple(labels) != names:
        raise ScoreError(
            f"the score tables have the classes {', '.join(names)}, not {', '.join(labels)}"
        )
    return np.stack(rows).astype(np.float64), names


def _tags(
    truth: Events | Mapping[str, Sequence[str]], clips: Sequence[str], labels: Sequence[str]
) -> Bools:
    """Which classes sound in which clip ``[N, C]``."""
    index = {label: number for number, label in enumerate(labels)}
    found = np.zeros((len(clips), len(labels)), dtype=np.bool_)
    for number, clip in enumerate(clips):
        for tag in truth.get(clip, ()):
            if not isinstance(tag, str) and not tag[1] > tag[0]:
                continue  # an event of no length
            label = tag if isinstance(tag, str) else tag[2]
            if label not in index:
                raise ScoreError(
                    f"the truth of {clip} has the label {label}",
                    hint=f"Known labels: {', '.join(labels)}.",
                )
            found[number, index[label]] = True
    return found
