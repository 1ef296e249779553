"""Events that windows cut are found as well as those in their middle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from earmark.detect.detector import Detector
from earmark.detect.postprocess import PostProcess
from helpers.networks import BandEnergy, Output

pytestmark = pytest.mark.processor

RATE, FRAME = 16_000, 1024
BLIND = 12  # frames at both ends of a window in which the network hears half


class HalfDeaf(BandEnergy):
    """A network that hears badly at its window's ends, where it lacks context."""

    def forward(self, waveforms: torch.Tensor) -> Output:
        output = super().forward(waveforms)
        ends = torch.full((output.strong.shape[1], 1), 1.0)
        ends[:BLIND] = ends[-BLIND:] = 0.4
        return Output(output.strong * ends, output.weak)


def found(network: Any, onset: float, **options: Any) -> list[tuple[float, float]]:
    time = np.arange(40 * RATE) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 500 * time) * ((time >= onset) & (time < onset + 0.7))
    detector = Detector(network, PostProcess(median_seconds=0.2), threads=1, **options)
    return [event[:2] for event in detector.detect((tone.astype(np.float32), RATE)).found]


SEAMS = [k * 156 * 0.064 for k in (1, 2, 3)] + [k * 78 * 0.064 for k in (1, 3)]


@pytest.mark.parametrize("shift", [-0.8, -0.5, -0.35, -0.1, 0.0, 0.3])
def test_an_event_across_an_edge_is_found_as_one_inside(shift: float) -> None:
    for seam in SEAMS:
        onset = seam + shift
        events = found(HalfDeaf(), onset)
        assert len(events) == 1, (seam, shift)
        assert abs(events[0][0] - onset) <= FRAME / RATE
        assert abs(events[0][1] - onset - 0.7) <= FRAME / RATE


def test_without_overlap_it_would_be_lost() -> None:
    hard = {"hop_seconds": 9.984, "weighting": "flat"}
    assert found(HalfDeaf(), 15.0, **hard) == found(HalfDeaf(), 15.0)
    assert found(HalfDeaf(), 2 * 9.984 - 0.35, **hard) == []
