"""Make the bundle `home`: data, training, thresholds, card. Each step goes on where it stopped.

    python benchmarks/home_bundle.py --work runs/home --soundbank FOLDER [--soundbank FOLDER …]
        --music FOLDER [--music FOLDER …] --music-validation FOLDER [--music-validation FOLDER …]

The soundbanks' two train splits are trained on, their validation split chooses the epoch and the
post-processing, their test split is scored at the end and sees nothing else. The steps:

1. `earmark synth` with the presets `home` (strong, weak, unlabelled, validation; another domain)
   and `home-clean` (strong, as mixed), a fifth of all sounds synthesised, whatever the class.
   Most clips that `home` calls unlabelled are used with their true events, so that there are strong
   labels of both train splits; the rest stays without labels. Beside them clips in which nothing
   of the kind sounds: backgrounds alone, and pieces of music.
2. `earmark train home-stage1`, then again from it with a fifth of the clips mixed (their tokens),
   then `home-stage2` from that and once more from that, in which YAMNet learns, too; the student is
   taken.
3. `earmark tune` on the validation clips and on 40 continuous minutes of validation recordings,
   with thresholds for events that are found at all.
4. The largest weights in half precision; scores on the test recordings; the card; the ONNX
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

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "src/earmark/bundles/home"
RESULTS = ROOT / "benchmarks/results/home_bundle.json"
COMMAND = (
    "python benchmarks/home_bundle.py --soundbank FOLDER --soundbank FOLDER --music FOLDER … "
    "--music-validation FOLDER …"
)
SHAVER = "Electric_shaver_toothbrush"
SYNTHESISED = 0.2
STRONG_OF_REAL = 2200  # of the 3,000 clips without labels, those used with their events
QUIET = {"train": 250, "validation": 100}  # clips of backgrounds alone
MUSIC = {"train": 500, "validation": 100}  # clips of music
MINUTES = 40  # continuous ones, of validation recordings
AGAIN = (  # what the second part of the training does otherwise
    *("method.mixup.probability=0.2", "method.mixup.domain=tokens", "method.mixup.level=rms"),
    *("train.epochs=5", "train.validate_every=5", "train.warmup_steps=20"),
    *("train.lr=1.6e-3", "train.seed=43"),
)
LAST = (  # what the second run of the second stage does otherwise
    *("method.mixup.probability=0.25", "train.lr=5.0e-4", "train.encoder_lr=2.5e-4"),
    "train.seed=53",
)
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
  - {{name: negatives, domain: real, audio: negatives, strong: negatives.tsv}}
validation: {{audio: validation, strong: validation.tsv, durations: validation_durations.tsv}}
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
| music of games packaged by Debian (asc, colobot, drascula, fillets-ng, fretsonfire, lincity-ng, \
xmoto) | sounds of no class | those of each package |

The licences of the single Freesound clips inside these collections are not known in detail; some
may be for non-commercial use only. Who must avoid that takes `mini`, which learned from synthesised
sounds alone. No recording is in the bundle.

## Limits

- **Shavers and toothbrushes** have no real recording here: the class learned from synthesised
  sounds and was never tested on a real one. **Vacuum cleaners** have one training recording.
- Thresholds are those of 400 validation soundscapes, 200 clips of music and backgrounds, and 40
  continuous minutes, chosen for events that are found at all; there is one validation recording of
  a blender, and none of a vacuum cleaner or a shaver, whose thresholds are of synthesised sounds.
- Test recordings come from the same collections as the training ones. Other microphones and rooms
  will be harder.
- Engines, wind and other sounds of life were no part of the training, music only as a sound of no
  class."""

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
    clips = "strong={train},weak=0,unlabelled=0,validation={validation}".format(**QUIET)
    empty = ["--set", "strong.empty=1", "--set", "validation.empty=1"]
    louder = ["--set", "background_db=[-55,-25]", "--clips", clips]
    quiet = [*empty, *louder, "--workers", str(workers)]
    earmark("synth", work / "quiet", "--recipe", "home", "--seed", "31", *given, *quiet)
    sparse = ["seconds=60", "background_db=[-50,-35]", "snr_db=[6,30]"]
    sparse += ["validation.events=[6,12]", "validation.domain=null"]
    clips = f"strong=0,weak=0,unlabelled=0,validation={MINUTES}"
    long = [text for setting in sparse for text in ("--set", setting)]
    long += ["--clips", clips, *mixed]
    earmark("synth", work / "minutes", "--recipe", "mini", "--seed", "77", *given, *long)
    clips = "strong=0,weak=0,unlabelled=0,validation=300,test=300"
    test = ["--recipe", "mini", "--seed", "2026", "--clips", clips, "--workers", str(workers)]
    earmark("synth", work / "test", *given[:2], *test)


def cut_music(folders: Iterable[Path], out: Path, count: int, seed: int) -> None:
    """Pieces of 10 s of the tracks below folders, by turns, at -45 to -14 dBFS.

    Tracks shorter than 25 s are left out: a game's jingles ring like alarms, and many are.
    """
    from earmark.core.audio import load_excerpt

    rng = np.random.default_rng(seed)
    tracks = [[file for file in sorted(folder.rglob("*")) if _long(file)] for folder in folders]
    tracks = [some for some in tracks if some]
    if not tracks:
        raise SystemExit("no track of 25 s or more in the folders of music")
    out.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        some = tracks[number % len(tracks)]
        track = some[int(rng.integers(len(some)))]
        first = int(rng.uniform(0, soundfile.info(track).duration - 12) * 16_000)
        piece = load_excerpt(track, first, 160_000)
        level = 10 ** (rng.uniform(-45, -14) / 20)
        piece = np.clip(piece * level / max(1e-4, float(np.sqrt(np.mean(piece**2)))), -1, 1)
        soundfile.write(out / f"music_{number:04d}.flac", piece, 16_000, subtype="PCM_16")


def _long(file: Path) -> bool:
    """Whether it is a track of 25 s or more that libsndfile reads."""
    try:
        return bool(soundfile.info(file).duration >= 25)
    except (OSError, RuntimeError):
        return False


def link(clips: Iterable[Path], folder: Path, prefix: str = "") -> list[str]:
    """Links to clips in a folder of the dataset; their names there."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for clip in sorted(clips):
        names.append(prefix + clip.name)
        if not (folder / names[-1]).exists():
            os.link(clip, folder / names[-1])
    return names


def write_table(path: Path, rows: Iterable[Iterable[str]]) -> None:
    """Tab-separated lines."""
    with path.open("w", newline="") as out:
        csv.writer(out, delimiter="\t", lineterminator="\n").writerows(rows)


def read_table(path: Path) -> list[list[str]]:
    """Lines of a tab-separated table, its header first."""
    with path.open(newline="") as file:
        return list(csv.reader(file, delimiter="\t"))


def without_events(work: Path, split: str, tree: str, data: Path, folder: str) -> list[list[str]]:
    """Clips of backgrounds alone and of music, linked; their rows, which hold no event."""
    names = link((work / "quiet/audio" / tree).glob("*.flac"), data / folder, "quiet_")
    names += link((work / "music" / split).glob("*.flac"), data / folder)
    return [[name, "", "", ""] for name in names]


def assemble(work: Path) -> Path:
    """One dataset of the two: links to most clips without labels, with their true events."""
    from earmark.data.desed import CLASSES

    data, source = work / "data", work / "domain"
    clips = sorted((source / "audio/train/unlabel_in_domain").glob("*.flac"))
    strong = set(link(clips[:STRONG_OF_REAL], data / "strong"))
    link(clips[STRONG_OF_REAL:], data / "unlabelled")
    header, *rows = read_table(source / "metadata/train/unlabel_in_domain_truth.tsv")
    write_table(data / "strong.tsv", [header, *(row for row in rows if row[0] in strong)])
    negatives = without_events(work, "train", SOUNDSCAPES, data, "negatives")
    write_table(data / "negatives.tsv", [header, *negatives])
    validation = "validation/validation"
    names = link((source / "audio" / validation).glob("*.flac"), data / "validation")
    rows = read_table(source / "metadata/validation/validation.tsv")
    more = without_events(work, "validation", validation, data, "validation")
    minutes = link((work / "minutes/audio" / validation).glob("*.wav"), data / "validation", "min_")
    heard = read_table(work / "minutes/metadata/validation/validation.tsv")[1:]
    long = [[f"min_{name}", *event] for name, *event in heard]
    write_table(data / "validation.tsv", [*rows, *more, *long])
    lengths = [[name, "10.0"] for name in [*names, *(row[0] for row in more)]]
    lengths += [[name, "60.0"] for name in minutes]
    write_table(data / "validation_durations.tsv", [["filename", "duration"], *lengths])
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
    """The same network, its encoder's pointwise convolutions and what joins its tokens halved."""
    for name, parameter in network.encoder.named_parameters():
        if name.endswith(".conv.weight") and name != "blocks.0.conv.weight":
            parameter.data = parameter.data.half()
    network.crnn.merge.weight.data = network.crnn.merge.weight.data.half()
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
    parser.add_argument("--music", type=Path, action="append", required=True)
    parser.add_argument("--music-validation", type=Path, action="append", required=True)
    parser.add_argument("--work", type=Path, default=ROOT / "runs/home")
    parser.add_argument("--precision", default="32-true", help="bf16-mixed where it is faster")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    synthesise(work, options.soundbank, options.workers)
    for split, folders in (("train", options.music), ("validation", options.music_validation)):
        if not (work / "music" / split).exists():
            cut_music(folders, work / "music" / split, MUSIC[split], seed=41)
    data, tuned = assemble(work), work / "tuned"
    one, two, three, four = (work / name for name in ("one", "two", "three", "four"))
    how = ["--set", f"train.precision={options.precision}", "--resume"]
    earmark("train", "home-stage1", "--data", data, "--out", one, *how)
    runs = (
        ("home-stage1", one, two, AGAIN),
        ("home-stage2", two, three, ("train.seed=47",)),
        ("home-stage2", three, four, LAST),
    )
    for recipe, before, out, settings in runs:
        given = [text for setting in settings for text in ("--set", setting)]
        exact = (
            ["--resume"] if recipe == "home-stage2" else how
        )  # YAMNet learns in single precision
        earmark("train", recipe, "--data", data, "--init", before, "--out", out, *exact, *given)
    if not tuned.exists():
        tuning = ["--method", "csebb", "--decide-by", "intersection_f1", "--yes"]
        earmark("tune", four / "student", "--data", data, "--out", tuned, *tuning)
    results = finish(tuned, work)
    RESULTS.write_text(
        json.dumps({"command": COMMAND, "test": results}, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
