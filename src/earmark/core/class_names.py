"""Classes as people name them: by name, number or identifier, one or several at a time."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from earmark.core.errors import ConfigError, LabelError

SHOWN = 6
"""So many names are suggested."""
DEFAULT = "default"
"""Stands for all classes that are not named, where each class has a number of its own."""


def find_classes(
    asked: Iterable[str], labels: Sequence[str], ids: Sequence[str] = ()
) -> tuple[int, ...]:
    """Numbers of the classes that are asked for, each once, in the order of the labels.

    Args:
        asked: Each one class or several, separated by commas and quoted as in CSV where a name has
            a comma itself; a name that is one class as it stands needs no quotes. A class is named
            by its name (upper and lower case matter only where they tell classes apart), its number
            in the list, the first being 0, or its identifier.
        labels: All names.
        ids: Identifiers in the same order, if there are any.

    Raises:
        LabelError: A name is none of them or could be several, or nothing is asked for; similar
            names are suggested.
    """
    found: set[int] = set()
    for text in asked:
        found |= _find(text, labels, ids)
    if not found:
        raise LabelError("no classes are named", hint="Leave --classes out for all of them")
    return tuple(sorted(found))


def find_class(name: str, labels: Sequence[str], ids: Sequence[str] = ()) -> int:
    """Number of the class that is called so; see `find_classes`.

    Raises:
        LabelError: There is none, or there are several; similar names are suggested.
    """
    return _only(name.strip(), labels, ids)


def parse_by_class(given: Iterable[str], option: str) -> float | dict[str, float]:
    """A number for all classes, or numbers by class, as they are written on a command line.

    Args:
        given: Each ``0.5``, or ``Dog=0.8,default=0.6``: pairs separated by commas and quoted as in
            CSV where a name has a comma itself; a single pair needs no quotes. A number without a
            name is that of ``default``.
        option: What it is for, for errors.

    Returns:
        The number, if nothing else is given, or number by name.

    Raises:
        ConfigError: If it is none of these, or a name has two numbers.
    """
    found: dict[str, float] = {}
    for text in given:
        for field in _pairs_of(text):
            label, _, number = field.rpartition("=")
            label = label.strip() or DEFAULT
            try:
                value = float(number)
            except ValueError:
                raise ConfigError(
                    f"{option}: {field.strip()!r} is not a number or CLASS=NUMBER",
                    hint=f"Use {option} 0.5, or {option} Dog=0.8,default=0.6",
                ) from None
            if label in found:
                raise ConfigError(f"{option}: two numbers for {label!r}", hint="Give one")
            found[label] = value
    return found[DEFAULT] if found.keys() == {DEFAULT} else found


def _pairs_of(text: str) -> list[str]:
    """The pairs of a text; a name with a comma is one with its number, if it is alone."""
    fields = next(csv.reader([text], skipinitialspace=True), [])
    if fields and all("=" in field or re.fullmatch(r"\s*[-+.\d]\S*\s*", field) for field in fields):
        return fields
    return [text]


def _find(text: str, labels: Sequence[str], ids: Sequence[str]) -> set[int]:
    try:
        fields = next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error:
        raise LabelError(
            f"{text!r} is not readable as CSV", hint='Write "name, with comma",other'
        ) from None
    names = [name.strip() for name in fields if name.strip()]
    whole = _matches(text.strip(), labels, ids)
    if len(names) < 2 and not whole:
        return {_only(name, labels, ids) for name in names}
    if whole and len(names) > 1 and all(_matches(name, labels, ids) for name in names):
        raise LabelError(
            f"{text!r} is the name of a class and of several",
            hint="Quote a name with a comma, or repeat --classes",
        )
    if whole:
        return {_only(text.strip(), labels, ids)}
    return {_only(name, labels, ids) for name in names}


def _matches(name: str, labels: Sequence[str], ids: Sequence[str]) -> list[int]:
    """All classes that a name may mean: those it is exactly, or else but for upper and lower case.

    A number is a class's place in the list, even if another one has it for a name.
    """
    exact = {n for n, label in enumerate(labels) if label == name}
    exact |= {n for n, own in enumerate(ids) if own == name}
    if re.fullmatch("[0-9]{1,9}", name) and int(name) < len(labels):
        exact.add(int(name))
    if exact:
        return sorted(exact)
    return [n for n, label in enumerate(labels) if label.casefold() == name.casefold()]


def _only(name: str, labels: Sequence[str], ids: Sequence[str]) -> int:
    matches = _matches(name, labels, ids)
    if len(matches) == 1:
        return matches[0]
    if matches:
        meant = ", ".join(f"{number} ({labels[number]!r})" for number in matches[:SHOWN])
        raise LabelError(f"{name!r} could be the classes {meant}", hint="Write the name in full")
    near = _similar(name, labels)
    hint = f"Similar are {', '.join(map(repr, near))}" if near else f"There are {_some(labels)}"
    raise LabelError(f"no class is called {name!r}", hint=hint)


def _similar(name: str, labels: Sequence[str]) -> list[str]:
    """Names with the words that are asked for, then names that are spelt alike."""
    folded = {label.casefold(): label for label in reversed(labels)}
    words = re.findall(r"\w+", name.casefold())
    holding = [
        label for label in labels if words and all(word in label.casefold() for word in words)
    ]
    close = get_close_matches(name.casefold(), folded, SHOWN, 0.6)
    return list(dict.fromkeys([*holding, *(folded[one] for one in close)]))[:SHOWN]


def _some(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    return ", ".join(map(repr, labels[:SHOWN])) + more
