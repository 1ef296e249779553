"""pi-PSDS, compared with its definition point by point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.errors import ScoreError
from earmark.core.tables.scores import ScoreTable
from earmark.detect.postprocess import median_filtered
from earmark.score.psds import (
    IndependentStatistics,
    PsdsParameters,
    pi_psds,
    psds,
    psds_statistics,
)

LABELS = ("a", "b", "c")
WIDTHS = (1, 3, 5)
PARAMETERS = [
    PsdsParameters(dtc=0.5, gtc=0.5, alpha_st=1.0, max_efpr=3000.0),
    PsdsParameters(dtc=0.1, gtc=0.1, cttc=0.3, alpha_ct=0.5, alpha_st=0.5, max_efpr=2000.0),
]
Truth = dict[str, list[tuple[float, float, str]]]


def world(seed: int) -> tuple[dict[str, ScoreTable], Truth, dict[str, float]]:
    """A few clips of a few frames of a second, with few levels of score."""
    rng = np.random.default_rng(seed)
    tables, truth = {}, Truth()
    for number in range(3):
        frames = int(rng.integers(4, 12))
        values = rng.integers(0, 5, (frames, 3)) / 4
        tables[f"{number}"] = ScoreTable(np.arange(frames + 1.0), values, LABELS)
        onset = int(rng.integers(0, frames - 1))
        offset = int(rng.integers(onset + 1, frames + 1))
        truth[f"{number}"] = [(float(onset), float(offset), LABELS[number])]
        if rng.random() < 0.5:
            truth[f"{number}"].append((0.0, 1.0, LABELS[(number + 1) % 3]))
    return tables, truth, {clip: float(table.boundaries[-1]) for clip, table in tables.items()}


def filtered(tables: Mapping[str, ScoreTable], width: int) -> dict[str, ScoreTable]:
    return {
        clip: ScoreTable(one.boundaries, median_filtered(one.values, [width] * 3), one.labels)
        for clip, one in tables.items()
    }


def runs(column: np.ndarray, level: float) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for frame in np.flatnonzero(column > level).tolist():
        if found and found[-1][1] == frame:
            found[-1] = (found[-1][0], frame + 1)
        else:
            found.append((frame, frame + 1))
    return found


def shared(one: tuple[float, float], other: tuple[float, float]) -> float:
    return max(0.0, min(one[1], other[1]) - max(one[0], other[0]))


def point(
    tables: Mapping[str, ScoreTable], truth: Truth, label: int, level: float, rule: PsdsParameters
) -> tuple[float, float]:
    """Effective false positives an hour and true-positive rate of one class at one threshold."""
    hits = events = false = 0
    crossed = np.zeros(3)
    for clip, table in tables.items():
        true = {c: [e[:2] for e in truth[clip] if e[2] == LABELS[c]] for c in range(3)}
        relevant = []
        for run in runs(table.values[:, label], level):
            length = run[1] - run[0]
            if sum(shared(run, event) for event in true[label]) / length >= rule.dtc:
                relevant.append(run)
                continue
            false += 1
            for other in range(3):
                own = sum(shared(run, event) for event in true[other]) / length
                if other != label and rule.cttc is not None and own >= rule.cttc:
                    crossed[other] += 1
        for event in true[label]:
            events += 1
            covered = sum(shared(run, event) for run in relevant) / (event[1] - event[0])
            hits += covered >= rule.gtc
    hours = sum(table.boundaries[-1] for table in tables.values()) / 3600
    efpr = false / hours
    seconds = np.array(
        [sum(e[1] - e[0] for own in truth.values() for e in own if e[2] == name) for name in LABELS]
    )
    others = [c for c in range(3) if c != label and seconds[c] > 0]
    if rule.alpha_ct and others:
        rates = [crossed[c] / (seconds[c] / 3600) for c in others]
        efpr += rule.alpha_ct * float(np.mean(rates))
    return efpr, hits / events


def by_definition(
    versions: Sequence[Mapping[str, ScoreTable]], truth: Truth, rule: PsdsParameters
) -> float:
    """Mean less alpha_st standard deviations of the envelopes, as an area."""
    points = {
        label: [
            point(tables, truth, label, level, rule)
            for tables in versions
            for level in np.arange(-1, 6) / 4 - 0.1
        ]
        for label in range(3)
    }
    edges = sorted({0.0, *(x for own in points.values() for x, _ in own if x <= rule.max_efpr)})
    area = 0.0
    for first, last in zip(edges, [*edges[1:], rule.max_efpr], strict=True):
        best = [max((y for x, y in own if x <= first), default=0.0) for own in points.values()]
        area += max(0.0, float(np.mean(best) - rule.alpha_st * np.std(best))) * (last - first)
    return area / rule.max_efpr


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rule=st.sampled_from(PARAMETERS))
def test_it_is_its_definition(seed: int, rule: PsdsParameters) -> None:
    tables, truth, durations = world(seed)
    versions = [filtered(tables, width) for width in WIDTHS]
    parts = [psds_statistics(one, truth, durations, rule) for one in versions]
    found = pi_psds(parts)
    assert found.value == pytest.approx(by_definition(versions, truth, rule), abs=1e-9)
    alone = [psds(one, truth, durations, rule) for one in versions]
    assert alone[0].value == pytest.approx(by_definition(versions[:1], truth, rule), abs=1e-9)
    for label, area in found.per_class.items():  # an envelope is nowhere below what it is of
        assert area >= max(one.per_class[label] for one in alone) - 1e-12
    assert pi_psds([parts[1], parts[1]]).value == pytest.approx(alone[1].value, abs=1e-12)


@pytest.mark.parametrize("rule", PARAMETERS)
def test_resampled_clips_are_clips_that_come_so_often(rule: PsdsParameters) -> None:
    tables, truth, durations = world(5)
    weights = np.array([[1, 1, 1], [2, 0, 1], [0, 3, 1], [1, 2, 2]])

    def parts(row: Sequence[int]) -> IndependentStatistics:
        copies = [(clip, n) for clip, count in zip(tables, row, strict=True) for n in range(count)]
        own = {f"{clip}.{n}": tables[clip] for clip, n in copies}
        said = {f"{clip}.{n}": truth[clip] for clip, n in copies}
        seconds = {f"{clip}.{n}": durations[clip] for clip, n in copies}
        found = [psds_statistics(filtered(own, w), said, seconds, rule) for w in WIDTHS]
        return IndependentStatistics(tuple(found))

    together = parts([1, 1, 1]).resampled(weights)[""]
    each = [parts(row).result().value for row in weights.tolist()]
    np.testing.assert_allclose(together, each, atol=1e-12)


def test_other_evaluations_do_not_mix() -> None:
    tables, truth, durations = world(1)
    parts = [psds_statistics(tables, truth, durations, rule) for rule in PARAMETERS]
    for wrong in ([], parts):
        with pytest.raises(ScoreError, match="of the same evaluation"):
            pi_psds(wrong)
