"""Packed weights: the same products, and never a stale one."""

from __future__ import annotations

import copy
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from earmark.detect.detector import Detector
from earmark.detect.postprocess import PostProcess
from earmark.model import packed
from earmark.model.bundle import save_bundle
from earmark.model.encoders.atst import ENCODER_SIZES, AtstFrame
from earmark.model.packed import PackedLinear, pack
from earmark.model.sed import SedNetwork
from earmark.train.recipe import load_recipe

pytestmark = [
    pytest.mark.processor,
    pytest.mark.skipif(
        not torch.backends.mkldnn.is_available(), reason="this PyTorch comes without oneDNN"
    ),
]


def maker(bias: bool = True) -> tuple[Any, torch.Tensor]:
    torch.manual_seed(0)
    return nn.Linear(48, 40, bias=bias), torch.randn(2, 7, 48)


@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_products_are_the_same_and_come_from_the_packed_weight(bias: bool) -> None:
    layer, x = maker(bias)
    expected = layer(x)
    assert pack(layer) == 1
    with mock.patch.object(functional, "linear", side_effect=AssertionError):
        torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(layer(x[:, ::2]), expected[:, ::2], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_changed_weight_is_never_multiplied_as_it_was() -> None:
    changes = {
        "in place": lambda layer: layer.weight.lerp_(torch.ones(40, 48), 0.5),
        "loaded": lambda layer: layer.load_state_dict(nn.Linear(48, 40).state_dict()),
        "assigned": lambda layer: setattr(layer, "weight", nn.Parameter(torch.ones(40, 48))),
        "data": lambda layer: setattr(layer.weight, "data", torch.ones(40, 48)),
    }
    for name, change in changes.items():
        layer, x = maker()
        pack(layer)
        change(layer)
        expected = functional.linear(x, layer.weight, layer.bias)
        assert torch.equal(layer(x), expected), name


def test_gradients_autocast_and_other_types_take_the_parameter() -> None:
    layer, x = maker()
    pack(layer)
    layer(x).sum().backward()
    torch.testing.assert_close(layer.weight.grad, x.sum((0, 1)).expand(40, 48))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    with torch.no_grad():
        assert layer.double()(x.double()).dtype == torch.float64
    assert pack(layer) == 0


def test_copies_and_state_dicts_know_nothing_of_it() -> None:
    layer, x = maker()
    pack(layer)
    assert set(layer.state_dict()) == {"weight", "bias"}
    twin = copy.deepcopy(layer)
    assert twin._packed is None
    with torch.no_grad():
        torch.testing.assert_close(twin(x), layer(x), atol=1e-5, rtol=1e-5)


def test_a_packed_encoder_can_be_exported() -> None:
    encoder = AtstFrame(ENCODER_SIZES["tiny"]).eval()
    assert pack(encoder) == 16
    mel = torch.randn(1, 64, 41)
    with torch.no_grad():
        program = torch.export.export(encoder, (mel,))
        assert "mkldnn" not in str(program.graph)
        torch.testing.assert_close(program.module()(mel), encoder(mel), atol=1e-5, rtol=1e-5)


def test_a_detector_of_a_bundle_is_packed(tmp_path: Path) -> None:
    changes = {"encoder": ENCODER_SIZES["tiny"]}
    network = SedNetwork(load_recipe("mini").network.model_copy(update=changes), ("a",)).eval()
    save_bundle(tmp_path / "run", network, PostProcess(median_seconds=0.3).to_dict(), "card")
    detector = Detector.from_pretrained(tmp_path / "run")
    packed = [m for m in detector.network.modules() if isinstance(m, PackedLinear)]
    assert len(packed) == 16
    assert all(module._packed is not None for module in packed)
    clip = 0.1 * torch.randn(160_000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(clip[None]).strong[0].numpy()
    values = detector.score((clip.numpy(), 16_000)).values
    np.testing.assert_allclose(values[:156], expected, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("blocked", [True, False])
def test_products_in_bfloat16_are_rounded_and_nothing_more(blocked: bool) -> None:
    if blocked and not packed._has_blocks(torch.bfloat16):
        pytest.skip("oneDNN does not multiply bfloat16 on this processor")
    layer, x = maker()
    with mock.patch.object(packed, "_has_blocks", return_value=blocked):
        assert pack(layer, torch.bfloat16) == 1
    product = layer(x)
    assert product.dtype == torch.bfloat16
    rounded = functional.linear(
        x.bfloat16().double(), layer.weight.bfloat16().double(), layer.bias.bfloat16().double()
    )
    # One rounding of the result: half a unit of the last of 8 bits.
    torch.testing.assert_close(product.double(), rounded, rtol=2**-8, atol=1e-3)
    assert torch.equal(layer(x.bfloat16()), product)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_the_order_is_onednns_where_it_multiplies_the_type(dtype: torch.dtype) -> None:
    supported = dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    layer, x = maker()
    pack(layer, dtype)
    assert (layer._packed is not None and layer._packed.blocked) is supported
    torch.testing.assert_close(
        layer(x).float(), functional.linear(x, layer.weight, layer.bias), rtol=2**-6, atol=0.02
    )


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="no AVX here")
def test_a_processor_can_be_tried_with_less_than_it_has() -> None:
    """What `make test-avx2` stands on: both libraries take the limit, and `packed` asks them."""
    limits = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    code = """
import torch
from earmark.model import packed
print(torch.backends.cpu.get_cpu_capability(), packed._has_blocks(torch.float32))
print(packed._has_blocks(torch.bfloat16), packed.multiplies_bfloat16(torch.device("cpu")))
"""
    command = [sys.executable, "-c", code]
    environment = os.environ | limits
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["AVX2", "True", "False", "False"]


@pytest.mark.parametrize("refused", ["_reorder_linear_weight", "_linear_pointwise"])
@torch.no_grad()
def test_a_processor_that_onednn_refuses_multiplies_without_it(
    refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = torch.get_rng_state()
    packed._has_blocks.cache_clear()
    with monkeypatch.context() as patch:
        refusal = mock.Mock(side_effect=RuntimeError("bf16 path needs the cpu support avx512bw"))
        patch.setattr(torch.ops.mkldnn, refused, refusal)
        assert not packed.multiplies_bfloat16(torch.device("cpu"))
        assert torch.equal(state, torch.get_rng_state())  # a question that draws nothing
        layer, x = maker()
        assert pack(layer, torch.bfloat16) == 1
        assert layer(x).dtype == torch.bfloat16
        assert pack(maker()[0]) == 0
    packed._has_blocks.cache_clear()


@torch.no_grad()
def test_a_stale_weight_takes_what_a_packed_neighbour_gives() -> None:
    first, x = maker()
    second = nn.Linear(40, 8)
    pack(nn.Sequential(first, second), torch.bfloat16)
    second.weight.mul_(2)
    expected = functional.linear(first(x).float(), second.weight, second.bias)
    assert torch.equal(second(first(x)), expected)


def test_in_bfloat16_too_gradients_take_the_parameter() -> None:
    layer, x = maker()
    pack(layer, torch.bfloat16)
    assert torch.equal(layer(x), functional.linear(x, layer.weight, layer.bias))
    assert copy.deepcopy(layer)._packed is None
