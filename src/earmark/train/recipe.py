"""Recipes by name: YAML files inside the package, or anybody's own."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from earmark.core.config import Recipe, apply_overrides, load_yaml, parse_settings
from earmark.core.errors import ConfigError
from earmark.data.manifest import Evaluation, Manifest


def _folder() -> Path:
    return Path(str(resources.files("earmark"))) / "recipes"


def recipe_names() -> tuple[str, ...]:
    """Names of the shipped training recipes."""
    return tuple(sorted(path.stem for path in _folder().glob("*.yaml")))


def load_recipe(name: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """A shipped recipe by name or a YAML file, with ``a.b=c`` overrides.

    Raises:
        ConfigError: No such recipe, or a setting that is unknown or out of range.
    """
    path = Path(name)
    if str(name) in recipe_names():
        path = _folder() / f"{name}.yaml"
    elif path.suffix not in (".yaml", ".yml"):
        raise ConfigError(
            f"no recipe called {str(name)!r}",
            mend=f"Shipped are {', '.join(recipe_names())}; or give a .yaml file",
        )
    content = apply_overrides(load_yaml(path), overrides)
    return parse_settings(Recipe, content, path)


def validation_split(recipe: Recipe, manifest: Manifest) -> Evaluation | None:
    """The first split of ``train.validate_on`` that the data have."""
    known = [manifest.splits.get(name) for name in recipe.train.validate_on]
    return next((split for split in known if split is not None), None)
