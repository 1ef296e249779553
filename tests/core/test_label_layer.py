"""What all readers of labels share: line ends, encodings, quoting, times, reserved words."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from earmark.core.errors import LabelError
from earmark.core.event import Event
from earmark.core.formats import FORMATS, read_events, write_events
from earmark.core.tables.label_tables import strong_table, weak_table, write_strong, write_weak
from earmark.core.tables.rows import parse_number, read_table, seconds_of
from earmark.score.files import read_detections, read_seconds, read_truth
from helpers.event_rows import table
from helpers.files import written

ENDS = ("\n", "\r\n", "\r")
ONE = [("rec", 0.5, 1.25, "Tür")]
LINES = {
    "audacity": "0.5\t1.25\tTür\n",
    "jsonl": '{"filename": "rec", "onset": 0.5, "offset": 1.25, "event_label": "Tür"}\n',
    "elan-tab": "Tür\t\t00:00:00.500\t00:00:01.250\t\n",
    "raven": "Begin Time (s)\tEnd Time (s)\tAnnotation\n0.5\t1.25\tTür\n",
    "csv": "onset,offset,label\n0.5,1.25,Tür\n",
    "tsv": "onset\toffset\tlabel\n0.5\t1.25\tTür\n",
    "webvtt": "WEBVTT\n\n00:00.500 --> 00:01.250\nTür\n\n",
}


def rows(path: Path, format: str | None = None) -> list[tuple[str, float, float, str]]:
    found = read_events(path, format)
    return list(zip(found.filename, found.onset, found.offset, found.event_label, strict=True))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("format", LINES)
def test_any_line_end_in_any_encoding(format: str, end: str, encoding: str, tmp_path: Path) -> None:
    text = LINES[format].replace("\n", end).encode(encoding)
    path = written(tmp_path, text, f"rec{FORMATS[format].suffix if format in FORMATS else '.txt'}")
    assert rows(path, format) == ONE


def test_mixed_line_ends_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    path = written(tmp_path, "0\t1\tA\r1\t2\tB\r\n\n2\tx\tC\n", "rec.txt")
    with pytest.raises(LabelError) as caught:
        read_events(path)
    assert caught.value.where == f"{path}:4"


cells = st.text("ab,;\t\"\n '|", max_size=6).map(str.strip)


@given(
    rows=st.lists(st.tuples(cells, cells), max_size=6),
    delimiter=st.sampled_from("\t,;"),
    sep=st.booleans(),
    end=st.sampled_from(ENDS),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tables_are_read_as_the_csv_module_writes_them(
    rows: list[tuple[str, str]], delimiter: str, sep: bool, end: str, tmp_path: Path
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(["one", "two"])
    writer.writerows(rows)
    content = (f"sep={delimiter}\n" if sep else "") + text.getvalue()
    path = written(tmp_path, content.replace("\n", end), "t.csv")
    read = list(read_table(path))
    kept = [row for row in rows if any(row)]
    assert [tuple(fields.values()) for _, fields in read if any(fields.values())] == kept
    lines, number = [], 2 + sep
    for row in rows:
        lines += [number] if any(row) else []
        number += 1 + sum(cell.count("\n") for cell in row)
    assert [line for line, fields in read if any(fields.values())] == lines


def test_a_quotation_that_is_never_closed_takes_its_own_line_alone(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'filename,onset,offset,event_label,note\na,0,1,Dog,"two\nlines"\nb,0,1,Dog,"open\nc,0,1,x,\n',
        "t.csv",
    )
    found = strong_table(path)
    assert [(row.line, row.filename) for row in found.rows] == [(2, "a"), (5, "c")]
    assert [(fault.line, fault.filename) for fault in found.faults] == [(4, "b")]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;", "sep=;;;"])
def test_a_line_that_names_the_delimiter(first: str, suffix: str, tmp_path: Path) -> None:
    text = f"{first}\r\nfilename;onset;offset;label\r\na.wav;1,0;1,3;beep\r\n"
    assert rows(written(tmp_path, text, f"t{suffix}")) == [("a.wav", 1.0, 1.3, "beep")]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1:02:03.500", 3723.5), ("02:03,5", 123.5), ("125:30", 7530.0), ("-0:00.25", -0.25),
        ("1,5", 1.5), ("1e-3", 0.001), ("00:00:00,001", 0.001),
    ],
)  # fmt: skip
def test_times_of_clocks_and_commas(text: str, seconds: float) -> None:
    assert parse_number(text, "onset", "t.csv", 1) == seconds


@pytest.mark.parametrize(
    "text", ["1:75", "1:60:00", "1_000", "1.234,5", "1,234,567", "1:2:3:4", "nan", ""]
)
def test_no_times(text: str) -> None:
    with pytest.raises(LabelError, match="not a number"):
        parse_number(text, "onset", "t.csv", 1)


@given(milliseconds=st.integers(0, 10**9), point=st.sampled_from(".,"), hours=st.booleans())
def test_clock_times_are_exact(milliseconds: int, point: str, hours: bool) -> None:
    minutes, rest = divmod(milliseconds, 60_000)
    clock = f"{minutes // 60}:{minutes % 60:02d}" if hours else f"{minutes}"
    text = f"{clock}:{rest // 1000:02d}{point}{rest % 1000:03d}"
    assert float(seconds_of(text)) == milliseconds / 1000


def test_tables_of_a_data_set_and_of_truth_read_them_too(tmp_path: Path) -> None:
    text = "filename;onset;offset;event_label\ra.wav;0:01,5;2,5;NA\r"
    path = written(tmp_path, text.encode("utf-16"), "t.csv")
    event = Event(1.5, 2.5, "NA")
    assert [row.event for row in strong_table(path).rows] == [event]
    assert list(read_truth(path).events.values()) == [[event]]
    assert list(read_detections([path]).points[None].values()) == [[event]]
    lengths = written(tmp_path, "filename;duration\ra.wav;0:10,5\r", "d.csv")
    assert read_seconds(lengths) == {"a": 10.5}


EARLY = {
    "audacity": "-0,000001\t0.5\tDog\n",
    "jsonl": '{"filename": "rec", "onset": -0.000001, "offset": 0.5, "event_label": "Dog"}\n',
    "elan-tab": "Tier\tBegin Time - ss.msec\tEnd Time - ss.msec\tAnnotation\nx\t-0.001\t0.5\tDog\n",
    "raven": "Begin Time (s)\tEnd Time (s)\tAnnotation\n-0.05\t0.5\tDog\n",
    "csv": "onset,offset,label\n-1e-6,0.5,Dog\n",
    "tsv": "onset\toffset\tlabel\n-0:00.01\t0.5\tDog\n",
}


@pytest.mark.parametrize("format", EARLY)
def test_an_event_slightly_before_the_recording_begins_with_it(
    format: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, EARLY[format], "rec.x")
    with caplog.at_level("WARNING"):
        assert rows(path, format) == [("rec", 0.0, 0.5, "Dog")]
    assert "begins before 0 s, read as from 0 s" in caplog.text
    assert str(path) in caplog.text
    for far in ("-0.000001", "-0,000001", "-0.001", "-0.05", "-1e-6", "-0:00.01"):
        path.write_text(path.read_text().replace(far, "-0.5"))
    with pytest.raises(LabelError, match=r"from -0\.5 s"):
        read_events(path, format)


WORDS = ("NA", "none", "null", "NaN", "n/a")


@pytest.mark.parametrize("word", WORDS)
def test_reserved_words_are_names_beside_times(
    word: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events = table(("a.wav", 0.0, 1.0, word), ("a.wav", 2.0, 3.0, "Dog"))
    for format, kind in FORMATS.items():
        path = tmp_path / f"a{kind.suffix}"
        write_events(path, events, format)
        with caplog.at_level("WARNING"):
            caplog.clear()
            assert read_events(path).event_label.tolist() == [word, "Dog"]
        assert f"{word!r} beside times is read as the name of a class" in caplog.text
    write_strong(tmp_path / "s.tsv", {"a.wav": [Event(0.0, 1.0, word)], "b.wav": []})
    assert [row.event for row in strong_table(tmp_path / "s.tsv").rows] == [Event(0.0, 1.0, word)]
    nothing = written(tmp_path, f"filename,onset,offset,event_label\na,{word},{word},{word}\n")
    assert not strong_table(nothing).checked().rows
    with pytest.raises(LabelError, match="would be read as no class"):
        write_weak(tmp_path / "w.tsv", {"a.wav": [word]})
    write_weak(tmp_path / "w.tsv", {"a.wav": [word, "Dog"]})
    assert weak_table(tmp_path / "w.tsv").rows[0].labels == (word, "Dog")
