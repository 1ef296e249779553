"""In what two settings of one kind differ."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


def differing(ours: BaseModel, theirs: BaseModel, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Settings of one kind that are not equal: (dotted name, ours, theirs)."""
    found: list[tuple[str, Any, Any]] = []
    for name in type(ours).model_fields:
        mine, other = getattr(ours, name), getattr(theirs, name)
        if isinstance(mine, BaseModel) and isinstance(other, BaseModel):
            found += differing(mine, other, f"{prefix}{name}.")
        elif mine != other:
            found.append((f"{prefix}{name}", mine, other))
    return found
