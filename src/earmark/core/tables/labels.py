"""Classes and clips: the words a table of events is written in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from earmark.core.errors import LabelError
from earmark.core.event import EVENT_COLUMNS, Event
from earmark.core.naming import clip_id
from earmark.core.tables.rows import check_label

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class LabelSet:
    """The classes of a task in the order of a network's outputs.

    Attributes:
        names: Class names, each once.

    Raises:
        LabelError: If a name is empty, occurs twice, or could not stand in every label file.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise LabelError(f"class names occur twice: {', '.join(twice)}")
        if not all(name.strip() for name in self.names):
            raise LabelError("a class name is empty")
        for name in self.names:
            check_label(name)

    @classmethod
    def from_names(cls, names: Iterable[str]) -> LabelSet:
        """The sorted set of all names."""
        return cls(tuple(sorted(set(names))))

    def index(self, name: str) -> int:
        """Position of a class.

        Raises:
            LabelError: If there is no such class.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise LabelError(
                f"no class is called {name!r}", hint=f"Known classes: {', '.join(self.names)}"
            ) from None

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names


def events_by_clip(events: pd.DataFrame) -> dict[str, list[Event]]:
    """Events of each clip that has any.

    Args:
        events: Table with the columns of ``EVENT_COLUMNS``, and ``score`` if there are any.

    Returns:
        Clip id (file name without its last extension) → its events in the table's order, with
        scores where the table has them.
    """
    clips: dict[str, list[Event]] = {}
    columns = [events[name].tolist() for name in EVENT_COLUMNS]
    scores = events["score"].tolist() if "score" in events.columns else [None] * len(events)
    for filename, onset, offset, label, score in zip(*columns, scores, strict=True):
        own = None if score is None or math.isnan(score) else float(score)
        event = Event(float(onset), float(offset), label, own)
        clips.setdefault(clip_id(filename), []).append(event)
    return clips
