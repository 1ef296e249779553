"""What an import asks for."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from earmark.core.config import NonNegative, Proportion, Settings


class ImportSettings(Settings):
    """How annotated recordings become a dataset.

    Attributes:
        seconds: Length of a clip.
        hop: Seconds from one clip's start to the next; null is ``seconds``, less overlaps.
        shortest: A last clip shorter than this is left out, seconds.
        least: What a cut leaves of an event is kept from so many seconds on.
        whole: Leave recordings of validation and test uncut.
        rate: Samples per second of the clips; null keeps each recording's own.
        points: Seconds given to labels without a length, around their time; 0 leaves them out,
            null refuses them.
        region_label: Label that marks what was annotated; the rest of a recording is unlabelled.
        unlisted: Recordings that no label file speaks of: ``unlabelled`` clips, ``empty`` ones
            (nothing happens in them), or ``skip``.
        train: Share of the recordings.
        validation: Share of the recordings.
        test: Share of the recordings.
        group: Pattern over a recording's path; recordings in which it finds the same (its first
            group, if it has one) are never divided.
        seed: Decides between recordings that are alike.
    """

    seconds: Annotated[float, Field(ge=0.5, le=3600)] = 10.0
    hop: Annotated[float, Field(gt=0)] | None = None
    shortest: NonNegative = 1.0
    least: NonNegative = 0.1
    whole: bool = False
    rate: Annotated[int, Field(ge=1000, le=768_000)] | None = 16_000
    points: NonNegative | None = None
    region_label: str | None = None
    unlisted: Literal["unlabelled", "empty", "skip"] = "unlabelled"
    train: Proportion = 0.7
    validation: Proportion = 0.15
    test: Proportion = 0.15
    group: str | None = None
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("group")
    @classmethod
    def _is_a_pattern(cls, given: str | None) -> str | None:
        try:
            re.compile(given or "")
        except re.error as error:
            raise ValueError(f"{given!r} is no pattern ({error})") from None
        return given

    @model_validator(mode="after")
    def _agrees(self) -> ImportSettings:
        if self.hop is not None and self.hop > self.seconds:
            raise ValueError("hop must be at most seconds: clips would leave gaps")
        if not self.train > 0:
            raise ValueError("train must be above 0: nothing would be left to learn from")
        return self

    @property
    def fractions(self) -> dict[str, float]:
        """Split → fraction of the recordings."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def group_of(self, key: str) -> str:
        """What a recording is never divided from."""
        found = re.search(self.group, key) if self.group is not None else None
        if found is None:
            return key
        return str(found.group(1) if found.re.groups else found.group(0))
