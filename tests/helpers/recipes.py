"""Recipes small enough for a test of the command line."""

from __future__ import annotations

#: Two steps of a network of a few channels.
TINY = (
    "network.channels=[4,4,4,4,4]",
    "network.rnn_hidden=4",
    "method.embedding.hidden=8",
    "method.embedding.out=4",
    "train.epochs=1",
    "train.steps_per_epoch=2",
)


def set_each(*overrides: str) -> list[str]:
    """Overrides as a command takes them."""
    return [part for override in overrides for part in ("--set", override)]
