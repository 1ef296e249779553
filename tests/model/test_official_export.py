"""Bundles and encoders in the published layout: exact, and what the published code looks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from earmark.core.config import AtstSettings, NetworkSettings
from earmark.core.errors import BundleError
from earmark.model.bundle import load_bundle, save_bundle
from earmark.model.encoders.atst import ENCODER_SIZES
from earmark.model.encoders.encoder_file import Encoder, load_encoder, save_encoder
from earmark.model.published.convert import export_checkpoint, import_checkpoint
from earmark.model.sed import SedNetwork
from helpers import published_files as files
from helpers.published_files import network, same


def test_round_trip_of_a_bundle_is_exact(tmp_path: Path) -> None:
    settings = files.v1_settings(dropout=0.4, encoder={"drop_path": 0.1})
    labels = tuple(f"class {number}" for number in range(4))
    postprocess = {"median_seconds": dict(zip(labels, (0.5, 0.0, 0.384, 0.448), strict=True))}
    networks = []
    for folder, seed in (("ours", 7), ("ours/student", 8)):
        made = network(files.detector(seed, settings, 4), settings, 4)
        made.spec = made.spec.__class__(labels, made.spec.frame_hop, made.spec.window)
        save_bundle(tmp_path / folder, made, postprocess, "card")
        networks.append(made)
    report = export_checkpoint(tmp_path / "ours", tmp_path / "theirs.ckpt")
    assert {note.split(": ")[1].split()[0] for note in report.notes} == {  # tiny is not v1's size
        "encoder.width",
        "encoder.depth",
        "encoder.heads",
    }
    content = torch.load(tmp_path / "theirs.ckpt", weights_only=True)
    assert content["hyper_parameters"]["training"]["median_window"] == [8, 1, 6, 7]
    assert content["hyper_parameters"]["net"]["nclass"] == 4
    import_checkpoint(tmp_path / "theirs.ckpt", tmp_path / "again")
    for folder, made in zip(("", "student"), networks, strict=True):
        again, ours = load_bundle(tmp_path / "again" / folder), tmp_path / "ours" / folder
        assert same(again.network.state_dict(), made.state_dict())
        assert again.network.settings == settings
        assert again.fingerprint == load_bundle(ours).fingerprint


def test_exports_have_what_the_published_code_looks_for(tmp_path: Path) -> None:
    """Strict loading of either network, of both with the mel's buffers, and by 'teacher'."""
    settings = files.v1_settings()
    made = network(files.detector(7, settings), settings, 10)
    save_bundle(tmp_path / "ours", made, {"median_seconds": 0.448}, "card")
    report = export_checkpoint(tmp_path / "ours", tmp_path / "theirs.ckpt")
    assert any("same network" in note for note in report.notes)
    content = torch.load(tmp_path / "theirs.ckpt", weights_only=True)
    official = files.atst_sed()
    assert set(content["state_dict"]) == set(official["state_dict"])
    for name, value in official["state_dict"].items():
        assert content["state_dict"][name].shape == value.shape, name
        assert content["state_dict"][name].dtype == value.dtype or "num_batches" in name
    for role in ("sed_student", "sed_teacher"):
        assert same(content[role], files.detector(7, settings))
    teacher = {n: v for n, v in content["state_dict"].items() if "teacher" in n}
    assert same({n[len("sed_teacher.") :]: v for n, v in teacher.items()}, content["sed_teacher"])
    # The mel's window and filters are those of torchaudio's transform.
    window = torch.hamming_window(2048, periodic=False)
    torch.testing.assert_close(content["state_dict"]["mel_spec.spectrogram.window"], window)
    # Tensors that stand in a file twice are stored once.
    single = sum(v.numel() * v.element_size() for v in official["sed_student"].values())
    assert (tmp_path / "theirs.ckpt").stat().st_size < 1.5 * single + 1_500_000


def test_round_trip_of_an_encoder(tmp_path: Path) -> None:
    settings = AtstSettings(width=12, depth=3, heads=3)  # no published size
    weights = files.encoder(1, 12, 3)
    heads = files.head(12, 2), files.head(8, 3)
    save_encoder(tmp_path / "ours", Encoder(settings, weights, *heads), "card")
    report = export_checkpoint(tmp_path / "ours", tmp_path / "theirs.ckpt")
    assert report.layout == "ATST-Frame, self-supervised"
    import_checkpoint(tmp_path / "theirs.ckpt", tmp_path / "again")
    again = load_encoder(tmp_path / "again")
    assert again.settings == settings
    assert same(again.weights, weights)
    assert again.projector is not None
    assert again.predictor is not None
    assert same(again.projector, heads[0])
    assert same(again.predictor, heads[1])
    bare = save_encoder(tmp_path / "bare", Encoder(settings, weights), "card")
    assert any("heads" in n for n in export_checkpoint(bare, tmp_path / "bare.ckpt").notes)


def test_what_differs_from_v1_is_told(tmp_path: Path) -> None:
    settings = NetworkSettings(encoder=ENCODER_SIZES["tiny"])  # exact alignment, padding masked
    made = network(files.detector(7, settings), settings, 10)
    save_bundle(tmp_path / "ours", made, {"median_seconds": 0.0, "method": "csebb"}, "card")
    notes = " ".join(export_checkpoint(tmp_path / "ours", tmp_path / "theirs.ckpt").notes)
    for words in ("align is exact", "mask_padding is True", "width is 96", "no boxes"):
        assert words in notes
    assert "dropout" not in notes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder": None}, "a light network"),
        ({"activation": "glu"}, "its activation is glu"),
        ({"strides": ((2, 1), *((1, 1),) * 6)}, "have strides"),
        ({"encoder": {"merge": 64}}, "not as wide"),
    ],
)
def test_networks_without_a_v1_form_are_refused(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    settings = files.v1_settings()
    if isinstance(change.get("encoder"), dict):
        settings = files.v1_settings(**change)
    else:
        settings = settings.model_copy(update=change)
    save_bundle(tmp_path / "ours", SedNetwork(settings, ("a", "b")), {}, "card")
    with pytest.raises(BundleError, match=f"no ATST-SED v1 form.*{words}") as caught:
        export_checkpoint(tmp_path / "ours", tmp_path / "theirs.ckpt")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "theirs.ckpt").exists()


def test_the_shipped_bundle_has_no_v1_form(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="light network"):
        export_checkpoint("mini", tmp_path / "theirs.ckpt")
