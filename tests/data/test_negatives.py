"""Recordings of none of the classes: a source that says so, with a table or without."""

from __future__ import annotations

from pathlib import Path

import pytest

from earmark.core.errors import ConfigError
from earmark.data.dataset import labelled_clips
from earmark.data.issues import training_issues
from earmark.data.manifest import Manifest, load_manifest
from earmark.data.recordings import few_recordings, recording_of, recordings_by_class
from earmark.prepare.doctor.examine import examine
from helpers import trees


def data(folder: Path, source: str) -> Path:
    for number in range(3):
        trees.clip(folder / f"clips/{number}.wav", 0.1 + 0.01 * number)
        trees.clip(folder / f"street/{number}.wav", 0.2 + 0.01 * number)
    trees.strong(folder / "clips.tsv", {f"{n}.wav": [(0, 0.01, "Dog")] for n in range(3)})
    trees.strong(folder / "empty.tsv", {})
    trees.strong(folder / "listed.tsv", {"0.wav": [], "2.wav": []})
    trees.strong(folder / "full.tsv", {"0.wav": [], "2.wav": [(0, 0.01, "Dog")]})
    (folder / "data.yaml").write_text(
        f"train: [{{audio: clips, strong: clips.tsv}}, {{audio: street, {source}}}]\n"
    )
    return folder / "data.yaml"


def names(manifest: Manifest) -> list[str]:
    return [path.name for path in manifest.train[1].clips]


@pytest.mark.parametrize(
    ("source", "clips"),
    [
        ("negatives: true", ["0.wav", "1.wav", "2.wav"]),
        ("negatives: true, strong: empty.tsv", ["0.wav", "1.wav", "2.wav"]),
        ("negatives: true, strong: listed.tsv", ["0.wav", "2.wav"]),
    ],
)
def test_negatives_are_strong_clips_without_events(
    tmp_path: Path, source: str, clips: list[str]
) -> None:
    manifest = load_manifest(data(tmp_path, source))
    assert names(manifest) == clips
    assert manifest.train[1].negatives
    assert not manifest.notes
    assert training_issues(manifest, 10.0) == []
    learnt = labelled_clips(manifest.train[1])
    assert {(clip.kind, clip.events, clip.labelled) for clip in learnt} == {("strong", (), None)}
    found = {finding.kind for finding in examine(tmp_path / "data.yaml").findings}
    assert not found & {"no-events", "no-table", "no-labels", "not-listed"} - (
        {"no-labels", "not-listed"} if len(clips) == 2 else set()
    )


def test_a_table_without_events_that_is_not_said_to_be_negatives(tmp_path: Path) -> None:
    manifest = load_manifest(data(tmp_path, "strong: listed.tsv"))
    (issue,) = training_issues(manifest, 10.0)
    assert issue.kind == "no-events"
    assert "negatives: true" in issue.text


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("negatives: true, strong: full.tsv", "a source of negatives has no events"),
        ("negatives: true, unlabelled: true", "name it twice for two kinds of label"),
        ("negatives: true, weak: full.tsv", "name it twice for two kinds of label"),
    ],
)
def test_negatives_with_other_labels_are_refused(tmp_path: Path, source: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        load_manifest(data(tmp_path, source))
    assert "data.yaml:1" in str(refused.value)


def test_a_folder_without_recordings(tmp_path: Path) -> None:
    path = data(tmp_path, "negatives: true")
    for clip in (tmp_path / "street").iterdir():
        clip.unlink()
    manifest = load_manifest(path)
    assert len(manifest.train) == 1
    assert "street: no recordings in street" in manifest.damage[0]
    assert "no-recordings" in {finding.kind for finding in examine(path).findings}


def test_recordings_are_counted_once_whatever_was_cut_from_them(tmp_path: Path) -> None:
    assert recording_of("yard_10.000_20.000.flac") == "yard"
    assert recording_of("sub/yard_10.000_20.000.flac") == "sub/yard"
    assert recording_of("Y00pbt6aJV8Y_350.000_360.000.wav") == "Y00pbt6aJV8Y"
    assert recording_of("take_2.wav") == "take_2"
    rows = {f"a_{n}.000_{n + 1}.000.wav": [(0, 0.01, "Dog")] for n in range(7)}
    rows |= {f"{name}.wav": [(0, 0.01, "Cat")] for name in "bcdef"}
    for number, name in enumerate(rows):
        trees.clip(tmp_path / "clips" / name, 0.1 + 0.01 * number)
    trees.strong(tmp_path / "clips.tsv", rows)
    (tmp_path / "data.yaml").write_text("train: [{audio: clips, strong: clips.tsv}]\n")
    counts = recordings_by_class(load_manifest(tmp_path / "data.yaml"))
    assert counts == {"Cat": 5, "Dog": 1}
    assert str(few_recordings(counts)).startswith("fewer than 5 recordings of Dog (1):")
    assert few_recordings({"Cat": 5, "Bird": 0}) is None
