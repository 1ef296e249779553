"""In which mode must pretraining's teacher be? Spread of its vectors in each, over some seeds.

    python benchmarks/pretraining_teacher.py

A small ATST-Frame is pretrained on synthesised soundscapes with `train.teacher` batch, eval and
train. Apart from loss and spread, a linear readout tells what the tokens are worth: ridge
regression from tokens to the classes that sound in them, fitted on half of the strongly labelled
clips and scored by the mean average precision on the other half; a random encoder is the
yardstick. Results: benchmarks/results/pretraining_teacher.json and the table in
docs/pretraining.md.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/pretraining_teacher.json"
PAGE = ROOT / "docs/pretraining.md"
SECONDS = 4.0
OUT = 64
SETTINGS = [
    f"window_seconds={SECONDS}",
    "encoder.width=48",
    "encoder.depth=2",
    f"heads={{hidden: 256, out: {OUT}}}",
    "train.batch=16",
    "train.steps_per_epoch=50",
    "train.lr=16e-3",
    "encoder.drop_path=0.1",
]
MODES = {
    "batch": "`batch`: no stochastic depth, batch statistics",
    "train": "`train`: training mode, as published",
    "eval": "`eval`: evaluation mode, running statistics",
}


def make_data(folder: Path) -> Path:
    """Unlabelled clips to learn from, strong ones to read out."""
    from earmark.synth.settings import load_synth_settings
    from earmark.synth.soundscapes import write_dataset
    from earmark.synth.sources import SynthesisedSources

    settings = load_synth_settings("mini")
    clips = {"strong": 160, "weak": 0, "unlabelled": 300, "validation": 0, "test": 0}
    changes: dict[str, Any] = {
        name: settings.subset(name).model_copy(update={"clips": count})
        for name, count in clips.items()
    }
    settings = settings.model_copy(update=changes | {"seconds": SECONDS})
    return write_dataset(folder, SynthesisedSources(), settings, 0, workers=1)


def average_precision(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Mean precision at the ranks of the true ones."""
    ranked = truth[np.argsort(-scores, kind="stable")]
    precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    return float(precision[ranked].mean())


def readout(encoder: Any, data: Path) -> float:
    """Mean over classes of the average precision of a linear map of tokens."""
    import torch

    from earmark.core.audio.audio import load_audio
    from earmark.data.manifest import load_manifest
    from earmark.features.frontend import LogMel

    manifest = load_manifest(data)
    source = next(source for source in manifest.train if source.kind == "strong")
    assert source.events is not None
    frontend = LogMel(encoder.settings.frontend)
    rows, targets = [], []
    for path in source.clips:
        with torch.no_grad():
            tokens = encoder(frontend(torch.from_numpy(load_audio(path))[None]))[0].double().numpy()
        middle = (np.arange(len(tokens)) + 0.5) * encoder.settings.token_seconds
        truth = np.zeros((len(tokens), len(manifest.labels)), dtype=bool)
        for onset, offset, label, _ in source.events.get(path.name, ()):
            inside = (middle >= onset) & (middle < offset)
            truth[:, manifest.labels.index(label)] |= inside
        rows.append(tokens)
        targets.append(truth)
    half = len(rows) // 2
    x, y = np.concatenate(rows[:half]), np.concatenate(targets[:half])
    other, truth = np.concatenate(rows[half:]), np.concatenate(targets[half:])
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-6
    x, other = (x - mean) / deviation, (other - mean) / deviation
    gram = x.T @ x + 1e-3 * len(x) * np.eye(x.shape[1])
    scores = other @ np.linalg.solve(gram, x.T @ (y - y.mean(axis=0)))
    values = [
        average_precision(scores[:, label], truth[:, label])
        for label in range(truth.shape[1])
        if truth[:, label].any()
    ]
    return statistics.mean(values)


def one_run(data: Path, mode: str | None, seed: int, steps: int) -> dict[str, float]:
    """Pretrain in a mode, or not at all, and read out."""
    import torch

    from earmark.data.crops import survey
    from earmark.model.encoders.atst import AtstFrame
    from earmark.train.distributed import make_fabric
    from earmark.train.pretrain import pretrain
    from earmark.train.recipe import load_pretrain_recipe
    from earmark.train.record.journal import run_record

    chosen = [f"train.teacher={mode}"] if mode else []
    lengths = [f"train.epochs={steps // 50}", f"train.warmup_steps={steps // 10}"]
    recipe = load_pretrain_recipe(
        "atst-frame-pretrain", [*SETTINGS, *lengths, f"train.seed={seed}", *chosen]
    )
    if mode is None:
        torch.manual_seed(seed)
        return {"precision": readout(AtstFrame(recipe.encoder).eval(), data)}
    recordings = survey([data / "audio/train/unlabel_in_domain"], recipe.shortest)
    with tempfile.TemporaryDirectory() as folder:
        run = pretrain(recipe, recordings, folder, fabric=make_fabric("cpu"))
        losses = run_record(folder)[-1]["losses"]
    figures = {name: losses[name] for name in ("loss", "teacher_std", "teacher_cosine")}
    return figures | {"precision": readout(run.teacher.encoder.eval(), data)}


def spread(values: list[float], digits: int = 3) -> str:
    """Mean ± standard deviation (n − 1)."""
    if len(values) < 2:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def report(results: dict[str, Any]) -> None:
    """Write the JSON, and the measured part of the page."""
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    even = 1 / math.sqrt(OUT)
    lines = [
        f"Command: `{results['command']}`: width 48, depth 2, {results['steps']} steps of 16 crops "
        f"of {SECONDS:g} s, seeds {', '.join(map(str, results['seeds']))}; last epoch's means. "
        f"Evenly spread vectors have std {even:.3f}.",
        "",
        "| teacher | loss | std | cosine between clips | linear readout, mAP |",
        "|---|---|---|---|---|",
    ]
    for mode, title in MODES.items():
        runs = results["runs"][mode]
        names = ("loss", "teacher_std", "teacher_cosine", "precision")
        cells = [spread([run[name] for run in runs]) for name in names]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    random = spread([run["precision"] for run in results["runs"]["random"]])
    lines.append(f"| none: random encoder | – | – | – | {random} |")
    begin, end = "<!-- measured -->", "<!-- /measured -->"
    before, rest = PAGE.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    table = "\n".join(lines)
    PAGE.write_text(f"{before}{begin}\n{table}\n{end}{after}", encoding="utf-8")


def main() -> None:
    """Run everything, reporting after every seed."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=300, help="a multiple of 50")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/pretraining_teacher")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    data = make_data(options.work / "data")
    runs: dict[str, list[dict[str, float]]] = {"random": []} | {mode: [] for mode in MODES}
    for seed in options.seeds:
        for mode in runs:
            found = one_run(data, None if mode == "random" else mode, seed, options.steps)
            runs[mode].append(found)
            figures = "  ".join(f"{name} {value:.3f}" for name, value in found.items())
            print(f"{time.monotonic() - began:6.0f} s  {mode} seed {seed}: {figures}", flush=True)
        done = options.seeds[: options.seeds.index(seed) + 1]
        report(
            {
                "command": f"python benchmarks/pretraining_teacher.py --steps {options.steps}",
                "steps": options.steps,
                "seeds": done,
                "runs": runs,
            }
        )


if __name__ == "__main__":
    sys.exit(main())
