"""Crops of any folder of audio: what is found, what is drawn, and what is left aside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.audio.audio import load_audio, load_excerpt, write_audio
from earmark.core.errors import AudioError, DataError
from earmark.data.crops import CropStream, Survey, survey, write_faults

WINDOW, SHORTEST = 16_000, 3_840


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rates, lengths and kinds as they come, and files that are none."""
    out = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(0)
    for name, rate, seconds, channels in (
        ("a/long.wav", 44_100, 6.0, 2),
        ("a/short.flac", 8_000, 0.5, 1),
        ("b/exact.wav", 16_000, 1.0, 1),
        ("b/medium.ogg", 48_000, 1.7, 1),
    ):
        (out / name).parent.mkdir(exist_ok=True)
        samples = 0.1 * rng.standard_normal((int(rate * seconds), channels))
        soundfile.write(out / name, samples, rate)
    write_audio(out / "too_short.wav", np.full(1000, 0.1, dtype=np.float32))
    (out / "text.wav").write_text("no audio at all")
    (out / "empty.wav").write_bytes(b"")
    (out / "notes.txt").write_text("is no recording")
    return out


def test_survey_finds_measures_and_names(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    found = survey([folder], SHORTEST, lambda done, total: told.append((done, total)))
    names = [path.relative_to(folder).as_posix() for path in found.paths]
    assert names == ["a/long.wav", "a/short.flac", "b/exact.wav", "b/medium.ogg"]
    assert found.samples.tolist() == [96_000, 8_000, 16_000, 27_200]
    assert {path.name for path in found.faults} == {"too_short.wav", "text.wav", "empty.wav"}
    assert "shorter than 0.24 s" in found.faults[folder / "too_short.wav"]
    assert {path.name: why for path, why in found.others.items()} == {"notes.txt": "not sound"}
    assert told[-1] == (7, 7)
    assert found.hours == pytest.approx(147_200 / 16_000 / 3600)


def test_fingerprint_follows_names_and_lengths_but_not_the_place(tmp_path: Path) -> None:
    prints = []
    for place, name, seconds in (("x", "a", 1), ("y", "a", 1), ("z", "b", 1), ("w", "a", 2)):
        sound = np.full(16_000 * seconds, 0.1, dtype=np.float32)
        write_audio(tmp_path / place / f"{name}.wav", sound)
        prints.append(survey([tmp_path / place], SHORTEST).fingerprint)
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_nothing_to_learn_from_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no recording in it"):
        survey([tmp_path], SHORTEST)
    (tmp_path / "broken.wav").write_text("x")
    with pytest.raises(DataError, match=r"none of its 1 recordings can be used.*broken\.wav"):
        survey([tmp_path], SHORTEST)
    with pytest.raises(AudioError, match="no such folder"):
        survey([tmp_path / "missing"], SHORTEST)


def test_crops_are_a_function_of_seed_and_number(folder: Path) -> None:
    found = survey([folder], SHORTEST)
    stream, again = CropStream(found, WINDOW, 1), CropStream(found, WINDOW, 1)
    crops = [stream[number] for number in range(30)]
    for number in (29, 3, 17):  # in another order
        assert np.array_equal(again[number].waveform, crops[number].waveform)
    other = CropStream(found, WINDOW, 2)
    assert not all(np.array_equal(other[n].waveform, crops[n].waveform) for n in range(5))
    assert {crop.waveform.shape for crop in crops} == {(WINDOW,)}
    assert {crop.samples for crop in crops} == {8_000, WINDOW}
    for crop in crops:
        assert not crop.waveform[crop.samples :].any()
        assert np.abs(crop.waveform[: crop.samples]).mean() > 0.01
    # 6 s, 0.5 s, 1 s and 1.7 s hold 6, 1, 1 and 2 windows of a second.
    assert stream.units == 10
    assert sum(crop.samples < WINDOW for crop in crops) == 3  # one in every walk of 10


def test_crops_lie_anywhere_in_the_recording(tmp_path: Path) -> None:
    samples = np.linspace(0, 0.9, 80_000, dtype=np.float32)
    write_audio(tmp_path / "ramp.wav", samples)
    stream = CropStream(survey([tmp_path], SHORTEST), WINDOW, 0)
    starts = [stream[number].waveform[0] / 0.9 * 80_000 for number in range(200)]
    assert min(starts) < 3_000
    assert max(starts) > 61_000
    assert max(starts) <= 64_001


def test_a_recording_that_breaks_off_is_replaced_and_named(folder: Path, tmp_path: Path) -> None:
    found = survey([folder], SHORTEST)
    broken = tmp_path / "gone.wav"
    paths = (*found.paths, broken)  # as if it went after the survey
    lengths = np.append(found.samples, 160_000)
    stream = CropStream(Survey(paths, lengths, {}, ""), WINDOW, 0)
    crops = [stream[number] for number in range(40)]
    faults = {path: reason for crop in crops for path, reason in crop.faults}
    assert list(faults) == [broken]
    assert "no such file" in faults[broken]
    assert all(crop.waveform.any() for crop in crops)
    again = CropStream(Survey(paths, lengths, {}, ""), WINDOW, 0)
    assert np.array_equal(again[33].waveform, crops[33].waveform)
    write_faults(faults, tmp_path / "unreadable.tsv")
    assert "gone.wav\tno such file" in (tmp_path / "unreadable.tsv").read_text()
    write_faults({}, tmp_path / "unreadable.tsv")
    assert not (tmp_path / "unreadable.tsv").exists()


def test_a_lost_disk_ends_the_run(tmp_path: Path) -> None:
    lost = Survey((tmp_path / "a.wav",), np.array([160_000]), {}, "")
    with pytest.raises(DataError, match="50 recordings in a row"):
        CropStream(lost, WINDOW, 0)[0]


@settings(max_examples=40, deadline=None)
@given(
    rate=st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 15_999]),
    first=st.integers(0, 30_000),
    samples=st.integers(1, 20_000),
)
def test_an_excerpt_is_a_part_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, rate: int, first: int, samples: int
) -> None:
    path = tmp_path_factory.getbasetemp() / f"whole-{rate}.wav"
    if not path.exists():
        noise = 0.2 * np.random.default_rng(rate).standard_normal(rate * 2)
        soundfile.write(path, noise, rate, subtype="FLOAT")
    whole = load_audio(path)[first : first + samples]
    part = load_excerpt(path, first, samples)
    assert part.shape == whole.shape
    np.testing.assert_allclose(part, whole, atol=2e-5)


def test_an_excerpt_beyond_the_end_is_an_error(folder: Path) -> None:
    with pytest.raises(AudioError, match=r"nothing follows|ends before"):
        load_excerpt(folder / "b/exact.wav", 17_000, 100)
    with pytest.raises(AudioError, match="ends before"):
        load_excerpt((np.zeros(100), 16_000), 100, 1)
