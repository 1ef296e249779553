"""Several soundbanks and synthesised sounds as one supplier."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from earmark.core.audio.audio import write_audio
from earmark.core.errors import ConfigError, DataError
from earmark.synth.blend import BlendedSources
from earmark.synth.soundbank import Soundbank


def tone(hertz: float, seconds: float = 0.5) -> NDArray[np.float32]:
    time = np.arange(int(16_000 * seconds)) / 16_000
    return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def bank(folder: Path, tones: dict[str, list[float]], split: str = "train-real") -> Soundbank:
    rows = ["event_label,file,split"]
    for label, pitches in {**tones, "background": [60.0]}.items():
        for hertz in pitches:
            file = folder / label / f"{label}{hertz:g}.wav"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_audio(file, tone(hertz))
            rows.append(f"{label},{file.relative_to(folder).as_posix()},{split}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return Soundbank(folder, needed=())


def pitch(samples: NDArray[np.float32]) -> int:
    spectrum = np.abs(np.fft.rfft(samples, 16_000))
    return round(float(np.argmax(spectrum)), -1)


@pytest.fixture
def banks(tmp_path: Path) -> list[Soundbank]:
    return [
        bank(tmp_path / "one", {"Dog": [400, 500, 600], "Kettle": [1000]}),
        bank(tmp_path / "two", {"Dog": [2000]}),
    ]


def test_every_recording_is_drawn_equally_often(banks: list[Soundbank]) -> None:
    blend, rng = BlendedSources(banks), np.random.default_rng(0)
    assert blend.labels == ("Dog", "Kettle")
    drawn = Counter(pitch(blend.event("Dog", "real", rng)) for _ in range(400))
    assert set(drawn) == {400, 500, 600, 2000}
    assert all(60 <= count <= 140 for count in drawn.values())


def test_a_fraction_is_synthesised_and_classes_without_recordings_wholly(
    banks: list[Soundbank],
) -> None:
    blend, rng = BlendedSources(banks, 0.3, ["Vacuum_cleaner"]), np.random.default_rng(1)
    assert blend.labels == ("Dog", "Kettle", "Vacuum_cleaner")
    real = sum(bool(blend.traced_event("Dog", "real", rng)[1].source) for _ in range(300))
    assert 180 <= real <= 240
    assert not blend.traced_event("Vacuum_cleaner", "real", rng)[1].source
    # No recording of it serves this split, but it can be synthesised.
    assert not blend.traced_event("Dog", "test", rng)[1].source
    # A kettle cannot.
    assert blend.traced_event("Kettle", "real", rng)[1].source
    with pytest.raises(DataError, match=r"no soundbank has a recording of 'Kettle'.*'test'"):
        blend.event("Kettle", "test", rng)


def test_backgrounds_come_from_all_of_them(banks: list[Soundbank]) -> None:
    blend, rng = BlendedSources(banks, 0.5), np.random.default_rng(2)
    origins = [blend.traced_background("real", 8_000, rng)[1].source for _ in range(60)]
    assert 15 <= sum(not origin for origin in origins) <= 45
    assert blend.background("validation", 8_000, rng).shape == (8_000,)


def test_it_is_pickled_and_its_fingerprint_follows_what_it_is_made_of(
    banks: list[Soundbank],
) -> None:
    blend = BlendedSources(banks, 0.5)
    twin = pickle.loads(pickle.dumps(blend))
    one, other = (source.event("Dog", "real", np.random.default_rng(3)) for source in (blend, twin))
    np.testing.assert_array_equal(one, other)
    others = [BlendedSources(banks, 0.4), BlendedSources(banks[:1], 0.5)]
    assert twin.fingerprint == blend.fingerprint
    assert len({blend.fingerprint, *(source.fingerprint for source in others)}) == 3


@pytest.mark.parametrize("fraction", [-0.1, 1.1])
def test_what_is_no_blend_is_refused(banks: list[Soundbank], fraction: float) -> None:
    with pytest.raises(ConfigError, match="fraction"):
        BlendedSources(banks, fraction)
    with pytest.raises(ConfigError, match="need a soundbank"):
        BlendedSources([])
