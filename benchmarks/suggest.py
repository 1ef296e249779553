"""Is what `earmark suggest` picks worth more labels than chance, or than uncertainty alone?

    earmark synth POOL --recipe home-clean --soundbank BANK --seed 3 \
        --clips strong=400,weak=0,unlabelled=0,validation=0,test=200
    python benchmarks/suggest.py --data POOL --cache CACHE

A pool of soundscapes whose labels are hidden; a detector of few labelled ones (a logistic head on
principal components of frozen YAMNet's frames, some 4 a second, which need no labels); then arms at
an equal budget: random choice, uncertainty alone, diversity alone, and both as `earmark suggest`
has it. Each arm's clips are labelled, the head is fitted anew, and scored on soundscapes of
recordings that the pool has not. Seeds draw the first clips and the random ones; arms are paired
within a seed. The figure that decides, chosen before, is the average precision of segments.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from earmark.core.audio.audio import load_audio
from earmark.core.tables.scores import ScoreTable
from earmark.data.manifest import load_manifest
from earmark.deliver.suggest import WIDTH, choose_stretches, tag_uncertainty
from earmark.detect.network import load_trained
from earmark.detect.one_pass import one_pass_of
from earmark.detect.postprocess import PostProcess
from earmark.detect.systems import Preparation, measure_system
from earmark.score.classes import ScoredClasses
from earmark.score.report import ScoringTask, report

RESULTS = Path(__file__).parent / "results" / "suggest.json"
ARMS = ("random", "uncertainty", "diversity", "both")
FIRST, BUDGET, SEEDS = 15, 45, 10
FIGURES = ("segment_map", "tagging_map", "psds2", "segment_f1_best")
TOGETHER, COMPONENTS = 4, 128
_STEPS, _RATE = 300, 0.05
Floats = NDArray[np.float32]


def frames_of(path: Path, scorer: Any, hop: float) -> Floats:
    """YAMNet's vectors [T, D] of a clip, means of some frames each."""
    samples = load_audio(path)
    frames = range(int(np.ceil(len(samples) / 16_000 / hop)))
    found = scorer.encode(samples, 0, frames)
    whole = len(found) // TOGETHER * TOGETHER
    return np.asarray(found[:whole].reshape(-1, TOGETHER, found.shape[1]).mean(axis=1), np.float32)


def encoded(paths: Sequence[Path], cache: Path, scorer: Any, hop: float) -> list[Floats]:
    """`frames_of` of all clips, kept in a file."""
    if not cache.exists():
        np.savez(cache, *[frames_of(path, scorer, hop) for path in paths])
    with np.load(cache) as kept:
        return [kept[f"arr_{n}"] for n in range(len(paths))]


def targets(events: Any, labels: Any, count: int, hop: float) -> Floats:
    """Which classes sound in each frame [T, C]."""
    found = np.zeros((count, len(labels)), np.float32)
    middle = (np.arange(count) + 0.5) * hop
    for event in events:
        inside = (middle >= event.onset) & (middle < event.offset)
        found[inside, labels.index(event.event_label)] = 1.0
    return found


class Head:
    """Logistic regression of every class on frames, by Adam over all of them."""

    def __init__(self, x: Floats, y: Floats) -> None:
        self.w = np.zeros((x.shape[1] + 1, y.shape[1]), np.float32)
        x = self.extended(x)
        self.w[-1] = np.log((y.mean(axis=0) + 1e-3) / (1 - y.mean(axis=0) + 1e-3))
        first, second = np.zeros_like(self.w), np.zeros_like(self.w)
        for step in range(1, _STEPS + 1):
            gradient = x.T @ (expit(x @ self.w) - y) / len(x) + 1e-3 * self.w
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            size = _RATE * (1 - (step - 1) / _STEPS)
            scale = np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            self.w -= size * scale * first / (np.sqrt(second) + 1e-8)

    @staticmethod
    def extended(x: Floats) -> Floats:
        """Frames [n, D] with a constant."""
        return np.concatenate([x, np.ones((len(x), 1), np.float32)], axis=1)

    def scores(self, x: Floats) -> Floats:
        """Scores [n, C] of frames [n, D]."""
        return np.asarray(expit(self.extended(x) @ self.w), np.float32)


def pick(
    arm: str, bits: Floats, vectors: Floats, free: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """The clips that an arm has labelled."""
    if arm == "random":
        return rng.choice(free, BUDGET, replace=False)
    if arm == "uncertainty":
        return free[np.argsort(-bits[free], kind="stable")[:BUDGET]]
    worth = np.ones(len(free)) if arm == "diversity" else bits[free]
    return free[choose_stretches(worth, vectors[free], BUDGET)[0]]


def measured(head: Head, test: Any, task: ScoringTask, hop: float) -> dict[str, float]:
    """Figures of a head on the test clips."""
    tables = {}
    for clip, x in test.items():
        seconds = (task.durations or {})[clip]
        edges = np.append(np.arange(len(x)) * hop, seconds)
        tables[clip] = ScoreTable(edges, head.scores(x), task.labels)
    prepared = Preparation(ScoredClasses(), PostProcess(median_seconds=0.0, threshold=0.5))
    found = report([measure_system(tables, prepared, task, weightable=False)])
    return {name: float(found[name]) for name in FIGURES}


def main() -> None:
    """Run all seeds and arms, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--cache", type=Path, required=True, help="Folder of encoded clips.")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    began = time.time()
    options.cache.mkdir(parents=True, exist_ok=True)
    manifest, trained = load_manifest(options.data), load_trained("home", runtime="onnx")
    labels = tuple(manifest.labels)
    scorer = one_pass_of(trained.network)  # type: ignore[arg-type]
    hop = trained.network.spec.frame_hop / 16_000  # type: ignore[union-attr]
    source = next(one for one in manifest.train if one.kind == "strong")
    raw = encoded(source.clips, options.cache / "pool.npz", scorer, hop)
    stacked = np.concatenate(raw)
    mean, deviation = stacked.mean(axis=0), stacked.std(axis=0) + 1e-3
    values, axes = np.linalg.eigh(np.cov((stacked - mean) / deviation, rowvar=False))
    basis = (axes[:, -COMPONENTS:] / np.sqrt(values[-COMPONENTS:])).astype(np.float32)

    def reduced(x: Floats) -> Floats:
        return np.asarray(((x - mean) / deviation) @ basis, np.float32)

    pool = [reduced(x) for x in raw]
    hop *= TOGETHER
    truth = [
        targets((source.events or {}).get(source.name_of(path), ()), labels, len(x), hop)
        for path, x in zip(source.clips, pool, strict=True)
    ]
    split = manifest.splits["test"]
    heard = encoded(list(split.by_id.values()), options.cache / "test.npz", scorer, hop / TOGETHER)
    test = {clip: reduced(x) for clip, x in zip(split.by_id, heard, strict=True)}
    ids = split.ids
    task = ScoringTask(
        tuple(test),
        {ids[name]: list(own) for name, own in split.events.items()},
        {ids[name]: seconds for name, seconds in split.durations.items()},
        labels,
    )
    print(f"encoded in {time.time() - began:.0f} s", flush=True)
    rng = np.random.default_rng(0)
    projection = rng.normal(size=(stacked.shape[1], WIDTH)) / np.sqrt(WIDTH)
    vectors = np.stack([x.mean(axis=0) @ projection for x in raw])
    runs: dict[str, list[dict[str, float]]] = {arm: [] for arm in ("first", *ARMS)}
    for seed in range(options.seeds):
        rng = np.random.default_rng([1, seed])
        first = rng.choice(len(pool), FIRST, replace=False)
        free = np.setdiff1d(np.arange(len(pool)), first)

        def fitted(chosen: NDArray[np.int64]) -> Head:
            x, y = ([own[n] for n in chosen] for own in (pool, truth))
            return Head(np.concatenate(x), np.concatenate(y))

        head = fitted(first)
        runs["first"].append(measured(head, test, task, hop))
        half = np.full(len(labels), 0.5)
        bits = np.array([tag_uncertainty(head.scores(x), half).sum() for x in pool])
        for arm in ARMS:
            chosen = np.concatenate([first, pick(arm, bits, vectors, free, rng)])
            runs[arm].append(measured(fitted(chosen), test, task, hop))
        print(
            seed, {arm: round(own[-1]["segment_map"], 3) for arm, own in runs.items()}, flush=True
        )
    results: dict[str, Any] = {
        "command": "python benchmarks/suggest.py --data POOL --cache CACHE",
        "pool": len(pool), "test": len(test), "first": FIRST, "budget": BUDGET,
        "seeds": options.seeds, "fingerprint": manifest.fingerprint,
        "seconds": round(time.time() - began), "runs": runs, "mean": {}, "differences": {},
    }  # fmt: skip
    for name in FIGURES:
        values = {arm: np.array([run[name] for run in own]) for arm, own in runs.items()}
        results["mean"][name] = {
            arm: [round(float(own.mean()), 4), round(float(own.std(ddof=1)), 4)]
            for arm, own in values.items()
        }
        results["differences"][name] = {}
        for other in ("random", "uncertainty", "diversity"):
            difference = values["both"] - values[other]
            low, high = stats.t.interval(
                0.95, len(difference) - 1, difference.mean(), stats.sem(difference)
            )
            results["differences"][name][f"both - {other}"] = [
                round(float(one), 4) for one in (difference.mean(), low, high)
            ]
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: results[key] for key in ("mean", "differences")}, indent=1))


if __name__ == "__main__":
    main()
