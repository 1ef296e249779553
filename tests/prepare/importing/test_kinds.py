"""Label files of every kind, from their events to a dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.errors import LabelError
from earmark.core.event import EVENT_COLUMNS
from earmark.core.formats import FORMATS, write_events
from earmark.core.tables.rows import is_nothing, is_unfit
from earmark.data.manifest import load_manifest
from earmark.prepare.importing.annotations import Reading
from helpers.importing import ONE, Events, events_back, make, read, record


def elan_tab(path: Path, events: Events) -> None:
    def clock(seconds: float) -> str:
        whole = round(seconds * 1000)
        return f"{whole // 3600000:02d}:{whole // 60000 % 60:02d}:{whole % 60000 / 1000:06.3f}"

    rows = (
        f"tier\t\t{clock(a)}\t{a:.3f}\t{clock(b)}\t{b:.3f}\t{clock(b - a)}\t{b - a:.3f}\t{label}\n"
        for a, b, label in events
    )
    path.write_text("".join(rows), encoding="utf-8", newline="")


def written(format: str) -> Callable[[Path, Events], None]:
    def write(path: Path, events: Events) -> None:
        rows = [("rec.wav", *event) for event in events]
        write_events(path, pd.DataFrame(rows, columns=list(EVENT_COLUMNS)), format)

    return elan_tab if format == "elan-tab" else write


#: Format → name of the label file of rec.wav, and how exactly it holds times.
KINDS = {
    **{name: (f"rec{one.suffix}", 1e-9) for name, one in FORMATS.items()},
    "audacity": ("rec.txt", 1e-6),
    "elan": ("rec.eaf", 6e-4),
    "webvtt": ("rec.vtt", 6e-4),
    "elan-tab": ("rec_annotations.txt", 6e-4),
}


names = st.text(
    st.characters(
        exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="\ufffe\uffff<>&"
    ),
    min_size=1,
    max_size=10,
).filter(lambda name: name == name.strip() and not is_nothing(name))


#: Events at least a millisecond apart, so that no format joins two of a class.
lists = st.lists(
    st.tuples(st.integers(1, 3000), st.integers(2, 3000), names), min_size=1, max_size=6
)


def laid_out(parts: list[tuple[int, int, str]]) -> Events:
    """(pause, length, label) in milliseconds, one after the other."""
    position, events = 0, []
    for pause, length, label in parts:
        events.append(((position + pause) / 1000, (position + pause + length) / 1000, label))
        position += pause + length
    return events


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("long") / "rec.wav", 37)


@pytest.mark.parametrize("format", KINDS)
@given(parts=lists)
@settings(max_examples=12, deadline=None)
def test_events_of_every_format_reach_the_clips(
    format: str, parts: list[tuple[int, int, str]], long_recording: Path
) -> None:
    file, exact = KINDS[format]
    events = laid_out(parts)
    path = long_recording.parent / file
    written(format)(path, events)
    job = read(path, reading=Reading(format), least=0, **ONE)
    path.unlink()
    found = events_back(job)["rec.wav"]
    assert [label for *_, label in found] == [label for *_, label in events]
    for ours, theirs in zip(found, events, strict=True):
        assert ours[:2] == pytest.approx(theirs[:2], abs=exact)


@pytest.mark.parametrize("format", KINDS)
def test_a_dataset_from_every_format(format: str, tmp_path: Path) -> None:
    events = [(0.5, 2.25, "Köter groß"), (9.25, 10.5, "犬"), (21.0, 21.5, "a, b; c")]
    for number in range(3):
        name = KINDS[format][0].replace("rec", f"rec{number}")
        record(tmp_path / f"in/rec{number}.wav", 23, seed=number)
        rows = pd.DataFrame(
            [(f"rec{number}.wav", *event) for event in events], columns=list(EVENT_COLUMNS)
        )
        if format == "elan-tab":
            elan_tab(tmp_path / "in" / name, events)
        else:
            write_events(tmp_path / "in" / name, rows, format)
    data = make(tmp_path / "data", read(tmp_path / "in"))
    manifest = load_manifest(data)
    assert manifest.labels.names == ("Köter groß", "a, b; c", "犬")
    assert {name: len(split.clips) for name, split in manifest.splits.items()} == {
        "validation": 3,
        "test": 3,
    }
    (source,) = manifest.train
    assert [path.name for path in source.clips] == [
        f"{source.clips[0].name.split('_')[0]}_{start}.000_{stop}.000.flac"
        for start, stop in ((0, 10), (10, 20), (20, 23))
    ]
    assert source.events is not None
    rows = [event for own in source.events.values() for event in own]
    expected = [
        [0.5, 2.25, "Köter groß"], [9.25, 10.0, "犬"], [0.0, 0.5, "犬"], [1.0, 1.5, "a, b; c"],
    ]  # fmt: skip
    assert [row[2] for row in rows] == [row[2] for row in expected]
    np.testing.assert_allclose(
        [row[:2] for row in rows], [row[:2] for row in expected], atol=KINDS[format][1]
    )


@pytest.mark.parametrize("format", ["csv", "tsv", "json", "raven"])
@pytest.mark.parametrize("sign", ["\t", "\r", "\x1b"])
def test_names_no_table_can_hold_are_refused(format: str, sign: str, tmp_path: Path) -> None:
    record(tmp_path / "rec.wav", 3)
    path = tmp_path / KINDS[format][0]
    written(format)(path, [(0.0, 1.0, "Good dog")])
    text = path.read_text()
    spelt = {"json": f"\\u{ord(sign):04x}"}.get(format, sign)
    quoted = "" if format == "json" else '"'
    path.write_text(text.replace("Good dog", f"{quoted}Good{spelt}dog{quoted}"), newline="")
    assert is_unfit(sign)
    with pytest.raises(LabelError) as caught:
        read(path, **ONE)
    message = str(caught.value)
    assert path.name in message
    assert (
        "control character" in message
        or "a tab" in message
        or "a line break" in message
        or (format in ("csv", "tsv", "raven") and "Close the quotation marks" in message)
    )
