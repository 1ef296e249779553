"""The command ``earmark synth``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from earmark.cli.synth import synth
from earmark.core.audio.audio import write_audio
from earmark.core.errors import ConfigError, DataError
from helpers.label_files import read_strong


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(synth)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    source = np.random.default_rng(0)
    for label in ("Kettle", "background"):
        folder = tmp_path / "bank" / label
        folder.mkdir(parents=True)
        for index in range(4):
            write_audio(folder / f"{index}.wav", source.uniform(-0.3, 0.3, 9000).astype("float32"))
    return tmp_path / "bank"


CLIPS = "strong=3,weak=2,unlabelled=0,validation=2,test=0"


def test_writes_a_dataset_from_a_soundbank(bank: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    arguments = (out, "--soundbank", bank, "--clips", CLIPS, "--workers", 1, "--seed", 4)
    result = run(*arguments, "--set", "seconds=2", "--set", "strong.events=[1,1]")
    assert result.exit_code == 0, result.output
    assert "3 strong, 2 weak, 0 unlabelled, 2 validation, 0 test clips of 2 s, 1 class" in (
        result.output
    )
    assert len(list(out.rglob("*.wav"))) == 7
    events, listed = read_strong(out / "metadata/train/synthetic21_train/soundscapes.tsv")
    assert len(listed) == 3
    assert set(events["event_label"]) == {"Kettle"}
    again = run(*arguments, "--set", "seconds=3")
    assert isinstance(again.exception, DataError)


def test_synthesised_sources_are_the_default(tmp_path: Path) -> None:
    clips = "strong=2,weak=1,unlabelled=1,validation=1,test=1"
    result = run(tmp_path / "data", "--recipe", "demo", "--clips", clips, "--workers", 1)
    assert result.exit_code == 0, result.output
    assert "10 classes" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--clips", "loud=3"), "'loud=3' is not SUBSET=NUMBER"),
        (("--clips", "strong=many"), "'strong=many'"),
        (("--recipe", "maxi"), "no synth recipe 'maxi'"),
        (("--set", "strong.evnts=[1,2]"), "strong.evnts"),
    ],
)
def test_mistakes_are_told(arguments: tuple[str, str], message: str, tmp_path: Path) -> None:
    result = run(tmp_path / "data", *arguments)
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)
    assert not (tmp_path / "data").exists()


def test_a_missing_soundbank_is_told(tmp_path: Path) -> None:
    result = run(tmp_path / "data", "--soundbank", tmp_path / "none")
    assert isinstance(result.exception, DataError)


def test_help_names_the_recipes() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "mini-long" in result.output
    assert "soundbank" in result.output
