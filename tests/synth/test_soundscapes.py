"""Soundscapes: labels are where the sound is, and a dataset is a function of its seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.audio.audio import load_audio, write_audio
from earmark.core.config import parse_settings
from earmark.core.errors import ConfigError, DataError, EarmarkError
from earmark.synth.scene import make_soundscape
from earmark.synth.settings import (
    LAYOUT,
    SUBSETS,
    TRUTH,
    SynthSettings,
    load_synth_settings,
    preset_names,
)
from earmark.synth.soundbank import Soundbank
from earmark.synth.soundscapes import MIXING_VERSION, write_dataset
from earmark.synth.sources import SynthesisedSources
from earmark.synth.supplier import SPLITS
from helpers.files import digests
from helpers.label_files import read_durations, read_strong, read_weak

RATE = 16_000
FREQUENCIES = {"Alarm": 3000.0, "Buzz": 1500.0, "Whistle": 6000.0}


class Tones:
    """A tone per class over quiet noise; an event is ``pattern``: (on, off) seconds, repeated."""

    labels = tuple(FREQUENCIES)

    def __init__(self, lengths: tuple[float, float] = (0.2, 3.0), pause: float = 0.0) -> None:
        self.lengths = lengths
        self.pause = pause
        self.asked: list[tuple[str, str]] = []

    def event(self, label: str, split: str, rng: np.random.Generator) -> np.ndarray:
        self.asked.append((label, split))
        size = int(rng.uniform(*self.lengths) * RATE)
        tone = np.sin(2 * np.pi * FREQUENCIES[label] * np.arange(size) / RATE)
        silence = np.zeros(int(self.pause * RATE))
        parts = [tone, silence, tone] if self.pause else [tone]
        return (0.5 * np.concatenate(parts)).astype(np.float32)

    def background(self, split: str, samples: int, rng: np.random.Generator) -> np.ndarray:
        return (0.1 * rng.standard_normal(samples)).astype(np.float32)


def make(supplier: object, seed: int = 0, split: str = "synthetic", **changes: object):
    content = {"started": 0.0, "truncated": 0.0, **changes}
    chosen = parse_settings(SynthSettings, content)
    return make_soundscape(supplier, split, chosen, np.random.default_rng(seed))  # type: ignore[arg-type]


def sounding(audio: np.ndarray, label: str) -> np.ndarray:
    """Which 10-ms frames hold the tone of a class."""
    frames = audio[: audio.size // 160 * 160].reshape(-1, 160)
    phase = 2 * np.pi * FREQUENCIES[label] * np.arange(160) / RATE
    amplitude = np.abs(frames @ np.exp(-1j * phase)) / 80
    return amplitude > 0.5 * amplitude.max()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("domain", [None, "real"])
def test_labels_are_where_the_tones_are(seed: int, domain: str | None) -> None:
    scene = make(
        Tones(),
        seed,
        strong={"events": [1, 4], "empty": 0.0, "domain": domain},
        snr_db=[30, 30],
        domains={"real": {"direct_db": [12, 15], "equalisation_db": 0, "band_limit": 0}},
    )
    assert scene.audio.shape == (160_000,)
    assert scene.audio.dtype == np.float32
    assert np.max(np.abs(scene.audio)) <= 1
    for label in {event[2] for event in scene.events}:
        truth = np.zeros(1000, dtype=bool)
        for onset, offset, name, _ in scene.events:
            if name == label:
                truth[round(onset * 100) : round(offset * 100)] = True
        wrong = np.flatnonzero(truth != sounding(scene.audio, label))
        starts = np.flatnonzero(np.diff(truth.astype(int), prepend=0, append=0))
        # only frames at the edges of events may differ
        assert all(np.min(np.abs(starts - frame)) <= 1 for frame in wrong)


@given(
    seed=st.integers(0, 10_000),
    most=st.integers(1, 8),
    polyphony=st.integers(1, 3),
    started=st.floats(0, 1),
    truncated=st.floats(0, 1),
    longest=st.floats(0.2, 10),
    pause=st.sampled_from([0.0, 0.3, 0.8]),
    snr=st.floats(-5, 30),
)
@settings(max_examples=60, deadline=None)
def test_labels_keep_the_rules(
    seed: int,
    most: int,
    polyphony: int,
    started: float,
    truncated: float,
    longest: float,
    pause: float,
    snr: float,
) -> None:
    scene = make(
        Tones((0.15, longest), pause),
        seed,
        strong={"events": [1, most], "empty": 0.0},
        max_polyphony=polyphony,
        started=started,
        truncated=truncated,
        snr_db=[snr, 30],
    )
    assert scene.events == sorted(scene.events)
    assert 1 <= len(scene.events) <= most * (1 + (pause > 0.5))
    for onset, offset, _, _ in scene.events:
        assert 0 <= onset < offset <= 10
        assert offset - onset >= 0.15 - 1e-9
    for index, (onset, offset, label, _) in enumerate(scene.events):
        assert all(
            other[0] >= offset or other[1] <= onset
            for other in scene.events[index + 1 :]
            if other[2] == label
        )
    if polyphony == 1 and all(b - a > 0.16 for a, b, _, _ in scene.events):
        ends = [event[1] for event in scene.events]
        starts = [event[0] for event in scene.events]
        assert all(start >= end for start, end in zip(starts[1:], ends, strict=False))


@pytest.mark.parametrize("snr", [6.0, 20.0])
def test_signal_to_noise_ratio_and_background_level(snr: float) -> None:
    scene = make(Tones((4, 4)), snr_db=[snr, snr], strong={"events": [1, 1], "empty": 0.0})
    (onset, offset, _label, _) = scene.events[0]
    inside = np.zeros(160_000, dtype=bool)
    inside[round(onset * RATE) : round(offset * RATE)] = True
    background = np.mean(scene.audio[~inside].astype(float) ** 2)
    event = np.mean(scene.audio[inside].astype(float) ** 2) - background
    assert 10 * np.log10(background) == pytest.approx(-50, abs=0.2)
    assert 10 * np.log10(event / background) == pytest.approx(snr, abs=0.2)


def test_a_long_pause_makes_two_labels_a_short_one_does_not() -> None:
    one = make(Tones((0.5, 0.5), pause=0.3), 3, strong={"events": [1, 1], "empty": 0.0})
    two = make(Tones((0.5, 0.5), pause=1.0), 3, strong={"events": [1, 1], "empty": 0.0})
    assert len(one.events) == 1
    assert len(two.events) == 2
    assert two.events[0][2] == two.events[1][2]
    assert two.events[1][0] - two.events[0][1] == pytest.approx(1.0, abs=0.011)


def test_started_events_begin_with_the_clip() -> None:
    part = {"events": [1, 1], "empty": 0.0}
    scenes = [make(Tones((2, 3)), seed, started=1.0, strong=part) for seed in range(10)]
    assert all(scene.events[0][0] == 0 for scene in scenes)
    assert len({scene.events[0][1] for scene in scenes}) > 5


def test_truncated_events_keep_their_least_length() -> None:
    scenes = [
        make(
            Tones((5, 5)),
            seed,
            truncated=1.0,
            shortest_truncated=2.0,
            strong={"events": [1, 1], "empty": 0.0},
        )
        for seed in range(20)
    ]
    lengths = [b - a for scene in scenes for a, b, _, _ in scene.events if b < 10]
    assert lengths
    assert all(1.9 < length < 5 for length in lengths)


def test_empty_clips_and_number_of_events() -> None:
    part = {"events": [2, 3], "empty": 0.5}
    scenes = [make(Tones((0.2, 0.3)), seed, strong=part) for seed in range(80)]
    counts = [len(scene.events) for scene in scenes]
    assert set(counts) == {0, 2, 3}
    assert 25 <= counts.count(0) <= 55
    assert all(np.any(scene.audio) for scene in scenes)


def test_probabilities_and_co_occurrence() -> None:
    part = {"events": [3, 3], "empty": 0.0}
    never = {"probabilities": {"Buzz": 0.0}, "strong": part}
    apart = {"co_occurrence": {"Alarm": {"Buzz": 0}, "Buzz": {"Alarm": 0}}, "strong": part}
    seen = set()
    for seed in range(25):
        assert "Buzz" not in {e[2] for e in make(Tones((0.2, 0.4)), seed, **never).events}
        present = {e[2] for e in make(Tones((0.2, 0.4)), seed, **apart).events}
        assert not {"Alarm", "Buzz"} <= present
        seen |= present
    assert seen == set(Tones.labels)
    with pytest.raises(ConfigError, match="no class has a probability"):
        make(Tones(), probabilities=dict.fromkeys(Tones.labels, 0.0), strong=part)


@pytest.mark.parametrize("split", SPLITS)
def test_only_the_asked_split_is_used(split: str) -> None:
    supplier = Tones()
    make(supplier, 1, split=split)
    assert {asked for _, asked in supplier.asked} <= {split}


@pytest.mark.parametrize(
    "wrong",
    [
        {"snr_db": [30, 6]},
        {"strong": {"events": [3, 1]}},
        {"snr_db": [-10, 6]},
        {"weak": {"domain": "attic"}},
        {"weak": {"empty": 0.1}},
        {"loudness": 3},
        {"format": "mp3"},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        parse_settings(SynthSettings, wrong)


def test_presets() -> None:
    expected = {
        "demo": (160, 100, 280, 20, 100),
        "mini": (800, 400, 1600, 200, 300),
        "mini-long": (4000, 1000, 3000, 300, 500),
        "home": (2600, 500, 3000, 400, 0),
        "home-clean": (900, 0, 0, 0, 0),
    }
    assert set(preset_names()) == {*expected, "scaper"}
    for name, counts in expected.items():
        preset = load_synth_settings(name)
        assert tuple(preset.subset(subset).clips for subset in SUBSETS) == counts
        domains = [preset.subset(subset).domain for subset in SUBSETS]
        strong = "real" if name == "home" else None  # a product, not the experiment
        assert domains == [strong, "real", "real", "real", "real"]
    with pytest.raises(ConfigError, match="no synth recipe 'maxi'"):
        load_synth_settings("maxi")


SMALL = {
    "seconds": 2.0,
    "shortest_truncated": 0.5,
    "strong": {"clips": 45, "empty": 0.2},
    "weak": {"clips": 5, "domain": "real"},
    "unlabelled": {"clips": 6, "domain": "real"},
    "validation": {"clips": 3, "domain": "real"},
    "test": {"clips": 4, "domain": "real"},
}


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Soundbank:
    folder = tmp_path_factory.mktemp("bank")
    source = np.random.default_rng(0)
    for label in ("Dog", "Cat", "background"):
        (folder / label).mkdir()
        for index in range(4):
            samples = 0.1 * source.standard_normal(8000 + 1000 * index)
            write_audio(folder / label / f"{label}{index}.wav", samples.astype(np.float32))
    return Soundbank(folder)


@pytest.fixture(scope="module")
def dataset(bank: Soundbank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), bank, small(), seed=5)


def small(**changes: object) -> SynthSettings:
    return parse_settings(SynthSettings, {**SMALL, **changes})


def test_layout_and_labels(dataset: Path) -> None:
    for subset in SUBSETS:
        audio, labels, durations = LAYOUT[subset]
        names = sorted(path.name for path in (dataset / audio).iterdir())
        assert len(names) == SMALL[subset]["clips"]  # type: ignore[index]
        assert all(load_audio(dataset / audio / name).shape == (32_000,) for name in names)
        if durations is not None:
            assert read_durations(dataset / durations) == dict.fromkeys(names, 2.0)
        if subset == "weak":
            weak = read_weak(dataset / str(labels))
            assert sorted(weak) == names
            assert all(set(classes) <= {"Cat", "Dog"} and classes for classes in weak.values())
        elif labels is not None:
            events, listed = read_strong(dataset / labels)
            assert sorted(listed) == names
            assert set(events["event_label"]) <= {"Cat", "Dog"}
            assert events["offset"].max() <= 2.0
    events, listed = read_strong(dataset / str(LAYOUT["strong"][1]))
    assert 0 < events["filename"].nunique() < len(listed)  # some clips are empty
    assert sorted(path.name for path in dataset.iterdir()) == ["audio", "metadata", "synth.yaml"]
    record = yaml.safe_load((dataset / "synth.yaml").read_text())
    assert record["seed"] == 5
    assert parse_settings(SynthSettings, record["settings"]) == small()


def test_written_labels_are_those_of_the_soundscape(dataset: Path, bank: Soundbank) -> None:
    events, listed = read_strong(dataset / str(LAYOUT["test"][1]))
    for index, name in enumerate(sorted(listed)):
        rng = np.random.default_rng([5, SUBSETS.index("test"), index])
        scene = make_soundscape(bank, "test", small(), rng)
        rows = events[events["filename"] == name]
        written = sorted(zip(rows["onset"], rows["offset"], rows["event_label"], strict=True))
        assert [event[2] for event in written] == [event[2] for event in scene.events]
        for ours, theirs in zip(scene.events, written, strict=True):
            np.testing.assert_allclose(ours[:2], theirs[:2], atol=1e-6)
        audio = load_audio(dataset / LAYOUT["test"][0] / name)
        np.testing.assert_allclose(audio, scene.audio, atol=1 / 32_000)


def test_processes_make_the_same_bytes(dataset: Path, bank: Soundbank, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_dataset(
        tmp_path / "two", bank, small(), 5, workers=2, progress=lambda *call: calls.append(call)
    )
    assert digests(tmp_path / "two") == digests(dataset)
    assert calls[0] == (0, 63)
    assert calls[-1] == (63, 63)
    assert sorted(calls) == calls


def test_another_seed_makes_other_clips(dataset: Path, bank: Soundbank, tmp_path: Path) -> None:
    other = digests(write_dataset(tmp_path / "other", bank, small(), 6))
    clips = [name for name in other if name.startswith("audio")]
    assert not any(other[name] == digests(dataset)[name] for name in clips)


def test_a_run_that_was_cut_off_goes_on(dataset: Path, bank: Soundbank, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done >= 20:
            raise KeyboardInterrupt

    out = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        write_dataset(out, bank, small(), 5, progress=stop)
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")}
    assert len(written) == 20
    calls: list[tuple[int, int]] = []
    write_dataset(out, bank, small(), 5, progress=lambda *call: calls.append(call))
    assert calls[0] == (20, 63)
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())
    assert digests(out) == digests(dataset)


def test_lost_clips_are_restored(dataset: Path, bank: Soundbank, tmp_path: Path) -> None:
    out = write_dataset(tmp_path / "lost", bank, small(), 5)
    (out / LAYOUT["weak"][0] / "weak_00003.wav").unlink()
    write_dataset(out, bank, small(), 5)
    assert digests(out) == digests(dataset)


def test_other_content_is_never_overwritten(dataset: Path, bank: Soundbank, tmp_path: Path) -> None:
    before = digests(dataset)
    for chosen, seed, what in (
        (small(), 6, "seed"),
        (small(background_db=-40, weak={"clips": 3}), 5, r"settings.weak.clips, .*background_db"),
    ):
        with pytest.raises(DataError, match=rf"differs in .*{what}.*another folder"):
            write_dataset(dataset, bank, chosen, seed)
    assert digests(dataset) == before
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(DataError, match="not an empty folder"):
        write_dataset(tmp_path, bank, small(), 5)
    with pytest.raises(EarmarkError, match="a file of this name is there"):
        write_dataset(tmp_path / "letters.txt", bank, small(), 5)


def test_clips_of_another_version_do_not_join(dataset: Path, bank: Soundbank) -> None:
    record = dataset / "synth.yaml"
    text = record.read_text()
    assert yaml.safe_load(text)["mixing"] == MIXING_VERSION
    record.write_text(text.replace("mixing: ", "mixing: 9"))
    with pytest.raises(DataError, match=r"it differs in mixing\. Name another folder"):
        write_dataset(dataset, bank, small(), 5)
    record.write_text(text.replace("seed: 5", "seed: ["))
    with pytest.raises(DataError, match="differs in earmark, mixing"):
        write_dataset(dataset, bank, small(), 5)
    record.write_text(text)


def test_a_later_package_and_settings_added_since_refuse_no_folder(
    dataset: Path, bank: Soundbank
) -> None:
    record = dataset / "synth.yaml"
    text = record.read_text()
    before = yaml.safe_load(text)
    del before["settings"]["same_class_gap"]
    record.write_text(yaml.safe_dump({**before, "earmark": "0.0.9"}))
    write_dataset(dataset, bank, small(), 5)
    with pytest.raises(DataError, match=r"differs in settings\.same_class_gap"):
        write_dataset(dataset, bank, small(same_class_gap=0.1), 5)
    record.write_text(text)


def test_folders_that_hashed_their_code_are_of_version_1(
    bank: Soundbank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = small(**{subset: {"clips": 0} for subset in SUBSETS[1:]}, strong={"clips": 2})
    for supplier in (bank, SynthesisedSources(["Dog"])):
        out = write_dataset(tmp_path / type(supplier).__name__, supplier, few, 5)
        record = yaml.safe_load((out / "synth.yaml").read_text())
        del record["mixing"]
        record["code"] = "4a8f9c6cddc6b303"
        if supplier is not bank:
            record["supplier"]["fingerprint"] = "02bccbac918c836d"
        (out / "synth.yaml").write_text(yaml.safe_dump(record))
        write_dataset(out, supplier, few, 5)
    monkeypatch.setattr("earmark.synth.sources.SOUNDS_VERSION", 2)
    with pytest.raises(DataError, match=r"differs in supplier.fingerprint\."):
        write_dataset(out, supplier, few, 5)
    monkeypatch.setattr("earmark.synth.soundscapes.MIXING_VERSION", 2)
    with pytest.raises(DataError, match=r"differs in mixing\."):
        write_dataset(tmp_path / "Soundbank", bank, few, 5)


def test_requests_that_make_no_sense(bank: Soundbank, tmp_path: Path) -> None:
    none = {subset: {"clips": 0} for subset in SUBSETS}
    for chosen, seed, message in (
        (small(), -1, "negative"),
        (small(**none), 0, "no clips"),
        (small(probabilities={"Cow": 2}), 0, "unknown class 'Cow'"),
        (small(co_occurrence={"Dog": {"Cow": 2}}), 0, "unknown class 'Cow'"),
    ):
        with pytest.raises(ConfigError, match=message):
            write_dataset(tmp_path / "out", bank, chosen, seed)
    assert not (tmp_path / "out").exists()


def test_a_subset_without_clips_is_left_out(bank: Soundbank, tmp_path: Path) -> None:
    none = {subset: {"clips": 0} for subset in SUBSETS[1:]}
    out = write_dataset(tmp_path, bank, small(**none, strong={"clips": 2}, format="flac"), 0)
    files = sorted(path.name for path in out.rglob("*") if path.is_file())
    expected = ["durations.tsv", "soundscapes.tsv", "strong_00000.flac", "strong_00001.flac"]
    assert files == [*expected, "synth.yaml"]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_the_supplier_lacks_is_told(workers: int, tmp_path: Path) -> None:
    rows = ["event_label,file,split"]
    for label in ("Dog", "background"):
        (tmp_path / "bank" / label).mkdir(parents=True)
        for split in ("train-synthetic", "train-real"):
            name = f"{label}/{label}-{split}.wav"
            samples = np.random.default_rng(0).uniform(-0.3, 0.3, 9000).astype(np.float32)
            write_audio(tmp_path / "bank" / name, samples)
            rows.append(f"{label},{name},{split}")
    (tmp_path / "bank" / "manifest.csv").write_text("\n".join(rows))
    missing = r"no recording of 'background' .* '(validation|test)'"
    with pytest.raises(DataError, match=missing) as caught:
        write_dataset(tmp_path / "out", Soundbank(tmp_path / "bank"), small(), 0, workers=workers)
    assert caught.value.hint is not None


def test_the_truth_of_every_clip_is_written_on_request(tmp_path: Path) -> None:
    options = small()
    write_dataset(tmp_path / "plain", Tones(), options, 3)
    write_dataset(tmp_path / "told", Tones(), options.model_copy(update={"truth": True}), 3)
    for subset, name in TRUTH.items():
        assert not (tmp_path / "plain" / name).exists()
        events, listed = read_strong(tmp_path / "told" / name)
        clips = sorted(path.name for path in (tmp_path / "told" / LAYOUT[subset][0]).iterdir())
        assert sorted(listed) == clips
        assert (events.offset.dropna() > events.onset.dropna()).all()
    weak = read_weak(tmp_path / "told" / str(LAYOUT["weak"][1]))
    events, _ = read_strong(tmp_path / "told" / TRUTH["weak"])
    for clip, tags in weak.items():
        assert set(events[events.filename == clip].event_label.dropna()) == set(tags)
    audio = [digests(tmp_path / folder / "audio") for folder in ("plain", "told")]
    assert audio[0] == audio[1]
