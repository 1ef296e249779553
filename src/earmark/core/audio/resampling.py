"""From many channels to one, and from one sample rate to another, block by block."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from earmark.core.audio.channels import ChannelSurvey
from earmark.core.audio.samples import check_range
from earmark.core.errors import AudioError
from earmark.core.timeline import resampled_length

_log = logging.getLogger(__name__)
QUALITY = "HQ"
"""Of soxr: 20 bits, linear phase."""


def to_mono(block: NDArray[Any], name: str, channel: int | None = None) -> NDArray[np.float32]:
    """One channel, or the mean of all, as float32 of full scale 1.

    Args:
        block: [s, channels], floats of full scale 1 or whole numbers of their type's scale.
        name: Of the recording, for errors.
        channel: Number of a channel, the first being 1; the mean of all when None.

    Returns:
        [s].

    Raises:
        AudioError: If there is no such channel, or samples are not finite.
    """
    if channel is not None:
        if not 1 <= channel <= block.shape[1]:
            raise AudioError(
                f"there is no channel {channel}, but {block.shape[1]} of them",
                where=name,
                hint="The first channel is 1",
            )
        block = block[:, channel - 1 : channel]
    if block.dtype.kind in "iu":
        half = 2.0 ** (8 * block.dtype.itemsize - 1)
        block = (block - (half if block.dtype.kind == "u" else 0.0)) / half
    else:
        check_range(block, name)
    mono = np.asarray(block.mean(axis=1, dtype=np.float64), dtype=np.float32)
    if not np.isfinite(mono).all():
        raise AudioError(
            "the recording has samples that are not finite numbers (NaN or infinite)",
            where=name,
            hint="Export it again, or leave it out",
        )
    return mono


def channels_of(block: NDArray[Any], name: str) -> NDArray[np.float32]:
    """All channels [s, channels] of a block, each as of `to_mono`."""
    return np.stack([to_mono(block, name, n + 1) for n in range(block.shape[1])], axis=1)


def mono_blocks(
    blocks: Iterable[NDArray[Any]], name: str, rate: int, channel: int | None = None
) -> Iterator[NDArray[np.float32]]:
    """`to_mono` of every block of a recording; at its end reports what spoils it.

    That is digital silence, channels that cancel each other, and the same sound that arrives later
    in one of them.
    """
    power, survey = 0.0, None
    for block in blocks:
        mono = to_mono(block, name, channel)
        power += float(np.square(mono, dtype=np.float64).sum())
        if channel is None and block.shape[1] > 1:
            survey = survey or ChannelSurvey(block.shape[1], rate)
            survey.push(channels_of(block, name))
        yield mono
    if survey is not None and survey.cancel:
        _log.warning(
            "%s: its channels cancel each other, little is left of their mean; choose one of them "
            "(--channels auto)",
            name,
        )
    elif power == 0.0:
        _log.warning("%s: nothing but digital silence", name)
    elif survey is not None and survey.delay:
        _log.warning(
            "%s: the same sound arrives in one channel %.1f ms later than in another, and their "
            "mean loses part of it; choose one of them (--channels auto)",
            name,
            1000 * survey.delay,
        )


HISTORY = 0.5
"""Seconds of audio that a saved resampler keeps: many times the length of its filter."""


class Resampler:
    """Changes the rate of audio that arrives in blocks.

    What it gives does not depend on how the audio was split into blocks, and its total length is
    exactly `earmark.core.timeline.resampled_length`. The filter looks some milliseconds ahead, so
    what is given lags behind what was received.

    Args:
        rate_in: Samples per second that it receives.
        rate_out: Samples per second that it gives.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self.rate_in, self.rate_out = rate_in, rate_out
        self.received = self.given = 0
        self._surplus = 0  # samples to come that were given before
        self._ready = np.zeros(0, dtype=np.float32)  # samples that are there already
        self._stream: Any = None
        if rate_in != rate_out:
            self._stream = self._fresh()
        self._kept: list[NDArray[np.float32]] = []  # the last blocks, for `state`

    def push(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Takes samples [s]; gives those [t] that are ready, t ≥ 0."""
        self.received += len(block)
        if self._stream is not None:
            self._keep(block)
            block = self._new(self._stream.resample_chunk(block, last=False))
        self.given += len(block)
        return block

    def _new(self, out: NDArray[np.float32]) -> NDArray[np.float32]:
        """What of the stream's samples was not given before it was restored."""
        skipped = min(self._surplus, len(out))
        self._surplus -= skipped
        out, self._ready = np.concatenate([self._ready, out[skipped:]]), self._ready[:0]
        return out

    def _fresh(self) -> Any:
        return soxr.ResampleStream(self.rate_in, self.rate_out, 1, dtype="float32", quality=QUALITY)

    def _keep(self, block: NDArray[np.float32]) -> None:
        """Keeps the last samples, from one at which both rates have a sample."""
        self._kept.append(block.astype(np.float32))
        held = sum(map(len, self._kept))
        if held > 4 * HISTORY * self.rate_in:
            self._kept = [np.concatenate(self._kept)[held - len(self._last()) :]]

    def _last(self) -> NDArray[np.float32]:
        """The history: at least ``HISTORY`` seconds, or all there is."""
        held = np.concatenate([np.zeros(0, dtype=np.float32), *self._kept])
        period = self.rate_in // math.gcd(self.rate_in, self.rate_out)
        wanted = max(0, self.received - int(HISTORY * self.rate_in))
        begin = wanted // period * period
        return held[max(0, len(held) - (self.received - begin)) :]

    def state(self) -> dict[str, Any]:
        """Where it is, for `restore`: the numbers of samples and the last of them."""
        return {"received": self.received, "given": self.given, "history": self._last()}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where another one was.

        Its filter is filled again from the history. Where rates differ, what it gives may differ in
        the last bits, for the resampler's blocks do not lie as they did.
        """
        self.received, self.given = state["received"], state["given"]
        if self._stream is None:
            return
        self._stream, self._kept = self._fresh(), [state["history"]]
        begin = (self.received - len(state["history"])) * self.rate_out // self.rate_in
        out = self._stream.resample_chunk(state["history"], last=False)
        # The new stream may be behind the old one, or ahead of it.
        known = self.given - begin
        self._surplus, self._ready = max(0, known - len(out)), out[known:]

    def finish(self) -> NDArray[np.float32]:
        """Ends the audio; gives the rest [t]."""
        empty = np.zeros(0, dtype=np.float32)
        if self._stream is None:
            return empty
        out = self._new(self._stream.resample_chunk(empty, last=True))
        left = resampled_length(self.received, self.rate_in, self.rate_out) - self.given
        out = np.pad(out, (0, max(0, left - len(out))))[:left]
        self.given += len(out)
        return out


def resampled(
    blocks: Iterator[NDArray[np.float32]], rate_in: int, rate_out: int
) -> Iterator[NDArray[np.float32]]:
    """Blocks [s] of audio at another rate; none of them is empty."""
    resampler = Resampler(rate_in, rate_out)
    for block in blocks:
        out = resampler.push(block)
        if len(out):
            yield out
    out = resampler.finish()
    if len(out):
        yield out
