"""F1 of detections at one threshold: by collars, by segments, by intersection.

Collar-based and segment-based measures: Mesaros, Heittola, Virtanen, "Metrics for Polyphonic Sound
Event Detection", Applied Sciences 2016. Intersection-based: Bilen et al., ICASSP 2020.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earmark.core.errors import ScoreError
from earmark.core.tables.scores import ScoreTable
from earmark.score.events import TIME_DECIMALS, EventArrays, Events, check_clips, tidy
from earmark.score.psds.criteria import intersect, pairs_in_clip

Ints = NDArray[np.int64]
Counts = NDArray[np.integer[Any]]
COUNTED = ("tp", "fp", "fn")


@dataclass(frozen=True)
class F1Counts:
    """What F1 = 2 · tp / (truth + detected) of a class is made of."""

    tp: int
    fp: int
    fn: int

    @property
    def f1(self) -> float:
        """2 · tp / (2 · tp + fp + fn); 0 if there is nothing at all."""
        total = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / total if total else 0.0

    @property
    def precision(self) -> float:
        """Tp / (tp + fp); 0 without detections."""
        return self.tp / (self.tp + self.fp) if self.tp else 0.0

    @property
    def recall(self) -> float:
        """Tp / (tp + fn); 0 without truth."""
        return self.tp / (self.tp + self.fn) if self.tp else 0.0


@dataclass(frozen=True)
class F1Result:
    """F1 over classes.

    Args:
        macro: Mean over the classes that have truth.
        micro: F1 of the counts of all classes together, those without truth included.
        per_class: F1 of each class that has truth.
        counts: Counts of every class.
        left_out: Classes without truth.
        warnings: What was changed or left out, in words.
    """

    macro: float
    micro: float
    per_class: dict[str, float]
    counts: dict[str, F1Counts]
    left_out: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class F1Statistics:
    """Counts of each clip and class ``[N, C]``, from which an F1 is computed.

    Args:
        labels: The C classes.
        clips: The N clips.
        tp: True positives.
        detected: True and false positives.
        true: True events (or segments).
        warnings: What was changed, in words.
    """

    labels: tuple[str, ...]
    clips: tuple[str, ...]
    tp: Counts
    detected: Counts
    true: Counts
    warnings: tuple[str, ...]

    def result(self, weights: NDArray[np.int64] | None = None) -> F1Result:
        """F1 with each clip counted ``weights`` times (once by default).

        Raises:
            ScoreError: If no class has truth.
        """
        once = np.ones(len(self.clips), dtype=np.int64) if weights is None else weights
        tp, detected, true = (once @ counts for counts in (self.tp, self.detected, self.true))
        tp, detected, true = (total.astype(np.int64) for total in (tp, detected, true))
        if not true.any():
            raise ScoreError("no class has ground truth", hint="F1 needs at least one true event.")
        counts = {
            label: F1Counts(int(tp[c]), int(detected[c] - tp[c]), int(true[c] - tp[c]))
            for c, label in enumerate(self.labels)
        }
        per_class = {label: counts[label].f1 for c, label in enumerate(self.labels) if true[c]}
        left_out = tuple(label for label in self.labels if label not in per_class)
        missing = [f"classes without truth left out of the mean: {', '.join(left_out)}"]
        every = F1Counts(*(int(sum(getattr(n, k) for n in counts.values())) for k in COUNTED))
        return F1Result(
            macro=float(np.mean(list(per_class.values()))),
            micro=every.f1,
            per_class=per_class,
            counts=counts,
            left_out=left_out,
            warnings=(*self.warnings, *(missing if left_out else ())),
        )

    def resampled(self, weights: Ints) -> dict[str, NDArray[np.float64]]:
        """Macro ("") and micro ("_micro") F1 of each of R resamples, from weights ``[R, N]``."""
        # As floats, which are exact for whole numbers and much faster to multiply.
        drawn = weights.astype(np.float64)
        tp, detected, true = (
            drawn @ counts.astype(np.float64) for counts in (self.tp, self.detected, self.true)
        )
        by_class = _share(2 * tp, detected + true)
        total = tp.sum(axis=1), (detected + true).sum(axis=1)
        return {
            "": _share(np.sum(by_class, axis=1, where=true > 0), np.count_nonzero(true, axis=1)),
            "_micro": _share(2 * total[0], total[1]),
        }

    def eventful(self) -> NDArray[np.bool_]:
        """Which clips have true events ``[N]``."""
        return np.asarray(self.true.any(axis=1))


def _share(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(np.divide(part, whole, out=np.zeros(whole.shape), where=whole > 0))


def detections_from_scores(
    scores: Mapping[str, ScoreTable], threshold: float | Mapping[str, float] = 0.5
) -> dict[str, list[tuple[float, float, str]]]:
    """Detections: the maximal runs of frames with score > threshold.

    Args:
        scores: Score table of each clip, by clip id.
        threshold: One for all classes, or one per label.

    Returns:
        Detections of each clip by onset; every clip is a key.

    Raises:
        ScoreError: If a label has no threshold.
    """
    found: dict[str, list[tuple[float, float, str]]] = {}
    for clip, table in scores.items():
        limits = thresholds_of(table.labels, threshold)
        active = np.pad(table.values > limits, ((1, 1), (0, 0))).astype(np.int8)  # [T + 2, C]
        edges = np.diff(active, axis=0).T  # [C, T + 1]
        label, start = np.nonzero(edges == 1)
        _, end = np.nonzero(edges == -1)
        onsets, offsets = table.boundaries[start].tolist(), table.boundaries[end].tolist()
        names = [table.labels[number] for number in label]
        found[clip] = sorted(zip(onsets, offsets, names, strict=True))
    return found


def thresholds_of(
    labels: Sequence[str], threshold: float | Mapping[str, float]
) -> NDArray[np.float64]:
    """One threshold for each label ``[C]``.

    Raises:
        ScoreError: If a label has none.
    """
    if not isinstance(threshold, Mapping):
        return np.full(len(labels), threshold, dtype=np.float64)
    missing = [label for label in labels if label not in threshold]
    if missing:
        raise ScoreError(
            f"no threshold for {', '.join(missing)}",
            hint="Give one for every label, or one number.",
        )
    return np.array([threshold[label] for label in labels], dtype=np.float64)


def collar_f1(
    detections: Events,
    truth: Events,
    labels: Sequence[str],
    *,
    clips: Collection[str] | None = None,
    onset_collar: float = 0.2,
    offset_collar: float = 0.2,
    offset_share: float = 0.2,
    decimals: int | None = TIME_DECIMALS,
) -> F1Result:
    """Event-based F1: a detection hits an event of its class if both its ends are near enough.

    Detections and events are matched one to one, as many as possible.

    Args:
        detections: Detections by clip id.
        truth: Ground truth by clip id.
        labels: The classes.
        clips: The clips that count; any other id is an error. All that occur, if not given.
        onset_collar: Largest difference of onsets in seconds.
        offset_collar: Largest difference of offsets in seconds, or …
        offset_share: … this share of the true event's length, whichever is larger.
        decimals: Differences are rounded to so many decimals (sed_scores_eval's convention);
            ``None`` compares raw floats (sed_eval's).

    Raises:
        ScoreError: If clips, classes or times do not fit together, or no class has truth.
    """
    return collar_statistics(
        detections,
        truth,
        labels,
        clips=clips,
        onset_collar=onset_collar,
        offset_collar=offset_collar,
        offset_share=offset_share,
        decimals=decimals,
    ).result()


def collar_statistics(
    detections: Events,
    truth: Events,
    labels: Sequence[str],
    *,
    clips: Collection[str] | None = None,
    onset_collar: float = 0.2,
    offset_collar: float = 0.2,
    offset_share: float = 0.2,
    decimals: int | None = TIME_DECIMALS,
) -> F1Statistics:
    """Counts of each clip; arguments and errors as for `collar_f1`."""
    names = _clips(detections, truth, clips)
    found, true, warnings = _arrays(detections, truth, labels, names, merge=False)
    by, on = pairs_in_clip(found, true)
    same = found.label[by] == true.label[on]
    by, on = by[same], on[same]
    collars = np.maximum(offset_collar, offset_share * true.seconds[on])
    onsets = np.abs(found.onset[by] - true.onset[on])
    offsets = np.abs(found.offset[by] - true.offset[on])
    if decimals is None:
        near = (onsets <= onset_collar) & (offsets <= collars)
    else:
        near = np.round(onsets - onset_collar, decimals) <= 0
        near &= np.round(offsets - collars, decimals) <= 0
    matched = largest_matching(by[near], on[near])
    hits = true.clip[matched], true.label[matched]
    pairs = [hits, (found.clip, found.label), (true.clip, true.label)]
    return _statistics(pairs, names, labels, warnings)


def segment_f1(
    detections: Events,
    truth: Events,
    labels: Sequence[str],
    *,
    clips: Collection[str] | None = None,
    durations: Mapping[str, float] | None = None,
    segment_seconds: float = 1.0,
) -> F1Result:
    """Segment-based F1: a class is active in a segment if any part of an event lies in it.

    Args:
        detections: Detections by clip id.
        truth: Ground truth by clip id.
        labels: The classes.
        clips: The clips that count; any other id is an error. All that occur, if not given.
        durations: Seconds of each clip; segments that start later do not count (sed_scores_eval's
            convention). Without them every segment counts (sed_eval's convention).
        segment_seconds: Length of a segment.

    Raises:
        ScoreError: If clips, classes or times do not fit together, or no class has truth.
    """
    return segment_statistics(
        detections, truth, labels, clips=clips, durations=durations, segment_seconds=segment_seconds
    ).result()


def segment_statistics(
    detections: Events,
    truth: Events,
    labels: Sequence[str],
    *,
    clips: Collection[str] | None = None,
    durations: Mapping[str, float] | None = None,
    segment_seconds: float = 1.0,
) -> F1Statistics:
    """Counts of each clip; arguments and errors as for `segment_f1`."""
    if not segment_seconds > 0:
        raise ScoreError(f"segments of {segment_seconds} s", hint="They need a positive length.")
    names = _clips(detections, truth, clips)
    found, true, warnings = _arrays(detections, truth, labels, names, merge=False)
    last = None
    if durations is not None:
        check_clips(names, durations, "events", "durations")
        lengths = np.array([durations[name] for name in names], dtype=np.float64)
        last = np.ceil(np.round(lengths / segment_seconds, TIME_DECIMALS)).astype(np.int64)
    detected, active = (_active_segments(events, segment_seconds, last) for events in (found, true))
    keys = [_keys(segments, (detected, active), len(labels)) for segments in (detected, active)]
    both = detected[:, np.isin(keys[0], keys[1])]
    pairs = [(segments[0], segments[1]) for segments in (both, detected, active)]
    return _statistics(pairs, names, labels, warnings)


def intersection_f1(
    detections: Events,
    truth: Events,
    labels: Sequence[str],
    *,
    clips: Collection[str] | None = None,
    dtc: float = 0.5,
    gtc: float = 0.5,
    decimals: int | None = TIME_DECIMALS,
) -> F1Result:
    """Intersection-based F1, with the criteria of PSDS at one threshold.

    A detection that truth covers enough is not a false positive, even if it makes no event true.

    Args:
        detections: Detections by clip id.
        truth: Ground truth by clip id.
        labels: The classes.
        clips: The clips that count; any other id is an error. All that occur, if not given.
        dtc: Detection tolerance criterion ρ_DTC.
        gtc: Ground-truth intersection criterion ρ_GTC.
        decimals: Rounding of compared times; ``None`` compares as psds_eval does.

    Raises:
        ScoreError: If clips, classes or times do not fit together, or no class has truth.
    """
    return intersection_statistics(
        detections, truth, labels, clips=clips, dtc=dtc, gtc=gtc, decimals=decimals
    ).result()


def intersection_statistics(
    detections: Events,
    truth: Events,
    labels: Sequence[str],
    *,
    clips: Collection[str] | None = None,
    dtc: float = 0.5,
    gtc: float = 0.5,
    decimals: int | None = TIME_DECIMALS,
) -> F1Statistics:
    """Counts of each clip; arguments and errors as for `intersection_f1`."""
    names = _clips(detections, truth, clips)
    found, true, warnings = _arrays(detections, truth, labels, names, merge=True)
    met = intersect(found, true, dtc=dtc, gtc=gtc, decimals=decimals)
    false = ~met.relevant
    hits = true.clip[met.hit], true.label[met.hit]
    positive = [np.append(found.clip[false], hits[0]), np.append(found.label[false], hits[1])]
    pairs = [hits, (positive[0], positive[1]), (true.clip, true.label)]
    return _statistics(pairs, names, labels, warnings)


def _clips(detections: Events, truth: Events, clips: Collection[str] | None) -> list[str]:
    if clips is None:
        return sorted({*detections, *truth})
    check_clips(detections, clips, "detections", "clips that count")
    check_clips(truth, clips, "truth", "clips that count")
    return list(dict.fromkeys(clips))


def _arrays(
    detections: Events, truth: Events, labels: Sequence[str], names: Sequence[str], *, merge: bool
) -> tuple[EventArrays, EventArrays, list[str]]:
    found, changed = tidy(detections, names, labels, "detections", merge=merge)
    true, more = tidy(truth, names, labels, "truth", merge=merge)
    return found, true, changed + more


def _statistics(
    pairs: Sequence[tuple[Ints, Ints]],
    names: Sequence[str],
    labels: Sequence[str],
    warnings: Sequence[str],
) -> F1Statistics:
    """Statistics from clip and label of each true positive, each positive, each true event."""
    shape = len(names), len(labels)
    tp, detected, true = (
        small(np.bincount(clip * shape[1] + label, minlength=shape[0] * shape[1]).reshape(shape))
        for clip, label in pairs
    )
    return F1Statistics(tuple(labels), tuple(names), tp, detected, true, tuple(warnings))


def small(counts: Counts) -> Counts:
    """Whole numbers in as few bytes as they need: there may be millions, most of them 0."""
    return counts.astype(np.min_scalar_type(int(counts.max(initial=0))))


def joined(parts: Sequence[F1Statistics], clips: Sequence[str]) -> F1Statistics:
    """Counts of parts of the clips as those of all, in the order of ``clips``."""
    place = {clip: number for number, clip in enumerate(c for part in parts for c in part.clips)}
    order = [place[clip] for clip in clips]
    tp, detected, true = (
        np.concatenate([getattr(part, name) for part in parts])[order]
        for name in ("tp", "detected", "true")
    )
    warnings = added_up([line for part in parts for line in part.warnings])
    return F1Statistics(parts[0].labels, tuple(clips), tp, detected, true, warnings)


def added_up(lines: Sequence[str]) -> tuple[str, ...]:
    """Lines that begin with a number, those that go on alike made one with the sum."""
    totals: dict[str, int] = {}
    for line in lines:
        number, _, rest = line.partition(" ")
        totals[rest] = totals.get(rest, 0) + int(number)
    return tuple(f"{number} {rest}" for rest, number in totals.items())


def _active_segments(events: EventArrays, seconds: float, last: Ints | None) -> Ints:
    """Segments with any part of an event, each once: clip, label and number, ``[3, N]``."""
    first = np.floor(np.round(events.onset / seconds, TIME_DECIMALS)).astype(np.int64)
    end = np.ceil(np.round(events.offset / seconds, TIME_DECIMALS)).astype(np.int64)
    if last is not None:
        end = np.minimum(end, last[events.clip])
    sizes = np.maximum(end - first, 0)
    event = np.repeat(np.arange(len(sizes)), sizes)
    number = np.arange(len(event)) - np.repeat(np.cumsum(sizes) - sizes - first, sizes)
    return np.unique(np.stack([events.clip[event], events.label[event], number]), axis=1)


def _keys(segments: Ints, among: Sequence[Ints], labels: int) -> Ints:
    """One number per column of ``[3, N]``, equal for equal columns; modulo C it is the label."""
    numbers = np.concatenate([other[2] for other in among])
    low, high = int(numbers.min(initial=0)), int(numbers.max(initial=0))
    clip, label, number = segments
    keys: Ints = (clip * (high - low + 1) + number - low) * labels + label
    return keys


def largest_matching(left: Ints, right: Ints) -> Ints:
    """The right ends of a maximum matching of a bipartite graph.

    Edges that share no end are matched at once; the few others by augmenting paths.

    Args:
        left: Left end of each edge ``[N]``.
        right: Right end of each edge ``[N]``.
    """
    if not len(left):
        return right
    alone = (np.bincount(left)[left] == 1) & (np.bincount(right)[right] == 1)
    graph: dict[int, list[int]] = {}
    for node, other in zip(left[~alone].tolist(), right[~alone].tolist(), strict=True):
        graph.setdefault(node, []).append(other)
    lefts: dict[int, int] = {}  # right → its left partner
    rights: dict[int, int] = {}  # left → its right partner
    for node in graph:
        _augment(node, graph, lefts, rights)
    return np.concatenate([right[alone], np.array(list(lefts), dtype=np.int64)])


def _augment(
    root: int, graph: Mapping[int, list[int]], lefts: dict[int, int], rights: dict[int, int]
) -> None:
    """Match one more left node, if an alternating path from it leads to a free right node."""
    reached_from: dict[int, int] = {}  # right → the left node it was reached from
    queue = [root]
    for node in queue:  # grows while it is walked: breadth first
        for other in graph[node]:
            if other in reached_from:
                continue
            reached_from[other] = node
            if other in lefts:
                queue.append(lefts[other])
                continue
            free: int | None = other
            while free is not None:  # back along the path, each left node takes the new partner
                taker = reached_from[free]
                lefts[free], rights[taker], free = taker, free, rights.get(taker)
            return
