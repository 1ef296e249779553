"""Practitioner: from a folder of isolated sounds to a detector of one's own classes, in Python.

    python examples/own_classes.py SOUNDS   # SOUNDS/CLASS/*.wav and SOUNDS/background/*.wav
    python examples/own_classes.py          # with sounds made here, some 15 s

Soundscapes are mixed from the sounds, with exact labels, and a small network learns from them; both
go into runs/own, or a second folder that is named. It is a first try: docs/soundscapes.md and
`earmark recipes mini` have the sizes for a real one.
"""

import argparse
from pathlib import Path

import numpy as np

from earmark import Detector
from earmark.core.audio.audio import write_audio
from earmark.data.manifest import load_manifest
from earmark.detect.evaluate import evaluate_network
from earmark.synth.scene import make_soundscape
from earmark.synth.settings import SubsetSettings, SynthSettings
from earmark.synth.soundbank import Soundbank
from earmark.synth.soundscapes import write_dataset
from earmark.train.engine import train
from earmark.train.recipe import load_recipe

RATE = 16_000


def make_sounds(folder: Path) -> None:
    """Five recordings of each of two classes, and backgrounds."""
    rng = np.random.default_rng(0)
    for number in range(5):
        time = np.arange(RATE * 3 // 2) / RATE
        sounds = {
            "Warble": np.sin(2 * np.pi * 1000 * time + (6 + number) * np.sin(2 * np.pi * 8 * time)),
            "Clicks": rng.normal(size=len(time)) * np.exp(-40 * (time % (0.2 + 0.02 * number))),
            "background": rng.normal(size=RATE * 12),
        }
        for label, samples in sounds.items():
            (folder / label).mkdir(parents=True, exist_ok=True)
            write_audio(folder / label / f"{number}.wav", 0.3 * samples / np.abs(samples).max())


parser = argparse.ArgumentParser(usage=__doc__)
parser.add_argument("sounds", type=Path, nargs="?")
parser.add_argument("out", type=Path, nargs="?", default=Path("runs/own"))
asked = parser.parse_args()
sounds, out = asked.sounds or asked.out / "sounds", asked.out
if asked.sounds is None:
    make_sounds(sounds)
few, more = SubsetSettings(clips=20), SubsetSettings(clips=40)
settings = SynthSettings(
    seconds=5, strong=more, weak=SubsetSettings(), unlabelled=few, validation=few, test=few
)
bank = Soundbank(sounds)
data = load_manifest(write_dataset(out / "data", bank, settings, seed=0))
size = ("network.window_seconds=5", "train.epochs=4", "train.steps_per_epoch=25", "train.lr=6e-3")
batch = "train.batch={real: 0, synthetic: 6, weak: 0, unlabelled: 2}"
recipe = load_recipe("mini", (*size, batch, "train.warmup_steps=5", "train.validate_every=4"))
train(recipe, data, out / "run", resume=True)

detector = Detector.from_pretrained(out / "run")
metrics = evaluate_network(detector.network, data.splits["test"], detector.postprocess)
print("collar F1 of new soundscapes by class:", metrics["per_class"]["collar_f1"])
scene = make_soundscape(bank, "test", settings, np.random.default_rng(1))
print("true:")
for event in scene.events:
    print(f"  {event.onset:5.2f} to {event.offset:5.2f} {event.event_label}")
result = detector.detect((scene.audio, RATE), filename="a new scene")
print("found:", result.events.round(2).to_string(index=False), sep="\n")
