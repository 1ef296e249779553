"""What installed packages add to recipes: losses, augmentations and post-processing of one's own.

A package registers a pure function under one of three entry points; a recipe names it, with the
function's own options: ``{name: focal, options: {gamma: 2}}``. The contracts are those of
`LossHook`, `AugmentationHook` and `PostprocessHook`. What is saved has the name and the package,
never code: whoever loads it needs the package.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, model_validator

from earmark.core.config import NonNegative, Settings
from earmark.core.errors import ConfigError, EarmarkError


class Hook(Settings):
    """A function of an installed package, by its name.

    Attributes:
        name: Of its entry point.
        package: That registers it; filled in.
        options: Keyword arguments of the function.

    Raises:
        ConfigError: The function is not installed, or does not take these options.
    """

    group: ClassVar[str]
    kind: ClassVar[str]
    given: ClassVar[int]
    """How many arguments the function gets beside its options."""

    name: str
    package: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    _function: Callable[..., Any] = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _named(cls, content: Any) -> Any:
        """A name alone stands for a function without options; its package is looked up."""
        if isinstance(content, str):
            content = {"name": content}
        if not isinstance(content, Mapping) or not isinstance(content.get("name"), str):
            return content
        point = cls._point(content["name"], str(content.get("package") or ""))
        return {**content, "package": _package(point)}

    @model_validator(mode="after")
    def _takes_options(self) -> Hook:
        self._function = self._point(self.name, self.package).load()
        try:
            inspect.signature(self._function).bind(*[None] * self.given, **self.options)
        except TypeError as error:
            raise ConfigError(
                f"{self} cannot be called with {self.given} arguments and these options ({error})"
            ) from None
        return self

    @classmethod
    def _point(cls, name: str, package: str) -> EntryPoint:
        """The entry point of a name, and of a package where that is known."""
        registered = list(entry_points(group=cls.group))
        found = [one for one in registered if one.name == name]
        own = [one for one in found if not package or _package(one) == package]
        if len({_package(one) for one in own}) == 1:
            return own[0]
        if own:
            packages = ", ".join(sorted({_package(one) for one in own}))
            raise ConfigError(
                f"several packages have the {cls.kind} {name!r}: {packages}",
                hint="Say which, as package: NAME beside its name",
            )
        known = sorted(f"{one.name} of {_package(one)}" for one in registered)
        installed = f"Installed are: {', '.join(known)}" if known else f"No {cls.kind} is installed"
        if package:
            raise ConfigError(
                f"needs the {cls.kind} {name!r} of the package {package}, which is not installed",
                hint=f"Install {package}. {installed}",
            )
        raise ConfigError(f"no {cls.kind} is called {name!r}", hint=installed)

    def __str__(self) -> str:
        return f"the {self.kind} {self.name!r} of {self.package}"

    def call(self, *arguments: Any) -> Any:
        """What the function gives.

        Raises:
            ConfigError: It failed; where and why is said.
        """
        try:
            return self._function(*arguments, **self.options)
        except EarmarkError:
            raise
        except Exception as error:  # whatever the function of somebody else raises
            last = traceback.extract_tb(error.__traceback__)[-1]
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ConfigError(
                f"{self} failed ({reason})", where=f"{last.filename}:{last.lineno}"
            ) from error

    def refuse(self, found: Any, expected: str) -> ConfigError:
        """What to raise where the function gave something else."""
        shape = getattr(found, "shape", None)
        what = type(found).__name__
        if shape is not None:
            what += f" of shape {list(shape)} and {getattr(found, 'dtype', 'no type')}"
        return ConfigError(f"{self} gave a {what}", hint=f"It must give {expected}")


class LossHook(Hook):
    """A loss of one's own: ``loss(scores, targets, counted, **options)``.

    ``scores`` are the student's probabilities [B, T, C] (of clips: [B, C]), float32 with gradient;
    ``targets`` of the same shape in [0, 1]; ``counted``, a mask of the same shape, says which of
    them are labelled and no padding. It gives a loss for every element, of which the mean over what
    is counted is taken, or one for every clip [B].

    Attributes:
        against: ``strong`` or ``weak``: clips of these labels, mixed as they are. ``teacher``: all
            clips against the teacher's scores, composed as labels are, with the ramp of the
            consistency losses.
        weight: In the sum of losses.
        instead: In place of the binary cross-entropy of these labels.
    """

    group: ClassVar[str] = "earmark.losses"
    kind: ClassVar[str] = "loss"
    given: ClassVar[int] = 3

    against: Literal["strong", "weak", "teacher"] = "strong"
    weight: NonNegative = 1.0
    instead: bool = False

    @model_validator(mode="after")
    def _stands_for_something(self) -> LossHook:
        if self.instead and self.against == "teacher":
            raise ValueError(
                "instead is for strong and weak; set mean_teacher and pseudo_label to 0 otherwise"
            )
        return self

    @property
    def figure(self) -> str:
        """What it is called in the journal."""
        return f"{self.name}.{self.against}"


class AugmentationHook(Hook):
    """An augmentation of one's own: ``augment(clips, generator, **options)``.

    It gives a new tensor of the same shape; times must stay as they are, for labels do. The
    `torch.Generator`, on the CPU, is its only source of randomness.

    Attributes:
        domain: ``waveform``: clips [B, S], 16 kHz, before they are mixed, heard by student and
            teacher. ``mel``: the scaled log-mels [B, F, L] that the student's CNN gets of the
            mixtures.
    """

    group: ClassVar[str] = "earmark.augmentations"
    kind: ClassVar[str] = "augmentation"
    given: ClassVar[int] = 2

    domain: Literal["waveform", "mel"] = "waveform"


class PostprocessHook(Hook):
    """Post-processing of one's own: ``process(scores, boundaries, labels, **options)``.

    Scores [T, C] in [0, 1] of a whole recording, the frames' boundaries [T + 1] in seconds and the
    C class names → scores [T, C] in [0, 1], which are then filtered and decided as others are.
    """

    group: ClassVar[str] = "earmark.postprocessing"
    kind: ClassVar[str] = "post-processing"
    given: ClassVar[int] = 3


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unnamed package"
