"""Batches: nothing done is lost or done twice, whatever stops them."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.errors import ConfigError, EarmarkError
from earmark.core.formats import read_events
from earmark.core.locking import only_writer
from earmark.core.naming import common_root, names_from
from earmark.core.tables.score_files import read_scores
from earmark.deliver.batch import JOURNAL, run_batch
from earmark.deliver.recordings import file_names, find_recordings
from helpers import loud_batch
from helpers.files import contents
from helpers.label_files import read_durations


class Seen:
    """A watcher that keeps what it is told."""

    def __init__(self, after: Callable[[int], None] | None = None) -> None:
        self.names: list[str] = []
        self.before = 0
        self._after = after

    def planned(self, waiting: int, before: int) -> None:
        self.before = before

    def progress(self, path: Path, frames: int, total: int) -> None:
        assert 0 <= frames <= total

    def finished(self, path: Path, reason: str) -> None:
        self.names.append(path.name)
        if self._after is not None:
            self._after(len(self.names))


def make(folder: Path, count: int) -> list[Path]:
    return [loud_batch.write_sound(folder / f"{n:03d}.wav", n) for n in range(count)]


def test_bytes_do_not_depend_on_threads_or_processes(tmp_path: Path) -> None:
    paths = make(tmp_path / "in", 7)
    paths.insert(3, tmp_path / "in" / "x.wav")
    paths[3].write_bytes(b"no sound")
    loud_batch.write_sound(paths[0], 9, seconds=31.0)
    every = "tsv,csv,json,jsonl,audacity,raven,elan,webvtt"
    for name, workers, threads in (("a", 1, 1), ("b", 1, 4), ("c", 2, 1), ("d", 3, 2)):
        job = loud_batch.make_job(tmp_path / name, threads, formats=every, scores="tsv,npz")
        report = run_batch(paths, job, workers=workers)
        assert list(report.failures) == [paths[3]]
    first = contents(tmp_path / "a")
    for name in "bcd":
        assert contents(tmp_path / name) == first
    assert len(first) == 7 * 8 + 7 * 2 + 4 + 3
    table = read_events(tmp_path / "a" / "events.csv")
    assert set(table.filename) == {path.name for path in paths} - {"x.wav"}
    assert list(table.filename) == sorted(table.filename)


def test_tables_of_the_run(tmp_path: Path) -> None:
    paths = make(tmp_path / "in", 2)
    silent = tmp_path / "in" / "silent.wav"
    soundfile.write(silent, [0.5] * 24_000, 16_000)
    bad = tmp_path / "in" / "bad.wav"
    bad.write_bytes(b"")
    out = tmp_path / "out"
    run_batch([*paths, silent, bad], loud_batch.make_job(out, threshold=0.999))
    assert read_durations(out / "recordings.tsv") == {"000.wav": 2, "001.wav": 2, "silent.wav": 1.5}
    table = pd.read_csv(out / "recordings.tsv", sep="\t")
    assert table.columns.tolist() == ["filename", "duration", "events", "path"]
    assert table.path.tolist() == [str(path) for path in (*paths, silent)]
    lost = pd.read_csv(out / "failures.tsv", sep="\t")
    assert lost.path.tolist() == [str(bad)]
    assert "empty" in lost.reason[0]
    bad.unlink()
    run_batch([*paths, silent], loud_batch.make_job(out, threshold=0.999))
    assert not (out / "failures.tsv").exists()


def test_touched_moved_renamed_and_copied_recordings_are_known(tmp_path: Path) -> None:
    paths = make(tmp_path / "in", 4)
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    run_batch(names_from(tmp_path, paths), loud_batch.make_job(out, formats="tsv,elan"))
    os.utime(paths[0], ns=(1, 1))
    moved = tmp_path / "elsewhere" / paths[1].name
    moved.parent.mkdir()
    paths[1].rename(moved)
    renamed = paths[2].rename(paths[2].with_name("renamed.wav"))
    copied = Path(shutil.copy(paths[3], tmp_path / "in" / "copied.wav"))
    now = names_from(tmp_path, [paths[0], moved, renamed, paths[3], copied])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loud_batch.Loudness, "score_windows", None)  # nothing is detected
        report = run_batch(now, loud_batch.make_job(out, formats="tsv,elan"))
    assert report.before == 2
    assert not report.failures
    run_batch(now, loud_batch.make_job(fresh, formats="tsv,elan"))
    assert contents(out) == contents(fresh)
    again = Seen()
    run_batch(now, loud_batch.make_job(out, formats="tsv,elan"), watcher=again)
    assert again.before == 5


def test_a_changed_recording_is_detected_again(tmp_path: Path) -> None:
    paths = make(tmp_path / "in", 3)
    out, seen = tmp_path / "out", Seen()
    run_batch(paths, loud_batch.make_job(out))
    loud_batch.write_sound(paths[1], 77)
    os.utime(paths[1], ns=(1, 1))
    run_batch(paths, loud_batch.make_job(out), watcher=seen)
    assert seen.names == ["001.wav"]
    run_batch(paths, loud_batch.make_job(tmp_path / "fresh"))
    assert contents(out) == contents(tmp_path / "fresh")


def test_content_that_changed_behind_an_equal_size_and_date(tmp_path: Path) -> None:
    """As programs leave it that keep the date of what they edit."""
    paths = make(tmp_path / "in", 2)
    out, seen = tmp_path / "out", Seen()
    run_batch(paths, loud_batch.make_job(out))
    before = paths[1].stat()
    loud_batch.write_sound(paths[1], 77)
    os.utime(paths[1], ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (paths[1].stat().st_size, paths[1].stat().st_mtime_ns) == (
        before.st_size, before.st_mtime_ns,
    )  # fmt: skip
    run_batch(paths, loud_batch.make_job(out), watcher=seen)
    assert seen.names == ["001.wav"]
    run_batch(paths, loud_batch.make_job(tmp_path / "fresh"))
    assert contents(out) == contents(tmp_path / "fresh")


def test_label_tracks_with_scores_are_written_from_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = make(tmp_path / "in", 2)
    out, plain = tmp_path / "out", tmp_path / "plain"
    for folder in (out, plain):
        run_batch(paths, loud_batch.make_job(folder))
    monkeypatch.setattr(loud_batch.Loudness, "score_windows", None)
    job = loud_batch.make_job(out, scored_labels=True)
    run_batch(paths, job)
    events, track = read_events(out / "000.tsv"), out / "000.txt"
    assert len(events) > 1
    for line, label, score in zip(
        track.read_text().splitlines(), events.event_label, events.score, strict=True
    ):
        assert line.endswith(f"\t{label} [{score:.3f}]")
    again = read_events(track)  # and the score is no part of the class
    assert again.event_label.tolist() == events.event_label.tolist()
    assert again.score.tolist() == events.score.round(3).tolist()
    seen = Seen()
    run_batch(paths, job, watcher=seen)
    assert seen.before == 2
    run_batch(paths, loud_batch.make_job(out, formats="tsv"), watcher=seen)
    run_batch(paths, job, watcher=seen)
    assert seen.names == []  # a run without them leaves them as they were
    run_batch(paths, loud_batch.make_job(out))
    assert contents(out) == contents(plain)
    with pytest.raises(ConfigError, match="--labels-with-score is for the format audacity"):
        loud_batch.make_job(out, formats="tsv", scored_labels=True)


def test_what_needs_no_detection_is_written_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = make(tmp_path / "in", 3)
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    job = loud_batch.make_job(out, formats="tsv,raven")
    run_batch(paths, loud_batch.make_job(out, formats="tsv"))
    run_batch(paths, loud_batch.make_job(fresh, formats="tsv,raven"))
    called: list[int] = []
    original = loud_batch.Loudness.score_windows

    def watched(self: Any, waveforms: Any, lengths: Any) -> Any:
        called.append(len(waveforms))
        return original(self, waveforms, lengths)

    monkeypatch.setattr(loud_batch.Loudness, "score_windows", watched)
    (out / "000.tsv").unlink()
    run_batch(paths, job)  # a format more, a file less
    assert called == []
    assert contents(out) == contents(fresh)
    run_batch(paths, loud_batch.make_job(out, formats="tsv,raven", scores="npz"))
    assert len(called) == 3
    assert read_scores(out / "scores-npz" / "002.npz").labels == ("loud", "quiet")
    run_batch(paths, job, fresh=True)
    assert len(called) == 6
    run_batch(paths, loud_batch.make_job(out, formats="tsv,raven", threshold=0.4))
    assert len(called) == 9


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_of_any_kind_stops_nothing(workers: int, tmp_path: Path) -> None:
    paths = make(tmp_path / "in", 5)
    loud_batch.write_sound(paths[2], 1, peak=3.0)
    paths[3].unlink()
    report = run_batch(paths, loud_batch.make_job(tmp_path / "out", bundle="odd"), workers=workers)
    assert list(report.failures) == paths[2:4]
    assert "ZeroDivisionError: no number" in report.failures[paths[2]]
    assert "No such file" in report.failures[paths[3]]
    assert len(report.records) == 3


def test_a_process_that_dies_takes_only_its_recording(tmp_path: Path) -> None:
    paths = make(tmp_path / "in", 8)
    for deadly in (0, 3, 7):
        loud_batch.write_sound(paths[deadly], deadly, peak=3.0)
    out = tmp_path / "out"
    report = run_batch(paths, loud_batch.make_job(out, bundle="deadly"), workers=2)
    assert list(report.failures) == [paths[0], paths[3], paths[7]]
    assert "killed by SIGKILL" in report.failures[paths[0]]
    assert len(report.records) == 5
    alive = [path for n, path in enumerate(paths) if n not in (0, 3, 7)]
    run_batch(alive, loud_batch.make_job(tmp_path / "f"))
    for name, data in contents(tmp_path / "f").items():
        if name != JOURNAL:
            assert (out / name).read_bytes() == data


@pytest.mark.parametrize("after", [1, 4])
def test_an_interrupted_run_goes_on(after: int, tmp_path: Path) -> None:
    paths = make(tmp_path / "in", 6)
    run_batch(paths, loud_batch.make_job(tmp_path / "whole"))

    def interrupt(count: int) -> None:
        if count == after:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_batch(paths, loud_batch.make_job(out), watcher=Seen(interrupt))
    again = Seen()
    run_batch(paths, loud_batch.make_job(out), watcher=again)
    assert again.before >= after
    assert contents(out) == contents(tmp_path / "whole")


def test_a_full_disk_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = make(tmp_path / "in", 4)
    out = tmp_path / "out"

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(out / "002.tsv"))

    run_batch(paths[:2], loud_batch.make_job(out))
    with monkeypatch.context() as patch:
        patch.setattr("earmark.deliver.outputs.write_events", full)
        with pytest.raises(EarmarkError, match=r"002\.tsv: No space left.*run it again"):
            run_batch(paths, loud_batch.make_job(out))
    assert run_batch(paths, loud_batch.make_job(out)).before == 2


def test_one_run_at_a_time(tmp_path: Path) -> None:
    paths = make(tmp_path / "in", 1)
    out = tmp_path / "out"
    run_batch(paths, loud_batch.make_job(out))
    refused = pytest.raises(EarmarkError, match="another run is writing into this folder")
    with only_writer(out), refused:
        run_batch(paths, loud_batch.make_job(out))
    assert run_batch(paths, loud_batch.make_job(out)).before == 1


def test_a_torn_journal_costs_one_recording(tmp_path: Path) -> None:
    paths = make(tmp_path / "in", 3)
    out = tmp_path / "out"
    run_batch(paths, loud_batch.make_job(out))
    whole = contents(out)
    journal = (out / JOURNAL).read_bytes()
    for cut in (1, 40, len(journal.splitlines(keepends=True)[-1]) - 1):
        (out / JOURNAL).write_bytes(journal[:-cut])
        (out / ".draft-1.002.tsv").write_text("half")
        seen = Seen()
        run_batch(paths, loud_batch.make_job(out), watcher=seen)
        assert seen.before == (3 if cut == 1 else 2)
        assert contents(out) == whole


def test_a_recording_that_grows_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [path] = make(tmp_path / "in", 1)
    original = loud_batch.Loudness.score_windows

    def growing(self: Any, waveforms: Any, lengths: Any) -> Any:
        with path.open("ab") as file:
            file.write(b"more")
        return original(self, waveforms, lengths)

    monkeypatch.setattr(loud_batch.Loudness, "score_windows", growing)
    report = run_batch([path], loud_batch.make_job(tmp_path / "out"))
    assert "changed while it was read" in report.failures[path]


def test_each_channel_has_its_own_files(tmp_path: Path) -> None:
    both = tmp_path / "in" / "both.wav"
    both.parent.mkdir()
    left, right = [0.9] * 16_000 + [0.0] * 16_000, [0.0] * 16_000 + [0.9] * 16_000
    soundfile.write(both, list(zip(left, right, strict=True)), 16_000)
    mono = loud_batch.write_sound(tmp_path / "in" / "both.ch1.wav", 3)
    out = tmp_path / "out"
    job = loud_batch.make_job(out, channels="each", formats="tsv", scores="tsv")
    report = run_batch([both, mono], job)
    assert not report.failures
    names = {"both.ch1.tsv", "both.ch2.tsv", "both.ch1.wav.tsv"}
    assert names <= set(contents(out))
    events = read_events(out / "both.ch2.tsv")
    loud_ones = events[events.event_label == "loud"]
    assert loud_ones[["filename", "onset", "offset"]].to_numpy().tolist() == [
        ["both.ch2.wav", 1.0, 2.0]
    ]
    assert set(read_events(out / "events.tsv").filename) >= {"both.ch1.wav", "both.ch2.wav"}
    assert run_batch([both, mono], job).before == 2
    (out / "both.ch2.tsv").unlink()
    assert run_batch([both, mono], job).before == 1
    assert (out / "both.ch2.tsv").is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="file names of other systems are text")
def test_a_file_name_that_is_no_text(tmp_path: Path) -> None:
    path = loud_batch.write_sound(tmp_path / "in" / "a.wav")
    odd = path.rename(Path(os.fsdecode(os.fsencode(path.parent) + b"/caf\xe9.wav")))
    out = tmp_path / "out"
    report = run_batch([odd], loud_batch.make_job(out))
    assert not report.failures
    assert set(read_events(out / "events.tsv").filename) == {"caf\ufffd.wav"}
    assert run_batch([odd], loud_batch.make_job(out)).before == 1


# --- killed with no warning ---


def killed_batch(arguments: list[str], wait: Callable[[], bool]) -> bool:
    """Whether a batch could be killed before its end."""
    process = subprocess.Popen(arguments, start_new_session=True)
    try:
        while process.poll() is None:
            if wait():
                process.send_signal(signal.SIGKILL)
                process.wait()
                return True
            time.sleep(0.002)
        return False
    finally:
        process.kill()


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_random_moments_the_last_run_leaves_what_an_undisturbed_one_does(
    workers: int, tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    make(source, 40)
    command = [sys.executable, loud_batch.__file__, str(source)]
    rng = random.Random(workers)
    kills = 0
    for _ in range(3):
        done = _lines(out / JOURNAL)
        more, later = rng.randrange(3, 9), rng.random() * 0.02

        def wait(target: int = done + more, later: float = later) -> bool:
            if _lines(out / JOURNAL) < target:
                return False
            time.sleep(later)
            return True

        kills += killed_batch([*command, str(out), str(workers)], wait)
    assert kills == 3
    before = _lines(out / JOURNAL)
    assert 9 <= before < 40
    subprocess.run([*command, str(out), str(workers)], check=True)
    job = loud_batch.make_job(tmp_path / "whole", scores="npz")
    run_batch(sorted(source.iterdir()), job, workers=1)
    assert contents(out) == contents(tmp_path / "whole")


def _lines(journal: Path) -> int:
    return journal.read_bytes().count(b"\n") if journal.is_file() else 0


# --- names ---

parts = st.sampled_from(["a", "b", "A", "x", "events", "x.ch1", "y__x"])
some_paths = st.lists(
    st.tuples(st.lists(parts, max_size=3), parts, st.sampled_from([".wav", ".flac"])).map(
        lambda found: Path("/", *found[0], found[1] + found[2])
    ),
    unique=True,
    min_size=1,
    max_size=8,
)


@settings(deadline=None)
@given(paths=some_paths, data=st.data(), channels=st.booleans())
def test_names_are_unique_and_the_same_after_any_stop(
    paths: list[Path], data: st.DataObject, channels: bool
) -> None:
    shown = names_from(common_root(paths), paths)
    assert len(set(shown.values())) == len(paths)
    names = file_names(shown, channels=channels)
    assert list(names) == paths
    folded = [name.casefold() for name in names.values()]
    assert len(set(folded)) == len(paths)
    assert not set(folded) & {"events", "recordings", "failures", "detect"}
    if channels:
        both = {f"{name}.ch1" for name in folded} & set(folded)
        assert not both
    taken = data.draw(st.sets(st.sampled_from([*names.values(), "b/a", "events"])))
    others = file_names(shown, taken, channels=channels)
    assert not {name.casefold() for name in taken} & set(map(str.casefold, others.values()))
    assert len(set(map(str.casefold, others.values()))) == len(paths)


def test_folders_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.wav", "b.mp3", "deep/c.wav", "deep/er/d.flac", "deep/notes.txt", "e[1].wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def found(*given: str) -> list[str]:
        paths = find_recordings([str(tmp_path / name) for name in given])
        return [path.relative_to(tmp_path).as_posix() for path in paths]

    assert found(".") == ["a.wav", "b.mp3", "deep/c.wav", "deep/er/d.flac", "e[1].wav"]
    assert found("*.wav") == ["a.wav", "e[1].wav"]
    assert found("**/*.wav", "b.mp3") == ["a.wav", "deep/c.wav", "e[1].wav", "b.mp3"]
    assert found("deep/**") == ["deep/c.wav", "deep/er/d.flac"]
    assert found("d*") == ["deep/c.wav", "deep/er/d.flac"]
    assert found("e[1].wav") == ["e[1].wav"]  # a file of that name, not a pattern
    monkeypatch.chdir(tmp_path / "deep")
    assert find_recordings(["c.wav", "./c.wav", "../deep/c.wav"]) == [tmp_path / "deep/c.wav"]
    for wrong, message in (("nothing.wav", "no such file"), ("*.aiff", "no recordings match")):
        with pytest.raises(EarmarkError, match=message):
            found(wrong)
