"""The queue: recordings divided by seed, arms alike where they should be, killed and gone on."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks/ablation"


def manifest(folder: Path) -> dict[str, set[str]]:
    """Recording → its splits."""
    found: dict[str, set[str]] = {}
    with (folder / "manifest.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            assert (folder / row["file"]).is_file()
            found.setdefault(row["recording"], set()).add(row["split"])
    return found


def test_every_seed_divides_the_recordings_otherwise(small_bank: Path, tmp_path: Path) -> None:
    from bank import make_bank

    from earmark.synth.soundbank import Soundbank

    found = []
    for seed in range(4):
        own = make_bank(small_bank, ("Hiss",), seed, tmp_path / str(seed))
        assert Soundbank(own).labels == ("Beep",)
        found.append(manifest(own))
        assert all(len(splits) == 1 for splits in found[-1].values())  # both pieces of "long"
    assert any(one != found[0] for one in found)
    assert manifest(make_bank(small_bank, ("Hiss",), 2, tmp_path / "again")) == found[2]


def test_arms_differ_in_what_sets_them_apart_alone() -> None:
    from plan import load_arms, load_choices, plan

    arms = load_arms()
    assert list(arms) == list("BCDEFGHO")
    choices = load_choices()
    recipes = {one.arm.name: one.recipe() for one in plan(choices, ["crnn"], list(arms), [1])}
    paper = recipes["H"]
    for name, recipe in recipes.items():
        assert recipe.network == paper.network, name
        assert recipe.train.seed == 1
        same = recipe.train.model_copy(update={"batch": paper.train.batch})
        assert same == paper.train, name
    needs = {name: recipe.method.needs_teacher for name, recipe in recipes.items()}
    assert needs == dict.fromkeys("DEFGH", True) | dict.fromkeys("BCO", False)
    unlabelled = {name: recipe.train.batch.unlabelled for name, recipe in recipes.items()}
    assert unlabelled["B"] == 0 < unlabelled["C"] == unlabelled["H"]
    assert unlabelled["O"] == 0 or arms["O"].oracle  # its data have none: they are labelled
    weights = {name: recipe.method.embedding.weight for name, recipe in recipes.items()}
    assert all((weights[name] > 0) == (name in "EFH") for name in weights)
    assert recipes["E"].method.mixup.tau == 1.0
    assert recipes["F"].method.mixup.tau < 0.5
    assert 0.5 < paper.method.mixup.tau < 1.0
    assert recipes["D"].method.mixup.probability == 0.0
    codes = {one.name for one in plan(choices, ["crnn"], list(arms), [1, 2])}
    assert len(codes) == 16


def test_arms_go_through_their_labelled_clips_alike(
    small_bank: Path, small_choices: Path, tmp_path: Path
) -> None:
    """The same labelled clips in the same steps, and the oracle's others where H's are."""
    from bank import describe, make_data
    from plan import load_choices, plan

    from earmark.data.dataset import StepSampler, compose
    from earmark.data.manifest import load_manifest
    from earmark.model.sed import SedNetwork

    choices = load_choices(small_choices)
    data = make_data(small_bank, choices.bank, 1, tmp_path / "data")
    walks: dict[str, list[list[str]]] = {}
    for one in plan(choices, ["crnn"], ["B", "H", "O"], [1]):
        recipe = one.recipe()
        loaded = load_manifest(describe(data, one.labels, one.arm.oracle)[0])
        spec = SedNetwork(recipe.network, tuple(loaded.labels)).spec
        dataset, groups = compose(loaded, recipe.train.batch, spec.grid, spec.window)
        steps = StepSampler(groups, recipe.train.seed, 0, 5)
        walks[one.arm.name] = [[dataset.clips[row].path.name for row in rows] for rows in steps]
        assert {clip.kind for clip in dataset.clips if "unlab" in str(clip.path)} == {
            *(["unlabelled"] if one.arm.name == "H" else []),
            *(["strong"] if one.arm.name == "O" else []),
        }
    assert [names[:3] for names in walks["H"]] == walks["B"]
    assert walks["O"] == walks["H"]


def test_runs_that_are_not_frozen_are_refused(small_choices: Path, tmp_path: Path) -> None:
    from run import main

    queue = ["--choices", str(small_choices), "--work", str(tmp_path / "work"), "--list"]
    with pytest.raises(SystemExit, match="does not freeze"):
        main(queue)
    main(["--choices", str(small_choices), "--freeze"])
    main([*queue, "--arms", "B,O"])
    with pytest.raises(SystemExit, match="seeds"):
        main([*queue, "--seeds", "1-3"])
    with pytest.raises(SystemExit, match="no arm"):
        main([*queue, "--arms", "B,X"])
    text = small_choices.read_text(encoding="utf-8").replace("steps: 4", "steps: 8")
    small_choices.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit, match="frozen is"):
        main(queue)


def test_killed_and_gone_on(small_bank: Path, small_choices: Path, tmp_path: Path) -> None:
    """Killed in the first run; afterwards all are there, the first as if it had not been."""
    from run import main

    work, runs = tmp_path / "work", tmp_path / "runs"
    queue = ["--choices", str(small_choices), "--soundbank", str(small_bank)]
    queue += ["--runs", str(runs), "--arms", "B,H", "--seeds", "1-2"]
    main(["--choices", str(small_choices), "--freeze"])
    command = [sys.executable, str(SCRIPTS / "run.py"), *queue, "--work", str(work)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while process.poll() is None and not list(work.glob("crnn-*/state.ckpt")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert len(list(runs.glob("*.json"))) < 4
    [begun] = [path.parent.name for path in work.glob("crnn-*/state.ckpt")][:1]

    main([*queue, "--work", str(work)])
    finished = {path.stem: json.loads(path.read_text()) for path in sorted(runs.glob("*.json"))}
    assert [(run["arm"], run["seed"]) for run in finished.values()] == [
        ("B", 1), ("B", 2), ("H", 1), ("H", 2),
    ]  # fmt: skip
    written = {path.name: path.stat().st_mtime_ns for path in runs.glob("*.json")}
    main([*queue, "--work", str(work)])
    assert written == {path.name: path.stat().st_mtime_ns for path in runs.glob("*.json")}

    again = [*queue, "--runs", str(tmp_path / "again"), "--work", str(tmp_path / "other")]
    main([*again, "--arms", finished[begun]["arm"], "--seeds", str(finished[begun]["seed"])])
    undisturbed = json.loads((tmp_path / "again" / f"{begun}.json").read_text())
    assert without_cost(finished[begun]) == without_cost(undisturbed)
    of_pair = [run for run in finished.values() if run["seed"] == 1]
    assert len({run["test"]["evaluation"] for run in of_pair}) == 1
    assert all(len(run["course"]) == 2 for run in finished.values())
    baseline, paper = (run["course"][-1] for run in of_pair)
    assert paper["gradient_ratio"] > 0
    assert "embedding_std" in paper
    assert not {"gradient_ratio", "embedding_std"} & baseline.keys()
    assert all(0 < run["probe"] <= 1 for run in finished.values())


def without_cost(run: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in run.items() if key != "cost"}
