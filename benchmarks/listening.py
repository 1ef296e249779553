"""What a bundle finds in continuous recordings at the thresholds it ships with.

    python benchmarks/listening.py home mini audioset --soundbank FOLDER [--soundbank FOLDER …]

Twenty one-minute recordings are built from the banks' **test** splits: real events over real
backgrounds at -50 to -35 dBFS, 6 to 30 dB above them, six to twelve a minute. An event counts as
right by the intersection criterion with DTC = GTC = 0.5. Then what fires where nothing of the kind
sounds: every background of the test splits at -50 and -35 dBFS, speech alone, and music alone
(synthesised chords and melodies: the banks hold no music). Writes
benchmarks/results/listening.json, each figure with a 95 % interval: of precision and recall over
resampled minutes, of counts by Poisson's law.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from earmark import Detector
from earmark.core.config import parse_settings
from earmark.core.timeline import SAMPLE_RATE
from earmark.score.f1 import IntersectionCriterion, f1_statistics
from earmark.synth.blend import BlendedSources
from earmark.synth.scene import make_soundscape
from earmark.synth.settings import SynthSettings
from earmark.synth.soundbank import Soundbank

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/listening.json"
Samples = NDArray[np.float32]

#: AudioSet's names of the classes of DESED, for the bundle `audioset`.
AUDIOSET = {
    "Alarm": "Alarm_bell_ringing", "Alarm clock": "Alarm_bell_ringing",
    "Smoke detector, smoke alarm": "Alarm_bell_ringing", "Fire alarm": "Alarm_bell_ringing",
    "Telephone bell ringing": "Alarm_bell_ringing", "Telephone": "Alarm_bell_ringing",
    "Ringtone": "Alarm_bell_ringing", "Buzzer": "Alarm_bell_ringing",
    "Doorbell": "Alarm_bell_ringing", "Siren": "Alarm_bell_ringing", "Blender": "Blender",
    "Cat": "Cat", "Dishes, pots, and pans": "Dishes", "Cutlery, silverware": "Dishes",
    "Dog": "Dog", "Electric shaver, electric razor": "Electric_shaver_toothbrush",
    "Electric toothbrush": "Electric_shaver_toothbrush", "Frying (food)": "Frying",
    "Water tap, faucet": "Running_water", "Sink (filling or washing)": "Running_water",
    "Speech": "Speech", "Vacuum cleaner": "Vacuum_cleaner",
}  # fmt: skip


def minutes(bank: BlendedSources, count: int, seed: int) -> Iterator[tuple[Samples, list[Any]]]:
    """One-minute recordings with their events (onset, offset, label)."""
    settings = parse_settings(
        SynthSettings,
        {
            "seconds": 60.0,
            "background_db": [-50, -35],
            "snr_db": [6, 30],
            "test": {"clips": 1, "events": [6, 12], "domain": None},
        },
    )
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        scene = make_soundscape(bank, "test", settings, rng, subset="test")
        yield scene.audio, list(scene.events)


def found(detector: Detector, samples: Samples) -> list[tuple[float, float, str]]:
    """Events of a recording; of `audioset`, those of DESED's classes under DESED's names."""
    events = detector.detect((samples, SAMPLE_RATE)).events
    rows = zip(events.onset, events.offset, events.event_label, strict=True)
    if "Speech synthesizer" in detector.labels:
        return [(on, off, AUDIOSET[name]) for on, off, name in rows if name in AUDIOSET]
    return list(rows)


def listening(detector: Detector, bank: BlendedSources, count: int, seed: int) -> dict[str, Any]:
    """Precision, recall and false alarms an hour over the recordings, overall and by class."""
    truth, detections = {}, {}
    for index, (audio, events) in enumerate(minutes(bank, count, seed)):
        truth[f"{index:03d}"] = events
        detections[f"{index:03d}"] = found(detector, audio)
    labels = sorted(
        {event[2] for rows in (*truth.values(), *detections.values()) for event in rows}
    )
    criterion = IntersectionCriterion()
    counts = f1_statistics(detections, truth, labels, criterion, clips=sorted(truth))
    tp, detected, true = counts.tp, counts.detected, counts.true  # [N, C]
    rng, rows = np.random.default_rng(seed), []
    for _ in range(1000):
        drawn = rng.integers(len(truth), size=len(truth))
        rows.append((_over(tp[drawn], detected[drawn]), _over(tp[drawn], true[drawn])))
    ends = np.nanquantile(np.array(rows), [0.025, 0.975], axis=0)
    false = int((detected - tp).sum())
    return {
        "minutes": count,
        "events": int(true.sum()),
        "precision": _over(tp, detected),
        "precision_interval": ends[:, 0].tolist(),
        "recall": _over(tp, true),
        "recall_interval": ends[:, 1].tolist(),
        "false_alarms_an_hour": _rate(false, count / 60),
        "per_class": {
            label: {
                "events": int(true[:, c].sum()),
                "right": int(tp[:, c].sum()),
                "false": int((detected - tp)[:, c].sum()),
            }
            for c, label in enumerate(labels)
        },
    }


def _over(some: Any, of: Any) -> float:
    return float(some.sum() / of.sum()) if of.sum() else float("nan")


def _rate(events: int, hours: float) -> dict[str, Any]:
    """Events an hour with Poisson's exact 95 % interval."""
    low = chi2.ppf(0.025, 2 * events) / 2 if events else 0.0
    high = chi2.ppf(0.975, 2 * events + 2) / 2
    return {"count": events, "hours": hours, "rate": events / hours,
            "interval": [low / hours, high / hours]}  # fmt: skip


def joined(banks: list[Soundbank], label: str, level_db: float, pause: float) -> Samples:
    """Every test recording of a class (or ``background``) one after the other, at a level (RMS)."""
    from earmark.core.audio.audio import load_audio

    pieces = []
    for bank in banks:
        for _, files in sorted(bank.recordings_of(label, "test").items()):
            for file in files:
                samples = load_audio(file)
                level = 10 ** (level_db / 20) / max(float(np.sqrt(np.mean(samples**2))), 1e-9)
                pieces += [samples * np.float32(level), np.zeros(int(pause * SAMPLE_RATE))]
    return np.clip(np.concatenate(pieces), -1, 1).astype(np.float32)


def music(seconds: int, seed: int) -> Samples:
    """Chords and melodies of decaying harmonics, at some -20 dBFS."""
    rng, out = np.random.default_rng(seed), np.zeros(seconds * SAMPLE_RATE)
    for beat in np.arange(0, seconds - 2, 0.5):
        time = np.arange(int(rng.choice([0.5, 1.0, 2.0]) * SAMPLE_RATE)) / SAMPLE_RATE
        root = 55 * 2 ** (int(rng.choice([0, 3, 5, 7, 10, 12, 15, 17, 19, 24])) / 12)
        for third in rng.choice([0, 3, 4, 7, 12], size=int(rng.integers(1, 4)), replace=False):
            for harmonic in range(1, 7):
                hertz = root * 2 ** (third / 12) * harmonic
                tone = np.sin(2 * np.pi * hertz * time + rng.uniform(0, 6)) / harmonic**1.5
                start = int(beat * SAMPLE_RATE)
                out[start : start + time.size] += tone * np.exp(-time * rng.uniform(1.5, 5))
    return (out * 0.1 / np.sqrt(np.mean(out**2))).clip(-1, 1).astype(np.float32)


def alone(detector: Detector, samples: Samples, but: str | None = None) -> dict[str, Any]:
    """What fires an hour of a recording, but for one class that is there."""
    counts = Counter(label for *_, label in found(detector, samples))
    others = {label: n for label, n in sorted(counts.items()) if label != but}
    hours = samples.size / SAMPLE_RATE / 3600
    return {**_rate(sum(others.values()), hours), "per_class": others,
            "of_the_class_itself": counts.get(but or "", 0)}  # fmt: skip


def main() -> None:
    """Listen with every bundle named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="+")
    parser.add_argument("--soundbank", type=Path, action="append", required=True)
    parser.add_argument("--minutes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    banks = [Soundbank(folder, needed=()) for folder in options.soundbank]
    tested = [name for bank in banks for name in bank.labels if bank.recordings_of(name, "test")]
    blend = BlendedSources([_only(bank, tested) for bank in banks])
    results = json.loads(options.out.read_text()) if options.out.is_file() else {}
    for name in options.bundles:
        detector = Detector.from_pretrained(name)
        results[name] = {
            "command": f"python benchmarks/listening.py {name} --minutes {options.minutes} "
            f"--seed {options.seed} " + "--soundbank FOLDER " * len(banks),
            "listening": listening(detector, blend, options.minutes, options.seed),
            "backgrounds_alone": {
                str(level): alone(
                    detector, joined(banks, "background", level, 0.0), "Running_water"
                )
                for level in (-50, -35)
            },
            "speech_alone": alone(detector, joined(banks, "Speech", -30, 0.5), "Speech"),
            "music_alone": alone(detector, music(300, options.seed)),
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(name, json.dumps(results[name]["listening"], indent=1))


def _only(bank: Soundbank, labels: list[str]) -> Soundbank:
    """The bank with its tested classes alone."""
    bank.labels = tuple(label for label in bank.labels if label in labels)
    return bank


if __name__ == "__main__":
    main()
