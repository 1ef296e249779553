"""What the channels of a recording have to do with each other: dead, cancelling, arriving apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CANCELLED = 0.1
"""The mean's power beside that of independent channels, below which channels cancel each other."""
DEAD = 1e-4
"""Of the loudest channel's power (-40 dB), below which a channel has nothing but its own noise."""
APART = 0.3
"""Height of the cross-correlation's peak, of 1, from which channels are the same sound, later."""
EARLIEST = 2e-4
"""Seconds of delay from which the mean loses what is heard: the first notch is at 2.5 kHz."""
_SEGMENT = 4096  # samples of a spectrum
_SECONDS = 60.0  # that spectra are taken of, of a recording


class ChannelSurvey:
    """Looks at the channels of a recording, block by block.

    Delays are those of each channel against the first, by the peak of their cross-correlation with
    the phases alone (Knapp and Carter, "The generalized correlation method for estimation of time
    delay", 1976), up to half a segment of 4096 samples.

    Args:
        channels: How many there are.
        rate: Samples per second.
    """

    def __init__(self, channels: int, rate: int) -> None:
        self.channels, self.rate = channels, rate
        self._products = np.zeros((channels, channels))  # [C, C]
        self._cross = np.zeros((_SEGMENT // 2 + 1, channels), dtype=np.complex128)  # [F, C]
        self._window = np.hanning(_SEGMENT)[:, None]
        self._seen = 0

    def push(self, block: NDArray[np.floating]) -> None:
        """Takes the next samples [s, C] of full scale 1."""
        values = block.astype(np.float64)
        self._products += values.T @ values
        whole = len(values) // _SEGMENT
        if whole and self._seen < _SECONDS * self.rate:
            parts = values[: whole * _SEGMENT].reshape(whole, _SEGMENT, self.channels)
            spectra = np.fft.rfft(parts * self._window, axis=1)  # [N, F, C]
            self._cross += (spectra * spectra[:, :, :1].conj()).sum(0)
        self._seen += len(values)

    @property
    def live(self) -> list[int]:
        """Channels with sound, from 0."""
        power = self._products.diagonal()
        return [n for n in range(self.channels) if power[n] > DEAD * power.max()]

    @property
    def loudest(self) -> int:
        """The channel with the most power, from 0."""
        return int(self._products.diagonal().argmax())

    @property
    def cancel(self) -> bool:
        """Whether little is left of the mean of the channels with sound."""
        live = self.live
        own = self._products[np.ix_(live, live)]
        return len(live) > 1 and float(own.sum()) < CANCELLED * float(own.trace())

    @property
    def delay(self) -> float:
        """The longest delay between channels with sound, in seconds; 0 where they arrive as one."""
        live, most = self.live, 0.0
        if 0 not in live or len(live) < 2:
            return 0.0
        for number in live[1:]:
            cross = self._cross[:, number]
            sure = np.abs(cross) > 1e-12 * max(float(np.abs(cross).max()), 1e-300)
            phases = np.where(sure, cross / np.where(sure, np.abs(cross), 1.0), 0.0)
            peaks = np.fft.irfft(phases)  # [lags], negative ones at the end
            place = int(np.abs(peaks).argmax())
            lag = min(place, _SEGMENT - place) / self.rate
            if lag >= EARLIEST and abs(peaks[place]) >= APART:
                most = max(most, lag)
        return most

    def chosen(self) -> int | None:
        """The channel to detect in, the first being 1; None where the mean of all is better.

        The mean takes away what is noise in each, but loses what cancels, and what arrives apart
        (a comb filter): then it is the loudest channel, and so where it alone has sound.
        """
        apart = self.channels > 1 and (len(self.live) == 1 or self.cancel or self.delay > 0)
        return self.loudest + 1 if apart else None
