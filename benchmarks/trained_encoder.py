"""What bfloat16 and eight bits cost a trained network with an encoder.

    python benchmarks/trained_encoder.py            # an hour on one core; goes on where it stopped
    python benchmarks/seams.py --bundle runs/trained_encoder/network    # what its windows are worth

ATST-SED cannot be trained on a CPU, but its smallest relative can: the network of
`atst-sed-tiny-stage2`, a transformer that hears the whole window beside a CNN, is trained from
random weights on synthesised soundscapes, mostly on strong labels. The test split, of another
domain, is then scored in PyTorch float32, with the encoder's products in bfloat16, on ONNX Runtime
in float32 and in eight bits. `same_times` are the events of float32 with the same onset and offset.

Writes benchmarks/results/trained_encoder.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from detect import farthest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/trained_encoder.json"
CLIPS = "strong=1500,weak=200,unlabelled=400,validation=100,test=300"
BATCH = {"synthetic": 12, "weak": 2, "unlabelled": 2, "real": 0}
FRAME = 0.064  # s


def synthesise(folder: Path) -> None:
    """The dataset, made once."""
    from earmark.synth.settings import load_synth_settings
    from earmark.synth.soundscapes import write_dataset
    from earmark.synth.sources import SynthesisedSources

    settings = load_synth_settings("mini-long")
    counts = dict(part.split("=") for part in CLIPS.split(","))
    changes = {
        name: settings.subset(name).model_copy(update={"clips": int(clips)})
        for name, clips in counts.items()
    }
    write_dataset(folder, SynthesisedSources(), settings.model_copy(update=changes), 0, workers=1)


def learn(data: Path, out: Path, steps: int) -> Path:
    """The network, trained; its teacher's bundle."""
    from earmark.data.manifest import load_manifest
    from earmark.train.engine import train
    from earmark.train.recipe import load_recipe

    changes = {
        "train.epochs": steps // 100,
        "train.steps_per_epoch": 100,
        "train.validate_every": 10,
        "train.warmup_steps": 100,
        "train.encoder_lr": 1e-3,  # nothing learned is there to be kept
        "train.encoder_lr_decay": 1.0,
        "train.lr_groups": "{}",
        **{f"train.batch.{kind}": count for kind, count in BATCH.items()},
    }
    recipe = load_recipe(
        "atst-sed-tiny-stage2", [f"{name}={value}" for name, value in changes.items()]
    )
    train(recipe, load_manifest(data), out, resume=True)
    return out


def heard(name: str, data: Path, **options: Any) -> tuple[dict[str, Any], list[Any], np.ndarray]:
    """Metrics on the test split, events with their clip, and all scores of a network."""
    from earmark.data.manifest import load_manifest
    from earmark.detect.evaluate import evaluate_scores, score_clips
    from earmark.detect.network import load_trained
    from earmark.detect.postprocess import scores_to_events

    trained = load_trained(name, "cpu", **options)
    evaluation = load_manifest(data).splits["test"]
    tables = score_clips(trained.network, evaluation.by_id)
    found = evaluate_scores(tables, evaluation, trained.postprocess)
    events = [
        (onset, offset, f"{clip} {label}")
        for clip, table in tables.items()
        for onset, offset, label, _ in scores_to_events(table, trained.postprocess)
    ]
    scores = np.concatenate([tables[clip].values for clip in sorted(tables)])
    return (
        {key: found[key] for key in ("psds1", "psds2", "collar_f1", "segment_f1")},
        events,
        scores,
    )


def compare(network: Path, data: Path, work: Path) -> dict[str, Any]:
    """Every runtime on the test split."""
    from earmark.deliver.onnx.export import export_network
    from earmark.model.bundle import load_bundle

    exported = work / "network.onnx"
    bundle = load_bundle(network)
    export_network(bundle.network, bundle.postprocess, exported, int8=True, repeats=1)
    runtimes: dict[str, tuple[Path, dict[str, str]]] = {
        "PyTorch, float32": (network, {}),
        "PyTorch, bf16-mixed": (network, {"precision": "bf16-mixed"}),
        "ONNX, float32": (exported, {}),
        "ONNX, eight bits": (work / "network.int8.onnx", {}),
    }
    rows: dict[str, Any] = {}
    first: tuple[list[Any], np.ndarray] | None = None
    for name, (path, options) in runtimes.items():
        metrics, events, scores = heard(str(path), data, **options)
        first = first or (events, scores)
        names = {label: number for number, label in enumerate(sorted({e[2] for e in first[0]}))}
        ours = np.array([(a, b, names.get(label, -1)) for a, b, label in events]).reshape(-1, 3)
        apart = [farthest(np.array([a, b, names[label]]), ours) for a, b, label in first[0]]
        difference = np.abs(scores - first[1])
        rows[name] = {
            **{key: round(value, 4) for key, value in metrics.items()},
            "largest_score_difference": round(float(difference.max()), 5),
            "mean_score_difference": round(float(difference.mean()), 6),
            "events": len(events),
            "same_times": int(np.sum(np.array(apart) < 1e-9)),
            "within_a_frame": int(np.sum(np.array(apart) < 1.001 * FRAME)),
        }
        print(name, rows[name], flush=True)
    return rows


def main() -> None:
    """Synthesise, train, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=ROOT / "runs/trained_encoder")
    parser.add_argument("--steps", type=int, default=3000, help="a multiple of 100")
    options = parser.parse_args()
    data = options.work / "data"
    synthesise(data)
    network = learn(data, options.work / "network", options.steps)
    result = {
        "command": f"python benchmarks/trained_encoder.py --steps {options.steps}",
        "runtimes": compare(network, data, options.work),
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
