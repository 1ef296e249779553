"""What a run begins with: an encoder, a bundle, or the networks another run ended with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from earmark.core.config import EncoderSettings, NetworkSettings, differing, parse_settings
from earmark.core.errors import BundleError
from earmark.core.files.bounds import check_archive
from earmark.core.folders import shipped_folder
from earmark.method.networks import Student, Teacher
from earmark.method.settings import Recipe, TrainSettings
from earmark.model.bundle import load_bundle
from earmark.model.bundle_files import is_bundle
from earmark.model.encoders.encoder_file import (
    Encoder,
    encoder_fingerprint,
    load_encoder,
)
from earmark.model.folder import is_encoder
from earmark.train.checkpoint import STATE

State = Mapping[str, Tensor]
_CLASS_ROWS = ("network.crnn.heads.strong.", "network.crnn.heads.attention.")
_FREE = {  # learned or used otherwise, the weights stay what they are
    *("conv_dropout", "dropout", "norm_momentum"),
    *("encoder.drop_path", "encoder.checkpointing", "encoder.merge"),
}
_REPORTED = {  # a difference is reported, not refused; ATST-SED v1 itself has some
    *("window_seconds", "encoder.align", "encoder.mask_padding", "encoder.positions"),
    *("frontend.db_clamp", "encoder.frontend.db_clamp"),
}


@dataclass(frozen=True)
class Start:
    """Starting weights, read.

    Attributes:
        folder: Where they were.
        what: Where they are from, for people.
        student: Under the names of `Student`; heads of the embedding loss may be missing.
        teacher: Under those of `Teacher`; empty makes it the student's copy.
        settings: Of the network they were learned with, or of its encoder alone.
        labels: Its classes; None for an encoder.
        tap: Of the embedding that the heads were learned on.
        is_encoder: It has no more than an encoder, and maybe heads.
    """

    folder: Path
    what: str
    student: State
    teacher: State
    settings: NetworkSettings
    labels: tuple[str, ...] | None = None
    tap: str = "encoder"
    is_encoder: bool = False


def read_start(folder: str | Path, epoch: str = "last") -> Start:
    """Read what a folder has to begin with.

    Args:
        folder: An encoder's folder (`earmark pretrain`, `earmark import`), a bundle, alone or with
            that of its student in it (`earmark import`), or a run's; or the name of an encoder or
            a bundle that comes with Earmark.
        epoch: Of a run, ``last`` takes student, teacher and heads as the run ended, ``best`` its
            bundle for both.

    Raises:
        BundleError: It is nothing of these, or damaged.
    """
    shipped = shipped_folder("bundles") / folder
    folder = shipped if not Path(folder).exists() and shipped.is_dir() else Path(folder)
    if is_encoder(folder):
        name = folder.name if folder == shipped else str(folder)
        return _from_encoder(load_encoder(folder), folder, name)
    if epoch == "last" and (folder / STATE).is_file():
        return _from_run(folder)
    return _from_bundle(folder, alone=epoch == "best")


def _from_encoder(found: Encoder, folder: Path, name: str) -> Start:
    state = {f"network.encoder.{name}": value for name, value in found.weights.items()}
    for head, tensors in (("projector", found.projector), ("predictor", found.predictor)):
        state |= {f"heads.{head}.layers.{n}": v for n, v in (tensors or {}).items()}
    source = found.source.get("layout") or found.source.get("recipe") or "unknown origin"
    what = f"the encoder `{name}` ({source}, fingerprint `{encoder_fingerprint(folder)}`)"
    settings = NetworkSettings(encoder=found.settings)
    return Start(folder, what, state, {}, settings, is_encoder=True)


def _from_run(folder: Path) -> Start:
    try:
        check_archive(folder / STATE)
        state: dict[str, Any] = torch.load(
            folder / STATE, map_location="cpu", weights_only=True, mmap=True
        )
        recipe = parse_settings(Recipe, state["recipe"], folder / STATE)
        student, teacher = state["student"], state["teacher"]
        labels, epoch, data = state["labels"], state["epoch"], state["data"]
    # A damaged pickle fails in many ways, and a file of something else has other content.
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise BundleError(
            f"is no state of a training run ({reason})", where=folder / STATE
        ) from None
    what = f"the run `{folder}` (recipe `{recipe.name}`, after epoch {epoch}, data `{data}`)"
    tap = recipe.method.embedding.tap
    return Start(folder, what, student, teacher, recipe.network, tuple(labels), tap)


def _from_bundle(folder: Path, alone: bool) -> Start:
    """A bundle, and those of its student and teacher in folders of these names, if wanted."""
    bundle = load_bundle(folder)
    what = f"the bundle `{folder}` (fingerprint `{bundle.fingerprint}`)"
    states = {}
    for role in ("student", "teacher"):
        own = bundle.path / role
        found = bundle if alone or not is_bundle(own) else load_bundle(own)
        states[role] = {f"network.{n}": v for n, v in found.trained.state_dict().items()}
        if found is not bundle:
            what += f", its {role}"
    return Start(
        folder,
        what,
        states["student"],
        states["teacher"],
        bundle.trained.settings,
        bundle.spec.labels,
    )


@dataclass(frozen=True)
class Begun:
    """What became of starting weights.

    Attributes:
        heads: The heads of the embedding loss began with them, too.
        notes: What the user should know.
    """

    heads: bool
    notes: list[str]


def begin_with(student: Student, start: Start, settings: TrainSettings) -> Begun:
    """Give a student its starting weights (``train.init``).

    Raises:
        BundleError: They are not for this network, its classes or its heads.
    """
    notes = _compare_settings(student.network.settings, start)
    notes += _compare_classes(student.network.spec.labels, start, settings.init_classes)
    own = student.state_dict()
    prefix = "network.encoder." if start.is_encoder else "network."
    taken = _fitted(own, start.student, prefix, start, student.network.spec.labels)
    heads = {name: value for name, value in own.items() if name.startswith("heads.")}
    reason = _why_not(heads, start, student.tap) if settings.init_heads != "fresh" else "fresh"
    if heads and reason and settings.init_heads == "need":
        raise BundleError(
            f"gives the embedding loss no heads: {reason}",
            where=start.folder,
            hint="Let them begin at random: train.init_heads=fresh",
        )
    if heads and reason and settings.init_heads == "fit":
        notes.append(f"the heads of the embedding loss begin at random: {reason}")
    if not reason:  # the heads are complete
        taken |= {name: start.student[name] for name in heads}
    student.load_state_dict(own | taken)
    return Begun(bool(heads) and not reason, notes)


def teach(teacher: Teacher, start: Start, begun: Begun) -> None:
    """Give a teacher, now its student's copy, the weights of its own that there are.

    Args:
        teacher: Of the student that has begun.
        start: What it began with.
        begun: What became of that.
    """
    if not start.teacher:
        return
    own = teacher.state_dict()
    taken = _fitted(own, start.teacher, "network.", start, teacher.network.spec.labels)
    if begun.heads:
        taken |= {n: v for n, v in start.teacher.items() if n.startswith(("projector.", "centre."))}
    teacher.load_state_dict(own | taken)


def _fitted(
    own: State, found: State, prefix: str, start: Start, labels: tuple[str, ...]
) -> dict[str, Tensor]:
    """The tensors of a network under a prefix, none missing, rows of classes by their names."""
    fitted: dict[str, Tensor] = {}
    for name, value in own.items():
        if not name.startswith(prefix):
            continue
        by_class = name.startswith(_CLASS_ROWS) and start.labels is not None
        wanted = (len(start.labels or ()), *value.shape[1:]) if by_class else tuple(value.shape)
        if name not in found or tuple(found[name].shape) != wanted:
            has = tuple(found[name].shape) if name in found else "none"
            raise BundleError(
                f"{name.removeprefix('network.')} is {tuple(value.shape)} in the recipe's network, "
                f"there it is {has}",
                where=start.folder,
                hint="Take the network it was made with, or begin with its encoder alone",
            )
        fitted[name] = found[name]
        if by_class and start.labels is not None and start.labels != labels:
            fitted[name] = value.clone()
            for row, label in enumerate(labels):
                if label in start.labels:
                    fitted[name][row] = found[name][start.labels.index(label)]
    return fitted


def _why_not(heads: State, start: Start, tap: str) -> str:
    """Why heads cannot begin with those found; nothing if they can."""
    found = [name for name in start.student if name.startswith("heads.")]
    if not found:
        return "there are none"
    if start.tap != tap:
        return f"those of {start.folder} are for the tap {start.tap}, not {tap}"
    for name, value in heads.items():
        if name not in start.student or start.student[name].shape != value.shape:
            has = tuple(start.student[name].shape) if name in start.student else "none"
            return f"{name} is {tuple(value.shape)} in the recipe, {has} in {start.folder}"
    return ""


def _compare_settings(ours: NetworkSettings, start: Start) -> list[str]:
    """Weights are worth nothing on another log-mel; a few settings are known to be forgiving."""
    if start.is_encoder and ours.encoder is None:
        raise BundleError(
            "is an encoder, and the network has none",
            where=start.folder,
            hint="Take a recipe with network.encoder, such as atst-sed-v2-stage1",
        )
    notes = []
    free = frozenset() if ours.encoder is None else ours.encoder.weights_ignore
    for name, wanted, has in differing(ours, start.settings):
        if name in _FREE or (start.is_encoder and name.split(".")[0] != "encoder"):
            continue
        if start.is_encoder and name.removeprefix("encoder.") in free:
            continue
        if name not in _REPORTED:
            raise BundleError(
                f"its network has {name} {_short(has)}, the recipe's {_short(wanted)}",
                where=start.folder,
                hint=f"Set network.{name} as the weights were made with",
            )
        notes.append(f"{start.folder} was made with {name} {has}; the recipe has {wanted}")
    return notes


def _short(value: object) -> str:
    if isinstance(value, EncoderSettings):
        return value.kind
    return "…" if isinstance(value, Mapping) else str(value)


def _compare_classes(ours: tuple[str, ...], start: Start, how: str) -> list[str]:
    """Compare classes by name, in any order; different ones are refused unless asked for."""
    if start.labels is None or set(start.labels) == set(ours):
        return []
    new = [label for label in ours if label not in start.labels]
    gone = [label for label in start.labels if label not in ours]
    differing_classes = "; ".join(
        f"{what} {', '.join(names)}" for what, names in (("without", new), ("with", gone)) if names
    )
    if how == "same":
        raise BundleError(
            f"has other classes than the data: {differing_classes}",
            where=start.folder,
            hint="To keep all but the rows of classes it does not know: train.init_classes=known",
        )
    kept = ", ".join(label for label in ours if label in start.labels) or "none"
    new_ones = ", ".join(new) or "none"
    return [
        f"{start.folder} has other classes ({differing_classes}); begun at random: {new_ones}; "
        f"classes kept: {kept}; all other weights are kept"
    ]
