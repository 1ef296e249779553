"""A dataset's split as what systems are measured on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from earmark.core.errors import DataError
from earmark.core.tables.scores import ScoreTable
from earmark.data.manifest import Evaluation, load_manifest
from earmark.score.classes import ScoredClasses
from earmark.score.events import check_clips, some_of
from earmark.score.files import clip_name
from earmark.score.report import ScoringTask
from earmark.score.settings import MetricSettings


def load_split(data: str | Path, split: str) -> tuple[Evaluation, list[str]]:
    """A split of a dataset, and what there is to say of it.

    Raises:
        DataError: If the dataset has no such split.
    """
    manifest = load_manifest(data)
    if split not in manifest.splits:
        known = ", ".join(manifest.splits) or "none"
        raise DataError(f"has no split {split!r}", where=data, hint=f"It has: {known}")
    notes = [note for note in manifest.notes if note.startswith(f"{split}:")]
    return manifest.splits[split], notes


def classes_of(evaluation: Evaluation) -> ScoredClasses:
    """The classes that a split was annotated for, which alone can be measured."""
    return ScoredClasses(chosen=evaluation.labelled)


def split_task(
    evaluation: Evaluation,
    scored: Collection[str],
    labels: tuple[str, ...],
    settings: MetricSettings | None = None,
) -> ScoringTask:
    """What systems are measured on: the clips that have scores, and names of the others.

    Args:
        evaluation: The split.
        scored: Ids of clips with scores.
        labels: Classes of the scores that are measured.
        settings: What is measured.

    Raises:
        ScoreError: If scores are of clips that the split does not have.
        DataError: If no clip has scores.
    """
    known = {path.stem for path in evaluation.clips}
    check_clips(scored, known, "scores", f"{evaluation.name} split")
    if not scored:
        raise DataError(
            f"no clip of {evaluation.name} has scores",
            hint="`earmark doctor` tells what is wrong with the clips",
        )
    evaluation = evaluation.only(scored)
    seconds = {Path(name).stem: seconds for name, seconds in evaluation.durations.items()}
    truth = {Path(name).stem: list(own) for name, own in evaluation.events.items()}
    lost = (*evaluation.missing, *evaluation.faulty, *evaluation.unreadable)
    clips = tuple(path.stem for path in evaluation.clips)
    return ScoringTask(
        clips=clips,
        truth=classes_of(evaluation).truth({clip: truth.get(clip, []) for clip in clips}),
        durations={clip: seconds[clip] for clip in clips},
        labels=labels,
        settings=settings or MetricSettings(),
        of=evaluation.listed,
        missing=tuple(clip_name(name) for name in lost),
        fingerprint=evaluation.fingerprint,
    )


def refuse_gaps(evaluation: Evaluation, tables: Mapping[str, ScoreTable]) -> None:
    """For stored tables: those who did not say that some may be missing get an error.

    Raises:
        DataError: If a clip that is there has no table; it is named.
    """
    lacking = [path.stem for path in evaluation.clips if path.stem not in tables]
    if lacking:
        raise DataError(
            f"{len(lacking)} clips of {evaluation.name} have no scores: {some_of(lacking)}",
            hint="Add --allow-missing to use the others",
        )
