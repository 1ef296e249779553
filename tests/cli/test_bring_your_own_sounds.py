"""The commands of docs/bring_your_own_sounds.md, run in their order on six short recordings."""

from __future__ import annotations

import re
import shlex
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from earmark.cli import app
from earmark.core.audio.audio import write_audio
from earmark.core.formats import read_events
from earmark.data.manifest import load_manifest
from earmark.prepare.importing.class_map import load_class_map
from earmark.synth.sources import SynthesisedSources
from helpers.recipes import TINY, set_each

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "bring_your_own_sounds.md"
BATCH = "train.batch={real: 2, synthetic: 0, weak: 0, unlabelled: 1}"
#: What makes each command small enough for a test.
SMALLER = {
    "train": ["--device", "cpu", *set_each(*TINY, BATCH)],
    "synth": ["--clips", "strong=2,validation=0", "--workers", "1"],
    "import-labels": ["--workers", "1"],
}


def blocks(page: Path, language: str) -> list[str]:
    """Contents of the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


def commands(page: Path) -> list[list[str]]:
    """The commands of a page's shell blocks, as lists of words."""
    text = "".join(blocks(page, "bash")).replace("\\\n", " ")
    return [shlex.split(line, comments=True) for line in text.splitlines() if line.strip()]


def make_recordings(folder: Path) -> None:
    """Recordings with barks and bells, a label track beside each but the last one."""
    sources, rng = SynthesisedSources(), np.random.default_rng(0)
    for number in range(7):
        samples = 0.02 * rng.standard_normal(12 * 16_000)
        lines = []
        for place, (label, name) in enumerate(
            [("Dog", "woof"), ("Alarm_bell_ringing", "Bell"), ("Dog", "Dog")]
        ):
            event = sources.event(label, "real", rng)[: 2 * 16_000]
            start = round((0.5 + 4 * place) * 16_000)
            samples[start : start + event.size] += 0.5 * event
            stop = start + event.size
            lines.append(f"{start / 16_000:.6f}\t{stop / 16_000:.6f}\t{name}\n")
        path = folder / ("kitchen" if number % 2 else "") / f"rec{number}.wav"
        write_audio(path, np.clip(samples, -1, 1).astype(np.float32))
        if number < 6:
            lines.append("11.0\t11.5\tnoise\n")
            path.with_suffix(".txt").write_text("".join(lines))


def make_soundbank(folder: Path) -> None:
    sources, rng = SynthesisedSources(), np.random.default_rng(1)
    for number in range(4):
        write_audio(folder / f"Dog/{number}.wav", sources.event("Dog", "real", rng))
        write_audio(folder / f"background/{number}.wav", sources.background("real", 48_000, rng))


def test_the_page_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make_recordings(Path("recordings"))
    make_soundbank(Path("my_sounds"))
    search = 0.05 * np.random.default_rng(2).standard_normal(12 * 16_000)
    write_audio("new_recordings/today.wav", search.astype(np.float32))
    seen = []
    for program, name, *arguments in commands(PAGE):
        assert program == "earmark"
        seen.append(name)
        result = CliRunner().invoke(app, [name, *arguments, *SMALLER.get(name, [])])
        assert result.exit_code == 0, (name, arguments, result.output, result.exception)
    assert {"import-labels", "train", "evaluate", "detect", "synth"} <= set(seen)
    manifest = load_manifest("data/own")
    assert manifest.labels.names == ("Bell", "Dog")
    assert {source.kind for source in manifest.train} == {"strong", "unlabelled"}
    assert set(manifest.splits) == {"validation", "test"}
    assert Path("runs/own/labels.txt").read_text().split() == ["Bell", "Dog"]
    assert Path("runs/own/test/metrics.json").is_file()
    assert list(read_events("found/events.tsv").columns[:1]) == ["filename"]
    assert list(Path("found").rglob("today*.txt"))


def test_the_class_map_of_the_page(tmp_path: Path) -> None:
    (block,) = blocks(PAGE, "yaml")
    (tmp_path / "classes.yaml").write_text(block)
    found = load_class_map(tmp_path / "classes.yaml")
    assert [found.target(name) for name in ("bark", "dog 2", "Doorbell", "?")] == [
        "Dog", "Dog", "Doorbell", None,
    ]  # fmt: skip


def test_the_recipe_of_the_soundscapes_page_is_the_shipped_one() -> None:
    shipped = files("earmark") / "recipes/synth/scaper.yaml"
    assert shipped.read_text(encoding="utf-8") in blocks(DOCS / "soundscapes.md", "yaml")


@pytest.mark.parametrize("page", ["bring_your_own_sounds.md", "soundscapes.md", "reading_speed.md"])
def test_every_option_that_is_named_exists(page: str) -> None:
    known = {
        option
        for command in ("import-labels", "train", "evaluate", "detect", "synth", "cache")
        for option in re.findall(
            r"--[a-z][a-z-]+", CliRunner(env={"COLUMNS": "300"}).invoke(app, [command, "-h"]).output
        )
    }
    text = re.sub(r"`python [^`]*`", "", (DOCS / page).read_text(encoding="utf-8"))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert named <= known
    assert len(named) >= 4
