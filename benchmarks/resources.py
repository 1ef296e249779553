"""Memory and time of a training step of ATST-SED by batch size, and what fits on a GPU.

    python benchmarks/resources.py            # some five minutes on one core; 4 GB of memory

Every case runs in a process of its own: one step of the recipes atst-sed-v2-stage1 (the encoder is
frozen) and -stage2 on random clips of 10 s, on the CPU. Measured are

- the bytes that autograd keeps between the forward and the backward pass, through
  `torch.autograd.graph.saved_tensors_hooks`: each storage once, parameters left out. Nothing of
  it depends on the device but the choice of kernels;
- the rise of the process's highest resident memory over the step, optimiser state and gradients
  being there before: what is kept, and what comes and goes besides;
- seconds of the step.

A straight line through batch sizes gives bytes per clip and bytes per step; from them `fits`
reckons what a GPU needs. Writes benchmarks/results/resources.json and prints docs/resources.md's
tables.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from earmark.data.dataset import Batch
from earmark.method.networks import Student, Teacher
from earmark.method.settings import Recipe
from earmark.method.step import StepInputs, training_step
from earmark.model.sed import SedNetwork
from earmark.train.distributed import leave_out_unused
from earmark.train.optim import freeze, make_optimizer, train_mode
from earmark.train.recipe import load_recipe
from earmark.train.shared_encoder import SharedEncoder, share_encoder

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/resources.json"
LABELS = tuple(f"class{number}" for number in range(10))
MIB, GIB = 2**20, 2**30
BATCHES = (2, 4, 8)
CASES = [
    {"stage": stage, "precision": precision, "checkpointing": checkpointing, "batch": batch}
    for stage in (2, 1)
    for precision in ("32-true", "bf16-mixed")
    for checkpointing in ((False, True) if stage == 2 else (False,))
    for batch in BATCHES
]

# What a GPU needs besides, assumed and not measured here.
CONTEXT = 0.8 * GIB  # CUDA context, cuDNN and cuBLAS workspaces
USABLE = 0.92  # of the card's memory, for the rest goes to fragmentation
CARDS = (8, 16, 24, 80)
STEP = 144  # clips of 24/24/48/48


def high_water() -> int:
    """Highest resident memory since the mark was last reset, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def make_models(
    case: dict[str, Any],
) -> tuple[Student, Teacher, SharedEncoder | None, Recipe]:
    """The paper's network as a stage trains it, the heads of the embedding loss, the teacher."""
    name, key = f"atst-sed-v2-stage{case['stage']}", "network.encoder.checkpointing"
    recipe = load_recipe(name, [f"{key}={str(case['checkpointing']).lower()}"])
    network = SedNetwork(recipe.network, LABELS)
    leave_out_unused(network)
    student = Student(network, recipe.method.embedding)
    freeze(student, recipe.train.frozen)
    train_mode(student, recipe.train.frozen)
    teacher = Teacher(student)
    return student, teacher, share_encoder(student, teacher), recipe


def make_batch(network: SedNetwork, clips: int) -> Batch:
    """Random clips in the proportions of 24 + 24 strong, 48 weak and 48 unlabelled ones."""
    kinds = torch.arange(clips) * 3 // clips
    strong = (torch.rand(clips, network.spec.frames, len(LABELS)) > 0.9).float()
    valid = torch.ones(clips, network.spec.frames, dtype=torch.bool)
    waveforms = 0.1 * torch.randn(clips, network.spec.window)
    return Batch(waveforms, strong, strong.amax(1), valid, kinds)


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """One step of a case, in this process."""
    torch.manual_seed(0)
    student, teacher, encoder, recipe = make_models(case)
    networks = torch.nn.ModuleList([student, teacher])
    optimizer = make_optimizer(student, recipe.train)
    learning = [p for p in student.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # makes the moments; gradients of zero move nothing
    batch, generator = make_batch(student.network, case["batch"]), torch.Generator().manual_seed(0)

    ours = {p.untyped_storage().data_ptr() for p in networks.parameters()}
    kept: dict[int, tuple[Tensor, int]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in ours:
            # Held, so that no later storage takes its address.
            kept[storage.data_ptr()] = (tensor, storage.nbytes())
        return tensor

    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the mark
    before, began = high_water(), time.perf_counter()
    half = case["precision"] == "bf16-mixed"
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            step = (student, teacher, batch, 0, recipe.method, generator)
            loss = training_step(*step, StepInputs(encoder=encoder)).loss
        saved = sum(size for _, size in kept.values())
        kept.clear()
        forward = time.perf_counter() - began
        loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return case | {
        "kept_mib": saved / MIB,
        "resident_mib": (high_water() - before) / MIB,
        "forward_s": forward,
        "step_s": time.perf_counter() - began,
        "parameters": sum(p.numel() for p in student.parameters()),
        "learning": sum(p.numel() for p in learning),
        # Beside the student's: a frozen encoder is one of both.
        "teacher": sum(p.numel() for p in set(teacher.parameters()) - set(student.parameters())),
    }


def line(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Slope and intercept of the straight line of least squares."""
    n = len(points)
    x, y = sum(p[0] for p in points) / n, sum(p[1] for p in points) / n
    slope = sum((p[0] - x) * (p[1] - y) for p in points) / sum((p[0] - x) ** 2 for p in points)
    return slope, y - slope * x


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per clip and per step for each way of training."""
    ways: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        ways.setdefault((row["stage"], row["precision"], row["checkpointing"]), []).append(row)
    result = []
    for (stage, precision, checkpointing), members in ways.items():
        kept = line([(row["batch"], row["kept_mib"]) for row in members])
        resident = line([(row["batch"], row["resident_mib"]) for row in members])
        largest = max(members, key=lambda row: row["batch"])
        result.append(
            {
                "stage": stage,
                "precision": precision,
                "checkpointing": checkpointing,
                "kept_mib_per_clip": kept[0],
                "kept_mib_per_step": kept[1],
                "resident_mib_per_clip": resident[0],
                "resident_mib_per_step": resident[1],
                "seconds_per_clip": largest["step_s"] / largest["batch"],
                **{name: largest[name] for name in ("parameters", "learning", "teacher")},
            }
        )
    return result


def standing(way: dict[str, Any]) -> float:
    """Bytes there before a step: weights, gradients, two moments, the teacher; all float32."""
    return 4.0 * (way["parameters"] + 3 * way["learning"] + way["teacher"])


def needed(way: dict[str, Any], clips: float) -> float:
    """Bytes for parts of so many clips.

    Per clip and per step the larger of what is kept and of what the process grew by, for the
    latter holds what comes and goes besides.
    """
    per_clip = max(way["kept_mib_per_clip"], way["resident_mib_per_clip"]) * MIB
    per_step = max(way["kept_mib_per_step"], way["resident_mib_per_step"], 0.0) * MIB
    return CONTEXT + standing(way) + per_step + per_clip * clips


def fits(way: dict[str, Any], card_gb: float) -> int | None:
    """The smallest `accumulate` whose parts of a step of 144 clips fit on a card, or None."""
    for parts in range(1, STEP // 4 + 1):
        if needed(way, -(-STEP // parts)) <= USABLE * card_gb * 1e9:
            return parts
    return None


def name(way: dict[str, Any]) -> str:
    """A way of training in words."""
    return f"stage {way['stage']}, {way['precision']}" + (
        ", checkpointing" if way["checkpointing"] else ""
    )


def tables(ways: list[dict[str, Any]]) -> str:
    """The two tables of docs/resources.md."""
    out = [
        "| | kept per clip | kept per step | resident per clip | s per clip |",
        "|---|---|---|---|---|",
    ]
    out += [
        f"| {name(way)} | {way['kept_mib_per_clip']:.0f} MiB | {way['kept_mib_per_step']:.0f} MiB "
        f"| {way['resident_mib_per_clip']:.0f} MiB | {way['seconds_per_clip']:.1f} |"
        for way in ways
    ]
    cards = " | ".join(f"{card} GB" for card in CARDS)
    out += [
        "",
        f"| | standing | all 144 at once | {cards} |",
        "|---|---|---|" + "---|" * len(CARDS),
    ]
    for way in ways:
        cells = []
        for card in CARDS:
            parts = fits(way, card)
            clips = -(-STEP // parts) if parts else 0
            cells.append(
                f"{parts} × {clips} ({needed(way, clips) / 1e9:.1f} GB)" if parts else "no"
            )
        out.append(
            f"| {name(way)} | {standing(way) / 1e9:.2f} GB | {needed(way, STEP) / 1e9:.1f} GB | "
            + " | ".join(cells)
            + " |"
        )
    return "\n".join(out)


def main() -> None:
    """Run every case in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--tables", action="store_true", help="only print those of the results")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.case)))
        return
    if not options.tables:
        rows = []
        for case in CASES:
            command = [sys.executable, __file__, "--case", json.dumps(case)]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                sys.exit(done.stderr)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(json.dumps(rows[-1]), file=sys.stderr)
        record = {
            "machine": {"processor": platform.machine(), "threads": 1, "torch": torch.__version__},
            "cases": rows,
            "ways": summarise(rows),
        }
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(tables(json.loads(RESULTS.read_text(encoding="utf-8"))["ways"]))


if __name__ == "__main__":
    main()
