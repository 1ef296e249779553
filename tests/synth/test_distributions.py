"""Distributions: every spelling, its limits, and what it draws."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from scipy import stats

from earmark.synth.distributions import Count, Distribution, const, uniform


class Holder(BaseModel):
    number: Distribution = const(0)
    count: Count = uniform(1, 4)


def spelt(text: str) -> Distribution:
    return Holder.model_validate({"number": yaml.safe_load(text)}).number


def draws(distribution: Distribution, count: int = 2000, **limits: float) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.array([distribution.draw(rng, **limits) for _ in range(count)])


SPELLINGS = {
    "12": ("const", 12, 12),
    "[6, 30]": ("uniform", 6, 30),
    "{uniform: [6, 30]}": ("uniform", 6, 30),
    "{const: -3.5}": ("const", -3.5, -3.5),
    "{choose: [0, 6, 12]}": ("choose", 0, 12),
    "{choose: {0: 3, 6: 1}}": ("choose", 0, 6),
    "{normal: {mean: 15, sd: 5}}": ("normal", -np.inf, np.inf),
    "{normal: [15, 5]}": ("normal", -np.inf, np.inf),
    "{truncnorm: {mean: 15, sd: 5, low: 6, high: 30}}": ("truncnorm", 6, 30),
}


@pytest.mark.parametrize("text", SPELLINGS)
def test_spellings_and_limits(text: str) -> None:
    distribution = spelt(text)
    assert (distribution.kind, distribution.lowest, distribution.highest) == SPELLINGS[text]
    drawn = draws(distribution, 200)
    assert drawn.min() >= distribution.lowest
    assert drawn.max() <= distribution.highest
    assert drawn.std() > 0 or distribution.kind == "const"


@pytest.mark.parametrize("text", SPELLINGS)
def test_written_and_read_back_it_is_the_same(text: str) -> None:
    holder = Holder(number=spelt(text))
    for mode in ("json", "python"):
        again = Holder.model_validate(yaml.safe_load(yaml.safe_dump(holder.model_dump(mode=mode))))
        assert again == holder
    assert Holder.model_validate_json(holder.model_dump_json()) == holder


@pytest.mark.parametrize(
    "text",
    [
        "high",
        "true",
        "null",
        "[30, 6]",
        "[1, 2, 3]",
        "{gauss: [1, 2]}",
        "{uniform: [1, 2], choose: [1]}",
        "{normal: {mean: 15}}",
        "{normal: {mean: 15, sd: -1}}",
        "{truncnorm: {mean: 15, sd: 5, low: 30, high: 6}}",
        "{truncnorm: [15, 5]}",
        "{choose: []}",
        "{choose: {0: 0, 6: 0}}",
        "{choose: {0: -1, 6: 3}}",
        "{choose: [a, b]}",
        ".inf",
    ],
)
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        spelt(text)


def test_a_refusal_teaches_the_spelling() -> None:
    with pytest.raises(ValidationError, match=r"truncnorm: \{mean: 15, sd: 5, low: 6, high: 30\}"):
        spelt("{gauss: [1, 2]}")


def test_a_constant_takes_nothing_from_the_generator() -> None:
    rng = np.random.default_rng(3)
    const(5).draw(rng)
    const(5).draw_count(rng)
    assert rng.random() == np.random.default_rng(3).random()


def test_weights_of_choices() -> None:
    drawn = draws(spelt("{choose: {0: 3, 6: 1}}"), 4000)
    assert set(drawn) == {0.0, 6.0}
    assert np.mean(drawn == 0) == pytest.approx(0.75, abs=0.03)


@given(
    mean=st.floats(-20, 20),
    sd=st.floats(0.5, 10),
    low=st.floats(-30, 25),
    width=st.floats(0.5, 30),
)
@settings(max_examples=25, deadline=None)
def test_truncated_normals_are_scipys(mean: float, sd: float, low: float, width: float) -> None:
    high = low + width
    spelling = {"truncnorm": {"mean": mean, "sd": sd, "low": low, "high": high}}
    drawn = draws(Holder.model_validate({"number": spelling}).number, 400)
    expected = stats.truncnorm((low - mean) / sd, (high - mean) / sd, mean, sd)
    assert stats.kstest(drawn, expected.cdf).pvalue > 1e-5
    # a normal kept within the limits of a setting is the same
    kept = draws(spelt(f"{{normal: [{mean}, {sd}]}}"), 400, low=low, high=high)
    np.testing.assert_array_equal(kept, drawn)


def test_far_tails_and_no_spread() -> None:
    far = draws(spelt("{truncnorm: {mean: 0, sd: 1, low: 30, high: 31}}"), 50)
    assert np.all((far >= 30) & (far <= 31))
    assert far.mean() < 30.1
    assert set(draws(spelt("{normal: {mean: 3, sd: 0}}"), 5)) == {3.0}
    assert set(draws(spelt("{truncnorm: {mean: 3, sd: 0, low: 4, high: 5}}"), 5)) == {4.0}


def test_counts_are_whole_and_uniform_over_all_of_them() -> None:
    rng = np.random.default_rng(0)
    count = Holder.model_validate({"count": [0, 3]}).count
    drawn = [count.draw_count(rng) for _ in range(4000)]
    np.testing.assert_allclose(np.bincount(drawn) / 4000, 0.25, atol=0.03)
    rounded = Holder.model_validate({"count": {"normal": {"mean": 1, "sd": 2}}}).count
    drawn = [rounded.draw_count(rng) for _ in range(300)]
    assert min(drawn) == 0
    assert all(isinstance(number, int) for number in drawn)
    for wrong in ([0.5, 3], -1, {"choose": [1, 2.5]}, [0, 5000]):
        with pytest.raises(ValidationError):
            Holder.model_validate({"count": wrong})
