"""The whole ATST-SED against the official network: features, both streams, probabilities.

The weights are made by the rule of the golden data from names, shapes and a seed. Further seeds,
dropped as ``golden/parity/atst_sed_seed*.npz`` into the optional shared folder, are tested too.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from earmark.model.published.convert import network_of
from earmark.model.published.file import CheckpointFile
from earmark.model.published.networks import V1, find_networks, from_official, to_official
from earmark.model.sed import SedNetwork
from helpers import published_files as files

pytestmark = pytest.mark.processor

GOLDEN = Path(__file__).parent / "golden"
LABELS = tuple(f"class {number}" for number in range(10))


def golden_sets() -> list[Path]:
    """Our copy, and whatever other seeds the shared folder has."""
    files = {path.name: path for path in GOLDEN.glob("atst_sed_seed*.npz")}
    if shared := os.environ.get("EARMARK_SHARED"):
        for path in sorted(Path(shared).glob("golden/parity/atst_sed_seed*.npz")):
            files.setdefault(path.name, path)
    return [files[name] for name in sorted(files)]


def official_weights(seed: int) -> dict[str, Tensor]:
    return files.ruled(files.entries("atst_sed_state_dict.txt"), seed)


def imported(weights: dict[str, Tensor]) -> SedNetwork:
    """The network that `earmark import` makes of a checkpoint with these weights."""
    found = find_networks(CheckpointFile(Path("a.ckpt"), {}, {"sed_teacher": weights}))
    assert found is not None
    assert found.settings == V1
    return network_of(found.settings, LABELS, found.weights["teacher"])


def relative(ours: Tensor, theirs: np.ndarray) -> float:
    """Largest difference, relative to the largest entry."""
    return float(np.abs(ours.numpy() - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("path", golden_sets(), ids=lambda path: path.stem)
def test_equals_the_official_network(path: Path) -> None:
    golden = np.load(path)
    seed = int(re.search(r"seed(\d+)", path.stem)[1])
    network = imported(official_weights(seed))
    waveforms = torch.from_numpy(golden["pcm"].astype(np.float32) / 32768.0)
    with torch.inference_mode():
        mels = network.scale(network.linear(waveforms))
        out = network(waveforms)
    assert mels.cnn.shape == (3, 128, 626)
    assert mels.encoder.shape == (3, 64, 1001)
    np.testing.assert_allclose(mels.cnn[:, :, ::25], golden["crnn_mel"], atol=1e-4, rtol=0)
    np.testing.assert_allclose(mels.encoder[:, :, ::40], golden["atst_mel"], atol=1e-4, rtol=0)
    assert out.embeddings["encoder"].shape == (3, 250, 768)
    assert relative(out.embeddings["cnn"][:, ::12], golden["cnn_out"]) < 1e-3
    assert relative(out.embeddings["encoder"][:, ::10], golden["atst_embedding"]) < 1e-3
    strong = out.strong.transpose(1, 2)
    np.testing.assert_allclose(strong, golden["strong"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(out.weak, golden["weak"], atol=1e-5, rtol=0)


def straight_line_cnn(w: dict[str, Tensor], mel: Tensor) -> Tensor:
    """The official CNN branch written out: [B, 128, L] → [B, T, 128]."""
    x = mel.transpose(1, 2).unsqueeze(1)
    for i, pool in enumerate([(2, 2), (2, 2)] + [(1, 2)] * 5):
        x = F.conv2d(x, w[f"cnn.cnn.conv{i}.weight"], w[f"cnn.cnn.conv{i}.bias"], padding=1)
        norm = [w[f"cnn.cnn.batchnorm{i}.{part}"] for part in ("running_mean", "running_var")]
        norm += [w[f"cnn.cnn.batchnorm{i}.{part}"] for part in ("weight", "bias")]
        x = F.batch_norm(x, *norm, training=False, eps=1e-3)
        gate = [w[f"cnn.cnn.cg{i}.linear.{part}"] for part in ("weight", "bias")]
        x = F.avg_pool2d(x * torch.sigmoid(F.linear(x.movedim(1, 3), *gate).movedim(3, 1)), pool)
    return x.squeeze(3).transpose(1, 2)


def straight_line_encoder(w: dict[str, Tensor], mel: Tensor) -> Tensor:
    """The official ATST-Frame base written out, attention explicitly: [B, 64, L] → [B, N, 768]."""

    def of(name: str) -> Tensor:
        return w[f"atst_frame.atst.{name}"]

    def linear(x: Tensor, name: str) -> Tensor:
        bias = w.get(f"atst_frame.atst.{name}.bias")
        return F.linear(x, of(f"{name}.weight"), bias)

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (768,), of(f"{name}.weight"), of(f"{name}.bias"), 1e-6)

    kernel = of("patch_embed.patch_embed.weight").view(768, 1, 64, 4)
    bias = of("patch_embed.patch_embed.bias")
    x = F.conv2d(mel.unsqueeze(1), kernel, bias, stride=(64, 4)).squeeze(2).transpose(1, 2)
    x = x + of("pos_embed")[:, 1 : x.shape[1] + 1]
    for i in range(12):
        q, k, v = linear(norm(x, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv").chunk(3, dim=-1)
        heads = []
        for h in range(0, 768, 64):
            part = slice(h, h + 64)
            attention = torch.softmax(q[..., part] @ k[..., part].transpose(1, 2) / 8.0, dim=-1)
            heads.append(attention @ v[..., part])
        x = x + linear(torch.cat(heads, dim=-1), f"blocks.{i}.attn.proj")
        hidden = linear(norm(x, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1")
        hidden = 0.5 * hidden * (1.0 + torch.erf(hidden / 2**0.5))
        x = x + linear(hidden, f"blocks.{i}.mlp.fc2")
    return norm(x, "norm_frame")


def straight_line_gru(w: dict[str, Tensor], x: Tensor) -> Tensor:
    """Two bidirectional GRU layers, step by step: [B, T, 128] → [B, T, 256]."""
    for layer in range(2):
        directions = []
        for suffix in ("", "_reverse"):
            rows = [f"rnn.rnn.{part}_l{layer}{suffix}" for part in ("weight_ih", "weight_hh")]
            rows += [f"rnn.rnn.{part}_l{layer}{suffix}" for part in ("bias_ih", "bias_hh")]
            w_ih, w_hh, b_ih, b_hh = (w[name] for name in rows)
            steps = range(x.shape[1]) if not suffix else reversed(range(x.shape[1]))
            h = torch.zeros(len(x), 128)
            states: dict[int, Tensor] = {}
            for t in steps:
                gi, gh = F.linear(x[:, t], w_ih, b_ih), F.linear(h, w_hh, b_hh)
                (ri, zi, ni), (rh, zh, nh) = gi.chunk(3, dim=1), gh.chunk(3, dim=1)
                r, z = torch.sigmoid(ri + rh), torch.sigmoid(zi + zh)
                h = (1 - z) * torch.tanh(ni + r * nh) + z * h
                states[t] = h
            directions.append(torch.stack([states[t] for t in range(x.shape[1])], dim=1))
        x = torch.cat(directions, dim=2)
    return x


def test_another_seed_equals_the_official_formulas_written_out() -> None:
    weights = official_weights(2)
    network = imported(weights)
    waveforms = 0.1 * torch.randn(1, 160_000, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        mels = network.scale(network.linear(waveforms))
        out = network.from_mel(mels, frames=156)
        local = straight_line_cnn(weights, mels.cnn)
        tokens = straight_line_encoder(weights, mels.encoder)
        spans = [(i * 250 // 156, -(-(i + 1) * 250 // 156)) for i in range(156)]
        pooled = torch.stack([tokens[:, a:b].mean(dim=1) for a, b in spans], dim=1)
        joined = torch.cat([local, pooled], dim=2)
        merged = F.linear(joined, weights["cat_tf.weight"], weights["cat_tf.bias"])
        context = straight_line_gru(weights, merged)
        strong = torch.sigmoid(F.linear(context, weights["dense.weight"], weights["dense.bias"]))
        scale = [weights[f"dense_softmax.{part}"] for part in ("weight", "bias")]
        attention = torch.softmax(F.linear(context, *scale), dim=-1).clamp(1e-7, 1)
        weak = (strong * attention).sum(1) / attention.sum(1)
    assert relative(out.embeddings["cnn"], local.numpy()) < 1e-3
    assert relative(out.embeddings["encoder"], tokens.numpy()) < 1e-3
    torch.testing.assert_close(out.strong, strong, atol=1e-5, rtol=0)
    torch.testing.assert_close(out.weak, weak, atol=1e-5, rtol=0)


def test_names_are_a_bijection_of_all_entries_and_shapes() -> None:
    official = files.entries("atst_sed_state_dict.txt")
    with torch.device("meta"):
        ours = SedNetwork(V1, LABELS).state_dict()
    assert len(official) == 223
    assert {to_official(name): tuple(value.shape) for name, value in ours.items()} == official
    assert {from_official(name) for name in official} == set(ours)
    assert all(from_official(to_official(name)) == name for name in ours)
    for stranger in ("sed_student.dense.weight", "total_ops", "cnn.cnn.glu0.linear.weight"):
        assert from_official(stranger) is None
    assert to_official("frontend.window") is None


def test_parameter_counts_are_the_official_ones() -> None:
    with torch.device("meta"):
        network = SedNetwork(V1, LABELS)
    parts = {
        "whole": (network, 86_646_500),
        "encoder": (network.encoder, 85_419_264),
        "merge": (network.crnn.merge, 114_816),
        "cnn": (network.crnn.cnn, 612_688),
        "rnn": (network.crnn.rnn, 494_592),
    }
    for name, (module, expected) in parts.items():
        assert sum(p.numel() for p in module.parameters()) == expected, name
