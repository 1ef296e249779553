"""ELAN annotation documents (.eaf, format 3.0): a tier for each class.

Max Planck Institute for Psycholinguistics, "EAF Annotation Format 3.0 and ELAN". Times are whole
milliseconds, and annotations of a tier do not overlap: events of a class that do get further
tiers. A score is the annotation of a tier below, of the type ``score``, with four decimals.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree as Xml

from earmark._version import __version__
from earmark.core.errors import LabelError
from earmark.core.files.bounds import read_bytes
from earmark.core.formats.base import (
    Content,
    EventFormat,
    Hints,
    milliseconds,
    own_name,
)
from earmark.core.naming import full_path, parse_listed
from earmark.core.tables.rows import parse_number, read_event

EVENT, SCORE = "event", "score"
"""Linguistic types of the tiers."""
DATE = "1970-01-01T00:00:00+00:00"
"""Always the same, so that equal events make equal files; ELAN sets it when it saves."""
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_ALONE = "Symbolic_Association"
_NO_XML = re.compile("[\ufffe\uffff]")  # control characters are refused everywhere

Timed = tuple[int, int, str, float | None]
"""First and last millisecond, label, score."""


def _write(content: Content) -> str:
    timed: list[Timed] = [
        (*milliseconds(onset, offset), label, score)
        for _, (onset, offset, label, score) in content.events
    ]
    events = sorted(timed, key=lambda event: event[:3])
    root = Xml.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": f"earmark {__version__}",
            "DATE": DATE,
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": _XSI,
            "xsi:noNamespaceSchemaLocation": _SCHEMA,
        },
    )
    _add_header(root, content, len(events) * (2 if content.scored else 1))
    slots = _add_times(root, events)
    _add_tiers(root, events, slots, scored=content.scored)
    _add_types(root, scored=content.scored)
    Xml.indent(root, " ")
    text: str = Xml.tostring(root, encoding="unicode")
    odd = _NO_XML.search(text)
    if odd:
        raise LabelError(
            f"a name holds U+{ord(odd.group()):04X}, which XML cannot hold", hint="Rename it"
        )
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + text + "\n"


def _add_header(root: Xml.Element, content: Content, annotations: int) -> None:
    header = Xml.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    if content.name:
        wave = content.name.lower().endswith(".wav")
        media = {
            "MEDIA_URL": Path("/", content.recording or content.name).as_uri(),
            "MIME_TYPE": "audio/x-wav" if wave else "audio/*",  # ELAN knows these
            "RELATIVE_MEDIA_URL": f"./{content.name}",
        }
        Xml.SubElement(header, "MEDIA_DESCRIPTOR", media)
    last = Xml.SubElement(header, "PROPERTY", {"NAME": "lastUsedAnnotationId"})
    last.text = str(annotations)


def _add_times(root: Xml.Element, events: Sequence[Timed]) -> list[tuple[str, str]]:
    """Adds a slot for every onset and offset in order of time; returns the pair of each event."""
    order = Xml.SubElement(root, "TIME_ORDER")
    edges = sorted(
        (time, number, place)
        for number, event in enumerate(events)
        for place, time in enumerate(event[:2])
    )
    slots = [["", ""] for _ in events]
    for count, (time, number, place) in enumerate(edges, start=1):
        slots[number][place] = f"ts{count}"
        Xml.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": f"ts{count}", "TIME_VALUE": str(time)})
    return [(first, last) for first, last in slots]


def _add_tiers(
    root: Xml.Element, events: Sequence[Timed], slots: Sequence[tuple[str, str]], *, scored: bool
) -> None:
    taken: set[str] = set()
    for label in sorted({event[2] for event in events}):
        own = [number for number, event in enumerate(events) if event[2] == label]
        for track in _tracks(events, own):
            name = _free(label, taken)
            tier = _tier(root, name, EVENT)
            for number in track:
                identity = {"ANNOTATION_ID": f"a{number + 1}"}
                times = dict(zip(("TIME_SLOT_REF1", "TIME_SLOT_REF2"), slots[number], strict=True))
                _annotate(tier, "ALIGNABLE_ANNOTATION", identity | times, label)
            if not scored:
                continue
            below = _tier(root, _free(f"{name} {SCORE}", taken), SCORE, parent=name)
            for number in track:
                score = events[number][3]
                if score is not None:
                    identity = {"ANNOTATION_ID": f"a{len(events) + number + 1}"}
                    above = {"ANNOTATION_REF": f"a{number + 1}"}
                    _annotate(below, "REF_ANNOTATION", identity | above, f"{score:.4f}")


def _tracks(events: Sequence[Timed], own: Sequence[int]) -> list[list[int]]:
    """Deals events into as few tiers as keep them from overlapping."""
    tracks: list[list[int]] = []
    for number in own:
        free = (track for track in tracks if events[track[-1]][1] <= events[number][0])
        track = next(free, None)
        if track is None:
            tracks.append([number])
        else:
            track.append(number)
    return tracks


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number if it is taken."""
    names = (name if count == 1 else f"{name} {count}" for count in range(1, len(taken) + 2))
    found = next(one for one in names if one not in taken)
    taken.add(found)
    return found


def _tier(root: Xml.Element, name: str, kind: str, parent: str | None = None) -> Xml.Element:
    above = {} if parent is None else {"PARENT_REF": parent}
    return Xml.SubElement(root, "TIER", {"LINGUISTIC_TYPE_REF": kind, **above, "TIER_ID": name})


def _annotate(tier: Xml.Element, kind: str, attributes: dict[str, str], value: str) -> None:
    annotation = Xml.SubElement(Xml.SubElement(tier, "ANNOTATION"), kind, attributes)
    Xml.SubElement(annotation, "ANNOTATION_VALUE").text = value


def _add_types(root: Xml.Element, *, scored: bool) -> None:
    kind = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": EVENT, "TIME_ALIGNABLE": "true"}
    Xml.SubElement(root, "LINGUISTIC_TYPE", kind)
    if scored:
        below = {"LINGUISTIC_TYPE_ID": SCORE, "TIME_ALIGNABLE": "false"}
        Xml.SubElement(root, "LINGUISTIC_TYPE", {"CONSTRAINTS": _ALONE} | kind | below)
        Xml.SubElement(
            root,
            "CONSTRAINT",
            {
                "DESCRIPTION": "1-1 association with a parent annotation",
                "STEREOTYPE": _ALONE,
            },
        )


def _read(path: Path, hints: Hints) -> Content:
    root = _document(path)
    name, begins = _medium(path, root, hints)
    times = {
        str(slot.get("TIME_SLOT_ID")): _whole(path, str(slot.get("TIME_VALUE")))
        for slot in root.iterfind("TIME_ORDER/TIME_SLOT")
        if slot.get("TIME_VALUE") is not None
    }
    scores = dict(_scores(path, root))
    events, aside = [], []
    for tier in root.iterfind("TIER"):
        annotations = tier.findall("ANNOTATION/ALIGNABLE_ANNOTATION")
        if not annotations and len(tier) and tier.get("LINGUISTIC_TYPE_REF") != SCORE:
            aside.append(str(tier.get("TIER_ID")))
        own = times | _between(annotations, times)
        if tier.get("PARENT_REF") is not None:
            timed = [one for one in annotations if set(_slots(one)) <= own.keys()]
            aside += [str(tier.get("TIER_ID"))] if len(timed) < len(annotations) else []
            annotations = timed
        for annotation in annotations:
            with hints.row():
                first, last, label = _annotation(path, tier, annotation, own, hints)
                onset, offset = ((time + begins) / 1000 for time in (first, last))
                where = _where(path, tier, annotation)
                score = scores.get(str(annotation.get("ANNOTATION_ID")))
                events.append(read_event(onset, offset, label, where, score, hints.notes))
    events.sort(key=lambda event: event[:3])
    named = ", ".join(map(repr, aside))
    notes = (f"{path.name}: annotations without times of their own are left out: {named}",)
    return Content([(name, event) for event in events], bool(scores), notes=notes if aside else ())


def _medium(path: Path, root: Xml.Element, hints: Hints) -> tuple[str, int]:
    """The recording of a document, and where in it, in milliseconds, the document begins.

    A document may link several media, each with a beginning of its own; it is of the first that
    is there.
    """
    media = root.findall("HEADER/MEDIA_DESCRIPTOR")
    named = [(_names(path, one), _whole(path, one.get("TIME_ORIGIN", "0"))) for one in media]
    linked = [(names, begins) for names, begins in named if names]
    if not linked:
        return hints.recording or own_name(path), 0
    if hints.find is None:
        there = (one for one in linked if _is_file(one[0][0]))
        names, begins = next(there, linked[0])
        return _base(names[0]), begins
    found = []
    for names, begins in linked:
        meant = {name: recording for name in names if (recording := hints.find(name)) is not None}
        clear = [name for name, recording in meant.items() if recording != name]
        for name in clear[:1] or list(meant)[:1]:
            exact = meant[name].casefold().endswith(_base(name).casefold())
            found.append((name, begins, exact))
    # A recording of another suffix may be made from any of the media that are not there.
    chosen = [one for one in found if one[2]][:1] or found
    if len({begins for _, begins, _ in chosen}) > 1:
        both = " and ".join(dict.fromkeys(_base(name) for name, _, _ in chosen))
        raise LabelError(
            f"the recording could be {both}, which begin at different times",
            where=path,
            hint="Give the recording the name of the one it was made from",
        )
    return (chosen[0][0], chosen[0][1]) if chosen else (linked[0][0][0], linked[0][1])


def _base(name: str) -> str:
    """The base name of a medium, percent signs resolved where it is a URL."""
    return parse_listed(name).parts[-1]


def _names(path: Path, medium: Xml.Element) -> list[str]:
    """How a document names one of its media: from its own folder where it is there, and wholly."""
    relative, whole = medium.get("RELATIVE_MEDIA_URL"), medium.get("MEDIA_URL")
    near = str(full_path(path.parent) / relative.replace("\\", "/")) if relative else ""
    there = next((name for name in (near, unquote(near)) if _is_file(name)), None)
    return [name for name in (there, whole, None if there else near) if name]


def _is_file(name: str) -> bool:
    return os.path.isfile(name)  # noqa: PTH113 - of any text, however long


def _slots(annotation: Xml.Element) -> list[str]:
    return [str(annotation.get(f"TIME_SLOT_REF{place}")) for place in (1, 2)]


def _between(annotations: Sequence[Xml.Element], times: Mapping[str, int]) -> dict[str, int]:
    """Times of a tier's slots that have none: ELAN spreads these evenly between those that do."""
    slots: list[str] = []
    for annotation in annotations:
        for slot in _slots(annotation):
            if not slots or slots[-1] != slot:
                slots.append(slot)
    known = [place for place, slot in enumerate(slots) if slot in times]
    found: dict[str, int] = {}
    for first, last in pairwise(known):
        begin, end = times[slots[first]], times[slots[last]]
        for place in range(first + 1, last):
            found[slots[place]] = begin + round((end - begin) * (place - first) / (last - first))
    return found


def _document(path: Path) -> Xml.Element:
    try:
        root = Xml.fromstring(read_bytes(path, LabelError))
    except (Xml.ParseError, ValueError, LookupError) as error:  # the last two of its encoding
        raise LabelError(f"no ELAN document ({error})", where=path) from None
    header = root.find("HEADER")
    units = "milliseconds" if header is None else header.get("TIME_UNITS", "milliseconds")
    if root.tag != "ANNOTATION_DOCUMENT" or units != "milliseconds":
        raise LabelError(
            f"no ELAN document in milliseconds, but {root.tag} in {units}",
            where=path,
            hint="Save it with a newer ELAN",
        )
    return root


def _whole(path: Path, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise LabelError(f"the time {text!r} is no number of milliseconds", where=path) from None


def _where(path: Path, tier: Xml.Element, annotation: Xml.Element) -> str:
    return f"{path}: annotation {annotation.get('ANNOTATION_ID')} of {tier.get('TIER_ID')!r}"


def _annotation(
    path: Path, tier: Xml.Element, annotation: Xml.Element, times: Mapping[str, int], hints: Hints
) -> tuple[int, int, str]:
    """First and last millisecond and label of an annotation."""
    where, name = _where(path, tier, annotation), str(tier.get("TIER_ID"))
    slots = _slots(annotation)
    if not all(slot in times for slot in slots):
        raise LabelError("no time", where=where, hint="Give it a start and an end in ELAN")
    value = (annotation.findtext("ANNOTATION_VALUE") or "").strip()
    label = {None: value or name, "value": value, "tier": name}.get(hints.label_column)
    if not label:
        raise LabelError(
            "no class", where=where, hint="Take the class from value or tier (label_column)"
        )
    return times[slots[0]], times[slots[1]], label


def _scores(path: Path, root: Xml.Element) -> Iterator[tuple[str, float]]:
    """Scores by the identity of the annotation above."""
    for tier in root.iterfind("TIER"):
        if tier.get("LINGUISTIC_TYPE_REF") == SCORE and tier.get("PARENT_REF") is not None:
            for annotation in tier.iterfind("ANNOTATION/REF_ANNOTATION"):
                value = annotation.findtext("ANNOTATION_VALUE") or ""
                yield str(annotation.get("ANNOTATION_REF")), parse_number(value, SCORE, path, 1)


ELAN = EventFormat(
    suffix=".eaf",
    title="annotation document of ELAN",
    write=_write,
    read=_read,
    one_recording=True,
)
