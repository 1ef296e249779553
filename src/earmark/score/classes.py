"""Classes of predictions under the names of the truth, some of them, and events as scores."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from earmark.core.errors import ScoreError
from earmark.core.event import Event
from earmark.core.tables.scores import ScoreTable
from earmark.score.events import some_of
from earmark.score.issues import respelt, suggestion

MOST_TOLD = 20
"""So many classes are listed in a message."""


@dataclass(frozen=True)
class ScoredClasses:
    """What classes of predictions are called, and which of them are measured.

    Args:
        names: New name of a class by its old one; ``None`` leaves it out. Classes that get one
            name become one, whose score is the highest of theirs. Others keep their names.
        chosen: The classes to be measured, by new names; all if not given.
    """

    names: Mapping[str, str | None] = field(default_factory=dict)
    chosen: tuple[str, ...] | None = None

    @property
    def changes(self) -> bool:
        """Whether anything is renamed or left out."""
        return bool(self.names) or self.chosen is not None

    def of(self, label: str) -> str | None:
        """The new name of a class, or ``None`` if it is left out."""
        name = self.names.get(label, label)
        return name if name is not None and self.measured(name) else None

    def measured(self, label: str) -> bool:
        """Whether a class of the truth is measured."""
        return self.chosen is None or label in self.chosen

    def truth(self, events: Mapping[str, Sequence[Event]]) -> dict[str, list[Event]]:
        """True events of the classes that are measured, under their own names."""
        return {
            clip: [event for event in own if self.measured(event.event_label)]
            for clip, own in events.items()
        }

    def events(self, events: Mapping[str, Sequence[Event]]) -> dict[str, list[Event]]:
        """Predicted events under their new names."""
        return {
            clip: [
                event._replace(event_label=name)
                for event in own
                if (name := self.of(event.event_label)) is not None
            ]
            for clip, own in events.items()
        }

    def table(self, table: ScoreTable) -> ScoreTable:
        """A score table under new names; the columns in the order in which they first come.

        Raises:
            ScoreError: If a class that is renamed or chosen is not there.
        """
        if not self.changes:
            return table
        columns: dict[str, list[int]] = {}
        for number, label in enumerate(table.labels):
            name = self.of(label)
            if name is not None:
                columns.setdefault(name, []).append(number)
        self.check(table.labels, columns)
        values = [table.values[:, numbers].max(axis=1) for numbers in columns.values()]
        return ScoreTable(table.boundaries, np.stack(values, axis=1), tuple(columns))

    def check(self, labels: Iterable[str], after: Iterable[str]) -> None:
        """Raise a ScoreError for a class that is to be renamed or chosen and is not there.

        Args:
            labels: Classes of the predictions.
            after: Classes there are after renaming, those of the truth included.
        """
        known = sorted(labels)
        told = some_of(known, MOST_TOLD) or "none"
        unknown = sorted(set(self.names) - set(known))
        if unknown:
            raise ScoreError(
                f"the class map renames {', '.join(unknown)}, which the predictions do not have",
                hint=f"{suggestion(unknown, known)}They have: {told}.",
            )
        lacking = sorted(set(self.chosen or ()) - set(after))
        if lacking:
            raise ScoreError(
                f"no class is called {', '.join(lacking)}",
                hint=f"{suggestion(lacking, after)}There are: {told}.",
            )

    def check_targets(self, labels: Iterable[str], true: Collection[str]) -> None:
        """Raise a ScoreError where the map leads away from classes of the truth.

        Args:
            labels: Classes of the predictions, by their old names.
            true: Classes of the truth.
        """
        found = set(labels)
        lost = sorted((found & set(true)) - {self.of(label) for label in found})
        if lost:
            name = self.names[lost[0]]
            raise ScoreError(
                f"the class map turns {lost[0]}, a class of the truth, into "
                f"{'nothing' if name is None else f'{name}, which it does not have'}",
                hint="Write 'predicted name: true name', or measure some classes with --classes.",
            )
        for label in sorted(found & set(self.names)):
            name = self.names[label]
            other = None if name is None or name in true else respelt(name, true)
            if other is not None:
                raise ScoreError(
                    f"the class map turns {label} into {name}, the truth has {other}",
                    hint=f"Write {label}: {other}",
                )


def read_class_map(path: str) -> dict[str, str | None]:
    """A class map from a file of YAML: ``name in the predictions: name in the truth``.

    An empty name (or ``null``) leaves a class out.

    Raises:
        ConfigError: If the file is missing or no YAML.
        ScoreError: If it is no such map.
    """
    from earmark.core.config import load_yaml

    content = load_yaml(path)
    wrong = [name for name, value in content.items() if not isinstance(value, str | None)]
    if wrong or not content:
        raise ScoreError(
            f"not a map of class names ({', '.join(map(str, wrong)) or 'it is empty'})",
            where=path,
            hint="Write lines like 'Speech, male: Speech'; quote names with a colon",
        )
    return {str(name): value or None for name, value in content.items()}


def events_to_scores(events: Sequence[Event], labels: Sequence[str], seconds: float) -> ScoreTable:
    """Events with scores as a score table: all decisions that a threshold can make of them.

    Frames between all edges of events; the highest score of the events that hold a frame, -inf
    where there is none.

    Args:
        events: Each with a score.
        labels: The classes of the table.
        seconds: Length of the clip; later events make the table longer.
    """
    column = {label: number for number, label in enumerate(labels)}
    lasting = [event for event in events if event.offset > event.onset]
    edges = np.unique([0.0, seconds, *(time for event in lasting for time in event[:2])])
    values = np.full((len(edges) - 1, len(labels)), -np.inf)
    for event in lasting:
        assert event.score is not None
        first, last = np.searchsorted(edges, event[:2])
        held = values[first:last, column[event.event_label]]
        np.maximum(held, event.score, out=held)
    return ScoreTable(edges, values, tuple(labels))
