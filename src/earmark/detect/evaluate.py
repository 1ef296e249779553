"""A network on the clips of an evaluation split: score tables, detections, metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earmark.core.audio.audio import load_audio
from earmark.core.config import DataSettings, load_yaml, parse_settings
from earmark.core.errors import AudioError, DataError, ScoreError
from earmark.core.naming import without_suffix
from earmark.core.parallel import Progress
from earmark.core.spec import ModelSpec, spec_of
from earmark.core.tables.scores import ScoreTable
from earmark.data.issues import split_issues
from earmark.data.manifest import Evaluation, load_manifest, refuse_damage
from earmark.detect.postprocess_spec import PostProcess
from earmark.detect.sliding import scores_of_windows, sliding_scores
from earmark.detect.systems import Preparation, measure_system
from earmark.score.classes import ScoredClasses
from earmark.score.events import check_clips, some_of
from earmark.score.issues import refuse_issues
from earmark.score.report import ScoringTask, report
from earmark.score.settings import MetricSettings

if TYPE_CHECKING:
    from earmark.detect.network import Network

OnUnreadable = Callable[[Path, AudioError], None]
CLASS_RESAMPLES = 200
"""Draws for the intervals of each class's F1, which cost little."""
_log = logging.getLogger(__name__)


def score_clips(
    network: Network,
    clips: Mapping[str, Path],
    *,
    batch_size: int = 16,
    progress: Progress | None = None,
    on_unreadable: OnUnreadable | None = None,
) -> dict[str, ScoreTable]:
    """Unfiltered score tables of clips, by clip id.

    Clips of at most one window go through the network together; longer ones by sliding windows.

    Args:
        network: With its specification.
        clips: Files by clip id, as `Evaluation.by_id` has them.
        batch_size: Clips in one call.
        progress: Called with clips done and clips in all.
        on_unreadable: Told of each clip that cannot be read, which then has no table; without it
            the error is raised.

    Raises:
        AudioError: A clip cannot be read, and nobody is to be told.
    """
    spec = spec_of(network)
    tables: dict[str, ScoreTable] = {}
    waiting: list[tuple[str, NDArray[np.float32]]] = []
    for done, (clip, path) in enumerate(clips.items(), start=1):
        samples = _samples(path, spec, on_unreadable)
        if samples is None:
            pass
        elif len(samples) > spec.window:
            with _of(clip):
                scores = sliding_scores([samples], network, batch_size=batch_size)
            tables[clip] = _table(scores, len(samples), spec)
        else:
            waiting.append((clip, samples))
        if waiting and (len(waiting) == batch_size or done == len(clips)):
            with _of(", ".join(other for other, _ in waiting)):
                scored = scores_of_windows([samples for _, samples in waiting], network)
            for (other, samples), scores in zip(waiting, scored, strict=True):
                tables[other] = _table(scores, len(samples), spec)
            waiting = []
        if progress is not None:
            progress(done, len(clips))
    return {clip: tables[clip] for clip in clips if clip in tables}


@contextmanager
def _of(clips: str) -> Iterator[None]:
    """A mistake of the network names the clips that it was given."""
    try:
        yield
    except ScoreError as error:
        raise ScoreError(error.what, where=clips, hint=error.hint) from None


def _samples(
    path: Path, spec: ModelSpec, on_unreadable: OnUnreadable | None
) -> NDArray[np.float32] | None:
    try:
        return load_audio(path, spec.sample_rate)
    except AudioError as error:
        if on_unreadable is None:
            raise
        on_unreadable(path, error)
        return None


def warn_unreadable(path: Path, error: AudioError) -> None:
    """Say that a clip is not scored."""
    _log.warning("a clip is not scored: %s", error)


def _table(scores: NDArray[np.float32], samples: int, spec: ModelSpec) -> ScoreTable:
    """Frames of scores as a gapless table that ends with the recording."""
    boundaries = spec.grid.boundaries(len(scores), samples / spec.sample_rate)
    return ScoreTable(boundaries, scores.astype(np.float64), spec.labels)


def data_settings_of(bundle: Path) -> DataSettings:
    """What the run that left a bundle kept back; the defaults where no run is known."""
    for folder in (bundle, bundle.parent):  # a run, or its teacher or student
        if (folder / "recipe.yaml").is_file():
            content = load_yaml(folder / "recipe.yaml").get("data") or {}
            return parse_settings(DataSettings, content, folder / "recipe.yaml")
    return DataSettings()


def load_split(
    data: str | Path, split: str, *, strict: bool = False, bundle: Path | None = None
) -> tuple[Evaluation, list[str]]:
    """A split of a dataset, and what there is to say of it.

    Args:
        data: The dataset.
        split: Name of the split; also of clips that the bundle's run kept back
            (``real_held_out``).
        strict: Refuse gaps and misfits.
        bundle: What is to be scored.

    Raises:
        DataError: If the dataset has no such split; or, if that is ``strict``, something of it is
            missing, damaged or does not fit its sound.
    """
    settings = DataSettings() if bundle is None else data_settings_of(bundle)
    manifest = load_manifest(data, settings)
    if split not in manifest.splits:
        known = ", ".join(manifest.splits) or "none"
        raise DataError(f"has no split {split!r}", where=data, hint=f"It has: {known}")
    notes, damage = (
        [note for note in own if note.startswith(f"{split}:")]
        for own in (manifest.notes, manifest.damage)
    )
    issues = split_issues(manifest.splits[split])
    if strict:
        refuse_damage(replace(manifest, damage=tuple(damage)))
        refuse_issues(issues, data)
    return manifest.splits[split], [*notes, *(issue.text for issue in issues)]


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
    check_clips(scored, evaluation.by_id, "scores", f"{evaluation.name} split")
    if not scored:
        raise DataError(
            f"no clip of {evaluation.name} has scores",
            hint="`earmark doctor` lists what is wrong with the clips",
        )
    ids, clips = evaluation.ids, tuple(clip for clip in evaluation.by_id if clip in scored)
    evaluation = evaluation.only(scored)
    seconds = {ids[name]: seconds for name, seconds in evaluation.durations.items()}
    truth = {ids[name]: list(own) for name, own in evaluation.events.items()}
    lost = (*evaluation.missing, *evaluation.faulty, *evaluation.unreadable)
    return ScoringTask(
        clips=clips,
        truth=classes_of(evaluation).truth({clip: truth.get(clip, []) for clip in clips}),
        durations={clip: seconds[clip] for clip in clips},
        labels=labels,
        settings=settings or MetricSettings(),
        of=evaluation.listed,
        missing=tuple(without_suffix(name) for name in lost),
        fingerprint=evaluation.fingerprint,
    )


def refuse_gaps(evaluation: Evaluation, tables: Mapping[str, ScoreTable]) -> None:
    """For stored tables: those who did not say that some may be missing get an error.

    Raises:
        DataError: If a clip that is there has no table; it is named.
    """
    lacking = [clip for clip in evaluation.by_id if clip not in tables]
    if lacking:
        raise DataError(
            f"{len(lacking)} clips of {evaluation.name} have no scores: {some_of(lacking)}",
            hint="Add --allow-missing to use the others",
        )


def evaluate_scores(
    tables: Mapping[str, ScoreTable],
    evaluation: Evaluation,
    postprocess: PostProcess,
    *,
    resamples: int = 0,
) -> dict[str, Any]:
    """Metrics of unfiltered score tables after post-processing, with the keys used everywhere.

    Args:
        tables: By clip id.
        evaluation: The split they were made on. Its clips without a table count as listed, and
            change the fingerprint.
        postprocess: Median lengths and thresholds.
        resamples: Draws for 95 % intervals over clips; 0 makes none.

    Raises:
        DataError: There is no table: not one clip of the split could be read.
    """
    if not tables:
        raise DataError(
            f"none of the clips of {evaluation.name} can be read",
            hint="`earmark doctor` lists what is wrong with each of them",
        )
    preparation = Preparation(classes_of(evaluation), postprocess)
    measured = preparation.named(next(iter(tables.values()))).labels
    task = split_task(evaluation, tables, measured)
    found = measure_system(tables, preparation, task, weightable=resamples > 0)
    return report([found], resamples=resamples, class_resamples=CLASS_RESAMPLES)


def evaluate_network(
    network: Network,
    evaluation: Evaluation,
    postprocess: PostProcess,
    *,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score every readable clip of a split and return its metrics; the network's mode stays."""
    tables = score_clips(
        network,
        evaluation.by_id,
        batch_size=batch_size,
        progress=progress,
        on_unreadable=warn_unreadable,
    )
    return evaluate_scores(tables, evaluation, postprocess)
