"""A cache is the dataset again: same labels, same sound, whatever happens on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

import earmark.prepare.cache
from earmark.cli.cache import cache
from earmark.core.audio.audio import audio_info, load_audio, write_audio
from earmark.core.errors import DataError, EarmarkError
from earmark.data.dataset import labelled_clips
from earmark.data.manifest import load_manifest
from earmark.prepare.cache import verify_cache, write_cache
from earmark.prepare.cache_index import CacheIndex
from helpers.files import digests
from helpers.score_world import wrong

STRONG = "filename\tonset\toffset\tevent_label\n"
CLIPS = {
    "audio/train/synthetic21_train/soundscapes/a.wav": (44_100, 2),
    "audio/train/synthetic21_train/soundscapes/b.wav": (16_000, 1),
    "audio/train/weak/c.flac": (48_000, 1),
    "audio/train/weak/d.ogg": (32_000, 1),
    "audio/train/unlabel_in_domain/deep/e.mp3": (44_100, 1),
    "audio/validation/validation/f.FLAC": (16_000, 1),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small dataset in DESED's layout, its recordings of all kinds."""
    folder = tmp_path / "desed"
    source = np.random.default_rng(0)
    for name, (rate, channels) in CLIPS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = 0.1 * source.standard_normal((rate, channels))
        kind = {"format": "FLAC"} if path.suffix == ".FLAC" else {}
        soundfile.write(path, noise, rate, **kind)
    tables = {
        "train/synthetic21_train/soundscapes.tsv": STRONG + "a.wav\t0.1\t0.5\tDog\nb.wav\t\t\t\n",
        "train/weak.tsv": "filename\tevent_labels\nc.wav\tDog,Cat\nd.wav\tCat\n",
        "validation/validation.tsv": STRONG + "f.wav\t0.2\t0.4\tCat\n",
    }
    for name, text in tables.items():
        path = folder / "metadata" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "audio" / "readme.pdf").write_bytes(b"%PDF")
    return folder


def test_the_copy_is_the_dataset(data: Path, tmp_path: Path) -> None:
    report = write_cache(data, tmp_path / "copy")
    assert (report.made, report.kept, report.copied, len(report.ignored)) == (6, 0, 3, 1)
    assert report.failed == {}
    assert report.seconds == pytest.approx(6, abs=0.1)
    before, after = load_manifest(data), load_manifest(tmp_path / "copy")
    assert before.labels == after.labels
    pairs = zip(before.train, after.train, strict=True)
    for old, new in [*pairs, (before.splits["validation"], after.splits["validation"])]:
        assert [path.stem for path in old.clips] == [path.stem for path in new.clips]
        assert not new.missing
        for one, other in zip(old.clips, new.clips, strict=True):
            info = audio_info(other)
            assert (info.sample_rate, info.channels, other.suffix) == (16_000, 1, ".flac")
            np.testing.assert_allclose(load_audio(one), load_audio(other), atol=0.5001 / 32768)
    for old, new in zip(before.train, after.train, strict=True):
        for one, other in zip(labelled_clips(old), labelled_clips(new), strict=True):
            assert (one.kind, one.events, one.tags) == (other.kind, other.events, other.tags)


def test_several_processes_make_the_same(data: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_cache(data, tmp_path / "one")
    write_cache(data, tmp_path / "two", workers=2, progress=lambda *call: calls.append(call))
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert calls == [(done, 6) for done in range(7)]


def test_what_is_packed_already_is_copied(data: Path, tmp_path: Path) -> None:
    packed = data / "audio/train/weak/c.flac"
    write_audio(packed, np.linspace(-1, 1, 1000, dtype=np.float32))
    soundfile.write(data / "audio/train/weak/g.flac", np.zeros(800), 16_000, subtype="PCM_24")
    write_cache(data, tmp_path / "copy")
    copy = tmp_path / "copy" / "audio/train/weak"
    assert (copy / "c.flac").read_bytes() == packed.read_bytes()
    assert soundfile.info(copy / "g.flac").subtype == "PCM_16"


def test_wav_is_read_faster_by_choice(data: Path, tmp_path: Path) -> None:
    report = write_cache(data, tmp_path / "copy", format="wav")
    assert report.made == 6
    assert load_manifest(tmp_path / "copy").train[0].clips[0].suffix == ".wav"
    with pytest.raises(DataError, match=r"another kind \(wav\).*--format"):
        write_cache(data, tmp_path / "copy", format="flac")


def test_a_second_run_follows_changes_only(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    write_cache(data, copy)
    times = {path: path.stat().st_mtime_ns for path in copy.rglob("*.flac")}
    assert write_cache(data, copy).made == 0
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    soundscapes = "audio/train/synthetic21_train/soundscapes"
    write_audio(data / soundscapes / "b.wav", np.zeros(500, np.float32))
    (data / "audio/train/weak/d.ogg").unlink()
    (copy / "audio/train/weak/c.flac").unlink()
    (data / "metadata/train/weak.tsv").write_text("filename\tevent_labels\nc.wav\tCow\n")
    (data / "metadata/validation/validation.tsv").unlink()
    report = write_cache(data, copy)
    assert (report.made, report.kept) == (2, 3)
    assert sorted(report.removed) == [
        "audio/train/weak/d.flac",
        "metadata/validation/validation.tsv",
    ]
    assert audio_info(copy / soundscapes / "b.flac").samples == 500
    fresh = tmp_path / "fresh"
    write_cache(data, fresh)
    assert digests(copy) == digests(fresh)


def test_recordings_that_cannot_be_read_are_listed(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    whole = data / "audio/train/weak/c.flac"
    write_cache(data, copy)
    whole.write_bytes(whole.read_bytes()[:20_000])
    (data / "audio/train/weak/empty.wav").write_bytes(b"")
    (data / "audio/train/weak/text.wav").write_text("no sound")
    report = write_cache(data, copy, workers=2)
    assert {Path(name).name for name in report.failed} == {"c.flac", "empty.wav", "text.wav"}
    assert "0 bytes" in next(why for name, why in report.failed.items() if "empty" in name)
    # nothing of an older version is left to be taken for this one
    assert not (copy / "audio/train/weak/c.flac").exists()
    assert report.kept == 5
    assert not list(copy.rglob(".*"))


def test_what_the_disk_changes_does_not_take_its_place(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = earmark.prepare.cache._encode

    def fading(source: Path, partial: Path) -> tuple[str, int, int]:
        written = encode(source, partial)
        if source.name == "a.wav":
            samples, rate = soundfile.read(partial, dtype="int16")
            samples[len(samples) // 2] ^= 1  # the least that can go wrong
            soundfile.write(partial, samples, rate, "PCM_16")
        return written

    monkeypatch.setattr(earmark.prepare.cache, "_encode", fading)
    copy = tmp_path / "copy"
    report = write_cache(data, copy)
    assert [Path(name).name for name in report.failed] == ["a.wav"]
    assert "what was written is not what is read" in next(iter(report.failed.values()))
    assert not list(copy.rglob("a.*"))
    assert not list(copy.rglob(".*"))
    assert len(list(copy.rglob("b.flac"))) == 1
    monkeypatch.undo()
    assert not write_cache(data, copy).failed
    assert len(list(copy.rglob("a.flac"))) == 1


def test_of_two_copies_the_16_khz_one_is_taken(data: Path, tmp_path: Path) -> None:
    for name in ("c.wav", "x.wav"):
        write_audio(data / "audio/train/weak_16k" / name, np.zeros(100, np.float32))
    report = write_cache(data, tmp_path / "copy")
    assert report.superseded == 1
    train = tmp_path / "copy/audio/train"
    assert sorted(path.name for path in (train / "weak_16k").iterdir()) == ["c.flac", "x.flac"]
    assert sorted(path.name for path in (train / "weak").iterdir()) == ["d.flac"]


def test_synthetic_clips_beside_the_dataset_come_along(data: Path, tmp_path: Path) -> None:
    (data / "audio/train/synthetic21_train").rename(tmp_path / "moved")
    beside = tmp_path / "dcase_synth/audio/train/synthetic21_train"
    beside.parent.mkdir(parents=True)
    (tmp_path / "moved").rename(beside)
    write_cache(data, tmp_path / "elsewhere" / "copy")
    names = {source.name for source in load_manifest(tmp_path / "elsewhere" / "copy").train}
    assert names == {"synthetic", "weak", "unlabelled"}
    assert (tmp_path / "elsewhere/copy/dcase_synth/audio").is_dir()


def test_two_recordings_of_one_name(data: Path, tmp_path: Path) -> None:
    write_audio(data / "audio/train/weak/d.wav", np.zeros(100, np.float32))
    report = write_cache(data, tmp_path / "copy")
    assert list(report.failed.values()) == ["it would get the name of d.ogg. Rename one of them"]


def test_loud_recordings_are_limited_and_counted(data: Path, tmp_path: Path) -> None:
    square = np.sign(np.sin(np.arange(48_000) * 0.05))
    soundfile.write(data / "audio/train/weak/c.flac", square, 48_000)
    assert write_cache(data, tmp_path / "copy").limited == 1


def test_folders_that_make_no_sense(data: Path, tmp_path: Path) -> None:
    for out in (data, data / "copy", tmp_path):
        with pytest.raises(DataError, match="cannot lie in"):
            write_cache(data, out)
    with pytest.raises(DataError, match="no such folder"):
        write_cache(tmp_path / "none", tmp_path / "copy")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="not an empty folder"):
        write_cache(data, tmp_path / "mine")
    with pytest.raises(DataError, match="no recording"):
        write_cache(tmp_path / "mine", tmp_path / "copy")
    with pytest.raises(DataError, match="not a folder that"):
        verify_cache(tmp_path / "mine")


KILLED = """
import os, sys
from earmark.prepare.cache import write_cache
write_cache(sys.argv[1], sys.argv[2], progress=lambda done, _: os._exit(9) if done == 3 else None)
"""


def test_a_killed_run_goes_on(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    done = subprocess.run([sys.executable, "-c", KILLED, data, copy], check=False)
    assert done.returncode == 9
    with (copy / "cache.jsonl").open("a") as file:
        file.write('{"file": "audio/train/we')  # and a line was being written
    report = write_cache(data, copy)
    assert (report.made, report.kept) == (3, 3)
    write_cache(data, tmp_path / "whole")
    assert digests(copy) == digests(tmp_path / "whole")


def test_verifying_finds_every_change(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    write_cache(data, copy)
    assert verify_cache(copy) == (9, {})
    weak = copy / "audio/train/weak"
    samples = load_audio(weak / "c.flac")
    samples[100] += 1 / 32768
    write_audio(weak / "c.flac", samples)
    (weak / "d.flac").unlink()
    (copy / "audio/validation/validation/f.flac").write_bytes(b"fLaC")
    with (copy / "metadata/train/weak.tsv").open("a") as file:
        file.write("z.wav\tCow\n")
    files, faults = verify_cache(copy, workers=2)
    assert files == 9
    assert {Path(name).name for name in faults} == {"c.flac", "d.flac", "f.flac", "weak.tsv"}
    assert len(CacheIndex(copy, "flac").entries) == 5
    assert write_cache(data, copy).made == 3
    assert verify_cache(copy) == (9, {})


def test_links_are_followed_once(data: Path, tmp_path: Path) -> None:
    (data / "audio/train/weak/loop").symlink_to(data / "audio", target_is_directory=True)
    assert write_cache(data, tmp_path / "copy").made >= 6


def run(*arguments: object) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(cache)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and isinstance(result.exception, EarmarkError):
        raise result.exception
    return result.exit_code, result.output


def test_the_command(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy"
    code, text = run(data, "--out", copy, "--workers", 1)
    assert code == 0, text
    assert "6 recordings (6 new, 0 kept)" in text
    assert run(data, "--out", copy, "--verify", "--workers", 1)[0] == 0
    (data / "audio/train/weak/c.flac").write_text("no sound")
    code, text = run(data, "--out", copy, "--workers", 1)
    assert code == 1
    assert "c.flac: not a recording" in text
    assert "c.flac" in (tmp_path / "copy-failures.tsv").read_text()
    os.truncate(copy / "audio/train/weak/d.flac", 50)
    code, text = run(data, "--out", copy, "--verify", "--workers", 1)
    assert code == 1
    assert "d.flac" in text
    for option in ("--audio-format", "--format"):  # as in version 0.1
        told = wrong("cache", data, "--out", copy, option, "mp3", capsys=capsys)
        assert "'mp3' is not one of 'flac', 'wav'" in told


def describe(folder: Path, outside: Path) -> Path:
    """A dataset of one's own: a YAML file, its folders below it and one elsewhere."""
    for path in (folder / "clips/a.wav", folder / "val/b.ogg", outside / "attic/c.mp3"):
        path.parent.mkdir(parents=True)
        noise = 0.1 * np.random.default_rng(len(path.name)).standard_normal(22_050)
        soundfile.write(path, noise, 22_050)
    (folder / "clips/notes.pdf").write_bytes(b"%PDF")
    (folder / "strong.tsv").write_text(STRONG + "a.wav\t0.1\t0.5\tKettle\n")
    (folder / "val.tsv").write_text(STRONG + "b.ogg\t0.1\t0.5\tKettle\n")
    path = folder / "own.yaml"
    path.write_text(
        "# mine\n"
        "train:\n"
        "  - {audio: clips/, strong: strong.tsv}\n"
        f"  - {{audio: {outside / 'attic'}, unlabelled: true}}\n"
        "validation: {audio: val, strong: ./val.tsv}\n"
    )
    return path


def test_a_described_dataset(tmp_path: Path) -> None:
    path = describe(tmp_path / "own", tmp_path / "elsewhere")
    copy = tmp_path / "own" / "copy"  # beside the folders it names
    report = write_cache(path, copy)
    assert (report.made, report.copied, len(report.ignored)) == (3, 3, 0)
    assert report.use == copy / "own.yaml"
    assert sorted(file.relative_to(copy).as_posix() for file in copy.rglob("*.flac")) == [
        "clips/a.flac",
        "outside/attic/c.flac",
        "val/b.flac",
    ]
    before, after = load_manifest(path), load_manifest(report.use)
    assert after.labels.names == ("Kettle",)
    for old, new in zip(before.train, after.train, strict=True):
        assert [clip.stem for clip in old.clips] == [clip.stem for clip in new.clips]
        assert all(copy in clip.parents for clip in new.clips)
    assert [clip.name for clip in after.splits["validation"].clips] == ["b.flac"]
    assert write_cache(path, copy).made == 0
    with pytest.raises(DataError, match="cannot lie in"):
        write_cache(path, tmp_path / "own" / "clips" / "copy")


def test_a_description_whose_paths_stay_is_copied_as_it_is(tmp_path: Path) -> None:
    path = describe(tmp_path / "own", tmp_path / "own" / "more")
    text = path.read_text().replace(str(tmp_path / "own") + "/", "").replace("clips/,", "clips,")
    path.write_text(text.replace("./val.tsv", "val.tsv"))
    report = write_cache(path, tmp_path / "copy")
    assert report.use.read_text() == path.read_text()
