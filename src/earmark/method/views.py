"""What student and teacher are given of a batch: mixed, scaled, warped, encoded once if frozen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from earmark.core.config import MethodSettings, MixupSettings
from earmark.data.dataset import Batch
from earmark.features.augment import frequency_warp
from earmark.method.frozen import clean_tokens, encode_once, encodes_clean_clips, needs_teacher
from earmark.method.losses import frame_energy
from earmark.method.mixup import Mix, mix_inputs
from earmark.method.networks import View
from earmark.model.sed import Mels, SedNetwork
from earmark.train.micro_batch import mixture_valid


@dataclass(frozen=True)
class Views:
    """The views of a step.

    Attributes:
        teacher: Clean clips, or the student's mixtures.
        student: Mixtures.
        energy: [B, N] of each clean frame, or token, of the tap in the mixing domain; None where
            no loss asks for it.
    """

    teacher: View
    student: View
    energy: Tensor | None


@torch.no_grad()
def make_views(
    network: SedNetwork,
    batch: Batch,
    mix: Mix,
    settings: MethodSettings,
    generator: torch.Generator,
    share_encoder: bool = False,
    tokens: Tensor | None = None,
) -> Views:
    """Front-ends, mixing, scaling and warp.

    Mixing happens once before all front-ends (``waveform``), or in the linear mel of each with
    the same λ (``mel``).

    Args:
        network: Whose front-ends, and whose encoder if it is shared.
        batch: Clean clips.
        mix: λ and partners.
        settings: Domain of mixing, warp, what the teacher sees.
        generator: Source of the warps, on the CPU.
        share_encoder: Both networks have this one's encoder: run it once per distinct input.
        tokens: [B, N, D] of that encoder for the clean clips, where they are known; only if
            `encodes_clean_clips`.
    """
    mixup = settings.mixup
    if share_encoder and tokens is None and encodes_clean_clips(mix, settings):
        tokens = clean_tokens(network, batch.waveforms, batch.valid)
    clean, mixed = linear_mels(network, batch.waveforms, mix, mixup, tokens is None)
    energy = None
    if settings.embedding.weight and settings.embedding.weights in ("energy", "hard"):
        energy = tap_energy(network, batch.waveforms, clean, settings)
    clean_mels = network.scale(clean)
    mixed_mels = clean_mels if mixed is clean else network.scale(mixed)
    if mixed.encoder is clean.encoder:
        mixed_mels = mixed_mels._replace(encoder=clean_mels.encoder)
    both = mixture_valid(batch.valid, mix)
    student = View(mixed_mels, both, both if mixup.encoder else batch.valid)
    teacher = View(clean_mels, batch.valid, batch.valid)
    if settings.teacher_sees == "mixture" or not needs_teacher(settings):
        teacher = student
    if settings.warp_probability:
        teacher, student = warp_each(teacher, student, batch.kinds, settings, generator)
    elif share_encoder:
        changed = mix.mixed if mixup.encoder else torch.zeros_like(mix.mixed)
        teacher, student = encode_once(network, teacher, student, changed, tokens)
    return Views(teacher, student, energy)


def linear_mels(
    network: SedNetwork,
    waveforms: Tensor,
    mix: Mix,
    settings: MixupSettings,
    with_encoder: bool = True,
) -> tuple[Mels, Mels]:
    """Linear mels of the clean clips and of the mixtures; the same where nothing is mixed.

    ``with_encoder=False`` leaves out the clean clips' mel of the encoder unless mixing needs it.
    """
    mixes = bool(mix.mixed.any())
    in_mel = settings.domain == "mel"
    clean = network.linear(waveforms, with_encoder or (mixes and in_mel and settings.encoder))
    if not mixes:
        return clean, clean
    if not in_mel:
        mixed = network.linear(mix_inputs(waveforms, mix, settings.level), settings.encoder)
    else:
        mixed = Mels(mix_inputs(clean.cnn, mix, settings.level))
        if clean.encoder is not None and settings.encoder:
            mixed = Mels(mixed.cnn, mix_inputs(clean.encoder, mix, settings.level))
    return clean, mixed if settings.encoder else mixed._replace(encoder=clean.encoder)


def tap_energy(
    network: SedNetwork, waveforms: Tensor, mels: Mels, settings: MethodSettings
) -> Tensor | None:
    """Energy of the clean clips in the mixing domain on the time line of the tap: [B, N].

    None where the encoder's mel was not made, for nothing is then mixed at its tap.
    """
    encoder = network.settings.encoder
    at_encoder = settings.embedding.tap == "encoder" and encoder is not None
    hop, count = network.spec.frame_hop, network.spec.grid.frames_in(waveforms.shape[1])
    if at_encoder and encoder is not None:
        hop = encoder.token_hop
        count = network.token_mask(torch.ones(1, 1, dtype=torch.bool)).shape[1]
    if settings.mixup.domain == "waveform":
        return frame_energy(waveforms, hop, count)
    if at_encoder and encoder is not None:
        if mels.encoder is None:
            return None
        return frame_energy(mels.encoder, encoder.patch_frames, count)
    return frame_energy(mels.cnn, hop // network.settings.frontend.hop, count)


def warp_each(
    teacher: View,
    student: View,
    kinds: Tensor,
    settings: MethodSettings,
    generator: torch.Generator,
) -> tuple[View, View]:
    """Warp the frequencies of both views, each with crops of its own."""
    probability, groups = settings.warp_probability, None
    if settings.warp_per == "kind":
        fired = bool(torch.rand((), generator=generator) < probability)
        probability, groups = float(fired), kinds

    def warp(view: View) -> View:
        mel = view.mels.cnn if view.mels.encoder is None else view.mels.encoder
        warped = frequency_warp(mel, generator, probability, settings.warp_range, groups)
        name = "cnn" if view.mels.encoder is None else "encoder"
        return view._replace(mels=view.mels._replace(**{name: warped}))

    return warp(teacher), warp(student)
