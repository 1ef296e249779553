"""The frequency warp keeps time, changes frequency, and is seeded."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from earmark.features.augment import filter_augment, frequency_warp, time_mask


def _mel() -> torch.Tensor:
    return torch.rand(4, 64, 50, generator=torch.Generator().manual_seed(3))


def test_never_warps_at_probability_zero() -> None:
    mel = _mel()
    assert torch.equal(frequency_warp(mel, torch.Generator().manual_seed(0), 0.0), mel)


def test_is_seeded_and_changes_the_clip() -> None:
    mel = _mel()
    one = frequency_warp(mel, torch.Generator().manual_seed(5), 1.0, (0.6, 0.9))
    two = frequency_warp(mel, torch.Generator().manual_seed(5), 1.0, (0.6, 0.9))
    assert torch.equal(one, two)
    assert one.shape == mel.shape
    assert all(not torch.allclose(one[clip], mel[clip]) for clip in range(4))


def test_time_is_untouched() -> None:
    mel = torch.linspace(0, 1, 50).expand(2, 64, 50)  # constant along frequency
    warped = frequency_warp(mel, torch.Generator().manual_seed(0), 1.0, (0.6, 0.9))
    torch.testing.assert_close(warped, mel.contiguous(), atol=1e-5, rtol=0)


def test_crop_is_stretched_over_all_bands() -> None:
    mel = torch.linspace(0, 1, 64)[None, :, None].expand(1, 64, 8)
    warped = frequency_warp(mel, torch.Generator().manual_seed(1), 1.0, (0.6, 0.61))
    slope = warped[0, :, 0].diff().mean() * 63
    assert 0.55 < slope < 0.62


def test_clips_of_a_group_share_a_crop() -> None:
    clip = torch.rand(1, 64, 20, generator=torch.Generator().manual_seed(2))
    mel, groups = clip.repeat(5, 1, 1), torch.tensor([1, 0, 1, 0, 1])
    warped = frequency_warp(mel, torch.Generator().manual_seed(3), 1.0, (0.6, 0.9), groups)
    assert torch.equal(warped[0], warped[2])
    assert torch.equal(warped[0], warped[4])
    assert torch.equal(warped[1], warped[3])
    assert not torch.allclose(warped[0], warped[1])
    assert not torch.allclose(warped[1], mel[1])


FILTER = {"power": 1, "bands": (3, 6), "decibels": (-6.0, 6.0), "narrowest": 6}


def _gains(mel: torch.Tensor, seed: int = 0, **options: object) -> torch.Tensor:
    """Gain in dB [B, F, T] of a filter."""
    chosen: dict[str, object] = {**FILTER, **options}
    out = filter_augment(mel, torch.Generator().manual_seed(seed), 1.0, **chosen)  # type: ignore[arg-type]
    return (10.0 if chosen["power"] == 2 else 20.0) * (out / mel).log10()


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("kind", ["step", "linear"])
def test_a_filter_is_one_gain_a_band_within_its_decibels(power: int, kind: str) -> None:
    mel = _mel() + 0.1
    gains = _gains(mel, kind=kind, power=power)
    torch.testing.assert_close(gains, gains[:, :, :1].expand_as(gains), atol=1e-4, rtol=0)
    assert gains.abs().max() <= 6.0 + 1e-4
    assert len({round(float(clip[0, 0]), 3) for clip in gains}) == 4  # each clip has its own
    bent = gains[:, :, 0].diff(n=1 if kind == "step" else 2).abs() > 1e-3  # [B, F - n]
    regions = bent.sum(dim=1)
    if kind == "step":
        assert ((regions >= 2) & (regions <= 5)).all()
        for clip in bent:
            edges = [0, *(torch.nonzero(clip).squeeze(1) + 1).tolist(), 64]
            assert min(b - a for a, b in pairwise(edges)) >= 6
    else:
        assert (regions <= 2 * 6).all()
        assert (gains[:, :, 0].diff().abs() <= 12.0 / 6 + 1e-3).all()


def test_the_steps_are_all_as_likely_as_they_should_be() -> None:
    gains = torch.cat([_gains(torch.ones(50, 24, 1), seed, kind="step") for seed in range(6)])
    values = gains[:, :, 0].flatten()
    assert abs(float(values.mean())) < 0.4
    assert abs(float(values.std()) - 12 / 12**0.5) < 0.4  # of U(-6, 6)


def test_filters_are_seeded_rare_and_fit_any_number_of_bands() -> None:
    mel = _mel() + 0.1
    assert torch.equal(_gains(mel, 3), _gains(mel, 3))
    never = filter_augment(mel, torch.Generator().manual_seed(1), 0.0, **FILTER)  # type: ignore[arg-type]
    assert torch.equal(never, mel)
    many = torch.ones(400, 8, 1)
    out = filter_augment(many, torch.Generator().manual_seed(2), 0.3, **FILTER)  # type: ignore[arg-type]
    changed = (out != 1).any(dim=1).float().mean()
    assert 0.2 < float(changed) < 0.4
    for bands in (1, 2, 5):
        assert _gains(torch.ones(3, bands, 2), 5).isfinite().all()


def test_a_mask_is_one_silent_stretch() -> None:
    mel = _mel()
    masked = time_mask(mel, torch.Generator().manual_seed(4), 1.0, (3, 9))
    for before, after in zip(mel, masked, strict=True):
        silent = (after == before.min()).all(dim=0)
        where = torch.nonzero(silent).squeeze(1)
        assert 3 <= len(where) <= 9
        assert int(where[-1] - where[0]) == len(where) - 1
        assert torch.equal(after[:, ~silent], before[:, ~silent])
    assert torch.equal(time_mask(mel, torch.Generator().manual_seed(4), 0.0, (3, 9)), mel)
    assert (
        time_mask(mel, torch.Generator().manual_seed(4), 1.0, (90, 99)).std(dim=(1, 2)) == 0
    ).all()
