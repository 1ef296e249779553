from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.core.errors import LabelError
from earmark.core.event import EVENT_COLUMNS, Event
from earmark.core.tables.label_tables import write_durations, write_strong, write_weak
from earmark.core.tables.labels import LabelSet, clip_id, events_by_clip
from helpers.files import written
from helpers.label_files import by_name, read_durations, read_strong, read_weak

HEADER = "filename\tonset\toffset\tevent_label\n"


def table(*rows: tuple[str, float, float, str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(EVENT_COLUMNS))


def test_labels_are_sorted_known_and_once() -> None:
    labels = LabelSet.from_names(["Dog", "Cat", "Dog", "Speech"])
    assert tuple(labels) == labels.names == ("Cat", "Dog", "Speech")
    assert len(labels) == 3
    assert [labels.index(name) for name in labels] == [0, 1, 2]
    assert "Dog" in labels
    assert "Frog" not in labels
    with pytest.raises(LabelError, match=r"'Frog'.*Cat, Dog, Speech"):
        labels.index("Frog")
    with pytest.raises(LabelError, match="twice: Dog"):
        LabelSet(("Dog", "Dog"))
    with pytest.raises(LabelError, match="empty"):
        LabelSet((" ",))


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("a.wav", "a"),
        ("a.b.flac", "a.b"),
        ("Y00pbt6aJV8Y_350.000_360.000.wav", "Y00pbt6aJV8Y_350.000_360.000"),
        ("Y00pbt6aJV8Y_350.000_360.000", "Y00pbt6aJV8Y_350.000_360.000"),
        ("bare", "bare"),
        (".hidden", ".hidden"),
        ("song.mp3", "song"),
    ],
)
def test_clip_ids(filename: str, expected: str) -> None:
    assert clip_id(filename) == expected


def test_strong_labels(tmp_path: Path) -> None:
    text = (
        HEADER + "b.wav\t0.5\t1.25\tDog\n"
        "silent.wav\t\t\t\n"
        "nan.wav\tnan\tNaN\tNA\n"
        "short.wav\n"
        "\n"
        "b.wav\t2\t10.000\tRunning_water\n"
        "folder/c.wav\t0.0\t0.0\tCat\n"
    )
    for variant in (text, text.replace("\n", "\r\n"), "\ufeff" + text):
        events, names = read_strong(written(tmp_path, variant))
        assert names == ["b.wav", "silent.wav", "nan.wav", "short.wav", "folder/c.wav"]
        assert list(events.columns) == list(EVENT_COLUMNS)
        assert events_by_clip(events) == {
            "b": [Event(0.5, 1.25, "Dog"), Event(2.0, 10.0, "Running_water")],
            "folder/c": [Event(0.0, 0.0, "Cat")],
        }


def test_columns_in_any_order(tmp_path: Path) -> None:
    path = written(tmp_path, "event_label\textra\tfilename\toffset\tonset\nDog\tx\ta.wav\t2\t1\n")
    assert events_by_clip(read_strong(path)[0]) == {"a": [Event(1.0, 2.0, "Dog")]}


def test_no_events_at_all_is_a_table_of_numbers(tmp_path: Path) -> None:
    events, names = read_strong(written(tmp_path, HEADER + "a.wav\t\t\t\n"))
    assert names == ["a.wav"]
    assert events.empty
    assert events["onset"].dtype == "float64"
    assert events_by_clip(events) == {}


@pytest.mark.parametrize(
    ("rows", "line", "message"),
    [
        ("a.wav\t0\t1\tDog\nb.wav\tone\t2\tDog\n", 3, "'one' is not a number"),
        ("a.wav\t0\t1\tDog\nb.wav\t1\t0.5\tDog\n", 3, "from 1 s to 0.5 s"),
        ("a.wav\t-1\t1\tDog\n", 2, "from -1 s"),
        ("a.wav\t0\tinf\tDog\n", 2, "'inf' is not a number"),
        ("a.wav\t0\t1\t\n", 2, "needs onset, offset and event_label"),
        ("a.wav\t\t1\tDog\n", 2, "needs onset"),
        ("a.wav\t0\t1\tDog\textra\n", 2, "5 fields"),
        ("\t0\t1\tDog\n", 2, "without a file name"),
        ("x/a.wav\t0\t1\tDog\n\nfolder/\t0\t1\tDog\n", 4, "without a file name"),
    ],
)
def test_errors_name_file_and_line(rows: str, line: int, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + rows)
    with pytest.raises(LabelError, match=message) as caught:
        read_strong(path)
    assert caught.value.where == f"{path}:{line}"


def test_files_that_are_no_labels(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no such file"):
        read_strong(tmp_path / "none.tsv")
    with pytest.raises(LabelError, match="is empty"):
        read_weak(written(tmp_path, ""))
    with pytest.raises(LabelError, match="no column onset, offset, event_label"):
        read_strong(written(tmp_path, "filename\tevent_labels\na.wav\tDog\n"))
    assert read_strong(written(tmp_path, HEADER.replace("\t", ",")))[1] == []
    with pytest.raises(LabelError, match="cannot be read"):
        read_strong(tmp_path)
    (tmp_path / "x.tsv").write_bytes(b"RIFF\xff\xfe\x80\x81")
    with pytest.raises(LabelError, match="as text"):
        read_strong(tmp_path / "x.tsv")


def test_weak_labels(tmp_path: Path) -> None:
    path = written(
        tmp_path, "filename\tevent_labels\na.wav\tDog, Cat,Dog\nb.wav\t\na.wav\tSpeech\n"
    )
    assert read_weak(path) == {"a.wav": ("Dog", "Cat", "Speech"), "b.wav": ()}
    write_weak(tmp_path / "again.tsv", read_weak(path))
    assert read_weak(tmp_path / "again.tsv") == read_weak(path)
    with pytest.raises(LabelError, match="comma"):
        write_weak(tmp_path / "bad.tsv", {"a.wav": ["Dog, barking"]})


def test_durations(tmp_path: Path) -> None:
    path = written(tmp_path, "filename\tduration\na.wav\t10.0\nb.wav\t9.971\na.wav\t10\n")
    assert read_durations(path) == {"a.wav": 10.0, "b.wav": 9.971}
    write_durations(tmp_path / "again.tsv", read_durations(path))
    assert read_durations(tmp_path / "again.tsv") == read_durations(path)
    for row in ("a.wav\t0\n", "a.wav\t-1\n", "a.wav\t\n", "a.wav\t9\na.wav\t10\n"):
        with pytest.raises(LabelError) as caught:
            read_durations(written(tmp_path, "filename\tduration\n" + row))
        assert caught.value.where is not None
        assert caught.value.where.rsplit(":", 1)[1].isdecimal()


times = st.floats(0, 1e5, allow_nan=False)
names = st.sampled_from(["a.wav", "b.flac", "Yabc_30.000_40.000.wav"])
events_strategy = st.lists(
    st.tuples(
        names,
        times,
        times,
        st.sampled_from(["Dog", "Running_water", "Türklingel", '"quoted"', "a, b"]),
    ).map(lambda row: (row[0], min(row[1:3]), max(row[1:3]), row[3])),
    max_size=8,
)


@given(rows=events_strategy)
def test_strong_labels_are_written_to_the_last_bit(
    rows: list[tuple[str, float, float, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("strong") / "new" / "labels.tsv"
    clips = ["empty.wav", "b.flac", "a.wav", "Yabc_30.000_40.000.wav"]
    write_strong(path, by_name(table(*rows), clips))
    events, listed = read_strong(path)
    assert listed == clips
    assert events_by_clip(events) == events_by_clip(table(*rows))
    assert [entry.name for entry in path.parent.iterdir()] == ["labels.tsv"]


def test_the_validation_set_of_desed(shared_dir: Path) -> None:
    folder = shared_dir / "golden" / "evaluation"
    events, listed = read_strong(folder / "validation.tsv")
    assert len(listed) == 1_168
    assert (events["offset"] > events["onset"]).all()
    assert set(read_durations(folder / "validation_durations.tsv")) <= set(listed)
    assert len(LabelSet.from_names(events["event_label"])) == 10
