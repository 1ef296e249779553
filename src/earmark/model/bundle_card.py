"""What a bundle's card says: scores and licence, read from the Markdown of its ``README.md``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_NUMBER = re.compile(r"\d*\.?\d+")
_ALL = "**all**"


@dataclass(frozen=True)
class BundleCard:
    """What a card says.

    Attributes:
        scores: Of each section of scores its heading, and the mean over classes by metric.
        licence: First paragraph on it; empty if there is none.
    """

    scores: Mapping[str, Mapping[str, float]]
    licence: str = ""


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
    return BundleCard(scores, licence)


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
