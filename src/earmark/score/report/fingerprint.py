"""What a score was made on, in a few letters: equal only for equal clips, truth and settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from earmark.score.events import Events

LENGTH = 16
"""Hexadecimal digits of a fingerprint."""
DECIMALS = 6
"""Times are taken rounded to so many decimals, the most that files of them have."""


def evaluation_fingerprint(
    clips: Iterable[str],
    truth: Events,
    durations: Mapping[str, float],
    labels: Sequence[str],
    parameters: Mapping[str, Any],
) -> str:
    """A fingerprint of everything but the system that is scored.

    The order of clips, of classes and of events does not count.

    Args:
        clips: Ids of the clips that count.
        truth: Ground truth by clip id.
        durations: Seconds by clip id.
        labels: The classes.
        parameters: What was measured with; must be fit for JSON.
    """
    names = sorted(clips)
    content = {
        "clips": [
            [clip, round(durations[clip], DECIMALS), _rounded(truth.get(clip, ()))]
            for clip in names
        ],
        "labels": sorted(labels),
        "parameters": parameters,
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:LENGTH]


def _rounded(events: Iterable[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    return sorted((round(a, DECIMALS), round(b, DECIMALS), label) for a, b, label in events)
