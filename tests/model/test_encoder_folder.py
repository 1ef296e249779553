"""Encoder folders: written, read back, and refused when they are something else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from earmark.core.config import EncoderSettings
from earmark.core.errors import BundleError
from earmark.method.heads import FrameHead
from earmark.model.atst import AtstFrame
from earmark.model.encoder_folder import (
    head_names,
    head_state,
    is_encoder_folder,
    load_encoder,
    save_encoder,
)

TINY = EncoderSettings(width=24, depth=2, heads=3, drop_path=0.1)


def _heads() -> dict[str, torch.Tensor]:
    return head_names("projector", FrameHead(24, 16, 8).state_dict()) | head_names(
        "predictor", FrameHead(8, 16, 8).state_dict()
    )


def test_round_trip_with_published_names(tmp_path: Path) -> None:
    encoder, heads = AtstFrame(TINY), _heads()
    save_encoder(tmp_path, encoder, heads, "# card\n")
    loaded = load_encoder(tmp_path)
    assert loaded.encoder.settings == TINY
    assert not loaded.encoder.training
    assert {"projector.0.weight", "projector.1.running_var", "predictor.3.weight"} <= set(heads)
    for name, value in heads.items():
        assert torch.equal(loaded.heads[name], value), name
    for name, value in encoder.state_dict().items():
        assert torch.equal(loaded.encoder.state_dict()[name], value), name
    head = FrameHead(8, 16, 8)
    head.load_state_dict(head_state("predictor", loaded.heads))
    assert torch.equal(head.layers[0].weight, heads["predictor.0.weight"])


def test_heads_may_be_missing(tmp_path: Path) -> None:
    save_encoder(tmp_path, AtstFrame(TINY), {}, "")
    assert load_encoder(tmp_path).heads == {}
    with pytest.raises(ValueError, match="no names of heads"):
        save_encoder(tmp_path, AtstFrame(TINY), {"head.weight": torch.zeros(1)}, "")


def test_what_is_no_encoder_folder_is_refused(tmp_path: Path) -> None:
    assert not is_encoder_folder(tmp_path)
    with pytest.raises(BundleError, match=r"model\.safetensors, config\.yaml missing"):
        load_encoder(tmp_path)
    save_encoder(tmp_path, AtstFrame(TINY), {}, "")
    config = tmp_path / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("kind: encoder", "kind: other"))
    with pytest.raises(BundleError, match="not of one"):
        load_encoder(tmp_path)
    config.write_text(text.replace("format: 1", "format: 9"))
    with pytest.raises(BundleError, match="encoder format 9"):
        load_encoder(tmp_path)
    config.write_text(text.replace("width: 24", "width: 12"))
    with pytest.raises(BundleError, match="do not fit"):
        load_encoder(tmp_path)
