"""Boxes, and what they are worth, against the golden data of the optional shared folder.

Whatever systems `expected.json` names are tested, by what it says of them.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import re
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earmark.core.tables.scores import ScoreTable
from earmark.detect.csebb import ByLabel, CsebbSettings, sound_event_boxes
from earmark.detect.postprocess import PostProcess, filter_table
from earmark.detect.tuning.tune import Tuning, tune
from earmark.score.clips import clip_name
from earmark.score.psds import PSDS1, PSDS2, psds

SHARED = Path(os.environ.get("EARMARK_SHARED", ""))
NAME = re.compile(r"csebb.*step([\d.]+?)_(abs|rel)([\d.]+?)(?:\.tsv.*)?$")
TUNED = ("tuned_psds1_classwise", "tuned_psds1_global", "tuned_collar_f1_classwise")


@cache
def expected() -> dict[str, Any]:
    """What every set of the shared folder expects, by ``SET/SYSTEM``."""
    found: dict[str, Any] = {}
    if os.environ.get("EARMARK_SHARED"):
        for path in sorted(SHARED.glob("golden/evaluation*/expected.json")):
            content = json.loads(path.read_text(encoding="utf-8"))
            found |= {f"{path.parent.name}/{name}": value for name, value in content.items()}
    return found


def stated(name: str, found: Any = None) -> dict[str, Any]:
    """What is said of boxes of a system, wherever it stands: key → numbers."""
    found = expected()[name] if found is None else found
    said: dict[str, Any] = {}
    for key, value in found.items() if isinstance(found, dict) else ():
        if isinstance(value, dict):
            chosen = "psds1" in value and NAME.match(key)
            said |= {key: value} if chosen or key in TUNED else stated(name, value)
    return said


def pairs() -> list[tuple[str, str]]:
    return [(name, key) for name in expected() for key in stated(name)]


class Case:
    """Scores, truth and durations of one golden system."""

    def __init__(self, name: str) -> None:
        self.folder = SHARED / "golden" / name
        own = (self.folder / "ground_truth.tsv").is_file()
        truth, durations = (
            ("ground_truth.tsv", "audio_durations.tsv")
            if own
            else ("../validation.tsv", "../validation_durations.tsv")
        )
        self.truth: dict[str, list[Any]] = {}
        for row in self.rows(truth):
            clip = self.truth.setdefault(clip_name(row["filename"]), [])
            if row["onset"]:
                clip.append((float(row["onset"]), float(row["offset"]), row["event_label"]))
        self.durations = {
            clip_name(row["filename"]): float(row["duration"]) for row in self.rows(durations)
        }

    @classmethod
    @cache
    def of(cls, name: str) -> Case:
        return cls(name)

    def rows(self, name: str) -> list[dict[str, str]]:
        path = self.folder / name
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t"))

    @cached_property
    def tables(self) -> dict[str, ScoreTable]:
        if (self.folder / "scores").is_dir():
            paths = sorted((self.folder / "scores").glob("*.tsv"))
            return {path.name.removesuffix(".tsv"): ScoreTable.read(path) for path in paths}
        quantised = self.folder / "levels.npz"
        with np.load(quantised if quantised.is_file() else self.folder / "scores.npz") as data:
            if "level" in data:
                scores = np.concatenate([[0.0], data["thresholds"] + 0.005])[data["level"]]
            else:
                scores = data["scores"].astype(np.float64)
            clips = data["files" if "files" in data else "clips"].tolist()
            hop = float(data["hop"]) if "hop" in data else 0.064
            labels = tuple(data["classes"].tolist())
        edges = np.round(np.arange(scores.shape[1] + 1) * hop, 6)
        return {
            clip_name(clip): ScoreTable(edges, values, labels)
            for clip, values in zip(clips, scores, strict=True)
        }

    @property
    def labels(self) -> tuple[str, ...]:
        return next(iter(self.tables.values())).labels

    @property
    def exact(self) -> bool:
        return not (self.folder / "levels.npz").is_file()

    def psds(self, settings: PostProcess, parameters: Any = PSDS1, clips: Any = None) -> float:
        clips = list(self.tables) if clips is None else clips
        filtered = {clip: filter_table(self.tables[clip], settings) for clip in clips}
        truth = {clip: self.truth.get(clip, []) for clip in clips}
        durations = {clip: self.durations[clip] for clip in clips}
        return psds(filtered, truth, durations, parameters).value

    @cache  # noqa: B019 - a handful of cases, for the length of a test run
    def tuned(self, objective: str, classwise: bool) -> Tuning:
        return tune(
            self.tables,
            self.truth,
            self.durations,
            self.labels,
            objective=objective,
            classwise=classwise,
            thresholds="best",
            folds=0,
        )


def named(key: str) -> CsebbSettings:
    found = NAME.match(key)
    assert found is not None
    step, kind, limit = found.groups()
    limits = {"abs": (float(limit), math.inf), "rel": (math.inf, float(limit))}[kind]
    return CsebbSettings(float(step), *limits)


def listed() -> list[tuple[str, str]]:
    """Systems with files of boxes."""
    return [
        (name, path.name)
        for name in expected()
        for path in sorted((SHARED / "golden" / name).glob("csebb_*.tsv*"))
    ]


@pytest.mark.parametrize(("name", "file"), listed() or [("", "")])
def test_every_box(name: str, file: str) -> None:
    need(name)
    case = Case.of(name)
    wanted: dict[str, list[Any]] = {clip: [] for clip in case.tables}
    for row in case.rows(file):
        times = float(row["onset"]), float(row["offset"])
        wanted[row["clip"]].append((row["event_label"], *times, float(row["confidence"])))
    for clip, table in case.tables.items():
        boxes = sound_event_boxes(table, named(file))
        found = sorted((label, onset, offset, score) for onset, offset, label, score in boxes)
        boxes_wanted = sorted(wanted[clip])
        assert [f[0] for f in found] == [w[0] for w in boxes_wanted]
        numbers, numbers_wanted = (
            np.array([box[1:] for box in several]) for several in (found, boxes_wanted)
        )
        assert np.abs(numbers[:, :2] - numbers_wanted[:, :2]).max() <= 1e-6
        assert np.abs(numbers[:, 2] - numbers_wanted[:, 2]).max() <= 1e-4


@pytest.mark.parametrize(("name", "key"), [p for p in pairs() if NAME.match(p[1])] or [("", "")])
def test_psds_of_boxes(name: str, key: str) -> None:
    need(name)
    case, numbers = Case.of(name), stated(name)[key]
    settings = PostProcess(method="csebb", csebb=named(key))
    tolerance = 2e-4 if case.exact else 2e-3
    assert case.psds(settings) == pytest.approx(numbers["psds1"], abs=tolerance)
    assert case.psds(settings, PSDS2) == pytest.approx(numbers["psds2"], abs=tolerance)
    boxes = sum(len(sound_event_boxes(table, settings.csebb)) for table in case.tables.values())
    if "n" in numbers:
        # Of scores of few levels many falls are exactly the limit: the reference merges where the
        # last bit says so, the definition (and test_csebb's fractions) never.
        assert boxes == numbers["n"] if case.exact else 0 <= boxes / numbers["n"] - 1 < 0.01


@pytest.mark.parametrize(("name", "key"), [p for p in pairs() if p[1] in TUNED] or [("", "")])
def test_tuning(name: str, key: str) -> None:
    need(name)
    case, numbers = Case.of(name), stated(name)[key]
    objective = "collar_f1" if "collar_f1" in key else "psds1"
    result = case.tuned(objective, "global" not in key)
    classes = {found.label: found for found in result.classes}
    settings = result.postprocess
    if objective == "psds1":
        assert case.psds(settings) == pytest.approx(numbers["psds1"], abs=2e-4)
    else:
        values = [found.collar_f1 for found in result.classes if found.collar_f1 is not None]
        assert np.mean(values) == pytest.approx(numbers["macro_f1"], abs=1e-4)
    for label, value in numbers.get("class_psds1", {}).items():
        assert classes[label].psds1 == pytest.approx(value, abs=1e-4)
    for label, value in numbers.get("detection_threshold", {}).items():
        assert classes[label].threshold == pytest.approx(value, abs=2e-4)
    if "mean_class_psds1" in numbers:
        mean = np.mean([found.psds1 for found in result.classes if found.psds1 is not None])
        assert mean == pytest.approx(numbers["mean_class_psds1"], abs=1e-4)
    same_settings(settings.csebb, numbers, case.labels)


def same_settings(found: ByLabel, numbers: dict[str, Any], labels: tuple[str, ...]) -> None:
    for label in labels:
        chosen = found if isinstance(found, CsebbSettings) else found[label]
        wanted = [
            float(numbers[key][label] if isinstance(numbers[key], dict) else numbers[key])
            for key in ("step", "abs", "rel")
        ]
        assert [chosen.step_seconds, chosen.absolute, chosen.relative] == wanted, label


def test_tuned_on_some_clips_and_tested_on_others() -> None:
    """A published system, tuned on every second clip: 0.4359 before, 0.4672 by the reference.

    Its scores have 51 levels, and so the reference decides ties by float noise. Noise of 1e-9
    added to them takes our figure from 0.465 to 0.477, so it cannot be met closer than that.
    """
    published = "evaluation/fdy_student"
    need(published)
    case = Case.of(published)
    clips = list(case.tables)
    if len(clips) != 1168:
        pytest.skip("the figures are of all 1,168 clips of the validation set")
    some, others = clips[::2], clips[1::2]
    result = tune(
        {clip: case.tables[clip] for clip in some},
        {clip: case.truth.get(clip, []) for clip in some},
        case.durations,
        case.labels,
        objective="psds1",
        folds=0,
    )
    assert case.psds(PostProcess(), clips=others) == pytest.approx(0.4359, abs=5e-5)
    tuned = case.psds(result.postprocess, clips=others)
    assert tuned == pytest.approx(0.4672, abs=6e-3)
    assert tuned > 0.46


def need(name: str) -> None:
    if not name or name not in expected():
        pytest.skip("needs the optional shared folder: set EARMARK_SHARED to its path")
