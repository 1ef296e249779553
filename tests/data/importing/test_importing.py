"""From recordings and label files of every kind to a dataset, end to end."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.audio import audio_info, load_audio, load_int16, write_audio
from earmark.core.config import parse_settings
from earmark.core.errors import ConfigError, DataError, LabelError
from earmark.core.events import EVENT_COLUMNS, FORMATS, read_strong, write_events
from earmark.core.rows import is_nothing, is_unfit
from earmark.data.importing.annotations import Reading, gather
from earmark.data.importing.class_map import load_class_map
from earmark.data.importing.importer import Import, read_import
from earmark.data.importing.planning import PLACES, clip_names
from earmark.data.importing.settings import ImportSettings
from earmark.data.importing.writing import write_import
from earmark.data.manifest import load_manifest

RATE = 16_000
ONE = {"train": 1, "validation": 0, "test": 0}  # a single recording cannot be divided
Events = list[tuple[float, float, str]]


def record(path: Path, seconds: float, rate: int = RATE, seed: int = 0) -> Path:
    """A recording of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * rate))
    soundfile.write(path, noise, rate)
    return path


def track(path: Path, events: Events, **how: Any) -> Path:
    """A label track of Audacity."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (f"{onset:.6f}\t{offset:.6f}\t{label}\n" for onset, offset, label in events)
    path.write_text("".join(lines), **{"encoding": "utf-8", **how})
    return path


def read(
    labels: Path | list[Path],
    *audio: Path,
    reading: Reading | None = None,
    renames: tuple[str, ...] = (),
    drops: tuple[str, ...] = (),
    files: dict[str, Any] | None = None,
    **changes: Any,
) -> Import:
    return read_import(
        labels if isinstance(labels, list) else [labels],
        list(audio),
        reading or Reading(),
        load_class_map(None, renames, drops),
        parse_settings(ImportSettings, changes),
        **(files or {}),
    )


def make(out: Path, job: Import, **how: Any) -> Path:
    write_import(out, job.prepared, job.plan, job.record, **how)
    return out


def events_back(job: Import) -> dict[str, Events]:
    """Events of all clips in seconds of their recordings, pieces that touch joined again."""
    found: dict[str, Events] = {}
    for index, clips in job.plan.clips.items():
        one = job.prepared[index]
        pieces = sorted(
            (clip.span[0] / one.rate + onset, clip.span[0] / one.rate + offset, label)
            for clip in clips
            for onset, offset, label in clip.events
        )
        joined: Events = []
        for onset, offset, label in pieces:
            touching = [e for e in joined if e[2] == label and abs(e[1] - onset) < 1e-6]
            if touching and any(abs(clip.span[0] / one.rate - onset) < 1e-6 for clip in clips):
                joined.remove(touching[0])
                onset = touching[0][0]
            joined.append((onset, offset, label))
        found[one.recording.key] = sorted(joined)
    return found


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- every kind of label file ---------------------------------------------------------------------


def elan_tab(path: Path, events: Events) -> None:
    def clock(seconds: float) -> str:
        whole = round(seconds * 1000)
        return f"{whole // 3600000:02d}:{whole // 60000 % 60:02d}:{whole % 60000 / 1000:06.3f}"

    rows = (
        f"tier\t\t{clock(a)}\t{a:.3f}\t{clock(b)}\t{b:.3f}\t{clock(b - a)}\t{b - a:.3f}\t{label}\n"
        for a, b, label in events
    )
    path.write_text("".join(rows), encoding="utf-8", newline="")


def written(format: str) -> Callable[[Path, Events], None]:
    def write(path: Path, events: Events) -> None:
        rows = [("rec.wav", *event) for event in events]
        write_events(path, pd.DataFrame(rows, columns=list(EVENT_COLUMNS)), format)

    return elan_tab if format == "elan-tab" else write


#: Format → name of the label file of rec.wav, and how exactly it holds times.
KINDS = {
    **{name: (f"rec{one.suffix}", 1e-9) for name, one in FORMATS.items()},
    "audacity": ("rec.txt", 1e-6),
    "elan": ("rec.eaf", 6e-4),
    "webvtt": ("rec.vtt", 6e-4),
    "elan-tab": ("rec_annotations.txt", 6e-4),
}

names = st.text(
    st.characters(
        exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="\ufffe\uffff<>&"
    ),
    min_size=1,
    max_size=10,
).filter(lambda name: name == name.strip() and not is_nothing(name))
#: Events at least a millisecond apart, so that no format joins two of a class.
lists = st.lists(
    st.tuples(st.integers(1, 3000), st.integers(2, 3000), names), min_size=1, max_size=6
)


def laid_out(parts: list[tuple[int, int, str]]) -> Events:
    """(pause, length, label) in milliseconds, one after the other."""
    position, events = 0, []
    for pause, length, label in parts:
        events.append(((position + pause) / 1000, (position + pause + length) / 1000, label))
        position += pause + length
    return events


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("long") / "rec.wav", 37)


@pytest.mark.parametrize("format", KINDS)
@given(parts=lists)
@settings(max_examples=12, deadline=None)
def test_events_of_every_format_reach_the_clips(
    format: str, parts: list[tuple[int, int, str]], long_recording: Path
) -> None:
    file, exact = KINDS[format]
    events = laid_out(parts)
    path = long_recording.parent / file
    written(format)(path, events)
    job = read(path, reading=Reading(format), least=0, **ONE)
    path.unlink()
    found = events_back(job)["rec.wav"]
    assert [label for *_, label in found] == [label for *_, label in events]
    for ours, theirs in zip(found, events, strict=True):
        assert ours[:2] == pytest.approx(theirs[:2], abs=exact)


@pytest.mark.parametrize("format", KINDS)
def test_a_dataset_from_every_format(format: str, tmp_path: Path) -> None:
    events = [(0.5, 2.25, "Köter groß"), (9.25, 10.5, "犬"), (21.0, 21.5, "a, b; c")]
    for number in range(3):
        name = KINDS[format][0].replace("rec", f"rec{number}")
        record(tmp_path / f"in/rec{number}.wav", 23, seed=number)
        rows = pd.DataFrame(
            [(f"rec{number}.wav", *event) for event in events], columns=list(EVENT_COLUMNS)
        )
        if format == "elan-tab":
            elan_tab(tmp_path / "in" / name, events)
        else:
            write_events(tmp_path / "in" / name, rows, format)
    data = make(tmp_path / "data", read(tmp_path / "in"))
    manifest = load_manifest(data)
    assert manifest.labels.names == ("Köter groß", "a, b; c", "犬")
    assert {name: len(split.clips) for name, split in manifest.splits.items()} == {
        "validation": 3,
        "test": 3,
    }
    (source,) = manifest.train
    assert [path.name for path in source.clips] == [
        f"{source.clips[0].name.split('_')[0]}_{start}.000_{stop}.000.flac"
        for start, stop in ((0, 10), (10, 20), (20, 23))
    ]
    rows = source.events[list(EVENT_COLUMNS[1:])].values.tolist()
    expected = [
        [0.5, 2.25, "Köter groß"], [9.25, 10.0, "犬"], [0.0, 0.5, "犬"], [1.0, 1.5, "a, b; c"],
    ]  # fmt: skip
    assert [row[2] for row in rows] == [row[2] for row in expected]
    np.testing.assert_allclose(
        [row[:2] for row in rows], [row[:2] for row in expected], atol=KINDS[format][1]
    )


@pytest.mark.parametrize("format", ["csv", "tsv", "json", "raven"])
@pytest.mark.parametrize("sign", ["\t", "\r", "\x1b"])
def test_names_no_table_can_hold_are_refused(format: str, sign: str, tmp_path: Path) -> None:
    record(tmp_path / "rec.wav", 3)
    path = tmp_path / KINDS[format][0]
    written(format)(path, [(0.0, 1.0, "Good dog")])
    text = path.read_text()
    spelt = {"json": f"\\u{ord(sign):04x}"}.get(format, sign)
    quoted = "" if format == "json" else '"'
    path.write_text(text.replace("Good dog", f"{quoted}Good{spelt}dog{quoted}"), newline="")
    assert is_unfit(sign)
    with pytest.raises(LabelError) as caught:
        read(path, **ONE)
    message = str(caught.value)
    assert path.name in message
    assert (
        "control character" in message
        or "a tab" in message
        or "a line break" in message
        or (format in ("csv", "tsv", "raven") and "Close the quotation marks" in message)
    )


# --- label files as they come ---------------------------------------------------------------------


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
    with pytest.raises(LabelError, match=r"^\S*a\.txt:2: .*'four'.*1 more label files.*c\.txt:2"):
        read(tmp_path)


def test_events_beyond_the_recording(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 12)
    track(tmp_path / "a.txt", [(11, 13, "Dog")])
    job = read(tmp_path, **ONE)
    assert events_back(job) == {"a.wav": [(11.0, 12.0, "Dog")]}
    assert job.changes.trimmed == [("a.wav", (11.0, 13.0, "Dog"))]
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


# --- what was annotated ---------------------------------------------------------------------------


def spans(job: Import, split: str) -> list[tuple[float, float]]:
    return sorted(
        (clip.span[0] / job.prepared[index].rate, clip.span[1] / job.prepared[index].rate)
        for index, clips in job.plan.clips.items()
        for clip in clips
        if clip.split == split
    )


def test_marked_stretches_are_annotated_the_rest_is_not(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 60)
    track(
        tmp_path / "a.txt",
        [(5, 18, "done"), (6, 7, "Dog"), (17, 19, "Dog"), (25, 26, "Dog"), (30, 40.5, "done")],
    )
    job = read(tmp_path, region_label="done", **ONE)
    assert spans(job, "train") == [(5, 15), (15, 18), (30, 40)]
    assert spans(job, "unlabelled") == [(0, 5), (18, 28), (28, 30), (40.5, 50.5), (50.5, 60)]
    assert events_back(job)["a.wav"] == [(6.0, 7.0, "Dog"), (17.0, 18.0, "Dog")]
    assert job.plan.lost == [("a.wav", (25.0, 26.0, "Dog"))]
    assert [(key, cut.event) for key, cut in job.plan.cuts] == [("a.wav", (17.0, 19.0, "Dog"))]
    assert job.plan.left_out == pytest.approx(0.5)
    assert "done" not in job.changes.classes


def test_a_table_of_annotated_stretches(tmp_path: Path) -> None:
    for number in range(3):
        record(tmp_path / f"rec{number}.wav", 30, seed=number)
        track(tmp_path / f"rec{number}.txt", [(2, 3, "Dog")])
    regions = tmp_path / "regions.tsv"
    rows = "".join(f"rec{number}.wav\t0\t0:10\n" for number in range(3))
    regions.write_text(f"filename\tonset\toffset\n{rows}")
    job = read(tmp_path, files={"regions": regions})
    assert [len(spans(job, split)) for split in ("train", "validation", "test")] == [1, 1, 1]
    # what was not annotated of validation and test recordings is not trained on
    assert spans(job, "unlabelled") == [(10, 20), (20, 30)]
    assert job.plan.left_out == pytest.approx(40)
    regions.write_text("filename\tonset\toffset\nrec0.wav\t5\t4\n")
    with pytest.raises(LabelError, match=r"regions\.tsv:2: a stretch from 5 s to 4 s"):
        read(tmp_path, files={"regions": regions})
    regions.write_text("filename\tonset\toffset\nrec9.wav\t0\t4\n")
    with pytest.raises(LabelError, match=r"regions\.tsv: no recording 'rec9\.wav'"):
        read(tmp_path, files={"regions": regions})
    regions.write_text("filename\tonset\toffset\nrec0.wav\t0\t10\n")
    with pytest.raises(LabelError, match=r"rec1\.txt: rec1\.wav has events, but no stretch"):
        read(tmp_path, files={"regions": regions})


@pytest.mark.parametrize(("unlisted", "split"), [("unlabelled", "unlabelled"), ("empty", "train")])
def test_recordings_without_a_label_file(unlisted: str, split: str, tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 12)
    track(tmp_path / "a.txt", [(1, 2, "Dog")])
    record(tmp_path / "b.wav", 20)
    job = read(tmp_path, unlisted=unlisted, **ONE)
    clips = [clip.split for clip in job.plan.clips[1]]
    assert clips == [split, split]
    skipped = read(tmp_path, unlisted="skip", **ONE)
    assert len(skipped.prepared) == 1


# --- clips and splits -----------------------------------------------------------------------------


def bank_of(tmp_path: Path, count: int = 8, seconds: float = 25, rate: int = RATE) -> Path:
    folder = tmp_path / "in"
    for number in range(count):
        record(folder / f"rec{number}.wav", seconds, rate, seed=number)
        track(folder / f"rec{number}.txt", [(1 + number, 2 + number, "Dog"), (9, 11, "Cat")])
    return folder


def test_clips_are_what_the_recording_holds(tmp_path: Path) -> None:
    folder = bank_of(tmp_path, 3)
    job = read(folder, hop=4)
    data = make(tmp_path / "data", job, workers=2)
    for index, clips in job.plan.clips.items():
        whole = load_int16(job.prepared[index].recording.path)
        assert [clip.span[0] for clip in clips] == [0, 64_000, 128_000, 192_000, 256_000]
        for clip in clips:
            part = load_int16(data / clip.path)
            np.testing.assert_array_equal(part, whole[clip.span[0] : clip.span[1]])
            assert clip.seconds == len(part) / RATE


def test_other_rates(tmp_path: Path) -> None:
    folder = bank_of(tmp_path, 3, rate=44_100)
    resampled = make(tmp_path / "data", read(folder))
    job = read(folder, rate=None)
    original = make(tmp_path / "original", job)
    for index, clips in job.plan.clips.items():
        whole = load_audio(job.prepared[index].recording.path)
        for clip in clips:
            assert audio_info(original / clip.path).sample_rate == 44_100
            part = load_audio(resampled / clip.path)
            start = round(clip.span[0] / 44_100 * RATE)
            np.testing.assert_allclose(part, whole[start : start + len(part)], atol=1e-4)
    tables = [read_strong(data / PLACES["train"].labels)[0] for data in (resampled, original)]
    pd.testing.assert_frame_equal(*tables)


def test_no_recording_is_on_two_sides(tmp_path: Path) -> None:
    data = make(tmp_path / "data", read(bank_of(tmp_path)))
    manifest = load_manifest(data)
    sides = {"train": manifest.train[0].clips} | {n: s.clips for n, s in manifest.splits.items()}
    found = {side: {path.name.split("_")[0] for path in clips} for side, clips in sides.items()}
    assert sorted(map(len, found.values())) == [1, 1, 6]
    assert len(set.union(*found.values())) == 8
    assert not manifest.splits["validation"].missing
    assert set(manifest.splits["test"].durations.values()) == {10.0, 5.0}
    noted = pd.read_csv(data / "import/split.tsv", sep="\t")
    assert dict(zip(noted["filename"].str[:4], noted["split"], strict=True)) == {
        name: side for side, names in found.items() for name in names
    }


def test_validation_and_test_may_stay_whole(tmp_path: Path) -> None:
    job = read(bank_of(tmp_path), whole=True)
    data = make(tmp_path / "data", job)
    for split in load_manifest(data).splits.values():
        assert set(split.durations.values()) == {25.0}
        assert split.events[split.events["event_label"] == "Cat"]["offset"].tolist() == [11.0]
    assert {cut.clip for _, cut in job.plan.cuts} == {(0, 160_000), (160_000, 320_000)}


def test_splits_may_be_given(tmp_path: Path) -> None:
    folder = bank_of(tmp_path, 3)
    table = folder / "split.tsv"
    table.write_text("filename\tsplit\nrec0.wav\ttest\nrec1\ttrain\nrec2\tvalidation\n")
    job = read(folder, files={"splits": table})
    assert job.plan.splits == {"rec0.wav": "test", "rec1.wav": "train", "rec2.wav": "validation"}
    # the table a dataset holds serves again
    again = read(folder, files={"splits": make(tmp_path / "data", job) / "import/split.tsv"})
    assert again.plan.splits == job.plan.splits
    table.write_text("filename\tsplit\nrec0.wav\ttests\n")
    with pytest.raises(LabelError, match=r"split\.tsv: rec0\.wav is in 'tests'"):
        read(folder, files={"splits": table})
    table.write_text("filename\tsplit\nrec0.wav\ttest\n")
    with pytest.raises(LabelError, match=r"split\.tsv: rec1\.wav has no split"):
        read(folder, files={"splits": table})


def test_groups_stay_together(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for number in range(9):
        record(folder / f"site{number // 3}-{number}.wav", 12, seed=number)
        track(folder / f"site{number // 3}-{number}.txt", [(1, 2, "Dog")])
    job = read(folder, group=r"(site\d)-")
    sides = {(name[:5], side) for name, side in job.plan.splits.items()}
    assert len(sides) == 3
    with pytest.raises(ConfigError, match="is no pattern"):
        read(folder, group="(")


def test_names_of_clips() -> None:
    keys = ["a.wav", "A.flac", "x/b.wav", "y/b.wav", "x-b.wav", "c\td.wav", "c_d.wav"]
    assert clip_names(keys) == ["a", "A-2", "x-b", "y-b", "x-b-2", "c_d", "c_d-2"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"hop": 11},
        {"seconds": 0.1},
        {"train": 0},
        {"rate": 10},
        {"unlisted": "maybe"},
        {"points": -1},
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        parse_settings(ImportSettings, wrong)


def test_nothing_annotated(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 12)
    (tmp_path / "notes.csv").write_text("filename,onset,offset,event_label\n")
    with pytest.raises(DataError, match="nothing was annotated"):
        read(tmp_path, **ONE)


# --- writing --------------------------------------------------------------------------------------

KILLED = """
import os, sys
from pathlib import Path
from earmark.core.config import parse_settings
from earmark.data.importing.annotations import Reading
from earmark.data.importing.class_map import ClassMap
from earmark.data.importing.importer import read_import
from earmark.data.importing.settings import ImportSettings
from earmark.data.importing.writing import write_import
job = read_import([Path(sys.argv[1])], [], Reading(), ClassMap(rest="keep"), ImportSettings())
write_import(Path(sys.argv[2]), job.prepared, job.plan, job.record,
             progress=lambda done, _: os._exit(9) if done > 5 else None)
"""


def test_a_killed_import_goes_on_and_processes_make_the_same(tmp_path: Path) -> None:
    folder = bank_of(tmp_path, 4)
    done = subprocess.run([sys.executable, "-c", KILLED, folder, tmp_path / "cut"], check=False)
    assert done.returncode == 9
    there = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut").rglob("*.flac")}
    assert 0 < len(there) < 12
    make(tmp_path / "cut", read(folder))
    assert all(path.stat().st_mtime_ns == time for path, time in there.items())
    whole = make(tmp_path / "whole", read(folder), workers=2)
    assert digests(tmp_path / "cut") == digests(whole)


def test_other_content_is_never_overwritten(tmp_path: Path) -> None:
    folder = bank_of(tmp_path, 3)
    data = make(tmp_path / "data", read(folder))
    before = digests(data)
    with pytest.raises(DataError, match="another import"):
        make(data, read(folder, seconds=5))
    track(folder / "rec0.txt", [(1, 2, "Cow")])
    with pytest.raises(DataError, match="other labels"):
        make(data, read(folder))
    assert digests(data) == before
    with pytest.raises(DataError, match="not an empty folder"):
        make(folder, read(folder))


def test_label_files_beside_a_dataset_are_not_taken_for_its_own(tmp_path: Path) -> None:
    """Recordings are found below the folder given, and gathering says where."""
    folder = bank_of(tmp_path, 3)
    found = gather([folder], [], Reading())
    assert [one.key for one in found.recordings] == ["rec0.wav", "rec1.wav", "rec2.wav"]
    assert all(one.files for one in found.recordings)
    write_audio(folder / "rec0.flac", np.zeros(100, np.float32))
    with pytest.raises(LabelError, match=r"'rec0' could be"):
        gather([folder], [], Reading())
