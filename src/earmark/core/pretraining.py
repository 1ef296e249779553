"""Settings of self-supervised pretraining: ATST-Frame's numbers as defaults (arXiv 2306.04186).

Where a default is not the published code's, its attribute says so.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from earmark.core.config import EncoderSettings, NonNegative, Positive, Settings, Share
from earmark.core.timeline import SAMPLE_RATE

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


class MaskSettings(Settings):
    """Which tokens the student must guess.

    Attributes:
        share: share · tokens / span spans are drawn; they overlap, so fewer tokens are masked
            than this (about half of them at 0.65).
        span: Tokens of a span.
        edges: ``clipped`` lets spans begin before the clip and end after it, so that every token
            is hidden equally often (ours). ``upstream`` keeps them inside, whereby the first
            tokens are seldom and the last one is never hidden.
    """

    share: Annotated[float, Field(gt=0, le=1)] = 0.65
    span: Positive = 5
    edges: Literal["clipped", "upstream"] = "clipped"


class PerturbationSettings(Settings):
    """What is done to the second view of a crop.

    Attributes:
        bank: Earlier crops kept as partners, over all processes; 0 mixes nothing.
        alpha: The partner's weight is uniform in [0, alpha].
        mixing: ``log`` averages exponentials of the normalised decibels, as published: almost a
            mean of decibels. ``energy`` averages powers, as sounds add up.
        warp_probability: Of a frequency warp, by clip.
        warp_range: Share of the bands that is kept; from 1 on nothing is changed.
    """

    bank: Annotated[int, Field(ge=0)] = 2000
    alpha: Share = 0.4
    mixing: Literal["log", "energy"] = "log"
    warp_probability: Share = 1.0
    warp_range: tuple[Annotated[float, Field(gt=0)], float] = (0.6, 1.5)

    @model_validator(mode="after")
    def _range_holds(self) -> PerturbationSettings:
        if self.warp_range[0] > self.warp_range[1]:
            raise ValueError(f"warp_range: {list(self.warp_range)} is upside down")
        return self


class HeadSettings(Settings):
    """Projector and predictor: Linear(no bias) → BN → ReLU → Linear(no bias)."""

    hidden: Positive = 4096
    out: Positive = 256


class PretrainTrainSettings(Settings):
    """The loop.

    Attributes:
        batch: Crops of one optimiser step, however many parts and devices it is dealt over.
        lr: Peak learning rate for 256 crops a step; it grows in proportion to ``batch``.
        lr_final: What the cosine ends at.
        warmup_steps: Of the linear warm-up from 0.
        weight_decay: From and to, along a cosine, on tensors of two and more dimensions.
        ema: m₀ of the teacher's average, which rises to 1 along a cosine.
        teacher: ``batch`` compares with a teacher free of stochastic depth, whose projector
            normalises by batch statistics (ours). ``train`` is in training mode, as published.
            ``eval`` normalises by running statistics, which does not keep vectors apart.
        accumulate: Parts of a step's batch that every process takes one after the other.
        gradient_clip: Largest gradient norm, or null.
        workers: Reading processes (0 reads in the loop).
    """

    epochs: Positive = 300
    steps_per_epoch: Positive = 195
    batch: Positive = 1024
    lr: Annotated[float, Field(gt=0)] = 4e-4
    lr_final: NonNegative = 1e-6
    warmup_steps: Annotated[int, Field(ge=0)] = 1950
    weight_decay: tuple[NonNegative, NonNegative] = (0.04, 0.4)
    ema: Annotated[float, Field(ge=0, le=1)] = 0.997
    teacher: Literal["batch", "eval", "train"] = "batch"
    accumulate: Positive = 1
    gradient_clip: Annotated[float, Field(gt=0)] | None = None
    precision: Precision = "32-true"
    workers: Annotated[int, Field(ge=0)] = 0
    seed: Annotated[int, Field(ge=0)] = 42

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def peak(self) -> float:
        """Learning rate after the warm-up."""
        return self.lr * self.batch / 256


def _pretraining_encoder() -> EncoderSettings:
    """Small, without the clamp of decibels that only the fine-tuned models have."""
    small = EncoderSettings(width=384, depth=12, heads=6, drop_path=0.1)
    return small.model_copy(
        update={"frontend": small.frontend.model_copy(update={"db_clamp": None})}
    )


class PretrainRecipe(Settings):
    """All of a pretraining run.

    Attributes:
        size: Name of the size, for people; ``encoder``, ``heads`` and ``train`` hold its numbers.
        window_seconds: Length of a crop.
    """

    name: str
    description: str = ""
    size: str = "small"
    window_seconds: Annotated[float, Field(gt=0)] = 10.0
    encoder: EncoderSettings = Field(default_factory=_pretraining_encoder)
    heads: HeadSettings = HeadSettings()
    mask: MaskSettings = MaskSettings()
    perturbation: PerturbationSettings = PerturbationSettings()
    train: PretrainTrainSettings = PretrainTrainSettings()

    @model_validator(mode="after")
    def _window_fits(self) -> PretrainRecipe:
        rows = self.encoder.max_tokens
        if self.tokens > rows and self.encoder.positions == "cut":
            raise ValueError(
                f"window_seconds: {self.window_seconds:g} s are {self.tokens} tokens, the encoder "
                f"has {rows} positions"
            )
        if self.tokens <= self.mask.span:
            raise ValueError("window_seconds: a crop must be longer than a span of the mask")
        return self

    @property
    def window(self) -> int:
        """Samples of a crop."""
        return round(self.window_seconds * SAMPLE_RATE)

    @property
    def tokens(self) -> int:
        """Tokens of a crop, the last of which may reach beyond its end."""
        frames = 1 + self.window // self.encoder.frontend.hop
        return frames // self.encoder.patch_frames

    @property
    def shortest(self) -> int:
        """Samples of the shortest recording that can be used: one span of tokens and one more."""
        return (self.mask.span + 1) * self.encoder.token_hop
