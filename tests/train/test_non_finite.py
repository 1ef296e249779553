"""Numbers that are none are found at their step, and never get into a bundle."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from earmark.core.errors import BundleError, NumberError, ScoreError
from earmark.data.manifest import load_manifest
from earmark.detect.detector import Detector
from earmark.detect.evaluate import score_clips
from earmark.method.settings import Recipe
from earmark.model.bundle import load_bundle, save_bundle
from earmark.model.encoders.encoder_file import load_encoder
from earmark.model.folder import ENCODER_WEIGHTS
from earmark.train import engine
from earmark.train.non_finite import all_finite, suspects
from earmark.train.recipe import load_recipe
from helpers.recipes import TINY

BAD = [float("nan"), float("inf"), float("-inf")]


def _set(recipe: Recipe, **train: Any) -> Recipe:
    changed = recipe.train.model_copy(update=train)
    return recipe.model_copy(update={"train": changed})


@contextmanager
def bad_terms(monkeypatch: pytest.MonkeyPatch, *steps: int, value: float) -> Iterator[None]:
    """The term ``weak`` of these steps, and with it the loss, is no number."""
    true = engine.step_of

    def step_of(method: Any) -> Callable[..., Any]:
        def step(student: Any, teacher: Any, batch: Any, number: int, *more: Any) -> Any:
            result = true(method)(student, teacher, batch, number, *more)
            if number + 1 not in steps:
                return result
            figures = result.figures | {"weak": value, "loss": value}
            return type(result)(result.loss * value, figures)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(engine, "step_of", step_of)
        yield


def test_finite_or_not() -> None:
    huge = torch.full((3,), 3e38)  # finite, though its square is not
    assert all_finite([huge, torch.arange(3), torch.zeros(0)])
    for value in BAD:
        for place in range(3):
            changed = torch.zeros(3)
            changed[place] = value
            assert not all_finite([huge, changed, huge])


def test_the_clip_is_found_that_makes_it() -> None:
    waveforms = torch.ones(4, 5)
    waveforms[2] = 0
    names = ("a", "b", "c", "d")
    assert suspects(lambda clips: 1 / clips, waveforms, names) == ("c",)
    assert suspects(lambda clips: clips, waveforms, names) == names  # it was none alone


@pytest.mark.parametrize("value", BAD[:2])
def test_the_run_stops_at_the_step_and_names_it(
    tiny_recipe: Recipe,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    value: float,
) -> None:
    manifest = load_manifest(tiny_data)
    with (
        bad_terms(monkeypatch, 3, value=value),
        pytest.raises(
            NumberError, match=r"^step 3: (?=.*\bweak\b).*not finite, of .*\.wav"
        ) as told,
    ):
        engine.train(tiny_recipe, manifest, tmp_path)
    assert "non_finite=skip" in str(told.value)
    # What the first epoch left is whole, and the run goes on from it, without the step or with.
    skipping = _set(tiny_recipe, non_finite="skip")
    with bad_terms(monkeypatch, 3, value=value):
        run = engine.train(skipping, manifest, tmp_path, resume=True)
    assert run.step == 4
    assert all_finite(run.student.state_dict().values())
    assert all_finite(run.teacher.state_dict().values())
    last = json.loads((tmp_path / "journal.jsonl").read_text().splitlines()[-1])
    assert last["losses"]["skipped"] == 1
    assert last["losses"]["loss"] > 0
    load_bundle(tmp_path)


def test_a_skipped_step_changes_nothing_but_the_clips_used(
    tiny_recipe: Recipe,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    recipe = _set(tiny_recipe, non_finite="skip", epochs=1, steps_per_epoch=3, lr_final=1.0)
    manifest = load_manifest(tiny_data)
    with bad_terms(monkeypatch, 2, value=float("nan")), caplog.at_level(logging.WARNING):
        engine.train(recipe, manifest, tmp_path / "a")
    assert "step 2 is left out: weak, loss not finite" in caplog.text
    states: list[Any] = []

    true = torch.optim.Adam.step

    def step(self: Any, *args: Any, **more: Any) -> Any:
        states.append(1)
        return true(self, *args, **more)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    with bad_terms(monkeypatch, 2, value=float("nan")):
        engine.train(recipe, manifest, tmp_path / "b")
    assert len(states) == 2  # the optimiser took the others
    one, other = (load_bundle(tmp_path / name).network.state_dict() for name in "ab")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_epoch_of_nothing_is_none(
    tiny_recipe: Recipe, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = _set(tiny_recipe, non_finite="skip")
    bad = bad_terms(monkeypatch, 1, 2, 3, 4, value=float("nan"))
    with bad, pytest.raises(NumberError, match="step 2, after 1 skipped ones: "):
        engine.train(recipe, load_manifest(tiny_data), tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


def test_a_gradient_without_a_bad_loss(
    tiny_recipe: Recipe, tiny_data: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)

    class Bad(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(_: Any, *gradients: Tensor) -> Tensor:
            return gradients[0] * float("inf")

    true = engine.step_of

    def step_of(method: Any) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            result = true(method)(*arguments)
            return type(result)(Bad.apply(result.loss), result.figures)

        return step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "step_of", step_of)
        for clip in (None, 1.0):
            recipe = _set(tiny_recipe, gradient_clip=clip)
            with pytest.raises(NumberError, match=r"^step 1: the gradient is not finite"):
                engine.train(recipe, load_manifest(tiny_data), tmp_path / str(clip))


def test_weights_that_burst(
    tiny_recipe: Recipe, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(self: Any, *_: Any, **__: Any) -> None:
        self.param_groups[0]["params"][1].data.fill_(float("inf"))

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    for policy in ("stop", "skip"):
        recipe = _set(tiny_recipe, non_finite=policy)
        with pytest.raises(NumberError, match=r"^step 1: its update makes weights.*train\.lr"):
            engine.train(recipe, load_manifest(tiny_data), tmp_path / policy)
        assert not (tmp_path / policy / "state.ckpt").exists()


@pytest.mark.parametrize("value", BAD)
def test_no_bundle_has_such_weights(tiny_recipe: Recipe, tmp_path: Path, value: float) -> None:
    from safetensors.torch import load_file, save_file

    network = load_bundle("mini").trained
    save_bundle(tmp_path / "good", network, {"threshold": 0.5}, "card")
    name, weight = next(iter(network.named_parameters()))
    with torch.no_grad():
        before = weight.flatten()[0].item()
        weight.view(-1)[0] = value
        with pytest.raises(BundleError, match=f"not finite .{name}; 1 of "):
            save_bundle(tmp_path / "bad", network, {"threshold": 0.5}, "card")
        weight.view(-1)[0] = before
    assert not (tmp_path / "bad").exists()
    path = tmp_path / "good/model.safetensors"
    tensors = load_file(path)
    tensors[name].view(-1)[0] = value
    save_file(tensors, path)
    with pytest.raises(BundleError, match=r"model\.safetensors: has weights that are not finite"):
        load_bundle(tmp_path / "good")


def test_no_encoder_has_such_weights(tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    from earmark.core.folders import shipped_folder

    shutil.copytree(shipped_folder("bundles") / "yamnet", tmp_path / "encoder")
    path = tmp_path / "encoder" / ENCODER_WEIGHTS
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[-1] = float("nan")
    save_file(tensors, path)
    with pytest.raises(BundleError, match=r"encoder\.safetensors: has weights that are not finite"):
        load_encoder(tmp_path / "encoder")


class _Broken(torch.nn.Module):
    """Scores of a shipped network, one of them no number."""

    def __init__(self) -> None:
        super().__init__()
        self.network = load_bundle("mini").trained
        self.spec = self.network.spec

    def forward(self, waveforms: Tensor) -> Any:
        found = self.network(waveforms)
        found.strong[0, 3, 1] = float("nan")
        return found


def test_scores_that_are_none_name_the_recording(tiny_data: Path) -> None:
    clip = next((tiny_data / "audio/eval/public").iterdir())
    network = _Broken().eval()
    with pytest.raises(ScoreError, match=f"{clip.name}: the network returned.*not finite"):
        Detector(network, {"threshold": 0.5}).detect(clip)
    with pytest.raises(ScoreError, match=r"^the clip: the network returned.*not finite"):
        score_clips(network, {"the clip": clip})


@pytest.mark.parametrize(
    "setting",
    [
        "train.lr=.inf",
        "train.lr=.nan",
        "train.lr=1e9",
        "train.lr=-1",
        "train.weight_decay=.inf",
        "train.lr_groups={crnn.: .nan}",
        "train.gradient_clip=.inf",
        "train.median_seconds=.inf",
        "train.epochs=1e30",
        "train.workers=1000000",
        "method.mean_teacher=.nan",
        "method.warp_range=[0.9, 0.5]",
        "method.mixup.tau=.nan",
        "network.frontend.n_fft=1",
        "network.frontend.n_fft=100000000",
        "network.frontend.f_min=7000",
        "network.frontend.f_max=9000",
        "network.frontend.n_mels=1000000",
        "network.frontend.db_clamp=[80, -50]",
        "network.rnn_hidden=1000000000",
        "network.rnn_layers=100000",
        "network.window_seconds=1e9",
        "train.batch={real: -1}",
        "train.non_finite=ignore",
    ],
)
def test_nonsense_is_refused(setting: str) -> None:
    from earmark.core.errors import ConfigError

    name = setting.partition("=")[0]
    others = [] if "f_min" not in name else ["network.frontend.f_max=6000"]
    with pytest.raises(ConfigError, match=name.rpartition(".")[0].replace(".", r"\.")):
        load_recipe("mini", [*TINY, *others, setting])
