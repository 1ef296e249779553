"""The package without PyTorch: every command, and the shipped bundles on ONNX Runtime.

All of it runs in one process in which importing PyTorch fails, started once.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.errors import BundleError
from earmark.core.folders import shipped_folder
from earmark.detect.detector import Detector
from earmark.detect.network import load_trained
from earmark.detect.sliding import sliding_scores
from earmark.model.bundle_files import ONNX_FORM, shipped_bundles
from earmark.model.onnx_form import OnnxForm, form_fault
from earmark.synth.scene import make_soundscape
from earmark.synth.settings import load_synth_settings
from earmark.synth.sources import SynthesisedSources

RATE = 16_000
CHILD = r"""
import contextlib, importlib, io, json, pkgutil, sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "lightning_fabric", "tensorboard", "onnx"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
import earmark.cli

def run(*arguments):
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["earmark", *arguments]
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            earmark.cli.main()
    except SystemExit as left:
        code = left.code or 0
    finally:
        sys.argv = before
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}

print(json.dumps([run(*line) for line in json.load(sys.stdin)]))
"""


def without_torch(lines: list[list[str]]) -> list[dict[str, Any]]:
    """What commands print and exit with where PyTorch cannot be imported."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD], input=json.dumps(lines), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def soundscape(seconds: float, seed: int = 3) -> np.ndarray:
    sources, rng = SynthesisedSources(), np.random.default_rng(seed)
    demo = load_synth_settings("demo")
    parts = [
        make_soundscape(sources, "test", demo, rng, subset="test").audio
        for _ in range(1 + int(seconds // 10))
    ]
    return np.concatenate(parts)[: round(seconds * RATE)].astype(np.float32)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording, and a bundle without its ONNX form."""
    import soundfile

    root = tmp_path_factory.mktemp("lean")
    soundfile.write(root / "long.wav", soundscape(24.0), RATE)
    shutil.copytree(shipped_folder("bundles") / "mini", root / "bare")
    (root / "bare" / ONNX_FORM).unlink()
    return root


@pytest.fixture(scope="module")
def done(places: Path) -> dict[str, dict[str, Any]]:
    from earmark.cli.commands import COMMANDS

    data, long = str(places / "data"), str(places / "long.wav")
    out = {
        name: str(places / name) for name in ("found", "bare-out", "val", "tuned", "run", "pseudo")
    }
    lines = {f"{name} --help": [name, "--help"] for name in COMMANDS}
    clips = "strong=1,weak=1,unlabelled=1,validation=3,test=1"
    lines |= {
        "synth": ["synth", data, "--recipe", "demo", "--clips", clips, "--workers", "1"],
        "detect": ["detect", "home", long, "--out", out["found"], "--no-plot"],
        "suggest": ["suggest", "home", long, "--out", str(places / "next"), "--budget", "10s",
                    "--length", "5"],
        "bare": ["detect", str(places / "bare"), long, "--out", out["bare-out"]],
        "info": ["info", "mini"],
        "evaluate": ["evaluate", "mini", "--data", data, "--out", out["val"], "--resamples", "20",
                     "--no-plot"],
        "score": ["score", "--scores", f"{out['val']}/scores", "--truth",
                  f"{data}/metadata/validation/validation.tsv", "--durations",
                  f"{data}/metadata/validation/validation_durations.tsv", "--resamples", "0"],
        "tune": ["tune", "mini", "--data", data, "--out", out["tuned"], "--method", "median",
                 "--folds", "0", "--resamples", "0"],
        "pseudo-label": ["pseudo-label", "mini", "home", "--data", data, "--out", out["pseudo"]],
        "tuned": ["info", out["tuned"]],
        "doctor": ["doctor", data],
        "recipes": ["recipes", "mini"],
        "train": ["train", "mini", "--data", data, "--out", out["run"]],
        "pretrain": ["pretrain", "atst-frame-pretrain", "--audio", data, "--out", out["run"]],
        "export": ["export", "mini", "--out", str(places / "m.onnx")],
        "import": ["import", str(places / "long.wav"), "--out", out["run"]],
        "demo": ["demo", "--out", out["run"]],
        "bf16": ["detect", "home", long, "--out", out["run"], "--precision", "bf16-mixed"],
        "torch": ["detect", "home", long, "--out", out["run"], "--runtime", "torch"],
    }  # fmt: skip
    return dict(zip(lines, without_torch(list(lines.values())), strict=True))


def test_every_command_explains_itself(done: dict[str, dict[str, Any]]) -> None:
    helps = {name: one for name, one in done.items() if name.endswith("--help")}
    assert len(helps) > 12
    assert {name: one["err"] for name, one in helps.items() if one["code"] or not one["out"]} == {}


@pytest.mark.parametrize(
    "name",
    [
        *("synth", "detect", "info", "evaluate", "score", "tune", "tuned", "pseudo-label"),
        *("doctor", "recipes"),
    ],
)
def test_listening_and_scoring_work(done: dict[str, dict[str, Any]], name: str) -> None:
    assert done[name]["code"] == 0, done[name]["err"]


@pytest.mark.parametrize(
    "name", ["train", "pretrain", "export", "import", "demo", "bf16", "torch", "bare"]
)
def test_what_needs_pytorch_says_so_in_one_line(done: dict[str, dict[str, Any]], name: str) -> None:
    assert done[name]["code"] == 2
    [line] = done[name]["err"].strip().splitlines()
    assert "needs PyTorch" in line
    assert f'pip install "earmark[{"export" if name == "export" else "train"}]"' in line
    if name == "bare":
        assert "--into-bundle" in line


def test_the_same_events_as_with_pytorch(done: dict[str, dict[str, Any]], places: Path) -> None:
    from earmark.core.formats import read_events

    assert done["detect"]["code"] == 0
    found = read_events(places / "found" / "events.tsv")
    theirs = Detector.from_pretrained("home", runtime="torch").detect(places / "long.wav").found
    assert len(theirs) > 2
    rows = found[["onset", "offset", "event_label"]].to_numpy().tolist()
    assert rows == [[round(on, 3), round(off, 3), label] for on, off, label, _ in theirs]


def test_suggestions_are_by_the_encoder(done: dict[str, dict[str, Any]], places: Path) -> None:
    assert done["suggest"]["code"] == 0, done["suggest"]["err"]
    assert "no encoder" not in done["suggest"]["out"]
    assert len((places / "next" / "suggested.tsv").read_text("utf-8").splitlines()) == 3


@pytest.mark.parametrize("name", shipped_bundles())
@pytest.mark.parametrize("seconds", [3.21, 26.4])
def test_a_bundle_finds_the_same_events_in_both_forms(name: str, seconds: float) -> None:
    audio = (soundscape(seconds, seed=11), RATE)
    ours, theirs = (
        Detector.from_pretrained(name, runtime=runtime).detect(audio)
        for runtime in ("onnx", "torch")
    )
    np.testing.assert_allclose(ours.table.values, theirs.table.values, atol=1e-4)
    assert [event[:3] for event in ours.found] == [event[:3] for event in theirs.found]
    assert ours.found or seconds < 10


@pytest.fixture(scope="module")
def pair() -> tuple[OnnxForm, Any]:
    return (
        OnnxForm(shipped_folder("bundles") / "home"),
        load_trained("home", runtime="torch").network,
    )


@settings(max_examples=6)
@given(
    length=st.integers(1, 30 * RATE),
    batch=st.integers(1, 3),
    gain=st.sampled_from([0.0, 1e-4, 0.1, 2.0]),
    seed=st.integers(0, 2**16),
)
def test_scores_of_any_recording_are_alike(
    pair: tuple[OnnxForm, Any], length: int, batch: int, gain: float, seed: int
) -> None:
    noise = np.random.default_rng(seed).normal(size=length)
    audio = (gain * noise).clip(-1, 1).astype(np.float32)
    ours, theirs = (sliding_scores([audio], one, batch_size=batch) for one in pair)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("changed", ["model.safetensors", "config.yaml", "labels.txt"])
def test_a_stale_form_is_not_used(
    changed: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "mini"
    shutil.copytree(shipped_folder("bundles") / "mini", folder)
    assert form_fault(folder) is None
    if changed == "model.safetensors":
        from safetensors.numpy import load_file, save_file

        tensors = load_file(folder / changed)
        tensors["crnn.heads.strong.bias"] = tensors["crnn.heads.strong.bias"] + 0.5
        save_file(tensors, folder / changed)
    elif changed == "config.yaml":
        text = (folder / changed).read_text()
        (folder / changed).write_text(text.replace("  dropout: 0.3", "  dropout: 0.2"))
    else:
        (folder / changed).write_text((folder / changed).read_text().replace("Dog", "Hound"))
    assert "other weights, settings or classes" in str(form_fault(folder))
    with pytest.raises(BundleError, match="into-bundle"):
        load_trained(folder, runtime="onnx")
    assert not isinstance(load_trained(folder).network, OnnxForm)
    assert "into-bundle" in caplog.text


def test_a_form_of_another_file_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "mini"
    shutil.copytree(shipped_folder("bundles") / "mini", folder)
    graph = folder / "windows.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    assert "windows.onnx" in str(form_fault(folder))
    (folder / ONNX_FORM).write_text("{}")
    assert "does not read" in str(form_fault(folder))


def test_tuned_post_processing_keeps_the_form(tmp_path: Path) -> None:
    folder = tmp_path / "mini"
    shutil.copytree(shipped_folder("bundles") / "mini", folder)
    (folder / "postprocess.yaml").write_text("median_seconds: 0.3\nthreshold: 0.4\n")
    trained = load_trained(folder)
    assert isinstance(trained.network, OnnxForm)
    assert trained.postprocess.threshold == 0.4
    assert trained.fingerprint != load_trained("mini").fingerprint
