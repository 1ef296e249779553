"""``earmark import`` from the command line: what it reports, and a bundle that detects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from earmark.cli import app
from earmark.core.config import NetworkSettings
from earmark.model.bundle import load_bundle, save_bundle
from earmark.model.encoders.atst import ENCODER_SIZES, AtstFrame
from earmark.model.sed import SedNetwork

RUNNER = CliRunner()
LABELS = ("dog", "door bell", "talk [far]")


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A tiny bundle of v1's form."""
    encoder = ENCODER_SIZES["tiny"].model_copy(update={"align": "adaptive", "mask_padding": False})
    torch.manual_seed(0)
    network = SedNetwork(NetworkSettings(encoder=encoder), LABELS)
    return save_bundle(tmp_path / "ours", network, {"median_seconds": 0.448}, "card")


def run(*arguments: object) -> str:
    result = RUNNER.invoke(app, ["import", *map(str, arguments)], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_there_and_back_and_detect(ours: Path, tmp_path: Path) -> None:
    told = run(ours, "--to", "official", "--out", tmp_path / "theirs.ckpt")
    assert "ATST-SED → checkpoint" in told
    assert "encoder.width is 96" in told
    told = run(tmp_path / "theirs.ckpt", "--out", tmp_path / "again")
    for words in ("ATST-SED → bundle", "sed_teacher and sed_student", "tiny", "talk [far]"):
        assert words in told
    assert "global_step" in told
    again, before = load_bundle(tmp_path / "again"), load_bundle(ours)
    assert again.fingerprint == before.fingerprint
    noise = 0.1 * np.random.default_rng(0).standard_normal(30 * 16_000)
    soundfile.write(tmp_path / "noise.wav", noise, 16_000)
    arguments = [
        *("detect", str(tmp_path / "again"), str(tmp_path / "noise.wav")),
        *("--out", str(tmp_path / "found")),
    ]
    assert RUNNER.invoke(app, arguments).exit_code == 0
    assert (tmp_path / "found/events.tsv").exists()


def test_options(ours: Path, tmp_path: Path) -> None:
    run(ours, "--to", "official", "--out", tmp_path / "theirs.ckpt")
    (tmp_path / "labels.txt").write_text("a\nb\n\nc\n")
    options = ["--which", "student", "--db-clamp", "none", "--labels", tmp_path / "labels.txt"]
    run(tmp_path / "theirs.ckpt", "--out", tmp_path / "again", *options)
    bundle = load_bundle(tmp_path / "again")
    assert bundle.spec.labels == ("a", "b", "c")
    assert bundle.network.settings.encoder is not None
    assert bundle.network.settings.encoder.frontend.db_clamp is None
    assert not (tmp_path / "again" / "student").exists()
    assert "--which student" not in (ours / "README.md").read_text()


def test_an_encoder_is_reported_with_what_was_not_taken(tmp_path: Path) -> None:
    weights = AtstFrame(ENCODER_SIZES["tiny"]).state_dict()
    state = {f"encoder.encoder.{name}": value for name, value in weights.items()}
    state["head.linear.weight"] = torch.zeros(527, 96)
    torch.save({"state_dict": state, "epoch": 5}, tmp_path / "as2m.ckpt")
    told = run(tmp_path / "as2m.ckpt", "--out", tmp_path / "encoder")
    for words in ("fine-tuned on AudioSet → encoder", "495,264", "head.* (1)", "db_clamp"):
        assert words in told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.ckpt", "--out", "x"], "no such file"),
        (["nothing.ckpt", "--out", "x", "--to", "onnx"], "'bundle', 'official'"),
        (["nothing.ckpt", "--out", "x", "--which", "both"], "'student', 'teacher'"),
        (["nothing.ckpt", "--out", "x", "--db-clamp", "80,-50"], "LOW,HIGH"),
        (["nothing.ckpt", "--out", "x", "--db-clamp", "much"], "LOW,HIGH"),
        (["nothing.ckpt", "--out", "x", "--labels", "nothing.txt"], "nothing.txt"),
        (["mini", "--out", "x.ckpt", "--to", "official"], "light network"),
        (["mini", "--out", "x.ckpt", "--to", "official", "--which", "student"], "--to bundle"),
        (["text.txt", "--out", "x"], "Known are ATST-SED"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_two(
    arguments: list[str], words: str, mistake: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("no checkpoint\n" * 40)
    assert words in mistake("import", *arguments)
