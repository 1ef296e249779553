"""The two networks of a run: the student that learns and the teacher that follows it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from earmark.core.config import EmbeddingSettings
from earmark.method.heads import FrameHead, RunningCentre, StudentHeads
from earmark.method.teacher import make_teacher, update_teacher
from earmark.model.sed import Mels, SedNetwork, SedOutput


class View(NamedTuple):
    """What a network is given of a batch.

    Attributes:
        mels: Scaled log-mels.
        valid: [B, T] frames in which there is sound.
        heard: [B, T] frames in which there is sound for the encoder; others than ``valid`` only
            where the encoder's input is not mixed while the CNN's is.
        tokens: [B, N, D] of the encoder where it ran already; else the network runs its own.
    """

    mels: Mels
    valid: Tensor
    heard: Tensor
    tokens: Tensor | None = None


def run_network(network: SedNetwork, view: View) -> SedOutput:
    """A network's output for a view, as many frames as its mask has."""
    tokens = view.tokens
    if tokens is None and view.mels.encoder is not None:
        tokens = network.encode(view.mels.encoder, view.heard)
    return network.from_mel(view.mels, view.valid, view.valid.shape[1], tokens)


def encoder_is_frozen(network: SedNetwork) -> bool:
    """Whether there is an encoder of which nothing learns."""
    encoder = network.encoder
    return encoder is not None and not any(p.requires_grad for p in encoder.parameters())


def tap_valid(network: SedNetwork, tap: str, view: View) -> Tensor:
    """Valid frames, or tokens, [B, N] of a tap's embedding of a view."""
    return network.token_mask(view.heard) if tap == "encoder" else view.valid


class Student(nn.Module):
    """The network that learns, with the heads of the embedding loss while it trains."""

    def __init__(self, network: SedNetwork, settings: EmbeddingSettings) -> None:
        super().__init__()
        self.network = network
        self.tap = settings.tap
        width = network.tap_widths[settings.tap]
        self.heads = StudentHeads(width, settings) if settings.weight > 0 else None

    def forward(self, view: View, detach_tap: bool = False) -> tuple[SedOutput, Tensor | None]:
        """A view → output and u [B, N, d], N frames or tokens of the tap."""
        output = run_network(self.network, view)
        if self.heads is None:
            return output, None
        tap = output.embeddings[self.tap]
        valid = tap_valid(self.network, self.tap, view)
        return output, self.heads(tap.detach() if detach_tap else tap, valid)


class Teacher(nn.Module):
    """Moving average of the student's network and projector; never trained."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.network: SedNetwork = make_teacher(student.network)
        self.tap = student.tap
        self.shares_encoder = False
        self.projector: FrameHead | None = None
        self.centre: RunningCentre | None = None
        if student.heads is not None:
            self.projector = make_teacher(student.heads.projector)
            self.centre = RunningCentre(student.heads.projector.outputs)

    def train(self, mode: bool = True) -> Teacher:
        """A teacher stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, view: View) -> tuple[SedOutput, Tensor | None]:
        """A view → scores q and vectors z [B, N, d]."""
        output = run_network(self.network, view)
        if self.projector is None:
            return output, None
        valid = tap_valid(self.network, self.tap, view)
        return output, self.projector(output.embeddings[self.tap], valid)

    def share_encoder(self, student: Student) -> None:
        """Take the student's encoder for one's own where it is frozen and the same.

        What both would make of an input is then made once.
        """
        mine, theirs = self.network.encoder, student.network.encoder
        if mine is None or theirs is None or not encoder_is_frozen(student.network):
            return
        pairs = zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True)
        if all(torch.equal(one, other) for one, other in pairs):
            self.network.encoder = theirs
            self.shares_encoder = True

    def valid_at_tap(self, valid: Tensor) -> Tensor:
        """Valid frames [B, T] → valid frames, or tokens, [B, N] of the tap."""
        return self.network.token_mask(valid) if self.tap == "encoder" else valid

    def follow(self, student: Student, decay: float) -> None:
        """One step of the moving average."""
        update_teacher(self.network, student.network, decay)
        if self.projector is not None and student.heads is not None:
            update_teacher(self.projector, student.heads.projector, decay)
