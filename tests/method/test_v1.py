"""ATST-SED v1's losses, written down once more as its code takes them, one line after the other.

An independent formulation of the official trainers' steps, in float64: its own mixing, scaling to
decibels, warp and losses, with networks called module by module. Gradients of every parameter must
agree. What differs from v1 on purpose (docs/two_stages.md) is the same on both sides: the teacher
is in evaluation mode, and the clips are whole, so that there is no padding to leave out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from earmark.core.config import AtstSettings
from earmark.data.dataset import Batch
from earmark.method import views
from earmark.method.mixup import Mix
from earmark.method.networks import Student, Teacher
from earmark.method.settings import MethodSettings
from earmark.method.step import StepInputs
from earmark.method.v1 import draw_mix, training_step
from earmark.model.sed import SedNetwork
from earmark.train.distributed import leave_out_unused
from earmark.train.optim import freeze
from earmark.train.recipe import load_recipe
from earmark.train.shared_encoder import share_encoder

S, W, U = slice(0, 4), slice(4, 7), slice(7, 11)  # both strong sets, weak, unlabelled
KINDS = torch.tensor([0] * 4 + [1] * 3 + [2] * 4)
FRAMES = 32
Outputs = tuple[Tensor, Tensor]
pytestmark = [pytest.mark.processor, pytest.mark.usefixtures("double")]


def _network(recipe: str) -> SedNetwork:
    """The recipe's network, made small; nothing is dropped."""
    settings = load_recipe(recipe).network
    encoder = AtstSettings.model_validate(
        settings.encoder.model_dump()  # type: ignore[union-attr]
        | {"width": 12, "depth": 2, "heads": 2, "merge": 8, "max_tokens": 51}
    )
    small = {"channels": (4, 4, 4, 6, 6, 6, 6), "rnn_hidden": 6, "conv_dropout": 0.0}
    changes = small | {"dropout": 0.0, "window_seconds": 2.048, "encoder": encoder}
    torch.manual_seed(0)
    network = SedNetwork(settings.model_copy(update=changes), ("a", "b", "c"))
    leave_out_unused(network)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith(("encoder.", "crnn.merge")) and parameter.dim() > 1:
                parameter.mul_(5.0)
    return network


def _pair(recipe: str) -> tuple[Student, Teacher]:
    """A student, and a teacher that has other weights."""
    loaded = load_recipe(recipe)
    student = Student(_network(recipe), loaded.method.embedding)
    freeze(student, loaded.train.frozen)
    teacher = Teacher(student)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in teacher.named_parameters():
            if not loaded.train.frozen or "encoder" not in name:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return student.train(), teacher


def _batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    clips = len(KINDS)
    strong = (torch.rand(clips, FRAMES, 3, generator=generator) > 0.6).double()
    waveforms = 0.1 * torch.randn(clips, FRAMES * 1024, generator=generator)
    waveforms *= torch.rand(clips, 1, generator=generator)  # each clip has its own level
    weak = strong.amax(1)
    strong[W], strong[U], weak[U] = 0.0, 0.0, 0.0
    valid = torch.ones(clips, FRAMES, dtype=torch.bool)
    return Batch(waveforms, strong, weak, valid, KINDS)


# One coefficient and one permutation for each partition; a clip may be its own partner.
DRAWS = {
    "W": (0.13, torch.tensor([2, 1, 0])),
    "S": (0.97, torch.tensor([3, 0, 1, 2])),
    "U": (0.58, torch.tensor([1, 0, 3, 2])),
}
ROWS = {"W": W, "S": S, "U": U}


def _as_mix(fired: bool) -> Mix:
    coefficient, partner = torch.ones(len(KINDS)), torch.arange(len(KINDS))
    if fired:
        for name, (c, order) in DRAWS.items():
            rows = torch.arange(len(KINDS))[ROWS[name]]
            coefficient[rows], partner[rows] = c, rows[order]
    return Mix(coefficient, partner, torch.full((len(KINDS),), fired))


def _mixed(x: Tensor, clamped: bool = False) -> Tensor:
    """v1's mixup of a tensor [B, …], one partition after the other."""
    x = x.clone()
    for name, (c, order) in DRAWS.items():
        part = x[ROWS[name]]
        x[ROWS[name]] = c * part + (1 - c) * part[order]
    return x.clamp(0.0, 1.0) if clamped else x


def _encoder_decibels(power: Tensor) -> Tensor:
    """Power mel → v1's normalised decibels, the dynamic range clip by clip."""
    decibels = 10.0 * power.clamp(min=1e-10).log10()
    floor = decibels.flatten(1).max(dim=1).values - 80.0
    decibels = torch.maximum(decibels, floor[:, None, None]).clamp(-50.0, 80.0)
    return 2.0 * (decibels + 79.6482) / (50.6842 + 79.6482) - 1.0


def _cnn_decibels(magnitude: Tensor) -> Tensor:
    """Magnitude mel → v1's decibels, from 0 to 1 over each clip."""
    decibels = (20.0 * magnitude.clamp(min=1e-5).log10()).clamp(-50.0, 80.0)
    low = decibels.flatten(1).min(dim=1).values[:, None, None]
    high = decibels.flatten(1).max(dim=1).values[:, None, None]
    return (decibels - low) / (high - low + 1e-8)


def _forward(network: SedNetwork, magnitude: Tensor, features: Tensor) -> Outputs:
    """The network module by module: CNN, tokens pooled to its frames, merge, GRU, both heads."""
    crnn, encoder = network.crnn, network.encoder
    assert encoder is not None
    assert crnn.merge is not None
    local = crnn.cnn(_cnn_decibels(magnitude))[:, :FRAMES]
    tokens = F.adaptive_avg_pool1d(encoder(features).transpose(1, 2), FRAMES).transpose(1, 2)
    hidden, _ = crnn.rnn(crnn.merge(torch.cat([local, tokens], dim=-1)))
    strong = torch.sigmoid(hidden @ crnn.heads.strong.weight.T + crnn.heads.strong.bias)
    logits = hidden @ crnn.heads.attention.weight.T + crnn.heads.attention.bias
    attention = logits.softmax(dim=-1).clamp(1e-7, 1.0)
    return strong, (strong * attention).sum(1) / attention.sum(1)


CROPS = [(3, 40), (20, 44), (0, 51), (5, 39), (9, 50), (1, 62)]  # first row, rows


def _crop(x: Tensor, first: int, rows: int) -> Tensor:
    """v1's frequency warp of one partition."""
    size = (64, x.shape[-1])
    crop = x[:, None, first : first + rows]
    return F.interpolate(crop, size, mode="bicubic", align_corners=True)[:, 0]


def _stage2(
    student: SedNetwork, teacher: SedNetwork, batch: Batch, mix: bool, warp: bool
) -> Tensor:
    """v1's stage 2 at full consistency weight 70."""
    magnitude = student.frontend.linear(batch.waveforms)
    power = student.encoder.linear(batch.waveforms)  # type: ignore[union-attr]
    strong, weak = batch.strong, batch.weak
    mixed_magnitude, mixed_power = magnitude, power
    if mix:
        mixed_magnitude, mixed_power = _mixed(magnitude), _mixed(power)
        strong, weak = _mixed(strong, True), _mixed(weak, True)
    own, others = _encoder_decibels(mixed_power), _encoder_decibels(power)
    if warp:
        for features, crops in ((others, CROPS[:3]), (own, CROPS[3:])):
            for part, crop in zip((S, W, U), crops, strict=True):
                features[part] = _crop(features[part], *crop)
    p_s, p_w = _forward(student, mixed_magnitude, own)
    with torch.no_grad():
        q_s, q_w = _forward(teacher, magnitude, others)
    loss = F.binary_cross_entropy(p_s[S], strong[S])
    loss = loss + 0.5 * F.binary_cross_entropy(p_w[W], weak[W])
    if not mix:
        return loss + 70.0 * (F.mse_loss(p_s, q_s) + 0.5 * F.mse_loss(p_w, q_w))
    q_s, q_w = _mixed(q_s, True), _mixed(q_w, True)
    ict = sum(
        F.mse_loss(p_s[part], q_s[part]) + 0.5 * F.mse_loss(p_w[part], q_w[part])
        for part in (S, W, U)
    )
    return loss + 70.0 / 4.0 * (1.0 / 6.0) * ict


def _stage1(student: SedNetwork, teacher: SedNetwork, batch: Batch, mix: bool, _: bool) -> Tensor:
    """v1's stage 1 at full consistency weight 2: the encoder's input is never mixed."""
    magnitude = student.frontend.linear(batch.waveforms)
    features = _encoder_decibels(student.encoder.linear(batch.waveforms))  # type: ignore[union-attr]
    strong, weak = batch.strong, batch.weak
    if mix:
        magnitude = _mixed(magnitude)
        strong, weak = _mixed(strong, True), _mixed(weak, True)
    p_s, p_w = _forward(student, magnitude, features)
    with torch.no_grad():
        q_s, q_w = _forward(teacher, magnitude, features)
    loss = F.binary_cross_entropy(p_s[S], strong[S]) + F.binary_cross_entropy(p_w[W], weak[W])
    return loss + 2.0 * (F.mse_loss(p_s, q_s) + F.mse_loss(p_w, q_w))


def _gradients(loss: Tensor, network: SedNetwork) -> dict[str, Tensor]:
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


CASES: list[tuple[str, Callable[..., Tensor], bool, bool]] = [
    ("atst-sed-stage1", _stage1, False, False),
    ("atst-sed-stage1", _stage1, True, False),
    ("atst-sed-stage2", _stage2, False, False),  # mean teacher
    ("atst-sed-stage2", _stage2, False, True),
    ("atst-sed-stage2", _stage2, True, False),  # interpolation consistency
    ("atst-sed-stage2", _stage2, True, True),
]


@pytest.mark.parametrize(
    ("recipe", "formulation", "mix", "warp"),
    CASES,
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@pytest.mark.parametrize("shared", [False, True])
def test_gradients_are_those_of_v1(
    recipe: str, formulation: Callable[..., Tensor], mix: bool, warp: bool, shared: bool
) -> None:
    settings = load_recipe(recipe).method
    student, teacher = _pair(recipe)
    encoder = share_encoder(student, teacher) if shared else None
    if shared and (encoder is not None) is not (recipe == "atst-sed-stage1"):
        pytest.fail("the encoder is shared in the first stage only")
    other = copy.deepcopy(student)
    batch, past_ramps = _batch(), settings.ramp_steps
    turn = iter(CROPS)

    def warped(mel: Tensor, _: Any, probability: float, __: Any, groups: Tensor) -> Tensor:
        """The crops of the other side, given to the partitions in their order."""
        assert probability == 1.0
        return torch.cat([_crop(mel[groups == kind], *next(turn)) for kind in (0, 1, 2)])

    settings = settings.model_copy(update={"warp_probability": float(warp)})
    with mock.patch.object(views, "frequency_warp", warped):
        generator = torch.Generator().manual_seed(5)
        inputs = StepInputs(_as_mix(mix), encoder=encoder)
        result = training_step(student, teacher, batch, past_ramps, settings, generator, inputs)
    expected = formulation(other.network, teacher.network, batch, mix, warp)
    torch.testing.assert_close(result.loss, expected, rtol=1e-9, atol=0)
    ours, theirs = _gradients(result.loss, student.network), _gradients(expected, other.network)
    assert ours.keys() == theirs.keys()
    learning = {name for name, p in student.network.named_parameters() if p.requires_grad}
    assert ours.keys() == learning
    for name, value in theirs.items():
        largest = float(value.abs().max())
        assert largest > 0, name
        # Of the largest: the CNN's scaling bounds its range by 1e-8, where v1 adds 1e-8 to it.
        # A bias before a batch norm has none but rounding.
        bound = 1e-7 * largest + 1e-12
        torch.testing.assert_close(ours[name], value, rtol=0, atol=bound, msg=name)


@pytest.mark.parametrize(("step", "weight"), [(0, 0.4884), (99, 8.2), (144, 20.0), (289, 70.0)])
def test_the_ramp_has_v1s_values(step: int, weight: float) -> None:
    """Stage 2's consistency weight at v1's steps 1, 100, 145 and 290."""
    settings: MethodSettings = load_recipe("atst-sed-stage2").method
    student, teacher = _pair("atst-sed-stage2")
    settings = settings.model_copy(update={"warp_probability": 0.0})
    generator = torch.Generator().manual_seed(0)
    figures = training_step(student, teacher, _batch(), step, settings, generator).figures
    assert 70.0 * figures["ramp"] == pytest.approx(weight, rel=0.02)


def test_draws_are_v1s() -> None:
    """Half the steps are mixed; c is one for a kind, unfolded, from Beta(0.2, 0.2)."""
    settings = load_recipe("atst-sed-stage2").method
    generator = torch.Generator().manual_seed(0)
    draws = [draw_mix(KINDS, settings, generator) for _ in range(4000)]
    fired = [mix for mix in draws if bool(mix.composed.any())]
    assert len(fired) / len(draws) == pytest.approx(0.5, abs=0.03)
    found: list[float] = []
    for mix in fired:
        assert bool(mix.composed.all())
        for part in ROWS.values():
            assert len(set(mix.coefficient[part].tolist())) == 1
            assert sorted(mix.partner[part].tolist()) == list(range(part.start, part.stop))
            found.append(float(mix.coefficient[part.start]))
    values = torch.tensor(found)
    assert values.mean().item() == pytest.approx(0.5, abs=0.02)
    assert (values < 0.5).double().mean().item() == pytest.approx(0.5, abs=0.02)
    distance = torch.minimum(values, 1 - values)  # 58 % below 0.05, mean 0.10
    assert (distance < 0.05).double().mean().item() == pytest.approx(0.58, abs=0.02)
    assert distance.mean().item() == pytest.approx(0.10, abs=0.01)
    for mix in (mix for mix in draws if not bool(mix.composed.any())):
        assert not bool(mix.mixed.any())
