"""Each example runs as a person runs it, and what it says is true."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.image import imread

from earmark import Detector
from earmark.core.audio.audio import write_audio

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs an example in an empty folder; gives what it defined."""
    monkeypatch.chdir(tmp_path)
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()

    def runner(name: str, *arguments: str) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        return runpy.run_path(str(EXAMPLES / name), run_name="__main__")

    yield runner
    torch.set_num_threads(threads)
    torch.random.set_rng_state(state)


def test_every_example_is_short_and_listed(root: Path) -> None:
    listed = (root / "docs" / "examples.md").read_text(encoding="utf-8")
    scripts = sorted(EXAMPLES.glob("*.py"))
    assert len(scripts) == 5
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        _, header, body = text.split('"""', 2)
        assert sum(bool(line.strip()) for line in body.splitlines()) <= 60, script.name
        assert f"python examples/{script.name}" in header, script.name
        assert f"](../examples/{script.name})" in listed
        assert f"\ndef test_{script.stem}(" in Path(__file__).read_text(encoding="utf-8")


def test_loudest_by_hour(run: Any, tmp_path: Path) -> None:
    made = run("loudest_by_hour.py")
    events = pd.read_csv(tmp_path / "runs/loudest/events.tsv", sep="\t")
    assert set(events["filename"]) == {"0.wav", "1.wav"}
    second = events[events["filename"] == "1.wav"]
    assert np.allclose(second["since_start"], second["onset"] + 90)
    # All energy of the table is in the picture's periods, and none twice.
    levels: pd.DataFrame = made["levels"]
    assert levels.shape[1] == 3
    assert np.isclose(np.nansum(10 ** (levels / 10)) * 60, events["energy"].sum())
    assert made["seconds"] == 60
    height, width = imread(tmp_path / "runs/loudest/loudest.png").shape[:2]
    assert height > 100
    assert width == 1200


def test_live(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    made = run("live.py")
    lines = re.findall(r"at +([\d.]+) s: +([\d.]+) to +([\d.]+) s (\w+)", capsys.readouterr().out)
    audio = np.concatenate(list(made["synthesised"]()))
    whole = Detector.from_pretrained(
        "mini", lookahead_seconds=made["detector"].lookahead_seconds
    ).detect((audio, made["RATE"]))
    expected = [(f"{e[0]:.2f}", f"{e[1]:.2f}", e[2]) for e in whole.found]
    assert len(expected) > 5
    assert sorted(line[1:] for line in lines) == sorted(expected)
    for told, _, offset, _ in lines:
        assert float(told) <= float(offset) + made["LATENCY"] + 0.11  # and the block it came with
    assert any(float(line[0]) < 25 for line in lines)  # not all at the end
    write_audio("same.wav", audio)
    run("live.py", "same.wav")
    assert len(capsys.readouterr().out.splitlines()) == len(lines)


def test_own_classes(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    made = run("own_classes.py")
    assert made["detector"].labels == ("Clicks", "Warble")
    scores = made["metrics"]["per_class"]["collar_f1"]
    assert min(scores.values()) > 0.7, scores
    true = [(event.onset, event.event_label) for event in made["scene"].events]
    found = [(event[0], event[2]) for event in made["result"].found]
    near = [any(abs(on - o) < 0.25 and label == name for o, name in found) for on, label in true]
    assert sum(near) >= len(true) - 1
    assert "found:" in capsys.readouterr().out


def test_bare_loop(run: Any) -> None:
    made = run("bare_loop.py")
    assert made["right"] > 0.9
    assert made["right"] > 1 - made["y"].mean() + 0.15  # guessing silence
    collapse = made["losses"].collapse_figures(made["u"], made["valid"])
    assert collapse["embedding_std"] > 0.05
    assert collapse["embedding_cosine"] < 0.7


def test_compare_systems(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    made = run("compare_systems.py")
    row = made["compared"]["psds1"]
    assert 0 < row.low < row.difference < row.high
    said = capsys.readouterr().out
    assert f"A: PSDS1 {row.first:.3f}" in said
    assert f"B: PSDS1 {row.second:.3f}" in said
    paths = [str(path) for path in made["paths"]]
    swapped = run("compare_systems.py", paths[1], paths[0], *paths[2:])["compared"]["psds1"]
    assert swapped.difference == pytest.approx(-row.difference)
    assert "more than chance" in said
    with pytest.raises(SystemExit):
        run("compare_systems.py", *paths[:3])
    assert "all four paths" in capsys.readouterr().err
