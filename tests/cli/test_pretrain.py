"""``earmark pretrain`` from end to end, and its exit codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from earmark.cli import app
from earmark.core.audio.audio import write_audio
from earmark.model.encoders.encoder_file import load_encoder
from earmark.train.record.journal import run_record

RUNNER = CliRunner()
SMALL = [
    "window_seconds=1",
    "encoder.width=12",
    "encoder.depth=1",
    "heads={hidden: 8, out: 4}",
    "train.epochs=2",
    "train.steps_per_epoch=2",
    "train.batch=4",
    "train.warmup_steps=1",
]
SET = [part for override in SMALL for part in ("--set", override)]


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(4):
        write_audio(tmp_path / f"audio/{number}.wav", 0.1 * rng.standard_normal(20_000))
    return tmp_path / "audio"


def _command(audio: Path, out: Path) -> list[str]:
    start = ["pretrain", "atst-frame-pretrain", "--audio", str(audio), "--out", str(out)]
    return [*start, "--device", "cpu", *SET]


def test_pretrains_and_goes_on(audio: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = RUNNER.invoke(app, _command(audio, out))
    assert result.exit_code == 0, result.output
    for words in ("4 recordings", "fingerprint", "ATST-Frame tiny, 4 steps of 4 crops"):
        assert words in result.output
    encoder = load_encoder(out)
    assert encoder.settings.width == 12
    assert [record["epoch"] for record in run_record(out)] == [1, 2]
    before = (out / "encoder.safetensors").read_bytes()
    assert RUNNER.invoke(app, [*_command(audio, out), "--resume"]).exit_code == 0
    assert (out / "encoder.safetensors").read_bytes() == before


def test_files_that_cannot_be_read_are_listed_and_the_exit_code_is_one(
    audio: Path, tmp_path: Path
) -> None:
    (audio / "broken.wav").write_text("no audio")
    result = RUNNER.invoke(app, _command(audio, tmp_path / "run"))
    assert result.exit_code == 1, result.output
    assert "1 files could not be used" in result.stderr
    assert "broken.wav\t" in (tmp_path / "run/unreadable.tsv").read_text()
    assert load_encoder(tmp_path / "run").settings.width == 12


def test_teaches() -> None:
    help_text = RUNNER.invoke(app, ["pretrain", "--help"]).output
    assert all(word in help_text for word in ("--audio", "--size", "unreadable.tsv", "--resume"))
    assert "atst-frame-pretrain" in RUNNER.invoke(app, ["recipes"]).output
    assert "fraction: 0.65" in RUNNER.invoke(app, ["recipes", "atst-frame-pretrain"]).output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["atst-frame", "--audio", "."], "no recipe called 'atst-frame'"),
        (["mini", "--audio", "."], "earmark train"),
        (["atst-frame-pretrain", "--audio", "missing"], "missing: no such folder"),
        (["atst-frame-pretrain", "--audio", "."], "no recording in it"),
        (["atst-frame-pretrain", "--audio", ".", "--size", "huge"], "'tiny', 'small', 'base'"),
        (["atst-frame-pretrain", "--audio", ".", "--set", "mask.spam=1"], "mask.spam"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_two(
    arguments: list[str], words: str, mistake: Callable[..., str]
) -> None:
    assert words in mistake("pretrain", *arguments, "--out", "y", "--device", "cpu")
