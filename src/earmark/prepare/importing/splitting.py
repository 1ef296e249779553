"""Recordings into training, validation and test: never one recording on two sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from earmark.core.errors import DataError

Split = str
#: Splits of a dataset of one's own, in the order they are named.
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def split_recordings(
    amounts: Mapping[str, Mapping[str, float]], fractions: Mapping[Split, float], seed: int
) -> dict[str, Split]:
    """Divide recordings so that every class is in each split by its fraction, as far as it goes.

    The rarest class is dealt out first, its richest recordings first, each to the split that
    lacks most of it; so no class is left to chance (Sechidis, Tsoumakas and Vlahavas, "On the
    stratification of multi-label data", ECML PKDD 2011, here for seconds of sound).

    Args:
        amounts: Recording (or group of them) → class → seconds of it; under ``""`` its duration.
        fractions: Split → fraction; those of 0 get nothing.
        seed: Decides between recordings that are alike.

    Returns:
        Recording → split.

    Raises:
        DataError: There are fewer recordings than splits.
    """
    wanted = {split: fraction for split, fraction in fractions.items() if fraction > 0}
    if len(amounts) < len(wanted):
        raise DataError(
            f"{len(amounts)} recordings cannot be divided into {', '.join(wanted)}",
            hint="Give the splits you can do without the fraction 0, e.g. --fractions 1,0,0",
        )
    rng = np.random.default_rng(seed)
    order = {name: place for place, name in enumerate(rng.permutation(sorted(amounts)).tolist())}
    total = sum(wanted.values())
    classes = sorted({label for own in amounts.values() for label in own})
    lacking = {
        split: {
            label: fraction / total * sum(own.get(label, 0.0) for own in amounts.values())
            for label in classes
        }
        for split, fraction in wanted.items()
    }
    assigned: dict[str, Split] = {}
    having: dict[Split, set[str]] = {split: set() for split in wanted}
    for name, label, left in _dealt(amounts, classes, order):
        without = [split for split in wanted if label not in having[split]]
        # Where there are only as many recordings left as splits without the class, these come
        # first; of recordings without any class, splits without any recording.
        open_splits = without if without and left <= len(without) else list(wanted)
        split = max(
            open_splits, key=lambda one: (lacking[one].get(label, 0.0), lacking[one].get("", 0.0))
        )
        assigned[name] = split
        having[split] |= {"", *(other for other, amount in amounts[name].items() if amount > 0)}
        for other, amount in amounts[name].items():
            lacking[split][other] -= amount
    return _filled(assigned, list(wanted), order)


def _filled(
    assigned: dict[str, Split], wanted: Sequence[Split], order: Mapping[str, int]
) -> dict[str, Split]:
    """The same with a recording in every split, taken from the one with the most."""
    for split in wanted:
        if split not in assigned.values():
            counts = Counter(assigned.values())
            richest = max(wanted, key=lambda one: counts[one])
            moved = max((n for n in assigned if assigned[n] == richest), key=lambda n: order[n])
            assigned[moved] = split
    return assigned


def _dealt(
    amounts: Mapping[str, Mapping[str, float]], classes: Sequence[str], order: Mapping[str, int]
) -> Iterator[tuple[str, str, int]]:
    """Recordings in the order they are dealt, each with the class it is dealt for.

    That is the class that the fewest of the recordings left have, ``""`` if they have none; last
    comes how many have it, this one included.
    """
    having = {
        label: sorted(
            (name for name in amounts if amounts[name].get(label, 0.0) > 0),
            key=lambda name: (amounts[name][label], -order[name]),  # the last one comes first
        )
        for label in classes
        if label
    }
    counts = {label: len(names) for label, names in having.items()}
    left = dict.fromkeys(sorted(amounts, key=lambda name: order[name]))
    while left:
        present = [label for label, count in counts.items() if count]
        label = min(present, key=lambda one: (counts[one], one), default="")
        name = having[label].pop() if label else next(iter(left))
        if name not in left:  # dealt for another of its classes before
            continue
        count = counts[label] if label else len(left)
        del left[name]
        for other, amount in amounts[name].items():
            if other and amount > 0:
                counts[other] -= 1
        yield name, label, count
