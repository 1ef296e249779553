"""Scores of recordings of any length: windows on the frame grid, averaged before any decision.

A network scores windows of one fixed length. A recording is cut into such windows, each starting
at a whole output frame (so at an exact sample: nothing drifts), overlapping windows are averaged
with more weight at their centres, where the network has context on both sides, and only then may
anything be decided. Whatever the length of the recording, only the audio of the windows that are
not scored yet is held.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from earmark.core.errors import AudioError, ConfigError, ScoreError
from earmark.core.parallel import Progress
from earmark.core.spec import spec_of
from earmark.core.timeline import WindowPlan
from earmark.detect.network import WindowScorer, as_scorer, one_thread_each
from earmark.detect.one_pass import FrameTrack, PassScorer, Stretch, one_pass_of, score_pass
from earmark.detect.windows import OverlapMean, Window, WindowCutter, plan_windows

if TYPE_CHECKING:
    from earmark.detect.network import Network

T = TypeVar("T")


@dataclass(frozen=True)
class WindowBatch:
    """Windows to be scored in one call, and what is to be encoded for them, if anything is."""

    windows: list[Window]
    stretch: Stretch | None


class WindowFeed:
    """Batches of windows of audio that arrives, and what the scorer encodes once for them.

    Args:
        scorer: What is to score them.
        plan: The windows.
        size: Windows of a batch.
    """

    def __init__(self, scorer: WindowScorer, plan: WindowPlan, size: int) -> None:
        if size < 1:
            raise ConfigError(f"a batch of {size} windows is empty", hint="Use 1 or more")
        self.scorer, self.plan, self.size = scorer, plan, size
        self.cutter = WindowCutter(plan)
        self.two_steps: PassScorer | None = one_pass_of(scorer)
        self.track = None if self.two_steps is None else FrameTrack(self.two_steps, plan)
        self.waiting: list[Window] = []  # the next batch

    @property
    def context(self) -> int:
        """Samples after a window that its scores may depend on."""
        return 0 if self.two_steps is None else self.two_steps.context

    def push(self, block: NDArray[np.float32]) -> Iterator[WindowBatch]:
        """Takes the next samples; gives the batches they complete."""
        yield from self._batches(self.cutter.push(self.track.push(block) if self.track else block))

    def finish(self) -> Iterator[WindowBatch]:
        """Ends the recording; gives the other batches, the last of which may be smaller."""
        if self.track:
            yield from self._batches(self.cutter.push(self.track.finish()))
        yield from self._batches(self.cutter.finish())
        if self.waiting:
            yield self._batch()

    def _batches(self, windows: Iterable[Window]) -> Iterator[WindowBatch]:
        for window in windows:
            self.waiting.append(window)
            if len(self.waiting) == self.size:
                yield self._batch()

    def _batch(self) -> WindowBatch:
        windows, self.waiting = self.waiting, []
        return WindowBatch(windows, self.track.cut(windows) if self.track else None)

    def score(self, batch: WindowBatch) -> NDArray[np.floating]:
        """Scores of a batch's windows [B, T, C]; several threads may ask at once."""
        if batch.stretch is None or self.two_steps is None:
            return score_batch(self.scorer, batch.windows)
        strong = score_pass(self.two_steps, batch.windows, batch.stretch, self.plan)
        return _checked(strong, self.scorer, len(batch.windows))


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
        lookahead_seconds: How much later sound a score may depend on; a window when None.

    Raises:
        ConfigError: If the hop, the batch size, the weighting or the look-ahead is not usable.
    """

    def __init__(
        self,
        network: Network,
        *,
        hop_seconds: float | None = None,
        batch_size: int = 8,
        weighting: str = "hann",
        lookahead_seconds: float | None = None,
    ) -> None:
        self.plan = plan_windows(spec_of(network), hop_seconds, lookahead_seconds)
        self._feed = WindowFeed(as_scorer(network), self.plan, batch_size)
        self._mean = OverlapMean(self.plan, weighting, len(spec_of(network).labels))
        self._finished = False

    @property
    def samples(self) -> int:
        """Samples received so far, but for those that wait for what is to follow them."""
        return self._feed.cutter.samples

    @property
    def context(self) -> int:
        """Samples after a window that its scores may depend on."""
        return self._feed.context

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
            raise AudioError("the recording has ended: no more audio can be added")
        scores = self._score(self._feed.push(block))
        if self._feed.waiting:
            return scores
        return np.concatenate([scores, self._mean.settle(self.samples)])

    def finish(self) -> NDArray[np.float32]:
        """Ends the recording and returns the remaining scores.

        The last window ends with the recording, and is padded with zeros only to complete its
        last frame, or where the recording is shorter than a window.

        Returns:
            The scores [t, C] of all frames not returned yet. With them there are as many as
            cover the recording.

        Raises:
            AudioError: If there was no audio at all.
            ScoreError: If the network's output does not fit its specification.
        """
        self._finished = True
        scores = self._score(self._feed.finish())
        self._feed.cutter.blocks = []
        return np.concatenate([scores, self._mean.finish(self.samples)])

    def state(self) -> dict[str, Any]:
        """Where it is, for `restore`.

        Raises:
            AudioError: If the recording has ended, or windows wait for a batch to be full.
        """
        if self._finished or self._feed.waiting:
            raise AudioError("the recording has ended, or is scored in batches of several windows")
        cutter, mean, track = self._feed.cutter, self._mean, self._feed.track
        audio = np.concatenate([np.zeros(0, dtype=np.float32), *cutter.blocks])
        return {
            "cutter": [cutter.samples, cutter.cut, cutter.first, audio],
            "mean": [mean.frames, mean.last, mean.sum, mean.mass],
        } | ({} if track is None else {"track": track.state()})

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where another one with the same network and settings was."""
        cutter, mean, track = self._feed.cutter, self._mean, self._feed.track
        cutter.samples, cutter.cut, cutter.first, audio = state["cutter"]
        cutter.blocks = [audio]
        mean.frames, mean.last, mean.sum, mean.mass = state["mean"]
        if track is not None:
            track.restore(state["track"])

    def _score(self, batches: Iterable[WindowBatch]) -> NDArray[np.float32]:
        """Scores batches; returns what became final [t, C]."""
        out = [np.zeros((0, self._mean.sum.shape[1]), dtype=np.float32)]
        out += [add_batch(self._mean, one.windows, self._feed.score(one)) for one in batches]
        return np.concatenate(out)


def sliding_scores(
    blocks: Iterable[NDArray[np.float32]],
    network: Network,
    hop_seconds: float | None = None,
    batch_size: int = 8,
    weighting: str = "hann",
    progress: Progress | None = None,
    total_samples: int | None = None,
    threads: int | None = None,
    lookahead_seconds: float | None = None,
) -> NDArray[np.float32]:
    """Scores a recording of any length, holding no more of it than some batches of windows.

    Args:
        blocks: The recording's samples at the network's rate, in order, each block [S]; an
            iterator is enough.
        network: What scores windows.
        hop_seconds: Time between window starts, rounded down to whole frames; half a window
            when None.
        batch_size: Windows per network call.
        weighting: Weights of a window's frames: ``hann``, ``triangle`` or ``flat``.
        progress: Called with frames done and frames in total.
        total_samples: The recording's length, for the progress; without it the total is what
            has been read so far.
        threads: Batches scored at the same time, each on a single core: the scores are the same
            to the last bit whatever their number. Without it batches are scored one after the
            other by as many cores as the network's runtime is set to use.
        lookahead_seconds: How much later sound a score may depend on; a window when None.

    Returns:
        Scores [T, C], T the number of frames that cover the recording. Frame f lasts from
        ``f · frame_hop / sample_rate`` to ``(f + 1) · frame_hop / sample_rate`` seconds.

    Raises:
        AudioError: If there is no audio, or it is not finite.
        ConfigError: If the hop, the batch size or the weighting is not usable.
        ScoreError: If the network's output does not fit its specification.
    """
    spec = spec_of(network)
    plan = plan_windows(spec, hop_seconds, lookahead_seconds)
    feed = WindowFeed(as_scorer(network), plan, batch_size)
    mean = OverlapMean(plan, weighting, len(spec.labels))
    parts: list[NDArray[np.float32]] = []
    with closing(_scored(feed, blocks, threads)) as scored:
        for batch, strong in scored:
            parts.append(add_batch(mean, batch.windows, strong))
            if progress is not None:
                total = max(feed.cutter.samples, total_samples or 0)
                progress(mean.frames, plan.grid.frames_covering(total))
    parts.append(mean.finish(feed.cutter.samples))
    if progress is not None:
        progress(mean.frames, mean.frames)
    return np.concatenate(parts)


def scores_of_windows(
    recordings: Sequence[NDArray[np.float32]], network: Network
) -> list[NDArray[np.float32]]:
    """Scores recordings that are no longer than a window, all in one call.

    Args:
        recordings: Samples [S] of each at the network's rate, S from 1 to a window.
        network: What scores windows.

    Returns:
        Scores [T, C] of each, as `sliding_scores` gives them.

    Raises:
        AudioError: If a recording is empty or not finite.
        ScoreError: If the network's output does not fit its specification.
    """
    spec = spec_of(network)
    plan = plan_windows(spec)
    cutters = [WindowCutter(plan) for _ in recordings]
    windows = [
        window
        for cutter, samples in zip(cutters, recordings, strict=True)
        for window in chain(cutter.push(samples), _late(cutter.finish))
    ]
    found = []
    for window, strong in zip(windows, score_batch(as_scorer(network), windows), strict=True):
        mean = OverlapMean(plan, "flat", len(spec.labels))
        scores = mean.add(window.start, strong, window.length)
        found.append(np.concatenate([scores, mean.finish(window.length)]))
    return found


def _late(finish: Callable[[], Iterator[T]]) -> Iterator[T]:
    """What is asked for after all blocks."""
    yield from finish()


def _scored(
    feed: WindowFeed, blocks: Iterable[NDArray[np.float32]], threads: int | None
) -> Generator[tuple[WindowBatch, NDArray[np.floating]]]:
    """Batches with their scores, in order."""
    pushed = chain.from_iterable(feed.push(block) for block in blocks)
    batches = chain(pushed, _late(feed.finish))
    if threads is None:
        for batch in batches:
            yield batch, feed.score(batch)
        return
    waiting: deque[tuple[WindowBatch, Future[NDArray[np.floating]]]] = deque()
    begins = one_thread_each(feed.scorer)
    with begins as begin, ThreadPoolExecutor(threads, initializer=begin) as pool:
        try:
            for batch in batches:
                waiting.append((batch, pool.submit(feed.score, batch)))
                if len(waiting) > threads:  # one more, so that none waits for the reading
                    done, scores = waiting.popleft()
                    yield done, scores.result()
            for done, scores in waiting:
                yield done, scores.result()
        finally:
            pool.shutdown(cancel_futures=True)


def score_batch(scorer: WindowScorer, batch: Sequence[Window]) -> NDArray[np.floating]:
    """Scores of windows [B, T, C], checked against the specification.

    Raises:
        ScoreError: If they do not fit it.
    """
    strong = scorer.score_windows(
        np.stack([window.samples for window in batch]), [window.length for window in batch]
    )
    return _checked(strong, scorer, len(batch))


def _checked(
    strong: NDArray[np.floating], scorer: WindowScorer, windows: int
) -> NDArray[np.floating]:
    spec = spec_of(scorer)
    expected = (windows, spec.frames, len(spec.labels))
    if strong.shape != expected:
        raise ScoreError(
            f"the network returned scores of shape {strong.shape}, its specification "
            f"says {expected}"
        )
    if not np.isfinite(strong).all():
        raise ScoreError("the network returned scores that are not finite numbers")
    return strong


def add_batch(
    mean: OverlapMean, batch: Sequence[Window], strong: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Adds the scores of a batch to the mean; returns what became final [t, C]."""
    parts = [
        mean.add(window.start, scores, window.length)
        for window, scores in zip(batch, strong, strict=True)
    ]
    return np.concatenate(parts)
