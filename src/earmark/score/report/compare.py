"""Whether one system is better than another, on the same clips: the paired bootstrap.

Both systems are scored on the same draws of clips, so that a clip hard for both does not count as
a difference between them (Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from earmark.core.errors import ScoreError
from earmark.score.bootstrap import Statistics, interval, resampled_values
from earmark.score.events import Bools, Floats, Ints, check_clips
from earmark.score.f1.best import SweepStatistics
from earmark.score.f1.counts import F1Statistics
from earmark.score.f1.tagging import PrecisionStatistics
from earmark.score.psds.statistics import PsdsStatistics

LOWER_IS_BETTER = "error_rate"


@dataclass(frozen=True)
class Comparison:
    """One metric of two systems, A and B.

    Args:
        first: Score of A.
        second: Score of B.
        difference: A minus B.
        low: Lower end of the interval of the difference.
        high: Upper end; if 0 is outside the interval, the difference is more than chance of clips.
        better: Fraction of the resamples in which A is better than B; ties count half.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    better: float


def compare_systems(
    first: Mapping[str, Statistics],
    second: Mapping[str, Statistics],
    *,
    resamples: int = 1000,
    rng: np.random.Generator,
    level: float = 0.95,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Comparison]:
    """Compare two systems by every metric that both have statistics of.

    Args:
        first: Statistics of system A by metric, all of the same clips.
        second: Those of system B; the order of the clips may be another.
        resamples: Number of draws.
        rng: Source of the draws.
        level: Fraction of the draws that the interval holds.
        progress: Called with draws done and draws in all.

    Returns:
        By metric, macro and micro (``collar_f1``, ``collar_f1_micro``), in the order of ``first``.

    Raises:
        ScoreError: If the clips differ (they are named), if truth or parameters do, or if the
            systems have no metric in common.
    """
    systems = aligned_systems(first, second)
    values = resampled_values(systems, resamples=resamples, rng=rng, level=level, progress=progress)
    return compare_resampled(systems, values, level)


def aligned_systems(
    first: Mapping[str, Statistics], second: Mapping[str, Statistics]
) -> list[dict[str, Statistics]]:
    """Both systems' statistics of the metrics they have in common, for clips in the same order.

    Raises:
        ScoreError: As `compare_systems`.
    """
    names = [name for name in first if name in second]
    if not names:
        raise ScoreError(
            "the two systems have no metric in common",
            hint=f"One has {', '.join(first) or 'none'}, the other {', '.join(second) or 'none'}.",
        )
    for name in names:
        check_alike(name, first[name], second[name], ("first", "second", "system"))
    clips = first[names[0]].clips
    return [
        {name: first[name] for name in names},
        {name: Aligned.of([second[name]], clips) for name in names},
    ]


def compare_resampled(
    systems: Sequence[Mapping[str, Statistics]],
    values: Sequence[Mapping[str, Floats]],
    level: float,
) -> dict[str, Comparison]:
    """Two systems by their scores on the same draws of clips.

    Args:
        systems: Of `aligned_systems`.
        values: Every score of either system on each draw, as of ``bootstrap.resampled_values``.
        level: Fraction of the draws that the interval holds.
    """
    clips = next(iter(systems[0].values())).clips
    once = np.ones((1, len(clips)), dtype=np.int64)
    found = {}
    for name in systems[0]:
        whole = [statistics[name].resampled(once) for statistics in systems]
        for ending in whole[0]:
            one, other = (score[ending].item() for score in whole)
            a, b = (drawn[f"{name}{ending}"] for drawn in values)
            low, high = interval(a - b, level)
            above = a < b if name == LOWER_IS_BETTER else a > b
            better = float(np.mean(above + 0.5 * (a == b)))
            found[f"{name}{ending}"] = Comparison(one, other, one - other, low, high, better)
    return found


@dataclass(frozen=True)
class Aligned:
    """Statistics of one run or several, whose clips come in one order; scores are means of theirs.

    Args:
        clips: The N clips, in the order in which they are weighted.
        runs: Statistics of each run, of the same clips.
        orders: For each of a run's clips its place in ``clips``, ``[N]`` each.
    """

    clips: tuple[str, ...]
    runs: tuple[Statistics, ...]
    orders: tuple[Ints, ...]

    @classmethod
    def of(cls, runs: Sequence[Statistics], clips: tuple[str, ...]) -> Aligned:
        """Runs in the order of ``clips``, which are theirs."""
        return cls(clips, tuple(runs), tuple(_places(clips, run.clips) for run in runs))

    def eventful(self) -> Bools:
        """Which clips have true events ``[N]``."""
        found = np.zeros(len(self.clips), dtype=np.bool_)
        found[self.orders[0]] = self.runs[0].eventful()
        return found

    def resampled(self, weights: Ints) -> dict[str, Floats]:
        """Mean scores of R resamples, from weights ``[R, N]``."""
        pairs = zip(self.runs, self.orders, strict=True)
        found = [run.resampled(weights[:, order]) for run, order in pairs]
        return {ending: np.mean([one[ending] for one in found], axis=0) for ending in found[0]}


def averaged(runs: Sequence[Mapping[str, Statistics]]) -> dict[str, Statistics]:
    """Statistics of runs that differ in their seed only, as those of one system.

    Args:
        runs: Statistics by metric; the order of the clips may differ.

    Raises:
        ScoreError: If clips (they are named), truth or parameters differ.
    """
    first = runs[0]
    if len(runs) == 1:
        return dict(first)
    names = [name for name in first if all(name in run for run in runs)]
    for number, run in enumerate(runs[1:], start=2):
        for name in names:
            check_alike(name, first[name], run[name], ("first", f"{number}.", "run"))
    clips = first[names[0]].clips
    return {name: Aligned.of([run[name] for run in runs], clips) for name in names}


def _places(clips: tuple[str, ...], wanted: tuple[str, ...]) -> Ints:
    """Where each of the wanted clips is among ``clips``."""
    place = {clip: number for number, clip in enumerate(clips)}
    return np.array([place[clip] for clip in wanted], dtype=np.int64)


def check_alike(
    name: str, first: Statistics, second: Statistics, whose: tuple[str, str, str]
) -> None:
    """Raise a ScoreError unless clips, truth, classes, durations and parameters are the same.

    Args:
        name: The metric, for messages.
        first: Statistics of one system …
        second: … and of another.
        whose: What these are called in messages: ``("first", "second", "system")``.
    """
    one_name, other_name, what = whose
    check_clips(first.clips, set(second.clips), f"{one_name} {what}", other_name)
    check_clips(second.clips, set(first.clips), f"{other_name} {what}", one_name)
    order = _places(first.clips, second.clips)
    one, other = _plain(first), _plain(second)
    _check_truth(name, one, other, order, what)
    if isinstance(one, PsdsStatistics) and isinstance(other, PsdsStatistics):
        if one.parameters != other.parameters:
            raise ScoreError(f"{name} of the two {what}s was measured with other parameters")
        if not np.allclose(one.durations[order], other.durations, rtol=0, atol=1e-6):
            raise ScoreError(f"the durations of the two {what}s differ in {name}")


def _plain(statistics: Statistics) -> Statistics:
    """The first run's own statistics, if its order of clips is that of all."""
    if isinstance(statistics, Aligned) and statistics.runs[0].clips == statistics.clips:
        return statistics.runs[0]
    return statistics


def _check_truth(name: str, first: Statistics, second: Statistics, order: Ints, what: str) -> None:
    one, other = _truth(first), _truth(second)
    if one is None or other is None:
        return
    # Classes without truth are in no mean, so a system may know some that the other does not.
    labels = [set(np.array(known)[true.any(axis=0)].tolist()) for known, true in (one, other)]
    if labels[0] != labels[1]:
        differing = ", ".join(sorted(labels[0] ^ labels[1]))
        raise ScoreError(f"the two {what}s have other classes: {differing}")
    columns = [[known.index(label) for label in sorted(labels[0])] for known, _ in (one, other)]
    unlike = one[1][order][:, columns[0]] != other[1][:, columns[1]]
    clips = np.flatnonzero(unlike.any(axis=1))
    if len(clips):
        raise ScoreError(
            f"the truth of {second.clips[clips[0]]} differs between the two {what}s in {name} "
            f"({len(clips)} clips in all)"
        )


def _truth(statistics: Statistics) -> tuple[tuple[str, ...], Floats] | None:
    """Classes, and what is true in each clip: number of events or seconds, ``[N, C]``."""
    if isinstance(statistics, PrecisionStatistics):
        return _truth(statistics.ranking)
    if isinstance(statistics, F1Statistics | SweepStatistics):
        return statistics.labels, statistics.true.astype(np.float64)
    if not isinstance(statistics, PsdsStatistics):
        return None
    truth = statistics.truth
    seconds = np.zeros((len(statistics.clips), len(statistics.labels)))
    np.add.at(seconds, (truth.clip, truth.label), truth.seconds)
    return statistics.labels, np.round(seconds, 6)
