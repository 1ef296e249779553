"""Names of ATST-SED's published state dict and of ours: a bijection, entry by entry.

The official network (arXiv 2309.08153, stage 2) has 223 entries; every one of them has exactly
one counterpart here, of the same shape, so a conversion is a renaming and nothing else.
"""

from __future__ import annotations

import re

_PARTS = {"conv": "conv", "norm": "batchnorm", "gate": "cg"}
_OURS_BLOCK = re.compile(r"crnn\.cnn\.blocks\.(\d+)\.(conv|norm|gate)\.(.+)")
_OFFICIAL_BLOCK = re.compile(r"cnn\.cnn\.(conv|batchnorm|cg)(\d+)\.(.+)")
_PREFIXES = {
    "encoder.": "atst_frame.atst.",
    "crnn.merge.": "cat_tf.",
    "crnn.rnn.": "rnn.rnn.",
    "crnn.heads.strong.": "dense.",
    "crnn.heads.attention.": "dense_softmax.",
}


def to_official(name: str) -> str | None:
    """The official name of an entry of our state dict; None if it has none."""
    if block := _OURS_BLOCK.fullmatch(name):
        index, part, rest = block.groups()
        return f"cnn.cnn.{_PARTS[part]}{index}.{rest}"
    for ours, official in _PREFIXES.items():
        if name.startswith(ours):
            return official + name.removeprefix(ours)
    return None


def from_official(name: str) -> str | None:
    """Our name of an entry of the official state dict; None if it is none of its entries."""
    if block := _OFFICIAL_BLOCK.fullmatch(name):
        part, index, rest = block.groups()
        own = next(ours for ours, official in _PARTS.items() if official == part)
        return f"crnn.cnn.blocks.{index}.{own}.{rest}"
    for ours, official in _PREFIXES.items():
        if name.startswith(official):
            return ours + name.removeprefix(official)
    return None
