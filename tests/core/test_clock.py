"""The clock of a recording is the truth: right times or an error, whatever its header says."""

from __future__ import annotations

import contextlib
import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.audio.audio import audio_info, load_audio
from earmark.core.audio.sizes import FileWindow
from earmark.core.errors import AudioError

RATE, ONSET, SECONDS = 16_000, 1.0, 2.0


def tone(onset: float = ONSET, seconds: float = SECONDS) -> np.ndarray:
    """[S] a tone of 0.3 s that begins at a known second, in faint noise."""
    samples = np.random.default_rng(0).normal(0, 1e-4, int(seconds * RATE))
    at, length = int(onset * RATE), int(0.3 * RATE)
    samples[at : at + length] = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(length) / RATE)
    return samples.astype(np.float32)


def heard(data: bytes) -> tuple[float, float]:
    """Seconds of a file, and where its tone begins."""
    samples = load_audio(io.BytesIO(data))
    loud = np.flatnonzero(np.abs(samples) > 0.1)
    return len(samples) / RATE, loud[0] / RATE if len(loud) else float("nan")


def written(kind: str, samples: np.ndarray | None = None) -> bytes:
    file = io.BytesIO()
    audio = tone() if samples is None else samples
    subtype = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}.get(kind, "PCM_16")
    soundfile.write(file, audio, RATE, format=kind, subtype=subtype)
    return file.getvalue()


STATED = ["WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU", "FLAC"]
"""Kinds whose header states a length."""
KINDS = [*STATED, "OGG", "MP3"]
FILES = {kind: written(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_whole_files_are_read_whole(kind: str) -> None:
    seconds, onset = heard(FILES[kind])
    assert seconds == pytest.approx(SECONDS, abs=0.1 if kind == "MP3" else 1e-3)
    assert onset == pytest.approx(ONSET, abs=0.06 if kind == "MP3" else 0.01)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KINDS), st.floats(0.0, 0.999))
def test_a_file_cut_anywhere_is_an_error_and_never_a_shorter_recording(
    kind: str, where: float
) -> None:
    data = FILES[kind]
    cut = int(len(data) * where)
    if kind == "MP3" and cut > len(data) - 500:
        return  # the last frame alone
    slack = (
        2 * 8 + 1 if kind in ("W64", "AIFF", "CAF", "WAV", "WAVEX") else 0
    )  # a footer or padding
    try:
        seconds, onset = heard(data[:cut])
    except AudioError:
        return
    assert cut >= len(data) - slack, (cut, len(data), seconds)
    assert seconds == pytest.approx(SECONDS, abs=1e-3)
    assert onset == pytest.approx(ONSET, abs=0.05)


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "AIFF", "CAF", "AU", "W64"])
def test_what_is_missing_is_said_in_seconds(kind: str) -> None:
    data = FILES[kind]
    with pytest.raises(AudioError, match=r"1\.\d{3} of 2\.000 s of audio is missing"):
        heard(data[: len(data) // 4])


def patched(data: bytes, marker: bytes, size: bytes) -> bytes:
    at = data.index(marker) + len(marker)
    return data[:at] + size + data[at + len(size) :]


NEVER_FILLED = [0, 2**32 - 1, 2**32 - 2**16, 2**31 - 1, 2**31 - 2**15, 0x7FFFFF00]


@pytest.mark.parametrize("stated", NEVER_FILLED)
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_sizes_that_were_never_filled_in_are_resolved_from_the_bytes(
    kind: str, stated: int
) -> None:
    data = patched(FILES[kind], b"data", struct.pack("<I", stated))
    for riff in (struct.pack("<I", stated), data[4:8]):
        seconds, onset = heard(data[:4] + riff + data[8:])
        assert seconds == pytest.approx(SECONDS, abs=1e-3)
        assert onset == pytest.approx(ONSET, abs=0.01)


@pytest.mark.parametrize(
    ("kind", "marker", "size"),
    [
        ("CAF", b"data", struct.pack(">q", -1)),
        ("AU", FILES["AU"][4:8], struct.pack(">I", 2**32 - 1)),
    ],
)
def test_other_containers_may_not_know_their_size(kind: str, marker: bytes, size: bytes) -> None:
    seconds, onset = heard(patched(FILES[kind], marker, size))
    assert seconds == pytest.approx(SECONDS, abs=1e-3)
    assert onset == pytest.approx(ONSET, abs=0.01)


def test_flac_from_a_pipe_does_not_know_its_length() -> None:
    pytest.importorskip("av", reason="needs PyAV (the extra 'media')")
    data = bytearray(FILES["FLAC"])
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    seconds, onset = heard(bytes(data))
    assert seconds == pytest.approx(SECONDS, abs=1e-3)
    assert onset == pytest.approx(ONSET, abs=0.01)


@pytest.mark.parametrize("extra", [0, 320_000, 2**32 + 320_000])
def test_a_size_that_wrapped_round_has_its_four_gibibytes_back(tmp_path: Path, extra: int) -> None:
    count = 2**32 + extra
    path = tmp_path / "long.wav"
    with path.open("wb") as file:  # sparse: it takes no room
        body = struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
        file.write(b"RIFF" + struct.pack("<I", (count + 36) % 2**32) + b"WAVEfmt " + body)
        file.write(b"data" + struct.pack("<I", count % 2**32))
        file.truncate(44 + count)
    assert audio_info(path).seconds == pytest.approx(count / (2 * RATE))


def test_chunks_behind_no_audio_are_no_audio() -> None:
    empty = patched(FILES["WAV"][:44], b"data", bytes(4)) + b"LIST" + struct.pack("<I", 4) + b"INFO"
    with pytest.raises(AudioError, match="no samples"):
        heard(empty)


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "OGG", "MP3"])
def test_files_one_behind_the_other_are_refused(kind: str) -> None:
    joined = FILES[kind] + written(kind, tone(0.5))
    with pytest.raises(AudioError, match="one behind the other"):
        heard(joined)


@pytest.mark.parametrize("rate", [1, 100, 999, 1_000_001, 2**31 - 1])
def test_rates_that_no_audio_has_are_refused(rate: int) -> None:
    data = bytearray(FILES["WAV"])
    data[24:28] = struct.pack("<I", rate)
    with pytest.raises(AudioError, match="which no audio has"):
        heard(bytes(data))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    for path in (tmp_path / "pipe.wav", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(AudioError, match="not a file but"):
            load_audio(path)


def test_boxes_without_end_are_not_walked_through() -> None:
    with pytest.raises(AudioError, match="empty boxes"):
        heard(struct.pack(">I4s", 8, b"free") * 400_000)


@given(st.binary(max_size=64), st.sampled_from([b"RIFF\0\0\0\0WAVE", b"FORM\0\0\0\0AIFF", b"caff",
       b".snd", b"riff" + bytes(36), b"OggS", b"fLaC", b"ID3", b"\xff\xfb"]))  # fmt: skip
def test_headers_of_any_bytes_are_an_error_or_audio(rest: bytes, head: bytes) -> None:
    with contextlib.suppress(AudioError):  # anything else fails
        load_audio(io.BytesIO(head + rest))


def test_a_window_is_a_file_of_its_own() -> None:
    window = FileWindow(io.BytesIO(bytes(range(100))), 10, 20)
    assert window.read() == bytes(range(10, 30))
    assert window.seek(-5, os.SEEK_END) == 15
    assert window.read(100) == bytes(range(25, 30))
    assert window.seek(500) == 20
    assert window.readinto(bytearray(4)) == 0


def _gappy(folder: Path, name: str, codec: str, missing: tuple[float, float]) -> bytes:
    """Eight seconds with a tone at 6 s, the packets of some of them left out."""
    av = pytest.importorskip("av", reason="needs PyAV (the extra 'media')")
    path, rate = folder / name, 48_000
    samples = np.repeat(tone(6.0, 8.0), 3)
    layout: dict[str, str] = {"layout": "mono"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, **layout)
        frame = av.AudioFrame.from_ndarray(
            (samples * 32767).astype(np.int16)[None], format="s16", layout="mono"
        )
        frame.rate, frame.pts = rate, 0
        context = stream.codec_context
        fit = av.AudioResampler(context.format, "mono", rate, frame_size=context.frame_size or 960)
        for part in [*fit.resample(frame), *fit.resample(None), None]:
            for packet in stream.encode(part):
                time = float((packet.pts or 0) * packet.time_base)
                if not missing[0] <= time < missing[1]:
                    container.mux(packet)
    return path.read_bytes()


GAPS: dict[str, tuple[str, str]] = {
    "opus": ("gap.webm", "libopus"),
    "flac": ("gap.mka", "flac"),
    "pcm": ("gap.mkv", "pcm_s16le"),
}


@pytest.mark.parametrize("kind", GAPS)
@pytest.mark.parametrize("missing", [(1.0, 5.0), (0.5, 1.0), (2.0, 2.5)])
def test_time_that_is_missing_is_silence(
    kind: str, missing: tuple[float, float], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seconds, onset = heard(_gappy(tmp_path, *GAPS[kind], missing))
    assert seconds == pytest.approx(8.0, abs=0.05)
    assert onset == pytest.approx(6.0, abs=0.05)
    assert "are missing at" in caplog.text
    assert "taken as silence" in caplog.text
