"""What a first stage gains by running its frozen encoder once, and by keeping its tokens on disk.

    python benchmarks/token_sharing.py                 # some five minutes on one core, 3 GB
    python benchmarks/token_sharing.py --size tiny     # half a minute

Steps of the recipes `atst-sed-stage1` and `atst-sed-v2-stage1` on random clips of 10 s (losses,
backward pass and Adam included), in alternating turns, the best of each:

- `apart`: student and teacher each run their own encoder, as the official code does;
- `shared`: one encoder, once per distinct input, as Earmark does by itself;
- `cached`: its tokens of clean clips read from disk (`train.token_cache`).

Ratios within one run are what counts; seconds are this machine's. Writes
benchmarks/results/token_sharing.json and prints the table of docs/two_stages.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from earmark.data.dataset import KINDS, Batch
from earmark.method.mixup import Mix
from earmark.method.networks import Student, Teacher
from earmark.method.settings import Recipe
from earmark.method.step import StepInputs
from earmark.method.versions import draw_mix, step_of
from earmark.model.encoders.atst import ENCODER_SIZES
from earmark.model.sed import SedNetwork
from earmark.train.distributed import leave_out_unused
from earmark.train.optim import freeze, make_optimizer, train_mode
from earmark.train.recipe import load_recipe
from earmark.train.shared_encoder import share_encoder
from earmark.train.token_cache import TokenCache, token_bytes

RESULTS = Path(__file__).resolve().parent / "results/token_sharing.json"
RECIPES = ("atst-sed-stage1", "atst-sed-v2-stage1")
LABELS = tuple(f"class{number}" for number in range(10))
WAYS = ("apart", "shared", "cached")


def recipe_of(name: str, size: str) -> Recipe:
    """A recipe with an encoder of another size; every batch is mixed."""
    chosen = ENCODER_SIZES[size]
    sizes = [f"network.encoder.{field}={getattr(chosen, field)}" for field in ("width", "depth")]
    heads = f"network.encoder.heads={chosen.heads}"
    return load_recipe(name, [*sizes, heads, "method.mixup.probability=1.0"])


def make_batch(recipe: Recipe, clips: int) -> Batch:
    """A fourth of the clips strong, a fourth weak, the rest unlabelled."""
    generator = torch.Generator().manual_seed(0)
    network = SedNetwork(recipe.network.model_copy(update={"encoder": None}), LABELS)
    frames = network.spec.frames
    kinds = torch.tensor([min(2, 4 * clip // clips) for clip in range(clips)])
    strong = (torch.rand(clips, frames, len(LABELS), generator=generator) > 0.9).float()
    strong[kinds != KINDS.index("strong")] = 0.0
    waveforms = 0.1 * torch.randn(clips, network.spec.window, generator=generator)
    valid = torch.ones(clips, frames, dtype=torch.bool)
    return Batch(waveforms, strong, strong.amax(1), valid, kinds)


class Stage:
    """Networks and optimiser of a first stage, and its step in one of the ways."""

    def __init__(self, recipe: Recipe, way: str, folder: Path) -> None:
        torch.manual_seed(0)
        network = SedNetwork(recipe.network, LABELS)
        leave_out_unused(network)
        self.recipe, self.student = recipe, Student(network, recipe.method.embedding)
        freeze(self.student, recipe.train.frozen)
        self.teacher = Teacher(self.student)
        self.optimizer = make_optimizer(self.student, recipe.train)
        self.encoder = None if way == "apart" else share_encoder(self.student, self.teacher)
        self.cache: TokenCache | None = None
        if way == "cached":
            self.cache = TokenCache(folder, network, 2**34, "cpu 32-true")

    def step(self, batch: Batch, mix: Mix) -> float:
        """Seconds of one step."""
        train_mode(self.student, self.recipe.train.frozen)
        generator, method = torch.Generator().manual_seed(1), self.recipe.method
        began = time.perf_counter()
        encoder = self.encoder
        if self.cache is not None and encoder is not None:
            read = partial(self.cache.tokens_of, batch, torch.device("cpu"))
            encoder = replace(encoder, read=read)
        self.optimizer.zero_grad()
        inputs = StepInputs(mix, encoder=encoder)
        result = step_of(method)(self.student, self.teacher, batch, 0, method, generator, inputs)
        result.loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return time.perf_counter() - began


def best_of(turns: int, ways: dict[str, Callable[[], float]]) -> dict[str, float]:
    """The fastest of alternating turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, take in ways.items():
            seconds[name].append(take())
    return {name: min(found) for name, found in seconds.items()}


def measure(name: str, size: str, clips: int, turns: int) -> dict[str, Any]:
    """Seconds of a step in each way, and ratios."""
    recipe = recipe_of(name, size)
    batch = make_batch(recipe, clips)
    mix = draw_mix(batch.kinds, recipe.method, torch.Generator().manual_seed(2))
    with tempfile.TemporaryDirectory() as folder:
        stages = {way: Stage(recipe, way, Path(folder)) for way in WAYS}
        cached = stages["cached"]
        cached.step(batch, mix)  # fills the cache
        found = best_of(turns, {way: lambda s=s: s.step(batch, mix) for way, s in stages.items()})  # type: ignore[misc]
    return {
        "recipe": name,
        "encoder": size,
        "clips": clips,
        "seconds": found,
        "ratio_to_apart": {way: found["apart"] / seconds for way, seconds in found.items()},
        "kib_per_clip": token_bytes(recipe.network) / 1024,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, as docs/two_stages.md has it."""
    out = ["| recipe | encoder | apart | shared | cached |", "|---|---|---|---|---|"]
    for row in rows:
        cells = [
            f"{row['seconds'][way]:.1f} s ({row['ratio_to_apart'][way]:.2f} ×)" for way in WAYS
        ]
        out.append(f"| `{row['recipe']}` | {row['encoder']} | {' | '.join(cells)} |")
    return "\n".join(out)


def main() -> None:
    """Measure both recipes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("tiny", "small", "base"), default="base")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [measure(name, options.size, options.clips, options.turns) for name in RECIPES]
    machine = {"processor": platform.machine(), "threads": options.threads}
    if options.size == "base":
        record = {"machine": machine | {"torch": torch.__version__}, "rows": rows}
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
