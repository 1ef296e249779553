"""Counts and seconds by class, recording, hour and day, against sums made otherwise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from earmark.core.clock_times import TimePattern
from earmark.core.errors import LabelError
from earmark.core.event import Event
from earmark.deliver.pictures.activity import plot_activity
from earmark.deliver.summary import (
    Activity,
    FoundEvents,
    clock_counts,
    read_found,
    summarise,
    write_summary,
)

EVENTS = st.lists(
    st.tuples(st.integers(0, 9000), st.integers(1, 8000), st.sampled_from("ABC")), max_size=12
)


def tables(folder: Path, activity: Activity, kind: str = "tsv") -> dict[str, pd.DataFrame]:
    written = write_summary(folder, activity, kind)
    return {
        path.stem: pd.read_csv(path, sep="\t" if kind == "tsv" else ",", dtype={"hour": str})
        for path in written
    }


@given(st.dictionaries(st.integers(0, 10**6), EVENTS, max_size=4))
def test_hours_and_days_add_up(starts: dict[int, list[tuple[int, int, str]]]) -> None:
    """Against every second on its own."""
    found, begun, seconds = FoundEvents(), dict[str, int](), dict[tuple[str, str, str], int]()
    zero = datetime(2026, 5, 30)
    for start, rows in starts.items():
        begin = zero + timedelta(seconds=start)
        name = f"{begin:%Y%m%d_%H%M%S}.wav"
        found.events[name] = [Event(on, on + length, label) for on, length, label in rows]
        found.durations[name] = 20_000.0
        for onset, length, label in rows:
            place = f"{begin + timedelta(seconds=onset):%Y-%m-%d %H}"
            begun[f"{place} {label}"] = begun.get(f"{place} {label}", 0) + 1
            for second in range(0, length):
                clock = begin + timedelta(seconds=onset + second)
                key = (f"{clock:%Y-%m-%d}", f"{clock:%H}", label)
                seconds[key] = seconds.get(key, 0) + 1
    activity = summarise(found)
    assert {k: round(v.seconds) for k, v in activity.by_hour.items()} == seconds
    assert {" ".join(k): v.events for k, v in activity.by_hour.items() if v.events} == begun
    for total in (activity.by_class, activity.by_recording, activity.by_day):
        assert sum(one.events for one in total.values()) == sum(map(len, starts.values()))
        assert sum(one.seconds for one in total.values()) == pytest.approx(sum(seconds.values()))
    assert sum(activity.recorded.values()) == pytest.approx(20_000 * len(found.events))
    assert activity.undated == []


def small() -> FoundEvents:
    found = FoundEvents()
    found.events = {
        "20260531_043000.wav": [Event(10.0, 20.0, "Dog"), Event(1795.0, 1805.0, "Cat")],
        "20260531_063000.wav": [],
        "kitchen.wav": [Event(0.0, 1.5, "Dog")],
    }
    found.durations = dict.fromkeys(found.events, 2400.0)
    return found


@pytest.mark.parametrize("kind", ["tsv", "csv"])
def test_tables(tmp_path: Path, kind: str) -> None:
    activity = summarise(small())
    assert activity.undated == ["kitchen.wav"]
    assert activity.zone == "as written"
    read = tables(tmp_path, activity, kind)
    assert read["by_class"].values.tolist() == [["Cat", 1, 10.0], ["Dog", 2, 11.5]]
    rows = read["by_recording"]
    names = ["20260531_043000.wav", "20260531_043000.wav", "20260531_063000.wav", "kitchen.wav"]
    assert list(rows.filename) == names
    assert rows[rows.filename == "20260531_063000.wav"].events.tolist() == [0]
    assert read["by_hour"].values.tolist() == [
        ["2026-05-31", "04", "Cat", 1, 5.0, 1800.0],
        ["2026-05-31", "04", "Dog", 1, 10.0, 1800.0],
        ["2026-05-31", "05", "Cat", 0, 5.0, 600.0],
        ["2026-05-31", "05", "Dog", 0, 0.0, 600.0],
        ["2026-05-31", "06", "Cat", 0, 0.0, 1800.0],
        ["2026-05-31", "06", "Dog", 0, 0.0, 1800.0],
        ["2026-05-31", "07", "Cat", 0, 0.0, 600.0],
        ["2026-05-31", "07", "Dog", 0, 0.0, 600.0],
    ]
    assert read["by_day"].values.tolist() == [
        ["2026-05-31", "Cat", 1, 10.0, 4800.0], ["2026-05-31", "Dog", 1, 10.0, 4800.0],
    ]  # fmt: skip
    assert clock_counts(activity) == {"Dog": {4: 2.0}, "Cat": {4: 2.0, 5: 0.0}}


def test_without_lengths_nothing_is_said_of_them(tmp_path: Path) -> None:
    found = small()
    del found.durations["20260531_063000.wav"]
    activity = summarise(found)
    read = tables(tmp_path, activity)
    assert read["by_hour"].recorded.isna().all()
    assert clock_counts(activity)["Dog"] == {4: 1}


def test_without_times_no_hours(tmp_path: Path) -> None:
    tables(tmp_path, summarise(small()))
    found = FoundEvents({"a.wav": [Event(0.0, 1.0, "Dog")]})
    assert set(tables(tmp_path, summarise(found))) == {"by_class", "by_recording"}
    assert not (tmp_path / "by_hour.tsv").exists()  # of the earlier summary


def test_zones_are_said_and_applied() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    moth = f"{int(datetime(2026, 7, 1, 22, 30, tzinfo=UTC).timestamp()):08X}.WAV"
    event = [Event(0.0, 1.0, "Bat")]
    found = FoundEvents({moth: event, "20260701_223000.wav": event})

    def places(**zones: object) -> set[str]:
        return {" ".join(key[:2]) for key in summarise(found, **zones).by_hour}  # type: ignore[arg-type]

    assert places() == {"2026-07-01 22"}
    assert summarise(found).zone == "as written: UTC, no zone"
    assert places(zone=berlin) == {"2026-07-02 00", "2026-07-01 22"}
    assert places(zone=berlin, written_in=UTC) == {"2026-07-02 00"}
    assert summarise(found, zone=berlin).zone == "Europe/Berlin"


def test_the_repeated_hour_of_autumn_is_counted_once_each() -> None:
    begin = int(datetime(2026, 10, 24, 23, 30, tzinfo=UTC).timestamp())
    found = FoundEvents({f"{begin:08X}.WAV": [Event(0.0, 4 * 3600.0, "Rain")]})
    hours = summarise(found, zone=ZoneInfo("Europe/Berlin")).by_hour
    assert {key[1]: one.seconds for key, one in hours.items()} == pytest.approx(
        {"01": 1800.0, "02": 7200.0, "03": 3600.0, "04": 1800.0}
    )


def test_folders_of_detect_and_tables_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "found"
    folder.mkdir()
    (folder / "events.tsv").write_text(
        "filename\tonset\toffset\tevent_label\tscore\n20260531_043000.wav\t1\t2\tDog\t0.5\n"
    )
    (folder / "recordings.tsv").write_text(
        "filename\tduration\tevents\tpath\n20260531_043000.wav\t60.0\t1\tx\nquiet.wav\t30\t0\ty\n"
    )
    (tmp_path / "night.txt").write_text("0.5\t1.5\tCat\n")
    found = read_found([folder, tmp_path / "night.txt"])
    assert {name: len(events) for name, events in found.events.items()} == {
        "20260531_043000.wav": 1, "quiet.wav": 0, "night": 1,
    }  # fmt: skip
    assert found.durations == {"20260531_043000.wav": 60.0, "quiet.wav": 30.0}


def test_a_column_says_when(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    head = "filename,onset,offset,event_label,began\n"
    table.write_text(f"{head}a.wav,0,1,Dog,2026-05-31 04:30:00\na.wav,2,3,Dog,2026-05-31T04:30\n")
    assert read_found([table], time_column="began").begins == {
        "a.wav": datetime(2026, 5, 31, 4, 30)
    }
    pattern = TimePattern("%d.%m.%Y %H:%M")
    table.write_text(f"{head}a.wav,0,1,Dog,31.05.2026 04:30\n")
    found = read_found([table], time_column="began", pattern=pattern)
    assert set(summarise(found).by_hour) == {("2026-05-31", "04", "Dog")}
    with pytest.raises(LabelError, match=r"a\.csv:2: '31.05.2026 04:30' in the column began"):
        read_found([table], time_column="began")
    table.write_text(f"{head}a.wav,0,1,Dog,2026-05-31\na.wav,0,1,Dog,2026-06-01\n")
    with pytest.raises(LabelError, match=r"a\.csv:3: a\.wav began at"):
        read_found([table], time_column="began")
    with pytest.raises(LabelError, match="no column start"):
        read_found([table], time_column="start")


def test_the_picture_is_bright_where_something_is(tmp_path: Path) -> None:
    found = FoundEvents()
    for hour in (0, 6, 12, 18):
        count = 40 if hour == 6 else 0
        name = f"20260531_{hour:02}0000.wav"
        found.events[name] = [Event(n, n + 0.5, "Dog") for n in range(count)]
        found.durations[name] = 3600.0
    plot_activity(tmp_path / "activity.png", summarise(found))
    colours = np.asarray(Image.open(tmp_path / "activity.png").convert("RGB")).reshape(-1, 3)
    seen = {tuple(colour) for colour in np.unique(colours, axis=0).tolist()}
    assert {(253, 231, 36), (68, 1, 84), (217, 217, 217)} <= seen  # most, none, not recorded
