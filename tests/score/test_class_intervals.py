"""Intervals by class, against draws that are counted one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.score.bootstrap import class_intervals, draw_clips
from earmark.score.f1.counts import F1Statistics


@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.integers(1, 4))
def test_each_class_is_resampled_with_its_clips(seed: int, clips: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 3, (clips, classes))
    true[0, 0] = 1
    detected = rng.integers(0, 3, (clips, classes))
    tp = np.minimum(true, detected)
    labels = tuple(f"class {n}" for n in range(classes))
    names = tuple(map(str, range(clips)))
    statistics = F1Statistics(labels, names, tp, detected, true)
    found = class_intervals({"f": statistics}, resamples=150, rng=np.random.default_rng(1))["f"]
    again = np.random.default_rng(1)
    weights = np.concatenate([draw_clips(again, true.any(axis=1), n) for n in (100, 50)])
    for number, label in enumerate(labels):
        values = []
        for drawn in weights:
            result = statistics.result(drawn)
            if (drawn @ true)[number]:
                values.append(result.per_class[label])
        assert (label in found) == bool(values)
        if values:
            assert found[label] == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))
