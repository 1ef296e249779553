"""Label tables: names come back as they went, and a bad row takes no other with it."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.core.errors import LabelError
from earmark.core.event import Event
from earmark.core.tables.label_tables import (
    EVENT_COLUMNS,
    duration_table,
    strong_table,
    weak_table,
    write_durations,
    write_strong,
    write_weak,
)
from earmark.core.tables.labels import LabelSet
from earmark.core.tables.rows import check_label, is_nothing
from helpers.files import written
from helpers.label_files import by_name, read_strong, read_weak

HEADER = "filename\tonset\toffset\tevent_label\n"


def fit(name: str) -> bool:
    odd = any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in name)
    return bool(name) and name == name.strip() and not odd and not is_nothing(name)


LABELS = st.text(max_size=12).filter(fit) | st.sampled_from(
    ["Running water", '"Dog"', 'say "hi"', "Ächzen", "犬の声", "a\u00a0b", "#", "'", "a;b", "🐕"]
)
TIMES = st.floats(0, 1e6)


@given(rows=st.lists(st.tuples(TIMES, TIMES, LABELS), min_size=1, max_size=6))
def test_any_class_name_and_time_comes_back_from_strong_labels(
    rows: list[tuple[float, float, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.tsv"
    events = [
        (f"c{i % 2}.wav", min(a, b), max(a, b), label) for i, (a, b, label) in enumerate(rows)
    ]
    events.sort(key=lambda event: event[0])
    frame = pd.DataFrame(events, columns=list(EVENT_COLUMNS))
    write_strong(path, by_name(frame, ["c0.wav", "c1.wav", "z"]))
    table, listed = read_strong(path)
    assert list(table.itertuples(index=False, name=None)) == events
    assert listed == ["c0.wav", "c1.wav", "z"]


@given(labels=st.lists(LABELS.filter(lambda name: "," not in name), unique=True, max_size=4))
def test_any_class_name_without_comma_comes_back_from_weak_labels(
    labels: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "weak.tsv"
    write_weak(path, {'"odd" name.wav': labels})
    assert read_weak(path) == {'"odd" name.wav': tuple(labels)}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a\tb", "holds a tab"),
        ("a\nb", "holds a line break"),
        ("a\x07", r"control character U\+0007"),
        ("a\u2028b", r"U\+2028"),
        (" a", "begins or ends with a space"),
        ("", "means no class|is empty"),
    ],
)
def test_class_names_that_no_file_can_hold_are_refused(
    name: str, told: str, tmp_path: Path
) -> None:
    for refused in (
        lambda: write_strong(tmp_path / "s.tsv", {"a.wav": [Event(0.0, 1.0, name)]}),
        lambda: write_weak(tmp_path / "w.tsv", {"a.wav": [name]}),
        lambda: LabelSet((name,)),
        lambda: check_label(name),
    ):
        with pytest.raises(LabelError, match=told):
            refused()
    assert not list(tmp_path.iterdir())


def test_a_tab_in_a_class_name_is_a_fault_of_its_line(tmp_path: Path) -> None:
    rows = 'a.wav\t0\t1\tDog\tbark\nb.wav\t0\t1\t"Dog\tbark"\nc.wav\t0\t1\tDog\n'
    table = strong_table(written(tmp_path, HEADER + rows))
    assert [(fault.line, fault.filename) for fault in table.faults] == [(2, "a.wav"), (3, "b.wav")]
    assert "Tabs may stand between fields only" in str(table.faults[0].error)
    assert "holds a tab" in str(table.faults[1].error)
    assert [row.filename for row in table.rows] == ["c.wav"]
    with pytest.raises(LabelError, match=r"labels\.tsv:2"):
        table.checked()


def test_a_bad_row_takes_no_other_with_it(tmp_path: Path) -> None:
    text = (
        "filename\tonset\toffset\tevent_label\tnote\r\n"
        "ok.wav\t0\t1\tDog\r\n"
        "turned.wav\t2\t1\tDog\r\n"
        "\r\n"
        "unit.wav\t0.5s\t1\tDog\r\n"
        "half.wav\t0.5\t\tDog\r\n"
        "\t0\t1\tDog\r\n"
        'open.wav\t0\t1\t"Dog\r\n'
        "x/ok.wav\t0\t1\tDog\r\n"
        "silent.wav\r\n"
        "last.wav\t0.5\t1\tCat\tmaybe"
    )
    table = strong_table(written(tmp_path, text))
    assert [(row.line, row.filename, row.event.event_label) for row in table.rows] == [
        (2, "ok.wav", "Dog"),
        (9, "x/ok.wav", "Dog"),
        (11, "last.wav", "Cat"),
    ]
    faults = [(fault.line, fault.filename) for fault in table.faults]
    assert faults == [
        (3, "turned.wav"),
        (5, "unit.wav"),
        (6, "half.wav"),
        (7, ""),
        (8, "open.wav"),
    ]
    assert len(table.clips) == 9  # a row each, whether understood or not
    assert table.columns[-1] == "note"
    assert "silent.wav" in table.listed


def test_two_durations_of_a_clip_are_a_fault(tmp_path: Path) -> None:
    rows = "filename\tduration\na.wav\t10\na.wav\t10.0\na.wav\t9\nb.wav\t-1\n"
    table = duration_table(written(tmp_path, rows))
    assert [fault.line for fault in table.faults] == [4, 5]
    assert [row.line for row in table.rows] == [2, 3]
    write_durations(tmp_path / "d.tsv", {"a.wav": 0.1 + 0.2})
    assert duration_table(tmp_path / "d.tsv").rows[0].seconds == 0.1 + 0.2


def test_weak_rows_keep_their_lines(tmp_path: Path) -> None:
    table = weak_table(written(tmp_path, "filename\tevent_labels\na.wav\tDog, Cat,Dog\nb.wav\tnan"))
    assert [tuple(row) for row in table.rows] == [(2, "a.wav", ("Dog", "Cat")), (3, "b.wav", ())]


def test_names_of_clips_that_no_table_can_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="file name"):
        write_durations(tmp_path / "d.tsv", {"a\tb.wav": 1.0})


@pytest.mark.parametrize("time", ["1e308", "1e10", "-1e300"])
def test_times_beyond_any_recording_are_named_by_their_row(time: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text(f"{HEADER}a.wav\t0\t1\tDog\na.wav\t0\t{time}\tDog\n")
    with pytest.raises(LabelError, match=r"labels\.tsv:3: the offset .* is beyond any recording"):
        read_strong(path)
