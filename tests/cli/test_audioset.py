"""The bundle `audioset` by the command line: classes by name, maps of class names, mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import typer
from typer.testing import CliRunner, Result

from earmark.cli.detect import detect
from earmark.cli.evaluate import evaluate
from earmark.cli.info import info
from earmark.core.errors import LabelError, ScoreError
from earmark.core.formats import read_events
from earmark.core.tables.scores import ScoreTable

RATE = 16_000
app = typer.Typer()
for command in (detect, evaluate, info):
    app.command()(command)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips: a tone between silences, and noise."""
    folder = tmp_path_factory.mktemp("audio")
    time = np.arange(4 * RATE) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 1000 * time) * ((time > 1) & (time < 3))
    soundfile.write(folder / "tone.wav", tone, RATE)
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * RATE)
    soundfile.write(folder / "noise.wav", noise.clip(-1, 1), RATE)
    return folder


def test_some_classes_of_a_folder(folder: Path, tmp_path: Path) -> None:
    names = ["Chirp, tweet", "Sine wave", "White noise"]
    asked = ["--classes", '"Chirp, tweet",sine wave', "--classes", "/m/0chx_", "--threshold", 0.1]
    formats = "tsv,json,audacity,raven,elan,csv,webvtt"
    options = ["--out", tmp_path, "--score-format", "tsv,npz", "--format", formats, *asked]
    found = run("detect", "audioset", folder, *options)
    assert found.exit_code == 0, found.output
    table = ScoreTable.read(tmp_path / "scores/tone.tsv")
    assert sorted(table.labels) == names
    assert len(table) == 17  # frames of 240 ms
    events = pd.read_csv(tmp_path / "events.tsv", sep="\t")
    assert "Sine wave" in set(events[events.filename == "tone.wav"].event_label)
    assert "White noise" in set(events[events.filename == "noise.wav"].event_label)
    for form in ("tone.json", "tone.txt", "tone.csv", "tone.eaf"):
        assert set(read_events(tmp_path / form).event_label) <= set(names)
    again = run("detect", "audioset", folder, *options)
    assert "2 of them done before" in again.output.replace("\n", " ")
    more = run("detect", "audioset", folder, *options, "--classes", "Silence", "--threshold", 0.1)
    assert "done before" not in more.output


def test_names_with_commas_are_read_back(folder: Path, tmp_path: Path) -> None:
    asked = ["--classes", "Chirp, tweet", "--classes", "Vibraphone", "--threshold", 0.0]
    formats = ["--format", "tsv,csv,json,jsonl,raven,audacity,elan"]
    done = run("detect", "audioset", folder / "tone.wav", "--out", tmp_path, *asked, *formats)
    assert done.exit_code == 0, done.output
    for ending in ("tsv", "csv", "json", "jsonl", "txt", "eaf"):
        files = list(tmp_path.glob(f"tone*.{ending}"))
        assert files, ending
        for file in files:
            assert set(read_events(file).event_label) == {"Chirp, tweet", "Vibraphone"}, file


def test_an_unknown_class_suggests_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("detect", "audioset", folder, "--out", out, "--classes", "Doog")
    assert isinstance(done.exception, LabelError)
    assert "'Dog'" in str(done.exception)
    assert not out.exists()


def test_info_tells_how_classes_may_be_named() -> None:
    shown = run("info", "audioset", "--classes", "Water tap, faucet")
    assert shown.exit_code == 0, shown.output
    for word in ("364", "/m/02jz0l", "Water tap, faucet", "521 classes", "240 ms"):
        assert word in shown.output
    assert "Speech" not in shown.output
    assert "Electric_shaver" in run("info", "mini").output


@pytest.fixture
def data(folder: Path, tmp_path: Path) -> Path:
    rows = ["filename onset offset event_label", "tone.wav 1.0 3.0 Beep", "noise.wav 0 4 Rushing"]
    (tmp_path / "test.tsv").write_text("\n".join(row.replace(" ", "\t") for row in rows) + "\n")
    (tmp_path / "data.yaml").write_text(f"test: {{audio: {folder}, strong: test.tsv}}\n")
    return tmp_path / "data.yaml"


def test_evaluation_under_the_names_of_the_data(data: Path, tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(
        "Sine wave: Beep\nBeep, bleep: Beep\nWhite noise: Rushing\nPink noise: Rushing\n"
        "Speech: null\n"
    )
    options = ["--data", data, "--split", "test", "--resamples", 0, "--no-plot"]
    done = run(
        "evaluate", "audioset", *options, "--out", tmp_path / "a",
        "--class-map", tmp_path / "map.yaml",
    )  # fmt: skip
    assert done.exit_code == 0, done.output + str(done.exception)
    found = json.loads((tmp_path / "a/metrics.json").read_text())
    assert set(found["per_class"]["segment_f1"]) == {"Beep", "Rushing"}
    assert found["per_class"]["segment_f1"]["Rushing"] > 0.5
    table = ScoreTable.read(tmp_path / "a/scores/tone.tsv")
    assert sorted(table.labels) == ["Beep, bleep", "Pink noise", "Sine wave", "White noise"]


def test_a_map_of_classes_that_are_not_there(data: Path, tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text("Sine: Beep\nWhite noise: Rushing\n")
    done = run(
        "evaluate", "audioset", "--data", data, "--split", "test", "--out", tmp_path / "a",
        "--class-map", tmp_path / "map.yaml",
    )  # fmt: skip
    assert isinstance(done.exception, ScoreError)
    assert "Sine" in str(done.exception)


def test_info_tells_how_a_bundle_listens_and_what_its_card_says() -> None:
    shown = " ".join(run("info", "home").output.split())
    for words in (
        "10 classes at 16 kHz, windows of 10 s every",
        "step s",
        "encoder: yamnet",
        "post-processing: csebb",
        "scores on",
        "PSDS1 0.",
        "licence: Weights: MIT",
    ):
        assert words in shown, words
    assert "encoder: none" in run("info", "mini").output
    assert "its own classifier" in run("info", "audioset", "--classes", "Dog").output
