"""The public face of detection: a network, its post-processing, and recordings of any length."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earmark.core.audio.audio import (
    AudioSource,
    audio_info,
    choose_channel,
    expected_seconds,
    read_blocks,
)
from earmark.core.errors import ConfigError, LabelError, ScoreError
from earmark.core.event import Event
from earmark.core.parallel import Progress
from earmark.core.spec import spec_of
from earmark.core.tables.scores import ScoreTable
from earmark.core.timeline import samples_to_seconds, seconds_to_samples
from earmark.detect.chosen import choose_classes
from earmark.detect.masked import with_masks
from earmark.detect.network import as_scorer, load_trained, suitable_batch, suitable_threads
from earmark.detect.online.stream import EventStream
from earmark.detect.postprocess import scores_to_events, strongest
from earmark.detect.postprocess_spec import PostProcess
from earmark.detect.sliding import sliding_scores
from earmark.detect.windows import plan_windows

if TYPE_CHECKING:
    import pandas as pd

    from earmark.detect.network import Network

LAID_OVER = ("threshold", "min_gap_seconds", "min_duration_seconds", "max_duration_seconds")
"""Settings of post-processing that are laid over a bundle's own."""
RESULT_COLUMNS = ("filename", "onset", "offset", "event_label", "score")


@dataclass(frozen=True)
class Result:
    """What was found in one recording.

    Attributes:
        filename: Base name of the recording's file, or the name given for it.
        duration: Length of the recording in seconds.
        table: Scores [T, C] with their boundaries in seconds, before post-processing.
        found: Events with scores, sorted by onset.
    """

    filename: str
    duration: float
    table: ScoreTable
    found: tuple[Event, ...]

    @property
    def events(self) -> pd.DataFrame:
        """Events as a table: filename, onset and offset in seconds, event_label, score."""
        import pandas as pd

        rows = [(self.filename, *event) for event in self.found]
        frame = pd.DataFrame(rows, columns=list(RESULT_COLUMNS))
        return frame.astype({"onset": float, "offset": float, "score": float})

    @property
    def scores(self) -> pd.DataFrame:
        """Scores as a gapless table: onset and offset in seconds, one column per class."""
        frame: pd.DataFrame = self.table.to_frame()
        return frame


class Detector:
    """Finds the events of recordings of any length.

    Args:
        network: A PyTorch network or any `earmark.detect.network.WindowScorer`; it carries its
            specification as ``spec``.
        postprocess: How scores become events, or the dictionary of a bundle's
            ``postprocess.yaml``; the defaults of `PostProcess` when None.
        hop_seconds: Time between window starts; half a window, or half the look-ahead, when None.
        lookahead_seconds: How much later sound a score may depend on; a window when None. Less
            makes streams faster, and scores worse (docs/streaming.md).
        batch_size: Windows per network call; what suits the device when None.
        weighting: Weights of a window's frames: ``hann``, ``triangle`` or ``flat``.
        channels: Of recordings with several: ``mean`` of all, ``first``, the number of one, the
            first being 1, or ``auto``: the loudest where the mean would lose part of the sound
            (docs/batches.md). Each by itself: `detect_channels`.
        threads: Batches of windows scored at the same time, each on one core; what suits the
            device, on a CPU as many as there are cores, when None. Scores do not depend on it.
        top: Only the so many events of a recording with the highest scores; all when None. A
            stream, which has no end, cannot have it.
        path: Where the network came from, if from a bundle.
        fingerprint: What identifies that bundle's content.

    Raises:
        ConfigError: If a setting is not usable, or the post-processing misses a class.
    """

    def __init__(
        self,
        network: Network,
        postprocess: PostProcess | Mapping[str, Any] | None = None,
        *,
        hop_seconds: float | None = None,
        lookahead_seconds: float | None = None,
        batch_size: int | None = None,
        weighting: str = "hann",
        channels: str | int = "mean",
        threads: int | None = None,
        top: int | None = None,
        path: Path | None = None,
        fingerprint: str | None = None,
    ) -> None:
        if postprocess is None:
            postprocess = PostProcess()
        elif not isinstance(postprocess, PostProcess):
            postprocess = PostProcess.from_dict(postprocess)
        if top is not None and top < 1:
            raise ConfigError(f"top is {top}", hint="Give the number of events to keep, 1 or more")
        for label in spec_of(network).labels:
            postprocess.for_label(label)  # a missing class is told now, not after an hour
        plan_windows(spec_of(network), hop_seconds, lookahead_seconds)
        self.network = network
        self.postprocess = postprocess
        self.path = path
        self.fingerprint = fingerprint
        self.hop_seconds = hop_seconds
        self.lookahead_seconds = lookahead_seconds
        self.weighting = weighting
        self.top = top
        self.chooses_channel = channels == "auto"
        self.channel = None if self.chooses_channel else channel_number(channels)
        self.threads = suitable_threads(as_scorer(network)) if threads is None else threads
        self._batch_size = batch_size

    @classmethod
    def from_pretrained(cls, name: str | Path, **settings: Any) -> Detector:
        """Loads a detector.

        Args:
            name: A bundle that comes with Earmark (``"mini"``), a bundle's folder, or the
                name of a repository on the Hugging Face Hub.
            **settings: ``device`` (``auto``, ``cpu``, ``cuda:1`` …), ``precision`` (``32-true``,
                or ``bf16-mixed``, which is faster with an encoder: docs/long_recordings.md),
                ``runtime`` (``auto``, ``onnx``, ``torch``: docs/install.md),
                ``classes`` (those to detect, by name, number or identifier; all by default), and
                what the constructor takes: ``hop_seconds``, ``lookahead_seconds``,
                ``batch_size``, ``weighting``, ``channels``, ``threads``, ``top``, and
                ``postprocess``, which replaces the bundle's own. Over the bundle's own, or that,
                are laid ``threshold``, ``min_gap_seconds``, ``min_duration_seconds`` and
                ``max_duration_seconds``: each a number, or numbers by class, as
                ``{"Dog": 0.8, "default": 0.6}``.

        Raises:
            BundleError: If there is no such bundle, or it is not complete.
            ConfigError: If a setting or the bundle's post-processing is not usable.
            LabelError: If one of the classes is unknown or ambiguous.
        """
        classes = settings.pop("classes", None)
        chosen = {
            key: settings.pop(key) for key in ("device", "precision", "runtime") if key in settings
        }
        trained = load_trained(name, **chosen)
        postprocess = settings.pop("postprocess", None)
        if postprocess is None:
            postprocess = trained.postprocess
        elif not isinstance(postprocess, PostProcess):
            postprocess = PostProcess.from_dict(postprocess)
        network = with_masks(trained.network, postprocess)
        over = {name: settings.pop(name, None) for name in LAID_OVER}
        detector = cls(
            choose_classes(network, classes) if classes else network,
            postprocess,
            path=trained.path,
            fingerprint=trained.fingerprint,
            **settings,
        )
        spec = spec_of(detector.network)
        detector.postprocess = detector.postprocess.laid_over(spec.labels, spec.ids, **over)
        return detector

    @property
    def batch_size(self) -> int:
        """Windows per network call."""
        if self._batch_size is None:
            self._batch_size = suitable_batch(as_scorer(self.network))
        return self._batch_size

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the score columns."""
        return spec_of(self.network).labels

    def score(
        self,
        source: AudioSource,
        *,
        progress: Progress | None = None,
        block_seconds: float = 60.0,
        channel: int | None = None,
    ) -> ScoreTable:
        """Scores a recording, without deciding anything.

        Args:
            source: A path, a file object, or ``(samples, sample_rate)`` with samples [S] or
                [S, channels]; any sample rate.
            progress: Called with frames done and frames in total.
            block_seconds: Audio read at a time, in seconds.
            channel: The number of a channel, the first being 1, instead of the detector's.

        Returns:
            Scores [T, C]; the last boundary is the end of the recording.

        Raises:
            AudioError: If the recording cannot be read or is empty, or lacks the channel.
            ScoreError: If the network gives numbers that are not finite.
        """
        spec = spec_of(self.network)
        total = _samples_expected(source, spec.sample_rate) if progress is not None else None
        if channel is None:
            channel = choose_channel(source) if self.chooses_channel else self.channel
        counted = 0

        def blocks() -> Iterator[NDArray[np.float32]]:
            nonlocal counted
            for block in read_blocks(source, spec.sample_rate, block_seconds, channel):
                counted += len(block)
                yield block

        try:
            values = sliding_scores(
                blocks(),
                self.network,
                hop_seconds=self.hop_seconds,
                batch_size=self.batch_size,
                weighting=self.weighting,
                progress=progress,
                total_samples=total,
                threads=self.threads,
                lookahead_seconds=self.lookahead_seconds,
            )
        except ScoreError as error:
            where = source if isinstance(source, str | Path) else None
            raise ScoreError(error.what, where=where, hint=error.hint) from None
        duration = samples_to_seconds(counted, spec.sample_rate)
        boundaries = spec.grid.boundaries(len(values), duration)
        return ScoreTable(boundaries=boundaries, values=values, labels=self.labels)

    def detect(
        self,
        source: AudioSource,
        *,
        filename: str | None = None,
        progress: Progress | None = None,
        block_seconds: float = 60.0,
        channel: int | None = None,
    ) -> Result:
        """Finds the events of a recording.

        Args:
            source: A path, a file object, or ``(samples, sample_rate)`` with samples [S] or
                [S, channels]; any sample rate and any length.
            filename: Name of the recording in the tables; by default the file's base name, or
                ``audio`` for what has none.
            progress: Called with frames done and frames in total.
            block_seconds: Audio read at a time, in seconds.
            channel: The number of a channel, the first being 1, instead of the detector's.

        Returns:
            Events and scores; times in seconds from the start of the recording.

        Raises:
            AudioError: If the recording cannot be read or is empty, or lacks the channel.
        """
        table = self.score(source, progress=progress, block_seconds=block_seconds, channel=channel)
        return self.decide(table, source_name(source) if filename is None else filename)

    def detect_channels(
        self,
        source: AudioSource,
        *,
        filename: str | None = None,
        progress: Progress | None = None,
        block_seconds: float = 60.0,
    ) -> list[Result]:
        """Finds the events of each channel of a recording, as `detect` does.

        Returns:
            A result for each channel. Those of several are named after it: ``yard.ch1.wav``.
        """
        name = source_name(source) if filename is None else filename
        count = audio_info(source).channels
        return [
            self.detect(
                source,
                filename=name if count == 1 else channel_name(name, channel),
                progress=progress,
                block_seconds=block_seconds,
                channel=channel,
            )
            for channel in range(1, count + 1)
        ]

    def open_stream(self, sample_rate: int) -> EventStream:
        """Begins a stream; push blocks into it, and finish it.

        Args:
            sample_rate: Of the audio that comes.

        Raises:
            ConfigError: If a setting is not usable, or needs the whole recording (``top``,
                ``channels="auto"``, post-processing of an installed package).
        """
        if self.chooses_channel:
            raise ConfigError(
                "channels is 'auto', which needs the whole recording",
                hint="Choose mean, first, or a number, the first being 1",
            )
        if self.postprocess.hook is not None:
            raise ConfigError(
                f"a stream cannot use {self.postprocess.hook}, which needs the whole recording",
                hint="Detect in the whole recording",
            )
        if self.top is not None:
            raise ConfigError(
                "a stream cannot give the top events: which they are is known at its end",
                hint="Leave top out, or detect in the whole recording",
            )
        return EventStream(
            self.network,
            self.postprocess,
            sample_rate,
            channel=self.channel,
            hop_seconds=self.hop_seconds,
            weighting=self.weighting,
            lookahead_seconds=self.lookahead_seconds,
            fingerprint=self.fingerprint,
        )

    def lookahead_for(self, latency: float, sample_rate: int) -> float:
        """The look-ahead with which a stream tells events within a time of their end.

        Args:
            latency: In seconds.
            sample_rate: Of the stream.

        Raises:
            ConfigError: If the post-processing alone takes longer, or has no bound (cSEBB).
        """
        stream = self.open_stream(sample_rate)
        if not np.isfinite(stream.latency):
            raise ConfigError(
                "with cSEBB there is no bound for the latency",
                hint="Leave --latency out, or use median post-processing",
            )
        plan = plan_windows(spec_of(self.network))
        frame, taken = plan.grid.seconds, stream.latency - stream.window_lookahead
        frames = int((latency - taken) / frame + 1e-9)
        least = 1 if self.hop_seconds is None else int(np.ceil(self.hop_seconds / frame - 1e-9))
        if frames < least:
            raise ConfigError(
                f"a latency of {latency:g} s is too short",
                hint=f"{taken + least * frame:.2f} s is the least with these settings",
            )
        return min(frames, plan.window_frames) * frame

    def stream(self, blocks: Iterable[NDArray[Any]], sample_rate: int) -> Iterator[Event]:
        """Finds events while audio comes: each once, when nothing to come can change it.

        Args:
            blocks: The audio, each block [s] or [s, channels] of any size.
            sample_rate: Samples per second.

        Yields:
            Events with scores: all together what `detect` finds in the whole. The last ones come
            when the blocks end.

        Raises:
            AudioError: If a block is no audio.
        """
        stream = self.open_stream(sample_rate)
        for block in blocks:
            yield from stream.push(block)
        yield from stream.finish()

    def decide(self, table: ScoreTable, filename: str) -> Result:
        """Turns scores into events with this detector's post-processing.

        Args:
            table: Scores of a whole recording, as of `score`.
            filename: Name of the recording in the tables.

        Raises:
            LabelError: If the table's classes are not the detector's.
        """
        if table.labels != self.labels:
            raise LabelError("the score table has other classes than the detector", where=filename)
        events = scores_to_events(table, self.postprocess)
        if self.top is not None:
            events = strongest(events, self.top)
        return Result(filename, float(table.boundaries[-1]), table, tuple(events))


def channel_number(channels: str | int) -> int | None:
    """Which channel ``mean``, ``first`` or a number is; None for the mean of all.

    Raises:
        ConfigError: If it is neither.
    """
    if channels in ("mean", "first"):
        return 1 if channels == "first" else None
    number = int(channels) if str(channels).isdecimal() else 0
    if number < 1:
        raise ConfigError(
            f"channels is {channels!r}",
            hint="Choose auto, mean, first, or a number, the first being 1",
        )
    return number


def channel_name(filename: str, channel: int) -> str:
    """Name of one of a recording's channels: ``yard.wav`` → ``yard.ch1.wav``."""
    path = PurePath(filename)
    return str(path.with_name(f"{path.stem}.ch{channel}{path.suffix}"))


def source_name(source: AudioSource) -> str:
    """Returns the base name of a path or of a file object's path, otherwise ``audio``."""
    if isinstance(source, tuple):
        return "audio"
    name = source if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
    return Path(name).name if isinstance(name, str | os.PathLike) else "audio"


def _samples_expected(source: AudioSource, sample_rate: int) -> int:
    """About the recording's length at the network's rate, as its header tells it."""
    return seconds_to_samples(expected_seconds(source), sample_rate)
