"""An encoder's folder: round trip, clear refusals."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import torch

from earmark.core.config import ATST_FRONTEND, AtstSettings
from earmark.core.errors import BundleError, ConfigError, EarmarkError
from earmark.method.networks import FrameHead
from earmark.model.bundle import load_bundle
from earmark.model.encoders.atst import AtstFrame
from earmark.model.encoders.encoder_file import (
    ENCODER_FILES,
    Encoder,
    encoder_fingerprint,
    load_encoder,
    save_encoder,
)
from earmark.model.folder import is_encoder

TINY = AtstSettings(
    width=12,
    depth=2,
    heads=3,
    positions="interpolate",
    drop_path=0.1,
    frontend=ATST_FRONTEND.model_copy(update={"db_clamp": None}),
)


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    heads = FrameHead(12, 8, 4), FrameHead(4, 8, 4)
    projector, predictor = (head.layers.state_dict() for head in heads)
    source = {"recipe": "a recipe", "step": 7}
    return Encoder(TINY, AtstFrame(TINY).state_dict(), projector, predictor, source)


def test_round_trip(encoder: Encoder, tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "encoder", encoder, "# card\n")
    assert sorted(path.name for path in folder.iterdir()) == sorted(ENCODER_FILES)
    assert stat.S_IMODE((folder / ENCODER_FILES[0]).stat().st_mode) == stat.S_IMODE(
        (folder / "README.md").stat().st_mode
    )
    assert is_encoder(folder)
    assert not is_encoder(tmp_path)
    found = load_encoder(folder)
    assert found.settings == TINY.model_copy(update={"drop_path": 0.0})
    assert found.source == encoder.source
    for ours, theirs in (
        (found.weights, encoder.weights),
        (found.projector, encoder.projector),
        (found.predictor, encoder.predictor),
    ):
        assert ours is not None
        assert theirs is not None
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    mel = torch.randn(1, 64, 40)
    original = AtstFrame(TINY).eval()
    original.load_state_dict(dict(encoder.weights))
    with torch.no_grad():
        assert torch.equal(found.build()(mel), original(mel))
    assert encoder_fingerprint(folder) == encoder_fingerprint(folder)


def test_heads_are_optional(encoder: Encoder, tmp_path: Path) -> None:
    bare = load_encoder(save_encoder(tmp_path, Encoder(TINY, encoder.weights), "card"))
    assert bare.projector is None
    assert bare.predictor is None


def test_weights_of_another_size_are_not_written(encoder: Encoder, tmp_path: Path) -> None:
    wider = TINY.model_copy(update={"width": 24})
    with pytest.raises(BundleError, match="do not fit its settings"):
        save_encoder(tmp_path / "wider", Encoder(wider, encoder.weights), "card")
    assert not (tmp_path / "wider").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("encoder.yaml", None, "encoder.yaml missing"),
        ("encoder.safetensors", None, "is no encoder: encoder.safetensors missing"),
        ("encoder.safetensors", "nonsense", "is no safetensors file"),
        ("encoder.yaml", "format: 7\n", "encoder format 7"),
        ("encoder.yaml", "format: 1\nencoder: {widht: 3}\n", "widht"),
        ("encoder.yaml", "format: 1\nencoder: {width: 24, depth: 2, heads: 3}\n", "do not fit"),
    ],
)
def test_a_damaged_folder_is_one_clear_line(
    encoder: Encoder, tmp_path: Path, name: str, content: str | None, words: str
) -> None:
    folder = save_encoder(tmp_path, encoder, "card")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(EarmarkError, match=words) as caught:
        load_encoder(folder)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, BundleError | ConfigError)


def test_a_detector_asked_of_an_encoder_is_told(encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"an encoder, not a detector.*--init"):
        load_bundle(save_encoder(tmp_path, encoder, "card"))
