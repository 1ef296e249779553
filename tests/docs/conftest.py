"""The pages of the documentation, as a Markdown parser sees them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path
    tokens: list[Token]
    root: Path = ROOT

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    def inline(self, kind: str) -> Iterator[tuple[int, Token]]:
        """Pieces of running text of a kind, with the line their paragraph begins in."""
        for token in self.tokens:
            for child in token.children or ():
                if child.type == kind:
                    yield (token.map or [0])[0] + 1, child

    def links(self) -> Iterator[tuple[int, str]]:
        """Targets of links and pictures."""
        for line, token in self.inline("link_open"):
            yield line, str(token.attrs["href"])
        for line, token in self.inline("image"):
            yield line, str(token.attrs["src"])

    def blocks(self, *languages: str) -> Iterator[tuple[int, str]]:
        """Code blocks in one of the languages (empty: indented ones), with their first line."""
        for token in self.tokens:
            if token.type in ("fence", "code_block") and token.info.strip() in languages:
                assert token.map is not None
                yield token.map[0] + (2 if token.type == "fence" else 1), token.content

    def headings(self) -> Iterator[tuple[int, str]]:
        """Level and plain text of each heading."""
        for before, token in zip(self.tokens, self.tokens[1:], strict=False):
            if before.type == "heading_open":
                parts = token.children or []
                text = "".join(part.content for part in parts if part.type != "image")
                yield int(before.tag[1:]), text

    def anchors(self) -> set[str]:
        """Anchors that are the same in the repository's view and on the site."""
        hosts, sites = set(), set()
        for _, text in self.headings():
            hosts.add(re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-"))
            plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
            sites.add(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower()))
        return hosts & sites


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def pages() -> list[Page]:
    """Everything in Markdown that a reader is led to."""
    parser = MarkdownIt("commonmark").enable("table")
    paths = [
        *ROOT.glob("*.md"),
        *sorted((ROOT / "docs").rglob("*.md")),
        *ROOT.glob("examples/*.md"),
        *ROOT.glob("src/earmark/bundles/*/README.md"),
    ]
    return [Page(path, parser.parse(path.read_text(encoding="utf-8"))) for path in paths]
