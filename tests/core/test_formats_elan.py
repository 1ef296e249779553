"""ELAN's documents: valid ones are written, and others' are read."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as Xml

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.errors import LabelError
from earmark.core.event import EVENT_COLUMNS, Event
from earmark.core.formats import read_events, write_events
from earmark.core.tables.labels import events_by_clip
from helpers.event_rows import Rows, names, rows_for, table
from helpers.files import written

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
    assert events_by_clip(read_events(spoken)) == {"My yard": [Event(0.5, 0.9, "loud bark")]}
    assert read_events(spoken, label_column="tier").event_label.tolist() == ["Dog"]
    silent = written(tmp_path, WILD.replace("%s", ""), "y.eaf")
    assert events_by_clip(read_events(silent)) == {"My yard": [Event(0.5, 0.9, "Dog")]}
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
