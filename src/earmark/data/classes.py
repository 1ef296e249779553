"""Which classes a dataset has: names as its labels have them, renamed, merged, dropped, refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from earmark.core.errors import LabelError

#: In a class map: all names that are neither mapped nor classes.
OTHERS = "*"


@dataclass(frozen=True)
class Classes:
    """The classes of a dataset.

    Attributes:
        names: The classes, in the order of a network's outputs; None for whatever labels say.
        renamed: Name in the labels → class, or None to drop its labels. ``*`` stands for every
            name that is neither here nor a class.
    """

    names: tuple[str, ...] | None = None
    renamed: Mapping[str, str | None] = field(default_factory=dict)

    def of(self, label: str, where: str | Path | None = None) -> str | None:
        """The class of a label, or None where it is dropped.

        Raises:
            LabelError: It is none of the classes.
        """
        if label in self.renamed:
            return self.renamed[label]
        if self.names is None or label in self.names:
            return self.renamed[OTHERS] if self.names is None and self._drops(label) else label
        if OTHERS in self.renamed:
            return self.renamed[OTHERS]
        close = get_close_matches(label, self.names, n=1)
        hint = f"Did you mean {close[0]}? " if close else ""
        raise LabelError(
            f"{label!r} is none of the classes {', '.join(self.names)}",
            where=where,
            hint=f"{hint}Correct it, add it to `classes`, or say under `class_map` what it is "
            f"({label}: a class, or null to drop it)",
        )

    def _drops(self, label: str) -> bool:
        """Whether ``*`` means this label where the classes are those that a map leads to."""
        return OTHERS in self.renamed and label not in self.renamed.values()

    def many(self, labels: Iterable[str], where: str | Path | None = None) -> tuple[str, ...]:
        """The classes of several labels, each once."""
        found = (self.of(label, where) for label in labels)
        return tuple(dict.fromkeys(name for name in found if name is not None))
