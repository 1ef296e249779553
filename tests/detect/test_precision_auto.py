"""`--precision auto`: the fastest here, bfloat16 only where the bundle's card says its cost."""

from __future__ import annotations

import json
import re
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from earmark.cli import app
from earmark.cli.train import TrainOptions
from earmark.core.config import EncoderSettings, YamnetSettings
from earmark.detect.detector import Detector
from earmark.detect.network import choose_precision, load_trained
from earmark.detect.postprocess import PostProcess
from earmark.model import packed
from earmark.model.bundle import save_bundle
from earmark.model.bundle_card import BFLOAT16, read_card
from earmark.model.encoders.atst import ENCODER_SIZES
from earmark.model.precision import training_precision
from earmark.model.sed import SedNetwork
from earmark.train.recipe import load_recipe
from helpers.sharpened import sharpen

pytestmark = pytest.mark.processor

CARD = "# one\n\n## Licence\n\nMIT\n"
RUNNER = CliRunner()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A network with an encoder and random weights that says yes and no."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        changes = {"encoder": ENCODER_SIZES["tiny"]}
        settings = load_recipe("mini").network.model_copy(update=changes)
        network = SedNetwork(settings, load_trained("mini").labels).eval()
    sharpen(network)
    postprocess = PostProcess(median_seconds=0.3).to_dict()
    return save_bundle(tmp_path / "bundle", network, postprocess, CARD)


@pytest.fixture(params=[True, False], ids=["instructions", "none"])
def ability(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(packed, "multiplies_bfloat16", lambda _: request.param)
    return bool(request.param)


@pytest.mark.parametrize("measured", [True, False])
def test_detection_needs_both_the_processor_and_the_card(
    bundle: Path, ability: bool, measured: bool
) -> None:
    if measured:
        (bundle / "README.md").write_text(f"# one\n\n{BFLOAT16}\n\n…\n")
    chosen = choose_precision(bundle, "cpu")
    assert chosen.name == ("bf16-mixed" if ability and measured else "32-true")
    why = "card" if ability else "no instructions"
    assert why in chosen.why
    own = load_trained(bundle, "cpu", "auto").fingerprint
    assert own == load_trained(bundle, "cpu", chosen.name).fingerprint
    assert choose_precision(bundle, "cpu", "onnx").name == "32-true"


@pytest.mark.parametrize("name", ["mini", "home", "audioset"])
def test_other_networks_stay_in_float32(name: str, ability: bool, tmp_path: Path) -> None:
    chosen = choose_precision(name)
    assert chosen.name == "32-true"
    assert "no encoder" in chosen.why
    assert Detector.from_pretrained(name, precision="auto").fingerprint == (
        Detector.from_pretrained(name).fingerprint
    )
    assert choose_precision(tmp_path / "model.onnx").name == "32-true"


@pytest.mark.parametrize(
    ("encoder", "device", "expected"),
    [
        (None, "cpu", "32-true"),
        (YamnetSettings(), "cpu", "32-true"),
        (ENCODER_SIZES["tiny"], "cpu", "32-true"),
        (ENCODER_SIZES["small"], "cpu", "bf16-mixed"),
        (ENCODER_SIZES["base"], "cpu", "bf16-mixed"),
        (None, "cuda", "bf16-mixed"),
        (None, "mps", "32-true"),
    ],
)
def test_training_goes_by_what_was_measured(
    encoder: EncoderSettings | None, device: str, expected: str, ability: bool
) -> None:
    with mock.patch("torch.cuda.is_available", return_value=device == "cuda"):
        chosen = training_precision(encoder, device)
        assert chosen.name == (expected if ability else "32-true")
        if device != "mps":
            assert training_precision(encoder, "auto") == chosen


@pytest.mark.parametrize("limit", ["AVX2", "avx512_core", "AVX512_CORE_VNNI"])
def test_a_limit_of_the_libraries_is_heard(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert not packed.multiplies_bfloat16(torch.device("cpu"))
    assert training_precision(ENCODER_SIZES["base"], "cpu").name == "32-true"


@pytest.mark.parametrize("kind", ["train", "pretrain"])
def test_the_recipe_has_what_was_chosen(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packed, "multiplies_bfloat16", lambda _: True)
    options = TrainOptions(
        recipe="mini", data=Path("d"), out=Path("o"), precision="auto", device="cpu"
    )
    assert not any("precision" in one for one in options.overrides)
    recipe = load_recipe("mini")
    encoder = ENCODER_SIZES["base" if kind == "pretrain" else "tiny"]
    expected = "bf16-mixed" if kind == "pretrain" else "32-true"
    assert options.with_precision(recipe, encoder).train.precision == expected
    assert capsys.readouterr().err.count("\n") == 1


def test_evaluate_measures_what_auto_asks_for(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    clips = "strong=0,weak=0,unlabelled=0,validation=0,test=2"
    made = ["synth", str(data), "--recipe", "demo", "--clips", clips, "--workers", "1"]
    assert RUNNER.invoke(app, made).exit_code == 0
    out = tmp_path / "out"
    common = ["evaluate", str(bundle), "--data", str(data), "--split", "test", "--out", str(out)]
    done = RUNNER.invoke(app, [*common, "--resamples", "0", "--no-plot", "--measure-precision"])
    assert done.exit_code == 0, (done.output, done.exception)
    found = json.loads((out / "metrics.json").read_text())
    assert 0 < found["bfloat16"]["largest_score_difference"] < 0.05
    card = (bundle / "README.md").read_text()
    assert f"| psds1 | {found['psds1']:.4f} | {found['bfloat16']['psds1']:.4f} |" in card
    assert card.index(BFLOAT16) < card.index("## Licence")
    assert read_card(bundle).bfloat16

    recording = tmp_path / "a.wav"
    soundfile.write(recording, 0.1 * np.random.default_rng(0).normal(size=48_000), 16_000)
    detect = ["detect", str(bundle), str(recording), "--device", "cpu", "--precision", "auto"]
    for ability, name in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr(packed, "multiplies_bfloat16", lambda _, ability=ability: ability)
        done = RUNNER.invoke(app, detect)
        assert done.exit_code == 0, done.output
        assert re.match(rf"precision {name}: .+\n\d+ events? in 1 recording", done.stderr)
    refused = RUNNER.invoke(app, [*common, "--measure-precision", "--precision", "auto"])
    assert "Leave out --precision" in str(refused.exception)
