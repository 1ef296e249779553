"""The step: no gradient into the teacher, the objective's arithmetic, every option."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from earmark.core.config import NetworkSettings, apply_overrides, parse_settings
from earmark.data.dataset import Batch
from earmark.method.mixup import Mix, mix_known
from earmark.method.networks import Student, Teacher
from earmark.method.settings import MethodSettings
from earmark.method.step import StepResult, training_step
from earmark.method.teacher import ramp
from earmark.model.sed import SedNetwork
from earmark.train.recipe import load_recipe

pytestmark = pytest.mark.processor

KINDS = [0, 0, 0, 1, 1, 2, 2, 2]
SUPERVISED = [
    "mixup.probability=0",
    "mean_teacher=0",
    "pseudo_label=0",
    "embedding.weight=0",
]


def _network() -> NetworkSettings:
    small = {"channels": (4, 4, 8, 8, 8), "rnn_hidden": 8, "dropout": 0.0}
    return load_recipe("mini").network.model_copy(update=small)


def _settings(*overrides: str) -> MethodSettings:
    base = ["embedding.hidden=16", "embedding.out=8", "ramp_steps=100", "embedding.ramp_steps=100"]
    return parse_settings(MethodSettings, apply_overrides({}, [*base, *overrides]))


def _batch(seed: int = 0, seconds: float = 2.048) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    samples = int(seconds * 16_000)
    frames, clips = samples // 1024, len(KINDS)
    strong = (torch.rand(clips, frames, 2, generator=generator) > 0.7).float()
    valid = torch.ones(clips, frames, dtype=torch.bool)
    valid[1, frames // 2 :] = False
    waveforms = 0.1 * torch.randn(clips, samples, generator=generator)
    return Batch(waveforms, strong, strong.amax(1), valid, torch.tensor(KINDS))


def _models(settings: MethodSettings) -> tuple[Student, Teacher]:
    torch.manual_seed(0)
    student = Student(SedNetwork(_network(), ("a", "b")), settings.embedding)
    return student, Teacher(student)


def _step(
    settings: MethodSettings, step: int = 40, batch: Batch | None = None, **models: Any
) -> tuple[StepResult, Student, Teacher]:
    student, teacher = _models(settings)
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(7)
    result = training_step(student, teacher, batch or _batch(), step, settings, generator)
    return result, student, teacher


OPTIONS = [
    [],
    SUPERVISED,
    ["mixup.probability=0", "embedding.weight=0"],  # plain mean teacher
    ["mixup.tau=1.0"],  # interpolation consistency: composition only
    ["mixup.tau=0.0"],  # perturbation only
    ["mixup.domain=mel"],
    ["mixup.level=rms"],
    ["mixup.labels=max"],
    ["embedding.weights=activity"],
    ["embedding.weights=energy"],
    ["embedding.weights=hard", "mixup.domain=mel"],
    ["embedding.gain=unit"],
    ["embedding.symmetric=true"],
    ["embedding.center=true", "embedding.symmetric=true"],
    ["embedding.tap=cnn"],
    ["warp_probability=0.5"],
]


@pytest.mark.parametrize("overrides", OPTIONS, ids=lambda o: " ".join(o) or "default")
def test_every_option_trains_the_student_and_never_the_teacher(overrides: list[str]) -> None:
    result, student, teacher = _step(_settings(*overrides))
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    result.loss.backward()
    assert torch.isfinite(result.loss)
    gradients = [p.grad for p in student.parameters() if p.requires_grad]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("step", [0, 40, 100])
def test_the_objective_is_the_weighted_sum_of_its_parts(step: int) -> None:
    settings = _settings("embedding.weight=0.7", "weak=0.25", "mean_teacher=3", "pseudo_label=5")
    figures = _step(settings, step)[0].figures
    expected = (
        figures["strong"]
        + 0.25 * figures["weak"]
        + ramp(step + 1, 100) * (3 * figures["mean_teacher"] + 5 * figures["pseudo_label"])
        + 0.7 * figures["embedding"]  # its ramp is that of the trunk's gradient alone
    )
    assert figures["loss"] == pytest.approx(expected, rel=1e-5)


def test_modes_decide_which_consistency_is_paid() -> None:
    composed = _step(_settings("mixup.tau=1.0"))[0].figures
    perturbed = _step(_settings("mixup.tau=0.0"))[0].figures
    plain = _step(_settings("mixup.probability=0"))[0].figures
    assert composed["pseudo_label"] > 0
    assert perturbed["pseudo_label"] == plain["pseudo_label"] == 0
    assert perturbed["mean_teacher"] > 0


def test_supervised_only_asks_no_teacher() -> None:
    figures = _step(_settings(*SUPERVISED))[0].figures
    assert set(figures) == {"strong", "weak", "loss"}


def test_unlabelled_clips_do_not_enter_the_supervised_loss() -> None:
    settings, batch = _settings(*SUPERVISED), _batch()
    changed = Batch(
        batch.waveforms, batch.strong.clone(), batch.weak.clone(), batch.valid, batch.kinds
    )
    changed.strong[3:] = 1 - changed.strong[3:]
    changed.weak[:3] = 1 - changed.weak[:3]
    changed.weak[5:] = 1 - changed.weak[5:]
    assert _step(settings, batch=batch)[0].loss == _step(settings, batch=changed)[0].loss


def test_targets_in_padding_do_not_matter() -> None:
    settings, batch = _settings("mixup.tau=0.0"), _batch()
    changed = Batch(batch.waveforms, batch.strong.clone(), batch.weak, batch.valid, batch.kinds)
    changed.strong[1, 16:] = 1 - changed.strong[1, 16:]
    assert _step(settings, batch=batch)[0].loss == _step(settings, batch=changed)[0].loss


def test_warm_up_trains_the_heads_on_a_detached_tap() -> None:
    overrides = ["embedding.detach_steps=50", "mean_teacher=0", "pseudo_label=0"]
    gradients = {}
    for name, weight in (("with", "0.5"), ("without", "0.0")):
        settings = _settings(*overrides, f"embedding.weight={weight}")
        result, student, _ = _step(settings, step=10)
        result.loss.backward()
        gradients[name] = {n: p.grad for n, p in student.network.named_parameters()}
        if name == "with":
            assert all(p.grad.abs().sum() > 0 for p in student.heads.parameters())
    for name, value in gradients["with"].items():
        torch.testing.assert_close(value, gradients["without"][name])


def test_domains_agree_when_nothing_is_mixed() -> None:
    losses = [
        _step(_settings("mixup.probability=0", f"mixup.domain={domain}"))[0].loss
        for domain in ("waveform", "mel")
    ]
    assert losses[0] == losses[1]


def test_teacher_follows_network_and_projector() -> None:
    student, teacher = _models(_settings())
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    teacher.follow(student, 0.0)
    for name, value in student.network.state_dict().items():
        assert torch.equal(value, teacher.network.state_dict()[name])
    for name, value in student.heads.projector.state_dict().items():
        assert torch.equal(value, teacher.projector.state_dict()[name])
    assert not teacher.train().training


@pytest.mark.parametrize(
    "overrides",
    [
        ["mixup.probability=0"],
        ["mixup.tau=1"],
        ["mixup.tau=0"],
        ["mixup.tau=1", "mixup.labels=max"],
    ],
    ids=" ".join,
)
def test_classes_that_are_not_known_are_neither_present_nor_absent(overrides: list[str]) -> None:
    """Whatever stands in their targets teaches nothing; the teacher teaches them all the same."""
    settings = _settings("embedding.weight=0", *overrides)
    known = torch.ones(len(KINDS), 2, dtype=torch.bool)
    known[:, 1] = False  # no clip knows the second class
    batch = replace(_batch(), known=known)
    other = replace(batch, strong=batch.strong.clone(), weak=batch.weak.clone())
    other.strong[..., 1] = 1 - other.strong[..., 1]
    other.weak[:, 1] = 1 - other.weak[:, 1]
    gradients = []
    for one in (batch, other):
        result, student, _ = _step(settings, batch=one)
        result.loss.backward()
        gradients.append((result.figures, student.network.crnn.heads.strong.bias.grad))
    assert gradients[0][0] == gradients[1][0]
    assert torch.equal(gradients[0][1], gradients[1][1])
    assert (gradients[0][1] != 0).all()  # the consistency losses teach both classes
    alone = _settings("embedding.weight=0", "mean_teacher=0", "pseudo_label=0", *overrides)
    result, student, _ = _step(alone, batch=batch)
    result.loss.backward()
    bias = student.network.crnn.heads.strong.bias.grad
    assert bias[0] != 0
    assert bias[1] == 0
    everything, _, _ = _step(alone, batch=replace(batch, known=torch.ones_like(known)))
    nothing, _, _ = _step(alone, batch=replace(batch, known=None))
    assert everything.figures == pytest.approx(nothing.figures)
    assert everything.figures["strong"] != pytest.approx(result.figures["strong"])


def test_a_compositions_class_is_known_where_both_clips_know_it() -> None:
    known = torch.tensor([[True, True], [True, False], [False, False]])
    mix = Mix(torch.full((3,), 0.6), torch.tensor([1, 2, 0]), torch.tensor([True, False, True]))
    mixed = mix_known(known, mix)
    assert mixed is not None
    assert mixed.tolist() == [[True, False], [True, False], [False, False]]
    assert mix_known(None, mix) is None


def test_filters_and_masks_are_the_students_alone() -> None:
    """The teacher, and every target, is that of the clean clips; the draws change nothing else."""
    from earmark.method.mixup import no_mix
    from earmark.method.views import make_views

    batch = _batch()
    plain = _settings(*SUPERVISED)
    both = _settings(
        *SUPERVISED, "filter_augment.probability=1", "time_mask.probability=1",
        "time_mask.seconds=[0.2,0.3]",
    )  # fmt: skip
    _, teacher = _models(plain)
    views = [
        make_views(teacher, batch, no_mix(len(KINDS)), own, torch.Generator().manual_seed(1))
        for own in (plain, both)
    ]
    assert torch.equal(views[0].clean.mels.cnn, views[1].clean.mels.cnn)
    assert torch.equal(views[0].mixed.valid, views[1].mixed.valid)
    found = views[1].mixed.mels.cnn
    assert not torch.allclose(found, views[0].mixed.mels.cnn, atol=1e-3)
    low = found.amin(dim=(1, 2), keepdim=True)
    silent = (found == low).all(dim=1).sum(dim=1)  # frames of 32 ms
    assert ((silent >= 6) & (silent <= 10)).all()


def test_wrong_ends_of_augmentations_are_refused() -> None:
    from earmark.core.errors import ConfigError

    for setting in ("filter_augment.bands=[6,3]", "filter_augment.decibels=[6,-6]",
                    "time_mask.seconds=[0.5,0.1]"):  # fmt: skip
        with pytest.raises(ConfigError, match="wrong order"):
            _settings(setting)
