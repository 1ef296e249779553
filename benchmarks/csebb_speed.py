"""cSEBB against the reference implementation: time and memory, in one run.

    make oracle                          # once: the reference's environment
    python benchmarks/csebb_speed.py

Both find the boxes of the same continuous scores, and choose among the same 18 settings for every
class by its PSDS1. They take turns, each turn in a process of its own, so that a busy machine is
busy for both; the table has the best of the turns, and each process's highest memory. Boxes and
chosen settings are compared as well. The reference is under the AGPL: it is run, never imported by
Earmark. Writes benchmarks/results/csebb_speed.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/csebb_speed.json"
ORACLE = ROOT / ".venv-oracle/bin/python"
FRAME = 0.064
FIXED = (0.48, 0.2, math.inf)
GRID = [
    (step, *limits)
    for step in (0.32, 0.48, 0.64)
    for limits in (
        *((limit, math.inf) for limit in (0.15, 0.2, 0.3)),
        *((math.inf, limit) for limit in (1.5, 2.0, 3.0)),
    )
]


def clips(count: int, classes: int, frames: int) -> tuple[np.ndarray, dict[str, list[Any]]]:
    """Continuous scores [N, T, C] of random events that they more or less follow."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (count, frames + 4, classes))
    logits = np.mean([noise[:, k : k + frames] for k in range(5)], axis=0) * 2 - 3
    truth: dict[str, list[Any]] = {}
    for clip in range(count):
        events = truth.setdefault(f"clip{clip}", [])
        for label in rng.choice(classes, size=rng.integers(0, 4), replace=False).tolist():
            start = int(rng.integers(0, frames - 8))
            end = min(frames, start + int(rng.integers(4, 80)))
            events.append((round(start * FRAME, 3), round(end * FRAME, 3), f"class{label}"))
            first = max(0, start + int(rng.normal(0, 2)))
            logits[clip, first : max(first + 1, end + int(rng.normal(0, 2))), label] += rng.normal(
                4, 2
            )
    return 1 / (1 + np.exp(-logits)), truth


def ours(scores: np.ndarray, truth: dict[str, list[Any]], task: str) -> tuple[float, Any]:
    """Seconds and result of Earmark."""
    from earmark.core.tables.scores import ScoreTable
    from earmark.detect.csebb import CsebbSettings, sound_event_boxes
    from earmark.detect.tuning.tune import tune

    edges, labels = frame(scores)
    tables = {
        clip: ScoreTable(edges, values, tuple(labels))
        for clip, values in zip(truth, scores, strict=True)
    }
    started = time.perf_counter()
    if task == "predict":
        boxes = {c: sound_event_boxes(t, CsebbSettings(*FIXED)) for c, t in tables.items()}
        seconds = time.perf_counter() - started
        return seconds, [
            [clip, label, onset, offset, score]
            for clip, found in boxes.items()
            for onset, offset, label, score in found
        ]
    durations = dict.fromkeys(truth, float(edges[-1]))
    result = tune(tables, truth, durations, labels, objective="psds1", folds=0)
    seconds = time.perf_counter() - started
    limits = ("step_seconds", "absolute", "relative")
    return seconds, {
        choice.label: [*(getattr(choice.setting, name) for name in limits), choice.psds1]
        for choice in result.classes
    }


def reference(scores: np.ndarray, truth: dict[str, list[Any]], task: str) -> tuple[float, Any]:
    """Seconds and result of the reference; version 1.0.1 cannot tune unless it is led by hand."""
    from sebbs import csebbs
    from sed_scores_eval.base_modules.scores import create_score_dataframe

    edges, labels = frame(scores)
    tables = {
        clip: create_score_dataframe(values, edges, labels)
        for clip, values in zip(truth, scores, strict=True)
    }

    def predictor(step: float, absolute: float, relative: float) -> Any:
        return csebbs.CSEBBsPredictor(
            step_filter_length=step,
            merge_threshold_abs=absolute,
            merge_threshold_rel=relative,
            sound_classes=labels,
        )

    started = time.perf_counter()
    if task == "predict":
        boxes = predictor(*FIXED).predict(tables)
        seconds = time.perf_counter() - started
        return seconds, [
            [clip, label, float(onset), float(offset), float(score)]
            for clip, found in boxes.items()
            for onset, offset, label, score in found
        ]
    durations = dict.fromkeys(truth, float(edges[-1]))
    tried = [predictor(*setting) for setting in GRID]
    found = [(one, one.predict(tables)) for one in tried]
    best, values = csebbs.select_best_psds(found, truth, durations)
    seconds = time.perf_counter() - started
    limits = ("step_filter_length", "merge_threshold_abs", "merge_threshold_rel")
    return seconds, {
        label: [*(float(getattr(best, name)[label]) for name in limits), float(values[label])]
        for label in labels
    }


def frame(scores: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Edges of the frames and names of the classes."""
    edges = np.round(np.arange(scores.shape[1] + 1) * FRAME, 6)
    return edges, [f"class{number}" for number in range(scores.shape[2])]


def turn(who: str, task: str, options: argparse.Namespace) -> dict[str, Any]:
    """One task by one implementation in a process of its own."""
    python = sys.executable if who == "ours" else str(ORACLE)
    sizes = [str(getattr(options, name)) for name in ("clips", "classes", "frames")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with tempfile.NamedTemporaryFile("r", suffix=".json") as answer:
        subprocess.run(
            [python, "-W", "ignore", __file__, "--turn", who, task, answer.name, *sizes],
            check=True,
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        found: dict[str, Any] = json.load(answer)
        return found


def answer(who: str, task: str, path: str, *sizes: str) -> None:
    """What a turn does."""
    scores, truth = clips(*map(int, sizes))
    seconds, result = (ours if who == "ours" else reference)(scores, truth, task)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    Path(path).write_text(json.dumps({"seconds": seconds, "peak_gib": peak, "result": result}))


def boxes_differ(one: list[Any], other: list[Any]) -> int:
    """Boxes that differ by more than 1e-6 s or 1e-4 of confidence, or are missing."""
    if len(one) != len(other):
        return abs(len(one) - len(other))
    pairs = zip(sorted(one), sorted(other), strict=True)
    return sum(
        mine[:2] != theirs[:2]
        or max(abs(a - b) for a, b in zip(mine[2:4], theirs[2:4], strict=True)) > 1e-6
        or abs(mine[4] - theirs[4]) > 1e-4
        for mine, theirs in pairs
    )


def main() -> None:
    """Take turns, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=584)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--frames", type=int, default=156)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for task in ("predict", "tune"):
        turns: dict[str, list[dict[str, Any]]] = {"reference": [], "ours": []}
        for _ in range(options.turns):
            for who, found in turns.items():
                found.append(turn(who, task, options))
        results[task] = {
            who: {
                "seconds": min(one["seconds"] for one in found),
                "turns": [round(one["seconds"], 3) for one in found],
                "peak_gib": round(max(one["peak_gib"] for one in found), 3),
            }
            for who, found in turns.items()
        }
        mine, theirs = turns["ours"][0]["result"], turns["reference"][0]["result"]
        times = results[task]["reference"]["seconds"] / results[task]["ours"]["seconds"]
        results[task]["times_faster"] = round(times, 1)
        if task == "predict":
            results[task]["boxes"] = [len(mine), len(theirs)]
            results[task]["boxes_that_differ"] = boxes_differ(mine, theirs)
        else:
            results[task]["same_settings"] = all(mine[c][:3] == theirs[c][:3] for c in theirs)
            results[task]["largest_difference_of_psds1"] = max(
                abs(mine[c][3] - theirs[c][3]) for c in theirs
            )
        print(task, json.dumps(results[task]), flush=True)
    sizes = {name: getattr(options, name) for name in ("clips", "classes", "frames")}
    provenance = {"python": platform.python_version(), "cpus": os.cpu_count(), **sizes}
    command = "python benchmarks/csebb_speed.py"
    RESULTS.write_text(
        json.dumps({"command": command, **provenance, "tasks": results}, indent=1) + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--turn"]:
        answer(*sys.argv[2:])
    else:
        main()
