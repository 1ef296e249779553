"""`earmark detect` without `--out`: what it prints on a terminal and into a pipe, and where."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from typer.testing import CliRunner, Result

from earmark.cli import app, main
from earmark.core.formats import FORMATS, read_events

RATE = 16_000
RUNNER = CliRunner()


def bursts(path: Path, seconds: int, seed: int, channels: int = 1) -> Path:
    """A recording of noise that comes and goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    envelope = np.repeat(rng.random(seconds * 2) ** 3, RATE // 2)[:, None]
    noise = rng.normal(size=(seconds * RATE, channels)).clip(-3, 3)
    soundfile.write(path, 0.3 * noise * envelope, RATE)
    return path


@pytest.fixture
def rooms(tmp_path: Path) -> list[Path]:
    """Three recordings, the first the longest."""
    seconds = {"long": 40, "b": 12, "a": 12}
    return [
        bursts(tmp_path / "in" / f"{name}.wav", length, seed)
        for seed, (name, length) in enumerate(seconds.items())
    ]


def detect(*arguments: Any) -> Result:
    return RUNNER.invoke(app, ["detect", "mini", *map(str, arguments), "--threshold", "0.02"])


def test_a_pipe_gets_what_the_table_of_a_folder_has(rooms: list[Path], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = detect(*rooms, "--threads", 3)
    assert done.exit_code == 0, done.output
    assert sorted(tmp_path.rglob("*")) == before
    assert detect(*rooms, "--out", tmp_path / "out", "--no-plot").exit_code == 0
    assert done.stdout.encode() == (tmp_path / "out/events.tsv").read_bytes()
    rows = pd.read_csv(io.StringIO(done.stdout), sep="\t")
    assert list(dict.fromkeys(rows.filename)) == ["long.wav", "b.wav", "a.wav"]  # as given
    assert done.stderr == f"{len(rows)} events in 3 recordings (64.0 s)\n"
    processes = detect(*rooms, "--workers", 2)
    assert processes.stdout == done.stdout


@pytest.mark.parametrize("kind", FORMATS)
def test_any_format_is_printed(rooms: list[Path], tmp_path: Path, kind: str) -> None:
    one = detect(rooms[1], "--format", kind)
    assert one.exit_code == 0, one.output
    out = tmp_path / "out"
    assert detect(rooms[1], "--out", out, "--format", kind, "--no-plot").exit_code == 0
    assert one.stdout.encode() == (out / f"b{FORMATS[kind].suffix}").read_bytes()
    several = detect(*rooms, "--format", kind)
    if FORMATS[kind].one_recording:
        assert "Add --out DIR" in str(several.exception)
        return
    printed = tmp_path / f"all{FORMATS[kind].suffix}"
    printed.write_text(several.stdout, encoding="utf-8")
    assert set(read_events(printed, kind).filename) == {"long.wav", "b.wav", "a.wav"}


def test_labels_with_scores(rooms: list[Path]) -> None:
    told = detect(rooms[1], "--format", "audacity", "--labels-with-score").stdout
    assert re.search(r"\[0\.\d{3}\]\n", told)
    assert "audacity" in str(detect(rooms[1], "--labels-with-score").exception)


def test_a_recording_without_events_leaves_the_heading(rooms: list[Path]) -> None:
    done = RUNNER.invoke(app, ["detect", "mini", str(rooms[1]), "--threshold", "0.9999"])
    assert done.stdout == "filename\tonset\toffset\tevent_label\tscore\n"
    assert done.stderr == "0 events in 1 recording (12.0 s)\n"


def test_what_cannot_be_read_stops_nothing(rooms: list[Path]) -> None:
    rooms[1].write_bytes(b"RIFF and nothing more")
    (rooms[1].parent / "notes.txt").write_text("dawn")
    done = detect(rooms[1].parent, "--format", "jsonl")
    assert done.exit_code == 1
    names = {json.loads(line)["filename"] for line in done.stdout.splitlines()}
    assert names == {"a.wav", "long.wav"}
    assert "in 2 recordings (52.0 s), 1 failed" in done.stderr
    assert "1 file left out, not sound: notes.txt" in done.stderr
    assert "failed: " in done.stderr
    assert "b.wav" in done.stderr


@pytest.mark.parametrize("kind", ["tsv", "jsonl", "json"])
def test_a_name_that_no_table_holds_stops_nothing(rooms: list[Path], kind: str) -> None:
    rooms[1].rename(rooms[1].with_name("b\nb.wav"))
    done = detect(rooms[1].parent, "--format", kind)
    assert done.exit_code == 1
    assert "a.wav" in done.stdout
    assert "long.wav" in done.stdout
    assert "in 2 recordings (52.0 s), 1 failed" in done.stderr
    assert "Rename the recording" in done.stderr


def test_each_channel_has_its_name(tmp_path: Path) -> None:
    path = bursts(tmp_path / "yard.wav", 12, 3, channels=2)
    rows = pd.read_csv(io.StringIO(detect(path, "--channels", "each").stdout), sep="\t")
    assert set(rows.filename) == {"yard.ch1.wav", "yard.ch2.wav"}


def test_clips_have_a_folder_of_their_own(rooms: list[Path], tmp_path: Path) -> None:
    done = detect(rooms[1], "--clips", tmp_path / "clips", "--top", 2)
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "clips").rglob("*.wav"))) == 2
    assert f"2 clips: {tmp_path / 'clips'}" in done.stderr
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--plot"], "--plot needs a folder. Add --out DIR"),
        (["--plot-range", "1-2", "--fresh"], "--plot-range and --fresh need a folder"),
        (["--score-format", "tsv"], "--score-format needs a folder"),
        (["--engine", "ray"], "--engine ray needs a folder"),
        (["--format", "tsv,csv"], "several formats need --out"),
        (["--format", "docx"], "docx"),
        (["--clips-top", "3"], "--clips DIR"),
    ],
)
def test_what_needs_a_folder_is_one_line(
    rooms: list[Path], mistake: Callable[..., str], options: list[str], words: str
) -> None:
    assert words in mistake("detect", "mini", str(rooms[1]), *options)


def on_terminal(monkeypatch: pytest.MonkeyPatch, *arguments: Any, columns: int = 80) -> str:
    """What a terminal shows of a command, without colours and moves of the cursor."""
    ours, theirs = pty.openpty()
    chunks: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # the other side is closed
            while chunk := os.read(ours, 4096):
                chunks.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "argv", ["earmark", *map(str, arguments)])
    with open(theirs, "w", encoding="utf-8") as terminal:  # noqa: PTH123 - an open file
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stderr", io.StringIO())
        with pytest.raises(SystemExit) as stopped:
            main()
    reader.join()
    os.close(ours)
    assert not stopped.value.code
    shown = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", b"".join(chunks)).decode()
    return shown.replace("\r\n", "\n")


def test_a_terminal_gets_a_table(rooms: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pd.read_csv(io.StringIO(detect(*rooms).stdout), sep="\t")
    some = ["--threshold", "0.02"]
    shown = on_terminal(monkeypatch, "detect", "mini", *rooms, *some)
    heading, *lines, summary = shown.splitlines()
    assert heading.split() == ["recording", "onset", "(s)", "offset", "(s)", "event", "score"]
    assert len({len(line) for line in lines}) == 1  # one table, although it grew
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows.itertuples(), strict=True):
        expected = [f"{row.onset:.3f}", f"{row.offset:.3f}", row.event_label, f"{row.score:.2f}"]
        assert line.split() == [row.filename, *expected]
    assert summary == f"{len(rows)} events in 3 recordings (64.0 s)"
    one = on_terminal(monkeypatch, "detect", "mini", rooms[1], *some)
    assert "recording " not in one.splitlines()[0]
    narrow = on_terminal(monkeypatch, "detect", "mini", rooms[1], *some, columns=50)
    for score in rows[rows.filename == "b.wav"].score:
        assert f" {score:.2f}\n" in narrow
    narrower = on_terminal(monkeypatch, "detect", "mini", *rooms, *some, columns=40)
    for row in rows.itertuples():
        times = rf" {row.onset:.3f} +{row.offset:.3f} .* {row.score:.2f}\n"
        assert re.search(times, narrower)


def test_a_reader_that_leaves_is_no_error(
    rooms: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    errors = io.StringIO()
    monkeypatch.setattr(sys, "argv", ["earmark", "detect", "mini", *map(str, rooms)])
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", io.TextIOWrapper(io.FileIO(theirs, "w")))
        patched.setattr(sys, "stderr", errors)
        with pytest.raises(SystemExit):
            main()
    assert errors.getvalue() == ""
