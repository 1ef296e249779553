"""What a dataset holds: strong, weak and unlabelled clips to learn from, splits to be scored on.

A dataset is a folder in DESED's layout or a YAML file that describes it. Every subset is optional.
Clips that are listed but not there are counted and named, because recordings vanish from where
DESED takes them. What is on disk decides a clip's name: labels are carried over to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from earmark.core.config import DataSettings
from earmark.core.errors import ConfigError, DataError
from earmark.core.tables.labels import LabelSet
from earmark.data.described import Described, description_of, read_description
from earmark.data.desed import find_root, read_desed
from earmark.data.leakage import (
    divide,
    hold_out_as_v1,
    hold_out_by_name,
    leave_out,
    read_exclusions,
    separate,
)
from earmark.data.reading import Subsets
from earmark.data.subsets import Evaluation, Kind, Manifest, Source

__all__ = ["Evaluation", "Kind", "Manifest", "Source", "load_manifest", "refuse_damage"]

_DEFAULT = DataSettings()


def load_manifest(root: str | Path, settings: DataSettings = _DEFAULT) -> Manifest:
    """Read a dataset: a folder in DESED's layout, or a YAML file that describes one.

    A folder without ``audio`` and ``metadata`` but with a ``dataset.yaml`` is described by it; see
    `earmark.data.described`.

    In DESED's layout audio folders may carry the suffix ``_16k``; where both are there, a clip is
    taken from the 16 kHz one. Clips are found by name without suffix, with or without the ``Y``
    before a YouTube id. The synthetic subsets may also lie in ``dcase_synth`` inside or beside the
    folder.

    Args:
        root: The dataset's folder, or one that holds it as ``dataset``; or the YAML file.
        settings: Which clips are kept back or left out.

    Raises:
        DataError: If there is neither a labelled clip to learn from nor a split to be scored on.
        ConfigError: If a description has a mistake or names what is not there.
        LabelError: If a label is none of the classes that a description lists.
    """
    return _assemble(_subsets(Path(root), settings), settings)


def _subsets(path: Path, settings: DataSettings, above: tuple[Path, ...] = ()) -> Subsets:
    """All subsets of a dataset, those of one that it extends included."""
    description = description_of(path)
    if description is None:
        return read_desed(find_root(path), settings)
    if description.resolve() in above:
        raise ConfigError("extends itself", where=description, hint="Correct `extends` in it")
    extended = Described(description).extended
    base = None
    if extended is not None:
        base = _subsets(extended, settings, (*above, description.resolve()))
    return read_description(description, base)


def refuse_damage(manifest: Manifest) -> None:
    """For those who want all of their data or none of it.

    Raises:
        DataError: Something of the dataset is missing or damaged.
    """
    if manifest.damage:
        more = len(manifest.damage) - 1
        raise DataError(
            manifest.damage[0] + (f"; and {more} more of this kind" if more else ""),
            where=manifest.root,
            hint="`earmark doctor` lists all of it; without --strict the rest is used",
        )


def _assemble(subsets: Subsets, settings: DataSettings) -> Manifest:
    """Keep clips back, leave out shared and excluded ones, and see whether anything is left."""
    reader, train = subsets.reader, subsets.train
    train, held_out = _keep_back(train, subsets, settings)
    train = separate(
        train,
        subsets.splits,
        held_out,
        reader.note,
        by_name=subsets.by_name,
        keep_shared=settings.shared == "keep",
    )
    for table in (subsets.exclude, settings.exclude):
        if table is not None:
            excluded = read_exclusions(Path(table))
            train = leave_out(train, excluded, reader.note, Path(table))
    labelled = any(source.clips and source.kind != "unlabelled" for source in train)
    if not labelled and not subsets.splits:
        found = "; ".join(reader.notes) or "no subset of a dataset found"
        raise DataError(
            f"no labelled clip to learn from or to be scored on ({found})",
            where=subsets.root,
            hint=subsets.hint,
        )
    names = reader.classes.names
    labels = LabelSet.from_names(reader.labels) if names is None else LabelSet(names)
    splits = subsets.splits | _scored(held_out, subsets)
    for name, split in splits.items():
        unknown = [label for label in labels if label not in (split.labelled or labels)]
        if unknown:
            reader.note(f"{name}: not scored, as its clips are not labelled: {', '.join(unknown)}")
    return Manifest(
        subsets.root,
        labels,
        tuple(train),
        splits,
        tuple(reader.notes),
        tuple(reader.damage),
        tuple(held_out),
    )


def _keep_back(
    train: Sequence[Source], subsets: Subsets, settings: DataSettings
) -> tuple[list[Source], list[Source]]:
    """The training sources, and the clips of them that are held out."""
    kept, held_out = [], list(subsets.held_out)
    divided = {source.name for source in held_out}
    for source in train:
        name = f"{source.name}_held_out"
        chosen: set[str] = set()
        if source.kind == "weak" and settings.weak_held_out:
            rows = subsets.reader.rows[source.name]
            chosen = hold_out_as_v1(rows, settings.weak_held_out, settings.held_out_seed)
        elif source.can_be_held_out and settings.real_held_out and name not in divided:
            listed = [*map(source.name_of, source.clips), *source.missing, *source.faulty]
            chosen = hold_out_by_name(listed, settings.real_held_out)
        if chosen:
            source, other = divide(source, chosen, name)
            held_out.append(other)
        kept.append(source)
    return kept, held_out


def _scored(held_out: Sequence[Source], subsets: Subsets) -> dict[str, Evaluation]:
    """Strongly labelled clips that are held out are a split as well."""
    splits = {}
    for source in held_out:
        if source.events is None or not source.clips:
            continue
        table, names = subsets.durations.get(source.name), dict(source.names)
        seconds, unknown = subsets.reader.durations(source.name, table, names, source.clips)
        splits[source.name] = Evaluation(
            source.name,
            tuple(path for path in source.clips if names[path] in seconds),
            source.events,
            seconds,
            source.missing,
            (*source.faulty, *unknown),
            source.labelled,
            names=names,
            unused=source.unused,
        )
    return splits
