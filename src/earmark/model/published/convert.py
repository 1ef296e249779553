"""Published checkpoints become bundles and encoders, and ours become checkpoints for others' code.

A detector (ATST-SED, CPJKU's) becomes a bundle with the settings it was trained with, an encoder
alone (ATST-Frame) a folder that stage 1 starts from. A conversion is a renaming and nothing else,
but where a note says so; back and forth it is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from yaml import YAMLError

from earmark._version import __version__
from earmark.core.config import AtstSettings, EncoderSettings, NetworkSettings, dump_yaml
from earmark.core.errors import BundleError
from earmark.core.locking import is_empty, writes_to
from earmark.core.tables.rows import check_label
from earmark.core.timeline import samples_to_seconds
from earmark.data.desed import CLASSES as DESED
from earmark.features.frontend import LogMel
from earmark.model.bundle import load_bundle, save_bundle
from earmark.model.bundle_files import is_bundle
from earmark.model.encoders.atst import ENCODER_SIZES, AtstFrame
from earmark.model.encoders.encoder_file import Encoder, load_encoder, save_encoder
from earmark.model.folder import is_encoder
from earmark.model.published.encoders import FoundEncoder, find_encoder, without_top
from earmark.model.published.file import (
    KNOWN_LAYOUTS,
    CheckpointFile,
    file_fingerprint,
    read_checkpoint,
)
from earmark.model.published.networks import ATST_SED, FoundNetworks, find_networks
from earmark.model.published.write import ssl_checkpoint, v1_checkpoint, write_checkpoint
from earmark.model.published.yamnet import CARD as YAMNET_CARD
from earmark.model.published.yamnet import (
    FoundYamnet,
    find_yamnet,
    holds_yamnet,
    yamnet_encoder,
)
from earmark.model.sed import SedNetwork

MAESTRO = (
    "cutlery and dishes",
    "furniture dragging",
    "people talking",
    "children voices",
    "coffee machine",
    "footsteps",
    "large_vehicle",
    "car",
    "brakes_squeaking",
    "cash register beeping",
    "announcement",
    "shopping cart",
    "metro leaving",
    "metro approaching",
    "door opens/closes",
    "wind_blowing",
    "birds_singing",
)
_DESED_FRAMES = (6, 20, 7, 4, 7, 6, 6, 6, 6, 6)
_DCASE_2024_FRAMES = (
    *(3, 9, 9, 5, 5, 5, 9, 7, 11, 9),
    *(7, 3, 9, 13, 7, 1, 13, 3, 13, 7, 5, 5, 1, 13, 17, 13, 15),
)
PUBLISHED_MEDIANS = {DESED: _DESED_FRAMES, (*DESED, *MAESTRO): _DCASE_2024_FRAMES}
"""Classes in index order → median filters in frames, from the configurations of ATST-SED's second
stage and of CPJKU's."""

DEFAULT_MEDIAN = 7  # frames: ATST-SED's first stage


@dataclass(frozen=True)
class Conversion:
    """What was found in a file and what became of it.

    Attributes:
        layout: What it is.
        where: Where in the file what was taken stood.
        tensors: How many were taken, of one network.
        parameters: Numbers in them, buffers left out.
        about: Epoch, size, classes and the like, in words.
        ignored: What was not taken: prefix → number of tensors.
        notes: What one should know.
        out: Folder or file that was written.
        becomes: ``bundle``, ``encoder`` or ``checkpoint``.
    """

    layout: str
    where: str
    tensors: int
    parameters: int
    out: Path
    becomes: str
    about: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


Clamp = tuple[float, float] | None


@writes_to("out")
def import_checkpoint(
    checkpoint: str | Path,
    out: str | Path,
    *,
    which: str | None = None,
    db_clamp: Clamp | str = "layout",
    labels: Sequence[str] | None = None,
    drop_blocks: int = 0,
    command: str = "",
) -> Conversion:
    """Convert a published checkpoint into a bundle or an encoder.

    Args:
        checkpoint: A ``torch.save`` file, a safetensors file, or one of YAMNet's.
        out: Folder to write. A detector's teacher becomes the bundle ``out``, its student that in
            ``out/student``.
        which: ``student`` or ``teacher``: that network alone; None prefers the teacher.
        db_clamp: Clamp of the encoder's log-mel in decibels, None for none, or ``layout`` for what
            the layout was trained with.
        labels: Class names in index order, where the file does not tell them.
        drop_blocks: So many of an encoder's highest blocks are left out.
        command: Noted on the card.

    Raises:
        BundleError: The file is unsafe, damaged, unknown, not whole, or not to be expressed; or
            ``out`` is not empty.
        LabelError: A class has a name that no file can hold.
    """
    path = Path(checkpoint)
    if holds_yamnet(path):
        if which or labels is not None or drop_blocks or db_clamp != "layout":
            raise BundleError(
                "holds a YAMNet, whose classes, levels and blocks are its own",
                where=path,
                hint="Leave out --which, --labels, --db-clamp and --drop-blocks",
            )
        if not is_empty(out):
            raise BundleError("is not empty", where=out, hint="Choose a new folder")
        return _import_yamnet(find_yamnet(path), Path(out), command)
    if path.is_dir():
        kind = "an encoder's folder" if is_encoder(path) else "a folder"
        raise BundleError(
            f"is {kind}, not a checkpoint",
            where=path,
            hint="Give the file; a bundle of ours is converted back with --to official",
        )
    if not is_empty(out):
        raise BundleError("is not empty", where=out, hint="Choose a new folder")
    file = read_checkpoint(path)
    found = _recognised(file, which)
    if isinstance(found, FoundNetworks):
        if drop_blocks:
            raise BundleError(
                "is a detector, which needs all blocks of its encoder",
                where=path,
                hint="Leave out --drop-blocks, or give an encoder's checkpoint",
            )
        return _import_networks(file, found, Path(out), db_clamp, labels, command)
    if labels is not None:
        raise BundleError("has no classes to name", where=path, hint="Leave out --labels")
    if drop_blocks:
        found = without_top(found, drop_blocks, path)
    return _import_encoder(file, found, Path(out), db_clamp, command)


def _recognised(file: CheckpointFile, which: str | None) -> FoundNetworks | FoundEncoder:
    """What the file holds; tensors of absurd shapes and settings of absurd values are its fault."""
    try:
        return find_networks(file, which) or find_encoder(file, which)
    except (IndexError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise BundleError(
            f"has tensors or settings that make no sense ({reason})",
            where=file.path,
            hint=KNOWN_LAYOUTS,
        ) from None


def _import_networks(
    file: CheckpointFile,
    found: FoundNetworks,
    out: Path,
    db_clamp: Clamp | str,
    labels: Sequence[str] | None,
    command: str,
) -> Conversion:
    settings, (main, *others) = found.settings, found.weights
    if db_clamp != "layout" and isinstance(settings.encoder, AtstSettings):
        settings = settings.model_copy(update={"encoder": _clamped(settings.encoder, db_clamp)})
    names = _labels(file, found, labels)
    postprocess = _stored_postprocess(file)
    if postprocess is None:
        postprocess = {"median_seconds": _medians(file, names, settings), "threshold": 0.5}
    about = _about(file) | {"encoder": _size_of(settings.encoder), "classes": ", ".join(names)}
    for role, tensors in found.weights.items():
        network = network_of(settings, names, tensors)
        where = found.where[role] or "state_dict"
        card = _card(f"{found.title}, {role}", file, where, about, found.notes, command)
        save_bundle(out if role == main else out / role, network, postprocess, card)
    if others:
        about["student"] = str(out / others[0])
    return Conversion(
        found.title,
        " and ".join(place or "state_dict" for place in found.where.values()),
        len(found.weights[main]),
        sum(parameter.numel() for parameter in network.parameters()),
        out,
        "bundle",
        about,
        file.ignored | found.ignored,
        found.notes,
    )


def network_of(
    settings: NetworkSettings, labels: Sequence[str], tensors: Mapping[str, Tensor]
) -> SedNetwork:
    """A network that has these tensors, without making any of its own."""
    with torch.device("meta"):
        network = SedNetwork(settings, tuple(labels))
    network.load_state_dict(dict(tensors), strict=True, assign=True)
    # The front-ends' windows and filters are no part of a state dict: make them for real.
    network.frontend = LogMel(settings.frontend)
    if isinstance(network.encoder, AtstFrame):
        network.encoder.mel = LogMel(network.encoder.settings.frontend)
    return network.eval()


def _labels(
    file: CheckpointFile, found: FoundNetworks, given: Sequence[str] | None
) -> tuple[str, ...]:
    """Class names: those given, those the file tells, or those of the published networks."""
    told = [file.settings.get(key) for key in ("labels", "classes", "class_labels")]
    named = [t for t in told if isinstance(t, list | tuple) and len(t) == found.classes]
    if given is not None:
        names = tuple(given)
    elif named:
        names = tuple(str(label) for label in named[0])
    else:
        known = {len(known): known for known in PUBLISHED_MEDIANS}
        names = known.get(found.classes, ())
    different = set(names)
    if len(names) != found.classes or len(different) != len(names):
        what = "does not name them" if not names else f"{len(different)} different names were given"
        raise BundleError(
            f"has {found.classes} classes; {what}",
            where=file.path,
            hint="Give --labels FILE with one class a line, in index order",
        )
    return tuple(check_label(name, file.path) for name in names)


def _stored_postprocess(file: CheckpointFile) -> dict[str, Any] | None:
    """The post-processing that our own export noted; None without."""
    ours = file.settings.get("earmark")
    stored = ours.get("postprocess") if isinstance(ours, Mapping) else None
    if not isinstance(stored, Mapping):
        return None
    try:
        dump_yaml(stored)
    except YAMLError:
        raise BundleError(
            "hyper_parameters.earmark.postprocess holds more than plain values", where=file.path
        ) from None
    return dict(stored)


def _medians(
    file: CheckpointFile, labels: Sequence[str], settings: NetworkSettings
) -> dict[str, float]:
    """Median lengths in seconds: the file's own, or those published for its classes."""
    training = file.settings.get("training")
    frames = training.get("median_window") if isinstance(training, Mapping) else None
    frames = file.settings.get("median_window") if frames is None else frames
    if isinstance(frames, int):
        frames = [frames] * len(labels)
    if not isinstance(frames, list | tuple) or not all(isinstance(f, int) for f in frames):
        frames = ()
    if len(frames) != len(labels):
        frames = PUBLISHED_MEDIANS.get(tuple(labels), (DEFAULT_MEDIAN,) * len(labels))
    frame = samples_to_seconds(settings.frame_hop)
    return {label: round(length * frame, 6) for label, length in zip(labels, frames, strict=True)}


def _import_encoder(
    file: CheckpointFile, found: FoundEncoder, out: Path, db_clamp: Clamp | str, command: str
) -> Conversion:
    settings = found.settings
    if db_clamp != "layout":
        settings = _clamped(settings, db_clamp)
    where = f"{found.where}*" if found.where else "state_dict"
    source = {
        "layout": found.title,
        "file": file.path.name,
        "fingerprint": file.fingerprint,
        "taken_from": where,
        **file.about,
    }
    encoder = Encoder(settings, found.weights, found.projector, found.predictor, source)
    heads = [name for name in ("projector", "predictor") if getattr(found, name) is not None]
    clamp = settings.frontend.db_clamp
    about = _about(file) | {
        "encoder": _size_of(settings),
        "heads": " and ".join(heads) or "none",
        "db_clamp": "none" if clamp is None else f"{clamp[0]:g} to {clamp[1]:g} dB",
    }
    save_encoder(out, encoder, _card(found.title, file, where, about, found.notes, command))
    return Conversion(
        found.title,
        where,
        len(found.weights),
        encoder.parameters,
        out,
        "encoder",
        about,
        file.ignored | found.ignored,
        found.notes,
    )


def _import_yamnet(found: FoundYamnet, out: Path, command: str) -> Conversion:
    about = {"file": found.path.name, "fingerprint": file_fingerprint(found.path)}
    encoder = yamnet_encoder(found.weights, about)
    card = f"{YAMNET_CARD}\nOf `{found.path.name}`, fingerprint `{about['fingerprint']}`.\n"
    save_encoder(out, encoder, card + (f"\n    {command}\n" if command else ""))
    return Conversion(
        found.title, found.where or "its variables", len(found.weights), encoder.parameters, out,
        "encoder", {"taken from": about["file"]}, found.ignored,
    )  # fmt: skip


def export_checkpoint(source: str | Path, out: str | Path) -> Conversion:
    """Write a bundle as an ATST-SED v1 checkpoint, an encoder's folder as an ATST-Frame one.

    Args:
        source: A bundle (its network is the teacher; the one in its folder ``student``, where
            there is such a bundle, the student) or an encoder's folder.
        out: File to write.

    Raises:
        BundleError: The source is neither or has no form in that layout, or ``out`` is there.
    """
    out = Path(out)
    if out.exists():
        raise BundleError("is there already", where=out, hint="Name another file, as model.ckpt")
    return _export_encoder(source, out) if is_encoder(source) else _export_bundle(source, out)


def _export_encoder(source: str | Path, out: Path) -> Conversion:
    encoder = load_encoder(source)
    size = _size_of(encoder.settings)
    write_checkpoint(ssl_checkpoint(encoder, size), out)
    notes = ["student and teacher are the same encoder"]
    if encoder.projector is None or encoder.predictor is None:
        notes.append("heads are missing; code that restores a whole pretraining run needs them")
    return Conversion(
        "ATST-Frame, self-supervised",
        "model.teacher.*, model.student.*",
        len(encoder.weights),
        encoder.parameters,
        out,
        "checkpoint",
        {"encoder": size},
        notes=tuple(notes),
    )


def _export_bundle(source: str | Path, out: Path) -> Conversion:
    bundle = load_bundle(source)
    network = bundle.trained
    pair = {"teacher": network, "student": network}
    if is_bundle(bundle.path / "student"):
        pair["student"] = load_bundle(bundle.path / "student").trained
    checkpoint, differing = v1_checkpoint(pair, bundle.postprocess, bundle.path)
    write_checkpoint(checkpoint, out)
    notes = [f"v1's code scores otherwise: {fault}" for fault in differing]
    if is_bundle(bundle.path / "teacher"):
        notes.append("the teacher is the run's best epoch (the bundle), the student its last")
    if pair["student"] is network:
        notes.append("student and teacher are the same network")
    if bundle.postprocess.get("method", "median") != "median":
        notes.append("v1's code has median filters only, no boxes")
    return Conversion(
        ATST_SED,
        "sed_teacher, sed_student, state_dict",
        len(checkpoint["sed_teacher"]),
        sum(parameter.numel() for parameter in network.parameters()),
        out,
        "checkpoint",
        {
            "encoder": _size_of(network.settings.encoder),
            "classes": ", ".join(bundle.spec.labels),
        },
        notes=tuple(notes),
    )


def _clamped(settings: AtstSettings, db_clamp: Clamp | str) -> AtstSettings:
    frontend = settings.frontend.model_copy(update={"db_clamp": db_clamp})
    return settings.model_copy(update={"frontend": frontend})


def _about(file: CheckpointFile) -> dict[str, str]:
    """Epoch and the like, and how many settings the file tells."""
    about = {name: str(value) for name, value in file.about.items()}
    if file.settings:
        about["hyper_parameters"] = ", ".join(list(file.settings)[:12])
    return about


def _size_of(settings: EncoderSettings | None) -> str:
    if not isinstance(settings, AtstSettings):
        return "none" if settings is None else settings.kind
    for name, size in ENCODER_SIZES.items():
        if (size.width, size.depth, size.heads) == (settings.width, settings.depth, settings.heads):
            return name
    return f"{settings.depth} blocks of width {settings.width}"


def _card(
    title: str,
    file: CheckpointFile,
    where: str,
    about: Mapping[str, str],
    notes: Sequence[str],
    command: str,
) -> str:
    lines = [
        f"# {title}",
        f"Converted by earmark {__version__} from `{file.path.name}` (`{where}`; the file's "
        f"fingerprint is `{file.fingerprint}`). It was not trained here.",
        "\n".join(f"- {name}: {value}" for name, value in about.items()),
    ]
    if notes:
        lines += ["## Notes", "\n".join(f"- {note}" for note in notes)]
    if command:
        lines += ["## How", f"    {command}"]
    lines += ["## Licence", "The weights keep the licence of where they were published."]
    return "\n\n".join(line for line in lines if line) + "\n"
