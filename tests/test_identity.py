"""Recordings of equal names in many folders, through every command: none is taken for another."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.errors import EarmarkError
from earmark.core.formats import read_events
from earmark.core.tables.label_tables import write_durations, write_strong
from earmark.data.manifest import load_manifest
from earmark.deliver.batch import run_batch
from earmark.deliver.recordings import named_recordings
from earmark.detect.evaluate import split_task
from earmark.detect.systems import Scoring, System
from earmark.prepare.cache import write_cache
from earmark.prepare.doctor.examine import examine
from earmark.prepare.importing.annotations import Gathered, Reading, gather
from earmark.score.files import ScoreFolder
from earmark.score.report import report
from helpers import loud_batch

RATE = 16_000
FOLDERS = st.sampled_from(["", "a", "b", "a/b", "b/a", "site 1/a"])
TREES = st.sets(st.tuples(FOLDERS, st.sampled_from(["0500.wav", "x.wav"])), min_size=2, max_size=5)


@contextmanager
def tree_of(chosen: set[tuple[str, str]]) -> Iterator[tuple[Path, dict[str, float]]]:
    """A folder of recordings, and by name the second in which each is loud."""
    names = ["/".join(filter(None, one)) for one in sorted(chosen)]
    onsets = {name: 0.2 * number for number, name in enumerate(names)}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "rec"
        for name, onset in onsets.items():
            samples = np.full(RATE, 0.01)
            samples[round(onset * RATE) : round((onset + 0.2) * RATE)] = 0.9
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(root / name, samples, RATE)
        yield root, onsets


def rows(onsets: dict[str, float], form: str) -> str:
    lines = ["filename,onset,offset,event_label"]
    for name, onset in onsets.items():
        listed = name.replace("/", "\\") if form == "windows" else name
        start = {"name": "", "windows": "D:\\old\\rec\\", "posix": "/mnt/disk/"}[form]
        lines.append(f"{start}{listed},{onset:.1f},{onset + 0.2:.1f},loud")
    return "\n".join(lines) + "\n"


def onsets_of(gathered: Gathered) -> dict[str, float]:
    return {one.key: round(one.events[0].onset, 1) for one in gathered.recordings if one.events}


@settings(max_examples=10)
@given(chosen=TREES, form=st.sampled_from(["name", "windows", "posix"]))
def test_labels_go_to_their_own_recordings(chosen: set[tuple[str, str]], form: str) -> None:
    with tree_of(chosen) as (root, onsets):
        table = root.parent / "all.csv"
        table.write_text(rows(onsets, form))
        try:
            found = onsets_of(gather([table], [root], Reading()))
        except EarmarkError:
            assert form == "posix"  # another root, and nothing that shows it
        else:
            assert found == pytest.approx(onsets)
        table.unlink()
        for name, onset in onsets.items():
            track = (root / name).with_suffix(".txt")
            track.write_text(f"{onset:.1f}\t{onset + 0.2:.1f}\tloud\n")
        assert onsets_of(gather([root], [], Reading())) == pytest.approx(onsets)


@settings(max_examples=6)
@given(chosen=TREES, folders=st.booleans())
def test_what_detect_writes_is_scored_without_renaming(
    chosen: set[tuple[str, str]], folders: bool
) -> None:
    with tree_of(chosen) as (root, onsets):
        out = root.parent / "out"
        given = sorted({(root / name).parent for name in onsets}) if folders else [root]
        named = named_recordings(given)
        assert len(set(named.values())) == len(onsets)
        job = loud_batch.make_job(out, formats="tsv,json,raven,elan", scores="tsv", threshold=0.5)
        run_batch(named, job)
        found = read_events(out / "events.tsv")
        found = found[found.event_label == "loud"]
        by_name = dict(zip(found.filename, found.onset.round(1), strict=True))
        assert by_name == pytest.approx({named[root / name]: on for name, on in onsets.items()})
        for name in named.values():
            own = read_events((out / name).with_suffix(".tsv"))
            assert set(own.filename) == {name}
        truth = root.parent / "truth.tsv"
        found.to_csv(truth, sep="\t", index=False)
        scoring = Scoring.of_files(truth, out / "recordings.tsv")
        systems = [System(events=(str(truth),)), System(scores=(str(out / "scores"),))]
        for system in systems:
            figures = report(scoring.measure(system))
            assert figures["of"] == figures["clips"] == len(onsets)
            assert figures["per_class"]["collar_f1"]["loud"] == 1.0
        # Each other's events are not their own.
        names = list(dict.fromkeys(found.filename))
        turned = dict(zip(names, [*names[1:], names[0]], strict=True))
        found.assign(filename=found.filename.map(turned)).to_csv(truth, sep="\t", index=False)
        wrong = Scoring.of_files(truth, out / "recordings.tsv").measure(systems[1])
        assert report(wrong)["per_class"]["intersection_f1"]["loud"] == 0.0
        # The root of what is given changes: names follow, and nothing is detected again.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loud_batch.Loudness, "score_windows", None)
            again = run_batch(named_recordings([root.parent / "rec"]), job)
        assert not again.failures
        assert {record.filename for record in again.records} == set(onsets)
        assert len(ScoreFolder(out / "scores")) == len(onsets)


@settings(max_examples=6)
@given(chosen=TREES, copied=st.booleans())
def test_data_sets_keep_labels_and_durations_apart(
    chosen: set[tuple[str, str]], copied: bool
) -> None:
    with tree_of(chosen) as (root, onsets):
        data = root.parent
        events = {name: [(on, on + 0.2, "loud", None)] for name, on in onsets.items()}
        write_strong(data / "strong.tsv", events)  # type: ignore[arg-type]
        write_durations(data / "durations.tsv", dict.fromkeys(onsets, 1.0))
        text = "validation: {audio: rec, strong: strong.tsv, durations: durations.tsv}\n"
        (data / "set.yaml").write_text(text + "train: {audio: rec, strong: strong.tsv}\n")
        described = data / "set.yaml"
        if copied:
            described = write_cache(described, data.parent / f"{data.name}-copy", workers=1).use
        manifest = load_manifest(described)
        split = manifest.splits["validation"]
        assert not manifest.damage
        names = {split.name_of(path): path for path in split.clips}
        stems = {name.rpartition(".")[0]: onset for name, onset in onsets.items()}
        assert {name.rpartition(".")[0] for name in names} == set(stems)
        for name in names:
            assert split.events[name][0].onset == stems[name.rpartition(".")[0]]
        task = split_task(split, split.by_id, ("loud",))
        assert len(task.clips) == len(onsets)
        assert sorted(own[0][0] for own in task.truth.values()) == sorted(onsets.values())
        found = {finding.kind for finding in examine(described, content=False).findings}
        assert not found & {"missing", "not-listed", "same-base-name", "no-duration", "not-usable"}
