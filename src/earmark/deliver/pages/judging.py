"""Which detections are right, and what went wrong with the others, event by event."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from earmark.core.event import Event

HIT, MISS, FALSE_ALARM, CONFUSION = "hit", "miss", "false alarm", "confusion"
COVERED = 0.5
"""Fraction of an event that must be covered; the DTC, GTC and CTTC of this page."""

Spans = tuple[NDArray[np.float64], NDArray[np.float64]]


def judge(
    found: Sequence[Event], truth: Sequence[Event], labelled: Collection[str] | None = None
) -> tuple[list[str], list[str]]:
    """What each detection and each true event is, by the intersections that PSDS counts.

    A detection is a hit if true events of its class cover half of it; otherwise a confusion if
    true events of other classes do, and else a false alarm. A true event is a miss unless
    detections of its class cover half of it (Bilen et al., "A framework for the robust evaluation
    of sound event detection", ICASSP 2020, with all ratios 0.5).

    Args:
        found: The detections of a recording.
        truth: Its true events.
        labelled: Classes that the recording was annotated for; all when None. Detections of others
            are not judged.

    Returns:
        A word for each detection, empty where it is not judged, and one for each true event.
    """
    true, heard = _by_class(truth), _by_class(found)
    every = _union(truth)
    words = []
    for event in found:
        if labelled is not None and event.event_label not in labelled:
            words.append("")
        elif _covered(event, true.get(event.event_label)) >= COVERED:
            words.append(HIT)
        else:
            words.append(CONFUSION if _covered(event, every) >= COVERED else FALSE_ALARM)
    others = [
        HIT if _covered(event, heard.get(event.event_label)) >= COVERED else MISS for event in truth
    ]
    return words, others


def confused_with(event: Event, truth: Sequence[Event]) -> str:
    """The class of true events that covers most of a detection that is a confusion."""
    covered = {label: _covered(event, spans) for label, spans in _by_class(truth).items()}
    return max(sorted(covered), key=lambda label: covered[label])


def _by_class(events: Sequence[Event]) -> dict[str, Spans]:
    own: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        own[event.event_label].append(event)
    return {label: _union(those) for label, those in own.items()}


def _union(events: Sequence[Event]) -> Spans:
    """Disjoint stretches that the events cover, in order."""
    spans: list[list[float]] = []
    for event in sorted(events):
        if spans and event.onset <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], event.offset)
        else:
            spans.append([event.onset, event.offset])
    edges = np.array(spans, dtype=np.float64).reshape(-1, 2)
    return edges[:, 0], edges[:, 1]


def _covered(event: Event, spans: Spans | None) -> float:
    """The fraction of an event that disjoint stretches cover."""
    if spans is None or not event.offset > event.onset:
        return 0.0
    first = np.searchsorted(spans[1], event.onset)
    last = np.searchsorted(spans[0], event.offset)
    onsets = np.maximum(spans[0][first:last], event.onset)
    offsets = np.minimum(spans[1][first:last], event.offset)
    return float((offsets - onsets).sum() / (event.offset - event.onset))
