"""What a stage of ATST-SED costs on a GPU, reckoned from counted floating-point operations.

    python benchmarks/stage_cost.py            # two small steps on a CPU, a minute; 3 GB of memory

`torch.utils.flop_counter` counts matrix products, convolutions and attention of one step
(forward, backward, teacher) of the recipes atst-sed-v2-stage1 and -stage2 on 3 clips of 10 s; the
GRU is not counted by it and is added by its formula (6 · hidden · (inputs + hidden) a frame, layer
and direction, three times that with the backward pass). A stage is its steps of 144 clips. Hours
are operations over the card's published dense rate of bf16 tensor cores times a utilisation; memory
is that of docs/resources.md (benchmarks/results/resources.json). Nothing of it was run on a GPU.

Writes benchmarks/results/stage_cost.json and prints the table of docs/two_stages.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from earmark.method.mixup import Mix
from earmark.method.step import StepInputs, training_step
from resources import STEP, make_batch, make_models, needed

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/stage_cost.json"
CLIPS = 3
GPUS = {"RTX 3090": 71e12, "RTX 4090": 165e12, "A100": 312e12, "H100": 989e12}
"""Dense bf16 operations a second, as NVIDIA's data sheets give them (3090, 4090: float32 sums)."""
UTILISATION = (0.15, 0.35)
"""Of that rate: small kernels, loading and front-ends cost the rest. Assumed, not measured."""
GIB = 2**30


def gru_operations(settings: Any, frames: int, inputs: int) -> int:
    """Forward operations of the bidirectional GRU for a clip."""
    hidden, total, width = settings.rnn_hidden, 0, inputs
    for _ in range(settings.rnn_layers):
        total += 2 * 2 * 3 * hidden * (width + hidden) * frames  # two directions, multiply and add
        width = 2 * hidden
    return total


def count(stage: int) -> dict[str, float]:
    """Operations a clip in a training step of a stage."""
    torch.manual_seed(0)
    student, teacher, encoder, recipe = make_models({"stage": stage, "checkpointing": False})
    batch = make_batch(student.network, CLIPS)
    # In a whole batch nearly every clip is mixed: the encoder hears it clean and in its mixture.
    partners = torch.arange(CLIPS).roll(1)
    mix = Mix(torch.full((CLIPS,), 0.7), partners, torch.ones(CLIPS, dtype=torch.bool))
    with FlopCounterMode(display=False) as counter:
        step = (student, teacher, batch, 0, recipe.method, torch.Generator().manual_seed(0))
        result = training_step(*step, StepInputs(mix, encoder=encoder))
        result.loss.backward()  # type: ignore[no-untyped-call]
    network, settings = student.network, student.network.settings
    merged = settings.encoder.merge if settings.encoder is not None else settings.channels[-1]
    gru = gru_operations(settings, network.spec.frames, merged)
    return {
        "stage": stage,
        "steps": recipe.train.steps,
        "counted_per_clip": counter.get_total_flops() / CLIPS,
        "gru_per_clip": 4.0 * gru,  # the teacher's pass, and the student's three times
    }


def memory_ways() -> dict[int, list[dict[str, Any]]]:
    """What docs/resources.md's measurements say of each stage, in bf16."""
    stored = json.loads((ROOT / "benchmarks/results/resources.json").read_text(encoding="utf-8"))
    ways: dict[int, list[dict[str, Any]]] = {}
    for way in stored["ways"]:
        if way["precision"] == "bf16-mixed":
            ways.setdefault(way["stage"], []).append(way)
    return ways


def table(rows: list[dict[str, Any]]) -> str:
    """The table of the page."""
    heads = [f"{name}, hours" for name in GPUS]
    lines = [f"| stage | operations | {' | '.join(heads)} | memory, bf16 |"]
    lines.append(f"|---|---|{'---|' * len(heads)}---|")
    ways = memory_ways()
    for row in rows:
        total = (row["counted_per_clip"] + row["gru_per_clip"]) * STEP * row["steps"]
        spans = []
        for rate in GPUS.values():
            slow, fast = (total / (rate * use) / 3600 for use in UTILISATION)
            spans.append(f"{fast:.1f}–{slow:.1f}")
        sizes = sorted(needed(way, STEP) / GIB for way in ways[row["stage"]])
        memory = " or ".join(f"{size:.0f} GiB" for size in sizes)
        lines.append(
            f"| {row['stage']} ({row['steps']:,} steps) | {total:.1e} | {' | '.join(spans)} "
            f"| {memory} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Count, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = [count(1), count(2)]
    found = {"clips": CLIPS, "clips_per_step": STEP, "stages": rows, "torch": torch.__version__}
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
