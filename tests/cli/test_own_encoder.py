"""The example of docs/own_encoder.md, installed as a plug-in: it trains, detects and exports."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from earmark.cli import app
from earmark.core.config import NetworkSettings
from earmark.model.bundle import load_bundle
from earmark.model.encoders.registry import make_encoder
from earmark.testing import check_encoder
from helpers.plugins import EXAMPLES, install_example
from helpers.recipes import TINY, set_each

RUNNER = CliRunner()
BATCH = "train.batch={real: 0, synthetic: 2, weak: 2, unlabelled: 2}"
FROZEN = ("network.encoder={kind: bands, width: 8, merge: 16}", "train.frozen=[encoder.]", BATCH)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_example("own_encoder", tmp_path / "site", monkeypatch)


def command(*arguments: str) -> str:
    result = RUNNER.invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_the_example_is_as_short_as_the_page_says() -> None:
    text = (EXAMPLES / "own_encoder/own_encoder.py").read_text(encoding="utf-8")
    assert sum(bool(line.strip()) for line in text.split('"""', 2)[2].splitlines()) <= 50


@pytest.mark.usefixtures("installed")
def test_a_foreign_encoder_trains_detects_and_is_exported(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra export")
    settings = NetworkSettings.model_validate({"encoder": {"kind": "bands"}}).encoder
    assert settings is not None
    check_encoder(make_encoder(settings))

    data, one, two = (str(tmp_path / name) for name in ("data", "one", "two"))
    clips = "strong=3,weak=2,unlabelled=2,validation=2,test=2"
    command("synth", data, "--recipe", "demo", "--clips", clips, "--workers", "1")
    common = ("train", "mini", "--data", data, "--device", "cpu", *set_each(*TINY, *FROZEN))
    command(*common, "--set", f"train.token_cache={tmp_path / 'tokens'}", "--out", one)
    command(
        *common, *set_each("train.frozen=[]", "train.encoder_lr=1e-4"), "--init", one, "-o", two
    )
    before, after = (load_bundle(run).network for run in (one, two))
    moved = after.state_dict()["encoder.bands.weight"] - before.state_dict()["encoder.bands.weight"]
    assert moved.abs().max() > 0

    clip = next((tmp_path / "data/audio/eval/public").iterdir())
    command("detect", two, str(clip), "--out", str(tmp_path / "found"))
    assert (tmp_path / "found/events.tsv").is_file()
    command("export", two, "--out", str(tmp_path / "two.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "two.onnx"))
    noise = 0.1 * torch.randn(1, after.spec.window, generator=torch.Generator().manual_seed(0))
    found = session.run(["strong"], {"waveform": noise.numpy()})[0]
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), after(noise).strong, atol=1e-4, rtol=0)
