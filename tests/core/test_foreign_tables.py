"""Tables of other programs: ELAN's exports, columns by other names, other encodings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from earmark.core.errors import LabelError
from earmark.core.formats import FORMATS, READERS, format_of, read_events, write_events

Events = list[tuple[float, float, str]]


def listed(table: pd.DataFrame) -> list[tuple[Any, ...]]:
    return list(zip(table["onset"], table["offset"], table["event_label"], strict=True))


def clock(milliseconds: int) -> str:
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest / 1000:06.3f}"


WRITTEN = {
    "hh:mm:ss.ms": clock,
    "ss.msec": lambda milliseconds: repr(milliseconds / 1000),
    "msec": str,
}
ROWS = [
    (780, 1340, "Dog", "wau"),
    (61_001, 3_723_004, "Dog", "wuff wuff"),
    (90_000, 90_500, "Cat", ""),
]


def exported(
    rows: list[tuple[int, int, str, str]],
    units: tuple[str, ...] = ("hh:mm:ss.ms", "ss.msec"),
    *,
    duration: bool = True,
    participant: bool = True,
    header: bool = False,
    file: str = "",
) -> str:
    """A table as ELAN exports it without a column for each tier."""
    lines = []
    titles = ("Begin Time", "End Time", *(["Duration"] if duration else []))
    if header:
        times = [f"{title} - {unit}" for title in titles for unit in units]
        names = ["Tier", *(["Participant"] if participant else []), *times, "Annotation"]
        lines.append("\t".join([*names, *(["File"] if file else [])]))
    for begin, end, tier, value in rows:
        moments = (begin, end, *([end - begin] if duration else []))
        times = [WRITTEN[unit](moment) for moment in moments for unit in units]
        fields = [tier, *([""] if participant else []), *times, value]
        lines.append("\t".join([*fields, *([file] if file else [])]))
    return "\n".join(lines) + "\n"


UNITS = [
    ("hh:mm:ss.ms",),
    ("ss.msec",),
    ("hh:mm:ss.ms", "ss.msec"),
    ("hh:mm:ss.ms", "ss.msec", "msec"),
]


@pytest.mark.parametrize("units", [*UNITS, ("msec",)])
@pytest.mark.parametrize("duration", [True, False])
@pytest.mark.parametrize("participant", [True, False])
@pytest.mark.parametrize("header", [True, False])
def test_exports_in_every_shape(
    units: tuple[str, ...], duration: bool, participant: bool, header: bool, tmp_path: Path
) -> None:
    path = tmp_path / "rec1.txt"
    options = {"duration": duration, "participant": participant, "header": header}
    path.write_text(exported(ROWS, units, **options))
    # without a clock's time or a header such a file does not say that it is ELAN's
    known = header or "hh:mm:ss.ms" in units
    assert (format_of(path) == "elan-tab") == known
    read = read_events(path, "elan-tab")
    expected = [(0.78, 1.34, "wau"), (61.001, 3723.004, "wuff wuff"), (90.0, 90.5, "Cat")]
    assert listed(read) == expected
    assert set(read["filename"]) == {"rec1"}
    by_tier = read_events(path, "elan-tab", label_column="tier")
    assert [row[2] for row in listed(by_tier)] == ["Dog", "Dog", "Cat"]


def test_exports_of_several_files_name_them(tmp_path: Path) -> None:
    path = tmp_path / "all.txt"
    for header in (True, False):
        path.write_text(exported(ROWS, header=header, file="kitchen.eaf"))
        assert set(read_events(path)["filename"]) == {"kitchen.eaf"}


def test_a_column_for_each_tier(tmp_path: Path) -> None:
    path = tmp_path / "rec.txt"
    path.write_text(
        '"#file:///D:/field/rec.eaf"\n'
        "Begin Time - hh:mm:ss.ms\tBegin Time - ss.msec\tEnd Time - hh:mm:ss.ms\t"
        "End Time - ss.msec\tDog\tCat\n"
        "00:00:00.780\t0.78\t00:00:01.340\t1.34\twau\t\n"
        "00:00:02.000\t2.0\t00:00:03.000\t3.0\twuff\tmiau\n"
    )
    expected = [(0.78, 1.34, "wau"), (2.0, 3.0, "wuff"), (2.0, 3.0, "miau")]
    assert listed(read_events(path)) == expected
    tiers = [row[2] for row in listed(read_events(path, label_column="tier"))]
    assert tiers == ["Dog", "Dog", "Cat"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Dog\t\t00:00:02.000\t00:00:01.000\twau\n", "begin and end times cannot be recognised"),
        ("Tier\tBegin Time - ss.msec\tAnnotation\nDog\t1.0\twau\n", r":1: no column 'End Time'"),
        ("\t\t00:00:01.000\t00:00:02.000\t\n", r":1: no class"),
    ],
)
def test_broken_exports(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "rec.txt").write_text(text)
    with pytest.raises(LabelError, match=message):
        read_events(tmp_path / "rec.txt", "elan-tab")


names = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="\ufffe\uffff"),
    min_size=1,
    max_size=12,
).filter(
    lambda name: name == name.strip() and name.lower() not in ("nan", "na", "none", "null", "n/a")
)
spans = st.tuples(st.integers(0, 10**7), st.integers(1, 10**6), names, names)


@given(rows=st.lists(spans, min_size=1, max_size=6), units=st.sampled_from(UNITS[2:]))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_exported_events_come_back(
    rows: list[tuple[int, int, str, str]], units: tuple[str, ...], tmp_path: Path
) -> None:
    given_rows = [(begin, begin + size, tier, value) for begin, size, tier, value in rows]
    if any(row[2].startswith(("#", '"#')) for row in given_rows):
        return  # ELAN's own remarks begin so
    path = tmp_path / "rec.txt"
    path.write_text(exported(given_rows, units), encoding="utf-8", newline="")
    expected = [(begin / 1000, end / 1000, value) for begin, end, _, value in given_rows]
    assert listed(read_events(path, "elan-tab")) == expected


# --- columns by name ----------------------------------------------------------------------------


def test_columns_by_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("Clip;von;bis;Tier;label\nk.wav;1,5;2,25;Hund;laut\n")
    with pytest.raises(LabelError, match="no column for onset, offset"):
        read_events(path)
    columns = {"onset": "von", "offset": "bis", "filename": "Clip"}
    read = read_events(path, columns=columns, label_column="Tier")
    assert listed(read) == [(1.5, 2.25, "Hund")]
    assert read["filename"].tolist() == ["k.wav"]
    with pytest.raises(LabelError, match="no column 'ab' among Clip, von, bis, Tier, label"):
        read_events(path, columns={**columns, "onset": "ab"})


def test_durations_and_clock_times(tmp_path: Path) -> None:
    path = tmp_path / "notes.tsv"
    path.write_text(
        "start\tduration\tlabel\n0.1\t0.2\tDog\n1:02\t0:30.5\tCat\n1:00:00,25\t1\tDog\n"
    )
    expected = [(0.1, 0.3, "Dog"), (62.0, 92.5, "Cat"), (3600.25, 3601.25, "Dog")]
    assert listed(read_events(path)) == expected
    path.write_text("start\tend\tlength\tlabel\n1\t9\t2\tDog\n\t\t\t\n")
    assert listed(read_events(path)) == [(1.0, 9.0, "Dog")]
    assert listed(read_events(path, columns={"duration": "length"})) == [(1.0, 3.0, "Dog")]
    path.write_text("start\tlength\tlabel\n1\tlong\tDog\n")
    with pytest.raises(LabelError, match=r"notes.tsv:2: the duration 'long'"):
        read_events(path)


@pytest.mark.parametrize("format", ["tsv", "csv", "audacity", "raven", "elan-tab"])
def test_text_in_an_encoding_that_is_named(
    format: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / ("rec.csv" if format == "csv" else "rec.txt")
    if format == "elan-tab":
        path.write_text(exported([(0, 500, "Tür", "Tür")]), encoding="latin-1")
    else:
        table = pd.DataFrame(
            [("rec", 0.0, 0.5, "Tür")], columns=["filename", "onset", "offset", "event_label"]
        )
        write_events(path, table, format)
        path.write_text(path.read_text(encoding="utf-8"), encoding="latin-1")
    with caplog.at_level("WARNING"):
        assert listed(read_events(path)) == [(0.0, 0.5, "Tür")]
    assert f"{path}:" in caplog.text
    assert "Windows-1252" in caplog.text
    caplog.clear()
    assert format_of(path, "latin-1") == format
    assert listed(read_events(path, encoding="latin-1")) == [(0.0, 0.5, "Tür")]
    assert not caplog.text
    with pytest.raises(LabelError, match="no encoding is called 'martian'"):
        read_events(path, encoding="martian")


def test_marks_win_over_a_named_encoding(tmp_path: Path) -> None:
    path = tmp_path / "rec.txt"
    path.write_text("0.0\t0.5\tTür\n", encoding="utf-16")
    assert listed(read_events(path, encoding="latin-1")) == [(0.0, 0.5, "Tür")]


def test_text_files_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "rec.txt"
    for text, expected in (
        ("0.0\t0.5\tDog\n\\\t100\t200\n", "audacity"),
        ("0,0\t0,5\tDog\n", "audacity"),
        ("", "audacity"),
        ("Selection\tBegin Time (s)\tEnd Time (s)\tAnnotation\n", "raven"),
        ("onset\toffset\tevent_label\n0\t1\tDog\n", "tsv"),
        ("Tier\tBegin Time - ss.msec\tEnd Time - ss.msec\tAnnotation\n", "elan-tab"),
        ("Dog\t\t00:00:01.000\t00:00:02.000\twau\n", "elan-tab"),
    ):
        path.write_text(text)
        assert format_of(path) == expected, text
    assert set(READERS) == {*FORMATS, "elan-tab", "textgrid", "srt", "headerless"}
    with pytest.raises(LabelError, match=r"'praat'.*elan-tab"):
        read_events(path, "praat")
