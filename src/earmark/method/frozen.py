"""A frozen encoder that student and teacher share: it runs once per distinct input."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from earmark.core.config import MethodSettings
from earmark.method.mixup import Mix
from earmark.method.networks import View
from earmark.model.sed import SedNetwork

TURN = 4
"""Clips that a frozen encoder takes at a time (our choice: a thousand tokens of 10-s clips keep a
CPU busy, and few activations live at a time)."""


def needs_teacher(settings: MethodSettings) -> bool:
    """Whether any loss needs the teacher."""
    return bool(settings.mean_teacher or settings.pseudo_label or settings.embedding.weight)


def encodes_clean_clips(mix: Mix, settings: MethodSettings) -> bool:
    """Whether some network's encoder hears the clips as they are, neither mixed nor warped."""
    if settings.warp_probability:
        return False
    taught_clean = needs_teacher(settings) and settings.teacher_sees == "clean"
    return taught_clean or not settings.mixup.encoder or not bool(mix.mixed.any())


@torch.no_grad()
def clean_tokens(network: SedNetwork, waveforms: Tensor, valid: Tensor) -> Tensor:
    """Tokens [B, N, D] of waveforms [B, S] with valid frames [B, T], a turn at a time.

    Turns are always of the same size, the last one filled with silence. So a clip's tokens are the
    same to the last bit whichever clips are encoded with it, today or from the disk.
    """
    frontend = network.encoder_frontend
    if frontend is None:
        raise ValueError("a network without an encoder has no tokens")
    count, missing = len(waveforms), -len(waveforms) % TURN
    shorter = max(0, network.spec.window - waveforms.shape[1])
    waveforms = functional.pad(waveforms, (0, shorter, 0, missing))
    valid = functional.pad(valid, (0, 0, 0, missing))
    turns = zip(torch.split(waveforms, TURN), torch.split(valid, TURN), strict=True)
    return torch.cat([network.encode(frontend(some), sound) for some, sound in turns])[:count]


@torch.no_grad()
def encode_in_turns(network: SedNetwork, mel: Tensor, heard: Tensor) -> Tensor:
    """Tokens [B, N, D] of scaled mels [B, F, L] with heard frames [B, T], a turn at a time."""
    turns = zip(torch.split(mel, TURN), torch.split(heard, TURN), strict=True)
    return torch.cat([network.encode(some, sound) for some, sound in turns])


def encode_once(
    network: SedNetwork, teacher: View, student: View, changed: Tensor, tokens: Tensor | None
) -> tuple[View, View]:
    """Both views with tokens.

    Args:
        network: Whose encoder it is.
        teacher: Its view, not warped.
        student: Its view, not warped; the very same object where the teacher sees mixtures.
        changed: [B] True for clips that the encoder hears otherwise in the student's view.
        tokens: [B, N, D] of the clean clips; None where no encoder hears all of them.
    """
    mel = student.mels.encoder
    if tokens is None:
        mixed = encode_in_turns(network, cast(Tensor, mel), student.heard)
    elif bool(changed.any()):
        mixed = tokens.clone()
        mixed[changed] = encode_in_turns(
            network, cast(Tensor, mel)[changed], student.heard[changed]
        )
    else:
        mixed = tokens
    both = teacher is student or tokens is None
    return teacher._replace(tokens=mixed if both else tokens), student._replace(tokens=mixed)
