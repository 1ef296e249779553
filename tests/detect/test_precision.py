"""Detection in bfloat16: the same network and events, other last digits, never mistaken."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from earmark.cli import app
from earmark.core.errors import ConfigError
from earmark.deliver.batch import DetectorSettings
from earmark.detect import torch_network
from earmark.detect.detector import Detector
from earmark.detect.postprocess import PostProcess
from earmark.model.bundle import save_bundle
from earmark.model.encoders.atst import ENCODER_SIZES
from earmark.model.sed import SedNetwork
from earmark.train.recipe import load_recipe
from helpers.sharpened import sharpen

pytestmark = pytest.mark.processor

RATE = 16_000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with an encoder and random weights that says yes and no."""
    path = tmp_path_factory.mktemp("precision") / "run"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        changes = {"encoder": ENCODER_SIZES["tiny"]}
        settings = load_recipe("mini").network.model_copy(update=changes)
        network = SedNetwork(settings, ("one", "two", "three")).eval()
    sharpen(network)
    save_bundle(path, network, PostProcess(median_seconds=0.3).to_dict(), "card")
    return path


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    """37 s of bursts in noise: several windows, the last of them with padding masked."""
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 0.01, 37 * RATE)
    for start in range(2, 35, 5):
        length = int(generator.integers(RATE // 2, 2 * RATE))
        time = np.arange(length) / RATE
        tone = 0.3 * np.sin(2 * np.pi * generator.uniform(200, 4000) * time)
        noise[start * RATE : start * RATE + length] += tone
    return noise.astype(np.float32)


def test_scores_are_those_of_float32_but_for_the_last_digits(
    bundle: Path, samples: np.ndarray
) -> None:
    exact = Detector.from_pretrained(bundle).score((samples, RATE)).values
    rounded = Detector.from_pretrained(bundle, precision="bf16-mixed").score((samples, RATE)).values
    difference = np.abs(exact - rounded)
    assert exact.std() > 0.05
    assert 0 < difference.max() < 0.05
    assert difference.mean() < 0.01


def test_short_clips_mask_their_padding_as_in_float32(bundle: Path, samples: np.ndarray) -> None:
    clip = (samples[: 4 * RATE], RATE)
    exact = Detector.from_pretrained(bundle).score(clip).values
    rounded = Detector.from_pretrained(bundle, precision="bf16-mixed").score(clip).values
    np.testing.assert_allclose(rounded, exact, atol=0.05)


def test_scores_do_not_depend_on_threads(bundle: Path, samples: np.ndarray) -> None:
    tables = [
        Detector.from_pretrained(bundle, precision="bf16-mixed", threads=threads)
        .score((samples, RATE))
        .values
        for threads in (1, 3)
    ]
    assert np.array_equal(*tables)


def test_what_was_done_in_another_precision_is_not_taken_for_done(bundle: Path) -> None:
    def key(**options: str) -> str:
        settings = DetectorSettings(str(bundle), options=options)
        return settings.key(settings.load())

    assert key() == key(precision="32-true") != key(precision="bf16-mixed")


def test_a_network_without_an_encoder_has_nothing_to_round() -> None:
    with pytest.raises(ConfigError, match="networks with an encoder") as caught:
        Detector.from_pretrained("mini", precision="bf16-mixed")
    assert "Leave the precision out" in caught.value.hint


@pytest.mark.parametrize("precision", ["bf16", "16-mixed", ""])
def test_other_precisions_are_refused(bundle: Path, precision: str) -> None:
    with pytest.raises(ConfigError, match="no precision"):
        Detector.from_pretrained(bundle, precision=precision)


def test_an_exported_network_computes_as_it_was_exported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="as it was exported"):
        Detector.from_pretrained(tmp_path / "m.onnx", precision="bf16-mixed")


@pytest.fixture
def heard_warnings(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING, "earmark"):
        yield caplog


def test_a_processor_that_gains_nothing_is_told(
    bundle: Path, heard_warnings: pytest.LogCaptureFixture
) -> None:
    for gains in (True, False):
        with mock.patch.object(torch_network, "multiplies_bfloat16", return_value=gains):
            Detector.from_pretrained(bundle, precision="bf16-mixed", device="cpu")
        assert ("no instructions for bfloat16" in heard_warnings.text) is not gains


def test_the_command_takes_it(bundle: Path, samples: np.ndarray, tmp_path: Path) -> None:
    recording = tmp_path / "a.wav"
    soundfile.write(recording, samples, RATE)
    common = ["--precision", "bf16-mixed", "--out", str(tmp_path / "out")]
    runner = CliRunner()
    done = runner.invoke(app, ["detect", str(bundle), str(recording), *common])
    assert done.exit_code == 0, done.output
    wanted = Detector.from_pretrained(bundle, precision="bf16-mixed").detect(recording).found
    lines = (tmp_path / "out/events.tsv").read_text().splitlines()
    assert len(lines) == len(wanted) + 1 > 1
