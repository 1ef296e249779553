"""Classes that get one name: each is decided by its own settings, then they are joined."""

from __future__ import annotations

import numpy as np

from earmark.core.event import Event
from earmark.core.tables.scores import ScoreTable
from earmark.detect.postprocess import PostProcess
from earmark.detect.systems import Preparation
from earmark.score.classes import ScoredClasses

VALUES = np.array(
    [[0.9, 0.3, 0.1], [0.9, 0.6, 0.9], [0.1, 0.6, 0.1], [0.1, 0.2, 0.1], [0.4, 0.6, 0.1]]
)
TABLE = ScoreTable(np.arange(6.0), VALUES, ("Dog", "Bark", "Car"))
SETTINGS = PostProcess(threshold={"Dog": 0.8, "Bark": 0.5, "Car": 0.95})


def test_each_class_by_its_own_threshold() -> None:
    classes = ScoredClasses({"Bark": "Dog"}, ("Dog",))
    filtered, events = Preparation(classes, SETTINGS, rename_last=True).apply(TABLE)
    assert filtered.labels == ("Dog",)
    assert filtered.values[:, 0].tolist() == [0.9, 0.9, 0.6, 0.2, 0.6]
    assert [event[:3] for event in events] == [(0.0, 3.0, "Dog"), (4.0, 5.0, "Dog")]
    assert events[0].score == 0.9
    same = Preparation(classes, SETTINGS, rename_last=True).filtered(TABLE)
    assert np.array_equal(same.values, filtered.values)


def test_without_new_names_nothing_changes() -> None:
    plain = Preparation(ScoredClasses(), SETTINGS).apply(TABLE)
    last = Preparation(ScoredClasses(), SETTINGS, rename_last=True).apply(TABLE)
    assert np.array_equal(plain[0].values, last[0].values)
    assert plain[1] == last[1]
    assert Event(0.0, 2.0, "Dog", 0.9) in plain[1]
