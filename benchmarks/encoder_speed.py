"""ATST-SED base against the machine's own matrix multiplication, in one run.

    python benchmarks/encoder_speed.py

Multiplications of square and of encoder-like matrices, the encoder alone and the whole network
take turns, each for about as long as one call of the encoder, so that whatever else the machine
does hits all of them alike. Matrices are multiplied in both of the ways PyTorch has for float32 on
a CPU: torch.mm (MKL), and oneDNN with the weight laid out beforehand, which the packed encoder
uses. The peak is the fastest multiplication, of either way and any shape and turn. Exact
counts of floating-point operations: every linear map and both products of the attention, two for
a multiplication with its addition; norms, GELU, softmax and additions are not counted, though
their time is. Float32, one and two threads, ten-second clips, batches of 1 and 4.

Writes benchmarks/results/encoder_speed.json.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from earmark.core.config import AtstSettings, NetworkSettings
from earmark.model.encoders.atst import AtstFrame
from earmark.model.packed import pack
from earmark.model.sed import Mels, SedNetwork

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks/results/encoder_speed.json"
LABELS = tuple(f"class {number}" for number in range(10))
SQUARES = (1024, 2048)
SECONDS = 10
Task = tuple[Callable[[], object], float]  # what to run, and its floating-point operations


def encoder_flops(encoder: AtstFrame, batch: int, tokens: int) -> float:
    """Floating-point operations of the matrix products of one call."""
    linear = sum(m.weight.numel() for m in encoder.modules() if isinstance(m, nn.Linear))
    attention = 2 * tokens * encoder.settings.width * encoder.settings.depth  # QK and AV
    return 2.0 * batch * tokens * (linear + attention)


def multiplication(shape: tuple[int, int, int], flops: float, packed: bool) -> Task:
    """[rows, inner] × [inner, columns], as often as makes about so many operations."""
    rows, inner, columns = shape
    repeats = max(1, round(flops / (2.0 * rows * inner * columns)))
    left, layer = torch.randn(rows, inner), nn.Linear(inner, columns, bias=False)
    out = torch.empty(rows, columns)
    if packed and not pack(layer):
        raise SystemExit("this PyTorch comes without oneDNN")

    def run() -> None:
        for _ in range(repeats):
            if packed:
                layer(left)
            else:
                torch.mm(left, layer.weight.t(), out=out)

    return run, 2.0 * repeats * rows * inner * columns


def gemm_tasks(flops: float) -> dict[str, Task]:
    """Square products, and those of the encoder's layers for 1 and 4 clips."""
    shapes = [(size, size, size) for size in SQUARES]
    for rows in (250, 1000):
        shapes += [(rows, 768, 2304), (rows, 768, 768), (rows, 768, 3072), (rows, 3072, 768)]
    return {
        f"{'oneDNN' if packed else 'MKL'} {'×'.join(map(str, shape))}": multiplication(
            shape, flops, packed
        )
        for shape in shapes
        for packed in (False, True)
    }


def network_tasks(network: SedNetwork, plain: AtstFrame, batch: int) -> dict[str, Task]:
    """The encoder alone, packed and as it trains, and everything from waveform to scores."""
    encoder = network.encoder
    assert encoder is not None
    generator = torch.Generator().manual_seed(0)
    waveforms = 0.1 * torch.randn(batch, SECONDS * 16_000, generator=generator)
    mels: Mels = network.scale(network.linear(waveforms))
    mel = mels.encoder
    assert mel is not None
    flops = encoder_flops(encoder, batch, encoder.tokens_in(mel.shape[2]))
    return {
        f"encoder, batch {batch}": (lambda: encoder(mel), flops),
        f"encoder not packed, batch {batch}": (lambda: plain(mel), flops),
        f"network, batch {batch}": (lambda: network(waveforms), flops),
        f"front-ends, batch {batch}": (lambda: network.scale(network.linear(waveforms)), 0.0),
    }


def measure(tasks: dict[str, Task], turns: int) -> dict[str, list[float]]:
    """Seconds of every task in every turn, after a turn that is thrown away."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(turns + 1):
        for name, (run, _) in tasks.items():
            started = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def summary(tasks: dict[str, Task], seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Rates, and the encoder's shares of the peak: best against best, median against median."""
    rates = {
        name: {
            "best_gflops": round(flops / min(seconds[name]) / 1e9, 1),
            "median_gflops": round(flops / statistics.median(seconds[name]) / 1e9, 1),
        }
        for name, (_, flops) in tasks.items()
        if "×" in name
    }
    best = max(rate["best_gflops"] for rate in rates.values())
    median = max(rate["median_gflops"] for rate in rates.values())
    found: dict[str, Any] = {"multiplications": rates, "peak_gflops": best}
    for name, (_, flops) in tasks.items():
        if "×" in name:
            continue
        row = {
            "best_seconds": round(min(seconds[name]), 4),
            "median_seconds": round(statistics.median(seconds[name]), 4),
        }
        if name.startswith("encoder"):
            fastest = flops / min(seconds[name]) / 1e9
            usual = flops / statistics.median(seconds[name]) / 1e9
            row |= {
                "gflop": round(flops / 1e9, 3),
                "best_gflops": round(fastest, 1),
                "share_of_peak": round(fastest / best, 3),
                "share_of_medians": round(usual / median, 3),
            }
        found[name] = row
    return found


def main() -> None:
    """Measure with one thread and with two, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.manual_seed(0)
    network = SedNetwork(NetworkSettings(encoder=AtstSettings()), LABELS).eval()
    plain = copy.deepcopy(network.encoder)
    assert plain is not None
    pack(network)
    results: dict[str, Any] = {
        "command": "python benchmarks/encoder_speed.py",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "turns": options.turns,
        "threads": {},
    }
    for threads in options.threads:
        torch.set_num_threads(threads)  # also where OMP_NUM_THREADS says otherwise
        clips = network_tasks(network, plain, 1) | network_tasks(network, plain, 4)
        tasks = gemm_tasks(clips["encoder, batch 1"][1]) | clips
        with torch.inference_mode():
            found = summary(tasks, measure(tasks, options.turns))
        results["threads"][str(threads)] = found
        print(f"{threads} thread(s): peak {found['peak_gflops']} GFLOP/s")
        for name in clips:
            print(f"  {name}: {found[name]}")
    options.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
