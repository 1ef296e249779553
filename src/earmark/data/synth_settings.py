"""Settings of a dataset of soundscapes, and the ones that come with Earmark."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from earmark.core.config import Positive, Settings, Share, load_yaml, parse_settings
from earmark.core.errors import ConfigError
from earmark.data.domain import DomainSettings
from earmark.data.supplier import SHORTEST_EVENT

Subset = Literal["strong", "weak", "unlabelled", "validation", "test"]

#: Subsets of a dataset, in the order of their numbers (part of a clip's seed).
SUBSETS: tuple[Subset, ...] = get_args(Subset)

#: The split of the supplier that each subset draws from.
SPLIT_OF: Mapping[Subset, str] = {
    "strong": "synthetic",
    "weak": "real",
    "unlabelled": "real",
    "validation": "validation",
    "test": "test",
}

#: Where DESED keeps the audio, the labels and the durations of each subset.
LAYOUT: Mapping[Subset, tuple[str, str | None, str | None]] = {
    "strong": (
        "audio/train/synthetic21_train/soundscapes",
        "metadata/train/synthetic21_train/soundscapes.tsv",
        "metadata/train/synthetic21_train/durations.tsv",
    ),
    "weak": ("audio/train/weak", "metadata/train/weak.tsv", None),
    "unlabelled": ("audio/train/unlabel_in_domain", None, None),
    "validation": (
        "audio/validation/validation",
        "metadata/validation/validation.tsv",
        "metadata/validation/validation_durations.tsv",
    ),
    "test": (
        "audio/eval/public",
        "metadata/eval/public.tsv",
        "metadata/eval/public_durations.tsv",
    ),
}


class SubsetSettings(Settings):
    """One subset of a dataset.

    Attributes:
        clips: Number of clips.
        events: Fewest and most events of a clip that has any, drawn uniformly.
        empty: Probability of a clip without events.
        domain: Name of the domain (a key of ``domains``) its clips are carried over into, or
            null for the mixture as it is.
    """

    clips: Annotated[int, Field(ge=0)] = 0
    events: tuple[Positive, Positive] = (1, 4)
    empty: Share = 0.0
    domain: str | None = None

    @model_validator(mode="after")
    def _range_holds(self) -> SubsetSettings:
        if self.events[0] > self.events[1]:
            raise ValueError(f"events: the range {list(self.events)} is upside down")
        return self


class SynthSettings(Settings):
    """What soundscapes of a dataset are like.

    Attributes:
        seconds: Length of a clip.
        strong: Strongly labelled training clips.
        weak: Training clips labelled by class only; one is never empty.
        unlabelled: Training clips without labels.
        validation: Strongly labelled clips for choosing and tuning.
        test: Strongly labelled clips for the final figures.
        domains: Named domains that subsets refer to.
        snr_db: Range of the event-to-background ratio, dB, drawn uniformly; both are RMS, the
            event's over its louder frames.
        background_db: Level of the background, dB relative to full scale (RMS).
        probabilities: Class → relative probability; classes left out have 1.
        co_occurrence: Class → other class → factor on the other's probability once the first is
            in the clip.
        max_polyphony: Most events sounding at once; events of one class never overlap.
        same_class_gap: Least pause between events of one class, seconds.
        started: Probability that an event has begun before the clip does.
        truncated: Probability that an event longer than ``shortest_truncated`` is faded out
            early.
        shortest_truncated: Least length such an event keeps, seconds.
        fade: Length of that fade, seconds.
        shortest_event: Least length of a label, seconds.
        audible_db: An event is heard in the frames in which it is louder than the background plus
            so many dB (below 0, since an event's spectrum seldom is the background's). A label
            spans the heard frames.
        longest_pause: Seconds of unheard frames that a label may span; a longer pause makes two
            labels of the event.
        format: Kind of the audio files. ``wav`` is written and read faster, ``flac`` is smaller.
    """

    seconds: Annotated[float, Field(ge=1, le=60)] = 10.0
    strong: SubsetSettings = SubsetSettings(clips=800, empty=0.03)
    weak: SubsetSettings = SubsetSettings(clips=400, events=(1, 3), domain="real")
    unlabelled: SubsetSettings = SubsetSettings(clips=1600, empty=0.03, domain="real")
    validation: SubsetSettings = SubsetSettings(clips=200, empty=0.03, domain="real")
    test: SubsetSettings = SubsetSettings(clips=300, empty=0.03, domain="real")
    domains: dict[str, DomainSettings] = Field(default={"real": DomainSettings()})
    snr_db: tuple[float, float] = (6.0, 30.0)
    background_db: Annotated[float, Field(ge=-90, le=-20)] = -50.0
    probabilities: dict[str, Annotated[float, Field(ge=0)]] = Field(default={})
    co_occurrence: dict[str, dict[str, Annotated[float, Field(ge=0)]]] = Field(default={})
    max_polyphony: Positive = 3
    same_class_gap: Annotated[float, Field(ge=0)] = 0.25
    started: Share = 0.1
    truncated: Share = 0.25
    shortest_truncated: Annotated[float, Field(ge=SHORTEST_EVENT)] = 1.0
    fade: Annotated[float, Field(ge=0, le=1)] = 0.1
    shortest_event: Annotated[float, Field(ge=0.02, le=1)] = SHORTEST_EVENT
    audible_db: float = -10.0
    longest_pause: Annotated[float, Field(ge=0)] = 0.5
    format: Literal["wav", "flac"] = "wav"

    @model_validator(mode="after")
    def _settings_agree(self) -> SynthSettings:
        if self.snr_db[0] > self.snr_db[1]:
            raise ValueError(f"snr_db: the range {list(self.snr_db)} is upside down")
        if self.snr_db[0] <= self.audible_db:
            raise ValueError("snr_db must stay above audible_db, else events cannot be heard")
        for name in SUBSETS:
            domain = self.subset(name).domain
            if domain is not None and domain not in self.domains:
                raise ValueError(f"{name}.domain: {domain!r} is none of {sorted(self.domains)}")
        if self.weak.empty:
            raise ValueError("weak.empty must be 0: a weak label names at least one class")
        return self

    def subset(self, name: Subset) -> SubsetSettings:
        """The settings of one subset."""
        settings: SubsetSettings = getattr(self, name)
        return settings


def preset_names() -> tuple[str, ...]:
    """Names of the settings that come with Earmark."""
    folder = resources.files("earmark") / "recipes" / "synth"
    return tuple(sorted(file.name[:-5] for file in folder.iterdir() if file.name.endswith(".yaml")))


def load_synth_mapping(name_or_path: str | Path) -> dict[str, Any]:
    """Read settings by preset name or from a YAML file, not yet checked.

    So they can be overridden first.

    Raises:
        ConfigError: There is no such preset or file, or it is no YAML mapping.
    """
    name = str(name_or_path)
    if name in preset_names():
        with resources.as_file(
            resources.files("earmark") / "recipes" / "synth" / f"{name}.yaml"
        ) as path:
            return load_yaml(path)
    if Path(name).suffix.lower() in (".yaml", ".yml"):
        return load_yaml(name)
    raise ConfigError(
        f"no synth recipe {name!r}",
        mend=f"Name one of {', '.join(preset_names())}, or a .yaml file.",
    )


def load_synth_settings(name_or_path: str | Path) -> SynthSettings:
    """Settings by preset name or from a YAML file.

    Raises:
        ConfigError: There is no such preset or file, or a setting is not valid.
    """
    return parse_settings(SynthSettings, load_synth_mapping(name_or_path), name_or_path)
