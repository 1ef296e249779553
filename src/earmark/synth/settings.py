"""Settings of a dataset of soundscapes, and the ones that come with Earmark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from earmark.core.config import Positive, Proportion, Settings, load_yaml, parse_settings
from earmark.core.errors import ConfigError
from earmark.core.folders import shipped_folder
from earmark.data.desed import PUBLIC, SYNTHETIC, UNLABELLED, VALIDATION, WEAK
from earmark.synth.distributions import Count, Distribution, const, uniform, within
from earmark.synth.domain import DomainSettings
from earmark.synth.supplier import SHORTEST_EVENT

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
    subset: (place.audio, place.labels or None, next(iter(place.durations), None))
    for subset, place in zip(
        SUBSETS, (SYNTHETIC, WEAK, UNLABELLED, VALIDATION, PUBLIC), strict=True
    )
}
#: Where ``truth`` puts the events of subsets whose labels say less.
TRUTH: Mapping[Subset, str] = {
    "weak": "metadata/train/weak_truth.tsv",
    "unlabelled": "metadata/train/unlabel_in_domain_truth.tsv",
}

#: Pitch moves by at most so many semitones, durations by at most this factor either way.
MOST_SEMITONES = 24.0
LONGEST_STRETCH = 4.0

Seconds = Annotated[Distribution, AfterValidator(within(0, 3600))]
Semitones = Annotated[Distribution, AfterValidator(within(-MOST_SEMITONES, MOST_SEMITONES))]
Factor = Annotated[Distribution, AfterValidator(within(1 / LONGEST_STRETCH, LONGEST_STRETCH))]


class SubsetSettings(Settings):
    """One subset of a dataset. How a *distribution* is written stands in ``distributions``.

    Attributes:
        clips: Number of clips.
        events: Distribution of the number of events, their classes drawn by ``probabilities``;
            ``[1, 4]`` is any of 1, 2, 3, 4.
        counts: Class → distribution of the number of its events. They come beside ``events``,
            which then draws other classes only.
        empty: Probability of a clip without events.
        domain: Name of the domain (a key of ``domains``) its clips are carried over into, or
            null for the mixture as it is.
    """

    clips: Annotated[int, Field(ge=0, le=10**9)] = 0
    events: Count = uniform(1, 4)
    counts: dict[str, Count] = Field(default={})
    empty: Proportion = 0.0
    domain: str | None = None

    @property
    def may_be_empty(self) -> bool:
        """Whether a clip without events can be drawn."""
        counts = (self.events, *self.counts.values())
        return self.empty > 0 or all(count.lowest < 0.5 for count in counts)


class EventSettings(Settings):
    """What events are like; each is a distribution.

    Attributes:
        event_time: Onset in the clip, seconds; below 0 the event has begun before the clip does.
            Null places it anywhere where a label's shortest length is heard, and lets a
            fraction ``started`` begin before.
        source_time: Seconds left out at the beginning of the source's sound.
        duration: Seconds taken from the source, before stretching; null takes what there is,
            but for the fraction ``truncated``.
        snr_db: Event-to-background ratio, dB, by the measure ``loudness``; RMS is over the
            event's louder frames.
        pitch_shift: Semitones up; the duration stays.
        time_stretch: Factor of the duration; the pitch stays.
        protected: Whether events are used whole: not cut, and placed within the clip. One longer
            than the clip is drawn again.
    """

    event_time: Distribution | None = None
    source_time: Seconds = const(0)
    duration: Seconds | None = None
    snr_db: Distribution = uniform(6, 30)
    pitch_shift: Semitones = const(0)
    time_stretch: Factor = const(1)
    protected: bool = False


class ClassSettings(Settings):
    """What events of one class are like where they differ from the others; null is no difference.

    The attributes are those of ``EventSettings``.
    """

    event_time: Distribution | None = None
    source_time: Seconds | None = None
    duration: Seconds | None = None
    snr_db: Distribution | None = None
    pitch_shift: Semitones | None = None
    time_stretch: Factor | None = None
    protected: bool | None = None


class RoomSettings(Settings):
    """A room for the events of a clip; the background has its own already.

    (A ``domain`` may put the whole mixture into a room, through a microphone, and so on.)

    Attributes:
        probability: That a clip's events are in a room.
        rt60: Distribution of the seconds in which its reverberation falls by 60 dB.
        direct_db: Distribution of the direct-to-reverberant energy ratio, dB.
    """

    probability: Proportion = 1.0
    rt60: Annotated[Distribution, AfterValidator(within(0.05, 5))] = uniform(0.15, 0.9)
    direct_db: Annotated[Distribution, AfterValidator(within(-30, 30))] = uniform(0, 15)


class SoundbankSettings(Settings):
    """How a folder of recordings is used.

    Attributes:
        events: ``active`` takes one sounding stretch of a recording, found by an energy gate;
            ``whole`` takes the recording as it is, for collections that are trimmed already.
        background: How a background shorter than the clip is lengthened: ``crossfade`` joins
            random stretches of it, ``loop`` repeats it in order, each seam cross-faded.
    """

    events: Literal["active", "whole"] = "active"
    background: Literal["crossfade", "loop"] = "crossfade"


class SynthSettings(EventSettings):
    """What soundscapes of a dataset are like; the settings of all events are at the top.

    Attributes:
        seconds: Length of a clip.
        strong: Strongly labelled training clips.
        weak: Training clips labelled by class only; one is never empty.
        unlabelled: Training clips without labels.
        validation: Strongly labelled clips for choosing and tuning.
        test: Strongly labelled clips for the final figures.
        domains: Named domains that subsets refer to.
        classes: Class → what its events are like where they differ.
        loudness: How levels are measured: ``rms``, or ``lufs`` (ITU-R BS.1770-4, as Scaper does).
        background_db: Distribution of the background's level, dB relative to full scale or LUFS.
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
        room: Where the events sound, or null for as they are.
        soundbank: How recordings are used.
        shortest_event: Least length of a label, seconds.
        audible_db: An event is heard in the frames in which it is louder than the background plus
            so many dB (below 0, since an event's spectrum seldom is the background's). A label
            spans the heard frames.
        longest_pause: Seconds of unheard frames that a label may span; a longer pause makes two
            labels of the event.
        format: Kind of the audio files. ``wav`` is written and read faster, ``flac`` is smaller.
        jams: Write a JAMS file beside each strongly labelled clip: what it was mixed from
            (namespace ``scaper``) and where it is heard (``tag_open``).
        truth: Write the events of weak and unlabelled clips, too, beside the labels that training
            sees: the ceiling of an experiment, or strong labels in every domain.
    """

    seconds: Annotated[float, Field(ge=1, le=60)] = 10.0
    strong: SubsetSettings = SubsetSettings(clips=800, empty=0.03)
    weak: SubsetSettings = SubsetSettings(clips=400, events=uniform(1, 3), domain="real")
    unlabelled: SubsetSettings = SubsetSettings(clips=1600, empty=0.03, domain="real")
    validation: SubsetSettings = SubsetSettings(clips=200, empty=0.03, domain="real")
    test: SubsetSettings = SubsetSettings(clips=300, empty=0.03, domain="real")
    domains: dict[str, DomainSettings] = Field(default={"real": DomainSettings()})
    classes: dict[str, ClassSettings] = Field(default={})
    loudness: Literal["rms", "lufs"] = "rms"
    background_db: Annotated[Distribution, AfterValidator(within(-90, -20))] = const(-50)
    probabilities: dict[str, Annotated[float, Field(ge=0)]] = Field(default={})
    co_occurrence: dict[str, dict[str, Annotated[float, Field(ge=0)]]] = Field(default={})
    max_polyphony: Positive = 3
    same_class_gap: Annotated[float, Field(ge=0)] = 0.25
    started: Proportion = 0.1
    truncated: Proportion = 0.25
    shortest_truncated: Annotated[float, Field(ge=SHORTEST_EVENT)] = 1.0
    fade: Annotated[float, Field(ge=0, le=1)] = 0.1
    room: RoomSettings | None = None
    soundbank: SoundbankSettings = SoundbankSettings()
    shortest_event: Annotated[float, Field(ge=0.02, le=1)] = SHORTEST_EVENT
    audible_db: float = -10.0
    longest_pause: Annotated[float, Field(ge=0)] = 0.5
    format: Literal["wav", "flac"] = "wav"
    jams: bool = False
    truth: bool = False

    @model_validator(mode="after")
    def _settings_agree(self) -> SynthSettings:
        levels = {"snr_db": self.snr_db}
        levels |= {f"classes.{name}.snr_db": self.event(name).snr_db for name in self.classes}
        for where, snr in levels.items():
            if snr.kind != "normal" and snr.lowest <= self.audible_db:
                raise ValueError(f"{where} must stay above audible_db, or events are inaudible")
        for name in SUBSETS:
            domain = self.subset(name).domain
            if domain is not None and domain not in self.domains:
                raise ValueError(f"{name}.domain: {domain!r} is not one of {sorted(self.domains)}")
        if self.weak.may_be_empty:
            raise ValueError(
                "weak.empty must be 0 and weak.events at least 1: a weak label names a class"
            )
        return self

    def event(self, label: str) -> EventSettings:
        """What events of a class are like."""
        shared = {name: getattr(self, name) for name in EventSettings.model_fields}
        own = self.classes.get(label)
        if own is not None:
            differing = {name: getattr(own, name) for name in EventSettings.model_fields}
            shared |= {name: value for name, value in differing.items() if value is not None}
        return EventSettings.model_construct(**shared)

    def subset(self, name: Subset) -> SubsetSettings:
        """The settings of one subset."""
        settings: SubsetSettings = getattr(self, name)
        return settings


def _presets() -> dict[str, Path]:
    return {file.stem: file for file in sorted(shipped_folder("recipes").glob("synth/*.yaml"))}


def preset_names() -> tuple[str, ...]:
    """Names of the settings that come with Earmark."""
    return tuple(_presets())


def load_synth_mapping(name_or_path: str | Path) -> dict[str, Any]:
    """Read settings by preset name or from a YAML file, not yet checked.

    So they can be overridden first.

    Raises:
        ConfigError: There is no such preset or file, or it is not a YAML mapping.
    """
    name, presets = str(name_or_path), _presets()
    if name in presets or Path(name).suffix.lower() in (".yaml", ".yml"):
        return load_yaml(presets.get(name, Path(name)))
    raise ConfigError(
        f"no synth recipe {name!r}",
        hint=f"Name one of {', '.join(presets)}, or a .yaml file.",
    )


def load_synth_settings(name_or_path: str | Path) -> SynthSettings:
    """Settings by preset name or from a YAML file.

    Raises:
        ConfigError: There is no such preset or file, or a setting is not valid.
    """
    return parse_settings(SynthSettings, load_synth_mapping(name_or_path), name_or_path)
