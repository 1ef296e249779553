"""What Scaper's users set: each distribution does to the sound what its name says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from earmark.core.audio.audio import load_audio, write_audio
from earmark.core.config import parse_settings
from earmark.core.errors import ConfigError
from earmark.core.event import Event
from earmark.synth.loudness import loudness
from earmark.synth.placing import Ingredient
from earmark.synth.scene import Soundscape, make_recording, make_soundscape
from earmark.synth.settings import LAYOUT, SynthSettings, load_synth_settings
from earmark.synth.soundbank import Soundbank
from earmark.synth.soundscapes import write_dataset
from earmark.synth.sources import SynthesisedSources
from earmark.synth.supplier import TracingSupplier
from helpers.label_files import read_strong

RATE = 16_000


class Sweeps:
    """Sounds that tell where they were cut: a sweep of 1000 + 500 t Hz, of given seconds."""

    labels = ("Long", "Short")

    def __init__(self, **seconds: float) -> None:
        self.seconds = {"Long": 4.0, "Short": 1.0, **seconds}

    def event(self, label: str, split: str, rng: np.random.Generator) -> np.ndarray:
        time = np.arange(round(self.seconds[label] * RATE)) / RATE
        return (0.5 * np.sin(2 * np.pi * (1000 + 250 * time) * time)).astype(np.float32)

    def background(self, split: str, samples: int, rng: np.random.Generator) -> np.ndarray:
        return (0.1 * rng.standard_normal(samples)).astype(np.float32)


def scene(seed: int = 0, supplier: Any = None, subset: Any = None, **changes: Any) -> Soundscape:
    one = {"events": 1, "empty": 0}
    content = {"started": 0, "truncated": 0, "snr_db": 40, "strong": one, **changes}
    settings = parse_settings(SynthSettings, content)
    rng = np.random.default_rng(seed)
    return make_soundscape(supplier or Sweeps(), "synthetic", settings, rng, subset=subset)


def only_event(**changes: Any) -> tuple[Soundscape, Ingredient]:
    made = scene(**changes)
    (_, event) = made.ingredients
    return made, event


def frequency_at(made: Soundscape, seconds: float) -> float:
    around = made.audio[round((seconds - 0.05) * RATE) : round((seconds + 0.05) * RATE)]
    spectrum = np.abs(np.fft.rfft(around * np.hanning(around.size), 2**16))
    return float(np.argmax(spectrum) * RATE / 2**16)


LONG = {"probabilities": {"Short": 0}}


def test_event_time_source_time_and_duration() -> None:
    made, event = only_event(event_time=3, source_time=1, duration=2, **LONG)
    assert (event.onset, event.source_time, event.duration) == (3, 1, 2)
    [(onset, offset, label, _)] = made.events
    assert (onset, label) == (3.0, "Long")
    assert offset == pytest.approx(5.0, abs=0.06)  # faded out
    # half a second into the event is one and a half into the source
    assert frequency_at(made, 3.5) == pytest.approx(1000 + 500 * 1.5, abs=15)


def test_a_source_is_never_left_early() -> None:
    made, event = only_event(source_time=3, duration=3, event_time=0, **LONG)
    assert (event.source_time, event.duration) == (1, 3)  # of 4 seconds
    made, event = only_event(source_time=9, event_time=0, **LONG)
    assert event.source_time == pytest.approx(4 - 0.15)
    assert made.events


def test_a_negative_event_time_has_begun_before_the_clip() -> None:
    made, event = only_event(event_time=-1.5, **LONG)
    assert (event.onset, event.source_time) == (0, 1.5)
    assert event.duration == pytest.approx(2.5)
    assert made.events[0][0] == 0
    assert frequency_at(made, 0.5) == pytest.approx(1000 + 500 * 2, abs=15)


def test_an_event_never_leaves_the_clip_by_its_time() -> None:
    for time, onset in ((50, 9.85), (-50, 0)):
        _, event = only_event(event_time=time, **LONG)
        assert event.onset == onset
        assert event.duration == pytest.approx(0.15)


def test_pitch_and_stretch() -> None:
    made, event = only_event(
        event_time=2, duration=2, pitch_shift=12, time_stretch=1.5, seconds=8, **LONG
    )
    assert (event.pitch_shift, event.time_stretch, event.duration) == (12, 1.5, 3)
    assert made.events[0][1] == pytest.approx(5, abs=0.07)
    # one and a half seconds into the event is one into the source, an octave higher
    assert frequency_at(made, 3.5) == pytest.approx(2 * (1000 + 500), abs=30)


def test_settings_of_one_class() -> None:
    own = {"Short": {"event_time": 1, "pitch_shift": 7}, "Long": {"event_time": 4, "snr_db": 20}}
    part = {"events": 0, "counts": {"Short": 1, "Long": 1}}
    made = scene(classes=own, strong=part)
    found = {one.label: one for one in made.ingredients[1:]}
    assert (found["Short"].onset, found["Short"].pitch_shift, found["Short"].snr_db) == (1, 7, 40)
    assert (found["Long"].onset, found["Long"].pitch_shift, found["Long"].snr_db) == (4, 0, 20)


def test_counts_of_classes_come_beside_drawn_events() -> None:
    part = {"events": [1, 2], "counts": {"Short": {"choose": [0, 2]}}}
    seen = set()
    for seed in range(30):
        labels = [one.label for one in scene(seed, strong=part, seconds=60).ingredients[1:]]
        seen.add((labels.count("Short"), labels.count("Long")))
    assert seen == {(0, 1), (0, 2), (2, 1), (2, 2)}
    with pytest.raises(ConfigError, match="events: 0"):
        scene(strong={"events": 1, "counts": {"Short": 1, "Long": 1}})


def test_protected_events_are_whole_and_inside() -> None:
    limits = {"duration": 0.5, "source_time": 0.2, "started": 1.0, "truncated": 1.0}
    onsets = set()
    for seed in range(20):
        _, event = only_event(seed=seed, protected=True, seconds=5, **limits, **LONG)
        assert (event.source_time, event.duration) == (0, 4)
        assert event.onset <= 1
        onsets.add(event.onset)
        own = {"Long": {"protected": True}}
        _, event = only_event(seed=seed, classes=own, **limits, **LONG)
        assert event.duration == 4
    assert len(onsets) > 10
    _, event = only_event(protected=True, event_time=4, seconds=5, **LONG)
    assert event.onset == 1  # as late as it fits
    assert len(scene(protected=True, seconds=3, **LONG).ingredients) == 1  # none fits
    stretched = scene(protected=True, seconds=5, time_stretch=1.5, **LONG)
    assert len(stretched.ingredients) == 1


@pytest.mark.parametrize("measure", ["rms", "lufs"])
def test_levels_by_either_measure(measure: str) -> None:
    whole = {"event_time": 0, "seconds": 4, "loudness": measure, **LONG}
    quiet = scene(strong={"events": 0}, **whole, background_db=-60)
    loud = scene(strong={"events": 1}, **whole, background_db=-60, snr_db=30)

    def measured(samples: np.ndarray) -> float:
        if measure == "lufs":
            return loudness(samples)
        return float(20 * np.log10(np.sqrt(np.mean(samples.astype(float) ** 2))))

    assert measured(quiet.audio) == pytest.approx(-60, abs=0.2)
    assert measured(loud.audio) == pytest.approx(-30, abs=0.3)
    assert loud.events == [Event(0.0, 4.0, "Long")]


def test_a_background_level_may_be_drawn() -> None:
    levels = [
        np.std(scene(seed, strong={"events": 0}, background_db=[-60, -40]).audio)
        for seed in range(30)
    ]
    decibels = 20 * np.log10(levels)
    assert decibels.min() < -55 < -45 < decibels.max()


def test_a_room_rings_after_the_event_and_moves_no_label() -> None:
    settings = {"event_time": 2, "duration": 1, "fade": 0, "background_db": -80, **LONG}
    dry = scene(**settings)
    wet = scene(**settings, room={"rt60": 0.8, "direct_db": 0})
    assert dry.events == wet.events
    after = slice(round(3.05 * RATE), round(3.3 * RATE))
    before = slice(0, round(1.95 * RATE))
    assert np.std(wet.audio[after]) > 20 * np.std(dry.audio[after])
    assert np.std(wet.audio[before]) == pytest.approx(np.std(dry.audio[before]), rel=0.1)
    some = [np.std(scene(s, **settings, room={"probability": 0.5}).audio[after]) for s in range(16)]
    assert 2 <= sum(level > 10 * np.std(dry.audio[after]) for level in some) <= 14


def test_a_room_at_the_end_of_a_clip() -> None:
    made = scene(event_time=9.5, room={"rt60": 3}, **LONG)
    assert made.audio.shape == (10 * RATE,)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pitch_shift": 40},
        {"time_stretch": [0, 2]},
        {"time_stretch": {"uniform": [0.5, 9]}},
        {"source_time": -1},
        {"duration": [-1, 2]},
        {"background_db": -10},
        {"snr_db": {"truncnorm": {"mean": 0, "sd": 9, "low": -30, "high": 30}}},
        {"classes": {"Dog": {"snr_db": -20}}},
        {"classes": {"Dog": {"loudness": "lufs"}}},
        {"strong": {"events": 1.5}},
        {"strong": {"counts": {"Dog": -1}}},
        {"weak": {"events": [0, 2], "domain": "real"}},
        {"loudness": "loud"},
        {"soundbank": {"events": "half"}},
        {"room": {"rt60": 9}},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        parse_settings(SynthSettings, wrong)


def test_a_refusal_names_setting_and_spelling() -> None:
    with pytest.raises(ConfigError, match=r"snr_db: .*\{uniform: \[6, 30\]\}"):
        parse_settings(SynthSettings, {"snr_db": {"gauss": [1, 2]}})


def test_unknown_classes_of_settings_are_told(tmp_path: Path) -> None:
    for wrong in (
        {"classes": {"Cow": {"snr_db": 3}}},
        {"strong": {"clips": 1, "counts": {"Cow": 1}}},
    ):
        settings = parse_settings(SynthSettings, wrong)
        with pytest.raises(ConfigError, match="unknown class 'Cow'"):
            write_dataset(tmp_path / "out", Sweeps(), settings, 0)


def bank(folder: Path, files: dict[str, float]) -> Path:
    """A soundbank of noises of given seconds."""
    source = np.random.default_rng(0)
    for name, seconds in files.items():
        noise = 0.1 * source.standard_normal(round(seconds * RATE))
        write_audio(folder / name, noise.astype(np.float32))
    return folder


def test_scapers_folders_will_do(tmp_path: Path) -> None:
    files = {f"foreground/Dog/{n}.wav": 1.0 for n in range(4)}
    files |= {f"background/street/{n}.wav": 3.0 for n in range(2)}
    files |= {f"background/park/{n + 2}.wav": 3.0 for n in range(2)}
    sounds = Soundbank(bank(tmp_path, {**files, "leftover/x.wav": 1.0}))
    assert sounds.labels == ("Dog",)
    assert isinstance(sounds, TracingSupplier)
    found = {sounds.traced_background(s, 50, np.random.default_rng(0))[1].source for s in SPLITS}
    assert len(found) == 4
    assert all(name.startswith("background/") for name in found)


SPLITS = ("synthetic", "real", "validation", "test")


def test_few_recordings_serve_the_splits_that_are_needed(tmp_path: Path) -> None:
    folder = bank(
        tmp_path,
        {f"Dog/{n}.wav": 1.0 for n in range(2)} | {f"background/{n}.wav": 3.0 for n in range(4)},
    )
    few = Soundbank(folder, needed={"synthetic", "real"})
    used = {s: set(few.recordings("Dog", s)) for s in ("synthetic", "real")}
    assert used["synthetic"]
    assert used["real"]
    assert used["synthetic"] != used["real"]
    alone = Soundbank(folder, needed={"synthetic"})
    assert set(alone.recordings("Dog", "synthetic")) == used["synthetic"]  # no change of sides


def test_whole_recordings(tmp_path: Path) -> None:
    folder = bank(tmp_path, {f"background/{n}.wav": 3.0 for n in range(4)})
    for number in range(4):
        sound = np.zeros(12 * RATE, np.float32)
        sound[2 * RATE : 3 * RATE] = 0.3
        sound[9 * RATE : 10 * RATE] = 0.3
        write_audio(folder / f"Dog/{number}.wav", sound)
    whole, active = Soundbank(folder, events="whole"), Soundbank(folder)
    event, origin = whole.traced_event("Dog", "test", np.random.default_rng(0))
    assert event.size == 12 * RATE
    assert origin.seconds == 0
    event, origin = active.traced_event("Dog", "test", np.random.default_rng(0))
    assert event.size == pytest.approx(RATE, abs=400)
    assert origin.seconds == pytest.approx(2, abs=0.02) or origin.seconds == pytest.approx(
        9, abs=0.02
    )


def test_looped_backgrounds_repeat_in_order(tmp_path: Path) -> None:
    files = {f"Dog/{n}.wav": 1.0 for n in range(4)}
    files |= {f"background/{n}.wav": 2.0 for n in range(4)}
    sounds = Soundbank(bank(tmp_path, files), lengthen="loop")
    stretch, origin = sounds.traced_background("test", 8 * RATE, np.random.default_rng(3))
    recording = load_audio(tmp_path / origin.source)
    start = round(origin.seconds * RATE)
    np.testing.assert_allclose(stretch[: 28_000 - start], recording[start:28_000], atol=1e-6)
    # a round is the recording less one cross-fade of a quarter second
    period = recording.size - 4000
    inner = slice(period - start + 4000, 2 * period - start)
    np.testing.assert_allclose(stretch[inner], recording[4000:period], atol=1e-6)
    np.testing.assert_allclose(
        stretch[inner], stretch[inner.start + period : inner.stop + period], atol=1e-6
    )
    assert np.std(stretch[period - start : period - start + 4000]) == pytest.approx(0.1, rel=0.1)


def test_ingredients_say_where_sounds_are_from(tmp_path: Path) -> None:
    files = {f"Dog/{n}.wav": 1.0 for n in range(4)}
    files |= {f"background/{n}.wav": 12.0 for n in range(4)}
    sounds = Soundbank(bank(tmp_path, files))
    settings = parse_settings(
        SynthSettings, {"background_db": -50, "snr_db": 50, "strong": {"events": 1}}
    )
    made = make_soundscape(sounds, "synthetic", settings, np.random.default_rng(1))
    background, event = made.ingredients
    assert background.role == "background"
    source = load_audio(tmp_path / event.source)
    first = round(event.source_time * RATE)
    taken = source[first : first + 2000] - source[first : first + 2000].mean()
    start = round(event.onset * RATE)
    there = made.audio[start : start + 2000]
    assert np.corrcoef(taken, there)[0, 1] > 0.99
    behind = load_audio(tmp_path / background.source)
    first = round(background.source_time * RATE)
    quiet = made.audio[:2000] if start > 2000 else made.audio[-2000:]
    taken = behind[first : first + 160_000]
    taken = taken[:2000] if start > 2000 else taken[-2000:]
    assert np.corrcoef(taken, quiet)[0, 1] > 0.99


def test_a_seed_keeps_its_labels() -> None:
    """Published figures rest on the shipped recipes: their clips do not change unnoticed."""
    settings = load_synth_settings("mini")
    found = []
    for index in range(3):
        rng = np.random.default_rng([0, 4, index])
        made = make_soundscape(SynthesisedSources(), "test", settings, rng, subset="test")
        found += [(index, label, onset, offset) for onset, offset, label, _ in made.events]
    expected = yaml.safe_load(EXPECTED)
    assert [row[:2] for row in found] == [tuple(row[:2]) for row in expected]
    np.testing.assert_allclose([row[2:] for row in found], [row[2:] for row in expected], atol=0.02)


EXPECTED = """
- [0, Running_water, 0.0000, 6.0900]
- [0, Dog, 4.0449, 4.4536]
- [0, Frying, 8.5594, 10.0000]
- [0, Dog, 9.6806, 10.0000]
- [1, Alarm_bell_ringing, 3.4751, 7.8851]
- [1, Electric_shaver_toothbrush, 8.3444, 10.0000]
- [2, Running_water, 5.8438, 10.0000]
"""


def test_the_scaper_recipe_makes_labelled_clips(tmp_path: Path) -> None:
    files = {f"foreground/Dog/{n}.wav": 2.0 for n in range(4)}
    files |= {f"foreground/Cat/{n}.wav": 1.0 for n in range(4)}
    files |= {f"background/street/{n}.wav": 3.0 for n in range(4)}
    folder = bank(tmp_path / "bank", files)
    settings = load_synth_settings("scaper")
    few = {name: settings.subset(name).model_copy(update={"clips": 4}) for name in ("strong",)}
    few["validation"] = settings.validation.model_copy(update={"clips": 0})
    out = write_dataset(
        tmp_path / "out",
        Soundbank(folder, needed={"synthetic"}, events="whole", lengthen="loop"),
        settings.model_copy(update=few),
        0,
    )
    audio, labels, _ = LAYOUT["strong"]
    assert sorted(path.suffix for path in (out / audio).iterdir()) == [".flac"] * 4 + [".jams"] * 4
    events, listed = read_strong(out / str(labels))
    assert len(listed) == 4
    assert set(events["event_label"]) == {"Cat", "Dog"}


def test_processes_make_the_same_bytes_of_everything(tmp_path: Path) -> None:
    files = {f"foreground/{label}/{n}.wav": 1.5 for label in ("Cat", "Dog") for n in range(4)}
    folder = bank(tmp_path / "bank", files | {f"background/{n}.wav": 3.0 for n in range(4)})
    everything = load_synth_settings("scaper").model_dump(mode="json") | {
        "seconds": 4,
        "strong": {"clips": 22, "events": [0, 2], "counts": {"Dog": {"choose": {0: 1, 1: 3}}}},
        "validation": {"clips": 3},
        "classes": {"Cat": {"protected": True}},
        "event_time": {"normal": {"mean": 2, "sd": 2}},
    }
    settings = parse_settings(SynthSettings, everything)
    supplier = Soundbank(folder, needed={"synthetic", "validation"}, events="whole")
    alone = write_dataset(tmp_path / "alone", supplier, settings, 7)
    shared = write_dataset(tmp_path / "shared", supplier, settings, 7, workers=2)
    found = [
        {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        for out in (alone, shared)
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 2 * 25 + 5


def test_a_recording_is_its_soundscapes_one_after_the_other() -> None:
    settings = parse_settings(SynthSettings, {"seconds": 5, "strong": {"events": [1, 3]}})
    given = Sweeps(), "synthetic", settings
    recording = make_recording(*given, [np.random.default_rng(seed) for seed in range(3)])
    for seed in range(3):
        alone = make_soundscape(*given, np.random.default_rng(seed))
        begin = 5.0 * seed
        part = recording.audio[seed * 5 * RATE : (seed + 1) * 5 * RATE]
        np.testing.assert_array_equal(part, alone.audio)
        inside = [event for event in recording.events if begin <= event[0] < begin + 5]
        assert inside == [
            Event(begin + on, begin + off, label) for on, off, label, _ in alone.events
        ]
