"""The published YAMNet under the names that its files give its variables.

A file's variables must be YAMNet's, name by name and shape by shape. Kernels are turned from
TensorFlow's order of axes (time, frequency, in, out) to PyTorch's; nothing else is done to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from earmark.core.errors import BundleError
from earmark.model.encoders.yamnet import Yamnet
from earmark.model.published.match import Tensors, as_float32, demand

TITLE = "YAMNet"
_NORM = {"beta": "beta", "mean": "moving_mean", "variance": "moving_variance"}


def yamnet_names() -> dict[str, str]:
    """Names in `Yamnet` → names in the published SavedModel.

    Its layers with weights are numbered in the order of the network: a convolution, its norm, the
    next convolution, its norm, and at the end the classifier.
    """
    names: dict[str, str] = {}
    layer = 0
    for block in range(14):
        for conv in ("conv",) if block == 0 else ("depthwise", "conv"):
            kernel = "depthwise_kernel" if conv == "depthwise" else "kernel"
            own, theirs = f"blocks.{block}.{conv}", "layer_with_weights-{}/{}"
            names[f"{own}.weight"] = theirs.format(layer, kernel)
            for name, published in _NORM.items():
                names[f"{own}.{name}"] = theirs.format(layer + 1, published)
            layer += 2
    names["classifier.weight"] = f"layer_with_weights-{layer}/kernel"
    names["classifier.bias"] = f"layer_with_weights-{layer}/bias"
    return names


def from_published(variables: Mapping[str, Tensor], path: Path) -> Tensors:
    """Published variables → state dict of ``Yamnet(classifier=True)`` in float32.

    Raises:
        BundleError: Some are missing, left over, or of another shape.
    """
    names = yamnet_names()
    with torch.device("meta"):
        shapes = {n: tuple(v.shape) for n, v in Yamnet(classifier=True).state_dict().items()}
    expected = {names[own]: _published_shape(own, shape) for own, shape in shapes.items()}
    demand(variables, expected, TITLE, path)
    weights = {own: _ours(own, variables[published]) for own, published in names.items()}
    return as_float32(weights)


def _ours(name: str, value: Tensor) -> Tensor:
    if name == "classifier.weight":
        return value.t().contiguous()
    if value.dim() != 4:
        return value
    # Depthwise kernels are (time, frequency, channel, 1), the others (time, frequency, in, out).
    axes = (2, 3, 0, 1) if ".depthwise." in name else (3, 2, 0, 1)
    return value.permute(axes).contiguous()


def _published_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if name == "classifier.weight":
        return shape[::-1]
    if len(shape) != 4:
        return shape
    outputs, inputs, time, bands = shape
    channels = (outputs, inputs) if ".depthwise." in name else (inputs, outputs)
    return (time, bands, *channels)


def read_yamnet(path: str | Path) -> Tensors:
    """The state dict of ``Yamnet(classifier=True)`` from a published file.

    Raises:
        BundleError: The file is missing, damaged, or not YAMNet's.
    """
    path = Path(path)
    if not path.is_file():
        raise BundleError("no such file", where=path)
    try:
        variables = load_file(path)
    except (SafetensorError, OSError) as error:
        raise BundleError(f"is no safetensors file ({error})", where=path) from None
    return from_published(variables, path)


def save_yamnet(weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Write a state dict of ``Yamnet(classifier=True)`` in half the size.

    Pointwise convolutions and the classifier, 98 numbers of 100, become half precision. Depthwise
    kernels and norms stay as they are: they are few, and rounding them would cost most.
    """
    kept = {
        name: value.half() if _is_rounded(name) else value.float()
        for name, value in weights.items()
    }
    about = {
        "network": "YAMNet",
        "authors": "M. Plakal, D. Ellis (Google)",
        "licence": "Apache-2.0",
        "source": "https://github.com/tensorflow/models/tree/master/research/audioset/yamnet",
    }
    save_file({name: value.contiguous() for name, value in kept.items()}, path, about)


def _is_rounded(name: str) -> bool:
    pointwise = name.endswith(".conv.weight") and name != "blocks.0.conv.weight"
    return pointwise or name == "classifier.weight"
