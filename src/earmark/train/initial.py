"""What a run begins with: an encoder, a bundle, or the networks another run ended with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from earmark.core.config import EncoderSettings
from earmark.core.errors import BundleError
from earmark.method.networks import Student, Teacher
from earmark.model.bundle import load_bundle
from earmark.model.encoder_file import Encoder, is_encoder, load_encoder
from earmark.train.checkpoint import STATE

_MUST_AGREE = ("frontend", "width", "depth", "heads", "patch_frames", "max_tokens")
State = Mapping[str, Tensor]


def begin_with(student: Student, folder: str | Path) -> State:
    """Give a student its starting weights (``train.init``).

    Args:
        student: Its network takes all weights that the folder has for it. Heads of the embedding
            loss take theirs where their sizes agree, from a pretrained encoder only with the tap
            ``encoder``; else they stay as they are.
        folder: An encoder's folder (`earmark pretrain`, `earmark import`), a bundle, or a run's
            folder, of which the networks of the last epoch are taken.

    Returns:
        The state for the teacher, to be given to `teach`; empty if it is the student's copy.

    Raises:
        BundleError: The folder is nothing of these, or not for this network.
    """
    folder = Path(folder)
    if is_encoder(folder):
        _take_encoder(student, load_encoder(folder), folder)
        return {}
    if (folder / STATE).is_file():
        state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
        _same_labels(student, folder / "labels.txt")
        _take_network(student, state["student"], folder)
        return dict(state["teacher"])
    bundle = load_bundle(folder)
    _same_labels(student, bundle.path / "labels.txt")
    named = {f"network.{name}": value for name, value in bundle.network.state_dict().items()}
    _take_network(student, named, folder)
    return {}


def teach(teacher: Teacher, state: State) -> None:
    """Give a teacher the state that `begin_with` returned."""
    own = teacher.state_dict()
    fitting = {n: v for n, v in state.items() if n in own and own[n].shape == v.shape}
    teacher.load_state_dict(own | fitting)


def _take_encoder(student: Student, found: Encoder, folder: Path) -> None:
    encoder = student.network.encoder
    if encoder is None:
        raise BundleError(
            "is an encoder, and the network has none",
            where=folder,
            mend="Take a recipe with network.encoder, such as atst-sed-v2-stage1",
        )
    _refuse_other_encoder(encoder.settings, found.settings, folder)
    encoder.load_state_dict(dict(found.weights))
    if student.heads is None or student.tap != "encoder":
        return
    _take_head(student.heads.projector.layers, found.projector)
    _take_head(student.heads.predictor.layers, found.predictor)


def _refuse_other_encoder(ours: EncoderSettings, theirs: EncoderSettings, folder: Path) -> None:
    for name in _MUST_AGREE:
        wanted, has = getattr(ours, name), getattr(theirs, name)
        if wanted == has:
            continue
        if name == "frontend":
            fields = [f for f in type(wanted).model_fields if getattr(wanted, f) != getattr(has, f)]
            name = f"frontend.{fields[0]}"
            wanted, has = getattr(wanted, fields[0]), getattr(has, fields[0])
        raise BundleError(
            f"its encoder has {name} {has}, the recipe's {wanted}",
            where=folder,
            mend=f"Set network.encoder.{name} as the weights were made with",
        )


def _take_head(head: nn.Module, tensors: State | None) -> None:
    own = head.state_dict()
    if tensors is not None and all(own[n].shape == v.shape for n, v in tensors.items()):
        head.load_state_dict(dict(tensors))


def _take_network(student: Student, state: State, folder: Path) -> None:
    """The network's tensors without exception; those of the heads if all of them agree."""
    own = student.state_dict()
    for name, value in own.items():
        if name.startswith("network.") and (name not in state or state[name].shape != value.shape):
            raise BundleError(
                f"holds no {name.removeprefix('network.')} of shape {tuple(value.shape)}",
                where=folder,
                mend="Take the same network as the run to begin with, or train from the start",
            )
    heads = {name: value for name, value in own.items() if not name.startswith("network.")}
    agree = all(name in state and state[name].shape == heads[name].shape for name in heads)
    student.load_state_dict({n: state[n] if agree or n not in heads else own[n] for n in own})


def _same_labels(student: Student, path: Path) -> None:
    """Weights of other classes, or of the same in another order, would be nonsense.

    A run that was stopped before its first bundle has not written them down.
    """
    if not path.is_file():
        return
    found = tuple(line for line in path.read_text(encoding="utf-8").split("\n") if line)
    if found != student.network.spec.labels:
        raise BundleError(
            f"has the classes {', '.join(found)}; the data have "
            f"{', '.join(student.network.spec.labels)}",
            where=path,
            mend="Begin with an encoder instead, or with a run on the same classes",
        )
