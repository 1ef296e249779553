"""Any frame encoder beside the CNN: YAMNet, and one that another package registers."""

from __future__ import annotations

from fractions import Fraction
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from earmark.core import config
from earmark.core.config import (
    EncoderSettings,
    NetworkSettings,
    YamnetSettings,
    dump_yaml,
    parse_settings,
)
from earmark.core.errors import BundleError, ConfigError
from earmark.method.networks import Student, check_views
from earmark.method.settings import EmbeddingSettings, MethodSettings, TrainSettings
from earmark.model.bundle import load_bundle, save_bundle
from earmark.model.encoders.alignment import overlap_weights
from earmark.model.encoders.encoder_file import Encoder, load_encoder, save_encoder
from earmark.model.encoders.registry import make_encoder
from earmark.model.encoders.yamnet import pretrained_weights
from earmark.model.sed import SedNetwork
from earmark.testing import check_encoder
from earmark.train.initial import begin_with, read_start
from earmark.train.optim import make_optimizer
from earmark.train.recipe import load_recipe
from earmark.train.token_cache import encoder_key

pytestmark = pytest.mark.processor
HOP = 1600


class LevelSettings(EncoderSettings):
    """Settings of the foreign encoder."""

    kind: Literal["levels"] = "levels"
    width: int = 6


class Levels(nn.Module):
    """A foreign encoder: levels of 10 ms, a token every 100 ms, centred 20 ms late."""

    Settings = LevelSettings
    token_hop = Fraction(HOP, 16_000)
    first_centre = Fraction(7, 100)
    max_seconds: float | None = None
    licence = "CC0-1.0"

    def __init__(self, settings: LevelSettings) -> None:
        super().__init__()
        self.width = settings.width
        self.map = nn.Linear(10, settings.width)

    def features(self, waveform: Tensor) -> Tensor:
        shifted = functional.pad(waveform, (0, 320))[:, 320:]
        padded = functional.pad(shifted, (0, -waveform.shape[1] % HOP))
        return torch.log(padded.reshape(len(waveform), -1, 10, 160).square().mean(3) + 1e-4)

    def tokens_of(self, features: Tensor) -> int:
        return features.shape[1]

    def forward(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        tokens: Tensor = self.map(features)
        return tokens if valid is None else tokens * valid.unsqueeze(2)

    def layers(self) -> list[list[str]]:
        return [["map.weight", "map.bias"]]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a package that registers the encoder were installed."""
    levels = EntryPoint("levels", f"{__name__}:Levels", config.ENCODERS)
    bare = EntryPoint("bare", "torch.nn:Linear", config.ENCODERS)
    classes = {"levels": Levels, "bare": nn.Linear}
    monkeypatch.setattr(EntryPoint, "load", lambda self: classes[self.name])
    monkeypatch.setattr(config, "entry_points", lambda group: [levels, bare])


def settings(encoder: dict[str, Any], **others: Any) -> NetworkSettings:
    small = load_recipe("mini").network.model_dump(mode="json")
    return parse_settings(NetworkSettings, small | {"encoder": encoder} | others)


def make(encoder: dict[str, Any], **others: Any) -> SedNetwork:
    torch.manual_seed(0)
    return SedNetwork(settings(encoder, **others), ("a", "b")).eval()


KINDS = [{"kind": "yamnet", "taps": [2, 6]}, {"kind": "levels", "width": 5}]


def noise(batch: int, samples: int) -> Tensor:
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(1))


def test_a_kind_is_found_and_its_settings_survive_a_file() -> None:
    for encoder in KINDS:
        found = settings(encoder)
        again = parse_settings(NetworkSettings, config.yaml.safe_load(dump_yaml(found)))
        assert again == found
        assert (
            type(again.encoder)
            is {"yamnet": YamnetSettings, "levels": LevelSettings}[str(encoder["kind"])]
        )


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        ({"kind": "nobody's"}, r"no encoder is of the kind .*atst-frame, bare, levels, yamnet"),
        ({"kind": "bare"}, "Linear has no Settings"),
        ({"kind": "yamnet", "taps": [0]}, r"encoder\.taps\.0"),
        ({"kind": "levels", "depth": 3}, r"encoder\.depth: there is no such setting"),
    ],
)
def test_what_is_no_encoder_is_named(encoder: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        settings(encoder)


def test_the_foreign_encoder_keeps_the_promises() -> None:
    check_encoder(Levels(LevelSettings()), export=False)


@torch.no_grad()
@pytest.mark.parametrize("encoder", KINDS)
def test_a_clip_has_its_scores_alone_and_in_a_batch(encoder: dict[str, Any]) -> None:
    network = make(encoder)
    clips = [noise(1, length)[0] for length in (160_000, 64_000, 20_000)]
    waveforms = torch.zeros(3, network.spec.window)
    valid = torch.zeros(3, network.spec.frames, dtype=torch.bool)
    for row, clip in enumerate(clips):
        waveforms[row, : len(clip)] = clip
        valid[row, : network.spec.grid.frames_covering(len(clip))] = True
    together = network(waveforms, valid)
    for row, clip in enumerate(clips):
        alone = network(clip[None])
        frames = network.spec.grid.frames_in(len(clip))
        torch.testing.assert_close(together.strong[row, :frames], alone.strong[0])
        torch.testing.assert_close(together.weak[row], alone.weak[0])


@torch.no_grad()
@pytest.mark.parametrize("encoder", KINDS)
def test_tokens_reach_the_frames_of_their_time(encoder: dict[str, Any]) -> None:
    """Only the encoder hears here: a burst changes the merged frames where it is, and no others."""
    network = make(encoder)
    assert network.crnn.merge is not None
    network.crnn.merge.weight[:, : network.crnn.cnn.width] = 0.0
    quiet = 1e-4 * noise(1, 160_000)
    loud = quiet.clone()
    loud[:, 80_000:83_200] += noise(1, 3_200)  # 5.0 to 5.2 s
    merged = []
    network.crnn.merge.register_forward_hook(lambda *inputs: merged.append(inputs[-1]))
    network(quiet), network(loud)
    change = (merged[1] - merged[0]).norm(dim=2)[0]
    centre = float((change * torch.arange(len(change))).sum() / change.sum() + 0.5)
    assert centre * network.spec.frame_hop / 16_000 == pytest.approx(5.1, abs=0.06)


@torch.no_grad()
@pytest.mark.parametrize("encoder", KINDS)
@pytest.mark.parametrize("samples", [160_000, 64_000, 20_000])
def test_padding_begins_where_a_clip_s_own_tokens_end(
    encoder: dict[str, Any], samples: int
) -> None:
    network = make(encoder)
    module = network.sure_encoder
    valid = torch.arange(network.spec.frames) < network.spec.grid.frames_covering(samples)
    own = module.tokens_of(module.features(noise(1, samples)))
    # A mask knows whole frames: none too few, and at most one too many.
    assert int(network.token_mask(valid[None]).sum()) - own in (0, 1)


def test_frames_outside_all_tokens_take_the_nearest() -> None:
    weights = overlap_weights(6, 2, 2.0, 1.0, start=2.0)  # tokens of [2, 4) and [4, 6)
    assert weights.argmax(1).tolist() == [0, 0, 0, 0, 1, 1]
    weights = overlap_weights(5, 2, 1.0, 1.0, start=-0.5)  # a token begins before the clip
    assert weights[0].tolist() == [0.5, 0.5]
    assert weights[1:].argmax(1).tolist() == [1, 1, 1, 1]


def test_layers_have_their_rates() -> None:
    student = Student(make(KINDS[0]), EmbeddingSettings(weight=0.0))
    rates = TrainSettings(lr=1e-3, encoder_lr=1e-4, encoder_lr_decay=0.5)
    optimizer = make_optimizer(student, rates)
    names = {parameter: name for name, parameter in student.named_parameters()}
    found = {names[p]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert found["network.encoder.blocks.5.conv.weight"] == pytest.approx(1e-4)
    assert found["network.encoder.blocks.0.conv.weight"] == pytest.approx(1e-4 * 0.5**5)
    assert found["network.crnn.merge.weight"] == 1e-3


def test_mels_are_mixed_and_warped_only_where_there_are_some() -> None:
    for encoder in KINDS:
        network = make(encoder)
        check_views(network, MethodSettings())
        for wrong in ({"mixup": {"domain": "mel"}}, {"warp_probability": 0.5}):
            with pytest.raises(ConfigError, match=str(encoder["kind"])):
                check_views(network, parse_settings(MethodSettings, wrong))


def test_the_key_of_tokens_knows_the_taps() -> None:
    first, second = make({"kind": "yamnet", "taps": [6]}), make({"kind": "yamnet", "taps": [2, 6]})
    merged = make({"kind": "yamnet", "taps": [6], "merge": 7})
    for other in (second, merged):
        other.sure_encoder.load_state_dict(first.sure_encoder.state_dict())
    assert encoder_key(first, "cpu") != encoder_key(second, "cpu")
    assert encoder_key(first, "cpu") == encoder_key(merged, "cpu")


@torch.no_grad()
@pytest.mark.parametrize("encoder", KINDS)
def test_a_bundle_keeps_the_encoder(encoder: dict[str, Any], tmp_path: Path) -> None:
    network = make(encoder)
    save_bundle(tmp_path, network, {}, "card")
    again = load_bundle(tmp_path).network
    waveform = noise(1, 160_000)
    assert torch.equal(again(waveform).strong, network(waveform).strong)


def test_an_encoder_s_folder_of_any_kind(tmp_path: Path) -> None:
    module = make_encoder(LevelSettings(width=3))
    save_encoder(tmp_path, Encoder(LevelSettings(width=3), module.state_dict()), "card")
    found = load_encoder(tmp_path)
    assert found.settings == LevelSettings(width=3)
    assert all(torch.equal(v, module.state_dict()[n]) for n, v in found.weights.items())


def test_training_begins_with_yamnet_by_its_name() -> None:
    network = make({"kind": "yamnet", "taps": [2, 6]})
    student = Student(network, EmbeddingSettings(weight=0.0))
    begin_with(student, read_start("yamnet"), TrainSettings())
    published = pretrained_weights()
    for name, value in network.sure_encoder.state_dict().items():
        assert torch.equal(value, published[name].float()), name


def test_another_kind_of_encoder_does_not_fit() -> None:
    student = Student(make({"width": 12, "depth": 1, "heads": 2}), EmbeddingSettings(weight=0.0))
    with pytest.raises(BundleError, match="encoder yamnet, the recipe's atst-frame"):
        begin_with(student, read_start("yamnet"), TrainSettings())
