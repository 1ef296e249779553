"""What a network computes once over a recording, and not again for every window.

An encoder that hears only a second around a token gives the same tokens in every window that holds
them, but at the window's edges, where it hears silence instead of the recording. So its frames are
computed once, in stretches that reach from the end of one batch of windows to the end of the next,
with as much audio around them as it hears; only what has a longer memory runs window by window.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from earmark.core.timeline import WindowPlan
from earmark.detect.windows import Window, checked_block

if TYPE_CHECKING:
    from earmark.detect.network import WindowScorer

Floats = NDArray[np.float32]


class PassScorer(Protocol):
    """A network in two steps; what a scorer's optional method ``one_pass()`` gives, or None."""

    context: int
    """Samples after a frame's end that its vector may depend on."""

    def samples(self, frames: range) -> range:
        """The samples of a recording that its frames need; they may go beyond its end."""

    def encode(self, samples: Floats, first: int, frames: range) -> Floats:
        """The vectors [F, D] of frames.

        Args:
            samples: [S] what `samples` asked for, of it what the recording has.
            first: Sample of the recording that they begin with.
            frames: Which frames of the recording.
        """

    def score_frames(self, waveforms: Floats, encoded: Floats) -> NDArray[np.floating]:
        """Windows [B, S] and their frames' vectors [B, T, D] → strong scores [B, T, C]."""


def one_pass_of(scorer: WindowScorer) -> PassScorer | None:
    """A scorer in two steps, if it has them."""
    own = getattr(scorer, "one_pass", None)
    return None if own is None else cast("PassScorer | None", own())


@dataclass
class Stretch:
    """Frames to be encoded, and the link to those before them.

    Attributes:
        samples: [S].
        first: Sample of the recording that they begin with.
        frames: The frames.
        before: The last vectors [K, D] before them; at most a window's.
        after: Likewise, at their end.
    """

    samples: Floats
    first: int
    frames: range
    before: Future[Floats] | None
    after: Future[Floats] = field(default_factory=Future)


class FrameTrack:
    """Holds what of a recording is still to be encoded, and shows the rest of it to the windows.

    Args:
        scorer: In two steps.
        plan: The windows.
    """

    def __init__(self, scorer: PassScorer, plan: WindowPlan) -> None:
        self.scorer, self.plan = scorer, plan
        self.received = 0
        self.shown = 0  # samples that windows may be cut of
        self.done = 0  # frames that are encoded
        self.first = 0  # sample the held audio starts at
        self.blocks: list[Floats] = []
        self.tail: Future[Floats] | None = None

    def push(self, block: Floats) -> Floats:
        """Takes the next samples; gives those all of whose frames can be encoded by now.

        Raises:
            AudioError: If the block is not one-dimensional or not finite.
        """
        samples = checked_block(block).copy()  # a microphone's buffer is used again
        self.received += len(samples)
        self.blocks.append(samples)
        return self._show(max(self.shown, self.received - self.scorer.context))

    def finish(self) -> Floats:
        """Ends the recording, with the last frame completed by silence; gives what is not shown."""
        shown = self._show(self.received)
        missing = -self.received % self.plan.grid.hop
        self.blocks.append(np.zeros(missing, dtype=np.float32))
        return shown

    def _show(self, end: int) -> Floats:
        audio = self._audio()
        shown = audio[self.shown - self.first : end - self.first]
        self.shown = end
        return shown

    def _audio(self) -> Floats:
        if len(self.blocks) != 1:
            self.blocks = [np.concatenate([np.zeros(0, dtype=np.float32), *self.blocks])]
        return self.blocks[0]

    def cut(self, windows: Sequence[Window]) -> Stretch | None:
        """What is to be encoded for the next windows; None where one window holds the recording."""
        if self.received <= self.plan.window:
            return None
        frames = range(self.done, windows[-1].start + self.plan.window_frames)
        needed = self.scorer.samples(frames)
        audio = self._audio()
        samples = audio[needed.start - self.first : needed.stop - self.first]
        stretch = Stretch(samples, needed.start, frames, self.tail)
        self.tail, self.done = stretch.after, frames.stop
        keep = min(self.shown, self.scorer.samples(range(self.done, self.done + 1)).start)
        self.blocks = [audio[keep - self.first :].copy()]
        self.first = keep
        return stretch

    def state(self) -> list[Any]:
        """What it holds, for `restore`."""
        tail = None if self.tail is None else self.tail.result()
        return [self.received, self.shown, self.done, self.first, self._audio(), tail]

    def restore(self, state: list[Any]) -> None:
        """Goes on where another one was."""
        self.received, self.shown, self.done, self.first, audio, tail = state
        self.blocks = [audio]
        self.tail = None
        if tail is not None:
            self.tail = Future()
            self.tail.set_result(tail)


def score_pass(
    scorer: PassScorer, windows: Sequence[Window], stretch: Stretch, plan: WindowPlan
) -> NDArray[np.floating]:
    """Scores of windows [B, T, C] on frames that are encoded once.

    Several threads may do one batch each; each waits for the one before it to be encoded.
    """
    try:
        own = scorer.encode(stretch.samples, stretch.first, stretch.frames)
        before, stretch.before = stretch.before, None  # or all of a recording would be held
        held = own if before is None else np.concatenate([before.result(), own])
        stretch.after.set_result(held[-plan.window_frames :].copy())
    except BaseException as error:
        stretch.after.set_exception(error)
        raise
    start = stretch.frames.stop - len(held)
    encoded = [held[w.start - start : w.start - start + plan.window_frames] for w in windows]
    return scorer.score_frames(np.stack([w.samples for w in windows]), np.stack(encoded))
