"""The learning curve: budgets are nested, and the page says what the runs say."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from helpers import trees

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def curve() -> object:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import learning_curve
    finally:
        sys.path.remove(str(BENCHMARKS))
    return learning_curve


def bank(folder: Path) -> Path:
    for label in ("Dog", "Cat", "Blender", "background"):
        for number in range(12):
            path = folder / label / f"{label}{number}-1.wav"
            trees.clip(path, 0.1)
            soundfile.write(path, np.full(800, 0.01 * number), 16_000)
    return folder


def labelled(folder: Path) -> dict[str, set[str]]:
    with (folder / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train-synthetic"]
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["event_label"], set()).add(row["recording"])
    return found


def test_a_smaller_budget_is_part_of_a_larger_one(curve: object, tmp_path: Path) -> None:
    sounds = bank(tmp_path / "sounds")
    found = {}
    for budget in (1, 2, 3, 0):
        out, count = curve.labelled_bank(sounds, budget, 5, tmp_path / f"bank{budget}")  # type: ignore[attr-defined]
        found[budget] = labelled(out)
        assert set(found[budget]) == {"Dog", "Cat", "background"}
        own = {label: names for label, names in found[budget].items() if label != "background"}
        assert count == sum(map(len, own.values()))
        if budget:
            assert {len(names) for names in own.values()} == {budget}
        assert found[budget]["background"] == found[1]["background"]
    for small, large in ((1, 2), (2, 3), (3, 0)):
        for label in ("Dog", "Cat"):
            assert found[small][label] < found[large][label]


def test_the_page_has_means_and_intervals(
    curve: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curve, "RUNS", tmp_path)
    for seed, figure in ((1, 0.1), (2, 0.2), (3, 0.3)):
        test = {"class_mean_psds1": figure, "psds2": 0.5, "collar_f1": 0.25}
        run = {"arm": "own", "budget": 5, "seed": seed, "recordings": 35, "test": test}
        (tmp_path / f"own-5-{seed}.json").write_text(json.dumps(run))
    page = curve.report()  # type: ignore[attr-defined]
    # Student's t of two degrees of freedom, 4.303, times 0.1 / √3.
    assert "| 5 (35 in all) | – | 0.200 ± 0.248 | – |" in page
    assert "| 5 (35 in all) | – | 0.250 ± 0.000 | – |" in page
    assert "3 runs of 45, seeds 1, 2, 3" in page
