"""A frozen encoder used by student and teacher: it runs once per distinct input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from earmark.data.dataset import Batch
from earmark.method.networks import Student, Teacher, View
from earmark.model.sed import SedNetwork

GROUP = 4
"""Clips that a frozen encoder takes at a time (our choice: a thousand tokens of 10-s clips keep a
CPU busy, and few activations live at a time)."""


@dataclass(frozen=True)
class SharedEncoder:
    """Tokens of both networks' views (`earmark.method.views.EncoderTokens`).

    Attributes:
        network: Whose encoder it is.
        read: Where the clean clips' tokens come from; None makes them.
    """

    network: SedNetwork
    read: Callable[[], Tensor] | None = None

    def clean(self, batch: Batch) -> Tensor:
        """Tokens [B, N, D] of the clips as they are."""
        if self.read is not None:
            return self.read()
        return clean_tokens(self.network, batch.waveforms, batch.valid)

    @torch.no_grad()
    def mixed(self, view: View, changed: Tensor, clean: Tensor | None) -> Tensor:
        """Tokens [B, N, D] of a view: the clean clips' where they are known and not ``changed``."""
        mel, valid = cast(Tensor, view.mels.encoder), view.valid_for_encoder
        if clean is None:
            return self._encode(mel, valid)
        if not bool(changed.any()):
            return clean
        tokens = clean.clone()
        tokens[changed] = self._encode(mel[changed], valid[changed]).to(tokens.dtype)
        return tokens

    def _encode(self, mel: Tensor, valid: Tensor) -> Tensor:
        """Tokens of scaled mels [B, F, L] with valid frames [B, T], a group at a time."""
        groups = zip(torch.split(mel, GROUP), torch.split(valid, GROUP), strict=True)
        return torch.cat([self.network.encode(some, sound) for some, sound in groups])


def share_encoder(student: Student, teacher: Teacher) -> SharedEncoder | None:
    """Give the teacher the student's encoder where it is frozen and the same; else None.

    What both would make of an input is then made once.
    """
    mine, theirs = teacher.network.encoder, student.network.encoder
    if mine is None or theirs is None or any(p.requires_grad for p in theirs.parameters()):
        return None
    pairs = zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True)
    if not all(torch.equal(one, other) for one, other in pairs):
        return None
    teacher.network.encoder = theirs
    return SharedEncoder(teacher.network)


@torch.no_grad()
def clean_tokens(network: SedNetwork, waveforms: Tensor, valid: Tensor) -> Tensor:
    """Tokens [B, N, D] of waveforms [B, S] with valid frames [B, T], a group at a time.

    Groups are always of the same size, the last one filled with silence. So a clip's tokens are the
    same to the last bit whichever clips are encoded with it, today or from the disk.
    """
    count, missing = len(waveforms), -len(waveforms) % GROUP
    shorter = max(0, network.spec.window - waveforms.shape[1])
    waveforms = functional.pad(waveforms, (0, shorter, 0, missing))
    valid = functional.pad(valid, (0, 0, 0, missing))
    groups = zip(torch.split(waveforms, GROUP), torch.split(valid, GROUP), strict=True)
    features = network.sure_encoder.features
    return torch.cat([network.encode(features(some), sound) for some, sound in groups])[:count]
