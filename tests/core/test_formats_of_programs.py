"""Label tracks of Audacity, selection tables of Raven, captions in WebVTT."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from earmark.core.errors import LabelError
from earmark.core.event import Event
from earmark.core.formats import read_events, write_events
from earmark.core.tables.labels import events_by_clip
from helpers.event_rows import table
from helpers.files import written


def test_label_tracks(tmp_path: Path) -> None:
    events = table(("kitchen.wav", 0.5, 1.25, "Dog"), ("kitchen.wav", 0.064, 3, "Speech"))
    path = tmp_path / "kitchen.txt"
    write_events(path, events, "audacity")
    assert path.read_text() == "0.500000\t1.250000\tDog\n0.064000\t3.000000\tSpeech\n"
    path.write_text(path.read_text() + "\\\t100.0\t2000.0\n")  # a frequency range
    assert events_by_clip(read_events(path)) == events_by_clip(events)
    assert set(read_events(path, recording="kitchen.flac").filename) == {"kitchen.flac"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.5\t1.0\n", "label without a text"),
        ("0.5\t1.0\t\n", "label without a text"),
        ("0.5\n", "label track"),
        ("0\t1\tDog\textra\n", "label track"),
        ("zero\t1\tDog\n", "'zero' is not a number"),
    ],
)
def test_broken_label_tracks(text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, "0\t1\tCat\n" + text, "k.txt")
    with pytest.raises(LabelError, match=message) as caught:
        read_events(path)
    assert caught.value.where == f"{path}:2"


RAVEN = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\t"
    "Delta Time (s)\tAnnotation\n"
    "1\tWaveform 1\t1\t6.709509878\t15.096397225\t1739.0\t3798.8\t8.3869\tBirb\n"
    "1\tSpectrogram 1\t1\t6.709509878\t15.096397225\t1739.0\t3798.8\t8.3869\tBirb\n"
    "2\tWaveform 1\t1\t29.383026016\t40.257059266\t1587.0\t4136.4\t10.874\tdonkey\n"
    "2\tSpectrogram 1\t1\t29.383026016\t40.257059266\t1587.0\t4136.4\t10.874\tdonkey\n"
)


def test_a_selection_seen_in_several_views_is_one_event(tmp_path: Path) -> None:
    path = written(tmp_path, RAVEN, "yard.Table.1.selections.txt")
    expected = {
        "yard": [
            Event(6.709509878, 15.096397225, "Birb"),
            Event(29.383026016, 40.257059266, "donkey"),
        ]
    }
    assert events_by_clip(read_events(path)) == expected
    in_other_order = ["Annotation", "End Time (s)", "View", "Begin Time (s)", "Selection"]
    shuffled = pd.read_csv(path, sep="\t", dtype=str)[in_other_order]
    shuffled.to_csv(tmp_path / "yard.txt", sep="\t", index=False)
    assert events_by_clip(read_events(tmp_path / "yard.txt")) == expected


def test_tables_put_together_keep_events_with_equal_numbers(tmp_path: Path) -> None:
    """Users paste tables under one another; then numbers repeat in one view."""
    header, *rows = RAVEN.splitlines(keepends=True)
    text = header + rows[1] + rows[3] + rows[1].replace("15.09", "16.09") + rows[3]
    assert len(read_events(written(tmp_path, text, "a.selections.txt"))) == 4


def test_selections_over_several_files(tmp_path: Path) -> None:
    text = (
        "Begin Path\tFile Offset (s)\tBegin Time (s)\tEnd Time (s)\tSpecies\n"
        "C:\\sounds\\one.wav\t1.5\t1.5\t2.25\tA\n"
        "C:\\sounds\\two.wav\t4.5\t604.5\t606.0\tB\n"
    )
    events = read_events(written(tmp_path, text, "all.selections.txt"))
    assert events_by_clip(events) == {
        "C:\\sounds\\one": [Event(1.5, 2.25, "A")],
        "C:\\sounds\\two": [Event(4.5, 6.0, "B")],
    }


def test_a_table_of_birdnet(tmp_path: Path) -> None:
    text = (
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\t"
        "Common Name\tSpecies Code\tConfidence\tBegin Path\tFile Offset (s)\n"
        "1\tSpectrogram 1\t1\t3.0\t6.0\t0\t15000\tBlackbird\teurbla\t0.87\t/data/rec.wav\t3.0\n"
    )
    events = read_events(written(tmp_path, text, "rec.BirdNET.selections.txt"))
    assert events.to_dict("list") == table(("/data/rec.wav", 3.0, 6.0, "Blackbird", 0.87)).to_dict(
        "list"
    )


def test_selection_tables_have_what_raven_asks_for(tmp_path: Path) -> None:
    path = tmp_path / "a.Table.1.selections.txt"
    write_events(path, table(("a.wav", 1e-5, 123456.5, "Dog", 0.25)), "raven")
    header, row = (line.split("\t") for line in path.read_text().splitlines())
    assert header[:7] == RAVEN.split("\n")[0].split("\t")[:7]
    assert row[:5] == ["1", "Spectrogram 1", "1", "0.00001", "123456.5"]
    kinds = pd.read_csv(path, sep="\t").dtypes[list(header[3:7])]
    assert (kinds == "float64").all()  # crowsetta refuses whole numbers of hertz


def test_captions(tmp_path: Path) -> None:
    events = table(("a.wav", 3600.0, 3601.5, "Dog & <Cat>"), ("a.wav", 0.5, 0.5, "x --> y"))
    path = tmp_path / "a.vtt"
    write_events(path, events, "webvtt")
    assert path.read_text() == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:00.501\nx --&gt; y\n\n"
        "01:00:00.000 --> 01:00:01.500\nDog &amp; &lt;Cat&gt;\n"
    )


def test_captions_of_others(tmp_path: Path) -> None:
    text = (
        "WEBVTT - from somewhere\nKind: captions\n\n"
        "STYLE\n::cue { color: lime }\n\n"
        "NOTE 00:01.000 --> 00:02.000 is no cue\n\n"
        "first\n00:01.000 --> 00:02.500 align:start position:0%\n<v Ann>Dog</v>\nbarks\n\n"
        "01:00:00,250-->01:00:01,000\nCat\n"
    )
    for ends in ("\n", "\r\n", "\r"):
        events = read_events(written(tmp_path, text.replace("\n", ends), "yard.vtt"))
        expected = {"yard": [Event(1.0, 2.5, "Dog barks"), Event(3600.25, 3601.0, "Cat")]}
        assert events_by_clip(events) == expected


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("1\n00:01.0 --> 2\nDog\n", 1, "not WEBVTT"),
        ("WEBVTT\n\nsoon --> 00:02.000\nDog\n", 3, "times of a cue"),
        ("WEBVTT\n\n00:03.000 --> 00:02.000\nDog\n", 3, "from 3 s to 2 s"),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\n\n", 3, "without a text"),
    ],
)
def test_broken_captions(text: str, line: int, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, text, "a.vtt")
    with pytest.raises(LabelError, match=message) as caught:
        read_events(path)
    assert caught.value.where == f"{path}:{line}"
