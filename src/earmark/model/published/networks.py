"""Whole detectors in published files: ATST-SED's two stages, and CPJKU's DCASE 2024 networks.

Their files hold a student and a teacher, once as state dicts of their own at the top and once with
prefixes in ``state_dict``. The facts are those of the code that wrote them (ATST-SED, arXiv
2309.08153; CPJKU, arXiv 2408.00791). The second stage of ATST-SED has 223 entries; every one of
them has exactly one counterpart here, of the same shape, so a conversion is a renaming and nothing
else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from earmark.core.config import AtstSettings, NetworkSettings
from earmark.core.errors import BundleError
from earmark.model.published.encoders import CLAMP, encoder_sizes
from earmark.model.published.file import KNOWN_LAYOUTS, CheckpointFile, stored_settings
from earmark.model.published.match import Tensors, as_float32, count, demand, incomplete, under
from earmark.model.sed import SedNetwork

V1 = NetworkSettings(encoder=AtstSettings(align="adaptive", mask_padding=False))
"""ATST-SED as published: tokens spread over all frames, the silence of padding attended to."""

ATST_SED, CPJKU = "ATST-SED", "CPJKU's DCASE 2024 network"
_ROLES = {"teacher": ("sed_teacher", "teacher"), "student": ("sed_student", "student")}

_LAYERS = {"conv": "conv", "norm": "batchnorm", "gate": "cg"}
_OURS_BLOCK = re.compile(r"crnn\.cnn\.blocks\.(\d+)\.(conv|norm|gate)\.(.+)")
_OFFICIAL_BLOCK = re.compile(r"cnn\.cnn\.(conv|batchnorm|cg)(\d+)\.(.+)")
_PREFIXES = {
    "encoder.": "atst_frame.atst.",
    "crnn.merge.": "cat_tf.",
    "crnn.rnn.": "rnn.rnn.",
    "crnn.heads.strong.": "dense.",
    "crnn.heads.attention.": "dense_softmax.",
}


def to_official(name: str) -> str | None:
    """The official name of an entry of our state dict; None if it has none."""
    if block := _OURS_BLOCK.fullmatch(name):
        index, layer, rest = block.groups()
        return f"cnn.cnn.{_LAYERS[layer]}{index}.{rest}"
    for ours, official in _PREFIXES.items():
        if name.startswith(ours):
            return official + name.removeprefix(ours)
    return None


def from_official(name: str) -> str | None:
    """Our name of an entry of the official state dict; None if it is none of its entries."""
    if block := _OFFICIAL_BLOCK.fullmatch(name):
        layer, index, rest = block.groups()
        own = next(ours for ours, official in _LAYERS.items() if official == layer)
        return f"crnn.cnn.blocks.{index}.{own}.{rest}"
    for ours, official in _PREFIXES.items():
        if name.startswith(official):
            return ours + name.removeprefix(official)
    return None


@dataclass(frozen=True)
class FoundNetworks:
    """Detectors in a file, complete.

    Attributes:
        title: Of the layout.
        where: Role (``student``, ``teacher``) → where it stood; the preferred one first.
        settings: Of the networks.
        classes: How many.
        weights: Role → state dict of `SedNetwork`.
        ignored: What else the file has: prefix → number of tensors.
        notes: What one should know.
    """

    title: str
    where: dict[str, str]
    settings: NetworkSettings
    classes: int
    weights: dict[str, Tensors]
    ignored: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Network:
    title: str
    settings: NetworkSettings
    classes: int
    weights: Tensors
    notes: tuple[str, ...]


def find_networks(file: CheckpointFile, which: str | None = None) -> FoundNetworks | None:
    """The detectors that a file holds; None if it holds none.

    Args:
        file: As read.
        which: ``student`` or ``teacher``; None takes both.

    Raises:
        BundleError: The wanted role is not there, or something is missing, left over or of another
            shape, or our network cannot express theirs.
    """
    roles = _roles(file)
    if not roles:
        return None
    if which is not None and which not in roles:
        holds = " and ".join(roles)
        raise BundleError(f"holds no {which}", where=file.path, hint=f"It holds {holds}")
    wanted = {role: found for role, found in roles.items() if which in (None, role)}
    networks = {role: _convert(file, *found) for role, found in wanted.items()}
    first = next(iter(networks.values()))
    if any(n.settings != first.settings or n.classes != first.classes for n in networks.values()):
        raise BundleError("its student and its teacher are of different sizes", where=file.path)
    where = {role: place for role, (place, _) in wanted.items()}
    return FoundNetworks(
        first.title,
        where,
        first.settings,
        first.classes,
        {role: network.weights for role, network in networks.items()},
        _beside(file, first.title, where),
        (*first.notes, *_disagreements(file, wanted)),
    )


def _roles(file: CheckpointFile) -> dict[str, tuple[str, Tensors]]:
    """Role → where it stands and its tensors; a bare state dict counts as the teacher's."""
    found: dict[str, tuple[str, Tensors]] = {}
    for role, names in _ROLES.items():
        for name in names:
            own = file.networks.get(name) or under(file.tensors, f"{name}.")
            if role not in found and _is_detector(own):
                found[role] = name, own
    if not found and _is_detector(file.tensors):
        found["teacher"] = "", file.tensors
    return found


def _is_detector(tensors: Mapping[str, Tensor]) -> bool:
    return any(name.startswith("cnn.cnn.") for name in tensors) and "dense.weight" in tensors


def _beside(file: CheckpointFile, title: str, where: Mapping[str, str]) -> dict[str, int]:
    """What the file has beside the networks taken.

    Raises:
        BundleError: In an ATST-SED file, something that no ATST-SED file has.
    """
    if "" in where.values():
        return {}
    known = ["mel_spec.", *(f"{name}." for names in _ROLES.values() for name in names)]
    rest = [n for n in file.tensors if not n.startswith(tuple(f"{p}." for p in where.values()))]
    left = [name for name in rest if not name.startswith(tuple(known))]
    if left and title == ATST_SED:
        raise incomplete(title, file.path, left=left)
    unused = {n: len(t) for n, t in file.networks.items() if n not in where.values()}
    return count(rest, known) | unused


def _disagreements(file: CheckpointFile, roles: Mapping[str, tuple[str, Tensors]]) -> list[str]:
    """A network that stands in a file twice should be the same twice."""
    return [
        f"{name} and state_dict differ; {name} was taken"
        for name, own in roles.values()
        if name
        and any(
            not torch.equal(value, own[rest])
            for rest, value in under(file.tensors, f"{name}.").items()
            if rest in own
        )
    ]


def _convert(file: CheckpointFile, where: str, own: Tensors) -> _Network:
    """One detector in our names, complete."""
    tensors, title = dict(own), ATST_SED
    notes: list[str] = []
    if any(name.startswith("as_model.") for name in tensors):
        title = CPJKU
        tensors, notes = _cpjku_as_v1(tensors, file)
    label = f"{title} ({where})" if where else title
    if not any(name.startswith("atst_frame.") for name in tensors):
        raise BundleError(
            "holds a CRNN without ATST-Frame, which is not converted",
            where=file.path,
            hint=KNOWN_LAYOUTS,
        )
    glu = any(name.startswith("cnn.cnn.glu") for name in tensors)
    if glu:
        tensors = {re.sub(r"^cnn\.cnn\.glu", "cnn.cnn.cg", name): t for name, t in tensors.items()}
    ours = {from_official(name): value for name, value in tensors.items()}
    if None in ours:
        left = [name for name in tensors if from_official(name) is None]
        raise incomplete(label, file.path, left=left)
    named = {str(name): value for name, value in ours.items()}
    settings = stored_settings(file, "network", NetworkSettings)
    if settings is None:
        settings = _sizes(named, label, file)
        settings = settings.model_copy(update={"activation": "glu" if glu else "gate"})
    if "crnn.heads.strong.weight" not in named:
        raise incomplete(label, file.path, missing=["dense.weight"])
    classes = len(named["crnn.heads.strong.weight"])
    with torch.device("meta"):
        network = SedNetwork(settings, tuple(str(number) for number in range(classes)))
    shapes = {str(to_official(n)): tuple(v.shape) for n, v in network.state_dict().items()}
    demand(tensors, shapes, label, file.path)
    return _Network(title, settings, classes, as_float32(named), tuple(notes))


def _sizes(tensors: Mapping[str, Tensor], label: str, file: CheckpointFile) -> NetworkSettings:
    """Settings of ATST-SED with the sizes that the tensors have."""
    wanted = {"crnn.merge.weight": "cat_tf.weight", "crnn.rnn.weight_hh_l0": "rnn.rnn.weight_hh_l0"}
    if missing := [official for name, official in wanted.items() if name not in tensors]:
        raise incomplete(label, file.path, missing=missing)
    own = under(tensors, "crnn.cnn.blocks.")
    numbers = [int(name.partition(".")[0]) for name in own if name.endswith(".conv.weight")]
    blocks = sorted(numbers)
    if not blocks or blocks != list(range(len(blocks))):
        raise incomplete(label, file.path, missing=["a convolution (cnn.cnn.conv*)"])
    shapes = [tuple(own[f"{index}.conv.weight"].shape) for index in blocks]
    layers = [n for n in tensors if re.fullmatch(r"crnn\.rnn\.weight_ih_l\d+", n)]
    encoder = encoder_sizes(under(tensors, "encoder."), label, file.path, CLAMP)
    use = {"merge": len(tensors["crnn.merge.weight"]), "align": "adaptive", "mask_padding": False}
    sizes = {
        "channels": tuple(shape[0] for shape in shapes),
        "kernels": tuple(shape[-1] for shape in shapes),
        "strides": ((1, 1),) * len(shapes),
        "pools": _pools(file, len(shapes)),
        "rnn_hidden": tensors["crnn.rnn.weight_hh_l0"].shape[1],
        "rnn_layers": len(layers),
        "encoder": encoder.model_copy(update=use),
    }
    return V1.model_copy(update=sizes)


def _pools(file: CheckpointFile, blocks: int) -> tuple[tuple[int, int], ...]:
    """Pools leave no weights: those the file's settings tell, or the published seven."""
    net = file.settings.get("net") or file.settings.get("t4_wrapper")
    told = net.get("pooling") if isinstance(net, Mapping) else None
    if isinstance(told, list | tuple) and len(told) == blocks:
        return tuple((int(time), int(band)) for time, band in told)
    if blocks == len(V1.pools):
        return V1.pools
    raise BundleError(
        f"has {blocks} convolution blocks and does not tell how they pool", where=file.path
    )


def _cpjku_as_v1(tensors: Tensors, file: CheckpointFile) -> tuple[Tensors, list[str]]:
    """CPJKU's names as ATST-SED's, its AudioSet head folded into the merge.

    Where the head W h + b stands between the encoder and the pooling, cat_tf is
    A·cnn + B·pool(W h + b) + c. Pooling takes means, so this is A·cnn + (B W)·pool(h) + (B b + c).
    """
    told = file.settings.get("t4_wrapper")
    pooling = told.get("embed_pool", "aap") if isinstance(told, Mapping) else "aap"
    if pooling != "aap" or any(name.startswith("pool_conv.") for name in tensors):
        how = "a convolution (pool_conv)" if pooling == "aap" else f"embed_pool {pooling!r}"
        raise BundleError(
            f"pools tokens by {how}, which our network does not have", where=file.path
        )
    prefixes = ("as_model.model.atst.", "as_model.atst.")
    prefix = next((p for p in prefixes if any(n.startswith(p) for n in tensors)), None)
    if prefix is None:
        raise BundleError(
            "has another encoder than ATST-Frame (as_model.*), which our network does not have",
            where=file.path,
        )
    renamed = {
        re.sub(f"^{re.escape(prefix)}", "atst_frame.atst.", n): v for n, v in tensors.items()
    }
    notes = [
        "weak scores are those without class masks",
        "how its tokens are pooled leaves no weights: adaptive average pooling, its default, "
        "is assumed",
    ]
    head = {part: f"as_model.head_linear_layer.{part}" for part in ("weight", "bias")}
    if head["weight"] not in renamed:
        return renamed, notes
    wanted = (*head.values(), "cat_tf.weight", "cat_tf.bias")
    if missing := [name for name in wanted if name not in renamed]:
        raise incomplete(CPJKU, file.path, missing=missing)
    weight, bias = (renamed.pop(name).double() for name in head.values())
    merge = renamed["cat_tf.weight"].double()  # [merge, CNN's width + classes]
    local = merge[:, : merge.shape[1] - len(weight)]
    tokens = merge[:, merge.shape[1] - len(weight) :]
    renamed["cat_tf.weight"] = torch.cat([local, tokens @ weight], dim=1).float()
    renamed["cat_tf.bias"] = (renamed["cat_tf.bias"].double() + tokens @ bias).float()
    return renamed, [*notes, f"its head of {len(weight)} classes was folded into the merge layer"]
