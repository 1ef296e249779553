"""Predictions, truth and durations as other people's programs leave them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earmark.core.audio.audio import write_audio
from earmark.core.errors import EarmarkError, LabelError, ScoreError
from earmark.core.event import Event
from earmark.core.tables.scores import ScoreTable
from earmark.score.classes import ScoredClasses, events_to_scores, read_class_map
from earmark.score.f1 import detections_from_scores
from earmark.score.files import (
    ScoreFolder,
    clip_name,
    is_score_folder,
    read_detections,
    read_seconds,
    read_truth,
)
from earmark.score.report import make_task

HEAD = "filename\tonset\toffset\tevent_label\n"
TABLE = "onset\toffset\tDog\tÉclat de rire\n0\t1\t0.2\t0.7\n1\t2.5\t0.9\t0.1\n"


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("a.wav", "a"),
        ("a", "a"),
        ("audio/deep/a.FLAC", "a"),
        ("audio\\a.mp3", "a"),
        ("Y00pbt6aJV8Y_350.000_360.000.wav", "Y00pbt6aJV8Y_350.000_360.000"),
        ("Y00pbt6aJV8Y_350.000_360.000", "Y00pbt6aJV8Y_350.000_360.000"),
        ("kitchen.dev", "kitchen.dev"),
        (".wav", ".wav"),
        ("Küche 1.ogg", "Küche 1"),
    ],
)
def test_a_clip_is_its_file_without_folder_and_suffix(name: str, clip: str) -> None:
    assert clip_name(name) == clip


@pytest.mark.parametrize("name", ["t.tsv", "t.csv", "t.tsv.gz", "t.csv.gz"])
def test_truth_of_either_kind_lists_clips_without_events(tmp_path: Path, name: str) -> None:
    rows = [
        ",event_label,filename,onset,offset",
        "0,Éclat de rire,x/a.wav,0.5,1",
        "1,,b,,",
        "",
        "2,Dog,x/a,1,1.25",
        "3,nan,c.wav,NaN,nan",
    ]
    text = "\ufeff" + "\r\n".join(rows)
    truth = read_truth(put(tmp_path / name, text.replace(",", "\t") if "tsv" in name else text))
    assert truth.events == {
        "a": [Event(0.5, 1.0, "Éclat de rire"), Event(1.0, 1.25, "Dog")], "b": [], "c": [],
    }  # fmt: skip
    assert truth.clips == ("a", "b", "c")
    assert truth.labels == ("Dog", "Éclat de rire")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.tsv: the file is empty"),
        ("filename\tonset\n", "t.tsv:1: no column offset, event_label"),
        (HEAD + "a.wav\t1\tx\tDog\n", "t.tsv:2: the offset 'x' is not a number"),
        (HEAD + "a.wav\t1\t\tDog\n", "t.tsv:2: an event needs onset, offset and event_label"),
        (HEAD + "\na.wav\t2\t1\tDog\n", "t.tsv:3: an event from 2 s to 1 s"),
        (HEAD + "\t2\t3\tDog\n", "t.tsv:2: a row without a file name"),
        (HEAD + "a.wav\t2\t3\tDog\tmore\n", "t.tsv:2: 5 fields under 4 columns"),
        (HEAD + "a.wav\t2\tinf\tDog\n", "t.tsv:2: the offset 'inf' is not a number"),
    ],
)
def test_bad_truth_is_named_by_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        read_truth(put(tmp_path / "t.tsv", text))
    with pytest.raises(LabelError, match=r"none\.tsv: no such file"):
        read_truth(tmp_path / "none.tsv")


def test_durations_of_a_table_or_of_recordings(tmp_path: Path) -> None:
    table = put(tmp_path / "d.csv", "duration,filename\n10.0,a.wav\n2.5,b\n10,a.wav\n")
    assert read_seconds(table) == {"a": 10.0, "b": 2.5}
    for rows in ("a.wav,0", "a.wav,-1", "a.wav,10\na.wav,9.9"):
        with pytest.raises(LabelError, match="Give each clip one positive duration"):
            read_seconds(put(tmp_path / "bad.csv", f"filename,duration\n{rows}\n"))
    (tmp_path / "audio/deep").mkdir(parents=True)
    write_audio(tmp_path / "audio/deep/a.wav", np.zeros(8000, dtype=np.float32))
    assert read_seconds(tmp_path / "audio") == {"a": 0.5}
    (tmp_path / "empty").mkdir()
    with pytest.raises(LabelError, match="no recordings"):
        read_seconds(tmp_path / "empty")


def test_a_folder_of_score_tables(tmp_path: Path) -> None:
    put(tmp_path / "s/b.tsv", TABLE)
    put(tmp_path / "s/a.wav.tsv", TABLE)
    put(tmp_path / "s/Y_1.000_2.000.csv.gz", TABLE.replace("\t", ","))
    put(tmp_path / "s/.hidden.tsv", "no table")
    put(tmp_path / "s/README.md", "no table")
    folder = ScoreFolder(tmp_path / "s")
    assert sorted(folder) == ["Y_1.000_2.000", "a", "b"]
    assert len(folder) == 3
    for clip in folder:
        assert folder[clip].labels == ("Dog", "Éclat de rire")
        assert folder[clip].values.tolist() == [[0.2, 0.7], [0.9, 0.1]]
    put(tmp_path / "s/a.tsv", TABLE)
    with pytest.raises(ScoreError, match=r"a\.wav\.tsv and a\.tsv are tables of the same clip"):
        ScoreFolder(tmp_path / "s")
    with pytest.raises(ScoreError, match=r"nowhere: no such folder of score tables"):
        ScoreFolder(tmp_path / "nowhere")
    put(tmp_path / "no/README.md", "")
    with pytest.raises(ScoreError, match="no score tables"):
        ScoreFolder(tmp_path / "no")


def test_detections_at_one_threshold_and_at_several(tmp_path: Path) -> None:
    low = put(tmp_path / "low.tsv", HEAD + "a.wav\t0\t1\tDog\nb.wav\t\t\t\n")
    high = put(tmp_path / "high.tsv", HEAD + "a.wav\t0\t0.5\tDog\n")
    one = read_detections([low])
    assert one.points == {None: {"a": [Event(0.0, 1.0, "Dog")]}}
    assert one.clips == {"a", "b"}
    assert one.at(0.5) == (None, {"a": [Event(0.0, 1.0, "Dog")]})
    several = read_detections([f"0.7={high}", f"0.2={low}"])
    assert list(several.points) == [0.2, 0.7]
    assert several.at(0.45) == (0.2, several.points[0.2])
    assert several.at(0.5)[0] == 0.7
    put(tmp_path / "points/predictions0.7.csv", high.read_text().replace("\t", ","))
    put(tmp_path / "points/predictions0.2.tsv", low.read_text())
    assert read_detections([tmp_path / "points"]).points == several.points
    rows = ["threshold\t" + HEAD.strip(), "0.7\ta\t0\t0.5\tDog", "0.2\ta\t0\t1\tDog"]
    together = put(tmp_path / "all.tsv.gz", "\n".join(rows))
    assert read_detections([together]).points == several.points
    assert read_detections([put(tmp_path / "none.tsv", HEAD)]).points == {None: {}}


def test_thresholds_that_are_missing_or_come_twice(tmp_path: Path) -> None:
    file = put(tmp_path / "low.tsv", HEAD + "a.wav\t0\t1\tDog\n")
    for given, message in (
        ([file, f"0.5={file}"], "low.tsv has no threshold"),
        ([f"0.5={file}", f"0.50={file}"], "the threshold 0.5 twice"),
        ([f"x={file}"], "'x' in .* is not a threshold"),
        ([tmp_path], "low.tsv: the name does not end in a threshold"),
    ):
        with pytest.raises(ScoreError, match=message):
            read_detections(given)
    (tmp_path / "none").mkdir()
    with pytest.raises(ScoreError, match="no tables of events"):
        read_detections([tmp_path / "none"])
    with pytest.raises(LabelError, match="no such file"):
        read_detections([tmp_path / "gone.tsv"])


def test_events_with_scores_and_of_other_formats(tmp_path: Path) -> None:
    head = HEAD.strip() + "\tscore\n"
    found = read_detections([put(tmp_path / "s.tsv", head + "a\t0\t1\tDog\t0.7\nb\t\t\t\t\n")])
    assert found.scored == {"a": [Event(0.0, 1.0, "Dog", 0.7)]}
    assert read_detections([f"0.5={tmp_path / 's.tsv'}"]).scored is None
    event = '{"filename": "a.wav", "onset": 0, "offset": 1, "event_label": "Dog", "score": 0.7}'
    again = read_detections([put(tmp_path / "e.json", f"[{event}]")])
    assert again.scored == found.scored


def test_which_kind_a_folder_is(tmp_path: Path) -> None:
    put(tmp_path / "s/a.tsv", TABLE)
    put(tmp_path / "e/x0.5.csv", HEAD.replace("\t", ","))
    assert is_score_folder(tmp_path / "s")
    assert not is_score_folder(tmp_path / "e")
    assert not is_score_folder(tmp_path / "e/x0.5.csv")
    assert not is_score_folder(f"0.5={tmp_path / 'e/x0.5.csv'}")
    for gone in (tmp_path / "gone", f"0.5={tmp_path / 'gone.csv'}"):
        with pytest.raises(ScoreError, match="no such file or folder"):
            is_score_folder(gone)


# --- clips --------------------------------------------------------------------------------------


def test_the_list_of_clips_and_what_is_missing_from_it(tmp_path: Path) -> None:
    truth = read_truth(put(tmp_path / "t.tsv", HEAD + "a.wav\t0\t1\tDog\nb.wav\t\t\t\n"))
    seconds = {"b": 10.0, "a": 10.0, "c": 10.0}
    task = make_task(truth, seconds, ["Dog"], scored=["a", "b", "c"])
    assert task.clips == ("b", "a", "c")
    assert (task.of, task.missing) == (3, ())
    with pytest.raises(ScoreError, match=r"1 of 3 clips have no scores: c\. Add --allow-missing"):
        make_task(truth, seconds, ["Dog"], scored=["a", "b"])
    task = make_task(truth, seconds, ["Dog"], scored=["a", "b"], allow_missing=True)
    assert (task.clips, task.of, task.missing) == (("b", "a"), 3, ("c",))
    with pytest.raises(ScoreError, match="scores are not in the durations: x"):
        make_task(truth, seconds, ["Dog"], scored=["a", "b", "c", "x"], allow_missing=True)
    with pytest.raises(ScoreError, match="truth are not in the durations: b"):
        make_task(truth, {"a": 1.0}, ["Dog"], scored=["a"], allow_missing=True)
    with pytest.raises(ScoreError, match="scores are not in the truth: c"):
        make_task(truth, seconds, ["Dog"], scored=["a", "b", "c"], derived=True)
    with pytest.raises(ScoreError, match="truth has classes that the scores do not have: Dog"):
        make_task(truth, seconds, ["Cat"], scored=["a", "b", "c"])


# --- classes ------------------------------------------------------------------------------------


def test_classes_are_renamed_joined_and_left_out() -> None:
    table = ScoreTable(
        np.array([0.0, 1.0, 2.0]), np.array([[0.1, 0.2, 0.3], [0.6, 0.5, 0.4]]), ("m", "f", "x")
    )
    classes = ScoredClasses({"m": "Speech", "f": "Speech", "x": None})
    assert classes.table(table).labels == ("Speech",)
    assert classes.table(table).values.tolist() == [[0.2], [0.6]]
    events = {
        "a": [Event(0.0, 1.0, "m", 0.5), Event(1.0, 2.0, "x", 0.4), Event(2.0, 3.0, "y", 0.1)]
    }
    assert classes.events(events) == {
        "a": [Event(0.0, 1.0, "Speech", 0.5), Event(2.0, 3.0, "y", 0.1)]
    }
    chosen = ScoredClasses(chosen=("f",))
    assert chosen.table(table).labels == ("f",)
    assert chosen.truth({"a": [Event(0.0, 1.0, "m"), Event(0.0, 1.0, "f")]}) == {
        "a": [Event(0.0, 1.0, "f")]
    }
    assert ScoredClasses().table(table) is table
    with pytest.raises(ScoreError, match="renames q, which the predictions do not have"):
        ScoredClasses({"q": "Speech"}).table(table)
    with pytest.raises(ScoreError, match="no class is called q"):
        ScoredClasses(chosen=("f", "q")).table(table)


def test_class_maps_of_files(tmp_path: Path) -> None:
    path = put(tmp_path / "map.yaml", "'Speech, male: adult': Speech\nMusic:\nDog: Dog\n")
    assert read_class_map(str(path)) == {
        "Speech, male: adult": "Speech", "Music": None, "Dog": "Dog",
    }  # fmt: skip
    for text in ("Dog: [a]\n", "Dog: 3\n", ""):
        with pytest.raises(EarmarkError):
            read_class_map(str(put(tmp_path / "bad.yaml", text)))


def test_events_with_scores_are_decided_by_any_threshold() -> None:
    rng = np.random.default_rng(2)
    events = []
    for label in ("a", "b"):
        for start in np.arange(0, 9, 1.5):
            onset, length = start + rng.random(), 0.2 + 2 * rng.random()
            events.append(Event(onset, onset + length, label, float(rng.integers(1, 6)) / 10))
    events.append(Event(3.0, 3.0, "a", 0.9))  # no length
    table = events_to_scores(events, ("b", "a"), 10.0)
    assert table.boundaries[0] == 0.0
    assert table.boundaries[-1] == max(10.0, *(event[1] for event in events))
    for threshold in (0.05, 0.15, 0.25, 0.35, 0.45, 0.55):
        found = detections_from_scores({"": table}, threshold)[""]
        for label in ("a", "b"):
            wanted = merged([e for e in events if e[2] == label and e[3] > threshold])
            assert [event[:2] for event in found if event[2] == label] == wanted
    assert events_to_scores([], ("a",), 4.0).values.tolist() == [[-np.inf]]


def merged(events: list[tuple[float, float, str, float]]) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    for onset, offset, *_ in sorted(event for event in events if event[1] > event[0]):
        if found and onset <= found[-1][1]:
            found[-1] = found[-1][0], max(offset, found[-1][1])
        else:
            found.append((onset, offset))
    return found


ROWS = {
    "a.wav\t0\t1\tDog\t0.5": None,
    "a.wav\tone\t2\tDog\t0.5": "'one' is not a number",
    "a.wav\t2\t1\tDog\t0.5": "from 2 s to 1 s",
    "\t0\t1\tDog\t0.5": "without a file name",
    "a.wav\t0\t1\tDog\t0.5\tx\ty": "7 fields under 5 columns",
    "a.wav\t0\t1\t\t0.5": "needs onset, offset and event_label",
    "b.wav\t0\t1\tDog\thigh": "score 'high'",
}


@pytest.mark.parametrize("read", [read_truth, lambda path: read_detections([path])])
def test_all_rows_that_cannot_be_used_are_named(
    read: Callable[[Path], Any], tmp_path: Path
) -> None:
    text = HEAD.replace("\n", "\tscore\n") + "".join(f"{row}\n" for row in ROWS)
    path = put(tmp_path / "e.tsv", text)
    wrong = [
        (line, message)
        for line, (row, message) in enumerate(ROWS.items(), start=2)
        if message and (read is not read_truth or "high" not in row)
    ]
    with pytest.raises(LabelError) as caught:
        read(path)
    assert caught.value.where == f"{path}:3"
    assert f"{len(wrong) - 1} more rows cannot be used" in str(caught.value)
    for line, message in wrong[:5]:  # of many the first are told
        assert f"{path}:{line}: " in str(caught.value)
        assert message in str(caught.value)


def test_all_durations_that_are_none_are_named(tmp_path: Path) -> None:
    rows = "a.wav\t1\nb.wav\tlong\n\t2\n"
    with pytest.raises(LabelError, match=r"'long' is not a number; 1 more row .*d\.tsv:4"):
        read_seconds(put(tmp_path / "d.tsv", f"filename\tduration\n{rows}"))
    rows = "a.wav\t0\nb.wav\t1\nb.wav\t2\n"
    with pytest.raises(LabelError, match=r"a has the duration 0 s; 1 more row .*before it was 1 s"):
        read_seconds(put(tmp_path / "d.tsv", f"filename\tduration\n{rows}"))
