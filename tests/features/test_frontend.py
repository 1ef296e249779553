"""Front-ends against the official network's features, and clip independence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.config import FrontendSettings
from earmark.features.frontend import ATST_FRONTEND, CRNN_FRONTEND, LogMel, mel_filterbank

pytestmark = pytest.mark.processor


@pytest.fixture(scope="module")
def golden(shared_dir: Path) -> dict[str, np.ndarray]:
    return dict(np.load(shared_dir / "golden/parity/atst_sed_seed1.npz"))


@pytest.mark.parametrize(
    ("name", "frontend", "every", "shape"),
    [
        ("crnn_mel", CRNN_FRONTEND, 25, (3, 128, 626)),
        ("atst_mel", ATST_FRONTEND, 40, (3, 64, 1001)),
    ],
)
def test_equals_official_features(
    golden: dict[str, np.ndarray],
    name: str,
    frontend: FrontendSettings,
    every: int,
    shape: tuple[int, int, int],
) -> None:
    waveforms = torch.from_numpy(golden["pcm"].astype(np.float32) / 32768.0)
    mel = LogMel(frontend)(waveforms)
    assert mel.shape == shape
    np.testing.assert_allclose(mel[:, :, ::every].numpy(), golden[name], atol=1e-4)


@pytest.mark.parametrize("frontend", [CRNN_FRONTEND, ATST_FRONTEND], ids=["crnn", "atst"])
def test_clip_does_not_depend_on_its_neighbours(frontend: FrontendSettings) -> None:
    generator = torch.Generator().manual_seed(0)
    quiet = 1e-3 * torch.randn(1, 32_000, generator=generator)
    loud = torch.randn(1, 32_000, generator=generator)
    module = LogMel(frontend)
    together = module(torch.cat([quiet, loud]))
    torch.testing.assert_close(together[:1], module(quiet), atol=1e-6, rtol=0)


@settings(max_examples=25, deadline=None)
@given(samples=st.integers(1100, 60_000))
def test_number_of_frames(samples: int) -> None:
    mel = LogMel(CRNN_FRONTEND)(torch.zeros(1, samples))
    assert mel.shape == (1, 128, 1 + samples // 256)


def test_pure_tone_peaks_in_its_band() -> None:
    tone = torch.sin(2 * torch.pi * 1000.0 * torch.arange(16_000) / 16_000)[None]
    band = LogMel(ATST_FRONTEND).linear(tone)[0, :, 50].argmax()
    filters = mel_filterbank(513, 64, 60.0, 7800.0)
    assert band == filters[64].argmax()  # bin 64 of 513 is 1000 Hz


def test_silence_is_finite_and_minmax_stays_in_range() -> None:
    module = LogMel(CRNN_FRONTEND)
    assert torch.equal(module(torch.zeros(1, 16_000)), torch.zeros(1, 128, 63))
    scaled = module(torch.randn(2, 16_000, generator=torch.Generator().manual_seed(1)))
    assert scaled.min() == 0.0
    assert scaled.max() == pytest.approx(1.0, abs=1e-6)


def test_filters_cover_every_band() -> None:
    assert (mel_filterbank(1025, 128, 0.0, 8000.0).sum(dim=0) > 0).all()
    assert (mel_filterbank(513, 64, 60.0, 7800.0).sum(dim=0) > 0).all()
