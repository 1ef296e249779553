"""Losses and augmentations of installed packages: what they are given, weighed and held to."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.nn import functional

from earmark.core.config import NetworkSettings, apply_overrides, parse_settings
from earmark.core.errors import ConfigError
from earmark.data.dataset import Batch
from earmark.method import step, v1
from earmark.method.networks import Student, Teacher
from earmark.method.settings import MethodSettings
from earmark.model.sed import SedNetwork
from helpers.plugins import install

KINDS = [0, 0, 1, 1, 2, 2]
HOP = 4 * 256
NETWORK = {
    "channels": (4, 4),
    "kernels": (3, 3),
    "strides": ((1, 1), (1, 1)),
    "pools": ((2, 8), (2, 8)),
    "rnn_hidden": 4,
    "rnn_layers": 1,
}
OTHERS = ["embedding.weight=0", "ramp_steps=0"]
seen: list[tuple[Any, ...]] = []


def bce(scores: torch.Tensor, targets: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    assert counted.shape == targets.shape == scores.shape
    return functional.binary_cross_entropy(scores, targets, reduction="none")


def square(scores: torch.Tensor, targets: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    return (scores - targets).square()


def by_clip(scores: torch.Tensor, targets: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    seen.append((scores, targets, counted))
    return 1.0 - (scores * targets * counted).flatten(1).sum(1)


def wrong_loss(scores: torch.Tensor, targets: torch.Tensor, counted: torch.Tensor) -> Any:
    return scores.mean()


def failing(scores: torch.Tensor, targets: torch.Tensor, counted: torch.Tensor) -> Any:
    return scores @ targets[:, :1, :1, None]


def louder(clips: torch.Tensor, generator: torch.Generator, by: float = 1.0) -> torch.Tensor:
    return clips * by + 0.01 * torch.rand((), generator=generator)


def same(clips: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return clips.clone()


def shorter(clips: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return clips[:, :-1]


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("some_hooks")
    losses, augmentations = (bce, square, by_clip, wrong_loss, failing), (louder, same, shorter)
    for function in (*losses, *augmentations):
        setattr(module, function.__name__, function)
    monkeypatch.setitem(__import__("sys").modules, "some_hooks", module)
    points = {
        group: {one.__name__: f"some_hooks:{one.__name__}" for one in functions}
        for group, functions in (
            ("earmark.losses", losses), ("earmark.augmentations", augmentations)
        )
    }  # fmt: skip
    install({"name": "some-hooks", "version": "1", "entry-points": points}, tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def settings(*overrides: str) -> MethodSettings:
    return parse_settings(MethodSettings, apply_overrides({}, [*OTHERS, *overrides]))


def batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    frames, clips = 30, len(KINDS)
    strong = (torch.rand(clips, frames, 2, generator=generator) > 0.7).float()
    valid = torch.ones(clips, frames, dtype=torch.bool)
    valid[1, 20:] = False
    known = torch.ones(clips, 2, dtype=torch.bool)
    known[0, 1] = known[3, 0] = False
    waveforms = 0.1 * torch.randn(clips, frames * HOP + 100, generator=generator)
    waveforms[1, 20 * HOP :] = 0.0
    return Batch(waveforms, strong, strong.amax(1), valid, torch.tensor(KINDS), known)


def take(
    method: MethodSettings, weights: step.MeanWeights = step.MeanWeights(), clips: Any = None
) -> step.StepResult:
    torch.manual_seed(0)
    network = SedNetwork(NetworkSettings.model_validate(NETWORK), ("a", "b"))
    student = Student(network, method.embedding)
    taken = step.training_step if method.v1 is None else v1.training_step
    generator = torch.Generator().manual_seed(7)
    inputs = step.StepInputs(weights=weights)
    models = (student.eval(), Teacher(student))
    return taken(*models, clips or batch(), 40, method, generator, inputs)


BY_KIND = {"strong": (1.1, 1.2), "weak": (0.6, 0.7), "unlabelled": (0.9, 0.8)}
UNEQUAL = step.MeanWeights(1.25, 0.5, 1.5, 0.75, by_kind=BY_KIND)


@pytest.mark.parametrize("version", ["v1=null", "v1={fold: true, consistency: clip}"])
def test_the_same_losses_of_a_package_are_the_same_step(version: str) -> None:
    """In place of the method's own, under micro-batches of unequal size too."""
    own = (
        "losses=[{name: bce, instead: true}, "
        "{name: bce, against: weak, instead: true, weight: 0.5}, "
        "{name: square, against: teacher, weight: 3}]"
    )
    for weights in (step.MeanWeights(), UNEQUAL):
        before = take(settings("mean_teacher=3", "pseudo_label=3", "weak=0.5", version), weights)
        after = take(settings("mean_teacher=0", "pseudo_label=0", own, version), weights)
        figures = before.figures
        assert after.figures["bce.strong"] == pytest.approx(figures["strong"], rel=1e-5)
        assert after.figures["bce.weak"] == pytest.approx(figures["weak"], rel=1e-5)
        strong_only = take(
            settings("mean_teacher=3", "pseudo_label=3", "weak=0", version), weights
        ).figures
        teacher = strong_only["mean_teacher"] + strong_only["pseudo_label"]
        assert after.figures["square.teacher"] == pytest.approx(teacher, rel=1e-4)
        expected = figures["strong"] + 0.5 * figures["weak"] + 3 * teacher
        assert after.figures["loss"] == pytest.approx(expected, rel=1e-4)


def test_beside_the_methods_own_losses() -> None:
    plain, both = take(settings()), take(settings("losses=[{name: bce, weight: 2}]"))
    added = both.figures["loss"] - plain.figures["loss"]
    assert added == pytest.approx(2 * plain.figures["strong"], rel=1e-4)
    both.loss.backward()


def test_one_loss_a_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    seen.clear()
    for on, clips in (("strong", 1.2), ("weak", 0.7), ("teacher", 0.75)):
        method = settings(f"losses=[{{name: by_clip, against: {on}}}]")
        plain, weighed = take(method), take(method, UNEQUAL)
        name = f"by_clip.{on}"
        assert weighed.figures[name] == pytest.approx(clips * plain.figures[name], rel=1e-5)
    scores, _, counted = seen[0]
    assert counted.shape == scores.shape == (2, 30, 2)
    assert not counted[0, :, 1].any() or not counted[1, :, 1].any()  # not known of either mixture


def test_no_clips_of_a_kind_are_no_loss() -> None:
    whole = batch()
    rows = whole.kinds == 2
    clips = Batch(*(value[rows] for value in list(vars(whole).values())[:5]))
    method = settings("losses=[{name: by_clip}, {name: wrong_loss, against: weak}]")
    figures = take(method, clips=clips).figures
    assert figures["by_clip.strong"] == figures["wrong_loss.weak"] == 0.0


def test_an_augmentation_hears_no_padding_and_repeats() -> None:
    method = settings("augmentations=[{name: louder, options: {by: 2}}]")
    own = step.augmented(batch(), method, HOP, torch.Generator().manual_seed(3)).waveforms
    again = step.augmented(batch(), method, HOP, torch.Generator().manual_seed(3)).waveforms
    assert torch.equal(own, again)
    assert own[1, 20 * HOP :].abs().max() == 0
    assert own[0, -1] == pytest.approx(
        float(2 * batch().waveforms[0, -1] + own[1, 0] - 2 * batch().waveforms[1, 0]), abs=1e-6
    )


@pytest.mark.parametrize("on", ["waveform", "mel"])
def test_an_augmentation_that_does_nothing_changes_nothing(on: str) -> None:
    plain, after = take(settings()), take(settings(f"augmentations=[{{name: same, domain: {on}}}]"))
    assert after.figures["loss"] == plain.figures["loss"]
    other = take(settings(f"augmentations=[{{name: louder, domain: {on}}}]"))
    assert other.figures["loss"] != plain.figures["loss"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("losses=[{name: wrong_loss}]", "the loss 'wrong_loss' of some-hooks gave a Tensor of"),
        ("losses=[{name: failing}]", "test_own.py:"),
        ("losses=[{name: failing}]", "the loss 'failing' of some-hooks failed (RuntimeError"),
        ("augmentations=[shorter]", "the augmentation 'shorter' of some-hooks gave a Tensor of"),
    ],
)
def test_what_a_hook_gives_is_checked(override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        take(settings(override))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("losses=[dice]", r"no loss is called 'dice'.*Installed are: bce of some-hooks"),
        ("losses=[{name: bce, options: {gamma: 2}}]", "'gamma'"),
        ("losses=[{name: bce, package: other}]", "of the package other, which is not installed"),
        ("losses=[bce, bce]", "twice"),
        ("losses=[{name: bce, against: teacher, instead: true}]", "instead"),
        ("losses=[{name: bce, wieght: 2}]", "weight"),
        ("augmentations=[bce]", "no augmentation is called 'bce'"),
    ],
)
def test_what_a_recipe_says_is_checked(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        settings(override)


def test_two_packages_with_one_name(tmp_path: Path) -> None:
    points = {"earmark.losses": {"bce": "some_hooks:square"}}
    install({"name": "other", "version": "1", "entry-points": points}, tmp_path)
    with pytest.raises(ConfigError, match="several packages have the loss 'bce': other, some-hook"):
        settings("losses=[bce]")
    (chosen,) = settings("losses=[{name: bce, package: other}]").losses
    assert chosen.package == "other"
    assert chosen.call(torch.tensor(0.5), torch.tensor(0.0), None) == 0.25
