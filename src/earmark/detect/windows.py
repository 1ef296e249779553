"""Windows of a recording: which there are, cut out of audio that arrives, and averaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earmark.core.errors import AudioError, ConfigError
from earmark.core.spec import ModelSpec
from earmark.core.timeline import FrameGrid, WindowPlan, seconds_to_samples


def plan_windows(
    spec: ModelSpec, hop_seconds: float | None = None, lookahead_seconds: float | None = None
) -> WindowPlan:
    """Plans the windows of a network over a recording.

    Args:
        spec: The network's specification.
        hop_seconds: Time from one window's start to the next; shortened to whole frames. Half
            a window, or half the look-ahead, when None.
        lookahead_seconds: How much later sound a score may depend on; shortened to whole frames.
            A window when None.

    Returns:
        The plan, every window of which starts on the frame grid.

    Raises:
        ConfigError: If the hop is shorter than a frame or longer than the look-ahead, or that is
            longer than a window.
    """
    grid, most = spec.grid, spec.frames
    ahead = None
    if lookahead_seconds is not None:
        ahead = _frames("look-ahead", lookahead_seconds, grid, most)
        most = ahead
    if hop_seconds is None:
        return WindowPlan(grid, spec.window, max(1, most // 2), ahead)
    return WindowPlan(grid, spec.window, _frames("window hop", hop_seconds, grid, most), ahead)


def _frames(what: str, seconds: float, grid: FrameGrid, most: int) -> int:
    """A time in whole frames, from one to as many as there may be."""
    if not np.isfinite(seconds):
        raise ConfigError(f"a {what} of {seconds} s is not a time")
    # Times of whole frames, written with few decimals, stay what they are.
    samples = seconds_to_samples(seconds, grid.sample_rate)
    frames = grid.frames_in(samples)
    if not 1 <= frames <= most:
        raise ConfigError(
            f"a {what} of {seconds:g} s is not between one frame and {most * grid.seconds:g} s",
            hint=f"Choose {grid.seconds:g} to {most * grid.seconds:g} s",
        )
    return frames


@dataclass(frozen=True)
class Window:
    """A window to be scored.

    Attributes:
        start: Its first frame.
        samples: [S], padded with zeros at the end.
        length: Samples before the padding.
    """

    start: int
    samples: NDArray[np.float32]
    length: int


def checked_block(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """Samples [S].

    Raises:
        AudioError: If the block is not one-dimensional or not finite.
    """
    samples = np.asarray(block, dtype=np.float32)
    if samples.ndim != 1:
        raise AudioError(f"a block of audio has shape {samples.shape}", hint="Mix it to mono")
    if not np.isfinite(samples).all():
        raise AudioError("the audio has samples that are not finite numbers")
    return samples


class WindowCutter:
    """Cuts windows out of audio that arrives in blocks of any size.

    Args:
        plan: Which windows there are.
    """

    def __init__(self, plan: WindowPlan) -> None:
        self.plan = plan
        self.samples = 0  # received
        self.cut = 0  # windows cut out
        self.blocks: list[NDArray[np.float32]] = []  # audio from the newest window's start on
        self.first = 0  # sample the held audio starts at

    def push(self, block: NDArray[np.float32]) -> Iterator[Window]:
        """Takes the next samples [S]; gives the windows they complete, one by one.

        Every complete window at a multiple of the hop is part of the plan, however the recording
        goes on; where the last window lies is known at the end only.

        Raises:
            AudioError: If the block is not one-dimensional or not finite.
        """
        samples = checked_block(block)
        if samples.size:
            self.blocks.append(samples.copy())  # a microphone's buffer is used again
            self.samples += samples.size
        first = self.cut * self.plan.hop_frames
        complete = (self.samples - self.plan.window) // self.plan.grid.hop
        return self._cut(range(first, complete + 1, self.plan.hop_frames))

    def finish(self) -> Iterator[Window]:
        """Ends the recording; gives its remaining windows.

        The last window ends with the recording, and is padded only to complete its last frame, or
        where the recording is shorter than a window.

        Raises:
            AudioError: If there was no audio at all.
        """
        if self.samples == 0:
            raise AudioError("the recording is empty")
        # A window of w samples hears them all but reports floor(w / hop) frames: a clip of one
        # window stays one call, though an incomplete frame more would cover it.
        single = self.samples <= self.plan.window
        starts = [0] if single else self.plan.starts(self.samples)
        return self._cut(starts[self.cut :])

    def _cut(self, starts: range | list[int]) -> Iterator[Window]:
        if not starts:
            return
        audio = np.concatenate(self.blocks)
        for start in starts:
            at = start * self.plan.grid.hop - self.first
            window = audio[at : at + self.plan.window]
            self.cut += 1
            yield Window(start, np.pad(window, (0, self.plan.window - window.size)), window.size)
        # The last window may have to start anywhere after the newest one.
        keep = starts[-1] * self.plan.grid.hop - self.first
        self.blocks = [audio[keep:].copy()]
        self.first += keep


class OverlapMean:
    """Averages the scores of overlapping windows and says which frames are final.

    Args:
        plan: The windows.
        weighting: Weights of a window's frames: ``hann``, ``triangle`` or ``flat``.
        classes: Number of classes C.

    Raises:
        ConfigError: If the weighting is unknown.
    """

    def __init__(self, plan: WindowPlan, weighting: str, classes: int) -> None:
        self.plan = plan
        self.weights = np.asarray(plan.weights(weighting), dtype=np.float64)
        self.skipped = plan.window_frames - plan.tail_frames  # at the start of a later window
        self.frames = 0  # returned
        self.last = np.zeros((0, classes), dtype=np.float32)  # the last of them [1, C]
        self.sum = np.zeros((0, classes))  # weighted scores [n, C] from frame `frames` on
        self.mass = np.zeros(0)  # their weights [n]

    def add(self, start: int, scores: NDArray[np.floating], length: int) -> NDArray[np.float32]:
        """Adds a window's scores [T, C]; windows come in order.

        Args:
            start: Its first frame.
            scores: Its scores.
            length: Its samples before the padding.

        Returns:
            The scores [t, C] that no later window can change.
        """
        weights = self.weights
        if start == 0:  # no other window has heard its first frames
            weights = np.concatenate([np.ones(self.skipped), weights])
        else:
            scores = scores[self.skipped :]
        first = start + self.plan.window_frames - len(weights) - self.frames
        end = first + len(scores)
        grow = max(0, end - len(self.mass))
        self.sum = np.pad(self.sum, ((0, grow), (0, 0)))
        self.mass = np.pad(self.mass, (0, grow))
        self.sum[first:end] += scores * weights[:, None]
        self.mass[first:end] += weights
        # All later windows start after this one: what they skip can change no more.
        return self._release(start + min(self.skipped, self.plan.grid.frames_covering(length)))

    def settle(self, samples: int) -> NDArray[np.float32]:
        """Returns the scores [t, C] that are final after so many samples.

        To be called when every complete window has been added. A window that is still to come, be
        it the next one or the recording's last, which is moved back to end with it, is not complete
        yet, or ends with a frame that began before ``samples``.
        """
        plan = self.plan
        if samples <= plan.window:
            return self._release(0)
        regular = (samples - plan.window) // plan.grid.hop + 1
        moved = plan.grid.frames_covering(samples) - plan.window_frames
        return self._release(min(regular, moved) + self.skipped)

    def finish(self, samples: int) -> NDArray[np.float32]:
        """Ends the recording after so many samples; returns the scores not returned yet.

        With them there are as many as cover the recording. Where a window is not a whole number of
        frames long, the last incomplete frame of a clip as long, heard but not reported, repeats
        the one before.
        """
        scores = self._release(self.frames + len(self.mass))
        surplus = self.frames - self.plan.grid.frames_covering(samples)
        self.frames -= surplus
        if surplus >= 0:
            return scores[: len(scores) - surplus]
        return np.concatenate([scores, np.repeat(self.last, -surplus, axis=0)])

    def _release(self, end: int) -> NDArray[np.float32]:
        """Averages, forgets and returns the frames before ``end``."""
        count = max(0, min(end - self.frames, len(self.mass)))
        scores = (self.sum[:count] / self.mass[:count, None]).astype(np.float32)
        self.sum, self.mass = self.sum[count:], self.mass[count:]
        self.frames += count
        if count:
            self.last = scores[-1:]
        return scores
