"""Earmark finds out what sounds when: sound event detection that learns from few labels."""

from __future__ import annotations

__version__ = "0.1.0"
