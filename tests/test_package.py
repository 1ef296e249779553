"""The package's own papers agree with each other and name no one's machine."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import earmark
from earmark.synth.settings import load_synth_settings, preset_names
from earmark.train.recipe import (
    load_pretrain_recipe,
    load_recipe,
    pretrain_recipe_names,
    recipe_names,
)

CHECKOUT = Path(__file__).parents[1]
PACKAGE = Path(earmark.__file__).parent
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MACHINE_PATH = re.compile(r"(?<![\w.\-~*])/(?:work|tmp|root|home|Users)/|\.\./shared")


def tracked_files() -> list[Path]:
    """What git would hand to a stranger."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("needs a git checkout: the files were copied without their history")
    paths = [CHECKOUT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_one_version_everywhere() -> None:
    changelog = (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\]", changelog, flags=re.MULTILINE)
    newest = next(heading for heading in headings if heading.lower() != "unreleased")
    assert earmark.__version__ == PROJECT["version"] == newest == metadata.version("earmark")


def test_every_declared_dependency_is_pinned_within_its_range() -> None:
    lines = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pinned = {canonicalize_name(name): version for name, version in pins.items()}
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for need in (Requirement(text) for group in groups for text in group):
        if need.name != "earmark":
            assert need.specifier.contains(pinned[canonicalize_name(need.name)]), need
    assert pinned["torch"] == "2.13.0"


def test_the_oldest_dependencies_are_those_that_are_allowed() -> None:
    lines = (CHECKOUT / "constraints/oldest.txt").read_text(encoding="utf-8").splitlines()
    oldest = [Requirement(line) for line in lines if not line.startswith("#")]
    needs = {
        canonicalize_name(need.name): need.specifier
        for need in map(Requirement, PROJECT["dependencies"])
    }
    assert {canonicalize_name(need.name) for need in oldest} == set(needs)
    for need in oldest:
        [pin], [floor] = need.specifier, needs[canonicalize_name(need.name)]
        assert (pin.operator, floor.operator) == ("==", ">=")
        assert Version(pin.version) == Version(floor.version), need
    pins = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    newest = (CHECKOUT / "constraints/newest.txt").read_text(encoding="utf-8").splitlines()
    assert newest[-1] in pins


def test_pytorch_is_no_dependency_of_those_who_listen() -> None:
    heavy = {"torch", "lightning-fabric", "tensorboard"}
    assert not heavy & {Requirement(text).name for text in PROJECT["dependencies"]}
    train = {Requirement(text).name for text in PROJECT["optional-dependencies"]["train"]}
    assert train == heavy


def test_papers_of_the_project_can_be_read_by_programs() -> None:
    citation = yaml.safe_load((CHECKOUT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == earmark.__version__
    assert citation["license"] == PROJECT["license"]
    targets = set(
        re.findall(
            r"^([a-z0-9-]+):.*## ", (CHECKOUT / "Makefile").read_text("utf-8"), flags=re.MULTILINE
        )
    )
    for path in sorted((CHECKOUT / ".github/workflows").glob("*.yml")):
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        for job in workflow["jobs"].values():
            for step in job["steps"]:
                for target in re.findall(r"^make (.+)$", step.get("run", ""), flags=re.MULTILINE):
                    which = job.get("strategy", {}).get("matrix", {}).get("which", [""])
                    names = {target.replace("${{ matrix.which }}", one) for one in which}
                    assert names <= targets, path.name


@pytest.mark.parametrize("name", recipe_names())
def test_every_training_recipe_parses(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
@pytest.mark.parametrize("name", pretrain_recipe_names())
def test_every_pretraining_recipe_parses(name: str, size: str) -> None:
    recipe = load_pretrain_recipe(name, [], size)
    assert (recipe.name, recipe.size) == (name, size)
    assert recipe.description


@pytest.mark.parametrize("name", preset_names())
def test_every_soundscape_recipe_parses(name: str) -> None:
    load_synth_settings(name)


def test_no_recipe_escapes_the_tests_above() -> None:
    recipes = PACKAGE / "recipes"
    found = {path.relative_to(recipes) for path in recipes.rglob("*.y*ml")}
    tested = {Path(f"{name}.yaml") for name in recipe_names()}
    tested |= {Path("pretrain", f"{name}.yaml") for name in pretrain_recipe_names()}
    tested |= {Path("synth", f"{name}.yaml") for name in preset_names()}
    assert found == tested
    assert {"mini", "mini-long"} <= set(recipe_names())


def test_no_source_file_is_too_long() -> None:
    lengths = {path: len(path.read_bytes().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {path.name: length for path, length in lengths.items() if length > 500} == {}


def test_no_tracked_file_names_a_path_of_one_machine() -> None:
    faults = []
    for path in tracked_files():
        if path.name == "run" and path.parent.name == ".ci":
            continue  # the one place that knows where the optional data lie
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        where = path.relative_to(CHECKOUT)
        faults += [f"{where}:{n}: {x}" for n, x in enumerate(lines, 1) if MACHINE_PATH.search(x)]
    assert faults == []


def test_documents_name_only_targets_that_exist() -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):.*## ", makefile, flags=re.MULTILINE))
    assert {"help", "install", "demo", "test", "lint", "typecheck", "check", "oracle"} <= targets
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        text = (CHECKOUT / name).read_text(encoding="utf-8")
        assert set(re.findall(r"`make ([a-z]+)", text)) <= targets, name
