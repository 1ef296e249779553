"""ELAN documents that link several media and have tiers below others, on the way into a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from earmark.core.errors import LabelError
from earmark.core.event import Event
from earmark.core.formats import read_events
from earmark.prepare.importing.annotations import Gathered, Reading, gather
from helpers.importing import record


def document(
    path: Path,
    media: Sequence[tuple[str, str, int]],
    slots: Sequence[int | None],
    tiers: Sequence[tuple[str, str, Sequence[tuple[int, int, str] | str]]],
) -> Path:
    """A document: media (URL, relative URL, beginning), times in ms, tiers (name, parent, …)."""
    links = "".join(
        f'<MEDIA_DESCRIPTOR MEDIA_URL="{url}" RELATIVE_MEDIA_URL="{near}" MIME_TYPE="x"'
        + (f' TIME_ORIGIN="{begins}"/>' if begins else "/>")
        for url, near, begins in media
    )
    times = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="ts{n}"' + (f' TIME_VALUE="{t}"/>' if t is not None else "/>")
        for n, t in enumerate(slots)
    )
    body, count = "", 0
    for name, parent, own in tiers:
        above = f' PARENT_REF="{parent}"' if parent else ""
        body += f'<TIER LINGUISTIC_TYPE_REF="t" TIER_ID="{name}"{above}>'
        for one in own:
            count += 1
            if isinstance(one, str):
                inner = f'<REF_ANNOTATION ANNOTATION_ID="a{count}" ANNOTATION_REF="a1">'
                value, kind = one, "REF_ANNOTATION"
            else:
                first, last, value = one
                kind = "ALIGNABLE_ANNOTATION"
                inner = (
                    f'<{kind} ANNOTATION_ID="a{count}" TIME_SLOT_REF1="ts{first}" '
                    f'TIME_SLOT_REF2="ts{last}">'
                )
            body += f"<ANNOTATION>{inner}<ANNOTATION_VALUE>{value}</ANNOTATION_VALUE></{kind}>"
            body += "</ANNOTATION>"
        body += "</TIER>"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        '<?xml version="1.0"?><ANNOTATION_DOCUMENT FORMAT="3.0" VERSION="3.0">'
        f'<HEADER TIME_UNITS="milliseconds">{links}</HEADER><TIME_ORDER>{times}</TIME_ORDER>'
        f"{body}</ANNOTATION_DOCUMENT>",
        encoding="utf-8",
    )
    return path


BEEP = [("beeps", "", [(0, 1, "beep")])]
FILM = ("file:///C:/old/sess.mp4", "./sess.mp4", 0)
WAVE = ("file:///C:/old/a%20sess.wav", "./a%20sess.wav", 1500)


def events(gathered: Gathered) -> dict[str, list[Event]]:
    return {one.key: list(one.events or ()) for one in gathered.recordings}


@pytest.mark.parametrize("media", [[FILM, WAVE], [WAVE, FILM], [WAVE]])
def test_the_medium_that_is_there_counts_with_its_own_beginning(
    media: list[tuple[str, str, int]], tmp_path: Path
) -> None:
    record(tmp_path / "a sess.wav", 4)
    document(tmp_path / "notes.eaf", media, [1000, 1300], BEEP)
    assert events(gather([tmp_path], [], Reading())) == {"a sess.wav": [Event(2.5, 2.8, "beep")]}
    assert read_events(tmp_path / "notes.eaf").onset.tolist() == [2.5 if media else 1.0]


def test_each_of_two_that_are_there_and_none(tmp_path: Path) -> None:
    record(tmp_path / "a sess.wav", 4)
    record(tmp_path / "sess.wav", 4).rename(tmp_path / "sess.mp4")  # known by content
    document(tmp_path / "notes.eaf", [FILM, WAVE], [1000, 1300], BEEP)
    found = events(gather([tmp_path], [], Reading()))
    assert found["sess.mp4"] == [Event(1.0, 1.3, "beep")]  # the first one
    (tmp_path / "a sess.wav").unlink()
    (tmp_path / "sess.mp4").rename(tmp_path / "other.wav")
    with pytest.raises(LabelError, match=r"notes\.eaf: no recording"):
        gather([tmp_path], [], Reading())


def test_a_recording_made_from_one_of_several_is_asked_for(tmp_path: Path) -> None:
    record(tmp_path / "sess.flac", 4)
    two = [FILM, ("file:///C:/old/sess.wav", "./sess.wav", 1500)]
    path = document(tmp_path / "notes.eaf", two, [1000, 1300], BEEP)
    with pytest.raises(LabelError, match=r"could be sess\.mp4 and sess\.wav, which begin at"):
        gather([path], [tmp_path], Reading())
    document(tmp_path / "notes.eaf", [FILM], [1000, 1300], BEEP)
    assert events(gather([path], [tmp_path], Reading()))["sess.flac"] == [Event(1.0, 1.3, "beep")]


def test_media_in_folders_of_equal_names(tmp_path: Path) -> None:
    for number, site in enumerate(("s1", "s2")):
        record(tmp_path / "rec" / site / "x.wav", 4, seed=number)
        url = f"file:///D:/field/{site}/x.wav"
        first = 1000 * (number + 1)
        document(
            tmp_path / "labels" / f"{site}.eaf", [(url, "../x.wav", 0)], [first, first + 300], BEEP
        )
    found = events(gather([tmp_path / "labels"], [tmp_path / "rec"], Reading()))
    assert found == {"s1/x.wav": [Event(1.0, 1.3, "beep")], "s2/x.wav": [Event(2.0, 2.3, "beep")]}


def test_times_of_lower_tiers_are_read_and_those_without_are_named(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 4)
    tiers = [
        ("song", "", [(0, 5, "singing")]),
        ("notes", "song", [(0, 1, "do"), (1, 2, "re"), (2, 3, "mi"), (3, 5, "fa")]),
        ("who", "song", ["blackbird"]),
    ]
    media = [("file:///x/a.wav", "", 0)]
    document(tmp_path / "a.eaf", media, [1000, 1400, None, None, None, 2000], tiers)
    found = gather([tmp_path], [], Reading())
    assert events(found)["a.wav"] == [
        Event(1.0, 1.4, "do"), Event(1.0, 2.0, "singing"), Event(1.4, 1.6, "re"),
        Event(1.6, 1.8, "mi"), Event(1.8, 2.0, "fa"),
    ]  # fmt: skip
    assert any("annotations without times of their own" in n and "'who'" in n for n in found.notes)
