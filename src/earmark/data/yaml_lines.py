"""Where in a YAML file a setting stands, so that a mistake in it can be reported with its line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from earmark.core.config import load_yaml
from earmark.core.errors import ConfigError
from earmark.core.files.bounds import read_bytes
from earmark.core.files.yaml_bounds import yaml_node

S = TypeVar("S", bound=BaseModel)
Keys = Sequence[str | int]


class YamlFile:
    """A YAML file of settings, read once for its content and once for its lines.

    Args:
        path: The file.

    Raises:
        ConfigError: It is missing, is not YAML, is no mapping, or has a key twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = load_yaml(path)
        self.node = yaml_node(read_bytes(path, ConfigError).decode("utf-8-sig"))
        self._refuse_doubles(self.node)

    def where(self, keys: Keys = ()) -> str:
        """``path:line`` of a setting; of what holds it, where it is not there itself."""
        node, line = self.node, 1
        for key in keys:
            found = _child(node, key)
            if found is None:
                break
            line, node = found
        return f"{self.path}:{line}"

    def parse(self, kind: type[S]) -> S:
        """The content as settings.

        Raises:
            ConfigError: The first setting that is unknown or unfit, with its line.
        """
        try:
            return kind.model_validate(self.content)
        except ValidationError as error:
            # A misspelt key is also a missing one; the misspelling is the better news.
            fault = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
            keys = [key for key in fault["loc"] if isinstance(key, int) or "function-" not in key]
            raise self.mistake(keys, _what(fault), _hint(fault, kind)) from None

    def mistake(self, keys: Keys, what: str, hint: str | None = None) -> ConfigError:
        """An error about a setting, with its line."""
        name = ".".join(str(key) for key in keys)
        return ConfigError(f"{name}: {what}" if name else what, where=self.where(keys), hint=hint)

    def _refuse_doubles(self, node: Any) -> None:
        """PyYAML silently takes the last of two equal keys."""
        if isinstance(node, yaml.SequenceNode):
            for child in node.value:
                self._refuse_doubles(child)
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, child in node.value:
                if key.value in seen:
                    raise ConfigError(
                        f"{key.value} stands here a second time",
                        where=f"{self.path}:{key.start_mark.line + 1}",
                        hint="Give each key once",
                    )
                seen.add(key.value)
                self._refuse_doubles(child)


def _child(node: Any, key: str | int) -> tuple[int, Any] | None:
    """Line and value of a key of a mapping, or of a number of a sequence."""
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        child = node.value[key]
        return child.start_mark.line + 1, child
    if isinstance(node, yaml.MappingNode):
        for name, child in node.value:
            if name.value == str(key):
                return name.start_mark.line + 1, child
    return None


def _what(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "extra_forbidden":
        return "no such key"
    given = fault.get("input")
    text = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "string_type":
        return f"{given!r} is read as a {type(given).__name__}, not as text"
    return text[:1].lower() + text[1:]


def _hint(fault: Mapping[str, Any], kind: type[BaseModel]) -> str | None:
    if fault["type"] == "string_type":
        return "Put it in quotation marks"
    if fault["type"] == "extra_forbidden":
        known = sorted(_keys_beside(fault["loc"], kind))
        close = get_close_matches(str(fault["loc"][-1]), known, n=1)
        return f"Did you mean {close[0]}?" if close else f"Known are {', '.join(known)}"
    return None


def _keys_beside(path: Keys, kind: type[BaseModel]) -> Sequence[str]:
    """Names of the settings that could stand where a path leads."""
    for key in path[:-1]:
        if isinstance(key, str) and key in kind.model_fields:
            kind = next(iter(_models(kind.model_fields[key].annotation)), kind)
    return tuple(kind.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models(part)]
