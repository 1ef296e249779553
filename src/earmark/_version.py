"""The package's version, in a file of its own: every room writes it into what it leaves."""

from __future__ import annotations

__version__ = "0.1.0"
