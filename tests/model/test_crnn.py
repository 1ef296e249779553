"""The network against the official CNN branch, and its shapes."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.config import NetworkSettings
from earmark.features.frontend import CRNN_FRONTEND, LogMel
from earmark.model.crnn import ConvBranch, Heads
from earmark.model.sed import SedNetwork
from earmark.train.recipe import load_recipe

OFFICIAL_PARTS = {"conv": "conv", "norm": "batchnorm", "gate": "cg"}


def official_name(name: str) -> str:
    """``blocks.0.conv.weight`` → ``cnn.cnn.conv0.weight``."""
    _, index, part, rest = name.split(".", 3)
    return f"cnn.cnn.{OFFICIAL_PARTS[part]}{index}.{rest}"


def ruled_tensor(name: str, shape: torch.Size, seed: int) -> torch.Tensor:
    """The weight that the golden data's rule gives an entry of the official state dict."""
    generator = torch.Generator().manual_seed((zlib.crc32(name.encode()) + 1000003 * seed) % 2**31)
    if name.endswith("num_batches_tracked"):
        return torch.ones(shape, dtype=torch.long)
    if name.endswith("running_var"):
        return 1 + 0.1 * torch.rand(shape, generator=generator)
    r = torch.randn(shape, generator=generator)
    if name.endswith("running_mean"):
        return 0.1 * r
    if len(shape) == 1:
        return 1 + 0.1 * r if "norm" in name and name.endswith("weight") else 0.05 * r
    return r / np.sqrt(np.prod(shape[1:]))


def test_cnn_branch_equals_official(shared_dir: Path) -> None:
    golden = np.load(shared_dir / "golden/parity/atst_sed_seed1.npz")
    branch = ConvBranch(NetworkSettings()).eval()
    state = branch.state_dict()
    branch.load_state_dict(
        {name: ruled_tensor(official_name(name), t.shape, 1) for name, t in state.items()}
    )
    assert sum(p.numel() for p in branch.parameters()) == 612_688
    mel = LogMel(CRNN_FRONTEND)(torch.from_numpy(golden["pcm"].astype(np.float32) / 32768.0))
    with torch.no_grad():
        out = branch(mel)
    assert out.shape == (3, 156, 128)
    np.testing.assert_allclose(out[:, ::12].numpy(), golden["cnn_out"], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("classes", [1, 3, 10])
@pytest.mark.parametrize("recipe", ["mini", "crnn-baseline"])
def test_shapes_for_any_number_of_classes(recipe: str, classes: int) -> None:
    labels = tuple(f"class {number}" for number in range(classes))
    network = SedNetwork(load_recipe(recipe).network, labels).eval()
    with torch.no_grad():
        out = network(torch.randn(2, 160_000, generator=torch.Generator().manual_seed(0)))
    assert out.strong.shape == (2, 156, classes)
    assert out.weak.shape == (2, classes)
    for tap, width in network.tap_widths.items():
        assert out.embeddings[tap].shape == (2, 156, width)
    assert ((out.strong > 0) & (out.strong < 1)).all()


@settings(max_examples=12, deadline=None)
@given(samples=st.integers(4096, 50_000))
def test_frames_are_samples_over_hop(samples: int) -> None:
    network = SedNetwork(load_recipe("mini").network, ("a",)).eval()
    with torch.no_grad():
        out = network(torch.zeros(1, samples))
    assert out.strong.shape[1] == samples // network.spec.frame_hop


def test_weak_head_is_attention_over_classes_and_ignores_padding() -> None:
    heads = Heads(4, 3)
    x = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(2))
    out = heads(x)
    attention = torch.softmax(heads.attention(x), dim=2)
    expected = (out.strong * attention).sum(1) / attention.sum(1)
    torch.testing.assert_close(out.weak, expected)
    valid = torch.tensor([[True, True, True, False, False, False]])
    torch.testing.assert_close(heads(x, valid).weak, heads(x[:, :3]).weak)


def test_a_clip_scores_the_same_in_any_batch() -> None:
    network = SedNetwork(load_recipe("mini").network, ("a", "b")).eval()
    clips = torch.randn(3, 160_000, generator=torch.Generator().manual_seed(4))
    clips[0] *= 0.01
    with torch.no_grad():
        torch.testing.assert_close(network(clips).strong[:1], network(clips[:1]).strong)
