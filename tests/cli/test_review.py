"""`earmark review` and `earmark detect --clips`: from recordings to a page and to clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner, Result

from earmark.cli.detect import detect
from earmark.cli.review import review
from earmark.core.errors import EarmarkError
from earmark.core.formats import read_events
from helpers.trees import strong

RATE = 16_000


def run(command: Any, *arguments: Any) -> Result:
    app = typer.Typer()
    app.command()(command)
    done = CliRunner(env={"COLUMNS": "300"}).invoke(app, [str(part) for part in arguments])
    if isinstance(done.exception, EarmarkError):
        raise done.exception
    return done


def content(page: Path) -> dict[str, Any]:
    text = (page / "page" / "data.js").read_text("utf-8")
    return dict(json.loads(text[len("EARMARK.open(") : -len(");\n")]))


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(2):
        noise = np.random.default_rng(n).normal(size=RATE * 6) * 0.1
        noise[RATE * 2 : RATE * 4] *= 5
        soundfile.write(folder / f"{n}.wav", noise.clip(-1, 1), RATE)
    return folder


def test_a_page_with_truth(recordings: Path, tmp_path: Path) -> None:
    strong(tmp_path / "truth.tsv", {"0.wav": [(2.0, 4.0, "Dog")], "1": [], "9.wav": [(0, 1, "X")]})
    arguments = (recordings, "--truth", tmp_path / "truth.tsv", "--threshold", 0.1)
    done = run(review, "mini", *arguments, "--out", tmp_path / "page")
    assert done.exit_code == 0, done.output
    assert "in 2 recordings (12.0 s)" in done.output
    assert "labels of 1 recordings that are not reviewed here" in done.output
    page = content(tmp_path / "page")
    assert [one["name"] for one in page["recordings"]] == ["0.wav", "1.wav"]
    assert [one[:3] for one in page["recordings"][0]["truth"]] == [[2.0, 4.0, "Dog"]]
    assert page["recordings"][1]["truth"] == []
    found = [event for one in page["recordings"] for event in one["found"]]
    assert found
    assert {event[4] for event in found} <= {"hit", "confusion", "false alarm"}


def test_a_label_track_is_of_the_one_recording(recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "my notes.txt").write_text("2.0\t4.0\tDog\n")
    arguments = (recordings / "0.wav", "--truth", tmp_path / "my notes.txt")
    assert run(review, "mini", *arguments, "--out", tmp_path / "page").exit_code == 0
    assert content(tmp_path / "page")["recordings"][0]["truth"][0][:3] == [2.0, 4.0, "Dog"]


def test_a_split_of_a_dataset(recordings: Path, tmp_path: Path) -> None:
    audio = tmp_path / "data" / "audio" / "validation" / "validation"
    audio.parent.mkdir(parents=True)
    recordings.rename(audio)
    labels = {"0.wav": [(2.0, 4.0, "Dog")], "1.wav": [(1.0, 2.0, "Cat")]}
    strong(tmp_path / "data" / "metadata" / "validation" / "validation.tsv", labels)
    done = run(review, "mini", "--data", tmp_path / "data", "--out", tmp_path / "page")
    assert done.exit_code == 0, done.output
    truth = [one["truth"][0][:3] for one in content(tmp_path / "page")["recordings"]]
    assert truth == [[2.0, 4.0, "Dog"], [1.0, 2.0, "Cat"]]


def test_a_broken_recording_is_told(recordings: Path, tmp_path: Path) -> None:
    (recordings / "2.wav").write_bytes(b"RIFF and nothing more")
    done = run(review, "mini", recordings, "--out", tmp_path / "page")
    assert done.exit_code == 1
    assert "2.wav" in done.stderr
    assert len(content(tmp_path / "page")["recordings"]) == 2


@pytest.mark.parametrize("more", [(), ("a.wav", "--data", "d"), ("--data", "d", "--truth", "t")])
def test_recordings_or_data(tmp_path: Path, more: tuple[str, ...]) -> None:
    with pytest.raises(EarmarkError, match="not both or neither"):
        run(review, "mini", *more, "--out", tmp_path / "page")


def test_no_channel_is_left_out_in_silence(recordings: Path, tmp_path: Path) -> None:
    with pytest.raises(EarmarkError, match="one channel"):
        run(review, "mini", recordings, "--channels", "each", "--out", tmp_path / "page")


def test_clips_of_a_batch(recordings: Path, tmp_path: Path) -> None:
    out, clips = tmp_path / "out", tmp_path / "clips"
    arguments = ("mini", recordings, "--out", out, "--threshold", 0.1, "--no-plot")
    done = run(detect, *arguments, "--clips", clips)
    assert done.exit_code == 0, done.output
    events = read_events(out / "events.tsv")
    assert len(list(clips.rglob("*.wav"))) == len(events) > 2
    assert f"{len(events)} clips: {clips}" in done.output
    again = run(detect, *arguments, "--clips", tmp_path / "top", "--clips-top", 1)
    assert again.exit_code == 0  # of events that were found before
    assert len(list((tmp_path / "top").rglob("*.wav"))) == events.event_label.nunique()
    with pytest.raises(EarmarkError, match="need --clips"):
        run(detect, *arguments, "--clips-random", 1)
