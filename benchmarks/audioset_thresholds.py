"""The thresholds of the bundle `audioset`, chosen on recordings of the train and validation splits.

    python benchmarks/audioset_thresholds.py --soundbank FOLDER [--soundbank FOLDER …] [--write]

Of most of the 521 classes there are no labels. What the network gives on sounds that are something
else is known for all of them:

1. **Of every class**: each recording is scored as it is and 20 dB lower. Recordings of the bank's
   class (or of its backgrounds) on which it scores highest on average are left out, for they may
   hold it. Of the scores on all others the 99.5 % quantile is the threshold, from 0.2 to 0.9.
2. **Of the classes that are classes of the bank**: minutes of events over backgrounds are made, and
   the threshold, 0.1 or more, is the one of highest intersection F1 (DTC = GTC = 0.5).

Test recordings are not read. `--write` writes the bundle's postprocess.yaml; what was found goes to
benchmarks/results/audioset_thresholds.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from earmark import Detector
from earmark.core.audio.audio import load_audio
from earmark.core.config import dump_yaml, parse_settings
from earmark.core.folders import shipped_folder
from earmark.core.timeline import SAMPLE_RATE
from earmark.detect.postprocess import PostProcess, scores_to_events
from earmark.model.encoders.yamnet import pretrained_yamnet
from earmark.score.f1 import IntersectionCriterion, f1_statistics
from earmark.synth.blend import BlendedSources
from earmark.synth.scene import make_soundscape
from earmark.synth.settings import SynthSettings
from earmark.synth.soundbank import BACKGROUND, MANIFEST_SPLITS, Soundbank

RESULTS = Path(__file__).resolve().parent / "results/audioset_thresholds.json"
SPLITS = [split for name, split in MANIFEST_SPLITS.items() if name != "test"]
QUANTILE, LOWEST, HIGHEST = 0.995, 0.2, 0.9
GAINS = (1.0, 0.1)
MIN_GAP = 0.5
GRID = np.round(np.arange(0.1, 0.91, 0.02), 2)
#: Classes of the bank that AudioSet has, too: its class → the bank's.
SAME = {
    "Alarm": "Alarm_bell_ringing", "Blender": "Blender", "Cat": "Cat",
    "Dishes, pots, and pans": "Dishes", "Cutlery, silverware": "Dishes", "Dog": "Dog",
    "Frying (food)": "Frying", "Water tap, faucet": "Running_water",
    "Sink (filling or washing)": "Running_water", "Speech": "Speech",
    "Vacuum cleaner": "Vacuum_cleaner",
}  # fmt: skip
Floats = NDArray[np.floating]


def recordings(banks: list[Soundbank]) -> Iterator[tuple[str, Path]]:
    """Every recording but those of the test split, with its class."""
    for bank in banks:
        for label in (*bank.labels, BACKGROUND):
            for split in SPLITS:
                for files in bank.recordings_of(label, split).values():
                    yield from ((label, file) for file in files)


def elsewhere(banks: list[Soundbank]) -> tuple[Floats, float]:
    """Each class's quantile of the scores on sounds that are something else; hours listened to."""
    network = pretrained_yamnet((14,), patches=True, classifier=True)
    scores: dict[str, list[Floats]] = {}
    seconds = 0.0
    for label, file in recordings(banks):
        samples = torch.from_numpy(load_audio(file))
        for gain in GAINS:
            with torch.inference_mode():
                tokens = network(network.features(gain * samples[None]))
                scores.setdefault(label, []).append(network.class_scores(tokens)[0].numpy())
            seconds += len(samples) / SAMPLE_RATE
    whole = {label: np.concatenate(own) for label, own in scores.items()}
    labels = sorted(whole)
    likeliest = np.stack([whole[label].mean(axis=0) for label in labels]).argmax(axis=0)  # [C]
    found = np.zeros(len(likeliest))
    for number, label in enumerate(labels):
        others = np.concatenate([whole[other] for other in labels if other != label])
        mine = likeliest == number
        found[mine] = np.quantile(others[:, mine], QUANTILE, axis=0)
    return found, seconds / 3600


def minutes(bank: BlendedSources, split: str, count: int, seed: int) -> Iterator[Any]:
    """One-minute recordings with their events, made as those of benchmarks/listening.py."""
    content = {
        "seconds": 60.0, "background_db": [-50, -35], "snr_db": [6, 30],
        "test": {"clips": 1, "events": [6, 12], "domain": None},
    }  # fmt: skip
    settings = parse_settings(SynthSettings, content)
    for index in range(count):
        rng = np.random.default_rng([seed, SPLITS.index(split), index])
        yield make_soundscape(bank, split, settings, rng, subset="test")


def heard(banks: list[Soundbank], count: int, seed: int) -> dict[str, tuple[float, float]]:
    """Class → threshold of the highest intersection F1 on made minutes, and that F1."""
    detector = Detector.from_pretrained("audioset", classes=[f'"{name}"' for name in SAME])
    truth, tables = {}, {}
    for split in SPLITS:
        labels = [x for bank in banks for x in bank.labels if bank.recordings_of(x, split)]
        blend = BlendedSources([_only(bank, labels) for bank in banks])
        for index, scene in enumerate(minutes(blend, split, count, seed)):
            name = f"{split}{index:03d}"
            truth[name] = scene.events
            tables[name] = detector.score((scene.audio, SAMPLE_RATE))
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in SAME}
    for threshold in GRID:
        settings = PostProcess(threshold=float(threshold), min_gap_seconds=MIN_GAP)
        events = {clip: scores_to_events(table, settings) for clip, table in tables.items()}
        for name, same in SAME.items():
            own = {c: [e for e in found if e.event_label == name] for c, found in events.items()}
            true = {
                c: [(on, off, name) for on, off, label, *_ in there if label == same]
                for c, there in truth.items()
            }
            counts = f1_statistics(
                own, true, [name], clips=sorted(truth), criterion=IntersectionCriterion()
            )
            whole = counts.detected.sum() + counts.true.sum()
            rows[name].append((2 * float(counts.tp.sum()) / max(1.0, whole), -float(threshold)))
    best = {name: max(found) for name, found in rows.items()}
    return {name: (-threshold, f1) for name, (f1, threshold) in best.items()}


def _only(bank: Soundbank, labels: list[str]) -> Soundbank:
    """The bank with the classes that the split has recordings of."""
    bank.labels = tuple(label for label in bank.labels if label in labels)
    return bank


def main() -> None:
    """Choose the thresholds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--soundbank", type=Path, action="append", required=True)
    parser.add_argument("--minutes", type=int, default=6, help="of each split")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    folders = options.soundbank
    quantiles, hours = elsewhere([Soundbank(folder, needed=()) for folder in folders])
    labels = Detector.from_pretrained("audioset").labels
    chosen = dict(zip(labels, np.clip(quantiles, LOWEST, HIGHEST).round(2).tolist(), strict=True))
    tuned = heard(
        [Soundbank(folder, needed=()) for folder in folders], options.minutes, options.seed
    )
    rule = {name: chosen[name] for name in tuned}
    chosen |= {name: threshold for name, (threshold, _) in tuned.items()}
    result = {
        "command": f"python benchmarks/audioset_thresholds.py --minutes {options.minutes} --seed "
        f"{options.seed} " + "--soundbank FOLDER " * len(folders),
        "hours": round(hours, 2),
        "classes_at_the_lowest": sum(t == LOWEST for t in chosen.values()),
        "quantiles": dict(zip(labels, quantiles.round(4).tolist(), strict=True)),
        "labelled": {
            name: {"threshold": threshold, "f1": round(f1, 3), "by_the_rule": rule[name]}
            for name, (threshold, f1) in tuned.items()
        },
    }  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(result["labelled"], indent=1))
    if options.write:
        settings = PostProcess(threshold=chosen, min_gap_seconds=MIN_GAP)
        path = shipped_folder("bundles") / "audioset/postprocess.yaml"
        path.write_text(dump_yaml(settings.to_dict()), encoding="utf-8")


if __name__ == "__main__":
    main()
