from __future__ import annotations

import io
import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.audio.audio import (
    audio_info,
    load_audio,
    load_excerpt,
    load_int16,
    read_blocks,
    to_int16,
    write_audio,
)
from earmark.core.audio.folders import list_audio
from earmark.core.errors import AudioError, ConfigError
from earmark.core.timeline import resampled_length

ENDINGS = ["wav", "flac", "ogg", "mp3"]


def tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray[Any, np.dtype[np.float32]]:
    time = np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def encoded(ending: str, samples: np.ndarray[Any, Any], rate: int, **more: Any) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=ending.upper(), **more)
    return buffer.getvalue()


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_a_tone_comes_back_at_16_khz(ending: str, rate: int, tmp_path: Path) -> None:
    path = tmp_path / f"tone.{ending}"
    path.write_bytes(encoded(ending, tone(1.5, rate), rate))
    samples = load_audio(path)
    assert samples.dtype == np.float32
    assert samples.shape == (24_000,)
    middle = slice(2_000, -2_000)
    error = samples[middle] - tone(1.5, 16_000)[middle]
    assert np.sqrt(np.mean(error**2)) < (0.02 if ending in ("ogg", "mp3") else 1e-4)
    info = audio_info(path)
    assert (info.samples, info.sample_rate, info.channels) == (round(1.5 * rate), rate, 1)
    assert info.seconds == 1.5


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_averaged(channels: int) -> None:
    parts = np.random.default_rng(0).normal(0, 0.1, (3_000, channels))
    file = io.BytesIO(encoded("flac", parts, 16_000))
    np.testing.assert_allclose(load_audio(file), parts.mean(axis=1), atol=1e-4)
    np.testing.assert_allclose(load_audio((parts, 16_000)), parts.mean(axis=1), atol=1e-7)
    assert audio_info((parts, 16_000)).channels == channels


def test_a_frequency_above_the_new_limit_is_removed() -> None:
    assert np.abs(load_audio((tone(1.0, 44_100, 12_000.0), 44_100))[500:-500]).max() < 1e-3


def test_path_string_file_object_and_array_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    write_audio(path, tone(0.7, 22_050), 22_050)
    samples, rate = soundfile.read(path, dtype="float32")
    expected = load_audio(path)
    np.testing.assert_array_equal(load_audio(str(path)), expected)
    np.testing.assert_array_equal(load_audio((samples, rate)), expected)
    with path.open("rb") as file:
        assert audio_info(file).seconds == 0.7
        np.testing.assert_array_equal(load_audio(file), expected)  # from the start, always
        np.testing.assert_array_equal(np.concatenate(list(read_blocks(file))), expected)


def test_whole_numbers_are_scaled_by_their_type() -> None:
    values = np.array([-32_768, 0, 16_384], dtype=np.int16)
    np.testing.assert_array_equal(load_audio((values, 16_000)), [-1.0, 0.0, 0.5])
    np.testing.assert_array_equal(
        load_audio((np.array([0, 128, 192], dtype=np.uint8), 16_000)), [-1.0, 0.0, 0.5]
    )


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(1, 30_000),
    rate=st.sampled_from([8_000, 11_025, 16_000, 16_001, 22_050, 44_100, 48_000, 96_000]),
    target=st.sampled_from([16_000, 8_000, 22_050]),
    block=st.floats(0.003, 2.0),
    seed=st.integers(0, 9),
)
def test_blocks_join_to_the_whole(
    samples: int, rate: int, target: int, block: float, seed: int
) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.2, samples).astype(np.float32)
    whole = load_audio((noise, rate), target)
    assert len(whole) == resampled_length(samples, rate, target)
    for source in ((noise, rate), io.BytesIO(encoded("wav", noise, rate, subtype="FLOAT"))):
        blocks = list(read_blocks(source, target, block))
        assert all(len(part) for part in blocks)
        np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-4)


@pytest.mark.parametrize("ending", ENDINGS)
def test_blocks_of_each_kind_of_file_join_to_the_whole(ending: str) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 100_000).astype(np.float32)
    data = encoded(ending, noise, 44_100)
    whole = load_audio(io.BytesIO(data))
    blocks = list(read_blocks(io.BytesIO(data), 16_000, 0.13))
    assert len(blocks) > 10
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-4)
    assert len(whole) == resampled_length(100_000, 44_100, 16_000)


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 16_000, 1, subtype="PCM_16") as file:
        for _ in range(60):
            file.write(np.zeros(16_000 * 10, dtype=np.int16))
    tracemalloc.start()
    total = sum(len(block) for block in read_blocks(path, 8_000, 5.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 8_000 * 600
    assert peak < 4_000_000  # 10 minutes are 38 MB


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("most", [None, 1, 9_000, 20_000, 50_000])
def test_int16_is_what_floats_round_to(ending: str, rate: int, most: int | None) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, (round(rate * 1.3), 1 + (rate > 16_000)))
    file = io.BytesIO(encoded(ending, noise, rate))
    expected = to_int16(load_audio(file))[:most]
    np.testing.assert_array_equal(load_int16(file, most), expected)
    assert load_int16(file, most).dtype == np.int16


def test_24_bits_are_rounded() -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, 8000)
    file = io.BytesIO(encoded("flac", noise, 16_000, subtype="PCM_24"))
    np.testing.assert_array_equal(load_int16(file), to_int16(load_audio(file)))


class Counting(io.BytesIO):
    """A file that counts what is read of it."""

    count = 0

    def readinto(self, buffer: Any, /) -> int:
        size = super().readinto(buffer)
        self.count += size
        return size

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_the_beginning_of_a_long_recording_is_read_alone(rate: int) -> None:
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 300 * rate).astype(np.float32)
    file = Counting(encoded("flac", noise, rate))
    assert len(load_int16(file, 160_000)) == 160_000
    assert file.count < len(file.getvalue()) / 12


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_window_of_a_long_recording_is_read_alone(rate: int) -> None:
    """Where the window lies makes no difference: FLAC is searched, not read through."""
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 300 * rate).astype(np.float32)
    content = encoded("flac", noise, rate)
    whole = load_audio(io.BytesIO(content))
    for first in (0, 123_457, 2_400_000, 4_600_001):
        file = Counting(content)
        window = load_excerpt(file, first, 160_000)
        np.testing.assert_allclose(window, whole[first : first + 160_000], atol=2e-5)
        assert file.count < len(content) / 12


def test_a_file_that_breaks_off_has_no_int16_either() -> None:
    whole = encoded("flac", np.random.default_rng(0).uniform(-1, 1, 48_000), 16_000)
    cut = io.BytesIO(whole[: len(whole) // 2])
    with pytest.raises(AudioError, match="truncated or damaged"):
        load_int16(cut)
    assert len(load_int16(cut, 10_000)) == 10_000


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("part", [0.25, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("channels", [1, 2])
def test_truncated_files_are_refused(
    ending: str, part: float, channels: int, tmp_path: Path
) -> None:
    noise = np.random.default_rng(2).normal(0, 0.1, (120_000, channels))
    data = encoded(ending, noise, 44_100)
    path = tmp_path / f"cut.{ending}"
    path.write_bytes(data[: int(part * len(data))])
    for read in (load_audio, lambda source: list(read_blocks(source, 16_000, 0.1))):
        with pytest.raises(AudioError, match="truncated") as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert caught.value.hint


def test_ogg_cut_between_two_pages_is_refused() -> None:
    noise = np.random.default_rng(2).normal(0, 0.1, 220_500)
    data = encoded("ogg", noise, 44_100)
    cut = data[: data.rindex(b"OggS")]
    assert len(soundfile.read(io.BytesIO(cut))[0]) < 220_500  # the decoder takes it for whole
    with pytest.raises(AudioError, match="truncated"):
        load_audio(io.BytesIO(cut))


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("kind", ["WAV", "RF64"])
def test_odd_and_large_wav_files_are_whole(subtype: str, kind: str) -> None:
    data = encoded(kind, tone(0.1, 11_025)[:1_001], 11_025, subtype=subtype)
    assert audio_info(io.BytesIO(data)).samples == 1_001
    with pytest.raises(AudioError, match="truncated"):
        load_audio(io.BytesIO(data[:-400]))


def test_a_wav_file_from_a_pipe_says_no_length_and_is_whole() -> None:
    data = bytearray(encoded("wav", tone(0.5, 16_000), 16_000))
    place = data.index(b"data") + 4
    data[place : place + 4] = b"\xff\xff\xff\xff"
    assert len(load_audio(io.BytesIO(bytes(data)))) == 8_000


def test_mp3_with_a_length_that_is_cut_is_refused_and_one_without_is_counted() -> None:
    rng = np.random.default_rng(3)
    uneven = np.concatenate([np.zeros(132_300), rng.normal(0, 0.2, 132_300)])
    data = encoded("mp3", uneven, 44_100, bitrate_mode="VARIABLE", compression_level=0.4)
    assert audio_info(io.BytesIO(data)).samples == len(uneven)
    with pytest.raises(AudioError, match="truncated"):
        load_audio(io.BytesIO(data[: len(data) // 2]))
    first = data.index(b"\xff\xfb", 4)  # behind the frame that says the length
    estimated = soundfile.SoundFile(io.BytesIO(data[first:])).frames
    counted = audio_info(io.BytesIO(data[first:])).samples
    assert abs(estimated - len(uneven)) > 10_000  # what the decoder alone would say
    assert abs(counted - len(uneven)) < 5_000
    whole = load_audio(io.BytesIO(data[first:]), 44_100)
    assert len(whole) == counted


def _bad(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"{kind}.wav"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("This is not a recording, whatever its name says.\n" * 50)
    elif kind == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(5_000))
    elif kind == "header":
        soundfile.write(path, np.zeros(0), 16_000)
    elif kind in ("nan", "inf"):
        samples = np.zeros(1_000)
        samples[700] = math.nan if kind == "nan" else -math.inf
        soundfile.write(path, samples, 16_000, subtype="FLOAT")
    return path


@pytest.mark.parametrize(
    "kind", ["missing", "folder", "empty", "text", "noise", "header", "nan", "inf"]
)
def test_what_is_no_recording_gives_one_clear_error(kind: str, tmp_path: Path) -> None:
    path = _bad(tmp_path, kind)
    with pytest.raises(AudioError) as caught:
        load_audio(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    with pytest.raises(AudioError):
        list(read_blocks(path, 16_000, 0.01))
    if kind not in ("nan", "inf"):
        with pytest.raises(AudioError):
            audio_info(path)


@pytest.mark.parametrize("name", ["x.raw", "x.mp3", "x.ogg", "x"])
def test_random_bytes_under_any_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(bytes(range(256)) * 3)
    with pytest.raises(AudioError, match="not a recording"):
        load_audio(tmp_path / name)


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_random_bytes_behind_known_signatures(data: bytes) -> None:
    for head in (b"RIFF\x10\x00\x00\x00WAVE", b"OggS", b"fLaC", b"ID3", b"\xff\xfb\x90\xc4"):
        with pytest.raises(AudioError):
            load_audio(io.BytesIO(head + data))


@pytest.mark.parametrize(
    ("samples", "rate"),
    [
        (np.zeros(0), 16_000),
        (np.zeros((2, 2, 2)), 16_000),
        (np.zeros((1, 5_000)), 16_000),
        (np.zeros(5), 0),
        (np.zeros(5), -16_000),
        (np.zeros(5), 44_100.5),
        (np.zeros(5, dtype=complex), 16_000),
        (np.array([0.0, math.nan]), 16_000),
        (np.array([0.0, math.inf]), 8_000),
        (np.array(["a"]), 16_000),
    ],
)
def test_arrays_that_are_no_audio(samples: Any, rate: Any) -> None:
    with pytest.raises(AudioError):
        load_audio((samples, rate))


def test_other_things_that_are_no_audio() -> None:
    with pytest.raises(AudioError, match="int"):
        load_audio(5)  # type: ignore[arg-type]

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    with pytest.raises(AudioError, match="BytesIO"):
        load_audio(Pipe(b"RIFF"))
    with pytest.raises(ConfigError):
        load_audio((np.zeros(5), 16_000), 0)
    with pytest.raises(ConfigError):
        list(read_blocks((np.zeros(5), 16_000), 16_000, 0.0))


def test_one_sample_is_a_recording() -> None:
    assert load_audio((np.ones(1), 48_000)).shape == (1,)


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_written_files_come_back_exactly(ending: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"x.{ending}"
    grid = np.random.default_rng(0).integers(-32_768, 32_768, 5_000)
    write_audio(path, grid / 32_768.0, 22_050)
    np.testing.assert_array_equal(load_audio(path, 22_050) * 32_768, grid)
    assert soundfile.info(path).subtype == "PCM_16"
    write_audio(path, np.array([2.0, -2.0, 0.25]))
    np.testing.assert_allclose(load_audio(path), [1.0, -1.0, 0.25], atol=4e-5)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    for name, samples in [
        ("x.mp3", np.zeros(5)),
        ("x.wav", np.zeros((5, 2))),
        ("x.wav", np.zeros(0)),
        ("x.wav", np.array([math.nan])),
    ]:
        with pytest.raises(AudioError, match=name):
            write_audio(tmp_path / name, samples)
    assert not list(tmp_path.iterdir())


def test_folders_are_listed_sorted_and_without_hidden_files(tmp_path: Path) -> None:
    for name in ["b.wav", "a/x.FLAC", "a/notes.txt", "a/._x.wav", ".trash/y.wav", "c.mp3"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in list_audio(tmp_path)]
    assert found == ["a/x.FLAC", "b.wav", "c.mp3"]
    with pytest.raises(AudioError, match="no such folder"):
        list_audio(tmp_path / "nothing")


def test_every_recording_of_the_soundbank_is_read(shared_dir: Path) -> None:
    paths = list_audio(shared_dir / "soundbank")
    assert len(paths) == 660
    for path in paths[::20]:
        info = audio_info(path)
        assert len(load_audio(path)) == resampled_length(info.samples, info.sample_rate, 16_000)
