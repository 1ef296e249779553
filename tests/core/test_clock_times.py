"""When a recording began: names of recorders, patterns, zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.core.clock_times import TimePattern, later, written_time, zone_of
from earmark.core.errors import ConfigError

MOMENTS = st.datetimes(datetime(2015, 1, 2), datetime(2068, 12, 30)).map(
    lambda moment: moment.replace(microsecond=0)
)


@given(MOMENTS, st.sampled_from(["", "site/5/", "C:\\rec\\", "A_", "SMM01234_"]))
def test_a_date_and_time_anywhere_in_a_name(moment: datetime, before: str) -> None:
    for form in ("%Y%m%d_%H%M%S", "%Y-%m-%dT%H-%M-%S", "%Y%m%dT%H%M%S", "%Y-%m-%d %H.%M.%S"):
        assert written_time(f"{before}{moment:{form}}.wav") == moment
        assert written_time(f"{before}{moment:{form}}_dawn.ch2.WAV") == moment
    told = written_time(f"{before}{moment:%Y%m%d_%H%M%S}+0200.wav")
    assert told is not None
    assert told.utcoffset() == timedelta(hours=2)
    assert told.replace(tzinfo=None) == moment
    assert written_time(f"{moment:%Y%m%d_%H%M%S}Z.wav") == moment.replace(tzinfo=UTC)


@given(MOMENTS)
def test_audiomoths_hexadecimal_seconds(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    name = f"{int(moment.timestamp()):08X}.WAV"
    assert written_time(name) == written_time(f"card/{name.lower()}") == moment


def test_a_name_of_an_audiomoth() -> None:
    assert written_time("5E90A4D4.WAV") == datetime(2020, 4, 10, 16, 54, 44, tzinfo=UTC)


@pytest.mark.parametrize(
    "name",
    [
        "kitchen.wav", "20260101.wav", "20261301_000000.wav", "20260101_250000.wav", "deadbeeg.wav",
        "120260101_0000001.wav", "00000001.wav", "2026-0101_000000.wav", "Y00pbt6aJV8Y_350.000.wav",
    ],
)  # fmt: skip
def test_names_without_a_time(name: str) -> None:
    assert written_time(name) is None


def test_digits_that_are_no_date_do_not_hide_one() -> None:
    assert written_time("99999999_999999_20260102_030405.wav") == datetime(2026, 1, 2, 3, 4, 5)


@given(MOMENTS, st.text("abc.%_ (", max_size=8))
def test_patterns_read_what_strftime_writes(moment: datetime, before: str) -> None:
    literal = before.replace("%", "%%")
    for form in ("%d.%m.%Y %H-%M-%S", "%Y%j%H%M%S", "%d %b %y %I.%M.%S %p"):
        pattern = TimePattern(f"{literal}{form}*")
        assert pattern.of_name(f"{moment.strftime(literal + form)} more.wav") == moment
    assert TimePattern("*_%y%m%d-%H%M").of_name(f"x/site_{moment:%y%m%d-%H%M}.wav") == (
        moment.replace(second=0)
    )


def test_names_of_another_form_tell_nothing() -> None:
    pattern = TimePattern("site_%Y%m%d")
    assert pattern.of_name("site_20260102.wav") == datetime(2026, 1, 2)
    assert pattern.of_name("site_20260102b.wav") is None
    assert pattern.of_name("site_20260231.wav") is None
    assert TimePattern("%Y%m%d%z").read("20260102+0200") == datetime(
        2026, 1, 2, tzinfo=ZoneInfo("Etc/GMT-2")
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("%Y%m", "tells no day"),
        ("%d%m", "tells no day"),
        ("kitchen", "tells no day"),
        ("%Y%m%d%Q", "%Q in the time pattern"),
        ("%Y%m%d%", "is not known"),
        ("%Y%Y%m%d", "twice"),
    ],
)
def test_patterns_that_cannot_be(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TimePattern(text)


def test_zones_by_name() -> None:
    assert zone_of("UTC") is UTC
    assert zone_of("Europe/Berlin") == ZoneInfo("Europe/Berlin")
    for wrong in ("Berlin", "../etc/passwd", "", "Europe/"):
        with pytest.raises(ConfigError, match="no time zone"):
            zone_of(wrong)


def test_the_clock_goes_on_through_the_change_to_summer_time() -> None:
    begin = datetime(2026, 3, 29, 1, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    assert f"{later(begin, 3600):%H:%M}" == "03:30"
    assert later(begin.replace(tzinfo=None), 3600) == datetime(2026, 3, 29, 2, 30)
