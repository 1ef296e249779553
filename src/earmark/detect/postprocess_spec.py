"""Post-processing as it is written on a command line."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib import resources
from pathlib import Path

from earmark.core.config import load_yaml
from earmark.core.errors import ConfigError
from earmark.detect.csebb import DEFAULT, CsebbSettings
from earmark.detect.postprocess import PostProcess

FORMS = (
    "none, median=SECONDS, csebb, csebb=STEP[,absolute=A][,relative=R], a postprocess.yaml, "
    "or the folder or name of a bundle"
)
POSTPROCESS_FILE = "postprocess.yaml"


def read_postprocess(spec: str) -> PostProcess | None:
    """Post-processing by a few letters, by its file, or as a bundle has it.

    Args:
        spec: ``none`` for scores as they are; ``median=0.45`` (seconds); ``csebb``, untuned, or
            ``csebb=0.48,absolute=0.2`` (seconds; a criterion that is not named is left out); a
            YAML file as ``earmark tune`` writes it; a bundle.

    Returns:
        The settings, or ``None`` for ``none``.

    Raises:
        ConfigError: If it is none of these, or a setting is unusable.
    """
    method, equals, value = spec.partition("=")
    if spec == "none":
        return None
    if method == "median" and equals:
        return PostProcess(median_seconds=_number(value, spec))
    if method == "csebb":
        return PostProcess(method="csebb", csebb=_boxes(value, spec) if equals else DEFAULT)
    path = _file(spec)
    if path is None:
        raise ConfigError(f"no post-processing is called {spec!r}", hint=f"Give {FORMS}")
    try:
        return PostProcess.from_dict(load_yaml(path))
    except ConfigError as error:
        raise ConfigError(error.what, where=error.where or path, hint=error.hint) from None


def _boxes(value: str, spec: str) -> CsebbSettings:
    step, *rest = value.split(",")
    given: dict[str, float] = {}
    for part in rest:
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if name not in ("absolute", "relative") or not equals or name in given:
            raise ConfigError(
                f"{part!r} in {spec!r} is no setting of cSEBB",
                hint="Write csebb=STEP,absolute=A,relative=R",
            )
        given[name] = _number(number, spec)
    chosen = replace(DEFAULT, step_seconds=_number(step, spec))
    limits = {"absolute": math.inf, "relative": math.inf} | given
    return replace(chosen, **limits) if given else chosen


def _number(text: str, spec: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{text!r} in {spec!r} is not a number", hint=f"Give {FORMS}") from None


def _file(spec: str) -> Path | None:
    """The YAML file that is meant, if there is one."""
    shipped = Path(str(resources.files("earmark"))) / "bundles" / spec
    for path in (Path(spec), Path(spec) / POSTPROCESS_FILE, shipped / POSTPROCESS_FILE):
        if path.is_file():
            return path
    return None
