"""Researcher: which of two systems is better, from their score tables, on the same clips.

    python examples/compare_systems.py A/ B/ TRUTH.tsv DURATIONS.tsv
    python examples/compare_systems.py              # with two systems made up here

A/ and B/ have a table for each clip (docs/scoring.md). No network, no PyTorch.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from earmark.core.tables.scores import ScoreTable
from earmark.score.f1 import detections_from_scores
from earmark.score.files import ScoreFolder, read_listed
from earmark.score.psds import PSDS1, PSDS2, psds
from earmark.score.report import ScoringTask, compare_systems, measure_tables


def make_up(folder: Path) -> list[Path]:
    """Truth of 60 clips, and score tables of two systems, B noisier than A."""
    rng, rows, edges = np.random.default_rng(0), [], np.arange(101) / 10
    for system in "AB":
        (folder / system).mkdir(parents=True, exist_ok=True)
    for clip in range(60):
        active = np.zeros((100, 2))
        for column, label in enumerate(("Cat", "Dog")):
            first, last = np.sort(rng.integers(0, 101, 2))
            if last - first > 5:
                active[first:last, column] = 1
                rows.append((f"{clip}.wav", edges[first], edges[last], label))
        for system, noise in (("A", 0.25), ("B", 0.3)):
            scores = np.clip(0.25 + 0.5 * active + rng.normal(0, noise, active.shape), 0, 1)
            smooth = pd.DataFrame(scores).rolling(7, center=True, min_periods=1).median()
            ScoreTable(edges, smooth.to_numpy(), ("Cat", "Dog")).write(
                folder / system / f"{clip}.tsv"
            )
    columns = ["filename", "onset", "offset", "event_label"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "truth.tsv", sep="\t", index=False)
    lengths = pd.DataFrame({"filename": [f"{clip}.wav" for clip in range(60)], "duration": 10.0})
    lengths.to_csv(folder / "durations.tsv", sep="\t", index=False)
    return [folder / name for name in ("A", "B", "truth.tsv", "durations.tsv")]


parser = argparse.ArgumentParser(usage=__doc__)
parser.add_argument("paths", type=Path, nargs="*", metavar="A B TRUTH DURATIONS")
paths = parser.parse_args().paths or make_up(Path("runs/compared"))
if len(paths) != 4:
    parser.error("give all four paths, or none")
listed, lengths = read_listed(paths[2], paths[3])
truth, seconds = listed.events, lengths or {}
statistics = []
for folder in paths[:2]:
    tables = ScoreFolder(folder, listed.ids)
    for name, parameters in (("PSDS1", PSDS1), ("PSDS2", PSDS2)):
        print(f"{folder.name}: {name} {psds(tables, truth, seconds, parameters).value:.3f}")
    found = detections_from_scores(tables, threshold=0.5)
    labels = tables[next(iter(tables))].labels
    task = ScoringTask(tuple(tables), truth, seconds, labels)
    statistics.append(measure_tables(tables, found, task).statistics)

print("\nA minus B, 95 % interval over the same draws of clips:")
compared = compare_systems(*statistics, resamples=500, rng=np.random.default_rng(0))
for name in ("psds1", "psds2", "collar_f1", "intersection_f1", "segment_f1"):
    row = compared[name]
    sure = "" if row.low <= 0 <= row.high else "  more than chance"
    print(f"{name:16} {row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]{sure}")
