"""Settings of a training run: the method's numbers, the loop's, and the recipe that holds them.

Version 0.1 had the switches of ATST-SED v1 among those of v2; settings in its spelling are still
read (`V1Settings`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from earmark.core.batch_settings import BatchSettings
from earmark.core.config import (
    Count,
    DataSettings,
    NetworkSettings,
    NonNegative,
    Positive,
    Proportion,
    Settings,
    Width,
)
from earmark.core.errors import ConfigError
from earmark.core.hooks import AugmentationHook, LossHook, PostprocessHook

Rate = Annotated[float, Field(gt=0, le=100)]
"""Of learning: what is above it is a slip of the keys."""
COLLAPSED_STD, COLLAPSED_COSINE = 0.02, 0.7
"""Bounds of the embedding loss's vectors û, past its ramp (our choice).

The heads' output is at rest near a mean standard deviation of 1/√d by dimension, and a mean cosine
between clips of 0; a collapsed one is constant, and the loss is then zero for no good reason.
"""


class MixupSettings(Settings):
    """Conditional mixup (arXiv 2606.29901).

    Attributes:
        probability: That a batch is mixed at all.
        alpha: Of Beta(α, α); λ is folded to [0.5, 1].
        tau: λ ≤ τ is a composition, λ > τ a perturbation. 1 composes always, < 0.5 never.
        level: ``rms`` scales the partner to the clip's level before mixing.
        domain: ``waveform`` mixes before every front-end, ``mel`` mixes linear mels. ``tokens``
            mixes waveforms for the CNN and, in the place of what a frozen encoder makes of them,
            the tokens of the clean clips, as a token cache keeps them: several times faster, and
            an approximation.
        labels: How composed labels and pseudo-labels join: ``soft`` or ``max``.
    """

    probability: Proportion = 1.0
    alpha: Annotated[float, Field(gt=0)] = 0.5
    tau: Annotated[float, Field(ge=0)] = 0.85
    level: Literal["none", "rms"] = "none"
    domain: Literal["waveform", "mel", "tokens"] = "waveform"
    labels: Literal["soft", "max"] = "soft"


class EmbeddingSettings(Settings):
    """The embedding-level loss and its heads (arXiv 2606.29901).

    Attributes:
        weight: w_e; 0 switches the loss and its heads off.
        tap: Where the embedding is read: before the recurrent net (``cnn``), after it (``rnn``),
            or the tokens of the ``encoder``.
        hidden: Width of the heads' hidden layer.
        out: Width of the compared vectors.
        weights: Per-frame weight w of the clip in a composed target.
        gain: ``resultant`` weighs a frame by ‖m‖, ``unit`` does not.
        symmetric: Also predict the teacher's view of the mixture from the student's clean view.
        center: Subtract the teacher's running mean before comparing.
        teacher_norm: Statistics of the batch norm in the teacher's projector: those of the
            ``batch``, which keep the vectors apart (ATST-Frame's teacher is in training mode), or
            the moving ones (``eval``), with which they collapse.
        detach_steps: The heads are warmed up alone, on a detached tap, for so many steps.
        ramp_steps: Steps until the network gets the loss's whole gradient, counted after the
            warm-up; the heads get it from the start.
    """

    weight: NonNegative = 0.3
    tap: Literal["rnn", "cnn", "encoder"] = "rnn"
    hidden: Width = 1024
    out: Width = 256
    weights: Literal["lambda", "activity", "energy", "hard"] = "lambda"
    gain: Literal["resultant", "unit"] = "resultant"
    symmetric: bool = False
    center: bool = False
    teacher_norm: Literal["batch", "eval"] = "batch"
    detach_steps: Count = 0
    ramp_steps: Count = 500


class V1Settings(Settings):
    """What ATST-SED v1's step does otherwise (arXiv 2309.08153); the defaults are its stage 2.

    Attributes:
        per: Whose λ: all clips of a ``kind`` of label have one, or each ``clip`` draws its own.
        fold: λ = max(l, 1 − l). False keeps l itself, and needs τ ≥ 1.
        mix_encoder: The encoder's input is mixed too. False (stage 1) mixes the CNN's alone, while
            labels are mixed all the same.
        warp_per: One draw decides for the whole batch and all clips of a ``kind`` have one crop,
            or each ``clip`` is warped or not and has a crop of its own.
        teacher_sees: ``clean`` clips, whose scores are then mixed as the labels are, or the
            student's own ``mixture`` (stage 1): plain mean teacher.
        consistency: Mean of the loss on composed clips first within, then over the kinds of label
            (``kind``: interpolation consistency), or over all clips (``clip``).
    """

    per: Literal["kind", "clip"] = "kind"
    fold: bool = False
    mix_encoder: bool = True
    warp_per: Literal["kind", "clip"] = "kind"
    teacher_sees: Literal["clean", "mixture"] = "clean"
    consistency: Literal["kind", "clip"] = "kind"


_V1_SWITCHES: dict[tuple[str, str], tuple[str, str | bool]] = {
    ("mixup", "per"): ("per", "clip"),
    ("mixup", "fold"): ("fold", True),
    ("mixup", "encoder"): ("mix_encoder", True),
    ("", "warp_per"): ("warp_per", "clip"),
    ("", "teacher_sees"): ("teacher_sees", "clean"),
    ("", "consistency"): ("consistency", "clip"),
}
"""Group and key of a switch in version 0.1's ``method``: its name here, and its value for v2."""


def move_v1_switches(method: Mapping[str, Any]) -> dict[str, Any]:
    """Settings ``method`` as version 0.1 spelled them, with v1's switches under ``v1``.

    Where all of them have their values for v2, ``v1`` stays null.
    """
    moved, found = dict(method), {}
    if isinstance(moved.get("mixup"), Mapping):
        moved["mixup"] = dict(moved["mixup"])
    for (group, key), (name, _) in _V1_SWITCHES.items():
        place = moved.get(group) if group else moved
        if isinstance(place, dict) and key in place:
            found[name] = place.pop(key)
    v1, v2 = moved.get("v1"), dict(_V1_SWITCHES.values())
    if v1 is None and {**v2, **found} != v2:
        moved["v1"] = {**v2, **found}
    elif isinstance(v1, Mapping):
        moved["v1"] = {**v1, **found}
    return moved


class FilterAugmentSettings(Settings):
    """FilterAugment of what the student's CNN gets (`earmark.features.augment.filter_augment`).

    Attributes:
        probability: That a clip's mixture is filtered.
        kind: ``linear`` gains between the edges of regions, or a constant one in each (``step``).
        bands: Fewest and most regions.
        decibels: Smallest and largest gain.
        narrowest: Mel bands that a region has at least.
    """

    probability: Proportion = 0.0
    kind: Literal["step", "linear"] = "linear"
    bands: tuple[Positive, Positive] = (3, 6)
    decibels: tuple[float, float] = (-6.0, 6.0)
    narrowest: Positive = 6

    @model_validator(mode="after")
    def _ends_hold(self) -> FilterAugmentSettings:
        for name in ("bands", "decibels"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: [{low:g}, {high:g}] has its ends in the wrong order")
        return self


class TimeMaskSettings(Settings):
    """A time mask of what the student's CNN gets (`earmark.features.augment.time_mask`).

    Attributes:
        probability: That a clip's mixture is masked.
        seconds: Shortest and longest mask. Targets stay as they are, so that the network must tell
            from what is around; it cannot for a mask as long as an event.
    """

    probability: Proportion = 0.0
    seconds: tuple[NonNegative, NonNegative] = (0.1, 0.5)

    @model_validator(mode="after")
    def _ends_hold(self) -> TimeMaskSettings:
        if self.seconds[0] > self.seconds[1]:
            raise ValueError(f"seconds: {list(self.seconds)} has its ends in the wrong order")
        return self


class MethodSettings(Settings):
    """Which losses, with which weights (arXiv 2606.29901).

    Attributes:
        mean_teacher: w_mt, on unmixed and perturbed clips.
        pseudo_label: w_pl, on composed clips.
        weak: Weight of every clip-level loss beside its frame-level one.
        ramp_steps: Steps until the consistency losses have their full weight.
        ema: Largest decay of the teacher's moving average.
        ema_horizon: The average's horizon as a fraction of the steps so far, so that it grows with
            the run; null uses ``ema`` from the first step.
        warp_probability: Of a frequency warp of the encoder's log-mel, or of the only one where
            there is no encoder; student and teacher each have crops of their own.
        warp_range: Smallest and largest fraction of the bands that a warp keeps.
        filter_augment: Random filters of the mixtures; as all augmentations but the warp, for the
            student alone, whose teacher hears the clean clips.
        time_mask: Short stretches of silence in the mixtures, likewise.
        v1: ATST-SED v1's step in place of this one (`earmark.method.v1`), with its switches.
        losses: Of installed packages, beside these (docs/own_hooks.md).
        augmentations: Of installed packages, one after the other.
    """

    mixup: MixupSettings = MixupSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    mean_teacher: NonNegative = 70.0
    pseudo_label: NonNegative = 8.75
    weak: NonNegative = 0.5
    ramp_steps: Count = 500
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    ema_horizon: Annotated[float, Field(gt=0)] | None = None
    warp_probability: Proportion = 0.0
    warp_range: tuple[Annotated[float, Field(gt=0)], float] = (0.6, 1.0)
    filter_augment: FilterAugmentSettings = FilterAugmentSettings()
    time_mask: TimeMaskSettings = TimeMaskSettings()
    v1: V1Settings | None = None
    losses: tuple[LossHook, ...] = ()
    augmentations: tuple[AugmentationHook, ...] = ()

    @property
    def needs_teacher(self) -> bool:
        """Whether any loss needs the teacher."""
        own = self.losses_against("teacher")
        return bool(self.mean_teacher or self.pseudo_label or self.embedding.weight or own)

    def losses_against(self, what: str) -> tuple[LossHook, ...]:
        """Losses of installed packages on ``strong`` or ``weak`` labels, or ``teacher``."""
        return tuple(loss for loss in self.losses if loss.against == what)

    @model_validator(mode="before")
    @classmethod
    def _read_version_0_1(cls, content: Any) -> Any:
        return move_v1_switches(content) if isinstance(content, Mapping) else content

    @model_validator(mode="after")
    def _range_holds(self) -> MethodSettings:
        if self.warp_range[0] > self.warp_range[1]:
            raise ValueError(f"warp_range: {list(self.warp_range)} has its ends in the wrong order")
        return self

    @model_validator(mode="after")
    def _losses_differ(self) -> MethodSettings:
        figures = [loss.figure for loss in self.losses]
        if len(figures) != len(set(figures)):
            raise ValueError("losses: one stands twice on the same labels")
        return self

    @model_validator(mode="after")
    def _v1_is_possible(self) -> MethodSettings:
        if self.v1 is not None and not self.v1.fold and self.mixup.tau < 1.0:
            raise ValueError(
                "v1.fold: false needs mixup.tau >= 1, for the partner may be the louder one"
            )
        if self.v1 is not None and self.mixup.domain == "tokens":
            raise ValueError("mixup.domain: tokens is not for v1, which mixes mels or waveforms")
        return self


class LoopSettings(Settings):
    """What the loop of training and of pretraining needs to know.

    Attributes:
        accumulate: Micro-batches of a step that every process takes one after the other, to need
            less memory; mixtures stay within one.
        gradient_clip: Largest gradient norm, or null.
        workers: Reading processes (0 reads in the loop).
        non_finite: A step whose loss or gradient is NaN or infinite ends the run (``stop``), or is
            said and left out (``skip``).
    """

    epochs: Positive
    steps_per_epoch: Positive
    accumulate: Positive = 1
    gradient_clip: Annotated[float, Field(gt=0)] | None = None
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    workers: Annotated[int, Field(ge=0, le=1024)] = 0
    non_finite: Literal["stop", "skip"] = "stop"
    seed: Annotated[int, Field(ge=0)] = 42

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.epochs * self.steps_per_epoch


class TrainSettings(LoopSettings):
    """Training: length, optimiser, validation; `LoopSettings` has the rest.

    Attributes:
        init: Folder to begin with: an encoder (`earmark pretrain`, `earmark import`), a bundle, or
            a run, whose student, teacher and heads of the last epoch are taken. Null begins with
            random weights.
        init_epoch: Of a run, ``last`` takes student, teacher and heads as it ended, ``best`` the
            bundle it kept, for student and teacher alike.
        init_classes: ``known`` takes all weights, but classes it does not know begin at random;
            ``same`` refuses weights for other classes. In another order they are put in order.
        init_heads: The embedding loss's heads take those found where they ``fit``, must take them
            (``need``), or begin ``fresh``.
        lr: Peak learning rate; ``lr_groups`` maps a prefix of parameter names to another one, as
            ``crnn.cnn.``; the longest prefix of a name counts.
        encoder_lr: Peak rate of the encoder's last norm, or null for ``lr``; every block below
            has ``encoder_lr_decay`` times the rate of the one above it, patch and position
            embeddings that below the first block.
        frozen: Prefixes of the network's parameter names that do not learn (``encoder.``); their
            modules are in evaluation mode.
        warmup_steps: Of the exponential ramp exp(-5(1-s)²).
        lr_final: Proportion of the peak rate that the cosine ends at.
        batch: Clips of one optimiser step, however many micro-batches and devices it is split over.
        validate_every: Epochs between validations (the last epoch always is).
        validate_on: Split that chooses the best epoch: the first of these that the data have.
            DESED's custom is to choose on synthetic and to report real validation clips.
        select: The figure that chooses the best epoch, and of which network.
        patience: Training ends when so many validations in a row have brought no better figure;
            null goes on to the last epoch. Nothing ends early where no split chooses.
        median_seconds: Median filter of validation and of the bundle; one length for all classes,
            or one by class, where ``default`` is that of classes without one.
        postprocess: Of an installed package, for validation and the bundle; before the median.
        cache_gib: Decoded clips kept in memory, at most; the reading processes share it.
        token_cache: Folder for the tokens that a frozen encoder makes of unmixed clips, or
            ``auto`` for one in the user's cache; null makes them anew every time.
        token_cache_gib: Of that folder, at most; what finds no room is made anew every time.
    """

    epochs: Positive = 250
    steps_per_epoch: Positive = 29
    init: str | None = None
    init_epoch: Literal["last", "best"] = "last"
    init_classes: Literal["same", "known"] = "known"
    init_heads: Literal["fit", "need", "fresh"] = "fit"
    batch: BatchSettings = BatchSettings()
    optimizer: Literal["adam", "adamw"] = "adam"
    lr: Rate = 1e-3
    lr_groups: dict[str, Annotated[float, Field(ge=0, le=100)]] = Field(default_factory=dict)
    encoder_lr: Rate | None = None
    encoder_lr_decay: Annotated[float, Field(gt=0, le=1)] = 0.5
    frozen: tuple[str, ...] = ()
    weight_decay: NonNegative = 0.0
    warmup_steps: Count = 290
    lr_final: Proportion = 0.1
    validate_every: Positive = 10
    validate_on: Annotated[tuple[str, ...], Field(min_length=1)] = ("validation",)
    select: Literal["teacher_psds", "student_psds", "teacher_psds1", "last"] = "teacher_psds"
    patience: Positive | None = None
    median_seconds: NonNegative | dict[str, NonNegative] = 0.448
    postprocess: PostprocessHook | None = None
    cache_gib: NonNegative = 4.0
    token_cache: str | None = None
    token_cache_gib: NonNegative = 32.0

    def medians(self, labels: Iterable[str]) -> float | dict[str, float]:
        """Length of the median filter for all classes, or by class.

        Raises:
            ConfigError: A class has none and there is no default.
        """
        if not isinstance(self.median_seconds, dict):
            return self.median_seconds
        by_class = {
            label: self.median_seconds.get(label, self.median_seconds.get("default"))
            for label in labels
        }
        missing = [label for label, seconds in by_class.items() if seconds is None]
        if missing:
            raise ConfigError(
                f"train.median_seconds has nothing for {', '.join(missing)}",
                hint="Add these classes, or a length for 'default'",
            )
        return {label: seconds for label, seconds in by_class.items() if seconds is not None}


FromData = Literal[
    "data.real_held_out",
    "method.ramp_steps",
    "train.batch",
    "train.patience",
    "train.select",
    "train.steps_per_epoch",
]


class Recipe(Settings):
    """All of a training run: data, network, method, loop.

    Attributes:
        from_data: Settings that follow from the data where nobody gives them
            (`earmark.train.recipe.fit_to_data`); those of a run have their values, and none is
            left here.
    """

    name: str
    description: str = ""
    from_data: tuple[FromData, ...] = ()
    data: DataSettings = DataSettings()
    network: NetworkSettings = NetworkSettings()
    method: MethodSettings = MethodSettings()
    train: TrainSettings = TrainSettings()
