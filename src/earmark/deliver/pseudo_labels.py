"""Strong pseudo-labels of a dataset's unlabelled clips, by one network or the mean of several.

A second round of training with the pseudo-labels of the first one's ensemble follows Schmid et al.,
"Multi-Iteration Multi-Stage Fine-Tuning of Transformers for Sound Event Detection with
Heterogeneous Datasets" (DCASE 2024, arXiv 2407.12997). Score tables are written clip by clip, so
that a stopped run goes on and other thresholds need no network; tables of events and the
description come last, each whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Literal

import numpy as np

from earmark._version import __version__
from earmark.core.config import dump_yaml
from earmark.core.errors import AudioError, DataError, ScoreError
from earmark.core.event import Event
from earmark.core.files import remove_drafts, write_text
from earmark.core.folders import claim_folder
from earmark.core.locking import writes_to
from earmark.core.parallel import Progress
from earmark.core.tables.label_tables import write_strong
from earmark.core.tables.score_files import read_scores, write_scores
from earmark.core.tables.scores import ScoreTable
from earmark.data.clips import ClipFinder
from earmark.data.described import DESCRIPTION, scores_file
from earmark.data.manifest import Manifest, Source
from earmark.detect.evaluate import score_clips
from earmark.detect.network import Trained
from earmark.detect.postprocess import scores_to_events
from earmark.detect.postprocess_spec import LabelSettings, PostProcess
from earmark.score.classes import ScoredClasses

RECORD, SCORES = "pseudo-label.yaml", "scores"
NAME = "pseudo"
Targets = Literal["labels", "scores"]
_TOGETHER = 32
"""Clips whose scores are in memory at a time."""


@dataclass(frozen=True)
class Ensemble:
    """Networks whose mean scores are taken, with their classes under the data's names.

    Args:
        members: One or more.
        names: What a class of theirs is called in the data; None leaves it out.
        labels: Classes of the data; others are left out.

    Raises:
        ScoreError: The map names what no network has, or networks differ in the data's classes.
    """

    members: Sequence[Trained]
    names: Mapping[str, str | None]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        known = {label for one in self.members for label in one.labels}
        ScoredClasses(dict(self.names)).check(known, known)
        first, *others = (self._own(one) for one in self.members)
        for one, own in zip(self.members[1:], others, strict=True):
            if set(own) != set(first):
                differing = sorted(set(own) ^ set(first))
                raise ScoreError(
                    f"{one.path.name} and {self.members[0].path.name} do not have the same of the "
                    f"data's classes: {', '.join(differing)}",
                    hint="Rename classes with --class-map, or leave them out with --classes",
                )
        if not first:
            raise ScoreError(
                f"no class of {self.members[0].path.name} is one of the data's",
                hint=f"The data have {', '.join(self.labels)}; rename classes with --class-map",
            )

    def _own(self, one: Trained) -> dict[str, list[str]]:
        """A member's classes by their names in the data."""
        found: dict[str, list[str]] = {}
        for label in one.labels:
            name = self.names.get(label, label)
            if name in self.labels:
                found.setdefault(str(name), []).append(label)
        return {name: found[name] for name in self.labels if name in found}

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the data that get pseudo-labels."""
        return tuple(self._own(self.members[0]))

    @property
    def postprocess(self) -> PostProcess:
        """The first member's, under the data's names; of classes that become one the first's."""
        first, own = self.members[0], self._own(self.members[0])
        chosen = {name: first.postprocess.for_label(labels[0]) for name, labels in own.items()}
        by_class = {
            field: {name: getattr(settings, field) for name, settings in chosen.items()}
            for field in LabelSettings._fields
        }
        return first.postprocess.changed(**by_class)

    def score(
        self,
        clips: Mapping[str, Path],
        batch_size: int,
        on_unreadable: Callable[[Path, AudioError], None],
    ) -> dict[str, ScoreTable]:
        """Mean scores of clips that can be read, in the frames of the first network."""
        found: dict[str, list[ScoreTable]] = {}
        for one in self.members:
            own = self._own(one)
            there = clips if not found else {clip: clips[clip] for clip in found}
            tables = score_clips(
                one.network, there, batch_size=batch_size, on_unreadable=on_unreadable
            )
            for clip, table in tables.items():
                column = {label: number for number, label in enumerate(table.labels)}
                values = [table.values[:, [column[x] for x in own[n]]].max(axis=1) for n in own]
                renamed = ScoreTable(table.boundaries, np.stack(values, axis=1), tuple(own))
                found.setdefault(clip, []).append(renamed)
        return {clip: mean_scores(tables) for clip, tables in found.items()}


def mean_scores(tables: Sequence[ScoreTable]) -> ScoreTable:
    """Mean of a clip's score tables, in the frames of the first and with its classes.

    Each has the same weight, whatever the length of its frames.

    Raises:
        ScoreError: Their classes are not the same.
    """
    first = tables[0]
    if any(table.labels != first.labels for table in tables):
        raise ScoreError("tables of other classes have no mean")
    same = [table.on(first.boundaries).values for table in tables[1:]]
    total = reduce(np.add, same, first.values.astype(np.float64))
    return ScoreTable(first.boundaries, total / len(tables), first.labels)


@dataclass(frozen=True)
class PseudoLabels:
    """What was written.

    Attributes:
        description: To be given to ``earmark train --data``.
        clips: Labelled.
        before: Of these, scored by an earlier run.
        events: By class.
        unreadable: Clips left out, with the reason.
    """

    description: Path
    clips: int
    before: int
    events: Mapping[str, int]
    unreadable: Mapping[Path, str]


@writes_to("out")
def write_pseudo_labels(
    out: Path,
    *,
    data: Path,
    manifest: Manifest,
    ensemble: Ensemble,
    postprocess: PostProcess,
    targets: Targets = "labels",
    batch_size: int = 16,
    progress: Progress | None = None,
) -> PseudoLabels:
    """Label every unlabelled clip of a dataset.

    Args:
        out: Folder: new, empty, or begun by the same networks on the same data.
        data: The dataset as it was given, which the written description extends.
        manifest: What it holds.
        ensemble: The networks.
        postprocess: Makes events of their scores.
        targets: What training takes as targets: the events, or the scores themselves.
        batch_size: Clips in one call of a network.
        progress: Called with (clips done, clips in all).

    Raises:
        DataError: The data have no unlabelled clip, none can be read, or the folder holds
            something else.
    """
    sources = [one for one in manifest.train if one.kind == "unlabelled" and one.clips]
    if not sources:
        raise DataError(
            "no unlabelled clip to label", where=data, hint="`earmark doctor` lists what there is"
        )
    folders = list(dict.fromkeys(folder for one in sources for folder in _folders(one)))
    named, wanted = ClipFinder(folders).names, {clip for one in sources for clip in one.clips}
    clips = {name: path for path, name in named.items() if path in wanted}
    claim_folder(out, RECORD, _record(manifest, ensemble), other="pseudo-labels made otherwise")
    for folder in {scores_file(out / SCORES, name).parent for name in clips}:
        remove_drafts(folder)
    waiting = {name: clips[name] for name in clips if not scores_file(out / SCORES, name).is_file()}
    unreadable: dict[Path, str] = {}
    before, done = len(clips) - len(waiting), 0
    for first in range(0, len(waiting), _TOGETHER):
        chunk = dict(list(waiting.items())[first : first + _TOGETHER])
        scored = ensemble.score(
            chunk, batch_size, lambda path, error: unreadable.update({path: str(error)})
        )
        for name, table in scored.items():
            values = table.values.astype(np.float32)
            table = ScoreTable(table.boundaries, values, table.labels)
            write_scores(scores_file(out / SCORES, name), table, "npz")
        done += len(chunk)
        if progress is not None:
            progress(before + done, len(clips))
    lost = set(unreadable)
    events = {
        name: scores_to_events(read_scores(scores_file(out / SCORES, name)), postprocess)
        for name, path in clips.items()
        if path not in lost
    }
    if not events:
        raise DataError(f"none of {len(clips)} unlabelled clips can be read", where=data)
    write_strong(out / "labels.tsv", {name: _times(own) for name, own in events.items()})
    content = _description(data, folders, ensemble.classes, targets)
    write_text(out / DESCRIPTION, dump_yaml(content))
    write_text(out / "postprocess.yaml", dump_yaml(postprocess.to_dict()))
    found = [event.event_label for own in events.values() for event in own]
    counts = {label: found.count(label) for label in ensemble.classes}
    return PseudoLabels(out / DESCRIPTION, len(events), before, counts, unreadable)


def _folders(source: Source) -> list[Path]:
    """The folders that the names of a source's clips are relative to."""
    names = {path: Path(source.name_of(path)) for path in source.clips}
    return list(dict.fromkeys(path.parents[len(name.parts) - 1] for path, name in names.items()))


def _times(events: Sequence[Event]) -> list[Event]:
    """Events to the nanosecond, without scores."""
    return [Event(round(event.onset, 9), round(event.offset, 9), event[2]) for event in events]


def _record(manifest: Manifest, ensemble: Ensemble) -> dict[str, Any]:
    """What decides the score tables."""
    return {
        "earmark": __version__,
        "data": manifest.fingerprint,
        "bundles": [one.fingerprint for one in ensemble.members],
        "names": dict(sorted(ensemble.names.items())),
        "classes": list(ensemble.classes),
    }


def _description(
    data: Path, folders: Sequence[Path], classes: Sequence[str], targets: Targets
) -> dict[str, Any]:
    """The dataset with its pseudo-labelled clips as one more source."""
    source = {
        "name": NAME,
        "audio": [str(folder.resolve()) for folder in folders],
        "strong": "labels.tsv",
        "pseudo": True,
        "labelled": list(classes),
        **({"scores": SCORES} if targets == "scores" else {}),
    }
    return {"extends": str(data.resolve()), "train": [source]}
