"""Channels, threads, devices and batches: what is chosen for the user, and what that changes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from earmark.core.errors import AudioError, ConfigError
from earmark.detect.detector import Detector, channel_name
from earmark.detect.network import suitable_batch
from earmark.detect.postprocess import PostProcess
from earmark.detect.torch_network import TorchScorer, find_device
from helpers.networks import BandEnergy, Function, Spec

pytestmark = pytest.mark.processor

RATE = 16_000
TONES = {"low": 500.0, "mid": 2000.0, "high": 5000.0}


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    """Another tone in each of three channels."""
    time = np.arange(15 * RATE) / RATE
    tones = [0.3 * np.sin(2 * np.pi * hertz * time) * (time > 3) for hertz in TONES.values()]
    path = tmp_path / "yard.wav"
    soundfile.write(path, np.stack(tones, axis=1), RATE)
    return path


@pytest.mark.parametrize(
    ("channels", "heard"),
    [
        ("mean", ["high", "low", "mid"]),
        ("first", ["low"]),
        (1, ["low"]),
        ("2", ["mid"]),
        (3, ["high"]),
    ],
)
def test_which_channel_is_heard(channels: str | int, heard: list[str], stereo: Path) -> None:
    settings = PostProcess(median_seconds=0.2)
    detector = Detector(BandEnergy(scale=100.0), settings, channels=channels)
    assert sorted(detector.detect(stereo).events.event_label) == heard
    samples, rate = soundfile.read(stereo, dtype="float32")
    assert sorted(detector.detect((samples, rate)).events.event_label) == heard


def test_the_channel_that_is_good_is_heard(tmp_path: Path) -> None:
    """Channels that cancel: of their mean nothing is left, the louder one has all events."""
    audio = 0.3 * np.sin(2 * np.pi * 500 * np.arange(4 * RATE) / RATE)
    path = tmp_path / "cancelled.wav"
    soundfile.write(path, np.stack([-0.99 * audio, audio], axis=1), RATE)
    network = BandEnergy(scale=100.0)
    chosen, second, mean = (
        Detector(network, channels=channels).score(path).values for channels in ("auto", 2, "mean")
    )
    np.testing.assert_array_equal(chosen, second)
    assert chosen.max() > 0.5 > mean.max()


def test_each_channel_by_itself(stereo: Path) -> None:
    detector = Detector(BandEnergy(scale=100.0), PostProcess(median_seconds=0.2))
    results = detector.detect_channels(stereo)
    assert [result.filename for result in results] == [f"yard.ch{n}.wav" for n in (1, 2, 3)]
    assert [result.events.event_label.tolist() for result in results] == [[one] for one in TONES]
    with stereo.open("rb") as file:
        assert len(detector.detect_channels(io.BytesIO(file.read()), filename="x")) == 3
    mono = (soundfile.read(stereo, dtype="float32")[0][:, 0], RATE)
    assert [one.filename for one in detector.detect_channels(mono)] == ["audio"]
    assert channel_name("no suffix", 2) == "no suffix.ch2"


def test_a_channel_that_is_not_there(stereo: Path) -> None:
    with pytest.raises(AudioError, match=r"no channel 4, but 3.*first channel is 1"):
        Detector(BandEnergy(), channels=4).detect(stereo)
    for wrong in ("0", "left", "-1", "each", 0):
        with pytest.raises(ConfigError, match="channels"):
            Detector(BandEnergy(), channels=wrong)


def test_scores_of_the_shipped_bundle_do_not_depend_on_threads() -> None:
    rng = np.random.default_rng(0)
    audio = (rng.normal(0, 0.1, 70 * RATE).astype(np.float32), RATE)
    tables = [Detector.from_pretrained("mini", threads=n).score(audio) for n in (1, 2, 3)]
    for table in tables[1:]:
        np.testing.assert_array_equal(table.values, tables[0].values)


def test_devices_by_name() -> None:
    here = "cuda" if torch.cuda.is_available() else "cpu"
    assert find_device("auto").type == here
    assert find_device("cpu").type == "cpu"
    for wrong in ("cuda:99", "gpu", "xyz:1"):
        with pytest.raises(ConfigError, match=f"no device '{wrong}'.*auto, cpu"):
            find_device(wrong)
    with pytest.raises(ConfigError, match="no device"):
        Detector.from_pretrained("mini", device="gpu")
    assert Detector.from_pretrained("mini", device="cpu").batch_size == 4


def test_a_batch_beyond_memory_is_scored_in_halves() -> None:
    seen: list[int] = []

    def small(waveforms: torch.Tensor) -> torch.Tensor:
        seen.append(len(waveforms))
        if len(waveforms) > 2:
            raise torch.OutOfMemoryError("no memory")
        return waveforms[:, :3].abs()[:, None].expand(-1, 156, -1)

    network = Function(Spec(), small)
    waveforms = np.random.default_rng(0).random((7, 160_000), dtype=np.float32)
    scores = TorchScorer(network).score_windows(waveforms, [160_000] * 7)
    np.testing.assert_array_equal(scores[:, 5], waveforms[:, :3])
    assert seen == [7, 3, 1, 2, 4, 2, 2]
    network.function = lambda waveforms: small(torch.zeros(3, 1))
    with pytest.raises(torch.OutOfMemoryError):
        TorchScorer(network).score_windows(waveforms[:1], [160_000])


def test_a_scorer_may_say_what_suits_it() -> None:
    class Own:
        spec = BandEnergy().spec

        def batch_size(self) -> int:
            return 11

        def score_windows(self, waveforms: Any, lengths: Any) -> Any:
            assert len(waveforms) <= 11
            return np.zeros((len(waveforms), 156, 3))

    assert suitable_batch(Own()) == 11
    assert Detector(Own()).batch_size == 11
    assert Detector(Own(), batch_size=2).batch_size == 2
    assert Detector(Own()).detect((np.zeros(RATE * 120), RATE)).found == ()
