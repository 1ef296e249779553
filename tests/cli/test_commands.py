"""The command line from end to end on tiny data, and its exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import earmark.cli
import earmark.train.recipe
from earmark.cli import app, main
from earmark.cli.commands import COMMANDS
from earmark.cli.options import RENAMED
from helpers.recipes import TINY, set_each

RUNNER = CliRunner()
SET = set_each(*TINY, "train.batch={real: 0, synthetic: 2, weak: 2, unlabelled: 2}")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "data"
    clips = "strong=3,weak=2,unlabelled=2,validation=2,test=2"
    arguments = ["synth", str(out), "--recipe", "demo", "--clips", clips, "--workers", "1"]
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli-run") / "run"
    arguments = ["train", "mini", "--data", str(data), "--out", str(out), "--device", "cpu", *SET]
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "fingerprint" in result.output
    return out


def test_train_evaluate_detect(data: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "test"
    arguments = ["evaluate", str(run), "--data", str(data), "--split", "test", "--out", str(out)]
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["clips"] == metrics["of"] == 2
    assert len(list((out / "scores").glob("*.tsv"))) == 2
    clip = next((data / "audio/eval/public").iterdir())
    result = RUNNER.invoke(app, ["detect", str(run), str(clip), "--out", str(tmp_path / "found")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "found/events.tsv").exists()


def test_train_leaves_a_report_and_report_makes_it_again(
    run: Path, tmp_path: Path, mistake: Callable[..., str]
) -> None:
    text = (run / "report.html").read_text("utf-8")
    assert ", finished" in text
    assert "PSDS1" in text
    result = RUNNER.invoke(app, ["report", str(run), "--out", str(tmp_path / "again.html")])
    assert result.exit_code == 0, result.output
    without_time = [
        re.sub(r"· 2.* UTC", "", one)
        for one in (text, (tmp_path / "again.html").read_text("utf-8"))
    ]
    assert without_time[0] == without_time[1]
    assert "holds no journal of a run" in mistake("report", str(tmp_path))


def test_a_report_that_cannot_be_written_does_not_end_the_training(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    (out / "report.html").mkdir(parents=True)
    arguments = ["train", "mini", "--data", str(data), "--out", str(out), "--device", "cpu", *SET]
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert result.output.count("no report of this run from now on") == 1
    assert (out / "model.safetensors").is_file()


def test_resume_of_a_finished_run_is_harmless(data: Path, run: Path) -> None:
    before = (run / "model.safetensors").read_bytes()
    arguments = ["train", "mini", "--data", str(data), "--out", str(run), "--device", "cpu", *SET]
    assert RUNNER.invoke(app, [*arguments, "--resume"]).exit_code == 0
    assert (run / "model.safetensors").read_bytes() == before


def test_a_run_begins_with_another(data: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "second run"
    arguments = ["train", "mini", "--data", str(data), "--out", str(out), "--device", "cpu", *SET]
    result = RUNNER.invoke(app, [*arguments, "--init", str(run)])
    assert result.exit_code == 0, result.output
    assert f"It began with the run `{run}`" in (out / "README.md").read_text()
    # Only the same start is resumed.
    other = RUNNER.invoke(app, [*arguments, "--resume"])
    assert "other settings" in str(other.exception)


def test_recipes_are_listed_and_printed() -> None:
    listed = RUNNER.invoke(app, ["recipes"]).output
    assert all(name in listed for name in ("mini", "crnn-baseline", "crnn-v2"))
    assert "tau: 0.85" in RUNNER.invoke(app, ["recipes", "mini"]).output


def test_every_command_teaches() -> None:
    for command in ("synth", "import", "train", "evaluate", "detect", "export", "demo", "recipes"):
        result = RUNNER.invoke(app, [command, "--help"])
        assert result.exit_code == 0
        assert len(result.output) > 300, command
    assert "earmark" in RUNNER.invoke(app, ["--version"]).output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "minni", "--data", "x", "--out", "y"], "no recipe called 'minni'"),
        (["train", "mini", "--data", "missing", "--out", "y"], "missing"),
        (["train", "mini", "--data", "x", "--out", "y", "--set", "train.lrr=1"], "lrr"),
        (["evaluate", "nothing", "--data", "x", "--out", "y"], "no such bundle"),
        (["recipes", "nothing"], "Shipped are"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_two(
    arguments: list[str], words: str, mistake: Callable[..., str]
) -> None:
    assert words in mistake(*arguments)


@pytest.mark.parametrize(
    ("line", "parameter", "value"),
    [
        ("cache data --out x --format wav", "audio_format", "wav"),
        ("detect mini a.wav --out x --hop-seconds 2", "hop", 2.0),
        ("detect mini a.wav --out x --scores tsv,npz", "score_formats", "tsv,npz"),
        ("evaluate mini --data x --out y --plots", "plot", True),
        ("evaluate mini --data x --out y --no-plots", "plot", False),
        ("export mini --out x.onnx --turns 3", "repeats", 3),
        ("import-labels x --out y --split 1,0,0", "fractions", "1,0,0"),
        ("listen mini --hop-seconds=2", "hop", 2.0),
        ("listen mini --stdin --format u8", "sample_format", "u8"),
        ("pretrain x --audio y --out z --accelerator cpu", "device", "cpu"),
        ("score --truth x --plots y", "plot_dir", Path("y")),
        ("train mini --data x --out y --accelerator cpu", "device", "cpu"),
    ],
)
def test_spellings_of_version_0_1_work_and_are_not_shown(
    line: str, parameter: str, value: object
) -> None:
    name, *arguments = line.split()
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    assert command.make_context(name, [*arguments]).params[parameter] == value
    old = next(word for word in reversed(arguments) if word.startswith("--")).partition("=")[0]
    assert old.removeprefix("--") in RENAMED[name]
    assert old not in {option for one in command.params for option in one.opts}


def test_choices_are_shown_and_completed() -> None:
    told = RUNNER.invoke(app, ["tune", "--help"]).output
    assert "csebb|median|auto" in told
    environment = {
        "_EARMARK_COMPLETE": "complete_bash",
        "COMP_WORDS": "earmark detect mini a.wav --format tsv,a",
        "COMP_CWORD": "5",
    }
    done = RUNNER.invoke(app, [], env=environment, prog_name="earmark")
    assert done.output.split() == ["tsv,audacity"]
    environment |= {"COMP_WORDS": "earmark tune x --method c", "COMP_CWORD": "4"}
    assert RUNNER.invoke(app, [], env=environment, prog_name="earmark").output.split() == ["csebb"]


def test_interruption_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["earmark", "recipes"])
    for owner, name in ((earmark.train.recipe, "recipe_names"), (earmark.cli, "app")):
        monkeypatch.setattr(owner, name, interrupt)
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 130
        assert "interrupted" in capsys.readouterr().err


def test_demo_leaves_what_it_promises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import earmark.deliver.demo as module
    from earmark.synth.settings import load_synth_settings

    settings = load_synth_settings("demo")
    sizes = {"strong": 3, "weak": 2, "unlabelled": 3, "validation": 2, "test": 3}
    tiny = settings.model_copy(
        update={n: settings.subset(n).model_copy(update={"clips": c}) for n, c in sizes.items()}
    )
    monkeypatch.setattr(module, "load_synth_settings", lambda _: tiny)
    out = tmp_path / "demo"
    result = RUNNER.invoke(app, ["demo", "--out", str(out), "--workers", "1", *SET])
    assert result.exit_code == 0, result.output
    metrics = json.loads((out / "metrics.json").read_text())
    assert list(metrics) == ["supervised", "student", "teacher", "shipped"]
    assert all(row["clips"] == 3 for row in metrics.values())
    for name in ("events.tsv", "events.txt", "events.png", "recording.wav", "bundle/README.md"):
        assert (out / name).stat().st_size > 0
    assert "semi-supervised, teacher" in result.output
    again = RUNNER.invoke(app, ["demo", "--out", str(out), "--workers", "1", *SET])
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_first_page_says_what_each_command_says_itself(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    assert command.name == name
    first = " ".join(command.help.split("\n\n")[0].split())
    assert first == COMMANDS[name].summary


def test_the_first_page_imports_no_command() -> None:
    code = (
        "import sys; sys.argv = ['earmark', '--help']\n"
        "import earmark.cli\n"
        "try: earmark.cli.main()\n"
        "except SystemExit: print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    help_page, _, loaded = done.stdout.rstrip().rpartition("\n")
    assert all(name in help_page for name in COMMANDS)
    ours = {name for name in loaded.split() if name.startswith("earmark.cli.")}
    assert ours == {"earmark.cli.commands", "earmark.cli.stopping"}
    assert not {"numpy", "rich.markdown", "yaml"} & set(loaded.split())
