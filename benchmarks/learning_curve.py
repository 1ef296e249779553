"""How many recordings must be labelled: scores over labelled recordings a class.

    python benchmarks/learning_curve.py --soundbank FOLDER --work FOLDER            # all runs
    python benchmarks/learning_curve.py --soundbank FOLDER --work FOLDER --budgets 2,5 --seeds 1
    python benchmarks/learning_curve.py --report                                    # the page alone

Classes of a soundbank under other names, as somebody's own classes. Each seed divides the
soundbank's recordings anew: some to be labelled, others that nobody labels, others to be scored on;
clips of 5 s, rooms, microphones and noise as in the recipes' second domain. Of the first, 2, 5, 10,
20 or all of a class are used, two clips for each, of which every event is labelled. Three ways to
learn from them, each of 240 steps:

- `mini`: the small network from nothing, labels and mixing alone;
- `own`: the recipe `own` (with a narrower CNN) beside the pretrained YAMNet, on the labels alone;
- `own-unlabelled`: the same with 300 clips of the recordings that nobody labels.

A finished run leaves a JSON in benchmarks/learning_curve/, to be committed; one that is there is
not made again, and a stopped one goes on. The page learning_curve.md in docs is made of them.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "ablation"))
from bank import SPLITS, STRONG, UNLABELLED, make_bank
from one_run import brief, commit, score

ROOT = Path(__file__).resolve().parents[1]
RUNS, PAGE = ROOT / "benchmarks/learning_curve", ROOT / "docs" / "learning_curve.md"
NAMES = {
    "Alarm_bell_ringing": "Ringing",
    "Cat": "Meow",
    "Dishes": "Crockery",
    "Dog": "Bark",
    "Frying": "Sizzling",
    "Running_water": "Tap",
    "Speech": "Talk",
}
"""The soundbank's classes under the names of this experiment; Blender has too few recordings."""
ARMS = ("mini", "own", "own-unlabelled")
BUDGETS = (2, 5, 10, 20, 0)
"""Labelled recordings a class; 0 for all that the split has."""
LENGTH = (
    *("train.epochs=20", "train.steps_per_epoch=12", "train.warmup_steps=12"),
    *("network.window_seconds=5.0", "train.cache_gib=1"),
)
STEPS = 240
SMALL = (
    *("network.frontend.hop=512", "network.channels=[16,24,32,48,48]", "network.rnn_hidden=64"),
)
"""A narrower CNN beside YAMNet than the recipe's, at a quarter of the time."""
OF_ARM = {
    "mini": (
        *("method.mean_teacher=0", "method.pseudo_label=0", "method.embedding.weight=0"),
        *("train.batch={real: 16}", "train.select=last", "train.validate_every=20"),
    ),
    "own": (*SMALL, "train.batch={real: 16}", "method.mean_teacher=0", "method.pseudo_label=0"),
    "own-unlabelled": (*SMALL, "train.batch={real: 16, unlabelled: 8}"),
}
UNUSED, TESTED = 300, 200
LABELS = "metadata/train/synthetic21_train/soundscapes.tsv"
HEAD = """\
# How many recordings to label

<!-- made by python benchmarks/learning_curve.py --report; edit the script -->

Seven classes of real recordings under names of their own, of which so many recordings a class are
labelled, two clips of 5 s each; clips of other recordings are scored. `mini` learns from nothing,
`own` (with a narrower CNN) beside the pretrained YAMNet, `own` with unlabelled clips also from 300
clips that nobody labelled; 240 steps each.
Command: `python benchmarks/learning_curve.py --soundbank FOLDER --work FOLDER`.
"""
FOOT = """\
{runs} runs of {wanted}, seeds {seeds}; cells without a run show –. ± is half the 95 % interval of
the mean over seeds (Student's t: wide for three). One seed alone says little: its recordings may
be good or bad ones. The figures of each run are in `benchmarks/learning_curve/`.
"""
T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""Student's t at 0.975 by degrees of freedom."""


def labelled_bank(soundbank: Path, budget: int, seed: int, out: Path) -> tuple[Path, int]:
    """A seed's bank with so many recordings a class to be labelled; and how many there are."""
    drop = tuple(
        {path.name for path in soundbank.iterdir() if path.is_dir()} - {*NAMES, "background"}
    )
    make_bank(soundbank, drop, seed, out)
    with (out / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    order = np.random.default_rng([seed, 7])
    kept: dict[str, set[str]] = {}
    for label in sorted({row["event_label"] for row in rows} - {"background"}):
        own = [
            r["recording"]
            for r in rows
            if (r["event_label"], r["split"]) == (label, "train-synthetic")
        ]
        names = sorted(set(own))
        shuffled = [names[number] for number in order.permutation(len(names))]
        kept[label] = set(shuffled[: budget or None])  # smaller budgets are part of larger ones
    chosen = [
        row
        for row in rows
        if row["split"] != "train-synthetic"
        or row["event_label"] == "background"
        or row["recording"] in kept[row["event_label"]]
    ]
    with (out / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(chosen)
    return out, sum(map(len, kept.values()))


def make_data(soundbank: Path, budget: int, seed: int, work: Path) -> tuple[Path, int]:
    """The dataset of a budget and a seed, continued where it was stopped; recordings labelled."""
    import yaml

    from earmark.core.config import parse_settings
    from earmark.core.files import write_text
    from earmark.synth.settings import SynthSettings
    from earmark.synth.soundbank import Soundbank
    from earmark.synth.soundscapes import write_dataset

    bank, count = labelled_bank(soundbank, budget, seed, work / "bank")
    subset = {"events": [1, 2], "domain": "real"}
    settings = parse_settings(
        SynthSettings,
        {
            "seconds": 5.0,
            "strong": {"clips": 2 * count, **subset},
            "weak": {"clips": 0},
            "unlabelled": {"clips": UNUSED, **subset},
            "validation": {"clips": 0},
            "test": {"clips": TESTED, **subset},
        },
    )
    data = work / "data"
    write_dataset(data, Soundbank(bank), settings, seed, workers=1)
    audio, tables = SPLITS["test"]
    description = {
        "classes": sorted(NAMES.values()),
        "class_map": NAMES,
        "train": [
            {"name": "labelled", "audio": STRONG, "strong": LABELS},
            {"name": "unlabelled", "audio": UNLABELLED, "unlabelled": True},
        ],
        "test": {"audio": audio, "strong": f"{tables}.tsv", "durations": f"{tables}_durations.tsv"},
    }
    write_text(data / "data.yaml", yaml.safe_dump(description, sort_keys=False))
    return data / "data.yaml", count


def make_run(arm: str, budget: int, seed: int, soundbank: Path, work: Path) -> dict[str, Any]:
    """Train and score one run; what it returns is written as JSON."""
    from lightning_fabric import Fabric

    from earmark.core.files import write_text
    from earmark.data.manifest import load_manifest
    from earmark.detect.evaluate import evaluate_scores
    from earmark.detect.postprocess import PostProcess
    from earmark.model.bundle import load_bundle
    from earmark.train.engine import train
    from earmark.train.recipe import load_recipe

    name = f"{arm}-{budget or 'all'}-{seed}"
    finished = RUNS / f"{name}.json"
    if finished.is_file():
        return dict(json.loads(finished.read_text(encoding="utf-8")))
    began = time.process_time()
    data, count = make_data(soundbank, budget, seed, work / f"data-{budget or 'all'}-{seed}")
    overrides = [*LENGTH, *OF_ARM[arm], f"train.seed={seed}"]
    if arm != "mini":
        overrides.append(f"train.token_cache={work / 'tokens'}")
    recipe = load_recipe("mini" if arm == "mini" else "own", overrides)
    manifest, out = load_manifest(data), work / name
    fabric = Fabric(accelerator="cpu", devices=1)
    run = train(recipe, manifest, out, resume=True, fabric=fabric)
    bundle = load_bundle(out)
    tables = score(bundle.network, manifest.splits["test"])
    found = evaluate_scores(
        tables, manifest.splits["test"], PostProcess.from_dict(bundle.postprocess)
    )
    result = {
        "arm": arm,
        "budget": budget,
        "seed": seed,
        "recordings": count,
        "labelled_clips": len(manifest.train[0].clips),
        "epochs": run.epoch,
        "best_epoch": run.best_epoch,
        "cpu_seconds": round(time.process_time() - began, 1),
        "data": manifest.fingerprint,
        "commit": commit(),
        "test": brief(found),
    }
    RUNS.mkdir(exist_ok=True)
    write_text(finished, json.dumps(result, indent=1) + "\n")
    return result


def interval(values: list[float]) -> str:
    """Mean, and half the width of its 95 % interval by Student's t where there are several."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.3f}"
    half = T_975.get(len(values) - 1, 1.96) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return f"{mean:.3f} ± {half:.3f}"


def report() -> str:
    """The page, of all runs that there are."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RUNS.glob("*.json"))]
    cells: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for run in runs:
        cells.setdefault((run["arm"], run["budget"]), []).append(run)
    lines = HEAD.splitlines()
    figures = {
        "class_mean_psds1": "PSDS1, mean of the classes",
        "psds2": "PSDS2",
        "collar_f1": "collar F1",
    }
    titles = {"mini": "`mini`", "own": "`own`", "own-unlabelled": "`own`, unlabelled clips too"}
    for figure, title in figures.items():
        lines += [f"## {title}", "", f"| recordings a class | {' | '.join(titles.values())} |"]
        lines += [f"|---|{'---|' * len(titles)}"]
        for budget in BUDGETS:
            of = [cells.get((arm, budget), []) for arm in ARMS]
            if any(of):
                shown = [
                    interval([run["test"][figure] for run in own]) if own else "–" for own in of
                ]
                own = next(own for own in of if own)
                counts = sorted({run["recordings"] for run in own})
                name = f"{budget}" if budget else "all"
                lines.append(
                    f"| {name} ({'–'.join(map(str, counts))} in all) | {' | '.join(shown)} |"
                )
        lines.append("")
    seeds = ", ".join(map(str, sorted({run["seed"] for run in runs})))
    lines += FOOT.format(
        runs=len(runs), seeds=seeds, wanted=len(ARMS) * len(BUDGETS) * 3
    ).splitlines()
    lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Make the runs that are not there, then the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--soundbank", type=Path)
    parser.add_argument("--work", type=Path, help="keep data, tokens and states here")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--budgets", default=",".join(map(str, BUDGETS)), help="0 for all")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--report", action="store_true", help="make the page alone")
    options = parser.parse_args()
    if not options.report:
        if options.soundbank is None or options.work is None:
            parser.error("--soundbank and --work are needed")
        for seed in map(int, options.seeds.split(",")):
            for budget in map(int, options.budgets.split(",")):
                for arm in options.arms.split(","):
                    made = make_run(arm, budget, seed, options.soundbank, options.work)
                    figures = {
                        name: made["test"][name] for name in ("class_mean_psds1", "collar_f1")
                    }
                    print(
                        arm, budget or "all", seed, figures, f"{made['cpu_seconds']} s", flush=True
                    )
    PAGE.write_text(report(), encoding="utf-8")


if __name__ == "__main__":
    main()
