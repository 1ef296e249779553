"""A run stopped anywhere leaves what it had: states, bundles, and folders that are not its own."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from earmark.core.errors import BundleError, ConfigError
from earmark.core.files import DRAFT
from earmark.data.manifest import Manifest, load_manifest
from earmark.method.settings import Recipe
from earmark.model.bundle import load_bundle, save_bundle
from earmark.model.folder import READY
from earmark.train.checkpoint import BEFORE, STATE
from earmark.train.engine import train
from helpers.full_disk import full_after

POST = {"threshold": 0.5}


class Killed(BaseException):
    """Stands for a process that is not there any more."""


@contextmanager
def killed_at(number: int) -> Iterator[list[str]]:
    """Ends everything at one of the renamings and links, the first being 0."""
    seen: list[str] = []
    true_replace, true_link = Path.replace, os.link

    def count(what: Any) -> None:
        seen.append(str(what))
        if len(seen) > number:
            raise Killed

    def replace(self: Path, target: Any) -> Path:
        count(target)
        return true_replace(self, target)

    def link(source: Any, target: Any, **more: Any) -> None:
        count(target)
        true_link(source, target, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        patch.setattr(os, "link", link)
        yield seen


@pytest.fixture
def manifest(tiny_data: Path) -> Manifest:
    return load_manifest(tiny_data)


@pytest.fixture(scope="module")
def networks() -> list[Any]:
    """A network, and one with other weights."""
    one, other = load_bundle("mini").trained, load_bundle("mini").trained
    with torch.no_grad():
        for value in other.parameters():
            value.add_(1.0)
    return [one, other]


def _of(folder: Path) -> list[Any]:
    return list(load_bundle(folder).network.state_dict().values())


def test_a_bundle_is_the_old_or_the_new_one_wherever_it_is_stopped(
    networks: list[Any], tmp_path: Path
) -> None:
    wanted = [list(network.state_dict().values()) for network in networks]
    results = set()
    for number in range(12):
        folder = tmp_path / str(number)
        save_bundle(folder, networks[0], POST, "old")
        try:
            with killed_at(number):
                save_bundle(folder, networks[1], POST, "new")
        except Killed:
            pass
        found = _of(folder)
        card = (folder / "README.md").read_text()
        new = card == "new"
        assert all(map(torch.equal, found, wanted[new]))
        results.add(new)
        save_bundle(folder, networks[1], POST, "new")
        assert sorted(path.name for path in folder.iterdir()) == sorted(
            ["README.md", "config.yaml", "labels.txt", "model.safetensors", "postprocess.yaml"]
        )
    assert results == {False, True}


def test_a_first_bundle_is_there_or_not(networks: list[Any], tmp_path: Path) -> None:
    for number in range(8):
        folder = tmp_path / str(number)
        try:
            with killed_at(number):
                save_bundle(folder, networks[0], POST, "card")
        except Killed:
            pass
        if number:
            _of(folder)
            continue
        with pytest.raises(BundleError, match="is no bundle"):
            _of(folder)


def test_a_full_disk_leaves_the_bundle(networks: list[Any], tmp_path: Path) -> None:
    save_bundle(tmp_path, networks[0], POST, "old")
    with full_after(10_000), pytest.raises(BundleError, match=r"cannot be written .File too large"):
        save_bundle(tmp_path, networks[1], POST, "new")
    assert all(map(torch.equal, _of(tmp_path), networks[0].state_dict().values()))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((DRAFT, READY))]


def test_a_run_goes_on_wherever_its_state_was_stopped(
    tiny_recipe: Recipe, manifest: Manifest, tmp_path: Path
) -> None:
    train(tiny_recipe, manifest, tmp_path / "whole")
    assert not (tmp_path / "whole" / BEFORE).exists()
    whole = torch.load(tmp_path / "whole" / STATE, weights_only=True)["student"]
    out = tmp_path / "run"
    train(tiny_recipe, manifest, out, stop_after_epochs=1)
    saved = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    from earmark.train import loop

    true = loop.save_state
    for number in range(4):
        for name, content in saved.items():
            (out / name).write_bytes(content)
        (out / BEFORE).unlink(missing_ok=True)

        def save(*arguments: Any, number: int = number) -> None:
            with killed_at(number):
                true(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "save_state", save)
            with suppress(Killed):
                train(tiny_recipe, manifest, out, resume=True)
        train(tiny_recipe, manifest, out, resume=True)
        again = torch.load(out / STATE, weights_only=True)["student"]
        assert all(torch.equal(again[name], whole[name]) for name in whole)
        assert not list(out.glob(f"{DRAFT}*"))


@pytest.mark.parametrize("damage", ["empty", "cut", "nonsense", "another"])
def test_a_damaged_state(
    tiny_recipe: Recipe,
    manifest: Manifest,
    tmp_path: Path,
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    longer = tiny_recipe.model_copy(
        update={"train": tiny_recipe.train.model_copy(update={"epochs": 3})}
    )
    train(longer, manifest, tmp_path, stop_after_epochs=2)
    path = tmp_path / STATE
    content = path.read_bytes()
    assert (tmp_path / BEFORE).is_file()
    if damage == "another":
        torch.save({"weights": 1}, path)
    else:
        kinds = {"empty": b"", "cut": content[: len(content) // 2], "nonsense": b"nonsense" * 99}
        path.write_bytes(kinds[damage])
    with caplog.at_level(logging.WARNING):
        run = train(longer, manifest, tmp_path, resume=True)
    assert "going on from the state before, of epoch 1" in caplog.text
    assert run.epoch == 3
    (tmp_path / BEFORE).unlink(missing_ok=True)
    path.write_bytes(content[:100])
    with pytest.raises(ConfigError, match=r"state\.ckpt: cannot be read .*Delete it"):
        train(longer, manifest, tmp_path, resume=True)


def test_a_full_disk_leaves_the_state(
    tiny_recipe: Recipe, manifest: Manifest, tmp_path: Path
) -> None:
    train(tiny_recipe, manifest, tmp_path, stop_after_epochs=1)
    before = (tmp_path / STATE).read_bytes()
    with full_after(len(before) - 5000), pytest.raises(OSError, match="File too large") as told:
        train(tiny_recipe, manifest, tmp_path, resume=True)
    assert told.value.filename == str(tmp_path / STATE)
    assert (tmp_path / STATE).read_bytes() == before
    assert train(tiny_recipe, manifest, tmp_path, resume=True).epoch == 2


def test_a_bundle_of_another_is_not_replaced(
    tiny_recipe: Recipe, manifest: Manifest, tmp_path: Path, networks: list[Any]
) -> None:
    save_bundle(tmp_path, networks[0], POST, "card")
    before = (tmp_path / "model.safetensors").read_bytes()
    for resume in (False, True):
        with pytest.raises(ConfigError, match=r"holds a bundle.*has not made.*another folder"):
            train(tiny_recipe, manifest, tmp_path, resume=resume)
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_what_is_saved_is_told_to_whoever_stops_a_run(
    tiny_recipe: Recipe, manifest: Manifest, tmp_path: Path
) -> None:
    class Impatient:
        def on_step(self, step: int, *_: Any) -> None:
            if step == self.last:
                raise KeyboardInterrupt

        def on_epoch(self, _: Any) -> None: ...

        def __init__(self, last: int) -> None:
            self.last = last

    with pytest.raises(KeyboardInterrupt) as told:
        train(tiny_recipe, manifest, tmp_path, reporter=Impatient(1))
    assert told.value.__notes__ == [f"{tmp_path}: nothing is saved yet"]
    with pytest.raises(KeyboardInterrupt) as told:
        train(tiny_recipe, manifest, tmp_path, reporter=Impatient(3))
    assert told.value.__notes__ == [f"{tmp_path}: epoch 1 is saved: add --resume to go on"]
