"""Some of a bundle's classes: the same events of these, whole, in blocks and in batches."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from earmark.core.config import load_yaml
from earmark.core.errors import LabelError
from earmark.core.folders import shipped_folder
from earmark.core.tables.scores import ScoreTable
from earmark.deliver.batch import DetectorSettings
from earmark.detect.chosen import ChosenClasses
from earmark.detect.detector import Detector
from earmark.detect.postprocess import PostProcess, filter_table, scores_to_events
from helpers.networks import BandEnergy

RATE = 16_000


def sound(seconds: float) -> np.ndarray:
    rng = np.random.default_rng(3)
    time = np.arange(int(seconds * RATE)) / RATE
    level = np.repeat(rng.random(len(time) // 8000 + 1) ** 3, 8000)[: len(time)]
    tones = sum(np.sin(2 * np.pi * hertz * time) for hertz in (500, 2000, 5000))
    return (0.2 * level * tones).astype(np.float32)


def test_scores_are_the_columns_of_all() -> None:
    audio = sound(23)
    whole = Detector(BandEnergy()).detect((audio, RATE))
    columns = [2, 0]
    some = Detector(ChosenClasses(BandEnergy(), columns)).detect((audio, RATE))
    assert some.table.labels == tuple(whole.table.labels[column] for column in columns)
    assert np.array_equal(some.table.values, whole.table.values[:, columns])
    wanted = [event for event in whole.found if event.event_label in some.table.labels]
    assert len(wanted) > 2
    assert list(some.found) == wanted


def test_by_identifier_name_and_number_in_streams_and_recordings() -> None:
    asked = ['"Water tap, faucet",0', "/m/0bt9lr"]
    detector = Detector.from_pretrained("audioset", classes=asked, threads=1)
    assert detector.labels == ("Speech", "Dog", "Water tap, faucet")
    audio = sound(21)
    detector.postprocess = detector.postprocess.with_threshold(0.003)
    whole = detector.detect((audio, RATE))
    assert len(whole.found) > 3
    streamed = list(detector.stream(np.array_split(audio, 50), RATE))
    assert [event[:3] for event in sorted(streamed)] == [event[:3] for event in whole.found]


def test_an_unknown_class_is_told_before_anything_is_read() -> None:
    with pytest.raises(LabelError, match="Similar are 'Dog'"):
        Detector.from_pretrained("mini", classes=["dgo"])


def test_other_classes_are_another_work_in_the_journal() -> None:
    def key(*classes: str) -> str:
        settings = DetectorSettings("mini", classes=classes)
        return settings.key(settings.load(1))

    assert key() != key("Dog")
    assert key("Dog", "Cat") == key("cat,dog")


def test_an_hour_of_all_tracks_is_decided_within_twice_their_memory() -> None:
    folder = shipped_folder("bundles") / "audioset"
    labels = tuple((folder / "labels.txt").read_text(encoding="utf-8").splitlines())
    settings = PostProcess.from_dict(load_yaml(folder / "postprocess.yaml"))
    values = np.random.default_rng(0).random((15_000, len(labels)), dtype=np.float32) ** 1000
    table = ScoreTable(np.arange(15_001) * 0.24, values, labels)
    tracemalloc.start()
    try:
        filtered, events = filter_table(table, settings), scores_to_events(table, settings)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert filtered.values.dtype == np.float32
    assert len(events) > 5_000
    own = len(events) * 400  # bytes of an event and its numbers
    assert peak - own < 2 * values.nbytes + 2**24
