"""What bfloat16 costs or saves: processor seconds of steps and of detection, by network.

    python benchmarks/precision.py
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python benchmarks/precision.py

Both precisions take turns on one core; the least of each counts. Weights are random.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path

import torch

from earmark.core.config import NetworkSettings
from earmark.detect.torch_network import prepare
from earmark.model.encoders.atst import ENCODER_SIZES
from earmark.model.sed import SedNetwork
from earmark.train.recipe import load_recipe

PRECISIONS = ("32-true", "bf16-mixed")
TURNS = 3
CLIPS = {"base": 1, "small": 1, "tiny": 4}


def settings_of(size: str) -> NetworkSettings:
    """The CNN of `mini` beside an ATST-Frame."""
    return load_recipe("mini").network.model_copy(update={"encoder": ENCODER_SIZES[size]})


def network_of(settings: NetworkSettings) -> SedNetwork:
    """A network with random weights and ten classes."""
    torch.manual_seed(0)
    return SedNetwork(settings, tuple("abcdefghij"))


def compare(name: str, work: dict[str, Callable[[], object]]) -> None:
    """Prints the least processor seconds of each precision, and their ratio."""
    best = dict.fromkeys(work, float("inf"))
    for _ in range(TURNS):
        for precision, run in work.items():
            begin = time.process_time()
            run()
            best[precision] = min(best[precision], time.process_time() - begin)
    first, second = best.values()
    print(f"{name:28} {first:7.3f} s {second:7.3f} s  ratio {second / first:.2f}", flush=True)


def step(network: SedNetwork, waveforms: torch.Tensor, precision: str) -> None:
    """Forward and backward."""
    with torch.autocast("cpu", torch.bfloat16, enabled=precision != "32-true"):
        output = network(waveforms)
    (output.strong.float().square().mean() + output.weak.float().mean()).backward()
    network.zero_grad(set_to_none=True)


def main() -> None:
    """All networks."""
    torch.set_num_threads(1)
    sizes = {f"ATST-Frame {size}": (settings_of(size), clips) for size, clips in CLIPS.items()}
    clips_of = {"mini": 8, "crnn-baseline": 4, "own": 4}
    light = {name: (load_recipe(name).network, clips) for name, clips in clips_of.items()}
    for name, (settings, clips) in (light | sizes).items():
        network = network_of(settings).train()
        if name == "own" and network.encoder is not None:
            for parameter in network.encoder.parameters():
                parameter.requires_grad_(False)
        waveforms = 0.1 * torch.randn(clips, network.spec.window)
        turns = {p: (lambda p=p: step(network, waveforms, p)) for p in PRECISIONS}  # noqa: B023
        compare(f"step, {name}", turns)
    for size in CLIPS:
        network, runs = network_of(settings_of(size)).eval(), {}
        waveforms = 0.1 * torch.randn(2, network.spec.window)
        for precision in PRECISIONS:
            own = copy.deepcopy(network)
            prepare(own, torch.device("cpu"), precision, Path())
            runs[precision] = lambda own=own: own(waveforms)  # noqa: B023
        with torch.inference_mode():
            compare(f"detection, ATST-Frame {size}", runs)


if __name__ == "__main__":
    main()
