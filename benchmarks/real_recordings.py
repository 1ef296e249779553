"""From a soundbank of real recordings to a detector, and what it hears in five of them.

    python benchmarks/real_recordings.py --soundbank FOLDER

Writes soundscapes of the bank's recordings (splits never share one), trains the recipe `mini`,
scores the teacher on soundscapes of held-out recordings, and detects events in one file of five
test recordings joined with silence, with that bundle and with the shipped one. Results:
benchmarks/results/real_recordings.json and docs/real_recordings*.png.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/real_recordings.json"
JOINED = ("Speech", "Dog", "Alarm_bell_ringing", "Cat", "Dishes")
SILENCE_SECONDS = 2.0


def earmark(*arguments: str) -> None:
    """Run a command of the toolkit, as a user would."""
    print("earmark", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "earmark", *arguments], check=True)


def join(soundbank: Path, out: Path) -> list[tuple[float, float, str]]:
    """The first test recording of five classes with silence around each; returns where they lie.

    The ends are the files' own: pauses inside a recording are not told apart here.
    """
    from earmark.core.audio.audio import load_audio, write_audio
    from earmark.core.timeline import SAMPLE_RATE, samples_to_seconds, seconds_to_samples
    from earmark.synth.soundbank import Soundbank

    bank = Soundbank(soundbank)
    rng = np.random.default_rng(0)
    pause = 1e-4 * rng.standard_normal(seconds_to_samples(SILENCE_SECONDS, SAMPLE_RATE))
    parts, truth, length = [pause], [], len(pause)
    for label in JOINED:
        recordings = bank.recordings(label, "test")
        samples = load_audio(recordings[sorted(recordings)[0]][0])
        begin, end = samples_to_seconds(length), samples_to_seconds(length + len(samples))
        truth.append((begin, end, label))
        parts += [samples, pause]
        length += len(samples) + len(pause)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_audio(out, np.concatenate(parts).astype(np.float32))
    return truth


def detect(bundle: str, recording: Path, truth: Any, picture: Path) -> list[dict[str, Any]]:
    """Events of the joined file, and its picture."""
    from earmark import Detector
    from earmark.deliver.pictures.view import plot_detection

    result = Detector.from_pretrained(bundle).detect(recording)
    plot_detection(picture, recording, result, truth=truth)
    columns = ["onset", "offset", "event_label", "score"]
    return [dict(zip(columns, event, strict=True)) for event in result.found]


def main() -> None:
    """Synthesise, train, evaluate, detect."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--soundbank", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=ROOT / "runs/real")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    data, run = str(options.work / "data"), str(options.work / "run")
    workers = str(os.cpu_count() or 1)
    earmark("synth", data, "--soundbank", str(options.soundbank), "--workers", workers)
    epochs = ["--set", f"train.epochs={options.epochs}"]
    earmark("train", "mini", "--data", data, "--out", run, "--resume", *epochs)
    bundle, scores = f"{run}/teacher", str(options.work / "test")
    earmark("evaluate", bundle, "--data", data, "--split", "test", "--out", scores)
    recording = options.work / "joined.wav"
    truth = join(options.soundbank, recording)
    result = {
        "command": f"python benchmarks/real_recordings.py --epochs {options.epochs}"
        " --soundbank FOLDER",
        "test": json.loads((options.work / "test/metrics.json").read_text(encoding="utf-8")),
        "joined": [dict(zip(("onset", "offset", "event_label"), e, strict=True)) for e in truth],
        "detected": detect(bundle, recording, truth, ROOT / "docs/real_recordings.png"),
        "detected_by_shipped": detect(
            "mini", recording, truth, ROOT / "docs/real_recordings_shipped.png"
        ),
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
