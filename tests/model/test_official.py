"""Every published layout comes in complete, and the same to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from earmark.core.errors import BundleError
from earmark.model.bundle import load_bundle
from earmark.model.encoders.alignment import align_tokens
from earmark.model.encoders.atst import ENCODER_SIZES, AtstFrame
from earmark.model.encoders.encoder_file import load_encoder
from earmark.model.published.convert import DESED, MAESTRO, import_checkpoint
from earmark.model.published.encoders import encoder_shapes, find_encoder
from earmark.model.published.file import CheckpointFile, read_checkpoint
from earmark.model.published.networks import V1, find_networks, from_official
from earmark.model.sed import SedNetwork
from helpers import published_files as files
from helpers.published_files import network, refused, same, write

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


@pytest.mark.processor
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


def test_two_copies_that_differ_are_told(tmp_path: Path) -> None:
    content = files.atst_sed()
    changed = content["state_dict"]["sed_teacher.dense.bias"] + 1
    content["state_dict"]["sed_teacher.dense.bias"] = changed
    report = import_checkpoint(write(content, tmp_path / "file.ckpt"), tmp_path / "out")
    assert report.notes == ("sed_teacher and state_dict differ; sed_teacher was taken",)


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


def test_the_top_blocks_can_be_dropped_and_fewer_blocks_be_read(tmp_path: Path) -> None:
    """What is left computes as the lower blocks and the last norm do."""
    path = write(files.ssl(), tmp_path / "file.ckpt")
    report = import_checkpoint(path, tmp_path / "out", drop_blocks=2)
    found = load_encoder(tmp_path / "out")
    assert found.settings.depth == files.DEPTH - 2
    assert found.projector is None
    assert "network.encoder.depth=2" in report.notes[-1]
    expected = AtstFrame(ENCODER_SIZES["tiny"]).eval()
    expected.load_state_dict(files.encoder(21))
    expected.blocks = expected.blocks[:-2]
    mel = torch.randn(1, 64, 80)
    with torch.no_grad():
        torch.testing.assert_close(found.build()(mel), expected(mel), rtol=0, atol=0)
    shallow = write(files.encoder(21, depth=3), tmp_path / "shallow.pt")
    import_checkpoint(shallow, tmp_path / "shallow")
    assert load_encoder(tmp_path / "shallow").settings.depth == 3
    with pytest.raises(BundleError, match="has 4 blocks, and 4 are to be dropped"):
        import_checkpoint(path, tmp_path / "none", drop_blocks=4)
    with pytest.raises(BundleError, match="no known size"):
        import_checkpoint(write(files.encoder(21, depth=5), tmp_path / "deep.pt"), tmp_path / "d")
