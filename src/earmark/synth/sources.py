"""Synthesised sounds of the ten DESED classes and of rooms: the supplier that needs no download.

Every sound is computed from a random stream; nothing is recorded. The models are simple and
physical (harmonics of motors, damped modes, glottal pulses through a moving tract, bubbles, …) and
their parameters are drawn widely: a detector is better served by variety than by beauty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from zlib import crc32

import numpy as np
from scipy import fft

from earmark.core.errors import LabelError
from earmark.core.timeline import SAMPLE_RATE
from earmark.synth.sounds import alarms, animals, backgrounds, impacts, motors, noise, voice
from earmark.synth.sounds.shaping import (
    Array,
    band,
    decibels,
    level,
    log_uniform,
    random_spectrum,
    seconds,
    swell,
    tilted_noise,
    trimmed,
)
from earmark.synth.supplier import LONGEST_EVENT, SHORTEST_EVENT, Samples

#: Of the synthesised sounds. Datasets that another version began are refused, so it goes up with
#: every change that moves a sample by more than a step of 16 bits, and with no other.
SOUNDS_VERSION = 1

_PEAK = 0.9
_ATTEMPTS = 16

_EVENTS: dict[str, Callable[[np.random.Generator], Array]] = {
    "Alarm_bell_ringing": alarms.alarm,
    "Blender": motors.blender,
    "Cat": animals.cat,
    "Dishes": impacts.dishes,
    "Dog": animals.dog,
    "Electric_shaver_toothbrush": motors.shaver,
    "Frying": noise.frying,
    "Running_water": noise.running_water,
    "Speech": voice.speech,
    "Vacuum_cleaner": motors.vacuum,
}
SYNTHESISED_LABELS: tuple[str, ...] = tuple(_EVENTS)


class SynthesisedSources:
    """Supplies synthesised events and backgrounds at 16 kHz.

    Splits never share a random stream: the generator of a sound is seeded with the split's and
    the label's names as well as with a number drawn from the caller's generator. So the same
    seed gives different sounds in "synthetic", "real", "validation" and "test".

    Args:
        labels: The classes to supply, among `SYNTHESISED_LABELS`; all ten when None.

    Raises:
        LabelError: If a label is not among them, or none is given.
    """

    def __init__(self, labels: Iterable[str] | None = None) -> None:
        chosen = SYNTHESISED_LABELS if labels is None else tuple(sorted(set(labels)))
        if not chosen:
            raise LabelError("no class was asked for", hint=_hint())
        for label in chosen:
            _check(label, SYNTHESISED_LABELS)
        self.labels: tuple[str, ...] = chosen

    @property
    def fingerprint(self) -> str:
        """The version of the sounds."""
        return f"sounds-{SOUNDS_VERSION}"

    def event(self, label: str, split: str, rng: np.random.Generator) -> Samples:
        """Synthesise one isolated event.

        Args:
            label: One of ``labels``.
            split: Name of the split the event is for.
            rng: Advanced by one draw; its state decides the sound.

        Returns:
            The event [S] at 16 kHz, 0.15–10 s, peak 0.9, without silence at its ends.

        Raises:
            LabelError: If the label is not supplied.
        """
        _check(label, self.labels)
        stream = _stream(split, label, rng)
        for _ in range(_ATTEMPTS):
            narrow = 0.5 if label == "Speech" else 0.3
            taken = _record(stream, _EVENTS[label](stream), narrow)
            signal = trimmed(taken)[: int(LONGEST_EVENT * SAMPLE_RATE)]
            if len(signal) >= SHORTEST_EVENT * SAMPLE_RATE:
                return _normalised(_on_tape(stream, signal))
        raise RuntimeError(f"no {label} of at least {SHORTEST_EVENT} s in {_ATTEMPTS} attempts")

    def background(self, split: str, samples: int, rng: np.random.Generator) -> Samples:
        """Synthesise a room's background, without any of the ten classes.

        Args:
            split: Name of the split it is for.
            samples: Length at 16 kHz, at least one.
            rng: Advanced by one draw; its state decides the sound.

        Returns:
            The background [samples], peak 0.9.

        Raises:
            ValueError: If ``samples`` is below one.
        """
        if samples < 1:
            raise ValueError("a background needs at least one sample")
        stream = _stream(split, "background", rng)
        # a very short one is cut from a second, so that its spectrum can still be shaped
        return _normalised(backgrounds.background(stream, max(samples, SAMPLE_RATE))[:samples])


def _stream(split: str, label: str, rng: np.random.Generator) -> np.random.Generator:
    """Start the random stream of one sound: apart by split, by label, and by the caller's rng."""
    name = crc32(f"{split}/{label}".encode())
    return np.random.default_rng([name, int(rng.integers(2**63))])


def _record(rng: np.random.Generator, signal: Array, narrow: float) -> Array:
    """Take the sound up: a plain microphone's response, and in half of the cases a small room.

    Sounds of one class then differ as recordings do, not only as their sources do. The room is an
    exponentially decaying noise, 50–400 ms for 60 dB, weaker than the direct sound. With the
    probability ``narrow`` the band ends at 3.3–7.5 kHz, as of telephones and old cameras.
    """
    tail = seconds(log_uniform(rng, 0.05, 0.4)) if rng.random() < 0.5 else 1
    size = int(fft.next_fast_len(len(signal) + tail, real=True))
    frequencies = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    coarse = np.linspace(0, SAMPLE_RATE / 2, 257)
    response = random_spectrum(rng, coarse, rng.normal(0, 0.8), 1.5)
    response = response * band(coarse, log_uniform(rng, 25, 250), 1e6, 1.5)
    if rng.random() < narrow:
        response = response * band(coarse, 0.0, log_uniform(rng, 3_300, 7_500), 8.0)
    spectrum = fft.rfft(signal, size) * np.interp(frequencies, coarse, response)
    if tail > 1:
        decay = rng.standard_normal(tail) * np.exp(-6.91 * np.arange(tail) / tail)
        decay *= rng.uniform(0.05, 0.7) / np.sqrt(np.sum(decay**2))
        decay[0] = 1.0
        spectrum = spectrum * fft.rfft(decay, size)
    return np.asarray(fft.irfft(spectrum, size)[: len(signal) + tail])


def _on_tape(rng: np.random.Generator, signal: Array) -> Array:
    """Leave a recording's own noise under some events, 14–60 dB below their level: [S].

    An event cut out of a recording brings that along, in its pauses too.
    """
    if rng.random() < 0.4 or len(signal) < SAMPLE_RATE // 8:
        return signal
    floor = tilted_noise(rng, len(signal), rng.uniform(-8, 0), 3.0) * swell(len(signal), 0.01, 0.01)
    return signal + floor * level(signal) * decibels(rng.uniform(-60.0, -14.0))


def _normalised(signal: Array) -> Samples:
    scale = _PEAK / (float(np.abs(signal).max()) + 1e-12)
    return np.asarray(signal * scale, dtype=np.float32)


def _check(label: str, known: Iterable[str]) -> None:
    if label not in known:
        raise LabelError(f"no synthesised source is called {label!r}", hint=_hint())


def _hint() -> str:
    return f"Choose among {', '.join(SYNTHESISED_LABELS)}."
