"""What follows from the data, and when a run ends early."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric

from earmark.core.batch_settings import BatchSettings
from earmark.core.config import DataSettings
from earmark.data.manifest import Manifest, Source, load_manifest
from earmark.method.settings import Recipe
from earmark.train import engine
from earmark.train.engine import Run, train
from earmark.train.recipe import LEAST_EVENTS, fit_to_data, load_recipe
from earmark.train.record.journal import run_record
from helpers import trees
from helpers.score_world import run as command


def described(folder: Path, recordings: int, pieces: int, *, validation: int = 0) -> Path:
    """A data set of strong clips, of which each recording has some pieces, one event in each."""
    sources: dict[str, list[str]] = {"clips": [], "val": []}
    for recording in range(recordings):
        for piece in range(pieces):
            sources["clips"].append(f"r{recording}_{piece}.000_{piece + 1}.000.wav")
    sources["val"] = [f"v{number}.wav" for number in range(validation)]
    text = "train: [{audio: clips, strong: clips.tsv}]\n"
    for name, clips in sources.items():
        if not clips:
            continue
        for number, clip in enumerate(clips):
            trees.clip(folder / name / clip, 0.5 / (len(name) * 1000 + number))
        labels = {clip: "Dog" if number % 2 else "Cat" for number, clip in enumerate(clips)}
        events = {clip: [(0, 0.01, label)] for clip, label in labels.items()}
        trees.strong(folder / f"{name}.tsv", events)
    if validation:
        text += "validation: {audio: val, strong: val.tsv}\n"
    (folder / "data.yaml").write_text(text)
    return folder / "data.yaml"


def test_every_setting_has_its_value_and_stands_in_the_recipe(tmp_path: Path) -> None:
    manifest = load_manifest(described(tmp_path, 4, 2, validation=12))
    recipe = load_recipe("own")
    fitted = fit_to_data(recipe, manifest)
    assert fitted.manifest is manifest
    assert fitted.recipe.from_data == ()
    train, shown = fitted.recipe.train, " ".join(fitted.notes)
    assert train.batch == BatchSettings(real=8, synthetic=0, weak=0, unlabelled=0)
    assert (train.steps_per_epoch, train.patience, train.select) == (15, 4, "teacher_psds")
    assert fitted.recipe.method.ramp_steps == train.epochs * 15 // 3
    assert "8 labelled clips: 20 epochs of 15 steps of 8 real clips" in shown
    assert "12 events of validation" in shown
    assert len(fitted.notes) == 2
    again = fit_to_data(fitted.recipe, manifest)
    assert again == (fitted.recipe, manifest, ())


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ("train.batch={real: 3}", "train.batch"),
        ("train.batch.weak=3", "train.batch"),
        ("train.steps_per_epoch=7", "train.steps_per_epoch"),
        ("method.ramp_steps=9", "method.ramp_steps"),
        ("train.patience=null", "train.patience"),
        ("train.patience=9", "train.patience"),
        ("train.select=last", "train.select"),
        ("data.real_held_out=0.0", "data.real_held_out"),
    ],
)
def test_an_explicit_setting_always_wins(tmp_path: Path, override: str, place: str) -> None:
    manifest = load_manifest(described(tmp_path, 80, 1))
    recipe = load_recipe("own", [override])
    found = fit_to_data(recipe, manifest).recipe

    def at(recipe: Recipe) -> Any:
        value: Any = recipe
        for name in place.split("."):
            value = getattr(value, name)
        return value

    assert at(found) == at(recipe)
    others = fit_to_data(load_recipe("own"), manifest).recipe
    assert at(others) != at(found)


def test_recordings_are_kept_back_whole(tmp_path: Path) -> None:
    data = described(tmp_path, 40, 2)
    fitted = fit_to_data(load_recipe("own"), load_manifest(data))
    split = fitted.manifest.splits["clips_held_out"]
    kept = {path.name.partition("_")[0] for path in split.clips}
    trained = {path.name.partition("_")[0] for path in fitted.manifest.train[0].clips}
    assert not kept & trained
    assert len(split.clips) == 12  # 15 % of 80
    assert fitted.recipe.train.validate_on == ("validation", "clips_held_out")
    assert fitted.recipe.data == DataSettings(real_held_out=0.15)
    assert "12 of 80 clips of clips are kept back as clips_held_out" in fitted.notes[0]


@pytest.mark.parametrize(("recordings", "pieces"), [(9, 10), (20, 1)])
def test_with_few_recordings_the_last_epoch_is_kept(
    tmp_path: Path, recordings: int, pieces: int
) -> None:
    """Nine recordings are too few; 15 % of 20 clips have fewer than ten events."""
    manifest = load_manifest(described(tmp_path, recordings, pieces))
    fitted = fit_to_data(load_recipe("own"), manifest)
    assert fitted.manifest is manifest
    assert fitted.recipe.train.select == "last"
    assert fitted.recipe.train.patience is None
    assert f"{recordings} recordings are too few" in fitted.notes[0]
    assert "0 events are too few to choose an epoch on" in fitted.notes[1]
    assert LEAST_EVENTS > 3


OWN = load_recipe("own", ["data.real_held_out=0"])


@settings(max_examples=60, deadline=None)
@given(
    counts=st.dictionaries(
        st.sampled_from(["real", "synthetic", "weak", "unlabelled"]), st.integers(1, 3000)
    ).filter(lambda counts: set(counts) != {"unlabelled"} and counts),
)
def test_sizes_for_any_mix_of_clips(counts: dict[str, int]) -> None:
    sources = [
        Source(
            "strong" if name in ("real", "synthetic") else name,  # type: ignore[arg-type]
            name,
            tuple(Path(f"{name}{number}.wav") for number in range(count)),
            domain="synthetic" if name == "synthetic" else "real",
        )
        for name, count in counts.items()
    ]
    manifest = Manifest(Path(), None, tuple(sources), {})  # type: ignore[arg-type]
    found = fit_to_data(OWN, manifest).recipe.train
    takes = {name: take for name, take in found.batch.model_dump().items() if take}
    assert takes.keys() == counts.keys()
    assert all(take <= counts[name] for name, take in takes.items())
    assert sum(takes.values()) <= 24
    if all(count >= 24 for count in counts.values()):
        assert sum(takes.values()) == 24
    assert 15 <= found.steps_per_epoch <= 60
    labelled = [name for name in counts if name != "unlabelled"]
    passes = found.steps_per_epoch * sum(takes[name] for name in labelled)
    assert passes >= 3 * sum(counts[name] for name in labelled) or found.steps_per_epoch == 60


def patient(recipe: Recipe, patience: int | None, **more: Any) -> Recipe:
    chosen = {"epochs": 6, "steps_per_epoch": 1, "validate_every": 1, "patience": patience}
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=chosen | more)})


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], None]:
    """Lets validations have given figures, by epoch."""

    def give(values: list[float]) -> None:
        def validate(task: engine.Training) -> dict[str, Any]:
            figure = {"psds1": values[task.run.epoch - 1], "psds2": 0.0, "collar_f1": 0.0}
            return {"student": figure, "teacher": figure}

        monkeypatch.setattr(engine, "validate", validate)

    return give


def trained(recipe: Recipe, data: Path, out: Path, **options: Any) -> Run:
    fabric = Fabric(accelerator="cpu", devices=1)
    return train(recipe, load_manifest(data), out, fabric=fabric, **options)


@pytest.mark.parametrize(
    ("patience", "values", "last", "best"),
    [
        (2, [0.1, 0.3, 0.2, 0.3, 0.9, 0.9], 4, 2),  # as good is no better
        (2, [0.1, 0.0, 0.2, 0.1, 0.3, 0.2], 6, 5),
        (1, [0.5, 0.1, 0.9, 0.9, 0.9, 0.9], 2, 1),
        (None, [0.5, 0.1, 0.1, 0.1, 0.1, 0.1], 6, 1),
    ],
)
def test_a_run_ends_when_patience_does(
    tiny_data: Path,
    tiny_recipe: Recipe,
    tmp_path: Path,
    figures: Callable[[list[float]], None],
    patience: int | None,
    values: list[float],
    last: int,
    best: int,
) -> None:
    figures(values)
    run = trained(patient(tiny_recipe, patience), tiny_data, tmp_path)
    assert (run.epoch, run.best_epoch) == (last, best)
    records = run_record(tmp_path)
    assert len(records) == last
    assert ("stopped" in records[-1]) == (last < 6)
    for name in ("teacher", "student"):
        assert f"after epoch {last} of 6" in (tmp_path / name / "README.md").read_text()
    assert f"after epoch {best} of 6" in (tmp_path / "README.md").read_text()
    assert not (tmp_path / "state.before.ckpt").exists()


def test_patience_survives_an_interruption(
    tiny_data: Path,
    tiny_recipe: Recipe,
    tmp_path: Path,
    figures: Callable[[list[float]], None],
) -> None:
    """A run stopped between two bad validations ends where the uninterrupted one does."""
    figures([0.5, 0.1, 0.1, 0.9, 0.9, 0.9])
    recipe = patient(tiny_recipe, 2)
    whole = trained(recipe, tiny_data, tmp_path / "whole")
    trained(recipe, tiny_data, tmp_path / "parts", stop_after_epochs=2)
    parts = trained(recipe, tiny_data, tmp_path / "parts", resume=True)
    assert whole.epoch == parts.epoch == 3
    for ours, theirs in ((whole.student, parts.student), (whole.teacher, parts.teacher)):
        for name, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name]), name
    # An ended run has nothing left to do …
    before = (tmp_path / "parts/model.safetensors").read_bytes()
    assert trained(recipe, tiny_data, tmp_path / "parts", resume=True).epoch == 3
    assert (tmp_path / "parts/model.safetensors").read_bytes() == before
    # … unless it is to have more patience: then it goes on as one that always had.
    more = trained(patient(tiny_recipe, None), tiny_data, tmp_path / "parts", resume=True)
    patiently = trained(patient(tiny_recipe, None), tiny_data, tmp_path / "patient")
    assert (more.epoch, more.best_epoch) == (patiently.epoch, patiently.best_epoch) == (6, 4)
    for name, value in patiently.student.state_dict().items():
        assert torch.equal(value, more.student.state_dict()[name]), name


def test_without_a_split_nothing_ends_early(
    tiny_data: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = patient(tiny_recipe, 1, validate_on=("nowhere",), epochs=3)
    assert trained(recipe, tiny_data, tmp_path).epoch == 3


def test_the_papers_recipes_end_with_their_last_epoch() -> None:
    for name in ("atst-sed-stage2", "atst-sed-v2-stage2", "crnn-v2", "mini"):
        assert load_recipe(name).train.patience is None
        assert load_recipe(name).from_data == ()


def test_the_command_says_what_followed_and_what_is_scarce(tmp_path: Path) -> None:
    """The run's recipe has the values, and the same command goes on with it."""
    data = described(tmp_path, 3, 2, validation=10)
    trees.clip(tmp_path / "street/a.wav", 0.3)
    text = data.read_text().replace(
        "strong: clips.tsv}", "strong: clips.tsv}, {audio: street, negatives: true}"
    )
    data.write_text(text)
    small = [
        *("network.channels=[4,4,4,4,4]", "network.rnn_hidden=4", "network.encoder.merge=4"),
        *("network.window_seconds=1.0", "train.epochs=1", "train.steps_per_epoch=7"),
        f"train.token_cache={tmp_path / 'tokens'}",
    ]
    line = ["train", "own", "--data", data, "--out", tmp_path / "run", "--device", "cpu"]
    line += [part for one in small for part in ("--set", one)]
    said = " ".join(command(*line).split())
    assert "street (negatives): 1 clips" in said
    assert "from the data: 7 labelled clips: 1 epochs of 7 steps of 7 real clips" in said
    assert "fewer than 5 recordings of Cat (3), Dog (3)" in said
    assert "to go: 1 steps of" in said
    assert "without a single event" not in said
    kept = load_recipe(tmp_path / "run/recipe.yaml")
    assert (kept.train.steps_per_epoch, kept.train.batch.real, kept.train.patience) == (7, 7, 4)
    assert kept.from_data == ()
    assert "bundle:" in command(*line, "--resume")
    assert json.loads((tmp_path / "run/journal.jsonl").read_text())["epoch"] == 1
