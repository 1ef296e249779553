"""PSDS: the polyphonic sound detection score, exact over all decision thresholds.

Definitions: Bilen et al., "A Framework for the Robust Evaluation of Sound Event Detection",
ICASSP 2020 (arXiv:1910.08440). All thresholds at once: Ebbers et al., "Threshold-Independent
Evaluation of Sound Event Detection Scores", ICASSP 2022 (arXiv:2201.13148).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from earmark.core.tables.scores import ScoreTable, common_labels
from earmark.score.events import (
    TIME_DECIMALS,
    Convention,
    EventArrays,
    Events,
    Ints,
    check_clips,
    check_durations,
    counted_clips,
    known_clips,
    tidy,
)
from earmark.score.psds.accumulator import PsdsAccumulator
from earmark.score.psds.criteria import intersect
from earmark.score.psds.parameters import PSDS1, PsdsParameters
from earmark.score.psds.statistics import PsdsResult, PsdsStatistics
from earmark.score.psds.steps import CT, FP, TP, Steps
from earmark.score.psds.sweeps import class_sweeps


def psds(
    scores: Mapping[str, ScoreTable],
    truth: Events,
    durations: Mapping[str, float],
    parameters: PsdsParameters = PSDS1,
    *,
    drop_eventless: bool = False,
) -> PsdsResult:
    """The polyphonic sound detection score over every decision threshold.

    A detection is a maximal run of frames with score > threshold; times are compared rounded to
    6 decimals. Cross triggers are averaged over the other classes that have truth.

    Args:
        scores: Score table of each clip, by clip id. Each is looked up three times and not kept,
            so the mapping may read them from a disk.
        truth: Ground-truth events by clip id; a clip without events may be absent.
        durations: Seconds of each clip.
        parameters: ``PSDS1``, ``PSDS2`` or others.
        drop_eventless: Whether to leave out clips without truth, as DCASE recipes since 2023 do.

    Returns:
        The score, per class, with curves and warnings.

    Raises:
        ScoreError: If clips, classes or times do not fit together, or no class has truth.
    """
    given = scores, truth, durations, parameters, drop_eventless
    return _accumulated(*given, weightable=False, survey=True).result()


def psds_statistics(
    scores: Mapping[str, ScoreTable],
    truth: Events,
    durations: Mapping[str, float],
    parameters: PsdsParameters = PSDS1,
    *,
    drop_eventless: bool = False,
    thresholds: Literal["every", "needed"] = "every",
) -> PsdsStatistics:
    """Count over all thresholds, for results with any weights on the clips.

    Args:
        scores: As for `psds`, like all arguments not named here.
        truth: …
        durations: …
        parameters: …
        drop_eventless: …
        thresholds: ``"needed"`` leaves out scores too low to matter for resampled clips, which
            takes less time and memory; other weights may then be refused.

    Raises:
        ScoreError: As for `psds`.
    """
    given = scores, truth, durations, parameters, drop_eventless
    return _accumulated(*given, weightable=True, survey=thresholds == "needed")


def _accumulated(
    scores: Mapping[str, ScoreTable],
    truth: Events,
    durations: Mapping[str, float],
    parameters: PsdsParameters,
    drop_eventless: bool,
    *,
    weightable: bool,
    survey: bool,
) -> PsdsStatistics:
    labels = common_labels(scores.items())
    clips = known_clips(scores, truth, durations, "scores")
    given = labels, truth, {clip: durations[clip] for clip in clips}, [parameters]
    found = PsdsAccumulator(*given, weightable=weightable, drop_eventless=drop_eventless)
    frames = {}
    if survey:
        for clip in clips:
            table = scores[clip]
            frames[clip] = len(table)
            found.survey(clip, table)
    # Clips of like length together, so that little is padded.
    for clip in sorted(clips, key=lambda clip: frames.get(clip, 0)):
        found.add(clip, scores[clip])
    return found.finish()[0]


def psds_of_detections(
    operating_points: Iterable[Events] | Mapping[float, Events],
    truth: Events,
    durations: Mapping[str, float],
    labels: Sequence[str],
    parameters: PsdsParameters = PSDS1,
    *,
    like: Convention = "sed_scores_eval",
    drop_eventless: bool = False,
) -> PsdsResult:
    """PSDS from detections at a few thresholds: a lower bound of what all thresholds give.

    Args:
        operating_points: Detections by clip id, one mapping per threshold (or threshold →
            detections; the thresholds themselves do not matter).
        truth: Ground-truth events by clip id.
        durations: Seconds of each clip; names the clips that count.
        labels: The classes.
        parameters: What to measure with.
        like: Whose conventions hold where libraries differ. sed_scores_eval compares times rounded
            to 6 decimals and counts every detection; psds_eval compares raw quotients, and a
            detection that starts after the end of its clip is ignored.
        drop_eventless: Whether to leave out clips without truth.

    Raises:
        ScoreError: If clips, classes or times do not fit together, or no class has truth.
    """
    given = operating_points, truth, durations, labels, parameters
    return detection_statistics(*given, like=like, drop_eventless=drop_eventless).result()


def detection_statistics(
    operating_points: Iterable[Events] | Mapping[float, Events],
    truth: Events,
    durations: Mapping[str, float],
    labels: Sequence[str],
    parameters: PsdsParameters = PSDS1,
    *,
    like: Convention = "sed_scores_eval",
    drop_eventless: bool = False,
) -> PsdsStatistics:
    """Counts of each clip; arguments and errors as for `psds_of_detections`."""
    check_clips(truth, durations, "truth", "durations")
    check_durations(durations)
    clips, warnings = counted_clips(durations, truth, drop_eventless)
    true, changed = tidy(truth, clips, labels, "truth", merge=True)
    warnings += changed
    seconds = np.array([durations[clip] for clip in clips], dtype=np.float64)
    points = operating_points
    decimals, ignored = (None, True) if like == "psds_eval" else (TIME_DECIMALS, False)
    steps: list[Steps] = []
    beyond = 0
    for number, found in enumerate(points.values() if isinstance(points, Mapping) else points):
        check_clips(found, durations, "detections", "durations")
        given, changed = tidy(found, clips, labels, "detections", merge=True)
        late = given.onset >= seconds[given.clip]
        beyond += int(np.count_nonzero(late))
        warnings += [line for line in changed if line not in warnings]
        met = intersect(given, true, parameters.criteria, decimals)
        false = given.at(~met.relevant & ~(late & ignored))
        trigger = given.at(met.trigger)
        for kind, events in ((TP, true.at(met.hit)), (FP, false), (CT + met.triggered_by, trigger)):
            steps += _point_steps(number, kind, events)
    if beyond:
        done = "ignored" if ignored else "counted"
        warnings.append(f"{beyond} detections that start after the end of their clip {done}")
    sweeps = class_sweeps(Steps.joined(steps), len(labels))
    said = tuple(warnings)
    return PsdsStatistics(tuple(labels), true, seconds, clips, said, parameters, sweeps)


def _point_steps(number: int, kind: int | Ints, events: EventArrays) -> Iterator[Steps]:
    """What one of several operating points counts, which is taken back below it."""
    size = len(events.clip)
    for score, change in ((-float(number), 1), (-float(number + 1), -1)):
        levels, changes = np.full(size, score), np.full(size, change)
        yield Steps.of(kind, events.label, levels, events.clip, changes)
