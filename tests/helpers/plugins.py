"""The examples of packages that add to Earmark, installed for a test."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def install_example(name: str, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip leaves of an example: its module, and its name and entry points beside it."""
    file = EXAMPLES / name / "pyproject.toml"
    install(tomllib.loads(file.read_text(encoding="utf-8"))["project"], site)
    shutil.copy(EXAMPLES / name / f"{name}.py", site)
    monkeypatch.syspath_prepend(str(site))


def install(project: Mapping[str, Any], site: Path) -> None:
    """What pip leaves of a package's name, version and entry points."""
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    header = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(header, encoding="utf-8")
    points = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(points), encoding="utf-8")
