"""Numbers to be drawn: the distributions of a soundscape's settings, and how they are spelt.

The kinds are Scaper's (Salamon et al., WASPAA 2017). A setting may be written as

- ``6``, a constant;
- ``[6, 30]``, uniform between the two;
- ``{choose: [0, 6, 12]}``, one of these, or ``{choose: {0: 3, 6: 1}}`` with weights;
- ``{uniform: [6, 30]}``;
- ``{normal: {mean: 15, sd: 5}}``, kept within the limits of the setting;
- ``{truncnorm: {mean: 15, sd: 5, low: 6, high: 30}}``, kept within limits of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import AfterValidator, model_serializer, model_validator
from scipy.special import log_ndtr, ndtri_exp

from earmark.core.config import Settings

Kind = Literal["const", "choose", "uniform", "normal", "truncnorm"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_SPELLING = (
    "write a number, [low, high], {choose: [0, 6, 12]}, {choose: {0: 3, 6: 1}} with weights, "
    "{uniform: [6, 30]}, {normal: {mean: 15, sd: 5}} or "
    "{truncnorm: {mean: 15, sd: 5, low: 6, high: 30}}"
)


class Distribution(Settings):
    """A number to be drawn.

    Attributes:
        kind: One of ``KINDS``.
        values: ``const``: the number. ``choose``: the choices. ``uniform``: lowest and highest.
            ``normal``: mean and standard deviation. ``truncnorm``: these and the two limits.
        weights: Of the choices; empty where all are alike.
    """

    kind: Kind
    values: tuple[float, ...]
    weights: tuple[float, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _spelt_out(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "kind" in given:
            return given
        return _parsed(given)

    @model_serializer
    def _short(self) -> Any:
        """As a user would write it."""
        if self.kind == "const":
            return self.values[0]
        if self.kind == "choose":
            pairs = dict(zip(self.values, self.weights, strict=True)) if self.weights else None
            return {"choose": pairs or list(self.values)}
        if self.kind == "uniform":
            return {"uniform": list(self.values)}
        names = ("mean", "sd", "low", "high")
        return {self.kind: dict(zip(names, self.values, strict=False))}

    @property
    def lowest(self) -> float:
        """What no draw falls below; -inf for ``normal``."""
        return -math.inf if self.kind == "normal" else min(self._bounds)

    @property
    def highest(self) -> float:
        """What no draw exceeds; inf for ``normal``."""
        return math.inf if self.kind == "normal" else max(self._bounds)

    @property
    def _bounds(self) -> tuple[float, ...]:
        return self.values[2:] if self.kind == "truncnorm" else self.values

    def draw(
        self, rng: np.random.Generator, low: float = -math.inf, high: float = math.inf
    ) -> float:
        """Draw a number; a constant takes nothing from the generator.

        Args:
            rng: Source of randomness.
            low: Lowest value a ``normal`` may give.
            high: Highest value a ``normal`` may give.
        """
        values = self.values
        if self.kind == "const":
            return values[0]
        if self.kind == "choose":
            chances = np.array(self.weights) / sum(self.weights) if self.weights else None
            return values[int(rng.choice(len(values), p=chances))]
        if self.kind == "uniform":
            return float(rng.uniform(values[0], values[1]))
        mean, sd = values[:2]
        if self.kind == "truncnorm":
            low, high = values[2:]
        return _truncated_normal(mean, sd, low, high, rng)

    def draw_count(self, rng: np.random.Generator) -> int:
        """Draw a whole number of 0 or more: ``uniform`` over whole numbers, others rounded."""
        if self.kind == "uniform":
            return int(rng.integers(round(self.values[0]), round(self.values[1]) + 1))
        return round(self.draw(rng, 0.0))


def const(value: float) -> Distribution:
    """Always this number."""
    return Distribution(kind="const", values=(value,))


def uniform(low: float, high: float) -> Distribution:
    """Any number between the two."""
    return Distribution(kind="uniform", values=(low, high))


def within(low: float, high: float) -> Callable[[Distribution], Distribution]:
    """A validator: nothing outside [low, high] can be drawn (a ``normal`` is kept inside)."""

    def check(distribution: Distribution) -> Distribution:
        within = low <= distribution.lowest and distribution.highest <= high
        if distribution.kind != "normal" and not within:
            raise ValueError(f"must stay within [{low:g}, {high:g}]")
        return distribution

    return check


def _whole(distribution: Distribution) -> Distribution:
    """A validator: a number of things."""
    within(0, 1000)(distribution)
    exact = distribution.kind in ("const", "choose", "uniform")
    if exact and any(value != round(value) for value in distribution.values):
        raise ValueError("must give whole numbers")
    return distribution


#: A distribution over whole numbers of 0 or more.
Count = Annotated[Distribution, AfterValidator(_whole)]


def _parsed(given: Any) -> dict[str, Any]:
    """The fields of a distribution from any spelling."""
    if isinstance(given, bool) or given is None:
        raise ValueError(f"{given!r} is not a number; {_SPELLING}")
    if isinstance(given, int | float | str):
        return {"kind": "const", "values": _numbers([given], given)}
    if isinstance(given, Sequence):
        return _checked("uniform", _numbers(given, given), given)
    if not isinstance(given, Mapping) or len(given) != 1 or next(iter(given)) not in KINDS:
        raise ValueError(f"{given!r} is not a distribution; {_SPELLING}")
    kind, content = next(iter(given.items()))
    if kind == "choose" and isinstance(content, Mapping):
        weights = _numbers(list(content.values()), given)
        choices = _checked(kind, _numbers(list(content), given), given, weights)
        return {**choices, "weights": weights}
    if kind in ("normal", "truncnorm") and isinstance(content, Mapping):
        wanted = ("mean", "sd") if kind == "normal" else ("mean", "sd", "low", "high")
        if set(content) != set(wanted):
            raise ValueError(f"{kind} needs {', '.join(wanted)}; {_SPELLING}")
        content = [content[name] for name in wanted]
    if isinstance(content, str) or not isinstance(content, Sequence):
        content = [content]
    return _checked(kind, _numbers(content, given), given)


def _numbers(items: Sequence[Any], given: Any) -> tuple[float, ...]:
    """Finite numbers; keys of a JSON object come as text."""
    try:
        if any(isinstance(item, bool) for item in items):
            raise ValueError
        numbers = tuple(float(item) for item in items)
    except (TypeError, ValueError):
        raise ValueError(f"{given!r} holds something that is not a number; {_SPELLING}") from None
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{given!r} holds a number that is not finite")
    return numbers


def _checked(
    kind: str, values: tuple[float, ...], given: Any, weights: tuple[float, ...] = ()
) -> dict[str, Any]:
    sizes = {"const": 1, "uniform": 2, "normal": 2, "truncnorm": 4}
    if len(values) != sizes.get(kind, len(values)) or not values:
        raise ValueError(f"{given!r} does not have the numbers that {kind} needs; {_SPELLING}")
    limits = {"uniform": values, "truncnorm": values[2:]}.get(kind)
    if limits is not None and limits[0] > limits[1]:
        raise ValueError(f"use [{limits[1]:g}, {limits[0]:g}], the lower limit first")
    if kind in ("normal", "truncnorm") and values[1] < 0:
        raise ValueError(f"sd must not be negative, it is {values[1]:g}")
    if weights and (min(weights) < 0 or sum(weights) <= 0):
        raise ValueError("weights of choose must not be negative or all 0")
    return {"kind": kind, "values": values}


def _truncated_normal(
    mean: float, sd: float, low: float, high: float, rng: np.random.Generator
) -> float:
    """Draw from a normal distribution within [low, high] through its inverse: one draw."""
    chance = rng.random()
    if sd == 0:
        return min(max(mean, low), high)
    a, b = (low - mean) / sd, (high - mean) / sd
    mirrored = a > 0  # the lower tail keeps its precision far from the mean, the upper does not
    if mirrored:
        a, b = -b, -a
    with np.errstate(divide="ignore"):  # a chance of 0 is the limit itself
        quantile = np.logaddexp(log_ndtr(a) + np.log1p(-chance), log_ndtr(b) + np.log(chance))
    place = float(ndtri_exp(quantile))
    value = mean + sd * (-place if mirrored else place)
    return min(max(value, low), high)
