"""Earmark finds out what sounds when: sound event detection that learns from few labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from earmark._version import __version__

if TYPE_CHECKING:
    from earmark.detect.detector import Detector

__all__ = ["Detector", "__version__"]


def __getattr__(name: str) -> Any:
    """Load `Detector` when it is asked for: scoring must not pay for PyTorch."""
    if name == "Detector":
        from earmark.detect.detector import Detector

        return Detector
    raise AttributeError(f"module 'earmark' has no attribute {name!r}")
