"""Detection where PyTorch is not installed: whatever asks for it fails."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

BLOCK = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "lightning_fabric"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
"""

SCORER = """
import numpy as np
from earmark.core.spec import ModelSpec

class Loudness:
    spec = ModelSpec(("loud", "quiet"), frame_hop=1600)

    def score_windows(self, waveforms, lengths):
        level = np.abs(waveforms).reshape(len(waveforms), 100, 1600).max(-1, keepdims=True)
        return np.concatenate([level, 1 - level], axis=-1)
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    source = BLOCK + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)


def test_events_are_found() -> None:
    done = run(
        SCORER
        + """
from earmark import Detector

samples = np.zeros(25 * 16_000, dtype=np.float32)
samples[12 * 16_000 : 14 * 16_000] = 0.9
found = Detector(Loudness()).detect((samples, 16_000))
print([tuple(event) for event in found.found if event.event_label == "loud"])
"""
    )
    assert done.stderr == ""
    [(onset, offset, _, score)] = eval(done.stdout)
    assert (onset, offset) == (12.0, 14.0)
    assert score == pytest.approx(0.9)
