"""What a run writes down of itself, and who else is told of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from earmark.core.errors import ConfigError, DataError
from earmark.data.manifest import load_manifest
from earmark.method.settings import Recipe
from earmark.train.engine import Training, train
from earmark.train.optim import gradient_ratio
from earmark.train.record.journal import JOURNAL, read_begun, run_record
from earmark.train.record.loggers import WandbLogger


class Told:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.figures: list[tuple[int, dict[str, float]]] = []
        self.closed = 0

    def log(self, figures: Mapping[str, float], step: int) -> None:
        self.figures.append((step, dict(figures)))

    def close(self) -> None:
        self.closed += 1


def test_the_journal_says_how_the_run_went(
    tiny_data: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    told = Told()
    old = tiny_recipe.method
    method = {
        "embedding": old.embedding.model_copy(update={"ramp_steps": 1}),
        "mixup": old.mixup.model_copy(update={"probability": 1.0}),
    }
    recipe = tiny_recipe.model_copy(update={"method": old.model_copy(update=method)})
    train(recipe, load_manifest(tiny_data), tmp_path, command="some words", loggers=[told])
    records = run_record(tmp_path)
    for record in records:
        mixing = record["mixing"]
        assert 0.5 <= mixing["lambda"] <= 1.0
        assert 0.0 < mixing["composed"] + mixing["perturbed"] <= 1.0
        assert record["memory"]["process"] > 10_000_000
        assert 0.0 < record["ema"] < 1.0
    assert records[-1]["embedding_ramp"] == 1.0
    assert records[-1]["gradient_ratio"] > 0.0
    assert [step for step, _ in told.figures] == [2, 4]
    assert told.figures[1][1]["train/loss"] == records[1]["losses"]["loss"]
    assert told.figures[1][1]["teacher/psds1"] == records[1]["validation"]["teacher"]["psds1"]
    assert told.closed == 1
    begun, manifest = read_begun(tmp_path), load_manifest(tiny_data)
    assert begun["command"] == "some words"
    assert begun["data"]["fingerprint"] == manifest.fingerprint
    assert begun["data"]["labels"] == ["Alarm_bell_ringing", "Dog", "Speech"]
    [strong] = [one for one in begun["data"]["sources"] if one["kind"] == "strong"]
    events = next(one for one in manifest.train if one.kind == "strong").events or {}
    assert strong["clips"] == 8
    assert strong["by_class"]["Dog"] == sum(
        any(event.event_label == "Dog" for event in own) for own in events.values()
    )


def test_measuring_gradients_changes_nothing(
    tiny_data: Path, tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = load_manifest(tiny_data)
    one = train(tiny_recipe, manifest, tmp_path / "with")
    monkeypatch.setattr(Training, "embedding_gradient", lambda _: {})
    other = train(tiny_recipe, manifest, tmp_path / "without")
    assert "gradient_ratio" in run_record(tmp_path / "with")[-1]
    for ours, theirs in ((one.student, other.student), (one.teacher, other.teacher)):
        for name, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name]), name


def test_a_ratio_of_gradients() -> None:
    a, b, unused = (nn.Parameter(torch.tensor(value)) for value in (3.0, 4.0, 1.0))
    first, second = 2 * a + 2 * b, a**2 + b**2  # gradients (2, 2) and (6, 8)
    assert gradient_ratio(first, second, [a, b, unused]) == pytest.approx(8**0.5 / 10)
    assert gradient_ratio(first, second, [a]) == pytest.approx(2 / 6)
    assert gradient_ratio(unused * 1.0, second, [a, b]) == 0.0
    first.backward()  # the graph is still there
    assert a.grad == 2.0


def test_curves_of_a_resumed_run_go_on(
    tiny_data: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    manifest = load_manifest(tiny_data)
    train(tiny_recipe, manifest, tmp_path, stop_after_epochs=1)
    train(tiny_recipe, manifest, tmp_path, resume=True)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    points = [(one.step, one.value) for one in events.Scalars("train/loss")]
    expected = [(one["step"], one["losses"]["loss"]) for one in run_record(tmp_path)]
    assert points == [(step, pytest.approx(value)) for step, value in expected]


def test_loggers_are_closed_when_a_run_breaks_off(
    tiny_data: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    class Full(Told):
        def log(self, figures: Mapping[str, float], step: int) -> None:
            raise OSError("no room")

    told = Full()
    with pytest.raises(OSError, match="no room"):
        train(tiny_recipe, load_manifest(tiny_data), tmp_path, loggers=[told])
    assert told.closed == 1


def test_weights_and_biases_goes_on_in_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[dict[str, Any]] = []
    sent: list[Any] = []

    def init(**given: Any) -> SimpleNamespace:
        begun.append(given)
        return SimpleNamespace(
            log=lambda figures, step: sent.append((step, figures)),
            finish=lambda: sent.append("end"),
        )

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    out = tmp_path / "mine"
    for step in (2, 4):
        logger = WandbLogger("barks", out, {"lr": 0.1})
        logger.log({"train/loss": 1.0 / step}, step)
        logger.close()
    assert sent == [(2, {"train/loss": 0.5}), "end", (4, {"train/loss": 0.25}), "end"]
    first, second = begun
    assert first == second
    assert (first["project"], first["name"], first["config"]) == ("barks", "mine", {"lr": 0.1})
    WandbLogger("barks", tmp_path / "never", {}).close()
    WandbLogger("barks", tmp_path / "other", {}).log({}, 1)
    assert begun[2]["id"] != first["id"]


def test_without_weights_and_biases_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="wandb, which is not installed"):
        WandbLogger("barks", tmp_path, {})


@pytest.mark.parametrize("line", ["nothing", "[]", '{"epoch": 1}', '{"epoch": "1"}'])
def test_a_damaged_journal_names_its_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(DataError, match="no journal"):
        run_record(tmp_path)
    good = json.dumps({"epoch": 1, "step": 2, "losses": {}})
    (tmp_path / JOURNAL).write_text(f"{good}\n{line}\n")
    assert len(run_record(tmp_path)) == 1  # written half
    (tmp_path / JOURNAL).write_text(f"{line}\n{good}\n")
    with pytest.raises(DataError, match=r"journal\.jsonl:1"):
        run_record(tmp_path)
