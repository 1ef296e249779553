"""One soundscape: a background with events on top, and labels where they are heard.

Each event has a signal-to-noise ratio of its own over a background of known level, as in Scaper
(Salamon et al., WASPAA 2017) and in DESED's synthetic part. All randomness comes from one
generator, so equal generators and settings give equal samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from earmark.core.event import Event
from earmark.core.timeline import samples_to_seconds, seconds_to_samples
from earmark.synth.domain import apply_domain, reverberate, room_response
from earmark.synth.loudness import at_level
from earmark.synth.placing import Ingredient, LeftOut, Scene, place_events
from earmark.synth.settings import SPLIT_OF, SUBSETS, Subset, SynthSettings
from earmark.synth.supplier import Samples, Supplier, traced_background


@dataclass(frozen=True)
class Soundscape:
    """A clip and what sounds in it.

    Attributes:
        audio: Samples [S] at 16 kHz, peak at most 1.
        events: In order of onset.
        ingredients: What it was mixed from: the background, then the events as they were placed.
        left_out: Events that were drawn and have no place in it.
    """

    audio: Samples
    events: list[Event]
    ingredients: tuple[Ingredient, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


def make_soundscape(
    supplier: Supplier,
    split: str,
    settings: SynthSettings,
    rng: np.random.Generator,
    *,
    subset: Subset | None = None,
) -> Soundscape:
    """Make one soundscape.

    Args:
        supplier: Where sounds come from.
        split: Which of its sounds may be used, one of ``SPLITS``.
        settings: What soundscapes are like.
        rng: Source of all randomness.
        subset: Whose number of events and domain to use; by default the first that draws from
            this split.

    Returns:
        The soundscape. Its labels span the audible part of each placed event, clipped to the
        clip and at least ``shortest_event`` long.

    Raises:
        DataError: The supplier has no such sound.
        ConfigError: No class of the supplier has a probability above 0.
    """
    first_of_split = next(name for name in SUBSETS if SPLIT_OF[name] == split)
    own = settings.subset(subset or first_of_split)
    size = seconds_to_samples(settings.seconds)
    level = settings.background_db.draw(rng, -90, -20)
    background, origin = traced_background(supplier, split, size, rng)
    mixture = at_level(background, level, settings.loudness).copy()
    response = _response(settings, rng)
    scene = Scene(supplier, split, settings, own, level)
    behind = Ingredient("background", origin.source, origin.seconds, 0.0, settings.seconds)
    ingredients = [replace(behind, role="background")]
    events: list[Event] = []
    placements, left_out = place_events(scene, rng)
    for placed in placements:
        _add(mixture, placed.start, placed.samples, response)
        ingredients.append(placed.ingredient)
        for first, last in placed.heard:
            events.append(_label(placed.label, placed.start + first, placed.start + last, settings))
    if own.domain is not None:
        mixture = apply_domain(mixture, settings.domains[own.domain], rng)
    peak = float(np.max(np.abs(mixture)))
    if peak > 1:
        mixture /= np.float32(peak)
    return Soundscape(mixture, sorted(events), tuple(ingredients), tuple(left_out))


def make_recording(
    supplier: Supplier,
    split: str,
    settings: SynthSettings,
    generators: Iterable[np.random.Generator],
    *,
    subset: Subset | None = None,
) -> Soundscape:
    """Make a recording longer than a clip: soundscapes one after the other.

    Args:
        supplier: As for `make_soundscape`, like all arguments not named here.
        split: …
        settings: …
        generators: The source of each soundscape's randomness; as many as soundscapes.
        subset: …

    Returns:
        Audio and events of all of them, without the ingredients.
    """
    clips: list[Samples] = []
    events: list[Event] = []
    for rng in generators:
        begin = settings.seconds * len(clips)
        scene = make_soundscape(supplier, split, settings, rng, subset=subset)
        events += [
            Event(begin + event.onset, begin + event.offset, event.event_label)
            for event in scene.events
        ]
        clips.append(scene.audio)
    return Soundscape(np.concatenate(clips), events)


def _response(settings: SynthSettings, rng: np.random.Generator) -> Samples | None:
    """The room of a clip's events: none, or one drawn for all of them."""
    room = settings.room
    if room is None or rng.random() >= room.probability:
        return None
    return room_response(room.rt60.draw(rng, 0.05, 5.0), room.direct_db.draw(rng, -30, 30), rng)


def _add(mixture: Samples, start: int, samples: Samples, response: Samples | None) -> None:
    """Add an event to a clip, with its reverberation where it has any."""
    if response is not None:
        room_left = mixture.size - start - samples.size
        samples = np.pad(samples, (0, min(response.size - 1, room_left)))
        samples = reverberate(samples, response)
    mixture[start : start + samples.size] += samples


def _label(label: str, start: int, stop: int, settings: SynthSettings) -> Event:
    """Seconds of a label, widened to the shortest one within the clip."""
    size = seconds_to_samples(settings.seconds)
    shortest = seconds_to_samples(settings.shortest_event)
    stop = min(size, max(stop, start + shortest))
    start = max(0, min(start, stop - shortest))
    return Event(samples_to_seconds(start), samples_to_seconds(stop), label)
