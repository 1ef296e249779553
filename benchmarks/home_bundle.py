"""Make the bundle `home`: data, training, thresholds, card. Each step goes on where it stopped.

    python benchmarks/home_bundle.py --soundbank FOLDER [--soundbank FOLDER …] --work runs/home

The soundbanks' two train splits are trained on, their validation split chooses the epoch and the
post-processing, their test split is scored at the end and sees nothing else. The steps:

1. `earmark synth` with the presets `home` (strong, weak, unlabelled, validation; another domain)
   and `home-clean` (strong, as mixed), a fifth of all sounds synthesised, whatever the class.
   Most clips that `home` calls unlabelled are used with their true events, so that there are strong
   labels of both train splits; the rest stays without labels.
2. `earmark train home-stage1`, then `home-stage2` from it, whose student is taken.
3. `earmark tune` on the validation clips, nothing else.
4. The encoder's large weights in half precision; scores on the test recordings; the card; the ONNX
   form (`earmark export FOLDER --into-bundle`, to be made again whenever weights change).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "src/earmark/bundles/home"
RESULTS = ROOT / "benchmarks/results/home_bundle.json"
COMMAND = "python benchmarks/home_bundle.py --soundbank FOLDER --soundbank FOLDER"
SHAVER = "Electric_shaver_toothbrush"
SYNTHESISED = 0.2
STRONG_OF_REAL = 2200  # of the 3,000 clips without labels, those used with their events
SOUNDSCAPES = "train/synthetic21_train/soundscapes"
DATASET = """classes: [{classes}]
train:
  - {{name: domain, domain: synthetic,
      audio: ../domain/audio/{tree}, strong: ../domain/metadata/{tree}.tsv}}
  - {{name: clean, domain: synthetic,
      audio: ../clean/audio/{tree}, strong: ../clean/metadata/{tree}.tsv}}
  - {{name: real, audio: strong, strong: strong.tsv}}
  - {{audio: ../domain/audio/train/weak, weak: ../domain/metadata/train/weak.tsv}}
  - {{audio: unlabelled, unlabelled: true}}
validation:
  audio: ../domain/audio/validation/validation
  strong: ../domain/metadata/validation/validation.tsv
  durations: ../domain/metadata/validation/validation_durations.tsv
"""

NOTES = """## What it learned from

YAMNet (M. Plakal, D. Ellis, Google; Apache License 2.0; trained on AudioSet) is its encoder. Beside
that it learned from soundscapes of these recordings, and of synthesised sounds:

| recordings | of | licence, as the collection states it |
|---|---|---|
| Audio Cats and Dogs | cats, dogs | Creative Commons |
| Kitchen20 | blenders, dishes, frying, water, backgrounds | Creative Commons (Freesound) |
| Asterisk's prompts (asterisk-core-sounds) | speech in five languages | CC BY-SA 3.0 |
| Free Spoken Digit Dataset | speech | CC BY-SA 4.0 |
| sound themes and programs packaged by Debian | alarms, bells | those of each package |
| Haushaltsrauschen (Timgrau) | a vacuum cleaner, backgrounds | CC0, or the authors' own |

The licences of the single Freesound clips inside these collections are not known in detail; some
may be for non-commercial use only. Who must avoid that takes `mini`, which learned from synthesised
sounds alone. No recording is in the bundle.

## Limits

- **Shavers and toothbrushes** have no real recording here: the class learned from synthesised
  sounds and was never tested on a real one. **Vacuum cleaners** have one training recording.
- Thresholds are those of 400 validation soundscapes; there is one validation recording of a
  blender, and none of a vacuum cleaner or a shaver, whose thresholds are of synthesised sounds.
- Test recordings come from the same collections as the training ones. Other microphones and rooms
  will be harder.
- Music, engines, wind and other sounds of life were no part of the training."""

LICENCE = """## Licence

Weights: MIT, but for YAMNet's, which are under the Apache License 2.0 (its text is beside the
encoder `yamnet`). The recordings keep their own licences."""
TUNED = "Settings before, and all choices by class, are in `tuning.json`.\n\n"


def earmark(*arguments: str | Path) -> None:
    """One command."""
    command = [sys.executable, "-m", "earmark", *map(str, arguments)]
    subprocess.run(command, check=True)


def synthesise(work: Path, banks: Iterable[Path], workers: int) -> None:
    """The two datasets, and one of the test recordings as the preset `mini` draws them."""
    given = [text for bank in banks for text in ("--soundbank", str(bank))]
    mixed = ["--synthesised", str(SYNTHESISED), "--also", SHAVER, "--workers", str(workers)]
    earmark("synth", work / "domain", "--recipe", "home", "--seed", "11", *given, *mixed)
    earmark("synth", work / "clean", "--recipe", "home-clean", "--seed", "12", *given, *mixed)
    clips = "strong=0,weak=0,unlabelled=0,validation=300,test=300"
    test = ["--recipe", "mini", "--seed", "2026", "--clips", clips, "--workers", str(workers)]
    earmark("synth", work / "test", *given[:2], *test)


def assemble(work: Path) -> Path:
    """One dataset of the two: links to most clips without labels, with their true events."""
    from earmark.data.desed import CLASSES

    data, source = work / "data", work / "domain"
    clips = sorted((source / "audio/train/unlabel_in_domain").glob("*.flac"))
    strong = {clip.name for clip in clips[:STRONG_OF_REAL]}
    for clip in clips:
        link = data / ("strong" if clip.name in strong else "unlabelled") / clip.name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            os.link(clip, link)
    table = source / "metadata/train/unlabel_in_domain_truth.tsv"
    with table.open(newline="") as file, (data / "strong.tsv").open("w", newline="") as out:
        rows = csv.reader(file, delimiter="\t")
        kept = [row for number, row in enumerate(rows) if not number or row[0] in strong]
        csv.writer(out, delimiter="\t", lineterminator="\n").writerows(kept)
    text = DATASET.format(classes=", ".join(CLASSES), tree=SOUNDSCAPES)
    (data / "dataset.yaml").write_text(text, encoding="utf-8")
    return data / "dataset.yaml"


def finish(tuned: Path, work: Path) -> dict[str, Any]:
    """The bundle in its place, its encoder in half precision, with the scores of both."""
    from earmark.data.manifest import load_manifest
    from earmark.detect.evaluate import evaluate_scores, score_clips
    from earmark.detect.postprocess import PostProcess
    from earmark.model.bundle import load_bundle, save_bundle
    from earmark.train.card import metrics_table

    evaluation = load_manifest(work / "test").splits["test"]
    bundle = load_bundle(tuned)
    postprocess = PostProcess.from_dict(bundle.postprocess)
    results: dict[str, Any] = {}
    for name in ("single precision", "as shipped"):
        if name == "as shipped":
            save_bundle(TARGET, halved(bundle.network), bundle.postprocess, "")
            bundle = load_bundle(TARGET)
        tables = score_clips(bundle.network, evaluation.by_id)
        results[name] = evaluate_scores(tables, evaluation, postprocess, resamples=500)
    table = metrics_table(results["as shipped"])
    scores = f"## Scores on soundscapes of test recordings\n\n{table}\n\n"
    (TARGET / "README.md").write_text(with_notes(tuned, scores), encoding="utf-8")
    earmark("export", TARGET, "--into-bundle")
    return results


def halved(network: Any) -> Any:
    """The same network, its encoder's pointwise convolutions in half precision."""
    for name, parameter in network.encoder.named_parameters():
        if name.endswith(".conv.weight") and name != "blocks.0.conv.weight":
            parameter.data = parameter.data.half()
    return network


def with_notes(tuned: Path, scores: str = "") -> str:
    """The card that training and tuning wrote, with test scores, sources and limits."""
    text = (tuned / "README.md").read_text(encoding="utf-8")
    text = text.partition("\n")[2]
    before = text.split("## Licence")[0].replace(TUNED, "")
    return f"# home: a sound event detector\n{before}{scores}{NOTES}\n\n{LICENCE}\n"


def main() -> None:
    """All steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--soundbank", type=Path, action="append", required=True)
    parser.add_argument("--work", type=Path, default=ROOT / "runs/home")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    synthesise(work, options.soundbank, options.workers)
    data, one, two, tuned = assemble(work), work / "stage1", work / "stage2", work / "tuned"
    earmark("train", "home-stage1", "--data", data, "--out", one, "--resume")
    earmark("train", "home-stage2", "--data", data, "--init", one, "--out", two, "--resume")
    if not tuned.exists():
        earmark(
            "tune", two / "student", "--data", data, "--method", "median", "--out", tuned, "--yes"
        )
    results = finish(tuned, work)
    RESULTS.write_text(
        json.dumps({"command": COMMAND, "test": results}, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    sys.exit(main())
