"""Label files as they come: odd ones, missing ones, wrong ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from earmark.core.audio.audio import write_audio
from earmark.core.errors import DataError, LabelError
from earmark.core.event import Event
from earmark.prepare.importing.annotations import Reading, gather
from helpers.importing import ONE, bank_of, events_back, make, read, record, track


def test_label_files_in_the_wild(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d", "e"):
        record(tmp_path / f"{name}.wav", 12)
    track(tmp_path / "a.txt", [(1.0, 2.0, "Dog")], encoding="utf-16", newline="\r\n")
    (tmp_path / "b_labels.txt").write_text("1,5\t2,5\tDog\r\n\\\t100,0\t2000,0\r\n", newline="")
    (tmp_path / "c.Table.1.selections.txt").write_text(
        "\ufeffSelection\tView\tBegin Time (s)\tEnd Time (s)\tSpecies\r\n"
        "1\tWaveform 1\t3,0\t4,0\tDog\r\n1\tSpectrogram 1\t3,0\t4,0\tDog\r\n",
        encoding="utf-16-le",
    )
    (tmp_path / "d.csv").write_text("Begin;End;Species\n5,5;6,5;Dog\n")
    (tmp_path / "E.TXT").write_text("")
    (tmp_path / "readme.txt").write_text("These were recorded in May.\n")
    columns = {"onset": "Begin", "offset": "End"}
    job = read(tmp_path, reading=Reading(columns=columns, label_column="Species"))
    found = events_back(job)
    assert found == {
        "a.wav": [(1.0, 2.0, "Dog")],
        "b.wav": [(1.5, 2.5, "Dog")],
        "c.wav": [(3.0, 4.0, "Dog")],
        "d.wav": [(5.5, 6.5, "Dog")],
        "e.wav": [],
    }
    assert [path.name for path in job.gathered.aside] == ["readme.txt"]
    assert set(job.plan.splits) == set(found)  # e.wav was annotated: nothing happens in it


def test_selections_over_several_files(tmp_path: Path) -> None:
    for name in ("one.wav", "two.wav"):
        record(tmp_path / "audio" / name, 12)
    table = tmp_path / "all.selections.txt"
    table.write_text(
        "Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tSpecies\n"
        "1\t2.0\t3.0\tone.wav\t2.0\tDog\n2\t15.0\t16.0\ttwo.wav\t3.0\tDog\n"
    )
    job = read(table, tmp_path / "audio", train=1, validation=1, test=0)
    assert events_back(job) == {
        "one.wav": [(2.0, 3.0, "Dog")],
        "two.wav": [(3.0, 4.0, "Dog")],
    }


def test_one_table_for_all_recordings(tmp_path: Path) -> None:
    record(tmp_path / "audio/day1/x.wav", 12)
    record(tmp_path / "audio/day2/x.wav", 12, seed=1)
    record(tmp_path / "audio/y.wav", 12, seed=2)
    table = tmp_path / "notes.csv"
    table.write_text(
        "File,start,end,label\nday1/x.wav,1,2,Dog\nday2\\x.wav,3,4,Dog\nY,5,6,Cat\ny.wav,7,8,Dog\n"
    )
    job = read(table, tmp_path / "audio")
    assert events_back(job) == {
        "day1/x.wav": [(1.0, 2.0, "Dog")],
        "day2/x.wav": [(3.0, 4.0, "Dog")],
        "y.wav": [(5.0, 6.0, "Cat"), (7.0, 8.0, "Dog")],
    }
    data = make(tmp_path / "data", job)
    assert len({path.name for path in data.rglob("*.flac")}) == 6
    table.write_text("File,start,end,label\nx.wav,1,2,Dog\n")
    with pytest.raises(LabelError, match=r"'x.wav' could be day1/x.wav and day2/x.wav"):
        read(table, tmp_path / "audio")


def test_recordings_that_are_not_there(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 12)
    track(tmp_path / "a.txt", [(1, 2, "Dog")])
    track(tmp_path / "b.txt", [(1, 2, "Dog")])
    track(tmp_path / "c.txt", [(1, 2, "Dog")])
    with pytest.raises(LabelError, match=r"b\.txt: no recording 'b' \(and 1 more\).*--skip-m"):
        read(tmp_path, **ONE)
    job = read(tmp_path, files={"skip_missing": True}, **ONE)
    assert list(job.gathered.missing) == ["b", "c"]
    assert events_back(job) == {"a.wav": [(1.0, 2.0, "Dog")]}


def test_folders_and_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no such file or folder"):
        read(tmp_path / "none")
    with pytest.raises(DataError, match="no label file"):
        read(tmp_path)
    track(tmp_path / "a.txt", [(1, 2, "Dog")])
    with pytest.raises(DataError, match=r"no recording found.*--audio"):
        read(tmp_path)
    with pytest.raises(LabelError, match=r"'praat'.*elan-tab"):
        Reading("praat")


def test_mistakes_of_several_files_are_told_at_once(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        record(tmp_path / f"{name}.wav", 12)
        track(tmp_path / f"{name}.txt", [(1, 2, "Dog")])
    for name in ("a", "c"):
        with (tmp_path / f"{name}.txt").open("a") as file:
            file.write("3.0\tfour\tDog\n")
    with pytest.raises(
        LabelError, match=r"^\S*a\.txt:2: .*'four'.*1 more row cannot be used.*c\.txt:2"
    ):
        read(tmp_path)


def test_events_beyond_the_recording(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 12)
    track(tmp_path / "a.txt", [(11, 13, "Dog")])
    job = read(tmp_path, **ONE)
    assert events_back(job) == {"a.wav": [(11.0, 12.0, "Dog")]}
    assert job.changes.trimmed == [("a.wav", Event(11.0, 13.0, "Dog"))]
    track(tmp_path / "a.txt", [(13, 14, "Dog")])
    with pytest.raises(LabelError, match=r"a\.txt: 'Dog' is at 13 s, but a\.wav ends at 12 s"):
        read(tmp_path, **ONE)


def test_labels_without_a_length(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 12)
    track(tmp_path / "a.txt", [(0.1, 0.1, "Dog"), (5, 5, "Dog"), (6, 7, "Dog")])
    with pytest.raises(LabelError, match=r"'Dog' at 0\.1 s has no length.*--points"):
        read(tmp_path, **ONE)
    job = read(tmp_path, points=0.5, **ONE)
    assert events_back(job)["a.wav"] == [(0.0, 0.35, "Dog"), (4.75, 5.25, "Dog"), (6.0, 7.0, "Dog")]
    assert job.changes.points == 2
    assert events_back(read(tmp_path, points=0, **ONE))["a.wav"] == [(6.0, 7.0, "Dog")]


def test_classes_are_merged_and_dropped(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 12)
    track(tmp_path / "a.txt", [(1, 4, "dogs"), (2, 3, "woof"), (5, 6, "noise"), (7, 8, "Cat")])
    job = read(tmp_path, renames=("woof=Dog", "dogs=Dog"), drops=("noise",), **ONE)
    assert events_back(job) == {"a.wav": [(1.0, 4.0, "Dog"), (7.0, 8.0, "Cat")]}
    assert job.changes.merged == 1
    assert job.changes.classes == {
        "Cat": ("Cat", 1), "dogs": ("Dog", 1), "noise": (None, 1), "woof": ("Dog", 1),
    }  # fmt: skip


def test_nothing_annotated(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 12)
    (tmp_path / "notes.csv").write_text("filename,onset,offset,event_label\n")
    with pytest.raises(DataError, match="nothing was annotated"):
        read(tmp_path, **ONE)


def test_label_files_beside_a_dataset_are_not_taken_for_its_own(tmp_path: Path) -> None:
    """Recordings are found below the folder given, and gathering says where."""
    folder = bank_of(tmp_path, 3)
    found = gather([folder], [], Reading())
    assert [one.key for one in found.recordings] == ["rec0.wav", "rec1.wav", "rec2.wav"]
    assert all(one.files for one in found.recordings)
    write_audio(folder / "rec0.flac", np.zeros(100, np.float32))
    with pytest.raises(LabelError, match=r"'rec0' could be"):
        gather([folder], [], Reading())


def test_what_every_reader_takes(tmp_path: Path) -> None:
    """Line ends, a delimiter that is named, line breaks in fields, early labels, the name NA."""
    for name in "abcd":
        record(tmp_path / f"{name}.wav", 3)
    (tmp_path / "a.txt").write_bytes(b"1.0\t1.3\tbeep\r2.0\t2.3\tbeep\r")
    (tmp_path / "b.txt").write_text("-0.000001\t0.5\tclick\n0\t0.5\tNA\n")
    (tmp_path / "c.csv").write_bytes(
        b"sep=;\r\nfilename;onset;offset;label;note\r\n"
        b'c.wav;1,0;1,3;beep;"two\r\nlines"\r\nd.wav;0:01,5;0:02;beep;\r\n'
    )
    job = read(tmp_path, drops=("NA",))
    assert events_back(job) == {
        "a.wav": [(1.0, 1.3, "beep"), (2.0, 2.3, "beep")],
        "b.wav": [(0.0, 0.5, "click")],
        "c.wav": [(1.0, 1.3, "beep")],
        "d.wav": [(1.5, 2.0, "beep")],
    }
    assert any("b.txt:1: begins before 0 s" in note for note in job.gathered.notes)
    with pytest.raises(LabelError, match=r"b\.txt: the class name 'NA' .*--drop NA"):
        read(tmp_path)


def test_all_bad_rows_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        record(tmp_path / f"{name}.wav", 12)
    (tmp_path / "one.csv").write_text(
        "filename,onset,offset,event_label\na.wav,1,2,Dog\na.wav,x,2,Dog\nb.wav,3,2,Dog\n"
    )
    rows = "".join(f"a.wav\t{n}\ty\tDog\n" for n in range(20))
    (tmp_path / "two.tsv").write_text(
        f"filename\tonset\toffset\tevent_label\nb.wav\t1\t2\tDog\n{rows}"
    )
    (tmp_path / "README.txt").write_text("recorded at dawn\nby hand\n")
    with pytest.raises(LabelError) as caught:
        gather([tmp_path], [], Reading())
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{tmp_path / 'one.csv'}:3: the onset 'x' is not a number; 21 more rows")
    for place in ("one.csv:4: an event from 3 s to 2 s", "two.tsv:3:", "two.tsv:10:"):
        assert place in text
    assert "and 12 more" in text  # ten are told
    assert "README" not in text
    for name in ("one.csv", "two.tsv"):
        (tmp_path / name).unlink()
    (tmp_path / "a.txt").write_text("1.0\t2.0\tDog\n")
    found = gather([tmp_path], [], Reading())
    assert {path.name: why for path, why in found.aside.items()} == {
        "README.txt": "not a line of a label track: start, end and label, separated by tabs"
    }


def test_a_path_in_other_folders_is_taken_by_its_base_name_and_said(tmp_path: Path) -> None:
    for name in ("site_1/a.wav", "site_2/b.wav", "site_2/c.wav"):
        record(tmp_path / "rec" / name, 12)
    table = tmp_path / "all.csv"
    head = "filename,onset,offset,event_label\n"
    table.write_text(head + "D:\\Audio\\Site 1\\a.wav,1,2,Dog\nD:\\Audio\\Site 2\\b.wav,3,4,Dog\n")
    found = gather([table], [tmp_path / "rec"], Reading())
    assert [bool(one.events) for one in found.recordings] == [True, True, False]
    assert "2 listed names matched by base name alone" in found.notes[-1]
    table.write_text(head + "Site 1/a.wav,1,2,Dog\nSite 2/a.wav,3,4,Dog\n")
    with pytest.raises(LabelError, match=r"'Site 1/a\.wav' and 'Site 2/a\.wav' could both be"):
        gather([table], [tmp_path / "rec"], Reading())
