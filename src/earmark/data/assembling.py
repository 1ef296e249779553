"""From the parts found of a dataset to what a run uses of it: every clip in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from earmark.core.config import DataSettings
from earmark.core.errors import DataError
from earmark.core.tables.labels import LabelSet
from earmark.data.leakage import (
    divide,
    hold_out_as_v1,
    hold_out_by_name,
    leave_out,
    read_exclusions,
    separate,
)
from earmark.data.reading import PartReader
from earmark.data.subsets import Evaluation, Manifest, Source


@dataclass
class Parts:
    """What was found of a dataset, before its clips are divided.

    Attributes:
        root: Its folder.
        reader: What it was read with.
        hint: What to do if there is too little.
        by_name: Unlabelled clips are labelled ones if their names agree.
        train: To learn from.
        splits: To be scored on.
        held_out: Kept from training by the dataset itself.
        durations: Table of durations of what is held out, by name.
        exclude: Table of clips not to train on.
    """

    root: Path
    reader: PartReader
    hint: str
    by_name: bool = False
    train: list[Source] = field(default_factory=list)
    splits: dict[str, Evaluation] = field(default_factory=dict)
    held_out: list[Source] = field(default_factory=list)
    durations: dict[str, Path] = field(default_factory=dict)
    exclude: Path | None = None


def assemble(parts: Parts, settings: DataSettings) -> Manifest:
    """Keep clips back, leave out shared and excluded ones, and see whether anything is left.

    Raises:
        DataError: There is neither a labelled clip to learn from nor a split to be scored on.
    """
    reader, train = parts.reader, parts.train
    train, held_out = _keep_back(train, parts, settings)
    train = separate(
        train,
        parts.splits,
        held_out,
        reader.tell,
        by_name=parts.by_name,
        keep_shared=settings.shared == "keep",
    )
    for table in (parts.exclude, settings.exclude):
        if table is not None:
            train = leave_out(train, read_exclusions(Path(table)), reader.tell)
    labelled = any(source.clips and source.kind != "unlabelled" for source in train)
    if not labelled and not parts.splits:
        found = "; ".join(reader.notes) or "no part of a dataset found"
        raise DataError(
            f"no labelled clip to learn from or to be scored on ({found})",
            where=parts.root,
            hint=parts.hint,
        )
    names = reader.classes.names
    labels = LabelSet.from_names(reader.labels) if names is None else LabelSet(names)
    splits = parts.splits | _scored(held_out, parts)
    for name, split in splits.items():
        unknown = [label for label in labels if label not in (split.labelled or labels)]
        if unknown:
            reader.tell(f"{name}: not scored, as its clips are not labelled: {', '.join(unknown)}")
    return Manifest(
        parts.root,
        labels,
        tuple(train),
        splits,
        tuple(reader.notes),
        tuple(reader.damage),
        tuple(held_out),
    )


def _keep_back(
    train: Sequence[Source], parts: Parts, settings: DataSettings
) -> tuple[list[Source], list[Source]]:
    """The training sources, and the clips of them that are held out."""
    kept, held_out = [], list(parts.held_out)
    divided = {source.name for source in held_out}
    for source in train:
        name = f"{source.name}_held_out"
        real = source.kind == "strong" and source.domain == "real"
        chosen: set[str] = set()
        if source.kind == "weak" and settings.weak_held_out:
            rows = parts.reader.rows[source.name]
            chosen = hold_out_as_v1(rows, settings.weak_held_out, settings.held_out_seed)
        elif real and settings.real_held_out and name not in divided:
            listed = [*(path.name for path in source.clips), *source.missing, *source.faulty]
            chosen = hold_out_by_name(listed, settings.real_held_out)
        if chosen:
            source, other = divide(source, chosen, name)
            held_out.append(other)
        kept.append(source)
    return kept, held_out


def _scored(held_out: Sequence[Source], parts: Parts) -> dict[str, Evaluation]:
    """Strongly labelled clips that are held out are a split as well."""
    splits = {}
    for source in held_out:
        if source.events is None or not source.clips:
            continue
        clips = {path.name: path for path in source.clips}
        table = parts.durations.get(source.name)
        seconds, unknown = parts.reader.durations(source.name, table, clips)
        splits[source.name] = Evaluation(
            source.name,
            tuple(path for path in source.clips if path.name in seconds),
            source.events,
            seconds,
            source.missing,
            (*source.faulty, *unknown),
            source.labelled,
        )
    return splits
