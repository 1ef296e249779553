"""Statistics of paired differences, against scipy, plain formulations and published figures."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

values = st.floats(-1, 1, allow_nan=False).map(lambda value: round(value, 3))
several = st.lists(values, min_size=2, max_size=9)


@given(several)
def test_paired_t_is_scipys(differences: list[float]) -> None:
    from paired import paired_t

    found = paired_t(differences)
    if found.sd < 1e-9:
        return  # scipy has no p for equal differences
    theirs = stats.ttest_rel(differences, [0.0] * len(differences))
    interval = theirs.confidence_interval(0.95)
    assert found.p == pytest.approx(theirs.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.t == pytest.approx(theirs.statistic)


def test_equal_differences_and_too_few() -> None:
    from paired import paired_t

    assert paired_t([0.0, 0.0, 0.0]).p == 1.0
    assert paired_t([0.25, 0.25, 0.25]).p == 0.0
    with pytest.raises(ValueError, match="needs two"):
        paired_t([0.1])


@given(several)
def test_sign_flip_tries_every_sign(differences: list[float]) -> None:
    from paired import sign_flip

    observed = abs(sum(differences))
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    expected = np.mean([found >= observed - 1e-9 for found in sums])
    assert sign_flip(differences) == pytest.approx(expected)


def test_sign_flip_by_draws_agrees_with_all_signs() -> None:
    from paired import sign_flip

    differences = np.random.default_rng(3).normal(0.4, 1.0, 18)
    signs = 1 - 2 * ((np.arange(2**18)[:, None] >> np.arange(18)) & 1)
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9)
    assert sign_flip(differences) == pytest.approx(exact, abs=0.005)
    assert sign_flip([1.0] * 30) > 0  # the signs observed are among those tried


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_as_the_step_down_rule(p_values: list[float]) -> None:
    from paired import holm

    family = {str(number): p for number, p in enumerate(p_values)}
    adjusted = holm(family)
    assert list(adjusted) == list(family)
    for level in (0.01, 0.05, 0.3):
        rejected: set[str] = set()
        for rank, name in enumerate(sorted(family, key=lambda name: family[name])):
            if family[name] * (len(family) - rank) > level:
                break
            rejected.add(name)
        assert {name for name, p in adjusted.items() if p <= level} == rejected


def test_holm_of_a_known_family() -> None:
    from paired import holm

    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})


def test_closed_gap() -> None:
    from paired import closed_gap

    b, o = [0.2, 0.3, 0.25, 0.22], [0.4, 0.5, 0.45, 0.42]
    h = [low + 0.3 * (high - low) for low, high in zip(b, o, strict=True)]
    assert closed_gap(h, b, o) == pytest.approx((0.3, 0.3, 0.3))
    assert closed_gap(h, b, o, seed=1) == closed_gap(h, b, o, seed=1)
    assert all(map(math.isnan, closed_gap(h, o, b)))
    wide = closed_gap([0.25, 0.4], [0.2, 0.3], [0.6, 0.2])
    assert wide.value == pytest.approx(0.5)
    assert math.isnan(wide.low)  # many draws have no gap at all


@pytest.mark.parametrize(("difference", "seeds"), [(0.006, 34), (0.010, 14), (0.015, 8)])
def test_power_of_the_protocol(difference: float, seeds: int) -> None:
    """METHOD section 10: differences that so many seeds find with 80 % at a paired sd of 0.012."""
    from paired import power, smallest_difference

    assert power(difference, 0.012, seeds) >= 0.8 > power(difference, 0.012, seeds - 1)
    assert smallest_difference(0.012, seeds) <= difference
    assert power(smallest_difference(0.02, 5), 0.02, 5) == pytest.approx(0.8)
