"""Files of the form that other programs write, each made here as they make it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from earmark.core.errors import LabelError
from earmark.core.formats import format_of, read_events, write_events
from helpers.event_rows import table
from helpers.files import written

TIMES = (1.5, 2.25, "Dog")
DOG, REC = ("rec.wav", *TIMES), ("rec", *TIMES)
#: Program and format → name of the file, its content, the reader, the events.
FILES = {
    "BirdNET-Analyzer, Audacity": (
        "rec.BirdNET.results.txt", "1.5\t2.25\tCanis familiaris, Dog\t0.9120\n", "headerless",
        [("rec.BirdNET.results", 1.5, 2.25, "Canis familiaris, Dog", 0.912)],
    ),
    "BirdNET-Analyzer, CSV": (
        "rec.csv",
        "Start (s),End (s),Scientific name,Common name,Confidence,File\n"
        "1.5,2.25,Canis familiaris,Dog,0.9120,rec.wav\n", "csv", [(*DOG, 0.912)],
    ),
    "BirdNET-Analyzer, R": (
        "rec.csv",
        "filepath,start,end,scientific_name,common_name,confidence,lat,lon,week\n"
        "rec.wav,1.5,2.25,Canis familiaris,Dog,0.9120,-1,-1,-1\n", "csv", [(*DOG, 0.912)],
    ),
    "BirdNET-Analyzer, Kaleidoscope": (
        "rec.csv",
        "INDIR,FOLDER,IN FILE,OFFSET,DURATION,scientific_name,common_name,confidence\n"
        "/rec,night,rec.wav,1.5,0.75,Canis familiaris,Dog,0.9120\n", "csv",
        [("/rec/night/rec.wav", *TIMES, 0.912)],
    ),
    "Kaleidoscope": (
        "cluster.csv",
        "INDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,AUTO ID,MANUAL ID\r\n"
        "D:\\rec,,rec.wav,0,1.5,0.75,NoID,Dog\r\nD:\\rec,,rec.wav,0,3,0.5,Cat,\r\n"
        "D:\\rec,,rec.wav,0,4,0.5,,\r\n", "csv",
        [("D:\\rec/rec.wav", *TIMES), ("D:\\rec/rec.wav", 3.0, 3.5, "Cat")],
    ),
    "crowsetta, generic-seq": (
        "all.csv",
        "label,onset_s,offset_s,onset_sample,offset_sample,notated_path,annot_path,sequence,"
        "annotation\nDog,1.5,2.25,24000,36000,rec.wav,a.csv,0,0\n", "csv", [DOG],
    ),
    "crowsetta, simple-seq": ("rec.csv", "onset_s,offset_s,label\n1.5,2.25,Dog\n", "csv", [REC]),
    "OpenSoundscape": (
        "boxes.csv",
        "audio_file,annotation_file,annotation,start_time,end_time,low_f,high_f\n"
        "rec.wav,rec.txt,Dog,1.5,2.25,0,8000\n", "csv", [DOG],
    ),
    "AudioSet strong": (
        "eval.tsv", "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"
        "b0RFKhbpFJA_30000\t1.5\t2.25\t/m/0bt9lr\n", "tsv",
        [("b0RFKhbpFJA_30000", 1.5, 2.25, "/m/0bt9lr")],
    ),
    "DCASE: onset, offset, label": ("rec.ann", "1.5\t2.25\tDog\n", "headerless", [REC]),
    "DCASE with spaces": ("rec.txt", "1.5  2.25  Dog\n", "headerless", [REC]),
    "DCASE: file, onset, offset, label": (
        "meta.txt", "audio/rec.wav\t1.5\t2.25\tDog\naudio/quiet.wav\t\t\t\n", "headerless",
        [("audio/rec.wav", *TIMES)],
    ),
    "DCASE: file, scene, onset, offset, label": (
        "meta.txt", "audio/street/rec.wav\tstreet\t1,5\t2,25\tDog\n", "headerless",
        [("audio/street/rec.wav", *TIMES)],
    ),
    "dcase_util, CSV": ("meta.csv", "rec.wav,1.5,2.25,Dog\n", "headerless", [DOG]),
    "Adobe Audition": (
        "rec.csv",
        "Name\tStart\tDuration\tTime Format\tType\tDescription\n"
        "Dog\t0:01.500\t0:00.750\tdecimal\tCue\t\n", "csv", [REC],
    ),
    "Reaper": (
        "rec.csv", "#,Name,Start,End,Length\nR1,Dog,0:01.500,0:02.250,0:00.750\n", "csv", [REC],
    ),
    "DAS": ("rec.csv", "name,start_seconds,stop_seconds\nDog,1.5,2.25\n", "csv", [REC]),
    "pyannote.audio": (
        "rec.rttm", ";; made by hand\nSPKR-INFO rec 1 <NA> <NA> <NA> unknown Dog <NA> <NA>\n"
        "SPEAKER rec 1 1.500 0.750 <NA> <NA> Dog <NA> <NA>\n", "rttm", [REC],
    ),
    "Whisper, SRT": (
        "rec.srt", "1\r\n00:00:01,500 --> 00:00:02,250\r\n{\\an8}<i>Dog</i>\r\n\r\n", "srt", [REC],
    ),
}  # fmt: skip


@pytest.mark.parametrize("program", FILES)
def test_what_programs_write(program: str, tmp_path: Path) -> None:
    name, text, reader, events = FILES[program]
    path = written(tmp_path, text, name)
    assert format_of(path) == reader
    assert read_events(path).to_dict("list") == table(*events).to_dict("list")


def test_rows_of_kaleidoscope_without_a_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name, text, _, _ = FILES["Kaleidoscope"]
    path = written(tmp_path, text, name)
    read_events(path)
    assert f"{path}:4: a row without a name of its sound is left aside" in caplog.text


LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 4.5
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "dogs 2"
        xmin = 0
        xmax = 4.5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 1.5
            text = ""
        intervals [2]:
            xmin = 1.5
            xmax = 2.25
            text = "a ""big""
Dog 3"
        intervals [3]:
            xmin = 2.25
            xmax = 4.5
            text = " "
    item [2]:
        class = "TextTier"
        name = "clicks"
        xmin = 0
        xmax = 4.5
        points: size = 1
        points [1]:
            number = 0.25
            mark = "click"
"""
SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
4.5
<exists>
2
"IntervalTier"
"dogs 2"
0
4.5
3
0
1.5
""
1.5
2.25
"a ""big""
Dog 3"
2.25
4.5
" "
"TextTier"
"clicks"
0
4.5
1
0.25
"click"
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("text", [LONG, SHORT], ids=["long", "short"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_textgrids_of_praat(text: str, encoding: str, end: str, tmp_path: Path) -> None:
    raw = text.replace("big", "größ").replace("\n", end)
    path = written(tmp_path, raw.encode(encoding), "rec.TextGrid")
    assert format_of(path) == "textgrid"
    expected = [("rec", 0.25, 0.25, "click"), ("rec", 1.5, 2.25, 'a "größ" Dog 3')]
    assert read_events(path).to_dict("list") == table(*expected).to_dict("list")
    tiers = read_events(path, label_column="tier")
    assert tiers.event_label.tolist() == ["clicks", "dogs 2"]


def test_textgrids_that_are_none_name_the_line(tmp_path: Path) -> None:
    wrong = LONG.replace("xmax = 2.25", "xmax = 1.25")
    with pytest.raises(LabelError, match=r"rec\.TextGrid:21: an event from 1\.5 s to 1\.25 s"):
        read_events(written(tmp_path, wrong, "rec.TextGrid"))
    for cut in range(0, len(SHORT) - 12, 7):
        with pytest.raises(LabelError):
            read_events(written(tmp_path, SHORT[:cut], "rec.TextGrid"))
    with pytest.raises(LabelError, match="no TextGrid, but ooTextFile PitchTier"):
        read_events(written(tmp_path, LONG.replace('"TextGrid"', '"PitchTier"'), "rec.TextGrid"))


def jams(namespace: str, data: object) -> str:
    return json.dumps({"annotations": [{"namespace": namespace, "data": data}], "sandbox": {}})


SCAPER = [
    {"time": 0.0, "duration": 10.0, "value": {"label": "park", "role": "background"}},
    {"time": 1.5, "duration": 0.75, "value": {"label": "Dog", "role": "foreground"}},
]


@pytest.mark.parametrize(
    ("namespace", "data"),
    [
        ("scaper", SCAPER),
        ("tag_urbansound", [{"time": 1.5, "duration": 0.75, "value": "Dog", "confidence": None}]),
        ("segment_open", {"time": [1.5], "duration": [0.75], "value": ["Dog"], "confidence": [1]}),
    ],
)
def test_jams_of_others(namespace: str, data: object, tmp_path: Path) -> None:
    read = read_events(written(tmp_path, jams(namespace, data), "rec.jams"))
    columns = ["filename", "onset", "offset", "event_label"]
    assert read[columns].to_numpy().tolist() == [list(REC)]


def test_jams_that_are_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for text in ("[]", "{}", "{", jams("beat", [])):
        with pytest.raises(LabelError, match="no JAMS"):
            read_events(written(tmp_path, text, "rec.jams"))
    one = jams("tag_open", [{"time": "1", "duration": 1, "value": "Dog"}])
    with pytest.raises(LabelError, match="observation 1: an observation needs time"):
        read_events(written(tmp_path, one, "rec.jams"))
    two = {"annotations": [{"namespace": kind, "data": []} for kind in ("scaper", "tag_open")]}
    assert read_events(written(tmp_path, json.dumps(two), "rec.jams")).empty
    assert "the first of 2 annotations (tag_open) is read" in caplog.text


def test_rttm_keeps_names_with_spaces(tmp_path: Path) -> None:
    path = tmp_path / "a.rttm"
    write_events(path, table(("a b.wav", 0.1, 0.3, "50 % Dog\u3000x", 0.5)), "rttm")
    assert path.read_text() == (
        "SPEAKER a%20b.wav 1 0.1 0.2 <NA> <NA> 50%20%25%20Dog%E3%80%80x 0.5 <NA>\n"
    )
    row = ["a b.wav", 0.1, 0.3, "50 % Dog\u3000x", 0.5]
    assert read_events(path).to_numpy().tolist() == [row]


def test_lines_without_a_header_that_are_none(tmp_path: Path) -> None:
    rows = "a.wav\t0\t1\tDog\na.wav\tone\t2\tDog\na.wav\t2\t1\tDog\n"
    with pytest.raises(LabelError, match=r"a\.tsv:2: not a line of labels"):
        read_events(written(tmp_path, rows, "a.tsv"))
