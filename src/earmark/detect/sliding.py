"""Scores of recordings of any length: windows on the frame grid, averaged before any decision.

A network scores windows of one fixed length. A recording is cut into such windows, each starting
at a whole output frame (so at an exact sample: nothing drifts), overlapping windows are averaged
with more weight at their centres, where the network has context on both sides, and only then may
anything be decided. Whatever the length of the recording, only the audio of the windows that are
not scored yet is held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from earmark.core.errors import AudioError, ConfigError, ScoreError
from earmark.core.spec import NetworkSpec
from earmark.core.timeline import FrameGrid, WindowPlan, seconds_to_samples
from earmark.detect.network import as_scorer, spec_of

if TYPE_CHECKING:
    from earmark.detect.network import Network

Progress = Callable[[int, int], None]


def plan_windows(spec: NetworkSpec, hop_seconds: float | None = None) -> WindowPlan:
    """Plans the windows of a network over a recording.

    Args:
        spec: The network's specification.
        hop_seconds: Time from one window's start to the next; shortened to whole frames. Half
            a window when None.

    Returns:
        The plan, every window of which starts on the frame grid.

    Raises:
        ConfigError: If the hop is shorter than a frame or longer than a window.
    """
    grid = FrameGrid(hop=spec.frame_hop, sample_rate=spec.sample_rate)
    window_frames = grid.frames_in(spec.window)
    if hop_seconds is None:
        return WindowPlan(grid=grid, window=spec.window, hop_frames=max(1, window_frames // 2))
    if not np.isfinite(hop_seconds):
        raise ConfigError(f"a window hop of {hop_seconds} s is not a time")
    hop_frames = grid.frames_in(seconds_to_samples(hop_seconds, spec.sample_rate))
    if not 1 <= hop_frames <= window_frames:
        raise ConfigError(
            f"a window hop of {hop_seconds:g} s is not between one frame and one window",
            mend=f"Choose {grid.seconds:g} to {window_frames * grid.seconds:g} s",
        )
    return WindowPlan(grid=grid, window=spec.window, hop_frames=hop_frames)


class SlidingScorer:
    """Turns audio that arrives in blocks into scores that are final.

    `push` takes the next samples and returns the frames no later sample can change; `finish`
    returns the rest. Concatenated, they do not depend on how the audio was split into blocks.
    Windows wait for one another until a batch is full, so a batch of one has the least delay.

    Args:
        network: What scores windows; a PyTorch network is used in evaluation mode and left in
            the mode it was in.
        hop_seconds: Time between window starts; half a window when None.
        batch_size: Windows per network call.
        weighting: Weights of a window's frames: ``hann``, ``triangle`` or ``flat``.

    Raises:
        ConfigError: If the hop, the batch size or the weighting is not usable.
    """

    def __init__(
        self,
        network: Network,
        *,
        hop_seconds: float | None = None,
        batch_size: int = 8,
        weighting: str = "hann",
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"a batch of {batch_size} windows is empty", mend="Use 1 or more")
        self.plan = plan_windows(spec_of(network), hop_seconds)
        self._network = as_scorer(network)
        self._batch_size = batch_size
        self._weights = np.asarray(self.plan.weights(weighting), dtype=np.float64)
        self._classes = len(spec_of(network).labels)
        self._blocks: list[NDArray[np.float32]] = []  # audio from the newest window's start on
        self._first = 0  # sample the held audio starts at
        # The next batch: first frame, window [S], how much of it is no padding.
        self._waiting: list[tuple[int, NDArray[np.float32], int]] = []
        self._samples = 0  # received
        self._cut = 0  # windows cut out of the audio
        self._final = 0  # frames returned
        self._last = np.zeros((0, self._classes), dtype=np.float32)  # the last of them [1, C]
        self._sum = np.zeros((0, self._classes))  # weighted scores [n, C] from frame _final on
        self._mass = np.zeros(0)  # their weights [n]
        self._finished = False

    @property
    def samples(self) -> int:
        """Samples received so far."""
        return self._samples

    @property
    def frames(self) -> int:
        """Frames whose scores have been returned."""
        return self._final

    def push(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Takes the next samples.

        Args:
            block: Samples [S] at the network's rate; any number of them.

        Returns:
            The scores [t, C] that became final, t ≥ 0.

        Raises:
            AudioError: If the block is not one-dimensional or not finite.
            ScoreError: If the network's output does not fit its specification.
        """
        if self._finished:
            raise AudioError("audio after the end of the recording")
        samples = np.asarray(block, dtype=np.float32)
        if samples.ndim != 1:
            raise AudioError(f"a block of audio has shape {samples.shape}", mend="Mix it to mono")
        if not np.isfinite(samples).all():
            raise AudioError("the audio has samples that are not finite numbers")
        if samples.size:
            self._blocks.append(samples)
            self._samples += samples.size
        # Every complete window at a multiple of the hop is part of the plan, however the
        # recording goes on; where the last window lies is known at the end only.
        first = self._cut * self.plan.hop_frames
        complete = (self._samples - self.plan.window) // self.plan.grid.hop
        starts = list(range(first, complete + 1, self.plan.hop_frames))
        return self._join([self._score() for _ in self._cut_windows(starts)])

    def finish(self) -> NDArray[np.float32]:
        """Ends the recording and returns the remaining scores.

        The last window ends with the recording, and is padded with zeros only to complete its
        last frame, or where the recording is shorter than a window.

        Returns:
            The scores [t, C] of all frames not returned yet. With them there are as many as
            cover the recording. Where a window is not a whole number of frames long, the last
            incomplete frame of a clip as long, heard but not reported, repeats the one before.

        Raises:
            AudioError: If there was no audio at all.
            ScoreError: If the network's output does not fit its specification.
        """
        if self._samples == 0:
            raise AudioError("the recording is empty")
        self._finished = True
        # A window of w samples hears them all but reports floor(w / hop) frames: a clip of one
        # window stays one call, though an incomplete frame more would cover it.
        single = self._samples <= self.plan.window
        starts = [0] if single else self.plan.starts(self._samples)
        out = [self._score() for _ in self._cut_windows(starts[self._cut :])]
        if self._waiting:
            out.append(self._score())
        self._blocks = []
        out.append(self._release(self._final + len(self._mass)))
        scores = self._join(out)
        return self._trim(scores)

    def _cut_windows(self, starts: Sequence[int]) -> Iterator[None]:
        """Cuts the windows at these frames out of the audio; yields whenever a batch is full."""
        if not starts:
            return
        audio = np.concatenate(self._blocks)
        for start in starts:
            at = start * self.plan.grid.hop - self._first
            window = audio[at : at + self.plan.window]
            padded = np.pad(window, (0, self.plan.window - window.size))
            self._waiting.append((start, padded, window.size))
            self._cut += 1
            if len(self._waiting) == self._batch_size:
                yield
        # The last window may have to start anywhere after the newest one.
        keep = starts[-1] * self.plan.grid.hop - self._first
        self._blocks = [audio[keep:].copy()]
        self._first += keep

    def _score(self) -> NDArray[np.float32]:
        """Scores the waiting windows, adds them up, returns what became final [t, C]."""
        starts, windows, lengths = zip(*self._waiting, strict=True)
        strong = self._call(np.stack(windows), lengths)  # [B, T, C]
        self._waiting = []
        for start, scores in zip(starts, strong, strict=True):
            first = start - self._final
            end = first + len(scores)
            grow = max(0, end - len(self._mass))
            self._sum = np.pad(self._sum, ((0, grow), (0, 0)))
            self._mass = np.pad(self._mass, (0, grow))
            self._sum[first:end] += scores * self._weights[:, None]
            self._mass[first:end] += self._weights
        # All later windows start after this one: nothing before it can change any more.
        return self._release(starts[-1])

    def _call(self, waveforms: NDArray[np.float32], lengths: Sequence[int]) -> NDArray[np.floating]:
        """Scores [B, T, C] of waveforms [B, S], checked against the specification."""
        strong = self._network.score_windows(waveforms, lengths)
        expected = (len(waveforms), len(self._weights), self._classes)
        if strong.shape != expected:
            raise ScoreError(
                f"the network returned scores of shape {strong.shape}, its specification "
                f"says {expected}"
            )
        if not np.isfinite(strong).all():
            raise ScoreError("the network returned scores that are not finite numbers")
        return strong

    def _release(self, end: int) -> NDArray[np.float32]:
        """Averages, forgets and returns the frames before ``end``."""
        count = max(0, min(end - self._final, len(self._mass)))
        scores = (self._sum[:count] / self._mass[:count, None]).astype(np.float32)
        self._sum, self._mass = self._sum[count:], self._mass[count:]
        self._final += count
        if count:
            self._last = scores[-1:]
        return scores

    def _trim(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Makes the last scores end where the recording ends."""
        surplus = self._final - self.plan.grid.frames_covering(self._samples)
        self._final -= surplus
        if surplus >= 0:
            return scores[: len(scores) - surplus]
        return np.concatenate([scores, np.repeat(self._last, -surplus, axis=0)])

    def _join(self, parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.concatenate([np.zeros((0, self._classes), dtype=np.float32), *parts])


def sliding_scores(
    blocks: Iterable[NDArray[np.float32]],
    network: Network,
    hop_seconds: float | None = None,
    batch_size: int = 8,
    weighting: str = "hann",
    progress: Progress | None = None,
    total_samples: int | None = None,
) -> NDArray[np.float32]:
    """Scores a recording of any length, holding no more of it than a batch of windows.

    Args:
        blocks: The recording's samples at the network's rate, in order, each block [S]; an
            iterator is enough.
        network: What scores windows [B, S]; its ``spec`` gives window, frame hop and labels.
        hop_seconds: Time between window starts, rounded down to whole frames; half a window
            when None.
        batch_size: Windows per network call.
        weighting: Weights of a window's frames: ``hann``, ``triangle`` or ``flat``.
        progress: Called with frames done and frames in total.
        total_samples: The recording's length, for the progress; without it the total is what
            has been read so far.

    Returns:
        Scores [T, C], T the number of frames that cover the recording. Frame f lasts from
        ``f · frame_hop / sample_rate`` to ``(f + 1) · frame_hop / sample_rate`` seconds.

    Raises:
        AudioError: If there is no audio, or it is not finite.
        ConfigError: If the hop, the batch size or the weighting is not usable.
        ScoreError: If the network's output does not fit its specification.
    """
    scorer = SlidingScorer(
        network, hop_seconds=hop_seconds, batch_size=batch_size, weighting=weighting
    )
    parts: list[NDArray[np.float32]] = []
    for block in blocks:
        parts.append(scorer.push(block))
        if progress is not None:
            total = max(scorer.samples, total_samples or 0)
            progress(scorer.frames, scorer.plan.grid.frames_covering(total))
    parts.append(scorer.finish())
    if progress is not None:
        progress(scorer.frames, scorer.frames)
    return np.concatenate(parts)
