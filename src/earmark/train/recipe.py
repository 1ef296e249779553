"""Recipes by name: YAML files inside the package, or anybody's own."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from earmark.core.batch_settings import BatchSettings
from earmark.core.config import (
    AtstSettings,
    YamnetSettings,
    apply_overrides,
    load_yaml,
    parse_settings,
)
from earmark.core.errors import ConfigError
from earmark.data.manifest import Evaluation, Manifest, load_manifest
from earmark.data.recordings import recordings_in
from earmark.method.pretraining_settings import PretrainRecipe
from earmark.method.settings import Recipe


def _folder(kind: str = "") -> Path:
    return Path(str(resources.files("earmark"))) / "recipes" / kind


def recipe_names() -> tuple[str, ...]:
    """Names of the shipped training recipes."""
    return _names("")


def pretrain_recipe_names() -> tuple[str, ...]:
    """Names of the shipped pretraining recipes."""
    return _names("pretrain")


def _names(kind: str) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in _folder(kind).glob("*.yaml")))


def _find(name: str | Path, kind: str, command: str) -> Path:
    """The file of a shipped recipe of a kind, or anybody's own.

    Raises:
        ConfigError: No such recipe.
    """
    path, other = Path(name), "" if kind else "pretrain"
    if str(name) in _names(kind):
        return _folder(kind) / f"{name}.yaml"
    if str(name) in _names(other):
        raise ConfigError(f"{str(name)!r} is a recipe for another command", hint=command)
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(
            f"no recipe called {str(name)!r}",
            hint=f"Shipped are {', '.join(_names(kind))}; or give a .yaml file",
        )
    return path


def load_recipe(name: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """A shipped recipe by name or a YAML file, with ``a.b=c`` overrides.

    Raises:
        ConfigError: No such recipe, or a setting that is unknown or out of range.
    """
    path, overrides = _find(name, "", "Use it with `earmark pretrain`"), list(overrides)
    content = apply_overrides(load_yaml(path), overrides)
    if isinstance(following := content.get("from_data"), list):
        given = [text.partition("=")[0].strip() for text in overrides]
        content["from_data"] = [key for key in following if not _touched(str(key), given)]
    return parse_settings(Recipe, content, path)


def _touched(key: str, given: Iterable[str]) -> bool:
    """Whether an override gives a setting, one within it, or the group that it is of."""
    return any(f"{key}.".startswith(f"{own}.") or own.startswith(f"{key}.") for own in given)


def check_meant(recipe: Recipe) -> None:
    """Refuse what no one can mean.

    An encoder of another package may have nothing to learn, or bring weights of its own.

    Raises:
        ConfigError: The encoder neither learns nor begins with weights that someone learned.
    """
    train = recipe.train
    still = any("encoder.".startswith(prefix) for prefix in train.frozen)
    learned = isinstance(recipe.network.encoder, AtstSettings | YamnetSettings)
    if learned and still and train.init is None:
        raise ConfigError(
            f"the recipe {recipe.name} keeps the encoder as it begins, and it would begin with "
            "random weights",
            hint="Give pretrained ones with --init: a folder of `earmark import` or `earmark "
            "pretrain`, an earlier run or a bundle",
        )


def validation_split(recipe: Recipe, manifest: Manifest) -> Evaluation | None:
    """The first split of ``train.validate_on`` that the data have."""
    known = [manifest.splits.get(name) for name in recipe.train.validate_on]
    return next((split for split in known if split is not None), None)


class FittedRecipe(NamedTuple):
    """A recipe whose every setting has its value, its data, and what followed from these."""

    recipe: Recipe
    manifest: Manifest
    notes: tuple[str, ...]


PASSES, FEWEST_STEPS, MOST_STEPS = 3, 15, 60
"""An epoch passes over the labelled clips so often, in no fewer and no more steps than these."""
HELD_OUT, LEAST_TO_DIVIDE = 0.15, 10
"""Share of the recordings kept back where the data have no validation split, and the least."""
LEAST_EVENTS = 10
"""A split with fewer events chooses no epoch: its figure is chance."""
PATIENCE = 4


def fit_to_data(recipe: Recipe, manifest: Manifest) -> FittedRecipe:
    """Give the settings of ``from_data`` their values (the rules are our choice).

    - ``data.real_held_out``: without a split to choose an epoch on, 15 % of the real clips with
      strong labels, of whole recordings, if there are ten recordings or more.
    - ``train.select``, ``train.patience``: with ten events to validate on the best epoch is kept
      and four validations that are no better end the run; else all epochs are done, and the last
      is kept.
    - ``train.batch``: as many clips as the recipe's in the proportions of the kinds that there
      are, but of no kind more than it has.
    - ``train.steps_per_epoch``: three passes over the labelled clips, 15 to 60 steps.
    - ``method.ramp_steps``: a third of the run.

    Returns:
        The recipe, the data with what is kept back, and what followed, a sentence each.
    """
    wanted, notes = set(recipe.from_data), list[str]()
    if not wanted:
        return FittedRecipe(recipe, manifest, ())
    values: dict[str, Any] = {"from_data": []}
    if "data.real_held_out" in wanted and validation_split(recipe, manifest) is None:
        manifest, note = _kept_back(recipe, manifest, values)
        notes.append(note)
    recipe = _with_values(recipe, values)
    for settle in (_choice_of_epoch, _sizes):
        found, note = settle(recipe, manifest, wanted)
        recipe = _with_values(recipe, {key: found[key] for key in found if key in wanted})
        notes += [note] if wanted & found.keys() else []
    return FittedRecipe(recipe, manifest, tuple(notes))


def _choice_of_epoch(
    recipe: Recipe, manifest: Manifest, _: Collection[str]
) -> tuple[dict[str, Any], str]:
    """Which epoch is kept, and what ends the run; in words."""
    split = validation_split(recipe, manifest)
    events = 0 if split is None else sum(map(len, split.events.values()))
    if events < LEAST_EVENTS:
        note = f"{events} events are too few to choose an epoch on: the last one is kept"
        return {"train.select": "last", "train.patience": None}, note
    name = "" if split is None else split.name
    note = (
        f"the best epoch is kept by the {events} events of {name}; {PATIENCE} validations in a row "
        "that are no better end the run"
    )
    return {"train.select": recipe.train.select, "train.patience": PATIENCE}, note


def _sizes(
    recipe: Recipe, manifest: Manifest, wanted: Collection[str]
) -> tuple[dict[str, Any], str]:
    """Batch, steps and ramp; in words."""
    counts = _clips_by_place(manifest, recipe.train.batch)
    batch = recipe.train.batch.filled(counts)
    if "train.batch" in wanted:
        batch = _batch(recipe.train.batch, counts)
    takes = {name: take for name, take in batch.model_dump().items() if take}
    labelled = {name: take for name, take in takes.items() if name != "unlabelled"}
    clips = sum(counts[name] for name in labelled)
    steps = math.ceil(PASSES * clips / max(1, sum(labelled.values())))
    steps = min(max(steps, FEWEST_STEPS), MOST_STEPS)
    if "train.steps_per_epoch" not in wanted:
        steps = recipe.train.steps_per_epoch
    shown = ", ".join(f"{take} {name}" for name, take in takes.items())
    note = f"{clips} labelled clips: {recipe.train.epochs} epochs of {steps} steps of {shown} clips"
    values = {
        "train.batch": batch.model_dump(),
        "train.steps_per_epoch": steps,
        "method.ramp_steps": recipe.train.epochs * steps // 3,
    }
    return values, note


def _with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """A recipe with settings by their dotted names."""
    content = recipe.model_dump(mode="json")
    for key, value in values.items():
        *groups, last = key.split(".")
        place = content
        for group in groups:
            place = place[group]
        place[last] = value
    return parse_settings(Recipe, content)


def _clips_by_place(manifest: Manifest, batch: BatchSettings) -> dict[str, int]:
    """Clips of each place of a batch that the data fill."""
    counts: dict[str, int] = {}
    for source in manifest.train:
        place = batch.place_of(source.place, source.domain)
        if source.clips:
            counts[place] = counts.get(place, 0) + len(source.clips)
    return counts


def _batch(batch: BatchSettings, counts: Mapping[str, int]) -> BatchSettings:
    """A batch of the same size in the proportions of the kinds that there are."""
    there = batch.filled(counts)
    kinds = sum(map(bool, there.model_dump().values()))
    if not kinds:
        return there
    sized = there.of_size(max(kinds, sum(batch.model_dump().values())))
    own = {name: min(count, counts.get(name, 0)) for name, count in sized.model_dump().items()}
    return BatchSettings(**own)


def _kept_back(recipe: Recipe, manifest: Manifest, values: dict[str, Any]) -> tuple[Manifest, str]:
    """The data with recordings kept back to choose an epoch on, if there are enough."""
    sources = [one for one in manifest.train if one.can_be_held_out]
    source = max(sources, key=lambda one: len(one.clips), default=None)
    recordings = 0 if source is None else len(recordings_in(source))
    if source is not None and recordings >= LEAST_TO_DIVIDE:
        data = recipe.data.model_copy(update={"real_held_out": HELD_OUT})
        divided, name = load_manifest(manifest.root, data), f"{source.name}_held_out"
        split = divided.splits.get(name)
        if split is not None and sum(map(len, split.events.values())) >= LEAST_EVENTS:
            values["data.real_held_out"] = HELD_OUT
            values["train.validate_on"] = [*recipe.train.validate_on, name]
            clips = f"{len(split.clips)} of {len(source.clips)} clips of {source.name}"
            return divided, f"no validation split: {clips} are kept back as {name}"
    return manifest, f"no validation split, and {recordings} recordings are too few to keep some"


def load_pretrain_recipe(
    name: str | Path, overrides: Iterable[str] = (), size: str | None = None
) -> PretrainRecipe:
    """A shipped pretraining recipe by name or a YAML file, with ``a.b=c`` overrides.

    A file may hold ``sizes``: by name, settings that the chosen ``size`` lays over the others and
    beneath the overrides.

    Raises:
        ConfigError: No such recipe or size, or a setting that is unknown or out of range.
    """
    path = _find(name, "pretrain", "Use it with `earmark train`")
    overrides = [*overrides, *([f"size={size}"] if size else [])]
    content = load_yaml(path)
    sizes = content.pop("sizes", None) or {}
    chosen = str(apply_overrides(content, overrides).get("size", ""))
    if not isinstance(sizes, dict) or not all(isinstance(one, dict) for one in sizes.values()):
        raise ConfigError("sizes is no mapping of settings by name", where=path)
    if sizes:
        if chosen not in sizes:
            raise ConfigError(
                f"no size called {chosen!r}",
                where=path,
                hint=f"Choose {', '.join(map(str, sizes))}",
            )
        content = _laid_over(content, sizes[chosen])
    return parse_settings(PretrainRecipe, apply_overrides(content, overrides), path)


def _laid_over(content: dict[str, Any], upper: dict[str, Any]) -> dict[str, Any]:
    """Nested settings, the upper ones taken where both have one."""
    result = dict(content)
    for key, value in upper.items():
        below = result.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            value = _laid_over(below, value)
        result[key] = value
    return result
