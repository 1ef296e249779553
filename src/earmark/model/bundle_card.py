"""What a bundle's card says, the Markdown of its ``README.md``: scores, licence; sections."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_NUMBER = re.compile(r"\d*\.?\d+")
_ALL = "**all**"
LICENCE = "## Licence"
BFLOAT16 = "## In bfloat16"
"""Heading of what bfloat16 changes, as `earmark evaluate --measure-precision` writes it."""


@dataclass(frozen=True)
class BundleCard:
    """What a card says.

    Attributes:
        scores: Of each section of scores its heading, and the mean over classes by metric.
        licence: First paragraph on it; empty if there is none.
        bfloat16: Whether it says what bfloat16 changes.
    """

    scores: Mapping[str, Mapping[str, float]]
    licence: str = ""
    bfloat16: bool = False


def read_card(folder: Path) -> BundleCard:
    """The card of a bundle; one without anything where the bundle has none."""
    path = folder / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    scores, licence = {}, ""
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, _, content = section.partition("\n")
        if heading.strip() == "Licence":
            licence = " ".join(content.strip().partition("\n\n")[0].split())
        elif heading.startswith("Scores on ") and (found := _means(content)):
            scores[heading.strip()] = found
    return BundleCard(scores, licence, f"\n{BFLOAT16}\n" in f"\n{text}")


def _means(content: str) -> dict[str, float]:
    """The row of all classes of the first table, by the table's header."""
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in content.splitlines()
        if line.lstrip().startswith("|")
    ]
    means = next((row for row in rows if row[0] == _ALL), None)
    if means is None:
        return {}
    pairs = zip(rows[0][1:], means[1:], strict=False)
    return {name: float(value) for name, value in pairs if _NUMBER.fullmatch(value)}


def with_section(card: str, section: str) -> str:
    """A model card with the section, in the place of an older one or before the licence."""
    heading = section.partition("\n")[0]
    parts = [part for part in _sections(card) if not part.startswith(heading)]
    place = next(
        (number for number, part in enumerate(parts) if part.startswith(LICENCE)), len(parts)
    )
    parts.insert(place, section)
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _sections(card: str) -> list[str]:
    """A card cut before every heading of the second level."""
    parts: list[list[str]] = [[]]
    for line in card.splitlines():
        if line.startswith("## "):
            parts.append([])
        parts[-1].append(line)
    return ["\n".join(part) for part in parts]
