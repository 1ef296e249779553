"""``earmark score`` on several systems: seeds, comparisons, pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from earmark.score.f1 import detections_from_scores
from earmark.score.psds import psds
from helpers.score_world import HOUSE, World, noisy, write_events, write_scores, wrong


def test_seeds_have_means_and_spreads(world: World, tmp_path: Path) -> None:
    values = []
    for seed in range(3):
        write_scores(tmp_path / f"run{seed}", noisy(world.tables, seed))
        values.append(psds(noisy(world.tables, seed), world.truth, world.durations).value)
    out = tmp_path / "out.json"
    runs = [part for seed in range(3) for part in ("--scores", tmp_path / f"run{seed}")]
    told = world.run(*runs, "--json", out, "--resamples", 20)
    found = json.loads(out.read_text())
    assert found["psds1"] == pytest.approx(np.mean(values))
    assert found["sd"]["psds1"] == pytest.approx(np.std(values, ddof=1))
    assert found["seeds"] == 3
    assert [one["psds1"] for one in found["runs"]] == pytest.approx(values)
    assert "sd of 3" in told
    assert set(found) >= HOUSE


def test_a_better_system_is_told_from_a_worse_one(world: World, tmp_path: Path) -> None:
    write_scores(tmp_path / "bad", noisy(world.tables, 5))
    found = world.scored("--compare", tmp_path / "bad", "--resamples", 100)
    compared = found["comparison"]
    metric = compared["metrics"]["segment_f1_best"]
    assert metric["first"] == found["segment_f1_best"]
    assert metric["second"] == compared["with"]["segment_f1_best"]
    assert metric["low"] > 0
    assert metric["better"] > 0.9
    told = world.run("--scores", world.folder / "scores", "--compare", tmp_path / "bad",
                     "--resamples", 50)  # fmt: skip
    assert "A: scores   B: bad" in told
    assert "A − B" in told


def test_the_same_scores_with_two_kinds_of_post_processing(world: World) -> None:
    scores = world.folder / "scores"
    found = world.scored("--csebb", "--compare", scores, "--compare-postprocess", "median=0.6",
                         "--resamples", 30)  # fmt: skip
    assert found["psds1"] == world.scored("--csebb", "--resamples", 0)["psds1"]
    other = found["comparison"]["with"]
    assert other["psds1"] == world.scored("--median", 0.6, "--resamples", 0)["psds1"]
    assert (found["system"], other["system"]) == ("scores, csebb", "scores, median 0.6 s")


def test_scores_compared_with_events(world: World, tmp_path: Path) -> None:
    path = write_events(tmp_path / "e.tsv", detections_from_scores(world.tables, 0.5))
    found = world.scored("--compare", path, "--resamples", 20)
    assert found["comparison"]["metrics"]["collar_f1"]["difference"] == 0
    assert "psds1" in found["comparison"]["metrics"]


def test_other_clips_are_refused_by_name(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *rest = world.tables
    write_scores(tmp_path / "fewer", {clip: world.tables[clip] for clip in rest})
    files = ["--truth", world.folder / "truth.tsv", "--durations", world.folder / "seconds.csv"]
    both = ["--scores", world.folder / "scores", "--compare", tmp_path / "fewer"]
    told = wrong("score", *files, *both, "--resamples", 0, "--allow-missing", capsys=capsys)
    assert f"are not in the second: {first}" in told


def test_pictures(world: World, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_scores(tmp_path / "bad", noisy(world.tables, 5))
    for number, arguments in enumerate(
        ([], ["--compare", tmp_path / "bad"], ["--scores", tmp_path / "bad"])
    ):
        out = tmp_path / f"plots{number}"
        told = world.run("--scores", world.folder / "scores", "--resamples", 10, "--plot-dir", out,
                         "--psds", "dtc=0.5,gtc=0.5", *arguments)  # fmt: skip
        names = {"psds1.png", "psds2.png", "psds.png", "per_class.png"}
        assert {path.name for path in out.iterdir()} == names
        assert all(path.read_bytes()[:4] == b"\x89PNG" for path in out.iterdir())
        assert "pictures:" in told
