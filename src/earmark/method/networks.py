"""The networks of a run: student and teacher, with the heads of the embedding-level loss."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from earmark.core.errors import ConfigError
from earmark.method.settings import EmbeddingSettings, MethodSettings
from earmark.method.teacher import make_teacher, update_teacher
from earmark.model.encoders.contract import MelEncoder
from earmark.model.sed import Mels, SedNetwork, SedOutput


class FrameHead(nn.Module):
    """Linear(no bias) → BN → ReLU → Linear(no bias) over valid frames, as in ATST-Frame.

    Batch statistics pool the valid frames only, so padding never enters.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, outputs, bias=False),
        )
        self.outputs = outputs

    def forward(self, x: Tensor, valid: Tensor, batch_statistics: bool = False) -> Tensor:
        """[B, T, inputs] and valid frames [B, T] → [B, T, outputs], zero where not valid.

        ``batch_statistics`` normalises by them in evaluation mode, too; running ones stay.
        """
        if bool(valid.all()):
            return self._rows(x.flatten(0, 1), batch_statistics).reshape(*x.shape[:2], -1)
        rows = self._rows(x[valid], batch_statistics)
        result = torch.zeros(*x.shape[:2], self.outputs, dtype=rows.dtype, device=rows.device)
        result[valid] = rows
        return result

    def _rows(self, rows: Tensor, batch_statistics: bool) -> Tensor:
        """[n, inputs] → [n, outputs]."""
        if self.training or not batch_statistics or len(rows) < 2:
            return cast(Tensor, self.layers(rows))
        first, norm, relu, last = self.layers
        assert isinstance(norm, nn.BatchNorm1d)
        normed = functional.batch_norm(
            first(rows), None, None, norm.weight, norm.bias, training=True, eps=norm.eps
        )
        return cast(Tensor, last(relu(normed)))


class StudentHeads(nn.Module):
    """u = pred(proj(H)); the projector is what the teacher's average follows."""

    def __init__(self, width: int, settings: EmbeddingSettings) -> None:
        super().__init__()
        self.projector = FrameHead(width, settings.hidden, settings.out)
        self.predictor = FrameHead(settings.out, settings.hidden, settings.out)

    def forward(self, embedding: Tensor, valid: Tensor) -> Tensor:
        """[B, T, width] → u [B, T, out]."""
        return cast(Tensor, self.predictor(self.projector(embedding, valid), valid))


class RunningCentre(nn.Module):
    """Running mean of the teacher's vectors, subtracted from both sides when centring is on."""

    mean: Tensor

    def __init__(self, outputs: int, momentum: float = 0.01) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(outputs))

    @torch.no_grad()
    def update(self, z: Tensor, valid: Tensor) -> None:
        """Follow the mean of z [B, T, d] over valid frames."""
        if bool(valid.any()):
            self.mean.lerp_(z[valid].float().mean(dim=0), self.momentum)

    def forward(self, z: Tensor) -> Tensor:
        """Subtract the mean from z [B, T, d]."""
        return z - self.mean


class View(NamedTuple):
    """What a network is given of a batch.

    Attributes:
        mels: Scaled log-mels.
        valid: [B, T] frames in which there is sound.
        tokens: [B, N, D] of the encoder, where it ran already.
        encoder_valid: [B, T] frames in which there is sound for the encoder; None for ``valid``.
    """

    mels: Mels
    valid: Tensor
    tokens: Tensor | None = None
    encoder_valid: Tensor | None = None

    @property
    def valid_for_encoder(self) -> Tensor:
        """[B, T] frames in which there is sound for the encoder."""
        return self.valid if self.encoder_valid is None else self.encoder_valid


def run_network(network: SedNetwork, view: View) -> SedOutput:
    """A network's output for a view, as many frames as its mask has."""
    tokens = view.tokens
    if tokens is None and view.mels.encoder is not None:
        tokens = network.encode(view.mels.encoder, view.valid_for_encoder)
    return network.from_mel(view.mels, view.valid, view.valid.shape[1], tokens)


def _at_tap(network: SedNetwork, tap: str, view: View, output: SedOutput) -> tuple[Tensor, Tensor]:
    """The embedding [B, N, D] at a tap, and which of its frames, or tokens, [B, N] are valid."""
    valid = network.token_mask(view.valid_for_encoder) if tap == "encoder" else view.valid
    return output.embeddings[tap], valid


def check_views(network: SedNetwork, settings: MethodSettings) -> None:
    """Whether the encoder can be given what the method makes of its input.

    Raises:
        ConfigError: Mels are to be mixed, or warped, and the encoder has none to offer.
    """
    if network.encoder is None or isinstance(network.encoder, MelEncoder):
        return
    kind = network.settings.encoder.kind if network.settings.encoder else ""
    if settings.mixup.domain == "mel" and settings.mixup.probability:
        raise ConfigError(
            f"mixup.domain=mel mixes mels, and the encoder {kind} does not let them be mixed",
            hint="Set method.mixup.domain=waveform",
        )
    if settings.warp_probability:
        raise ConfigError(
            f"the encoder {kind} has no mel that could be warped",
            hint="Set method.warp_probability=0",
        )


class Student(nn.Module):
    """The network that learns, with the heads of the embedding loss while it trains."""

    def __init__(self, network: SedNetwork, settings: EmbeddingSettings) -> None:
        super().__init__()
        self.network, self.settings = network, settings
        self.tap = settings.tap
        width = network.tap_widths[settings.tap]
        self.heads = StudentHeads(width, settings) if settings.weight > 0 else None

    def forward(self, view: View, trunk: float = 1.0) -> tuple[SedOutput, Tensor | None]:
        """A view → output p and predictions u [B, N, d], N frames or tokens of the tap.

        ``trunk`` is the fraction of the predictions' gradient that reaches the network.
        """
        output = run_network(self.network, view)
        if self.heads is None:
            return output, None
        embedding, valid = _at_tap(self.network, self.tap, view, output)
        return output, self.heads(faded(embedding, trunk), valid)


def faded(embedding: Tensor, trunk: float) -> Tensor:
    """The same values, with a fraction of the gradient: tap.detach() + r·(tap − tap.detach())."""
    if trunk >= 1.0:
        return embedding
    still = embedding.detach()
    return still if trunk <= 0.0 else still + trunk * (embedding - still)


class Teacher(nn.Module):
    """Moving average of the student's network and projector; never trained."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.network: SedNetwork = make_teacher(student.network)
        self.tap, self.centres = student.tap, student.settings.center
        self.norm = student.settings.teacher_norm
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
        embedding, valid = _at_tap(self.network, self.tap, view, output)
        return output, self.projector(embedding, valid, self.norm == "batch")

    def valid_at_tap(self, valid: Tensor) -> Tensor:
        """Valid frames [B, T] → valid frames, or tokens, [B, N] of the tap."""
        return self.network.token_mask(valid) if self.tap == "encoder" else valid

    def centred(self, vectors: Tensor) -> Tensor:
        """Vectors [B, N, d] less the teacher's running mean, where ``center`` is on."""
        return self.centre(vectors) if self.centres and self.centre is not None else vectors

    def move_centre(self, z: Tensor, valid: Tensor) -> None:
        """Let the running mean follow z [B, N, d], where ``center`` is on."""
        if self.centres and self.centre is not None:
            self.centre.update(z, valid)

    def follow(self, student: Student, decay: float) -> None:
        """One step of the moving average."""
        update_teacher(self.network, student.network, decay)
        if self.projector is not None and student.heads is not None:
            update_teacher(self.projector, student.heads.projector, decay)
