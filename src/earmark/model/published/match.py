"""A file's tensors against those wanted: all of them, of the right shapes, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from earmark.core.errors import BundleError

Tensors = dict[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]
_SHOWN = 4


def under(tensors: Mapping[str, Tensor], prefix: str) -> Tensors:
    """What stands under a prefix, named without it."""
    return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}


def demand(own: Mapping[str, Tensor], expected: Shapes, label: str, path: Path) -> None:
    """Refuse tensors that are not exactly those expected.

    Raises:
        BundleError: Names what is missing, left over, or of another shape.
    """
    missing = [name for name in expected if name not in own]
    left = [name for name in own if name not in expected]
    shapes = [
        f"{name} {tuple(own[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if name in own and tuple(own[name].shape) != shape
    ]
    if missing or left or shapes:
        raise incomplete(label, path, missing, left, shapes)


def incomplete(
    label: str,
    path: Path,
    missing: Sequence[str] = (),
    left: Sequence[str] = (),
    shapes: Sequence[str] = (),
) -> BundleError:
    """The error for a file that is of a known layout, but not whole."""
    faults = {"missing": missing, "left over": left, "of another shape": shapes}
    told = "; ".join(f"{what}: {_some(names)}" for what, names in faults.items() if names)
    return BundleError(f"looks like {label}, but does not match completely: {told}", where=path)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def count(names: Iterable[str], prefixes: Sequence[str]) -> dict[str, int]:
    """How many names begin with each prefix, under the longest that fits; others by first word."""
    found: dict[str, int] = {}
    ordered = sorted(prefixes, key=len, reverse=True)
    for name in names:
        prefix = next((p for p in ordered if name.startswith(p)), name.split(".")[0] + ".")
        found[f"{prefix}*"] = found.get(f"{prefix}*", 0) + 1
    return found


def as_float32(tensors: Mapping[str, Tensor]) -> Tensors:
    """Weights kept in half precision or double as ours are; counters stay whole numbers."""
    return {n: v.float() if v.is_floating_point() else v for n, v in tensors.items()}
