"""Mistakes a user can correct: each says what is wrong, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class EarmarkError(Exception):
    """A mistake in the input, reported in one line.

    Args:
        what: What is wrong, as a plain sentence without a final stop.
        where: The file (and line, as ``path:line``) it was found in, if any.
        hint: What the user can do about it.
    """

    def __init__(
        self, what: str, *, where: str | Path | None = None, hint: str | None = None
    ) -> None:
        self.what = what
        self.where = str(where) if where is not None else None
        self.hint = hint
        text = f"{self.where}: {what}" if self.where else what
        # What a file says is part of some messages, with the line breaks that it has.
        super().__init__(" ".join((f"{text}. {hint}" if hint else text).splitlines()))


class AudioError(EarmarkError):
    """A recording cannot be read or used."""


class LabelError(EarmarkError):
    """A label file, event or class name is not usable."""


class DataError(EarmarkError):
    """A dataset or one of its subsets is missing or inconsistent."""


class ConfigError(EarmarkError):
    """A recipe, a setting or an override is not valid."""


class BundleError(EarmarkError):
    """A trained bundle cannot be loaded or saved."""


class ScoreError(EarmarkError):
    """Score tables, truth and durations do not fit together."""


class NumberError(EarmarkError):
    """A loss, a gradient or weights are not finite numbers."""


class ExportError(EarmarkError):
    """An exported network does not do what the network does."""


NEEDS_TORCH = 'Install it with: pip install "earmark[train]"'
"""What to do where PyTorch is missing."""


def has_package(name: str) -> bool:
    """Whether a package is installed; it is not imported."""
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False


SHOWN = 10
"""So many rows are named in an error about several."""


def together(faults: Sequence[LabelError]) -> LabelError:
    """One error for all mistakes in label files; of many the first are told, and the number."""
    first, *rest = faults
    if not rest:
        return first
    told = "; ".join(f"{fault.where}: {fault.what}" for fault in rest[: SHOWN - 1])
    more = f"; and {len(faults) - SHOWN:,} more" if len(faults) > SHOWN else ""
    rows = f"{len(rest):,} more row{'s' if len(rest) > 1 else ''} cannot be used"
    return LabelError(f"{first.what}; {rows}: {told}{more}", where=first.where, hint=first.hint)


def optional_package(
    name: str, what: str, extra: str, *, where: str | Path | None = None, instead: str = ""
) -> Any:
    """A module of a package that only an extra of Earmark installs.

    Args:
        name: The module, as ``pyarrow.parquet``.
        what: What needs it, with its verb: ``Parquet needs``.
        extra: Of Earmark.
        where: The file or URL in question.
        instead: How to do without, after a comma: ``, or use --format tsv``.

    Returns:
        The module.

    Raises:
        ConfigError: The package, or one that it needs, is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{what} {error.name or name}, which is not installed",
            where=where,
            hint=f"Install it with: pip install 'earmark[{extra}]'{instead}",
        ) from None
