"""The page is made of the committed runs alone, and refuses what does not belong together."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

SCORES = {"B": 0.2, "H": 0.25, "O": 0.4}


@pytest.fixture
def make_runs(small_choices: Path, tmp_path: Path) -> Callable[..., Path]:
    """Files of made-up runs, frozen in the choices."""
    from plan import Planned, digest, load_arms, load_choices
    from run import freeze

    freeze(load_choices(small_choices), small_choices)
    choices, arms = load_choices(small_choices), load_arms()

    def make(change: Callable[[dict[str, Any]], None] = lambda run: None) -> Path:
        folder, rng = tmp_path / "runs", np.random.default_rng(0)
        folder.mkdir(exist_ok=True)
        for arm, score in SCORES.items():
            for seed in choices.seeds:
                configuration = Planned("crnn", arms[arm], seed, choices).configuration()
                figure = score + 0.01 * rng.standard_normal()
                own = dict.fromkeys(("psds1", "psds2", "collar_f1", "class_mean_psds1"), figure)
                test = {"median": own, "csebb": own, "frame_map": figure, "clips": 6}
                point = {"step": 4, "frame_ap_unlabelled": figure}
                run = {
                    **{"network": "crnn", "arm": arm, "seed": seed, "labels": 6, "steps": 4},
                    **{"configuration": configuration, "digest": digest(configuration)},
                    **{
                        "recordings": "r",
                        "parameters": 1000,
                        "probe": 0.5,
                        "classes": ["Beep", "Hiss"],
                    },
                    **{"cost": {"cpu_seconds_per_step": 0.1}, "course": [point]},
                    "test": {**test, "evaluation": f"clips of {seed}"},
                }
                run = copy.deepcopy(run)
                change(run)
                name = f"crnn-{arm}-{seed:02d}.json"
                (folder / name).write_text(json.dumps(run), encoding="utf-8")
        return folder

    return make


def write_page(runs: Path, choices: Path, page: Path, *more: str) -> int:
    from report import main

    return main(["--runs", str(runs), "--choices", str(choices), "--page", str(page), *more])


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text("# Title\n<!-- measured -->\nold\n<!-- /measured -->\nrest\n", encoding="utf-8")
    return path


def test_written_twice_without_a_difference(
    make_runs: Callable[..., Path], small_choices: Path, page: Path
) -> None:
    runs = make_runs()
    assert write_page(runs, small_choices, page, "--check") == 1
    assert write_page(runs, small_choices, page) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Title\n")
    assert text.endswith("\nrest\n")
    assert "old" not in text
    assert write_page(runs, small_choices, page, "--check") == 0
    assert write_page(runs, small_choices, page) == 0
    assert page.read_text(encoding="utf-8") == text


def test_figures_of_the_page(
    make_runs: Callable[..., Path], small_choices: Path, page: Path
) -> None:
    from plan import load_choices
    from report import differences, read_runs

    runs = read_runs(make_runs(), load_choices(small_choices))["crnn"]
    of = {
        (arm, seed): run["test"]["median"]["class_mean_psds1"]
        for arm, own in runs.items()
        for seed, run in own.items()
    }
    gains = [of["H", seed] - of["B", seed] for seed in (1, 2)]
    assert differences(runs, "H", "B") == pytest.approx(gains)
    assert differences(runs, "H", "G") == []
    write_page(make_runs(), small_choices, page)
    text = page.read_text(encoding="utf-8")
    [row] = [line for line in text.splitlines() if line.startswith("| H > B")]
    assert f"{np.mean(gains):+.4f}" in row


def test_a_hypothesis_over_several_is_tested_against_the_nearest() -> None:
    from report import hypothesis

    def runs(*scores: float) -> dict[int, Any]:
        median = [{"class_mean_psds1": score} for score in scores]
        return {seed: {"test": {"median": own}} for seed, own in enumerate(median)}

    arms = {"H": runs(0.5, 0.6, 0.7), "E": runs(0.1, 0.3, 0.3), "F": runs(0.45, 0.56, 0.65)}
    assert hypothesis(arms, "H", ["E", "F"]) == ("E", pytest.approx([0.4, 0.3, 0.4]))
    arms["F"] = runs(0.45, 0.65, 0.65)
    found = hypothesis(arms, "H", ["E", "F"])
    assert found is not None
    assert found[0] == "F"
    assert hypothesis(arms, "H", ["G"]) is None


def other_configuration(run: dict[str, Any]) -> None:
    from plan import digest

    run["configuration"]["recipe"]["train"]["lr"] = 0.5
    run["digest"] = digest(run["configuration"])


def changed_afterwards(run: dict[str, Any]) -> None:
    run["configuration"]["recipe"]["train"]["lr"] = 0.5


def other_clips(run: dict[str, Any]) -> None:
    if run["arm"] == "O":
        run["test"]["evaluation"] = "others"


def other_recordings(run: dict[str, Any]) -> None:
    run["recordings"] = run["arm"]


def of_the_pilot(run: dict[str, Any]) -> None:
    run["seed"] += 100


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_configuration, "frozen is"),
        (changed_afterwards, "not that of its configuration"),
        (other_clips, "scored on different clips"),
        (other_recordings, "of different recordings"),
        (of_the_pilot, "seed 101 is not among"),
    ],
)
def test_refused(
    make_runs: Callable[..., Path],
    small_choices: Path,
    page: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, Any]], None],
    said: str,
) -> None:
    before = page.read_text(encoding="utf-8")
    assert write_page(make_runs(change), small_choices, page) == 2
    assert said in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == before


def test_the_committed_page_is_what_the_committed_runs_say() -> None:
    from report import main

    assert main(["--check"]) == 0


def test_the_development_seed_is_no_seed_of_the_results(small_choices: Path) -> None:
    from plan import CHOICES, load_choices

    assert load_choices(CHOICES).seeds
    content = yaml.safe_load(small_choices.read_text(encoding="utf-8"))
    small_choices.write_text(yaml.safe_dump(content | {"development_seed": 2}), encoding="utf-8")
    with pytest.raises(ValueError, match="development seed"):
        load_choices(small_choices)
