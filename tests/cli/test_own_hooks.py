"""The example of docs/own_hooks.md, installed as a plug-in: it trains, detects, and is missed."""

from __future__ import annotations

import importlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from earmark.cli import app
from earmark.core.errors import ConfigError
from earmark.core.formats.base import event_table
from earmark.core.tables.scores import ScoreTable
from earmark.detect.detector import Detector
from earmark.detect.postprocess import filter_table, post_process, scores_to_events
from earmark.detect.postprocess_spec import PostProcess
from earmark.detect.tuning.tune import tune
from helpers.plugins import EXAMPLES, install, install_example
from helpers.recipes import TINY, set_each

RUNNER = CliRunner()
HOOKS = (
    "train.batch={real: 0, synthetic: 2, weak: 2, unlabelled: 2}",
    "method.losses=[{name: focal, weight: 0.5, options: {gamma: 1}}, "
    "{name: focal, against: teacher}]",
    "method.augmentations=[{name: band-gain, domain: mel}]",
    "train.postprocess={name: two-thresholds, options: {low: 0.45, high: 0.55}}",
)


def command(*arguments: str) -> str:
    result = RUNNER.invoke(app, list(arguments))
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def test_the_example_trains_detects_and_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, run = str(tmp_path / "data"), tmp_path / "run"
    clips = "strong=3,weak=2,unlabelled=2,validation=2,test=1"
    command("synth", data, "--recipe", "demo", "--clips", clips, "--workers", "1")
    with monkeypatch.context() as installed:
        install_example("own_hooks", tmp_path / "site", installed)
        command("train", "mini", "--data", data, "--device", "cpu", "--out", str(run),
                *set_each(*TINY, *HOOKS))  # fmt: skip
        record = json.loads((run / "journal.jsonl").read_text().splitlines()[-1])
        assert record["losses"]["focal.strong"] > 0
        assert record["losses"]["focal.teacher"] > 0
        hook = yaml.safe_load((run / "postprocess.yaml").read_text())["hook"]
        options = {"low": 0.45, "high": 0.55}
        assert hook == {"name": "two-thresholds", "package": "own-hooks", "options": options}
        card = (run / "README.md").read_text()
        assert "the loss 'focal' of own-hooks {'gamma': 1}" in card
        assert "the post-processing 'two-thresholds' of own-hooks" in command("info", str(run))

        clip = next((tmp_path / "data/audio/eval/public").iterdir())
        detector = Detector.from_pretrained(str(run))
        table = detector.score(clip)
        own = importlib.import_module("own_hooks").two_thresholds
        values = own(table.values, table.boundaries, table.labels, **options)
        plain = detector.postprocess.changed(hook=None)
        after = ScoreTable(table.boundaries, values, table.labels)
        expected = event_table([(clip.name, one) for one in scores_to_events(after, plain)],
                               scored=True)  # fmt: skip
        found = pd.read_csv(io.StringIO(command("detect", str(run), str(clip))), sep="\t")
        pd.testing.assert_frame_equal(found, expected, check_dtype=False)
        assert scores_to_events(table, plain) != scores_to_events(after, plain)
        with pytest.raises(ConfigError, match="a stream cannot use the post-processing"):
            detector.open_stream(16_000)
    sys.modules.pop("own_hooks", None)
    for arguments in (["detect", str(run), str(clip)], ["info", str(run)]):
        refused = RUNNER.invoke(app, arguments).exception
        assert "needs the post-processing 'two-thresholds' of the package own-hooks" in str(refused)
        assert "not installed" in str(refused)


@pytest.fixture
def halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Post-processing that halves scores, and some that does not keep its promise."""
    (tmp_path / "halves.py").write_text(
        "def halve(scores, boundaries, labels): return scores / 2\n"
        "def double(scores, boundaries, labels): return scores * 2\n"
        "def cut(scores, boundaries, labels): return scores[1:]\n"
    )
    points = {"earmark.postprocessing": {n: f"halves:{n}" for n in ("halve", "double", "cut")}}
    install({"name": "halves", "version": "1", "entry-points": points}, tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def table(seed: int = 0, frames: int = 60) -> ScoreTable:
    values = np.random.default_rng(seed).random((frames, 2), dtype=np.float32)
    return ScoreTable(np.arange(frames + 1) / 10, values, ("a", "b"))


@pytest.mark.usefixtures("halves")
@pytest.mark.parametrize("method", ["median", "csebb"])
def test_it_comes_before_everything_else(method: str) -> None:
    given, own = {"method": method, "median_seconds": 0.3}, {"name": "halve"}
    whole = PostProcess.from_dict({**given, "threshold": 0.2, "hook": own})
    plain = PostProcess.from_dict({**given, "threshold": 0.2})
    half = ScoreTable(table().boundaries, table().values / 2, ("a", "b"))
    np.testing.assert_array_equal(
        filter_table(table(), whole).values, filter_table(half, plain).values
    )
    assert post_process(table(), whole)[1] == scores_to_events(half, plain)
    assert PostProcess.from_dict(whole.to_dict()) == whole
    assert "hook" not in plain.to_dict()


@pytest.mark.usefixtures("halves")
def test_tuning_tunes_what_comes_after_it() -> None:
    tables = {f"clip{n}": table(n) for n in range(6)}
    truth = {
        clip: scores_to_events(one, PostProcess(threshold=0.7)) for clip, one in tables.items()
    }
    given = (truth, dict.fromkeys(tables, 6.0), ("a", "b"))
    base = PostProcess.from_dict({"hook": "halve"})
    halved = {clip: ScoreTable(one.boundaries, one.values / 2, one.labels)
              for clip, one in tables.items()}  # fmt: skip
    options = {"method": "median", "objective": "collar_f1", "folds": 2, "grid": [0.0, 0.3]}
    own = tune(tables, *given, base=base, **options)  # type: ignore[arg-type]
    plain = tune(halved, *given, **options)  # type: ignore[arg-type]
    assert own.postprocess == plain.postprocess.changed(hook=base.hook)
    assert [one.hook for one in own.folds] == [base.hook] * 2


@pytest.mark.usefixtures("halves")
@pytest.mark.parametrize("name", ["double", "cut"])
def test_what_it_gives_is_checked(name: str) -> None:
    with pytest.raises(ConfigError, match=f"the post-processing '{name}' of halves gave a ndarray"):
        scores_to_events(table(), PostProcess.from_dict({"hook": {"name": name}}))


def test_the_example_is_as_short_as_the_page_says() -> None:
    text = (EXAMPLES / "own_hooks/own_hooks.py").read_text(encoding="utf-8")
    assert sum(bool(line.strip()) for line in text.split('"""', 2)[2].splitlines()) <= 45
