"""Conditional mixup: limits, identities, partners within a kind."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.method.mixup import Mix, draw_mix, mix_inputs, mix_targets
from earmark.method.settings import MixupSettings

KINDS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _mix(coefficient: list[float], partner: list[int], tau: float) -> Mix:
    values = torch.tensor(coefficient)
    return Mix(values, torch.tensor(partner), (values <= tau) & (values < 1))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), alpha=st.floats(0.1, 4.0), tau=st.floats(0.0, 1.2))
def test_draw(seed: int, alpha: float, tau: float) -> None:
    mix = draw_mix(KINDS, MixupSettings(alpha=alpha, tau=tau), _generator(seed))
    assert ((mix.coefficient >= 0.5) & (mix.coefficient <= 1.0)).all()
    assert torch.equal(KINDS[mix.partner], KINDS)
    for kind in KINDS.unique():
        rows = torch.nonzero(kind == KINDS).squeeze(1)
        assert torch.equal(mix.partner[rows].sort().values, rows)
    unmixed = mix.coefficient == 1
    assert torch.equal(mix.composed, (mix.coefficient <= tau) & ~unmixed)


def test_tau_one_composes_every_mixed_clip_and_small_tau_none() -> None:
    for seed in range(20):
        always = draw_mix(KINDS, MixupSettings(tau=1.0), _generator(seed))
        assert torch.equal(always.composed, always.coefficient < 1)
        assert always.composed.any()
        never = draw_mix(KINDS, MixupSettings(tau=0.49), _generator(seed))
        assert not never.composed.any()
        assert torch.equal(never.coefficient, always.coefficient)


def test_probability_zero_is_no_mixing() -> None:
    mix = draw_mix(KINDS, MixupSettings(probability=0.0), _generator())
    assert (mix.coefficient == 1).all()
    assert not mix.composed.any()


def test_share_of_compositions_follows_the_arcsine_law() -> None:
    """P(max(l, 1-l) ≤ 0.85) for Beta(½, ½) is 1 - (4/π)·asin(√0.15)."""
    kinds = torch.zeros(20_000, dtype=torch.long)
    mix = draw_mix(kinds, MixupSettings(alpha=0.5, tau=0.85), _generator(1))
    expected = 1 - 4 / torch.pi * torch.asin(torch.tensor(0.15).sqrt())
    assert mix.composed.float().mean().item() == pytest.approx(expected.item(), abs=0.02)


def test_lambda_one_is_identity_for_inputs_and_targets() -> None:
    x, y = torch.randn(3, 100, generator=_generator()), torch.rand(3, 7, 2)
    mix = _mix([1.0, 1.0, 1.0], [1, 2, 0], tau=1.0)
    for level in ("none", "rms"):
        assert torch.equal(mix_inputs(x, mix, level), x)
    for how in ("soft", "max"):
        assert torch.equal(mix_targets(y, mix, how), y)


def test_inputs_by_hand() -> None:
    x = torch.tensor([[1.0, 1.0], [4.0, 0.0]])
    mixed = mix_inputs(x, _mix([0.75, 0.5], [1, 0], tau=1.0))
    torch.testing.assert_close(mixed, torch.tensor([[1.75, 0.75], [2.5, 0.5]]))


def test_level_gives_the_partner_the_clips_rms() -> None:
    x = torch.randn(2, 4000, generator=_generator(2)) * torch.tensor([[0.1], [2.0]])
    mix = _mix([0.5, 0.5], [1, 0], tau=1.0)
    mixed = mix_inputs(x, mix, "rms")
    other = (mixed - 0.5 * x) / 0.5
    torch.testing.assert_close(other.square().mean(1), x.square().mean(1))


def test_level_leaves_silence_alone() -> None:
    x = torch.stack([torch.zeros(8), torch.ones(8)])
    mixed = mix_inputs(x, _mix([0.5, 0.5], [1, 0], tau=1.0), "rms")
    assert torch.isfinite(mixed).all()
    torch.testing.assert_close(mixed, torch.full((2, 8), 0.5))


def test_targets_follow_the_mode() -> None:
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    composed = _mix([0.75, 0.75], [1, 0], tau=0.8)
    perturbed = _mix([0.75, 0.75], [1, 0], tau=0.7)
    torch.testing.assert_close(
        mix_targets(y, composed, "soft"), torch.tensor([[0.75, 0.25], [0.25, 0.75]])
    )
    assert torch.equal(mix_targets(y, composed, "max"), torch.ones(2, 2))
    assert torch.equal(mix_targets(y, perturbed), y)
