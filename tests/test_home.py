"""The bundle `home`: what its card says of it, and that it hears."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import earmark
from earmark import Detector
from earmark.data.desed import CLASSES
from earmark.model.bundle import load_bundle
from earmark.score.f1 import IntersectionCriterion, f1_statistics
from earmark.synth.blend import BlendedSources
from earmark.synth.scene import make_soundscape
from earmark.synth.settings import load_synth_settings
from earmark.synth.soundbank import Soundbank

FOLDER = Path(earmark.__file__).parent / "bundles" / "home"


def test_its_size_and_its_card() -> None:
    sizes = {path: path.stat().st_size for path in FOLDER.iterdir()}
    graphs = sum(size for path, size in sizes.items() if path.suffix == ".onnx")
    assert sum(sizes.values()) - graphs < 12e6
    assert graphs < 10e6
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for words in ("Apache License 2.0", "CC BY-SA", "no real recording", "test recordings"):
        assert words in card
    assert load_bundle("home").spec.labels == CLASSES


@pytest.mark.processor
def test_it_finds_real_sounds_it_has_never_heard(shared_dir: Path) -> None:
    """Ten soundscapes of test recordings: bounds far below its scores on three hundred."""
    bank = BlendedSources([Soundbank(shared_dir / "soundbank")])
    settings = load_synth_settings("mini")
    detector = Detector.from_pretrained("home")
    found, true = {}, {}
    for number in range(10):
        rng = np.random.default_rng([7, number])
        scene = make_soundscape(bank, "test", settings, rng, subset="test")
        found[str(number)] = [*detector.detect((scene.audio, 16_000)).found]
        true[str(number)] = [*scene.events]
    counts = f1_statistics(found, true, CLASSES, IntersectionCriterion())
    right = counts.tp.sum()
    assert right / counts.detected.sum() > 0.5
    assert right / counts.true.sum() > 0.5
