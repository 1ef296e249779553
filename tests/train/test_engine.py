"""Training runs: resume, learning, refusals, what a run leaves."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from earmark.core.audio.audio import load_audio
from earmark.core.errors import ConfigError, DataError
from earmark.data.manifest import load_manifest
from earmark.method.settings import Recipe
from earmark.model.bundle import load_bundle
from earmark.model.bundle_files import FILES
from earmark.train.engine import Run, train, warn_of_collapse
from earmark.train.recipe import load_recipe
from earmark.train.record.journal import run_record


def _train(recipe: Recipe, data: Path, out: Path, **options: object) -> Run:
    fabric = Fabric(accelerator="cpu", devices=1, precision=recipe.train.precision)
    return train(recipe, load_manifest(data), out, fabric=fabric, **options)  # type: ignore[arg-type]


def _set(recipe: Recipe, **train_settings: object) -> Recipe:
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=train_settings)})


def test_resume_equals_uninterrupted_bit_for_bit(
    tiny_data: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = _set(tiny_recipe, epochs=3)
    whole = _train(recipe, tiny_data, tmp_path / "whole")
    _train(recipe, tiny_data, tmp_path / "parts", stop_after_epochs=1)
    torch.manual_seed(999)  # whatever happened to the global generator meanwhile
    parts = _train(recipe, tiny_data, tmp_path / "parts", resume=True)
    assert (whole.step, whole.epoch, whole.best) == (parts.step, parts.epoch, parts.best)
    for ours, theirs in ((whole.student, parts.student), (whole.teacher, parts.teacher)):
        for name, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name]), name
    losses = [
        [record["losses"] for record in run_record(tmp_path / name)] for name in ("whole", "parts")
    ]
    assert losses[0] == losses[1]
    for name in FILES:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_a_checkpoint_older_than_the_journal_wins(
    tiny_data: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    """Killed between a journal line and its checkpoint: the epoch is done again, once."""
    _train(tiny_recipe, tiny_data, tmp_path, stop_after_epochs=1)
    journal = tmp_path / "journal.jsonl"
    line = journal.read_text()
    journal.write_text(line + line.replace('"epoch": 1', '"epoch": 2') + '{"epo')
    _train(tiny_recipe, tiny_data, tmp_path, resume=True)
    assert [record["epoch"] for record in run_record(tmp_path)] == [1, 2]


def test_twenty_steps_lower_the_loss(tiny_data: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = _set(
        tiny_recipe, epochs=5, steps_per_epoch=4, warmup_steps=2, validate_every=9, lr=0.01
    )
    _train(recipe, tiny_data, tmp_path)
    losses = [record["losses"]["strong"] for record in run_record(tmp_path)]
    assert losses[-1] < 0.7 * losses[0]


def test_leaves_bundles_that_score_as_the_run_did(
    tiny_data: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    run = _train(tiny_recipe, tiny_data, tmp_path)
    clip = load_manifest(tiny_data).splits["test"].clips[0]
    waveform = torch.from_numpy(load_audio(clip))[None]
    for name, network in run.networks.items():
        bundle = load_bundle(tmp_path / name)
        assert bundle.spec.labels == ("Alarm_bell_ringing", "Dog", "Speech")
        with torch.no_grad():
            expected, found = network.eval()(waveform), bundle.network(waveform)
        for key, value in network.state_dict().items():
            assert torch.equal(value, bundle.network.state_dict()[key]), key
        torch.testing.assert_close(found.strong, expected.strong, rtol=0, atol=1e-6)
        assert not [key for key in bundle.network.state_dict() if "projector" in key]
    assert {"student", "teacher"} == set(run_record(tmp_path)[-1]["validation"])
    card = (tmp_path / "README.md").read_text()
    assert load_manifest(tiny_data).fingerprint in card


def test_refuses_to_overwrite_or_to_mix_runs(
    tiny_data: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    _train(tiny_recipe, tiny_data, tmp_path, stop_after_epochs=1)
    before = (tmp_path / "state.ckpt").read_bytes()
    with pytest.raises(ConfigError, match="holds a run already"):
        _train(tiny_recipe, tiny_data, tmp_path)
    with pytest.raises(ConfigError, match=r"other settings \(train\.lr was .*, now 0\.5\)"):
        _train(_set(tiny_recipe, lr=0.5), tiny_data, tmp_path, resume=True)
    assert (tmp_path / "state.ckpt").read_bytes() == before


def test_a_run_goes_on_with_what_changes_nothing(
    tiny_data: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    whole = _train(tiny_recipe, tiny_data, tmp_path / "whole")
    _train(tiny_recipe, tiny_data, tmp_path / "parts", stop_after_epochs=1)
    other = _set(tiny_recipe, cache_gib=1.5, workers=1)
    parts = _train(other, tiny_data, tmp_path / "parts", resume=True)
    for name, value in whole.student.state_dict().items():
        assert torch.equal(parts.student.state_dict()[name], value), name


def test_the_journal_has_the_rate_of_the_last_step(
    tiny_data: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = _set(tiny_recipe, lr=0.004, warmup_steps=1, lr_final=0.1)
    run = _train(recipe, tiny_data, tmp_path, stop_after_epochs=1)  # where it still falls
    groups = {group["lr"] for group in run.optimizer.param_groups}
    assert {run_record(tmp_path)[-1]["lr"]} == groups


def test_a_warm_up_beyond_the_end_is_said(
    tiny_data: Path, tiny_recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    steps = tiny_recipe.train.steps
    _train(_set(tiny_recipe, warmup_steps=steps + 1), tiny_data, tmp_path, stop_after_epochs=0)
    assert f"warmup_steps is {steps + 1} and the whole run {steps} steps" in caplog.text


@pytest.mark.parametrize("keep", [{"strong"}, {"strong", "unlabelled"}, {"weak"}])
def test_every_kind_of_label_is_optional(
    tiny_data: Path, tiny_recipe: Recipe, tmp_path: Path, keep: set[str]
) -> None:
    manifest = load_manifest(tiny_data)
    sources = tuple(source for source in manifest.train if source.kind in keep)
    part = type(manifest)(manifest.root, manifest.labels, sources, manifest.splits)
    fabric = Fabric(accelerator="cpu", devices=1)
    recipe = _set(tiny_recipe, epochs=1)
    run = train(recipe, part, tmp_path, fabric=fabric)
    assert run.step == recipe.train.steps
    assert np.isfinite(list(run_record(tmp_path)[0]["losses"].values())).all()


def test_accumulation_takes_the_same_number_of_steps(
    tiny_data: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = _set(tiny_recipe, accumulate=2, epochs=1, gradient_clip=None, optimizer="adamw")
    assert _train(recipe, tiny_data, tmp_path).step == 2


@pytest.mark.processor
def test_bf16(tiny_data: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = _set(tiny_recipe, precision="bf16-mixed", epochs=1)
    _train(recipe, tiny_data, tmp_path)
    assert np.isfinite(run_record(tmp_path)[0]["losses"]["loss"])


@pytest.mark.parametrize(
    ("figures", "warned"),
    [
        ({"embedding_std": 0.12, "embedding_cosine": 0.2}, False),
        ({"embedding_std": 0.01, "embedding_cosine": 0.2}, True),
        ({"embedding_std": 0.12, "embedding_cosine": 0.9}, True),
        ({"loss": 1.0}, False),
    ],
)
def test_collapse_is_told(
    figures: dict[str, float], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_collapse(figures)
    assert bool(caplog.records) == warned


def test_the_run_folder_remembers_its_recipe(
    tiny_data: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    _train(tiny_recipe, tiny_data, tmp_path, stop_after_epochs=1)
    assert load_recipe(tmp_path / "recipe.yaml") == tiny_recipe


def test_the_split_that_chooses_and_its_medians(
    tiny_data: Path, tiny_recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    medians = {"Dog": 0.7, "default": 0.3}
    chosen = {"validate_on": ("nowhere", "test"), "median_seconds": medians}
    recipe = _set(tiny_recipe, **chosen, epochs=1, warmup_steps=1)
    _train(recipe, tiny_data, tmp_path / "one")
    assert run_record(tmp_path / "one")[0]["validation"]["teacher"]["of"] == 2  # clips of test
    assert "Scores on the split `test`" in (tmp_path / "one/README.md").read_text()
    stored = load_bundle(tmp_path / "one").postprocess["median_seconds"]
    assert stored == {"Alarm_bell_ringing": 0.3, "Dog": 0.7, "Speech": 0.3}
    assert not caplog.records
    run = _train(_set(recipe, validate_on=("nowhere",)), tiny_data, tmp_path / "two")
    assert run.best_epoch == 1
    assert "no split to choose an epoch on" in caplog.text
    with pytest.raises(ConfigError, match="nothing for Alarm"):
        _train(_set(recipe, median_seconds={"Dog": 1.0}), tiny_data, tmp_path / "three")


def test_unreadable_clips_are_skipped_counted_and_named(
    tiny_recipe: Recipe, tiny_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Training and validation go on with the rest, and a resumed run takes the same clips."""
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    strong = sorted((data / "audio/train/synthetic21_train/soundscapes").iterdir())[2]
    scored = sorted((data / "audio/validation/validation").iterdir())[0]
    for path in (strong, scored):
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=f"a clip cannot be read: .*{strong.name}"):
        _train(tiny_recipe, data, tmp_path / "strict", strict=True)
    whole = _train(tiny_recipe, data, tmp_path / "whole")
    record = run_record(tmp_path / "whole")[-1]
    assert list(record["unreadable"]) == [str(strong)]
    validation = record["validation"]["teacher"]
    assert (validation["clips"], validation["of"]) == (2, 3)
    assert "a clip is skipped" in caplog.text
    assert "a clip is not scored" in caplog.text
    _train(tiny_recipe, data, tmp_path / "parts", stop_after_epochs=1)
    parts = _train(tiny_recipe, data, tmp_path / "parts", resume=True)
    for name, value in whole.student.state_dict().items():
        assert torch.equal(value, parts.student.state_dict()[name]), name
