"""A network translated to ONNX, with all that its reader has to know."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import Tensor, nn

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
    return translate_windows(ExportableNetwork(network).eval(), opset)


def translate_windows(exportable: ExportableNetwork, opset: int) -> onnx.ModelProto:
    """Translates what scores windows, as `to_onnx` does."""
    window = exportable.window
    # An example of one clip, or of a whole window, would be taken for the only possible one.
    waveform = torch.zeros(2, window // 2)
    batch, samples = torch.export.Dim("batch", min=1), torch.export.Dim("samples", max=window)
    shapes = ({0: batch, 1: samples},)
    return translate(exportable, {WAVEFORM: waveform}, [STRONG, WEAK], shapes, opset)


def translate(
    module: nn.Module,
    example: Mapping[str, Tensor],
    outputs: list[str],
    shapes: tuple[Mapping[int, Any], ...],
    opset: int,
) -> onnx.ModelProto:
    """Translates a module.

    Args:
        module: In evaluation mode, made of exportable modules.
        example: Its inputs by name, in order.
        outputs: Names of its outputs.
        shapes: Which axes of each input have any length.
        opset: Version of ONNX's operators.
    """
    with _quiet():
        program = torch.onnx.export(
            module,
            tuple(example.values()),
            input_names=list(example),
            output_names=outputs,
            opset_version=opset,
            dynamo=True,
            dynamic_shapes=shapes,
            custom_translation_table=translations(),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("PyTorch's exporter gave no program")
    model: onnx.ModelProto = program.model_proto
    _strip(model)
    for name, part in module.named_modules():
        if isinstance(part, MatrixLogMel):
            compact_frontend(model, f"{name}.", part)
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
