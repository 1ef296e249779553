"""The embedding-level loss mended: who gets its gradient, what it weighs by, and no collapse."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from earmark.core.config import NetworkSettings, apply_overrides, parse_settings
from earmark.data.dataset import Batch
from earmark.method.losses import collapse_figures, frame_weights
from earmark.method.mixup import Mix, mix_inputs, partner_gain
from earmark.method.networks import Student, Teacher, faded
from earmark.method.settings import MethodSettings
from earmark.method.step import training_step
from earmark.method.teacher import ema_decay, ramp
from earmark.method.views import make_views
from earmark.model.sed import SedNetwork
from earmark.train.recipe import load_recipe

KINDS = [0, 0, 1, 1, 2, 2, 2, 2]
WARM_UP = 20


def network() -> NetworkSettings:
    small = {"channels": (4, 4, 8, 8, 8), "rnn_hidden": 8, "dropout": 0.0}
    return load_recipe("mini").network.model_copy(update=small)


def settings(*overrides: str) -> MethodSettings:
    base = [
        "embedding.hidden=16", "embedding.out=8", "ramp_steps=100", "embedding.ramp_steps=100",
        f"embedding.detach_steps={WARM_UP}", "warp_probability=0",
    ]  # fmt: skip
    return parse_settings(MethodSettings, apply_overrides({}, [*base, *overrides]))


def batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    strong = (torch.rand(len(KINDS), 32, 2, generator=generator) > 0.7).float()
    valid = torch.ones(len(KINDS), 32, dtype=torch.bool)
    valid[1, 16:] = False
    waveforms = 0.1 * torch.randn(len(KINDS), 32_768, generator=generator)
    return Batch(waveforms, strong, strong.amax(1), valid, torch.tensor(KINDS))


def gradients(options: MethodSettings, step: int) -> dict[str, Tensor]:
    """Those of the network without the heads, and a check that the teacher has none."""
    torch.manual_seed(0)
    student = Student(SedNetwork(network(), ("a", "b")), options.embedding)
    teacher = Teacher(student)
    generator = torch.Generator().manual_seed(7)
    training_step(student, teacher, batch(), step, options, generator).loss.backward()
    assert student.heads is not None
    assert all(p.grad is not None and p.grad.any() for p in student.heads.parameters())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    return {n: p.grad.clone() for n, p in student.network.named_parameters() if p.grad is not None}


EVERY = [
    (f"embedding.tap={tap}", f"embedding.weights={weights}", f"embedding.symmetric={symmetric}",
     f"embedding.center={center}", f"embedding.gain={gain}", f"embedding.teacher_norm={norm}")
    for tap, weights, symmetric, center, gain, norm in itertools.product(
        ("rnn", "cnn"), ("lambda", "activity", "energy", "hard"), ("false", "true"),
        ("false", "true"), ("resultant", "unit"), ("batch", "eval"),
    )
]  # fmt: skip


@pytest.mark.parametrize("options", EVERY[::5] + EVERY[-1:], ids=" ".join)
def test_while_heads_are_warmed_up_nothing_of_the_loss_reaches_the_trunk(
    options: tuple[str, ...],
) -> None:
    light, heavy = (
        gradients(settings(*options, f"embedding.weight={weight}"), WARM_UP - 1)
        for weight in (0.1, 100)
    )
    assert light.keys() == heavy.keys()
    assert all(torch.equal(light[name], heavy[name]) for name in light)
    after = [
        gradients(settings(*options, f"embedding.weight={weight}"), WARM_UP + 99)
        for weight in (0.1, 100)
    ]
    assert any(not torch.equal(after[0][name], after[1][name]) for name in light)


@pytest.mark.parametrize("symmetric", ["false", "true"])
def test_at_the_hand_over_the_trunk_gets_a_growing_fraction(symmetric: str) -> None:
    """Of the same loss: what it adds to the trunk's gradient at a step is r times the whole."""

    def added(step: int) -> Tensor:
        options = "mean_teacher=0", "pseudo_label=0", f"embedding.symmetric={symmetric}"
        with_loss, without = (
            gradients(settings(*options, f"embedding.weight={weight}"), step)
            for weight in (50.0, 1e-6)
        )
        name = "crnn.rnn.weight_hh_l0"
        return with_loss[name] - without[name]

    whole = added(WARM_UP + 100)
    for since in (1, 50, 80):
        expected = ramp(since, 100) * whole
        torch.testing.assert_close(added(WARM_UP + since - 1), expected, rtol=2e-3, atol=2e-5)


def test_fading_keeps_the_values_and_scales_the_gradient() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    for r in (0.0, 0.3, 1.0):
        y = faded(x, r)
        assert torch.equal(y, x)
        assert y.requires_grad == (r > 0)
        if r:
            (gradient,) = torch.autograd.grad(y.sum(), x)
            torch.testing.assert_close(gradient, torch.full_like(x, r))


def test_the_teachers_projector_takes_the_statistics_of_the_batch_and_keeps_its_own() -> None:
    for norm in ("batch", "eval"):
        options = settings(f"embedding.teacher_norm={norm}")
        torch.manual_seed(0)
        student = Student(SedNetwork(network(), ("a", "b")), options.embedding)
        teacher = Teacher(student)
        assert teacher.projector is not None
        one = batch()
        mix = Mix(torch.ones(8), torch.arange(8), torch.zeros(8, dtype=torch.bool))
        views = make_views(teacher, one, mix, options, torch.Generator())
        before = copy.deepcopy(teacher.state_dict())
        scores, vectors = teacher(views.clean)
        after = teacher.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
        moved = teacher.projector.layers[1]
        moved.running_mean.fill_(5.0)
        scores_moved, vectors_moved = teacher(views.clean)
        assert torch.equal(scores.strong, scores_moved.strong)
        assert vectors is not None
        assert vectors_moved is not None
        assert torch.equal(vectors, vectors_moved) == (norm == "batch")


@pytest.mark.parametrize("level", ["none", "rms"])
@pytest.mark.parametrize("domain", ["waveform", "mel"])
@pytest.mark.parametrize("kind", ["energy", "hard"])
def test_weights_by_energy_are_those_of_the_parts_of_the_mixture(
    kind: str, domain: str, level: str
) -> None:
    """The mixture's own part and its partner's are made apart, and their energies compared."""
    options = settings(
        f"embedding.weights={kind}", f"mixup.domain={domain}", f"mixup.level={level}",
        "embedding.tap=rnn",
    )  # fmt: skip
    torch.manual_seed(0)
    teacher = Teacher(Student(SedNetwork(network(), ("a", "b")), options.embedding))
    one = batch()
    one = replace(one, waveforms=one.waveforms * torch.logspace(-1, 1, 8)[:, None])
    mix = Mix(torch.full((8,), 0.7), torch.arange(8).roll(1), torch.ones(8, dtype=torch.bool))
    views = make_views(teacher, one, mix, options, torch.Generator())
    assert views.energy is not None
    weights = frame_weights(
        options.embedding.weights, mix.coefficient, mix.partner, views.energy.frames,
        views.energy.frames, power=views.energy.power, gain=views.energy.gain,
    )  # fmt: skip
    # The parts: 0.7·x_i alone, and what the partner adds to it.
    x = one.waveforms if domain == "waveform" else teacher.network.linear(one.waveforms).cnn
    own = 0.7 * x
    theirs = mix_inputs(x, mix, level) - own  # type: ignore[arg-type]
    torch.testing.assert_close(theirs.abs().amax() > 0, torch.tensor(True))
    if domain == "waveform":
        frames = [part.square().reshape(8, 32, -1).sum(-1) for part in (own, theirs)]
    else:
        frames = [part.sum(1)[:, :64].reshape(8, 32, -1).sum(-1) for part in (own, theirs)]
    share = frames[0] / (frames[0] + frames[1])
    if kind == "hard":
        clear = (share - 0.5).abs() > 1e-3
        assert torch.equal(weights[clear], (share > 0.5).float()[clear])
    else:
        torch.testing.assert_close(weights, share, rtol=1e-3, atol=1e-4)


def test_the_gain_of_a_silent_partner_is_one() -> None:
    x = torch.tensor([[1.0, -1.0], [0.0, 0.0], [2.0, 2.0]])
    mix = Mix(torch.full((3,), 0.8), torch.tensor([1, 2, 0]), torch.ones(3, dtype=torch.bool))
    torch.testing.assert_close(partner_gain(x, mix, "rms"), torch.tensor([1.0, 1.0, 2.0]))
    torch.testing.assert_close(partner_gain(x, mix, "none"), torch.ones(3))


def toy_clips(count: int, generator: torch.Generator) -> Batch:
    """Clips of 2 s with tones of six classes that come and go in noise."""
    active = (torch.rand(count, 8, 6, generator=generator) < 0.2).float()
    strong = active.repeat_interleave(4, dim=1)  # [B, 32, 6]
    time = torch.arange(32_768) / 16_000
    hertz = torch.tensor([300.0, 600, 1100, 1900, 3100, 5200])
    tones = (2 * torch.pi * hertz[:, None] * time).sin()  # [6, S]
    sound = (strong.repeat_interleave(1024, dim=1) * tones.t()).sum(dim=2)
    waveforms = 0.1 * sound + 0.01 * torch.randn(sound.shape, generator=generator)
    kinds = torch.arange(count) % 3
    return Batch(waveforms, strong, strong.amax(1), torch.ones(count, 32, dtype=torch.bool), kinds)


def trained(norm: str, steps: int = 60) -> dict[str, float]:
    """Std and cosine of û after a short training on toy classes, at an EMA horizon of 1."""
    options = settings(
        f"embedding.teacher_norm={norm}", "embedding.hidden=64", "embedding.out=64",
        "embedding.weight=1", "embedding.detach_steps=0", "embedding.ramp_steps=10",
        "mixup.probability=0.5", "ramp_steps=30", "mean_teacher=2", "pseudo_label=2",
    )  # fmt: skip
    torch.manual_seed(0)
    student = Student(SedNetwork(network(), tuple("abcdef")), options.embedding)
    teacher, generator = Teacher(student), torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(student.parameters(), lr=3e-3)
    figures: list[dict[str, float]] = []
    for step in range(steps):
        result = training_step(student, teacher, toy_clips(12, generator), step, options, generator)
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        teacher.follow(student, ema_decay(step + 1, 0.999, horizon=1.0))
        figures.append(result.figures)
    last = figures[-10:]
    return {
        name: sum(one[name] for one in last) / len(last)
        for name in ("embedding_std", "embedding_cosine")
    }


def test_vectors_stay_apart_where_the_old_teacher_let_them_collapse() -> None:
    healthy, old = trained("batch"), trained("eval")
    even = 64**-0.5  # std of vectors that are spread evenly
    assert healthy["embedding_std"] > 0.6 * even, (healthy, old)
    assert healthy["embedding_cosine"] < 0.6, (healthy, old)
    assert old["embedding_std"] < 0.7 * healthy["embedding_std"], (healthy, old)
    assert old["embedding_cosine"] > healthy["embedding_cosine"] + 0.2, (healthy, old)


def test_figures_of_collapse_know_the_extremes() -> None:
    generator = torch.Generator().manual_seed(0)
    valid = torch.ones(16, 20, dtype=torch.bool)
    spread = collapse_figures(torch.randn(16, 20, 64, generator=generator), valid)
    assert spread["embedding_std"] == pytest.approx(64**-0.5, rel=0.05)
    assert abs(spread["embedding_cosine"]) < 0.02
    alike = collapse_figures(torch.ones(16, 20, 64), valid)
    assert alike["embedding_std"] == pytest.approx(0.0, abs=1e-6)
    assert alike["embedding_cosine"] == pytest.approx(1.0)
