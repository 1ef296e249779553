"""A network translated to ONNX, with all that its reader has to know."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import torch

from earmark.deliver.onnx.compact import compact_frontend
from earmark.deliver.onnx.exportable import ExportableNetwork, translations
from earmark.deliver.onnx.matrix_mel import MatrixLogMel
from earmark.model.onnx_network import STRONG, WAVEFORM, WEAK
from earmark.model.sed import SedNetwork
from earmark.model.tagger import Tagger


def to_onnx(network: SedNetwork | Tagger, opset: int) -> onnx.ModelProto:
    """Translates a network with `torch.export` and PyTorch's ONNX exporter.

    The model takes ``waveform`` [batch, samples], at most a window of samples, and gives ``strong``
    [batch, T, C] and ``weak`` [batch, C].

    Args:
        network: On any device; left as it is.
        opset: Version of ONNX's operators.
    """
    exportable = ExportableNetwork(network).eval()
    window = network.spec.window
    # An example of one clip, or of a whole window, would be taken for the only possible one.
    waveform = torch.zeros(2, window // 2)
    batch, samples = torch.export.Dim("batch", min=1), torch.export.Dim("samples", max=window)
    with _quiet():
        program = torch.onnx.export(
            exportable,
            (waveform,),
            input_names=[WAVEFORM],
            output_names=[STRONG, WEAK],
            opset_version=opset,
            dynamo=True,
            dynamic_shapes=({0: batch, 1: samples},),
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
