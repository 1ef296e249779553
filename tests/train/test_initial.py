"""Starting weights of a run: from an encoder, from a run, from a bundle, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from earmark.core.config import Recipe
from earmark.core.errors import BundleError
from earmark.data.manifest import load_manifest
from earmark.method.heads import FrameHead
from earmark.method.networks import Student
from earmark.model.atst import AtstFrame
from earmark.model.encoder_file import Encoder, save_encoder
from earmark.model.sed import SedNetwork
from earmark.train.distributed import make_fabric
from earmark.train.engine import Run, train
from earmark.train.initial import begin_with
from earmark.train.recipe import load_recipe

LABELS = ("Alarm_bell_ringing", "Dog", "Speech")


def _recipe(stage: int, *overrides: str) -> Recipe:
    return load_recipe(
        f"atst-sed-tiny-stage{stage}",
        [
            "network.channels=[4,4,4,4,4]",
            "network.rnn_hidden=4",
            "network.encoder.width=12",
            "network.encoder.depth=1",
            "network.encoder.merge=6",
            "method.embedding.hidden=8",
            "method.embedding.out=4",
            "method.embedding.detach_steps=0",
            "train.epochs=1",
            "train.steps_per_epoch=1",
            "train.batch={real: 0, synthetic: 2, weak: 2, unlabelled: 2}",
            "train.warmup_steps=0",
            *overrides,
        ],
    )


def _student(recipe: Recipe, labels: tuple[str, ...] = LABELS, seed: int = 0) -> Student:
    torch.manual_seed(seed)
    return Student(SedNetwork(recipe.network, labels), recipe.method.embedding)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    settings = _recipe(1).network.encoder
    assert settings is not None
    torch.manual_seed(7)
    found = Encoder(
        settings,
        AtstFrame(settings).state_dict(),
        FrameHead(12, 8, 4).layers.state_dict(),
        FrameHead(4, 8, 4).layers.state_dict(),
    )
    return save_encoder(tmp_path / "encoder", found, "")


def test_an_encoder_brings_its_heads_where_they_fit(encoder: Path) -> None:
    torch.manual_seed(7)
    expected = AtstFrame(_recipe(1).network.encoder)  # type: ignore[arg-type]
    for overrides, heads in (
        ([], True),
        (["method.embedding.hidden=16"], False),
        (["method.embedding.tap=rnn"], False),
        (["method.embedding.weight=0"], False),
    ):
        recipe = _recipe(1, *overrides)
        student, before = _student(recipe), _student(recipe)
        assert begin_with(student, encoder) == {}
        assert student.network.encoder is not None
        for name, value in expected.state_dict().items():
            assert torch.equal(student.network.encoder.state_dict()[name], value), name
        changed = {
            name.split(".")[0]
            for name, value in student.state_dict().items()
            if not torch.equal(value, before.state_dict()[name])
            and not name.startswith("network.encoder.")
        }
        assert changed == ({"heads"} if heads else set())


def test_an_encoder_of_another_size_or_log_mel_is_refused(encoder: Path) -> None:
    with pytest.raises(BundleError, match=r"has width 12, the recipe's 24"):
        begin_with(_student(_recipe(1, "network.encoder.width=24")), encoder)
    clamped = _recipe(1, "network.encoder.frontend.db_clamp=[-50,80]")
    with pytest.raises(BundleError, match=r"frontend\.db_clamp None, the recipe's \(-50"):
        begin_with(_student(clamped), encoder)
    with pytest.raises(BundleError, match="the network has none"):
        begin_with(
            _student(_recipe(1, "network.encoder=null", "method.embedding.tap=rnn")), encoder
        )


def _train(recipe: Recipe, data: Path, out: Path) -> Run:
    return train(recipe, load_manifest(data), out, fabric=make_fabric("cpu"))


def test_two_stages(tiny_data: Path, encoder: Path, tmp_path: Path) -> None:
    """Stage 2 begins with student, teacher and heads as stage 1 left them."""
    one = _train(_recipe(1, f"train.init={encoder}", "train.lr=0.1"), tiny_data, tmp_path / "one")
    torch.manual_seed(7)
    pretrained = AtstFrame(_recipe(1).network.encoder)  # type: ignore[arg-type]
    stage1 = one.student.network.encoder
    assert stage1 is not None
    for name, value in pretrained.state_dict().items():  # it was frozen
        assert torch.equal(stage1.state_dict()[name], value), name
    still = ["train.lr=1e-30", "train.encoder_lr=1e-30", "train.lr_groups={}", "method.ema=0"]
    recipe = _recipe(2, f"train.init={tmp_path / 'one'}", *still, "method.warp_probability=0")
    two = _train(recipe, tiny_data, tmp_path / "two")
    names = [name for name, _ in one.student.named_parameters()]
    assert any(name.startswith("heads.") for name in names)
    for name in names:
        torch.testing.assert_close(
            two.student.state_dict()[name], one.student.state_dict()[name], rtol=0, atol=1e-12
        )
    # The teacher would begin as the teacher of stage 1 ended.
    ours, theirs = (_student(_recipe(2)) for _ in range(2))
    state = begin_with(ours, tmp_path / "one")
    assert state.keys() == one.teacher.state_dict().keys()
    assert all(torch.equal(value, one.teacher.state_dict()[n]) for n, value in state.items())
    begin_with(theirs, tmp_path / "one" / "teacher")  # a bundle
    for name, value in one.teacher.network.state_dict().items():
        assert torch.equal(theirs.network.state_dict()[name], value), name


def test_what_does_not_fit_is_refused(tiny_data: Path, encoder: Path, tmp_path: Path) -> None:
    _train(_recipe(1, f"train.init={encoder}"), tiny_data, tmp_path / "one")
    with pytest.raises(BundleError, match="has the classes Alarm_bell_ringing, Dog, Speech; the"):
        begin_with(_student(_recipe(2), ("Cat", "Dog", "Speech")), tmp_path / "one")
    with pytest.raises(BundleError, match="holds no crnn"):
        begin_with(_student(_recipe(2, "network.rnn_hidden=6")), tmp_path / "one")
    with pytest.raises(BundleError, match="no such bundle"):
        begin_with(_student(_recipe(2)), tmp_path / "nothing")
