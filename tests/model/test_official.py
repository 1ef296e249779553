"""Every published layout in and out: complete, safe, and the same to the last bit."""

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
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from earmark.core.config import EncoderSettings, NetworkSettings
from earmark.core.errors import BundleError, EarmarkError
from earmark.model.atst import ENCODER_SIZES, AtstFrame, align_tokens
from earmark.model.bundle import load_bundle, save_bundle
from earmark.model.encoder_file import Encoder, load_encoder, save_encoder
from earmark.model.official import export_checkpoint, import_checkpoint
from earmark.model.official_names import from_official
from earmark.model.published.classes import DESED, MAESTRO
from earmark.model.published.encoders import encoder_shapes, find_encoder
from earmark.model.published.file import CheckpointFile, read_checkpoint
from earmark.model.published.networks import V1, find_networks
from earmark.model.sed import SedNetwork
from helpers import published_files as files


def write(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def same(ours: Any, theirs: Any) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(v, theirs[n]) for n, v in ours.items())


def network(official: dict[str, Tensor], settings: NetworkSettings, classes: int) -> SedNetwork:
    """Ours with given official weights, without the code under test."""
    made = SedNetwork(settings, tuple(map(str, range(classes))))
    made.load_state_dict({from_official(name): value for name, value in official.items()})
    return made.eval()


ENCODERS: dict[str, tuple[Callable[[], Any], str, bool, bool]] = {  # title, clamp, heads
    "ssl": (files.ssl, "ATST-Frame, self-supervised", False, True),
    "clip": (files.clip, "ATST-Clip", False, False),
    "as2m": (files.finetuned, "ATST-Frame, fine-tuned on AudioSet", False, False),
    "as_strong": (
        lambda: files.finetuned(407),
        "ATST-Frame, fine-tuned on AudioSet",
        False,
        False,
    ),
    "c2f": (files.distilled, "ATST-Frame, distilled clip to frame", False, False),
    "net_strong": (files.strong, "AudioSet-strong by CPJKU", True, False),
    "net_strong_wrapped": (lambda: files.strong("model."), "AudioSet-strong by CPJKU", True, False),
    "pretrained_sed": (lambda: files.pretrained_sed(True), "PretrainedSED's ATST-F", True, False),
    "without_mel": (lambda: files.pretrained_sed(False), "PretrainedSED's ATST-F", True, False),
    "bare": (lambda: files.encoder(21), "ATST-Frame alone", False, False),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_of_every_layout(tmp_path: Path, name: str) -> None:
    make, title, clamped, heads = ENCODERS[name]
    content = make()
    path = write(content, tmp_path / "file.ckpt")
    report = import_checkpoint(path, tmp_path / "out", command="earmark import …")
    assert title in report.layout
    assert report.becomes == "encoder"
    assert report.about["encoder"] == "tiny"
    found = load_encoder(tmp_path / "out")
    assert same(found.weights, files.encoder(21))
    assert report.parameters == sum(value.numel() for value in found.weights.values())
    assert found.settings.frontend.db_clamp == ((-50.0, 80.0) if clamped else None)
    assert (found.settings.heads, found.settings.max_tokens) == (3, 250)
    assert (found.projector is not None, found.predictor is not None) == (heads, heads)
    if found.projector is not None and found.predictor is not None:
        assert same(found.projector, files.head(files.WIDTH, 22))
        assert same(found.predictor, files.head(8, 13))
    tensors = content.get("state_dict", content)
    taken = len(found.weights) + len(found.projector or ()) + len(found.predictor or ())
    state = {n: v for n, v in report.ignored.items() if n.endswith(("*", "cls_token"))}
    assert sum(report.ignored[prefix] for prefix in state) == len(tensors) - taken
    card = (tmp_path / "out" / "README.md").read_text()
    assert "file.ckpt" in card
    assert read_checkpoint(path).fingerprint in card
    mel = torch.randn(1, 64, 80)
    expected = AtstFrame(ENCODER_SIZES["tiny"]).eval()
    expected.load_state_dict(files.encoder(21))
    with torch.no_grad():
        torch.testing.assert_close(found.build()(mel), expected(mel), rtol=0, atol=0)


def test_the_student_can_be_had(tmp_path: Path) -> None:
    path = write(files.ssl(), tmp_path / "file.ckpt")
    import_checkpoint(path, tmp_path / "out", which="student", db_clamp=(-40.0, 70.0))
    found = load_encoder(tmp_path / "out")
    assert same(found.weights, files.encoder(11))
    assert found.projector is not None
    assert same(found.projector, files.head(files.WIDTH, 12))
    assert found.settings.frontend.db_clamp == (-40.0, 70.0)
    assert found.source["taken_from"] == "model.student.encoder.*"
    assert found.source["epoch"] == 19


def test_detectors_become_bundles_that_score_as_the_network(tmp_path: Path) -> None:
    content = files.atst_sed(hyper_parameters={"training": {"const_max": 70}})
    report = import_checkpoint(write(content, tmp_path / "stage2.ckpt"), tmp_path / "out")
    assert (report.layout, report.becomes) == ("ATST-SED", "bundle")
    assert report.where == "sed_teacher and sed_student"
    assert report.ignored == {"mel_spec.*": 2, "callbacks": 1, "optimizer_states": 1}
    settings = files.v1_settings()
    waveforms = 0.1 * torch.randn(2, 160_000, generator=torch.Generator().manual_seed(1))
    for folder, role, seed in (("out", "teacher", 2), ("out/student", "student", 1)):
        bundle = load_bundle(tmp_path / folder)
        assert bundle.network.settings == settings
        assert bundle.spec.labels == DESED
        expected = network(files.detector(seed, settings), settings, 10)
        with torch.no_grad():
            ours, theirs = bundle.network(waveforms), expected(waveforms)
        assert torch.equal(ours.strong, theirs.strong)
        assert torch.equal(ours.weak, theirs.weak)
        assert f"ATST-SED, {role}" in (tmp_path / folder / "README.md").read_text()
        medians = bundle.postprocess["median_seconds"]
        assert medians["Blender"] == pytest.approx(1.28)
        assert medians["Dishes"] == pytest.approx(0.256)
        assert bundle.postprocess["threshold"] == 0.5


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize("form", ["whole", "top", "prefixed", "bare", "parallel", "safetensors"])
def test_every_form_of_a_detectors_file(tmp_path: Path, role: str, form: str) -> None:
    """As Lightning wrote it, either half of it, one network alone, wrapped, profiled, flat."""
    content = files.atst_sed()
    own = content[f"sed_{role}"]
    path = tmp_path / "file.ckpt"
    if form == "top":
        del content["state_dict"]
    elif form == "prefixed":
        content = {"state_dict": content["state_dict"]}
    elif form == "bare":
        content, role = own, "teacher"
    elif form == "parallel":
        counters = {"total_ops": torch.zeros(1), "cnn.total_params": torch.zeros(1)}
        compiled = {f"module._orig_mod.{name}": value for name, value in (own | counters).items()}
        content = {f"sed_{role}": compiled}
    if form == "safetensors":
        path = tmp_path / "file.safetensors"
        save_file({name: value.clone() for name, value in content["state_dict"].items()}, path)
    else:
        write(content, path)
    report = import_checkpoint(path, tmp_path / "out", which=role)
    state = load_bundle(tmp_path / "out").network.state_dict()
    assert same(state, {from_official(name): value for name, value in own.items()})
    assert not (tmp_path / "out" / "student").exists()
    assert ("*.total_ops, *.total_params" in report.ignored) == (form == "parallel")


def test_half_precision_is_widened(tmp_path: Path) -> None:
    content = {n: v.half() if v.is_floating_point() else v for n, v in files.encoder(21).items()}
    import_checkpoint(write(content, tmp_path / "file.pt"), tmp_path / "out")
    found = load_encoder(tmp_path / "out").weights
    assert all(v.dtype == torch.float32 for v in found.values())
    assert torch.equal(found["norm_frame.bias"], content["norm_frame.bias"].float())


def cpjku_by_hand(
    own: dict[str, Tensor], network: SedNetwork, waveforms: Tensor
) -> tuple[Tensor, Tensor]:
    """Its forward pass with the AudioSet head where it was, around parts that are tested alone."""
    mels = network.scale(network.linear(waveforms))
    local = network.crnn.cnn(mels.cnn)
    tokens = network.encode(mels.encoder)
    if "as_model.head_linear_layer.weight" in own:
        head = (own[f"as_model.head_linear_layer.{part}"] for part in ("weight", "bias"))
        tokens = F.linear(tokens, *head)
    pooled = align_tokens(tokens, 156, "adaptive", 640, 1024)
    joined = torch.cat([local, pooled], dim=-1)
    context, _ = network.crnn.rnn(F.linear(joined, own["cat_tf.weight"], own["cat_tf.bias"]))
    strong = torch.sigmoid(F.linear(context, own["dense.weight"], own["dense.bias"]))
    scale = F.linear(context, own["dense_softmax.weight"], own["dense_softmax.bias"])
    attention = torch.softmax(scale, dim=-1).clamp(1e-7, 1)
    return strong, (strong * attention).sum(1) / attention.sum(1)


@pytest.mark.parametrize(("head", "activation"), [(527, "cg"), (None, "cg"), (None, "glu")])
def test_cpjkus_networks_with_and_without_audiosets_head(
    tmp_path: Path, head: int | None, activation: str
) -> None:
    content = files.cpjku(head, activation)
    assert content["teacher"]["cat_tf.weight"].shape == (256, 128 + (head or files.WIDTH))
    report = import_checkpoint(write(content, tmp_path / "file.ckpt"), tmp_path / "out")
    assert report.layout == "CPJKU's DCASE 2024 network"
    assert any("folded" in note for note in report.notes) == bool(head)
    bundle = load_bundle(tmp_path / "out")
    assert bundle.spec.labels == (*DESED, *MAESTRO)
    assert bundle.network.settings.rnn_hidden == 256
    assert bundle.network.settings.activation == ("glu" if activation == "glu" else "gate")
    assert bundle.postprocess["median_seconds"]["Blender"] == pytest.approx(9 * 0.064)
    waveforms = 0.1 * torch.randn(2, 160_000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        out = bundle.network(waveforms)
        strong, weak = cpjku_by_hand(content["teacher"], bundle.network, waveforms)
    torch.testing.assert_close(out.strong, strong, rtol=0, atol=2e-6)
    torch.testing.assert_close(out.weak, weak, rtol=0, atol=2e-6)
    assert (strong - 0.5).abs().max() > 0.05


# Base size, without files -------------------------------------------------------------------


def meta(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def test_the_published_listings_are_recognised_entry_by_entry() -> None:
    """Shapes of base alone; the weights are never made."""
    sed = meta(files.entries("atst_sed_state_dict.txt"))
    assert len(sed) == 223
    found = find_networks(CheckpointFile(Path("x"), {}, {"sed_teacher": sed}))
    assert found is not None
    assert (found.settings, found.classes) == (V1, 10)
    frame = files.entries("atst_frame_state_dict.txt")
    heads = {name: shape for name, shape in frame.items() if name.startswith("p") and "or." in name}
    encoder = {name: shape for name, shape in frame.items() if name not in heads}
    assert len(encoder) == 138
    ssl = files.prefixed("model.teacher.encoder.", meta(encoder))
    for name, value in meta(heads).items():
        role = "student" if name.startswith("predictor") else "teacher"
        ssl[f"model.{role}.{name}"] = value
    loaded = find_encoder(CheckpointFile(Path("x"), ssl))
    assert encoder == encoder_shapes(loaded.settings)
    assert loaded.settings.heads == loaded.settings.depth == 12
    assert set(loaded.projector or ()) | set(loaded.predictor or ()) == {
        name.partition(".")[2] for name in heads
    }


# Back -----------------------------------------------------------------------------------------


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
    settings = EncoderSettings(width=12, depth=3, heads=3)  # no published size
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
        ({"strides": ((1, 2), *((1, 1),) * 6)}, "have strides"),
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


# Refusals -------------------------------------------------------------------------------------


def refused(content: Any, tmp_path: Path, words: str, **options: Any) -> None:
    path = tmp_path / "file.ckpt"
    if not path.exists():
        write(content, path)
    with pytest.raises(EarmarkError, match=words) as caught:
        import_checkpoint(path, tmp_path / "out", **options)
    assert "\n" not in str(caught.value)
    assert "file.ckpt" in str(caught.value)
    assert not (tmp_path / "out").exists()


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


def test_two_copies_that_differ_are_told(tmp_path: Path) -> None:
    content = files.atst_sed()
    changed = content["state_dict"]["sed_teacher.dense.bias"] + 1
    content["state_dict"]["sed_teacher.dense.bias"] = changed
    report = import_checkpoint(write(content, tmp_path / "file.ckpt"), tmp_path / "out")
    assert report.notes == ("sed_teacher and state_dict differ; sed_teacher was taken",)


# Names of classes -----------------------------------------------------------------------------


def test_classes_come_from_the_user_the_file_or_the_known_networks(tmp_path: Path) -> None:
    settings = files.v1_settings()
    state = {"sed_teacher": files.detector(1, settings, 3)}
    refused(state, tmp_path, "has 3 classes; does not name them.*--labels")
    path = tmp_path / "file.ckpt"
    refused(None, tmp_path, "3 classes; 2 different names", labels=["a", "b"])
    import_checkpoint(path, tmp_path / "given", labels=["a", "b", "c"])
    assert load_bundle(tmp_path / "given").spec.labels == ("a", "b", "c")
    assert load_bundle(tmp_path / "given").postprocess["median_seconds"]["b"] == 0.448
    told = {"labels": ["x", "y", "z"], "training": {"median_window": [1, 3, 5]}}
    path = write(state | {"hyper_parameters": told}, tmp_path / "told.ckpt")
    import_checkpoint(path, tmp_path / "told")
    assert load_bundle(tmp_path / "told").spec.labels == ("x", "y", "z")
    medians = load_bundle(tmp_path / "told").postprocess["median_seconds"]
    assert medians == pytest.approx({"x": 0.064, "y": 0.192, "z": 0.32})
    ssl = write(files.ssl(), tmp_path / "ssl.ckpt")
    with pytest.raises(BundleError, match="has no classes to name"):
        import_checkpoint(ssl, tmp_path / "ssl", labels=["a"])


# Safety ---------------------------------------------------------------------------------------


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
