"""Whether an exported network gives the scores of the network it was made from, and how fast.

Strong and weak scores are compared, alone and in a batch, on sounds that go wrong easily: faint to
overloaded noise, silence and near silence, a tone, a click, soundscapes of household sounds, and
clips shorter than a window.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from earmark.detect.torch_network import evaluating
from earmark.model.onnx_form import OnnxForm
from earmark.model.onnx_network import OnnxNetwork
from earmark.model.sed import SedNetwork
from earmark.model.tagger import Tagger
from earmark.synth.scene import make_soundscape
from earmark.synth.settings import load_synth_settings
from earmark.synth.sources import SynthesisedSources

Floats = NDArray[np.float32]

TOLERANCE = 1e-4
"""Largest difference of any probability that an export may have."""
BATCH = 8
SEED = 0


@dataclass(frozen=True)
class Probe:
    """A sound to compare by: samples [window], of which ``length`` are no padding."""

    samples: Floats
    length: int


@dataclass(frozen=True)
class Parity:
    """Differences of an exported network.

    Attributes:
        alone: Largest difference of each probe, scored alone.
        batch: Largest difference of all probes scored together.
        spread: Highest minus lowest score of the network that was exported: what the differences
            are to be held against.
    """

    alone: Mapping[str, float]
    batch: float
    spread: float

    @property
    def largest(self) -> float:
        """The largest difference of all."""
        return max(*self.alone.values(), self.batch)


@dataclass(frozen=True)
class Speed:
    """Best seconds of one call for a batch of windows, and how many times faster the export is."""

    batch: int
    network: float
    exported: float

    @property
    def ratio(self) -> float:
        """Times faster than the network on PyTorch."""
        return self.network / self.exported


def probes(window: int, sample_rate: int) -> dict[str, Probe]:
    """The sounds, by name; the same ones every time."""
    rng = np.random.default_rng(SEED)
    noise = rng.normal(size=window)
    click = np.zeros(window)
    click[window // 3] = 0.9
    seconds = np.arange(window) / sample_rate
    sounds = {
        "noise": 0.1 * noise,
        "overloaded noise": np.clip(2.0 * noise, -1.0, 1.0),
        "faint noise": 1e-4 * noise,
        "silence": np.zeros(window),
        "nearly silence": 1e-7 * noise,
        "tone": 0.8 * np.sin(2 * np.pi * 1000.0 * seconds),
        "click": click,
    }
    sources, settings = SynthesisedSources(), load_synth_settings("demo")
    for number in (1, 2):
        scene = make_soundscape(sources, "test", settings, rng, subset="test").audio
        sounds[f"soundscape {number}"] = np.resize(scene, window)
    found = {name: Probe(values.astype(np.float32), window) for name, values in sounds.items()}
    for name, fraction in (("short clip", 0.37), ("very short clip", 0.021)):
        length = round(fraction * window)
        cut = np.pad(sounds["soundscape 1"][:length], (0, window - length))
        found[name] = Probe(cut.astype(np.float32), length)
    return found


def measure_parity(network: SedNetwork | Tagger, exported: OnnxNetwork | OnnxForm) -> Parity:
    """Compares an exported network with its source on all probes."""
    sounds = probes(network.spec.window, network.spec.sample_rate)
    batch = np.stack([probe.samples for probe in sounds.values()])
    lengths = [probe.length for probe in sounds.values()]
    strong, weak = reference(network, batch, lengths)
    together = exported(batch, lengths)
    alone = {}
    for row, (name, probe) in enumerate(sounds.items()):
        single = exported(probe.samples[None], [probe.length])
        alone[name] = max(_gap(single.strong[0], strong[row]), _gap(single.weak[0], weak[row]))
    return Parity(
        alone,
        max(_gap(together.strong, strong), _gap(together.weak, weak)),
        float(strong.max() - strong.min()),
    )


def reference(
    network: SedNetwork | Tagger, waveforms: Floats, lengths: list[int]
) -> tuple[Floats, Floats]:
    """Strong [B, T, C] and weak [B, C] scores on PyTorch of windows with padding."""
    hop = network.spec.frame_hop
    starts = torch.arange(network.spec.frames) * hop
    valid = starts < torch.tensor(lengths)[:, None]
    with torch.inference_mode(), evaluating(network):
        output = network(torch.from_numpy(waveforms), valid)
    return output.strong.numpy(), output.weak.numpy()


def _gap(ours: Floats, theirs: Floats) -> float:
    return float(np.abs(ours.astype(np.float64) - theirs).max())


def measure_speed(
    network: SedNetwork | Tagger, exported: OnnxNetwork, threads: int, repeats: int = 5
) -> list[Speed]:
    """Times both on the same windows in alternation, with one window and with a batch per call.

    Args:
        network: On the CPU.
        exported: Running on ``threads``, too.
        threads: PyTorch's for this comparison.
        repeats: Timings of each, of which the best counts.
    """
    rng = np.random.default_rng(SEED)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = []
        for batch in (1, BATCH):
            shape = (batch, network.spec.window)
            waveforms = (0.1 * rng.normal(size=shape)).astype(np.float32)
            tasks: dict[str, Callable[[], object]] = {
                "network": partial(network, torch.from_numpy(waveforms)),
                "exported": partial(exported, waveforms),
            }
            with torch.inference_mode(), evaluating(network):
                seconds = best_of(tasks, repeats)
            found.append(Speed(batch, **seconds))
        return found
    finally:
        torch.set_num_threads(before)


def best_of(tasks: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Least seconds of each task, run in alternation so many times after once to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for repeat in range(repeats + 1):
        for name, run in tasks.items():
            began = time.perf_counter()
            run()
            if repeat:
                seconds[name].append(time.perf_counter() - began)
    return {name: min(values) for name, values in seconds.items()}
