"""Linear maps with weights laid out once for inference, in float32 or in bfloat16.

PyTorch multiplies float32 matrices with MKL, which reads a weight as it is stored. oneDNN, which
comes with PyTorch too, is faster where the weight stands in blocks of its own order; so a network
that only detects keeps a second copy of its weights in that order. The copy may be in bfloat16:
where the processor multiplies that by itself, products take a fraction of the time, and are rounded
to 8 bits of mantissa (sums are not). The parameter stays what it is: state dicts, training and
export know nothing of the copy, and a weight that has changed since is multiplied as any other.

Networks are written with `nn.Linear` and know nothing of this: `pack` turns the maps of a finished
network into `PackedLinear` where they stand.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

UNPACKED = {"crnn", "patch_embed"}
"""Modules whose maps stay as they are: the CRNN's are small, and the encoder's first one takes
log-mels in float32."""
_WITHOUT_BFLOAT16 = {
    *("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"),
}
"""What oneDNN may be limited to; of the last two it makes bfloat16 by hand."""


@dataclass(frozen=True)
class _Packed:
    """A weight as it was when it was packed.

    Attributes:
        weight: In the order and the type of the products.
        bias: In that type.
        blocked: Whether the order is oneDNN's.
        source: The parameter's own tensor, and
        version: how often it had been changed. As it is kept, no other tensor can have come to
            lie at its address.
    """

    weight: Tensor
    bias: Tensor | None
    blocked: bool
    source: Tensor
    version: int

    def product(self, x: Tensor) -> Tensor:
        """[…, in] → […, out] in the type of the products."""
        x = x.to(self.weight.dtype)
        if not self.blocked:
            return functional.linear(x, self.weight, self.bias)
        pointwise = torch.ops.mkldnn._linear_pointwise
        return cast(Tensor, pointwise(x, self.weight, self.bias, "none", [], ""))


class PackedLinear(nn.Linear):
    """What `pack` makes of `nn.Linear`: faster without gradients, from a float32 weight.

    Packed in bfloat16, its outputs are bfloat16.
    """

    _packed: _Packed | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[…, in] → […, out]."""
        if self._packed is None:
            return functional.linear(x, self.weight, self.bias)
        if not self._usable(x):  # a neighbour that is may have given bfloat16
            given = self.weight.dtype if x.dtype == torch.bfloat16 else x.dtype
            return functional.linear(x.to(given), self.weight, self.bias)
        return self._packed.product(x)

    def pack(self, dtype: torch.dtype, blocked: bool) -> None:
        """Lay the weight out as it is now."""
        source = self.weight.detach()
        weight = source.to(dtype)
        if blocked:
            weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        bias = None if self.bias is None else self.bias.detach().to(dtype)
        self._packed = _Packed(weight, bias, blocked, source, source._version)

    def _fresh(self) -> bool:
        """Whether the weight is what was packed; changes made through ``.data`` are not seen."""
        if self._packed is None:
            return False
        source, version = self._packed.source, self._packed.version
        return self.weight.data_ptr() == source.data_ptr() and self.weight._version == version

    def _usable(self, x: Tensor) -> bool:
        return (
            not torch.is_grad_enabled()
            and x.dtype in (torch.float32, torch.bfloat16)
            and x.device == self.weight.device
            and not torch.is_autocast_enabled(x.device.type)
            and not torch.compiler.is_compiling()
            and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
            and self._fresh()
        )

    def __getstate__(self) -> dict[str, Any]:
        """A copy of the module, in memory or another process, starts without the packed weight."""
        return {name: value for name, value in self.__dict__.items() if name != "_packed"}


def pack(network: nn.Module, dtype: torch.dtype = torch.float32) -> int:
    """Lay out the weights of a network that is going to detect.

    The network stays usable for everything else. Each packed weight is held twice.

    Args:
        network: Its linear maps with float32 weights are packed, but for those under names of
            `UNPACKED`.
        dtype: Of the products: float32, which is faster on a CPU alone, or bfloat16.

    Returns:
        How many weights were packed; none in float32 off the CPU, or where PyTorch comes without
        oneDNN: nothing would be gained.
    """
    count = 0
    for name, module in network.named_modules():
        if type(module) not in (nn.Linear, PackedLinear) or UNPACKED & set(name.split(".")):
            continue
        linear = cast(nn.Linear, module)
        blocked = linear.weight.device.type == "cpu" and _has_blocks(dtype)
        # A tensor of inference mode does not say when it is changed.
        usable = linear.weight.dtype == torch.float32 and not linear.weight.is_inference()
        if usable and (blocked or dtype != torch.float32):
            linear.__class__ = PackedLinear
            cast(PackedLinear, linear).pack(dtype, blocked)
            count += 1
    return count


@cache
def _has_blocks(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies this type on this processor, by trying: no flag says it for all."""
    weight = torch.ones(16, 16, dtype=dtype, device="cpu")
    try:
        blocks = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        _Packed(blocks, None, True, weight, 0).product(weight)
    except (RuntimeError, AttributeError):  # refused; PyTorch without oneDNN, or without these maps
        return False
    return True


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for products in bfloat16; True where that is not told."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return True
    # The processor may have them, and oneDNN leave them unused, or be told to.
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", ""))
    if limit.upper() in _WITHOUT_BFLOAT16 or not _has_blocks(torch.bfloat16):
        return False
    probe = getattr(torch.cpu, "get_capabilities", None)
    # Older versions of PyTorch have no word of it.
    return probe is None or any(bool(has) for name, has in probe().items() if "bf16" in name)
