"""One run of the comparison: trained in legs, the teacher looked at after each, and measured.

All of it goes on where it was stopped, at the last epoch's checkpoint.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from bank import describe, make_data, recordings
from mechanism import frame_precision, gradient_ratio, linear_probe, one_batch
from plan import HERE, Planned, digest

if TYPE_CHECKING:
    from earmark.core.tables.scores import ScoreTable
    from earmark.data.manifest import Evaluation

WATCHED = 200
"""Unlabelled clips on which the teacher is looked at."""
FIGURES = ("psds1", "psds2", "collar_f1", "intersection_f1", "segment_f1")


def make_run(planned: Planned, soundbank: Path, work: Path, runs: Path) -> dict[str, Any]:
    """Train and measure a run; what it returns is also written to ``runs`` as JSON.

    Args:
        planned: The run.
        soundbank: Folder of recordings.
        work: Where data and states are kept.
        runs: Where finished runs are; one that is there is not made again.
    """
    from earmark.core.files import write_text

    finished = runs / f"{planned.name}.json"
    if finished.is_file():
        return dict(json.loads(finished.read_text(encoding="utf-8")))
    chosen = planned.choices
    data = make_data(soundbank, chosen.bank, planned.seed, work / f"seed-{planned.seed:02d}")
    plain, watched = describe(data, planned.labels, planned.arm.oracle)
    result = train_and_measure(planned, plain, watched, work / planned.name)
    result["recordings"] = fingerprint(soundbank, tuple(chosen.bank["drop"]))
    runs.mkdir(parents=True, exist_ok=True)
    write_text(finished, json.dumps(result, indent=1) + "\n")
    return result


def train_and_measure(planned: Planned, data: Path, watched: Path, out: Path) -> dict[str, Any]:
    """The result of a run on a dataset, without what the recordings are."""
    import torch
    from lightning_fabric import Fabric

    from earmark.data.manifest import load_manifest
    from earmark.train.engine import train
    from earmark.train.record.journal import run_record

    recipe, chosen = planned.recipe(), planned.choices
    if recipe.train.token_cache is not None:
        kept = recipe.train.model_copy(update={"token_cache": str(data.parent / "tokens")})
        recipe = recipe.model_copy(update={"train": kept})
    manifest = load_manifest(data)
    clips = load_manifest(watched).splits["unlabelled"]
    clips = clips.only(sorted(clips.by_id)[:WATCHED])
    legs = Legs(out / "legs.json")
    run = None
    for number in range(1, chosen.legs + 1):
        goal = chosen.epochs * number // chosen.legs
        if goal in legs.by_epoch and number < chosen.legs:
            continue
        before, began = epochs_done(out), time.process_time()
        fabric = Fabric(accelerator="cpu", devices=1)
        run = train(
            recipe, manifest, out, resume=True, fabric=fabric, stop_after_epochs=goal - before
        )
        cost = {
            "cpu_seconds": time.process_time() - began,
            "steps": (goal - before) * recipe.train.steps_per_epoch,
        }
        if goal not in legs.by_epoch:
            tables = score(run.teacher.network, clips)
            batch = one_batch(recipe, manifest, run.teacher.network, run.step)
            ratio = gradient_ratio(
                run.student, run.teacher, batch, run.step, recipe.method, run.encoder
            )
            seen = {"frame_ap_unlabelled": frame_precision(tables, clips), "gradient_ratio": ratio}
            legs.add(goal, {**cost, **{k: v for k, v in seen.items() if v is not None}})
    assert run is not None
    teacher = run.teacher.network
    parameters = sum(p.numel() for p in teacher.parameters())
    configuration = planned.configuration()
    return {
        "network": planned.network,
        "arm": planned.arm.name,
        "seed": planned.seed,
        "labels": planned.labels,
        "steps": planned.steps,
        "digest": digest(configuration),
        "configuration": configuration,
        "data": manifest.fingerprint,
        "classes": list(manifest.labels),
        "parameters": parameters,
        "versions": {"torch": torch.__version__, "commit": commit()},
        "cost": legs.cost(),
        "course": course(run_record(out), legs),
        "probe": round(
            linear_probe(teacher, recipe.method.embedding.tap, clips, manifest.splits["test"]), 5
        ),
        **measured(teacher, manifest.splits, chosen.median_seconds),
    }


class Legs:
    """What was seen after each leg, kept in a file, by epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self.by_epoch: dict[int, dict[str, float]] = {int(k): leg for k, leg in found.items()}

    def add(self, epoch: int, leg: dict[str, float]) -> None:
        """Another leg, written whole or not at all."""
        from earmark.core.files import write_text

        self.by_epoch[epoch] = leg
        write_text(self.path, json.dumps(self.by_epoch))

    def cost(self) -> dict[str, float]:
        """Processor seconds a step; of a leg that was cut off, those after the cut."""
        steps = sum(leg["steps"] for leg in self.by_epoch.values())
        seconds = sum(leg["cpu_seconds"] for leg in self.by_epoch.values())
        return {"cpu_seconds_per_step": round(seconds / max(1, steps), 4)}


def epochs_done(out: Path) -> int:
    """Epochs of the checkpoint in a run folder."""
    import torch

    from earmark.train.checkpoint import STATE

    path = out / STATE
    return int(torch.load(path, weights_only=True)["epoch"]) if path.is_file() else 0


def course(journal: list[dict[str, Any]], legs: Legs) -> list[dict[str, Any]]:
    """The journal at the end of each leg, and what was seen of the networks."""
    return [
        {
            "step": record["step"],
            **{name: round(value, 5) for name, value in record["losses"].items()},
            **{
                name: round(value, 5)
                for name, value in legs.by_epoch[record["epoch"]].items()
                if name not in ("cpu_seconds", "steps")
            },
        }
        for record in journal
        if record["epoch"] in legs.by_epoch
    ]


def score(network: Any, clips: Evaluation) -> dict[str, ScoreTable]:
    """Score tables of a split's clips."""
    from earmark.detect.evaluate import score_clips

    return score_clips(network, clips.by_id)


def measured(network: Any, splits: Mapping[str, Evaluation], median: float) -> dict[str, Any]:
    """Figures on validation and test: median filter, and cSEBB tuned on validation."""
    from earmark.detect.evaluate import evaluate_scores
    from earmark.detect.postprocess import PostProcess
    from earmark.detect.tuning.tune import tune

    validation, test = splits["validation"], splits["test"]
    tables = {name: score(network, split) for name, split in splits.items()}
    before = PostProcess(median_seconds=median)
    ids = validation.ids
    tuned = tune(
        tables["validation"],
        {ids[name]: list(own) for name, own in validation.events.items()},
        {ids[name]: seconds for name, seconds in validation.durations.items()},
        network.spec.labels,
        method="csebb",
        folds=0,
        base=before,
    ).postprocess
    found = evaluate_scores(tables["test"], test, before)
    return {
        "validation": brief(evaluate_scores(tables["validation"], validation, before)),
        "test": {
            "median": brief(found),
            "csebb": brief(evaluate_scores(tables["test"], test, tuned)),
            "frame_map": round(frame_precision(tables["test"], test), 5),
            "clips": found["clips"],
            "evaluation": found["evaluation"],
        },
        "csebb": tuned.to_dict(),
    }


def brief(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that are kept; ``class_mean_psds1`` has no penalty for the classes' spread."""
    by_class = metrics["per_class"]
    return {
        **{name: round(metrics[name], 5) for name in FIGURES},
        "class_mean_psds1": round(float(np.mean(list(by_class["psds1"].values()))), 5),
        "class_mean_psds2": round(float(np.mean(list(by_class["psds2"].values()))), 5),
        "psds1_by_class": {name: round(value, 5) for name, value in by_class["psds1"].items()},
    }


def fingerprint(soundbank: Path, drop: tuple[str, ...]) -> str:
    """16 digits of which recordings there are, and of their sizes."""
    rows = [(label, name, path.name, path.stat().st_size)
            for label, name, path in recordings(soundbank, drop)]  # fmt: skip
    return digest({"recordings": rows})


def commit() -> str:
    """The checkout's commit, or nothing where it is none."""
    found = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=HERE, capture_output=True, text=True
    )
    return found.stdout.strip() if found.returncode == 0 else ""
