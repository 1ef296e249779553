"""Checkpoints that are damaged, unknown or hostile: one clear line, and nothing in them is run."""

from __future__ import annotations

import argparse
import os
import pathlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from earmark.core.errors import BundleError
from earmark.model.bundle import load_bundle
from earmark.model.encoders.encoder_file import Encoder, save_encoder
from earmark.model.published.convert import export_checkpoint, import_checkpoint
from earmark.model.published.file import read_checkpoint
from helpers import published_files as files
from helpers.published_files import refused, write


def test_what_is_missing_left_over_or_misshapen_is_named(tmp_path: Path) -> None:
    content = files.ssl()
    state = content["state_dict"]
    del state["model.teacher.encoder.blocks.1.mlp.fc1.bias"]
    state["model.teacher.encoder.cls_token"] = torch.zeros(1, 1, 96)
    name = "model.teacher.encoder.norm_frame.weight"
    state[name] = torch.zeros(7)
    words = (
        r"ATST-Frame, self-supervised.*missing: blocks\.1\.mlp\.fc1\.bias; "
        r"left over: cls_token; of another shape: norm_frame\.weight \(7,\) instead of \(96,\)"
    )
    refused(content, tmp_path, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("sed_teacher.dense.bias"), r"missing: dense\.bias"),
        (lambda s: s.update({"sed_teacher.extra": torch.ones(1)}), r"left over: extra"),
        (lambda s: s.update({"stranger.x": torch.ones(1)}), r"left over: stranger\.x"),
        (lambda s: s.pop("sed_teacher.cat_tf.weight"), r"missing: cat_tf\.weight"),
        (lambda s: s.pop("sed_teacher.cnn.cnn.conv3.weight"), "missing: a convolution"),
        (lambda s: s.pop("sed_teacher.atst_frame.atst.pos_embed"), "missing: pos_embed"),
        (
            lambda s: s.update({"sed_teacher.dense.bias": torch.ones(11)}),
            r"bias \(11,\) instead of \(10,\)",
        ),
    ],
)
def test_a_detector_must_be_whole(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], Any], words: str
) -> None:
    state = files.atst_sed()["state_dict"]
    change(state)
    refused({"state_dict": state}, tmp_path, f"ATST-SED.*does not match completely.*{words}")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: {"state_dict": {"layer.weight": torch.ones(2)}}, "no known layout.*layer.weight"),
        (lambda: {"epoch": 3}, "no known layout.*no tensors"),
        (lambda: [1, 2], "holds a list"),
        (lambda: torch.ones(3), "holds a Tensor"),
    ],
)
def test_other_files_are_told_which_layouts_are_known(
    tmp_path: Path, make: Callable[[], Any], words: str
) -> None:
    refused(make(), tmp_path, f"{words}.*Known are ATST-SED stage 1 and 2.*PretrainedSED")


@pytest.mark.parametrize("content", [b"", b"hello\n" * 50, b"PK\x03\x04 cut", b"\x80\x02."])
def test_damaged_files_are_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.ckpt").write_bytes(content)
    refused(None, tmp_path, "cannot be read|cut short")


def test_a_file_cut_short(tmp_path: Path) -> None:
    path = write(files.finetuned(), tmp_path / "file.ckpt")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(None, tmp_path, "is cut short")


def test_wrong_paths(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such file"):
        import_checkpoint(tmp_path / "nothing.ckpt", tmp_path / "out")
    save_encoder(tmp_path / "ours", Encoder(files.ENCODER_SIZES["tiny"], files.encoder(1)), "card")
    with pytest.raises(BundleError, match=r"is an encoder's folder.*--to official"):
        import_checkpoint(tmp_path / "ours", tmp_path / "out")
    path = write(files.finetuned(), tmp_path / "file.ckpt")
    with pytest.raises(BundleError, match="is not empty"):
        import_checkpoint(path, tmp_path / "ours")
    (tmp_path / "there.ckpt").write_text("precious")
    with pytest.raises(BundleError, match="is there already"):
        export_checkpoint(tmp_path / "ours", tmp_path / "there.ckpt")


def test_roles_that_are_not_there(tmp_path: Path) -> None:
    refused(files.finetuned(), tmp_path, "holds no student.*one encoder", which="student")
    (tmp_path / "file.ckpt").unlink()
    state = {"sed_teacher": files.atst_sed()["sed_teacher"]}
    refused(state, tmp_path, "holds no student. It holds teacher", which="student")


def test_networks_we_cannot_express_are_refused_with_the_reason(tmp_path: Path) -> None:
    cases: dict[str, Any] = {}
    conv = files.cpjku()
    for own in (conv["teacher"], conv["student"]):
        own["pool_conv.0.weight"] = torch.ones(527, 1, 95)
    cases["pools tokens by a convolution"] = conv
    beats = {
        n.replace("model.atst.", "model.beats."): v for n, v in files.cpjku()["teacher"].items()
    }
    cases["another encoder than ATST-Frame"] = {"teacher": beats}
    own = files.atst_sed()["sed_teacher"]
    light = {n: v for n, v in own.items() if not n.startswith(("atst_frame", "cat_tf"))}
    cases["CRNN without ATST-Frame"] = {"sed_teacher": light}
    wide = files.prefixed("model.atst.", files.encoder(1, 48, 2))
    cases["width 48 and depth 2, which is no known size.*tiny 96 × 4"] = wide
    five = {n: v for n, v in own.items() if not re.match(r"cnn\.cnn\.\w+[56]\.", n)}
    cases["5 convolution blocks and does not tell how they pool"] = {"sed_teacher": five}
    for words, content in cases.items():
        refused(content, tmp_path, words)
        (tmp_path / "file.ckpt").unlink()


@pytest.mark.parametrize(
    "change",
    [
        {"rnn.rnn.weight_hh_l0": torch.ones(())},
        {"dense.weight": torch.ones(())},
        {"cnn.cnn.conv0.weight": torch.ones(3)},
        {"cat_tf.weight": torch.ones(())},
        {"atst_frame.atst.pos_embed": torch.ones(2)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_absurd_shapes_are_one_clear_line(tmp_path: Path, change: dict[str, Tensor]) -> None:
    own = files.atst_sed()["sed_teacher"] | change
    refused({"sed_teacher": own}, tmp_path, "make no sense|does not match completely")


def test_absurd_settings_are_one_clear_line(tmp_path: Path) -> None:
    for settings, words in (
        ({"net": {"pooling": [1] * 7}}, "make no sense"),
        ({"earmark": {"postprocess": {"threshold": torch.ones(1)}}}, "more than plain values"),
        ({"labels": ["a"] * 10}, "10 classes; 1 different names"),
        ({"labels": ["a\nb", *"cdefghijk"]}, "a line break"),
    ):
        refused(files.atst_sed(hyper_parameters=settings), tmp_path, words)
        (tmp_path / "file.ckpt").unlink()
    odd = files.atst_sed(hyper_parameters={"training": {"median_window": ["x"] * 10}})
    import_checkpoint(write(odd, tmp_path / "file.ckpt"), tmp_path / "out")
    medians = load_bundle(tmp_path / "out").postprocess["median_seconds"]
    assert medians["Blender"] == pytest.approx(1.28)


class Attack:
    """What a pickle may do to whoever loads it."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_run(tmp_path: Path, zipped: bool) -> None:
    content = files.finetuned() | {"hyper_parameters": {"x": Attack(tmp_path / "owned")}}
    path = tmp_path / "file.ckpt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    refused(None, tmp_path, r"only running their code could restore \(\w*\.?mkdir\).*state_dict")
    assert not (tmp_path / "owned").exists()


def test_what_lightning_leaves_beside_tensors_is_read_inertly(tmp_path: Path) -> None:
    content = files.ssl()
    settings = argparse.Namespace(arch="tiny", data=pathlib.PurePosixPath("/data"), lr=0.1)
    content["hyper_parameters"] = settings
    content["callbacks"] = {"best": torch.float32, "score": __import__("numpy").float64(0.3)}
    path = write(content, tmp_path / "file.ckpt")
    file = read_checkpoint(path)
    assert (file.settings["arch"], file.settings["lr"]) == ("tiny", 0.1)
    assert not isinstance(file.settings["data"], pathlib.PurePath)
    report = import_checkpoint(path, tmp_path / "out")
    assert report.about["hyper_parameters"] == "arch, data, lr"


def test_forged_settings_are_refused(tmp_path: Path) -> None:
    """What our exports note is checked like any other input."""
    state = {"sed_teacher": files.detector(1, files.v1_settings())}
    other = files.v1_settings(rnn_hidden=64).model_dump(mode="json")
    forged = state | {"hyper_parameters": {"earmark": {"network": other}}}
    refused(forged, tmp_path, "of another shape")
    (tmp_path / "file.ckpt").unlink()
    forged = state | {"hyper_parameters": {"earmark": {"network": {"channles": 3}}}}
    refused(forged, tmp_path, "channles")
