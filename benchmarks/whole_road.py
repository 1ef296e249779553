"""The whole road on a CPU: pretrain an encoder, train in two stages, score; with and without.

    python benchmarks/whole_road.py                    # everything, in a small size
    python benchmarks/whole_road.py --seeds 1 --minutes 30
    python benchmarks/whole_road.py --report           # only report what is finished

Soundscapes are synthesised; a tiny ATST-Frame is pretrained on the unlabelled ones alone; the
network of `atst-sed-tiny-*` goes through both stages with the losses of ATST-SED v1 and of v2, from
the pretrained encoder and from a random one; the last networks are scored on the test split, so
nothing is selected on it. Runs go on where they were stopped, finished ones are not repeated.
Results: benchmarks/results/whole_road.json and docs/whole_road.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earmark.method.settings import Recipe

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/whole_road.json"
PAGE = ROOT / "docs/whole_road.md"
CLIPS = {"strong": 150, "weak": 150, "unlabelled": 600, "validation": 0, "test": 200}
SECONDS = 5.0
HEADS = "{hidden: 512, out: 128}"
STARTS = {"random": "random", "pretrained": "pretrained"}
METHODS = {"v1": "ATST-SED v1", "v2": "ATST-SEDv2"}
FIGURES = ("psds1", "psds2", "collar_f1")


def make_data(folder: Path) -> Path:
    """The dataset, made once."""
    from earmark.synth.settings import load_synth_settings
    from earmark.synth.soundscapes import write_dataset
    from earmark.synth.sources import SynthesisedSources

    settings = load_synth_settings("mini")
    changes: dict[str, Any] = {
        name: settings.subset(name).model_copy(update={"clips": clips})
        for name, clips in CLIPS.items()
    }
    settings = settings.model_copy(update=changes | {"seconds": SECONDS})
    return write_dataset(folder, SynthesisedSources(), settings, 0, workers=1)


def pretrain_encoder(data: Path, out: Path, seed: int, steps: int) -> Path:
    """A tiny ATST-Frame of the unlabelled clips."""
    from earmark.data.crops import survey
    from earmark.train.distributed import make_fabric
    from earmark.train.pretrain import pretrain
    from earmark.train.recipe import load_pretrain_recipe

    recipe = load_pretrain_recipe(
        "atst-frame-pretrain",
        [
            f"window_seconds={SECONDS}",
            f"heads={HEADS}",
            f"train.epochs={max(1, steps // 50)}",
            f"train.steps_per_epoch={min(50, steps)}",
            "train.batch=16",
            "train.lr=16e-3",
            f"train.warmup_steps={steps // 10}",
            f"train.seed={seed}",
        ],
    )
    recordings = survey([data / "audio/train/unlabel_in_domain"], recipe.shortest)
    pretrain(recipe, recordings, out, resume=True, fabric=make_fabric("cpu"))
    return out


def shortened(recipe: Recipe, steps: int) -> Recipe:
    """A recipe with ramps and warm-ups in proportion to a shorter run."""
    share = steps / recipe.train.steps

    def short(count: int) -> int:
        return round(count * share)

    method, train = recipe.method, recipe.train
    embedding = method.embedding
    embedding = embedding.model_copy(
        update={
            "ramp_steps": short(embedding.ramp_steps),
            "detach_steps": short(embedding.detach_steps),
        }
    )
    changes = {"embedding": embedding, "ramp_steps": short(method.ramp_steps)}
    return recipe.model_copy(
        update={
            "method": method.model_copy(update=changes),
            "train": train.model_copy(update={"warmup_steps": short(train.warmup_steps)}),
        }
    )


def stage_recipe(method: str, stage: int, steps: int, seed: int, init: Path | None) -> Recipe:
    """Network, batch, rates and length of `atst-sed-tiny-*`; losses and alignment of a method."""
    from earmark.train.recipe import load_recipe

    recipe = shortened(load_recipe(f"atst-sed-tiny-stage{stage}"), steps)
    embedding = {"hidden": 512, "out": 128}
    own = recipe.method.model_copy(
        update={"embedding": recipe.method.embedding.model_copy(update=embedding)}
    )
    encoder = recipe.network.encoder
    assert encoder is not None
    if method == "v1":
        official = shortened(load_recipe(f"atst-sed-stage{stage}"), steps)
        assert official.network.encoder is not None
        own = official.method.model_copy(update={"ema_horizon": own.ema_horizon})
        kept = ("align", "mask_padding")
        encoder = encoder.model_copy(
            update={name: getattr(official.network.encoder, name) for name in kept}
        )
    network = recipe.network.model_copy(update={"encoder": encoder, "window_seconds": SECONDS})
    changes = {
        "epochs": max(1, steps // 50),
        "steps_per_epoch": min(50, steps),
        "batch": recipe.train.batch.model_copy(update={"synthetic": 4, "weak": 4, "unlabelled": 8}),
        "lr_final": 0.01,
        "validate_every": 10_000,
        "select": "last",
        "seed": seed,
        "init": None if init is None else str(init),
    }
    train = recipe.train.model_copy(update=changes)
    return recipe.model_copy(update={"network": network, "method": own, "train": train})


def one_road(
    data: Path, work: Path, encoder: Path | None, method: str, seed: int, steps: int
) -> dict[str, Any]:
    """Both stages and the scores of the last networks; also left as ``result.json``."""
    from earmark.data.manifest import load_manifest
    from earmark.detect.evaluate import evaluate_network
    from earmark.detect.postprocess import PostProcess
    from earmark.train.distributed import make_fabric
    from earmark.train.engine import train
    from earmark.train.record.journal import run_record

    done = work / "result.json"
    if done.exists():
        return dict(json.loads(done.read_text(encoding="utf-8")))
    manifest, start = load_manifest(data), encoder
    result: dict[str, Any] = {"seconds": {}, "losses": {}, "test": {}}
    for stage in (1, 2):
        out = work / f"stage{stage}"
        recipe = stage_recipe(method, stage, steps, seed, start)
        run = train(recipe, manifest, out, resume=True, fabric=make_fabric("cpu"))
        records = run_record(out)
        result["seconds"][f"stage{stage}"] = round(sum(r["seconds"] for r in records), 1)
        result["losses"][f"stage{stage}"] = records[-1]["losses"]
        result["test"][f"stage{stage}"] = {
            name: evaluate_network(network, manifest.splits["test"], PostProcess(0.448))
            for name, network in run.networks.items()
        }
        start = out
    done.write_text(json.dumps(result), encoding="utf-8")
    return result


def name_of(start: str, method: str, seed: int) -> str:
    """Folder of a road."""
    return f"{start}-{method}-{seed}"


def class_mean(metrics: dict[str, Any], figure: str) -> float:
    """Mean over classes; of PSDS, that is without the penalty for their spread."""
    return statistics.mean(metrics["per_class"][figure].values())


def summarise(results: dict[str, Any]) -> list[str]:
    """The table of teachers, one row for each start, method and stage."""
    columns = {
        "PSDS1": lambda test: test["psds1"],
        "PSDS2": lambda test: test["psds2"],
        "classes' mean PSDS1": lambda test: class_mean(test, "psds1"),
        "classes' mean PSDS2": lambda test: class_mean(test, "psds2"),
        "segment F1, best thresholds": lambda test: class_mean(test, "segment_f1_best"),
        "tagging mAP": lambda test: class_mean(test, "tagging_map"),
    }
    lines = [
        f"| encoder | method | after | seeds | {' | '.join(columns)} |",
        "|---" * (4 + len(columns)) + "|",
    ]
    for start in STARTS:
        for method in METHODS:
            for stage in ("stage1", "stage2"):
                runs = results["runs"].get(start, {}).get(method, {})
                tests = [run["test"][stage]["teacher"] for run in runs.values()]
                if not tests:
                    continue
                values = [spread([of(test) for test in tests]) for of in columns.values()]
                row = [STARTS[start], METHODS[method], stage, str(len(tests)), *values]
                lines.append(f"| {' | '.join(row)} |")
    return lines


def summarise_pretraining(results: dict[str, Any]) -> list[str]:
    """How pretraining ended, one row for each seed."""
    lines = [
        "| pretraining | steps | loss: first epoch → last | std (evenly spread: 0.088) | "
        "linear readout, mAP: pretrained | random |",
        "|---|---|---|---|---|---|",
    ]
    for seed, run in results["pretraining"].items():
        first, last, found = run["first"], run["last"], run["readout"]
        lines.append(
            f"| seed {seed} | {run['steps']} | {first['loss']:.3f} → {last['loss']:.3f} | "
            f"{first['teacher_std']:.3f} → {last['teacher_std']:.3f} | "
            f"{found['pretrained']:.3f} | {found['random']:.3f} |"
        )
    return lines


def spread(values: list[float]) -> str:
    """Mean ± standard deviation (n − 1)."""
    if len(values) < 2:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


def collect(options: argparse.Namespace) -> dict[str, Any]:
    """All finished roads, by start, method and seed."""
    from earmark.train.record.journal import run_record

    runs: dict[str, dict[str, dict[str, Any]]] = {}
    pretraining: dict[str, Any] = {}
    for seed in sorted(options.seeds):
        for start in STARTS:
            for method in METHODS:
                done = options.work / name_of(start, method, seed) / "result.json"
                if done.exists():
                    result = json.loads(done.read_text(encoding="utf-8"))
                    runs.setdefault(start, {}).setdefault(method, {})[str(seed)] = result
        encoder = options.work / f"encoder-{seed}"
        if (encoder / "journal.jsonl").exists():
            records = run_record(encoder)
            pretraining[str(seed)] = {
                "steps": records[-1]["step"],
                "seconds": round(sum(record["seconds"] for record in records), 1),
                "first": records[0]["losses"],
                "last": records[-1]["losses"],
                "readout": read_out(encoder, options.work / "data", seed),
            }
    seeds = " ".join(map(str, options.seeds))
    return {
        "command": f"python benchmarks/whole_road.py --seeds {seeds}",
        "pretraining_steps": options.pretraining_steps,
        "steps_of_a_stage": options.steps,
        "clips": CLIPS,
        "clip_seconds": SECONDS,
        "pretraining": pretraining,
        "runs": runs,
    }


def read_out(folder: Path, data: Path, seed: int) -> dict[str, float]:
    """What a linear map makes of the tokens of the encoder, and of a random one's."""
    import torch

    from earmark.model.encoders.atst import AtstFrame
    from earmark.model.encoders.encoder_file import load_encoder
    from pretraining_teacher import readout

    encoder = load_encoder(folder).build()
    torch.manual_seed(seed)
    random = AtstFrame(encoder.settings).eval()
    return {"pretrained": readout(encoder, data), "random": readout(random, data)}


def report(results: dict[str, Any]) -> None:
    """Write the JSON, and the measured part of the page."""
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    begin, end = "<!-- measured -->", "<!-- /measured -->"
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else f"{begin}\n{end}\n"
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    command = (
        f"Command: `{results['command']}`: {results['pretraining_steps']} steps of pretraining, "
        f"{results['steps_of_a_stage']} of each stage."
    )
    table = "\n".join([*summarise(results), "", *summarise_pretraining(results)])
    PAGE.write_text(f"{before}{begin}\n{command}\n\n{table}\n{end}{after}", encoding="utf-8")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=ROOT / "runs/whole_road")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--pretraining-steps", type=int, default=400)
    parser.add_argument("--steps", type=int, default=400, help="of each stage; a multiple of 50")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no new part after these")
    parser.add_argument("--only-pretraining", action="store_true")
    parser.add_argument("--report", action="store_true", help="only report the finished runs")
    return parser.parse_args()


def main() -> None:
    """Run what is missing, then report all that is finished."""
    import torch

    options = parse()
    if options.report:
        report(collect(options))
        return
    torch.set_num_threads(options.threads)
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - began:7.0f} s  {text}", flush=True)

    def over() -> bool:
        return time.monotonic() - began > 60 * options.minutes

    data = make_data(options.work / "data")
    tell("data")
    for seed in options.seeds:
        if over():
            break
        folder = options.work / f"encoder-{seed}"
        encoder = pretrain_encoder(data, folder, seed, options.pretraining_steps)
        tell(f"encoder of seed {seed}")
        for method in METHODS if not options.only_pretraining else ():
            for start in STARTS:
                if over():
                    break
                road = options.work / name_of(start, method, seed)
                chosen = encoder if start == "pretrained" else None
                result = one_road(data, road, chosen, method, seed, options.steps)
                teacher = result["test"]["stage2"]["teacher"]
                figures = "  ".join(f"{figure} {teacher[figure]:.3f}" for figure in FIGURES)
                tell(f"{start} {METHODS[method]} seed {seed}: teacher {figures}")
    report(collect(options))


if __name__ == "__main__":
    sys.exit(main())
