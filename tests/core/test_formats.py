"""Files of events: what is written is read again, and tables are read as they are meant."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.errors import LabelError
from earmark.core.event import EVENT_COLUMNS, Event
from earmark.core.formats import FORMATS, format_of, read_events, write_events
from earmark.core.tables.labels import events_by_clip
from helpers.event_rows import names, rows_for, table
from helpers.files import written

EXACT = ("tsv", "csv", "json", "jsonl", "raven", "rttm")
NAMED = (*EXACT, "elan", "jams")
STEPS = {"audacity": 1e-6, "elan": 1e-3, "webvtt": 1e-3, "jams": 1e-9}


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_events_survive_every_format(
    format: str, scored: bool, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = data.draw(rows_for(format, names))
    events = table(*rows)
    if not scored:
        events = events[list(EVENT_COLUMNS)]
    path = tmp_path_factory.mktemp("events") / f"Küche{FORMATS[format].suffix}"
    write_events(path, events, format)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert format_of(path) == format
    again = read_events(path)
    assert set(EVENT_COLUMNS) <= set(again.columns)
    assert len(again) == len(rows)
    if format in EXACT:
        if format == "csv" and scored:  # for people: six digits
            events = events.assign(score=[float(f"{score:.6g}") for score in events.score])
        assert again.to_dict("list") == events.to_dict("list") or not rows
        return
    assert set(again.filename) == (
        {"Küche, 2 & 3.wav" if format in NAMED else "Küche"} if rows else set()
    )
    # Rounding may give neighbours one onset; so each event is looked for, not the order.
    step, left = STEPS[format], again.to_dict("records")
    for _, onset, offset, label, score in rows:
        near = [
            row
            for row in left
            if row["event_label"] == label
            and abs(row["onset"] - onset) <= step
            and abs(row["offset"] - offset) <= 2 * step
            and (format != "elan" or not scored or abs(row["score"] - score) <= 1e-4)
        ]
        assert near
        left.remove(near[0])


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_written_depends_on_the_events_alone(format: str, tmp_path: Path) -> None:
    events = table(("a.wav", 0.1, 0.2, "Dog", 0.5), ("a.wav", 0.3, 0.4, "Cat", 0.25))
    for name in ("one", "two"):
        write_events(tmp_path / name / "a.x", events, format, recording="/sounds/a.wav")
    one, two = ((tmp_path / name / "a.x").read_bytes() for name in ("one", "two"))
    assert one == two
    assert one.endswith(b"\n")
    assert b"\r" not in one


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("character", ["\t", "\n", "\r", "\0", "\x1b", "\u2028"])
def test_names_that_not_every_format_can_hold(format: str, character: str, tmp_path: Path) -> None:
    for row in (("a.wav", 0.0, 1.0, f"Dog{character}bark"), (f"a{character}.wav", 0.0, 1.0, "Dog")):
        with pytest.raises(LabelError, match=r"holds (a|the) "):
            write_events(tmp_path / "a.x", table(row), format)
    assert not list(tmp_path.iterdir())


def test_names_that_xml_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"U\+FFFE"):
        write_events(tmp_path / "a.eaf", table(("a.wav", 0.0, 1.0, "Dog\ufffe")), "elan")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a.wav", -1.0, 1.0, "Dog"), "from -1 s"),
        (("a.wav", 2.0, 1.0, "Dog"), "from 2 s to 1 s"),
        (("a.wav", float("nan"), 1.0, "Dog"), "from nan"),
        (("a.wav", 0.0, float("inf"), "Dog"), "to inf"),
        (("a.wav", 0.0, 1.0, " "), "means no class"),
        (("", 0.0, 1.0, "Dog"), "without a file name"),
        (("a.wav", 0.0, 1.0, "Dog "), "ends with a space"),
        (("a\udce4.wav", 0.0, 1.0, "Dog"), "control character"),
        (("a.wav", 0.0, 1.0, "Dog", float("inf")), "score inf"),
    ],
)
def test_no_event_is_written_that_is_none(
    row: tuple[object, ...], message: str, tmp_path: Path
) -> None:
    events = pd.DataFrame([row], columns=[*EVENT_COLUMNS, "score"][: len(row)], dtype=object)
    with pytest.raises(LabelError, match=message):
        write_events(tmp_path / "a.tsv", events, "tsv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", ["audacity", "raven", "elan", "webvtt", "jams"])
def test_one_recording_a_file(format: str, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="one recording"):
        write_events(
            tmp_path / "a.x", table(("a.wav", 0, 1, "Dog"), ("b.wav", 0, 1, "Dog")), format
        )


def test_unknown_formats(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="raven, elan, webvtt, jams, rttm"):
        write_events(tmp_path / "x", table(), "xml")
    with pytest.raises(LabelError, match="known kind"):
        read_events(tmp_path / "x.xml")
    with pytest.raises(LabelError, match="column event_label"):
        write_events(tmp_path / "x", table().drop(columns="event_label"), "csv")


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_tables_in_any_unicode_with_any_line_ends(encoding: str, end: str, tmp_path: Path) -> None:
    tsv = "filename\tonset\toffset\tevent_label\nKüche.wav\t0.5\t1,25\tTürklingel\n"
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\tAnnotation\n"
    raven = header + "1\t0.5\t1,25\tKüche.wav\tTürklingel\n"
    for text, name in ((tsv, "a.tsv"), (raven, "a.selections.txt")):
        path = written(tmp_path, text.replace("\n", end).encode(encoding), name)
        assert events_by_clip(read_events(path)) == {"Küche": [Event(0.5, 1.25, "Türklingel")]}
    track = written(tmp_path, f"0,5\t1.25\tTürklingel{end}".encode(encoding), "Küche.txt")
    assert events_by_clip(read_events(track)) == {"Küche": [Event(0.5, 1.25, "Türklingel")]}


def test_text_that_means_nothing_in_any_encoding(tmp_path: Path) -> None:
    path = written(tmp_path, b"0\t1\tDog\r1\t2\tT\x81r\r", "a.txt")
    with pytest.raises(LabelError, match=r"UTF-8") as caught:
        read_events(path)
    assert caught.value.where == f"{path}:2"


@pytest.mark.parametrize(
    "text",
    [
        "filename,onset,offset,event_label,score\na.wav,0.5,1.25,Dog,0.75\n",
        "filename;onset;offset;event_label;score\na.wav;0,5;1,25;Dog;0,75\n",
        "Confidence,File,Start (s),End (s),Common name\n0.75,a.wav,0.5,1.25,Dog\n",
        'label,end_time,start_time,notes,score,recording\nDog,1.25,0.5,"x, y",0.75,a.wav\n',
        "event_label,class,filename,ONSET,Offset,Score\nDog,7,a.wav,0.5,1.25,0.75,\n",
    ],
)
def test_tables_with_other_columns(text: str, tmp_path: Path) -> None:
    events = read_events(written(tmp_path, text, "e.csv"))
    assert events.to_dict("list") == table(("a.wav", 0.5, 1.25, "Dog", 0.75)).to_dict("list")


def test_which_column_is_the_class(tmp_path: Path) -> None:
    text = "onset,offset,species,common name,notes\n0,1,turmer,Blackbird,x\n"
    path = written(tmp_path, text, "e.csv")
    with pytest.raises(LabelError, match=r"species and common name could both.*label_column"):
        read_events(path)
    assert read_events(path, label_column="common name").event_label.tolist() == ["Blackbird"]
    assert read_events(path, label_column="notes").event_label.tolist() == ["x"]
    assert read_events(path, label_column="notes", recording="k.wav").filename.tolist() == ["k.wav"]
    with pytest.raises(LabelError, match="no column 'Species'"):
        read_events(path, label_column="Species")
    with pytest.raises(LabelError, match="no column for event_label among onset, offset, notes"):
        read_events(written(tmp_path, "onset,offset,notes\n0,1,x\n", "e.csv"))


def test_a_score_for_some_events(tmp_path: Path) -> None:
    events = table(("a.wav", 0.0, 1.0, "Dog", 0.5), ("a.wav", 2.0, 3.0, "Dog", float("nan")))
    for format in ("tsv", "csv", "json", "jsonl", "raven", "elan", "jams", "rttm"):
        path = tmp_path / f"a{FORMATS[format].suffix}"
        write_events(path, events, format)
        pd.testing.assert_frame_equal(read_events(path), events)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("filename,onset,offset,event_label\na,0,1,Dog\na,one,2,Dog\n", 3, "'one' is not a number"),
        ("filename,onset,offset,event_label\na,1,0.5,Dog\n", 2, "from 1 s to 0.5 s"),
        ("filename,onset,offset,event_label\na,1,2,\n", 2, "needs onset, offset and event_label"),
        ("filename,onset,offset,event_label\na,1,2,Dog,x\n", 2, "5 fields under 4"),
        ("filename,onset,offset,event_label\n,1,2,Dog\n", 2, "without a file name"),
        ("filename,onset,offset,event_label,score\na,1,2,Dog,high\n", 2, "score 'high'"),
        ("filename,onset,offset,event_label\na,1.000,5,2,Dog\n", 2, "5 fields"),
    ],
)
def test_errors_of_tables_name_the_line(text: str, line: int, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, text, "e.csv")
    with pytest.raises(LabelError, match=message) as caught:
        read_events(path)
    assert caught.value.where == f"{path}:{line}"


def test_empty_tables(tmp_path: Path) -> None:
    for name in ("e.csv", "e.tsv"):
        with pytest.raises(LabelError, match="is empty"):
            read_events(written(tmp_path, "\n", name))
    assert read_events(written(tmp_path, "", "e.txt")).empty
    assert read_events(written(tmp_path, "", "e.jsonl")).empty
