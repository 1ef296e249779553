"""Tuning of post-processing: what is best for each class, and an honest figure for it.

Settings chosen on some clips look better on these than on any others. So the figure that is
reported is cross-validated: the clips are divided into folds, every clip is post-processed with
settings that were chosen on the other folds, and all of them are scored once, together. The
settings to use are then chosen on all clips.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from earmark.core.errors import ConfigError, ScoreError
from earmark.core.parallel import Progress
from earmark.core.tables.scores import ScoreTable, common_labels
from earmark.detect.postprocess import hooked, post_process
from earmark.detect.postprocess_spec import CsebbSettings, PostProcess
from earmark.detect.tuning.grid_search import (
    Clips,
    Figures,
    chosen_thresholds,
    measure_boxes,
    measure_medians,
)
from earmark.score.events import Events, Floats, Ints, check_clips
from earmark.score.report import (
    Measurement,
    ScoringTask,
    compared_reports,
    measure,
    measure_tables,
    report,
)
from earmark.score.settings import MetricSettings

Choice = CsebbSettings | float

METHODS = ("csebb", "median")
OBJECTIVES = ("psds1", "collar_f1", "both")
THRESHOLDS = ("steady", "best")
DECIDE = ("collar_f1", "intersection_f1")
CSEBB_GRID = tuple(
    CsebbSettings(step_seconds=step, absolute=absolute, relative=relative)
    for step in (0.32, 0.48, 0.64)
    for absolute, relative in (
        *((absolute, math.inf) for absolute in (0.15, 0.2, 0.3)),
        *((math.inf, relative) for relative in (1.5, 2.0, 3.0)),
    )
)
"""The paper's 18 settings in its order; where several are equally good, the first is taken."""
MEDIANS = (0.0, 0.192, 0.32, 0.448, 0.576, 0.704, 0.96, 1.344, 1.728, 2.24, 3.008, 4.288)
"""Median lengths in seconds: 1, 3, 5, 7, 9, 11, 15, 21, 27, 35, 47 and 67 frames of 64 ms."""
FIGURE_DECIMALS = 12
"""Figures are compared rounded to so many decimals, so that float noise decides nothing."""


@dataclass(frozen=True)
class ClassChoice:
    """What was chosen for one class.

    Args:
        label: The class.
        events: Its true events in the clips it was tuned on.
        tuned: Whether anything was chosen; without events the settings stay what they were.
        setting: Of cSEBB, or the length of the median filter in seconds.
        threshold: Decisions are made above it.
        psds1: Its own PSDS1 with this setting on the clips it was tuned on, None without events.
        collar_f1: Its collar F1 with setting and threshold on these clips, likewise.
    """

    label: str
    events: int
    tuned: bool
    setting: Choice
    threshold: float
    psds1: float | None
    collar_f1: float | None


@dataclass(frozen=True)
class Tuning:
    """Post-processing that was tuned, and what it is worth.

    Args:
        method: ``csebb`` or ``median``.
        objective: ``psds1``, ``collar_f1`` or ``both``.
        decide: ``collar_f1`` or ``intersection_f1``, by which the thresholds were chosen.
        postprocess: Chosen on all clips: what to use from now on.
        classes: What was chosen for each class, with figures of the clips it was chosen on; those
            are better than on other clips.
        clips: Number of clips.
        folds: Settings chosen without the clips of each fold; empty without cross-validation.
        fold_of: Fold of each clip.
        cross_validated: Metrics of all clips, each with settings chosen on other clips; None
            without cross-validation.
        untuned: Metrics of the same clips with the settings there were before.
        difference: By metric, cross-validated minus untuned on the same draws of clips, as of
            `earmark.score.report.Comparison`; empty without cross-validation or draws.
        warnings: What was left as it was, in words.
    """

    method: str
    objective: str
    decide: str
    postprocess: PostProcess
    classes: tuple[ClassChoice, ...]
    clips: int
    folds: tuple[PostProcess, ...]
    fold_of: dict[str, int]
    cross_validated: dict[str, Any] | None
    untuned: dict[str, Any]
    difference: dict[str, dict[str, float]]
    warnings: tuple[str, ...]

    @property
    def worse(self) -> tuple[str, ...]:
        """Which of PSDS1, PSDS2 and collar F1 got worse beyond the interval of the difference."""
        return tuple(
            name
            for name in ("psds1", "psds2", "collar_f1")
            if self.difference.get(name, {}).get("high", 0.0) < 0
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it but the folds' clips, fit for JSON."""
        return {
            "method": self.method,
            "objective": self.objective,
            "decide": self.decide,
            "tuned_on": f"{self.clips} clips",
            "folds": len(self.folds),
            "postprocess": self.postprocess.to_dict(),
            "classes": {found.label: _plain(found) for found in self.classes},
            "cross_validated": self.cross_validated,
            "untuned": self.untuned,
            "difference": self.difference,
            "worse": list(self.worse),
            "warnings": list(self.warnings),
        }


def _plain(found: ClassChoice) -> dict[str, Any]:
    setting = found.setting
    return {
        "events": found.events,
        "tuned": found.tuned,
        **(
            {"csebb": setting.to_dict()}
            if isinstance(setting, CsebbSettings)
            else {"median_seconds": setting}
        ),
        "threshold": found.threshold,
        "psds1": found.psds1,
        "collar_f1": found.collar_f1,
    }


def tune(
    tables: Mapping[str, ScoreTable],
    truth: Events,
    durations: Mapping[str, float],
    labels: Sequence[str],
    *,
    method: str = "csebb",
    objective: str = "both",
    folds: int = 5,
    seed: int = 0,
    grid: Sequence[Choice] | None = None,
    classwise: bool = True,
    thresholds: str = "steady",
    decide: str = "collar_f1",
    groups: Mapping[str, str] | None = None,
    base: PostProcess | None = None,
    fingerprint: str | None = None,
    of: int | None = None,
    missing: Sequence[str] = (),
    resamples: int = 0,
    progress: Progress | None = None,
    draws_progress: Progress | None = None,
) -> Tuning:
    """Choose post-processing for score tables with known truth.

    For ``psds1``, each class takes the setting with the highest PSDS1 of its own, and thresholds
    stay; for ``collar_f1``, setting and threshold with the highest collar F1; for ``both``, the
    setting by PSDS1 and then the threshold by collar F1, so that the score tables suit PSDS and
    the decisions are good as well. Of equally good settings the first is taken.

    Args:
        tables: Unfiltered score table of each clip, by clip id.
        truth: True events by clip id; those of other clips are left aside.
        durations: Seconds by clip id.
        labels: The classes, as in the score tables.
        method: ``csebb`` or ``median``.
        objective: ``psds1``, ``collar_f1`` or ``both``.
        folds: Parts for cross-validation; 0 for none.
        seed: Deals the clips into folds; the order of the clips does not matter.
        grid: Settings to try: `CsebbSettings`, or median lengths in seconds. One alone leaves
            nothing but the threshold to choose.
        classwise: Whether each class has a setting of its own; otherwise all have the one with
            the highest mean figure. Thresholds are always by class.
        thresholds: ``best`` takes each class's threshold with the highest collar F1 on the clips
            it is tuned on; ``steady`` the mean of such thresholds over 40 resamples of these
            clips, which hangs less on single events and is usually better on other clips.
        decide: Whose best thresholds they are: ``collar_f1`` asks for exact times,
            ``intersection_f1`` for events that are found at all, and is usually lower.
        groups: Name of the group of each clip; clips of a group (of one recording, say) are
            never in different folds.
        base: Settings before tuning; what is not tuned stays as it is there.
        fingerprint: Identifies the data, for the metrics.
        of: Number of clips in the list; those that there are by default.
        missing: Clips of the list that have no scores.
        resamples: Draws for 95 % intervals of metrics and differences.
        progress: Called with settings tried and settings in all.
        draws_progress: Called with draws done and draws in all.

    Raises:
        ConfigError: If a choice is unknown or the folds cannot be made.
        ScoreError: If clips, classes or times do not fit together, or no class has truth.
    """
    whole = PostProcess() if base is None else base
    tables = {clip: hooked(table, whole) for clip, table in tables.items()}
    base = whole.changed(hook=None)  # it is the same before all that is tuned
    tried = _grid(method, objective, thresholds, decide, grid)
    clips = tuple(tables)
    if tuple(labels) != common_labels(tables.items()):
        raise ScoreError(f"the score tables do not have the classes {', '.join(labels)}")
    check_clips(clips, durations, "scores", "durations")
    truth = {clip: truth.get(clip, ()) for clip in clips}
    durations = {clip: durations[clip] for clip in clips}
    fold_of = assign_folds(clips, folds, seed, groups)
    data = Clips(tables, truth, durations, clips, tuple(labels), _sets(fold_of, folds))
    choices, levels = _choose(
        data, method, objective, tried, classwise, thresholds == "steady", decide, seed, progress
    )
    choose = _Choosing(method, objective, tried, base, data, choices, levels, classwise)
    chosen = [choose.settings(number) for number in range(folds + 1)]
    task = ScoringTask(
        clips, truth, durations, tuple(labels), MetricSettings(best=False),
        of=len(clips) if of is None else of, missing=tuple(missing), fingerprint=fingerprint,
    )  # fmt: skip
    final = measure(_measured([chosen[-1]] * len(clips), tables, task).statistics)
    crossed, untuned, difference = _worth(
        [chosen[fold] for fold in fold_of] if folds else None, base, tables, task,
        resamples=resamples, seed=seed, progress=draws_progress,
    )  # fmt: skip
    return Tuning(
        method=method,
        objective=objective,
        decide=decide,
        postprocess=chosen[-1].changed(hook=whole.hook),
        classes=tuple(choose.report(final.per_class)),
        clips=len(clips),
        folds=tuple(one.changed(hook=whole.hook) for one in chosen[:-1]),
        fold_of=dict(zip(clips, fold_of.tolist(), strict=True)) if folds else {},
        cross_validated=crossed,
        untuned=untuned,
        difference=difference,
        warnings=tuple(choose.warnings()),
    )


def _choose(
    data: Clips,
    method: str,
    objective: str,
    tried: tuple[Choice, ...],
    classwise: bool,
    steady: bool,
    decide: str,
    seed: int,
    progress: Progress | None,
) -> tuple[Ints, Floats]:
    """Number of the best setting, and the threshold, of each class on each set ``[S, C]``."""
    if method == "csebb":
        boxes = cast("tuple[CsebbSettings, ...]", tried)
        figures = measure_boxes(data, boxes, objective, progress)
    else:
        figures = measure_medians(data, cast("tuple[float, ...]", tried), objective, progress)
    choices = _choices(figures, objective, classwise)
    if objective == "psds1":
        return choices, np.full(choices.shape, np.nan)
    known = cast("tuple[float, ...]", tried)
    return choices, chosen_thresholds(data, known, choices, steady=steady, seed=seed, decide=decide)


def _worth(
    crossed: Sequence[PostProcess] | None,
    base: PostProcess,
    tables: Mapping[str, ScoreTable],
    task: ScoringTask,
    *,
    resamples: int,
    seed: int,
    progress: Progress | None,
) -> tuple[dict[str, Any] | None, dict[str, Any], dict[str, dict[str, float]]]:
    """Figures with settings of the other folds (if any), with those before, and the difference."""
    before = [_measured([base] * len(task.clips), tables, task)]
    if crossed is None:
        return None, report(before, resamples=resamples, seed=seed, progress=progress), {}
    after = [_measured(crossed, tables, task)]
    if not resamples:
        return report(after), report(before), {}
    return compared_reports(after, before, resamples=resamples, seed=seed, progress=progress)


def _measured(
    settings: Sequence[PostProcess], tables: Mapping[str, ScoreTable], task: ScoringTask
) -> Measurement:
    """Counts of all clips, each with its own post-processing."""
    done = {
        clip: post_process(tables[clip], given)
        for clip, given in zip(task.clips, settings, strict=True)
    }
    return measure_tables(
        {clip: table for clip, (table, _) in done.items()},
        {clip: events for clip, (_, events) in done.items()},
        task,
    )


def assign_folds(
    clips: Sequence[str], folds: int, seed: int = 0, groups: Mapping[str, str] | None = None
) -> Ints:
    """Assigns clips to folds of nearly equal size, in the order of a hash of their ids.

    Args:
        clips: The N clips, in any order: it has no influence.
        folds: Number of folds; 0 puts all clips into fold 0.
        seed: Another seed deals otherwise.
        groups: Group of each clip, to be kept together; each its own if not given.

    Returns:
        Fold of each clip ``[N]``.

    Raises:
        ConfigError: If there is one fold, more than groups, or a clip without a group.
    """
    if folds == 0:
        return np.zeros(len(clips), dtype=np.int64)
    missing = [clip for clip in clips if groups is not None and clip not in groups]
    if missing:
        raise ConfigError(
            f"{len(missing)} clips have no group, the first is {missing[0]}",
            hint="Give each clip a group, or none at all",
        )
    names = [clip if groups is None else groups[clip] for clip in clips]
    if not 2 <= folds <= len(set(names)):
        raise ConfigError(
            f"{len(set(names))} clips or groups cannot be divided into {folds} folds",
            hint="Give 2 folds or more, at most one for each, or 0 for no cross-validation",
        )

    def rank(name: str) -> bytes:
        return hashlib.sha256(f"{seed}\0{name}".encode()).digest()

    place = {name: number % folds for number, name in enumerate(sorted(set(names), key=rank))}
    return np.array([place[name] for name in names], dtype=np.int64)


def _sets(fold_of: Ints, folds: int) -> Floats:
    """All clips but those of each fold, then all clips, ``[folds + 1, N]``."""
    without = fold_of[None] != np.arange(folds)[:, None]
    return np.concatenate([without, np.ones((1, len(fold_of)), dtype=bool)]).astype(np.float64)


def _grid(
    method: str, objective: str, thresholds: str, decide: str, grid: Sequence[Choice] | None
) -> tuple[Choice, ...]:
    for what, value, known in (
        ("method", method, METHODS),
        ("objective", objective, OBJECTIVES),
        ("thresholds", thresholds, THRESHOLDS),
        ("decide", decide, DECIDE),
    ):
        if value not in known:
            raise ConfigError(
                f"unknown {what} of tuning: {value!r}", hint=f"Known are {', '.join(known)}"
            )
    if grid is None:
        return CSEBB_GRID if method == "csebb" else MEDIANS
    boxes = [isinstance(setting, CsebbSettings) for setting in grid]
    if not boxes or not (all(boxes) if method == "csebb" else not any(boxes)):
        wanted = "cSEBB settings" if method == "csebb" else "median lengths in seconds"
        raise ConfigError(f"the grid of {method} needs {wanted}", hint="Give one or more of them")
    return tuple(grid)


def _choices(figures: Figures, objective: str, classwise: bool) -> Ints:
    """Number of the best setting of each class on each set ``[S, C]``; -1 without events."""
    found = figures.f1 if objective == "collar_f1" else figures.psds1
    found = found.round(FIGURE_DECIMALS)  # [G, S, C]
    there = ~np.isnan(found[0])
    known = np.where(there, found, -1.0)
    if not classwise:
        count = np.maximum(np.count_nonzero(there, axis=1), 1)
        mean = np.where(there, found, 0.0).sum(axis=2) / count  # [G, S]
        known = np.broadcast_to(mean.round(FIGURE_DECIMALS)[:, :, None], found.shape)
    return np.where(there, np.argmax(known, axis=0), -1)


@dataclass(frozen=True)
class _Choosing:
    """Makes settings out of choices."""

    method: str
    objective: str
    grid: tuple[Choice, ...]
    base: PostProcess
    data: Clips
    choices: Ints  # [S, C]
    thresholds: Floats  # [S, C]
    classwise: bool

    def settings(self, row: int) -> PostProcess:
        """The post-processing chosen on a set of clips."""
        labels = self.data.labels
        setting = {label: self._setting(column, row) for column, label in enumerate(labels)}
        changes: dict[str, Any] = {"method": self.method}
        changes["csebb" if self.method == "csebb" else "median_seconds"] = _short(setting)
        if self.objective != "psds1":
            changes["threshold"] = {
                label: self.base.for_label(label).threshold if math.isnan(level) else level
                for label, level in zip(labels, self.thresholds[row].tolist(), strict=True)
            }
        return self.base.changed(**changes)

    def _setting(self, column: int, row: int) -> Choice:
        number = int(self.choices[row, column])
        if number < 0 and not self.classwise:
            number = int(self.choices[row].max())
        if number >= 0:
            return self.grid[number]
        before = self.base.for_label(self.data.labels[column])
        return before.csebb if self.method == "csebb" else before.median_seconds

    def report(self, figures: Mapping[str, Mapping[str, float]]) -> Iterator[ClassChoice]:
        """What was chosen for each class on all clips, and its figures there."""
        settings = self.settings(-1)
        counts = Counter(event[2] for clip in self.data.clips for event in self.data.truth[clip])
        for column, label in enumerate(self.data.labels):
            yield ClassChoice(
                label=label,
                events=counts[label],
                tuned=bool(self.choices[-1, column] >= 0),
                setting=self._setting(column, -1),
                threshold=settings.for_label(label).threshold,
                psds1=figures["psds1"].get(label),
                collar_f1=figures["collar_f1"].get(label),
            )

    def warnings(self) -> Iterator[str]:
        """What could not be tuned, in words."""
        folds, labels = len(self.data.sets) - 1, self.data.labels
        without = self.choices < 0
        never = [label for label, none in zip(labels, without[-1], strict=True) if none]
        if never:
            yield f"classes without events keep their settings: {', '.join(never)}"
        for label, count in zip(labels, without[:-1].sum(axis=0).tolist(), strict=True):
            if count and label not in never:
                yield f"{label} has no event outside {count} of {folds} folds: untuned there"
        chosen = [self.base.for_label(label) for label in self.data.labels]
        if self.objective != "psds1" and any(
            one.min_gap_seconds or one.min_duration_seconds or one.max_duration_seconds < math.inf
            for one in chosen
        ):
            yield "thresholds were chosen before gaps are closed and events dropped by length"


def _short(settings: Mapping[str, Choice]) -> Any:
    """One setting if all classes have the same, otherwise one for each."""
    values = list(settings.values())
    return values[0] if all(value == values[0] for value in values) else dict(settings)


def preferred(results: Sequence[Tuning]) -> Tuning:
    """The result with the best cross-validated figure of its objective (of both, their sum).

    Of equally good ones the first is taken. Chosen by it, the figure is a little too good.

    Raises:
        ConfigError: If a result has no cross-validated figures.
    """

    def figure(found: Tuning) -> float:
        if found.cross_validated is None:
            raise ConfigError(
                "methods can only be compared by cross-validated metrics",
                hint="Give 2 folds or more",
            )
        names = ("psds1", "collar_f1") if found.objective == "both" else (found.objective,)
        return round(sum(float(found.cross_validated[x]) for x in names), FIGURE_DECIMALS)

    return max(results, key=figure)
