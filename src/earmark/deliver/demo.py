"""The main job from end to end on synthesised sounds: data, training, scores, detection.

The classes are learned as the recipe `own` does, beside a frozen YAMNet. Nothing is chosen to
make a row win: every run has the same number of steps, the last networks are scored, and the test
soundscapes belong to another domain than the strong labels.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from earmark.core.audio.audio import write_audio
from earmark.core.event import Event
from earmark.core.formats import write_events
from earmark.core.locking import writes_to
from earmark.data.manifest import Evaluation, Manifest, load_manifest
from earmark.deliver.pictures.view import plot_detection
from earmark.detect.detector import Detector, Result
from earmark.detect.evaluate import evaluate_network
from earmark.detect.postprocess import PostProcess
from earmark.method.settings import Recipe
from earmark.model.bundle import load_bundle
from earmark.model.bundle_files import FILES
from earmark.synth.scene import make_recording
from earmark.synth.settings import SynthSettings, load_synth_settings
from earmark.synth.soundscapes import write_dataset
from earmark.synth.sources import SynthesisedSources
from earmark.train.engine import train
from earmark.train.loop import Reporter
from earmark.train.recipe import load_recipe

SUPERVISED_ONLY = (
    "method.mixup.probability=0",
    "method.mean_teacher=0",
    "method.pseudo_label=0",
    "method.embedding.weight=0",
    "train.batch.unlabelled=0",
)
RECIPE = "own"
# Of both runs: what two cores do in some minutes.
LENGTH = (
    *("train.epochs=2", "train.steps_per_epoch=32", "train.validate_every=2"),
    *("train.warmup_steps=10", "method.ramp_steps=32", "method.embedding.weight=0"),
    "train.batch={real: 0, synthetic: 10, weak: 6, unlabelled: 8}",
)
SHIPPED = "home"
CLIPS_IN_RECORDING = 6

Bar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
Training = Callable[[str, Recipe], AbstractContextManager[Reporter]]


@dataclass(frozen=True)
class DemoResult:
    """What the demo leaves: metrics by row of the table, what the best row finds, true events."""

    metrics: dict[str, dict[str, Any]]
    best: str
    detection: Result
    truth: list[Event]
    bundle: Path


@writes_to("out")
def run_demo(
    out: Path, *, seed: int, workers: int, overrides: list[str], bar: Bar, training: Training
) -> DemoResult:
    """Synthesise, train twice, score, detect.

    Args:
        out: Folder for everything; earlier runs of the demo in it are replaced.
        seed: Of the dataset, the runs and the recording.
        workers: Processes that synthesise.
        overrides: ``a.b=c`` settings for both training runs.
        bar: Progress of a named piece of work; called with how much of how much is done.
        training: Progress of a training run.
    """
    settings = load_synth_settings("demo")
    sources = SynthesisedSources()
    data = out / f"data-{seed}"
    with bar("synthesising soundscapes") as progress:
        write_dataset(data, sources, settings, seed, workers=workers, progress=progress)
    manifest = load_manifest(data)
    tokens = f"train.token_cache={out / 'tokens'}"
    common = [*LENGTH, tokens, f"train.seed={seed}", *overrides]
    recipes = {
        "supervised": load_recipe(RECIPE, [*common, *SUPERVISED_ONLY]),
        "semi-supervised": load_recipe(RECIPE, common),
    }
    for name, recipe in recipes.items():
        shutil.rmtree(out / name, ignore_errors=True)
        with training(name, recipe) as reporter:
            train(recipe, manifest, out / name, reporter=reporter, command="make demo")
    bundle = _copy_bundle(out / "semi-supervised" / "teacher", out / "bundle")
    metrics = _score_rows(out, manifest, bar)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    best = max(metrics, key=lambda name: float(metrics[name]["psds1"]))
    detection, truth = _detect_recording(out, _rows(out)[best], sources, settings, seed)
    return DemoResult(metrics, best, detection, truth, bundle)


def _copy_bundle(source: Path, target: Path) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(source / name, target / name)
    return target


def _rows(out: Path) -> dict[str, str | Path]:
    """The bundles that the table's rows are of."""
    return {
        "supervised": out / "supervised" / "student",
        "student": out / "semi-supervised" / "student",
        "teacher": out / "semi-supervised" / "teacher",
        "shipped": SHIPPED,
    }


def _score_rows(out: Path, manifest: Manifest, bar: Bar) -> dict[str, dict[str, Any]]:
    """Metrics of the table's four rows on the test split, each with its own post-processing."""
    evaluation: Evaluation = manifest.splits["test"]
    metrics = {}
    for name, path in _rows(out).items():
        bundle = load_bundle(path)
        postprocess = PostProcess.from_dict(bundle.postprocess)
        with bar(f"scoring {name}") as progress:
            metrics[name] = evaluate_network(
                bundle.network, evaluation, postprocess, progress=progress
            )
    return metrics


def _detect_recording(
    out: Path, bundle: str | Path, sources: SynthesisedSources, settings: SynthSettings, seed: int
) -> tuple[Result, list[Event]]:
    """A minute of test soundscapes no run has seen, one after the other, and what is found."""
    generators = [np.random.default_rng([seed, 99, number]) for number in range(CLIPS_IN_RECORDING)]
    made = make_recording(sources, "test", settings, generators, subset="test")
    recording = out / "recording.wav"
    write_audio(recording, made.audio)
    result = Detector.from_pretrained(bundle).detect(recording)
    for name, format_name in (("events.tsv", "tsv"), ("events.txt", "audacity")):
        write_events(out / name, result.events, format_name)
    plot_detection(out / "events.png", recording, result, truth=made.events)
    return result, made.events
