"""Everything the doctor knows to find: how bad it is, what it means, and the mend."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


class Kind(NamedTuple):
    """A kind of finding."""

    severity: Severity
    title: str
    hint: str


_COPY = "Copy or download the file again; until then it is skipped"
_ROW = "Correct the row; until then its clip is left out"
KINDS: dict[str, Kind] = {
    # recordings
    "no-recordings": Kind("error", "no recordings at all", "Download again: the folder is empty"),
    "missing": Kind("warning", "listed, not there", "Look for them, or use the rest"),
    "empty-file": Kind("error", "files of 0 bytes", _COPY),
    "dangling-link": Kind("error", "links that lead nowhere", "Mount or copy what they point to"),
    "unreadable": Kind("error", "no recordings", _COPY),
    "truncated": Kind("error", "recordings that break off", _COPY),
    "no-samples": Kind("error", "recordings without samples", _COPY),
    "not-finite": Kind("error", "samples that are NaN or infinite", "Export it again"),
    "wrong-speed": Kind(
        "error",
        "length of another sample rate: the header names a wrong one",
        "Resample from the original; `earmark cache` does it",
    ),
    "silent": Kind("warning", "silent", "Listen; leave it out or remove its labels"),
    "cancelled": Kind("warning", "channels cancel to silence", "Keep one channel only"),
    "clipped": Kind("warning", "clipped", "Record or export at a lower level"),
    "wrong-rate": Kind(
        "warning",
        "not 16 kHz in a folder named _16k",
        "Earmark resamples when it reads, other programs do not: resample, or rename the folder",
    ),
    "low-rate": Kind("warning", "less than 16 kHz", "Take the original recording if there is one"),
    "several-channels": Kind("info", "several channels, mixed to mono", "Nothing"),
    "too-long": Kind("warning", "longer than 10 s: the rest is not used", "Cut it into clips"),
    "too-short": Kind("warning", "shorter than its name says, or than 0.5 s", "Download it again"),
    "duplicate-audio": Kind("warning", "the same audio twice", "Keep one: see --exclude"),
    "same-name": Kind("warning", "two files of one name", "Remove one: the first is used"),
    "other-files": Kind("warning", "files of another kind: not read", "Convert them to FLAC"),
    "not-listed": Kind("warning", "there, but without labels", "Label them, or move them"),
    # between parts
    "leak-by-content": Kind(
        "error", "test audio in training under another name", "Leave it out: see --exclude"
    ),
    "leak-by-name": Kind("warning", "test clips in training", "Nothing: they are not trained on"),
    "shared-content": Kind("warning", "the same audio in two sources", "Keep one: see --exclude"),
    # tables
    "no-table": Kind("error", "audio without its label table", "Put the table where it belongs"),
    "bad-table": Kind("error", "a table that cannot be read", "Correct it; the part is left out"),
    "unknown-column": Kind("warning", "columns that nobody reads", "Remove or rename them"),
    "bad-row": Kind("error", "rows that cannot be understood", _ROW),
    "bad-number": Kind("error", "times that are no numbers", _ROW),
    "incomplete-event": Kind("error", "events with empty fields", _ROW),
    "inverted-times": Kind("error", "events that end before they start", _ROW),
    "negative-times": Kind("error", "events before 0 s", _ROW),
    "bad-class-name": Kind("error", "class names that no file can hold", _ROW),
    "no-file-name": Kind("error", "rows without a file name", _ROW),
    "same-base-name": Kind("error", "two paths with one file name", "Rename one of the clips"),
    "zero-length": Kind("warning", "events of no length", "Give it a length or remove it"),
    "after-end": Kind("error", "events after the end of their clip", "Correct the times"),
    "beyond-end": Kind("warning", "events that end after their clip", "Correct the offset"),
    "overlap": Kind("warning", "events of one class overlap", "Join them or correct the times"),
    "duplicate-row": Kind("warning", "rows that stand twice", "Remove one of them"),
    "unknown-class": Kind("error", "labels that are none of the classes", "Correct or map them"),
    "alike-classes": Kind("warning", "class names that are nearly alike", "Spell them alike"),
    "foreign-class": Kind("warning", "not one of DESED's ten classes", "Correct or remove it"),
    "never-trained": Kind("warning", "classes that are scored, not trained", "Label clips of them"),
    "no-labels": Kind("info", "listed without a class", "Nothing, if nothing sounds in them"),
    "duration-differs": Kind("warning", "listed duration is not the clip's", "Correct the table"),
    "no-duration": Kind("info", "no duration listed: the header's is used", "Add it to the table"),
    "bad-duration": Kind("error", "durations that cannot be understood", "Correct the row"),
    "not-usable": Kind("error", "the dataset cannot be used", "See the message"),
}


class Place(NamedTuple):
    """Where something was found; a line of 0 stands for none."""

    file: str
    line: int = 0
    detail: str = ""


@dataclass
class Finding:
    """One kind of thing found in one part of a dataset.

    Attributes:
        kind: Of `KINDS`.
        part: Source or split; empty for the whole dataset.
        places: All of them.
        severity: Of its kind, or another where the part makes it so.
    """

    kind: str
    part: str
    severity: Severity
    places: list[Place] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Fit for JSON."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "part": self.part,
            "title": KINDS[self.kind].title,
            "mend": KINDS[self.kind].hint,
            "count": len(self.places),
            "places": [place._asdict() for place in self.places],
        }


class Findings:
    """Collects findings, one for each kind and part."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Finding] = {}

    def add(self, kind: str, part: str, *place: Any, severity: Severity | None = None) -> None:
        """Note a place (file, line, detail)."""
        new = Finding(kind, part, severity or KINDS[kind].severity)
        self._found.setdefault((kind, part), new).places.append(Place(*place))

    def worst_first(self) -> list[Finding]:
        """All of them, by severity, then by count."""
        return sorted(
            self._found.values(), key=lambda one: (SEVERITIES.index(one.severity), -len(one.places))
        )
