"""Events as the metrics take them, checked at the door."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earmark.core.errors import ScoreError

Events = Mapping[str, Sequence[tuple[float, float, str]]]
"""Clip id → (onset, offset, label) of each event, seconds."""

TIME_DECIMALS = 6
"""Times are compared rounded to this many decimals, as sed_scores_eval does."""

SHOWN = 5
"""So many clip ids are named in an error."""


@dataclass(frozen=True)
class EventArrays:
    """N events as columns; clips and labels by index, in clip, label, onset order."""

    clip: NDArray[np.int64]
    label: NDArray[np.int64]
    onset: NDArray[np.float64]
    offset: NDArray[np.float64]

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Length of each event ``[N]``."""
        return self.offset - self.onset


def check_clips(found: Iterable[str], known: Collection[str], what: str, among: str) -> None:
    """Raise a ScoreError that lists the clip ids in ``found`` that are not ``known``."""
    strange = sorted(set(found) - set(known))
    if strange:
        more = f" and {len(strange) - SHOWN} more" if len(strange) > SHOWN else ""
        raise ScoreError(
            f"{len(strange)} clips in the {what} are not in the {among}: "
            f"{', '.join(strange[:SHOWN])}{more}",
            mend="Clip ids are file names without their last extension; both sides must agree.",
        )


def tidy(
    events: Events,
    clips: Sequence[str],
    labels: Sequence[str],
    what: str,
    *,
    merge: bool,
) -> tuple[EventArrays, list[str]]:
    """Check events and bring them into arrays.

    Events of no length and exact repetitions are dropped. Events of one class that touch stay
    apart; those that overlap are merged if asked, for measures that add up overlaps.

    Args:
        events: Events by clip id; clips that are not in ``clips`` are not looked at.
        clips: The clips that count, in order.
        labels: Every label that may occur, in order.
        what: What the events are ("truth", "detections"), for messages.
        merge: Whether to merge overlapping events of one class.

    Returns:
        The events, and a warning for each kind of change that was made.

    Raises:
        ScoreError: If a label is unknown, a time is not finite, or an event ends before it starts.
    """
    index = {label: number for number, label in enumerate(labels)}
    rows: list[tuple[int, int, float, float]] = []
    empty = merged = repeated = 0
    for number, clip in enumerate(clips):
        found: set[tuple[int, float, float]] = set()
        for onset, offset, label in events.get(clip, ()):
            _check_event(clip, onset, offset, label, index, what)
            event = (index[label], float(onset), float(offset))
            if offset <= onset:
                empty += 1
            elif event in found:
                repeated += 1
            else:
                found.add(event)
        for label_number, onset, offset in sorted(found):
            last = rows[-1] if rows and rows[-1][:2] == (number, label_number) else None
            # Rounded, so that float noise does not glue two events that only touch.
            if merge and last and round(last[3] - onset, TIME_DECIMALS) > 0:
                rows[-1] = (*last[:3], max(last[3], offset))
                merged += 1
            else:
                rows.append((number, label_number, onset, offset))
    warnings = []
    if empty:
        warnings.append(f"{empty} events of no length dropped from the {what}")
    if repeated:
        warnings.append(f"{repeated} exact repetitions of events dropped from the {what}")
    if merged:
        warnings.append(f"{merged} overlapping events of one class merged in the {what}")
    columns = np.array(rows, dtype=np.float64).reshape(len(rows), 4)
    whole = columns[:, :2].astype(np.int64)
    return EventArrays(whole[:, 0], whole[:, 1], columns[:, 2], columns[:, 3]), warnings


def _check_event(
    clip: str, onset: float, offset: float, label: str, index: Mapping[str, int], what: str
) -> None:
    if label not in index:
        raise ScoreError(
            f"the {what} of {clip} has the label {label}",
            mend=f"Known labels: {', '.join(index)}.",
        )
    if not (math.isfinite(onset) and math.isfinite(offset)) or offset < onset:
        raise ScoreError(
            f"the {what} of {clip} has a {label} from {onset} s to {offset} s",
            mend="Times must be finite and an event must not end before it starts.",
        )


def at_least(
    found: NDArray[np.float64],
    ratio: float,
    whole: NDArray[np.float64],
    decimals: int = TIME_DECIMALS,
) -> NDArray[np.bool_]:
    """Whether ``found`` seconds are at least ``ratio`` of ``whole`` seconds, elementwise.

    Args:
        found: Overlap in seconds.
        ratio: The tolerance criterion ρ.
        whole: Length in seconds that ρ refers to.
        decimals: Both sides are rounded to so many decimals (sed_scores_eval's convention).
    """
    scale = 10.0**decimals
    return np.asarray(np.rint(found * scale) >= np.rint(ratio * whole * scale))


def sum_by(
    index: NDArray[np.integer[Any]], weights: NDArray[Any] | None, size: int
) -> NDArray[np.float64]:
    """Sum of the weights (or number of entries) that fall to each index below ``size``."""
    return np.asarray(np.bincount(index, weights, minlength=size), dtype=np.float64)
