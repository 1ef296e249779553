"""From the names annotators wrote to the classes of a dataset: rename, merge, drop."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from earmark.core.config import Settings, load_yaml, parse_settings
from earmark.core.errors import ConfigError, LabelError
from earmark.core.tables.rows import check_label, is_nothing
from earmark.data.classes import OTHERS

Rest = Literal["error", "keep", "drop"]


class ClassMap(Settings):
    """Which name becomes which class.

    As YAML:

    ```yaml
    classes:
      Dog: [barking, woof, "dog*"]   # merged; a star stands for any text
      Doorbell:                      # as it is
    drop: [noise, "?"]
    rest: error                      # names that stand nowhere: error, keep or drop
    ```

    Attributes:
        classes: Class → names that become it; its own name always does.
        drop: Names that are left out.
        rest: What happens to names that stand nowhere.
    """

    classes: dict[str, tuple[str, ...]] = Field(default={})
    drop: tuple[str, ...] = ()
    rest: Rest = "error"

    @model_validator(mode="after")
    def _agrees(self) -> ClassMap:
        counts = Counter(name for names in self.classes.values() for name in set(names))
        counts.update(set(self.drop))
        twice = sorted(name for name, count in counts.items() if count > 1)
        if twice:
            raise ValueError(f"{twice[0]!r} has two places")
        for name in self.classes:
            try:
                check_label(name)
            except LabelError as error:
                raise ValueError(error.what) from None
        return self

    def target(self, label: str) -> str | None:
        """The class of a name; None where it is left out.

        Exact names come before names with a star; the longest of these counts.

        Raises:
            KeyError: The name stands nowhere, and ``rest`` is ``error``, or it may mean that there
                is no name, as ``NA`` and ``none``.
        """
        known: dict[str, str | None] = {
            **dict.fromkeys(self.drop, None),
            **{old: new for new, names in self.classes.items() for old in (new, *names)},
        }
        if label in known:
            return known[label]
        fitting = [pattern for pattern in known if "*" in pattern and _fits(pattern, label)]
        if fitting:
            return known[max(fitting, key=len)]
        # Some programs write these words where there is nothing: only who says so has such a class.
        if self.rest == "error" or (self.rest == "keep" and is_nothing(label)):
            raise KeyError(label)
        return label if self.rest == "keep" else None

    def targets(self, labels: Iterable[tuple[str, str]]) -> dict[str, str | None]:
        """The class of every name.

        Args:
            labels: (name, file it stands in), repeats allowed.

        Raises:
            LabelError: Names that stand nowhere; it tells how often and where each first is.
        """
        result: dict[str, str | None] = {}
        lost: dict[str, list[str]] = {}
        for label, file in labels:
            try:
                result[label] = result[label] if label in result else self.target(label)
            except KeyError:
                lost.setdefault(label, []).append(file)
        empty = next(filter(is_nothing, lost), None)
        if empty is not None:
            raise LabelError(
                f"the class name {empty!r} may mean that there is none",
                where=lost[empty][0],
                hint=f"Say what it is: --drop {empty}, --rename {empty}=NEW, or a class of the map",
            )
        if lost:
            shown = ", ".join(f"{name!r} ({len(files)})" for name, files in sorted(lost.items()))
            raise LabelError(
                f"names without a place in the class map, and how often they occur: {shown}",
                where=next(iter(lost.values()))[0],
                hint="Add them to a class or to drop, or set what happens to all others "
                "(rest: keep or drop; --rest)",
            )
        return result


def load_class_map(
    file: str | Path | None,
    renames: Sequence[str] = (),
    drops: Sequence[str] = (),
    rest: str | None = None,
) -> ClassMap:
    """A class map of a file and of flags, which come on top.

    Args:
        file: YAML, or None. What a dataset's description calls ``class_map`` (name → class, or
            null to drop it; ``*`` for all others) is understood, too.
        renames: ``OLD=NEW`` each.
        drops: Names to leave out.
        rest: Overrides the file's; without either, names that stand nowhere are kept where there
            is no file, and an error where there is one.

    Raises:
        ConfigError: The file or a flag is not of this form.
    """
    content: dict[str, Any] = load_yaml(file) if file is not None else {"rest": "keep"}
    classes = content.get("classes") or {}
    if not isinstance(classes, Mapping):
        raise ConfigError(
            "classes is no mapping", where=file, hint="Write classes: {Dog: [barking, woof]}"
        )
    merged = {str(name): _names(names) for name, names in classes.items()}
    for rename in renames:
        old, _, new = (part.strip() for part in rename.partition("="))
        if not (old and new):
            raise ConfigError(f"--rename: {rename!r} is not OLD=NEW")
        merged.setdefault(new, []).append(old)
    mapped = content.pop("class_map", None) or {}
    if not isinstance(mapped, Mapping):
        raise ConfigError(
            "class_map is no mapping", where=file, hint="Write class_map: {woof: Dog}"
        )
    left_out = [str(old) for old, new in mapped.items() if new is None and old != OTHERS]
    for old, new in mapped.items():
        if new is not None:
            merged.setdefault(str(new), []).append(str(old))
    if OTHERS in mapped:
        content["rest"] = "drop"
    given = {"classes": merged, "drop": [*_names(content.get("drop")), *left_out, *drops]}
    override = {} if rest is None else {"rest": rest}
    return parse_settings(ClassMap, {**content, **given, **override}, file or "class map")


def _names(given: object) -> list[str]:
    """A list of names from a list, one name or nothing."""
    if given is None:
        return []
    names = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    for name in names:
        if isinstance(name, bool):
            raise ConfigError(f"a class name reads as {name} in YAML", hint="Put it in quotes")
    return ["null" if name is None else str(name) for name in names]


def _fits(pattern: str, label: str) -> bool:
    parts = (re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(".*".join(parts), label, re.DOTALL) is not None
