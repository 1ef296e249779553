"""What an import writes: the recordings' samples, once, and never over other content."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from earmark.core.audio.audio import audio_info, load_audio, load_int16
from earmark.core.errors import DataError
from earmark.prepare.importing.planning import PLACES
from helpers.files import digests
from helpers.importing import RATE, bank_of, make, read, track
from helpers.label_files import read_strong


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


KILLED = """
import os, sys
from pathlib import Path
from earmark.core.config import parse_settings
from earmark.prepare.importing.annotations import Reading
from earmark.prepare.importing.class_map import ClassMap
from earmark.prepare.importing.importer import read_import
from earmark.prepare.importing.settings import ImportSettings
from earmark.prepare.importing.writing import write_import
job = read_import([Path(sys.argv[1])], [], Reading(), ClassMap(rest="keep"), ImportSettings())
write_import(Path(sys.argv[2]), job,
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
