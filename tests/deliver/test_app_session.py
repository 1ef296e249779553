"""What the app does: recordings scored once, decided again, taken away, removed."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.core.errors import ConfigError
from earmark.core.event import Event
from earmark.core.formats import FORMATS, read_events
from earmark.deliver.pages import app_session
from earmark.deliver.pages.app_session import (
    DOWNLOADS,
    AppLimits,
    AppSession,
    AppSessions,
    clock,
    decide,
    hear,
    table_rows,
    write_downloads,
)
from earmark.detect.postprocess_spec import PostProcess
from helpers.app_pages import CLASSES, RATE, ToneScorer, tone_detector
from helpers.review_pages import sound

LIMITS = AppLimits()


@pytest.fixture
def session(tmp_path: Path) -> AppSession:
    detector = tone_detector()
    files = [sound(tmp_path / "in" / name, 6.0) for name in ("a.wav", "b.wav")]
    heard, failures = hear(files, detector, LIMITS)
    assert failures == {}
    session = AppSession(tmp_path / "session")
    session.take("tones", detector, heard)
    return session


def test_events_change_with_thresholds_and_scores_are_not_computed_again(
    session: AppSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ToneScorer, "score_windows", None)  # whoever scores now fails
    usual = [event for event in session.result(0).found if event.event_label == "tone"]
    assert [(round(e.onset, 1), round(e.offset, 1)) for e in usual] == [(0, 1), (2, 3), (4, 5)]
    session.set_threshold("tone", 0.95)
    assert session.threshold("tone") == 0.95
    assert "tone" not in {event.event_label for event in session.result(0).found}
    assert session.threshold("quiet") == 0.5
    session.set_threshold(None, 0.3)
    assert session.threshold(None) == session.threshold("tone") == 0.3
    every = {event.event_label for event in session.result(1).found}
    assert every == {"tone", "quiet"}
    session.classes = ("quiet",)
    shown = session.result(1)
    assert shown.table.labels == ("quiet",)
    assert {event.event_label for event in shown.found} == {"quiet"}


def test_it_decides_as_the_detector_does(session: AppSession) -> None:
    detector, one = tone_detector(), session.heard[0]
    assert decide(one, session.postprocess).found == detector.detect(one.path).found
    by_class = PostProcess(threshold={"tone": 0.95, "quiet": 0.2})
    found = decide(one, by_class).found
    assert {event.event_label for event in found} == {"quiet"}


def test_another_bundle_has_its_own_thresholds(session: AppSession) -> None:
    session.set_threshold("tone", 0.95)
    session.classes = ("quiet",)
    session.take("tones", tone_detector(), session.heard)
    assert session.threshold("tone") == 0.95
    session.take("other", tone_detector(), session.heard)
    assert session.threshold("tone") == 0.5
    assert session.classes == ()


def test_what_cannot_be_heard_gets_a_sentence_without_a_path(tmp_path: Path) -> None:
    text = tmp_path / "holiday.wav"
    text.write_text("we went to the sea")
    (tmp_path / "other").mkdir()
    again = tmp_path / "other" / "holiday.wav"
    again.write_bytes(b"")
    good = sound(tmp_path / "a.wav", 2.0)
    told: list[tuple[float, str]] = []
    heard, failures = hear(
        [text, again, good], tone_detector(), LIMITS, lambda done, name: told.append((done, name))
    )
    assert [one.name for one in heard] == ["a.wav"]
    assert list(failures) == ["holiday.wav", "holiday (2).wav"]
    for name, why in failures.items():
        assert why.startswith(f"{name}: ")
        assert why.endswith(".")
        assert str(tmp_path) not in why
    assert {name for _, name in told} == {"a.wav"}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert 2 / 3 < told[-1][0] <= 1.0


def test_limits_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [sound(tmp_path / f"{n}.wav", 4.0) for n in range(3)]
    detector = tone_detector()
    heard, failures = hear(files, detector, AppLimits(minutes=9 / 60))
    assert [one.name for one in heard] == ["0.wav", "1.wav"]  # 8 s; the third is beyond 9
    assert "0.15 minutes" in failures["2.wav"]
    with pytest.raises(ConfigError, match="3 recordings are more than 2"):
        hear(files, detector, AppLimits(files=2))
    monkeypatch.setattr(app_session, "expected_seconds", lambda _: 1.0)  # a header that lies
    heard, failures = hear(files[:1], detector, AppLimits(minutes=2 / 60))
    assert heard == []
    assert "longer than" in failures["0.wav"]
    big = tmp_path / "big.wav"
    soundfile.write(big, np.zeros(600_000), RATE)
    assert "larger than 1 MB" in hear([big], detector, AppLimits(megabytes=1))[1]["big.wav"]
    said = AppLimits(minutes=5, megabytes=7, files=3, at_once=2, waiting=4).sentence()
    assert all(f"{number} " in said for number in (5, 7, 3, 2, 4))
    for wrong in ({"minutes": 0}, {"minutes": float("nan")}, {"files": 0}, {"at_once": 0}):
        with pytest.raises(ConfigError, match="positive"):
            AppLimits(**wrong)  # type: ignore[arg-type]


def test_downloads_are_read_again(session: AppSession, tmp_path: Path) -> None:
    expected = [(e.event_label, round(e.onset, 2)) for e in session.result(0).found]
    (tmp_path / "one").mkdir()
    for kind, file in write_downloads(tmp_path / "one", [session.result(0)]).items():
        assert file.name == f"a{FORMATS[kind].suffix}"
        rows = read_events(file, kind)
        found = [(r.event_label, round(r.onset, 2)) for r in rows.itertuples()]
        assert sorted(found) == sorted(expected), kind
    files = session.downloads()  # of both
    assert tuple(files) == DOWNLOADS
    assert set(read_events(files["tsv"]).filename) == {"a.wav", "b.wav"}
    with zipfile.ZipFile(files["audacity"]) as pack:
        assert sorted(pack.namelist()) == ["a.wav.txt", "b.wav.txt"]


def test_events_are_heard_where_they_are(session: AppSession) -> None:
    samples, rate = soundfile.read(session.event_sound(0, Event(2.0, 3.0, "tone", 0.9), 0.25))
    assert len(samples) == pytest.approx(1.5 * rate, abs=2)
    loud = np.abs(samples) > 0.1
    assert not loud[: round(0.2 * rate)].any()
    assert loud[round(0.3 * rate) : round(1.2 * rate)].mean() > 0.8
    first = soundfile.info(session.event_sound(0, Event(0.0, 0.5, "tone"), 0.25))
    assert first.duration == pytest.approx(0.75, abs=0.001)


def test_what_a_browser_does_not_play_is_made_playable(tmp_path: Path) -> None:
    file = tmp_path / "a.aiff"
    soundfile.write(file, 0.1 * np.ones(RATE), RATE)
    session = AppSession(tmp_path / "session")
    detector = tone_detector()
    session.take("tones", detector, hear([file], detector, LIMITS)[0])
    played = session.sound(0)
    assert soundfile.info(played).format == "FLAC"
    assert soundfile.info(played).duration == pytest.approx(1.0, abs=0.001)


def test_a_picture_needs_no_second_reading(session: AppSession) -> None:
    session.heard[0].path.unlink()
    assert session.draw(0).read_bytes().startswith(b"\x89PNG")


def test_files_of_a_session_go_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = AppSessions(tmp_path / "sessions")
    shared, own = sound(tmp_path / "shared.wav", 1.0), sound(tmp_path / "own.wav", 1.0)
    detector = tone_detector()
    for key, files in (("first", [shared, own]), ("second", [shared])):
        sessions.get(key).take("tones", detector, hear(files, detector, LIMITS)[0])
        sessions.get(key).downloads()
    assert sessions.get("first") is not sessions.get("second")
    sessions.close("first")
    sessions.close("nobody")
    assert (shared.exists(), own.exists()) == (True, False)
    assert len(list((tmp_path / "sessions").iterdir())) == len(sessions) == 1
    now = app_session.time.monotonic()
    monkeypatch.setattr(app_session.time, "monotonic", lambda: now + app_session.IDLE + 1)
    sessions.get("third")  # which closes what is idle
    assert len(sessions) == 1
    assert not shared.exists()


def test_only_the_last_files_are_kept(session: AppSession) -> None:
    for _ in range(50):
        session.downloads()
    assert len(list(session.folder.iterdir())) == 20


def test_rows_have_times_as_people_read_them(session: AppSession) -> None:
    assert clock(3725.678) == "1:02:05.68"
    assert clock(59.999) == "0:01:00.00"
    rows = table_rows(session.result(0))
    assert rows[0][:1] == ["0:00:00.00"]
    assert {row[2] for row in rows} <= set(CLASSES)
