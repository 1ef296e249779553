"""The frequency warp keeps time, changes frequency, and is seeded."""

from __future__ import annotations

import torch

from earmark.features.augment import frequency_warp


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
