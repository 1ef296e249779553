"""YAMNet, whole: a MobileNet that was trained to name the 521 sounds of AudioSet.

Networks and weights are those published by M. Plakal and D. Ellis of Google under the Apache
License 2.0 (``tensorflow/models``, ``research/audioset/yamnet``); the layers are MobileNet v1's
(Howard et al., arXiv 1704.04861). This is a formulation of our own:

    log-mel      l = log(0.001 + M·|STFT x|)            25-ms periodic Hann, every 10 ms, 64 bands
    block 1      ReLU(BN(3×3 convolution, stride 2))
    block 2 … 14 ReLU(BN(1×1 ∘ ReLU(BN(3×3 depthwise))))
    token        blocks' outputs averaged over frequency, those of several depths side by side

Blocks 1, 3, 5, 7 and 13 have stride 2, so the published network says something every 0.32 s. Here
the last two strides are taken in frequency only, and what follows them reads its neighbours 2 and
4 places apart in time instead (à trous: Chen et al., arXiv 1412.7062). The same weights then give a
token every 80 ms, and each token is what the published strides would give there.

**Times.** A mel frame is centred 12.5 ms after its start, and a convolution of three places, be it
of stride 2, is centred on its middle one. Tokens are hence centred on the mel frames 7, 15, 23, …;
with 42.5 ms of zeros before the clip this is 40 ms, 120 ms, 200 ms, …: token k is centred in
[k, k + 1)·80 ms, at every depth.

**Edges.** The published "same" padding sets what is outside a patch of 0.96 s to zero in every
layer. Outside is here what lies before and after the clip, and what follows it in a padded batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from earmark.core.errors import ConfigError
from earmark.core.folders import shipped_folder
from earmark.core.timeline import SAMPLE_RATE
from earmark.features.mel import hertz_to_mel

WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
"""Channels of the blocks 1 to 14."""
STRIDED = (1, 3, 5, 7, 13)
"""Blocks of stride 2."""
PHASES = {**dict.fromkeys(range(8, 14), 2), 14: 4}
"""Places from tap to tap in time of the blocks whose input the published network has thinned."""
PLACES = {1: 4, 2: 4, 3: 2, 4: 2}
"""Places in time of a token's 80 ms after the first blocks; after the others it is one."""
PADDED = (2, 4, *range(6, 15))
"""Blocks that read neighbours outside their input: it must be zero there."""
CLASSES = 521
LICENCE = "Apache-2.0"
NORM_EPS = 1e-4

BANDS = 64
FRAME, HOP, N_FFT = 400, 160, 512
LOWEST, HIGHEST = 125.0, 7500.0
LOG_OFFSET = 1e-3

TOKEN = 8 * HOP
"""Samples from token to token."""
MARGIN = 680
"""Zeros before and after a clip: the middle of mel frame 7 comes to half a token."""
MARGIN_FRAMES = 7
PATCH, PATCH_HOP = 96, 48
"""Mel frames of the published patches."""


def mel_weights() -> Tensor:
    """[257, 64] triangles that are linear in mel, of height 1; the constant's bin is left out."""
    bins = [hertz_to_mel(k * SAMPLE_RATE / N_FFT) for k in range(N_FFT // 2 + 1)]
    place = torch.tensor(bins, dtype=torch.float64)[:, None]
    low, high = hertz_to_mel(LOWEST), hertz_to_mel(HIGHEST)
    edges = torch.linspace(low, high, BANDS + 2, dtype=torch.float64)
    rising = (place - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - place) / (edges[2:] - edges[1:-1])
    weights = torch.minimum(rising, falling).clamp(min=0.0)
    weights[0] = 0.0
    return weights


class YamnetMel(nn.Module):
    """Waveforms [B, S] → mel magnitudes [B, L, 64] of L = 1 + ⌊(S - 400) / 160⌋ frames.

    The magnitude of a spectrum does not depend on where time zero is. Counted from a frame's
    middle, cosines belong to its even half x[m] + x[-m] and sines to its odd one, so the transform
    is two products with constant matrices of half the frame's length, and only of those bins that
    a band reads. That costs no more than an FFT, rounds less, and every runtime can do it.
    """

    window: Tensor
    cosines: Tensor
    sines: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        bins = (
            math.floor(LOWEST * N_FFT / SAMPLE_RATE) + 1,
            math.ceil(HIGHEST * N_FFT / SAMPLE_RATE),
        )
        used = torch.arange(*bins)  # [K] those between the lowest and the highest edge
        time = torch.arange(FRAME // 2)
        window = 0.5 + 0.5 * torch.cos(time.double() * (2.0 * math.pi / FRAME))
        angle = (time[:, None] * used % N_FFT).double() * (2.0 * math.pi / N_FFT)
        cosines, sines = angle.cos(), angle.sin()
        cosines[0] *= 0.5  # the middle is its own mirror image
        for name, constant in (("window", window), ("cosines", cosines), ("sines", sines)):
            self.register_buffer(name, constant.float(), False)  # [200], [200, K], [200, K]
        self.register_buffer("filters", mel_weights()[used].float(), False)  # [K, 64]

    def forward(self, waveforms: Tensor) -> Tensor:
        """[B, S] → [B, L, 64] linear mel magnitudes, in float32 also under autocast."""
        with torch.autocast(waveforms.device.type, enabled=False):
            frames = 1 + (waveforms.shape[1] - FRAME) // HOP
            hops = functional.pad(waveforms.float(), (0, 2 * HOP))[:, : (frames + 2) * HOP]
            hops = hops.reshape(-1, frames + 2, HOP)  # a frame is two hops and a half
            last = hops[:, 2:, : FRAME - 2 * HOP]
            framed = torch.cat([hops[:, :-2], hops[:, 1:-1], last], dim=2)  # [B, L, 400]
            # The window's first sample is zero: there is as much on either side of the middle.
            after, before = framed[:, :, FRAME // 2 :], framed[:, :, 1 : FRAME // 2 + 1].flip(2)
            real = torch.matmul((after + before) * self.window, self.cosines)  # [B, L, K]
            imaginary = torch.matmul((after - before) * self.window, self.sines)
            return torch.matmul((real.square() + imaginary.square()).sqrt(), self.filters)


class NormedConv(nn.Module):
    """Convolution, batch norm by the stored statistics, ReLU.

    The norm has no scale of its own and never takes statistics from a batch, so it is a factor and
    a summand for each channel: the kernel is multiplied before the convolution, not its result.

    Attributes:
        weight: [out, in or 1, 3, 3] or [out, in, 1, 1], time before frequency.
        beta: [out] what the norm adds.
        mean: [out] the norm's mean, and
        variance: its variance; buffers.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, inputs: int, outputs: int, size: int, groups: int = 1) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, size, size))
        self.beta = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("variance", torch.ones(outputs))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(
        self,
        x: Tensor,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        mask: Tensor | None = None,
    ) -> Tensor:
        """[B, in, T, F] → [B, out, T', F'], bands from high to low; zero where the mask is."""
        scale = (self.variance + NORM_EPS).rsqrt()
        weight = self.weight * scale[:, None, None, None]
        bias = self.beta - self.mean * scale
        # In place, for neither products nor mask need their results for the gradient.
        if weight.shape[3] > 1 or torch.compiler.is_exporting():
            x = functional.conv2d(x, weight.flip(3), bias, stride, padding, groups=self.groups)
            return functional.relu_(x if mask is None else x.mul_(mask))
        # As a product of matrices it is the same, with a faster gradient.
        batch, channels, places, bands = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(-1, channels)  # [B·T·F, in]
        rows = torch.addmm(bias, rows, weight.flatten(1).t())
        if mask is not None:
            rows.mul_(mask.expand(-1, -1, -1, bands).reshape(-1, 1))
        return functional.relu_(rows).view(batch, places, bands, -1).permute(0, 3, 1, 2)


class YamnetBlock(nn.Module):
    """A depthwise 3×3 convolution, then a pointwise one; the first block has one of 3×3 alone.

    Bands run from high to low here, and kernels are turned round with them: of an even number of
    bands, the one place that TensorFlow's padding adds then comes before all bands, and a
    convolution does so by itself.

    Args:
        number: 1 to 14.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.strided = number in STRIDED
        self.thinned = number in STRIDED and number in (1, 3, 5)  # in the dilated form, too
        outputs = WIDTHS[number - 1]
        self.depthwise: NormedConv | None = None
        if number == 1:
            self.conv = NormedConv(1, outputs, 3)
        else:
            inputs = WIDTHS[number - 2]
            self.depthwise = NormedConv(inputs, inputs, 3, inputs)
            self.conv = NormedConv(inputs, outputs, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, in, T, F] → [B, out, T', F'], zero where the mask [B, 1, T', 1] is.

        A stride in time needs no padding here: there is a place more on either side.
        """
        if self.thinned:
            return self._convolved(x, (2, 2), (0, 1), mask)
        return self._convolved(x, (1, 2) if self.strided else (1, 1), (1, 1), mask)

    def published(self, x: Tensor) -> Tensor:
        """[B, in, T, F] → [B, out, T', F'] as published: strides and padding of a patch."""
        if not self.strided:
            return self._convolved(x, (1, 1), (1, 1))
        return self._convolved(functional.pad(x, (0, 0, 0, 1)), (2, 2), (0, 1))

    def _convolved(
        self,
        x: Tensor,
        stride: tuple[int, int],
        padding: tuple[int, int],
        mask: Tensor | None = None,
    ) -> Tensor:
        if self.depthwise is None:
            return cast(Tensor, self.conv(x, stride, padding, mask))
        return cast(Tensor, self.conv(self.depthwise(x, stride, padding), mask=mask))


def _check_taps(taps: tuple[int, ...], classifier: bool) -> None:
    last = len(WIDTHS)
    if not taps or len(set(taps)) != len(taps) or not set(taps) <= set(range(1, last + 1)):
        raise ConfigError(
            f"YAMNet has no taps {list(taps)}",
            hint=f"Name some of its blocks 1 to {last}, each once",
        )
    if classifier and last not in taps:
        raise ConfigError(f"YAMNet's classifier reads block {last}", hint=f"Add {last} to the taps")


def _image(features: Tensor) -> Tensor:
    """[B, L, 64] → [B, 1, L, 64], bands from high to low, channels last in memory."""
    return features.flip(2).unsqueeze(3).permute(0, 3, 1, 2)


def _spread(x: Tensor) -> Tensor:
    """[B, C, T, F] → [2·B, C, ⌈T / 2⌉, F]: even places first, then odd ones, zero-padded.

    Neighbours then are places two apart, and a convolution needs no dilation, which runtimes are
    slow at. After w/2 such steps place i of clip b + w'·B, w' < w, is token i·w + w'.
    """
    batch, channels, places, bands = x.shape
    x = functional.pad(x.permute(0, 2, 3, 1), (0, 0, 0, 0, 0, places % 2))
    x = x.reshape(batch, -1, 2, bands, channels).permute(2, 0, 1, 3, 4)
    return x.reshape(2 * batch, -1, bands, channels).permute(0, 3, 1, 2)


def _gathered(x: Tensor, phases: int) -> Tensor:
    """Frequency averages in the order of time again: [w·B, T, C] → [B, w·T, C]."""
    places, channels = x.shape[1:]
    x = x.reshape(phases, -1, places, channels).permute(1, 2, 0, 3)
    return x.reshape(-1, places * phases, channels)


def _length(valid: Tensor | None) -> Tensor | None:
    """Valid tokens of each clip [B]; None if none of them is padded."""
    if valid is None or (not torch.compiler.is_exporting() and bool(valid.all())):
        return None
    return valid.sum(dim=1)


def _mask(number: int, length: Tensor, places: int) -> Tensor:
    """1 where an output of block ``number`` is of a clip's own sound, else 0.

    Args:
        number: 1 to 14.
        length: [B] tokens of each clip that are no padding.
        places: T.

    Returns:
        [w·B, 1, T, 1] for as many phases w as the block has.
    """
    each, phases = PLACES.get(number, 1), PHASES.get(number, 1)
    phase = torch.arange(phases, device=length.device)[:, None, None]
    token = torch.arange(places, device=length.device) * phases + phase  # [w, 1, T]
    # There is a place more on either side for each stride in time that is still to come.
    inside = token < (each * length + each - 1)[:, None]  # [w, B, T]
    return inside.reshape(-1, 1, places, 1).float()


def _on_tokens(x: Tensor, tokens: int, number: int) -> Tensor:
    """A block's places in time [B, T, C] → [B, N, C], averaged over each token's 80 ms.

    Half of the places at both ends of these is the neighbour's: the average is centred as the token
    is.
    """
    each = PLACES.get(number, 1)
    if each == 1:
        return x[:, :tokens]
    first = each - 1 - each // 2
    total = 0.5 * (x[:, first::each][:, :tokens] + x[:, first + each :: each][:, :tokens])
    for place in range(first + 1, first + each):
        total = total + x[:, place::each][:, :tokens]
    return total / each


def _reach(tap: int) -> int:
    """Mel frames before and after its centre that a token of this block depends on."""
    frames, step = 0, 1
    for number in range(1, tap + 1):
        frames += step * PHASES.get(number, 1)
        step *= 2 if number in (1, 3, 5) else 1
    return frames + (4 if tap in PLACES else 0)


class Yamnet(nn.Module):
    """Waveforms [B, S] at 16 kHz → tokens [B, ⌈S / 1280⌉, width], one every 80 ms.

    It is a `FrameEncoder`. Its batch norms keep the stored statistics in training, too. Of weights
    that are loaded it leaves out those of blocks, or of the classifier, that it does not have.

    Args:
        taps: Blocks (1 to 14) whose outputs, averaged over frequency, stand side by side in a
            token, in this order; finer ones (1 to 4) are averaged over the token's 80 ms. Blocks
            above the highest are not made.
        patches: Tokens are those of the published patches instead: one for 0.96 s, every 0.48 s,
            the waveform zero-padded to whole patches; the outputs are averaged over a patch.
        classifier: Keep the layer that names the 521 classes, for `class_scores`.

    Raises:
        ConfigError: There are no taps, some are no blocks or twice there, or the classifier misses
            block 14.
    """

    licence = LICENCE
    classes = CLASSES
    max_seconds: float | None = None

    def __init__(
        self,
        taps: Sequence[int] = (6, 12, 14),
        *,
        patches: bool = False,
        classifier: bool = False,
    ) -> None:
        super().__init__()
        self.taps, self.patches = tuple(taps), patches
        _check_taps(self.taps, classifier)
        self.width = sum(WIDTHS[tap - 1] for tap in self.taps)
        frames = PATCH_HOP if patches else TOKEN // HOP
        self.token_hop = Fraction(frames * HOP, SAMPLE_RATE)
        patch = Fraction((PATCH - 1) * HOP + FRAME, SAMPLE_RATE)
        self.first_centre = patch / 2 if patches else self.token_hop / 2
        self.mel = YamnetMel()
        self.blocks = nn.ModuleList(YamnetBlock(n) for n in range(1, max(self.taps) + 1))
        self.classifier = nn.Linear(WIDTHS[-1], CLASSES) if classifier else None
        self.register_load_state_dict_pre_hook(_leave_out_idle)  # type: ignore[no-untyped-call]

    @property
    def reach(self) -> Fraction:
        """Seconds before and after its centre beyond which no sound has a part in a token."""
        if self.patches:
            return self.first_centre
        frames = max(_reach(tap) for tap in self.taps)
        return Fraction(frames * HOP + FRAME // 2, SAMPLE_RATE)

    def linear(self, waveform: Tensor) -> Tensor:
        """Waveforms [B, S] → mel magnitudes [B, L, 64], before the logarithm."""
        samples = waveform.shape[1]
        if self.patches:
            patch, hop = (PATCH - 1) * HOP + FRAME, PATCH_HOP * HOP
            whole = patch + max(0, (samples - patch + hop - 1) // hop) * hop
            margins = (0, whole - samples)
        else:
            whole = (samples + TOKEN - 1) // TOKEN * TOKEN
            margins = (MARGIN, whole - samples + MARGIN)
        return cast(Tensor, self.mel(functional.pad(waveform, margins)))

    def scale(self, mel: Tensor) -> Tensor:
        """Mel magnitudes → log-mel, of the same shape."""
        return torch.log(mel + LOG_OFFSET)

    def features(self, waveform: Tensor) -> Tensor:
        """Waveforms [B, S] at 16 kHz in [-1, 1] → log-mel [B, L, 64]: 8·N + 7 frames."""
        return self.scale(self.linear(waveform))

    def tokens_of(self, features: Tensor) -> int:
        """Tokens of a log-mel [B, L, 64]."""
        if self.patches:
            return 1 + (features.shape[1] - PATCH) // PATCH_HOP
        return (features.shape[1] - MARGIN_FRAMES) // (TOKEN // HOP)

    def forward(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """Log-mel [B, L, 64] and valid tokens [B, N] (True, then False) → tokens [B, N, width]."""
        if self.patches:
            return self._patch_tokens(features)
        tokens = self.tokens_of(features)
        length = _length(valid)
        x = _image(features)
        taken = {}
        for number, block in enumerate(self.blocks, start=1):
            if PHASES.get(number, 1) > PHASES.get(number - 1, 1):
                x = _spread(x)
            x = block(x, self._mask(number, x, tokens, length))  # [w·B, C, T, F]
            if number in self.taps:
                places = _gathered(x.mean(dim=3).transpose(1, 2), PHASES.get(number, 1))
                taken[number] = _on_tokens(places, tokens, number)
        return torch.cat([taken[tap] for tap in self.taps], dim=2)

    def _mask(self, number: int, x: Tensor, tokens: int, length: Tensor | None) -> Tensor | None:
        """What is to be zero of the outputs that block ``number`` makes of x; None if nothing is.

        That is what the next block reads beside a clip's own sound: padding at its end, and the
        places that make all phases of one length.
        """
        if number + 1 not in PADDED or number == len(self.blocks):
            return None
        phases = PHASES.get(number, 1)
        if length is None:
            if phases == 1 or phases * x.shape[2] == tokens:
                return None
            length = torch.full((x.shape[0] // phases,), tokens, device=x.device)
        strided = cast(YamnetBlock, self.blocks[number - 1]).thinned
        return _mask(number, length, (x.shape[2] - 1) // 2 if strided else x.shape[2])

    def _patch_tokens(self, features: Tensor) -> Tensor:
        """Log-mel [B, 96 + 48·(N - 1), 64] → tokens [B, N, width] of the published patches."""
        batch = features.shape[0]
        patches = features.unfold(1, PATCH, PATCH_HOP).transpose(2, 3)  # [B, N, 96, 64]
        x = _image(patches.flatten(0, 1))  # [B·N, 1, 96, 64]
        taken = {}
        for number, block in enumerate(self.blocks, start=1):
            x = cast(YamnetBlock, block).published(x)
            if number in self.taps:
                taken[number] = x.mean(dim=(2, 3))
        tokens = torch.cat([taken[tap] for tap in self.taps], dim=1)
        return tokens.reshape(batch, -1, self.width)

    def class_scores(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N, width] → probabilities [B, N, 521] of AudioSet's classes.

        Raises:
            ConfigError: The encoder was made without its classifier.
        """
        if self.classifier is None:
            raise ConfigError("this YAMNet has no classifier", hint="Make it with classifier=True")
        start = sum(WIDTHS[tap - 1] for tap in self.taps[: self.taps.index(len(WIDTHS))])
        embedding = tokens[..., start : start + WIDTHS[-1]]
        with torch.autocast(tokens.device.type, enabled=False):
            return torch.sigmoid(self.classifier(embedding.float()))

    def layers(self) -> list[list[str]]:
        """Parameter names from the classifier, if there is one, and the highest block downwards."""
        groups = [[f"classifier.{name}" for name in ("weight", "bias")]] if self.classifier else []
        for index in reversed(range(len(self.blocks))):
            own = self.blocks[index].named_parameters()
            groups.append([f"blocks.{index}.{name}" for name, _ in own])
        return groups


def _leave_out_idle(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Take blocks above the highest tap, and a classifier without use, out of what is loaded."""
    yamnet = cast(Yamnet, module)
    for name in list(state):
        own = name.removeprefix(prefix).split(".")
        if not name.startswith(prefix) or own[0] not in ("blocks", "classifier"):
            continue
        if own[0] == "classifier" and yamnet.classifier is not None:
            continue
        if own[0] == "classifier" or int(own[1]) in range(len(yamnet.blocks), len(WIDTHS)):
            del state[name]


def pretrained_weights() -> dict[str, Tensor]:
    """State dict of ``Yamnet(classifier=True)`` as published, in the precision of our file of it.

    That is single, but for the pointwise convolutions and the classifier, which are in half
    precision; the notice beside the file says what that costs.
    """
    tensors = load_file(shipped_folder("bundles") / "yamnet" / "encoder.safetensors")
    return {name.removeprefix("encoder."): value for name, value in tensors.items()}


def pretrained_yamnet(
    taps: Sequence[int] = (6, 12, 14), *, patches: bool = False, classifier: bool = False
) -> Yamnet:
    """`Yamnet` with the published weights, in single precision and evaluation mode."""
    encoder = Yamnet(taps, patches=patches, classifier=classifier)
    weights = pretrained_weights()
    encoder.load_state_dict(weights)
    return encoder.eval()
