"""A bundle's network on ONNX Runtime, with the weights that the bundle has: no PyTorch.

Beside the files of a bundle may lie its ONNX form, which `earmark.deliver.onnx.form` makes:
``windows.onnx`` (windows to scores) and, for an encoder that hears only so far, ``encode.onnx``
(a stretch of a recording to tokens) and ``frames.onnx`` (windows and their frames' vectors to
scores). They are graphs; most weights are read from the bundle's own file. ``onnx.json`` says
which, and of what content the form was made: it is never used with any other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from earmark.core.errors import BundleError
from earmark.core.files.bounds import parse_json, read_bytes
from earmark.core.spec import ModelSpec
from earmark.model.bundle_files import (
    ONNX_FORM,
    ONNX_GRAPHS,
    bundle_settings,
    bundle_spec,
    weights_file,
)
from earmark.model.encoders.alignment import overlap_weights
from earmark.model.encoders.stretches import Stretches
from earmark.model.folder import folder_fingerprint, read_tensors, refuse_non_finite
from earmark.model.onnx_network import (
    STRONG,
    WAVEFORM,
    OnnxCaller,
    OnnxGraph,
    OnnxOutput,
    run_windows,
)

Floats = NDArray[np.float32]
FORM = 1
LENGTH, TOKENS, ENCODED = "length", "tokens", "encoded"


@dataclass(frozen=True)
class TokenTimes:
    """How a stretch of a recording becomes tokens, and tokens become frames; in samples.

    Attributes:
        place: ``overlap`` gives a frame the mean of the tokens over it, ``nearest`` the token
            nearest to its middle.
        hop: From token to token.
        centre: Of the first token, as a fraction.
        reach: What a token depends on lies within so many samples of its centre, as a fraction.
        least: Samples of the first token; the graph takes these and whole hops.
        masked: Whether the graph is told how many tokens are no padding.
    """

    place: Literal["overlap", "nearest"]
    hop: int
    centre: str
    reach: str
    least: int
    masked: bool

    def stretches(self, frame_hop: int) -> Stretches:
        """Which audio the frames need."""
        return Stretches(frame_hop, self.hop, Fraction(self.centre), Fraction(self.reach))

    def tokens_of(self, samples: int) -> int:
        """Tokens of a stretch."""
        return 1 + max(0, -((self.least - samples) // self.hop))

    def padded(self, samples: Floats) -> Floats:
        """A stretch [S] with zeros at its end, [1, S'] as the graph takes it."""
        whole = self.least + (self.tokens_of(len(samples)) - 1) * self.hop
        return np.pad(samples, (0, whole - len(samples)))[None]


@dataclass(frozen=True)
class StoredTensor:
    """A weight of a graph that stands in the bundle's file of weights.

    Attributes:
        name: There.
        shape: In the graph; the type is float32.
        transposed: Whether rows and columns are exchanged.
    """

    name: str
    shape: tuple[int, ...]
    transposed: bool

    def read(self, tensors: Mapping[str, NDArray[Any]]) -> Floats:
        """The weight as the graph has it."""
        values = tensors[self.name].astype(np.float32)
        return np.ascontiguousarray(values.T if self.transposed else values).reshape(self.shape)


@dataclass(frozen=True)
class FormRecord:
    """What ``onnx.json`` says.

    Attributes:
        content: Digest of the bundle's weights, settings and labels, see `content_of`.
        graphs: File name → its digest.
        stored: File name → weight → where it stands.
        times: Of the encoder's tokens; None where every window is scored by itself.
    """

    content: str
    graphs: Mapping[str, str]
    stored: Mapping[str, Mapping[str, StoredTensor]]
    times: TokenTimes | None

    def to_text(self) -> str:
        """As it is written."""
        stored = {
            file: {name: [one.name, one.shape, one.transposed] for name, one in own.items()}
            for file, own in self.stored.items()
        }
        record = {
            "format": FORM,
            "content": self.content,
            "graphs": dict(self.graphs),
            "stored": stored,
            "times": None if self.times is None else vars(self.times),
        }
        return json.dumps(record, indent=1) + "\n"

    @classmethod
    def read(cls, path: Path) -> FormRecord:
        """Reads the file.

        Raises:
            BundleError: It is not of this format.
        """
        try:
            record = parse_json(read_bytes(path, BundleError).decode())
            if record["format"] != FORM:
                raise ValueError(f"format {record['format']!r}")
            stored = {
                file: {
                    name: StoredTensor(one, tuple(shape), transposed)
                    for name, (one, shape, transposed) in own.items()
                }
                for file, own in record["stored"].items()
            }
            if not (record["graphs"].keys() | stored.keys()) <= set(ONNX_GRAPHS.values()):
                raise ValueError("graphs of other names")
            times = None if record["times"] is None else TokenTimes(**record["times"])
            return cls(record["content"], record["graphs"], stored, times)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(f"is no record of an ONNX form ({error!r})", where=path) from None


def content_of(folder: Path) -> str:
    """Digest of what a bundle's network is made of: weights, settings, classes.

    Post-processing is no part of it: it may be tuned without making the form again.

    Raises:
        BundleError: The bundle shares the weights of an encoder, and they are not there.
    """
    weights = weights_file(folder, bundle_settings(folder))
    own = folder_fingerprint(folder, ("config.yaml", "labels.txt"))
    theirs = folder_fingerprint(weights.parent, [weights.name])
    return hashlib.sha256(f"{own} {theirs}".encode()).hexdigest()[:16]


def form_fault(folder: Path) -> str | None:
    """Why a bundle cannot be run by its ONNX form; None where it can."""
    if not (folder / ONNX_FORM).is_file():
        return "has no ONNX form"
    try:
        record = FormRecord.read(folder / ONNX_FORM)
    except BundleError:
        return "has an ONNX form that this version does not read"
    if record.content != content_of(folder):
        return "has an ONNX form made of other weights, settings or classes"
    for name, digest in record.graphs.items():
        if not (folder / name).is_file() or folder_fingerprint(folder, [name]) != digest:
            return f"has an ONNX form whose {name} is missing or another one's"
    return None


class OnnxForm:
    """Scores windows of audio with a bundle's ONNX form; several threads may call it at once.

    Args:
        folder: The bundle; `form_fault` finds no fault with it.
        threads: Of a call; every core this process may use when None.
        device: As `earmark.model.onnx_network.OnnxNetwork` takes it.

    Raises:
        BundleError: The weights cannot be read.
        ConfigError: There is no such device.
    """

    def __init__(self, folder: Path, *, threads: int | None = None, device: str = "auto") -> None:
        record, settings = FormRecord.read(folder / ONNX_FORM), bundle_settings(folder)
        self.spec: ModelSpec = bundle_spec(folder, settings)
        self.times = record.times
        self._caller = OnnxCaller(threads, device)
        self._batch_size = self._caller.batch_size()
        weights = weights_file(folder, settings)
        tensors = read_tensors(weights, "numpy")
        refuse_non_finite(tensors, weights)
        read: dict[StoredTensor, Floats] = {}  # the graphs share what they have in common
        self._graphs: dict[str, OnnxGraph] = {}
        for name, file in ONNX_GRAPHS.items():
            if file in record.graphs:
                stored = record.stored[file]
                read |= {one: one.read(tensors) for one in stored.values() if one not in read}
                own = {key: read[one] for key, one in stored.items()}
                self._graphs[name] = OnnxGraph(folder / file, self._caller, own)

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
        return run_windows(self._graphs["windows"], self.spec, waveforms, samples)

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

    def one_thread_each(self) -> AbstractContextManager[Callable[[], object]]:
        """Calls from several threads, each on one core; for threads that call what this gives."""
        return self._caller.one_thread_each()

    def batch_size(self) -> int:
        """Windows per call."""
        return self._batch_size

    def one_pass(self) -> OnnxPass | None:
        """The network in two steps, where its encoder hears only so far."""
        return None if self.times is None else OnnxPass(self.times, self.spec, self._graphs)


class OnnxPass:
    """A bundle's ONNX form whose encoder runs once over a recording: a `PassScorer`.

    Args:
        times: Of the encoder's tokens.
        spec: Of the network.
        graphs: By name; without ``frames`` the vectors are the scores.
    """

    def __init__(self, times: TokenTimes, spec: ModelSpec, graphs: Mapping[str, OnnxGraph]) -> None:
        self._times, self._hop = times, spec.frame_hop
        self._stretches = times.stretches(spec.frame_hop)
        self._encode, self._frames = graphs["encode"], graphs.get("frames")
        self.context, self.samples = self._stretches.context, self._stretches.samples

    def encode(self, samples: Floats, first: int, frames: range) -> Floats:
        """Samples [S] from sample ``first`` of the recording on → vectors of frames [F, D]."""
        times, stretches = self._times, self._stretches
        from scipy.sparse import csr_array

        count = times.tokens_of(len(samples))
        inputs: dict[str, NDArray[Any]] = {WAVEFORM: times.padded(samples)}
        if times.masked:
            inputs[LENGTH] = np.array(count)
        tokens: Floats = self._encode.run([TOKENS], inputs)[0][0, :count]  # [N, D]
        if times.place == "nearest":
            places = [stretches.nearest(frame) - first // times.hop for frame in frames]
            nearest: Floats = tokens[np.clip(places, 0, count - 1)]
            return nearest
        own, offset = stretches.over(frames, first, count)
        weights = overlap_weights(len(frames), len(own), times.hop, self._hop, offset)
        vectors: Floats = csr_array(weights) @ tokens[own.start : own.stop]
        return vectors

    def score_frames(self, waveforms: Floats, encoded: Floats) -> Floats:
        """Windows [B, S] and their frames' vectors [B, T, D] → strong scores [B, T, C]."""
        if self._frames is None:
            return encoded
        inputs = {WAVEFORM: waveforms, ENCODED: encoded}
        strong: Floats = self._frames.run([STRONG], inputs)[0]
        return strong
