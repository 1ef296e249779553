"""An encoder's own classifier as an ONNX file: the same scores, and classes by identifier."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from earmark.core.spec import ModelSpec
from earmark.deliver.onnx.export import export_network
from earmark.detect.detector import Detector
from earmark.detect.torch_network import TorchScorer
from earmark.model.tagger import Tagger

RATE, HOP = 16_000, 4_000
LABELS, IDS = ("Hum", "Click, clack", "Hiss"), ("/m/1", "/m/2", "/m/3")


class Loudness(nn.Module):
    """Half a second's level in eight pieces, every quarter; three classes of it."""

    width, classes, licence, max_seconds = 8, 3, "MIT", None
    token_hop = first_centre = reach = Fraction(1, 4)

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(8, 3)

    def features(self, waveform: Tensor) -> Tensor:
        missing = max(2 * HOP - waveform.shape[1], -waveform.shape[1] % HOP)
        hops = functional.pad(waveform, (0, missing)).reshape(waveform.shape[0], -1, HOP)
        return torch.cat([hops[:, :-1], hops[:, 1:]], dim=2)  # [B, N, 8000]

    def tokens_of(self, features: Tensor) -> int:
        return features.shape[1]

    def forward(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        pieces = features.reshape(features.shape[0], features.shape[1], 8, -1)
        return torch.log(pieces.square().mean(dim=3) + 1e-4)

    def class_scores(self, tokens: Tensor) -> Tensor:
        return torch.sigmoid(self.classifier(tokens))

    def layers(self) -> list[list[str]]:
        return [["classifier.weight", "classifier.bias"]]


@pytest.fixture(scope="module")
def network() -> Tagger:
    torch.manual_seed(1)
    return Tagger(Loudness(), ModelSpec(LABELS, 2_000, 48_000, ids=IDS)).eval()


@pytest.fixture(scope="module")
def exported(network: Tagger, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "tagger.onnx"
    report = export_network(network, {"threshold": 0.5}, out, source="loudness", repeats=1)
    assert report.files[0].parity.largest < 2e-5
    assert report.files[0].parity.spread > 0.5
    return out


def sound(seconds: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    level = np.repeat(rng.random(int(seconds * 8)) ** 3, 2_000)
    return (0.5 * level * rng.normal(size=len(level))).astype(np.float32)


def test_a_window_is_scored_as_by_the_network(exported: Path, network: Tagger) -> None:
    clip = (sound(2.5), RATE)
    ours = Detector.from_pretrained(exported).score(clip)
    theirs = Detector(network).score(clip)
    assert ours.labels == LABELS
    assert np.abs(ours.values - theirs.values).max() < 1e-5


def test_windows_agree_with_one_pass_but_at_their_edges(exported: Path, network: Tagger) -> None:
    """A frame takes the token around it, which a window has for all but its last quarter."""
    audio = (sound(20), RATE)
    assert TorchScorer(network).one_pass() is not None
    ours = Detector.from_pretrained(exported).score(audio).values
    theirs = Detector(network).score(audio).values
    assert np.median(np.abs(ours - theirs)) < 1e-5
    assert np.abs(ours - theirs).max() < 0.1


def test_classes_of_the_file_have_their_identifiers(exported: Path) -> None:
    detector = Detector.from_pretrained(exported, classes=["/m/3", "click, clack"])
    assert detector.labels == ("Click, clack", "Hiss")
    whole = Detector.from_pretrained(exported).detect((sound(9), RATE))
    found = detector.detect((sound(9), RATE)).found
    assert list(found) == [event for event in whole.found if event.event_label != "Hum"]
