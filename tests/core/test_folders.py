"""Recordings in folders are known by what is in them; nothing is passed over without a word."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from earmark.core.audio.audio import audio_info
from earmark.core.audio.folders import folder_content, left_out, list_audio, why_no_recording

NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000)
#: All that libsndfile writes and knows again by its first bytes.
WRITTEN = {
    "WAV": "PCM_16", "WAVEX": "PCM_24", "RF64": "PCM_16", "W64": "PCM_16", "AIFF": "PCM_16",
    "AU": "PCM_16", "SVX": "PCM_16", "PAF": "PCM_16", "NIST": "PCM_16", "VOC": "PCM_16",
    "IRCAM": "PCM_16", "PVF": "PCM_16", "CAF": "PCM_16", "FLAC": "PCM_16", "OGG": "VORBIS",
    "MP3": "MPEG_LAYER_III", "AVR": "PCM_16", "WVE": "ALAW", "XI": "DPCM_16",
}  # fmt: skip


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize("endian", ["FILE", "BIG"])
def test_sound_is_found_whatever_it_is_called(kind: str, endian: str, tmp_path: Path) -> None:
    path = tmp_path / {"FILE": "a.txt", "BIG": "noise"}[endian]
    rate = {"WVE": 8000, "XI": 44_100}.get(kind, 16_000)
    if endian == "BIG" and kind not in ("WAV", "AIFF", "AU", "IRCAM", "PAF", "NIST", "CAF"):
        return
    soundfile.write(path, NOISE, rate, WRITTEN[kind], endian, kind)
    assert list_audio(tmp_path) == [path]
    assert audio_info(path).samples >= len(NOISE)


def test_what_is_no_recording_is_named_with_the_reason(tmp_path: Path) -> None:
    content = {
        "notes.txt": b"heard at dawn",
        "old.dff": b"FRM8" + bytes(40),
        "score.xyz": b"MThd" + bytes(20),
        "photo.heic": b"\0\0\0\x18ftypheic" + bytes(40),
        "photo.webp": b"RIFF\x20\0\0\0WEBP" + bytes(20),
        "a.utf16": "\ufeffonset".encode("utf-16-le"),
        "none": b"",
        "._a.wav": b"x",
        "table.tsv": b"onset\toffset\n",
        "G.md": b"GGGGGG" + b"x" * 200,
    }
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    os.mkfifo(tmp_path / "pipe.bin")
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    found = folder_content(tmp_path)
    assert [path.name for path in found.recordings] == ["broken.wav"]  # an error when it is read
    why = {path.name: reason for path, reason in found.others.items()}
    assert set(why) == {*content, "pipe.bin"}
    assert why["old.dff"] == "DSDIFF, which Earmark does not read"
    assert why["score.xyz"].startswith("MIDI")
    assert (why["none"], why["._a.wav"]) == ("empty", "hidden")
    assert why["pipe.bin"] == "a pipe, a device or a socket"
    texts = left_out(found.others, [".tsv"])
    assert "5 files left out, not sound: G.md, a.utf16, notes.txt, …" in texts
    assert "table.tsv" not in "\n".join(texts)
    assert sum(int(text.split()[0]) for text in texts) == len(why) - 1


@given(data=st.binary(max_size=300))
def test_any_bytes_can_be_looked_at(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.bin"
    path.write_bytes(data)
    assert why_no_recording(path) in ("", "empty", "not sound") or "does not read" in str(
        why_no_recording(path)
    )
