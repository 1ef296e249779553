"""Eight-bit weights for an exported network.

Large products (the encoder's linear maps, the layer that joins it, gates of wide convolutions) are
computed in eight bits: weights by output channel, activations by their range at run time, as ONNX
Runtime's dynamic quantisation does. ONNX Runtime has no such operators for convolutions and gated
recurrent nets that would be faster, so their weights are only stored in eight bits and computed
with in single precision. Front-ends and heads stay as they are: the ones decide on decibels, the
others are tiny.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SMALLEST = 4096
"""Weights of fewer values stay in single precision."""


def quantise(source: Path, target: Path, classes: int) -> None:
    """Writes an exported network again with eight-bit weights.

    Args:
        source: A file of `earmark.deliver.export`.
        classes: Number of classes, by which the heads are known.
        target: The file to write; its metadata say nothing of it yet.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(source)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    products = [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul" and _is_worth_it(weights.get(node.input[1]), classes)
    ]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        draft = source
        if products:
            draft = Path(folder) / "products.onnx"
            quantize_dynamic(
                source,
                draft,
                op_types_to_quantize=["MatMul"],
                nodes_to_quantize=products,
                per_channel=True,
                weight_type=QuantType.QInt8,
            )
        model = onnx.load(draft)
    _store_small(model)
    onnx.save(model, target)


def _is_worth_it(weight: TensorProto | None, classes: int) -> bool:
    """Whether a product with this constant, if it is one, is to be computed in eight bits."""
    if weight is None or len(weight.dims) != 2 or weight.dims[1] == classes:
        return False
    return _size(weight) >= SMALLEST


def _size(tensor: TensorProto) -> int:
    return math.prod(int(size) for size in tensor.dims)


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser advises preprocessing on the root logger, which does not apply here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _store_small(model: onnx.ModelProto) -> None:
    """Weights of convolutions and recurrent nets in eight bits, by output channel, in place."""
    graph = model.graph
    inputs = {
        name
        for node in graph.node
        for name in {"Conv": node.input[1:2], "GRU": node.input[1:3]}.get(node.op_type, [])
    }
    made = []
    for tensor in list(graph.initializer):
        if tensor.name in inputs and _size(tensor) >= SMALLEST:
            graph.initializer.remove(tensor)
            made += _stored(tensor.name, numpy_helper.to_array(tensor), graph)
    nodes = [*made, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _stored(name: str, weight: NDArray[np.float32], graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """A weight as integers and one scale a channel; adds both to the graph."""
    channels = weight.shape[0] * (weight.shape[1] if weight.ndim == 3 else 1)  # GRU: [2, 3H, D]
    rows = weight.reshape(channels, -1)
    scales = np.maximum(np.abs(rows).max(axis=1), np.float32(1e-12)) / np.float32(127.0)
    whole = np.rint(rows / scales[:, None]).astype(np.int8)
    part = f"{name}/".__add__
    constants = {
        "int8": whole,
        "scale": scales,
        "zero": np.zeros(channels, dtype=np.int8),
        "shape": np.array(weight.shape, dtype=np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(v, part(k)) for k, v in constants.items())
    values = [part("int8"), part("scale"), part("zero")]
    return [
        helper.make_node("DequantizeLinear", values, [part("rows")], axis=0),
        helper.make_node("Reshape", [part("rows"), part("shape")], [name]),
    ]
