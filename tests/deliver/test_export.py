"""ONNX files against the networks they were made from, and what can be done with them alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import nn
from typer.testing import CliRunner

import earmark.cli
from earmark import Detector
from earmark.core.config import AtstSettings, NetworkSettings
from earmark.core.errors import AudioError, BundleError, ConfigError, ExportError
from earmark.deliver.onnx import export
from earmark.deliver.onnx.export import ExportedFile, ExportReport, export_network, write_report
from earmark.deliver.onnx.exportable import ExportableGru, ExportableNetwork
from earmark.deliver.onnx.parity import BATCH, reference
from earmark.detect.network import load_trained
from earmark.model.bundle import save_bundle
from earmark.model.onnx_network import OnnxNetwork
from earmark.model.sed import SedNetwork
from helpers.sharpened import sharpen

onnx = pytest.importorskip("onnx", reason="needs the extra export")
pytest.importorskip("onnxscript", reason="needs the extra export")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra export")

RATE = 16_000
LABELS = ("Cat", "Dog", "Käfer")
POSTPROCESS = {"median_seconds": 0.2, "threshold": {"Cat": 0.4, "Dog": 0.5, "Käfer": 0.6}}
SMALL = {
    "channels": (8, 32, 32),
    "kernels": (3, 3, 3),
    "strides": ((1, 1),) * 3,
    "pools": ((2, 4), (2, 4), (1, 8)),
    "rnn_hidden": 64,
    "window_seconds": 2.0,
}
TINY = AtstSettings(width=256, depth=1, heads=2, merge=80)


def sharpened(settings: dict[str, Any], seed: int = 0) -> SedNetwork:
    """A random network whose scores go up and down with the sound: differences would show."""
    torch.manual_seed(seed)
    network = SedNetwork(NetworkSettings.model_validate(settings), LABELS).eval()
    sharpen(network)
    return network


@pytest.fixture(scope="module", autouse=True)
def one_core() -> Iterator[None]:
    """Both sides of a comparison of speed run on one thread, so that tests beside them may, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "available_cores", lambda: 1)
        yield


@pytest.fixture(scope="module")
def network() -> SedNetwork:
    return sharpened(SMALL)


@pytest.fixture(scope="module")
def report(network: SedNetwork, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    out = tmp_path_factory.mktemp("exported") / "model.onnx"
    return export_network(network, POSTPROCESS, out, source="small 0123", int8=True, repeats=1)


@pytest.fixture(scope="module")
def exported(report: ExportReport) -> Path:
    return report.files[0].path


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    samples = round(seconds * RATE)
    envelope = np.repeat(rng.random(samples // 4000 + 1) ** 3, 4000)[:samples]
    return (0.3 * rng.normal(size=samples) * envelope).clip(-1, 1).astype(np.float32)


def test_a_recurrent_layer_as_one_operator() -> None:
    torch.manual_seed(3)
    source = nn.GRU(7, 5, 2, batch_first=True, bidirectional=True)
    x = torch.randn(3, 11, 7)
    torch.testing.assert_close(ExportableGru(source)(x)[0], source(x)[0])


def check_parity(file: ExportedFile) -> None:
    assert file.parity.spread > 0.9
    assert file.parity.largest <= 1e-4
    assert file.parity.largest < 2e-5  # what float32 leaves
    assert {"silence", "overloaded noise", "short clip"} <= set(file.parity.alone)
    assert [speed.batch for speed in file.speed] == [1, BATCH]


@pytest.mark.processor
def test_scores_are_the_network_s(report: ExportReport) -> None:
    check_parity(report.files[0])


def test_scores_beside_an_encoder_are_the_network_s(tmp_path: Path) -> None:
    network = sharpened(SMALL | {"encoder": TINY.model_dump()}, seed=4)
    report = export_network(network, POSTPROCESS, tmp_path / "m.onnx", int8=True, repeats=1)
    check_parity(report.files[0])
    kinds = [node.op_type for node in onnx.load(report.files[1].path).graph.node]
    # Per block: queries, keys, values, projection, both of the MLP; patches, merging layer.
    assert kinds.count("MatMulInteger") == 6 * TINY.depth + 2
    assert 1e-4 < report.files[1].parity.largest < 0.2


def test_scores_as_in_v1_are_the_network_s(tmp_path: Path) -> None:
    encoder = TINY.model_copy(update={"align": "adaptive", "mask_padding": False})
    network = sharpened(SMALL | {"encoder": encoder.model_dump()}, seed=5)
    check_parity(export_network(network, POSTPROCESS, tmp_path / "m.onnx", repeats=1).files[0])


def test_clips_of_any_length_up_to_a_window(exported: Path, network: SedNetwork) -> None:
    session = onnxruntime.InferenceSession(str(exported))
    assert [one.name for one in session.get_inputs()] == ["waveform"]
    whole = np.stack([sound(2.0, seed) for seed in range(5)])
    for samples in (2 * RATE, RATE, 1_001):
        waveform = whole[:, :samples]
        padded = np.pad(waveform, ((0, 0), (0, 2 * RATE - samples)))
        expected = reference(network, padded, [samples] * 5)
        strong, weak = session.run(None, {"waveform": waveform})
        np.testing.assert_allclose(strong, expected[0], atol=1e-4)
        np.testing.assert_allclose(weak, expected[1], atol=1e-4)
    with pytest.raises(Exception, match="ONNXRuntimeError"):  # never cut in silence
        session.run(None, {"waveform": np.zeros((1, 2 * RATE + 1), np.float32)})
    mixed = OnnxNetwork(exported)(whole, [2 * RATE, RATE, 1_001, RATE, 2 * RATE])
    clips = np.stack(
        [
            np.where(np.arange(2 * RATE) < n, one, 0)
            for one, n in zip(whole, [2 * RATE, RATE, 1_001, RATE, 2 * RATE], strict=True)
        ]
    ).astype(np.float32)
    expected = reference(network, clips, [2 * RATE, RATE, 1_001, RATE, 2 * RATE])
    np.testing.assert_allclose(mixed.strong, expected[0], atol=1e-4)
    np.testing.assert_allclose(mixed.weak, expected[1], atol=1e-4)


def test_the_file_documents_itself(exported: Path, report: ExportReport) -> None:
    model = onnx.load(exported)
    about = {one.key: one.value for one in model.metadata_props}
    assert json.loads(about["labels"]) == list(LABELS)
    assert (about["sample_rate"], about["window_seconds"]) == ("16000", "2.0")
    hop = OnnxNetwork(exported).spec.frame_hop / RATE
    assert float(about["hop_seconds"]) == hop
    assert "Cat, Dog, Käfer" in model.doc_string
    assert "mono at 16000 Hz" in model.graph.input[0].doc_string
    assert all("probability" in one.doc_string for one in model.graph.output)
    written = report.to_dict()
    assert written["labels"] == list(LABELS)
    assert (written["sample_rate"], written["window_seconds"]) == (RATE, 2.0)
    assert written["hop_seconds"] == hop


def test_the_file_knows_everything_and_nothing_of_the_machine(
    exported: Path, network: SedNetwork
) -> None:
    loaded = OnnxNetwork(exported)
    assert loaded.spec == network.spec
    assert loaded.spec.labels == LABELS
    assert loaded.precision == "float32"
    trained = load_trained(exported)
    assert trained.postprocess.to_dict()["threshold"] == POSTPROCESS["threshold"]
    assert trained.fingerprint != OnnxNetwork(exported.with_suffix(".int8.onnx")).fingerprint
    text = exported.read_bytes()
    assert str(Path(earmark.__file__).parent).encode() not in text
    assert b".py" not in text


def test_detection_is_the_bundle_s(exported: Path, network: SedNetwork, tmp_path: Path) -> None:
    recording = (sound(27.3, seed=9), RATE)
    bundle = save_bundle(tmp_path / "bundle", network, POSTPROCESS, "# card\n")
    ours = Detector.from_pretrained(exported, batch_size=3).detect(recording)
    theirs = Detector.from_pretrained(bundle).detect(recording)
    np.testing.assert_allclose(ours.table.values, theirs.table.values, atol=1e-4)
    assert len(ours.found) > 3
    threads = Detector.from_pretrained(exported, batch_size=3, threads=3).score(recording)
    np.testing.assert_array_equal(threads.values, ours.table.values)
    assert [event[:3] for event in ours.found] == [event[:3] for event in theirs.found]


def test_it_can_be_called_as_a_network(exported: Path) -> None:
    loaded = Detector.from_pretrained(exported).network
    assert isinstance(loaded, OnnxNetwork)
    output = loaded(np.stack([sound(1.0), sound(1.0, 2)]))
    assert output.strong.shape == (2, loaded.spec.frames, 3)
    assert output.weak.shape == (2, 3)
    for bad in (sound(1.0), np.zeros((1, 3 * RATE)), np.zeros((2, 0))):
        with pytest.raises(AudioError, match="no batch"):
            loaded(bad)


def test_eight_bits(report: ExportReport) -> None:
    plain, small = report.files
    assert small.precision == "int8"
    assert small.path.name == "model.int8.onnx"
    assert small.megabytes < 0.7 * plain.megabytes
    assert 1e-4 < small.parity.largest < 0.2
    model = onnx.load(small.path)
    stored = {tensor.name for tensor in model.graph.initializer if tensor.data_type == 3}  # int8
    assert any("rnn" in name for name in stored)
    assert any("conv" in name for name in stored)
    assert not any("frontend" in name or "heads" in name for name in stored)


def test_what_differs_is_not_written(
    network: SedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ExportableNetwork.forward

    def wrong(self: Any, waveform: torch.Tensor) -> Any:
        strong, weak = original(self, waveform)
        return strong * 0.999, weak

    monkeypatch.setattr(ExportableNetwork, "forward", wrong)
    with pytest.raises(ExportError, match="differs from the network by"):
        export_network(network, POSTPROCESS, tmp_path / "m.onnx", repeats=1)
    assert list(tmp_path.iterdir()) == []


def test_the_report(report: ExportReport) -> None:
    path = write_report(report, {"clips": 3})
    content = json.loads(path.read_text(encoding="utf-8"))
    assert path.name == "model.json"
    assert content["source"] == "small 0123"
    assert content["evaluation"] == {"clips": 3}
    assert [file["precision"] for file in content["files"]] == ["float32", "int8"]
    speed = content["files"][0]["speed"][0]
    ratio = speed["torch_seconds"] / speed["onnx_seconds"]
    assert speed["times_faster"] == pytest.approx(ratio, rel=0.05)
    assert str(path.parent) not in path.read_text(encoding="utf-8")


def test_mistakes_are_told(network: SedNetwork, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ONNX file"):
        export_network(network, POSTPROCESS, tmp_path / "model.bin")
    with pytest.raises(ConfigError, match="opset"):
        export_network(network, POSTPROCESS, tmp_path / "model.onnx", opset=9)
    with pytest.raises(BundleError, match="no such file"):
        load_trained(tmp_path / "missing.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(BundleError, match="cannot load"):
        load_trained(broken)
    with pytest.raises(ConfigError, match="no device"):
        OnnxNetwork(exported, device="cuda:7")
    foreign, newer = onnx.load(exported), onnx.load(exported)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(BundleError, match="not one of"):
        load_trained(tmp_path / "foreign.onnx")
    newer.metadata_props[0].value = '{"format": 99}'
    onnx.save(newer, tmp_path / "newer.onnx")
    with pytest.raises(BundleError, match="format 99"):
        load_trained(tmp_path / "newer.onnx")


WITHOUT_TORCH = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "lightning_fabric", "onnx", "onnxscript", "ray"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
from earmark.cli import main
main()
"""


def test_the_command_line_without_torch(exported: Path, tmp_path: Path) -> None:
    recording = tmp_path / "night.wav"
    soundfile.write(recording, sound(9.7, seed=9), RATE)
    arguments = ["detect", str(exported), str(recording), "--out", str(tmp_path / "found")]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = (tmp_path / "found/night.tsv").read_text(encoding="utf-8").splitlines()
    assert found[0].split("\t")[0] == "filename"
    assert len(found) > 1


def test_the_commands(network: SedNetwork, tmp_path: Path) -> None:
    runner = CliRunner()
    data, bundle, out = tmp_path / "data", tmp_path / "bundle", tmp_path / "model.onnx"
    save_bundle(bundle, network, {"threshold": 0.5}, "# card\n")
    audio = data / "audio/validation/validation"
    for seed in range(3):
        audio.mkdir(parents=True, exist_ok=True)
        soundfile.write(audio / f"{seed}.wav", sound(2.0 + seed, seed), RATE)
    table = data / "metadata/validation/validation.tsv"
    table.parent.mkdir(parents=True)
    rows = [f"{seed}.wav\t0.1\t{1 + 0.3 * seed}\t{LABELS[seed]}" for seed in range(3)]
    table.write_text("filename\tonset\toffset\tevent_label\n" + "\n".join(rows) + "\n", "utf-8")
    arguments = ["export", str(bundle), "--out", str(out), "--int8", "--data", str(data)]
    done = runner.invoke(earmark.cli.app, [*arguments, "--repeats", "1"])
    assert done.exit_code == 0, done.output
    assert "model.int8.onnx" in done.output
    losses = json.loads(out.with_suffix(".json").read_text("utf-8"))["evaluation"]
    assert losses["clips"] == losses["of"] == 3
    by_precision = losses["by_precision"]
    assert by_precision["float32"] == pytest.approx(by_precision["torch"], abs=1e-6)
    assert set(by_precision["int8"]) == {"psds1", "psds2", "collar_f1"}
    arguments = ["evaluate", str(out), "--data", str(data), "--out", str(tmp_path / "scores")]
    done = runner.invoke(earmark.cli.app, arguments)
    assert done.exit_code == 0, done.output
    metrics = json.loads((tmp_path / "scores/metrics.json").read_text("utf-8"))
    assert metrics["psds1"] == pytest.approx(by_precision["float32"]["psds1"], abs=1e-6)
    done = runner.invoke(earmark.cli.app, ["export", str(out), "--out", str(tmp_path / "b.onnx")])
    assert done.exit_code == 2
