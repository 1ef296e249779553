"""Every two-stage recipe, made tiny: one step of each stage, the second from the first."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric

from earmark.data.manifest import load_manifest
from earmark.method.settings import Recipe
from earmark.model.encoders.yamnet import pretrained_weights
from earmark.train.engine import Run, train
from earmark.train.optim import learning_rate
from earmark.train.recipe import load_recipe, recipe_names
from earmark.train.record.journal import run_record

ROADS = ("atst-sed", "atst-sed-v2", "atst-sed-tiny")
SMALL = [
    "network.rnn_hidden=8",
    "network.window_seconds=2.0",
    "network.encoder.width=12",
    "network.encoder.depth=2",
    "network.encoder.heads=2",
    "network.encoder.merge=8",
    "method.embedding.hidden=16",
    "method.embedding.out=8",
    "train.batch={real: 0, synthetic: 3, weak: 2, unlabelled: 3}",
    "train.epochs=1",
    "train.steps_per_epoch=2",
]


def _recipe(road: str, stage: int, *overrides: str) -> Recipe:
    channels = [4] * len(load_recipe(f"{road}-stage{stage}").network.channels)
    some = [*SMALL, f"network.channels={channels}", *overrides]
    return load_recipe(f"{road}-stage{stage}", some)


def _run(recipe: Recipe, data: Path, out: Path, **options: Any) -> Run:
    fabric = Fabric(accelerator="cpu", devices=1)
    manifest = dataclasses.replace(load_manifest(data, recipe.data), splits={})
    return train(recipe, manifest, out, fabric=fabric, **options)


def test_every_stage_has_its_recipe() -> None:
    stages = {name for name in recipe_names() if "-stage" in name}
    assert stages == {f"{road}-stage{stage}" for road in (*ROADS, "home") for stage in (1, 2)}


def test_home_learns_in_two_stages(tiny_data: Path, tmp_path: Path) -> None:
    """First beside YAMNet as published, which stands still; then with it."""
    small = [
        "network.channels=[4,4,4,4,4]",
        "network.encoder.taps=[2,8]",
        "train.batch={real: 0, synthetic: 2, weak: 2, unlabelled: 2}",
        "train.token_cache=null",
        "train.steps_per_epoch=1",
        "train.epochs=1",
    ]
    assert load_recipe("home-stage1").network == load_recipe("home-stage2").network
    first = _run(load_recipe("home-stage1", small), tiny_data, tmp_path / "one")
    kept = first.student.network.sure_encoder.state_dict()
    published = pretrained_weights()
    assert all(torch.equal(value, published[name].float()) for name, value in kept.items())
    begin = f"train.init={tmp_path / 'one'}"
    second = _run(load_recipe("home-stage2", [*small, begin]), tiny_data, tmp_path / "two")
    moved = second.student.network.sure_encoder.state_dict()
    assert torch.equal(moved["blocks.5.conv.weight"], kept["blocks.5.conv.weight"])
    assert not torch.equal(moved["blocks.6.conv.weight"], kept["blocks.6.conv.weight"])


@pytest.mark.parametrize("road", ROADS)
def test_the_second_stage_goes_on_from_the_first(
    road: str, tiny_data: Path, tmp_path: Path
) -> None:
    first = _run(_recipe(road, 1), tiny_data, tmp_path / "one")
    begin = f"train.init={tmp_path / 'one'}"
    before = _run(_recipe(road, 2, begin), tiny_data, tmp_path / "two", stop_after_epochs=0)
    for ours, theirs in ((before.student, first.student), (before.teacher, first.teacher)):
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        for name, value in theirs.state_dict().items():
            assert torch.equal(value, ours.state_dict()[name]), name
    assert (before.student.heads is None) is (road == "atst-sed")
    second = _run(_recipe(road, 2, begin), tiny_data, tmp_path / "two", resume=True)
    moved = {
        name: not torch.equal(value, first.student.state_dict()[name])
        for name, value in second.student.named_parameters()
    }
    assert not moved.pop("network.encoder.mask_embed")
    assert all(moved.values()), [name for name, changed in moved.items() if not changed]
    for stage, folder in ((1, "one"), (2, "two")):
        losses = run_record(tmp_path / folder)[0]["losses"]
        assert all(math.isfinite(value) for value in losses.values())
        assert {"strong", "weak", "mean_teacher", "ramp"} <= losses.keys()
        assert ("embedding" in losses) is (road != "atst-sed")
        shares = second.encoder if stage == 2 else first.encoder
        assert (shares is not None) is (stage == 1)


def test_v1s_schedule_and_rates() -> None:
    """Stage 2's learning rates at v1's steps, and by layer of the encoder."""
    recipe = load_recipe("atst-sed-stage2").train
    rates = [2e-4 * learning_rate(step - 1, recipe) for step in (1, 290, 3770, 7250)]
    assert rates == pytest.approx([1.4e-6, 2e-4, 1.1e-4, 2e-5], rel=0.02)
    assert recipe.steps == 7250
    first = load_recipe("atst-sed-stage1").train
    assert first.steps == 11_800
    assert learning_rate(11_799, first) == learning_rate(2950, first) == 1.0


def test_v1_and_v2_are_the_same_size() -> None:
    """And v1's, parameter by parameter: 86,646,500."""
    from earmark.model.sed import SedNetwork

    for road in ("atst-sed", "atst-sed-v2"):
        settings = [load_recipe(f"{road}-stage{stage}").network for stage in (1, 2)]
        assert settings[0] == settings[1]
        with torch.device("meta"):
            network = SedNetwork(settings[0], tuple("abcdefghij"))
        assert sum(p.numel() for p in network.parameters()) == 86_646_500
