"""PSDS of more clips than fit into memory: one clip at a time, or by several workers.

What makes that possible is a bound. A clip without truth of a class is a false positive of it at
every threshold below its highest score. Once more such clips are active than ``max_efpr`` allows,
no lower threshold can give a point of the curve. So if the highest score of each clip is known
first (`PsdsAccumulator.survey`), only the few frames above that bound are counted, and the score
is still exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from earmark.core.errors import ScoreError
from earmark.core.tables.scores import ScoreTable
from earmark.score.events import (
    Bools,
    EventArrays,
    Events,
    Floats,
    Ints,
    check_clips,
    check_durations,
    counted_clips,
    some_of,
    tidy,
)
from earmark.score.psds.parameters import HOUR, PsdsParameters
from earmark.score.psds.runs import Runs, ragged
from earmark.score.psds.spill import SpilledRows, SpilledSteps
from earmark.score.psds.statistics import PsdsStatistics, cross_trigger_costs
from earmark.score.psds.steps import intersection_steps
from earmark.score.psds.sweeps import ClassSweep

CELLS = 200_000
"""Frames × classes counted together while every frame is needed …"""
SPARSE_CELLS = 1_000_000
"""… and while only those above the bound are."""
NEVER_RELEVANT = 1e-6
"""Seconds that ``dtc`` must ask of the shortest frame, or rounding makes anything relevant."""
DEVIATIONS = 8.0
"""So many standard deviations more false positives are kept, for resampled clips to need them."""


class _Clips:
    """The clips that count, their truth, and how they are to be named in messages."""

    def __init__(
        self,
        labels: Sequence[str],
        truth: Events,
        durations: Mapping[str, float],
        drop_eventless: bool,
    ) -> None:
        check_clips(truth, durations, "truth", "durations")
        check_durations(durations)
        self.names, dropped = counted_clips(durations, truth, drop_eventless)
        self.number = {clip: number for number, clip in enumerate(self.names)}
        self.dropped = frozenset(durations) - frozenset(self.names)
        self.truth, changed = tidy(truth, self.names, labels, "truth", merge=True)
        if not len(self.truth.clip):
            raise ScoreError(
                "no class has ground truth", hint="PSDS needs at least one true event."
            )
        # First event of each clip, and the end, [N + 1].
        self.first = np.searchsorted(self.truth.clip, np.arange(len(self.names) + 1))
        self.durations = np.array([durations[clip] for clip in self.names], dtype=np.float64)
        self.warnings = (*dropped, *changed)

    def events(self, clips: Ints) -> EventArrays:
        """Truth of some clips, numbered as in ``clips``."""
        chosen, row = ragged(self.first[clips], self.first[clips + 1])
        return replace(self.truth.at(chosen), clip=row)


class PsdsAccumulator:
    """Counts for one PSDS or several, from clips that come one by one.

    Either `add` every clip once; or `survey` every clip and then add every clip, which
    reads them twice and needs little memory. Workers with the same arguments may each take some
    of the clips, and `merge` joins them (surveys too, before the first clip is added).

    Args:
        labels: The classes.
        truth: Ground-truth events by clip id; a clip without events may be absent.
        durations: Seconds of each clip; names the clips that count.
        parameters: What to measure with; one set of statistics is made for each.
        weightable: Whether clips can be weighted afterwards, as intervals need it; costs memory.
        drop_eventless: Whether to leave out clips without truth, as DCASE recipes since 2023 do.

    Raises:
        ScoreError: If clips, classes or times do not fit together, or no class has truth.
    """

    def __init__(
        self,
        labels: Sequence[str],
        truth: Events,
        durations: Mapping[str, float],
        parameters: Sequence[PsdsParameters],
        *,
        weightable: bool = False,
        drop_eventless: bool = False,
    ) -> None:
        self.labels = tuple(labels)
        self.parameters = tuple(parameters)
        self.weightable = weightable
        self._clips = _Clips(self.labels, truth, durations, drop_eventless)
        size = len(self._clips.names), len(self.labels)
        # Weighted clips need to know afterwards which clips the bound rests on; else it is enough
        # to have the highest scores once.
        self._highest = np.full(size, -np.inf) if weightable else None
        self._quiet = SpilledRows(size[1])
        self._active = np.zeros(size[1], dtype=np.bool_)
        self._surveyed = np.zeros(size[0], dtype=np.bool_)
        self._added = np.zeros(size[0], dtype=np.bool_)
        self._shortest = math.inf
        self._floor: Floats | None = None
        self._waiting: list[tuple[int, ScoreTable]] = []
        self._longest = 0
        self._steps = [SpilledSteps(size[1]) for _ in self.parameters]
        events = self._clips.truth
        self._criteria = [
            (one.criteria, None if weightable else cross_trigger_costs(events, size[1], one))
            for one in self.parameters
        ]
        self._truthful = np.zeros(size, dtype=np.bool_)
        self._truthful[events.clip, events.label] = True

    def survey(self, clip: str, table: ScoreTable) -> None:
        """Note how high the scores of a clip get.

        Raises:
            ScoreError: If the clip is unknown, its classes are others, or clips were added already.
        """
        number = self._number(clip, table)
        if number is None:
            return
        if self._floor is not None:
            raise ScoreError("all clips must be surveyed before the first is added", where=clip)
        self._note(number, table)

    def add(self, clip: str, table: ScoreTable) -> None:
        """Count a clip.

        Raises:
            ScoreError: If the clip is unknown or comes twice, or its classes are others.
        """
        number = self._number(clip, table)
        if number is None:
            return
        if self._added[number]:
            raise ScoreError(f"the scores of {clip} came twice")
        if self._floor is None:
            self._floor = self._bound()
        if not self._surveyed[number]:
            self._note(number, table)
        self._added[number] = True
        sparse = bool(np.all(self._floor > -np.inf))
        limit = (SPARSE_CELLS if sparse else CELLS) // len(self.labels)
        if (len(self._waiting) + 1) * max(self._longest, len(table)) > limit:
            self._count()
        self._waiting.append((number, table))
        self._longest = max(self._longest, len(table))

    def merge(self, other: PsdsAccumulator) -> None:
        """Take over what another one, made with the same arguments, has surveyed or counted.

        Raises:
            ScoreError: If it was made with other arguments, or both have counted the same clip.
        """
        mine, theirs = (
            (one.labels, one.parameters, one.weightable, one._clips.names) for one in (self, other)
        )
        if mine != theirs:
            raise ScoreError("only accumulators made with the same arguments can be merged")
        twice = np.flatnonzero(self._added & other._added)
        if len(twice):
            raise ScoreError(f"the scores of {self._clips.names[twice[0]]} came twice")
        other._count()
        if self._floor is None:
            self._floor = other._floor
        elif other._floor is not None and not np.array_equal(self._floor, other._floor):
            raise ScoreError(
                "accumulators that looked at different scores cannot be merged",
                hint="Survey all clips with one, merge it into the others, and add then.",
            )
        if self._highest is not None and other._highest is not None:
            self._highest = np.maximum(self._highest, other._highest)
        self._quiet = self._joined_survey(other)
        self._active |= other._active
        self._surveyed |= other._surveyed
        self._added |= other._added
        self._shortest = min(self._shortest, other._shortest)
        for own, more in zip(self._steps, other._steps, strict=True):
            own.join(more)

    def _joined_survey(self, other: PsdsAccumulator) -> SpilledRows:
        """The highest scores of both, those of each clip once."""
        both = self._surveyed & other._surveyed
        if np.array_equal(both, other._surveyed):
            return self._quiet
        if np.array_equal(both, self._surveyed):
            return other._quiet.copy()
        if both.any():
            clip = self._clips.names[np.flatnonzero(both)[0]]
            raise ScoreError(
                f"two accumulators have surveyed {clip}, and each has surveyed others too",
                hint="Survey every clip with one of them, or all clips with each.",
            )
        joined = self._quiet.copy()
        joined.join(other._quiet)
        return joined

    def finish(self) -> list[PsdsStatistics]:
        """What was counted, for each of ``parameters``.

        Raises:
            ScoreError: If clips are missing; they are named.
        """
        missing = [self._clips.names[number] for number in np.flatnonzero(~self._added)]
        if missing:
            raise ScoreError(
                f"{len(missing)} clips have no scores: {some_of(missing)}",
                hint="Every clip of the durations needs scores.",
            )
        self._count()
        clips, guards, found = self._clips, self._guards(), []
        warnings = (*clips.warnings, *self._silent())
        given = self.labels, clips.truth, clips.durations, clips.names, warnings
        for parameters, steps in zip(self.parameters, self._steps, strict=True):
            steps.settle()
            sweeps = (ClassSweep.of(steps.take(label)) for label in range(len(self.labels)))
            statistics = PsdsStatistics(*given, parameters, guards=guards)
            if self.weightable:
                found.append(replace(statistics, sweeps=tuple(sweeps)))
            else:
                found.append(statistics.once(sweeps))
        return found

    def _number(self, clip: str, table: ScoreTable) -> int | None:
        """The clip's number, or ``None`` if it was dropped."""
        if clip in self._clips.dropped:
            return None
        if clip not in self._clips.number:
            check_clips([clip], self._clips.number, "scores", "durations")
        if table.labels != self.labels:
            raise ScoreError(
                f"the score columns of {clip} ({', '.join(table.labels)}) differ from "
                f"the classes ({', '.join(self.labels)})",
                hint="Every clip needs the same classes in the same order.",
            )
        return self._clips.number[clip]

    def _note(self, number: int, table: ScoreTable) -> None:
        highest = table.values.max(axis=0).astype(np.float64)
        if self._highest is not None:
            self._highest[number] = highest
        self._quiet.put(np.where(self._truthful[number], -np.inf, highest))
        self._active |= highest > -np.inf
        self._surveyed[number] = True
        self._shortest = min(self._shortest, float(np.diff(table.boundaries).min()))

    def _bound(self) -> Floats:
        """Scores of each class that nothing depends on: these and all lower ones, ``[C]``."""
        floor = np.full(len(self.labels), -np.inf)
        demanding = min(given.dtc for given in self.parameters) * self._shortest > NEVER_RELEVANT
        if self._surveyed.all() and demanding:
            wanted = self._alarms()
            if wanted <= self._quiet.rows:
                floor = self._quiet.highest(wanted)
        floor[~self._truthful.any(axis=0)] = np.inf  # without truth there is no curve
        return floor

    def _alarms(self) -> int:
        """So many false positives of a class are too many for any point of its curve."""
        rate = max(given.max_efpr for given in self.parameters) / HOUR
        durations = self._clips.durations
        found = math.floor(rate * float(durations.sum()) * (1 + 1e-9)) + 1
        if self.weightable:
            spread = found + rate**2 * float(np.sum((durations - durations.mean()) ** 2))
            found += math.ceil(DEVIATIONS * math.sqrt(spread)) + math.ceil(DEVIATIONS)
        return found

    def _guards(self) -> Bools | None:
        if self._highest is None or self._floor is None or not np.isfinite(self._floor).any():
            return None
        there = (self._highest >= self._floor) & ~self._truthful
        return there & np.isfinite(self._floor)

    def _silent(self) -> list[str]:
        """A warning that names the classes with truth that no threshold makes active."""
        silent = np.flatnonzero(~self._active & self._truthful.any(axis=0))
        names = ", ".join(self.labels[label] for label in silent)
        said = f"classes that are never active have a true-positive rate of 0: {names}"
        return [said] if len(silent) else []

    def _count(self) -> None:
        """Count the clips that wait."""
        if not self._waiting or self._floor is None:
            return
        clips = np.array([number for number, _ in self._waiting])
        truth = self._clips.events(clips)
        runs = Runs.find([table for _, table in self._waiting], self._floor)
        self._waiting, self._longest = [], 0
        counted = intersection_steps(runs, truth, clips, self._criteria)
        for spilled, steps in zip(self._steps, counted, strict=True):
            spilled.put(steps)
