"""The checks of encoders pass what keeps its promises and name the promise that is broken."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earmark import testing
from earmark.model.encoders.yamnet import Yamnet
from earmark.testing import EncoderError, check_encoder

HOP = 800


class Toy(nn.Module):
    """Levels of 5 ms, ten to a token of 50 ms; each token sees its neighbours."""

    width = 12
    token_hop = Fraction(HOP, 16_000)
    first_centre = token_hop / 2
    max_seconds: float | None = 2.0
    licence = "CC0-1.0"

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inside = nn.Linear(10, 8)
        self.around = nn.Conv1d(8, 12, 3, padding=1)
        self.register_buffer("level", torch.tensor(3.0))

    def features(self, waveform: Tensor) -> Tensor:
        padded = F.pad(waveform, (0, -waveform.shape[1] % HOP))
        levels = padded.reshape(waveform.shape[0], -1, 10, HOP // 10).square().mean(dim=3)
        return torch.log(levels + 1e-6)

    def tokens_of(self, features: Tensor) -> int:
        return features.shape[1]

    def forward(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        x = self.inside(features + self.level)
        if valid is not None:
            x = x * valid.unsqueeze(2)
        return self.around(x.transpose(1, 2)).transpose(1, 2)

    def layers(self) -> list[list[str]]:
        return [["around.weight", "around.bias"], ["inside.weight", "inside.bias"]]


class IgnoresPadding(Toy):
    def forward(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        return super().forward(features)


class ScalesByTheBatch(Toy):
    def features(self, waveform: Tensor) -> Tensor:
        return super().features(waveform / waveform.abs().max())


class NormsOverTheBatch(Toy):
    def forward(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        return super().forward(features - features.mean(dim=0), valid)


class Late(Toy):
    first_centre = Fraction(1, 10)


class Delayed(Toy):
    """Each token is the one of two before."""

    def forward(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        tokens = super().forward(features, valid)
        return F.pad(tokens, (0, 0, 2, 0))[:, : tokens.shape[1]]


class Local(Toy):
    max_seconds = None
    reach = Fraction(3 * HOP, 2 * 16_000)


class LooksFurther(Local):
    reach = Fraction(HOP, 4 * 16_000)


class FloatReach(Local):
    reach = 0.075  # type: ignore[assignment]


class Miscounts(Toy):
    def tokens_of(self, features: Tensor) -> int:
        return features.shape[1] + 1


class TooFew(Toy):
    def forward(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        return super().forward(features, valid)[:, ::2]


class Deaf(Toy):
    def features(self, waveform: Tensor) -> Tensor:
        return 0.0 * super().features(waveform)


class TooWide(Toy):
    width = 13


class FloatHop(Toy):
    token_hop = 0.05  # type: ignore[assignment]


class Unlicensed(Toy):
    licence = ""


class LayerMissing(Toy):
    def layers(self) -> list[list[str]]:
        return super().layers()[1:]


class LayerTwice(Toy):
    def layers(self) -> list[list[str]]:
        return [*super().layers(), ["inside.bias"]]


class LayerUnknown(Toy):
    def layers(self) -> list[list[str]]:
        return [*super().layers(), ["outside.bias"]]


class StateIncomplete(Toy):
    """A weight is in no state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.inside.register_state_dict_post_hook(
            lambda module, state, prefix, _: state.pop(f"{prefix}weight", None)
        )

    def load_state_dict(self, state_dict: Any, *_: Any, **__: Any) -> Any:
        return super().load_state_dict(state_dict, strict=False)


class NotExportable(Toy):
    def forward(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        if features.abs().max() > 1e6:  # what to do depends on values: no graph can hold that
            raise ValueError("too loud")
        return super().forward(features, valid)


class ExportsOtherwise(Toy):
    def forward(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        factor = 2.0 if torch.compiler.is_exporting() else 1.0
        return super().forward(features, valid) * factor


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "find_spec", lambda name: None)


def test_an_encoder_that_keeps_its_promises_passes() -> None:
    encoder = Toy().train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    report = check_encoder(encoder, export=False)
    assert [check.promise for check in report.checks if not check.skipped] == [
        "attributes",
        "tokens",
        "independence within the batch",
        "padding invariance",
        "times",
        "reach",
        "layers",
        "state round-trip",
    ]
    assert report.skipped == {"export": "not asked for"}
    assert "12 numbers every 0.05 s from 0.025 s, CC0-1.0" in str(report)
    assert encoder.training  # and nothing else of it was changed
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize("encoder", [Yamnet((6, 12, 14)), Yamnet((2,)), Yamnet(patches=True)])
def test_yamnet_keeps_its_promises(encoder: Yamnet) -> None:
    assert "reach: kept (0.4875 s" in str(check_encoder(encoder, export=False)) or (
        not encoder.patches
    )


def test_how_far_an_encoder_hears_is_measured() -> None:
    assert "reach: kept (0.075 s, largest difference" in str(check_encoder(Local(), export=False))
    assert "reach: kept (not declared" in str(check_encoder(Toy(), export=False))


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (IgnoresPadding, "padding invariance"),
        (ScalesByTheBatch, "independence within the batch"),
        (NormsOverTheBatch, "independence within the batch"),
        (Late, "times"),
        (Delayed, "times"),
        (Deaf, "times"),
        (LooksFurther, "reach"),
        (FloatReach, "reach"),
        (TooFew, "tokens"),
        (TooWide, "tokens"),
        (FloatHop, "attributes"),
        (Unlicensed, "attributes"),
        (LayerMissing, "layers"),
        (LayerTwice, "layers"),
        (LayerUnknown, "layers"),
        (StateIncomplete, "state round-trip"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_broken_promise_is_named(broken: Callable[[], Any], promise: str) -> None:
    encoder = broken().train()
    with pytest.raises(EncoderError, match=f"breaks a promise, {promise}: ") as caught:
        check_encoder(encoder, export=False)
    assert "\n" not in str(caught.value)
    assert encoder.training


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(EncoderError, match=r"no torch\.nn\.Module"):
        check_encoder(object())  # type: ignore[arg-type]


@pytest.mark.usefixtures("without_packages")
def test_export_is_skipped_with_a_reason_without_its_packages() -> None:
    report = check_encoder(Toy())
    assert report.skipped == {
        "export": "onnx, onnxscript, onnxruntime not installed: pip install 'earmark[export]'"
    }


needs_export = pytest.mark.skipif(
    any(importlib.util.find_spec(n) is None for n in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs the extra export",
)


@needs_export
def test_export_is_checked() -> None:
    report = check_encoder(Toy())
    assert report.skipped == {}
    assert report.checks[-1].promise == "export"


@needs_export
@pytest.mark.parametrize(
    ("broken", "found"),
    [(NotExportable, "does not translate"), (ExportsOtherwise, "tokens differ")],
)
def test_an_export_that_fails_is_named(broken: Callable[[], Any], found: str) -> None:
    with pytest.raises(EncoderError, match=f"promise, export: .*{found}"):
        check_encoder(broken())


@needs_export
def test_yamnet_exports() -> None:
    """With an odd number of tokens: phases of unequal length, masked in the file, too."""
    encoder = Yamnet((4, 14))
    encoder.max_seconds = 0.9
    assert check_encoder(encoder).skipped == {}
