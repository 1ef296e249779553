"""Which subset a clip belongs to: what is scored on is never learnt from, and nothing twice.

Clips held out to choose among epochs come from here too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from earmark.core.naming import RecordingNames, common_root, names_from, parse_listed
from earmark.core.tables.rows import read_rows
from earmark.data.clips import KnownRecordings, clip_key, youtube_id
from earmark.data.reading import some
from earmark.data.recordings import recording_of
from earmark.data.subsets import Evaluation, Source

Note = Callable[[str], None]


def hold_out_as_v1(clips: Sequence[str], fraction: float, seed: int = 42) -> set[str]:
    """Names of the clips that ATST-SED (and the DCASE task 4 baselines) hold out of the weak set.

    They train on ``table.sample(frac=1 - fraction, random_state=seed)``, validate on the rest. It
    is a draw among the rows of the table as published, so clips that are missing on disk do not
    change on which side the others are.

    Args:
        clips: Name of the clip of each row of the table.
        fraction: That is held out, 0.1 in these systems.
        seed: Of the draw.
    """
    rows = pd.Series(list(clips), dtype=object)
    kept = rows.sample(frac=round(1.0 - fraction, 9), random_state=seed)
    return set(rows.drop(kept.index))


def hold_out_by_name(clips: Iterable[str], fraction: float) -> set[str]:
    """Names of the clips held out by our own rule: those whose names have the smallest SHA-256.

    Clips of one recording stay together: the first of them decides. The number is the fraction of
    all clips listed, or as little more as whole recordings need; neither their order nor which of
    them are missing on disk changes on which side a clip is.
    """
    names = sorted(set(clips), key=_rank)
    together: dict[str, list[str]] = {}
    for name in names:
        together.setdefault(recording_of(name), []).append(name)
    held_out: set[str] = set()
    for own in together.values():
        if len(held_out) >= round(fraction * len(names)):
            break
        held_out.update(own)
    return held_out


def _rank(name: str) -> str:
    return hashlib.sha256(clip_key(name).encode()).hexdigest()


def divide(source: Source, held_out: set[str], name: str) -> tuple[Source, Source]:
    """The source without some clips, and these, by their names in its labels."""
    keys = {clip_key(clip) for clip in held_out}
    sides: list[Source] = []
    for inside in (False, True):

        def own(clip: str, inside: bool = inside) -> bool:
            return (clip_key(clip) in keys) == inside

        side = source.only(
            (path for path in source.clips if own(source.name_of(path))), name if inside else None
        )
        missing, faulty = (tuple(filter(own, names)) for names in (source.missing, source.faulty))
        sides.append(replace(side, missing=missing, faulty=faulty))
    return sides[0], sides[1]


def read_exclusions(path: Path) -> list[tuple[str, str]]:
    """Name and source (empty: any) of clips that a user does not want to train on.

    Raises:
        LabelError: The file is missing or has no column ``filename``.
    """
    rows = read_rows(path, ("filename",))
    return [(row["filename"], row.get("source", "")) for _, row in rows]


def leave_out(
    sources: Sequence[Source],
    clips: Iterable[tuple[str, str]],
    note: Note,
    where: Path | None = None,
) -> list[Source]:
    """The sources without clips that a user named, of one source or of any.

    Raises:
        LabelError: A name could be of several clips of a source.
    """
    given = list(clips)
    every = dict.fromkeys(path for source in sources for path in source.clips)
    names = names_from(common_root(every), every)
    paths = {name: path for path, name in names.items()}
    long = [name for name, _ in given if len(parse_listed(name).parts) > 1]
    met = RecordingNames.of_files(names, youtube_id).match(long, where=where)
    kept = []
    for source in sources:
        own = dict.fromkeys(name for name, of in given if of in ("", source.name))
        files = {path: source.name_of(path) for path in source.clips}
        short = RecordingNames.of_files(files, youtube_id).match(set(own) - set(long), where=where)
        named, out = set(short.values()), {paths[met[name]] for name in own if name in met}
        dropped = [path for path in source.clips if path in out or files[path] in named]
        kept.append(_without(source, dropped, "they are on the list of clips to exclude", note))
    return kept


def separate(
    train: Sequence[Source],
    splits: Mapping[str, Evaluation],
    held_out: Sequence[Source],
    note: Note,
    *,
    by_name: bool,
    keep_shared: bool = False,
) -> list[Source]:
    """The training sources without clips that are scored on, held out, or in a better source.

    Better is strong before weak before unlabelled, and real before synthetic; but a source that
    is labelled for some classes only is better than an unlabelled one alone.

    Args:
        train: The sources.
        splits: What is scored on.
        held_out: What is held out of training.
        note: Called with what was left out, a sentence each.
        by_name: An unlabelled clip is a labelled one if their names agree but for the suffix; else
            their bytes must agree too, unless the name carries a YouTube id.
        keep_shared: Clips in several training sources stay in all of them, as in ATST-SED.
    """
    order = sorted(range(len(train)), key=lambda number: _rank_of(train[number]))
    apart = [(name, KnownRecordings(split.clips, _lost(split))) for name, split in splits.items()]
    apart += [(other.name, KnownRecordings(other.clips, _lost(other))) for other in held_out]
    kept: dict[int, Source] = {}
    for number in order:
        source = train[number]
        for name, recordings in apart:
            source = _without(source, _shared(source, recordings), f"they are in {name}", note)
        if not keep_shared:
            for better in kept.values():
                unsure = source.kind == "unlabelled" or source.pseudo
                if not unsure and better.labelled is not None:
                    continue
                alike = by_name and unsure and better.kind != "unlabelled"
                shared = _shared(source, KnownRecordings(better.clips, by_name=alike))
                source = _without(source, shared, f"they are in {better.name}", note)
        kept[number] = source
    return [kept[number] for number in range(len(train))]


def _rank_of(source: Source) -> tuple[int, int]:
    kinds = ("strong", "weak", "pseudo", "unlabelled")
    kind = "pseudo" if source.pseudo else source.kind
    return kinds.index(kind), int(source.domain == "synthetic")


def _lost(subset: Evaluation | Source) -> tuple[str, ...]:
    return (*subset.missing, *subset.faulty)


def _shared(source: Source, recordings: KnownRecordings) -> list[Path]:
    return [path for path in source.clips if recordings.has(path)]


def _without(source: Source, clips: Sequence[Path], why: str, note: Note) -> Source:
    if not clips:
        return source
    names = tuple(map(source.name_of, clips))
    note(
        f"{source.name}: {len(clips)} of {len(source.clips)} clips left out, {why} ({some(names)})"
    )
    out = set(clips)
    kept = source.only(path for path in source.clips if path not in out)
    return replace(kept, excluded=(*source.excluded, *names))
