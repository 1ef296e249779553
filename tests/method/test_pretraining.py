"""ATST-Frame's objective: its mask, its mixture, its two views, its loss, and who learns."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from earmark.core.config import ATST_FRONTEND, AtstSettings
from earmark.method.networks import FrameHead
from earmark.method.pretraining import (
    CropViews,
    Draw,
    PretrainStudent,
    PretrainTeacher,
    crop_views,
    draw_crop,
    energy_sharpness,
    mix_log_mels,
    perturb,
    pretraining_loss,
    span_mask,
)
from earmark.method.pretraining_settings import (
    HeadSettings,
    MaskSettings,
    PerturbationSettings,
    PretrainRecipe,
)
from earmark.train.crop_batches import MixBank

pytestmark = pytest.mark.processor

FRONTEND = ATST_FRONTEND.model_copy(update={"db_clamp": None})
TINY = PretrainRecipe(
    name="t",
    encoder=AtstSettings(
        width=12, depth=2, heads=3, max_tokens=30, drop_path=0.2, frontend=FRONTEND
    ),
    window_seconds=1.2,
    heads=HeadSettings(hidden=16, out=8),
)


def _masks(edges: str, draws: int = 3000, tokens: int = 250) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    options = MaskSettings(edges=edges)  # type: ignore[arg-type]
    return torch.stack([span_mask(tokens, options, generator) for _ in range(draws)])


def _runs(mask: Tensor) -> list[int]:
    return [len(list(group)) for hidden, group in itertools.groupby(mask.tolist()) if hidden]


def test_upstream_mask_has_the_published_statistics() -> None:
    masks = _masks("upstream")
    shares = masks.float().mean(dim=1)
    assert shares.mean().item() == pytest.approx(0.503, abs=0.003)
    assert shares.std().item() == pytest.approx(0.027, abs=0.004)
    runs = torch.tensor([run for mask in masks for run in _runs(mask)]).float()
    assert runs.median().item() == 6
    assert runs.mean().item() == pytest.approx(7.7, abs=0.2)
    assert masks[:, 0].float().mean().item() == pytest.approx(0.13, abs=0.02)
    assert not masks[:, 249].any()


def test_clipped_mask_hides_every_token_equally_often() -> None:
    masks = _masks("clipped")
    often = masks.float().mean(dim=0)
    # A token is free if none of the 5 starts that reach it is among the 32 or 33 of 254.
    free = sum(math.comb(249, count) / math.comb(254, count) for count in (32, 33)) / 2
    assert often.mean().item() == pytest.approx(1 - free, abs=0.003)
    # Five standard errors of a share of one half over the draws.
    assert (often - often.mean()).abs().max().item() < 5 * 0.5 / math.sqrt(len(masks))


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(6, 250),
    share=st.floats(0.05, 1.0),
    span=st.integers(1, 5),
    edges=st.sampled_from(["clipped", "upstream"]),
    seed=st.integers(0, 999),
)
def test_mask_has_spans_and_is_never_empty(
    tokens: int, share: float, span: int, edges: str, seed: int
) -> None:
    options = MaskSettings(share=share, span=span, edges=edges)  # type: ignore[arg-type]
    mask = span_mask(tokens, options, torch.Generator().manual_seed(seed))
    assert mask.shape == (tokens,)
    assert mask.any()
    inner = mask.tolist()
    runs = _runs(mask)
    if edges == "clipped":  # the first and last may be cut
        runs = runs[inner[0] : len(runs) - inner[-1]]
    assert all(run >= span for run in runs)
    assert mask.sum() <= math.ceil(share * tokens / span) * span


def test_energy_mixing_adds_powers() -> None:
    """Independent of the formula: back to power, add, and scale again."""
    decibels, alpha = torch.tensor([[20.0, -30.0, 0.0], [-30.0, 20.0, 0.0]]), torch.tensor(0.2)
    scaled = (decibels + 14.482) / 65.1662
    expected = 10 * torch.log10(0.8 * 10 ** (decibels[0] / 10) + 0.2 * 10 ** (decibels[1] / 10))
    mixed = mix_log_mels(scaled[0], scaled[1], alpha, energy_sharpness(FRONTEND))
    found = mixed * 65.1662 - 14.482
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)
    assert found[0].item() == pytest.approx(19.0, abs=0.1)
    assert found[1].item() == pytest.approx(13.0, abs=0.1)


def test_log_mixing_is_upstreams_almost_linear_one() -> None:
    scaled = (torch.tensor([[20.0, -30.0], [-30.0, 20.0]]) + 14.482) / 65.1662
    mixed = mix_log_mels(scaled[0], scaled[1], torch.tensor(0.2), 1.0)
    expected = torch.log(0.8 * scaled[0].exp() + 0.2 * scaled[1].exp() + 1e-7)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-5)
    found = mixed * 65.1662 - 14.482
    assert found[0].item() == pytest.approx(12.6, abs=0.1)
    assert found[1].item() == pytest.approx(-16.5, abs=0.1)


def test_bank_forgets_the_oldest() -> None:
    bank = MixBank(3)
    for number in range(5):
        bank.push(torch.full((1, 2, 4), float(number)), [number])
    assert len(bank) == 3
    assert [bank.partner(age)[0][0, 0].item() for age in range(3)] == [4, 3, 2]
    assert [bank.partner(age)[1] for age in range(3)] == [4, 3, 2]
    nothing = MixBank(0)
    nothing.push(torch.zeros(1, 2, 4), [4])
    assert len(nothing) == 0


def _draw(alpha: float, place: float) -> Draw:
    return Draw(torch.ones(1, dtype=torch.bool), alpha, place, torch.Generator().manual_seed(0))


def test_perturbation_mixes_with_the_bank_and_spares_a_partners_padding() -> None:
    options = PerturbationSettings(warp_probability=0.0)
    clean, bank = torch.randn(2, 64, 20), MixBank(5)
    assert torch.equal(perturb(clean, [_draw(0.3, 0.0)] * 2, bank.at, options, FRONTEND), clean)
    partner = torch.randn(1, 64, 20)
    bank.push(partner, [12])
    view = perturb(clean, [_draw(0.3, 0.9), _draw(0.0, 0.9)], bank.at, options, FRONTEND)
    expected = torch.log(0.7 * clean[0].exp() + 0.3 * partner[0].exp())
    torch.testing.assert_close(view[0, :, :12], expected[:, :12])
    assert torch.equal(view[0, :, 12:], clean[0, :, 12:])
    assert torch.equal(view[1], clean[1])


def test_warp_is_the_identity_in_the_published_share_of_crops() -> None:
    clean, options = torch.randn(1, 64, 4), PerturbationSettings()
    same = sum(
        torch.equal(
            perturb(
                clean,
                [Draw(torch.ones(1), 0.0, 0.0, torch.Generator().manual_seed(seed))],
                MixBank(0).at,
                options,
                FRONTEND,
            ),
            clean,
        )
        for seed in range(1500)
    )
    assert same / 1500 == pytest.approx(0.556, abs=0.04)


def test_draws_depend_on_nothing_but_the_generator() -> None:
    draws = [
        draw_crop(20, 30, MaskSettings(), 0.4, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(draws[0].masked, draws[1].masked)
    assert draws[0][1:3] == draws[1][1:3] != draws[2][1:3]
    assert not draws[0].masked[20:].any()  # padding is never hidden, hence never guessed
    assert all(0 <= draw.alpha <= 0.4 and 0 <= draw.place < 1 for draw in draws)


def _views(batch: int = 3, lengths: tuple[int, ...] = (30, 17, 30)) -> CropViews:
    generator = torch.Generator().manual_seed(3)
    clean, perturbed = torch.randn(2, batch, 64, 121, generator=generator).unbind()
    masked = torch.zeros(batch, 30, dtype=torch.bool)
    for row, tokens in enumerate(lengths):
        masked[row, :tokens] = span_mask(tokens, MaskSettings(), generator)
    return crop_views(clean, perturbed, torch.tensor(lengths), masked)


def _pair(mode: str = "eval") -> tuple[PretrainStudent, PretrainTeacher]:
    torch.manual_seed(0)
    student = PretrainStudent(TINY)
    teacher = PretrainTeacher(student, mode)  # type: ignore[arg-type]
    for parameter in teacher.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    return student, teacher


def _head(head: FrameHead, x: Tensor, batch_statistics: bool) -> Tensor:
    """Linear → batch norm → ReLU → Linear, from the formulas."""
    first, norm, last = head.layers[0], head.layers[1], head.layers[3]
    y = x @ first.weight.T
    mean = y.mean(dim=0) if batch_statistics else norm.running_mean
    variance = y.var(dim=0, unbiased=False) if batch_statistics else norm.running_var
    y = (y - mean) / torch.sqrt(variance + norm.eps) * norm.weight + norm.bias
    return torch.relu(y) @ last.weight.T


@pytest.mark.parametrize("mode", ["batch", "eval"])
def test_loss_is_the_formula(mode: str) -> None:
    """View by view and token by token, with the batch statistics of both views together."""
    student, teacher = _pair(mode)
    student.encoder.eval()  # without stochastic depth, which cannot be repeated
    views = _views()
    loss, figures = pretraining_loss(student, teacher, views)
    halves = [part.chunk(2) for part in (views.mels, views.valid, views.masked)]
    hidden, known = [], []
    for mel, valid, masked in zip(*halves, strict=True):
        for row in range(len(mel)):
            sound = int(valid[row].sum())
            one = mel[row : row + 1, :, : 4 * sound]  # alone and without its padding
            mask = masked[row : row + 1, :sound]
            hidden.append(student.encoder(one, None, mask)[mask])
            known.append(teacher.encoder(one)[mask])
    rows = [len(part) for part in hidden]
    p = _head(student.predictor, _head(student.projector, torch.cat(hidden), True), True)
    z = _head(teacher.projector, torch.cat(known), mode == "batch")
    half = sum(rows) // 2
    unit = [v / v.norm(dim=1, keepdim=True) for v in (p[:half], p[half:], z[:half], z[half:])]
    p1, p2, z1, z2 = unit
    expected = 0.5 * ((p2 - z1).square().sum(1).mean() + (p1 - z2).square().sum(1).mean())
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    assert figures["loss"] == pytest.approx(expected.item(), rel=1e-4)


def test_padding_and_unmasked_targets_never_enter() -> None:
    student, teacher = _pair()
    student.encoder.eval()
    views = _views()
    expected, _ = pretraining_loss(student, teacher, views)
    mels = views.mels.clone()
    for row in (1, 4):
        mels[row, :, 17 * 4 :] = 99.0
    found, _ = pretraining_loss(student, teacher, CropViews(mels, views.valid, views.masked))
    torch.testing.assert_close(found, expected)


def test_the_student_does_not_see_what_it_guesses() -> None:
    student, _ = _pair()
    student.encoder.eval()
    views, mels = _views(), _views().mels
    for row, masked in enumerate(views.masked):
        for token in torch.nonzero(masked).flatten().tolist():
            mels[row, :, 4 * token : 4 * token + 4] = 7.0
    before = student(views.mels, views.valid, views.masked)
    torch.testing.assert_close(student(mels, views.valid, views.masked), before)


def test_only_the_student_learns() -> None:
    student, teacher = _pair()
    loss, _ = pretraining_loss(student, teacher, _views())
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in student.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert all(parameter.grad is None for parameter in teacher.parameters())


@pytest.mark.parametrize(
    ("mode", "depth", "batch"),
    [("eval", False, False), ("batch", False, True), ("train", True, True)],
)
def test_teachers_mode(mode: str, depth: bool, batch: bool) -> None:
    _, teacher = _pair(mode)
    teacher.train()
    assert teacher.encoder.blocks[0].drop_path.training is depth
    assert teacher.projector.layers[1].training is batch
    assert not any(module.training for module in teacher.eval().modules())


def test_collapse_is_seen() -> None:
    student, teacher = _pair()
    _, healthy = pretraining_loss(student, teacher, _views())
    teacher.projector.layers[3].weight.data.zero_()
    teacher.projector.layers[3].weight.data[0] = 1.0
    _, collapsed = pretraining_loss(student, teacher, _views())
    assert collapsed["teacher_std"] < 0.01 < healthy["teacher_std"]
    assert collapsed["teacher_cosine"] > 0.99
