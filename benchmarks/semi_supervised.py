"""Does the unlabelled audio help? Supervised only, mean teacher, and the paper's method.

    python benchmarks/semi_supervised.py                       # synthesised soundscapes
    python benchmarks/semi_supervised.py --soundbank FOLDER    # and those of a soundbank

Every run has the same steps, schedule and network (recipe `mini`); only the losses differ. The
last networks are scored on the test split, so nothing is selected on it. Runs go on where they
were stopped; finished ones are not repeated. Results: benchmarks/results/semi_supervised.json and
docs/semi_supervised.md with its plot.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/semi_supervised.json"
PAGE = ROOT / "docs/semi_supervised.md"
METHODS: dict[str, tuple[str, list[str]]] = {
    "supervised": (
        "supervised only",
        [
            "method.mixup.probability=0",
            "method.mean_teacher=0",
            "method.pseudo_label=0",
            "method.embedding.weight=0",
            "train.batch.unlabelled=0",
        ],
    ),
    "supervised_mixup": (
        "supervised only, with conditional mixup",
        [
            "method.mean_teacher=0",
            "method.pseudo_label=0",
            "method.embedding.weight=0",
            "train.batch.unlabelled=0",
        ],
    ),
    "mean_teacher": (
        "mean teacher",
        ["method.mixup.probability=0", "method.embedding.weight=0"],
    ),
    "conditional": ("conditional mixup + embedding loss", []),
    "conditional_no_embedding": ("conditional mixup alone", ["method.embedding.weight=0"]),
}
CLIPS = {"strong": 300, "weak": 150, "unlabelled": 1600, "validation": 100, "test": 300}
FIGURES = ("psds1", "psds2", "collar_f1")


def make_data(folder: Path, soundbank: Path | None, workers: int) -> Path:
    """The dataset, made once."""
    from earmark.synth.settings import load_synth_settings
    from earmark.synth.soundbank import Soundbank
    from earmark.synth.soundscapes import write_dataset
    from earmark.synth.sources import SynthesisedSources

    settings = load_synth_settings("mini")
    subsets = {
        name: settings.subset(name).model_copy(update={"clips": clips})
        for name, clips in CLIPS.items()
    }
    supplier = Soundbank(soundbank) if soundbank else SynthesisedSources()
    settings = settings.model_copy(update=subsets)
    return write_dataset(folder, supplier, settings, 0, workers=workers)


def one_run(
    data: Path, out: Path, overrides: list[str], seed: int, epochs: int, steps: int
) -> dict[str, Any]:
    """Train and score one run on one thread; what it returns is also left in its folder."""
    import torch
    from lightning_fabric import Fabric

    from earmark.data.manifest import load_manifest
    from earmark.detect.evaluate import evaluate_network
    from earmark.detect.postprocess import PostProcess
    from earmark.train.engine import train
    from earmark.train.recipe import load_recipe
    from earmark.train.record.journal import run_record

    done = out / "result.json"
    if done.exists():
        return dict(json.loads(done.read_text(encoding="utf-8")))
    torch.set_num_threads(1)
    recipe = load_recipe(
        "mini",
        [
            f"train.epochs={epochs}",
            f"train.steps_per_epoch={steps}",
            "train.validate_every=2",
            f"train.seed={seed}",
            *overrides,
        ],
    )
    manifest = load_manifest(data)
    run = train(recipe, manifest, out, resume=True, fabric=Fabric(accelerator="cpu", devices=1))
    postprocess = PostProcess(median_seconds=recipe.train.median_seconds)
    metrics = {
        name: evaluate_network(network, manifest.splits["test"], postprocess)
        for name, network in run.networks.items()
    }
    records = run_record(out)
    curve = [
        {
            "step": record["step"],
            **{
                f"{name}_{figure}": found[figure]
                for name, found in record["validation"].items()
                for figure in FIGURES
            },
        }
        for record in records
        if "validation" in record
    ]
    result = {
        "steps": run.step,
        "seconds": round(sum(record["seconds"] for record in records), 1),
        "test": metrics,
        "validation": curve,
    }
    done.write_text(json.dumps(result), encoding="utf-8")
    return result


def summarise(results: dict[str, Any]) -> list[str]:
    """The table, one row for each data set, method and network."""
    lines = [
        "| data | method | network | seeds | PSDS1 | PSDS2 | collar F1 |",
        "|---|---|---|---|---|---|---|",
    ]
    for data, methods in results["runs"].items():
        for method, seeds in methods.items():
            for network in ("student", "teacher"):
                cells = []
                for figure in FIGURES:
                    values = [run["test"][network][figure] for run in seeds.values()]
                    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
                    cells.append(f"{statistics.mean(values):.3f} ± {spread:.3f}")
                title = METHODS[method][0]
                row = [data, title, network, str(len(seeds)), *cells]
                lines.append(f"| {' | '.join(row)} |")
    return lines


def plot(results: dict[str, Any], path: Path) -> None:
    """Validation PSDS1 of the teacher over steps, one panel for each data set."""
    from matplotlib.figure import Figure

    sets = results["runs"]
    figure = Figure(figsize=(6 * len(sets), 4), layout="constrained")
    for number, (data, methods) in enumerate(sets.items(), start=1):
        axes = figure.add_subplot(1, len(sets), number)
        for colour, (method, seeds) in enumerate(methods.items()):
            for index, run in enumerate(seeds.values()):
                steps = [point["step"] for point in run["validation"]]
                axes.plot(
                    steps,
                    [point["teacher_psds1"] for point in run["validation"]],
                    color=f"C{colour}",
                    label=METHODS[method][0] if index == 0 else None,
                )
        axes.set(title=data, xlabel="optimiser steps", ylabel="validation PSDS1, teacher")
        axes.legend()
    figure.savefig(path, dpi=100)


def report(results: dict[str, Any]) -> None:
    """Write the JSON, and the measured part of the page."""
    for folder in (RESULTS.parent, PAGE.parent):
        folder.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    plot(results, PAGE.with_name("semi_supervised.png"))
    begin, end = "<!-- measured -->", "<!-- /measured -->"
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else f"{begin}\n{end}\n"
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    table = "\n".join(summarise(results))
    command = f"Command: `{results['command']}`, {results['steps']} steps a run."
    PAGE.write_text(f"{before}{begin}\n{command}\n\n{table}\n{end}{after}", encoding="utf-8")


def collect(options: argparse.Namespace) -> dict[str, Any]:
    """All finished runs, by data, method and seed."""
    runs: dict[str, dict[str, dict[str, Any]]] = {}
    for name in ("synthesised", "soundbank"):
        for method in METHODS:
            for seed in sorted(options.seeds):
                done = options.work / f"{name}-{method}-{seed}" / "result.json"
                if done.exists():
                    result = json.loads(done.read_text(encoding="utf-8"))
                    runs.setdefault(name, {}).setdefault(method, {})[str(seed)] = result
    bank = " --soundbank FOLDER" if "soundbank" in runs else ""
    return {
        "command": f"python benchmarks/semi_supervised.py{bank}",
        "steps": options.epochs * options.steps,
        "clips": CLIPS,
        "runs": runs,
    }


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--soundbank", type=Path, help="also run on soundscapes of this soundbank")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/semi_supervised")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS)[:4])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=150, help="steps an epoch")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--report", action="store_true", help="only report the finished runs")
    return parser.parse_args()


def main() -> None:
    """Run what is missing, then report all that is finished."""
    options = parse()
    if options.report:
        report(collect(options))
        return
    banks: dict[str, Path | None] = {"synthesised": None}
    if options.soundbank:
        banks["soundbank"] = options.soundbank
    data = {
        name: make_data(options.work / f"data-{name}", bank, options.jobs)
        for name, bank in banks.items()
    }
    began = time.monotonic()
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        jobs = {
            pool.submit(
                one_run,
                data[name],
                options.work / f"{name}-{method}-{seed}",
                METHODS[method][1],
                seed,
                options.epochs,
                options.steps,
            ): f"{name} {method} seed {seed}"
            for seed in options.seeds
            for name in banks
            for method in options.methods
        }
        for job in as_completed(jobs):
            teacher = job.result()["test"]["teacher"]
            figures = "  ".join(f"{figure} {teacher[figure]:.3f}" for figure in FIGURES)
            print(f"{time.monotonic() - began:7.0f} s  {jobs[job]}: teacher {figures}", flush=True)
    report(collect(options))


if __name__ == "__main__":
    sys.exit(main())
