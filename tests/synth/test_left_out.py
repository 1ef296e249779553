"""Events that are drawn and left out: none for the weighting of levels, all others counted."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import yaml

from earmark.core.config import parse_settings
from earmark.core.errors import DataError
from earmark.synth.scene import Soundscape, make_soundscape
from earmark.synth.settings import SynthSettings
from earmark.synth.soundscapes import RECORD, write_dataset

RATE = 16_000


class Rumble:
    """High tones, a second or three long, over noise below 50 Hz that K-weighting takes away."""

    labels = ("Beep", "Whistle")

    def event(self, label: str, split: str, rng: np.random.Generator) -> np.ndarray:
        time = np.arange(RATE if label == "Beep" else 3 * RATE) / RATE
        return (0.5 * np.sin(2 * np.pi * (2000 if label == "Beep" else 3000) * time)).astype("f4")

    def background(self, split: str, samples: int, rng: np.random.Generator) -> np.ndarray:
        spectrum = np.fft.rfft(rng.standard_normal(samples))
        spectrum[int(50 * samples / RATE) :] = 0
        return np.fft.irfft(spectrum, samples).astype(np.float32)


def made(seed: int = 0, **changes: object) -> Soundscape:
    one = {"events": 2, "empty": 0}
    content = {"started": 0, "truncated": 0, "strong": one, "snr_db": 0, **changes}
    settings = parse_settings(SynthSettings, content)
    return make_soundscape(Rumble(), "synthetic", settings, np.random.default_rng(seed))


@pytest.mark.parametrize("measure", ["rms", "lufs"])
def test_events_as_loud_as_the_background_are_heard_by_either_measure(measure: str) -> None:
    for seed in range(5):
        found = made(seed, loudness=measure, same_class_gap=0)
        placed = {one.label for one in found.ingredients[1:]}
        assert {event.event_label for event in found.events} == placed != set()
        assert "not heard over the background" not in {one.why for one in found.left_out}


def test_every_event_drawn_is_placed_or_left_out_with_its_reason() -> None:
    reasons = set()
    for seed in range(20):
        strong = {"events": 9, "empty": 0}
        found = made(seed, strong=strong, max_polyphony=1, seconds=4)
        assert len(found.ingredients) - 1 + len(found.left_out) == 9
        reasons |= {one.why for one in found.left_out}
    assert reasons == {"no room beside the others"}


def test_protected_sounds_longer_than_the_clip_are_left_out() -> None:
    found = made(
        protected=True, seconds=2, strong={"counts": {"Whistle": 2}, "events": 0, "empty": 0}
    )
    assert [(one.label, one.why) for one in found.left_out] == [
        ("Whistle", "longer than the clip"),
        ("Whistle", "longer than the clip"),
    ]


def settings_of(**changes: object) -> SynthSettings:
    none = {f"{name}": {"clips": 0} for name in ("weak", "unlabelled", "validation", "test")}
    strong = {"clips": 25, "events": 9, "empty": 0}
    content = {"strong": strong, "max_polyphony": 1, "seconds": 4, **none, **changes}
    return parse_settings(SynthSettings, content)


def test_a_dataset_says_how_many_events_it_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        write_dataset(tmp_path / "data", Rumble(), settings_of(), 1)
    (told,) = [record.getMessage() for record in caplog.records]
    left = 0
    for index in range(25):
        rng = np.random.default_rng([1, 0, index])
        left += len(
            make_soundscape(Rumble(), "synthetic", settings_of(), rng, subset="strong").left_out
        )
    assert told.startswith(f"{left} of 225 events drawn are left out (")
    assert "no room beside the others" in told
    caplog.clear()
    write_dataset(tmp_path / "data", Rumble(), settings_of(), 1)
    assert not caplog.records


def test_folders_of_weighted_levels_that_version_0_1_began_are_refused(tmp_path: Path) -> None:
    settings = settings_of(loudness="lufs")
    write_dataset(tmp_path / "data", Rumble(), settings, 1)
    record = tmp_path / "data" / RECORD
    content = yaml.safe_load(record.read_text(encoding="utf-8"))
    assert content["mixing"] == 2
    record.write_text(yaml.safe_dump(content | {"mixing": 1}), encoding="utf-8")
    with pytest.raises(DataError, match="differs in mixing"):
        write_dataset(tmp_path / "data", Rumble(), settings, 1)
