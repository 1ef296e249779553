"""Events as JSON: the schema, what it refuses, and what others write."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.errors import LabelError
from earmark.core.event import EVENT_COLUMNS
from earmark.core.formats import events_schema, read_events, write_events
from helpers.event_rows import Rows, names, rows_for, table
from helpers.files import written


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


def test_the_schema_in_the_docs_is_the_one_in_the_package() -> None:
    page = Path(__file__).parents[2] / "docs" / "formats.md"
    text = page.read_text(encoding="utf-8").partition("<!-- schema -->\n```json\n")[2]
    assert json.loads(text.partition("```")[0]) == events_schema()
