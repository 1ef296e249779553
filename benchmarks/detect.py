"""Speed, memory and exact times of detection, against the windowing of ATST-SED v1.

    python benchmarks/detect.py             # some 12 minutes on two cores that do nothing else
    python benchmarks/detect.py --quick     # recordings of 10 s and a minute: some 3 minutes
    python benchmarks/detect.py --fresh     # all cells again; otherwise those missing

Networks: the shipped `mini`, and ATST-SED base with random weights (speed does not depend on them).
Runtimes: PyTorch float32, PyTorch with the encoder's products in bfloat16 (`bf16`), ONNX float32,
ONNX int8. Every cell is a process of its own, which loads,
warms up on ten seconds, and detects; its figure is the time of that detection alone, and its peak
resident memory at the end. Ten seconds are the best of five. Ratios are of cells of one run.

`v1` is a transcription of the published windowing from its description: windows of 10 s every 3 s,
one a call, the median filter and the threshold in each, windows joined by OR at 46 frames from one
to the next. `times` holds both windowings to bursts at known times, with a scorer that hears each
frame alone: what they miss is the windowing's own. `agreement` sets the scores and events of each
runtime beside those of PyTorch float32 with the same network, windows and recording.

Writes benchmarks/results/detect.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from scipy.ndimage import median_filter

from long_recording import write_recording

RATE, FRAME = 16_000, 1024
ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/detect.json"
LENGTHS = {"10 s": 10, "1 min": 60, "10 min": 600, "1 h": 3600, "3 h": 10_800}
RUNTIMES = {"base": ("torch", "bf16", "onnx", "int8"), "mini": ("torch", "onnx", "int8")}
LABELS = tuple(f"class {number}" for number in range(10))
Scores = Callable[[np.ndarray], np.ndarray]


def v1_active(samples: np.ndarray, scores: Scores, median: int = 7) -> np.ndarray:
    """Active frames [T, C] as ATST-SED v1 finds them; `scores` maps [10 s] to [156, C]."""
    windows = (len(samples) - 7 * RATE) // (3 * RATE) + 1
    padding = (windows * 3 + 7) * RATE - len(samples)
    padded = np.pad(samples, (0, padding))
    parts = []
    for number in range(windows):
        start = number * 3 * RATE
        window = scores(padded[start : start + 10 * RATE])
        parts.append(median_filter(window, (median, 1)) > 0.5)
    active = np.zeros(((windows - 1) * 46 + len(parts[0]), parts[0].shape[1]), dtype=bool)
    for number, part in enumerate(parts):
        active[number * 46 : number * 46 + len(part)] |= part
    return active[: len(active) - padding // FRAME]


class Loudness:
    """A scorer that hears every frame alone."""

    def __init__(self) -> None:
        from earmark.core.spec import ModelSpec

        self.spec = ModelSpec(("loud",), FRAME)

    def score_windows(self, waveforms: np.ndarray, lengths: Any) -> np.ndarray:
        """[B, S] → [B, 156, 1]."""
        frames = waveforms[:, : 156 * FRAME].reshape(len(waveforms), 156, FRAME)
        return np.abs(frames).max(-1, keepdims=True)


def times() -> dict[str, float]:
    """Largest error of an onset in ten minutes, of both windowings."""
    from earmark import Detector

    onsets = np.arange(5, 600, 17) * 1.0  # s
    samples = np.zeros(600 * RATE, dtype=np.float32)
    for onset in onsets:
        start = round(onset * RATE)
        samples[start : start + 2 * RATE] = 0.9
    scorer = Loudness()
    found = Detector(scorer).detect((samples, RATE)).found
    active = v1_active(samples, lambda window: scorer.score_windows(window[None], None)[0])[:, 0]
    starts = np.flatnonzero(np.diff(active.astype(int), prepend=0) == 1) * FRAME / RATE
    ours = np.array([event[0] for event in found])
    if not len(ours) == len(starts) == len(onsets):
        raise SystemExit(f"{len(onsets)} bursts: {len(ours)} found, {len(starts)} by v1")
    return {
        "bursts": len(onsets),
        "frame_seconds": FRAME / RATE,
        "largest_onset_error_seconds": round(float(np.abs(ours - onsets).max()), 4),
        "largest_onset_error_seconds_v1": round(float(np.abs(starts - onsets).max()), 4),
    }


def prepare(work: Path) -> None:
    """Bundles and exported files in a folder, those that are not there."""
    import torch

    from earmark.core.config import AtstSettings, NetworkSettings
    from earmark.deliver.onnx.export import export_network
    from earmark.model.bundle import load_bundle, save_bundle
    from earmark.model.sed import SedNetwork

    sys.path.insert(0, str(ROOT / "tests"))
    from helpers.sharpened import sharpen

    base = work / "base"
    if not (base / "README.md").is_file():
        torch.manual_seed(0)
        network = SedNetwork(NetworkSettings(encoder=AtstSettings()), LABELS).eval()
        sharpen(network)
        save_bundle(base, network, {"median_seconds": 0.448}, "# random weights\n")
    for name in ("mini", "base"):
        if not (work / f"{name}.int8.onnx").is_file():
            bundle = load_bundle("mini" if name == "mini" else base)
            out = work / f"{name}.onnx"
            export_network(bundle.network, bundle.postprocess, out, int8=True, repeats=1)


def recording(work: Path, length: str) -> Path:
    """A recording of soundscapes of so much time."""
    path = work / f"{length.replace(' ', '_')}.wav"
    if not path.is_file():
        draft = path.with_suffix(".draft.wav")
        write_recording(draft, max(1, LENGTHS[length] // 60), RATE, 1)
        if LENGTHS[length] < 60:
            samples, _ = soundfile.read(draft, frames=LENGTHS[length] * RATE)
            soundfile.write(draft, samples, RATE)
        draft.replace(path)
    return path


def measure(work: Path, cell: dict[str, Any], threads: int) -> dict[str, Any]:
    """One cell, in this process."""
    network, runtime, length = cell["network"], cell["runtime"], cell["length"]
    bundle = "mini" if network == "mini" else str(work / "base")
    path = recording(work, length)
    if runtime in ("torch", "v1"):
        import torch

        torch.set_num_threads(threads)
    if runtime == "v1":
        run = v1_run(bundle, path)
    else:
        from earmark import Detector

        file = {"onnx": ".onnx", "int8": ".int8.onnx"}.get(runtime)
        name = str(work / f"{network}{file}") if file else bundle
        options: dict[str, Any] = {"hop_seconds": cell["hop"]} if "hop" in cell else {}
        if runtime == "bf16":
            options["precision"] = "bf16-mixed"
        detector = Detector.from_pretrained(name, threads=threads, device="cpu", **options)
        warm = recording(work, "10 s")
        detector.detect(warm)

        def run() -> int:
            result = detector.detect(path)
            if length == "10 min":
                keep(work, cell, result)
            return len(result.found)

    seconds = []
    for _ in range(5 if length == "10 s" else 1):
        began = time.perf_counter()
        events = run()
        seconds.append(time.perf_counter() - began)
    return {
        "seconds": round(min(seconds), 3),
        "times_real_time": round(LENGTHS[length] / min(seconds), 2),
        "peak_mib": peak_mib(),
        "events": events,
    }


def kept(work: Path, cell: dict[str, Any]) -> Path:
    """Where a cell leaves what it found."""
    hop = f"-{cell['hop']:g}" if "hop" in cell else ""
    return work / f"{cell['network']}-{cell['runtime']}{hop}-{cell['length']}.npz"


def keep(work: Path, cell: dict[str, Any], result: Any) -> None:
    """Scores and events of a cell, for `agreement`."""
    labels = result.table.labels
    events = [(onset, offset, labels.index(label)) for onset, offset, label, _ in result.found]
    np.savez(kept(work, cell), scores=result.table.values, events=np.array(events).reshape(-1, 3))


def agreement(work: Path, names: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Scores and events of the cells that kept them, against those of PyTorch float32."""
    found = {}
    for name, cell in names.items():
        path, other = kept(work, cell), kept(work, cell | {"runtime": "torch"})
        if cell["runtime"] in ("torch", "v1") or not (path.is_file() and other.is_file()):
            continue
        ours, theirs = np.load(path), np.load(other)
        difference = np.abs(ours["scores"] - theirs["scores"])
        apart = [farthest(event, ours["events"]) for event in theirs["events"]]
        found[name] = {
            "largest_score_difference": round(float(difference.max()), 6),
            "mean_score_difference": round(float(difference.mean()), 6),
            "events_in_float32": len(theirs["events"]),
            "events": len(ours["events"]),
            "same_times": int(np.sum(np.array(apart) < 1e-9)),
            "within_a_frame": int(np.sum(np.array(apart) < 1.001 * FRAME / RATE)),
        }
    return found


def farthest(event: np.ndarray, others: np.ndarray) -> float:
    """Seconds by which onset or offset differ from those of the most similar event of its class."""
    same = others[others[:, 2] == event[2]]
    return float(np.abs(same[:, :2] - event[:2]).max(1).min()) if len(same) else float("inf")


def peak_mib() -> int:
    """Most resident memory of this process; what getrusage says may be that of its parent."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return round(int(line.split()[1]) / 1024)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def v1_run(bundle: str, path: Path) -> Callable[[], int]:
    """The published windowing over the same network."""
    import torch

    from earmark.core.audio.audio import load_audio
    from earmark.model.bundle import load_bundle

    network = load_bundle(bundle).network

    def scores(window: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            strong: np.ndarray = network(torch.from_numpy(window[None])).strong[0].numpy()
        return strong

    scores(np.zeros(10 * RATE, dtype=np.float32))

    def run() -> int:
        active = v1_active(load_audio(path), scores)
        return int((np.diff(active.astype(int), prepend=0, axis=0) == 1).sum())

    return run


def cells(quick: bool) -> dict[str, dict[str, Any]]:
    """What is measured, in this order."""
    found: dict[str, dict[str, Any]] = {}

    def add(network: str, runtime: str, length: str, **more: Any) -> None:
        hop = f", hop {more['hop']:g} s" if more else ""
        found[f"{network}, {runtime}{hop}, {length}"] = {
            "network": network,
            "runtime": runtime,
            "length": length,
            **more,
        }

    long = "1 min" if quick else "10 min"
    for network in ("base", "mini"):  # neighbours are compared, so they are measured together
        add(network, "v1", long)
        for runtime in RUNTIMES[network]:
            add(network, runtime, long)
        for runtime in RUNTIMES[network]:
            add(network, runtime, long, hop=9.0)
        for length in ("10 s",) if quick else ("10 s", "1 h"):
            for runtime in RUNTIMES[network]:
                add(network, runtime, length)
    for length in ("1 min",) if quick else ("1 min", "3 h"):
        for runtime in ("torch", "onnx"):
            add("mini", runtime, length)
    return found


def ratios(done: dict[str, dict[str, Any]]) -> dict[str, float]:
    """How many times faster than v1's windowing each cell of the same length is."""
    found = {}
    for name, cell in done.items():
        length = name.rpartition(", ")[2]
        other = done.get(f"{name.partition(',')[0]}, v1, {length}")
        if other and ", v1," not in name:
            found[name] = round(other["seconds"] / cell["seconds"], 2)
    return found


def main() -> None:
    """Measure what is missing, cell by cell, writing after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short recordings only")
    parser.add_argument("--fresh", action="store_true", help="measure everything again")
    parser.add_argument("--only", default="", help="cells whose name contains this")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "earmark-benchmark-detect"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.cell:
        print(json.dumps(measure(options.work, json.loads(options.cell), options.threads)))
        return
    known = json.loads(options.out.read_text()) if options.out.is_file() else {}
    done = {} if options.fresh else dict(known.get("cells", {}))
    prepare(options.work)
    exact = times()
    for name, cell in cells(options.quick).items():
        if name in done or options.only not in name:
            continue
        recording(options.work, cell["length"])
        command = [sys.executable, __file__, "--cell", json.dumps(cell)]
        command += ["--work", str(options.work), "--threads", str(options.threads)]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise SystemExit(f"{name}: {result.stderr}")
        done[name] = json.loads(result.stdout.splitlines()[-1])
        print(name, done[name], flush=True)
        write(options, done, exact)
    write(options, done, exact)
    print(json.dumps({"times": exact, "times_faster_than_v1": ratios(done)}, indent=1))


def write(
    options: argparse.Namespace, done: dict[str, dict[str, Any]], exact: dict[str, float]
) -> None:
    """All that is known so far."""
    content = {
        "command": "python benchmarks/detect.py",
        "threads": options.threads,
        "cells": done,
        "times_faster_than_v1": ratios(done),
        "times": exact,
        "agreement": agreement(options.work, cells(options.quick)),
        "core_hours_for_a_million_hours": {
            name.removesuffix(", 1 h"): round(1e6 * options.threads / cell["times_real_time"])
            for name, cell in done.items()
            if name.endswith(", 1 h")
        },
    }
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
