"""Pages of the documentation: all in the navigation once, and no link that leads nowhere."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import yaml

import earmark
from earmark.cli import app

OUTSIDE = "repository/"
"""Folder of the site for files that lie outside docs/, see docs/_site/outside.py."""


def nav_paths(entry: Any) -> list[str]:
    """Paths of a navigation, in order."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [path for part in parts for path in nav_paths(part)]


def test_every_page_is_in_the_navigation_once(root: Path) -> None:
    config = yaml.safe_load((root / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = nav_paths(config["nav"])
    assert len(listed) == len(set(listed))
    inside = [path for path in listed if not path.startswith(OUTSIDE)]
    files = [p.relative_to(root / "docs").as_posix() for p in (root / "docs").rglob("*.md")]
    assert sorted(inside) == sorted(files)
    outside = [path.removeprefix(OUTSIDE) for path in listed if path not in inside]
    assert all((root / path).is_file() for path in outside), outside


def test_links_and_anchors_lead_somewhere(pages: Any, root: Path) -> None:
    anchors = {page.path: page.anchors() for page in pages}
    faults, seen = [], 0
    for page in pages:
        for line, target in page.links():
            if re.match(r"\w+:", target):
                continue
            seen += 1
            path, _, anchor = target.partition("#")
            file = (page.path.parent / path).resolve() if path else page.path
            inside = file == root or root in file.parents
            if not (inside and file.is_file()):
                faults.append(f"{page.name}:{line}: no file {target}")
            elif anchor and anchor not in anchors.get(file, ()):
                faults.append(f"{page.name}:{line}: no heading {target}")
    assert seen > 80
    assert not faults, "\n".join(faults)


def test_pages_have_one_title_and_distinct_headings(pages: Any) -> None:
    for page in pages:
        headings = list(page.headings())
        assert [level for level, _ in headings].count(1) == 1, page.name
        assert headings[0][0] == 1, page.name
        if page.path.name != "CHANGELOG.md":
            texts = [text for _, text in headings]
            assert len(texts) == len(set(texts)), page.name


def test_what_continues_a_list_is_indented_by_four(pages: Any) -> None:
    """Python-Markdown, which makes the site, ends the list otherwise; others take two as well."""
    faults = []
    for page in pages:
        fences = [token.map for token in page.tokens if token.type == "fence"]
        lines = page.path.read_text(encoding="utf-8").splitlines()
        for number, (before, line) in enumerate(zip(["", *lines], lines, strict=False)):
            inside = any(first < number < last for first, last in fences)
            if not before.strip() and re.match(r" {1,3}[^ ]", line) and not inside:
                faults.append(f"{page.name}:{number + 1}")
    assert not faults, "\n".join(faults)


def test_pages_named_in_the_code_exist(root: Path) -> None:
    faults = []
    for folder in ("src", "benchmarks", "examples", "tests"):
        for path in (root / folder).rglob("*.py"):
            named = re.findall(r"docs/[\w/]+\.md", path.read_text(encoding="utf-8"))
            faults += [f"{path}: {page}" for page in named if not (root / page).is_file()]
    assert not faults, "\n".join(faults)


def test_python_blocks_name_and_call_what_exists(pages: Any) -> None:
    faults, seen = [], 0
    for page in pages:
        for first, content in page.blocks("python", "py"):
            found = list(faults_of_python(content))
            seen += content.count("import")
            faults += [f"{page.name}:{first + line - 1}: {fault}" for line, fault in found]
    assert seen > 10
    assert not faults, "\n".join(faults)


def test_faults_of_python_are_found() -> None:
    line = "from earmark.score.psds import psds, pdsd"
    text = f"{line}\npsds(a, b)\npsds(a, b, c)\npsds(a, b, c, d=1)"
    assert [line for line, _ in faults_of_python(text)] == [1, 2, 4]


def faults_of_python(text: str) -> Iterator[tuple[int, str]]:
    """Imports from earmark that fail, and calls of the imported with arguments they do not take."""
    tree, known = ast.parse(text), dict[str, Any]()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "earmark":
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                if not hasattr(module, alias.name):
                    yield node.lineno, f"{node.module} has no {alias.name}"
                else:
                    known[alias.asname or alias.name] = getattr(module, alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (called := resolved(node.func, known)) is not None:
            open_ended = any(isinstance(argument, ast.Starred) for argument in node.args)
            names = [keyword.arg for keyword in node.keywords]
            if open_ended or None in names:
                continue
            try:
                inspect.signature(called).bind(*node.args, **dict.fromkeys(map(str, names)))
            except TypeError as error:
                yield node.lineno, f"{ast.unparse(node.func)}: {error}"


def resolved(node: ast.expr, known: dict[str, Any]) -> Any:
    """What a name, or an attribute of a name, of the imported stands for."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute) and (owner := resolved(node.value, known)) is not None:
        return getattr(owner, node.attr)
    return None


def test_the_architecture_names_what_is_there(root: Path) -> None:
    """Rooms and files of the page, and of its drawing, exist in the package."""
    package = Path(earmark.__file__).parent
    page, drawing = (root / "docs" / f"architecture{end}" for end in (".md", ".svg"))
    seen = set(re.findall(r"`([a-z]+/[\w/.]*)`", page.read_text(encoding="utf-8")))
    seen = {name for name in seen if not (root / name).exists()}  # tests/ and examples/
    seen |= set(re.findall(r"(?<![\w/.])[a-z]+/[\w/.]*", drawing.read_text(encoding="utf-8")))
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    assert {name.partition("/")[0] for name in seen} == rooms
    assert len(seen) > 30
    assert not {name for name in seen if not (package / name).exists()}


def test_every_command_is_listed(root: Path) -> None:
    text = (root / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    missing = [name for name in commands if f"`earmark {name}" not in text]
    assert not missing


def test_reference_names_exist(root: Path) -> None:
    """What the reference pages show is there: mkdocstrings' directives, without mkdocstrings."""
    seen = 0
    for path in (root / "docs" / "reference").glob("*.md"):
        for name in re.findall(r"^::: ([\w.]+)$", path.read_text(encoding="utf-8"), re.MULTILINE):
            seen += 1
            module, _, attribute = name.rpartition(".")
            try:
                found: Any = importlib.import_module(module)
            except ModuleNotFoundError:
                module, _, owner = module.rpartition(".")
                found = getattr(importlib.import_module(module), owner)
            assert getattr(found, attribute).__doc__, f"{path.name}: {name}"
    assert seen > 40


def test_the_comparison_has_a_test_or_a_source_in_every_cell(root: Path) -> None:
    """Ours names a test that exists; others link to a file at a commit, or were not checked."""
    lines = (root / "docs/comparison.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][1:]
    assert len(rows) >= 20
    for feature, ours, *others in rows:
        for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", ours):
            assert f"\ndef {name}(" in (root / path).read_text(encoding="utf-8"), name
        assert "`tests/" in ours or ours.startswith("not run here"), feature
        assert len(others) == 4
        for cell in others:
            source = r"\[[^]]+\]\(https://github\.com/[\w./-]+/blob/[0-9a-f]{40}/[\w./-]+\)"
            assert cell == "not checked" or re.match(source, cell), (feature, cell)
