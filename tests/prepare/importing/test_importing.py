"""What was annotated, how it is cut into clips, and on which side each recording is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from earmark.core.config import parse_settings
from earmark.core.errors import ConfigError, LabelError
from earmark.core.event import Event
from earmark.data.manifest import load_manifest
from earmark.prepare.importing.importer import Import
from earmark.prepare.importing.planning import clip_names
from earmark.prepare.importing.settings import ImportSettings
from helpers.importing import ONE, bank_of, events_back, make, read, record, track


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
    assert job.plan.lost == [("a.wav", Event(25.0, 26.0, "Dog"))]
    assert [(key, cut.event) for key, cut in job.plan.cuts] == [("a.wav", Event(17.0, 19.0, "Dog"))]
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
        events = [event for own in split.events.values() for event in own]
        assert [e.offset for e in events if e.event_label == "Cat"] == [11.0]
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
