"""Which stretches of unlabelled recordings to label next, so that a detector learns most of them.

A stretch is worth labelling if the detector is unsure of it, and if it is unlike what is chosen
already: stretches are taken one by one, each with the largest product of both. Uncertainty is the
entropy of the stretch's tags (Settles, "Active Learning Literature Survey", 2009); being unlike is
the distance to the nearest chosen one, the greedy k-center of core sets (Sener, Savarese, "Active
Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018), which for sound events
is farthest traversal (Zhao, Heittola, Virtanen, "Active Learning for Sound Event Detection", 2020).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from earmark.core.audio.audio import read_blocks
from earmark.core.errors import AudioError, ConfigError, EarmarkError, LabelError
from earmark.core.parallel import Progress
from earmark.core.spec import ModelSpec, spec_of
from earmark.core.tables.rows import check_name
from earmark.core.tables.scores import ScoreTable
from earmark.data.clips import KnownRecordings, same_bytes
from earmark.data.subsets import Evaluation, Manifest, Source
from earmark.detect.chosen import ChosenClasses
from earmark.detect.detector import Detector
from earmark.detect.network import as_scorer
from earmark.detect.one_pass import PassScorer, one_pass_of

Floats = NDArray[np.floating]
WIDTH = 128
"""Numbers that are kept of a stretch's embedding, by a random projection."""
_LEAST = 1.0  # seconds of a stretch at the end of a recording
_NAMED = 3  # classes that the reason names
_UNSURE = 0.5  # bits of a class's tag from which on it is named


@dataclass(frozen=True)
class Candidate:
    """A stretch that may be suggested.

    Attributes:
        path: The recording.
        name: What it is called in tables.
        onset: In seconds.
        offset: In seconds.
        uncertainty: Bits.
        unsure: Classes that the detector is least sure of, with their highest scores.
    """

    path: Path
    name: str
    onset: float
    offset: float
    uncertainty: float
    unsure: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Suggestion:
    """A stretch to label.

    Attributes:
        candidate: The stretch.
        distance: How unlike those before it, from 0 to 1.
    """

    candidate: Candidate
    distance: float

    @property
    def why(self) -> str:
        """The reason, in words."""
        unsure = ", ".join(f"{label} ({score:.2f})" for label, score in self.candidate.unsure)
        return f"unsure of {unsure or 'nothing'}; unlike those before by {self.distance:.2f}"


@dataclass
class Pool:
    """The stretches of all recordings.

    Attributes:
        candidates: N of them.
        vectors: Their embeddings [N, D].
        failures: Recordings that cannot be read, with the reason.
        embedded: Whether the embeddings are the encoder's; otherwise they are of scores.
    """

    candidates: list[Candidate]
    vectors: Floats
    failures: dict[Path, str] = field(default_factory=dict)
    embedded: bool = True


def tag_uncertainty(values: Floats, thresholds: Floats) -> Floats:
    """Entropy of each class's tag in bits [C], at its threshold 1 and at sure scores 0.

    Args:
        values: Scores [T, C] of a stretch, whose tags are their highest.
        thresholds: [C] of the classes: a score there is as much for as against.
    """
    p = np.clip(values.max(axis=0), 1e-7, 1 - 1e-7)
    t = np.clip(thresholds, 1e-7, 1 - 1e-7)
    # σ(logit p − logit t)
    q = np.clip(p * (1 - t) / (p * (1 - t) + t * (1 - p)), 1e-12, 1 - 1e-12)
    return np.asarray(-(q * np.log2(q) + (1 - q) * np.log2(1 - q)))


def choose_stretches(
    uncertainty: Floats, vectors: Floats, count: int
) -> tuple[list[int], list[float]]:
    """Stretches with much uncertainty, each unlike those before it.

    Args:
        uncertainty: [N], at least 0.
        vectors: Embeddings [N, D]; what all have in common does not count.
        count: How many.

    Returns:
        Their numbers in the order of choice, and the distance of each to the nearest before it:
        half of one minus the cosine, the first one's being 1.
    """
    centred = vectors - vectors.mean(axis=0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    distance = np.ones(len(unit))
    taken = np.zeros(len(unit), dtype=bool)
    chosen, distances = [], []
    for _ in range(min(count, len(unit))):
        worth = np.where(taken, -1.0, uncertainty * distance)
        best = int(np.argmax(worth))
        chosen.append(best)
        distances.append(float(distance[best]))
        taken[best] = True
        distance = np.minimum(distance, np.clip((1.0 - unit @ unit[best]) / 2, 0.0, 1.0))
    return chosen, distances


def suggest(
    pool: Pool, seconds: float, by: Literal["diversity", "both"] = "diversity"
) -> list[Suggestion]:
    """The stretches to label, the most useful first, of so many seconds together at most.

    Args:
        pool: Where to choose from.
        seconds: The budget.
        by: How unlike a stretch is to those before it, alone or times its uncertainty. Alone it
            was better in ``benchmarks/suggest.py``.

    Raises:
        ConfigError: The budget is less than a stretch, or there is nothing to choose from.
    """
    if not pool.candidates:
        raise ConfigError(
            "nothing is left to suggest", hint="Give recordings that are not labelled yet"
        )
    length = max(one.offset - one.onset for one in pool.candidates)
    uncertainty = np.array([one.uncertainty for one in pool.candidates])
    if by == "diversity":
        uncertainty = np.ones_like(uncertainty)
    chosen, distances = choose_stretches(uncertainty, pool.vectors, int(seconds // length + 1))
    found, spent = [], 0.0
    for number, distance in zip(chosen, distances, strict=True):
        one = pool.candidates[number]
        if spent + one.offset - one.onset > seconds + 1e-6:
            break
        spent += one.offset - one.onset
        found.append(Suggestion(one, distance))
    if not found:
        raise ConfigError(
            f"the budget of {seconds:g} s is less than a stretch of {length:g} s",
            hint="Give a larger --budget or a smaller --length",
        )
    return found


def read_pool(
    detector: Detector,
    recordings: Mapping[Path, str],
    *,
    length: float = 10.0,
    skipped: Mapping[str, Sequence[tuple[float, float]]] = {},
    seed: int = 0,
    progress: Progress | None = None,
) -> Pool:
    """Scores recordings, and keeps of each stretch what choosing needs: some 0.2 MB an hour.

    Args:
        detector: What is to learn.
        recordings: File → name.
        length: Seconds of a stretch.
        skipped: Stretches of recordings, by their names, that are not suggested.
        seed: Of the projection of embeddings.
        progress: Called with thousandths of recordings done and in total.

    Raises:
        EarmarkError: None of the recordings can be read.
    """
    if not length >= _LEAST:
        raise ConfigError(f"stretches of {length:g} s", hint="Use 1 or more")
    collector = _Collector(detector, length, seed)
    own = collector.detector
    thresholds = np.array([own.postprocess.for_label(label).threshold for label in own.labels])
    candidates: list[Candidate] = []
    vectors: list[Floats] = []
    failures: dict[Path, str] = {}
    for number, (path, name) in enumerate(recordings.items()):

        def step(done: int, total: int, number: int = number) -> None:
            if progress is not None:
                progress(1000 * number + 1000 * done // max(1, total), 1000 * len(recordings))

        try:
            check_name(name)
            table, means = collector.read(path, step)
        except (AudioError, LabelError) as error:
            failures[path] = str(error)
            continue
        for place, (onset, offset) in enumerate(_stretches(table, length)):
            if any(first < offset and last > onset for first, last in skipped.get(name, ())):
                continue
            values = _values(table, onset, offset)
            bits = tag_uncertainty(values, thresholds)
            ranked = np.argsort(-bits, kind="stable")[:_NAMED]
            unsure = tuple(
                (own.labels[n], float(values[:, n].max())) for n in ranked if bits[n] >= _UNSURE
            )
            candidates.append(Candidate(path, name, onset, offset, float(bits.sum()), unsure))
            vectors.append(means[place])
    if recordings and len(failures) == len(recordings):
        raise EarmarkError(f"no recording can be read: {next(iter(failures.values()))}")
    stacked = np.stack(vectors) if vectors else np.zeros((0, WIDTH), np.float32)
    return Pool(candidates, stacked, failures, collector.embeds)


def _stretches(table: ScoreTable, length: float) -> list[tuple[float, float]]:
    """Stretches of a recording, the last one shorter."""
    seconds = float(table.boundaries[-1])
    count = max(1, int(np.ceil((seconds - _LEAST) / length + 1e-9)))
    edges = [length * n for n in range(count)]
    return [(onset, min(seconds, onset + length)) for onset in edges]


def _values(table: ScoreTable, onset: float, offset: float) -> Floats:
    """Scores [t, C] of the frames that begin in a stretch."""
    first, last = np.searchsorted(table.boundaries[:-1], [onset - 1e-9, offset - 1e-9])
    return np.asarray(table.values[first : max(last, first + 1)])


class _Collector:
    """Scores recordings with what their encoder makes of each stretch, in one pass.

    Where a bundle's encoder runs once over a recording (YAMNet's do, with PyTorch and as ONNX), its
    vectors are taken as they come by; of other bundles the scores stand for them.
    """

    def __init__(self, detector: Detector, length: float, seed: int) -> None:
        self._hop = spec_of(detector.network).frame_hop / spec_of(detector.network).sample_rate
        self._length, self._seed = length, seed
        inner = as_scorer(detector.network)
        self._pass = one_pass_of(inner)
        self.embeds = self._pass is not None
        self._tapped = _Tapped(inner, self._heard)
        self.detector = Detector(
            self._tapped if self.embeds else detector.network,
            detector.postprocess,
            hop_seconds=detector.hop_seconds,
            batch_size=detector.batch_size,
            weighting=detector.weighting,
            channels="auto" if detector.chooses_channel else detector.channel or "mean",
            threads=detector.threads,
        )
        self._projection: Floats | None = None
        self._parts: dict[int, dict[int, tuple[Floats, int]]] = {}
        self._lock = threading.Lock()

    def read(self, path: Path, progress: Progress) -> tuple[ScoreTable, list[Floats]]:
        """Scores of a recording, and a vector [D] for each of its stretches."""
        self._parts = {}
        table = self.detector.score(path, progress=progress)
        stretches = _stretches(table, self._length)
        if self._pass is None:
            values = [_values(table, *one) for one in stretches]
            scored = [np.concatenate([own.mean(axis=0), own.max(axis=0)]) for own in values]
            return table, [one.astype(np.float32) for one in scored]
        if not self._parts:  # one window held the recording, and nothing was encoded by itself
            frames = range(len(table))
            wanted = self._pass.samples(frames)
            rate, channel = spec_of(self.detector.network).sample_rate, self.detector.channel
            samples = np.concatenate(list(read_blocks(path, rate, channel=channel)))
            first = max(0, wanted.start)
            self._heard(frames, self._pass.encode(samples[first : wanted.stop], first, frames))
        sums: dict[int, tuple[Floats, int]] = {}
        for _, parts in sorted(self._parts.items()):  # in the recording's order, whoever was first
            for place, (total, count) in parts.items():
                before = sums.get(place, (np.zeros_like(total), 0))
                sums[place] = (before[0] + total, before[1] + count)
        found = []
        for place in range(len(stretches)):
            total, count = sums.get(place, sums[max(sums)])
            found.append(np.asarray(total / count, np.float32))
        return table, found

    def _heard(self, frames: range, vectors: Floats) -> None:
        """Keeps the projected sums of frames' vectors [F, D] by stretch."""
        projected = vectors @ self._projected(vectors.shape[1])
        places = ((np.arange(frames.start, frames.stop) + 0.5) * self._hop // self._length).astype(
            int
        )
        parts = {
            int(place): (projected[places == place].sum(axis=0), int((places == place).sum()))
            for place in np.unique(places)
        }
        with self._lock:
            self._parts[frames.start] = parts

    def _projected(self, width: int) -> Floats:
        """A random projection [width, WIDTH] that keeps angles."""
        with self._lock:
            if self._projection is None:
                rng = np.random.default_rng(self._seed)
                drawn = rng.normal(size=(width, WIDTH)) / np.sqrt(WIDTH)
                self._projection = drawn.astype(np.float32)
            return self._projection


class _Tapped(ChosenClasses):
    """A scorer of all its classes that says what its encoder makes of frames.

    Args:
        inner: The scorer.
        heard: Told of frames and their vectors.
    """

    spec: ModelSpec

    def __init__(self, inner: object, heard: Callable[[range, NDArray[np.float32]], None]) -> None:
        scorer = as_scorer(inner)  # type: ignore[arg-type]
        super().__init__(scorer, range(len(spec_of(scorer).labels)))
        self._heard = heard

    def one_pass(self) -> _TappedPass | None:  # type: ignore[override]
        """The scorer in two steps, listened to."""
        whole = one_pass_of(self._scorer)
        return None if whole is None else _TappedPass(whole, self._heard)


class _TappedPass:
    """A scorer in two steps that says what the first one makes."""

    def __init__(
        self, whole: PassScorer, heard: Callable[[range, NDArray[np.float32]], None]
    ) -> None:
        self._whole, self._heard = whole, heard
        self.context, self.samples, self.score_frames = (
            whole.context, whole.samples, whole.score_frames,
        )  # fmt: skip

    def encode(
        self, samples: NDArray[np.float32], first: int, frames: range
    ) -> NDArray[np.float32]:
        """The vectors [F, D] of frames."""
        vectors = self._whole.encode(samples, first, frames)
        self._heard(frames, vectors)
        return vectors


def labelled_already(
    recordings: Iterable[Path], manifest: Manifest
) -> tuple[list[Path], list[Path]]:
    """Recordings that a data set has people's labels of, or that it is scored on; and the others.

    A recording is one of these by its name as the project takes names
    (`earmark.data.clips.KnownRecordings`), or, whatever its name, by its bytes.

    Returns:
        Those to leave out, and those that may be suggested.
    """
    subsets: list[Source | Evaluation] = [
        *(one for one in manifest.train if one.kind != "unlabelled" and not one.pseudo),
        *manifest.held_out,
        *manifest.splits.values(),
    ]
    known = [KnownRecordings(one.clips, (*one.missing, *one.faulty)) for one in subsets]
    sizes: dict[int, list[Path]] = {}
    for one in subsets:
        for clip in one.clips:
            sizes.setdefault(clip.stat().st_size, []).append(clip)
    out: list[Path] = []
    kept: list[Path] = []
    for path in recordings:
        alike = sizes.get(path.stat().st_size, ())
        is_known = any(one.has(path) for one in known)
        (out if is_known or any(same_bytes(path, clip) for clip in alike) else kept).append(path)
    return out, kept
