"""Export to ONNX: waveform in, scores out, front-end inside, checked against the network.

The file says everything a bundle says, so that `Detector.from_pretrained("model.onnx")` needs
nothing else; and it is only written if it gives the network's scores.
"""

from __future__ import annotations

import copy
import json
import platform
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from earmark._version import __version__
from earmark.core.errors import ConfigError, ExportError, optional_package
from earmark.core.files import write_text
from earmark.core.locking import only_writer
from earmark.core.parallel import available_cores
from earmark.core.spec import ModelSpec
from earmark.data.manifest import Evaluation
from earmark.deliver.onnx.parity import TOLERANCE, Parity, Speed, measure_parity, measure_speed
from earmark.detect.evaluate import evaluate_network
from earmark.detect.postprocess import PostProcess
from earmark.model.onnx_network import (
    STRONG,
    SUFFIX,
    WAVEFORM,
    WEAK,
    OnnxNetwork,
    metadata,
)
from earmark.model.packed import pack
from earmark.model.sed import SedNetwork
from earmark.model.tagger import Tagger

if TYPE_CHECKING:
    import onnx

    from earmark.detect.network import Network

OPSET = 20
OPSETS = range(18, 23)
FIGURES = ("psds1", "psds2", "collar_f1")
Stage = Callable[[str], None]


@dataclass(frozen=True)
class ExportedFile:
    """One file that was written, and what was measured on it."""

    path: Path
    precision: str
    parity: Parity
    speed: tuple[Speed, ...]

    @property
    def megabytes(self) -> float:
        """Its size."""
        return self.path.stat().st_size / 1e6


@dataclass(frozen=True)
class ExportReport:
    """An export: the files, single precision first, and under which versions they were made."""

    source: str
    spec: ModelSpec
    parameters: int
    opset: int
    threads: int
    files: tuple[ExportedFile, ...]

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the report file."""
        return {
            "source": self.source,
            "labels": list(self.spec.labels),
            "sample_rate": self.spec.sample_rate,
            "window_seconds": self.spec.window / self.spec.sample_rate,
            "hop_seconds": self.spec.frame_hop / self.spec.sample_rate,
            "parameters": self.parameters,
            "tolerance": TOLERANCE,
            "opset": self.opset,
            "threads": self.threads,
            "versions": versions(),
            "files": [_told(file) for file in self.files],
        }


def _told(file: ExportedFile) -> dict[str, Any]:
    return {
        "file": file.path.name,
        "precision": file.precision,
        "megabytes": round(file.megabytes, 3),
        "parity": {
            "largest": file.parity.largest,
            "batch": file.parity.batch,
            "alone": dict(file.parity.alone),
            "spread_of_scores": file.parity.spread,
        },
        "speed": [
            {
                "batch": speed.batch,
                "torch_seconds": round(speed.network, 5),
                "onnx_seconds": round(speed.exported, 5),
                "times_faster": round(speed.ratio, 3),
            }
            for speed in file.speed
        ],
    }


def versions() -> dict[str, str]:
    """What an export was made and measured with."""
    import onnx
    import onnxruntime

    return {
        "earmark": __version__,
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
    }


def require_export() -> None:
    """Raises `ConfigError` if a package that exporting needs is missing."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        optional_package(name, "exporting needs", "export")


def export_network(
    network: SedNetwork | Tagger,
    postprocess: Mapping[str, Any],
    out: str | Path,
    *,
    source: str = "",
    int8: bool = False,
    opset: int = OPSET,
    repeats: int = 5,
    stage: Stage = lambda _: None,
) -> ExportReport:
    """Writes a network as ONNX, after its scores were compared with the network's.

    Args:
        network: The network, on any device; it is left as it is.
        postprocess: Content of the bundle's ``postprocess.yaml``.
        out: The file, ``….onnx``; the eight-bit one is ``….int8.onnx`` beside it.
        source: Name and fingerprint of the bundle, for the file and the report.
        int8: Write the eight-bit file, too.
        opset: Version of ONNX's operators.
        repeats: Timings, of which the fastest is reported.
        stage: Called with a word on what is being done.

    Raises:
        ConfigError: If a package is missing, or the name or the opset cannot be used.
        ExportError: If the export does not give the network's scores; nothing is written.
    """
    require_export()
    out = _checked(Path(out), opset)
    with only_writer(out.parent, f".{out.name}.lock"):
        return _export(network, postprocess, out, source, int8, opset, repeats, stage)


def _export(
    network: SedNetwork | Tagger,
    postprocess: Mapping[str, Any],
    out: Path,
    source: str,
    int8: bool,
    opset: int,
    repeats: int,
    stage: Callable[[str], None],
) -> ExportReport:
    import onnx

    from earmark.deliver.onnx.onnx_model import to_onnx
    from earmark.deliver.onnx.quantise import quantise

    network = copy.deepcopy(network).cpu().float().eval()
    pack(network)  # the comparison is with PyTorch at its best
    threads = available_cores()
    targets = {"float32": out} | ({"int8": int8_path(out)} if int8 else {})
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        drafts = {name: Path(folder) / path.name for name, path in targets.items()}
        stage("translating")
        _write(to_onnx(network, opset), drafts["float32"], network, postprocess, source, "float32")
        if int8:
            stage("quantising")
            quantise(drafts["float32"], drafts["int8"], len(network.spec.labels))
            model = onnx.load(drafts["int8"])
            _write(model, drafts["int8"], network, postprocess, source, "int8")
        files = []
        for precision, draft in drafts.items():
            stage(f"comparing {precision}")
            exported = OnnxNetwork(draft, threads=threads, device="cpu")
            parity = measure_parity(network, exported)
            if precision == "float32" and not parity.largest <= TOLERANCE:
                raise _broken(parity, out)
            stage(f"timing {precision}")
            speed = measure_speed(network, exported, threads, repeats)
            files.append(ExportedFile(targets[precision], precision, parity, tuple(speed)))
        for precision, draft in drafts.items():
            draft.replace(targets[precision])
    count = sum(parameter.numel() for parameter in network.parameters())
    return ExportReport(source, network.spec, count, opset, threads, tuple(files))


def int8_path(out: Path) -> Path:
    """Where the eight-bit file goes: ``model.onnx`` → ``model.int8.onnx``."""
    return out.with_suffix(f".int8{SUFFIX}")


def _checked(out: Path, opset: int) -> Path:
    if out.suffix != SUFFIX:
        raise ConfigError("is no name of an ONNX file", where=out, hint=f"End it in {SUFFIX}")
    if opset not in OPSETS:
        raise ConfigError(
            f"opset {opset} is not supported",
            hint=f"Choose {OPSETS.start} to {OPSETS.stop - 1}, or leave it at {OPSET}",
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot be made a folder ({error.strerror})", where=out.parent) from None
    return out


def _write(
    model: onnx.ModelProto,
    path: Path,
    network: SedNetwork | Tagger,
    postprocess: Mapping[str, Any],
    source: str,
    precision: str,
) -> None:
    """Writes a model with what its reader has to know."""
    import onnx

    model.producer_name, model.producer_version = "earmark", __version__
    onnx.helper.set_model_props(model, metadata(network.spec, postprocess, source, precision))
    _describe(model, network.spec)
    onnx.save(model, path)


def _describe(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Documents the inputs and outputs inside the model."""
    hop, rate = spec.frame_hop / spec.sample_rate, spec.sample_rate
    texts = {
        WAVEFORM: f"[batch, samples] float32: mono at {rate} Hz, full scale 1; 1 to {spec.window} "
        f"samples ({spec.window / rate:g} s), clips of one batch of one length",
        STRONG: f"[batch, {spec.frames}, {len(spec.labels)}]: probability of each class in each "
        f"frame; frame f lasts from f * {hop!r} s to (f + 1) * {hop!r} s",
        WEAK: f"[batch, {len(spec.labels)}]: probability of each class in the clip",
    }
    for value in [*model.graph.input, *model.graph.output]:
        value.doc_string = texts[value.name]
    names = ", ".join(spec.labels)
    model.doc_string = f"Sound event detection of {names} (in this order). Made by earmark export."


def _broken(parity: Parity, out: Path) -> ExportError:
    worst = max(parity.alone, key=lambda name: parity.alone[name])
    return ExportError(
        f"the export differs from the network by {parity.largest:.2g} (most on {worst}, by "
        f"{parity.alone[worst]:.2g}; in a batch by {parity.batch:.2g}); {TOLERANCE:g} is allowed",
        where=out,
        hint="It was not written; try another --opset, and report it with the bundle's settings",
    )


def measure_loss(
    report: ExportReport,
    network: SedNetwork | Tagger,
    evaluation: Evaluation,
    postprocess: PostProcess,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> dict[str, Any]:
    """Scores the network and every file of an export on a labelled split.

    Returns:
        ``clips``, ``of`` and ``fingerprint`` of the split, and ``by_precision``: ``torch`` and
        each file's precision → ``psds1``, ``psds2`` and ``collar_f1``.
    """
    candidates: dict[str, Network] = {"torch": network}
    candidates |= {file.precision: OnnxNetwork(file.path) for file in report.files}
    found: dict[str, Any] = {"by_precision": {}}
    for name, candidate in candidates.items():
        metrics = evaluate_network(
            candidate, evaluation, postprocess, progress=partial(progress, name)
        )
        found["by_precision"][name] = {figure: metrics[figure] for figure in FIGURES}
        found |= {key: metrics[key] for key in ("clips", "of", "fingerprint")}
    return found


def write_report(report: ExportReport, loss: Mapping[str, Any] | None = None) -> Path:
    """Writes what was measured beside the exported file: ``model.onnx`` → ``model.json``."""
    path = report.files[0].path.with_suffix(".json")
    content = report.to_dict() | ({"evaluation": dict(loss)} if loss else {})
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path
