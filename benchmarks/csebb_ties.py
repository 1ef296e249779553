"""How much float noise decides where scores have few levels.

    python benchmarks/csebb_ties.py --shared FOLDER

The published scores of FDY-CRNN have 51 levels, so that slopes and confidences tie. cSEBB is tuned
by class on every second clip and scored on the others, as they are and with a little seeded noise
added to every score. Writes benchmarks/results/csebb_ties.json.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/csebb_ties.json"
NOISE = (1e-9, 1e-14)


def load(folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, float]]:
    """Score tables, truth and durations of the 1,168 clips."""
    from earmark.core.tables.scores import ScoreTable

    with np.load(folder / "fdy_student/levels.npz") as data:
        scores = np.concatenate([[0.0], data["thresholds"] + 0.005])[data["level"]]
        clips, labels = [Path(name).stem for name in data["files"]], tuple(data["classes"].tolist())
    edges = np.round(np.arange(scores.shape[1] + 1) * 0.064, 6)
    tables = {c: ScoreTable(edges, values, labels) for c, values in zip(clips, scores, strict=True)}
    truth: dict[str, Any] = {clip: [] for clip in clips}
    with (folder / "validation.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["onset"]:
                event = float(row["onset"]), float(row["offset"]), row["event_label"]
                truth[Path(row["filename"]).stem].append(event)
    with (folder / "validation_durations.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        durations = {Path(row["filename"]).stem: float(row["duration"]) for row in rows}
    return tables, truth, durations


def tuned_psds1(tables: dict[str, Any], truth: dict[str, Any], durations: Any) -> float:
    """PSDS1 of every second clip, with cSEBB tuned on the others."""
    from earmark.detect.postprocess import filter_table
    from earmark.detect.tuning.tune import tune
    from earmark.score.psds import psds

    clips = list(tables)
    some, others = clips[::2], clips[1::2]
    labels = tables[clips[0]].labels
    known = {clip: tables[clip] for clip in some}
    result = tune(known, truth, durations, labels, objective="psds1", folds=0)
    filtered = {clip: filter_table(tables[clip], result.postprocess) for clip in others}
    seconds = {clip: durations[clip] for clip in others}
    return psds(filtered, {clip: truth[clip] for clip in others}, seconds).value


def main() -> None:
    """Without noise, then with noise of several seeds."""
    from earmark.core.tables.scores import ScoreTable

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True, help="the folder of golden data")
    parser.add_argument("--seeds", type=int, default=12)
    options = parser.parse_args()
    tables, truth, durations = load(options.shared / "golden/evaluation")
    results: dict[str, Any] = {"as they are": tuned_psds1(tables, truth, durations)}
    for size in NOISE:
        values = []
        for seed in range(options.seeds):
            rng = np.random.default_rng(seed)
            noisy = {
                clip: ScoreTable(
                    table.boundaries,
                    np.clip(table.values + size * rng.random(table.values.shape), 0, 1),
                    table.labels,
                )
                for clip, table in tables.items()
            }
            values.append(tuned_psds1(noisy, truth, durations))
        results[f"noise of {size:g}"] = values
        print(f"noise of {size:g}: {min(values):.4f} to {max(values):.4f}", flush=True)
    command = "python benchmarks/csebb_ties.py --shared FOLDER"
    text = json.dumps({"command": command, "psds1": results}, indent=1)
    RESULTS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
