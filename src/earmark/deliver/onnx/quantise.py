"""Eight-bit weights for an exported network.

Wide products (the encoder's linear maps, the layer that joins it) are computed in eight bits:
weights by output channel, activations by their range at run time, as ONNX Runtime's dynamic
quantisation does. Narrow ones gain no time by it, and ONNX Runtime has no such operators for
convolutions and gated recurrent nets that would be faster; so the weights of all these are only
stored in eight bits, and computed with in single precision. Front-ends and heads stay as they are:
the ones decide on decibels, the others are tiny.
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

SMALLEST = 1024
"""Weights of fewer values stay in single precision."""
WIDE = 256
"""Inputs from which on a product is computed in eight bits."""


def quantise(source: Path, target: Path, classes: int) -> None:
    """Writes an exported network again with eight-bit weights.

    Args:
        source: A file of `earmark.deliver.onnx.export`.
        classes: Number of classes, by which the heads are known.
        target: The file to write; its metadata say nothing of it yet.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(source)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    products = [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul"
        and _is_product(weights.get(node.input[1]), classes)
        and weights[node.input[1]].dims[0] >= WIDE
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
    _store_others(model, classes)
    onnx.save(model, target)


def _is_product(weight: TensorProto | None, classes: int) -> bool:
    """Whether this is the constant of a linear map that is no head."""
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


def _store_others(model: onnx.ModelProto, classes: int) -> None:
    """All other weights in eight bits, by output channel, in place."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    axes: dict[str, tuple[int, ...]] = {}  # those of the inputs
    for node in graph.node:
        if node.op_type == "Conv":
            axes[node.input[1]] = (1, 2, 3)
        elif node.op_type == "GRU":
            axes |= dict.fromkeys(node.input[1:3], (2,))
        elif node.op_type == "MatMul" and _is_product(weights.get(node.input[1]), classes):
            axes[node.input[1]] = (0,)
    made = []
    for name, inputs in axes.items():
        tensor = weights.get(name)
        if tensor is not None and _size(tensor) >= SMALLEST:
            graph.initializer.remove(tensor)
            made += _stored(name, numpy_helper.to_array(tensor), inputs, graph)
    nodes = [*made, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _stored(
    name: str, weight: NDArray[np.float32], inputs: tuple[int, ...], graph: onnx.GraphProto
) -> list[onnx.NodeProto]:
    """A weight as integers and one scale for every output channel; adds both to the graph.

    Their product is no DequantizeLinear: ONNX Runtime computes it once, when it loads the file,
    while it keeps those as they are and then does without its fast layouts.
    """
    peaks = np.abs(weight).max(axis=inputs, keepdims=True)
    scales = np.maximum(peaks, np.float32(1e-12)) / np.float32(127.0)
    whole = np.rint(weight / scales).astype(np.int8)
    part = f"{name}/".__add__
    constants = {"int8": whole, "scale": scales}
    graph.initializer.extend(numpy_helper.from_array(v, part(k)) for k, v in constants.items())
    return [
        helper.make_node("Cast", [part("int8")], [part("float")], to=TensorProto.FLOAT),
        helper.make_node("Mul", [part("float"), part("scale")], [name]),
    ]
