"""What each piece of `home` is worth: short paired runs on its data, scored on validation.

    python benchmarks/home_pieces.py --data DATA --work FOLDER
    python benchmarks/home_pieces.py --report

DATA is what `home_bundle.py` made (``home/dataset.yaml`` in its folder). Each arm differs from
`base`, the recipe `home-stage1` in short, in one thing; seeds share clips, order and first weights.
A finished run is kept in the results, and the queue goes on where it was stopped. The student after
the last step is measured, with a median filter of 0.448 s; nothing is selected.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/home_pieces.json"
METRICS = ("psds1", "psds2", "collar_f1", "tagging_map")
STEPS, BATCH = 200, 16
BLOCKS = "[" + ", ".join(f"encoder.blocks.{number}." for number in range(6)) + "]"
TEACHER = (
    *("method.mean_teacher=2.0", "method.pseudo_label=2.0", "method.ramp_steps=60"),
    "train.batch={real: 10, synthetic: 6, weak: 0, unlabelled: 8}",
)
MIXED = ("method.mixup.probability=0.5", "method.mixup.domain=tokens", "method.mixup.level=rms")
EMBEDDING = (
    "method.embedding={weight: 0.3, tap: rnn, hidden: 256, out: 64, ramp_steps: 60, "
    "detach_steps: 20}",
)


@dataclass(frozen=True)
class Arm:
    """One thing that is done otherwise.

    Attributes:
        says: What, in words.
        settings: Overrides of the recipe.
        against: The arm it is compared with.
        seeds: How many at least are meant.
    """

    says: str
    settings: Sequence[str] = ()
    against: str = "base"
    seeds: int = 3


ARMS = {
    "base": Arm("frozen YAMNet, taps 6, 12 and 14, standardised, GELU, CNN branch"),
    "no-cnn": Arm(
        "a CNN branch of one channel, which hears the level alone",
        ["network.channels=[1]", "network.kernels=[3]", "network.strides=[[2, 2]]",
         "network.pools=[[1, 32]]"],
    ),
    "tap-14": Arm("tokens of the last layer alone", ["network.encoder.taps=[14]"]),
    "tap-12": Arm("tokens of the twelfth layer alone", ["network.encoder.taps=[12]"]),
    "layer-norm": Arm("tokens by layer norm", ["network.encoder.norm=layer"]),
    "linear": Arm("no activation before the GRU", ["network.encoder.merge_activation=none"]),
    "mixed": Arm("half of the clips mixed, as tokens", MIXED),
    "unlabelled": Arm("mixed, teacher, 8 unlabelled clips beside", (*MIXED, *TEACHER), "mixed"),
    "embedding": Arm(
        "that, and the embedding loss", (*MIXED, *TEACHER, *EMBEDDING), "unlabelled"
    ),
    "trained": Arm(
        "the encoder's upper eight blocks learn, too (a fifth of the head's rate)",
        [f"train.frozen={BLOCKS}", "train.token_cache=null", "train.encoder_lr=4.0e-4",
         "train.encoder_lr_decay=0.8", "train.precision=32-true"],
        seeds=2,
    ),
}  # fmt: skip


def overrides(arm: Arm, seed: int) -> list[str]:
    """Settings of a run: those of all, those of the arm, the seed."""
    common = [
        f"train.epochs=1 train.steps_per_epoch={STEPS} train.warmup_steps=20",
        f"train.validate_every=1 train.seed={seed} train.precision=bf16-mixed",
    ]
    given = " ".join(common).split()
    given.append(f"train.batch={{real: {BATCH - 6}, synthetic: 6, weak: 0, unlabelled: 0}}")
    return [part for setting in (*given, *arm.settings) for part in ("--set", setting)]


def run_one(name: str, seed: int, data: Path, work: Path) -> dict[str, Any]:
    """Train one arm with one seed and read its figures."""
    folder = work / f"{name}-{seed}"
    command = [sys.executable, "-m", "earmark", "train", "home-stage1", "--data", str(data)]
    command += ["--out", str(folder), "--resume"] if folder.is_dir() else ["--out", str(folder)]
    with (work / f"{name}-{seed}.log").open("a") as log:
        subprocess.run(
            [*command, *overrides(ARMS[name], seed)], check=True, stdout=log, stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    last = json.loads((folder / "journal.jsonl").read_text().splitlines()[-1])
    figures = last["validation"]["student"]
    shutil.rmtree(folder)
    return {
        "arm": name, "seed": seed, "settings": list(ARMS[name].settings), "steps": STEPS,
        "clips_a_step": BATCH, "strong_loss": last["losses"]["strong"],
        **{metric: figures[metric] for metric in METRICS},
    }  # fmt: skip


def measure(data: Path, work: Path, arms: Iterable[str], seeds: int) -> None:
    """All runs that are not there yet, seed by seed."""
    work.mkdir(parents=True, exist_ok=True)
    runs = json.loads(RESULTS.read_text())["runs"] if RESULTS.is_file() else []
    done = {(run["arm"], run["seed"]) for run in runs}
    for seed in range(1, seeds + 1):
        for name in arms:
            if (name, seed) in done or seed > ARMS[name].seeds:
                continue
            runs.append(run_one(name, seed, data, work))
            kept = {"command": "python benchmarks/home_pieces.py --data DATA --work FOLDER"}
            RESULTS.write_text(json.dumps({**kept, "runs": runs}, indent=1) + "\n")
            print(name, seed, {key: round(runs[-1][key], 3) for key in METRICS}, flush=True)


def report(runs: Sequence[dict[str, Any]]) -> str:
    """The table: means, and the paired difference to what an arm is compared with."""
    by_arm: dict[str, dict[int, dict[str, Any]]] = {}
    for run in runs:
        by_arm.setdefault(run["arm"], {})[run["seed"]] = run
    lines = ["| | seeds | PSDS1 | PSDS2 | collar F1 | against | PSDS1 difference [95 %] |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name, arm in ARMS.items():
        own = by_arm.get(name, {})
        if not own:
            continue
        figures = " | ".join(f"{mean(one[m] for one in own.values()):.3f}" for m in METRICS[:3])
        other, compared = by_arm.get(arm.against, {}), ("", "")
        both = sorted(set(own) & set(other))
        if name != arm.against and both:
            gains = [own[seed]["psds1"] - other[seed]["psds1"] for seed in both]
            reach = ""
            if len(gains) > 1:
                half = stats.t.ppf(0.975, len(gains) - 1) * stdev(gains) / len(gains) ** 0.5
                reach = f" [{mean(gains) - half:+.3f}, {mean(gains) + half:+.3f}]"
            compared = (arm.against, f"{mean(gains):+.3f}{reach}")
        lines.append(
            f"| **{name}**: {arm.says} | {len(own)} | {figures} | {compared[0]} | {compared[1]} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if not options.report:
        if not (options.data and options.work):
            parser.error("--data and --work are needed")
        measure(options.data, options.work, options.arms.split(","), options.seeds)
    print(report(json.loads(RESULTS.read_text())["runs"]))


if __name__ == "__main__":
    main()
