"""Arrays are looked at as files are: the right samples, or one line."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from earmark.core.audio.audio import load_audio
from earmark.core.audio.samples import as_samples
from earmark.core.errors import AudioError

WAVE = (0.5 * np.sin(np.linspace(0, 400, 1600))).astype(np.float32)
INT16 = np.rint(WAVE * 32768).astype(np.int16)


@pytest.mark.parametrize(
    "given",
    [
        WAVE, WAVE.astype(np.float64), INT16, INT16.astype(np.int32) * 2**16, WAVE.tolist(),
        ((INT16.astype(np.int32) >> 8) + 128).astype(np.uint8), torch.from_numpy(WAVE),
        torch.from_numpy(WAVE).requires_grad_(), torch.from_numpy(INT16),
        np.ma.masked_array(WAVE, mask=False), WAVE[:, None], np.stack([WAVE, WAVE], 1),
    ],
)  # fmt: skip
def test_every_way_to_give_a_wave_gives_the_wave(given: Any) -> None:
    np.testing.assert_allclose(load_audio((given, 16_000)), WAVE, atol=2**-7)


def test_bfloat16_is_rounded_and_nothing_more() -> None:
    given = torch.from_numpy(WAVE).bfloat16()
    np.testing.assert_array_equal(load_audio((given, 16_000)), given.float().numpy())


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (INT16.astype(np.int64), "64 bits"),
        (INT16.astype(np.uint64), "64 bits"),
        (INT16.tolist(), "64 bits"),
        (INT16.astype(np.int32), "fewer bits"),
        (INT16.astype(np.float32), "written as floats"),
        (np.ma.masked_array(WAVE, mask=WAVE > 0.3), "masked"),
        (np.zeros((2, 1600), np.float32), "Transpose"),
        (np.zeros((2, 2, 2), np.float32), "shape"),
        (np.zeros(16, bool), "type bool"),
        (["a", "b"], "type"),
    ],
)
def test_what_cannot_be_known_is_refused(given: Any, word: str) -> None:
    with pytest.raises(AudioError, match=word):
        load_audio((given, 16_000))


@pytest.mark.parametrize("given", [np.zeros(100, np.int32), np.array([2**16, 0], np.int32)])
def test_silence_and_quiet_recordings_of_32_bits_are_no_fault(given: Any) -> None:
    assert len(load_audio((given, 16_000))) == len(given)


def test_a_file_of_floats_in_integer_range_is_refused_and_a_loud_one_is_not() -> None:
    for scale, fine in ((2.0, True), (16_383.0, False)):
        file = io.BytesIO()
        soundfile.write(file, WAVE * scale, 16_000, format="WAV", subtype="FLOAT")
        if fine:
            assert np.abs(load_audio(file)).max() == pytest.approx(1.0, abs=0.01)
            continue
        with pytest.raises(AudioError, match="written as floats"):
            load_audio(file)


def test_a_block_of_a_stream_may_be_quiet() -> None:
    assert as_samples(np.ones(5, np.int32), "a block", whole=False).shape == (5, 1)


def test_blocks_of_a_stream_the_wrong_way_round_are_refused() -> None:
    from earmark import Detector

    stream = Detector.from_pretrained("mini").open_stream(16_000)
    with pytest.raises(AudioError, match="Transpose"):
        stream.push(np.zeros((1, 1600), np.float32))
    assert stream.push(np.zeros((1600, 1), np.float32)) == []
