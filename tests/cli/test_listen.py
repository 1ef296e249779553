"""Events while they happen: from a file, a pipe and a microphone that is made up."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner, Result

from earmark.cli.listen import listen
from earmark.core.errors import AudioError, ConfigError, EarmarkError
from earmark.deliver import sound_sources
from earmark.detect.detector import Detector
from earmark.detect.online.stream import EventStream

RATE = 16_000
app = typer.Typer()
app.command()(listen)


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound that the shipped bundle takes for something."""
    rng = np.random.default_rng(0)
    level = np.repeat(rng.random(46) ** 3, RATE // 2)
    path = tmp_path_factory.mktemp("kitchen") / "kitchen.wav"
    soundfile.write(path, (0.3 * rng.normal(size=len(level)) * level).clip(-1, 1), RATE)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["mini", *map(str, arguments)])


def expected(path: Path, threshold: float = 0.02) -> list[str]:
    detector = Detector.from_pretrained("mini", threads=1)
    detector.postprocess = detector.postprocess.with_threshold(threshold)
    found = detector.detect(path).found
    assert len(found) > 3
    return sorted(f"{onset:.3f}\t{offset:.3f}\t{label}" for onset, offset, label, _ in found)


def open_stream() -> EventStream:
    detector = Detector.from_pretrained("mini", threads=1)
    detector.postprocess = detector.postprocess.with_threshold(0.02)
    return detector.open_stream(RATE)


def rows(text: str) -> list[str]:
    header, *lines = text.splitlines()
    assert header == "onset\toffset\tevent_label\tscore"
    return sorted(line.rpartition("\t")[0] for line in lines)


def test_a_file(kitchen: Path, tmp_path: Path) -> None:
    done = run(kitchen, "--threshold", 0.02)
    assert done.exit_code == 0, done.output
    assert rows(done.stdout) == expected(kitchen)
    assert "within 10." in done.stderr
    out = tmp_path / "events.jsonl"
    assert run(kitchen, "--threshold", 0.02, "--lines", "jsonl", "-o", out).exit_code == 0
    events = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(events) == len(expected(kitchen))
    assert list(events[0]) == ["onset", "offset", "event_label", "score"]


def test_a_latency_that_is_set(kitchen: Path) -> None:
    done = run(kitchen, "--threshold", 0.02, "--latency", 2)
    assert done.exit_code == 0, done.output
    assert "within 2.0 s" in done.stderr or "within 1.9 s" in done.stderr
    assert len(rows(done.stdout)) > 3
    for arguments in (("--latency", 0.2), ("--latency", 2, "--hop", 5)):
        failed = run(kitchen, *arguments)
        assert isinstance(failed.exception, ConfigError)
        assert "is the least" in str(failed.exception)


def test_a_state_between_two_calls(kitchen: Path, tmp_path: Path) -> None:
    samples, _ = soundfile.read(kitchen, dtype="int16")
    parts = [tmp_path / f"{n}.wav" for n in range(3)]
    for part, piece in zip(parts, np.split(samples, [100_000, 230_001]), strict=True):
        soundfile.write(part, piece, RATE)
    state, out = tmp_path / "state.npz", tmp_path / "events.tsv"
    for part in parts[:2]:
        assert run(part, "--threshold", 0.02, "--state", state, "-o", out).exit_code == 0
    resumed = open_stream()
    resumed.load(state)
    found = [*resumed.push(soundfile.read(parts[2], dtype="int16")[0]), *resumed.finish()]
    lines = out.read_text() + "".join(f"{a:.3f}\t{b:.3f}\t{c}\t{d}\n" for a, b, c, d in found)
    assert rows(lines) == expected(kitchen)


def test_a_pipe_that_is_interrupted(kitchen: Path) -> None:
    """Raw samples through a real pipe; Ctrl-C tells what is under way."""
    samples, _ = soundfile.read(kitchen, dtype="int16")
    code = "import sys; from earmark.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "listen", "mini", "--stdin", "--threshold", "0.02"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    data = samples.tobytes()
    process.stdin.write(data[:1001])
    process.stdin.flush()
    process.stdin.write(data[1001:])
    process.stdin.flush()
    settled = open_stream().push(samples)
    assert settled
    early = [process.stdout.readline() for _ in range(1 + len(settled))]  # while the pipe is open
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert b"Traceback" not in errors
    assert rows((b"".join(early) + out).decode()) == expected(kitchen)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_listener_that_is_ended_saves_its_state(kitchen: Path, tmp_path: Path, name: str) -> None:
    samples, _ = soundfile.read(kitchen, dtype="int16")
    code = "import sys; from earmark.cli import main; main()"
    state, out = tmp_path / "state", tmp_path / "lines.tsv"
    options = ["--threshold", "0.02", "--state", str(state), "-o", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "listen", "mini", "--stdin", *options],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(samples[: len(samples) // 2].tobytes())
    process.stdin.flush()
    assert b"listening" in process.stderr.readline()
    time.sleep(1.0)  # so that it has read them
    process.send_signal(getattr(signal, name))
    assert process.wait(60) == 0
    assert state.is_file()
    stream = open_stream()
    stream.load(state)  # it goes on from there


def test_a_channel_of_a_file(tmp_path: Path, kitchen: Path) -> None:
    """Channels that cancel each other: the mean is silent, each of them is not."""
    samples, _ = soundfile.read(kitchen, dtype="float32")
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([samples, -samples], axis=1), RATE)
    assert len(rows(run(path, "--threshold", 0.02, "--channels", "mean").stdout)) < 3
    for channel in ("first", "2", "auto"):
        found = rows(run(path, "--threshold", 0.02, "--channels", channel).stdout)
        assert len(found) == len(expected(kitchen)), channel


@pytest.mark.parametrize(("kind", "bits"), [("PCM_U8", 8), ("PCM_16", 16), ("FLOAT", 32)])
@pytest.mark.parametrize("size", [None, 0, 0xFFFFFFFF])
def test_a_wav_file_in_a_pipe(tmp_path: Path, kind: str, bits: int, size: int | None) -> None:
    wave = np.random.default_rng(0).uniform(-0.9, 0.9, (999, 2))
    path = tmp_path / "a.wav"
    soundfile.write(path, wave, 8000, subtype=kind)
    if size is not None:  # as a program leaves it that cannot go back in a pipe
        data = bytearray(path.read_bytes())
        place = data.index(b"data") + 4
        data[place : place + 4] = size.to_bytes(4, "little")
        path.write_bytes(bytes(data))
    with path.open("rb", buffering=0) as file:
        rate, begin = sound_sources.pipe_source(file, 44_100, "s16le", 1, 0.01)
        joined = np.concatenate(list(begin()))[:999].astype(float)
    assert (rate, joined.shape) == (8000, (999, 2))
    full = {8: 127.0, 16: 32767.0, 32: 1.0}[bits]
    offset = 128.0 if bits == 8 else 0.0
    np.testing.assert_allclose((joined - offset) / full, wave, atol=0.02)


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "AIFF", "RF64", "WAV"])
def test_other_files_in_a_pipe_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    subtype = "PCM_24" if kind == "WAV" else None
    soundfile.write(path, np.zeros(999), 8000, format=kind, subtype=subtype)
    with path.open("rb", buffering=0) as file, pytest.raises(AudioError, match="ffmpeg"):
        sound_sources.pipe_source(file, 8000, "s16le", 1, 0.01)


def test_states_that_are_none(kitchen: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("no state")
    whole = tmp_path / "whole"
    open_stream().save(whole)
    (tmp_path / "cut").write_bytes(whole.read_bytes()[:200])
    for name in ("empty", "text", "cut", "."):
        done = run(kitchen, "--state", tmp_path / name)
        assert isinstance(done.exception, ConfigError), name
        assert "no saved stream" in str(done.exception)
    for latency in ("nan", "inf", "-1"):
        done = run(kitchen, f"--latency={latency}")
        assert isinstance(done.exception, ConfigError), latency


def test_a_state_of_another_bundle_is_refused_before_listening(
    kitchen: Path, tmp_path: Path
) -> None:
    detector = Detector.from_pretrained("mini", threads=1, threshold=0.02)
    detector.fingerprint = "trained again, with the same classes and settings"
    state = tmp_path / "state"
    detector.open_stream(RATE).save(state)
    before = state.read_bytes()
    done = run(kitchen, "--threshold", 0.02, "--state", state)
    assert isinstance(done.exception, ConfigError)
    assert "another bundle" in str(done.exception)
    assert "listening" not in done.output
    assert state.read_bytes() == before


@pytest.mark.parametrize(
    ("lines", "there", "fine"),
    [
        ("tsv", "onset\toffset\tevent_label\tscore\n0.1\t0.2\tDog\t0.5\n", True),
        ("jsonl", '{"onset": 0.1}\n', True),
        ("tsv", '{"onset": 0.1}\n', False),
        ("jsonl", "onset\toffset\tevent_label\tscore\n", False),
        ("tsv", "RIFF\udcff", False),
        ("jsonl", "dear diary", False),
    ],
)
def test_lines_are_not_appended_to_lines_of_another_form(
    lines: str, there: str, fine: bool, tmp_path: Path
) -> None:
    out, silence = tmp_path / "out", tmp_path / "a.wav"
    out.write_bytes(there.encode(errors="surrogateescape"))
    soundfile.write(silence, np.zeros(1000), RATE)
    done = run(silence, "--lines", lines, "-o", out)
    assert out.read_bytes() == there.encode(errors="surrogateescape")
    if fine:
        assert done.exit_code == 0, done.output
    else:
        assert isinstance(done.exception, ConfigError)
        assert f"other lines than {lines}" in str(done.exception)


def test_standard_input_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: Callable[..., str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it where it is closed
    assert "standard input is closed" in mistake("listen", "mini", "--stdin")
    (tmp_path / "a").touch()
    with (tmp_path / "a").open("rb", buffering=0) as file:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=file))
        told = mistake("listen", "mini", "--stdin", "--channels", "auto")
        assert "needs the whole recording" in told
    with (tmp_path / "a").open("wb", buffering=0) as file:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=file))
        assert "standard input cannot be read" in mistake("listen", "mini", "--stdin")


class Pipe(io.BytesIO):
    """A pipe that is no file."""


def test_kinds_of_raw_samples(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-0.9, 0.9, (999, 2))
    raw = {
        "s16le": (wave * 32767).astype("<i2"),
        "s32le": (wave * 2147483000).astype("<i4"),
        "f32le": wave.astype("<f4"),
        "u8": (wave * 127 + 128).astype("u1"),
    }
    for name, samples in raw.items():
        path = tmp_path / name
        path.write_bytes(samples.tobytes() + b"\0")  # a torn sample
        with path.open("rb") as file:
            rate, begin = sound_sources.pipe_source(file, 8000, name, 2, 0.01)
            joined = np.concatenate(list(begin()))
        assert rate == 8000
        np.testing.assert_array_equal(joined, samples)
    with pytest.raises(ConfigError, match="s16le"):
        sound_sources.pipe_source(Pipe(), 8000, "mp3", 1, 0.1)


def test_a_microphone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that refuses 16 kHz and gives three blocks."""
    opened: dict[str, Any] = {}

    class PortAudioError(Exception):
        pass

    class InputStream:
        def __init__(self, **options: Any) -> None:
            opened.update(options)

        def __enter__(self) -> None:
            buffer = np.zeros((opened["blocksize"], opened["channels"]), dtype=np.float32)
            for number in range(3):
                buffer[:] = number
                opened["callback"](buffer, len(buffer), None, None)

        def __exit__(self, *_: object) -> None:
            opened["closed"] = True

    def check(device: Any, samplerate: int) -> None:
        if samplerate == 16_000:
            raise PortAudioError("rate")

    fake = types.SimpleNamespace(
        PortAudioError=PortAudioError,
        InputStream=InputStream,
        check_input_settings=check,
        query_devices=lambda *_: {"default_samplerate": 48000.0, "max_input_channels": 6},
    )
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    rate, begin = sound_sources.microphone_source("3", 16_000, 0.1)
    blocks = begin()
    assert [float(next(blocks).mean()) for _ in range(3)] == [0.0, 1.0, 2.0]
    blocks.close()  # type: ignore[attr-defined]
    assert rate == 48_000
    assert (opened["device"], opened["channels"], opened["blocksize"]) == (3, 2, 4800)
    assert opened["closed"]

    def none(*_: Any) -> Any:
        raise ValueError("No input device matching 'x'")

    fake.query_devices = none
    with pytest.raises(AudioError, match="no microphone"):
        sound_sources.microphone_source("x", 16_000, 0.1)
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(EarmarkError, match=r"earmark\[microphone\]"):
        sound_sources.microphone_source(None, 16_000, 0.1)


def test_choices_are_checked(kitchen: Path, mistake: Callable[..., str]) -> None:
    assert "'xml' is not one of 'tsv', 'jsonl'" in mistake(
        "listen", "mini", str(kitchen), "--lines", "xml"
    )
    for option in ("--sample-format", "--format"):  # as in version 0.1
        assert "'mp3' is not one of 'u8', 's16le'" in mistake(
            "listen", "mini", "--stdin", option, "mp3"
        )


def test_mistakes_are_told(kitchen: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ((kitchen, "--stdin"), "Choose one"),
        ((tmp_path / "none.wav",), "no such file"),
        ((kitchen, "-o", tmp_path), "cannot be written"),
    ):
        done = run(*arguments)
        assert isinstance(done.exception, EarmarkError), arguments
        assert message in str(done.exception)
