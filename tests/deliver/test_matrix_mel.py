"""The front-end by matrix products against the one by FFT."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.config import FrontendSettings
from earmark.core.errors import ConfigError
from earmark.deliver.onnx.matrix_mel import MatrixLogMel, two_steps
from earmark.features.frontend import ATST_FRONTEND, CRNN_FRONTEND, LogMel

pytestmark = pytest.mark.processor


@given(
    rows=st.sampled_from([2, 4, 6, 16, 32]),
    columns=st.integers(1, 40),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_two_steps_are_a_fourier_transform(rows: int, columns: int, seed: int) -> None:
    size = rows * columns
    first, second, bins = two_steps(size, rows)
    signal = np.random.default_rng(seed).normal(size=size)
    partial = first.double() @ torch.from_numpy(signal).reshape(rows, columns)
    spectrum = partial.reshape(len(second), 1, -1) @ second.double()  # [N₁/2 + 1, 1, 2·N₂]
    real, imaginary = spectrum.squeeze(1).chunk(2, dim=1)
    expected = np.abs(np.fft.rfft(signal)) ** 2
    power = (real.square() + imaginary.square()).flatten().numpy()
    np.testing.assert_allclose(power, expected[bins], atol=1e-4 * expected.max())
    assert set(bins.tolist()) == set(range(size // 2 + 1))


@pytest.mark.parametrize(
    "frontend",
    [
        CRNN_FRONTEND,
        ATST_FRONTEND,
        ATST_FRONTEND.model_copy(update={"db_clamp": None}),
        FrontendSettings(n_fft=400, hop=160, n_mels=40, window="hann"),
    ],
)
@pytest.mark.parametrize("samples", [160_000, 21_001])
def test_equals_the_front_end_that_training_uses(frontend: FrontendSettings, samples: int) -> None:
    generator = torch.Generator().manual_seed(1)
    levels = torch.tensor([0.3, 1e-3, 0.0])[:, None]
    waveforms = levels * torch.randn(3, samples, generator=generator)
    expected = LogMel(frontend)(waveforms)
    torch.testing.assert_close(
        MatrixLogMel(frontend, samples)(waveforms), expected, atol=2e-5, rtol=0
    )


def test_an_odd_transform_is_refused() -> None:
    with pytest.raises(ConfigError, match="odd"):
        MatrixLogMel(FrontendSettings(n_fft=401, hop=160), 16_000)
    with pytest.raises(ConfigError, match="short"):
        MatrixLogMel(CRNN_FRONTEND, 1000)
