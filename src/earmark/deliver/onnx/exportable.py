"""A network in the form in which it is exported: waveforms and their lengths in, scores out.

What differs from `earmark.model.sed.SedNetwork` is how, never what is computed:

- front-ends are products of constant matrices;
- each layer of the recurrent net is one operator, which becomes ONNX's own (PyTorch's exporter
  would trace all its steps first, minutes for a few seconds' work);
- modules of the encoder that have another form for it give it (a method ``exportable``);
- gates are convolutions of one point, so that nothing changes its layout between convolutions.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from earmark.deliver.onnx.matrix_mel import MatrixLogMel
from earmark.features.frontend import LogMel
from earmark.model.crnn import Gate
from earmark.model.sed import SedNetwork
from earmark.model.tagger import Tagger


@torch.library.custom_op("earmark::gru", mutates_args=())
def gru(x: Tensor, inputs: Tensor, hidden: Tensor, biases: Tensor) -> Tensor:
    """One layer of a bidirectional gated recurrent net, its weights laid out as ONNX has them.

    Args:
        x: [B, T, D].
        inputs: W [2, 3H, D] of both directions; the gates' order is update, reset, new.
        hidden: R [2, 3H, H].
        biases: [2, 6H], those of W, then those of R.

    Returns:
        [B, T, 2H].
    """
    width = hidden.shape[2]
    weights: list[Tensor] = []
    for w, r, b in zip(inputs, hidden, biases, strict=True):
        weights += [reordered(part, width) for part in (w, r, *b.chunk(2))]
    start = x.new_zeros(2, x.shape[0], width)
    out: Tensor = torch.gru(x, start, weights, True, 1, 0.0, False, True, True)[0]
    return out


@gru.register_fake
def _(x: Tensor, inputs: Tensor, hidden: Tensor, biases: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], 2 * hidden.shape[2])


def onnx_gru(x: Any, inputs: Any, hidden: Any, biases: Any) -> Any:
    """ONNX's operator for `gru`; its T comes first, and both directions have an axis of their own.

    PyTorch resets after the product with R, which ONNX calls ``linear_before_reset``.
    """
    from onnxscript import opset18 as op

    y, _ = op.GRU(
        op.Transpose(x, perm=[1, 0, 2]),
        inputs,
        hidden,
        biases,
        direction="bidirectional",
        hidden_size=int(hidden.shape[2]),
        linear_before_reset=1,
    )  # [T, 2, B, H]
    both: Any = op.Constant(value_ints=[0, 0, -1])
    return op.Reshape(op.Transpose(y, perm=[2, 0, 1, 3]), both)  # [B, T, 2H]


def translations() -> dict[Any, Any]:
    """Operators that PyTorch's exporter does not know, and what writes them in ONNX."""
    return {torch.ops.earmark.gru.default: onnx_gru}


def reordered(weight: Tensor, width: int) -> Tensor:
    """Swaps reset and update of the gates [3H, …]: PyTorch's order to ONNX's, and back."""
    return torch.cat([weight[width : 2 * width], weight[:width], weight[2 * width :]])


class ExportableGru(nn.Module):
    """`nn.GRU` of both directions, batch first, as one `gru` a layer."""

    def __init__(self, source: nn.GRU) -> None:
        super().__init__()
        self.layers, width = source.num_layers, source.hidden_size
        for layer in range(source.num_layers):
            parts: dict[str, list[Tensor]] = {"weight_ih": [], "weight_hh": [], "bias": []}
            for suffix in (f"_l{layer}", f"_l{layer}_reverse"):
                ordered = {
                    kind: reordered(source.get_parameter(kind + suffix).detach(), width)
                    for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                }
                parts["weight_ih"].append(ordered["weight_ih"])
                parts["weight_hh"].append(ordered["weight_hh"])
                parts["bias"].append(torch.cat([ordered["bias_ih"], ordered["bias_hh"]]))
            for kind, tensors in parts.items():
                self.register_buffer(f"{kind}_l{layer}", torch.stack(tensors))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """[B, T, D] → [B, T, 2H], and no last state."""
        for layer in range(self.layers):
            kinds = ("weight_ih", "weight_hh", "bias")
            x = gru(x, *(self.get_buffer(f"{kind}_l{layer}") for kind in kinds))
        return x, None


class ExportableGate(nn.Module):
    """`earmark.model.crnn.Gate` without permutations."""

    def __init__(self, source: Gate) -> None:
        super().__init__()
        self.linear_path = source.linear_path
        self.register_buffer("weight", source.linear.weight.detach()[:, :, None, None])
        self.register_buffer("bias", source.linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T, F] → the same shape."""
        mapped = functional.conv2d(x, self.get_buffer("weight"), self.get_buffer("bias"))
        return mapped * torch.sigmoid(x) if self.linear_path else x * torch.sigmoid(mapped)


class ExportableNetwork(nn.Module):
    """Waveforms [B, S] of at most a window → strong [B, T, C], weak [B, C].

    What is missing of a window is filled up with zeros. Frames that begin there are padding: the
    encoder does not attend to them (unless the network was trained to), and they have no part in
    the weak scores.

    Args:
        network: It is copied and stays as it is.
    """

    starts: Tensor

    def __init__(self, network: SedNetwork | Tagger) -> None:
        super().__init__()
        network = copy.deepcopy(network).cpu().float().eval()
        for module in [*network.modules()]:
            for name, child in [*module.named_children()]:
                if isinstance(child, LogMel):
                    setattr(module, name, MatrixLogMel(child.settings, network.spec.window))
                elif isinstance(child, Gate):
                    setattr(module, name, ExportableGate(child))
                elif callable(spelt := getattr(child, "exportable", None)):
                    setattr(module, name, spelt())
        if isinstance(network, SedNetwork):
            network.crnn.rnn = cast(nn.GRU, ExportableGru(network.crnn.rnn))
        self.network = network
        self.window = network.spec.window
        starts = torch.arange(network.spec.frames) * network.spec.frame_hop
        self.register_buffer("starts", starts, False)

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """The scores of a batch of clips of one length."""
        batch, samples = waveform.shape
        # Joined, not padded: ONNX's padding would cut off what is longer than a window.
        silence = waveform.new_zeros(batch, self.window - samples)
        valid = (self.starts < samples).expand(batch, -1)  # [B, T]
        output = self.network(torch.cat([waveform, silence], 1), valid)
        return output.strong, output.weak
