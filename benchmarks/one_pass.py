"""What it gains to encode a recording once, against window by window; both in one run.

    python benchmarks/one_pass.py [--minutes 10] [--repeats 3]

A network of the shape of `home` (recipe home-stage1: YAMNet with its published weights, the rest
random) and the bundle `audioset` score ten minutes of noise bursts on every core, the two ways in
alternation; the fastest counts. Seconds of all cores together are given beside, for a machine with
other work is no clock. Then a stream with short look-ahead, on one core. Writes
benchmarks/results/one_pass.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from earmark.core.parallel import available_cores
from earmark.core.timeline import SAMPLE_RATE
from earmark.detect.sliding import SlidingScorer, sliding_scores
from earmark.detect.torch_network import TorchScorer
from earmark.model.bundle import load_bundle
from earmark.model.encoders.yamnet import pretrained_weights
from earmark.model.packed import pack
from earmark.model.sed import SedNetwork
from earmark.train.recipe import load_recipe

RESULTS = Path(__file__).resolve().parent / "results/one_pass.json"
HOME = ("Alarm_bell_ringing", "Blender", "Cat", "Dishes", "Dog", "Electric_shaver_toothbrush",
        "Frying", "Running_water", "Speech", "Vacuum_cleaner")  # fmt: skip


class Windowed(TorchScorer):
    """The same network, window by window."""

    def one_pass(self) -> None:
        """Says that it has no two steps."""
        return


def home() -> SedNetwork:
    """A network of the shape of `home`."""
    torch.manual_seed(0)
    network = SedNetwork(load_recipe("home-stage1").network, HOME)
    network.sure_encoder.load_state_dict(pretrained_weights())
    return network.eval()


def bursts(seconds: float, seed: int) -> NDArray[np.float32]:
    """Noise whose level changes every half second."""
    rng = np.random.default_rng(seed)
    count = int(seconds * SAMPLE_RATE)
    level = np.repeat(rng.random(count // 8000 + 1) ** 3, 8000)[:count]
    return (0.3 * level * rng.standard_normal(count)).astype(np.float32)


def timed(repeats: int, ways: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Least wall and processor seconds of each way, in alternation, and what each gave last."""
    best: dict[str, Any] = {}
    gave: dict[str, Any] = {}
    for _ in range(repeats):
        for name, run in ways.items():
            wall, cores = time.perf_counter(), time.process_time()
            gave[name] = run()
            now = time.perf_counter() - wall, time.process_time() - cores
            before = best.get(name, now)
            best[name] = min(now[0], before[0]), min(now[1], before[1])
    return best, gave


def stream(scorer: TorchScorer, audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """A stream with a look-ahead of two seconds."""
    sliding = SlidingScorer(scorer, batch_size=1, lookahead_seconds=2.0)
    parts = [sliding.push(block) for block in np.array_split(audio, len(audio) // 1600)]
    return np.concatenate([*parts, sliding.finish()])


def compared(network: Any, seconds: float, repeats: int) -> dict[str, Any]:
    """Both ways on a recording, and in a stream of a tenth of it."""
    audio, short, cores = bursts(seconds, 1), bursts(seconds / 10, 2), available_cores()
    ways = {"one_pass": TorchScorer(network), "windowed": Windowed(network)}
    runs = {
        name: lambda scorer=scorer: sliding_scores([audio], scorer, None, 4, threads=cores)
        for name, scorer in ways.items()
    }
    best, gave = timed(repeats, runs)
    torch.set_num_threads(1)
    live, _ = timed(repeats, {n: lambda s=s: stream(s, short) for n, s in ways.items()})
    difference = np.abs(gave["one_pass"] - gave["windowed"])
    return {
        "seconds": {n: round(wall, 2) for n, (wall, _) in best.items()},
        "processor_seconds": {n: round(cpu, 2) for n, (_, cpu) in best.items()},
        "gain": round(best["windowed"][1] / best["one_pass"][1], 2),
        "times_real_time": round(seconds / best["one_pass"][0], 1),
        "times_real_time_by_processor_seconds": round(cores * seconds / best["one_pass"][1], 1),
        "stream_processor_seconds": {n: round(cpu, 2) for n, (_, cpu) in live.items()},
        "stream_gain": round(live["windowed"][1] / live["one_pass"][1], 2),
        "difference_mean": float(difference.mean()),
        "difference_largest": float(difference.max()),
    }


def main() -> None:
    """Time both ways."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--networks", nargs="+", default=["home", "audioset"])
    options = parser.parse_args()
    known: dict[str, Any] = {"home": home, "audioset": lambda: load_bundle("audioset").network}
    results: dict[str, Any] = {
        "command": f"python benchmarks/one_pass.py --minutes {options.minutes:g} --repeats "
        f"{options.repeats} --networks {' '.join(options.networks)}",
        "cores": available_cores(),
    }
    for name in options.networks:
        network = known[name]()
        pack(network)
        results[name] = compared(network, 60 * options.minutes, options.repeats)
        print(name, json.dumps(results[name], indent=1), flush=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
