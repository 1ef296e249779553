"""A bundle's ONNX form is made in its folder, or nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file

from earmark.core.config import EncoderSettings, FrontendSettings, NetworkSettings, YamnetSettings
from earmark.core.errors import ExportError
from earmark.deliver.onnx import form as module
from earmark.deliver.onnx.form import write_form
from earmark.detect.network import load_trained
from earmark.detect.sliding import sliding_scores
from earmark.model.bundle import save_bundle
from earmark.model.bundle_files import ONNX_FORM
from earmark.model.onnx_form import OnnxForm, form_fault
from earmark.model.sed import SedNetwork

RATE = 16_000
WEIGHTS = "model.safetensors"


def bundle(folder: Path, encoder: EncoderSettings | None) -> Path:
    settings = NetworkSettings(
        frontend=FrontendSettings(n_fft=512, hop=640, n_mels=16),
        channels=(4, 8),
        kernels=(3, 3),
        strides=((1, 4), (1, 4)),
        pools=((1, 1), (1, 1)),
        rnn_hidden=8,
        window_seconds=4.0,
        encoder=encoder,
    )
    torch.manual_seed(0)
    network = SedNetwork(settings, ("a", "b", "c")).eval()
    for buffer in network.buffers():  # statistics that are none would hide a wrong norm
        if buffer.is_floating_point() and buffer.ndim == 1 and len(buffer) > 3:
            buffer.add_(0.1 * torch.rand(len(buffer)))
    return save_bundle(folder, network, {"threshold": 0.5}, "# card\n")


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    encoder = YamnetSettings(taps=(2, 4), norm="batch", merge=16, merge_activation="gelu")
    folder = bundle(tmp_path_factory.mktemp("joined"), encoder)
    report = write_form(folder)
    assert max(report.windows, report.recording) < 1e-4
    return folder


@pytest.mark.parametrize("seconds", [0.3, 4.0, 19.7])
def test_a_bundle_beside_an_encoder_is_run_by_its_form(joined: Path, seconds: float) -> None:
    assert form_fault(joined) is None
    networks = [load_trained(joined, runtime=runtime).network for runtime in ("onnx", "torch")]
    assert isinstance(networks[0], OnnxForm)
    assert networks[0].one_pass() is not None
    noise = np.random.default_rng(1).normal(size=round(seconds * RATE)).astype(np.float32)
    ours, theirs = (sliding_scores([0.1 * noise], one, batch_size=2) for one in networks)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_encoder_s_weights_are_not_written_again(joined: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in joined.iterdir()}
    assert {WEIGHTS, ONNX_FORM, "windows.onnx", "encode.onnx", "frames.onnx"} <= set(sizes)
    stored = json.loads((joined / ONNX_FORM).read_text())["stored"]["encode.onnx"]
    graph = onnx.load(joined / "encode.onnx", load_external_data=False).graph
    weights = load_file(joined / WEIGHTS)
    encoder = [name for name in weights if name.startswith("encoder.")]
    largest = max(encoder, key=lambda name: weights[name].numel())
    assert largest in {tensor for tensor, *_ in stored.values()}
    held = {one.name for one in graph.initializer if one.raw_data}
    assert not held & set(stored)
    assert not any(path.is_dir() for path in joined.iterdir())


def test_a_form_that_differs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bundle(tmp_path / "plain", None)
    before = sorted(folder.iterdir())
    monkeypatch.setattr(module, "TOLERANCE", 0.0)
    with pytest.raises(ExportError, match="differs from the network"):
        write_form(folder)
    assert sorted(folder.iterdir()) == before


def test_one_without_an_encoder_has_no_graphs_of_one(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "plain", None)
    for name in ("encode.onnx", "frames.onnx"):
        (folder / name).write_bytes(b"of the network that was here before")
    write_form(folder)
    assert {path.name for path in folder.glob("*.onnx")} == {"windows.onnx"}
    network: Any = load_trained(folder).network
    assert isinstance(network, OnnxForm)
    assert network.one_pass() is None
