"""Labels that do not fit their sound, in the subsets of a data set (kinds: `score.issues`)."""

from __future__ import annotations

from collections.abc import Collection

from earmark.core.audio.audio import audio_info
from earmark.core.errors import AudioError
from earmark.data.subsets import Evaluation, EventsByName, Manifest, Source
from earmark.score.issues import LabelIssue, alike, event_issues, grouped

WINDOW_SLACK = 0.5
"""Seconds by which a clip may be longer than the window: cutting and resampling round."""


def training_issues(manifest: Manifest, window: float) -> list[LabelIssue]:
    """What does not fit in the sources and splits of a data set; headers are read, no samples.

    Args:
        manifest: The data set.
        window: Seconds of the network's window.
    """
    issues: list[LabelIssue] = []
    trained: set[str] = set()
    for source in manifest.train:
        seconds = {} if source.kind == "unlabelled" else _seconds(source)
        kind = "weak-too-long" if source.kind == "weak" else "too-long"
        long = {name for name, own in seconds.items() if is_long(own, window)}
        issues += grouped(
            source.name, ((kind, f"{one}: {seconds[one]:.2f} s") for one in seconds if one in long)
        )
        if source.events is not None and source.clips and not source.negatives:
            issues += event_issues(source.name, source.events, seconds)
            trained.update(_labels(source.events))
        for name, tags in (source.weak or {}).items():
            trained.update(tags if name not in long else ())
        issues += _confidence(source)
    for split in manifest.splits.values():
        issues += split_issues(split)
    return issues + alike(manifest.labels) + _never_trained(manifest, trained)


def without_long_weak(source: Source, window: float) -> Source:
    """A source without weak clips longer than a window.

    A tag speaks of the whole clip, and the network hears its beginning: it would learn that what
    sounds later is there.
    """
    if source.kind != "weak":
        return source
    seconds = _seconds(source)
    kept = (
        path for path in source.clips if not is_long(seconds.get(source.name_of(path), 0.0), window)
    )
    return source.only(kept)


def is_long(seconds: float, window: float) -> bool:
    """Whether a clip is longer than a window by more than rounding."""
    return seconds > window + WINDOW_SLACK


def split_issues(split: Evaluation) -> list[LabelIssue]:
    """What does not fit in a split that is scored on."""
    return event_issues(split.name, split.events, split.durations) + _confidence(split)


def _confidence(subset: Source | Evaluation) -> list[LabelIssue]:
    return grouped(subset.name, (("unused-confidence", column) for column in subset.unused))


def _labels(events: EventsByName) -> set[str]:
    return {event.event_label for own in events.values() for event in own}


def _never_trained(manifest: Manifest, trained: Collection[str]) -> list[LabelIssue]:
    """Classes without a training clip; nothing where there is no labelled clip at all."""
    splits = {name: _labels(split.events) for name, split in manifest.splits.items()}
    places = []
    for label in manifest.labels:
        if trained and label not in trained:
            there = [name for name, own in splits.items() if label in own]
            places.append(f"{label}, only in {' and '.join(there)}" if there else label)
    return [LabelIssue("never-trained", "", tuple(places))] if places else []


def _seconds(source: Source) -> dict[str, float]:
    """Length of each clip by name whose header can be read; training names the others."""
    found = {}
    for path in source.clips:
        try:
            found[source.name_of(path)] = audio_info(path).seconds
        except AudioError:
            continue
    return found
