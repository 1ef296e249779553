"""Seeded cases as score tables, and the seeds that tests draw."""

from __future__ import annotations

from earmark.core.tables.scores import ScoreTable
from helpers.score_cases import Case


def tables_of(case: Case) -> dict[str, ScoreTable]:
    """A case's scores as tables."""
    return {
        clip: ScoreTable(case.boundaries[clip], values, case.labels)
        for clip, values in case.values.items()
    }
