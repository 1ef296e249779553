"""A room imports only the rooms before it, and the light rooms stay light.

So does the rest of the house keep its shape: no circle of files, no crowded folder, no room that
holds everything, one thing to a class name.
"""

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
MOST_MODULES = 14  # of a folder, `__init__.py` aside
CROWDED = {"cli"}  # one file a command, and every command is on the first page of the help
LARGEST_ROOM = 0.16  # of all lines


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
    ours = {name for name in names if name.split(".")[0] == "earmark"} - {
        "earmark._version.__version__"
    }
    return {name for name in ours if [*name.split("."), ""][1] not in before}


def test_rooms_are_all_there_and_no_others() -> None:
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} - {
        "recipes",
        "testing",
    } == set(ROOMS)


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


def modules() -> dict[str, Path]:
    """Every file of the package by the name one imports it under."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if path.name == "__init__.py" else parts)] = path
    return found


def imported_modules(sources: dict[str, str], packages: set[str]) -> dict[str, set[str]]:
    """Which module of ours imports which, anywhere in its file.

    That Python runs the packages around a module first does not count: they import their modules
    to offer them, and that is no circle of anyone's making.
    """
    graph = {}
    for name, source in sources.items():
        package = name if name in packages else name.rpartition(".")[0]
        named = set()
        for target in imports(source, package):
            while target and target not in sources:  # what a module holds, not a module
                target = target.rpartition(".")[0]
            named.add(target)
        graph[name] = named - {name, ""}
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The shortest way from any module back to itself; empty where there is none."""
    shortest: list[str] = []
    for start in sorted(graph):
        ways, seen = [[start]], {start}
        while ways:
            way = ways.pop(0)
            if start in graph[way[-1]] and (not shortest or len(way) < len(shortest)):
                shortest = way
                break
            new = sorted(graph[way[-1]] - seen)
            ways += [[*way, name] for name in new]
            seen |= set(new)
    return shortest


def test_no_circle_of_files() -> None:
    files = modules()
    sources = {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    packages = {name for name, path in files.items() if path.name == "__init__.py"}
    assert not circle(imported_modules(sources, packages))


@pytest.mark.parametrize(
    "line",
    [
        "from earmark.core import b",
        "import earmark.core.b",
        "from . import b",
        "from .b import thing",
        "def f():\n    from earmark.core.b import thing",
        "if TYPE_CHECKING:\n    from earmark.core.b import thing",
    ],
)
def test_the_walk_sees_every_form_of_circle(line: str) -> None:
    names = ("earmark", "earmark.core", "earmark.core.a", "earmark.core.b", "earmark.core.c")
    sources = dict.fromkeys(names, "")
    sources["earmark.core"] = "from earmark.core.a import thing"
    sources["earmark.core.b"] = "from earmark.core.c import thing"
    sources["earmark.core.c"] = line.replace("b", "a")
    packages = {"earmark", "earmark.core"}
    assert not circle(imported_modules(sources, packages))
    sources["earmark.core.a"] = line
    found = circle(imported_modules(sources, packages))
    assert set(found) == {"earmark.core.a", "earmark.core.b", "earmark.core.c"}


def test_no_folder_is_crowded() -> None:
    folders = {path.parent for path in modules().values()} - {ROOT / name for name in CROWDED}
    count = {
        folder.relative_to(ROOT).as_posix(): len(
            set(folder.glob("*.py")) - {folder / "__init__.py"}
        )
        for folder in folders
    }
    assert not {folder: files for folder, files in count.items() if files > MOST_MODULES}


def test_no_room_holds_everything() -> None:
    lines = dict.fromkeys(ROOMS, 0)
    total = 0
    for path in modules().values():
        number = len(path.read_text(encoding="utf-8").splitlines())
        total += number
        if (room := path.relative_to(ROOT).parts[0]) in lines:
            lines[room] += number
    shares = {room: number / total for room, number in lines.items()}
    assert not {room: share for room, share in shares.items() if share > LARGEST_ROOM}


def test_a_class_name_means_one_thing() -> None:
    where: dict[str, list[str]] = {}
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                where.setdefault(node.name, []).append(name)
    twice = {name for name, places in where.items() if len(places) > 1}
    assert not {name: where[name] for name in twice}
