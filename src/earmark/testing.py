"""Checks for what others add to Earmark: does an encoder keep what `FrameEncoder` promises?

    from earmark.testing import check_encoder

    def test_my_encoder():
        check_encoder(MyEncoder())

The checks need no weights of worth and no recordings: random ones show as much.
"""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from earmark.core.errors import EarmarkError
from earmark.core.timeline import SAMPLE_RATE, seconds_to_samples
from earmark.model.encoders.contract import FrameEncoder, LocalEncoder, token_centre

TOLERANCE = 1e-4
"""Largest difference that counts as none, relative to the largest number in a token."""
EXPORT_TOLERANCE = 1e-3
LONGEST = 6.0
"""Seconds of the checks' clips, where the encoder takes as many."""
CLICKS = (Fraction(3, 10), Fraction(1, 2), Fraction(7, 10))
"""Where in a clip clicks come."""
CLICK_SECONDS = 0.01


class EncoderError(EarmarkError):
    """An encoder does not keep a promise of `FrameEncoder`."""


@dataclass(frozen=True)
class Check:
    """One promise that was looked into.

    Attributes:
        promise: Its name.
        found: What was measured, in words.
        skipped: It could not be checked; `found` says why.
    """

    promise: str
    found: str
    skipped: bool = False


@dataclass(frozen=True)
class EncoderReport:
    """What `check_encoder` found: nothing that is wrong."""

    checks: tuple[Check, ...]

    def __str__(self) -> str:
        """One line for each check."""
        marks = {True: "skipped", False: "kept"}
        return "\n".join(f"{c.promise}: {marks[c.skipped]} ({c.found})" for c in self.checks)

    @property
    def skipped(self) -> dict[str, str]:
        """Promises that could not be checked, and why."""
        return {check.promise: check.found for check in self.checks if check.skipped}


def check_encoder(
    encoder: FrameEncoder, *, seed: int = 0, tolerance: float = TOLERANCE, export: bool = True
) -> EncoderReport:
    """Check all that an encoder promises.

    It is checked in evaluation mode, on the device it is on, and left as it was.

    Args:
        encoder: A `torch.nn.Module` that implements `FrameEncoder`.
        seed: Of the noise that it is given.
        tolerance: Largest difference that counts as none, relative to the largest number.
        export: Translate it to ONNX, too, which takes some seconds to a minute; without the
            packages for that the report says so.

    Returns:
        What was measured.

    Raises:
        EncoderError: A promise is not kept; it is named.
    """
    if not isinstance(encoder, nn.Module):
        raise EncoderError(
            f"a {type(encoder).__name__} is no torch.nn.Module",
            hint="Derive the encoder from torch.nn.Module",
        )
    trial = _Trial(encoder, seed, tolerance)
    promises: dict[str, Callable[[], str]] = {
        "attributes": trial.attributes,
        "tokens": trial.tokens_of_a_clip,
        "independence within the batch": trial.independence,
        "padding invariance": trial.padding,
        "times": trial.times,
        "reach": trial.reach,
        "layers": trial.layers,
        "state round-trip": trial.round_trip,
    }
    module, training = cast(nn.Module, encoder), encoder.training
    module.eval()
    try:
        with torch.no_grad():
            checks = [Check(promise, keep()) for promise, keep in promises.items()]
            checks.append(_export(trial) if export else Check("export", "not asked for", True))
    finally:
        module.train(training)
    return EncoderReport(tuple(checks))


class _Trial:
    """An encoder with the clips it is tried on; each method checks a promise."""

    def __init__(self, encoder: FrameEncoder, seed: int, tolerance: float) -> None:
        self.encoder, self.tolerance = encoder, tolerance
        self.generator = torch.Generator().manual_seed(seed)
        tensors = [*cast(nn.Module, encoder).parameters(), *cast(nn.Module, encoder).buffers()]
        self.device = tensors[0].device if tensors else torch.device("cpu")

    @property
    def samples(self) -> int:
        """Of the longest clips."""
        longest = self.encoder.max_seconds
        return seconds_to_samples(LONGEST if longest is None else min(LONGEST, longest))

    def noise(self, clips: int, samples: int) -> Tensor:
        """[clips, samples] of noise that comes and goes."""
        noise = 0.1 * torch.randn(clips, samples, generator=self.generator)
        swell = torch.rand(clips, 1 + samples // 4000, generator=self.generator)
        return (noise * swell.repeat_interleave(4000, dim=1)[:, :samples]).to(self.device)

    def run(self, waveforms: Tensor, valid: Tensor | None = None) -> Tensor:
        """[B, S] → tokens [B, N, D]."""
        return self.encoder(self.encoder.features(waveforms), valid)

    def same(self, ours: Tensor, theirs: Tensor) -> tuple[bool, float]:
        """Whether tokens are equal, and the largest difference relative to the largest number."""
        if ours.shape != theirs.shape:
            return False, float("inf")
        difference = (ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12)
        return bool(difference <= self.tolerance), float(difference)

    def attributes(self) -> str:
        """What the detector reads before it runs anything."""
        encoder = self.encoder
        values = ("width", "token_hop", "first_centre", "max_seconds", "licence")
        methods = ("features", "tokens_of", "forward", "layers")
        if missing := [name for name in (*values, *methods) if not hasattr(encoder, name)]:
            raise _broken("attributes", f"it has no {', '.join(missing)}")
        for name in ("token_hop", "first_centre"):
            if not isinstance(getattr(encoder, name), Fraction):
                kind = type(getattr(encoder, name)).__name__
                raise _broken("attributes", f"{name} is a {kind}, not a fractions.Fraction")
        faults = {
            "width": not isinstance(encoder.width, int) or encoder.width < 1,
            "token_hop": encoder.token_hop <= 0,
            "max_seconds": encoder.max_seconds is not None and not encoder.max_seconds > 0,
            "licence": not isinstance(encoder.licence, str) or not encoder.licence,
        }
        for name, wrong in faults.items():
            if wrong:
                raise _broken("attributes", f"{name} is {getattr(encoder, name)!r}")
        hop, first = float(encoder.token_hop), float(encoder.first_centre)
        return f"{encoder.width} numbers every {hop:g} s from {first:g} s, {encoder.licence}"

    def tokens_of_a_clip(self) -> str:
        """Shape and number: tokens from the first centre to the clip's end, and no others."""
        encoder, seconds = self.encoder, Fraction(self.samples, SAMPLE_RATE)
        features = encoder.features(self.noise(2, self.samples))
        if len(features) != 2:
            raise _broken("tokens", f"features of 2 clips have shape {tuple(features.shape)}")
        tokens = encoder(features)
        if tokens.dim() != 3 or len(tokens) != 2 or tokens.shape[2] != encoder.width:
            shape = f"[2, N, {encoder.width}]"
            raise _broken("tokens", f"they have shape {tuple(tokens.shape)} instead of {shape}")
        if not bool(tokens.isfinite().all()):
            raise _broken("tokens", "some are not finite")
        count = tokens.shape[1]
        if encoder.tokens_of(features) != count:
            said = encoder.tokens_of(features)
            raise _broken("tokens", f"tokens_of says {said}, forward makes {count}")
        last = token_centre(encoder, count - 1)
        if not seconds - 2 * encoder.token_hop <= last <= seconds + encoder.token_hop:
            raise _broken(
                "tokens",
                f"{count} of {float(encoder.token_hop):g} s, the last centred at "
                f"{float(last):g} s, do not fill a clip of {float(seconds):g} s",
            )
        return f"{count} in {float(seconds):g} s"

    def padding(self) -> str:
        """A clip has the same tokens alone and zero-padded beside a longer one."""
        samples = self.samples
        lengths = (samples, int(0.63 * samples) + 1, int(0.3 * samples))
        waveforms = self.noise(3, samples)
        for clip, length in zip(waveforms, lengths, strict=True):
            clip[length:] = 0.0
        alone = [
            self.run(waveforms[clip : clip + 1, :length])[0] for clip, length in enumerate(lengths)
        ]
        counts = torch.tensor([len(tokens) for tokens in alone], device=self.device)
        valid = torch.arange(len(alone[0]), device=self.device) < counts[:, None]
        together = self.run(waveforms, valid)
        worst = 0.0
        for tokens, padded, length in zip(alone, together, lengths, strict=True):
            equal, difference = self.same(padded[: len(tokens)], tokens)
            if not equal:
                raise _broken(
                    "padding invariance",
                    f"tokens of a clip of {length / SAMPLE_RATE:g} s differ by {difference:.2g} of "
                    f"their largest number once it is padded to {samples / SAMPLE_RATE:g} s",
                )
            worst = max(worst, difference)
        return f"largest difference {worst:.1g}"

    def independence(self) -> str:
        """A clip has the same tokens whatever is beside it: here one quiet and one loud clip."""
        waveforms = self.noise(3, self.samples) * torch.tensor([[1.0], [9.0], [0.01]]).to(
            self.device
        )
        together, worst = self.run(waveforms), 0.0
        for clip in range(3):
            equal, difference = self.same(together[clip], self.run(waveforms[clip : clip + 1])[0])
            if not equal:
                raise _broken(
                    "independence within the batch",
                    f"tokens of a clip differ by {difference:.2g} of their largest number beside "
                    "others",
                )
            worst = max(worst, difference)
        return f"largest difference {worst:.1g}"

    def times(self) -> str:
        """A click is in the token at its time, within one.

        That is the middle of all tokens that it changes where these have an end on both sides, as
        those of convolutions do, or else the token that it changes most.
        """
        samples, hop = self.samples, self.encoder.token_hop
        silence, length = 1e-4 * self.noise(1, samples), seconds_to_samples(CLICK_SECONDS)
        quiet, worst = self.run(silence)[0], Fraction(0)
        for place in CLICKS:
            start = int(place * samples)
            waveform = silence.clone()
            waveform[:, start : start + length] += 0.5 * self.noise(1, length).sign()
            seconds = Fraction(2 * start + length, 2 * SAMPLE_RATE)
            change = (self.run(waveform)[0] - quiet).norm(dim=1)
            if not bool(change.max() > 0):
                raise _broken("times", f"a click at {float(seconds):.3f} s changes nothing")
            wanted = (seconds - self.encoder.first_centre) / hop  # in tokens, with a fraction
            found = min(_places(change), key=lambda token: abs(token - wanted))
            if abs(found - wanted) > 1:
                raise _broken(
                    "times",
                    f"a click at {float(seconds):.3f} s arrives at "
                    f"{float(self.encoder.first_centre + found * hop):.3f} s, by token_hop and "
                    "first_centre",
                )
            worst = max(worst, abs(found - wanted) * hop)
        return f"clicks arrive within {float(worst):.3f} s"

    def reach(self) -> str:
        """A stretch has the recording's tokens, but for those that hear beyond it."""
        encoder = self.encoder
        if not isinstance(encoder, LocalEncoder):
            return "not declared: every window is encoded by itself"
        if not isinstance(encoder.reach, Fraction) or encoder.reach <= 0:
            raise _broken("reach", f"it is {encoder.reach!r}, not a positive fractions.Fraction")
        hop = encoder.token_hop * SAMPLE_RATE
        if encoder.max_seconds is not None or hop.denominator != 1:
            return "of no use where max_seconds is set, or token_hop is no whole samples"
        around = int(encoder.reach * SAMPLE_RATE) + 1
        samples = max(self.samples, 4 * around + 8 * int(hop))
        first, end = samples // 4 // int(hop), 3 * samples // 4
        waveforms = self.noise(1, samples)
        whole, part = self.run(waveforms)[0], self.run(waveforms[:, first * int(hop) : end])[0]
        centres = [token_centre(encoder, first + k) * SAMPLE_RATE for k in range(len(part))]
        held = [first * hop <= centre - around and centre + around <= end for centre in centres]
        inside = torch.tensor(held, device=part.device)
        equal, difference = self.same(part[inside], whole[first : first + len(part)][inside])
        if not equal:
            raise _broken(
                "reach",
                f"tokens farther than {float(encoder.reach):g} s from a stretch's ends differ by "
                f"{difference:.2g} of their largest number from the recording's",
            )
        return f"{float(encoder.reach):g} s, largest difference {difference:.1g}"

    def layers(self) -> str:
        """Every parameter once."""
        groups = self.encoder.layers()
        named = Counter(name for group in groups for name in group)
        own = [name for name, _ in self.encoder.named_parameters()]
        faults = {
            "missing": [name for name in own if name not in named],
            "no parameters": [name for name in named if name not in own],
            "more than once": [name for name, times in named.items() if times > 1],
            "empty groups": [f"number {n}" for n, group in enumerate(groups) if not group],
        }
        if any(faults.values()):
            found = "; ".join(f"{what}: {_some(names)}" for what, names in faults.items() if names)
            raise _broken("layers", found)
        return f"{len(own)} parameters in {len(groups)} groups"

    def round_trip(self) -> str:
        """Weights that were written and read again give the same tokens in another copy."""
        waveforms = self.noise(1, self.samples)
        expected = self.run(waveforms)
        try:
            other = copy.deepcopy(self.encoder)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "state.safetensors"
                state = self.encoder.state_dict()
                save_file({name: value.contiguous() for name, value in state.items()}, path)
                for value in (*cast(nn.Module, other).parameters(), *other.state_dict().values()):
                    value.fill_(1)
                other.load_state_dict(load_file(path))
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise _broken("state round-trip", " ".join(str(error).split())[:200]) from None
        equal, difference = self.same(other(other.features(waveforms)), expected)
        if not equal:
            raise _broken("state round-trip", f"tokens differ by {difference:.2g} afterwards")
        return f"{len(state)} tensors"


class _Exportable(nn.Module):
    """Waveforms and valid tokens in, tokens out."""

    def __init__(self, encoder: FrameEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, waveform: Tensor, valid: Tensor) -> Tensor:
        """[B, S] and [B, N] → [B, N, D]."""
        return self.encoder(self.encoder.features(waveform), valid)


def _export(trial: _Trial) -> Check:
    """Translated to ONNX it gives the same tokens, also those of a padded clip."""
    packages = ("onnx", "onnxscript", "onnxruntime")
    if missing := [name for name in packages if find_spec(name) is None]:
        reason = f"{', '.join(missing)} not installed: pip install 'earmark[export]'"
        return Check("export", reason, skipped=True)
    import onnxruntime

    samples = trial.samples
    waveforms = trial.noise(2, samples).cpu()
    waveforms[1, samples // 2 :] = 0.0
    wrapped = _Exportable(copy.deepcopy(trial.encoder)).cpu().eval()
    encoder = wrapped.encoder
    count = encoder(encoder.features(waveforms[1:, : samples // 2])).shape[1]
    tokens = encoder(encoder.features(waveforms)).shape[1]
    valid = torch.arange(tokens) < torch.tensor([[tokens], [count]])
    expected = wrapped(waveforms, valid)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "encoder.onnx")
        try:
            with _quiet():
                batch = torch.export.Dim("batch", min=1)
                program = torch.onnx.export(
                    wrapped,
                    (waveforms, valid),
                    dynamo=True,
                    dynamic_shapes=({0: batch}, {0: batch}),
                    verbose=False,
                )
            if program is None:
                raise RuntimeError("PyTorch's exporter gave no program")
            program.save(path)
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        # The exporter and the runtime raise errors of many kinds; all mean the same here.
        except Exception as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise _broken("export", f"it does not translate to ONNX ({reason})") from None
        # Three clips, where two were exported: a batch of any size must do.
        rows = [0, 1, 1]
        given = {"waveform": waveforms[rows].numpy(), "valid": valid[rows].numpy()}
        feeds = {i.name: given[i.name] for i in session.get_inputs() if i.name in given}
        try:
            found = torch.from_numpy(session.run(None, feeds)[0])
        except Exception as error:  # of the runtime, which has kinds of its own
            raise _broken(
                "export",
                "it takes batches of one size alone: write waveform.shape[0], not len(waveform) "
                f"({' '.join(str(error).split())[:120]})",
            ) from None
    difference = (found - expected[rows]) * valid[rows][:, :, None]
    difference = float(difference.abs().max() / expected.abs().max())
    if not difference <= EXPORT_TOLERANCE:
        raise _broken("export", f"ONNX's tokens differ by {difference:.2g} of their largest number")
    return Check("export", f"largest difference {difference:.1g}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of packages it does not need and of its own deprecations."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _places(change: Tensor) -> list[Fraction]:
    """Tokens that a click may be in, by how much it changes each [N]."""
    changed = (change > 1e-6 * change.max()).nonzero().squeeze(1).tolist()
    places = [Fraction(int(change.argmax()))]
    if changed[0] > 0 and changed[-1] < len(change) - 1:
        places.append(Fraction(changed[0] + changed[-1], 2))
    return places


def _broken(promise: str, found: str) -> EncoderError:
    return EncoderError(
        f"the encoder breaks a promise, {promise}: {found}",
        hint="FrameEncoder in earmark.model.encoders.contract says what it must keep",
    )


def _some(names: list[str]) -> str:
    more = len(names) - 4
    return ", ".join(names[:4]) + (f" and {more} more" if more > 0 else "")
