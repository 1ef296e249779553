"""Equal to published systems' scores, as measured by the reference libraries.

The systems and figures are whatever `expected.json` of the golden data lists, so another set with
the same structure is tested by the same lines. Small ones ship in `data/`, the others are found
through `EARMARK_SHARED`.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import median_filter

from earmark.core.tables.scores import ScoreTable
from earmark.score.clips import clip_name
from earmark.score.f1 import (
    BestF1Result,
    F1Result,
    best_f1,
    collar_f1,
    detections_from_scores,
    intersection_f1,
    segment_f1,
    tagging_metrics,
)
from earmark.score.psds import PSDS1, PSDS2, PsdsParameters, psds, psds_of_detections
from helpers.cross_triggers import cross_triggers
from helpers.golden import Golden

HERE = Path(__file__).parent
SETTINGS = {
    "psds1": PSDS1,
    "psds2": PSDS2,
    "psds1_alpha_st0": dataclasses.replace(PSDS1, alpha_st=0.0),
    "psds2_old_ct": dataclasses.replace(PSDS2, ct_mean="old"),
}
MEANS = ("macro", "macro_average", "micro_average", "tp", "fp", "n_sys", "n_ref", "mean")
NOT_OF_SCORING = {"clips", "csebb", "published", "n_operating_points", "operating_points_rows"}
WORDS = dict(enumerate("zero one two three four five six seven eight nine ten".split()))  # noqa: SIM905
NUMBER = r"(\d+(?:\.\d+)?)"


@cache
def sets() -> tuple[Any, ...]:
    """Every golden set of the shared folder."""
    shared = os.environ.get("EARMARK_SHARED", "")
    found = sorted(Path(shared).glob("golden/evaluation*/expected.json")) if shared else []
    return tuple(Golden(path.parent) for path in found)


def blocks() -> Iterator[Any]:
    """Every group of figures: the set, the system, the path of keys that leads to them."""
    for golden in sets():
        for system, expected in golden.expected.items():
            if system in ("environment", "toy"):
                continue
            for key in expected:
                if re.match(r"sed_scores_eval_|psds_eval_|predictions", key):
                    yield pytest.param(golden, system, key, id=f"{system}-{key}")
            if "psds1" in expected:
                yield pytest.param(golden, system, None, id=system)
    if not sets():
        reason = "needs the optional shared folder: set EARMARK_SHARED to its path"
        yield pytest.param(None, "", "", marks=pytest.mark.skip(reason=reason))


@dataclasses.dataclass
class System:
    scores: dict[str, ScoreTable]
    truth: dict[str, list[Any]]
    durations: dict[str, float]

    @property
    def labels(self) -> tuple[str, ...]:
        return next(iter(self.scores.values())).labels


@cache
def system_of(golden: Any, name: str) -> System:
    return System(golden.scores(name), golden.truth(name), golden.seconds(name))


@pytest.mark.parametrize(("golden_set", "name", "key"), list(blocks()))
def test_every_figure(golden_set: Any, name: str, key: str | None) -> None:
    expected = golden_set.expected[name]
    if key is None:
        check_scores(system_of(golden_set, name), expected)
    elif "operating_point" in key:
        check_operating_points(golden_set, name, key, expected[key])
    elif key.startswith("predictions"):
        check_predictions(golden_set, f"{name}/{key}.csv", expected[key])
    else:
        size = int(re.search(r"_(\d+)_clips", key)[1])  # type: ignore[index]
        check_scores(system_of(golden_set, name), expected[key], "dropped" in key, size)


def check_scores(
    system: System, expected: dict[str, Any], drop: bool = False, size: int | None = None
) -> None:
    given = (system.scores, system.truth, system.durations)
    for key, parameters in SETTINGS.items():
        if key not in expected:
            continue
        result = psds(*given, parameters, drop_eventless=drop)
        assert result.value == pytest.approx(expected[key], abs=1e-9)
        if f"{key}_per_class" in expected:
            assert result.per_class == pytest.approx(expected[f"{key}_per_class"], abs=1e-9)
        assert result.clips == (size or len(system.scores))
        said = f"{len(system.scores) - result.clips} clips without events dropped"
        assert (said in result.warnings) == drop
    for key, numbers in expected.items():
        if key in SETTINGS or key.endswith("_per_class") or key in NOT_OF_SCORING:
            continue
        for pattern, check in CHECKS.items():
            if found := re.fullmatch(pattern, key):
                check(system, numbers, *found.groups())
                break
        else:
            pytest.fail(f"nothing checks {key}")


def hard(system: System, threshold: str) -> tuple[Any, ...]:
    return (
        detections_from_scores(system.scores, float(threshold)),
        system.truth,
        system.labels,
    )


def check_collar(system: System, expected: dict[str, Any], threshold: str) -> None:
    result = collar_f1(*hard(system, threshold))
    same(result, expected)
    for label, counts in result.counts.items():
        assert counts.tp == expected["tp"][label]
        assert counts.tp + counts.fp == expected["n_sys"][label]
        assert counts.tp + counts.fn == expected["n_ref"][label]


def check_best(system: System, expected: dict[str, Any]) -> None:
    result = best_f1(system.scores, system.truth, system.durations)
    same(result, expected["f"])
    for label, threshold in expected["threshold"].items():
        if result.thresholds[label] != pytest.approx(threshold, abs=1e-9):
            # Two thresholds of equal F1: which one the reference takes is float noise.
            found = collar_f1(*hard(system, str(threshold))).per_class[label]
            assert found == pytest.approx(result.per_class[label], abs=1e-12)
            assert result.thresholds[label] > threshold


def check_segments(system: System, expected: dict[str, Any], threshold: str, rule: str) -> None:
    durations = system.durations if rule == "audio_durations" else None
    same(segment_f1(*hard(system, threshold), durations=durations), expected)


def check_intersection(
    system: System, expected: dict[str, Any], dtc: str, gtc: str, threshold: str
) -> None:
    result = intersection_f1(*hard(system, threshold), dtc=float(dtc), gtc=float(gtc))
    same(result, expected)
    for label in expected.get("tp", {}):
        counts = result.counts[label]
        assert (counts.tp, counts.fp) == (expected["tp"][label], expected["fp"][label])


def check_tags(system: System, expected: dict[str, Any], threshold: str) -> None:
    result = tagging_metrics(system.scores, system.truth, threshold=float(threshold))
    same(result.f1, expected)


def check_precision(system: System, expected: dict[str, Any]) -> None:
    result = tagging_metrics(system.scores, system.truth).average_precision
    assert result.mean == pytest.approx(expected["mean"], abs=1e-9)
    assert result.per_class == pytest.approx(by_class(expected), abs=1e-9)


def check_medians(system: System, expected: dict[str, Any]) -> None:
    for name, numbers in expected.items():
        found = re.fullmatch(r"scipy_median_filter_size(\d+)_reflect", name)
        if found is None:
            continue  # a filter of continuous time is not ours
        filtered = {
            clip: ScoreTable(
                table.boundaries, median_filter(table.values, (int(found[1]), 1)), table.labels
            )
            for clip, table in system.scores.items()
        }
        for key in ("psds1", "psds2"):
            result = psds(filtered, system.truth, system.durations, SETTINGS[key])
            assert result.value == pytest.approx(numbers[key], abs=1e-9)


CHECKS: dict[str, Callable[..., None]] = {
    rf"collar_f1_thr{NUMBER}": check_collar,
    r"collar_best_f1": check_best,
    rf"segment_f1_1s_thr{NUMBER}_(audio_durations|sed_eval_convention)": check_segments,
    rf"intersection_f1_dtc{NUMBER}_gtc{NUMBER}_thr{NUMBER}": check_intersection,
    rf"clip_tagging_f1_thr{NUMBER}": check_tags,
    r"clip_tagging_average_precision": check_precision,
    r"median": check_medians,
}


def check_operating_points(golden: Any, name: str, key: str, expected: dict[str, Any]) -> None:
    truth, durations = golden.truth(name), golden.seconds(name)
    labels = sorted({label for events in truth.values() for *_, label in events})
    if key.endswith("_file"):
        points = points_of_file(golden, name, key)
    else:
        scores = system_of(golden, name).scores
        with np.load(golden.folder / name / "levels.npz") as data:
            # A level's score is its threshold and 0.005.
            thresholds = data["thresholds"].tolist()
        points = {str(tau): detections_from_scores(scores, tau + 0.002) for tau in thresholds}
    checked = 0
    for field, parameters in SETTINGS.items():
        values = [value for given, value in expected.items() if given.split("_conv")[0] == field]
        for value in values:
            result = psds_of_detections(
                points, truth, durations, labels, parameters, like="psds_eval"
            )
            assert result.value == pytest.approx(value, abs=1e-9)
            checked += 1
            if f"{field}_per_class" in expected:
                numbers = expected[f"{field}_per_class"]
                assert result.per_class == pytest.approx(numbers, abs=1e-9)
    if "psds1" in expected:
        rounded = psds_of_detections(points, truth, durations, labels, PSDS1)
        # Times on a common grid meet the criteria exactly, and float noise decides: published
        # systems and their truth are hardly ever on one.
        published = "published" in golden.expected[name]
        assert rounded.value == pytest.approx(expected["psds1"], abs=5e-5 if published else 5e-3)
    numbers = [given for given, value in expected.items() if isinstance(value, float | int)]
    assert checked == len(numbers) > 0


def points_of_file(golden: Any, name: str, key: str) -> dict[str, dict[str, list[Any]]]:
    """Detections by threshold of the file whose number of thresholds the key has as a word."""
    files = sorted((golden.folder / name).glob("operating_points_*.tsv.gz"))
    found = []
    for file in files:
        points: dict[str, dict[str, list[Any]]] = {}
        for row in golden.rows(f"{name}/{file.name}"):
            clip = points.setdefault(row["threshold"], {}).setdefault(
                clip_name(row["filename"]), []
            )
            clip.append((float(row["onset"]), float(row["offset"]), row["event_label"]))
        found.append(points)
    named = [points for points in found if WORDS.get(len(points), "?") in key.split("_")]
    [chosen] = named if len(found) > 1 else found
    return chosen


def check_predictions(golden: Any, file: str, expected: dict[str, Any]) -> None:
    found = golden.events(file, ",")
    truth = golden.truth(file.split("/")[0])
    labels = sorted({label for events in truth.values() for *_, label in events})
    for key, numbers in expected.items():
        if key.startswith("sed_eval"):
            check_sed_eval(found, truth, labels, numbers)
        elif ratio := re.fullmatch(rf".*_intersection_f1_dtc{NUMBER}_gtc{NUMBER}", key):
            dtc, gtc = (float(value) for value in ratio.groups())
            result = intersection_f1(found, truth, labels, dtc=dtc, gtc=gtc, decimals=None)
            assert result.macro == pytest.approx(numbers["macro"], abs=1e-9)
            assert result.per_class == pytest.approx(by_class(numbers), abs=1e-9)
        else:
            pytest.fail(f"nothing checks {key}")


def check_sed_eval(found: Any, truth: Any, labels: list[str], expected: dict[str, Any]) -> None:
    collar = collar_f1(found, truth, labels, decimals=None)
    for result, numbers in (
        (collar, expected["event"]),
        (segment_f1(found, truth, labels), expected["segment"]),
    ):
        assert result.macro == pytest.approx(numbers["macro"]["f_measure"], abs=1e-9)
        assert result.micro == pytest.approx(numbers["micro"]["f_measure"], abs=1e-9)
        for name in ("f_measure", "precision", "recall"):
            own = {"f_measure": "f1"}.get(name, name)
            values = {label: numbers["class"][label][name] for label in labels}
            measured = {label: getattr(result.counts[label], own) for label in labels}
            assert measured == pytest.approx(values, abs=1e-9)
    hits = expected.get("tp", expected["event"].get("tp"))
    if hits:
        assert {label: collar.counts[label].tp for label in labels} == hits
    # Rounded, one difference of onsets may be a hit that is a miss but for float noise.
    assert collar_f1(found, truth, labels).macro == pytest.approx(collar.macro, abs=3e-4)


def by_class(numbers: dict[str, Any]) -> dict[str, float]:
    return {label: value for label, value in numbers.items() if label not in MEANS}


def same(result: F1Result | BestF1Result, expected: dict[str, Any]) -> None:
    assert result.macro == pytest.approx(expected["macro_average"], abs=1e-9)
    assert result.micro == pytest.approx(expected["micro_average"], abs=1e-9)
    assert result.per_class == pytest.approx(by_class(expected), abs=1e-9)


def toys() -> Iterator[Any]:
    for golden in (Golden(HERE / "data"), *sets()):
        for name in golden.expected.get("toy", {}):
            yield pytest.param(golden, name, id=f"{golden.folder.name}-{name}")


@pytest.mark.parametrize(("golden_set", "name"), list(toys()))
def test_toy(golden_set: Any, name: str) -> None:
    expected = golden_set.expected["toy"][name]
    truth = golden_set.events(f"toy/{name}.gt.tsv")
    found = golden_set.events(f"toy/{name}.det.tsv")
    durations = golden_set.durations("toy/durations.tsv")
    limits = {key: expected[key] for key in ("dtc", "gtc", "cttc", "max_efpr")}
    for key, alpha_ct, alpha_st in (("psds", 0.0, 0.0), ("psds_alpha_ct0.5_st1", 0.5, 1.0)):
        parameters = PsdsParameters(**limits, alpha_ct=alpha_ct, alpha_st=alpha_st)
        given = (durations, expected["class_order"], parameters)
        result = psds_of_detections([found], truth, *given, like="psds_eval")
        assert result.value == pytest.approx(expected[key], abs=1e-9)
    matrix = cross_triggers(found, truth, *given)
    counts = np.array(expected["counts_rows_det_cols_gt_last_col_fp"])
    size = len(expected["class_order"])
    assert matrix.counts.tolist() == counts[:size, :size].tolist()
    assert matrix.false_positives.tolist() == counts[:size, size].tolist()
    assert matrix.tpr.tolist() == pytest.approx(expected["tpr"], abs=1e-9)
    assert matrix.fpr.tolist() == pytest.approx(expected["fpr_per_hour"], abs=1e-9)
