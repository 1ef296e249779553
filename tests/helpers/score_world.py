"""Files of truth, durations and scores for the command line, and how its commands are run."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from earmark.cli import app, main
from earmark.core.tables.scores import ScoreTable

RUNNER = CliRunner()
LABELS = ("Dog", "Glas_zerbricht", "Éclat de rire")
HOUSE = {
    "psds1", "psds2", "collar_f1", "intersection_f1", "segment_f1", "per_class", "intervals",
    "clips", "of", "fingerprint", "parameters",
}  # fmt: skip


@dataclass
class World:
    """Files of truth, durations and score tables, and what is in them."""

    folder: Path
    tables: dict[str, ScoreTable]
    truth: dict[str, list[tuple[float, float, str]]]
    durations: dict[str, float]

    @property
    def given(self) -> tuple[Any, ...]:
        return self.tables, self.truth, self.durations

    def run(self, *arguments: object, code: int = 0) -> str:
        files = ["--truth", self.folder / "truth.tsv", "--durations", self.folder / "seconds.csv"]
        return run("score", *files, *arguments, code=code)

    def scored(self, *arguments: object) -> dict[str, Any]:
        out = self.folder / "out.json"
        self.run("--scores", self.folder / "scores", "--json", out, *arguments)
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found


def run(*arguments: object, code: int = 0) -> str:
    result = RUNNER.invoke(app, list(map(str, arguments)))
    message = result.output + repr(result.exception)
    assert result.exit_code == code, message
    return result.output


def wrong(*arguments: object, capsys: pytest.CaptureFixture[str]) -> str:
    """What a user's mistake is told: one line, exit code 2."""
    before, sys.argv = sys.argv, ["earmark", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as stopped:
            main()
    finally:
        sys.argv = before
    assert stopped.value.code == 2
    told = capsys.readouterr().err.strip()
    assert len(told.splitlines()) == 1
    assert "Traceback" not in told
    return told


def write_world(folder: Path, seed: int = 0, clips: int = 14) -> World:
    rng = np.random.default_rng(seed)
    edges = np.round(np.arange(51) * 0.2, 6)
    tables, truth = {}, {}
    for number in range(clips):
        clip = f"Yürümek_{number}.500_{number + 10}.000"
        values = np.round(0.6 * rng.random((50, len(LABELS))), 2)  # two decimals: many ties
        own = []
        for column in range(len(LABELS)):
            if number % 5 != 4 and rng.random() < 0.7:
                onset = round(float(rng.uniform(0, 6)), 1)
                offset = round(onset + float(rng.uniform(0.4, 3.5)), 1)
                own.append((onset, offset, LABELS[column]))
                inside = (edges[:-1] >= onset - 0.1) & (edges[1:] <= offset + 0.1)
                values[inside, column] += 0.4
        tables[clip] = ScoreTable(edges, values, LABELS)
        truth[clip] = own
    durations = dict.fromkeys(reversed(tables), 10.0)
    world = World(folder, tables, truth, durations)
    write_scores(folder / "scores", tables)
    rows = ["event_label\tfilename\tonset\toffset"]
    for clip, events in truth.items():
        rows += [f"{label}\t{clip}.wav\t{a}\t{b}" for a, b, label in events]
        rows += [] if events else [f"\t{clip}.wav\t\t"]
    (folder / "truth.tsv").write_text("\n".join(rows), encoding="utf-8")
    lines = [f"{clip},{seconds}" for clip, seconds in durations.items()]
    (folder / "seconds.csv").write_text("\n".join(["filename,duration", *lines]), encoding="utf-8")
    return world


def write_scores(folder: Path, tables: dict[str, ScoreTable]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for clip, table in tables.items():
        table.write(folder / f"{clip}.tsv")


def noisy(tables: dict[str, ScoreTable], seed: int) -> dict[str, ScoreTable]:
    """The tables with noise, reflected at 0 and 1 so that no scores become equal."""
    rng = np.random.default_rng(seed)

    def reflected(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return 1 - np.abs(1 - np.abs(values))

    return {
        clip: ScoreTable(
            t.boundaries, reflected(t.values + rng.normal(0, 0.2, t.values.shape)), LABELS
        )
        for clip, t in tables.items()
    }


def write_events(path: Path, events: dict[str, list[Any]], *columns: str) -> Path:
    rows = ["\t".join(["filename", "onset", "offset", "event_label", *columns])]
    for clip, own in events.items():
        rows += ["\t".join(map(str, [f"{clip}.wav", *event[: 3 + len(columns)]])) for event in own]
    path.write_text("\n".join(rows), encoding="utf-8")
    return path
