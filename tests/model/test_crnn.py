"""The light network: shapes, heads, independence of clips."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.model.crnn import Heads
from earmark.model.sed import SedNetwork
from earmark.train.recipe import load_recipe

pytestmark = pytest.mark.processor


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
