"""Every setting on every set of clips: the figures that tuning chooses by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earmark.core.parallel import Progress, tracked
from earmark.core.tables.scores import ScoreTable
from earmark.detect.csebb import Boxes, Candidates, find_candidates, score_rows
from earmark.detect.postprocess import filter_table
from earmark.detect.postprocess_spec import CsebbSettings, PostProcess
from earmark.detect.tuning.box_metrics import Found, Reference, box_best_f1, box_psds
from earmark.score.events import Events, Floats, Ints
from earmark.score.f1 import CollarCriterion, IntersectionCriterion, best_statistics
from earmark.score.psds import PSDS1, psds_statistics

DRAWS = 40
"""Resamples that a steady threshold is the mean of."""
CELLS = 8_000_000
"""Scores of all clips handled together: classes beyond that wait."""


@dataclass(frozen=True)
class Clips:
    """What is tuned on: N clips, C classes, and S sets of clips; the last has all of them."""

    tables: Mapping[str, ScoreTable]
    truth: Events
    durations: Mapping[str, float]
    clips: tuple[str, ...]
    labels: tuple[str, ...]
    sets: Floats  # how often each clip is in each set, [S, N]

    def part(self, clips: Sequence[str], columns: Ints, sets: Floats) -> Clips:
        """Some of the clips and some of the classes, by number, with other sets."""
        labels = tuple(self.labels[column] for column in columns)
        tables = {}
        for clip in clips:
            table = self.tables[clip]
            tables[clip] = ScoreTable(table.boundaries, table.values[:, columns], labels)
        truth = self._truth_of(clips, labels)
        durations = {clip: self.durations[clip] for clip in clips}
        return Clips(tables, truth, durations, tuple(clips), labels, sets)

    def _truth_of(self, clips: Sequence[str], labels: Sequence[str]) -> Events:
        return {clip: [event for event in self.truth[clip] if event[2] in labels] for clip in clips}

    def reference(self, labels: Sequence[str]) -> Reference:
        """Truth of some classes, with all sets."""
        return Reference.build(
            self._truth_of(self.clips, labels),
            self.clips,
            labels,
            np.array([self.durations[clip] for clip in self.clips], dtype=np.float64),
            np.array([self.tables[clip].boundaries[-1] for clip in self.clips]),
            self.sets,
        )


@dataclass(frozen=True)
class Figures:
    """What each of G settings gives each of C classes on each of S sets, ``[G, S, C]``.

    NaN where a set has no event of the class, and where it was not asked for.
    """

    psds1: Floats
    f1: Floats
    threshold: Floats

    @classmethod
    def unknown(cls, settings: int, data: Clips) -> Figures:
        """NaN throughout, to be filled in."""
        shape = settings, len(data.sets), len(data.labels)
        return cls(np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan))


def measure_boxes(
    data: Clips, grid: Sequence[CsebbSettings], objective: str, progress: Progress | None
) -> Figures:
    """Figures of cSEBB settings; each step filter runs once for all its merge thresholds."""
    figures = Figures.unknown(len(grid), data)
    steps = list(dict.fromkeys(setting.step_seconds for setting in grid))
    parts = list(_class_parts(data))
    done, total = 0, len(grid) * len(parts)
    for classes in parts:
        reference = data.reference(data.labels[classes])
        blocks = list(_blocks(data, classes))
        for step in steps:
            candidates = Candidates.joined(
                [find_candidates(edges, rows, step) for edges, rows, _ in blocks],
                [names for *_, names in blocks],
            )
            for number, setting in enumerate(grid):
                if setting.step_seconds != step:
                    continue
                boxes = candidates.merged(setting.absolute, setting.relative)
                found = Found.of(_there(boxes), reference.labels)
                if objective != "collar_f1":
                    figures.psds1[number, :, classes] = box_psds(found, reference, PSDS1)
                if objective != "psds1":
                    best = box_best_f1(found, reference, CollarCriterion())
                    figures.f1[number, :, classes] = best.f1
                    figures.threshold[number, :, classes] = best.threshold
                done += 1
                if progress is not None:
                    progress(done, total)
    return figures


def _class_parts(data: Clips) -> Iterator[slice]:
    """Classes to be handled together: all, unless there are too many scores for that."""
    frames = sum(len(data.tables[clip]) for clip in data.clips)
    size = max(1, CELLS // frames)
    for first in range(0, len(data.labels), size):
        yield slice(first, min(first + size, len(data.labels)))


def _blocks(data: Clips, classes: slice) -> Iterator[tuple[Floats, Floats, Ints]]:
    """Clips of equal frames together: edges, scores ``[R, T]``, and the number of each row.

    A row's number is ``clip · C + class``, or negative if the class is not there at all.
    """
    alike: dict[bytes, list[int]] = {}
    for number, clip in enumerate(data.clips):
        alike.setdefault(data.tables[clip].boundaries.tobytes(), []).append(number)
    labels = data.labels[classes]
    for members in alike.values():
        rows, names = [], []
        for number in members:
            table = data.tables[data.clips[number]]
            if len(labels) < len(data.labels):
                table = ScoreTable(table.boundaries, table.values[:, classes], labels)
            scores, there = score_rows(table, where=data.clips[number])
            rows.append(scores)
            names.append(np.where(there, number * len(labels) + np.arange(len(labels)), -1))
        yield table.boundaries, np.concatenate(rows), np.concatenate(names)


def _there(boxes: Boxes) -> Boxes:
    """Boxes without those of classes that are never active."""
    return boxes.at(boxes.row >= 0)


def measure_medians(
    data: Clips, grid: Sequence[float], objective: str, progress: Progress | None
) -> Figures:
    """Figures of median lengths."""
    figures = Figures.unknown(len(grid), data)
    events = data.reference(data.labels)
    has = np.asarray(events.counts(events.merged).any(axis=1))
    for number, seconds in enumerate(tracked(grid, len(grid), progress)):
        settings = PostProcess(median_seconds=seconds)
        filtered = {clip: filter_table(data.tables[clip], settings) for clip in data.clips}
        if objective != "collar_f1":
            statistics = psds_statistics(filtered, data.truth, data.durations, PSDS1)
            weights = data.sets[has].astype(np.int64)
            figures.psds1[number, has] = statistics.resampled_classes(weights).T
        if objective != "psds1":
            best = _best_of_thresholds(data, filtered, has, CollarCriterion())
            figures.f1[number], figures.threshold[number] = best
    return figures


def _best_of_thresholds(
    data: Clips,
    filtered: Mapping[str, ScoreTable],
    rows: NDArray[np.bool_],
    criterion: CollarCriterion | IntersectionCriterion,
) -> tuple[Floats, Floats]:
    """Best F1 and the highest threshold that gives it, both ``[S, C]``."""
    f1 = np.full((len(data.sets), len(data.labels)), np.nan)
    threshold = np.full(f1.shape, np.nan)
    statistics = best_statistics(filtered, data.truth, data.durations, criterion)
    for row in np.flatnonzero(rows):
        found = statistics.result(data.sets[row].astype(np.int64))
        f1[row] = [found.per_class.get(label, np.nan) for label in data.labels]
        values = np.array([found.thresholds.get(label, np.inf) for label in data.labels])
        # Infinite where nothing is ever hit; at 0 every frame is active that is not silent.
        threshold[row] = np.where(values == np.inf, np.nan, np.maximum(values, 0.0))
    return f1, threshold


def chosen_thresholds(
    data: Clips,
    grid: Sequence[CsebbSettings] | Sequence[float],
    choices: Ints,
    *,
    steady: bool,
    seed: int,
    decide: str = "collar_f1",
) -> Floats:
    """Thresholds for the settings that were chosen, each found on the clips of its set alone.

    The best threshold of few events is far from that of other clips, as a single event more or
    less moves it. Averaged over draws with replacement it moves less (Breiman, "Bagging
    Predictors", Machine Learning 1996).

    Args:
        data: The clips.
        grid: The G settings.
        choices: Which of them each class has on each set ``[S, C]``, -1 for none.
        steady: Whether to take means of the best thresholds of resampled clips.
        seed: Of the draws; the order of the clips does not matter.
        decide: ``collar_f1`` or ``intersection_f1``, whose best thresholds they are.

    Returns:
        Thresholds ``[S, C]``; NaN where nothing is ever hit.
    """
    found = np.full(choices.shape, np.nan)
    for row, members in enumerate(data.sets):
        clips = sorted(clip for clip, times in zip(data.clips, members, strict=True) if times)
        weights = np.ones((1, len(clips)))
        if steady:
            rng = np.random.default_rng(seed)
            chances = np.full(len(clips), 1 / len(clips))
            weights = rng.multinomial(len(clips), chances, DRAWS).astype(np.float64)
        for number in np.unique(choices[row][choices[row] >= 0]).tolist():
            columns = np.flatnonzero(choices[row] == number)
            part, setting = data.part(clips, columns, weights), grid[number]
            if decide == "intersection_f1":
                values = _by_intersection(part, setting)
            elif isinstance(setting, CsebbSettings):
                values = measure_boxes(part, [setting], "collar_f1", None).threshold[0]
            else:
                values = measure_medians(part, [setting], "collar_f1", None).threshold[0]
            hits = np.count_nonzero(~np.isnan(values), axis=0)
            total = np.nansum(values, axis=0)
            found[row, columns] = np.where(hits > 0, total / np.maximum(hits, 1), np.nan)
    return found


def _by_intersection(data: Clips, setting: CsebbSettings | float) -> Floats:
    """Thresholds ``[S, C]`` of the best intersection F1 with a setting."""
    if isinstance(setting, CsebbSettings):
        settings = PostProcess(method="csebb", csebb=setting)
    else:
        settings = PostProcess(median_seconds=setting)
    filtered = {clip: filter_table(data.tables[clip], settings) for clip in data.clips}
    has = np.asarray(data.sets.sum(axis=1) > 0)
    return _best_of_thresholds(data, filtered, has, IntersectionCriterion())[1]
