"""Recordings behind clips: which of a source's clips were cut from the same one."""

from __future__ import annotations

import re
from collections.abc import Mapping

from earmark.core.naming import clip_id
from earmark.data.subsets import Manifest, Source

LEAST = 5
"""A class with fewer recordings is reported."""
_CUT = re.compile(r"(.+)_\d+\.\d+_\d+\.\d+")


def recording_of(name: str) -> str:
    """The recording of a clip's name: what stands before start and end, if it ends with these.

    `earmark import-labels` names its clips so (``yard_10.000_20.000.flac``), and so does AudioSet.
    """
    own = clip_id(name)
    cut = _CUT.fullmatch(own)
    return cut.group(1) if cut else own


def recordings_in(source: Source) -> set[str]:
    """The recordings that a source's clips are of."""
    return {recording_of(source.name_of(path)) for path in source.clips}


def recordings_by_class(manifest: Manifest) -> dict[str, int]:
    """Training recordings of each class in which people heard it."""
    found: dict[str, set[tuple[str, str]]] = {label: set() for label in manifest.labels}
    for source in manifest.train:
        if source.pseudo:
            continue
        for path in source.clips:
            name = source.name_of(path)
            own = {event.event_label for event in (source.events or {}).get(name, ())}
            for label in own.union((source.weak or {}).get(name, ())):
                found[label].add((source.name, recording_of(name)))
    return {label: len(recordings) for label, recordings in found.items()}


def few_recordings(counts: Mapping[str, int], least: int = LEAST) -> str | None:
    """A sentence on the classes that were heard in fewer recordings; None where there is none."""
    few = ", ".join(f"{label} ({count})" for label, count in counts.items() if 0 < count < least)
    if not few:
        return None
    return (
        f"fewer than {least} recordings of {few}: what is learnt may be these recordings, not the "
        "class; clips cut from one count once. Label some from other days and places"
    )
