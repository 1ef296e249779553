"""A bundle's network as ONNX, beside the bundle's other files: see `earmark.model.onnx_form`."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from earmark.core.errors import ExportError
from earmark.core.files import DRAFT
from earmark.core.locking import only_writer
from earmark.core.timeline import SAMPLE_RATE
from earmark.deliver.onnx.exportable import ExportableNetwork
from earmark.deliver.onnx.onnx_model import translate, translate_windows
from earmark.deliver.onnx.parity import TOLERANCE, measure_parity
from earmark.detect.sliding import sliding_scores
from earmark.model.bundle import load_bundle
from earmark.model.bundle_files import (
    ONNX_FORM,
    ONNX_GRAPHS,
    bundle_settings,
    find_bundle,
    weights_file,
)
from earmark.model.encoders.yamnet import FRAME as MEL_FRAME
from earmark.model.encoders.yamnet import HOP, PATCH, TOKEN, Yamnet
from earmark.model.folder import folder_fingerprint, read_tensors
from earmark.model.onnx_form import (
    ENCODED,
    LENGTH,
    TOKENS,
    FormRecord,
    OnnxForm,
    StoredTensor,
    TokenTimes,
    content_of,
)
from earmark.model.onnx_network import STRONG, WAVEFORM
from earmark.model.sed import SedNetwork
from earmark.model.tagger import Tagger

OPSET = 20
_SMALLEST = 1024  # bytes of a weight that is not written a second time


@dataclass(frozen=True)
class FormReport:
    """What was written.

    Attributes:
        folder: The bundle.
        megabytes: Of the form's files.
        windows: Largest difference of a score of windows, and
        recording: … of a long recording.
    """

    folder: Path
    megabytes: float
    windows: float
    recording: float


class _Encode(nn.Module):
    """Samples [1, S] and a number of tokens that are no padding → tokens, or their scores."""

    def __init__(self, encoder: Yamnet, scores: bool) -> None:
        super().__init__()
        self.encoder, self.scores = encoder, scores

    def forward(self, waveform: Tensor, length: Tensor | None = None) -> Tensor:
        features, valid = self.encoder.features(waveform), None
        if length is not None:
            valid = (torch.arange(self.encoder.tokens_of(features)) < length)[None]
        tokens: Tensor = self.encoder(features, valid)
        return self.encoder.class_scores(tokens) if self.scores else tokens


class _Frames(nn.Module):
    """Windows [B, S] and the encoder's vectors of their frames [B, T, D] → strong scores."""

    def __init__(self, network: SedNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, waveform: Tensor, encoded: Tensor) -> Tensor:
        return self.network.score_frames(waveform, encoded)


def write_form(bundle: str | Path) -> FormReport:
    """Makes a bundle's ONNX form in its folder, after its scores were compared with the network's.

    Args:
        bundle: A folder, or the name of a shipped bundle.

    Raises:
        BundleError: There is no such bundle.
        ExportError: The form does not give the network's scores; nothing is written.
    """
    with only_writer(folder := find_bundle(bundle)):
        return _write_form(folder)


def _write_form(folder: Path) -> FormReport:
    network = load_bundle(folder).network.cpu().float()
    tensors = read_tensors(weights_file(folder, bundle_settings(folder)), "numpy")
    times = _times(network, folder)
    stored: dict[str, dict[str, StoredTensor]] = {}
    with tempfile.TemporaryDirectory(dir=folder, prefix=DRAFT) as temporary:
        draft = Path(temporary)
        for name, model in _graphs(network, times).items():
            stored[name] = _leave_out(model, tensors)
            (draft / name).write_bytes(model.SerializeToString())
        digests = {name: folder_fingerprint(draft, [name]) for name in stored}
        record = FormRecord(content_of(folder), digests, stored, times)
        (draft / ONNX_FORM).write_text(record.to_text(), encoding="utf-8")
        for path in folder.iterdir():
            if path.is_file() and path.name not in (*stored, ONNX_FORM):
                (draft / path.name).symlink_to(path.resolve())
        windows, recording = _differences(network, OnnxForm(draft, device="cpu"))
        if not max(windows, recording) <= TOLERANCE:
            raise ExportError(
                f"the ONNX form differs from the network by {windows:.2g} in windows and "
                f"{recording:.2g} in a recording; {TOLERANCE:g} is allowed",
                where=folder,
                hint="It was not written; report it with the bundle's settings",
            )
        for name in (*stored, ONNX_FORM):
            (draft / name).replace(folder / name)
    for name in set(ONNX_GRAPHS.values()) - set(stored):
        (folder / name).unlink(missing_ok=True)
    size = sum((folder / name).stat().st_size for name in (*stored, ONNX_FORM))
    return FormReport(folder, size / 1e6, windows, recording)


def _times(network: SedNetwork | Tagger, folder: Path) -> TokenTimes | None:
    """How recordings are encoded once, where they are.

    Raises:
        ExportError: The encoder is of a kind whose stretches have no form here.
    """
    stretches, encoder = network.stretches, network.encoder
    if stretches is None:
        return None
    if not isinstance(encoder, Yamnet):
        raise ExportError(
            f"its encoder, a {type(encoder).__name__}, encodes recordings in stretches, for which "
            "there is no ONNX form",
            where=folder,
            hint="Export it to a file of its own: earmark export BUNDLE --out model.onnx",
        )
    return TokenTimes(
        place="nearest" if isinstance(network, Tagger) else "overlap",
        hop=stretches.hop,
        centre=str(stretches.centre),
        reach=str(stretches.reach),
        least=(PATCH - 1) * HOP + MEL_FRAME if encoder.patches else TOKEN,
        masked=not encoder.patches,
    )


def _graphs(network: SedNetwork | Tagger, times: TokenTimes | None) -> dict[str, onnx.ModelProto]:
    """The graphs by file name."""
    exportable = ExportableNetwork(network).eval()
    found = {ONNX_GRAPHS["windows"]: translate_windows(exportable, OPSET)}
    if times is None:
        return found
    exported = exportable.network
    hops = torch.export.Dim("hops", min=1, max=1 << 16)
    length = hops * times.hop + (times.least - times.hop)
    given = {WAVEFORM: torch.zeros(1, 9 * times.hop + times.least - times.hop)}
    shapes: tuple[dict[int, Any], ...] = ({1: length},)
    if times.masked:
        given[LENGTH], shapes = torch.tensor(5), (*shapes, {})
    found[ONNX_GRAPHS["encode"]] = translate(
        _Encode(cast(Yamnet, exported.encoder), isinstance(exported, Tagger)).eval(),
        given, [TOKENS], shapes, OPSET,
    )  # fmt: skip
    if isinstance(exported, SedNetwork):
        spec, width = network.spec, exported.sure_encoder.width
        batch = torch.export.Dim("batch", min=1)
        given = {
            WAVEFORM: torch.zeros(2, spec.window),
            ENCODED: torch.zeros(2, spec.frames, width),
        }
        found[ONNX_GRAPHS["frames"]] = translate(
            _Frames(exported).eval(), given, [STRONG], ({0: batch}, {0: batch}), OPSET
        )
    return found


def _leave_out(
    model: onnx.ModelProto, tensors: Mapping[str, NDArray[Any]]
) -> dict[str, StoredTensor]:
    """Takes the weights that the bundle's file has out of a graph; says where each is found."""
    known: dict[str, tuple[str, bool]] = {}
    for name, values in tensors.items():
        single = values.astype(np.float32)
        known.setdefault(_digest(single), (name, False))
        if single.ndim == 2:
            known.setdefault(_digest(single.T), (name, True))
    found = {}
    for initializer in model.graph.initializer:
        if initializer.data_type != onnx.TensorProto.FLOAT or initializer.ByteSize() < _SMALLEST:
            continue
        values = numpy_helper.to_array(initializer)
        if (place := known.get(_digest(values))) is None:
            continue
        found[initializer.name] = StoredTensor(place[0], values.shape, place[1])
        initializer.ClearField("raw_data")
        initializer.data_location = onnx.TensorProto.EXTERNAL
        entry = initializer.external_data.add()
        entry.key, entry.value = "location", "weights"  # never read: they are given
    return found


def _digest(values: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _differences(network: SedNetwork | Tagger, form: OnnxForm) -> tuple[float, float]:
    """Largest difference of any score, of windows and of a recording of several."""
    windows = measure_parity(network, form).largest
    rng, seconds = np.random.default_rng(0), 47
    loudness = np.repeat(np.geomspace(1e-4, 0.5, seconds), SAMPLE_RATE)
    audio = (rng.normal(size=len(loudness)) * loudness).astype(np.float32)[:-333]
    theirs, ours = (sliding_scores([audio], scorer, batch_size=2) for scorer in (network, form))
    return windows, float(np.abs(np.asarray(theirs, np.float64) - ours).max())
