"""Where an ATST-Frame stands in the files that were published, and whether it is whole.

Prefixes decide, the longest first. What a prefix leaves must be the encoder, tensor by tensor and
shape by shape; what stands beside it must be known to belong there. The facts are those of the
code that wrote the files: audiossl (ATST-Frame, arXiv 2306.04186), CPJKU's DCASE 2024 system (arXiv
2408.00791) and PretrainedSED (arXiv 2409.09546).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from earmark.core.config import ATST_FRONTEND, AtstSettings
from earmark.core.errors import BundleError
from earmark.model.encoders.atst import ENCODER_SIZES, AtstFrame
from earmark.model.published.file import KNOWN_LAYOUTS, CheckpointFile, stored_settings
from earmark.model.published.match import Tensors, as_float32, count, demand, incomplete, under

CLAMP = (-50.0, 80.0)
HEAD_TENSORS = (
    "0.weight",
    "1.weight",
    "1.bias",
    "1.running_mean",
    "1.running_var",
    "1.num_batches_tracked",
    "3.weight",
)
_BLOCK = re.compile(r"blocks\.(\d+)\.")


@dataclass(frozen=True)
class EncoderLayout:
    """Where an encoder stands in a state dict.

    Attributes:
        prefix: Of the encoder's names.
        title: For people.
        beside: Prefixes of what may stand beside it and is not taken.
        db_clamp: Of the log-mel that its code fed it.
        heads: Prefixes of projector and predictor, if it has them.
        role: The student or the teacher it is of, if there are two.
    """

    prefix: str
    title: str
    beside: tuple[str, ...] = ()
    db_clamp: tuple[float, float] | None = None
    heads: tuple[str, str] | None = None
    role: str | None = None


def _ssl(role: str, other: str) -> EncoderLayout:
    """Self-supervised: both networks; only the student has a predictor."""
    return EncoderLayout(
        f"model.{role}.encoder.",
        "ATST-Frame, self-supervised",
        (f"model.{other}.", f"model.{role}.projector.", f"model.{role}.predictor."),
        heads=(f"model.{role}.projector.", "model.student.predictor."),
        role=role,
    )


_STRONG = "ATST-Frame, fine-tuned on AudioSet-strong by CPJKU"
_PRETRAINED_SED = ("strong_head.", "weak_head.", "seq_model.", "model.atst_mel.")
LAYOUTS = (
    _ssl("teacher", "student"),
    _ssl("student", "teacher"),
    EncoderLayout("encoder.encoder.", "ATST-Frame, fine-tuned on AudioSet", ("head.",)),
    EncoderLayout(
        "encoder.encoder.frame_encoder.",
        "ATST-Frame, distilled clip to frame",
        ("encoder.encoder.teacher_module.", "head."),
    ),
    EncoderLayout("net_strong.model.atst.", _STRONG, ("net_strong.",), CLAMP),
    EncoderLayout("net_strong.model.model.atst.", _STRONG, ("net_strong.",), CLAMP),
    EncoderLayout("model.atst.", "PretrainedSED's ATST-F", _PRETRAINED_SED, CLAMP),
    EncoderLayout("encoder.", "ATST-Frame with its heads", heads=("projector.", "predictor.")),
    EncoderLayout("", "ATST-Frame alone"),
)


@dataclass(frozen=True)
class FoundEncoder:
    """An encoder in a file, complete.

    Attributes:
        title: Of its layout.
        where: Prefix it stood under.
        settings: Its sizes and log-mel.
        weights: State dict of `AtstFrame`.
        projector: State dict of the first head's layers, or None.
        predictor: That of the second.
        ignored: What else the file has: prefix → number of tensors.
        notes: What one should know.
    """

    title: str
    where: str
    settings: AtstSettings
    weights: Tensors
    projector: Tensors | None = None
    predictor: Tensors | None = None
    ignored: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find_encoder(file: CheckpointFile, which: str | None = None) -> FoundEncoder:
    """The encoder that a file holds.

    Args:
        file: As read.
        which: ``student`` or ``teacher`` of a self-supervised pair; None prefers the teacher.

    Raises:
        BundleError: The layout is not known, the wanted role is not there, or something is missing,
            left over or of another shape.
    """
    layout = _layout(file, which)
    own, title, notes = under(file.tensors, layout.prefix), layout.title, []
    taken = {f"{layout.prefix}{name}" for name in own}
    unused: list[str] = []
    if "norm.weight" in own and "norm_frame.weight" not in own:
        title = "ATST-Clip"
        own = {re.sub(r"^norm\.", "norm_frame.", name): value for name, value in own.items()}
        if own.pop("cls_token", None) is not None:
            unused.append(f"{layout.prefix}cls_token")
        notes.append("its tokens were trained through a class token, which is dropped")
    label = f"{title} ({layout.prefix}*)" if layout.prefix else title
    settings = stored_settings(file, "encoder", AtstSettings)
    if settings is None:
        settings = encoder_sizes(own, label, file.path, layout.db_clamp)
    demand(own, encoder_shapes(settings), label, file.path)
    projector, predictor = None, None
    if layout.heads and title != "ATST-Clip":
        projector = _head(file, layout.heads[0], settings.width, notes)
        predictor = _head(file, layout.heads[1], None, notes)
        taken |= {f"{layout.heads[0]}{name}" for name in projector or ()}
        taken |= {f"{layout.heads[1]}{name}" for name in predictor or ()}
    rest = [name for name in file.tensors if name not in taken]
    if left := [name for name in rest if not name.startswith(layout.beside)]:
        raise incomplete(label, file.path, left=left)
    beside = {name: len(tensors) for name, tensors in file.networks.items()}
    return FoundEncoder(
        title,
        layout.prefix,
        settings,
        as_float32(own),
        projector,
        predictor,
        count((*rest, *unused), (*layout.beside, *unused)) | beside,
        tuple(notes),
    )


def _layout(file: CheckpointFile, which: str | None) -> EncoderLayout:
    """The layout with the longest prefix that a block of the encoder stands under."""
    found = [
        layout
        for layout in sorted(LAYOUTS, key=lambda layout: len(layout.prefix), reverse=True)
        if any(name.startswith(f"{layout.prefix}blocks.") for name in file.tensors)
    ]
    if not found:
        some = ", ".join(list(file.tensors)[:3]) or "no tensors"
        raise BundleError(
            f"is of no known layout (it has {some}, …)", where=file.path, hint=KNOWN_LAYOUTS
        )
    if which is None:
        return found[0]
    roles = {layout.role: layout for layout in found if layout.role}
    if which not in roles:
        holds = " and ".join(str(role) for role in roles) or "one encoder, of neither"
        raise BundleError(f"holds no {which}", where=file.path, hint=f"It holds {holds}")
    return roles[which]


def encoder_sizes(
    tensors: Mapping[str, Tensor], label: str, path: Path, db_clamp: tuple[float, float] | None
) -> AtstSettings:
    """Settings of the published size that the tensors have, with fewer blocks if they have fewer.

    Raises:
        BundleError: A tensor that tells a size is missing, or it is none of the sizes known; the
            number of attention heads leaves no trace in the weights.
    """
    if "pos_embed" not in tensors or tensors["pos_embed"].dim() != 3:
        raise incomplete(label, path, missing=["pos_embed"])
    _, rows, width = tensors["pos_embed"].shape
    depth = 1 + max((int(b[1]) for n in tensors if (b := _BLOCK.match(n))), default=-1)
    for size in ENCODER_SIZES.values():
        if size.width == width and 0 < depth <= size.depth:
            frontend = ATST_FRONTEND.model_copy(update={"db_clamp": db_clamp})
            own = {"depth": depth, "max_tokens": rows - 1, "frontend": frontend}
            return size.model_copy(update=own)
    known = ", ".join(f"{name} {s.width} × {s.depth}" for name, s in ENCODER_SIZES.items())
    raise BundleError(
        f"has an encoder of width {width} and depth {depth}, which is no known size",
        where=path,
        hint=f"Known are {known}",
    )


def without_top(found: FoundEncoder, blocks: int, path: Path) -> FoundEncoder:
    """An encoder without its highest blocks; the last norm stays, on top of what is left.

    What was learnt for frame-level tags of AudioSet helps other classes more from some blocks
    below the top. Heads of self-supervised training, which stood on all blocks, are left out.

    Raises:
        BundleError: It has no more blocks than that.
    """
    depth = found.settings.depth - blocks
    if depth < 1:
        raise BundleError(
            f"has {found.settings.depth} blocks, and {blocks} are to be dropped",
            where=path,
            hint="Drop fewer with --drop-blocks",
        )
    dropped = {n for n in found.weights if (b := _BLOCK.match(n)) and int(b[1]) >= depth}
    return replace(
        found,
        settings=found.settings.model_copy(update={"depth": depth}),
        weights={name: value for name, value in found.weights.items() if name not in dropped},
        projector=None,
        predictor=None,
        ignored=found.ignored | {f"{found.where}blocks.{depth}. and above": len(dropped)},
        notes=(
            *found.notes,
            f"the top {blocks} of {depth + blocks} blocks are dropped: train with "
            f"--set network.encoder.depth={depth}",
        ),
    )


def encoder_shapes(settings: AtstSettings) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an encoder's state dict."""
    with torch.device("meta"):
        return {n: tuple(v.shape) for n, v in AtstFrame(settings).state_dict().items()}


def _head(
    file: CheckpointFile, prefix: str, inputs: int | None, notes: list[str]
) -> Tensors | None:
    """Linear, batch norm, ReLU, Linear under a prefix; None if there is none of that form."""
    own = under(file.tensors, prefix)
    if not own:
        return None
    if "0.weight" not in own or "3.weight" not in own or set(own) - set(HEAD_TENSORS):
        notes.append(f"{prefix}* is a head of another form and was not taken")
        return None
    hidden, width = own["0.weight"].shape
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(HEAD_TENSORS, (hidden,))
    shapes |= {"0.weight": (hidden, inputs or width), "1.num_batches_tracked": ()}
    shapes |= {"3.weight": (len(own["3.weight"]), hidden)}
    demand(own, shapes, f"a head ({prefix}*)", file.path)
    return as_float32(own)
