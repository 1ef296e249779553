"""Several suppliers as one: soundbanks side by side, synthesised sounds beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from earmark.core.errors import ConfigError, DataError
from earmark.synth.soundbank import BACKGROUND, Soundbank
from earmark.synth.sources import SynthesisedSources
from earmark.synth.supplier import (
    Samples,
    SoundOrigin,
    TracingSupplier,
    traced_background,
    traced_event,
)


class BlendedSources(TracingSupplier):
    """Recordings of several soundbanks, and synthesised sounds of the same classes.

    Every recording of a class is drawn equally often, whichever bank it is in. A class that has no
    recording in a split is synthesised there. That some of *every* class is synthesised is the
    point: were only the classes without recordings, a network would learn that what sounds
    synthetic is one of them.

    Args:
        banks: Soundbanks; they may differ in classes.
        synthesised: Probability that an event of a class with recordings is synthesised all the
            same; of a background, too.
        labels: Classes that may be synthesised without any recording; by default only classes of
            the banks are.

    Attributes:
        labels: All classes, sorted.

    Raises:
        ConfigError: ``synthesised`` is no probability, or there is no bank.
    """

    def __init__(
        self, banks: Sequence[Soundbank], synthesised: float = 0.0, labels: Sequence[str] = ()
    ) -> None:
        if not 0.0 <= synthesised <= 1.0:
            raise ConfigError(f"the synthesised fraction is {synthesised:g}, not one of 0 to 1")
        if not banks:
            raise ConfigError("blended sources need a soundbank", hint="Name one with --soundbank")
        self.banks, self.synthesised = tuple(banks), synthesised
        made = set(SynthesisedSources().labels)
        self.labels = tuple(sorted({name for bank in banks for name in bank.labels} | set(labels)))
        can = [name for name in self.labels if name in made]
        self._sources = SynthesisedSources(can) if can else None

    @property
    def fingerprint(self) -> str:
        """A short hash of the banks' files, the synthesised sounds and their fraction."""
        sources = "" if self._sources is None else self._sources.fingerprint
        parts = [*(bank.fingerprint for bank in self.banks), sources, self.synthesised, self.labels]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def traced_event(
        self, label: str, split: str, rng: np.random.Generator
    ) -> tuple[Samples, SoundOrigin]:
        """As ``event``, with where it was taken from.

        Raises:
            DataError: The class has no recording in the split and cannot be synthesised.
        """
        return traced_event(self._drawn(label, split, rng), label, split, rng)

    def traced_background(
        self, split: str, samples: int, rng: np.random.Generator
    ) -> tuple[Samples, SoundOrigin]:
        """As ``background``, with where it was taken from."""
        return traced_background(self._drawn(BACKGROUND, split, rng), split, samples, rng)

    def _drawn(
        self, label: str, split: str, rng: np.random.Generator
    ) -> Soundbank | SynthesisedSources:
        """The bank, or the synthesised sounds, that the next sound is of."""
        counts = [len(bank.recordings_of(label, split)) for bank in self.banks]
        total, sources = sum(counts), self._sources
        known = sources is not None and (label == BACKGROUND or label in sources.labels)
        if sources is not None and known and (not total or rng.random() < self.synthesised):
            return sources
        if not total:
            raise DataError(
                f"no soundbank has a recording of {label!r} for the split {split!r}",
                hint="Add recordings, or set the class's probability to 0",
            )
        chosen = int(rng.choice(len(counts), p=np.array(counts) / total))
        return self.banks[chosen]
