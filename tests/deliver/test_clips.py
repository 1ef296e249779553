"""Found events as sound files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.core.errors import ConfigError
from earmark.core.event import Event
from earmark.deliver.clips import ClipSettings, chosen_clips, write_clips
from earmark.deliver.journal import Record, Track


def record(path: Path, events: list[Event], name: str = "", channel: int = 0) -> Record:
    return Record(
        path=str(path), size=0, modified=0, content="", key="", name="x",
        tracks=(Track(channel, 60.0, tuple(events)),), filename=name or path.name,
    )  # fmt: skip


def test_a_clip_is_the_recording_s_own_samples(tmp_path: Path) -> None:
    rate = 44_100
    samples = np.random.default_rng(0).integers(-9000, 9000, (rate * 25, 2)).astype(np.int16)
    path = tmp_path / "yard.wav"
    soundfile.write(path, samples, rate)
    events = [
        Event(9.5, 10.5, "Dog", 0.874),  # over the edge of two blocks
        Event(0.1, 0.4, "Dog", 0.5),  # padding before the start
        Event(24.0, 24.9, "Cat", 0.2),  # and beyond the end
    ]
    written, failures = write_clips([record(path, events)], ClipSettings(tmp_path / "clips"))
    assert failures == {}
    expected = {
        "Dog/yard_Dog_0h00m09.500s_0.87.wav": (9.0, 11.0),
        "Dog/yard_Dog_0h00m00.100s_0.50.wav": (0.0, 0.9),
        "Cat/yard_Cat_0h00m24.000s_0.20.wav": (23.5, 25.0),
    }
    assert {p.relative_to(tmp_path / "clips").as_posix() for p in written} == set(expected)
    for name, (first, last) in expected.items():
        clip, own = soundfile.read(tmp_path / "clips" / name, dtype="int16")
        assert own == rate
        np.testing.assert_array_equal(clip, samples[round(first * rate) : round(last * rate)])


def test_depth_is_kept_and_one_channel_cut_where_it_was_found(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(size=(8000, 3)) * 0.1
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 8000, "PCM_24")
    one = record(path, [Event(0.2, 0.5, "Dog", 0.5)], channel=2)
    [clip], _ = write_clips([one], ClipSettings(tmp_path / "clips", padding=0.0))
    assert clip.name == "a_ch2_Dog_0h00m00.200s_0.50.wav"
    assert soundfile.info(clip).subtype == "PCM_24"
    heard, _ = soundfile.read(clip)
    np.testing.assert_allclose(heard, samples[1600:4000, 1], atol=2**-22)


def test_names_fit_any_system_and_none_overwrites_another(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(16_000), 16_000)
    same = [Event(0.1, 0.2, "A/B: c?", 0.5), Event(0.1, 0.3, "a/b: C?", 0.5)]
    records = [record(path, same, "mon/a.wav"), record(path, same, "mon-a.wav")]
    written, _ = write_clips(records, ClipSettings(tmp_path / "clips"))
    assert len({str(p).casefold() for p in written}) == 4
    assert all(p.is_file() and set(p.name).isdisjoint('/\\:?*"<>|') for p in written)


def test_the_best_or_some_of_each_band(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    events = [
        Event(float(n), n + 0.5, "Dog" if n % 3 else "Cat", float(rng.random())) for n in range(300)
    ]
    records = [record(tmp_path / "a.wav", events)]
    best = chosen_clips(records, ClipSettings(tmp_path, top=5))
    for label in ("Dog", "Cat"):
        own = sorted((e.score or 0 for e in events if e.event_label == label), reverse=True)
        kept = [c.event.score or 0 for c in best if c.event.event_label == label]
        assert sorted(kept, reverse=True) == own[:5]
    some = chosen_clips(records, ClipSettings(tmp_path, random=7, seed=1))
    counts = Counter((c.event.event_label, int((c.event.score or 0) * 4)) for c in some)
    assert counts == {(label, band): 7 for label in ("Dog", "Cat") for band in range(4)}
    assert some == chosen_clips(records, ClipSettings(tmp_path, random=7, seed=1))
    assert some != chosen_clips(records, ClipSettings(tmp_path, random=7, seed=2))
    assert len(chosen_clips(records, ClipSettings(tmp_path))) == 300


def test_a_recording_that_is_gone_stops_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(16_000), 16_000)
    event = [Event(0.1, 0.2, "Dog", 0.5)]
    written, failures = write_clips(
        [record(tmp_path / "gone.wav", event), record(path, event)], ClipSettings(tmp_path / "c")
    )
    assert len(written) == 1
    assert list(failures) == [tmp_path / "gone.wav"]


def test_top_and_random_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not both"):
        ClipSettings(tmp_path, top=1, random=1)
