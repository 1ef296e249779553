"""Excerpts of everything that makes samples: sounds of every class, backgrounds, and scenes.

``python tests/helpers/sound_excerpts.py FILE.npz`` writes them. That is needed only where
``SOUNDS_VERSION`` or ``MIXING_VERSION`` goes up, and then together with it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earmark.core.audio.audio import write_audio
from earmark.core.config import parse_settings
from earmark.synth.scene import Soundscape, make_soundscape
from earmark.synth.settings import SynthSettings, load_synth_mapping
from earmark.synth.soundbank import Soundbank
from earmark.synth.sources import SynthesisedSources

STEP = 239  # one sample of so many is kept: whatever changes a sound changes more of it
RATE = 16_000
#: Sounds of the classes of which six are not all there is.
KINDS = {"Alarm_bell_ringing": 40, "Cat": 40, "Dog": 24}
#: Scenes: the recipe, what differs from it, and the subset.
SCENES = {
    "clean": ("mini", {}, "strong"),
    "real": ("mini", {}, "weak"),
    "scaper": ("scaper", {"room": {"probability": 1.0}}, "strong"),
    "protected": ("mini", {"protected": True, "truncated": 1.0}, "validation"),
    "bank": ("mini", {"background_db": [-60, -30]}, "unlabelled"),
    "bank-whole": (
        "scaper",
        {"duration": None, "truncated": 1.0, "shortest_truncated": 0.5, "loudness": "rms"},
        "strong",
    ),
}
SPLITS = {"strong": "synthetic", "weak": "real", "unlabelled": "real", "validation": "validation"}


def excerpt(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Some samples of a sound [S] at full scale ±1, as 16 bits, and its length before them."""
    whole = np.clip(np.round(samples[::STEP].astype(np.float64) * 32768), -32768, 32767)
    return np.concatenate([np.divmod(samples.size, 1000), whole]).astype(np.int16)


def sounds() -> dict[str, NDArray[np.int16]]:
    """Events of every synthesised class, more of those that come in kinds; and backgrounds."""
    supplier = SynthesisedSources()
    found: dict[str, NDArray[np.int16]] = {}
    for label in supplier.labels:
        for seed in range(KINDS.get(label, 6)):
            rng = np.random.default_rng(seed)
            found[f"{label}-{seed}"] = excerpt(supplier.event(label, "real", rng))
    for seed in range(8):
        rng = np.random.default_rng(seed)
        found[f"background-{seed}"] = excerpt(supplier.background("test", 3 * RATE, rng))
    return found


def scenes() -> dict[str, Soundscape]:
    """A soundscape of each kind in `SCENES`, of synthesised sounds and of a soundbank's."""
    made: dict[str, Soundscape] = {}
    with tempfile.TemporaryDirectory() as folder:
        make_bank(Path(folder))
        for seed, (name, (recipe, changes, subset)) in enumerate(SCENES.items()):
            settings = parse_settings(SynthSettings, {**load_synth_mapping(recipe), **changes})
            supplier = SynthesisedSources()
            if name.startswith("bank"):
                use = settings.soundbank
                supplier = Soundbank(folder, events=use.events, lengthen=use.background)
            rng = np.random.default_rng(seed)
            made[name] = make_soundscape(supplier, SPLITS[subset], settings, rng, subset=subset)
    return made


def make_bank(folder: Path) -> None:
    """Recordings at two rates: bursts of harmonics in a faint noise, and rooms of noise."""
    rng = np.random.default_rng(8)
    for label, pitch, seconds in (("Bell", 900, 2.5), ("Hum", 120, 13.0), ("background", 0, 4.0)):
        (folder / label).mkdir()
        for number in range(4):
            rate = (RATE, 22_050)[number % 2]
            time = np.arange(round(seconds * rate)) / rate
            samples = rng.standard_normal(time.size) * (0.3 if not pitch else 0.001)
            for harmonic in range(1, 4 if pitch else 1):
                tone = np.sin(2 * np.pi * pitch * (1 + 0.1 * number) * harmonic * time)
                samples += 0.2 / harmonic * tone * (time % 1.6 < 0.9)
            write_audio(folder / label / f"{label}{number}.wav", samples.astype(np.float32), rate)


if __name__ == "__main__":
    mixed = scenes()
    np.savez_compressed(
        sys.argv[1],
        **sounds(),
        **{f"scene-{name}": excerpt(scene.audio) for name, scene in mixed.items()},
        **{f"events-{name}": np.array([str(e[:3]) for e in s.events]) for name, s in mixed.items()},
    )
