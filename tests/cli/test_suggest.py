"""``earmark suggest``: from a folder of recordings to labels that can be learned from."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from earmark.cli import app
from earmark.cli.suggest import parse_budget
from earmark.core.audio.audio import audio_info
from earmark.core.errors import ConfigError
from helpers.review_pages import sound

RUNNER = CliRunner()


def run(*arguments: object) -> str:
    done = RUNNER.invoke(app, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suggest") / "rec"
    for number, seconds in enumerate((22.0, 12.0, 12.0)):
        sound(folder / f"yard {number}.wav", seconds, 300.0 + 200 * number)
    return folder


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "suggested.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_suggest_label_import(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "next"
    said = run("suggest", "mini", recordings, "--out", out, "--budget", "20s", "--length", 5)
    assert "of 11 stretches" in said
    found = rows(out)
    assert 15 < sum(float(row["offset"]) - float(row["onset"]) for row in found) <= 20
    assert [path.name for path in sorted((out / "clips").iterdir())] == sorted(
        row["clip"] for row in found
    )
    for row in found:
        seconds = float(row["offset"]) - float(row["onset"])
        assert audio_info(out / "clips" / row["clip"]).seconds == pytest.approx(seconds)
        assert row["why"].startswith("unsure of")
    assert (out / "page" / "index.html").is_file()
    again = tmp_path / "again"
    run("suggest", "mini", recordings, "--out", again, "--budget", "20s", "--length", 5)
    assert (again / "suggested.tsv").read_bytes() == (out / "suggested.tsv").read_bytes()
    # Not again what was suggested, and not what is labelled.
    labels = tmp_path / "labels.tsv"
    labels.write_text("filename\tonset\toffset\tevent_label\nyard 0.wav\t1\t2\tDog\n")
    more = tmp_path / "more"
    run("suggest", "mini", recordings, "--out", more, "--budget", "10s", "--length", 5,
        "--skip", out / "suggested.tsv", "--labels", labels)  # fmt: skip
    before = {(row["filename"], row["onset"]) for row in found}
    for row in rows(more):
        assert row["filename"] != "yard 0.wav"
        assert (row["filename"], row["onset"]) not in before
    # The review page's table names the clips.
    exported = tmp_path / "exported.tsv"
    exported.write_text(
        f"filename\tonset\toffset\tevent_label\n{found[0]['clip']}\t0.5\t2\tTone\n", "utf-8"
    )
    data = tmp_path / "data"
    run("import-labels", exported, "--audio", out / "clips", "--out", data, "--seconds", 5,
        "--fractions", "1,0,0", "--workers", 1)  # fmt: skip
    said = run("suggest", "mini", out / "clips", "--out", tmp_path / "last", "--budget", "5s",
               "--length", 5, "--labels", exported)  # fmt: skip
    assert found[0]["clip"] not in {row["filename"] for row in rows(tmp_path / "last")}


def test_mistakes_are_told_in_a_line(
    recordings: Path, tmp_path: Path, mistake: Callable[..., str]
) -> None:
    rec, out = str(recordings), str(tmp_path / "out")
    assert "is no time" in mistake("suggest", "mini", rec, "--out", out, "--budget", "soon")
    assert "less than a stretch" in mistake("suggest", "mini", rec, "--out", out, "--budget", "3s")
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    assert "not an empty folder" in mistake(
        "suggest", "mini", rec, "--out", str(foreign), "--budget", "10s"
    )
    assert (foreign / "thesis.txt").is_file()
    table = tmp_path / "bad.tsv"
    table.write_text("filename\tonset\toffset\nyard 0.wav\tnow\t2\n")
    assert "bad.tsv:2" in mistake("suggest", "mini", rec, "--out", out, "--skip", str(table))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("30m", 1800.0), ("1.5h", 5400.0), ("2 min", 120.0)]
)
def test_budgets(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds
    for wrong in ("", "0m", "-3m", "30", "30x", "nan m"):
        with pytest.raises(ConfigError):
            parse_budget(wrong)
