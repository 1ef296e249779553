"""Labels that do not fit: reported by train, evaluate and score, refused by ``--strict``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from earmark.core.tables.scores import ScoreTable
from helpers import trees
from helpers.recipes import TINY, set_each
from helpers.score_world import World, run, write_scores, wrong

HEAD = "filename\tonset\toffset\tevent_label"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A strong clip and a split, whose events lie after the end."""
    for name in ("strong", "validation"):
        trees.clip(tmp_path / name / "a.wav", 0.1 * len(name), 16_000)
        trees.strong(tmp_path / f"{name}.tsv", {"a.wav": [(70, 71, "Dog"), (0, 0.5, "Dog")]})
    text = "train:\n  - {audio: strong, strong: strong.tsv}\n"
    text += "validation: {audio: validation, strong: validation.tsv}\n"
    (tmp_path / "data.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "data.yaml"


def test_train_reports_and_refuses(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ["train", "mini", "--data", data, "--out", tmp_path / "run", *set_each(*TINY)]
    told = wrong(*wanted, "--strict", capsys=capsys)
    assert "strong: events that begin after the end of their clip: 1 (Dog of a.wav" in told
    assert "and 1 more such" in told
    assert not (tmp_path / "run").exists()


def test_training_itself_says_what_does_not_fit(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run("train", "mini", "--data", data, "--out", tmp_path / "run", *set_each(*TINY))
    said = [record.getMessage() for record in caplog.records]
    assert sum(text.startswith("strong: events that begin after the end") for text in said) == 1
    assert sum(text.startswith("validation: events that begin after") for text in said) == 1


def test_evaluate_reports_and_refuses(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    wanted = ["evaluate", "mini", "--data", data, "--resamples", 0, "--no-plot", "--out", out]
    told = " ".join(run(*wanted).split())
    assert told.count("validation: events that begin after the end of their clip: 1 (Dog") == 1
    found = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert any("begin after the end" in text for text in found["warnings"])
    told = wrong(*wanted, "--strict", capsys=capsys)
    assert "validation: events that begin after the end of their clip" in told


def test_evaluate_suggests_the_class(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trees.strong(data.parent / "validation.tsv", {"a.wav": [(0, 0.5, "dog")]})
    told = wrong("evaluate", "mini", "--data", data, "--out", tmp_path / "out", capsys=capsys)
    assert "has the label dog" in told
    assert "Did you mean Dog?" in told


def score(
    tmp_path: Path, truth: list[str], events: list[str], *more: object, head: str = HEAD
) -> list[object]:
    """A command that scores a table of events against some truth of clips of 10 seconds."""
    trees.table(tmp_path / "truth.tsv", HEAD, *truth)
    trees.table(tmp_path / "events.tsv", head, *events)
    trees.table(tmp_path / "seconds.tsv", "filename\tduration", "a.wav\t10")
    files = [f"--{name}={tmp_path / path}.tsv" for name, path in (
        ("truth", "truth"), ("events", "events"), ("durations", "seconds")
    )]  # fmt: skip
    return ["score", *files, "--resamples", 0, *more]


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        ("a.wav\t12\t13\tDog", "truth: events that begin after the end of their clip: 1 (Dog of a"),
        ("a.wav\t9\t13\tDog", "truth: events that end after their clip: 1 (Dog of a"),
        ("a.wav\t5\t6\tdog", "truth: class names that are nearly alike: 1 ('Dog' beside 'dog')"),
    ],
)
def test_score_reports_truth_that_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], truth: str, words: str
) -> None:
    wanted = score(tmp_path, ["a.wav\t1\t2\tDog", truth], ["a.wav\t1\t2\tDog"])
    assert words in " ".join(run(*wanted).split())
    assert words in wrong(*wanted, "--strict", capsys=capsys)


def test_score_tables_report_truth_after_the_end(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = next(iter(world.tables))
    truth = world.truth | {clip: [*world.truth[clip], (11.0, 12.0, "Dog")]}
    trees.strong(tmp_path / "truth.tsv", {f"{name}.wav": own for name, own in truth.items()})
    files = ["--truth", tmp_path / "truth.tsv", "--scores", world.folder / "scores"]
    for more in ([], ["--durations", world.folder / "seconds.csv"]):
        wanted = ["score", *files, *more, "--resamples", 0]
        words = f"truth: events that begin after the end of their clip: 1 (Dog of {clip}"
        assert words in run(*wanted).replace("\n", " ")
        assert words in wrong(*wanted, "--strict", capsys=capsys)


def test_score_suggests_classes_of_another_spelling(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = score(tmp_path, ["a.wav\t1\t2\tDog"], ["a.wav\t1\t2\tdog"])
    words = "predicted classes that the truth does not have: 1 ('dog', did you mean 'Dog'?)"
    assert words in " ".join(run(*wanted).split())
    assert words in wrong(*wanted, "--strict", capsys=capsys)
    table = ScoreTable(np.array([0.0, 10.0]), np.full((1, 1), 0.5), ("dog",))
    write_scores(tmp_path / "scores", {"a": table})
    files = ["--truth", tmp_path / "truth.tsv", "--scores", tmp_path / "scores"]
    assert "Did you mean dog?" in wrong("score", *files, capsys=capsys)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Dog: Hound", "turns Dog, a class of the truth, into Hound, which it does not have"),
        ("Dog:", "turns Dog, a class of the truth, into nothing"),
        ("Hund: dog", "turns Hund into dog, the truth has Dog. Write Hund: Dog"),
    ],
)
def test_class_maps_that_lead_away_from_the_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, words: str
) -> None:
    (tmp_path / "map.yaml").write_text(line + "\n", encoding="utf-8")
    events = ["a.wav\t1\t2\tHund", "a.wav\t1\t2\tDog"]
    wanted = score(tmp_path, ["a.wav\t1\t2\tDog"], events, "--class-map", tmp_path / "map.yaml")
    assert words in wrong(*wanted, capsys=capsys)


def test_class_maps_to_what_the_truth_lacks_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "map.yaml").write_text("Hund: Hound\n", encoding="utf-8")
    more = ["--class-map", tmp_path / "map.yaml"]
    wanted = score(tmp_path, ["a.wav\t1\t2\tDog"], ["a.wav\t1\t2\tHund"], *more)
    words = "predicted classes that the truth does not have: 1 ('Hound' of the class map)"
    assert words in " ".join(run(*wanted).split())
    assert words in wrong(*wanted, "--strict", capsys=capsys)
    (tmp_path / "map.yaml").write_text("Hund: Dog\n", encoding="utf-8")
    run(*wanted, "--strict")


def test_confidence_of_events_is_their_score(tmp_path: Path) -> None:
    truth = [f"a.wav\t{2 * n}\t{2 * n + 1}\tDog" for n in range(4)]
    events = [f"a.wav\t{2 * n}\t{2 * n + 1}\tDog\t{0.9 - n / 5}" for n in range(4)]
    found = []
    for column in ("score", "Confidence"):
        out = tmp_path / f"{column}.json"
        wanted = score(tmp_path, truth, events, "--json", out, head=f"{HEAD}\t{column}")
        told = " ".join(run(*wanted).split())
        found.append(json.loads(out.read_text(encoding="utf-8")))
    assert "the scores of the events are the column Confidence of events.tsv" in told
    assert found[0]["psds1"] == found[1]["psds1"] > 0
    assert "PSDS over the scores of the events" in told


def test_confidence_that_is_no_number_is_not_used(tmp_path: Path) -> None:
    events = ["a.wav\t1\t2\tDog\thigh"]
    wanted = score(tmp_path, ["a.wav\t1\t2\tDog"], events, head=f"{HEAD}\tconfidence")
    told = " ".join(run(*wanted).split())
    assert "the column confidence of events.tsv is not used: the confidence 'high' is not a" in told
    out = tmp_path / "out.json"
    files = [f"--truth={tmp_path}/truth.tsv", f"--events=0.5={tmp_path}/events.tsv"]
    told = run("score", *files, f"--durations={tmp_path}/seconds.tsv", "--json", out)
    assert "is not used: the threshold of each event is given" in " ".join(told.split())


def test_confidence_of_the_truth_is_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = score(tmp_path, [], ["a.wav\t1\t2\tDog"])
    trees.table(tmp_path / "truth.tsv", f"{HEAD}\tconfidence", "a.wav\t1\t2\tDog\t0.1")
    words = "truth: columns of confidence that are not used: every row counts in full: 1 (confid"
    assert words in " ".join(run(*wanted).split())
    assert words in wrong(*wanted, "--strict", capsys=capsys)
