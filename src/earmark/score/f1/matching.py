"""The largest matching of a bipartite graph, as few of whose edges share an end."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def largest_matching(left: Ints, right: Ints) -> Ints:
    """The right ends of a maximum matching of a bipartite graph.

    Edges that share no end are matched at once; the few others by augmenting paths.

    Args:
        left: Left end of each edge ``[N]``.
        right: Right end of each edge ``[N]``.
    """
    if not len(left):
        return right
    alone = (np.bincount(left)[left] == 1) & (np.bincount(right)[right] == 1)
    graph: dict[int, list[int]] = {}
    for node, other in zip(left[~alone].tolist(), right[~alone].tolist(), strict=True):
        graph.setdefault(node, []).append(other)
    lefts: dict[int, int] = {}  # right → its left partner
    rights: dict[int, int] = {}  # left → its right partner
    for node in graph:
        _augment(node, graph, lefts, rights)
    return np.concatenate([right[alone], np.array(list(lefts), dtype=np.int64)])


def _augment(
    root: int, graph: Mapping[int, list[int]], lefts: dict[int, int], rights: dict[int, int]
) -> None:
    """Match one more left node, if an alternating path from it leads to a free right node."""
    reached_from: dict[int, int] = {}  # right → the left node it was reached from
    queue = [root]
    for node in queue:  # grows while it is walked: breadth first
        for other in graph[node]:
            if other in reached_from:
                continue
            reached_from[other] = node
            if other in lefts:
                queue.append(lefts[other])
                continue
            free: int | None = other
            while free is not None:  # back along the path, each left node takes the new partner
                taker = reached_from[free]
                lefts[free], rights[taker], free = taker, free, rights.get(taker)
            return
