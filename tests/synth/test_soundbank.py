"""A folder of recordings: splits never meet, events are the sounding parts."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.audio.audio import write_audio
from earmark.core.errors import DataError
from earmark.synth.soundbank import Soundbank, active_parts, divide_recordings, recording_name
from earmark.synth.supplier import SPLITS, Supplier

RATE = 16_000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def bursts(*spans: tuple[float, float], seconds: float = 3.0, floor: float = 0.0) -> np.ndarray:
    """Noise bursts at given times over a floor."""
    source = rng(5)
    samples = floor * source.standard_normal(int(seconds * RATE))
    for start, stop in spans:
        part = slice(int(start * RATE), int(stop * RATE))
        samples[part] += 0.2 * source.standard_normal(part.stop - part.start)
    return np.clip(samples, -1, 1).astype(np.float32)


def make_bank(folder: Path, classes: dict[str, int], suffix: str = "wav") -> Path:
    """Recordings that can be told apart by their length (in 10 ms)."""
    for label, count in classes.items():
        (folder / label).mkdir(parents=True)
        for index in range(count):
            samples = 0.1 * rng(index).standard_normal(3200 + 160 * index)
            write_audio(folder / label / f"{label}{index}.{suffix}", samples.astype(np.float32))
    return folder


@given(
    counts=st.lists(st.integers(4, 30), min_size=1, max_size=5),
    shared=st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_every_class_has_a_recording_in_every_split(counts: list[int], shared: bool) -> None:
    classes = {
        f"class{n}": [f"{'' if shared else n}-{i}" for i in range(count)]
        for n, count in enumerate(counts)
    }
    split_of = divide_recordings(classes)
    for names in classes.values():
        assert {split_of[name] for name in names} == set(SPLITS)
    assert split_of == divide_recordings(dict(reversed(classes.items())))


def test_shares_of_a_large_class() -> None:
    split_of = divide_recordings({"Dog": [f"bark{index}" for index in range(100)]})
    counts = [list(split_of.values()).count(split) for split in SPLITS]
    assert counts == [40, 30, 10, 20]


def test_too_few_recordings_name_the_class(tmp_path: Path) -> None:
    make_bank(tmp_path, {"Cat": 3, "Dog": 5, "background": 4})
    with pytest.raises(DataError, match="'Cat' has 3 recordings"):
        Soundbank(tmp_path)


def test_pieces_count_as_one_recording() -> None:
    assert recording_name(Path("Dog/rex-barking-12.wav")) == "rex-barking"
    assert recording_name(Path("Dog/17.wav")) == "17"


def test_gate_finds_bursts_and_bridges_short_gaps() -> None:
    parts = active_parts(bursts((0.5, 1.0), (1.2, 1.5), (2.3, 2.6)))
    assert len(parts) == 2
    np.testing.assert_allclose(np.array(parts) / RATE, [(0.5, 1.5), (2.3, 2.6)], atol=0.011)


def test_gate_rises_over_a_noise_floor_but_keeps_steady_sounds() -> None:
    noisy = active_parts(bursts((1.0, 1.5), floor=0.005))  # floor 32 dB below the burst
    np.testing.assert_allclose(np.array(noisy) / RATE, [(1.0, 1.5)], atol=0.011)
    steady = bursts((0.0, 3.0))
    assert active_parts(steady) == [(0, steady.size)]
    crackling = bursts((1.0, 1.05), floor=0.03)  # a crack 16 dB over steady frying
    assert active_parts(crackling) == [(0, crackling.size)]


def test_rumble_does_not_open_the_gate() -> None:
    rumble = 0.05 * np.sin(2 * np.pi * 40 * np.arange(3 * RATE) / RATE)
    parts = active_parts(bursts((1.0, 1.5)) + rumble.astype(np.float32))
    np.testing.assert_allclose(np.array(parts) / RATE, [(1.0, 1.5)], atol=0.011)


def test_silence_has_no_active_part() -> None:
    assert active_parts(np.zeros(5000, dtype=np.float32)) == []
    assert active_parts(np.zeros(0, dtype=np.float32)) == []


def test_bank_without_manifest(tmp_path: Path) -> None:
    make_bank(tmp_path, {"Dog": 8, "Cat": 5, "Background": 6})
    bank = Soundbank(tmp_path)
    assert isinstance(bank, Supplier)
    assert bank.labels == ("Cat", "Dog")
    for label in (*bank.labels, "background"):
        names = [set(bank.recordings(label, split)) for split in SPLITS]
        assert all(names)
        assert len(set.union(*names)) == sum(map(len, names))
    assert bank.fingerprint == Soundbank(tmp_path).fingerprint


def test_recordings_are_known_by_their_content(tmp_path: Path) -> None:
    make_bank(tmp_path, {"Dog": 8, "background": 4})
    before = Soundbank(tmp_path)
    for number, path in enumerate(sorted(tmp_path.rglob("*.wav"))):
        path.rename(path.with_suffix(("", ".WAVE", ".dat")[number % 3]))
    (tmp_path / "Dog" / "notes.txt").write_text("a neighbour's")
    (tmp_path / "Dog" / "._Dog0.wav").write_bytes(b"x")
    after = Soundbank(tmp_path)
    for label in ("Dog", "background"):
        for split in SPLITS:
            assert set(after.recordings(label, split)) == set(before.recordings(label, split))


def test_events_come_from_their_split_only(tmp_path: Path) -> None:
    bank = Soundbank(make_bank(tmp_path, {"Dog": 8, "background": 4}, suffix="flac"))
    lengths: dict[str, set[int]] = {}
    for split in SPLITS:
        own = {int(name.removeprefix("Dog")) for name in bank.recordings("Dog", split)}
        generator = rng(3)
        drawn = {bank.event("Dog", split, generator).size for _ in range(40)}
        assert drawn == {3200 + 160 * index for index in own}
        lengths[split] = drawn
    assert sum(map(len, lengths.values())) == 8


def test_draws_do_not_depend_on_the_cache(tmp_path: Path) -> None:
    make_bank(tmp_path, {"Dog": 8, "background": 4})
    bank, small = Soundbank(tmp_path), Soundbank(tmp_path, cache_mib=0)
    for seed in range(10):
        bank.event("Dog", "real", rng(seed))
    copy = pickle.loads(pickle.dumps(bank))
    for seed in range(5):
        expected = bank.event("Dog", "real", rng(seed))
        np.testing.assert_array_equal(copy.event("Dog", "real", rng(seed)), expected)
        np.testing.assert_array_equal(small.event("Dog", "real", rng(seed)), expected)


def test_lengths_of_events_and_backgrounds(tmp_path: Path) -> None:
    make_bank(tmp_path, {"Tick": 4, "Hum": 4, "background": 4})
    for path in (tmp_path / "Tick").iterdir():
        write_audio(path, bursts((0.5, 0.53), seconds=1.0))
    for path in (tmp_path / "Hum").iterdir():
        write_audio(path, bursts((0.0, 13.0), seconds=13.0))
    bank = Soundbank(tmp_path)
    assert bank.event("Tick", "test", rng()).size == 2400
    hum = [bank.event("Hum", "test", rng(seed)) for seed in range(2)]
    assert [part.size for part in hum] == [160_000, 160_000]
    assert not np.array_equal(*hum)
    for samples in (500, 3000, 160_000):
        background = bank.background("test", samples, rng(1))
        assert background.shape == (samples,)
        blocks = background[: samples // 500 * 500].reshape(-1, 500)
        assert np.all(np.sqrt(np.mean(blocks**2, axis=1)) > 0.05)  # no gap, no dip at a seam
        assert np.sqrt(np.mean(background**2)) == pytest.approx(0.1, rel=0.1)


def write_manifest(folder: Path, rows: list[tuple[str, str, str, str]]) -> None:
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["event_label", "file", "recording", "split"])
        writer.writerows(rows)


def manifest_rows(classes: tuple[str, ...] = ("Dog", "background")) -> list[tuple[str, ...]]:
    splits = ("train-synthetic", "train-real", "validation", "test")
    return [
        (label, f"{label}/{label}{index}.wav", f"{label}{index}", split)
        for label in classes
        for index, split in enumerate(splits)
    ]


def test_manifest_decides(tmp_path: Path) -> None:
    make_bank(tmp_path, {"Dog": 6, "Cat": 1, "background": 4})
    write_manifest(tmp_path, manifest_rows())
    bank = Soundbank(tmp_path)
    assert bank.labels == ("Dog",)
    found = [list(bank.recordings("Dog", split)) for split in SPLITS]
    assert found == [["Dog0"], ["Dog1"], ["Dog2"], ["Dog3"]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("Dog", "Dog/Dog5.wav", "Dog5", "training"), "manifest.csv:10: unknown split 'training'"),
        (("Dog", "Dog/none.wav", "none", "test"), "manifest.csv:10: listed file 'Dog/none.wav'"),
        (("Dog", "Dog/Dog5.wav", "Dog0", "test"), "manifest.csv:10: recording 'Dog0' is in two"),
    ],
)
def test_manifest_mistakes(tmp_path: Path, row: tuple[str, str, str, str], message: str) -> None:
    make_bank(tmp_path, {"Dog": 6, "background": 4})
    write_manifest(tmp_path, [*manifest_rows(), row])
    with pytest.raises(DataError, match=message):
        Soundbank(tmp_path)


def test_folder_mistakes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such soundbank"):
        Soundbank(tmp_path / "none")
    make_bank(tmp_path / "a", {"Dog": 4})
    with pytest.raises(DataError, match="no backgrounds"):
        Soundbank(tmp_path / "a")
    make_bank(tmp_path / "b", {"background": 4})
    with pytest.raises(DataError, match="no class"):
        Soundbank(tmp_path / "b")
    (tmp_path / "a" / "Cat").mkdir()
    with pytest.raises(DataError, match="'Cat' has no recording"):
        Soundbank(tmp_path / "a")


def test_unknown_class_and_silent_recordings(tmp_path: Path) -> None:
    make_bank(tmp_path, {"Dog": 4, "background": 4})
    for path in (*(tmp_path / "Dog").iterdir(), *(tmp_path / "background").iterdir()):
        write_audio(path, np.zeros(4000, dtype=np.float32))
    bank = Soundbank(tmp_path)
    with pytest.raises(DataError, match="'Cat'"):
        bank.event("Cat", "test", rng())
    with pytest.raises(DataError, match="silent"):
        bank.event("Dog", "test", rng())
    with pytest.raises(DataError, match="silent"):
        bank.background("test", 100, rng())


def test_shared_soundbank(shared_dir: Path) -> None:
    bank = Soundbank(shared_dir / "soundbank")
    assert len(bank.labels) == 8
    for label in bank.labels:
        for split in SPLITS:
            event = bank.event(label, split, rng(1))
            assert event.dtype == np.float32
            assert 2400 <= event.size <= 160_000
            assert 0.05 < np.max(np.abs(event)) <= 1
