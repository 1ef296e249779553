"""An exported model on the web's ONNX Runtime, in node: the same scores from one input alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from earmark.core.config import NetworkSettings
from earmark.deliver.onnx.export import export_network
from earmark.model.onnx_network import OnnxNetwork
from earmark.model.sed import SedNetwork
from helpers.sharpened import sharpen

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="needs the extra export")

NODE = Path(__file__).parents[1] / "node"
WINDOW = 16_000
SMALL = {
    "channels": (8, 32),
    "kernels": (3, 3),
    "strides": ((1, 1),) * 2,
    "pools": ((2, 8), (2, 16)),
    "rnn_hidden": 32,
    "window_seconds": 1.0,
}


def why_not() -> str | None:
    """What this machine lacks to run node with the web's ONNX Runtime."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (NODE / "node_modules" / "onnxruntime-web").is_dir():
        return "onnxruntime-web is not installed: make node"
    return None


def test_the_web_s_runtime_gives_the_same_scores(tmp_path: Path) -> None:
    lacking = why_not()
    if lacking is not None:
        assert os.environ.get("CI") != "true", lacking
        pytest.skip(lacking)
    torch.manual_seed(0)
    network = SedNetwork(NetworkSettings.model_validate(SMALL), ("Cat", "Käfer")).eval()
    sharpen(network)
    path = tmp_path / "model.onnx"
    export_network(network, {"threshold": 0.5}, path, repeats=1)
    lengths = (WINDOW, 9_001, 400)
    command = ["node", "run_model.mjs", str(path), *map(str, (*lengths, WINDOW + 1))]
    done = subprocess.run(command, cwd=NODE, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["inputs"] == ["waveform"]
    assert found["outputs"] == ["strong", "weak"]
    assert found["refused"] == [WINDOW + 1]  # never cut in silence
    loaded = OnnxNetwork(path)
    assert [run["samples"] for run in found["runs"]] == list(lengths)
    for run in found["runs"]:
        ramp = np.arange(2 * run["samples"]) * 7919 % 2000 / 1000 - 1
        ours = loaded(ramp.reshape(2, -1).astype(np.float32))
        assert run["dims"] == list(ours.strong.shape)
        np.testing.assert_allclose(run["strong"], ours.strong.ravel(), atol=1e-4)
        np.testing.assert_allclose(run["weak"], ours.weak.ravel(), atol=1e-4)
