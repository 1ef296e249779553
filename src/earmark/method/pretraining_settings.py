"""Settings of self-supervised pretraining: ATST-Frame's numbers as defaults (arXiv 2306.04186).

Where a default is not the published code's, its attribute says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from earmark.core.config import (
    AtstSettings,
    Count,
    NonNegative,
    Positive,
    Proportion,
    Settings,
    Width,
    WindowSeconds,
)
from earmark.core.timeline import SAMPLE_RATE
from earmark.method.settings import LoopSettings, Rate


class MaskSettings(Settings):
    """Which tokens the student must guess.

    Attributes:
        fraction: fraction · tokens / span spans are drawn; they overlap, so fewer tokens are masked
            than this (about half of them at 0.65). Version 0.1 called it ``share``.
        span: Tokens of a span.
        edges: ``clipped`` lets spans begin before the clip and end after it, so that every token
            is hidden equally often (ours). ``upstream`` keeps them inside, whereby the first
            tokens are seldom and the last one is never hidden.
    """

    fraction: Annotated[float, Field(gt=0, le=1)] = 0.65
    span: Positive = 5
    edges: Literal["clipped", "upstream"] = "clipped"

    @model_validator(mode="before")
    @classmethod
    def _read_version_0_1(cls, content: Any) -> Any:
        if not isinstance(content, Mapping) or "share" not in content:
            return content
        others = {name: value for name, value in content.items() if name != "share"}
        return {**others, "fraction": content["share"]}


class PerturbationSettings(Settings):
    """What is done to the second view of a crop.

    Attributes:
        bank: Earlier crops kept as partners, over all processes; 0 mixes nothing.
        alpha: The partner's weight is uniform in [0, alpha].
        mixing: ``log`` averages exponentials of the normalised decibels, as published: almost a
            mean of decibels. ``energy`` averages powers, as sounds add up.
        warp_probability: Of a frequency warp, by clip.
        warp_range: Smallest and largest fraction of the bands that is kept; from 1 on nothing is
            changed.
    """

    bank: Count = 2000
    alpha: Proportion = 0.4
    mixing: Literal["log", "energy"] = "log"
    warp_probability: Proportion = 1.0
    warp_range: tuple[Annotated[float, Field(gt=0)], float] = (0.6, 1.5)

    @model_validator(mode="after")
    def _range_holds(self) -> PerturbationSettings:
        if self.warp_range[0] > self.warp_range[1]:
            raise ValueError(f"warp_range: {list(self.warp_range)} has its ends in the wrong order")
        return self


class HeadSettings(Settings):
    """Projector and predictor: Linear(no bias) → BN → ReLU → Linear(no bias)."""

    hidden: Width = 4096
    out: Width = 256


class PretrainTrainSettings(LoopSettings):
    """Length, optimiser and teacher of pretraining; `LoopSettings` has the rest.

    Attributes:
        batch: Crops of one optimiser step, however many micro-batches and devices it is split over.
        lr: Peak learning rate for 256 crops a step; it grows in proportion to ``batch``.
        lr_final: What the cosine ends at.
        warmup_steps: Of the linear warm-up from 0.
        weight_decay: From and to, along a cosine, on tensors of two and more dimensions.
        ema: m₀ of the teacher's average, which rises to 1 along a cosine.
        teacher: ``batch`` compares with a teacher free of stochastic depth, whose projector
            normalises by batch statistics (ours). ``train`` is in training mode, as published.
            ``eval`` normalises by running statistics, which does not keep vectors apart.
    """

    epochs: Positive = 300
    steps_per_epoch: Positive = 195
    batch: Positive = 1024
    lr: Rate = 4e-4
    lr_final: NonNegative = 1e-6
    warmup_steps: Count = 1950
    weight_decay: tuple[NonNegative, NonNegative] = (0.04, 0.4)
    ema: Annotated[float, Field(ge=0, le=1)] = 0.997
    teacher: Literal["batch", "eval", "train"] = "batch"

    @property
    def peak(self) -> float:
        """Learning rate after the warm-up."""
        return self.lr * self.batch / 256


def _pretraining_encoder() -> AtstSettings:
    """Small, without the clamp of decibels that only the fine-tuned models have."""
    small = AtstSettings(width=384, depth=12, heads=6, drop_path=0.1)
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
    window_seconds: WindowSeconds = 10.0
    encoder: AtstSettings = Field(default_factory=_pretraining_encoder)
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
