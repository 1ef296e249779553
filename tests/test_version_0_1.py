"""What version 0.1 left on users' disks goes on working: ``tests/legacy/v0_1`` has one of each."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import earmark
from earmark import Detector
from earmark.cli import app
from earmark.core.audio.audio import load_int16
from earmark.model.encoders.encoder_file import load_encoder
from earmark.prepare.cache import verify_cache, write_cache
from earmark.prepare.cache_index import INDEX
from earmark.prepare.doctor.examine import examine
from earmark.train.recipe import load_pretrain_recipe, load_recipe
from earmark.train.record.journal import run_record
from helpers.files import contents

LEFT = Path(__file__).parent / "legacy" / "v0_1"


@pytest.fixture(autouse=True)
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of everything, with which a later version of the package works."""
    folder = tmp_path / "disk"
    shutil.copytree(LEFT, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(earmark, "__version__", "9.9.9")
    for module in ("synth.soundscapes", "prepare.importing.writing", "model.bundle"):
        monkeypatch.setattr(f"earmark.{module}.__version__", "9.9.9", raising=False)
    return folder


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def touch_as(path: Path, changed: int) -> None:
    """Give a file the time it had: a checkout does not keep it."""
    os.utime(path, ns=(changed, changed))


def test_half_made_soundscapes_go_on(disk: Path) -> None:
    before = {name: data for name, data in contents(disk / "half").items() if ".flac" in name}
    assert len(before) == 7
    run("synth", "half", "--recipe", "recipes/own_synth.yaml", "--seed", "7", "--workers", "1")
    after, whole = contents(disk / "half"), contents(disk / "data")
    assert set(after) == set(whole)
    assert {name: after[name] for name in before} == before
    for name in whole:
        if name.endswith(".flac"):
            ours, theirs = (load_int16(disk / root / name) for root in ("half", "data"))
            assert np.abs(ours.astype(int) - theirs).max() <= 1
        elif name.endswith(".tsv"):
            assert after[name] == whole[name]
        else:
            assert name == "synth.yaml"


def test_finished_soundscapes_are_left_as_they_are(disk: Path) -> None:
    before = contents(disk / "data")
    run("synth", "data", "--recipe", "recipes/own_synth.yaml", "--seed", "7")
    assert contents(disk / "data") == before


def test_a_cache_is_used_again(disk: Path) -> None:
    before = contents(disk / "cache")
    for line in (disk / "cache" / INDEX).read_text().splitlines()[1:]:
        entry = json.loads(line)
        for source in disk.glob(f"recordings/{entry['file']}"):
            touch_as(source, entry["changed"])
    report = write_cache("recordings", "cache")
    assert (report.made, report.kept, report.copied, report.failed) == (0, 3, 3, {})
    assert contents(disk / "cache") == before
    assert verify_cache("cache") == (6, {})


def test_the_doctor_remembers_recordings(disk: Path) -> None:
    with sqlite3.connect(disk / "doctor.sqlite") as facts:
        for path, changed in facts.execute("SELECT path, time FROM facts"):
            touch_as(Path(path), changed)
    diagnosis = examine("data", cache=Path("doctor.sqlite"))
    assert (diagnosis.recordings, diagnosis.inspected) == (12, 0)
    assert (diagnosis.fingerprint, diagnosis.findings) == ("3a6fd0f8b573a0e0", [])


def test_an_import_goes_on(disk: Path) -> None:
    before = {name: data for name, data in contents(disk / "imported").items() if ".flac" in name}
    assert len(before) == 5
    run(
        *("import-labels", "recordings", "--out", "imported", "--map", "classes.yaml"),
        *("--seconds", "1", "--split", "0.4,0.3,0.3", "--workers", "1"),
    )
    after = contents(disk / "imported")
    assert {name: after[name] for name in before} == before
    assert sum(name.endswith(".flac") for name in after) == 6
    tables = [name for name in after if name.startswith("metadata/") and b"Dog" in after[name]]
    assert len(tables) == 3


def test_a_batch_goes_on_without_detecting_again(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detected: list[str] = []
    detect = Detector.detect

    def noted(self: Detector, audio: Any, *rest: Any, **options: Any) -> Any:
        detected.append(Path(audio).name)
        return detect(self, audio, *rest, **options)

    monkeypatch.setattr(Detector, "detect", noted)
    journal = disk / "found" / "detect.jsonl"
    journal.write_text(journal.read_text().replace("/disk/", f"{disk}/"))
    before = (disk / "found" / "hall.tsv").read_bytes()
    output = run(
        *("detect", "runs/mini", "recordings", "--out", "found", "--format", "tsv,audacity"),
        *("--threshold", "0.5", "--no-plot", "--device", "cpu"),
    )
    assert "in 3 recordings" in output
    assert "2 of them done before" in output
    assert detected == ["night.flac"]
    assert (disk / "found" / "hall.tsv").read_bytes() == before


@pytest.mark.parametrize(
    "bundle", ["runs/mini", "runs/v1", "runs/v1_frozen", "tuned", "model.onnx"]
)
def test_bundles_find_what_they_found(disk: Path, bundle: str) -> None:
    expected = json.loads((disk / "expected.json").read_text())[bundle]
    result = Detector.from_pretrained(bundle).detect("recordings/hall.flac")
    assert len(result.scores) == expected["frames"]
    for label, mean in expected["mean_scores"].items():
        assert result.scores[label].mean() == pytest.approx(mean, abs=2e-5)
    found = result.events[["onset", "offset", "score", "event_label"]].values.tolist()
    for event, (onset, offset, label, score) in zip(found, expected["events"], strict=True):
        assert event[3] == label
        assert event[:3] == pytest.approx([onset, offset, score], abs=1e-3)


def test_recipes_mean_what_they_meant() -> None:
    for name, shipped in (
        ("own_mini", "mini"),
        ("own_v1_stage1", "atst-sed-stage1"),
        ("own_v1_stage2", "atst-sed-stage2"),
    ):
        assert load_recipe(f"recipes/{name}.yaml") == load_recipe(shipped)
    then = ["method.mixup.probability=1.0", "method.mixup.level=none"]  # what shipped with 0.1
    assert load_recipe("recipes/own_v2_stage2.yaml") == load_recipe("atst-sed-v2-stage2", then)
    ours = load_pretrain_recipe("recipes/own_pretrain.yaml", size="small")
    assert ours == load_pretrain_recipe("atst-frame-pretrain", size="small")


def test_every_setting_of_a_run_is_still_understood(disk: Path) -> None:
    """A run's own ``recipe.yaml`` spells out all settings of version 0.1, defaults included."""
    for name in ("mini", "v1", "v1_frozen"):
        recipe = load_recipe(f"runs/{name}/recipe.yaml")
        assert (recipe.train.epochs, recipe.train.steps_per_epoch) == (2, 2)


@pytest.mark.parametrize("name", ["mini", "v1", "v1_frozen"])
def test_training_goes_on(disk: Path, name: str) -> None:
    folder = f"runs/{name}"
    for _ in range(2):  # what it writes now must do for the next time, too
        run(
            *("train", f"{folder}/recipe.yaml", "--data", "data", "--out", folder, "--resume"),
            *("--accelerator", "cpu"),
        )
        check_journal(disk / folder)
    for network in ("student", "teacher"):
        assert Detector.from_pretrained(f"{folder}/{network}").labels


def test_pretraining_goes_on(disk: Path) -> None:
    assert load_encoder("runs/pretrain") is not None
    run(
        *("pretrain", "runs/pretrain/recipe.yaml", "--out", "runs/pretrain", "--resume"),
        *("--audio", "data/audio/train/weak", "--audio", "data/audio/train/unlabel_in_domain"),
        *("--accelerator", "cpu"),
    )
    check_journal(disk / "runs" / "pretrain")


def check_journal(folder: Path) -> None:
    """The second epoch is that of the run that was never stopped."""
    stored = [json.loads(line) for line in (folder / "whole.jsonl").read_text().splitlines()]
    ours = run_record(folder)
    assert [record["epoch"] for record in ours] == [1, 2]
    assert ours[0] == stored[0]
    assert ours[1]["losses"] == pytest.approx(stored[1]["losses"], rel=1e-3, abs=1e-5)
    # Training's lr was that of the next step, as a share of the peak; pretraining's is what it was.
    for key in ("step", "token_cache", *(["lr"] if "ema" in stored[1] else [])):
        assert ours[1].get(key) == stored[1].get(key)
