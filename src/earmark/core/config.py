"""Typed, frozen settings: YAML in and out, ``a.b=c`` overrides, unknown keys refused.

Every number that shapes a run stands in one of these classes with its default; a recipe is a
YAML file of them. Defaults are ours where the paper is silent; the recipes say which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    model_validator,
)

from earmark.core.errors import ConfigError
from earmark.core.files.bounds import read_bytes
from earmark.core.files.yaml_bounds import BeyondBoundsError, parse_yaml
from earmark.core.timeline import SAMPLE_RATE

Positive = Annotated[int, Field(gt=0, le=10**9)]
Count = Annotated[int, Field(ge=0, le=10**9)]
Width = Annotated[int, Field(gt=0, le=2**16)]
"""Of a layer: a mistyped number is refused before its memory is asked for."""
Layers = Annotated[int, Field(gt=0, le=256)]
Reach = Annotated[int, Field(gt=0, le=2**10)]
"""Of a kernel, a stride or a pool."""
_BLOCKS = Field(max_length=64)
MOST_NUMBERS = 2**28
"""In one layer's output for one window: a gigabyte, which a window of ten minutes stays below."""
Proportion = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
WindowSeconds = Annotated[float, Field(gt=0, le=3600)]
S = TypeVar("S", bound=BaseModel)


class Settings(BaseModel):
    """Base of all settings: frozen; a misspelt key and a number that is not finite are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FrontendSettings(Settings):
    """A log-mel front-end.

    Attributes:
        scaling: ``minmax`` maps each clip to [0, 1] over frequency and time (DCASE's CRNN);
            ``fixed`` maps [low, high] dB to [-1, 1] without clipping (ATST-Frame).
        top_db: Dynamic range kept below the maximum *of the clip*, or null for no floor.
        db_clamp: Clamp of the decibel values, or null.
        floor: Smallest spectral value before the logarithm.
    """

    n_fft: Annotated[int, Field(ge=16, le=2**15)] = 2048
    hop: Annotated[int, Field(gt=0, le=2**16)] = 256
    window: Literal["hamming", "hann"] = "hamming"
    periodic: bool = False
    power: Literal[1, 2] = 1
    n_mels: Annotated[int, Field(gt=0, le=1024)] = 128
    f_min: NonNegative = 0.0
    f_max: Annotated[float, Field(gt=0, le=SAMPLE_RATE / 2)] = 8000.0
    floor: Annotated[float, Field(gt=0)] = 1e-5
    top_db: Annotated[float, Field(gt=0)] | None = None
    db_clamp: tuple[float, float] | None = (-50.0, 80.0)
    scaling: Literal["minmax", "fixed"] = "minmax"
    low: float = -79.6482
    high: float = 50.6842

    @model_validator(mode="after")
    def _ranges_hold(self) -> FrontendSettings:
        if self.f_min >= self.f_max:
            raise ValueError(f"f_min ({self.f_min:g}) must be below f_max ({self.f_max:g})")
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        if self.db_clamp is not None and self.db_clamp[0] >= self.db_clamp[1]:
            raise ValueError(f"db_clamp: {list(self.db_clamp)} has its ends in the wrong order")
        return self


ATST_FRONTEND = FrontendSettings(
    n_fft=1024,
    hop=160,
    window="hann",
    periodic=True,
    power=2,
    n_mels=64,
    f_min=60.0,
    f_max=7800.0,
    floor=1e-10,
    top_db=80.0,
    db_clamp=(-50.0, 80.0),
    scaling="fixed",
)


_JOINING = frozenset({"norm", "merge", "merge_activation"})


class EncoderSettings(Settings):
    """A pretrained network beside the CNN, whatever kind it is; each kind adds settings of its own.

    Attributes:
        kind: ``atst-frame``, ``yamnet``, or what an installed package registers under the entry
            point `earmark.encoders`.
        mask_padding: Tell the encoder which tokens are padding, so that these influence nothing.
            False lets it hear the silence of padding, as ATST-SED v1 did.
        align: How tokens become frames: ``adaptive`` is v1's adaptive average pooling, which
            stretches 10.0 s over 9.984 s; ``exact`` weighs tokens by their overlap in time.
        norm: What puts a token's numbers on one scale before they are joined: ``layer`` norm of
            each token, ``batch`` norm of each number over many tokens, or none.
        merge: Width of the layer that joins tokens and CNN before the recurrent net.
        merge_activation: ``gelu`` follows that layer with a layer norm and a GELU; ATST-SED has
            nothing there.
    """

    tokens_ignore: ClassVar[frozenset[str]] = _JOINING | {"kind", "align"}
    """Settings that no token depends on."""
    weights_ignore: ClassVar[frozenset[str]] = _JOINING | {"align", "mask_padding"}
    """Settings that pretrained weights leave open, for they say how a network uses them."""

    kind: str
    mask_padding: bool = True
    align: Literal["adaptive", "exact"] = "exact"
    norm: Literal["none", "layer", "batch"] = "none"
    merge: Width = 128
    merge_activation: Literal["none", "gelu"] = "none"


class AtstSettings(EncoderSettings):
    """ATST-Frame, a transformer over log-mels (arXiv 2306.04186).

    Attributes:
        frontend: Its own log-mel; self-supervised weights were made without ``db_clamp``.
        width: Of a token; 768 is base, 384 small (6 heads), 96 tiny (depth 4, 3 heads).
        patch_frames: Mel frames of one token.
        max_tokens: Rows of the position table that are used.
        positions: ``cut`` gives token t row t + 1 and refuses more tokens than rows;
            ``interpolate`` resizes the table to the input's length.
        drop_path: Largest rate of stochastic depth, growing linearly over the blocks.
        checkpointing: Recompute each block in the backward pass: less memory, more time.
    """

    tokens_ignore = EncoderSettings.tokens_ignore | {"drop_path", "checkpointing"}
    weights_ignore = EncoderSettings.weights_ignore | {"drop_path", "checkpointing"}

    kind: Literal["atst-frame"] = "atst-frame"
    frontend: FrontendSettings = ATST_FRONTEND
    width: Width = 768
    depth: Layers = 12
    heads: Layers = 12
    patch_frames: Reach = 4
    max_tokens: Width = 250
    positions: Literal["cut", "interpolate"] = "cut"
    drop_path: Proportion = 0.0
    checkpointing: bool = False

    @model_validator(mode="after")
    def _heads_divide(self) -> AtstSettings:
        if self.width % self.heads:
            raise ValueError("width must be a multiple of heads")
        return self

    @property
    def token_hop(self) -> int:
        """Samples of one token."""
        return self.frontend.hop * self.patch_frames

    @property
    def token_seconds(self) -> float:
        """Duration of one token."""
        return self.token_hop / SAMPLE_RATE


class YamnetSettings(EncoderSettings):
    """YAMNet, a convolutional network that names AudioSet's classes (Plakal and Ellis, Google).

    Attributes:
        taps: Blocks (1 to 14) whose outputs stand side by side in a token.
        patches: Tokens are those of the published patches of 0.96 s, one every 0.48 s, instead of
            one every 80 ms.
    """

    weights_ignore = EncoderSettings.weights_ignore | {"taps", "patches"}

    kind: Literal["yamnet"] = "yamnet"
    taps: Annotated[tuple[Annotated[int, Field(ge=1, le=14)], ...], Field(min_length=1)] = (6, 12)
    patches: bool = False
    norm: Literal["none", "layer", "batch"] = "layer"


ENCODERS = "earmark.encoders"
"""The entry point under which a package registers a kind of encoder: the class of its module, with
its settings, derived from `EncoderSettings`, as the attribute ``Settings``."""
_KINDS: Mapping[str, type[EncoderSettings]] = {
    "atst-frame": AtstSettings,
    "yamnet": YamnetSettings,
}


def encoder_class(kind: str) -> Any:
    """The class that an installed package registers for a kind of encoder.

    Raises:
        ValueError: There is none, or it has no ``Settings``.
    """
    registered = {point.name: point for point in entry_points(group=ENCODERS)}
    if kind not in registered:
        known = ", ".join(sorted({*_KINDS, *registered}))
        raise ValueError(f"no encoder is of the kind {kind!r}; there are {known}")
    found = registered[kind].load()
    if not issubclass(getattr(found, "Settings", type(None)), EncoderSettings):
        raise ValueError(f"{found.__name__} has no Settings derived from EncoderSettings")
    return found


def _of_its_kind(value: Any) -> Any:
    """Settings as the class of their kind; version 0.1 had only one kind and did not name it."""
    if not isinstance(value, Mapping):
        return value
    kind = value.get("kind", "atst-frame")
    chosen = _KINDS.get(kind) or encoder_class(str(kind)).Settings
    return chosen.model_validate(value)


AnyEncoderSettings = Annotated[SerializeAsAny[EncoderSettings], BeforeValidator(_of_its_kind)]


class NetworkSettings(Settings):
    """A convolutional recurrent network over one log-mel front-end, or beside an encoder.

    The lists describe the convolution blocks in order; ``pools`` and ``strides`` are
    (time, frequency).

    Attributes:
        activation: ``gate`` is x·σ(Wx) (ATST-SED), ``glu`` is Wx·σ(Vx)-style gating with one
            linear map (DCASE 2023), ``relu`` the cheap one.
        norm_momentum: Of batch normalisation, in PyTorch's meaning.
        conv_dropout: After every convolution block; ``dropout`` is the one before the heads.
        window_seconds: Length of audio the network sees in one call.
        encoder: A pretrained network, whose tokens join the CNN's frames before the recurrent net;
            null is the light network.
    """

    frontend: FrontendSettings = FrontendSettings()
    channels: Annotated[tuple[Width, ...], _BLOCKS] = (16, 32, 64, 128, 128, 128, 128)
    kernels: Annotated[tuple[Reach, ...], _BLOCKS] = (3,) * 7
    strides: Annotated[tuple[tuple[Reach, Reach], ...], _BLOCKS] = ((1, 1),) * 7
    pools: Annotated[tuple[tuple[Reach, Reach], ...], _BLOCKS] = (
        (2, 2),
        (2, 2),
        *((1, 2),) * 5,
    )
    activation: Literal["gate", "glu", "relu"] = "gate"
    norm_momentum: Proportion = 0.01
    conv_dropout: Proportion = 0.5
    dropout: Proportion = 0.5
    rnn_hidden: Width = 128
    rnn_layers: Layers = 2
    window_seconds: WindowSeconds = 10.0
    encoder: AnyEncoderSettings | None = None

    @model_validator(mode="after")
    def _lists_agree(self) -> NetworkSettings:
        lengths = {len(self.channels), len(self.kernels), len(self.strides), len(self.pools)}
        if len(lengths) != 1:
            raise ValueError("channels, kernels, strides and pools must have the same length")
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError("kernels must be odd")
        return self

    @model_validator(mode="after")
    def _window_fits(self) -> NetworkSettings:
        if self.frame_hop > self.window:
            raise ValueError(
                f"a window of {self.window} samples has no frame of {self.frame_hop} samples"
            )
        frames, bands = self.window // self.frontend.hop + 1, self.frontend.n_mels
        largest = frames * (self.frontend.n_fft // 2 + 1)
        for width, stride, pool in zip(self.channels, self.strides, self.pools, strict=True):
            frames, bands = -(-frames // stride[0]), -(-bands // stride[1])
            largest = max(largest, frames * bands * width)
            frames, bands = frames // pool[0], bands // pool[1]
            if not (frames and bands):
                raise ValueError("pools leave nothing of a window")
        if largest > MOST_NUMBERS:
            raise ValueError(f"one window asks for {4 * largest / 2**30:.1f} GiB in a single layer")
        return self

    @property
    def frame_hop(self) -> int:
        """Samples of one output frame."""
        hop = self.frontend.hop
        for (stride, _), (pool, _) in zip(self.strides, self.pools, strict=True):
            hop *= stride * pool
        return hop

    @property
    def window(self) -> int:
        """Samples the network sees in one call."""
        return round(self.window_seconds * SAMPLE_RATE)


class DataSettings(Settings):
    """Which clips of a dataset a run learns from, and which it keeps back to choose among epochs.

    Attributes:
        weak_held_out: Share of weakly labelled clips kept back; 0.1 draws those that ATST-SED and
            the DCASE baselines validate on.
        real_held_out: Share of strongly labelled recordings kept back. Where the dataset has
            ATST-SED's two tables of them, these say which, whatever the share.
        held_out_seed: Of the draw of weak clips.
        shared: ``leave_out`` a clip of an unlabelled or weak source that a better labelled source
            has too, or ``keep`` it in both, as ATST-SED does. Clips of a split or kept back are
            never trained on.
        exclude: Table with a column ``filename``, and one ``source`` where a name should be left
            out of one source only: clips not to train on. `earmark doctor --exclude` writes one.
    """

    weak_held_out: Proportion = 0.0
    real_held_out: Proportion = 0.0
    held_out_seed: Annotated[int, Field(ge=0)] = 42
    shared: Literal["leave_out", "keep"] = "leave_out"
    exclude: str | None = None


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: The file is missing, is not YAML (its line is named), or is no mapping.
    """
    path = Path(path)
    try:
        content = parse_yaml(read_bytes(path, ConfigError).decode("utf-8-sig"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise ConfigError(
            f"not readable as YAML ({error.problem})",
            where=path if mark is None else f"{path}:{mark.line + 1}",
            hint=None
            if isinstance(error, BeyondBoundsError)
            else "A colon needs a space after it; indent with spaces, not tabs",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"not readable as YAML ({reason})", where=path) from None
    if not isinstance(content, dict):
        raise ConfigError("expected a mapping of settings", where=path)
    return content


def apply_overrides(settings: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return a copy of nested settings with ``a.b=c`` overrides applied; values are YAML.

    Raises:
        ConfigError: An override has no ``=`` or passes through something that is no mapping.
    """
    result: dict[str, Any] = deepcopy(dict(settings))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"override {override!r} is not of the form a.b=c")
        *parents, last = key.strip().split(".")
        target = result
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise ConfigError(f"override {override!r}: {parent!r} is not a group of settings")
        target[last] = _yaml_value(text)
    return result


def _yaml_value(text: str) -> Any:
    """A YAML scalar or flow value; ``1e-3`` is a number, as people expect."""
    try:
        value = parse_yaml(text)
    except yaml.YAMLError:
        raise ConfigError(f"value {text!r} is not readable as YAML") from None
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def parse_settings(kind: type[S], content: Mapping[str, Any], where: str | Path | None = None) -> S:
    """Validate a mapping as settings of a kind.

    Raises:
        ConfigError: Names each setting that is unknown or out of range, in one line.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        faults, hints = [], []
        for fault in error.errors():
            name = ".".join(str(part) for part in fault["loc"]) or kind.__name__
            unknown = fault["type"] == "extra_forbidden"
            faults.append(f"{name}: {'there is no such setting' if unknown else fault['msg']}")
            near = _similar(name, kind) if unknown else []
            hints += [f"did you mean {' or '.join(near)}?"] if near else []
        hint = " ".join(hints)
        raise ConfigError(
            "; ".join(faults), where=where, hint=f"{hint[:1].upper()}{hint[1:]}" or None
        ) from None


def _similar(name: str, kind: type[BaseModel]) -> list[str]:
    """Settings that an unknown name may mean: spelt alike there, so called elsewhere, or alike."""
    known = [one for one in _names(kind) if one != name]  # another kind of encoder may have it
    group, _, last = name.rpartition(".")
    beside = {one.rpartition(".")[2]: one for one in known if one.rpartition(".")[0] == group}
    alike = [beside[word] for word in get_close_matches(last, beside, 2, 0.7)]
    elsewhere = [one for one in known if one.rpartition(".")[2] == last]
    return alike or elsewhere[:3] or get_close_matches(name, known, 2, 0.8)


def _names(kind: type[BaseModel], prefix: str = "") -> list[str]:
    """Dotted names of all settings of a kind, groups included."""
    found = []
    for name, field in kind.model_fields.items():
        found.append(f"{prefix}{name}")
        for own in _groups(field.annotation):
            found += _names(own, f"{prefix}{name}.")
    return list(dict.fromkeys(found))


def _groups(annotation: Any) -> list[type[BaseModel]]:
    """Kinds of settings that an annotation allows; of encoders all that come with Earmark."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [*_KINDS.values()] if annotation is EncoderSettings else [annotation]
    return [own for part in get_args(annotation) for own in _groups(part)]


def dump_yaml(settings: BaseModel | Mapping[str, Any]) -> str:
    """Settings as YAML text, in the order they are declared."""
    content = settings.model_dump(mode="json") if isinstance(settings, BaseModel) else settings
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)


def differing(ours: BaseModel, theirs: BaseModel, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Settings of one kind that are not equal: (dotted name, ours, theirs)."""
    found: list[tuple[str, Any, Any]] = []
    for name in type(ours).model_fields:
        mine, other = getattr(ours, name), getattr(theirs, name)
        if isinstance(mine, BaseModel) and type(mine) is type(other):
            found += differing(mine, other, f"{prefix}{name}.")
        elif mine != other:
            found.append((f"{prefix}{name}", mine, other))
    return found
