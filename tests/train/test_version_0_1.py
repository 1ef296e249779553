"""Runs that version 0.1 began go on: their settings are spelled as it spelled them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from earmark.core.errors import ConfigError
from earmark.data.crops import survey
from earmark.data.manifest import Manifest, load_manifest
from earmark.train.distributed import make_fabric
from earmark.train.engine import train
from earmark.train.pretrain import pretrain
from helpers.ranks import small_pretraining, small_recipe

V1 = ("method.mixup.per=kind", "method.mixup.fold=false", "method.mixup.tau=1")


def _manifest(data: Path) -> Manifest:
    return dataclasses.replace(load_manifest(data), splits={})  # nothing to validate on


def _respell(out: Path) -> dict[str, Any]:
    """Give a run's checkpoint the settings of version 0.1; returns its ``method`` or ``mask``."""
    state = torch.load(out / "state.ckpt", weights_only=True)
    if mask := state["recipe"].get("mask"):
        mask["share"] = mask.pop("fraction")
        torch.save(state, out / "state.ckpt")
        return dict(mask)
    method = state["recipe"]["method"]
    v1 = method.pop("v1") or {
        **{"per": "clip", "fold": True, "mix_encoder": True},
        **{"warp_per": "clip", "teacher_sees": "clean", "consistency": "clip"},
    }
    method["mixup"]["encoder"] = v1.pop("mix_encoder")
    method["mixup"] |= {name: v1.pop(name) for name in ("per", "fold")}
    method |= v1
    torch.save(state, out / "state.ckpt")
    return dict(method)


@pytest.mark.parametrize("overrides", [(), V1], ids=["v2", "v1"])
def test_a_training_run_goes_on(
    tiny_data: Path, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    recipe, manifest = small_recipe(*overrides), _manifest(tiny_data)
    whole = train(recipe, manifest, tmp_path / "whole", fabric=make_fabric("cpu"))
    out = tmp_path / "run"
    train(recipe, manifest, out, fabric=make_fabric("cpu"), stop_after_epochs=1)
    assert _respell(out)["mixup"]["per"] == ("kind" if overrides else "clip")
    again = train(recipe, manifest, out, fabric=make_fabric("cpu"), resume=True)
    for name, value in whole.student.state_dict().items():
        assert torch.equal(value, again.student.state_dict()[name]), name
    other = small_recipe(*overrides, "method.consistency=kind")
    with pytest.raises(ConfigError, match="other settings"):
        train(other, manifest, out, fabric=make_fabric("cpu"), resume=True)


def test_a_pretraining_run_goes_on(tiny_data: Path, tmp_path: Path) -> None:
    recipe = small_pretraining()
    recordings = survey([tiny_data], recipe.shortest)
    pretrain(recipe, recordings, tmp_path, fabric=make_fabric("cpu"), stop_after_epochs=1)
    assert _respell(tmp_path)["share"] == 0.65
    run = pretrain(recipe, recordings, tmp_path, fabric=make_fabric("cpu"), resume=True)
    assert run.epoch == 2
