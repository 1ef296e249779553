"""Events of a soundscape: which, cut and changed how, how loud, and where they stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from earmark.core.errors import ConfigError
from earmark.core.timeline import samples_to_seconds, seconds_to_samples
from earmark.synth.loudness import FRAME, at_level, heard_power, level_power, runs
from earmark.synth.settings import (
    LONGEST_STRETCH,
    MOST_SEMITONES,
    EventSettings,
    SubsetSettings,
    SynthSettings,
)
from earmark.synth.stretching import change
from earmark.synth.supplier import Samples, SoundOrigin, Supplier, traced_event

_SHORTEST_HEARD = 3  # frames of 10 ms
_PLACES = 16  # onsets tried for an event before it is left out
_DRAWS = 8  # sounds tried for a protected event before it is left out
_EDGE_FADE = seconds_to_samples(0.005)
_LOUDEST_SNR = 100.0  # dB


@dataclass(frozen=True)
class Ingredient:
    """One sound of a soundscape, as it was taken and changed.

    Attributes:
        label: Its class; ``background`` for the background.
        source: File it was taken from; empty where the supplier does not say.
        source_time: Where in the file it begins, seconds.
        onset: Where it begins in the clip, seconds.
        duration: How long it sounds in the clip, reverberation left out, seconds.
        snr_db: Its level over the background's, dB; 0 for the background.
        pitch_shift: Semitones.
        time_stretch: Factor of its duration.
        role: ``foreground`` or ``background``.
    """

    label: str
    source: str
    source_time: float
    onset: float
    duration: float
    snr_db: float = 0.0
    pitch_shift: float = 0.0
    time_stretch: float = 1.0
    role: Literal["foreground", "background"] = "foreground"


@dataclass(frozen=True)
class Scene:
    """What holds for all events of a clip.

    Attributes:
        supplier: Where sounds come from.
        split: Which of them may be used.
        settings: What soundscapes are like.
        subset: What clips of this subset are like.
        level: Of the background, dB (or LUFS).
    """

    supplier: Supplier
    split: str
    settings: SynthSettings
    subset: SubsetSettings
    level: float

    @property
    def threshold(self) -> float:
        """Mean square above which a frame of an event is heard, weighted as levels are."""
        return level_power(self.level + self.settings.audible_db, self.settings.loudness)

    @property
    def size(self) -> int:
        """Samples of the clip."""
        return seconds_to_samples(self.settings.seconds)

    @property
    def shortest(self) -> int:
        """Samples of the shortest label."""
        return seconds_to_samples(self.settings.shortest_event)


@dataclass(frozen=True)
class Placed:
    """An event in the clip.

    Attributes:
        start: Its first sample in the clip.
        samples: What sounds from there on [N], at its level in the mixture.
        heard: Ranges of samples, counted from ``start``, that stand out of the background.
        ingredient: Where it is from.
    """

    start: int
    samples: Samples
    heard: list[tuple[int, int]]
    ingredient: Ingredient

    @property
    def label(self) -> str:
        """Its class."""
        return self.ingredient.label

    @property
    def stop(self) -> int:
        """The sample after its last one."""
        return self.start + self.samples.size


class LeftOut(NamedTuple):
    """An event that was drawn and has no place in the clip: its class, and why."""

    label: str
    why: str


def place_events(scene: Scene, rng: np.random.Generator) -> tuple[list[Placed], list[LeftOut]]:
    """Draw the events of a clip and places for them; one that fits nowhere is left out.

    Returns:
        The events in their places, and those that are left out.

    Raises:
        DataError: The supplier has no such sound.
        ConfigError: An event is to be drawn, but no class has a probability above 0.
    """
    placed: list[Placed] = []
    left_out: list[LeftOut] = []
    for wanted in _wanted(scene.subset, rng):
        label = wanted or _draw_label(scene, [event.label for event in placed], rng)
        sound = _prepared(scene, label, rng)
        if sound is None:
            left_out.append(LeftOut(label, "longer than the clip"))
            continue
        heard = False
        for place in _places(scene, sound, rng):
            heard = heard or bool(place.heard)
            if place.heard and _fits(place, placed, scene.settings):
                placed.append(place)
                break
        else:
            why = "no room beside the others" if heard else "not heard over the background"
            left_out.append(LeftOut(label, why))
    return placed, left_out


def _wanted(subset: SubsetSettings, rng: np.random.Generator) -> list[str | None]:
    """Classes of the events to draw; None is one to be drawn by probability."""
    if rng.random() < subset.empty:
        return []
    named: list[str | None] = []
    for label, count in sorted(subset.counts.items()):
        named += [label] * count.draw_count(rng)
    return [*named, *[None] * subset.events.draw_count(rng)]


def _draw_label(scene: Scene, present: Sequence[str], rng: np.random.Generator) -> str:
    settings, labels = scene.settings, scene.supplier.labels
    weights = np.array(
        [
            0.0 if label in scene.subset.counts else settings.probabilities.get(label, 1.0)
            for label in labels
        ]
    )
    if not weights.sum() > 0:
        raise ConfigError(
            "probabilities: no class has a probability above 0",
            hint="Classes with counts of their own are not drawn besides; events: 0 draws none",
        )
    factors = np.ones(len(labels))
    for other in sorted(set(present)):
        table = settings.co_occurrence.get(other, {})
        factors *= [table.get(label, 1.0) for label in labels]
    if (weights * factors).sum() > 0:  # else everything is excluded by what is there already
        weights = weights * factors
    return labels[int(rng.choice(len(labels), p=weights / weights.sum()))]


@dataclass(frozen=True)
class _Sound:
    """An event that looks for a place; its ingredient does not know yet where it stands."""

    samples: Samples
    ingredient: Ingredient
    own: EventSettings


def _prepared(scene: Scene, label: str, rng: np.random.Generator) -> _Sound | None:
    """A sound of a class, cut, changed and at its level; None if a protected one is too long."""
    own = scene.settings.event(label)
    for _ in range(_DRAWS):
        samples, origin = traced_event(scene.supplier, label, scene.split, rng)
        if not own.protected:
            samples, origin = _cut(samples, origin, own, scene.settings, rng)
        semitones = own.pitch_shift.draw(rng, -MOST_SEMITONES, MOST_SEMITONES)
        factor = own.time_stretch.draw(rng, 1 / LONGEST_STRETCH, LONGEST_STRETCH)
        samples = change(samples, semitones, factor)
        if not (own.protected and samples.size > scene.size):
            break
    else:
        return None
    snr = own.snr_db.draw(rng, scene.settings.audible_db, _LOUDEST_SNR)
    levelled = at_level(samples, scene.level + snr, scene.settings.loudness, loud_frames=True)
    known = Ingredient(label, origin.source, origin.seconds, 0.0, 0.0, snr, semitones, factor)
    return _Sound(levelled, known, own)


def _cut(
    samples: Samples,
    origin: SoundOrigin,
    own: EventSettings,
    settings: SynthSettings,
    rng: np.random.Generator,
) -> tuple[Samples, SoundOrigin]:
    """The stretch of a sound that is wanted; it gets shorter only, never silent."""
    shortest = seconds_to_samples(settings.shortest_event)
    wanted = samples.size
    if own.duration is not None:
        seconds = own.duration.draw(rng, settings.shortest_event, settings.seconds)
        wanted = min(samples.size, max(shortest, seconds_to_samples(seconds)))
    latest = samples.size - (wanted if own.duration is not None else min(shortest, wanted))
    skipped = min(latest, seconds_to_samples(own.source_time.draw(rng, 0.0, settings.seconds)))
    if skipped:
        samples = samples[skipped:].copy()
        edge = min(_EDGE_FADE, samples.size)
        samples[:edge] *= np.linspace(0, 1, edge, dtype=np.float32)
        origin = replace(origin, seconds=origin.seconds + samples_to_seconds(skipped))
    if own.duration is None:
        return _truncated(samples, settings, rng), origin
    return _faded(samples, wanted, settings), origin


def _truncated(sound: Samples, settings: SynthSettings, rng: np.random.Generator) -> Samples:
    """Now and then, let a long event end early, faded out."""
    shortest = seconds_to_samples(settings.shortest_truncated)
    if rng.random() >= settings.truncated or sound.size <= shortest:
        return sound
    return _faded(sound, int(rng.integers(shortest, sound.size)), settings)


def _faded(sound: Samples, size: int, settings: SynthSettings) -> Samples:
    """The beginning of a sound, faded out where something is cut off."""
    if size >= sound.size:
        return sound
    sound = sound[:size].copy()
    fade = min(seconds_to_samples(settings.fade), sound.size)
    if fade:
        sound[sound.size - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return sound


def _places(scene: Scene, sound: _Sound, rng: np.random.Generator) -> Iterator[Placed]:
    """Places for an event, drawn one after the other and cut where they leave the clip."""
    for _ in range(_PLACES):
        start = _draw_start(scene, sound, rng)
        cut = max(0, -start)
        samples = sound.samples[cut : cut + scene.size - max(0, start)]
        start = max(0, start)
        known = replace(
            sound.ingredient,
            onset=samples_to_seconds(start),
            duration=samples_to_seconds(samples.size),
            # what is cut off the beginning is longer or shorter in the source
            source_time=sound.ingredient.source_time
            + samples_to_seconds(cut) / sound.ingredient.time_stretch,
        )
        yield Placed(start, samples, _heard(samples, scene), known)


def _draw_start(scene: Scene, sound: _Sound, rng: np.random.Generator) -> int:
    """First sample of an event in the clip; below 0 where it had begun before the clip."""
    settings, size, length = scene.settings, scene.size, sound.samples.size
    shortest = min(scene.shortest, length)
    whole = sound.own.protected
    first, last = (0, size - length) if whole else (shortest - length, size - shortest)
    if sound.own.event_time is not None:
        low, high = samples_to_seconds(first), samples_to_seconds(last)
        drawn = seconds_to_samples(sound.own.event_time.draw(rng, low, high))
        return min(max(drawn, first), last)
    if whole:
        return int(rng.integers(0, last + 1))
    if rng.random() < settings.started and length > shortest:
        return -int(rng.integers(1, length - shortest + 1))
    return int(rng.integers(0, size - shortest + 1))


def _fits(event: Placed, placed: Sequence[Placed], settings: SynthSettings) -> bool:
    """No event of its class too near, and nowhere more events at once than allowed."""
    gap = seconds_to_samples(settings.same_class_gap)
    over = [other for other in placed if other.start < event.stop and event.start < other.stop]
    for other in placed:
        near = other.start < event.stop + gap and event.start < other.stop + gap
        if near and other.label == event.label:
            return False
    # The count of overlapping events can only rise where one of them, or the new one, starts.
    for moment in [event.start, *(other.start for other in over)]:
        if event.start <= moment:
            sounding = sum(other.start <= moment < other.stop for other in over)
            if sounding + 1 > settings.max_polyphony:
                return False
    return True


def _heard(samples: Samples, scene: Scene) -> list[tuple[int, int]]:
    """Ranges of samples that stand out of the background, joined over short pauses.

    A range of fewer than ``_SHORTEST_HEARD`` frames is no event beside longer ones.
    """
    bridge = seconds_to_samples(scene.settings.longest_pause) // FRAME
    found = runs(heard_power(samples, scene.settings.loudness) >= scene.threshold, bridge)
    lasting = [run for run in found if run[1] - run[0] >= _SHORTEST_HEARD]
    if found and not lasting:
        lasting = [max(found, key=lambda run: run[1] - run[0])]
    return [(start * FRAME, min(stop * FRAME, samples.size)) for start, stop in lasting]
