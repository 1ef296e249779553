"""A soundscape as a JAMS document (Humphrey et al., ISMIR 2014), with Scaper's namespace.

JAMS is JSON of a fixed form: https://jams.readthedocs.io. Two annotations are written: what the
clip was mixed from (``scaper``, one observation a sound, the background first) and what is heard
in it (``tag_open``, the labels of the table beside it).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from earmark import __version__
from earmark.synth.placing import Ingredient
from earmark.synth.scene import Soundscape

_JAMS_VERSION = "0.3.4"  # of the schema followed


def jams_document(soundscape: Soundscape, name: str, seconds: float) -> dict[str, Any]:
    """A JAMS document, to be written as JSON.

    Args:
        soundscape: The clip.
        name: Its file name.
        seconds: Its length.
    """
    made = (
        _observation(one.onset, one.duration, _scaper_value(one)) for one in soundscape.ingredients
    )
    heard = (
        _observation(onset, offset - onset, label) for onset, offset, label in soundscape.events
    )
    return {
        "annotations": [
            _annotation("scaper", seconds, made),
            _annotation("tag_open", seconds, heard),
        ],
        "file_metadata": {
            "title": name,
            "artist": "",
            "release": "",
            "duration": seconds,
            "identifiers": {},
            "jams_version": _JAMS_VERSION,
        },
        "sandbox": {},
    }


def _annotation(
    namespace: str, seconds: float, observations: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "annotation_metadata": {
            "curator": {"name": "", "email": ""},
            "annotator": {},
            "version": "",
            "corpus": "",
            "annotation_tools": f"earmark {__version__}",
            "annotation_rules": "",
            "validation": "",
            "data_source": "program",
        },
        "namespace": namespace,
        "data": list(observations),
        "sandbox": {},
        "time": 0.0,
        "duration": seconds,
    }


def _observation(time: float, duration: float, value: Any) -> dict[str, Any]:
    return {"time": time, "duration": duration, "value": value, "confidence": 1.0}


def _scaper_value(sound: Ingredient) -> dict[str, Any]:
    """As Scaper has it: durations before stretching, null for what was not changed."""
    return {
        "label": sound.label,
        "source_file": sound.source,
        "source_time": sound.source_time,
        "event_time": sound.onset,
        "event_duration": sound.duration / sound.time_stretch,
        "snr": sound.snr_db,
        "role": sound.role,
        "pitch_shift": sound.pitch_shift or None,
        "time_stretch": sound.time_stretch if sound.time_stretch != 1 else None,
    }
