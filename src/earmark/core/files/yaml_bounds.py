"""YAML within bounds of characters, levels and values, aliases counted as what they stand for.

Apart from the other bounds, so that what reads no YAML does not load the library.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from earmark.core.files.bounds import DAMAGED, DIGITS, MIB

YAML_BYTES = MIB
"""Of a YAML file; the largest of ours, settings by class for AudioSet, has a tenth of it."""
YAML_NODES = 50_000
"""Values of a YAML file, those counted again that aliases repeat."""
YAML_DEPTH = 50
_NUMBER = re.compile(r"[-+0-9a-fA-FxoXO_:.]+")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class BeyondBoundsError(yaml.MarkedYAMLError):
    """YAML that is well written, but asks for too much."""


def parse_yaml(text: str) -> Any:
    """What YAML says; nothing in it is run.

    Raises:
        yaml.YAMLError: It is none, or is longer, deeper or larger than any settings are.
    """
    _weigh(text)
    try:
        return yaml.load(text, Loader=_Loader)
    # A date that is none: what makes Python's objects of the text has errors of its own.
    except (*DAMAGED, AttributeError) as error:
        raise yaml.YAMLError(str(error)) from None


def yaml_node(text: str) -> yaml.Node | None:
    """The nodes of YAML with their lines, within the bounds of `parse_yaml`."""
    _weigh(text)
    node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    return node


def _weigh(text: str) -> None:
    """Refuse what nests or repeats itself beyond bounds, event by event: nothing is built."""
    if len(text) > YAML_BYTES:
        raise yaml.YAMLError(f"it has {len(text):,} characters, settings at most {YAML_BYTES:,}")
    weights: list[int] = [0]
    names: list[str | None] = []
    known: dict[str, int] = {}
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            names.append(event.anchor)
            weights.append(1)
            if len(weights) > YAML_DEPTH:
                raise _beyond(event, f"it nests deeper than {YAML_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            weight, name = weights.pop(), names.pop()
            weights[-1] += weight
            if name is not None:
                known[name] = weight
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in names:
                raise _beyond(event, f"*{event.anchor} stands inside itself")
            weights[-1] += known.get(event.anchor or "", 1)
        elif isinstance(event, yaml.ScalarEvent):
            weights[-1] += 1
            if event.anchor is not None:
                known[event.anchor] = 1
            if len(event.value) > DIGITS and _NUMBER.fullmatch(event.value):
                raise _beyond(event, f"a number of {len(event.value)} digits")
        if weights[-1] > YAML_NODES:
            raise _beyond(event, f"it has more than {YAML_NODES:,} values")


def _beyond(event: Any, what: str) -> BeyondBoundsError:
    return BeyondBoundsError(problem=what, problem_mark=event.start_mark)
