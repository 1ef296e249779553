"""Post-processing as it is written: its settings, a bundle's two files of them, a command line's.

``postprocess.yaml`` holds the settings, ``tuning.json`` beside it how they were tuned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, TypeVar

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    ValidationError,
)
from pydantic_core import ErrorDetails

from earmark.core.class_names import DEFAULT as OTHERS
from earmark.core.class_names import find_class
from earmark.core.config import Settings, load_yaml
from earmark.core.errors import ConfigError
from earmark.core.files.bounds import parse_json, read_bytes
from earmark.core.folders import shipped_folder
from earmark.core.hooks import PostprocessHook

V = TypeVar("V")

FORMS = (
    "none, median=SECONDS, csebb, csebb=STEP[,absolute=A][,relative=R], a postprocess.yaml, "
    "or the folder or name of a bundle"
)
POSTPROCESS_FILE = "postprocess.yaml"
TUNING_FILE = "tuning.json"
TUNING_FORMAT = 1


class _Settings(Settings):
    """Settings that are checked however they are made: what is wrong is a `ConfigError`."""

    prefix: ClassVar[str] = ""
    title: ClassVar[str] = "post-processing"

    def __init__(self, *values: Any, **named: Any) -> None:
        names = list(type(self).model_fields)[: len(values)]
        try:
            super().__init__(**dict(zip(names, values, strict=True)), **named)
        except ValidationError as error:
            raise self._refusal(error.errors()) from None

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """Reads settings by name; what is absent keeps its default.

        Raises:
            ConfigError: For an unknown setting or an unusable value.
        """
        return cls(**{str(name): value for name, value in settings.items()})

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as plain numbers and dictionaries, for `from_dict`."""
        return self.model_dump()

    @classmethod
    def _refusal(cls, faults: list[ErrorDetails]) -> ConfigError:
        """Pydantic's words as one line."""
        unknown = [str(one["loc"][-1]) for one in faults if one["type"] == "extra_forbidden"]
        if unknown:
            return ConfigError(
                f"unknown {cls.title} setting: {', '.join(sorted(unknown))}",
                hint=f"Known are {', '.join(cls.model_fields)}",
            )
        (name, *place), value = faults[0]["loc"], faults[0]["input"]
        if faults[0]["type"] == "literal_error":
            known = faults[0]["ctx"]["expected"].replace("'", "")
            return ConfigError(f"unknown {cls.title} {name} {value!r}", hint=f"Known are {known}")
        of = f" of {place[-1]!r}" if len(place) > 1 else ""
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        return ConfigError(
            f"{cls.prefix}{name}{of} is {f'{float(value):g}' if is_number else repr(value)}",
            hint=faults[0]["msg"].replace("Input should", "It must"),
        )


_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
_Level = Annotated[float, Field(ge=0, lt=1, strict=True)]
_Label = Annotated[str, BeforeValidator(str)]
_OneOrEach = Annotated[
    Annotated[V, Tag("one")] | Annotated[dict[_Label, V], Tag("each")],
    Discriminator(lambda value: "each" if isinstance(value, Mapping) else "one"),
]
# In a file, null stands for infinity: YAML and JSON have no common word for it.
_Limit = Annotated[
    float,
    Field(gt=0, strict=True, allow_inf_nan=True),
    BeforeValidator(lambda value: math.inf if value is None else value),
    PlainSerializer(lambda value: None if math.isinf(value) else value),
]


class CsebbSettings(_Settings):
    """How boxes are found; two neighbours become one if both criteria allow it.

    Args:
        step_seconds: Length L of the step filter: the mean of the scores over half of it after a
            moment minus that before; 0.3 to 0.7 s is usual.
        absolute: A gap is closed only if the scores fall in it by less than this, below the peak of
            either neighbour; infinite to leave this criterion out.
        relative: A gap is closed only if either neighbour's peak is less than this many times the
            lowest score in the gap; infinite to leave this criterion out.

    Raises:
        ConfigError: If a value is not a positive number.
    """

    prefix: ClassVar[str] = "csebb."
    title: ClassVar[str] = "cSEBB"

    step_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)] = 0.5
    absolute: _Limit = 1.0
    relative: _Limit = 2.0


DEFAULT = CsebbSettings()

ByLabel = CsebbSettings | Mapping[str, CsebbSettings]
"""Settings of cSEBB for all classes, or for each by its label."""


def _csebb_settings(value: Any) -> CsebbSettings:
    if isinstance(value, CsebbSettings):
        return value
    if not isinstance(value, Mapping):
        raise ConfigError(f"csebb is {value!r}", hint="Give its settings, or those of each class")
    return CsebbSettings.from_dict(value)


def _csebb_form(value: Any) -> str:
    ones = value.values() if isinstance(value, Mapping) else ()
    forms = {isinstance(one, CsebbSettings | Mapping) for one in ones}
    if len(forms) > 1:
        raise ConfigError(
            "csebb mixes settings and classes", hint="Give its settings, or those of each class"
        )
    return "each" if True in forms else "one"


_OneCsebb = Annotated[CsebbSettings, BeforeValidator(_csebb_settings)]
_Csebb = Annotated[
    Annotated[_OneCsebb, Tag("one")] | Annotated[dict[_Label, _OneCsebb], Tag("each")],
    Discriminator(_csebb_form),
]


class LabelSettings(NamedTuple):
    """The post-processing of one class; times in seconds."""

    median_seconds: float
    threshold: float
    min_gap_seconds: float
    min_duration_seconds: float
    csebb: CsebbSettings
    max_duration_seconds: float


class PostProcess(_Settings):
    """How scores become events; each setting is one number or a mapping from label to number.

    A mapping's ``default`` is for all classes that it does not name.

    Args:
        median_seconds: Length of the median filter; rounded to an odd number of frames, so that
            the filter is centred and moves no edge. 0 means none. Not used by cSEBB.
        threshold: A frame is active where its filtered score is greater than this; with cSEBB, a
            box is kept if its confidence is.
        min_gap_seconds: Events of a class with less than this between them become one.
        min_duration_seconds: Events shorter than this are dropped, after gaps are closed.
        max_duration_seconds: Events longer than this are dropped; infinite to keep all.
        method: ``median`` (filter, then threshold) or ``csebb`` (boxes of the unfiltered scores,
            then threshold).
        csebb: Settings of ``csebb``; for all classes or by label.
        weak_threshold: In a window whose clip score of a class is not above this, the class is
            silent (`earmark.detect.masked`). 0 masks nothing.
        hook: A function of an installed package that the scores go through first
            (docs/own_hooks.md).

    Raises:
        ConfigError: If a value is negative, not finite, or a threshold is 1 or more, or the
            method is unknown.
    """

    median_seconds: _OneOrEach[_Seconds] = 0.0
    threshold: _OneOrEach[_Level] = 0.5
    min_gap_seconds: _OneOrEach[_Seconds] = 0.0
    min_duration_seconds: _OneOrEach[_Seconds] = 0.0
    method: Literal["median", "csebb"] = "median"
    csebb: _Csebb = DEFAULT
    max_duration_seconds: _OneOrEach[_Limit] = math.inf
    weak_threshold: _OneOrEach[_Level] = 0.0
    hook: PostprocessHook | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as plain numbers and dictionaries, for `from_dict`.

        Of what is not used there is no word, so that settings are written as they were.
        """
        plain = self.model_dump()
        if plain["max_duration_seconds"] is None:
            del plain["max_duration_seconds"]
        if self.hook is None:
            del plain["hook"]
        if self.weak_threshold == 0.0:
            del plain["weak_threshold"]
        if self.method == "median":
            del plain["method"]
            if self.csebb == DEFAULT:
                del plain["csebb"]
        return plain

    def with_threshold(self, threshold: float | Mapping[str, float]) -> PostProcess:
        """Returns these settings with other thresholds."""
        return self.changed(threshold=threshold)

    def changed(self, **settings: Any) -> PostProcess:
        """Returns these settings with others in their place."""
        return PostProcess(**dict(self) | settings)

    def laid_over(
        self,
        labels: Sequence[str],
        ids: Sequence[str] = (),
        **given: float | Mapping[str, float] | None,
    ) -> PostProcess:
        """Returns these settings with a user's over them.

        Args:
            labels: The classes.
            ids: Their identifiers, if they have any.
            given: Of these settings those that change: a number for all classes, or numbers by
                class (by name, number or identifier, as `find_class` takes them). Classes that are
                not named get that of ``default``, and without one keep their own.

        Raises:
            LabelError: A class is unknown or ambiguous.
            ConfigError: A class is named twice, or a number is not usable.
        """
        changes: dict[str, Any] = {}
        for name, value in given.items():
            if isinstance(value, Mapping):
                changes[name] = self._by_class(name, value, labels, ids)
            elif value is not None:
                changes[name] = value
        return self.changed(**changes) if changes else self

    def _by_class(
        self, name: str, given: Mapping[str, float], labels: Sequence[str], ids: Sequence[str]
    ) -> dict[str, float]:
        """A setting of each class, of which some are given."""
        chosen: dict[str, float] = {}
        for asked, number in given.items():
            if asked == OTHERS and OTHERS not in labels:
                continue
            label = labels[find_class(asked, labels, ids)]
            if label in chosen:
                raise ConfigError(f"two values of {name} for {label!r}", hint="Give one")
            chosen[label] = number
        if OTHERS in given:
            return dict.fromkeys(labels, given[OTHERS]) | chosen
        return {label: of_label(name, getattr(self, name), label) for label in labels} | chosen

    def for_label(self, label: str) -> LabelSettings:
        """Returns the settings of one class.

        Raises:
            ConfigError: If a setting is given by class, but not for this one.
        """
        names = LabelSettings._fields
        return LabelSettings(*(of_label(name, getattr(self, name), label) for name in names))


def of_label(name: str, setting: V | Mapping[str, V], label: str) -> V:
    """What a setting is for one class.

    Args:
        name: Of the setting, for errors.
        setting: For all classes, or for each by its label; ``default`` is for the others.
        label: The class.

    Raises:
        ConfigError: If it is given by class, but not for this one.
    """
    if not isinstance(setting, Mapping):
        return setting
    for known in (label, OTHERS):
        if known in setting:
            return setting[known]
    raise ConfigError(
        f"post-processing has no {name} for class {label!r}",
        hint=f"It has {', '.join(map(repr, setting)) or 'none'}; add the class, or "
        f"a setting for {OTHERS!r}",
    )


def read_postprocess(spec: str) -> PostProcess | None:
    """Post-processing by a few letters, by its file, or as a bundle has it.

    Args:
        spec: ``none`` for scores as they are; ``median=0.45`` (seconds); ``csebb``, untuned, or
            ``csebb=0.48,absolute=0.2`` (seconds; a criterion that is not named is left out); a
            YAML file as ``earmark tune`` writes it; a bundle.

    Returns:
        The settings, or ``None`` for ``none``.

    Raises:
        ConfigError: If it is none of these, or a setting is unusable.
    """
    method, equals, value = spec.partition("=")
    if spec == "none":
        return None
    if method == "median" and equals:
        return PostProcess(median_seconds=_number(value, spec))
    if method == "csebb":
        return PostProcess(method="csebb", csebb=_boxes(value, spec) if equals else DEFAULT)
    path = _file(spec)
    if path is None:
        raise ConfigError(f"no post-processing is called {spec!r}", hint=f"Give {FORMS}")
    return postprocess_of(load_yaml(path), path)


def postprocess_of(settings: Mapping[str, Any], where: Path) -> PostProcess:
    """The settings that a file holds.

    Raises:
        ConfigError: If they are unusable; it names the file.
    """
    try:
        return PostProcess.from_dict(settings)
    except ConfigError as error:
        raise ConfigError(error.what, where=where, hint=error.hint) from None


def _boxes(value: str, spec: str) -> CsebbSettings:
    step, *rest = value.split(",")
    given: dict[str, float] = {}
    for setting in rest:
        name, equals, number = (text.strip() for text in setting.partition("="))
        if name not in ("absolute", "relative") or not equals or name in given:
            raise ConfigError(
                f"{setting!r} in {spec!r} is no setting of cSEBB",
                hint="Write csebb=STEP,absolute=A,relative=R",
            )
        given[name] = _number(number, spec)
    limits = {"absolute": math.inf, "relative": math.inf} | given if given else {}
    return CsebbSettings(step_seconds=_number(step, spec), **limits)


def _number(text: str, spec: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{text!r} in {spec!r} is not a number", hint=f"Give {FORMS}") from None


def _file(spec: str) -> Path | None:
    """The YAML file that is meant, if there is one."""
    shipped = shipped_folder("bundles") / spec
    places = (Path(spec), Path(spec) / POSTPROCESS_FILE, shipped / POSTPROCESS_FILE)
    return next((path for path in places if path.is_file()), None)


def read_tuning(folder: Path, postprocess: PostProcess) -> dict[str, Any] | None:
    """How a bundle's settings were tuned; ``None`` if they were not, or the record is of others.

    Args:
        folder: The bundle.
        postprocess: Its settings.
    """
    try:
        record = parse_json(read_bytes(folder / TUNING_FILE, ConfigError).decode())
        same = PostProcess.from_dict(record["postprocess"]) == postprocess
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError):
        return None
    return record if same and record.get("format") == TUNING_FORMAT else None
