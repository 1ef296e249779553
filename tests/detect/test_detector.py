"""The public face of detection, on real audio and a network small enough to reason about."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from earmark.core.errors import AudioError, ConfigError, LabelError
from earmark.core.tables.scores import ScoreTable
from earmark.detect.detector import Detector
from earmark.detect.postprocess import PostProcess
from helpers.networks import BandEnergy

RATE = 16_000
FRAME = 1024 / RATE
TONES = {"low": 500.0, "mid": 2000.0, "high": 5000.0}


def mixture(
    seconds: float, events: list[tuple[float, float, str]], rate: int = RATE
) -> NDArray[np.float32]:
    """Tones at known times over faint noise."""
    samples = round(seconds * rate)
    time = np.arange(samples) / rate
    audio = np.random.default_rng(3).normal(0, 1e-3, samples)
    for onset, offset, label in events:
        inside = (time >= onset) & (time < offset)
        audio += 0.3 * np.sin(2 * np.pi * TONES[label] * time) * inside
    return audio.astype(np.float32)


def matches(found: Any, events: list[tuple[float, float, str]], within: float = FRAME) -> None:
    """Same events, each edge within one frame."""
    rows = [(r.onset, r.offset, r.event_label) for r in found.itertuples()]
    assert [r[2] for r in rows] == [e[2] for e in sorted(events)]
    for row, event in zip(rows, sorted(events), strict=True):
        assert abs(row[0] - event[0]) <= within + 1e-9
        assert abs(row[1] - event[1]) <= within + 1e-9


@pytest.fixture
def detector() -> Detector:
    return Detector(BandEnergy(), PostProcess(median_seconds=0.2, threshold=0.5))


EVENTS = [(1.0, 2.5, "low"), (2.0, 4.321, "high"), (6.6, 7.1, "mid"), (8.0, 9.2, "low")]


def test_events_of_a_file(detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "some kitchen.wav"
    soundfile.write(path, mixture(10.0, EVENTS), RATE)
    result = detector.detect(path)
    assert list(result.events.columns) == ["filename", "onset", "offset", "event_label", "score"]
    assert set(result.events.filename) == {"some kitchen.wav"}
    assert result.events.score.between(0.5, 1.0).all()
    assert result.duration == 10.0
    matches(result.events, EVENTS)


def test_a_network_may_describe_itself_by_plain_attributes(detector: Detector) -> None:
    """Four of them are enough; what follows from these, as the frame grid, is ours to add."""
    network = BandEnergy()
    plain = SimpleNamespace(
        labels=["low", "mid", "high"], sample_rate=RATE, window=160_000, frame_hop=1024
    )
    network.spec = plain  # type: ignore[assignment]
    audio = mixture(12.3, EVENTS)
    found = Detector(network, detector.postprocess).detect((audio, RATE))
    assert found.found == detector.detect((audio, RATE)).found
    assert found.table.labels == ("low", "mid", "high")
    with pytest.raises(ConfigError, match="has no specification"):
        Detector(torch.nn.Identity())


def test_scores_are_a_gapless_table(detector: Detector) -> None:
    scores = detector.detect((mixture(3.21, []), RATE)).scores
    assert list(scores.columns) == ["onset", "offset", "low", "mid", "high"]
    assert scores.onset.iloc[0] == 0.0
    assert scores.offset.iloc[-1] == pytest.approx(3.21, abs=1e-9)
    np.testing.assert_array_equal(scores.onset.to_numpy()[1:], scores.offset.to_numpy()[:-1])
    assert scores.onset.iloc[40] == 40 * 1024 / 16000


def test_path_file_object_and_array_agree(detector: Detector, tmp_path: Path) -> None:
    audio = mixture(12.97, EVENTS)
    path = tmp_path / "a.flac"
    soundfile.write(path, audio, RATE, subtype="PCM_24")
    stored, _ = soundfile.read(path, dtype="float32")
    results = [
        detector.detect(str(path)),
        detector.detect(path),
        detector.detect(io.BytesIO(path.read_bytes())),
        detector.detect((stored, RATE)),
        detector.detect((np.stack([stored, stored], axis=1), RATE), filename="stereo"),
    ]
    for result in results:
        np.testing.assert_allclose(result.table.values, results[0].table.values, atol=1e-6)
        matches(result.events, EVENTS)
    names = [r.filename for r in results]
    assert names == ["a.flac", "a.flac", "audio", "audio", "stereo"]
    with path.open("rb") as opened:
        assert detector.detect(opened).filename == "a.flac"


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_any_rate(detector: Detector, rate: int, tmp_path: Path) -> None:
    events = [(1.0, 2.5, "low"), (11.5, 14.0, "mid")]
    path = tmp_path / "a.wav"
    soundfile.write(path, mixture(15.0, events, rate), rate)
    seen: list[tuple[int, int]] = []
    result = detector.detect(path, progress=lambda done, total: seen.append((done, total)))
    matches(result.events, events)
    assert result.duration == pytest.approx(15.0, abs=1e-3)
    assert seen[-1][0] == seen[-1][1] == len(result.table.values)


def test_progress_leaves_a_file_object_readable(detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, mixture(10.0, EVENTS), RATE)
    with path.open("rb") as opened:
        result = detector.detect(opened, progress=lambda done, total: None)
    matches(result.events, EVENTS)


@pytest.mark.parametrize(
    "seconds", [10.0, 10.03, 10.04, 10.3, 10.5, 10.9, 10.99, 12.97, 207_500 / RATE, 30.016, 77.7]
)
def test_lengths_published_code_fails_on(detector: Detector, seconds: float) -> None:
    events = [*EVENTS, (seconds - 0.5, seconds, "high")]
    result = detector.detect((mixture(seconds, events), RATE))
    assert len(result.table.values) == int(np.ceil(round(seconds * RATE) / 1024))
    assert result.duration == pytest.approx(seconds, abs=1e-9)
    matches(result.events, events)


def test_short_recordings(detector: Detector) -> None:
    result = detector.detect((mixture(0.3, [(0.0, 0.3, "mid")]), RATE))
    matches(result.events, [(0.0, 0.3, "mid")])
    assert len(result.table.values) == 5
    assert len(detector.detect((np.zeros(1, np.float32), RATE)).events) == 0


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seconds=st.floats(1.5, 40.0),
    place=st.floats(0.0, 1.0),
    length=st.floats(0.4, 1.2),
    label=st.sampled_from(sorted(TONES)),
)
def test_an_event_anywhere_is_found_where_it_is(
    detector: Detector, seconds: float, place: float, length: float, label: str
) -> None:
    onset = place * (seconds - length)
    events = [(onset, onset + length, label)]
    matches(detector.detect((mixture(seconds, events), RATE)).events, events)


def test_no_drift_over_an_hour() -> None:
    """Events every four minutes and one at 3,599 s, from one array of an hour."""
    detector = Detector(
        BandEnergy(), PostProcess(median_seconds=0.2), hop_seconds=9.5, batch_size=16
    )
    audio = np.zeros(3600 * RATE, dtype=np.float32)
    events = [(float(at), at + 0.75, "low") for at in [*range(7, 3600, 240), 3599]]
    for onset, offset, _ in events:
        index = np.arange(round(onset * RATE), round(offset * RATE))
        audio[index] = np.sin(2 * np.pi * 500 * index / RATE)
    matches(detector.detect((audio, RATE)).events, events)


def test_unusable_recordings_are_told(detector: Detector, tmp_path: Path) -> None:
    text = tmp_path / "notes.wav"
    text.write_text("not audio")
    with pytest.raises(AudioError, match=r"notes\.wav"):
        detector.detect(text)
    with pytest.raises(AudioError):
        detector.detect(tmp_path / "absent.wav")
    with pytest.raises(AudioError):
        detector.detect((np.zeros(0, np.float32), RATE))


def test_post_processing_is_checked_before_work() -> None:
    with pytest.raises(ConfigError, match="'mid'"):
        Detector(BandEnergy(), {"threshold": {"low": 0.5, "high": 0.5}})
    with pytest.raises(ConfigError, match="hop"):
        Detector(BandEnergy(), hop_seconds=11.0)
    assert Detector(BandEnergy(), {"threshold": 0.3}).postprocess.threshold == 0.3


def test_scores_of_other_classes_are_refused(detector: Detector) -> None:
    table = ScoreTable(boundaries=np.array([0.0, 1.0]), values=np.ones((1, 1)), labels=("x",))
    with pytest.raises(LabelError):
        detector.decide(table, "a.wav")


def test_labels_are_the_network_s(detector: Detector) -> None:
    assert detector.labels == ("low", "mid", "high")


def test_a_network_must_say_what_it_listens_for() -> None:
    with pytest.raises(ConfigError, match="spec"):
        Detector(torch.nn.Linear(1, 1))
