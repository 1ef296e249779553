"""From scores to events: class-wise median filter, threshold, runs; or boxes, threshold.

Everything here is a pure function of a whole recording's scores; nothing depends on windows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from earmark.core.errors import ConfigError, ScoreError
from earmark.core.event import Event
from earmark.core.tables.scores import ScoreTable
from earmark.detect import csebb as boxes
from earmark.detect.csebb import ByLabel, CsebbSettings

NOISE = 1e-9  # s; differences of boundaries are exact only up to float rounding

Setting = float | Mapping[str, float]  # one value for all classes, or one for each
METHODS = ("median", "csebb")


@dataclass(frozen=True)
class LabelSettings:
    """The post-processing of one class; times in seconds."""

    median_seconds: float
    threshold: float
    min_gap_seconds: float
    min_duration_seconds: float
    csebb: CsebbSettings


@dataclass(frozen=True)
class PostProcess:
    """How scores become events; each setting is one number or a mapping from label to number.

    Args:
        median_seconds: Length of the median filter; rounded to an odd number of frames, so that
            the filter is centred and moves no edge. 0 means none. Not used by cSEBB.
        threshold: A frame is active where its filtered score is greater than this; with cSEBB, a
            box is kept if its confidence is.
        min_gap_seconds: Events of a class with less than this between them become one.
        min_duration_seconds: Events shorter than this are dropped, after gaps are closed.
        method: ``median`` (filter, then threshold) or ``csebb`` (boxes of the unfiltered scores,
            then threshold).
        csebb: Settings of ``csebb``; for all classes or by label.

    Raises:
        ConfigError: If a value is negative, not finite, or a threshold is 1 or more, or the
            method is unknown.
    """

    median_seconds: Setting = 0.0
    threshold: Setting = 0.5
    min_gap_seconds: Setting = 0.0
    min_duration_seconds: Setting = 0.0
    method: str = "median"
    csebb: ByLabel = boxes.DEFAULT

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(
                f"unknown post-processing method {self.method!r}",
                hint=f"Known are {', '.join(METHODS)}",
            )
        for name in _NUMBERS:
            object.__setattr__(self, name, _checked(name, getattr(self, name)))
        object.__setattr__(self, "csebb", _checked_csebb(self.csebb))

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> PostProcess:
        """Reads the settings of a bundle's ``postprocess.yaml``.

        Args:
            settings: Any of this class's settings by name; what is absent keeps its default.

        Raises:
            ConfigError: For an unknown setting or an unusable value.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(map(str, settings)) - set(known))
        if unknown:
            raise ConfigError(
                f"unknown post-processing setting: {', '.join(unknown)}",
                hint=f"Known are {', '.join(known)}",
            )
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as plain numbers and dictionaries, for `from_dict`.

        Without boxes there is no word of them, so that a median's settings are what they were.
        """
        values = {name: getattr(self, name) for name in _NUMBERS}
        plain: dict[str, Any] = {
            name: dict(v) if isinstance(v, Mapping) else v for name, v in values.items()
        }
        if self.method != "median":
            plain["method"] = self.method
        if self.method == "csebb" or self.csebb != boxes.DEFAULT:
            plain["csebb"] = (
                self.csebb.to_dict()
                if isinstance(self.csebb, CsebbSettings)
                else {label: chosen.to_dict() for label, chosen in self.csebb.items()}
            )
        return plain

    def with_threshold(self, threshold: Setting) -> PostProcess:
        """Returns these settings with other thresholds."""
        return replace(self, threshold=threshold)

    def for_label(self, label: str) -> LabelSettings:
        """Returns the settings of one class.

        Raises:
            ConfigError: If a setting is given by class, but not for this one.
        """
        values: dict[str, float] = {}
        for name in _NUMBERS:
            setting: Setting = getattr(self, name)
            if not isinstance(setting, Mapping):
                values[name] = setting
            elif label in setting:
                values[name] = setting[label]
            else:
                raise ConfigError(
                    f"post-processing has no {name} for class {label!r}",
                    hint=f"It has {', '.join(map(repr, setting)) or 'none'}; add the class, or "
                    "give one number for all",
                )
        return LabelSettings(**values, csebb=boxes.settings_of(label, self.csebb))


_NUMBERS = ("median_seconds", "threshold", "min_gap_seconds", "min_duration_seconds")


def _checked_csebb(setting: Any) -> ByLabel:
    """Settings of boxes from themselves or as a file has them, or a ConfigError."""
    if isinstance(setting, CsebbSettings):
        return setting
    if not isinstance(setting, Mapping):
        raise ConfigError(f"csebb is {setting!r}", hint="Give its settings, or those of each class")
    by_label = [isinstance(value, CsebbSettings | Mapping) for value in setting.values()]
    if not any(by_label):
        return CsebbSettings.from_dict(setting)
    if not all(by_label):
        raise ConfigError(
            "csebb mixes settings and classes", hint="Give its settings, or those of each class"
        )
    return {
        str(label): value if isinstance(value, CsebbSettings) else CsebbSettings.from_dict(value)
        for label, value in setting.items()
    }


def _checked(name: str, setting: Any) -> Setting:
    """One setting as a float or a new dictionary of floats, or a ConfigError."""
    if isinstance(setting, Mapping):
        return {str(label): _number(f"{name} of {label!r}", v) for label, v in setting.items()}
    return _number(name, setting)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ConfigError(f"{name} is {value!r}, not a number")
    number = float(value)
    top = 1.0 if name.startswith("threshold") else math.inf
    if not 0.0 <= number < top:
        bound = "from 0 to below 1" if top == 1.0 else "0 or more seconds"
        raise ConfigError(f"{name} is {number:g}", hint=f"It must be {bound}")
    return number


def odd_frames(seconds: float, frame_seconds: float) -> int:
    """Returns the odd number of frames nearest to a time; the smaller of two, at least 1.

    An even filter has no centre: it lengthens a pulse of N frames to N + 1, on the right only.

    Args:
        seconds: Filter length in seconds, 0 or more.
        frame_seconds: Length of a frame in seconds.
    """
    return 2 * max(0, math.ceil(seconds / (2.0 * frame_seconds) - 1.0 - NOISE)) + 1


def median_filtered(
    scores: NDArray[np.floating], widths: NDArray[np.integer] | list[int]
) -> NDArray[np.floating]:
    """Filters each class with a running median along time, reflecting at both ends.

    Args:
        scores: Scores [T, C].
        widths: Filter lengths in frames [C], all odd.

    Returns:
        Filtered scores [T, C] of the same type.

    Raises:
        ConfigError: If a length is even or less than 1.
    """
    filtered = scores.copy()
    for column, width in enumerate(widths):
        if width < 1 or width % 2 == 0:
            raise ConfigError(f"a median filter of {width} frames has no centre")
        if width > 1:
            filtered[:, column] = median_filter(scores[:, column], size=int(width), mode="reflect")
    return filtered


def filter_table(table: ScoreTable, settings: PostProcess) -> ScoreTable:
    """Returns the table that metrics over all thresholds are computed on.

    The scores median-filtered class by class; or, with cSEBB, frames between the edges of all
    boxes, with the confidence inside a box and -inf outside. Thresholds, gaps and durations have
    no part in it.

    Args:
        table: Scores of a whole recording; for the median filter in frames of equal length (the
            last may be shorter).
        settings: Of which ``method`` and ``median_seconds`` or ``csebb`` are used.

    Raises:
        ConfigError: If a class has no setting.
        ScoreError: If the frames are of unequal length and a class is to be filtered, or the
            scores are negative or infinite and boxes are to be found.
    """
    if settings.method == "csebb":
        return boxes.box_table(table, boxes.table_boxes(table, settings.csebb))
    seconds = [settings.for_label(label).median_seconds for label in table.labels]
    if len(table.values) < 2 or not any(seconds):
        return table
    frame = _frame_seconds(table)
    values = median_filtered(table.values, [odd_frames(s, frame) for s in seconds])
    return ScoreTable(boundaries=table.boundaries, values=values, labels=table.labels)


def _frame_seconds(table: ScoreTable) -> float:
    """The common length of a table's frames."""
    lengths = np.diff(table.boundaries)
    frame = float(np.median(lengths[:-1]))
    if np.abs(lengths[:-1] - frame).max() > 0.01 * frame or lengths[-1] > 1.01 * frame:
        raise ScoreError(
            "a median filter needs frames of equal length",
            hint="Resample the score table, or set median_seconds to 0",
        )
    return frame


def active_runs(active: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Returns first frame and end (one past the last frame) of each run of True, [N, 2]."""
    edges = np.diff(np.concatenate([[False], active, [False]]).astype(np.int8))
    runs = np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)
    return runs.astype(np.int64)


def _joined(
    runs: NDArray[np.int64], boundaries: NDArray[np.float64], settings: LabelSettings
) -> list[tuple[int, int]]:
    """Closes short gaps between runs, then drops short runs; lengths in seconds."""
    joined: list[tuple[int, int]] = []
    for first, end in runs.tolist():
        gap = boundaries[first] - boundaries[joined[-1][1]] if joined else math.inf
        if gap < settings.min_gap_seconds - NOISE:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((first, end))
    return [
        (first, end)
        for first, end in joined
        if boundaries[end] - boundaries[first] >= settings.min_duration_seconds - NOISE
    ]


def scores_to_events(table: ScoreTable, settings: PostProcess) -> list[Event]:
    """Turns the scores of a whole recording into events.

    Each class by itself: median filter, strict threshold, runs of active frames; or boxes whose
    confidence is greater than the threshold; then short gaps closed, short events dropped.

    Args:
        table: Scores [T, C] of a whole recording.
        settings: Post-processing of each class.

    Returns:
        Events sorted by onset, then offset and label. The score is the mean over the event of the
        scores before filtering: of a box, its confidence (where a gap was closed, that of all it
        spans).

    Raises:
        ConfigError: If a class has no setting.
        ScoreError: If the frames are of unequal length and a class is to be filtered, or the
            scores are negative or infinite and boxes are to be found.
    """
    if settings.method == "csebb":
        return _events_of_boxes(table, boxes.table_boxes(table, settings.csebb), settings)
    return _events_of_runs(table, filter_table(table, settings), settings)


def post_process(table: ScoreTable, settings: PostProcess) -> tuple[ScoreTable, list[Event]]:
    """The results of `filter_table` and `scores_to_events`, with boxes found only once.

    Arguments and errors as there.
    """
    if settings.method == "csebb":
        found = boxes.table_boxes(table, settings.csebb)
        return boxes.box_table(table, found), _events_of_boxes(table, found, settings)
    filtered = filter_table(table, settings)
    return filtered, _events_of_runs(table, filtered, settings)


def _events_of_runs(table: ScoreTable, filtered: ScoreTable, settings: PostProcess) -> list[Event]:
    """Runs of frames above the threshold, short gaps closed, short runs dropped."""
    events: list[Event] = []
    for column, label in enumerate(table.labels):
        chosen = settings.for_label(label)
        runs = active_runs(filtered.values[:, column] > chosen.threshold)
        for first, end in _joined(runs, table.boundaries, chosen):
            # Summed exactly, so that it does not depend on how the scores came in.
            score = math.fsum(table.values[first:end, column]) / (end - first)
            onset, offset = float(table.boundaries[first]), float(table.boundaries[end])
            events.append(Event(onset, offset, label, score))
    return sorted(events)


def _events_of_boxes(table: ScoreTable, found: boxes.Boxes, settings: PostProcess) -> list[Event]:
    """Boxes of enough confidence, short gaps between them closed, short ones dropped."""
    events: list[Event] = []
    for column, label in enumerate(table.labels):
        chosen = settings.for_label(label)
        kept = np.flatnonzero((found.row == column) & (found.confidence > chosen.threshold))
        edges = np.stack([found.onset[kept], found.offset[kept]], axis=1).ravel()
        runs = np.arange(len(edges), dtype=np.int64).reshape(-1, 2)
        for first, end in _joined(runs, edges, chosen):
            onset, offset = float(edges[first]), float(edges[end])
            score = float(found.confidence[kept[first // 2]])
            if end > first + 1:  # a closed gap: what it spans has another mean
                score = boxes.mean_between(table, column, onset, offset)
            events.append(Event(onset, offset, label, score))
    return sorted(events)
