"""The comparison's scripts, a small soundbank of tones and hisses, and choices for both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "benchmarks/ablation"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)


@pytest.fixture(scope="session")
def small_bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes and a background, six recordings of each, two pieces of one of them."""
    folder, rng = tmp_path_factory.mktemp("bank"), np.random.default_rng(0)
    time = np.arange(12_000) / 16_000
    for number in range(6):
        sounds = {
            "Beep": 0.5 * np.sin(2 * np.pi * (400 + 150 * number) * time),
            "Hiss": 0.2 * rng.standard_normal(len(time)),
            "background": 0.02 * rng.standard_normal(3 * len(time)),
        }
        for label, samples in sounds.items():
            (folder / label).mkdir(exist_ok=True)
            soundfile.write(folder / label / f"r{number}.wav", samples, 16_000)
    for piece in (1, 2):
        soundfile.write(folder / "Beep" / f"long-{piece}.wav", sounds["Beep"], 16_000)
    return folder


@pytest.fixture
def small_choices(tmp_path: Path) -> Path:
    """Runs of four steps on clips of two seconds."""
    content = yaml.safe_load((SCRIPTS / "choices.yaml").read_text(encoding="utf-8"))
    clips = {"strong": 8, "unlabelled": 6, "validation": 5, "test": 6}
    synth = {"seconds": 2.0, "weak": {"clips": 0}}
    for subset, count in clips.items():
        synth[subset] = {"clips": count, "events": [1, 2]}
    sizes = "{real: 3, synthetic: 0, weak: 0, unlabelled: 16}"
    network = [
        "network.window_seconds=2.0",
        "network.channels=[4,8,8,8,8]",
        "network.rnn_hidden=8",
        "method.embedding.hidden=16",
        "method.embedding.out=8",
        f"train.batch={sizes}",
    ]
    content |= {"bank": {"drop": [], "synth": synth}, "labels": 6, "steps": 4, "epochs": 2}
    content |= {"networks": {"crnn": {"recipe": "mini", "set": network}}, "legs": 2}
    content |= {"seeds": [1, 2], "frozen": {}}
    hypotheses = [{"arm": "H", "than": ["B"], "says": "unlabelled audio helps"}]
    content["hypotheses"] = {"crnn": hypotheses}
    frozen = {"frozen": content.pop("frozen")}
    path = tmp_path / "choices.yaml"
    path.write_text(yaml.safe_dump(content) + yaml.safe_dump(frozen), encoding="utf-8")
    return path
