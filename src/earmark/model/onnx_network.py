"""An exported network on ONNX Runtime: the same scores without PyTorch.

The file carries all that a bundle says beside its weights, as metadata: labels, times,
post-processing. Written by `earmark.deliver.onnx.export`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from earmark.core.errors import AudioError, BundleError, ConfigError
from earmark.core.parallel import available_cores
from earmark.core.spec import ModelSpec

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

FORMAT = 2
_WITH_SAMPLES = 1  # a format whose files take padded windows and a second input, the lengths
CPU_BATCH, GPU_BATCH = 4, 32
SUFFIX = ".onnx"
METADATA = "earmark"
"""The key of the metadata, one JSON object."""
WAVEFORM, SAMPLES, STRONG, WEAK = "waveform", "samples", "strong", "weak"


class OnnxOutput(NamedTuple):
    """Probabilities of a batch: ``strong`` [B, T, C], ``weak`` [B, C]."""

    strong: NDArray[np.float32]
    weak: NDArray[np.float32]


def metadata(
    spec: ModelSpec, postprocess: Mapping[str, Any], source: str, precision: str
) -> dict[str, str]:
    """What an exported file says about itself, under the key by which it is found again.

    What other programs need stands beside it, too: class names as a JSON list, seconds and rate.
    """
    content = {
        "format": FORMAT,
        "labels": list(spec.labels),
        **({"ids": list(spec.ids)} if spec.ids else {}),
        "sample_rate": spec.sample_rate,
        "window": spec.window,
        "frame_hop": spec.frame_hop,
        "postprocess": dict(postprocess),
        "source": source,
        "precision": precision,
    }
    plain = {
        "labels": json.dumps(spec.labels, ensure_ascii=False),
        "sample_rate": str(spec.sample_rate),
        "window_seconds": repr(spec.window / spec.sample_rate),
        "hop_seconds": repr(spec.frame_hop / spec.sample_rate),
    }
    return {METADATA: json.dumps(content, ensure_ascii=False, sort_keys=True), **plain}


class OnnxCaller:
    """On what, and on how many cores, calls of ONNX Runtime run.

    Args:
        threads: Of a call; every core this process may use when None.
        device: As `OnnxNetwork` takes it.
    """

    def __init__(self, threads: int | None = None, device: str = "auto") -> None:
        self.device = device
        self._threads = threads or available_cores()
        self._own = threading.local()

    @property
    def threads(self) -> int:
        """Cores of a call from this thread."""
        return int(getattr(self._own, "threads", self._threads))

    @property
    def providers(self) -> list[Any]:
        """ONNX Runtime's names for the device."""
        return _providers(_onnxruntime().get_available_providers(), self.device)

    def batch_size(self) -> int:
        """Windows per call: on a CPU a few, which keeps every core's cache busy."""
        return CPU_BATCH if self.providers == ["CPUExecutionProvider"] else GPU_BATCH

    @contextmanager
    def one_thread_each(self) -> Iterator[Callable[[], object]]:
        """Calls from several threads, each on one core; for threads that call what this gives."""

        def begin() -> None:
            self._own.threads = 1

        yield begin


class OnnxGraph:
    """A file that ONNX Runtime runs, loaded once for every number of cores that is asked for.

    Args:
        path: The file.
        caller: How it is run.
        tensors: Weights that are not in the file, by name.
    """

    def __init__(
        self, path: Path, caller: OnnxCaller, tensors: Mapping[str, NDArray[np.float32]] = {}
    ) -> None:
        self.path, self.caller, self._tensors = path, caller, tensors
        self._sessions: dict[int, InferenceSession] = {}
        self._lock = threading.Lock()

    def session(self, threads: int) -> InferenceSession:
        """The file loaded to use so many cores for a call."""
        with self._lock:
            if threads not in self._sessions:
                self._sessions[threads] = _load(self.path, threads, self.caller, self._tensors)
            return self._sessions[threads]

    def run(self, outputs: list[str], inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs of a call."""
        found: list[NDArray[Any]] = self.session(self.caller.threads).run(outputs, dict(inputs))
        return found


def run_windows(
    graph: OnnxGraph,
    spec: ModelSpec,
    waveforms: NDArray[np.floating],
    samples: Sequence[int] | None = None,
) -> OnnxOutput:
    """Scores a batch of windows, the clips of each length in a call of their own.

    Args:
        graph: Takes waveforms of one length, at most a window.
        spec: Of the network.
        waveforms: [B, S].
        samples: B lengths before the padding, if not all S.

    Raises:
        AudioError: If the waveforms are longer than a window or no batch.
    """
    batch = checked_batch(waveforms, spec)
    lengths = np.full(len(batch), batch.shape[1]) if samples is None else np.asarray(samples)
    strong = np.empty((len(batch), spec.frames, len(spec.labels)), np.float32)
    weak = np.empty((len(batch), len(spec.labels)), np.float32)
    for length in np.unique(lengths):  # the padding of clips of one length is the same
        own = lengths == length
        clips = np.ascontiguousarray(batch[own, :length])
        strong[own], weak[own] = graph.run([STRONG, WEAK], {WAVEFORM: clips})
    return OnnxOutput(strong, weak)


def checked_batch(waveforms: NDArray[np.floating], spec: ModelSpec) -> NDArray[np.float32]:
    """Waveforms [B, S] of at most a window.

    Raises:
        AudioError: They are longer, or no batch.
    """
    batch = np.ascontiguousarray(waveforms, dtype=np.float32)
    if batch.ndim != 2 or not 1 <= batch.shape[1] <= spec.window:
        raise AudioError(
            f"waveforms of shape {batch.shape} are no batch of windows",
            hint=f"Give [clips, samples], at most {spec.window} samples",
        )
    return batch


class OnnxNetwork:
    """Scores windows of audio with an exported network.

    Args:
        path: The file.
        threads: Of a call; every core this process may use when None.
        device: ``auto`` (CUDA where this ONNX Runtime has it, otherwise the CPU), ``cpu``,
            ``cuda``, ``cuda:1`` …

    Raises:
        BundleError: If the file is missing, no ONNX file, or none of `earmark export`.
        ConfigError: If ONNX Runtime is not installed or has no such device.
    """

    def __init__(
        self, path: str | Path, *, threads: int | None = None, device: str = "auto"
    ) -> None:
        self.path = Path(path)
        self._graph = OnnxGraph(self.path, OnnxCaller(threads, device))
        content = _content(self._graph.session(1), self.path)
        self.spec = ModelSpec(
            labels=tuple(content["labels"]),
            frame_hop=content["frame_hop"],
            window=content["window"],
            sample_rate=content["sample_rate"],
            ids=tuple(content.get("ids", ())),
        )
        self._format: int = content["format"]
        self.postprocess: dict[str, Any] = content["postprocess"]
        self.precision: str = content["precision"]
        self._fingerprint: str | None = None

    def one_thread_each(self) -> AbstractContextManager[Callable[[], object]]:
        """Calls from several threads, each on one core; for threads that call what this gives."""
        return self._graph.caller.one_thread_each()

    def batch_size(self) -> int:
        """Windows per call: on a CPU a few, which keeps every core's cache busy."""
        return self._graph.caller.batch_size()

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over the file."""
        if self._fingerprint is None:
            with self.path.open("rb") as file:
                self._fingerprint = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        return self._fingerprint

    def __call__(
        self, waveforms: NDArray[np.floating], samples: Sequence[int] | None = None
    ) -> OnnxOutput:
        """Scores a batch.

        Args:
            waveforms: [B, S] at the network's rate; what is missing of a window is silence.
            samples: B lengths before the padding, if not all S.

        Raises:
            AudioError: If the waveforms are longer than a window or no batch.
        """
        if self._format != _WITH_SAMPLES:
            return run_windows(self._graph, self.spec, waveforms, samples)
        batch = checked_batch(waveforms, self.spec)
        lengths = np.full(len(batch), batch.shape[1]) if samples is None else np.asarray(samples)
        padded = np.pad(batch, ((0, 0), (0, self.spec.window - batch.shape[1])))
        inputs: dict[str, NDArray[Any]] = {WAVEFORM: padded, SAMPLES: lengths.astype(np.int64)}
        return OnnxOutput(*self._graph.run([STRONG, WEAK], inputs))

    def score_windows(
        self, waveforms: NDArray[np.float32], lengths: Sequence[int]
    ) -> NDArray[np.float32]:
        """Windows [B, window], padded after ``lengths`` samples → strong scores [B, T, C]."""
        return self(waveforms, lengths).strong

    def score_both(
        self, waveforms: NDArray[np.float32], lengths: Sequence[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Windows as above → strong scores [B, T, C] and weak ones [B, C]."""
        output = self(waveforms, lengths)
        return output.strong, output.weak


def _load(
    path: Path, threads: int, caller: OnnxCaller, tensors: Mapping[str, NDArray[np.float32]]
) -> InferenceSession:
    onnxruntime = _onnxruntime()
    if not path.is_file():
        raise BundleError("no such file", where=path, hint="`earmark export` makes one")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # of format 1 it warns that `samples` has a default
    providers = caller.providers
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(tensor) for tensor in tensors.values()]
    if values:
        options.add_external_initializers(list(tensors), values)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    # The runtime has a class of its own for every status, without a common base but Exception.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise BundleError(
            f"ONNX Runtime cannot load it ({reason})", where=path, hint="Export it again"
        ) from None


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise ConfigError(
            "ONNX Runtime is not installed", hint="Install it with: pip install onnxruntime"
        ) from None
    return onnxruntime


def _providers(available: Sequence[str], device: str) -> list[Any]:
    """ONNX Runtime's names for a device; on CUDA in full single precision."""
    kind, _, number = device.partition(":")
    cuda = "CUDAExecutionProvider"
    if kind == "cpu" or (kind == "auto" and cuda not in available):
        return ["CPUExecutionProvider"]
    if kind not in ("auto", "cuda") or cuda not in available or not (number or "0").isdecimal():
        raise ConfigError(
            f"no device {device!r} for exported networks here",
            hint="Choose auto or cpu; for CUDA install onnxruntime-gpu instead of onnxruntime",
        )
    return [(cuda, {"device_id": number or "0", "use_tf32": "0"}), "CPUExecutionProvider"]


def _content(session: InferenceSession, path: Path) -> dict[str, Any]:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA)
    hint = "Make one with: earmark export BUNDLE --out model.onnx"
    if text is None:
        raise BundleError("an ONNX file, but not one of `earmark export`", where=path, hint=hint)
    content: dict[str, Any] = json.loads(text)
    if content.get("format") not in (_WITH_SAMPLES, FORMAT):
        raise BundleError(
            f"has format {content.get('format')!r} of exported networks; this version reads "
            f"{FORMAT}",
            where=path,
            hint=hint,
        )
    return content
