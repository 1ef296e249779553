"""Labels that do not fit their sound or each other: one sentence for each kind, in every command.

``train``, ``evaluate`` and ``score`` print them and refuse them under ``--strict``; the doctor
lists the places under the same titles.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path

from earmark.core.errors import DataError
from earmark.core.event import EventTuple

END_SLACK = 0.25
"""Seconds by which an event may outlast its clip before it is reported: annotators round."""
CONFIDENCE = ("confidence", "score", "probability")
"""Columns of a table of labels that say how sure a label is."""
ISSUES: Mapping[str, tuple[str, str]] = {
    "after-end": ("events that begin after the end of their clip", "Correct the times"),
    "beyond-end": ("events that end after their clip", "Correct the offset"),
    "weak-too-long": (
        "weak clips longer than the network's window, left out of training: what their tags name "
        "may sound in the rest",
        "Cut them into clips of a window and tag each",
    ),
    "too-long": ("clips longer than the window: the rest is not used", "Cut it into clips"),
    "alike-classes": ("class names that are nearly alike", "Spell them alike"),
    "never-trained": ("classes that no training clip has", "Label clips of them"),
    "no-events": (
        "strong labels without a single event",
        "Check that it is the right table; if none of the classes sounds there, say "
        "negatives: true (docs/datasets.md)",
    ),
    "unused-confidence": (
        "columns of confidence that are not used: every row counts in full",
        "Remove the rows that you do not trust, or the column",
    ),
    "unknown-prediction": (
        "predicted classes that the truth does not have",
        "Rename classes with --class-map",
    ),
}
"""Kind → what it is called, and what to do."""
_SHOWN = 3


@dataclass(frozen=True)
class LabelIssue:
    """One kind of misfit in one subset of a data set.

    Attributes:
        kind: Of `ISSUES`.
        subset: Source, split or table; empty for all of the data.
        places: Each of them, in words.
    """

    kind: str
    subset: str
    places: tuple[str, ...]

    @property
    def text(self) -> str:
        """The sentence for a user."""
        title, hint = ISSUES[self.kind]
        before = f"{self.subset}: " if self.subset else ""
        shown = ", ".join(self.places[:_SHOWN]) + ", …" * (len(self.places) > _SHOWN)
        return f"{before}{title}: {len(self.places)} ({shown}). {hint}"


def refuse_issues(issues: Sequence[LabelIssue], where: str | Path | None = None) -> None:
    """For those who said ``--strict``.

    Raises:
        DataError: There is an issue.
    """
    if issues:
        more = len(issues) - 1
        raise DataError(
            issues[0].text + (f"; and {more} more such findings" if more else ""),
            where=where,
            hint="Without --strict this is only reported",
        )


def grouped(subset: str, found: Iterable[tuple[str, str]]) -> list[LabelIssue]:
    """An issue for each kind, from kinds and places."""
    places: dict[str, list[str]] = {}
    for kind, place in found:
        places.setdefault(kind, []).append(place)
    return [LabelIssue(kind, subset, tuple(own)) for kind, own in places.items()]


def late(clip: str, event: EventTuple, seconds: float) -> tuple[str, str] | None:
    """Kind and place of an event that its clip is too short for; None for any other."""
    onset, offset, label = event[:3]
    if onset < seconds and offset <= seconds + END_SLACK:
        return None
    place = f"{label} of {clip} from {onset:g} s to {offset:g} s of {seconds:.2f} s"
    return "after-end" if onset >= seconds else "beyond-end", place


def event_issues(
    subset: str, events: Mapping[str, Sequence[EventTuple]], seconds: Mapping[str, float]
) -> list[LabelIssue]:
    """Events that their clips are too short for, or that there are none at all.

    Args:
        subset: What the events are of, for the message.
        events: By clip.
        seconds: Length of each clip; clips without one are passed over.
    """
    found: list[tuple[str, str]] = []
    for clip, own in events.items():
        if clip in seconds:
            found += filter(None, (late(clip, event, seconds[clip]) for event in own))
    if not any(events.values()):
        found.append(("no-events", f"{len(seconds) or len(events)} clips"))
    return grouped(subset, found)


def plain(name: str) -> str:
    """A class name in lower case, its spaces, ``_`` and ``-`` made one."""
    return re.sub(r"[\s_\-]+", "_", unicodedata.normalize("NFKC", name).strip().casefold())


def alike(names: Iterable[str], subset: str = "") -> list[LabelIssue]:
    """Class names that differ in case, spaces, ``_`` or ``-`` alone."""
    pairs = combinations(sorted(set(names)), 2)
    places = [f"{one!r} beside {other!r}" for one, other in pairs if plain(one) == plain(other)]
    return [LabelIssue("alike-classes", subset, tuple(places))] if places else []


def respelt(name: str, known: Iterable[str]) -> str | None:
    """The known name that a name is but for its spelling."""
    return next((other for other in known if plain(other) == plain(name)), None)


def unknown_predictions(
    predicted: Iterable[str], true: Collection[str], mapped: Collection[str]
) -> list[LabelIssue]:
    """Predicted classes that the truth has in another spelling, or does not have though mapped.

    Args:
        predicted: Classes of the predictions by their new names.
        true: Classes of the truth.
        mapped: New names that a class map gives.
    """
    places = []
    for name in sorted(set(predicted) - set(true)):
        other = respelt(name, true)
        if other is not None:
            places.append(f"{name!r}, did you mean {other!r}?")
        elif name in mapped:
            places.append(f"{name!r} of the class map")
    return [LabelIssue("unknown-prediction", "", tuple(places))] if places else []


def suggestion(names: Iterable[str], known: Iterable[str]) -> str:
    """``Did you mean Dog? ``, where one of the names is nearly a known one; else empty."""
    by_plain = {plain(name): name for name in known}
    for name in names:
        close = get_close_matches(plain(name), by_plain, n=1)
        if close and by_plain[close[0]] != name:
            return f"Did you mean {by_plain[close[0]]}? "
    return ""


def unused_columns(columns: Iterable[str], table: str | Path) -> Iterator[str]:
    """Columns of confidence of a table of labels, and the table's name."""
    return (f"{name} of {Path(table).name}" for name in columns if is_confidence(name))


def is_confidence(column: str) -> bool:
    """Whether a column of a table of labels says how sure a label is."""
    return column.strip().casefold() in CONFIDENCE
