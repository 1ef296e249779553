"""Files that FFmpeg decodes: exact times and lengths, and every fault a clear word."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from earmark.cli import app
from earmark.core.audio.audio import (
    audio_info,
    expected_seconds,
    load_audio,
    load_excerpt,
    load_int16,
    read_blocks,
)
from earmark.core.audio.containers import check_whole
from earmark.core.audio.folders import list_audio
from earmark.core.audio.media import _Padding, media_kind
from earmark.core.errors import AudioError
from earmark.detect.detector import Detector

av = pytest.importorskip("av", reason="needs PyAV (the extra 'media')")

RATE = 48_000
CLICK = 1.25  # s

LOSSLESS = {"sound.mka": "flac", "sound.caf": "alac", "sound.mov": "pcm_s16le"}
LOSSY = {
    "sound.m4a": "aac",
    "sound.mp4": "aac",
    "sound.3gp": "aac",
    "sound.webm": "libopus",
    "sound.avi": "mp3",
    "sound.aac": "aac",
    "sound.mts": "aac",
    "sound.wma": "wmav2",
}
EXACT_LENGTH = {*LOSSLESS, "sound.m4a", "sound.mp4", "sound.3gp", "sound.webm"}


def original() -> np.ndarray:
    """[S, 2] int16: noise, silence and then a click of a millisecond at its time."""
    generator = np.random.default_rng(0)
    samples = generator.normal(0, 0.1, (3 * RATE + 123, 2))
    samples[RATE : 2 * RATE] = 0
    at = round(CLICK * RATE)
    samples[at : at + RATE // 1000] = 0.9
    scaled: np.ndarray = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
    return scaled


def encode(
    path: Path,
    codec: str,
    samples: np.ndarray,
    *,
    pictures: int = 0,
    container_options: dict[str, str] | None = None,
) -> Path:
    """A file of samples [S, channels] int16, and of so many pictures, ten a second."""
    layout = {1: "mono", 2: "stereo"}[samples.shape[1]]
    options = container_options
    if options is None:
        options = {"movflags": "faststart"} if path.suffix in (".m4a", ".mp4") else {}
    file_format = {".mts": "mpegts", ".wma": "asf"}.get(path.suffix)
    with av.open(str(path), "w", format=file_format, options=options) as container:
        video = container.add_stream("mpeg4", rate=10) if pictures else None
        if video is not None:
            video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        stream = container.add_stream(codec, rate=RATE, layout=layout)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout=layout)
        frame.rate, frame.pts = RATE, 0
        context = stream.codec_context
        if codec == "wmav2":
            stream.bit_rate = 128_000
        fit = av.AudioResampler(context.format, layout, RATE, frame_size=context.frame_size or 1024)
        if video is not None:
            for number in range(pictures):
                image = av.VideoFrame.from_ndarray(np.full((32, 32, 3), number, np.uint8), "rgb24")
                image.pts = number
                container.mux(video.encode(image))
            container.mux(video.encode(None))
        for part in [*fit.resample(frame), *fit.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of every kind, and the same sound as WAV."""
    path = tmp_path_factory.mktemp("media")
    for name, codec in (LOSSLESS | LOSSY).items():
        encode(path / name, codec, original())
    soundfile.write(path / "sound.wav", original(), RATE, subtype="PCM_16")
    return path


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_files_are_read_to_the_last_bit(folder: Path, name: str) -> None:
    assert np.array_equal(load_audio(folder / name, RATE), load_audio(folder / "sound.wav", RATE))
    assert audio_info(folder / name) == audio_info(folder / "sound.wav")


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_files_keep_their_times(folder: Path, name: str) -> None:
    samples = load_audio(folder / name, RATE)
    quiet = samples[round(1.1 * RATE) : round(1.9 * RATE)]
    click = 1.1 + float(np.abs(quiet).argmax()) / RATE
    # Where nothing in the file tells of it, what the encoder puts before the sound stays.
    delay = 0.03 if name in ("sound.aac", "sound.avi", "sound.mts") else 0.0
    lost = 2048 / RATE if name == "sound.wma" else 0.0  # the first block, which FFmpeg leaves away
    assert CLICK - 0.003 - lost <= click <= CLICK + 0.003 + delay
    expected = len(original())
    if name in EXACT_LENGTH:
        assert abs(len(samples) - expected) <= RATE // 1000  # containers count ms
    else:
        assert expected - round(lost * RATE) <= len(samples) <= expected + 4096


@pytest.mark.parametrize("name", ["sound.m4a", "sound.webm", "sound.caf"])
def test_blocks_excerpts_and_16_bit_numbers_are_parts_of_the_whole(folder: Path, name: str) -> None:
    whole = load_audio(folder / name)
    for seconds in (0.01, 0.5):
        blocks = list(read_blocks(folder / name, block_seconds=seconds))
        assert np.array_equal(np.concatenate(blocks), whole)
    part = load_excerpt(folder / name, 20_000, 8_000)
    np.testing.assert_allclose(part, whole[20_000:28_000], atol=2e-5)
    assert np.array_equal(load_int16(folder / name, 1000), load_int16(folder / name)[:1000])
    second = np.concatenate(list(read_blocks(folder / name, RATE, channel=2)))
    assert len(second) == audio_info(folder / name).samples


def test_file_objects_and_wrong_names_are_known_by_content(folder: Path, tmp_path: Path) -> None:
    data = (folder / "sound.m4a").read_bytes()
    (tmp_path / "memo.wav").write_bytes(data)
    whole = load_audio(folder / "sound.m4a")
    assert np.array_equal(load_audio(tmp_path / "memo.wav"), whole)
    assert np.array_equal(load_audio(io.BytesIO(data)), whole)


def test_the_sound_of_a_film_is_found_in_folders_and_its_events_too(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    samples = (generator.normal(0, 3000, (4 * RATE, 1))).astype(np.int16)
    film = encode(tmp_path / "film.MOV", "pcm_s16le", samples, pictures=10)
    soundfile.write(tmp_path / "film.flac", samples, RATE, subtype="PCM_16")
    assert [path.name for path in list_audio(tmp_path)] == ["film.MOV", "film.flac"]
    detector = Detector.from_pretrained("mini")
    reports: list[tuple[int, int]] = []
    scores = detector.score(film, progress=lambda done, total: reports.append((done, total)))
    assert np.array_equal(scores.values, detector.score(tmp_path / "film.flac").values)
    assert reports[-1] == (len(scores.values), len(scores.values))


def test_lengths_are_guessed_without_decoding(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = {name: audio_info(folder / name).seconds for name in ("sound.m4a", "sound.webm")}
    monkeypatch.setattr("earmark.core.audio.audio.decoded", None)
    for name, seconds in exact.items():
        assert expected_seconds(folder / name) == pytest.approx(seconds, abs=0.05)


def test_without_pyav_the_rest_is_heard_and_the_mend_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match="MP4, M4A or MOV is read with FFmpeg") as caught:
        load_audio(folder / "sound.m4a")
    assert "earmark[media]" in caught.value.hint
    with pytest.raises(AudioError, match="CAF is read with FFmpeg"):
        load_audio(folder / "sound.caf")
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app, ["detect", "mini", str(folder), "--out", str(out), "--format", "tsv"]
    )
    assert done.exit_code == 1, done.output
    assert (out / "sound.tsv").exists() or any(out.glob("sound*.tsv"))
    failures = (out / "failures.tsv").read_text()
    assert failures.count("earmark[media]") == len(LOSSLESS | LOSSY)


@pytest.mark.parametrize("name", ["sound.m4a", "sound.mka", "sound.webm", "sound.mov", "sound.avi"])
@pytest.mark.parametrize("share", [0.9, 0.5, 0.02])
def test_a_file_that_breaks_off_is_no_shorter_recording(
    folder: Path, tmp_path: Path, name: str, share: float
) -> None:
    data = (folder / name).read_bytes()
    broken = tmp_path / name
    broken.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(AudioError) as caught:
        load_audio(broken)
    assert str(broken) in str(caught.value)
    assert "again" in caught.value.hint


@pytest.mark.parametrize("seconds", [1.0, 3.0])
def test_a_film_whose_sound_ends_early_is_whole(tmp_path: Path, seconds: float) -> None:
    samples = original()[: round(seconds * RATE)]
    for name, codec in (("film.mkv", "flac"), ("film.mp4", "aac"), ("film.avi", "pcm_s16le")):
        path = encode(tmp_path / name, codec, samples, pictures=40)
        assert len(load_audio(path, RATE)) == pytest.approx(len(samples), abs=RATE // 1000)


def test_a_header_that_knows_only_the_beginning_cuts_nothing_off() -> None:
    blocks = [np.full((1024, 1), number, dtype=np.float32) for number in range(12)]
    whole = np.concatenate(blocks)
    for end, kept in ((None, 12_288), (12_000, 12_000), (8_192, 8_192), (5_000, 12_288)):
        padding = _Padding(end)
        found = [part for block in blocks for part in padding.without(block)]
        assert np.array_equal(np.concatenate(found), whole[:kept]), end


def test_a_film_without_sound_says_so(tmp_path: Path) -> None:
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
        image.pts = 0
        container.mux(video.encode(image))
        container.mux(video.encode(None))
    with pytest.raises(AudioError, match="no audio in it"):
        load_audio(path)


@given(st.binary(max_size=400))
def test_no_bytes_are_a_problem(data: bytes) -> None:
    kind = media_kind(io.BytesIO(data))
    assert kind is None or kind
    if data:
        with pytest.raises(AudioError):
            load_audio(io.BytesIO(data))


@pytest.mark.parametrize("text", [b"hello, world\n" * 50, b"#!/bin/sh\nexit\n", b"{}"])
def test_what_is_no_media_is_not_offered_to_ffmpeg(text: bytes) -> None:
    assert media_kind(io.BytesIO(text)) is None
    with pytest.raises(AudioError, match="not a recording"):
        load_audio(io.BytesIO(text))


@pytest.mark.parametrize(
    ("size", "whole"),
    [
        (b"\x01\xff\xff\xff\xff\xff\xff\xff", True),  # not known: a live stream
        (b"\xff", True),
        (b"\x84", True),
        (b"\x40\x04", True),
        (b"\x85", False),
        (b"\x40\x05", False),
        (b"\x00", True),  # no size at all: left to the decoder
    ],
)
def test_the_size_of_a_matroska_segment_tells(size: bytes, whole: bool) -> None:
    file = io.BytesIO(b"\x1aE\xdf\xa3\x82ab\x18\x53\x80\x67" + size + b"four")
    if whole:
        check_whole(file, "film.mkv")
    else:
        with pytest.raises(AudioError, match="1 of"):
            check_whole(file, "film.mkv")


def test_an_mp4_written_in_fragments_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "browser.mp4"
    fragments = {
        "movflags": "frag_keyframe+empty_moov+default_base_moof",
        "frag_duration": "200000",
    }
    encode(path, "aac", original(), container_options=fragments)
    samples = load_audio(path, RATE)
    assert len(original()) <= len(samples) <= len(original()) + 4096
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(AudioError, match="bytes"):
        load_audio(path)


SESSION = (
    b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 18766 RTP/AVP 0\n"
)
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:18767/x.ts\n"
LISTED = b"ffconcat version 1.0\nfile 'other.wav'\n"
KINDS = {
    "transport": lambda text: b"".join(b"G" + text[:187].ljust(187, b" ") for _ in range(9)),
    "two syncs": lambda text: b"v=0\nG" + b"x" * 191 + b"G\n" + text,
    "mp4": lambda text: b"\0\0\0\x08free" + text,
    "matroska": lambda text: b"\x1a\x45\xdf\xa3" + text,
    "asf": lambda text: b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + text,
    "amr": lambda text: b"#!AMR\n" + text,
    "caf": lambda text: b"caff" + text,
    "mpeg": lambda text: b"\x00\x00\x01\xba" + text,
    "avi": lambda text: b"RIFF" + bytes(4) + b"AVI " + text,
    "aac": lambda text: b"\xff\xf1" + text,
    "wav": lambda text: b"RIFF" + bytes(4) + b"WAVEfmt " + bytes(24) + text,
    "ogg": lambda text: b"OggS" + text,
    "bare": lambda text: text,
}
WATCHED = """
import sys
opened = []
def watch(event, arguments):
    if event.startswith("socket."):
        opened.append(event)
sys.addaudithook(watch)
import os
from earmark.core.audio.audio import load_audio
from earmark.core.errors import AudioError
def descriptors():
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    return [os.readlink(link) for link in links if os.path.islink(link)]
for name in sys.argv[1:]:
    try:
        load_audio(name)
        print("READ", name)
    except AudioError as error:
        assert "\\n" not in str(error), error
    with open("/proc/self/net/udp") as table:
        ports = {int(line.split()[1].split(":")[1], 16) for line in list(table)[1:]}
    assert not ports & {18766, 18767}, name
    assert not [one for one in descriptors() if one.startswith("socket:")], name
print("sockets", opened)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc shows what is open")
def test_a_text_that_describes_a_session_opens_nothing_but_itself(tmp_path: Path) -> None:
    names = []
    for kind, make in KINDS.items():
        for number, text in enumerate((SESSION, PLAYLIST, LISTED)):
            path = tmp_path / f"{kind}-{number}.wav"
            path.write_bytes(make(text))
            names.append(str(path))
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *names], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-2] == "sockets []"
    assert "READ" not in done.stdout


def test_ffmpeg_is_told_the_demuxer(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    asked = []
    plain = av.open

    def watched(file: object, mode: str, demuxer: str, *rest: object, **more: object) -> object:
        asked.append(demuxer)
        return plain(file, mode, demuxer, *rest, **more)

    monkeypatch.setattr(av, "open", watched)
    for name in LOSSLESS | LOSSY:
        load_audio(folder / name)
    assert None not in asked
    assert set(asked) == {"matroska", "caf", "mov", "avi", "aac", "mpegts", "asf"}


@pytest.mark.parametrize("end", [0, 5, 1000])
def test_holding_back_padding_costs_in_proportion_to_the_length(end: int) -> None:
    """Each block is touched once, however many there are."""
    counted = 0

    class Counting(np.ndarray):
        def __len__(self) -> int:
            nonlocal counted
            counted += 1
            return super().__len__()

    def work(blocks: int) -> int:
        nonlocal counted
        counted, padding = 0, _Padding(end * blocks)
        for _ in range(blocks):
            list(padding.without(np.zeros((1000, 1), np.float32).view(Counting)))
        return counted

    assert work(400) <= 11 * max(1, work(40))
