"""`earmark summary` and `earmark app` from the command line: what they write, what they refuse."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from earmark.cli.summary import summary


def test_tables_picture_and_what_is_said(tmp_path: Path) -> None:
    (tmp_path / "events.tsv").write_text(
        "filename\tonset\toffset\tevent_label\n"
        "5E90A4D4.WAV\t1\t2\tDog\nkitchen.wav\t1\t3\tDog\nkitchen.wav\t1\t2\tCat\n"
    )
    app = typer.Typer()
    app.command()(summary)
    out = tmp_path / "summary"

    def run(*more: str) -> str:
        arguments = [str(tmp_path / "events.tsv"), "--out", str(out), *more]
        done = CliRunner(env={"COLUMNS": "300"}).invoke(app, arguments)
        assert done.exit_code == 0, done.output
        return done.output

    told = run()
    assert "1 of 2 recordings do not say when they began, e.g. kitchen.wav" in told
    assert "clock times: as written: UTC" in told
    names = {"by_class.tsv", "by_recording.tsv", "by_hour.tsv", "by_day.tsv", "activity.png"}
    assert {path.name for path in out.iterdir()} == names
    assert (out / "by_class.tsv").read_text().splitlines()[1:] == ["Cat\t1\t1.000", "Dog\t2\t3.000"]
    run("--format", "csv", "--timezone", "Asia/Tokyo", "--no-plot")
    assert (out / "by_hour.csv").read_text().splitlines()[1].startswith("2020-04-11,01,Cat,0")
    assert not (out / "activity.png").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--timezone", "Berlin"], "no time zone is called 'Berlin'"),
        (["--time-pattern", "%H%M"], "tells no day"),
        (["--time-column", "began"], "no column began"),
        ([], "no such file"),
    ],
)
def test_mistakes_of_summary(more: list[str], words: str, mistake: Callable[..., str]) -> None:
    if more:
        Path("events.tsv").write_text("filename\tonset\toffset\tevent_label\na.wav\t0\t1\tDog\n")
    assert words in mistake("summary", "events.tsv", "--out", "out", *more)


def test_the_app_says_what_it_lacks(
    mistake: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "pip install 'earmark[app]'" in mistake("app")


def test_mistakes_of_the_app(mistake: Callable[..., str]) -> None:
    pytest.importorskip("gradio")
    assert "nothing" in mistake("app", "nothing")
    assert "must be positive" in mistake("app", "--max-minutes", "0")
