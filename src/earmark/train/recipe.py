"""Recipes by name: YAML files inside the package, or anybody's own."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from earmark.core.config import (
    AtstSettings,
    YamnetSettings,
    apply_overrides,
    load_yaml,
    parse_settings,
)
from earmark.core.errors import ConfigError
from earmark.data.manifest import Evaluation, Manifest
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
    path = _find(name, "", "Use it with `earmark pretrain`")
    content = apply_overrides(load_yaml(path), overrides)
    return parse_settings(Recipe, content, path)


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
    if sizes:
        if chosen not in sizes:
            raise ConfigError(
                f"no size called {chosen!r}", where=path, hint=f"Choose {', '.join(sizes)}"
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
