"""The table of formats in docs/formats.md: each cell has a test; other programs open what we write.

What other programs are given is `EVENTS`, in names and numbers that are awkward for them.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path

import crowsetta
import jams
import jsonschema
import numpy as np
import pandas as pd
import pympi
import pytest
import webvtt
from pyannote.database.util import load_rttm

from earmark.core.formats import FORMATS, READERS, events_schema, read_events, write_events
from earmark.core.tables.score_files import SCORE_FORMATS, write_scores
from earmark.core.tables.scores import ScoreTable
from helpers.event_rows import table

EVENTS = (
    ("monday/Küche 2.wav", 0.064, 1.25, "Male speech, man speaking", 0.915),
    ("monday/Küche 2.wav", 1.0, 3600.5, "Dog", 0.5),
)
ONSETS, OFFSETS = [0.064, 1.0], [1.25, 3600.5]
LABELS, SCORES = [EVENTS[0][3], "Dog"], [0.915, 0.5]
OPENED: dict[tuple[str, str], str] = {}
"""Format and program → the test that opens the one with the other."""

SURVIVE = {
    f"scores: {kind}": "test_score_files.py::test_scores_survive_every_format"
    for kind in SCORE_FORMATS
}
READ = {
    **dict.fromkeys(("tsv", "csv"), "test_formats.py::test_tables_with_other_columns"),
    "json": "test_formats_json.py::test_json_of_others",
    "jsonl": "test_formats_json.py::test_json_of_others",
    "audacity": "test_formats_of_programs.py::test_label_tracks",
    "raven": "test_formats_of_programs.py::test_a_selection_seen_in_several_views_is_one_event",
    "elan": "test_formats_elan.py::test_documents_of_others",
    "webvtt": "test_formats_of_programs.py::test_captions_of_others",
    "jams": "test_formats_of_peers.py::test_jams_of_others",
    "rttm": "test_formats_of_peers.py::test_what_programs_write",
    "elan-tab": "test_foreign_tables.py::test_exports_in_every_shape",
    "textgrid": "test_formats_of_peers.py::test_textgrids_of_praat",
    "srt": "test_formats_of_peers.py::test_what_programs_write",
    "headerless": "test_formats_of_peers.py::test_what_programs_write",
    **{
        f"scores: {kind}": "test_score_files.py::test_scores_survive_every_format"
        for kind in SCORE_FORMATS
    },
}
WRITTEN = {
    **dict.fromkeys(FORMATS, "test_formats.py::test_events_survive_every_format"),
    **{
        f"scores: {kind}": "test_score_files.py::test_scores_survive_every_format"
        for kind in SCORE_FORMATS
    },
}


def opens(format: str, program: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Says of a test that it opens a format of ours with another program."""

    def kept(test: Callable[..., None]) -> Callable[..., None]:
        OPENED[format, program] = test.__name__
        return test

    return kept


def events_in(folder: Path, format: str, **options: bool) -> Path:
    path = folder / f"Küche 2{FORMATS[format].suffix}"
    write_events(path, table(*EVENTS), format, recording="/x/Küche 2.wav", **options)
    return path


def scores_in(folder: Path, format: str) -> tuple[Path, ScoreTable]:
    scores = ScoreTable(
        np.array([0.0, 0.064, 0.128]), np.float32([[0.1, 0.9], [1 / 3, 1.0]]), tuple(LABELS)
    )
    path = folder / f"a{SCORE_FORMATS[format].suffix}"
    write_scores(path, scores, format)
    return path, scores


@opens("tsv", "pandas")
@opens("csv", "pandas")
@pytest.mark.parametrize("format", ["tsv", "csv"])
def test_pandas_opens_tables(format: str, tmp_path: Path) -> None:
    found = pd.read_csv(events_in(tmp_path, format), sep="\t" if format == "tsv" else ",")
    assert found.to_dict("list") == table(*EVENTS).to_dict("list")


@opens("csv", "crowsetta")
def test_crowsetta_opens_tables_by_their_columns(tmp_path: Path) -> None:
    columns = {"onset": "onset_s", "offset": "offset_s", "event_label": "label"}
    path = events_in(tmp_path, "csv")
    found = crowsetta.formats.seq.SimpleSeq.from_file(path, columns_map=columns)
    assert [*found.onsets_s, *found.offsets_s, *found.labels] == [*ONSETS, *OFFSETS, *LABELS]


@opens("jsonl", "pandas")
def test_pandas_opens_json_lines(tmp_path: Path) -> None:
    found = pd.read_json(events_in(tmp_path, "jsonl"), lines=True)
    assert found.to_dict("list") == table(*EVENTS).to_dict("list")


@opens("json", "jsonschema")
def test_json_is_valid_by_its_schema(tmp_path: Path) -> None:
    document = json.loads(events_in(tmp_path, "json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(events_schema()).validate(document)
    assert [list(event.values()) for event in document["events"]] == [list(one) for one in EVENTS]


@opens("audacity", "crowsetta")
@pytest.mark.parametrize("scored", [False, True])
def test_crowsetta_opens_label_tracks(scored: bool, tmp_path: Path) -> None:
    path = events_in(tmp_path, "audacity", scored_labels=scored)
    found = crowsetta.formats.seq.AudSeq.from_file(path)
    assert [*found.start_times, *found.end_times] == [*ONSETS, *OFFSETS]
    behind = [" [0.915]", " [0.500]"] if scored else ["", ""]
    assert list(found.labels) == [a + b for a, b in zip(LABELS, behind, strict=True)]
    again = read_events(path)
    assert again.event_label.tolist() == LABELS
    assert ("score" in again) == scored
    assert not scored or again.score.tolist() == SCORES


@opens("raven", "crowsetta")
def test_crowsetta_opens_selection_tables(tmp_path: Path) -> None:
    found = crowsetta.formats.bbox.Raven.from_file(events_in(tmp_path, "raven"))
    boxes = found.to_bbox()
    assert [box.onset for box in boxes] == ONSETS
    assert [box.offset for box in boxes] == OFFSETS
    assert [box.label for box in boxes] == LABELS


@opens("elan", "pympi")
def test_pympi_opens_elan(tmp_path: Path) -> None:
    document = pympi.Eaf(events_in(tmp_path, "elan"))
    assert document.get_linked_files()[0]["MEDIA_URL"].endswith("K%C3%BCche%202.wav")
    for label, onset, offset in zip(LABELS, ONSETS, OFFSETS, strict=True):
        found = document.get_annotation_data_for_tier(label)
        assert found == [(round(onset * 1000), round(offset * 1000), label)]


@opens("webvtt", "webvtt-py")
def test_webvtt_py_opens_captions(tmp_path: Path) -> None:
    cues = [(cue.start, cue.end, cue.text) for cue in webvtt.read(events_in(tmp_path, "webvtt"))]
    assert cues == [
        ("00:00:00.064", "00:00:01.250", LABELS[0]), ("00:00:01.000", "01:00:00.500", "Dog"),
    ]  # fmt: skip


@opens("jams", "jams")
def test_jams_opens_jams(tmp_path: Path) -> None:
    document = jams.load(str(events_in(tmp_path, "jams")), validate=True, strict=True)
    intervals, labels = document.annotations[0].to_interval_values()
    np.testing.assert_allclose(intervals, np.transpose([ONSETS, OFFSETS]), atol=1e-9)
    assert list(labels) == LABELS
    assert [one.confidence for one in document.annotations[0].data] == SCORES


@opens("rttm", "pyannote.database")
def test_pyannote_opens_rttm(tmp_path: Path) -> None:
    (name, found), *others = load_rttm(events_in(tmp_path, "rttm")).items()
    assert (name, others) == ("monday/Küche%202.wav", [])
    tracks = list(found.itertracks(yield_label=True))
    assert [label.replace("%20", " ") for _, _, label in tracks] == LABELS
    np.testing.assert_allclose([one.start for one, _, _ in tracks], ONSETS)
    np.testing.assert_allclose([one.end for one, _, _ in tracks], OFFSETS)


@opens("scores: tsv", "pandas")
@opens("scores: csv", "pandas")
@opens("scores: parquet", "pandas")
@pytest.mark.parametrize("format", ["tsv", "csv", "parquet"])
def test_pandas_opens_score_tables(format: str, tmp_path: Path) -> None:
    path, scores = scores_in(tmp_path, format)
    found = (
        pd.read_parquet(path)
        if format == "parquet"
        else pd.read_csv(path, sep="\t" if format == "tsv" else ",")
    )
    assert list(found) == ["onset", "offset", *LABELS]
    digits = {"rtol": 2e-6} if format == "csv" else {"rtol": 0.0}  # CSV has six digits
    np.testing.assert_allclose(found[LABELS].to_numpy(), scores.values, **digits)
    np.testing.assert_array_equal(found[["onset", "offset"]], [[0, 0.064], [0.064, 0.128]])


@opens("scores: npz", "NumPy")
def test_numpy_opens_archives(tmp_path: Path) -> None:
    path, scores = scores_in(tmp_path, "npz")
    with np.load(path, allow_pickle=False) as found:
        np.testing.assert_array_equal(found["values"], scores.values)
        np.testing.assert_array_equal(found["boundaries"], scores.boundaries)
        assert found["labels"].tolist() == LABELS


def cells_of(page: str) -> dict[str, list[str]]:
    """The table's rows: format → its cells."""
    head = "| format | read | written | opened by |"
    lines = page[page.index(head) :].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name.replace("`", ""): cells for name, *cells in rows}


def test_each_cell_of_the_table_has_its_test() -> None:
    here = Path(__file__)
    cells = cells_of((here.parents[2] / "docs/formats.md").read_text(encoding="utf-8"))
    assert set(cells) == {*READERS, *(f"scores: {kind}" for kind in SCORE_FORMATS)}
    opened = {(name, program): f"{here.name}::{test}" for (name, program), test in OPENED.items()}
    claimed = {
        (name, program.strip())
        for name, (_, _, programs) in cells.items()
        for program in programs.split(",")
        if program.strip() != "—"
    }
    assert claimed == set(opened)
    for place, tests in ((0, READ), (1, WRITTEN)):
        assert {name for name, row in cells.items() if row[place] != "—"} == set(tests)
    for named in {*READ.values(), *WRITTEN.values(), *opened.values()}:
        file, _, test = named.partition("::")
        source = ast.parse((here.parent / file).read_text(encoding="utf-8"))
        tests = [one.name for one in ast.walk(source) if isinstance(one, ast.FunctionDef)]
        assert test.startswith("test_"), named
        assert test in tests, named


def test_a_cell_without_a_test_is_found() -> None:
    """The walk itself: what it reads of a page is what stands there."""
    head = "| format | read | written | opened by |\n|---|---|---|---|\n"
    assert cells_of(f"x\n\n{head}| `a` | yes | — | b, c |\n\ny") == {"a": ["yes", "—", "b, c"]}
