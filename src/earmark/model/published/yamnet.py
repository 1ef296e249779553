"""The published YAMNet in the files that it is found in.

- TensorFlow's SavedModel, a folder with ``variables/variables.index``: variables are named by their
  place in the network, ``layer_with_weights-2/depthwise_kernel``, behind the path to the network;
- ``yamnet.h5``, weights that Keras saved, named by layer: ``layer2/depthwise_conv/…``;
- safetensors of the SavedModel's variables under its names.

Whatever the file, the variables must be YAMNet's, name by name and shape by shape. Kernels are
turned from TensorFlow's order of axes (time, frequency, in, out) to PyTorch's; nothing else is
done to them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from earmark.core.config import YamnetSettings
from earmark.core.errors import BundleError, ConfigError
from earmark.core.files.bounds import refuse_special
from earmark.model.encoders.encoder_file import Encoder, save_encoder
from earmark.model.encoders.yamnet import LICENCE, WIDTHS, Yamnet
from earmark.model.folder import read_tensors
from earmark.model.published.match import Tensors, as_float32, demand
from earmark.model.published.tf_checkpoint import read_tf_checkpoint

TITLE = "YAMNet"
CARD = """# YAMNet

A MobileNet that names the 521 sounds of AudioSet, by M. Plakal and D. Ellis of Google, under the
Apache License 2.0. As an encoder it gives a detector what sounds; by itself it detects nothing.
"""
HALVED = "Pointwise convolutions and the classifier are in half precision.\n"
KNOWN_FILES = (
    "Known are the SavedModel's folder, its variables.index, yamnet.h5, and safetensors of the "
    "SavedModel's variables"
)
_NORM = {"beta": "beta", "mean": "moving_mean", "variance": "moving_variance"}
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_NUMBERED = re.compile(r"(.*?)(layer_with_weights-\d+/\w+)")
_KERAS = re.compile(
    r"(?:.*/)?(layer\d+/(?:depthwise_|pointwise_)?conv(?:/bn)?/\w+|(?:logits|dense)(?:_\d+)?/\w+)"
)
_HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class FoundYamnet:
    """A YAMNet in a file, complete.

    Attributes:
        title: Of the kind of file.
        path: The file that was read.
        weights: State dict of ``Yamnet(classifier=True)`` in single precision.
        where: What stood before the names of its variables.
        ignored: What else the file has: first word of the name → number of variables.
    """

    title: str
    path: Path
    weights: Tensors
    where: str = ""
    ignored: dict[str, int] = field(default_factory=dict)


def holds_yamnet(path: str | Path) -> bool:
    """Whether a file or folder is of one of YAMNet's kinds, whole or not.

    Args:
        path: As for `find_yamnet`.
    """
    path = Path(path)
    if _checkpoint_index(path) is not None:
        return True
    try:
        with path.open("rb") as file:
            if file.read(len(_HDF5)) == _HDF5:
                return True
        with safe_open(path, "pt") as tensors:
            return any(_NUMBERED.fullmatch(n.removesuffix(_SUFFIX)) for n in tensors.keys())  # noqa: SIM118
    except (OSError, SafetensorError):
        return False


def read_yamnet(path: str | Path) -> Tensors:
    """The state dict of ``Yamnet(classifier=True)`` from a published file, as `find_yamnet`."""
    return find_yamnet(path).weights


def find_yamnet(path: str | Path) -> FoundYamnet:
    """The YAMNet that a file or folder holds.

    Args:
        path: A SavedModel's folder or a file in it, a TensorFlow checkpoint's index, weights that
            Keras saved as HDF5, or safetensors.

    Raises:
        BundleError: It is missing, damaged, or not YAMNet's.
        ConfigError: The package that reads it is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise BundleError("no such file", where=path)
    if index := _checkpoint_index(path):
        return _from_checkpoint(index)
    if path.is_dir():
        raise BundleError("holds no SavedModel", where=path, hint=KNOWN_FILES)
    refuse_special(path, BundleError)
    with path.open("rb") as file:
        is_hdf5 = file.read(len(_HDF5)) == _HDF5
    if is_hdf5:
        return _from_keras(path)
    try:
        variables = read_tensors(path)
    except BundleError as error:
        raise BundleError(error.what, where=path, hint=KNOWN_FILES) from None
    weights = from_published(variables, path)
    return FoundYamnet(f"{TITLE}, variables of the SavedModel", path, weights)


def yamnet_names() -> dict[str, str]:
    """Names in `Yamnet` → names in the published SavedModel.

    Its layers with weights are numbered in the order of the network: a convolution, its norm, the
    next convolution, its norm, and at the end the classifier.
    """
    names: dict[str, str] = {}
    layer = 0
    for own, kernel in _convolutions():
        names[f"{own}.weight"] = f"layer_with_weights-{layer}/{kernel}"
        for name, published in _NORM.items():
            names[f"{own}.{name}"] = f"layer_with_weights-{layer + 1}/{published}"
        layer += 2
    names["classifier.weight"] = f"layer_with_weights-{layer}/kernel"
    names["classifier.bias"] = f"layer_with_weights-{layer}/bias"
    return names


def keras_names() -> dict[str, str]:
    """Names in `Yamnet` → names of layers and variables in ``yamnet.h5``."""
    names: dict[str, str] = {}
    for own, kernel in _convolutions():
        _, block, conv = own.split(".")
        kind = {"depthwise": "depthwise_conv", "conv": "pointwise_conv" if int(block) else "conv"}
        layer = f"layer{int(block) + 1}/{kind[conv]}"
        names[f"{own}.weight"] = f"{layer}/{kernel}"
        for name, published in _NORM.items():
            names[f"{own}.{name}"] = f"{layer}/bn/{published}"
    return names | {"classifier.weight": "logits/kernel", "classifier.bias": "logits/bias"}


def _convolutions() -> Iterable[tuple[str, str]]:
    """Our names of all convolutions, and TensorFlow's of their kernels, in order."""
    for block in range(len(WIDTHS)):
        if block > 0:
            yield f"blocks.{block}.depthwise", "depthwise_kernel"
        yield f"blocks.{block}.conv", "kernel"


def from_published(
    variables: Mapping[str, Tensor], path: Path, names: Mapping[str, str] | None = None
) -> Tensors:
    """Published variables → state dict of ``Yamnet(classifier=True)`` in float32.

    Args:
        variables: As the file has them.
        path: The file, for errors.
        names: Our names → the file's; those of the SavedModel by default.

    Raises:
        BundleError: Some are missing, left over, or of another shape.
    """
    names = yamnet_names() if names is None else names
    with torch.device("meta"):
        shapes = {n: tuple(v.shape) for n, v in Yamnet(classifier=True).state_dict().items()}
    expected = {names[own]: _published_shape(own, shape) for own, shape in shapes.items()}
    demand(variables, expected, TITLE, path)
    return as_float32({own: _ours(own, variables[theirs]) for own, theirs in names.items()})


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


def _checkpoint_index(path: Path) -> Path | None:
    """The index of the TensorFlow checkpoint that a path is, or is of; None if it is of none."""
    if path.is_dir():
        inside = (path / "variables" / "variables.index", path / "variables.index")
        return next((index for index in inside if index.is_file()), None)
    if path.name == "saved_model.pb":
        return path.parent / "variables" / "variables.index"
    if path.suffix == ".index" or path.suffix.startswith(".data-"):
        return path.with_suffix(".index")
    return None


def _from_checkpoint(index: Path) -> FoundYamnet:
    """Variables may stand behind a path, beside others of a network around it."""
    checkpoint = read_tf_checkpoint(index)
    found: dict[str, dict[str, Tensor]] = {}
    for name, value in checkpoint.variables.items():
        if match := _NUMBERED.fullmatch(name.removesuffix(_SUFFIX)):
            found.setdefault(match[1], {})[match[2]] = torch.from_numpy(value)
    if not found:
        some = ", ".join([*checkpoint.variables][:3]) or "no variables"
        raise BundleError(f"holds no YAMNet (it has {some}, …)", where=index, hint=KNOWN_FILES)
    where = max(found, key=lambda prefix: len(found[prefix]))
    taken = {f"{where}{name}{_SUFFIX}" for name in found[where]}
    rest = [n for n in (*checkpoint.variables, *checkpoint.left_out) if n not in taken]
    weights = from_published(found[where], index)
    return FoundYamnet(f"{TITLE}, SavedModel", index, weights, where, _counted(rest))


def _from_keras(path: Path) -> FoundYamnet:
    variables, rest = _hdf5_variables(path)
    return FoundYamnet(
        f"{TITLE}, weights saved by Keras",
        path,
        from_published(variables, path, keras_names()),
        ignored=_counted(rest),
    )


def _hdf5_variables(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Arrays of a Keras file by layer and variable, and names of the optimiser's."""
    try:
        import h5py
    except ModuleNotFoundError:
        raise ConfigError(
            "is an HDF5 file; reading it needs h5py, which is not installed",
            where=path,
            hint="Install it with: pip install 'earmark[keras]'",
        ) from None
    variables: dict[str, Tensor] = {}
    optimiser: list[str] = []

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        if name.startswith("optimizer_weights/"):
            optimiser.append(name)
            return
        plain = name.removesuffix(":0")
        # Keras repeats a layer's name: layer1/conv/bn/layer1/conv/bn/beta:0.
        match = _KERAS.fullmatch(plain)
        plain = re.sub(r"^dense(_\d+)?/", "logits/", match[1]) if match else plain
        variables[plain] = torch.from_numpy(item[()])

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise BundleError(f"cannot be read as HDF5 ({reason})", where=path) from None
    return variables, optimiser


def _counted(names: Iterable[str]) -> dict[str, int]:
    """How many of the names begin with each first word."""
    return dict(Counter(f"{name.split('/')[0]}/*" if "/" in name else name for name in names))


def yamnet_encoder(
    weights: Mapping[str, Tensor], about: Mapping[str, str] | None = None
) -> Encoder:
    """An encoder of a state dict of ``Yamnet(classifier=True)``, and where it is from."""
    source = {
        "layout": TITLE,
        "authors": "M. Plakal, D. Ellis (Google)",
        "licence": LICENCE,
        "source": "https://github.com/tensorflow/models/tree/master/research/audioset/yamnet",
    }
    return Encoder(YamnetSettings(), dict(weights), source={**source, **(about or {})})


def save_yamnet(weights: Mapping[str, Tensor], folder: str | Path) -> Path:
    """Write a state dict of ``Yamnet(classifier=True)`` as an encoder's folder, in half the size.

    Pointwise convolutions and the classifier, 98 numbers of 100, become half precision. Depthwise
    kernels and norms stay as they are: they are few, and rounding them would cost most.
    """
    kept = {
        name: value.half() if _is_rounded(name) else value.float()
        for name, value in weights.items()
    }
    return save_encoder(folder, yamnet_encoder(kept), CARD + HALVED)


def _is_rounded(name: str) -> bool:
    pointwise = name.endswith(".conv.weight") and name != "blocks.0.conv.weight"
    return pointwise or name == "classifier.weight"
