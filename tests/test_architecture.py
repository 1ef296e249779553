"""A room imports only the rooms before it, and the light rooms stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import earmark

ROOT = Path(earmark.__file__).parent
ROOMS = [
    "core",
    "score",
    "data",
    "synth",
    "prepare",
    "features",
    "model",
    "method",
    "detect",
    "train",
    "deliver",
    "cli",
]
LIGHT = [
    "core",
    "score",
    "data",
    "synth",
    "prepare",
]  # but for the one file that makes batches of tensors
BATCHES = ROOT / "data" / "dataset.py"
HEAVY = {"torch", "lightning_fabric", "torchaudio"}


def imports(source: str, package: str = "earmark") -> set[str]:
    """Every module named by an import anywhere in the source, functions included."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: 1 - node.level or None] if node.level else []
            module = ".".join([*parents, *filter(None, [node.module])])
            # `from earmark import data` names a room only through its alias.
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def too_early(room: str, names: set[str]) -> set[str]:
    """Those of the names that a module of this room must not import."""
    before = ROOMS[: ROOMS.index(room) + 1]
    ours = {name for name in names if name.split(".")[0] == "earmark"} - {"earmark.__version__"}
    return {name for name in ours if [*name.split("."), ""][1] not in before}


def test_rooms_are_all_there_and_no_others() -> None:
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"recipes"} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_before_it(room: str) -> None:
    faults = {}
    for path in (ROOT / room).rglob("*.py"):
        package = ".".join(["earmark", *path.parent.relative_to(ROOT).parts])
        if wrong := too_early(room, imports(path.read_text(encoding="utf-8"), package)):
            faults[str(path.relative_to(ROOT))] = sorted(wrong)
    assert not faults


@pytest.mark.parametrize(
    "line",
    [
        "from earmark.train import engine",
        "import earmark.train.engine as e",
        "from earmark import train",
        "from earmark import Detector",
        "from ..train.engine import fit",
        "def f():\n    from earmark.train import engine",
        "if TYPE_CHECKING:\n    from earmark.train import engine",
    ],
)
def test_the_walk_sees_every_form_of_import(line: str) -> None:
    assert too_early("score", imports(line, "earmark.score"))
    assert not too_early("score", imports(line.replace("train", "core"), "earmark.score")) or (
        "Detector" in line
    )


@pytest.mark.parametrize("room", LIGHT)
def test_light_rooms_import_no_torch(room: str) -> None:
    for path in set((ROOT / room).rglob("*.py")) - {BATCHES}:
        names = {name.split(".")[0] for name in imports(path.read_text(encoding="utf-8"))}
        assert not names & HEAVY, path


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("earmark.score", {"torch", "pandas"}),
        ("earmark.core.config", {"torch", "pandas"}),
        ("earmark.data.manifest", {"torch"}),
        ("earmark.synth.soundscapes", {"torch"}),
    ],
)
def test_importing_a_light_module_loads_nothing_heavy(module: str, unwanted: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted({unwanted!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
