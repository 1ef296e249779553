"""What post-processing is worth: the shipped bundle with its median, tuned medians, and cSEBB.

    python benchmarks/csebb_mini.py                     # on synthesised sounds
    python benchmarks/csebb_mini.py --soundbank FOLDER  # and on real recordings

Synthesises test clips that no part of the training heard (the preset `mini` with a seed of its
own), scores them once, and post-processes the scores in several ways. Whatever is tuned is
cross-validated: a clip is scored with settings that were chosen on other clips. Several deals into
folds tell how much the deal matters, intervals over clips how much the clips do. Writes
benchmarks/results/csebb_mini.json.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/csebb_mini.json"
COMMAND = "python benchmarks/csebb_mini.py --soundbank FOLDER"
SEED = 11
METRICS = ("psds1", "psds2", "collar_f1")
WAYS: dict[str, dict[str, str]] = {
    "PSDS1": {"objective": "psds1"},
    "both": {"objective": "both"},
    "both, best thresholds": {"objective": "both", "thresholds": "best"},
    "collar F1": {"objective": "collar_f1"},
}


def synthesise(folder: Path, soundbank: Path | None, clips: int, workers: int) -> Path:
    """A dataset of which only the test split is wanted; the others keep one clip each."""
    from earmark.synth.settings import load_synth_settings
    from earmark.synth.soundbank import Soundbank
    from earmark.synth.soundscapes import write_dataset
    from earmark.synth.sources import SynthesisedSources

    settings = load_synth_settings("mini")
    sizes = dict.fromkeys(("strong", "weak", "unlabelled", "validation"), 1) | {"test": clips}
    subsets = {
        name: settings.subset(name).model_copy(update={"clips": size})
        for name, size in sizes.items()
    }
    supplier = Soundbank(soundbank) if soundbank else SynthesisedSources()
    return write_dataset(
        folder, supplier, settings.model_copy(update=subsets), SEED, workers=workers
    )


def score(data: Path) -> tuple[Any, dict[str, Any]]:
    """The test split of a dataset and the shipped bundle's scores of its clips."""
    from earmark.data.manifest import load_manifest
    from earmark.detect.evaluate import score_clips
    from earmark.model.bundle import load_bundle

    evaluation = load_manifest(data).splits["test"]
    return evaluation, score_clips(load_bundle("mini").network, evaluation.by_id)


def measure(evaluation: Any, tables: dict[str, Any], deals: int, resamples: int) -> dict[str, Any]:
    """Every way of post-processing of some clips' scores."""
    from earmark.detect.evaluate import evaluate_scores
    from earmark.detect.postprocess import PostProcess
    from earmark.detect.tuning.tune import tune
    from earmark.model.bundle import load_bundle

    bundle = load_bundle("mini")
    labels = bundle.spec.labels
    truth = {Path(name).stem: own for name, own in evaluation.events.items()}
    durations = {Path(name).stem: seconds for name, seconds in evaluation.durations.items()}
    base = PostProcess.from_dict(bundle.postprocess)

    def fixed(settings: PostProcess) -> dict[str, Any]:
        return brief(evaluate_scores(tables, evaluation, settings, resamples=resamples))

    found: dict[str, Any] = {
        "clips": len(tables),
        "fingerprint": evaluation.fingerprint,
        "present": {"postprocess": base.to_dict(), **fixed(base)},
        "unfiltered": fixed(PostProcess()),
        "csebb untuned": fixed(PostProcess(method="csebb")),
    }
    for method in ("median", "csebb"):
        for way, chosen in WAYS.items():
            started = time.perf_counter()
            results = [
                tune(
                    tables,
                    truth,
                    durations,
                    labels,
                    method=method,
                    seed=seed,
                    base=base,
                    resamples=0 if seed else resamples,
                    **chosen,
                )
                for seed in range(deals)
            ]
            seconds = (time.perf_counter() - started) / deals
            found[f"{method} tuned for {way}"] = {
                "deals": deals,
                **{name: spread(results, name) for name in METRICS},
                "intervals": (results[0].cross_validated or {})["intervals"],
                "seconds": round(seconds, 2),
                "chosen": results[0].to_dict()["classes"],
            }
    return found


def brief(metrics: dict[str, Any]) -> dict[str, Any]:
    """The metrics of a system without anything tuned."""
    values = {name: {"mean": metrics[name], "sd": 0.0} for name in METRICS}
    return {**values, "intervals": metrics["intervals"]}


def spread(results: list[Any], name: str) -> dict[str, float]:
    """Mean and standard deviation over deals into folds."""
    values = [found.cross_validated[name] for found in results]
    return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}


def table(found: dict[str, Any]) -> str:
    """The systems side by side, in Markdown."""
    lines = ["| post-processing | PSDS1 | PSDS2 | collar F1 |", "|---|---|---|---|"]
    for system, numbers in found.items():
        if isinstance(numbers, dict):
            cells = [
                f"{numbers[name]['mean']:.3f}"
                + (f" ± {numbers[name]['sd']:.3f}" if "deals" in numbers else "")
                + " [{:.3f}, {:.3f}]".format(*numbers["intervals"][name])
                for name in METRICS
            ]
            lines.append(f"| {system} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Synthesise, score, tune, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--soundbank", type=Path, help="real recordings, as for earmark synth")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/csebb_mini")
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--few", type=int, default=120, help="so many of them by themselves")
    parser.add_argument("--deals", type=int, default=5, help="deals into folds")
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()

    import torch

    torch.set_num_threads(options.threads)
    sets: dict[str, Path | None] = {"synthesised": None}
    if options.soundbank:
        sets["soundbank"] = options.soundbank
    results = {}
    for name, soundbank in sets.items():
        data = synthesise(options.work / name, soundbank, options.clips, options.threads)
        evaluation, tables = score(data)
        for size in (options.clips, options.few):
            some = dict(list(tables.items())[:size])
            title = f"{name}, {size} clips"
            results[title] = measure(evaluation, some, options.deals, options.resamples)
            print(f"{title}\n{table(results[title])}\n", flush=True)
    RESULTS.write_text(
        json.dumps({"command": COMMAND, "seed": SEED, "test": results}, indent=1) + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
