"""``earmark tune`` and what ``earmark evaluate`` makes of it."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from earmark.cli import main
from earmark.core.config import load_yaml
from earmark.data.manifest import load_manifest
from earmark.deliver.tuned_bundle import HEADING
from earmark.detect.postprocess import PostProcess
from earmark.detect.tuning.tune import Tuning, tune
from earmark.model.bundle import load_bundle, save_bundle
from earmark.model.bundle_card import with_section
from earmark.model.sed import SedNetwork
from earmark.train.recipe import load_recipe
from helpers.score_world import HOUSE, LABELS, World, run, write_world, wrong

CARD = "# tiny\n\nClasses.\n\n## Trained on\n\nNothing.\n\n## Licence\n\nMIT.\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("tune"), seed=3, clips=20)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "data"
    run("synth", out, "--recipe", "demo", "--clips", "strong=0,weak=0,unlabelled=0,"
             "validation=12,test=4", "--workers", 1)  # fmt: skip
    return out


@pytest.fixture
def bundle(data: Path, tmp_path: Path) -> Path:
    torch.manual_seed(1)
    small = ["network.channels=[4,4,4,4,4]", "network.rnn_hidden=4"]
    settings = load_recipe("mini", small).network
    network = SedNetwork(settings, tuple(load_manifest(data).labels))
    return save_bundle(
        tmp_path / "bundle", network, {"median_seconds": 0.3, "threshold": 0.4}, CARD
    )


# --- stored scores ------------------------------------------------------------------------------


def test_stored_scores_of_any_system(world: World, tmp_path: Path) -> None:
    yaml, out = tmp_path / "post.yaml", tmp_path / "out.json"
    files = ["--scores", world.folder / "scores", "--truth", world.folder / "truth.tsv",
             "--durations", world.folder / "seconds.csv"]  # fmt: skip
    told = run("tune", *files, "--out", yaml, "--json", out, "--folds", 3, "--resamples", 30,
               "--yes")  # fmt: skip  # PSDS2 gets worse beyond its interval
    order = {clip: world.tables[clip] for clip in world.durations}
    wanted = tune(
        order, world.truth, world.durations, LABELS, folds=3, resamples=30
    )  # fmt: skip
    found = json.loads(out.read_text())
    assert PostProcess.from_dict(load_yaml(yaml)) == wanted.postprocess
    assert found["postprocess"] == wanted.postprocess.to_dict()
    assert found["cross_validated"]["psds1"] == wanted.cross_validated["psds1"]
    assert found["difference"]["collar_f1"] == wanted.difference["collar_f1"]
    for words in ("tuned, 3 folds", "collar F1", "on 20 of 20 clips", "chosen on all clips"):
        assert words in told
    scored = world.scored("--postprocess", yaml, "--resamples", 0)
    final = {found.label: found.psds1 for found in wanted.classes}
    assert scored["per_class"]["psds1"] == pytest.approx(final)


def test_the_difference_is_paired_and_of_the_same_clips(world: World) -> None:
    given = world.tables, world.truth, world.durations, LABELS
    found = tune(*given, method="median", objective="psds1", folds=4, resamples=50)
    assert found.cross_validated is not None
    for name, one in found.difference.items():
        assert one["first"] == pytest.approx(found.cross_validated[name])
        assert one["second"] == pytest.approx(found.untuned[name])
        assert one["low"] <= one["high"]
    assert set(found.cross_validated["intervals"]) == set(found.difference)
    assert tune(*given, method="median", folds=0, resamples=10).difference == {}


def test_both_methods_are_tried_and_the_better_one_kept(world: World, tmp_path: Path) -> None:
    files = ["--scores", world.folder / "scores", "--truth", world.folder / "truth.tsv"]
    figures = {}
    for method in ("csebb", "median", "auto"):
        out = tmp_path / f"{method}.json"
        told = run("tune", *files, "--method", method, "--dry-run", "--json", out,
                        "--folds", 3, "--resamples", 0)  # fmt: skip
        figures[method] = json.loads(out.read_text())
        assert "nothing written" in told
    sums = {
        method: found["cross_validated"]["psds1"] + found["cross_validated"]["collar_f1"]
        for method, found in figures.items()
    }
    better = "csebb" if sums["csebb"] >= sums["median"] else "median"
    assert figures["auto"] == figures[better]


def test_groups_stay_together(world: World, tmp_path: Path, capsys: Any) -> None:
    rows = [f"{clip}.wav,{number % 4}" for number, clip in enumerate(world.tables)]
    groups = tmp_path / "groups.csv"
    groups.write_text("\n".join(["filename,group", *rows]), encoding="utf-8")
    files = ["--scores", world.folder / "scores", "--truth", world.folder / "truth.tsv"]
    out = tmp_path / "out.json"
    rest = ["--dry-run", "--resamples", 0, "--groups", groups]
    run("tune", *files, *rest, "--folds", 4, "--json", out)
    wanted = tune(
        world.tables, world.truth, world.durations, LABELS, folds=4,
        groups={clip: str(number % 4) for number, clip in enumerate(world.tables)},
    )  # fmt: skip
    found = json.loads(out.read_text())["cross_validated"]["psds1"]
    assert found == pytest.approx(wanted.cross_validated["psds1"])
    told = wrong("tune", *files, *rest, "--folds", 5, capsys=capsys)
    assert "4 clips or groups cannot be divided into 5 folds" in told


# --- bundles ------------------------------------------------------------------------------------


def test_a_bundle_is_tuned_and_says_so(data: Path, bundle: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    arguments = ["tune", bundle, "--data", data, "--folds", 3, "--resamples", 20]
    run(*arguments, "--dry-run")
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    run(*arguments)
    record = json.loads((bundle / "tuning.json").read_text())
    assert record["before"]["median_seconds"] == 0.3
    assert record["cross_validated"]["clips"] == 12
    tuned = PostProcess.from_dict(load_bundle(bundle).postprocess)
    assert tuned.method == "csebb"
    assert tuned == PostProcess.from_dict(record["postprocess"])
    card = (bundle / "README.md").read_text()
    assert card.index("## Trained on") < card.index(HEADING) < card.index("## Licence")
    assert "12 of 12 clips of validation" in card
    assert f"| psds1 | {record['untuned']['psds1']:.3f} [" in card
    for name in ("model.safetensors", "config.yaml", "labels.txt"):
        assert (bundle / name).read_bytes() == before[name]
    run("tune", bundle, "--data", data, "--method", "median", "--folds", 0, "--resamples", 0)
    card = (bundle / "README.md").read_text()
    assert card.count(HEADING) == 1
    assert "Not cross-validated" in card
    again = json.loads((bundle / "tuning.json").read_text())
    assert PostProcess.from_dict(again["before"]) == tuned


def test_stored_scores_give_the_same_as_listening(
    data: Path, bundle: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "evaluated"
    run("evaluate", bundle, "--data", data, "--out", out, "--resamples", 0, "--no-plot")
    one, other = tmp_path / "one", tmp_path / "other"
    rest = ["--data", data, "--folds", 3, "--resamples", 0]
    run("tune", bundle, *rest, "--out", one)
    run("tune", bundle, *rest, "--out", other, "--scores", out / "scores")
    first, second = (json.loads((folder / "tuning.json").read_text()) for folder in (one, other))
    assert first["postprocess"] == second["postprocess"]
    assert first["cross_validated"] == second["cross_validated"]
    assert first["untuned"]["psds1"] == json.loads((out / "metrics.json").read_text())["psds1"]
    assert load_bundle(bundle).postprocess["median_seconds"] == 0.3
    gone = sorted((out / "scores").iterdir())[0]
    gone.unlink()
    arguments = ["tune", bundle, *rest, "--dry-run", "--scores", out / "scores"]
    told = wrong(*arguments, capsys=capsys)
    assert gone.stem in told
    assert "--allow-missing" in told
    assert "on 11 of 12 clips" in run(*arguments, "--allow-missing")


def test_evaluation_sets_a_tuned_bundle_beside_what_it_was(
    data: Path, bundle: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    evaluation = ["evaluate", bundle, "--data", data, "--resamples", 0, "--no-plot"]
    run(*evaluation, "--out", plain)
    before = json.loads((plain / "metrics.json").read_text())
    assert list(before["variants"]) == ["none"]
    run("tune", bundle, "--data", data, "--folds", 3, "--resamples", 0)
    told = run(*evaluation, "--out", tmp_path / "tuned")
    after = json.loads((tmp_path / "tuned/metrics.json").read_text())
    assert list(after["variants"]) == ["before tuning", "none"]
    assert after["variants"]["before tuning"]["psds1"] == before["psds1"]
    assert after["variants"]["none"] == before["variants"]["none"]
    assert after["postprocess"]["method"] == "csebb"
    assert any("tuned on these very clips" in line for line in after["warnings"])
    assert "before tuning" in told
    run(*evaluation, "--out", tmp_path / "test", "--split", "test")
    other = json.loads((tmp_path / "test/metrics.json").read_text())
    assert not any("these very clips" in line for line in other["warnings"])
    run(*evaluation, "--out", tmp_path / "median", "--postprocess", "median=0.3")
    chosen = json.loads((tmp_path / "median/metrics.json").read_text())
    assert chosen["psds1"] == before["psds1"]
    assert chosen["variants"]["the bundle's"]["psds1"] == after["psds1"]


def test_evaluation_leaves_scores_that_score_takes(
    data: Path, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run("evaluate", bundle, "--data", data, "--out", out, "--resamples", 30)
    found = json.loads((out / "metrics.json").read_text())
    assert found.keys() >= HOUSE
    assert set(found["intervals"]) >= {"psds1", "psds2", "collar_f1"}
    assert (out / "per_class.png").is_file() == (importlib.util.find_spec("matplotlib") is not None)
    metadata = data / "metadata/validation"
    [truth] = metadata.glob("**/validation.tsv")
    [seconds] = metadata.glob("**/validation_durations.tsv")
    again = tmp_path / "again.json"
    run("score", "--scores", out / "scores", "--truth", truth, "--durations", seconds,
             "--postprocess", bundle, "--json", again, "--resamples", 30)  # fmt: skip
    scored = json.loads(again.read_text())
    for name in ("psds1", "psds2", "collar_f1", "tagging_map", "per_class", "evaluation"):
        assert scored[name] == found[name]


def test_a_missing_clip_is_counted_and_named(data: Path, bundle: Path, tmp_path: Path) -> None:
    holes = tmp_path / "data"
    shutil.copytree(data, holes)
    gone = sorted((holes / "audio/validation/validation").iterdir())[0]
    gone.unlink()
    out = tmp_path / "out"
    told = run("evaluate", bundle, "--data", holes, "--out", out, "--resamples", 0, "--no-plot")
    assert "on 11 of 12 clips" in told
    assert f"missing: {gone.stem}" in told
    found = json.loads((out / "metrics.json").read_text())
    assert (found["clips"], found["of"], found["missing"]) == (11, 12, [gone.stem])


# --- mistakes -----------------------------------------------------------------------------------


def test_mistakes_are_told_in_one_line(
    world: World, data: Path, bundle: Path, tmp_path: Path, capsys: Any
) -> None:
    scores, truth = world.folder / "scores", world.folder / "truth.tsv"
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("")
    for arguments, words in (
        ([], "nothing to tune"),
        ([bundle], "no true events"),
        ([bundle, "--data", data, "--truth", truth], "both a dataset and a table"),
        ([bundle, "--truth", truth], "--truth comes without recordings"),
        (["--scores", scores, "--truth", truth], "nowhere to write to"),
        ([bundle, "--data", data, "--method", "sebb"], "'--method': 'sebb' is not one of"),
        ([bundle, "--data", data, "--objective", "x"], "'--objective': 'x' is not one of"),
        ([bundle, "--data", data, "--split", "x"], "has no split 'x'"),
        ([bundle, "--data", data, "--folds", 13], "cannot be divided into 13 folds"),
        (["mini", "--data", data], "--out FOLDER"),
        ([truth, "--data", data], "Tune the bundle, and export it again"),
        ([bundle, "--data", data, "--out", tmp_path / "full"], "is there already"),
        ([bundle, "--data", data, "--scores", scores], "the score tables have the classes"),
        (
            ["--scores", scores, "--truth", truth, "--dry-run", "--method", "auto", "--folds", 0],
            "needs cross-validated figures",
        ),
    ):
        told = wrong("tune", *arguments, "--resamples", 0, capsys=capsys)
        assert words in told, arguments


@pytest.fixture
def spoilt(world: World, tmp_path: Path) -> list[object]:
    """A command that tunes medians, after which its figures are those of a worse system."""
    return ["tune", "--scores", world.folder / "scores", "--truth", world.folder / "truth.tsv",
            "--durations", world.folder / "seconds.csv", "--method", "median", "--folds", 2,
            "--resamples", 20, "--out", tmp_path / "post.yaml"]  # fmt: skip


@pytest.fixture
def worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tuning comes out with a lower PSDS2."""

    def tuned(*given: Any, **settings: Any) -> Tuning:
        found = tune(*given, **settings)
        loss = {"difference": -0.2, "low": -0.3, "high": -0.1}
        gain = {"difference": 0.2, "low": 0.1, "high": 0.3}
        doubt = {"difference": -0.2, "low": -0.3, "high": 0.1}
        changes = {"psds1": gain, "psds2": loss, "collar_f1": doubt}
        return replace(found, difference={**found.difference, **{
            name: {**found.difference[name], **change} for name, change in changes.items()
        }})  # fmt: skip

    monkeypatch.setattr("earmark.detect.tuning.tune.tune", tuned)


@pytest.mark.usefixtures("worse")
def test_worse_figures_need_a_yes(
    spoilt: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = wrong(*spoilt, "--json", tmp_path / "found.json", capsys=capsys)
    assert "PSDS2 -0.200 [-0.300, -0.100]; nothing is written" in told
    assert "collar F1" not in told
    assert "--yes" in told
    assert json.loads((tmp_path / "found.json").read_text())["worse"] == ["psds2"]
    assert not (tmp_path / "post.yaml").exists()
    run(*spoilt, "--dry-run")
    assert "makes worse" in run(*spoilt, "--yes")
    assert (tmp_path / "post.yaml").exists()


@pytest.mark.usefixtures("worse")
@pytest.mark.parametrize("answer", ["y", "n"])
def test_worse_figures_are_asked_about_at_a_terminal(
    spoilt: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    terminal = io.StringIO(f"{answer}\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr(sys, "argv", ["earmark", *map(str, spoilt)])
    code = 0
    try:
        main()
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    assert code == (2 if answer == "n" else 0)
    assert (tmp_path / "post.yaml").exists() == (answer == "y")
    assert "Write these settings all the same?" in capsys.readouterr().out


def test_a_section_takes_the_place_of_an_older_one() -> None:
    once = with_section(CARD, f"{HEADING}\n\none")
    assert with_section(once, f"{HEADING}\n\ntwo") == once.replace("one\n\n## L", "two\n\n## L")
    assert with_section("", HEADING) == f"{HEADING}\n"
    assert with_section("# bare", HEADING) == f"# bare\n\n{HEADING}\n"
