"""What a parser under trial is, and what it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from earmark.train.recipe import load_recipe

LEFT = Path(__file__).parents[1] / "legacy" / "v0_1"
PACKAGE = Path(load_recipe.__code__.co_filename).parents[1]
LABELS = ("Dog", "Cat, small", "犬")
Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Target:
    """A parser.

    Attributes:
        read: Reads a file in a folder; an answer that is not right is an AssertionError.
        seeds: Good files by name, with how each is to be spoiled (see `mutations`).
        beside: Files that the folder needs, too.
        weight: How often it is tried beside others.
    """

    read: Callable[[Path], object]
    seeds: Callable[[], Mapping[str, tuple[bytes, str]]]
    beside: Callable[[], Files] = dict
    weight: float = 1.0
    name: str = field(default="", compare=False)
