"""Reader of the golden evaluation data."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from earmark.core.tables.scores import ScoreTable
from earmark.score.clips import clip_name


class Golden:
    """A folder of expected figures and the systems they are of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))

    def rows(self, name: str, delimiter: str = "\t") -> list[dict[str, str]]:
        path = self.folder / name
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter=delimiter))

    def events(self, name: str, delimiter: str = "\t") -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for row in self.rows(name, delimiter):
            clip = found.setdefault(clip_name(row["filename"]), [])
            if row["onset"]:
                clip.append((float(row["onset"]), float(row["offset"]), row["event_label"]))
        return found

    def durations(self, name: str) -> dict[str, float]:
        return {clip_name(row["filename"]): float(row["duration"]) for row in self.rows(name)}

    def levels(self, system: str) -> dict[str, ScoreTable]:
        with np.load(self.folder / system / "levels.npz") as data:
            scores = np.concatenate([[0.0], data["thresholds"] + 0.005])[data["level"]]
            return tables_from(data, scores)

    def smooth(self, system: str = "smooth_scores_120") -> dict[str, ScoreTable]:
        with np.load(self.folder / system / "scores.npz") as data:
            return tables_from(data, data["scores"].astype(np.float64))

    def raw(self, system: str = "raw_scores_10") -> dict[str, ScoreTable]:
        paths = sorted((self.folder / system / "scores").glob("*.tsv"))
        return {path.name.removesuffix(".tsv"): ScoreTable.read(path) for path in paths}

    def scores(self, system: str) -> dict[str, ScoreTable]:
        """Score tables of a system, whichever way its folder holds them."""
        if (self.folder / system / "levels.npz").exists():
            return self.levels(system)
        if (self.folder / system / "scores.npz").exists():
            return self.smooth(system)
        return self.raw(system)

    def truth(self, system: str) -> dict[str, list[Any]]:
        own = f"{system}/ground_truth.tsv"
        return self.events(own if (self.folder / own).exists() else "validation.tsv")

    def seconds(self, system: str) -> dict[str, float]:
        own = f"{system}/audio_durations.tsv"
        return self.durations(own if (self.folder / own).exists() else "validation_durations.tsv")


def tables_from(data: Any, scores: np.ndarray) -> dict[str, ScoreTable]:
    """Score tables of scores [clips, T, C], their clips, classes and hop as an archive has them."""
    clips: list[str] = data["files" if "files" in data else "clips"].tolist()
    hop = float(data["hop"]) if "hop" in data else 0.064
    edges = np.round(np.arange(scores.shape[1] + 1) * hop, 6)
    classes = tuple(data["classes"].tolist())
    return {
        clip_name(clip): ScoreTable(edges, values, classes)
        for clip, values in zip(clips, scores, strict=True)
    }
