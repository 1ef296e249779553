"""Time and memory of PSDS: against sed_scores_eval, and as clips, frames and classes grow.

    make oracle                                    # once: the environment of the reference
    python benchmarks/score_speed.py               # all, ten minutes or so
    python benchmarks/score_speed.py --only compare|growth|large

Every measurement is made in a process of its own, one thread, whose peak resident memory is read
when it ends. `compare` gives both libraries the same scores from the same file, alternately, and
checks that they agree. `large` has the size of AudioSet-strong's evaluation set (16,935 clips, 407
classes, 250 frames of 40 ms); its clips are made when they are asked for, twice: once to survey
and once to count. Results: benchmarks/results/score_speed.json, docs/score_speed.png.

The file runs in both environments, so only NumPy is imported at its top.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/score_speed.json"
PICTURE = ROOT / "docs/score_speed.png"
ORACLE = ROOT / ".venv-oracle/bin/python"
ROUNDS = 5
BASE = {"clips": 1168, "frames": 156, "classes": 10}
GROWTH = {
    "clips": [292, 584, 1168, 2336, 4672],
    "frames": [39, 78, 156, 312, 624],
    "classes": [10, 20, 40, 80, 160],
}
LARGE = [2_000, 8_000, 16_935]
LARGE_FRAMES, LARGE_CLASSES, LARGE_HOP = 250, 407, 0.04
PSDS = {
    "psds1": {"dtc": 0.7, "gtc": 0.7, "cttc": None, "alpha_ct": 0.0, "alpha_st": 1.0},
    "psds2": {"dtc": 0.1, "gtc": 0.1, "cttc": 0.3, "alpha_ct": 0.5, "alpha_st": 1.0},
}
Event = tuple[float, float, str]


# --- data ---------------------------------------------------------------------------------------


def clip_truth(rng: np.random.Generator, labels: list[str], chances: np.ndarray) -> list[Event]:
    """One to four classes of a clip of ten seconds, each with one to three events apart."""
    events = []
    for number in rng.choice(len(labels), int(rng.integers(1, 5)), replace=False, p=chances):
        times = np.sort(rng.uniform(0, 10, 2 * int(rng.integers(1, 4)))).round(3)
        if np.all(np.diff(times) > 0.1):
            events += [(a, b, labels[number]) for a, b in times.reshape(-1, 2).tolist()]
    return events


def clip_scores(
    rng: np.random.Generator, events: list[Event], labels: dict[str, int], frames: int, hop: float
) -> np.ndarray:
    """Continuous scores, low but where something sounds, with misses and false alarms [T, C]."""
    width = 7
    noise = rng.standard_normal((frames + width, len(labels)), dtype=np.float32)
    level = np.cumsum(noise, axis=0)
    logits = (level[width:] - level[:-width]) * np.float32(0.6) - np.float32(4)
    for onset, offset, label in events:
        first, last = np.round((np.array([onset, offset]) + rng.normal(0, 0.15, 2)) / hop)
        logits[max(0, int(first)) : max(0, int(last)), labels[label]] += rng.normal(5, 2)
    return 1 / (1 + np.exp(-logits))


class Clips:
    """Clips that are made when they are asked for, the same each time."""

    def __init__(self, clips: int, frames: int, classes: int, hop: float | None = None) -> None:
        self.hop = 10 / frames if hop is None else hop
        self.frames = frames
        self.labels = [f"class {number:03d}" for number in range(classes)]
        self.index = {label: number for number, label in enumerate(self.labels)}
        # Some classes are common and most are rare, if there are many.
        weights = 1 / (np.arange(classes) + 10.0)
        chances = weights / weights.sum()
        self.names = [f"clip_{number:05d}" for number in range(clips)]
        self.truth = {
            name: clip_truth(np.random.default_rng([1, k]), self.labels, chances)
            for k, name in enumerate(self.names)
        }
        self.durations = dict.fromkeys(self.names, 10.0)
        self.edges = np.round(np.arange(frames + 1) * self.hop, 6)
        self.seconds = 0.0

    def scores(self, name: str) -> np.ndarray:
        """Scores of one clip [T, C]; the time it takes is summed up."""
        begin = time.perf_counter()
        rng = np.random.default_rng([2, int(name.rsplit("_")[-1])])
        found = clip_scores(rng, self.truth[name], self.index, self.frames, self.hop)
        self.seconds += time.perf_counter() - begin
        return found


def write_case(path: Path, clips: Clips, dtype: Any = np.float64) -> None:
    """A case in one file that both environments read."""
    np.savez(
        path,
        scores=np.stack([clips.scores(name) for name in clips.names]).astype(dtype),
        edges=clips.edges,
        rest=np.array(json.dumps([clips.names, clips.labels, clips.truth, clips.durations])),
    )


def write_published(path: Path, shared: Path, system: str) -> None:
    """A published system's scores, quantised in 51 levels; noise within a level undoes that."""
    sys.path.insert(0, str(ROOT / "tests"))
    from helpers.golden import Golden

    golden = Golden(shared / "golden" / "evaluation")
    tables = golden.levels(system)
    rng = np.random.default_rng(0)
    first = next(iter(tables.values()))
    noise = rng.uniform(0, 0.019, (len(tables), *first.values.shape))
    np.savez(
        path,
        scores=np.stack([table.values for table in tables.values()]) + noise,
        edges=first.boundaries,
        rest=np.array(
            json.dumps(
                [
                    list(tables),
                    list(first.labels),
                    golden.truth(system),
                    golden.seconds(system),
                ]
            )
        ),
    )


# --- workers: one process for each measurement --------------------------------------------------


def peak() -> float:
    """Peak resident memory of this process in MB.

    The kernel's own mark where there is one: that of getrusage starts with the parent's memory.
    """
    status = Path("/proc/self/status")
    if status.exists():
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def work_earmark(path: str, together: bool = True) -> dict[str, Any]:
    """Both PSDS by Earmark, one after the other, and in one go."""
    from earmark.core.tables.scores import ScoreTable
    from earmark.score.psds import PsdsAccumulator, PsdsParameters, psds

    with np.load(path) as data:
        scores, edges = data["scores"], data["edges"]
        names, labels, truth, durations = json.loads(str(data["rest"]))
    tables = {
        name: ScoreTable(edges, values, tuple(labels))
        for name, values in zip(names, scores, strict=True)
    }
    parameters = {name: PsdsParameters(**given) for name, given in PSDS.items()}
    found: dict[str, Any] = {"before_mb": peak()}
    for name, given in parameters.items():
        begin = time.perf_counter()
        value = psds(tables, truth, durations, given).value
        found[name] = {"value": value, "seconds": time.perf_counter() - begin}
    if together:
        begin = time.perf_counter()
        both = PsdsAccumulator(labels, truth, durations, list(parameters.values()))
        for name, table in tables.items():
            both.survey(name, table)
        for name, table in tables.items():
            both.add(name, table)
        values = [statistics.result().value for statistics in both.finish()]
        found["together_seconds"] = time.perf_counter() - begin
        assert np.allclose(values, [found[name]["value"] for name in PSDS], atol=1e-12)
    return found | {"peak_mb": peak()}


def work_reference(path: str) -> dict[str, Any]:
    """Both PSDS by sed_scores_eval."""
    from sed_scores_eval import intersection_based  # type: ignore[import-not-found]
    from sed_scores_eval.base_modules.scores import (  # type: ignore[import-not-found]
        create_score_dataframe,
    )

    with np.load(path) as data:
        scores, edges = data["scores"], data["edges"]
        names, labels, truth, durations = json.loads(str(data["rest"]))
    frames = {
        name: create_score_dataframe(values, edges, labels)
        for name, values in zip(names, scores, strict=True)
    }
    del scores
    truth = {name: [tuple(event) for event in truth.get(name, [])] for name in names}
    found: dict[str, Any] = {"before_mb": peak()}
    for name, given in PSDS.items():
        begin = time.perf_counter()
        value, *_ = intersection_based.psds(
            frames,
            truth,
            durations,
            dtc_threshold=given["dtc"],
            gtc_threshold=given["gtc"],
            cttc_threshold=given["cttc"],
            alpha_ct=given["alpha_ct"],
            alpha_st=given["alpha_st"],
            unit_of_time="hour",
            max_efpr=100.0,
        )
        found[name] = {"value": float(value), "seconds": time.perf_counter() - begin}
    return found | {"peak_mb": peak()}


def work_intervals(path: str) -> dict[str, Any]:
    """1,000 resamples of both PSDS, and of every metric."""
    from earmark.core.tables.scores import ScoreTable
    from earmark.score.bootstrap import bootstrap
    from earmark.score.f1 import detections_from_scores
    from earmark.score.report import ScoringTask, measure_tables

    with np.load(path) as data:
        scores, edges = data["scores"], data["edges"]
        names, labels, truth, durations = json.loads(str(data["rest"]))
    tables = {
        name: ScoreTable(edges, values, tuple(labels))
        for name, values in zip(names, scores, strict=True)
    }
    begin = time.perf_counter()
    task = ScoringTask(tuple(tables), truth, durations, tuple(labels))
    statistics = measure_tables(tables, detections_from_scores(tables), task).statistics
    found: dict[str, Any] = {"statistics_seconds": time.perf_counter() - begin}
    chosen = {
        "both_psds": {name: statistics[name] for name in PSDS},
        "every_metric": statistics,
    }
    for name, some in chosen.items():
        begin = time.perf_counter()
        ends = bootstrap(some, resamples=1000, rng=np.random.default_rng(0))
        found[f"{name}_seconds"] = time.perf_counter() - begin
    return found | {"metrics": len(ends), "peak_mb": peak()}


def work_large(clips: int) -> dict[str, Any]:
    """Both PSDS of clips that never are in memory together."""
    from earmark.core.tables.scores import ScoreTable
    from earmark.score.psds import PSDS1, PSDS2, PsdsAccumulator

    source = Clips(clips, LARGE_FRAMES, LARGE_CLASSES, LARGE_HOP)
    labels = tuple(source.labels)

    def tables() -> Iterator[tuple[str, ScoreTable]]:
        for name in source.names:
            yield name, ScoreTable(source.edges, source.scores(name), labels)

    before, begin = peak(), time.perf_counter()
    found = PsdsAccumulator(labels, source.truth, source.durations, [PSDS1, PSDS2])
    for name, table in tables():
        found.survey(name, table)
    surveyed = time.perf_counter() - begin
    for name, table in tables():
        found.add(name, table)
    first, second = (statistics.result() for statistics in found.finish())
    seconds = time.perf_counter() - begin
    return {
        "clips": clips,
        "psds1": first.value,
        "psds2": second.value,
        "seconds": seconds,
        "making_the_clips_seconds": source.seconds,
        "scoring_seconds": seconds - source.seconds,
        "survey_seconds": surveyed,
        "scores_gb": clips * LARGE_FRAMES * LARGE_CLASSES * 4 / 1e9,
        "before_mb": before,
        "peak_mb": peak(),
    }


WORK = {
    "earmark": work_earmark,
    "reference": work_reference,
    "intervals": work_intervals,
    "large": lambda clips: work_large(int(clips)),
}


# --- measurements -------------------------------------------------------------------------------


def fresh(kind: str, argument: str | int, python: str | Path = sys.executable) -> dict[str, Any]:
    """A measurement in a process of its own."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [str(python), __file__, "--work", kind, str(argument)],
        capture_output=True,
        text=True,
        env=os.environ | threads,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{kind} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(folder: Path) -> dict[str, Any]:
    """Both libraries alternately on the same scores, and what intervals take."""
    if not ORACLE.exists():
        raise SystemExit(f"{ORACLE} is missing: run `make oracle` first")
    cases = {"synthetic": folder / "synthetic.npz"}
    write_case(cases["synthetic"], Clips(**BASE))
    shared = os.environ.get("EARMARK_SHARED")
    if shared:
        cases["fdy_student"] = folder / "fdy_student.npz"
        write_published(cases["fdy_student"], Path(shared), "fdy_student")
    results = {}
    for name, path in cases.items():
        runs: dict[str, list[dict[str, Any]]] = {"earmark": [], "reference": []}
        for _ in range(ROUNDS):
            runs["earmark"].append(fresh("earmark", str(path)))
            runs["reference"].append(fresh("reference", str(path), ORACLE))
        results[name] = summary(runs) | {"intervals": fresh("intervals", str(path))}
        print(name, json.dumps(results[name], indent=1))
    return results


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians over rounds, and how many times faster both PSDS are."""
    found: dict[str, Any] = {}
    for who, rounds in runs.items():
        found[who] = {
            name: {
                "value": rounds[0][name]["value"],
                "seconds": [one[name]["seconds"] for one in rounds],
            }
            for name in PSDS
        }
        found[who]["both_seconds"] = float(
            np.median([sum(one[name]["seconds"] for name in PSDS) for one in rounds])
        )
        found[who]["peak_mb"] = float(np.median([one["peak_mb"] for one in rounds]))
        found[who]["before_mb"] = float(np.median([one["before_mb"] for one in rounds]))
    for name in PSDS:
        values = [rounds[0][name]["value"] for rounds in runs.values()]
        if abs(values[0] - values[1]) > 1e-9:
            raise SystemExit(f"the libraries differ in {name}: {values}")
    together = [one["together_seconds"] for one in runs["earmark"]]
    found["earmark"]["both_in_one_go_seconds"] = float(np.median(together))
    found["times_faster"] = found["reference"]["both_seconds"] / found["earmark"]["both_seconds"]
    return found


def growth(folder: Path) -> dict[str, Any]:
    """Time and memory as one size grows and the others stay."""
    results: dict[str, Any] = {}
    for size, values in GROWTH.items():
        results[size] = []
        for value in values:
            path = folder / "growth.npz"
            write_case(path, Clips(**BASE | {size: value}))
            rounds = [fresh("earmark", str(path)) for _ in range(3)]
            row = {size: value} | _row(rounds)
            if size != "classes" and value <= 2 * BASE[size] and ORACLE.exists():
                row["reference"] = _row([fresh("reference", str(path), ORACLE)])
            results[size].append(row)
            print(size, value, row)
    return results


def _row(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {
        f"{name}_seconds": float(np.median([one[name]["seconds"] for one in rounds]))
        for name in PSDS
    }
    used = [one["peak_mb"] - one["before_mb"] for one in rounds]
    return found | {"added_mb": float(np.median(used)), "peak_mb": rounds[0]["peak_mb"]}


def large() -> list[dict[str, Any]]:
    """AudioSet-strong's size, and fractions of it."""
    results = []
    for clips in LARGE:
        results.append(fresh("large", clips))
        print(results[-1])
    return results


def draw(results: dict[str, Any]) -> None:
    """Growth with clips, frames and classes, and memory of the large set."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(15, 3.6), layout="constrained")
    for axis, size in zip(axes, GROWTH, strict=False):
        rows = results["growth"][size]
        for name, colour in (("psds1", "C0"), ("psds2", "C1")):
            key = f"{name}_seconds"
            axis.plot([r[size] for r in rows], [r[key] for r in rows], "o-", c=colour, label=name)
            peer = [row for row in rows if "reference" in row]
            axis.plot(
                [row[size] for row in peer],
                [row["reference"][key] for row in peer],
                "x--",
                c=colour,
                label=f"{name}, sed_scores_eval",
            )
        rest = ", ".join(f"{BASE[other]:,} {other}" for other in BASE if other != size)
        axis.set(xscale="log", yscale="log", ylim=(0.02, 40), xlabel=size, title=rest)
        axis.set_xticks(GROWTH[size], [f"{value:,}" for value in GROWTH[size]])
        axis.set_xticks([], minor=True)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("seconds")
    axes[2].legend(*axes[0].get_legend_handles_labels(), fontsize=8)
    rows = results["large"]
    clips = [row["clips"] for row in rows]
    axes[3].plot(clips, [row["peak_mb"] for row in rows], "o-", label="peak memory, MB")
    axes[3].plot(clips, [1000 * row["scores_gb"] for row in rows], "x--", label="the scores, MB")
    axes[3].plot(clips, [row["scoring_seconds"] for row in rows], "o-", label="scoring, s")
    axes[3].set(yscale="log", xlabel="clips", title="407 classes, 250 frames, streamed")
    axes[3].set_xticks(clips, [f"{value:,}" for value in clips])
    axes[3].grid(alpha=0.3)
    axes[3].legend(fontsize=8)
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    """Measure what is asked for, and keep the rest of the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=("compare", "growth", "large", "draw"))
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        print(json.dumps(WORK[given.work[0]](given.work[1])))
        return
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    results["machine"] = {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "threads": 1,
    }
    with tempfile.TemporaryDirectory() as folder:
        if given.only in (None, "compare"):
            results["compare"] = compare(Path(folder))
        if given.only in (None, "growth"):
            results["growth"] = growth(Path(folder))
    if given.only in (None, "large"):
        results["large"] = large()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if {"growth", "large"} <= set(results):
        draw(results)


if __name__ == "__main__":
    main()
