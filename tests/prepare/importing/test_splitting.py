"""Dividing recordings: each on one side, every class by its share, the seed decides the rest."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.errors import DataError
from earmark.prepare.importing.splitting import SPLITS, split_recordings

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}
amounts = st.dictionaries(
    st.integers(0, 500).map("rec{}".format),
    st.dictionaries(st.sampled_from("abcd"), st.floats(0.1, 50), max_size=4),
    min_size=3,
    max_size=40,
).map(lambda found: {name: {"": 60.0, **own} for name, own in found.items()})


@given(amounts=amounts, seed=st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_every_recording_is_on_one_side(amounts: dict[str, dict[str, float]], seed: int) -> None:
    split_of = split_recordings(amounts, SHARES, seed)
    assert set(split_of) == set(amounts)
    assert set(split_of.values()) == set(SPLITS)
    assert split_of == split_recordings(dict(reversed(amounts.items())), SHARES, seed)


def test_shares_of_recordings_that_are_alike() -> None:
    alike = {f"rec{n:03d}": {"": 60.0, "a": 5.0} for n in range(100)}
    split_of = split_recordings(alike, SHARES, 0)
    counts = [list(split_of.values()).count(split) for split in SPLITS]
    assert counts == [70, 15, 15]
    assert split_of != split_recordings(alike, SHARES, 1)


def test_a_rare_class_is_on_every_side() -> None:
    rng = np.random.default_rng(0)
    found: dict[str, dict[str, float]] = {
        f"rec{n:03d}": {"": 60.0, "common": float(rng.uniform(1, 30))} for n in range(60)
    }
    for name in ("rec003", "rec017", "rec044"):
        found[name]["rare"] = 2.0
    for seed in range(5):
        split_of = split_recordings(found, SHARES, seed)
        assert {split_of[name] for name in ("rec003", "rec017", "rec044")} == set(SPLITS)
        for split in SPLITS:
            share = sum(found[n]["common"] for n, own in split_of.items() if own == split)
            total = sum(own["common"] for own in found.values())
            assert share / total == pytest.approx(SHARES[split], abs=0.05)


def test_a_share_of_nothing_and_too_few_recordings() -> None:
    two = {name: {"": 60.0} for name in "ab"}
    both = split_recordings(two, {"train": 1.0, "validation": 1.0, "test": 0.0}, 0)
    assert set(both.values()) == {"train", "validation"}
    one = split_recordings(two, {"train": 1.0, "validation": 0, "test": 0}, 0)
    assert set(one.values()) == {"train"}
    with pytest.raises(DataError, match="2 recordings cannot be divided"):
        split_recordings(two, SHARES, 0)


def test_ten_thousand_recordings_take_no_time() -> None:
    rng = np.random.default_rng(0)
    many = {
        f"rec{n}": {"": 10.0, **{f"class{c}": 1.0 for c in rng.integers(0, 20, 3)}}
        for n in range(10_000)
    }
    began = time.perf_counter()
    split_recordings(many, SHARES, 0)
    assert time.perf_counter() - began < 5
