"""Files of events: what is written is read again, and what others write is read as they mean it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as Xml

import jsonschema
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.errors import LabelError
from earmark.core.events import EVENT_COLUMNS, FORMATS, events_by_clip, read_events, write_events
from earmark.core.formats import events_schema, format_of
from earmark.core.rows import check_label, check_name

EXACT = ("tsv", "csv", "json", "jsonl", "raven")
NAMED = ("tsv", "csv", "json", "jsonl", "raven", "elan")
MANY = ("tsv", "csv", "json", "jsonl")
NO_XML = {"\ufffe", "\uffff"}
STEPS = {"audacity": 1e-6, "elan": 1e-3, "webvtt": 1e-3}

Rows = list[tuple[str, float, float, str, float]]


def table(*rows: tuple[object, ...]) -> pd.DataFrame:
    columns = [*EVENT_COLUMNS, "score"]
    return pd.DataFrame(list(rows), columns=columns[: len(rows[0]) if rows else 5])


def written(tmp_path: Path, text: str | bytes, name: str) -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


awkward = st.sampled_from(
    [
        *("Dog", "Running_water", "a, b", "a; b", 'say "hi"', '"', "'", "<b>&amp;</b>", "-->"),
        *("犬の声", "e\u0301", "\\x", "🐕", "a\u00a0b", "WEBVTT", "NOTE", "{", "#", "=1+1"),
    ]
)


def fit(name: str) -> bool:
    try:
        return check_name(check_label(name)) == name
    except LabelError:
        return False


names = awkward | st.text(max_size=8).filter(fit) | st.text("<>&\"'\\,; -", max_size=6).filter(fit)


def rows_for(format: str, names: st.SearchStrategy[str]) -> st.SearchStrategy[Rows]:
    fitting = names.filter(lambda name: not set(name) & NO_XML) if format == "elan" else names
    files = fitting if format in MANY else st.just("Küche, 2 & 3.wav")
    time = st.floats(0, 1e5)
    return st.lists(
        st.tuples(files, time, time, fitting, st.floats(0, 1)).map(
            lambda row: (row[0], min(row[1:3]), max(row[1:3]), *row[3:])
        ),
        max_size=6,
    )


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_events_survive_every_format(
    format: str, scored: bool, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = data.draw(rows_for(format, names))
    events = table(*rows)
    if not scored:
        events = events[list(EVENT_COLUMNS)]
    path = tmp_path_factory.mktemp("events") / f"Küche{FORMATS[format].suffix}"
    write_events(path, events, format)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert format_of(path) == format
    again = read_events(path)
    assert set(EVENT_COLUMNS) <= set(again.columns)
    assert len(again) == len(rows)
    if format in EXACT:
        assert again.to_dict("list") == events.to_dict("list") or not rows
        return
    assert set(again.filename) == (
        {"Küche, 2 & 3.wav" if format in NAMED else "Küche"} if rows else set()
    )
    # Rounding may give neighbours one onset; so each event is looked for, not the order.
    step, left = STEPS[format], again.to_dict("records")
    for _, onset, offset, label, score in rows:
        near = [
            row
            for row in left
            if row["event_label"] == label
            and abs(row["onset"] - onset) <= step
            and abs(row["offset"] - offset) <= 2 * step
            and (format != "elan" or not scored or abs(row["score"] - score) <= 1e-4)
        ]
        assert near
        left.remove(near[0])


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_written_depends_on_the_events_alone(format: str, tmp_path: Path) -> None:
    events = table(("a.wav", 0.1, 0.2, "Dog", 0.5), ("a.wav", 0.3, 0.4, "Cat", 0.25))
    for name in ("one", "two"):
        write_events(tmp_path / name / "a.x", events, format, recording="/sounds/a.wav")
    one, two = ((tmp_path / name / "a.x").read_bytes() for name in ("one", "two"))
    assert one == two
    assert one.endswith(b"\n")
    assert b"\r" not in one


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("character", ["\t", "\n", "\r", "\0", "\x1b", "\u2028"])
def test_names_that_not_every_format_can_hold(format: str, character: str, tmp_path: Path) -> None:
    for row in (("a.wav", 0.0, 1.0, f"Dog{character}bark"), (f"a{character}.wav", 0.0, 1.0, "Dog")):
        with pytest.raises(LabelError, match=r"holds (a|the) "):
            write_events(tmp_path / "a.x", table(row), format)
    assert not list(tmp_path.iterdir())


def test_names_that_xml_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"U\+FFFE"):
        write_events(tmp_path / "a.eaf", table(("a.wav", 0.0, 1.0, "Dog\ufffe")), "elan")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a.wav", -1.0, 1.0, "Dog"), "from -1 s"),
        (("a.wav", 2.0, 1.0, "Dog"), "from 2 s to 1 s"),
        (("a.wav", float("nan"), 1.0, "Dog"), "from nan"),
        (("a.wav", 0.0, float("inf"), "Dog"), "to inf"),
        (("a.wav", 0.0, 1.0, " "), "means no class"),
        (("", 0.0, 1.0, "Dog"), "without a file name"),
        (("a.wav", 0.0, 1.0, "Dog "), "ends with a space"),
        (("a.wav", 0.0, 1.0, "None"), "means no class"),
        (("a\udce4.wav", 0.0, 1.0, "Dog"), "control character"),
        (("a.wav", 0.0, 1.0, "Dog", float("inf")), "score inf"),
    ],
)
def test_no_event_is_written_that_is_none(
    row: tuple[object, ...], message: str, tmp_path: Path
) -> None:
    events = pd.DataFrame([row], columns=[*EVENT_COLUMNS, "score"][: len(row)], dtype=object)
    with pytest.raises(LabelError, match=message):
        write_events(tmp_path / "a.tsv", events, "tsv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", ["audacity", "raven", "elan", "webvtt"])
def test_one_recording_a_file(format: str, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="one recording"):
        write_events(
            tmp_path / "a.x", table(("a.wav", 0, 1, "Dog"), ("b.wav", 0, 1, "Dog")), format
        )


def test_unknown_formats(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="tsv, csv, json, jsonl, audacity, raven, elan, webvtt"):
        write_events(tmp_path / "x", table(), "xml")
    with pytest.raises(LabelError, match="known kind"):
        read_events(tmp_path / "x.xml")
    with pytest.raises(LabelError, match="column event_label"):
        write_events(tmp_path / "x", table().drop(columns="event_label"), "csv")


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_tables_in_any_unicode_with_any_line_ends(encoding: str, end: str, tmp_path: Path) -> None:
    tsv = "filename\tonset\toffset\tevent_label\nKüche.wav\t0.5\t1,25\tTürklingel\n"
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\tAnnotation\n"
    raven = header + "1\t0.5\t1,25\tKüche.wav\tTürklingel\n"
    for text, name in ((tsv, "a.tsv"), (raven, "a.selections.txt")):
        path = written(tmp_path, text.replace("\n", end).encode(encoding), name)
        assert events_by_clip(read_events(path)) == {"Küche": [(0.5, 1.25, "Türklingel")]}
    if end != "\r":
        track = written(tmp_path, f"0,5\t1.25\tTürklingel{end}".encode(encoding), "Küche.txt")
        assert events_by_clip(read_events(track)) == {"Küche": [(0.5, 1.25, "Türklingel")]}


def test_text_in_other_encodings_is_not_guessed(tmp_path: Path) -> None:
    path = written(tmp_path, "0\t1\tDog\n1\t2\tTürklingel\n".encode("latin-1"), "a.txt")
    with pytest.raises(LabelError, match=r"UTF-8") as caught:
        read_events(path)
    assert caught.value.where == f"{path}:2"


# --- tables of tabs and commas ---


@pytest.mark.parametrize(
    "text",
    [
        "filename,onset,offset,event_label,score\na.wav,0.5,1.25,Dog,0.75\n",
        "filename;onset;offset;event_label;score\na.wav;0,5;1,25;Dog;0,75\n",
        "Confidence,File,Start (s),End (s),Common name\n0.75,a.wav,0.5,1.25,Dog\n",
        'label,end_time,start_time,notes,score,recording\nDog,1.25,0.5,"x, y",0.75,a.wav\n',
        "event_label,class,filename,ONSET,Offset,Score\nDog,7,a.wav,0.5,1.25,0.75,\n",
    ],
)
def test_tables_with_other_columns(text: str, tmp_path: Path) -> None:
    events = read_events(written(tmp_path, text, "e.csv"))
    assert events.to_dict("list") == table(("a.wav", 0.5, 1.25, "Dog", 0.75)).to_dict("list")


def test_which_column_is_the_class(tmp_path: Path) -> None:
    text = "onset,offset,species,common name,notes\n0,1,turmer,Blackbird,x\n"
    path = written(tmp_path, text, "e.csv")
    with pytest.raises(LabelError, match=r"species and common name could both.*label_column"):
        read_events(path)
    assert read_events(path, label_column="common name").event_label.tolist() == ["Blackbird"]
    assert read_events(path, label_column="notes").event_label.tolist() == ["x"]
    assert read_events(path, label_column="notes", recording="k.wav").filename.tolist() == ["k.wav"]
    with pytest.raises(LabelError, match="no column 'Species'"):
        read_events(path, label_column="Species")
    with pytest.raises(LabelError, match="no column for event_label among onset, offset, notes"):
        read_events(written(tmp_path, "onset,offset,notes\n0,1,x\n", "e.csv"))


def test_a_score_for_some_events(tmp_path: Path) -> None:
    events = table(("a.wav", 0.0, 1.0, "Dog", 0.5), ("a.wav", 2.0, 3.0, "Dog", float("nan")))
    for format in ("tsv", "csv", "json", "jsonl", "raven", "elan"):
        path = tmp_path / f"a{FORMATS[format].suffix}"
        write_events(path, events, format)
        pd.testing.assert_frame_equal(read_events(path), events)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("filename,onset,offset,event_label\na,0,1,Dog\na,one,2,Dog\n", 3, "'one' is not a number"),
        ("filename,onset,offset,event_label\na,1,0.5,Dog\n", 2, "from 1 s to 0.5 s"),
        ("filename,onset,offset,event_label\na,1,2,\n", 2, "needs onset, offset and event_label"),
        ("filename,onset,offset,event_label\na,1,2,Dog,x\n", 2, "5 fields under 4"),
        ("filename,onset,offset,event_label\n,1,2,Dog\n", 2, "without a file name"),
        ("filename,onset,offset,event_label,score\na,1,2,Dog,high\n", 2, "score 'high'"),
        ("filename,onset,offset,event_label\na,1.000,5,2,Dog\n", 2, "5 fields"),
    ],
)
def test_errors_of_tables_name_the_line(text: str, line: int, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, text, "e.csv")
    with pytest.raises(LabelError, match=message) as caught:
        read_events(path)
    assert caught.value.where == f"{path}:{line}"


def test_empty_tables(tmp_path: Path) -> None:
    for name in ("e.csv", "e.tsv"):
        with pytest.raises(LabelError, match="is empty"):
            read_events(written(tmp_path, "\n", name))
    assert read_events(written(tmp_path, "", "e.txt")).empty
    assert read_events(written(tmp_path, "", "e.jsonl")).empty


# --- JSON ---


@settings(max_examples=50, deadline=None)
@given(rows=rows_for("json", names), scored=st.booleans())
def test_json_keeps_to_its_schema(
    rows: Rows, scored: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    events = table(*rows)
    path = tmp_path_factory.mktemp("json") / "e.json"
    write_events(path, events if scored else events[list(EVENT_COLUMNS)], "json")
    document = json.loads(path.read_text(encoding="utf-8"))
    schema = events_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema, jsonschema.Draft202012Validator)
    assert len(document["events"]) == len(rows)


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": "earmark-events", "version": 1},
        {"format": "earmark-events", "version": 2, "events": []},
        {"format": "other", "version": 1, "events": []},
        {"format": "earmark-events", "version": 1, "events": [{"filename": "a", "onset": 0}]},
        {"format": "earmark-events", "version": 1, "events": [7]},
        {
            "format": "earmark-events",
            "version": 1,
            "events": [{"filename": "a", "onset": "0", "offset": 1, "event_label": "Dog"}],
        },
        {
            "format": "earmark-events",
            "version": 1,
            "events": [{"filename": "a", "onset": -1, "offset": 1, "event_label": "Dog"}],
        },
        {
            "format": "earmark-events",
            "version": 1,
            "events": [{"filename": "a", "onset": 0, "offset": 1, "event_label": ""}],
        },
    ],
)
def test_what_the_schema_refuses_is_refused(wrong: object, tmp_path: Path) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, events_schema())
    with pytest.raises(LabelError):
        read_events(written(tmp_path, json.dumps(wrong), "e.json"))


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": 1}', '[{"filename": "a.wav"}]', "null"])
def test_json_that_is_no_list_of_events(text: str, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="JSON"):
        read_events(written(tmp_path, text, "e.json"))


def test_json_of_others(tmp_path: Path) -> None:
    """A bare list, as earlier versions and data frames write it; further fields; whole numbers."""
    text = '[{"filename": "a.wav", "onset": 0, "offset": 1, "event_label": "Dog", "who": "me"}]'
    events = read_events(written(tmp_path, text, "e.json"))
    assert events.to_dict("list") == table(("a.wav", 0.0, 1.0, "Dog")).to_dict("list")
    line = '{"onset": 0.5, "offset": 1, "class": "Dog", "score": null}\n'
    events = read_events(written(tmp_path, line, "k.ndjson"), label_column="class")
    assert events.to_dict("list") == table(("k", 0.5, 1.0, "Dog")).to_dict("list")
    with pytest.raises(LabelError, match="no JSON") as caught:
        read_events(written(tmp_path, line + "{\n", "k.jsonl"), label_column="class")
    assert str(caught.value.where).endswith("k.jsonl:2")


# --- Audacity ---


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


# --- Raven ---

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
        "yard": [(6.709509878, 15.096397225, "Birb"), (29.383026016, 40.257059266, "donkey")]
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
    assert events_by_clip(events) == {"one": [(1.5, 2.25, "A")], "two": [(4.5, 6.0, "B")]}


def test_a_table_of_birdnet(tmp_path: Path) -> None:
    text = (
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\t"
        "Common Name\tSpecies Code\tConfidence\tBegin Path\tFile Offset (s)\n"
        "1\tSpectrogram 1\t1\t3.0\t6.0\t0\t15000\tBlackbird\teurbla\t0.87\t/data/rec.wav\t3.0\n"
    )
    events = read_events(written(tmp_path, text, "rec.BirdNET.selections.txt"))
    assert events.to_dict("list") == table(("rec.wav", 3.0, 6.0, "Blackbird", 0.87)).to_dict("list")


def test_selection_tables_have_what_raven_asks_for(tmp_path: Path) -> None:
    path = tmp_path / "a.Table.1.selections.txt"
    write_events(path, table(("a.wav", 1e-5, 123456.5, "Dog", 0.25)), "raven")
    header, row = (line.split("\t") for line in path.read_text().splitlines())
    assert header[:7] == RAVEN.split("\n")[0].split("\t")[:7]
    assert row[:5] == ["1", "Spectrogram 1", "1", "0.00001", "123456.5"]


# --- ELAN ---

ORDER = ["HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "CONSTRAINT"]


def check_eaf(path: Path) -> Xml.Element:
    """What the schema of EAF 3.0 and ELAN ask of a document."""
    root = Xml.parse(path).getroot()
    assert root.tag == "ANNOTATION_DOCUMENT"
    assert {"AUTHOR", "DATE", "VERSION", "FORMAT"} <= set(root.attrib)
    pd.Timestamp(root.attrib["DATE"])
    places = [ORDER.index(child.tag) for child in root]
    assert places == sorted(places)
    header = root[0]
    assert header.attrib == {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"}
    for media in header.iterfind("MEDIA_DESCRIPTOR"):
        assert {"MEDIA_URL", "MIME_TYPE"} <= set(media.attrib)
        assert media.attrib["MEDIA_URL"].startswith("file:///")
    slots = {slot.attrib["TIME_SLOT_ID"]: int(slot.attrib["TIME_VALUE"]) for slot in root[1]}
    assert list(slots.values()) == sorted(slots.values())
    ids = [found.attrib["ANNOTATION_ID"] for found in root.iterfind(".//ANNOTATION/*")]
    assert len({*ids, *slots}) == len(ids) + len(slots) == len(ids) + len(list(root[1]))
    types = {
        kind.attrib["LINGUISTIC_TYPE_ID"]: kind.attrib for kind in root.iterfind("LINGUISTIC_TYPE")
    }
    stereotypes = {one.attrib["STEREOTYPE"] for one in root.iterfind("CONSTRAINT")}
    assert {kind["CONSTRAINTS"] for kind in types.values() if "CONSTRAINTS" in kind} == stereotypes
    tiers = {tier.attrib["TIER_ID"]: tier for tier in root.iterfind("TIER")}
    assert len(tiers) == len(root.findall("TIER"))
    for tier in tiers.values():
        kind = types[tier.attrib["LINGUISTIC_TYPE_REF"]]
        below = tier.attrib.get("PARENT_REF")
        assert (below is None) == (kind["TIME_ALIGNABLE"] == "true") == ("CONSTRAINTS" not in kind)
        aligned = [
            [slots[one.attrib[f"TIME_SLOT_REF{place}"]] for place in (1, 2)]
            for one in tier.iterfind("ANNOTATION/ALIGNABLE_ANNOTATION")
        ]
        assert all(first < last for first, last in aligned)
        assert all(one[1] <= two[0] for one, two in pairwise(sorted(aligned)))
        for one in tier.iterfind("ANNOTATION/REF_ANNOTATION"):
            above = {
                found.attrib["ANNOTATION_ID"]
                for found in tiers[str(below)].iterfind("ANNOTATION/*")
            }
            assert one.attrib["ANNOTATION_REF"] in above
    return root


@settings(max_examples=50, deadline=None)
@given(rows=rows_for("elan", names), scored=st.booleans())
def test_documents_are_valid(
    rows: Rows, scored: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    events = table(*rows) if scored else table(*rows)[list(EVENT_COLUMNS)]
    path = tmp_path_factory.mktemp("elan") / "a.eaf"
    write_events(path, events, "elan")
    root = check_eaf(path)
    labels = {tier.attrib["TIER_ID"] for tier in root.iterfind("TIER")}
    assert {row[3] for row in rows} <= labels


def test_overlapping_events_of_a_class_get_tiers_of_their_own(tmp_path: Path) -> None:
    events = table(
        ("a.wav", 0.0, 2.0, "Dog", 0.5),
        ("a.wav", 1.0, 3.0, "Dog", 0.6),
        ("a.wav", 2.0, 4.0, "Dog", 0.7),
        ("a.wav", 2.0, 2.0, "Dog 2", 0.8),
    )
    path = tmp_path / "a.eaf"
    write_events(path, events, "elan", recording="/sounds/in room 2/a.wav")
    root = check_eaf(path)
    tiers = [tier.attrib["TIER_ID"] for tier in root.iterfind("TIER")]
    assert tiers == ["Dog", "Dog score", "Dog 2", "Dog 2 score", "Dog 2 2", "Dog 2 2 score"]
    media = root.find("HEADER/MEDIA_DESCRIPTOR")
    assert media is not None
    assert media.attrib["MEDIA_URL"] == "file:///sounds/in%20room%202/a.wav"
    again = read_events(path)
    assert again.score.round(4).tolist() == [0.5, 0.6, 0.8, 0.7]
    assert again.offset.tolist() == [2.0, 3.0, 2.001, 4.0]  # an annotation lasts a millisecond


WILD = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2018-03-24T18:09:00-06:00" FORMAT="3.0" VERSION="3.0">
 <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
  <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/s/My%20yard.wav" MIME_TYPE="audio/x-wav"/>
 </HEADER>
 <TIME_ORDER>
  <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="500"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="900"/>
  <TIME_SLOT TIME_SLOT_ID="ts3"/>
 </TIME_ORDER>
 <TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID="Dog">
  <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
   <ANNOTATION_VALUE>%s</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
 </TIER>
 <TIER LINGUISTIC_TYPE_REF="words" PARENT_REF="Dog" TIER_ID="words">
  <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts3">
   <ANNOTATION_VALUE>bow</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
 </TIER>
 <LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="default-lt" TIME_ALIGNABLE="true"/>
</ANNOTATION_DOCUMENT>
"""


def test_documents_of_others(tmp_path: Path) -> None:
    spoken = written(tmp_path, WILD.replace("%s", "loud bark"), "x.eaf")
    assert events_by_clip(read_events(spoken)) == {"My yard": [(0.5, 0.9, "loud bark")]}
    assert read_events(spoken, label_column="tier").event_label.tolist() == ["Dog"]
    silent = written(tmp_path, WILD.replace("%s", ""), "y.eaf")
    assert events_by_clip(read_events(silent)) == {"My yard": [(0.5, 0.9, "Dog")]}
    with pytest.raises(LabelError, match="no class"):
        read_events(silent, label_column="value")
    later = WILD.replace('MIME_TYPE="audio/x-wav"', 'MIME_TYPE="audio/x-wav" TIME_ORIGIN="1500"')
    assert read_events(written(tmp_path, later.replace("%s", ""), "z.eaf")).onset.tolist() == [2.0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('TIME_SLOT_REF2="ts2"', 'TIME_SLOT_REF2="ts3"', "annotation a1 of 'Dog': no time"),
        ('"milliseconds"', '"PAL-frames"', "PAL-frames"),
        ("</TIER>", "", "no ELAN document"),
        ('TIME_VALUE="900"', 'TIME_VALUE="soon"', "'soon'"),
        ('TIME_VALUE="900"', 'TIME_VALUE="100"', "from 0.5 s to 0.1 s"),
        ("ANNOTATION_DOCUMENT", "TEI", "TEI"),
    ],
)
def test_broken_documents(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, WILD.replace(old, new).replace("%s", ""), "x.eaf")
    with pytest.raises(LabelError, match=message) as caught:
        read_events(path)
    assert str(path) in str(caught.value)


# --- WebVTT ---


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
        expected = {"yard": [(1.0, 2.5, "Dog barks"), (3600.25, 3601.0, "Cat")]}
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


def test_the_schema_in_the_docs_is_the_one_in_the_package() -> None:
    page = Path(__file__).parents[2] / "docs" / "formats.md"
    text = page.read_text(encoding="utf-8").partition("<!-- schema -->\n```json\n")[2]
    assert json.loads(text.partition("```")[0]) == events_schema()
