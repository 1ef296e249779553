"""Schedules and groups of parameters against the published values; what is frozen stays so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from earmark.core.config import AtstSettings, NetworkSettings
from earmark.core.errors import ConfigError
from earmark.data.manifest import load_manifest
from earmark.method.networks import Student
from earmark.method.settings import EmbeddingSettings, TrainSettings
from earmark.method.teacher import ramp
from earmark.model.bundle import load_bundle
from earmark.model.sed import SedNetwork
from earmark.train.distributed import leave_out_unused
from earmark.train.engine import train
from earmark.train.optim import (
    freeze,
    learning_rate,
    make_optimizer,
    set_learning_rate,
    train_mode,
)
from earmark.train.recipe import load_recipe

STAGE_2 = TrainSettings(
    epochs=250,
    steps_per_epoch=29,
    lr=2e-3,
    lr_groups={"crnn.cnn.": 2e-4},
    encoder_lr=2e-4,
    encoder_lr_decay=0.5,
    warmup_steps=290,
    lr_final=0.1,
    optimizer="adam",
)
LABELS = tuple(f"class {number}" for number in range(10))


def student(encoder: AtstSettings | None, weight: float = 0.0) -> Student:
    network = SedNetwork(NetworkSettings(encoder=encoder), LABELS)
    leave_out_unused(network)
    return Student(network, EmbeddingSettings(weight=weight))


def base() -> Student:
    """ATST-SED as published, without storage."""
    with torch.device("meta"):
        return student(AtstSettings())


def rates(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, float]:
    """The rate of every parameter that has one."""
    names = {parameter: name for name, parameter in module.named_parameters()}
    return {
        names[parameter]: group["lr"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize(
    ("step", "rate", "weight"),
    [
        (1, 1.4e-6, 0.49),
        (100, None, 8.2),
        (145, None, 20.0),
        (290, 2e-4, 70.0),
        (3770, 1.1e-4, 70.0),
        (7250, 2e-5, 70.0),
    ],
)
def test_published_rates_and_weights_of_the_second_stage(
    step: int, rate: float | None, weight: float
) -> None:
    """Published steps count from 1, ours from 0. Before the cosine both follow the same ramp."""
    share = learning_rate(step - 1, STAGE_2)
    assert 70.0 * ramp(step, 290) == pytest.approx(weight, rel=0.02)
    assert 2e-4 * share == pytest.approx(rate or 2e-4 * weight / 70.0, rel=0.02)


def test_published_groups_of_the_second_stage() -> None:
    """k: 0 the last norm, 1 block 11, …, 12 block 0, 13 what embeds; the factor is 0.5^k."""
    module = base()
    optimizer = make_optimizer(module, STAGE_2)
    assert len(optimizer.param_groups) == 16
    found = rates(optimizer, module)
    layers = {f"network.encoder.blocks.{block}.": 12 - block for block in range(12)}
    layers |= {"network.encoder.norm_frame.": 0}
    layers |= dict.fromkeys(("network.encoder.pos_embed", "network.encoder.patch_embed."), 13)
    for name, rate in found.items():
        below = next((k for prefix, k in layers.items() if name.startswith(prefix)), None)
        if below is not None:
            assert rate == pytest.approx(2e-4 * 0.5**below), name
        else:
            assert rate == (2e-4 if ".cnn." in name else 2e-3), name
    sizes = {name: p.numel() for name, p in module.named_parameters()}
    assert sum(sizes[name] for name, rate in found.items() if rate == 2e-3) == 614_548
    assert set(sizes) - set(found) == {"network.encoder.mask_embed"}
    assert found["network.encoder.pos_embed"] == pytest.approx(2.4e-8, rel=0.02)
    assert found["network.encoder.blocks.0.norm1.bias"] == pytest.approx(4.9e-8, rel=0.02)
    set_learning_rate(optimizer, 3769, STAGE_2)  # half-way down the cosine, of every group
    for name, rate in rates(optimizer, module).items():
        assert rate == pytest.approx(0.55 * found[name], rel=1e-3), name


def test_the_encoder_follows_the_common_rate_or_a_prefix_of_its_own() -> None:
    tiny = student(AtstSettings(width=12, depth=2, heads=3), weight=0.3)
    followed = rates(make_optimizer(tiny, TrainSettings(lr=1e-3, encoder_lr_decay=0.1)), tiny)
    assert followed["network.encoder.norm_frame.bias"] == pytest.approx(1e-3)
    assert followed["network.encoder.blocks.1.norm1.bias"] == pytest.approx(1e-4)
    assert followed["network.encoder.blocks.0.norm1.bias"] == pytest.approx(1e-5)
    assert followed["network.encoder.pos_embed"] == pytest.approx(1e-6)
    assert followed["heads.predictor.layers.0.weight"] == 1e-3
    groups = {"encoder.": 5e-5, "heads.": 1e-2, "encoder.blocks.1.": 7e-5}
    settings = TrainSettings(lr=1e-3, encoder_lr=1.0, lr_groups=groups)
    chosen = rates(make_optimizer(tiny, settings), tiny)
    assert chosen["network.encoder.pos_embed"] == 5e-5
    assert chosen["network.encoder.blocks.1.norm1.bias"] == 7e-5
    assert chosen["heads.predictor.layers.0.weight"] == 1e-2
    assert chosen["network.crnn.rnn.weight_ih_l0"] == 1e-3


def test_rate_is_constant_after_the_ramp_where_it_ends_at_one() -> None:
    settings = TrainSettings(epochs=2, steps_per_epoch=50, warmup_steps=10, lr_final=1.0)
    assert {learning_rate(step, settings) for step in range(10, 100)} == {1.0}
    assert learning_rate(0, TrainSettings(warmup_steps=0)) == pytest.approx(1.0, abs=1e-3)


def test_groups_by_longest_prefix() -> None:
    module = nn.ModuleDict({"cnn": nn.Linear(2, 2), "rnn": nn.Linear(2, 2)})
    settings = TrainSettings(lr=1e-3, lr_groups={"cnn": 1e-4, "cnn.bias": 1e-5}, warmup_steps=10)
    optimizer = make_optimizer(module, settings)
    expected = {"cnn.weight": 1e-4, "cnn.bias": 1e-5, "rnn.weight": 1e-3, "rnn.bias": 1e-3}
    assert rates(optimizer, module) == expected
    set_learning_rate(optimizer, 4, settings)
    share = learning_rate(4, settings)
    assert sorted(g["lr"] for g in optimizer.param_groups) == pytest.approx(
        [1e-5 * share, 1e-4 * share, 1e-3 * share]
    )


def test_what_matches_nothing_is_refused() -> None:
    module = student(None)
    with pytest.raises(ConfigError, match=r"encoder…\. The network has crnn\.cnn\."):
        make_optimizer(module, TrainSettings(lr_groups={"encoder": 1e-4}))
    with pytest.raises(ConfigError, match="encoder_lr: the network has no encoder"):
        make_optimizer(module, TrainSettings(encoder_lr=1e-4))
    with pytest.raises(ConfigError, match=r"train.frozen: .* crn\.…"):
        freeze(module, ("crn.",))
    freeze(module, ("crnn.rnn.",))
    with pytest.raises(ConfigError, match=r"no parameter that learns is called crnn\.rnn"):
        make_optimizer(module, TrainSettings(lr_groups={"crnn.rnn": 1e-4}))
    freeze(module, ("crnn.",))
    with pytest.raises(ConfigError, match="nothing is left"):
        make_optimizer(module, TrainSettings())


def test_frozen_parts_are_in_evaluation_mode() -> None:
    module = student(AtstSettings(width=12, depth=2, heads=3, drop_path=0.5))
    train_mode(module, ("encoder.", "crnn.cnn.blocks.0."))
    still = {name for name, part in module.named_modules() if not part.training}
    assert {"network.encoder", "network.encoder.blocks.1.drop_path"} <= still
    assert "network.crnn.cnn.blocks.0.norm" in still
    assert not {name for name in still if ".blocks.1.norm" in name and "cnn" in name}
    assert module.training
    assert module.network.crnn.dropout.training
    train_mode(module, ())
    assert all(part.training for part in module.modules())


def test_a_run_leaves_alone_what_is_frozen(tiny_data: Path, tmp_path: Path) -> None:
    """The first stage's encoder, and a batch norm whose statistics must not move either."""
    recipe = load_recipe(
        "mini",
        [
            "network.channels=[4,8,8,8,8]",
            "network.rnn_hidden=8",
            "train.epochs=1",
            "train.steps_per_epoch=2",
            "train.batch={real: 0, synthetic: 3, weak: 2, unlabelled: 3}",
            "train.frozen=[crnn.cnn.blocks.1.]",
        ],
    )
    manifest = load_manifest(tiny_data)
    torch.manual_seed(recipe.train.seed)
    before = SedNetwork(recipe.network, tuple(manifest.labels)).state_dict()
    run = train(recipe, manifest, tmp_path)
    learning = {p for group in run.optimizer.param_groups for p in group["params"]}
    for network in (run.student.network, load_bundle(tmp_path / "teacher").network):
        for name, value in network.state_dict().items():
            frozen = name.startswith("crnn.cnn.blocks.1.")
            assert torch.equal(value, before[name]) == frozen, name
    for name, parameter in run.student.network.named_parameters():
        assert (parameter in learning) != name.startswith("crnn.cnn.blocks.1."), name
