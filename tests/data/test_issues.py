"""Labels that do not fit their sound or each other: each kind with an input of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.core.batch_settings import BatchSettings
from earmark.core.errors import DataError
from earmark.core.timeline import FrameGrid
from earmark.data.dataset import compose
from earmark.data.issues import split_issues, training_issues
from earmark.data.manifest import load_manifest
from earmark.score.issues import alike, event_issues, late, refuse_issues, suggestion
from helpers import trees

SECOND = 16_000
YAML = """
train:
  - {audio: strong, strong: strong.tsv}
  - {audio: weak, weak: weak.tsv}
validation: {audio: held, strong: held.tsv}
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One strong, one weak and one validation clip of a second, without an issue."""
    for value, name in enumerate(("strong", "weak", "held"), start=1):
        trees.clip(tmp_path / name / "a.wav", 0.1 * value, SECOND)
    trees.strong(tmp_path / "strong.tsv", {"a.wav": [(0.1, 0.5, "Dog"), (0.2, 1.1, "Cat")]})
    trees.weak(tmp_path / "weak.tsv", {"a.wav": "Dog,Cat"})
    trees.strong(tmp_path / "held.tsv", {"a.wav": [(0.1, 0.5, "Dog")]})
    (tmp_path / "data.yaml").write_text(YAML, encoding="utf-8")
    return tmp_path / "data.yaml"


def texts(data: Path, window: float = 1.0) -> list[str]:
    return [issue.text for issue in training_issues(load_manifest(data), window)]


def test_labels_that_fit_have_no_issue(data: Path) -> None:
    assert texts(data) == []


def test_strong_events_after_the_end_of_their_clip(data: Path) -> None:
    events = [(70.0 + n, 71.0 + n, "Dog") for n in range(59)]
    trees.strong(data.parent / "strong.tsv", {"a.wav": [*events, (0.2, 3.0, "Cat")]})
    after, beyond = texts(data)
    assert after.startswith("strong: events that begin after the end of their clip: 59 (Dog of a")
    assert "from 70 s to 71 s of 1.00 s" in after
    assert beyond.startswith("strong: events that end after their clip: 1 (Cat of a.wav")


def test_truth_after_the_end_of_a_clip_of_a_split(data: Path) -> None:
    trees.strong(data.parent / "held.tsv", {"a.wav": [(1.0, 1.2, "Dog")]})
    (issue,) = split_issues(load_manifest(data).splits["validation"])
    assert issue.text.startswith(
        "validation: events that begin after the end of their clip: 1 (Dog"
    )
    assert issue.text in texts(data)


def test_weak_clips_longer_than_the_window_teach_nothing(data: Path) -> None:
    trees.clip(data.parent / "weak/b.wav", 0.3, 6 * SECOND)
    trees.clip(data.parent / "weak/c.wav", 0.4, int(1.4 * SECOND))  # rounding, not another length
    trees.weak(data.parent / "weak.tsv", {"a.wav": "Dog", "b.wav": "Dog,Siren", "c.wav": "Cat"})
    long, never = texts(data)
    assert long.startswith("weak: weak clips longer than the network's window, left out of")
    assert "b.wav: 6.00 s" in long
    assert "c.wav" not in long
    assert never == "classes that no training clip has: 1 (Siren). Label clips of them"
    batch = BatchSettings(real=1, synthetic=0, weak=1, unlabelled=0)
    clips, groups = compose(load_manifest(data), batch, FrameGrid(160), SECOND)
    assert [clip.path.name for clip in clips.clips if clip.kind == "weak"] == ["a.wav", "c.wav"]
    assert [group.size for group in groups] == [1, 2]
    clips, _ = compose(load_manifest(data), batch, FrameGrid(160), 6 * SECOND)
    assert sum(clip.kind == "weak" for clip in clips.clips) == 3


def test_nothing_but_long_weak_clips_is_no_data(data: Path) -> None:
    data.write_text("train:\n  - {audio: weak, weak: weak.tsv}\n", encoding="utf-8")
    batch = BatchSettings(real=0, synthetic=0, weak=1, unlabelled=0)
    with pytest.raises(DataError, match="no longer than the window"):
        compose(load_manifest(data), batch, FrameGrid(160), SECOND // 4)


def test_strong_clips_longer_than_the_window_are_used_in_part(data: Path) -> None:
    trees.clip(data.parent / "strong/a.wav", 0.6, 3 * SECOND)
    (text,) = texts(data)
    assert text.startswith("strong: clips longer than the window: the rest is not used: 1 (a.wav")


def test_class_names_alike_but_for_spelling(data: Path) -> None:
    rows = {"a.wav": [(0.1, 0.5, "Dog"), (0.2, 0.9, "cat"), (0.2, 0.9, "Cat")]}
    trees.strong(data.parent / "strong.tsv", rows)
    assert texts(data) == [
        "class names that are nearly alike: 1 ('Cat' beside 'cat'). Spell them alike"
    ]


def test_classes_that_no_training_clip_has(data: Path) -> None:
    trees.strong(data.parent / "held.tsv", {"a.wav": [(0.1, 0.5, "Siren")]})
    data.write_text("classes: [Dog, Cat, Siren, Bell]\n" + YAML, encoding="utf-8")
    assert texts(data) == [
        "classes that no training clip has: 2 (Siren, only in validation, Bell). "
        "Label clips of them"
    ]


def test_strong_tables_without_an_event(data: Path) -> None:
    trees.strong(data.parent / "strong.tsv", {"a.wav": []})
    trees.strong(data.parent / "held.tsv", {"a.wav": []})
    assert [text.partition(". ")[0] for text in texts(data)] == [
        "strong: strong labels without a single event: 1 (1 clips)",
        "validation: strong labels without a single event: 1 (1 clips)",
    ]


@pytest.mark.parametrize("column", ["confidence", "Score", "probability"])
def test_columns_of_confidence(data: Path, column: str) -> None:
    head = f"filename\tonset\toffset\tevent_label\t{column}"
    trees.table(data.parent / "strong.tsv", head, "a.wav\t0\t1\tDog\t0.1", "a.wav\t0\t1\tCat\t1")
    trees.table(data.parent / "weak.tsv", f"filename\tevent_labels\t{column}", "a.wav\tDog\t0.2")
    trees.table(data.parent / "held.tsv", head, "a.wav\t0\t1\tDog\t0.1")
    found = texts(data)
    assert [text.partition(":")[0] for text in found] == ["strong", "weak", "validation"]
    assert f"({column} of strong.tsv)" in found[0]
    assert f"({column} of weak.tsv)" in found[1]
    assert f"({column} of held.tsv)" in found[2]


def test_strict_refuses_and_counts() -> None:
    refuse_issues([])
    found = event_issues("x", {"a": [(2.0, 3.0, "Dog"), (0.0, 3.0, "Dog")]}, {"a": 1.0})
    with pytest.raises(DataError, match=r"begin after the end .* and 1 more such") as caught:
        refuse_issues(found, "data.yaml")
    assert caught.value.hint == "Without --strict this is only reported"


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0.1, 50))
def test_an_event_is_late_exactly_if_its_clip_is_too_short(
    onset: float, length: float, seconds: float
) -> None:
    found = late("a", (onset, onset + length, "Dog"), seconds)
    heard = np.clip(seconds - onset, 0, length)
    if heard == 0 and onset >= seconds:
        assert found is not None
        assert found[0] == "after-end"
    else:
        assert (found is None) == (onset + length <= seconds + 0.25)


@given(st.sampled_from(["Dog bark", "Éclat de rire", "vacuum_cleaner", "A"]), st.data())
def test_spellings_of_a_name_are_alike_and_suggested(name: str, data: st.DataObject) -> None:
    case = data.draw(st.sampled_from([str.lower, str.upper, str.title]))
    space = data.draw(st.sampled_from([" ", "_", "-", "  "]))
    other = data.draw(st.sampled_from(["", " "])) + case(name).replace(" ", space).replace(
        "_", space
    )
    assert bool(alike([name, other, "Motor"])) == (name != other)
    assert suggestion([other], ["Motor", name]) == (
        "" if name == other else f"Did you mean {name}? "
    )
    assert not alike([name, "Motor"])
