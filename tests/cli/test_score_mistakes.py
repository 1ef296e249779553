"""``earmark score`` on what is missing, wrong or odd: refused or told by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from earmark.core.tables.scores import ScoreTable
from earmark.detect.systems import Preparation, measure_system
from earmark.score.files import read_listed
from earmark.score.psds import psds
from earmark.score.report import make_task
from helpers.score_world import LABELS, World, write_scores, wrong


def test_missing_clips_are_refused_or_counted_and_named(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = list(world.tables)[:3]
    some = {clip: table for clip, table in world.tables.items() if clip not in gone}
    write_scores(tmp_path / "some", some)
    files = ["--truth", world.folder / "truth.tsv", "--durations", world.folder / "seconds.csv"]
    told = wrong("score", *files, "--scores", tmp_path / "some", capsys=capsys)
    assert "3 of 14 clips have no scores" in told
    assert all(clip in told for clip in gone)
    assert "--allow-missing" in told
    out = tmp_path / "out.json"
    told = world.run("--scores", tmp_path / "some", "--allow-missing", "--json", out,
                     "--resamples", 0)  # fmt: skip
    assert "on 11 of 14 clips" in told
    assert f"missing: {', '.join(reversed(gone))}" in " ".join(told.split())
    found = json.loads(out.read_text())
    assert (found["clips"], found["of"]) == (11, 14)
    assert sorted(found["missing"]) == sorted(gone)
    kept = {clip: world.truth[clip] for clip in some}
    seconds = dict.fromkeys(some, 10.0)
    assert found["psds1"] == pytest.approx(psds(some, kept, seconds).value)


def test_mistakes_are_told_in_one_line(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, *_ = world.tables
    table = world.tables[clip]

    text = (world.folder / "scores" / f"{clip}.tsv").read_text(encoding="utf-8")
    nan = tmp_path / "nan"
    write_scores(nan, world.tables)
    lines = text.splitlines()
    cells = lines[3].split("\t")
    lines[3] = "\t".join([*cells[:3], "nan", *cells[4:]])
    (nan / f"{clip}.tsv").write_text("\n".join(lines), encoding="utf-8")
    columns = tmp_path / "columns"
    write_scores(columns, world.tables)
    turned = ScoreTable(table.boundaries, table.values[:, ::-1], LABELS[::-1])
    turned.write(columns / f"{clip}.tsv")
    gap = tmp_path / "gap"
    write_scores(gap, world.tables)
    (gap / f"{clip}.tsv").write_text("\n".join([*lines[:3], *lines[5:]]), encoding="utf-8")
    more = tmp_path / "more"
    write_scores(more, world.tables | {"stranger": table})
    truth, seconds = world.folder / "truth.tsv", world.folder / "seconds.csv"
    scores, files = world.folder / "scores", ["--truth", truth, "--durations", seconds]
    fewer = tmp_path / "fewer.csv"
    fewer.write_text(f"filename,duration\n{clip},10\n", encoding="utf-8")
    for arguments, words in (
        ([*files, "--scores", nan], "the score of Glas_zerbricht is NaN in frame 3"),
        ([*files, "--scores", columns], "differ from those of"),
        ([*files, "--scores", gap], "Frames must follow each other without gaps"),
        ([*files, "--scores", more], "scores are not in the durations: stranger"),
        (["--truth", truth, "--scores", more], "scores are not in the truth: stranger"),
        (["--truth", truth, "--durations", fewer, "--scores", scores], "not in the durations"),
        ([*files, "--scores", tmp_path / "gone"], "no such folder of score tables"),
        (["--truth", tmp_path / "gone.tsv", "--scores", scores], "no such file"),
        (["--truth", seconds, "--scores", scores], "no column onset, offset, event_label"),
        ([*files], "neither scores nor events"),
        ([*files, "--scores", scores, "--events", truth], "both score tables and events"),
        ([*files, "--events", truth, "--csebb"], "events cannot be post-processed"),
        ([*files, "--scores", scores, "--csebb", "--median", 1], "given more than once"),
        ([*files, "--scores", scores, "--postprocess", "sebb"], "no post-processing is called"),
        ([*files, "--scores", scores, "--postprocess", "csebb=1,abs=2"], "no setting of cSEBB"),
        ([*files, "--scores", scores, "--postprocess", "median=x"], "is not a number"),
        ([*files, "--scores", scores, "--threshold", "Cat=0.5"], "Cat, which is no class"),
        ([*files, "--scores", scores, "--threshold", "Dog=x"], "is not a number"),
        ([*files, "--scores", scores, "--classes", "Cat"], "no class is called Cat"),
        ([*files, "--scores", scores, "--psds", "dtc=0.5"], "needs dtc and gtc"),
        ([*files, "--scores", scores, "--psds", "dtc=0.5,gtc=0.5,x=1"], "no parameter of a PSDS"),
        ([*files, "--scores", scores, "--psds", "dtc=2,gtc=0.5"], "must be in (0, 1]"),
        ([*files, "--scores", scores, "--psds", "dtc=1,gtc=1,name=psds1"], "two PSDS are called"),
        ([*files, "--scores", scores, "--psds", "dtc=1,gtc=1,name=f1"], "cannot be called 'f1'"),
        ([*files, "--scores", scores, "--ct-mean", "new"], "'new' is not one of 'others', 'old'"),
        (
            [*files, "--scores", scores, "--like", "me"],
            "'me' is not one of 'sed_scores_eval'",
        ),
        ([*files, "--scores", scores, "--compare", tmp_path / "gone"], "no such file or folder"),
    ):
        told = wrong("score", *arguments, "--resamples", 0, capsys=capsys)
        assert words in told, arguments


def test_truth_with_classes_the_scores_lack(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = {
        clip: ScoreTable(table.boundaries, table.values[:, :2], LABELS[:2])
        for clip, table in world.tables.items()
    }
    write_scores(tmp_path / "two", tables)
    files = ["--truth", world.folder / "truth.tsv", "--durations", world.folder / "seconds.csv"]
    told = wrong("score", *files, "--scores", tmp_path / "two", capsys=capsys)
    assert "the truth has classes that the scores do not have: Éclat de rire" in told
    assert "--class-map" in told


def test_scores_that_are_no_probabilities_are_refused_in_files(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logits = {
        clip: ScoreTable(t.boundaries, np.log(t.values + 0.01) * 3, LABELS)
        for clip, t in world.tables.items()
    }
    write_scores(tmp_path / "logits", logits)
    files = ["--truth", world.folder / "truth.tsv", "--durations", world.folder / "seconds.csv"]
    told = wrong("score", *files, "--scores", tmp_path / "logits", capsys=capsys)
    assert "not from 0 to 1" in told
    assert ".tsv:2: the score of" in told


@pytest.mark.parametrize("threshold", [None, -2.0])
def test_scores_that_are_no_probabilities_are_remarked_upon(
    world: World, threshold: float | None
) -> None:
    logits = {
        clip: ScoreTable(t.boundaries, np.log(t.values + 0.01) * 3, LABELS)
        for clip, t in world.tables.items()
    }
    truth, seconds = read_listed(world.folder / "truth.tsv", world.folder / "seconds.csv")
    task = make_task(truth, seconds, LABELS, scored=logits)
    notes = measure_system(logits, Preparation(threshold=threshold), task).notes
    assert any("are no probabilities" in note for note in notes) == (threshold is None)
