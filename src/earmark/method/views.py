"""What teacher and student are given of a batch: clean clips and mixtures, scaled, warped."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from earmark.core.errors import ConfigError
from earmark.core.timeline import SAMPLE_RATE
from earmark.data.dataset import Batch
from earmark.features.augment import filter_augment, frequency_warp, time_mask
from earmark.method.losses import frame_energy
from earmark.method.mixup import Mix, mix_inputs, mixture_valid, partner_gain
from earmark.method.networks import Teacher, View
from earmark.method.settings import MethodSettings, MixupSettings
from earmark.model.encoders.contract import MelEncoder
from earmark.model.sed import Mels, SedNetwork


class EncoderTokens(Protocol):
    """A frozen encoder that both networks have, run once per distinct input."""

    def clean(self, batch: Batch) -> Tensor:
        """Tokens [B, N, D] of the clips as they are."""

    def mixed(self, view: View, changed: Tensor, clean: Tensor | None) -> Tensor:
        """Those of a view, made anew where it is ``changed`` [B], or where none are known."""


class TapEnergy(NamedTuple):
    """What the clips bring into their mixtures, at the tap.

    Attributes:
        frames: [B, N] energy of each clean frame, or token, in the mixing domain.
        gain: [B] g of each clip's partner.
        power: By which λ and g enter the energies: 2 for waveforms, 1 for mels.
    """

    frames: Tensor
    gain: Tensor
    power: int


class Views(NamedTuple):
    """The views of a step.

    Attributes:
        clean: The teacher's.
        mixed: The student's.
        mix: How the latter was made.
        own: [B, N] frames, or tokens, of the tap in which the clips alone have sound.
        energy: What they bring into the mixtures; None where no loss asks for it.
    """

    clean: View
    mixed: View
    mix: Mix
    own: Tensor
    energy: TapEnergy | None


@torch.no_grad()
def make_views(
    teacher: Teacher,
    batch: Batch,
    mix: Mix,
    settings: MethodSettings,
    generator: torch.Generator,
    encoder: EncoderTokens | None = None,
) -> Views:
    """Front-ends, mixing, scaling and warp.

    The generator, on the CPU, is the source of the warps. ``encoder`` is there where both networks
    have the same; it has nothing in common to encode where each is given another warp.
    """
    network, tokens = teacher.network, None
    if settings.warp_probability:
        encoder = None
    mixes_tokens = settings.mixup.domain == "tokens"
    if mixes_tokens and encoder is None:
        raise ConfigError(
            "mixup.domain=tokens mixes the tokens of a frozen encoder, the same in student and "
            "teacher, without a warp",
            hint="Add encoder. to train.frozen, or set method.mixup.domain=waveform",
        )
    if encoder is not None and (
        mixes_tokens or settings.needs_teacher or not bool(mix.mixed.any())
    ):
        tokens = encoder.clean(batch)
    linear, mixture = linear_mels(network, batch.waveforms, mix, settings.mixup, tokens is None)
    own = teacher.valid_at_tap(batch.valid)
    energy = tap_energy(network, batch.waveforms, linear, own.shape[1], mix, settings)
    mixture = filtered(network, mixture, settings, generator)
    clean, mixed = scaled_views(network, batch, mix, linear, mixture, tokens)
    mixed = masked(network, mixed, settings, generator)
    if settings.warp_probability:
        clean = warp_view(clean, generator, settings.warp_probability, settings.warp_range)
        mixed = warp_view(mixed, generator, settings.warp_probability, settings.warp_range)
    elif encoder is not None and tokens is not None and mixes_tokens:
        mixed = mixed._replace(tokens=mix_inputs(tokens, mix))
    elif encoder is not None:
        mixed = mixed._replace(tokens=encoder.mixed(mixed, mix.mixed, tokens))
    return Views(clean, mixed, mix, own, energy)


def linear_mels(
    network: SedNetwork,
    waveforms: Tensor,
    mix: Mix,
    settings: MixupSettings,
    with_encoder: bool,
) -> tuple[Mels, Mels]:
    """Linear mels of the clean clips and of the mixtures; the same where nothing is mixed.

    Mixing happens once before all front-ends (``waveform``), before the CNN's alone (``tokens``),
    or in the linear mel of each with the same λ (``mel``). ``with_encoder=False`` leaves out the
    clean clips' mel of the encoder unless mixing needs it.
    """
    mixes, level = bool(mix.mixed.any()), settings.level
    clean = network.linear(waveforms, with_encoder or (mixes and settings.domain == "mel"))
    if not mixes:
        return clean, clean
    if settings.domain != "mel":
        mixed = mix_inputs(waveforms, mix, level)
        return clean, network.linear(mixed, with_encoder=settings.domain != "tokens")
    encoder = None if clean.encoder is None else mix_inputs(clean.encoder, mix, level)
    return clean, Mels(mix_inputs(clean.cnn, mix, level), encoder)


def filtered(
    network: SedNetwork, mixture: Mels, settings: MethodSettings, generator: torch.Generator
) -> Mels:
    """The mixtures' linear mels with the CNN's under random filters."""
    options, power = settings.filter_augment, network.settings.frontend.power
    if not options.probability:
        return mixture
    own = options.model_dump(exclude={"probability"})
    cnn = filter_augment(mixture.cnn, generator, options.probability, power=power, **own)
    return mixture._replace(cnn=cnn)


def masked(
    network: SedNetwork, mixed: View, settings: MethodSettings, generator: torch.Generator
) -> View:
    """The mixtures with a stretch of the CNN's mel silent."""
    options, hop = settings.time_mask, network.settings.frontend.hop
    if not options.probability:
        return mixed
    low, high = (round(seconds * SAMPLE_RATE / hop) for seconds in options.seconds)
    cnn = time_mask(mixed.mels.cnn, generator, options.probability, (low, high))
    return mixed._replace(mels=mixed.mels._replace(cnn=cnn))


def scaled_views(
    network: SedNetwork, batch: Batch, mix: Mix, clean: Mels, mixture: Mels, tokens: Tensor | None
) -> tuple[View, View]:
    """Views of linear mels; ``tokens`` [B, N, D] are the clean clips', where they are known."""
    scaled = network.scale(clean)
    mixed = scaled if mixture is clean else network.scale(mixture)
    return View(scaled, batch.valid, tokens), View(mixed, mixture_valid(batch.valid, mix))


def warp_view(
    view: View,
    generator: torch.Generator,
    probability: float,
    keep: tuple[float, float],
    groups: Tensor | None = None,
) -> View:
    """`frequency_warp` of the encoder's mel, or of the CNN's where it is the only one."""
    mels = view.mels
    if mels.encoder is None:
        warped = frequency_warp(mels.cnn, generator, probability, keep, groups)
        return view._replace(mels=mels._replace(cnn=warped))
    warped = frequency_warp(mels.encoder, generator, probability, keep, groups)
    return view._replace(mels=mels._replace(encoder=warped))


def tap_energy(
    network: SedNetwork,
    waveforms: Tensor,
    mels: Mels,
    count: int,
    mix: Mix,
    settings: MethodSettings,
) -> TapEnergy | None:
    """Energy of the clean clips in the mixing domain at the tap, of ``count`` frames or tokens.

    None where no loss asks for it, and where the encoder's mel was not made, for nothing is then
    mixed at its tap.
    """
    options = settings.embedding
    if not options.weight or options.weights not in ("energy", "hard"):
        return None
    encoder = network.encoder if options.tap == "encoder" else None
    mixed, power, hop = mels.cnn, 1, network.spec.frame_hop // network.settings.frontend.hop
    if settings.mixup.domain != "mel":
        mixed, power = waveforms, 2
        hop = network.spec.frame_hop if encoder is None else int(network.token_grid[0])
    elif isinstance(encoder, MelEncoder):
        if mels.encoder is None:
            return None
        mixed, hop = mels.encoder, encoder.mel_frames
    gain = partner_gain(mixed, mix, settings.mixup.level)
    return TapEnergy(frame_energy(mixed, hop, count), gain, power)
