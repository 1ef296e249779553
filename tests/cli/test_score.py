"""``earmark score`` on predictions that anyone could have made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import earmark.detect.systems
from earmark.core.tables.scores import ScoreTable
from earmark.detect.postprocess import PostProcess, filter_table, scores_to_events
from earmark.score.f1 import collar_f1, detections_from_scores, intersection_f1, segment_f1
from earmark.score.psds import (
    PSDS1,
    PSDS2,
    PsdsParameters,
    pi_psds,
    psds,
    psds_of_detections,
    psds_statistics,
)
from helpers.metrics import metrics_dict
from helpers.score_world import HOUSE, LABELS, World, run, write_events, write_scores, wrong


def test_figures_are_those_of_the_library(world: World) -> None:
    found = world.scored("--resamples", 50)
    assert set(found) >= HOUSE
    for name, parameters in (("psds1", PSDS1), ("psds2", PSDS2)):
        result = psds(*world.given, parameters)
        assert found[name] == pytest.approx(result.value, abs=1e-12)
        assert found["per_class"][name] == pytest.approx(result.per_class, abs=1e-12)
    hard = detections_from_scores(world.tables)
    for name, measure in (
        ("collar_f1", collar_f1), ("segment_f1", segment_f1), ("intersection_f1", intersection_f1),
    ):  # fmt: skip
        assert found[name] == pytest.approx(measure(hard, world.truth, LABELS).macro, abs=1e-12)
    order = {clip: world.tables[clip] for clip in world.durations}
    whole = metrics_dict(
        order, hard, world.truth, world.durations, LABELS, of=len(order), resamples=50
    )
    assert found["intervals"] == whole["intervals"]
    assert found["evaluation"] == whole["evaluation"]
    assert (found["clips"], found["of"], found["missing"]) == (14, 14, [])
    assert found["postprocess"] == {"method": "none", "threshold": 0.5}


def test_what_is_printed(world: World) -> None:
    told = world.run("--scores", world.folder / "scores", "--resamples", 20)
    for words in ("PSDS1", "collar F1", "95 % of clips", "best thr.", "Éclat de rire", "14 of 14"):
        assert words in told
    assert world.scored("--resamples", 0)["evaluation"] in told
    assert "95 %" not in world.run("--scores", world.folder / "scores", "--resamples", 0)


def test_without_torch_and_without_the_rest_of_the_house(world: World) -> None:
    arguments = [
        "score",
        "--scores",
        world.folder / "scores",
        "--truth",
        world.folder / "truth.tsv",
    ]
    code = (
        "import sys\n"
        "for name in ('torch', 'lightning_fabric', 'soundfile', 'pandas', 'safetensors'):\n"
        "    sys.modules[name] = None\n"
        f"sys.argv = {['earmark', *map(str, arguments), '--resamples', '5']!r}\n"
        "from earmark.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "14 of 14 clips" in done.stdout
    assert "durations are those of the score tables" in done.stdout


def test_reading_from_the_disk_gives_the_same_as_keeping_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = world.scored("--csebb", "--resamples", 20)
    monkeypatch.setattr(earmark.detect.systems, "IN_MEMORY", 100)
    read = world.scored("--csebb", "--resamples", 20)
    assert read["warnings"] == [
        "best thresholds and mAP left out: the scores do not fit into memory"
    ]
    shared = [name for name in kept if isinstance(kept[name], float) and name in read]
    assert {"psds1", "psds2", "collar_f1", "tagging_f1_micro"} <= set(shared)
    assert "collar_f1_best" not in read
    for name in shared:
        assert kept[name] == read[name]
        assert kept["intervals"].get(name) == read["intervals"].get(name)
    assert world.scored("--csebb", "--resamples", 20, "--best") == kept


def test_post_processing_before_scoring(world: World) -> None:
    yaml = world.folder / "post.yaml"
    yaml.write_text("method: csebb\ncsebb: {step_seconds: 0.8, absolute: 0.3, relative: null}\n")
    boxes = {"csebb": {"step_seconds": 0.8, "absolute": 0.3, "relative": None}}
    for arguments, settings in (
        (["--median", 0.6], PostProcess(median_seconds=0.6)),
        (["--csebb"], PostProcess(method="csebb")),
        (["--postprocess", yaml], PostProcess.from_dict({"method": "csebb", **boxes})),
        (["--postprocess", "none"], PostProcess()),
    ):
        found = world.scored("--resamples", 0, *arguments)
        tables = {clip: filter_table(table, settings) for clip, table in world.tables.items()}
        events = {
            clip: [event[:3] for event in scores_to_events(table, settings)]
            for clip, table in world.tables.items()
        }
        assert found["psds1"] == pytest.approx(psds(tables, world.truth, world.durations).value)
        assert found["collar_f1"] == collar_f1(events, world.truth, LABELS).macro
        assert found["postprocess"]["threshold"] == 0.5
    by_file = world.scored("--resamples", 0, "--postprocess", yaml)
    by_letters = world.scored("--resamples", 0, "--postprocess", "csebb=0.8,absolute=0.3")
    assert by_letters == by_file


def test_thresholds_for_all_and_for_single_classes(world: World) -> None:
    limits = {"Dog": 0.3, "Glas_zerbricht": 0.62, "Éclat de rire": 0.62}
    found = world.scored("--threshold", 0.62, "--threshold", "Dog=0.3", "--resamples", 0)
    hard = detections_from_scores(world.tables, limits)
    assert found["collar_f1"] == collar_f1(hard, world.truth, LABELS).macro
    assert found["postprocess"]["threshold"] == {"": 0.62, "Dog": 0.3}
    assert found["psds1"] == world.scored("--resamples", 0)["psds1"]


def test_other_scenarios_and_conventions(world: World) -> None:
    found = world.scored(
        "--psds", "dtc=0.5,gtc=0.4,alpha_st=1,max_efpr=200", "--psds",
        "name=psds_x, dtc=0.2, gtc=0.2, cttc=0.3, alpha_ct=1", "--ct-mean", "old",
        "--drop-eventless", "--resamples", 10,
    )  # fmt: skip
    kept = {clip: table for clip, table in world.tables.items() if world.truth[clip]}
    given = kept, {clip: world.truth[clip] for clip in kept}, dict.fromkeys(kept, 10.0)
    first = PsdsParameters(0.5, 0.4, alpha_st=1, max_efpr=200)
    assert found["psds"] == pytest.approx(psds(*given, first).value)
    second = PsdsParameters(0.2, 0.2, 0.3, alpha_ct=1)
    assert found["psds_x"] == pytest.approx(psds(*given, second).value)
    assert found["parameters"]["psds_x"]["cttc"] == 0.3
    assert found["parameters"]["psds2"]["ct_mean"] == "old"
    assert set(found["intervals"]) >= {"psds", "psds_x", "psds1"}
    assert (found["clips"], found["of"]) == (len(kept), 14)
    assert f"{14 - len(kept)} clips without events dropped" in found["warnings"]


def test_classes_of_other_names(world: World, tmp_path: Path) -> None:
    names = ("hound", "glass", "laughter", "wolf")
    tables = {}
    for clip, table in world.tables.items():
        values = np.column_stack([table.values, table.values[:, 0] * 0.9])
        tables[clip] = ScoreTable(table.boundaries, values, names)
    write_scores(tmp_path / "other", tables)
    (tmp_path / "map.yaml").write_text(
        "hound: Dog\nwolf: Dog\nglass: Glas_zerbricht\nlaughter: Éclat de rire\n", encoding="utf-8"
    )
    out = tmp_path / "out.json"
    world.run(
        "--scores", tmp_path / "other", "--class-map", tmp_path / "map.yaml", "--json", out,
        "--resamples", 0,
    )  # fmt: skip
    found, wanted = json.loads(out.read_text()), world.scored("--resamples", 0)
    assert found["psds1"] == wanted["psds1"]
    assert found["evaluation"] == wanted["evaluation"]
    some = world.scored("--classes", "Dog,Éclat de rire", "--resamples", 0)
    assert set(some["per_class"]["psds1"]) == {"Dog", "Éclat de rire"}
    assert some["per_class"]["psds1"]["Dog"] == wanted["per_class"]["psds1"]["Dog"]
    assert some["evaluation"] != wanted["evaluation"]


def test_events_at_one_threshold(world: World, tmp_path: Path) -> None:
    hard = detections_from_scores(world.tables, 0.6)
    path = write_events(tmp_path / "found.tsv", hard)
    out = tmp_path / "out.json"
    told = world.run("--events", path, "--json", out, "--resamples", 20)
    found = json.loads(out.read_text())
    assert found["collar_f1"] == collar_f1(hard, world.truth, LABELS).macro
    given = [hard], world.truth, world.durations, LABELS
    assert found["psds1"] == pytest.approx(psds_of_detections(*given).value)
    assert found["parameters"]["thresholds"] == 1
    assert "PSDS of detections at 1 threshold" in " ".join(told.split())
    assert set(found["intervals"]) >= {"psds1", "collar_f1"}
    run("score", "--events", path, "--truth", world.folder / "truth.tsv", "--json", out,
        "--resamples", 0)  # fmt: skip
    alone = json.loads(out.read_text())
    assert "psds1" not in alone
    assert alone["collar_f1"] == found["collar_f1"]
    assert "no PSDS: it needs durations" in alone["warnings"]


def test_events_at_several_thresholds(world: World, tmp_path: Path) -> None:
    points = {tau: detections_from_scores(world.tables, tau) for tau in (0.3, 0.55, 0.8)}
    files = [(tau, write_events(tmp_path / f"found_{tau}.tsv", points[tau])) for tau in points]
    out = tmp_path / "out.json"
    for arguments in (
        [part for tau, path in files for part in ("--events", f"{tau}={path}")],
        ["--events", tmp_path],
    ):
        world.run(*arguments, "--like", "psds_eval", "--json", out, "--resamples", 0)
        found = json.loads(out.read_text())
        out.unlink()
        for name, parameters in (("psds1", PSDS1), ("psds2", PSDS2)):
            given = points, world.truth, world.durations, LABELS, parameters
            result = psds_of_detections(*given, like="psds_eval")
            assert found[name] == pytest.approx(result.value)
        assert found["collar_f1"] == collar_f1(points[0.55], world.truth, LABELS).macro
        assert "F1 of the events at threshold 0.55, the nearest to 0.5" in found["warnings"]
        assert found["parameters"]["thresholds"] == 3
        assert found["parameters"]["like"] == "psds_eval"


def test_events_with_scores_are_swept(world: World, tmp_path: Path) -> None:
    """Boxes of cSEBB as a table of events give what their score tables give."""
    settings = PostProcess(method="csebb", threshold=0.0)
    events = {clip: scores_to_events(table, settings) for clip, table in world.tables.items()}
    out = tmp_path / "out.json"
    path = write_events(tmp_path / "boxes.tsv", events, "score")
    world.run("--events", path, "--threshold", 0.5, "--json", out, "--resamples", 10)
    found, wanted = json.loads(out.read_text()), world.scored("--csebb", "--resamples", 10)
    for name in ("psds1", "psds2", "collar_f1", "segment_f1", "collar_f1_best", "tagging_map"):
        assert found[name] == pytest.approx(wanted[name], abs=1e-12)
        assert found["intervals"][name] == pytest.approx(wanted["intervals"][name])
    world.run("--events", path, "--json", out, "--resamples", 0)
    every = {clip: [event[:3] for event in own] for clip, own in events.items()}
    found = json.loads(out.read_text())
    assert found["collar_f1"] == collar_f1(every, world.truth, LABELS).macro
    assert "PSDS over the scores of the events" in " ".join(found["warnings"])


def test_published_figures(shared_dir: Path, tmp_path: Path) -> None:
    folder, out = shared_dir / "golden/evaluation", tmp_path / "out.json"
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    if not {"raw_scores_10", "baseline_student"} <= set(expected):
        pytest.skip("another set of golden data")
    own, numbers = folder / "raw_scores_10", expected["raw_scores_10"]
    run("score", "--scores", own / "scores", "--truth", own / "ground_truth.tsv",
        "--durations", own / "audio_durations.tsv", "--json", out, "--resamples", 0)  # fmt: skip
    found = json.loads(out.read_text())
    for name in ("psds1", "psds2"):
        assert found[name] == pytest.approx(numbers[name], abs=1e-9)
        assert found["per_class"][name] == pytest.approx(numbers[f"{name}_per_class"], abs=1e-9)
    collar = numbers["collar_f1_thr0.5"]["macro_average"]
    assert found["collar_f1"] == pytest.approx(collar, abs=1e-9)
    own, numbers = folder / "baseline_student", expected["baseline_student"]
    files = ["--truth", folder / "validation.tsv", "--durations",
             folder / "validation_durations.tsv"]  # fmt: skip
    rest = [*files, "--like", "psds_eval", "--json", out, "--resamples", 0]
    run("score", "--events", own / "operating_points_5.tsv.gz", *rest)
    points = numbers["psds_eval_0.5.3_five_operating_points_file"]
    found = json.loads(out.read_text())
    assert found["psds1"] == pytest.approx(points["psds1"], abs=1e-9)
    assert found["psds2"] == pytest.approx(points["psds2"], abs=1e-9)
    run("score", "--events", own / "predictions0.5.csv", *rest)
    found = json.loads(out.read_text())
    assert found["collar_f1"] == pytest.approx(0.39872816, abs=5e-9)
    assert found["segment_f1"] == pytest.approx(0.69352556, abs=5e-9)
    assert found["intersection_f1"] == pytest.approx(0.63741705, abs=5e-9)


def test_pi_psds_is_the_best_of_several_filters(world: World) -> None:
    plain = world.scored("--resamples", 0)
    found = world.scored("--resamples", 40, "--pi-filters", "0,0.3,0.6")
    assert found["parameters"]["pi_psds"] == {"median_seconds": [0.0, 0.3, 0.6]}
    for name, rule in (("psds1", PSDS1), ("psds2", PSDS2)):
        filters = [PostProcess(median_seconds=seconds) for seconds in (0.0, 0.3, 0.6)]
        parts = [
            psds_statistics(
                {clip: filter_table(one, post) for clip, one in world.tables.items()},
                world.truth, world.durations, rule,
            )
            for post in filters
        ]  # fmt: skip
        expected = pi_psds(parts)
        assert found[f"pi_{name}"] == pytest.approx(expected.value, abs=1e-12)
        assert found["per_class"][f"pi_{name}"] == pytest.approx(expected.per_class, abs=1e-12)
        assert found[name] == plain[name]
        low, high = found["intervals"][f"pi_{name}"]
        assert low <= high
    alone = world.scored("--resamples", 0, "--pi-filters", "0", "--median", "0.6")
    assert alone["pi_psds1"] == plain["psds1"]  # the system's own filter has no part in it
    assert "pi-PSDS1" in world.run("--scores", world.folder / "scores", "--pi-psds")


@pytest.mark.parametrize("filters", ["a", "-1", "0,inf", "0;1"])
def test_filters_of_pi_psds_are_seconds(
    world: World, filters: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ("--scores", world.folder / "scores", "--truth", world.folder / "truth.tsv")
    told = wrong("score", *files, f"--pi-filters={filters}", capsys=capsys)
    assert "are no seconds" in told


def test_events_have_no_pi_psds(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    events = world.folder / "found.tsv"
    write_events(events, detections_from_scores(world.tables))
    files = ("--events", events, "--truth", world.folder / "truth.tsv")
    assert "pi-PSDS filters scores" in wrong("score", *files, "--pi-psds", capsys=capsys)
