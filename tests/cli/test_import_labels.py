"""The command ``earmark import-labels``: what it says, and how it takes mistakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from earmark.cli.import_labels import import_labels
from earmark.core.audio.audio import load_audio, write_audio
from earmark.core.errors import EarmarkError
from earmark.data.manifest import load_manifest
from helpers.label_files import read_strong


def run(*arguments: object) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(import_labels)
    result = CliRunner(env={"COLUMNS": "300"}).invoke(app, [str(part) for part in arguments])
    if isinstance(result.exception, EarmarkError):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    source = np.random.default_rng(0)
    for number in range(4):
        noise = 0.1 * source.standard_normal(23 * 16_000)
        write_audio(folder / f"rec{number}.wav", noise.astype(np.float32))
        lines = (
            "1.0\t3.0\twoof\n2.0\t4.0\tDog\n9.95\t11.0\tcat\n15.0\t16.0\tnoise\n20.0\t24.0\tCat\n"
        )
        (folder / f"rec{number}.txt").write_text(lines)
    write_audio(folder / "rec9.wav", np.zeros(16_000 * 12, np.float32))
    (folder / "readme.txt").write_text("hello\n")
    return folder


def test_it_tells_what_it_did(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    arguments = (recordings, "--out", out, "--rename", "woof=Dog", "--drop", "noise")
    code, text = run(*arguments, "--dry-run")
    assert code == 0
    assert not out.exists()
    for expected in (
        "nothing was written",
        "train: 6 clips of 2 recordings, 0.8 min, 0 of them without an event",
        "validation: 3 clips of 1 recording,",
        "unlabelled: 2 clips, 0.2 min",
        "left out by the class map: noise (4)",
        "4 events fall on a cut; 4 rests shorter than 0.1 s were left out",
        "cat 9.95–11.00 s in rec0.wav",
        "4 events overlapped one of their own class",
        "4 events ended after their recording and were trimmed",
        "1 recordings have no label file: rec9.wav",
        "no label files: readme.txt",
        "Cat and cat are different classes",
        "Dog, woof",
    ):
        assert expected in text, expected
    code, text = run(*arguments, "--workers", 1)
    assert code == 0
    assert f"earmark train mini --data {out}" in text
    assert load_manifest(out).labels.names == ("Cat", "Dog", "cat")
    again = run(*arguments, "--workers", 1)
    assert again[0] == 0


def test_a_table_with_columns_of_its_own(recordings: Path, tmp_path: Path) -> None:
    table = tmp_path / "notes.csv"
    table.write_text("File,Begin,Len,Species,label\nrec0.wav,1,2,Tür,x\n", encoding="latin-1")
    columns = "onset=Begin,duration=Len,label=Species,filename=File"
    arguments = (table, "--audio", recordings, "--out", tmp_path / "data", "--columns", columns)
    code, _ = run(*arguments, "--encoding", "latin-1", "--fractions", "1,0,0", "--workers", 1)
    assert code == 0
    events, _ = read_strong(tmp_path / "data/metadata/train/audioset_strong.tsv")
    assert events.values.tolist() == [["rec0_0.000_10.000.flac", 1.0, 3.0, "Tür"]]


def test_classes_that_a_split_lacks_are_told(recordings: Path, tmp_path: Path) -> None:
    (recordings / "rec0.txt").write_text("1\t2\tOwl\n")
    _, text = run(recordings, "--out", tmp_path / "data", "--dry-run")
    assert "test has no event of Owl" in text or "validation has no event of Owl" in text


def test_recordings_that_cannot_be_read_are_named(recordings: Path, tmp_path: Path) -> None:
    (recordings / "rec9.wav").write_text("no sound")
    samples = load_audio(recordings / "rec3.wav")
    (recordings / "rec3.wav").unlink()
    write_audio(recordings / "rec3.flac", samples)
    whole = (recordings / "rec3.flac").read_bytes()
    (recordings / "rec3.flac").write_bytes(whole[: len(whole) * 9 // 10])
    code, text = run(recordings, "--out", tmp_path / "data", "--workers", 1)
    assert code == 1
    assert "rec9.wav: not a recording" in text
    assert "rec3.flac: the file is truncated" in text
    assert "2 recordings could not be read" in text
    names = {path.name for path in (tmp_path / "data").rglob("*.flac")}
    assert len(names) == 3 * 3 + 2  # and those before the break
    assert not list((tmp_path / "data").rglob(".*"))
    manifest = load_manifest(tmp_path / "data")
    assert not any(split.missing for split in manifest.splits.values())
    assert not any(source.missing for source in manifest.train)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--columns", "start=Begin"), r"'start=Begin' is not NAME=COLUMN"),
        (("--fractions", "0.5,0.5"), "is not three numbers"),
        (("--fractions", "a,b,c"), "is not three numbers"),
        (("--rate", "fast"), "neither a whole number"),
        (("--rename", "woof"), "OLD=NEW"),
        (("--hop", "20"), "hop must be at most seconds"),
        (("--map", "none.yaml"), "no such file"),
    ],
)
def test_mistakes_are_told(
    arguments: tuple[str, str], message: str, recordings: Path, tmp_path: Path
) -> None:
    with pytest.raises(EarmarkError, match=message):
        run(recordings, "--out", tmp_path / "data", *arguments)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rest", "perhaps"), "'--rest': 'perhaps' is not one of 'error', 'keep', 'drop'"),
        (("--unlisted", "some"), "'unlabelled', 'empty', 'skip'"),
        (("--format", "praat"), "'--format': 'praat' is not one of 'audacity', 'raven'"),
    ],
)
def test_choices_are_checked(
    arguments: tuple[str, str],
    message: str,
    recordings: Path,
    tmp_path: Path,
    mistake: Callable[..., str],
) -> None:
    out = tmp_path / "data"
    assert message in mistake("import-labels", str(recordings), "--out", str(out), *arguments)
    assert not out.exists()
