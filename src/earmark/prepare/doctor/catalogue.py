"""Everything the doctor knows to find: how bad it is, what it means, and what to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from earmark.data.reading import relative
from earmark.score.issues import ISSUES

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


class FindingKind(NamedTuple):
    """A kind of finding: how bad it is, what it is called, what to do."""

    severity: Severity
    title: str
    hint: str


_COPY = "Copy or download the file again; until then it is skipped"
_ROW = "Correct the row; until then its clip is left out"
_KINDS: dict[Severity, dict[str, tuple[str, str]]] = {
    "error": {
        "no-recordings": ("no recordings at all", "Download it again: the folder is empty"),
        "empty-file": ("files of 0 bytes", _COPY),
        "dangling-link": ("links that lead nowhere", "Mount or copy what they point to"),
        "unreadable": ("files that cannot be decoded", _COPY),
        "truncated": ("recordings that break off", _COPY),
        "no-samples": ("recordings without samples", _COPY),
        "not-finite": ("samples that are NaN or infinite", "Export it again"),
        "wrong-speed": (
            "length of another sample rate: the header names a wrong one",
            "Resample from the original; `earmark cache` does it",
        ),
        "leak-by-content": (
            "test audio in training under another name",
            "Leave it out: see --exclude",
        ),
        "no-table": ("audio without its label table", "Put the table where it belongs"),
        "bad-table": ("a table that cannot be read", "Correct it; the subset is left out"),
        "bad-row": ("rows that cannot be understood", _ROW),
        "bad-number": ("times that are not numbers", _ROW),
        "incomplete-event": ("events with empty fields", _ROW),
        "inverted-times": ("events that end before they start", _ROW),
        "negative-times": ("events before 0 s", _ROW),
        "bad-class-name": ("class names that no file can hold", _ROW),
        "no-file-name": ("rows without a file name", _ROW),
        "same-base-name": (
            "names that could be of several clips, or two of one",
            "Write each name with its folder and ending",
        ),
        "after-end": ISSUES["after-end"],
        "unknown-class": ("labels that are not among the classes", "Correct or map them"),
        "bad-duration": ("durations that cannot be understood", "Correct the row"),
        "not-usable": ("the dataset cannot be used", "See the message"),
    },
    "warning": {
        "missing": ("listed, but not there", "Find them, or use the rest"),
        "silent": ("silent", "Listen to it; leave it out or remove its labels"),
        "cancelled": ("channels cancel to silence", "Keep one channel only"),
        "clipped": ("clipped", "Record or export it at a lower level"),
        "wrong-rate": (
            "not 16 kHz in a folder named _16k",
            "Resample it (Earmark does when reading, other programs do not) or rename the folder",
        ),
        "low-rate": ("less than 16 kHz", "Take the original recording if there is one"),
        "too-long": ISSUES["too-long"],
        "weak-too-long": ISSUES["weak-too-long"],
        "too-short": ("shorter than its name says, or than 0.5 s", "Download it again"),
        "duplicate-audio": ("the same audio twice", "Keep one: see --exclude"),
        "same-name": ("two files of one name", "Remove one: the first is used"),
        "other-files": ("files of another kind, not read", "Convert them to FLAC"),
        "not-listed": ("there, but without labels", "Label them, or move them"),
        "leak-by-name": ("test clips in training", "Nothing: they are not trained on"),
        "shared-content": ("the same audio in two sources", "Keep one: see --exclude"),
        "unknown-column": ("columns that are not read", "Remove or rename them"),
        "zero-length": ("events of no length", "Give it a length or remove it"),
        "beyond-end": ISSUES["beyond-end"],
        "no-events": ISSUES["no-events"],
        "unused-confidence": ISSUES["unused-confidence"],
        "overlap": ("events of one class overlap", "Join them or correct the times"),
        "duplicate-row": ("rows that occur twice", "Remove one of them"),
        "alike-classes": ISSUES["alike-classes"],
        "foreign-class": ("not one of DESED's ten classes", "Correct or remove it"),
        "never-trained": ISSUES["never-trained"],
        "duration-differs": ("listed duration is not the clip's", "Correct the table"),
    },
    "info": {
        "several-channels": ("several channels, mixed to mono", "Nothing"),
        "no-labels": ("listed without a class", "Nothing, if nothing sounds in them"),
        "no-duration": ("no duration listed: the header's is used", "Add it to the table"),
    },
}
#: Everything that may be found, by name.
KINDS: dict[str, FindingKind] = {
    name: FindingKind(severity, *texts)
    for severity, kinds in _KINDS.items()
    for name, texts in kinds.items()
}


class Location(NamedTuple):
    """Where something was found; a line of 0 stands for none."""

    file: str
    line: int = 0
    detail: str = ""


@dataclass
class Finding:
    """One kind of thing found in one subset of a dataset.

    Attributes:
        kind: Of `KINDS`.
        subset: Source or split; empty for the whole dataset.
        places: All of them.
    """

    kind: str
    subset: str
    places: list[Location] = field(default_factory=list)

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return KINDS[self.kind].severity

    def to_dict(self) -> dict[str, Any]:
        """Fit for JSON; ``mend`` and ``part`` are the names that version 0.1 gave these keys."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "part": self.subset,
            "title": KINDS[self.kind].title,
            "mend": KINDS[self.kind].hint,
            "count": len(self.places),
            "places": [place._asdict() for place in self.places],
        }


class Findings:
    """Collects findings, one for each kind and subset.

    Args:
        root: Of the dataset; files in it are shown by their paths from there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._found: dict[tuple[str, str], Finding] = {}

    def add(
        self, subset: str, where: Path | str, kind: str, detail: str = "", line: int = 0
    ) -> None:
        """Note a place; ``subset`` is empty for the whole dataset."""
        file = relative(where, self.root) if isinstance(where, Path) else where
        finding = self._found.setdefault((kind, subset), Finding(kind, subset))
        finding.places.append(Location(file, line, detail))

    def worst_first(self) -> list[Finding]:
        """All of them, by severity, then by count."""
        return sorted(
            self._found.values(), key=lambda one: (SEVERITIES.index(one.severity), -len(one.places))
        )
