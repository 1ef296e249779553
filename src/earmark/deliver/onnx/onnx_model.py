"""A network translated to ONNX, with all that its reader has to know."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from earmark.deliver.onnx.compact import compact_frontend
from earmark.deliver.onnx.exportable import ExportableNetwork, translations
from earmark.deliver.onnx.matrix_mel import MatrixLogMel
from earmark.model.onnx_network import SAMPLES, STRONG, WAVEFORM, WEAK
from earmark.model.sed import SedNetwork
from earmark.model.tagger import Tagger


def to_onnx(network: SedNetwork | Tagger, opset: int) -> onnx.ModelProto:
    """Translates a network with `torch.export` and PyTorch's ONNX exporter.

    The model takes ``waveform`` [batch, window] and, if one likes, ``samples``: the lengths of the
    clips before padding, [batch] or one for all; without them every clip fills its window. It
    gives ``strong`` [batch, T, C] and ``weak`` [batch, C].

    Args:
        network: On any device; left as it is.
        opset: Version of ONNX's operators.
    """
    exportable = ExportableNetwork(network).eval()
    window = network.spec.window
    # Two clips, one of them shorter: an example of one would be taken for the only possible batch.
    waveform, samples = torch.zeros(2, window), torch.tensor([window, window // 2])
    batch = torch.export.Dim("batch", min=1)
    with _quiet():
        program = torch.onnx.export(
            exportable,
            (waveform, samples),
            input_names=[WAVEFORM, SAMPLES],
            output_names=[STRONG, WEAK],
            opset_version=opset,
            dynamo=True,
            dynamic_shapes=({0: batch}, {0: batch}),
            custom_translation_table=translations(),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("PyTorch's exporter gave no program")
    model: onnx.ModelProto = program.model_proto
    _strip(model)
    for name, module in exportable.named_modules():
        if isinstance(module, MatrixLogMel):
            compact_frontend(model, f"{name}.", module)
    _default_samples(model, window)
    onnx.checker.check_model(model)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of deprecations of its own and of packages it does not need."""
    names = ("torch.onnx", "onnxscript", "torch.export")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _strip(model: onnx.ModelProto) -> None:
    """Leaves out the exporter's notes, which name source files and their lines."""
    graph = model.graph
    noted = [*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for item in [model, graph, *noted]:
        del item.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""


def _default_samples(model: onnx.ModelProto, window: int) -> None:
    """Gives ``samples`` a value for callers that do not: the whole window."""
    value = next(value for value in model.graph.input if value.name == SAMPLES)
    value.type.tensor_type.shape.dim[0].dim_param = "batch or 1"
    default = numpy_helper.from_array(np.array([window], dtype=np.int64), SAMPLES)
    model.graph.initializer.append(default)
