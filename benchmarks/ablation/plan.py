"""What is to be run: arms and choices as data, a run's whole configuration, and its digest.

`arms.yaml` sets the arms apart, `choices.yaml` holds everything that was chosen. The two give the
configuration of every run; only its seed is not in it. Its digest is what `choices.yaml` freezes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
ARMS = HERE / "arms.yaml"
CHOICES = HERE / "choices.yaml"


@dataclass(frozen=True)
class Arm:
    """One of the compared ways to train.

    Attributes:
        name: Its letter.
        title: In words.
        overrides: Of the recipe.
        oracle: Whether it has the unlabelled clips' true labels.
    """

    name: str
    title: str
    overrides: tuple[str, ...]
    oracle: bool = False


@dataclass(frozen=True)
class Choices:
    """Everything that was chosen, as `choices.yaml` has it.

    Attributes:
        bank: How recordings are divided and soundscapes made of them (`bank.py`).
        networks: Network → recipe, and its ``set`` of overrides; ``labels`` and ``steps`` where
            they are not those below.
        common: Overrides of all arms.
        ramps: Setting → fraction of the run's steps.
        labels: Strongly labelled clips.
        steps: Optimiser steps of a run.
        epochs: Lines of a run's journal.
        legs: How often in a run the teacher is looked at.
        median_seconds: Of the median filter.
        seeds: Of the results.
        development_seed: Of the pilot; never among ``seeds``.
        hypotheses: Network → what is declared: ``arm`` is better than all of ``than``.
        frozen: Network → arm → digest of the configuration.
    """

    bank: Mapping[str, Any]
    networks: Mapping[str, Mapping[str, Any]]
    common: tuple[str, ...]
    ramps: Mapping[str, float]
    labels: int
    steps: int
    epochs: int
    legs: int
    median_seconds: float
    seeds: tuple[int, ...]
    development_seed: int
    hypotheses: Mapping[str, Sequence[Mapping[str, Any]]]
    frozen: Mapping[str, Mapping[str, str]]

    def changed(
        self, labels: int | None = None, steps: int | None = None, overrides: Sequence[str] = ()
    ) -> Choices:
        """Other choices for a try: their runs have another digest."""
        given = {"labels": labels, "steps": steps}
        sizes = {name: value for name, value in given.items() if value is not None}
        networks = {name: {**own, **sizes} for name, own in self.networks.items()}
        return replace(self, networks=networks, common=(*self.common, *overrides))


def load_arms(path: Path = ARMS) -> dict[str, Arm]:
    """The arms by letter."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {
        name: Arm(name, own["title"], tuple(own["set"]), own.get("oracle", False))
        for name, own in content.items()
    }


def load_choices(path: Path = CHOICES) -> Choices:
    """The choices of a file.

    Raises:
        TypeError: A choice is missing, or unknown.
        ValueError: The development seed is one of the results'.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["common"] = tuple(content["common"])
    content["seeds"] = tuple(content["seeds"])
    content["frozen"] = content.get("frozen") or {}
    choices = Choices(**content)
    if choices.development_seed in choices.seeds:
        raise ValueError(f"{path}: the development seed is among the seeds of the results")
    return choices


@dataclass(frozen=True)
class Planned:
    """One run to be made.

    Attributes:
        network: Key of ``networks``.
        arm: The arm.
        seed: Of the data, of the initial weights and of every draw.
        choices: What was chosen.
    """

    network: str
    arm: Arm
    seed: int
    choices: Choices

    @property
    def labels(self) -> int:
        """Strongly labelled clips."""
        return int(self.choices.networks[self.network].get("labels", self.choices.labels))

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return int(self.choices.networks[self.network].get("steps", self.choices.steps))

    @property
    def overrides(self) -> list[str]:
        """Of the recipe, the seed's among them."""
        chosen = self.choices
        if self.steps % chosen.epochs or chosen.epochs % chosen.legs:
            raise ValueError("steps must be a multiple of epochs, and these of legs")
        return [
            f"train.epochs={chosen.epochs}",
            f"train.steps_per_epoch={self.steps // chosen.epochs}",
            *(f"{name}={round(of * self.steps)}" for name, of in chosen.ramps.items()),
            *chosen.networks[self.network]["set"],
            *chosen.common,
            *self.arm.overrides,
            "train.select=last",
            "train.validate_on=[none]",  # the last networks are measured, by this benchmark
            f"train.validate_every={chosen.epochs}",
            f"train.seed={self.seed}",
        ]

    def recipe(self) -> Any:
        """The recipe of the run."""
        from earmark.train.recipe import load_recipe

        return load_recipe(self.choices.networks[self.network]["recipe"], self.overrides)

    def configuration(self) -> dict[str, Any]:
        """All that a run depends on but its seed and the recordings."""
        from earmark.train.checkpoint import FREE

        recipe = self.recipe().model_dump(mode="json")
        for name in (*FREE, "train.seed"):
            group, _, key = name.rpartition(".")
            del (recipe[group] if group else recipe)[key]
        chosen = self.choices
        return {
            "bank": dict(chosen.bank),
            "labels": self.labels,
            "oracle": self.arm.oracle,
            "legs": chosen.legs,
            "median_seconds": chosen.median_seconds,
            "recipe": recipe,
        }

    @cached_property
    def name(self) -> str:
        """Of its state and its JSON; other configurations have other names."""
        code = digest(self.configuration())
        return f"{self.network}-{self.arm.name}-{self.seed:02d}-{code[:8]}"


def digest(configuration: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of a configuration, whatever the order of its keys."""
    text = json.dumps(configuration, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def plan(
    choices: Choices, networks: Sequence[str], arms: Sequence[str], seeds: Sequence[int]
) -> list[Planned]:
    """Runs in the order they are made: seed by seed, so that pairs are complete early."""
    known = load_arms()
    return [
        Planned(network, known[arm], seed, choices)
        for network in networks
        for seed in seeds
        for arm in arms
    ]


def not_frozen(planned: Sequence[Planned]) -> list[str]:
    """What is wrong with runs that the choices do not freeze, in words."""
    faults = []
    for network, arm in dict.fromkeys((one.network, one.arm.name) for one in planned):
        one = next(p for p in planned if (p.network, p.arm.name) == (network, arm))
        frozen = one.choices.frozen.get(network, {}).get(arm)
        found = digest(one.configuration())
        if frozen != found:
            faults.append(f"{network} {arm}: its configuration is {found}, frozen is {frozen}")
    return faults
