"""Pretraining runs: schedules, resume, learning, unreadable files, refusals, what a run leaves."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from earmark.core.audio.audio import write_audio
from earmark.core.errors import ConfigError
from earmark.data.crops import Survey, survey
from earmark.method.pretraining import PretrainStudent
from earmark.method.pretraining_settings import PretrainRecipe, PretrainTrainSettings
from earmark.model.encoders.encoder_file import ENCODER_FILES, load_encoder
from earmark.train.crop_batches import CropSampler
from earmark.train.distributed import make_fabric
from earmark.train.pretrain import (
    UNREADABLE,
    PretrainRun,
    learning_rate,
    make_optimizer,
    pretrain,
    set_schedules,
    teacher_decay,
    warn_of_collapse,
    weight_decay,
)
from earmark.train.recipe import load_pretrain_recipe, load_recipe, pretrain_recipe_names
from earmark.train.record.journal import run_record
from helpers.ranks import small_pretraining


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    """Tones that sweep through noise, some shorter than a crop."""
    out = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for number in range(10):
        seconds = rng.uniform(0.5, 4.0)
        time = np.arange(int(16_000 * seconds)) / 16_000
        tone = np.sin(2 * np.pi * (300 + 250 * number) * time) * (np.sin(5 * time) > 0)
        write_audio(out / f"{number}.wav", 0.3 * tone + 0.01 * rng.standard_normal(len(time)))
    return survey([out], small_pretraining().shortest)


def _pretrain(recipe: PretrainRecipe, sounds: Survey, out: Path, **options: object) -> PretrainRun:
    return pretrain(recipe, sounds, out, fabric=make_fabric("cpu"), **options)  # type: ignore[arg-type]


def test_resume_equals_uninterrupted_bit_for_bit(sounds: Survey, tmp_path: Path) -> None:
    """With stochastic depth, a bank smaller than a step in one case, and its partners."""
    recipe = small_pretraining("train.epochs=3", "train.accumulate=2")
    whole = _pretrain(recipe, sounds, tmp_path / "whole")
    _pretrain(recipe, sounds, tmp_path / "parts", stop_after_epochs=2)
    torch.manual_seed(999)  # whatever happened to the global generator meanwhile
    parts = _pretrain(recipe, sounds, tmp_path / "parts", resume=True)
    assert (whole.step, whole.epoch) == (parts.step, parts.epoch) == (6, 3)
    for ours, theirs in ((whole.student, parts.student), (whole.teacher, parts.teacher)):
        for name, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name]), name
    records = [run_record(tmp_path / name) for name in ("whole", "parts")]
    assert [r["losses"] for r in records[0]] == [r["losses"] for r in records[1]]
    for name in ENCODER_FILES:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    for bank, other in zip(whole.banks, parts.banks, strict=True):
        assert len(bank) == len(other) > 0
        for age in range(len(bank)):
            assert torch.equal(bank.partner(age)[0], other.partner(age)[0])


def test_parts_have_the_gradient_of_the_whole_step(
    sounds: Survey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With running statistics, for batch statistics are a part's own; masks differ in size."""
    monkeypatch.setattr(
        PretrainStudent, "train", lambda self, mode=True: torch.nn.Module.train(self, False)
    )
    options = [
        "train.epochs=1", "train.steps_per_epoch=1", "train.teacher=eval", "perturbation.bank=0",
        "train.batch=7",
    ]  # fmt: skip
    moments = []
    for parts in (1, 3):
        recipe = small_pretraining(*options, f"train.accumulate={parts}")
        run = _pretrain(recipe, sounds, tmp_path / str(parts))
        state = run.optimizer.state_dict()["state"]
        moments.append([state[number]["exp_avg"] for number in sorted(state)])
    for one, three in zip(*moments, strict=True):
        torch.testing.assert_close(three, one, rtol=1e-3, atol=1e-6)
    assert max(float(one.abs().max()) for one in moments[0]) > 1e-3
    losses = [run_record(tmp_path / str(parts))[0]["losses"]["loss"] for parts in (1, 3)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(("teacher", "apart"), [("batch", True), ("train", True), ("eval", False)])
def test_learns_and_batch_statistics_keep_the_vectors_apart(
    sounds: Survey, tmp_path: Path, teacher: str, apart: bool
) -> None:
    """A teacher with running statistics lets them grow alike, and its loss looks the better."""
    recipe = small_pretraining(
        "train.epochs=8", "train.steps_per_epoch=8", "train.warmup_steps=8",
        "train.batch=8", "train.lr=0.1", "train.ema=0.95", f"train.teacher={teacher}",
    )  # fmt: skip
    _pretrain(recipe, sounds, tmp_path)
    records = [record["losses"] for record in run_record(tmp_path)]
    assert records[-1]["loss"] < 0.5 * records[0]["loss"]
    assert (records[-1]["teacher_std"] > 0.4 / math.sqrt(recipe.heads.out)) is apart
    assert (records[-1]["teacher_cosine"] < 0.8) is apart


def test_leaves_an_encoder_its_heads_and_a_card(sounds: Survey, tmp_path: Path) -> None:
    recipe = small_pretraining("train.epochs=1")
    run = _pretrain(recipe, sounds, tmp_path, command="earmark pretrain x")
    encoder = load_encoder(tmp_path)
    for name, value in run.teacher.encoder.state_dict().items():
        assert torch.equal(encoder.weights[name], value), name
    assert encoder.settings.frontend.db_clamp is None
    assert encoder.projector is not None
    assert encoder.predictor is not None
    assert torch.equal(encoder.projector["0.weight"], run.teacher.projector.layers[0].weight)
    assert torch.equal(encoder.predictor["3.weight"], run.student.predictor.layers[3].weight)
    assert encoder.source["data"] == sounds.fingerprint
    card = (tmp_path / "README.md").read_text()
    for words in (sounds.fingerprint, "10 recordings", "earmark pretrain x", "0 files could not"):
        assert words in card
    assert not (tmp_path / UNREADABLE).exists()
    record = run_record(tmp_path)[0]
    assert record["step"] == recipe.train.steps_per_epoch
    assert {"lr", "weight_decay", "ema", "unreadable", "seconds"} <= set(record)


def test_unreadable_files_are_named_and_do_no_harm(sounds: Survey, tmp_path: Path) -> None:
    header = tmp_path / "header.wav"
    gone = tmp_path / "gone.wav"
    broken = Survey(
        (*sounds.paths, gone),
        np.append(sounds.samples, 640_000),
        {header: "not a recording"},
        "f",
    )
    run = _pretrain(small_pretraining("train.epochs=1"), broken, tmp_path / "run")
    assert set(run.faults) == {header, gone}
    listed = (tmp_path / "run" / UNREADABLE).read_text()
    assert f"{gone}\tno such file" in listed
    assert f"{header}\tnot a recording" in listed
    assert run_record(tmp_path / "run")[0]["unreadable"] == 2
    assert "2 files could not be used" in (tmp_path / "run/README.md").read_text()
    assert all(torch.isfinite(p).all() for p in run.student.parameters())


def test_refuses_to_overwrite_or_to_mix_runs(sounds: Survey, tmp_path: Path) -> None:
    recipe = small_pretraining("train.epochs=1")
    _pretrain(recipe, sounds, tmp_path)
    with pytest.raises(ConfigError, match="holds a run already"):
        _pretrain(recipe, sounds, tmp_path)
    with pytest.raises(ConfigError, match="other settings"):
        _pretrain(small_pretraining("train.epochs=2"), sounds, tmp_path, resume=True)
    other = Survey(sounds.paths, sounds.samples, {}, "0123")
    with pytest.raises(ConfigError, match=r"other data.*same recordings"):
        _pretrain(recipe, other, tmp_path, resume=True)
    with pytest.raises(ConfigError, match="6 crops cannot be divided into 7 micro-batches"):
        _pretrain(small_pretraining("train.accumulate=7"), sounds, tmp_path / "new")


def test_a_crop_may_end_within_a_token(sounds: Survey, tmp_path: Path) -> None:
    recipe = small_pretraining("train.epochs=1", "window_seconds=0.51")  # 12.75 tokens, 52 frames
    assert recipe.tokens == 13
    run = _pretrain(recipe, sounds, tmp_path)
    assert run.step == 2


def test_schedules_at_their_ends() -> None:
    settings = PretrainTrainSettings()
    assert learning_rate(0, settings) == 0.0
    assert learning_rate(975, settings) == pytest.approx(0.8e-3)
    assert learning_rate(1950, settings) == pytest.approx(1.6e-3) == settings.peak
    assert learning_rate(settings.steps, settings) == pytest.approx(1e-6)
    assert teacher_decay(0, settings) == pytest.approx(0.997)
    assert teacher_decay(settings.steps // 2, settings) == pytest.approx(0.9985)
    assert teacher_decay(settings.steps, settings) == 1.0
    assert weight_decay(0, settings) == pytest.approx(0.04)
    assert weight_decay(settings.steps, settings) == pytest.approx(0.4)
    rising = [teacher_decay(step, settings) for step in range(0, settings.steps, 500)]
    assert rising == sorted(rising)


def test_only_tensors_of_two_dimensions_decay() -> None:
    recipe = small_pretraining()
    student = PretrainStudent(recipe)
    optimizer = make_optimizer(student, recipe.train)
    set_schedules(optimizer, 3, recipe.train)
    named = {parameter: name for name, parameter in student.named_parameters()}
    decaying, others = ({named[p] for p in g["params"]} for g in optimizer.param_groups)
    assert decaying | others == set(named.values())
    assert {"encoder.pos_embed", "encoder.mask_embed", "projector.layers.0.weight"} <= decaying
    assert {"encoder.norm_frame.weight", "projector.layers.1.weight"} <= others
    assert all("bias" not in name for name in decaying)
    assert [group["weight_decay"] > 0 for group in optimizer.param_groups] == [True, False]
    assert {group["lr"] for group in optimizer.param_groups} == {learning_rate(3, recipe.train)}


def test_a_step_is_the_same_crops_however_dealt() -> None:
    def step(world: int, accumulate: int) -> list[list[int]]:
        parts: list[list[int]] = [[] for _ in range(world * accumulate)]
        for rank in range(world):
            for turn, numbers in enumerate(CropSampler(7, 3, 4, rank, world, accumulate)):
                parts[turn * world + rank] = numbers
        return parts

    assert step(1, 1) == [[21, 22, 23, 24, 25, 26, 27]]
    assert step(2, 1) == step(1, 2)
    assert step(2, 2) == step(1, 4) == step(4, 1)
    assert [number for part in step(1, 3) for number in part] == list(range(21, 28))


@pytest.mark.parametrize(("std", "warned"), [(0.3, False), (0.02, True)])
def test_collapse_is_told(std: float, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_collapse({"teacher_std": std}, 8)
    assert bool(caplog.records) == warned


def test_published_numbers_of_the_sizes() -> None:
    assert pretrain_recipe_names() == ("atst-frame-pretrain",)
    found = {
        size: load_pretrain_recipe("atst-frame-pretrain", [], size)
        for size in ("tiny", "small", "base")
    }
    small, base = found["small"], found["base"]
    assert (small.train.steps, small.train.warmup_steps, small.train.ema) == (58_500, 1_950, 0.997)
    assert small.train.peak == pytest.approx(1.6e-3)
    assert (base.train.steps, base.train.warmup_steps, base.train.ema) == (398_000, 19_900, 0.9996)
    assert base.train.peak == pytest.approx(2.7e-4)
    assert base.model_copy(
        update={"train": base.train.model_copy(update={"batch": 1008})}
    ).train.peak == pytest.approx(3.15e-4)
    assert (base.encoder.width, small.encoder.width, found["tiny"].encoder.width) == (768, 384, 96)
    assert small.encoder.drop_path == 0.1
    assert small.perturbation.warp_range == (0.6, 1.5)
    default = load_pretrain_recipe("atst-frame-pretrain")
    assert default == found["tiny"]
    # The settings' own defaults are the published small ones.
    assert PretrainRecipe(name=small.name, description=small.description) == small


def test_overrides_lie_above_the_size(tmp_path: Path) -> None:
    recipe = load_pretrain_recipe("atst-frame-pretrain", ["size=base", "train.batch=16"])
    assert (recipe.size, recipe.encoder.width, recipe.train.batch) == ("base", 768, 16)
    with pytest.raises(ConfigError, match="no size called 'huge'"):
        load_pretrain_recipe("atst-frame-pretrain", [], "huge")
    with pytest.raises(ConfigError, match="earmark pretrain"):
        load_recipe("atst-frame-pretrain")
    with pytest.raises(ConfigError, match="earmark train"):
        load_pretrain_recipe("mini")
    with pytest.raises(ConfigError, match="ends in the wrong order"):
        load_pretrain_recipe("atst-frame-pretrain", ["perturbation.warp_range=[2,1]"])
    with pytest.raises(ConfigError, match="the encoder has 250 positions"):
        load_pretrain_recipe("atst-frame-pretrain", ["window_seconds=11"])


def test_the_run_folder_remembers_its_recipe(sounds: Survey, tmp_path: Path) -> None:
    recipe = small_pretraining("train.epochs=1")
    _pretrain(recipe, sounds, tmp_path)
    assert load_pretrain_recipe(tmp_path / "recipe.yaml") == recipe


def test_bf16_and_workers(sounds: Survey, tmp_path: Path) -> None:
    recipe = small_pretraining("train.epochs=1", "train.precision=bf16-mixed", "train.workers=1")
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    pretrain(recipe, sounds, tmp_path, fabric=fabric)
    assert np.isfinite(run_record(tmp_path)[0]["losses"]["loss"])
