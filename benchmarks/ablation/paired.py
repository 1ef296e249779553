"""Statistics of paired differences, one of each seed: pure functions.

Paired t-test and its interval, the exact sign-flip test, Holm's correction (Scandinavian Journal of
Statistics 6, 1979), the fraction of a gap that is closed, and what a design can see.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import brentq

EXACT = 16
"""Up to so many seeds all 2ⁿ signs are tried."""


class Difference(NamedTuple):
    """Mean of n paired differences, with its standard deviation (n − 1), 95 % interval and p."""

    seeds: int
    mean: float
    sd: float
    low: float
    high: float
    p: float

    @property
    def t(self) -> float:
        """Of the paired t-test."""
        if self.sd == 0.0:
            return math.copysign(math.inf, self.mean) if self.mean else 0.0
        return self.mean / (self.sd / math.sqrt(self.seeds))


def paired_t(differences: Sequence[float], level: float = 0.95) -> Difference:
    """Two-sided paired t-test, and the interval of the mean.

    Raises:
        ValueError: There are fewer than two differences.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    if n < 2:
        raise ValueError(f"{n} paired differences: a test needs two")
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * sd / math.sqrt(n)
    found = Difference(n, mean, sd, mean - half, mean + half, 1.0)
    return found._replace(p=float(2 * stats.t.sf(abs(found.t), n - 1)))


def sign_flip(differences: Sequence[float], draws: int = 100_000, seed: int = 0) -> float:
    """Two-sided p of the mean when every difference's sign is as likely to be the other one.

    Exact up to `EXACT` differences; of more, ``draws`` random signs and the observed ones.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    if n <= EXACT:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        drawn = np.random.default_rng(seed).integers(0, 2, size=(draws, n))
        signs = np.concatenate([np.ones((1, n), dtype=np.int64), 1 - 2 * drawn])
    means, observed = np.abs(signs @ values), abs(float(values.sum()))
    return float(np.mean(means >= observed * (1 - 1e-12)))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p of a family, by name."""
    adjusted, largest = dict[str, float](), 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


class Fraction(NamedTuple):
    """A ratio of means with its 95 % interval; NaN where there is nothing to divide by."""

    value: float
    low: float
    high: float


def closed_gap(
    method: Sequence[float],
    baseline: Sequence[float],
    ceiling: Sequence[float],
    draws: int = 10_000,
    seed: int = 0,
) -> Fraction:
    """(H − B) / (O − B) of the means, with a percentile interval over resampled seeds.

    Where the ceiling is not above the baseline, in the mean or in more than 2.5 % of the draws, the
    fraction, or its interval, is NaN.
    """
    h, b, o = (np.asarray(values, dtype=np.float64) for values in (method, baseline, ceiling))
    gain, gap = h - b, o - b
    if gap.mean() <= 0:
        return Fraction(math.nan, math.nan, math.nan)
    rows = np.random.default_rng(seed).integers(0, len(gain), size=(draws, len(gain)))
    gains, gaps = gain[rows].mean(axis=1), gap[rows].mean(axis=1)
    value = float(gain.mean() / gap.mean())
    if np.mean(gaps <= 0) > 0.025:
        return Fraction(value, math.nan, math.nan)
    low, high = np.quantile(gains[gaps > 0] / gaps[gaps > 0], [0.025, 0.975])
    return Fraction(value, float(low), float(high))


def power(difference: float, sd: float, n: int, level: float = 0.05) -> float:
    """Of a two-sided paired t-test with n seeds whose differences have a standard deviation."""
    shift, bound = difference * math.sqrt(n) / sd, stats.t.ppf(1 - level / 2, n - 1)
    # Averaged over 4,000 equally likely values of the estimated standard deviation.
    spread = np.sqrt(stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, n - 1) / (n - 1))
    tails = stats.norm.sf(bound * spread - shift) + stats.norm.cdf(-bound * spread - shift)
    return float(np.mean(tails))


def smallest_difference(sd: float, n: int, wanted: float = 0.8, level: float = 0.05) -> float:
    """The difference that is found with a probability of 80 %."""
    if sd == 0.0 or n < 2:
        return math.nan
    return float(brentq(lambda d: power(d, sd, n, level) - wanted, 0.0, 100 * sd))
