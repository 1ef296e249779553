"""JAMS files: of the form the schema asks for, and what they say is in the clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from earmark.core.config import parse_settings
from earmark.synth.settings import LAYOUT, SynthSettings
from earmark.synth.soundscapes import write_dataset
from earmark.synth.sources import SynthesisedSources
from helpers.label_files import read_strong

NONE = {"clips": 0}
SETTINGS = {
    "strong": {"clips": 6, "events": [1, 3]},
    "weak": {"clips": 2, "events": 1},
    "unlabelled": NONE,
    "validation": {"clips": 2, "events": 0},
    "test": NONE,
    "pitch_shift": {"choose": [0, 2]},
    "time_stretch": {"choose": [1, 1.2]},
    "jams": True,
}


def check(value: Any, schema: dict[str, Any], where: str = "$") -> None:
    """The part of JSON Schema that JAMS uses."""
    kinds: dict[str, Any] = {"object": dict, "array": list, "string": str, "null": type(None)}
    kinds["number"] = int | float
    if "type" in schema:
        wanted = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        assert any(isinstance(value, kinds[kind]) for kind in wanted), f"{where} is no {wanted}"
    if "minimum" in schema:
        assert value >= schema["minimum"], where
    for name in schema.get("required", ()):
        assert name in value, f"{where} lacks {name}"
    for name, part in schema.get("properties", {}).items():
        if name in value:
            check(value[name], part, f"{where}.{name}")
    for index, item in enumerate(value if "items" in schema else ()):
        check(item, schema["items"], f"{where}[{index}]")


def an_object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


TEXT, NUMBER, TIME = {"type": "string"}, {"type": "number"}, {"type": "number", "minimum": 0}
SCAPER = an_object(
    ("label", "source_file", "source_time", "event_time", "event_duration", "snr", "role"),
    label=TEXT,
    source_file=TEXT,
    source_time=NUMBER,
    event_time=NUMBER,
    event_duration=NUMBER,
    snr=NUMBER,
    role=TEXT,
    pitch_shift={"type": ["number", "null"]},
    time_stretch={"type": ["number", "null"]},
)
OBSERVATION = an_object(("value", "time", "duration", "confidence"), time=TIME, duration=TIME)
ANNOTATION = an_object(
    ("annotation_metadata", "data", "namespace"),
    annotation_metadata=an_object(
        curator=an_object(("name", "email"), name=TEXT, email=TEXT),
        annotator=an_object(),
        version={"type": ["string", "number"]},
        **dict.fromkeys(
            ("corpus", "annotation_tools", "annotation_rules", "validation", "data_source"), TEXT
        ),
    ),
    namespace=TEXT,
    data={"type": "array", "items": OBSERVATION},
    sandbox=an_object(),
    time=TIME,
    duration=TIME,
)
#: Facts of jams_schema.json of JAMS 0.3: https://jams.readthedocs.io/en/stable/jams_structure.html
JAMS = an_object(
    ("annotations", "file_metadata", "sandbox"),
    annotations={"type": "array", "items": ANNOTATION},
    file_metadata=an_object(
        ("duration", "jams_version"),
        duration=TIME,
        identifiers=an_object(),
        **dict.fromkeys(("artist", "title", "release", "jams_version"), TEXT),
    ),
    sandbox=an_object(),
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = parse_settings(SynthSettings, SETTINGS)
    return write_dataset(tmp_path_factory.mktemp("jams"), SynthesisedSources(), settings, 1)


def documents(dataset: Path, subset: str) -> dict[str, dict[str, Any]]:
    files = sorted((dataset / LAYOUT[subset][0]).glob("*.jams"))  # type: ignore[index]
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}


def test_only_strongly_labelled_clips_have_one(dataset: Path) -> None:
    counts = {subset: len(documents(dataset, subset)) for subset in LAYOUT}
    assert counts == {"strong": 6, "weak": 0, "unlabelled": 0, "validation": 2, "test": 0}


def test_they_have_the_form_of_the_schema(dataset: Path) -> None:
    for document in (documents(dataset, "strong") | documents(dataset, "validation")).values():
        check(document, JAMS)
        scaper, tags = document["annotations"]
        assert (scaper["namespace"], tags["namespace"]) == ("scaper", "tag_open")
        for observation in scaper["data"]:
            check(observation["value"], SCAPER)
        assert all(isinstance(observation["value"], str) for observation in tags["data"])


def test_they_hold_the_labels_of_the_table(dataset: Path) -> None:
    events, _ = read_strong(dataset / str(LAYOUT["strong"][1]))
    changed = 0
    for name, document in documents(dataset, "strong").items():
        scaper, tags = document["annotations"]
        rows = events[events["filename"] == f"{name}.wav"]
        for row, tag in zip(rows.itertuples(), tags["data"], strict=True):
            assert (row.onset, row.event_label) == (tag["time"], tag["value"])
            assert row.offset == pytest.approx(tag["time"] + tag["duration"])
        background, *sounds = scaper["data"]
        assert background["value"]["role"] == "background"
        assert background["duration"] == document["file_metadata"]["duration"] == 10
        assert {one["value"]["label"] for one in sounds} == set(rows["event_label"])
        for one in sounds:
            factor = one["value"]["time_stretch"] or 1
            assert one["duration"] == pytest.approx(one["value"]["event_duration"] * factor)
            changed += one["value"]["pitch_shift"] == 2
            assert any(
                one["value"]["label"] == row.event_label
                and one["time"] - 0.01 <= row.onset
                and row.offset <= one["time"] + max(0.15, one["duration"]) + 0.01
                for row in rows.itertuples()
            )
    assert changed


def test_a_lost_file_is_written_again(dataset: Path) -> None:
    path = next((dataset / LAYOUT["strong"][0]).glob("*.jams"))
    text = path.read_text(encoding="utf-8")
    path.unlink()
    write_dataset(dataset, SynthesisedSources(), parse_settings(SynthSettings, SETTINGS), 1)
    assert path.read_text(encoding="utf-8") == text
