"""The constants of a front-end, written as what they are made from.

The matrices of a transform and of a filter bank are as large as a small network's weights. ONNX
Runtime computes whatever depends on constants alone once, when it loads a file; so a table of one
turn's cosines, and the filters' few values that are not zero, say the same in some kilobytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from earmark.deliver.onnx.matrix_mel import MatrixLogMel


def compact_frontend(model: onnx.ModelProto, prefix: str, frontend: MatrixLogMel) -> None:
    """Replaces the two large constants of a front-end, in place.

    Args:
        model: A network exported with this front-end.
        prefix: Of the front-end's constants in the file, up to their own names.
        frontend: The front-end as it was exported.
    """
    graph = model.graph
    n_fft, rows = frontend.settings.n_fft, frontend.rows
    made = _second_step(f"{prefix}second", n_fft, rows)
    made += _sparse(f"{prefix}ordered_filters", frontend.ordered_filters.numpy())
    gone = {f"{prefix}second", f"{prefix}ordered_filters"}
    present = {tensor.name for tensor in graph.initializer}
    if not gone <= present:
        raise ValueError(f"the file has no constants {', '.join(sorted(gone - present))}")
    kept = [tensor for tensor in graph.initializer if tensor.name not in gone]
    nodes = [*made, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)


def _constant(name: str, values: NDArray[np.generic]) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values, name))


def _second_step(name: str, n_fft: int, rows: int) -> list[NodeProto]:
    """[N₁/2 + 1, 2·N₂, 2·N₂] = [[cos, sin], [-sin, cos]] of -2π·n₂(k₁ + N₁k₂) / N."""
    columns = n_fft // rows
    turn = -2.0 * math.pi * np.arange(n_fft) / n_fft
    place = np.arange(columns, dtype=np.int64).reshape(1, -1, 1)
    bins = np.arange(rows // 2 + 1).reshape(-1, 1, 1) + rows * np.arange(columns).reshape(1, 1, -1)
    part = f"{name}/".__add__
    return [
        _constant(part("cosines"), np.cos(turn).astype(np.float32)),
        _constant(part("sines"), np.sin(turn).astype(np.float32)),
        _constant(part("place"), place),
        _constant(part("bins"), bins.astype(np.int64)),
        _constant(part("turn"), np.array(n_fft, dtype=np.int64)),
        helper.make_node("Mul", [part("place"), part("bins")], [part("product")]),
        helper.make_node("Mod", [part("product"), part("turn")], [part("angle")]),
        helper.make_node("Gather", [part("cosines"), part("angle")], [part("cos")]),
        helper.make_node("Gather", [part("sines"), part("angle")], [part("sin")]),
        helper.make_node("Neg", [part("sin")], [part("-sin")]),
        _joined([part("cos"), part("sin")], part("top"), 2),
        _joined([part("-sin"), part("cos")], part("bottom"), 2),
        _joined([part("top"), part("bottom")], name, 1),
    ]


def _joined(parts: Sequence[str], name: str, axis: int) -> NodeProto:
    return helper.make_node("Concat", list(parts), [name], axis=axis)


def _sparse(name: str, values: NDArray[np.float32]) -> list[NodeProto]:
    """A matrix of mostly zeros."""
    places = np.argwhere(values)
    part = f"{name}/".__add__
    zero = numpy_helper.from_array(np.zeros(1, dtype=np.float32))
    return [
        _constant(part("shape"), np.array(values.shape, dtype=np.int64)),
        _constant(part("places"), places.astype(np.int64)),
        _constant(part("values"), values[tuple(places.T)]),
        helper.make_node("ConstantOfShape", [part("shape")], [part("zeros")], value=zero),
        helper.make_node("ScatterND", [part("zeros"), part("places"), part("values")], [name]),
    ]
