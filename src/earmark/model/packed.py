"""Linear maps whose weights can be laid out once for inference on a CPU.

PyTorch multiplies float32 matrices with MKL, which reads a weight as it is stored. oneDNN, which
comes with PyTorch too, is faster where the weight stands in blocks of its own order; so a network
that only detects keeps a second copy of its weights in that order. The parameter stays what it
is: state dicts, training and export know nothing of the copy, and a weight that has changed since
is multiplied as any other.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class PackableLinear(nn.Linear):
    """`nn.Linear` that `pack` can make faster without gradients, in float32, on a CPU."""

    _packed: tuple[Tensor, Tensor, int] | None = None  # packed, packed from what, its version

    def forward(self, x: Tensor) -> Tensor:
        """[…, in] → […, out]."""
        if self._packed is None or not self._usable(x):
            return functional.linear(x, self.weight, self.bias)
        packed = self._packed[0]
        product = torch.ops.mkldnn._linear_pointwise(x, packed, self.bias, "none", [], "")
        return cast(Tensor, product)

    def pack(self) -> None:
        """Lay the weight out as it is now."""
        source = self.weight.detach()
        packed = torch.ops.mkldnn._reorder_linear_weight(source, None)
        self._packed = packed, source, source._version

    def _fresh(self) -> bool:
        """Whether the weight is what was packed; changes made through ``.data`` are not seen."""
        if self._packed is None:
            return False
        _, source, version = self._packed
        # As the source is kept, no other tensor can have come to lie at its address.
        return self.weight.data_ptr() == source.data_ptr() and self.weight._version == version

    def _usable(self, x: Tensor) -> bool:
        return (
            not torch.is_grad_enabled()
            and x.device.type == "cpu"
            and x.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
            and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
            and self._fresh()
        )

    def __getstate__(self) -> dict[str, Any]:
        """A copy of the module, in memory or another process, starts without the packed weight."""
        return {name: value for name, value in self.__dict__.items() if name != "_packed"}


def pack(network: nn.Module) -> int:
    """Lay out the weights of a network that is going to detect on a CPU.

    The network stays usable for everything else. Each packed weight is held twice.

    Returns:
        How many weights were packed: those of `PackableLinear` in float32 on the CPU; 0 where
        PyTorch comes without oneDNN.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return 0
    count = 0
    for module in network.modules():
        if isinstance(module, PackableLinear):
            weight = module.weight
            on_cpu = weight.device.type == "cpu" and weight.dtype == torch.float32
            if on_cpu and not weight.is_inference():  # those do not say when they change
                module.pack()
                count += 1
    return count
