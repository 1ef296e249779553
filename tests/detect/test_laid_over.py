"""A user's settings over a bundle's: by class, by default, and how events are chosen by them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.core.class_names import parse_by_class
from earmark.core.errors import ConfigError, LabelError
from earmark.core.tables.scores import ScoreTable
from earmark.core.timeline import FrameGrid
from earmark.detect.detector import LAID_OVER, Detector
from earmark.detect.postprocess import PostProcess, scores_to_events, strongest
from helpers.networks import BandEnergy

LABELS = ("Dog", "Cat", "Water tap, faucet")
IDS = ("/m/dog", "/m/cat", "/m/tap")
GRID = FrameGrid(1600)  # frames of 0.1 s


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["0.7"], 0.7),
        (["Dog=0.8,default=0.6"], {"Dog": 0.8, "default": 0.6}),
        (["Dog=0.8, 0.6"], {"Dog": 0.8, "default": 0.6}),
        (["0.6", "Dog=0.8"], {"Dog": 0.8, "default": 0.6}),
        (['"Water tap, faucet"=0.5,Dog=1e-1'], {"Water tap, faucet": 0.5, "Dog": 0.1}),
        (["Water tap, faucet=0.5", "Dog=0.1"], {"Water tap, faucet": 0.5, "Dog": 0.1}),
        (["a=b=0.5"], {"a=b": 0.5}),
    ],
)
def test_numbers_by_class_as_they_are_written(given: list[str], found: object) -> None:
    assert parse_by_class(given, "--threshold") == found


@pytest.mark.parametrize(
    "given", [["Dog"], ["Dog=loud"], [""], ["Dog=0.5,Cat"], ["Dog=1", "Dog=2"]]
)
def test_what_is_no_number_by_class_is_refused(given: list[str]) -> None:
    with pytest.raises(ConfigError, match="--min-gap"):
        parse_by_class(given, "--min-gap")


names = (
    st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1)
    .map(str.strip)
    .filter(bool)
)


@given(st.dictionaries(names, st.floats(0, 1), min_size=2))
def test_any_names_quoted_as_in_csv_or_one_an_option(numbers: dict[str, float]) -> None:
    quoted = ",".join(
        f'"{name.replace(chr(34), chr(34) * 2)}={n!r}"' for name, n in numbers.items()
    )
    assert parse_by_class([quoted], "--threshold") == numbers


def own(**settings: object) -> PostProcess:
    return PostProcess(**{"threshold": {"Dog": 0.1, "Cat": 0.2, LABELS[2]: 0.3}, **settings})


def thresholds(settings: PostProcess) -> list[float]:
    return [settings.for_label(label).threshold for label in LABELS]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (None, [0.1, 0.2, 0.3]),
        (0.7, [0.7, 0.7, 0.7]),
        ({"dog": 0.8}, [0.8, 0.2, 0.3]),
        ({"/m/tap": 0.8, "1": 0.4}, [0.1, 0.4, 0.8]),
        ({"Dog": 0.8, "default": 0.6}, [0.8, 0.6, 0.6]),
        ({"default": 0.6}, [0.6, 0.6, 0.6]),
    ],
)
def test_classes_that_are_not_named_keep_their_own(threshold: object, expected: object) -> None:
    assert thresholds(own().laid_over(LABELS, IDS, threshold=threshold)) == expected  # type: ignore[arg-type]


def test_a_class_is_named_once_and_is_known() -> None:
    with pytest.raises(LabelError, match="Similar are 'Dog'"):
        own().laid_over(LABELS, threshold={"Dgo": 0.5})
    with pytest.raises(ConfigError, match="two values of threshold for 'Dog'"):
        own().laid_over(LABELS, threshold={"Dog": 0.5, "0": 0.6})
    with pytest.raises(ConfigError, match="threshold of 'Dog' is"):
        own().laid_over(LABELS, threshold={"Dog": 1.5})


def test_a_file_has_a_default_for_the_classes_it_does_not_name() -> None:
    settings = PostProcess.from_dict({"threshold": {"Dog": 0.8, "default": 0.6}})
    assert thresholds(settings) == [0.8, 0.6, 0.6]
    settings = PostProcess.from_dict(
        {"method": "csebb", "csebb": {"Dog": {"step_seconds": 0.3}, "default": {"absolute": 0.1}}}
    )
    assert settings.for_label("Dog").csebb.step_seconds == 0.3
    assert settings.for_label("Cat").csebb.absolute == 0.1


@pytest.mark.parametrize("method", ["median", "csebb"])
def test_long_events_are_dropped_after_gaps_are_closed(method: str) -> None:
    values = np.zeros((100, 1))
    for first, last in ((10, 20), (40, 50), (52, 62)):  # 1 s; 1 s and 1 s with 0.2 s between
        values[first:last] = 0.9
    table = ScoreTable(GRID.boundaries(100, 10.0), values, ("Dog",))
    apart = PostProcess(method=method, max_duration_seconds=1.5)  # type: ignore[arg-type]
    joined = apart.changed(min_gap_seconds=0.3)
    assert [round(event.onset, 3) for event in scores_to_events(table, apart)] == [1, 4, 5.2]
    assert [round(event.onset, 3) for event in scores_to_events(table, joined)] == [1]
    assert len(scores_to_events(table, joined.changed(max_duration_seconds=2.2))) == 2


def test_settings_are_written_as_before_where_nothing_is_too_long() -> None:
    assert "max_duration_seconds" not in PostProcess().to_dict()
    limited = PostProcess(max_duration_seconds={"Dog": 3.0, "default": math.inf})
    assert PostProcess.from_dict(limited.to_dict()) == limited


def sound(seconds: float) -> np.ndarray:
    rng = np.random.default_rng(3)
    level = np.repeat(rng.random(int(seconds * 2) + 1) ** 3, 8000)[: int(seconds * 16_000)]
    time = np.arange(len(level)) / 16_000
    tones = sum(np.sin(2 * np.pi * hertz * time) for hertz in (500, 2000, 5000))
    return (0.2 * level * tones).astype(np.float32)


def test_top_events_are_those_of_the_highest_scores() -> None:
    audio = sound(40)
    every = Detector(BandEnergy()).detect((audio, 16_000)).found
    best = Detector(BandEnergy(), top=3).detect((audio, 16_000)).found
    assert len(every) > 6
    assert list(best) == sorted(best)
    assert min(event.score for event in best) >= sorted(event.score for event in every)[-3]
    assert set(best) <= set(every)
    assert len(best) == 3
    assert strongest(every, 100) == list(every)


def test_a_stream_refuses_top_and_a_detector_none_of_it() -> None:
    with pytest.raises(ConfigError, match="known at its end"):
        Detector(BandEnergy(), top=3).open_stream(16_000)
    with pytest.raises(ConfigError, match="top is 0"):
        Detector(BandEnergy(), top=0)


def test_detector_lays_settings_over_those_of_a_bundle() -> None:
    asked = {
        "threshold": {"dog": 0.8, "default": 0.6},
        "min_gap_seconds": 0.4,
        "min_duration_seconds": {"Cat": 0.3},
        "max_duration_seconds": 20.0,
    }
    assert asked.keys() == set(LAID_OVER)
    bundle, detector = Detector.from_pretrained("mini"), Detector.from_pretrained("mini", **asked)
    for label in bundle.labels:
        before, after = (one.postprocess.for_label(label) for one in (bundle, detector))
        assert after.median_seconds == before.median_seconds
        assert after.threshold == (0.8 if label == "Dog" else 0.6)
        assert after.min_gap_seconds == 0.4
        assert after.min_duration_seconds == (0.3 if label == "Cat" else 0.0)
        assert after.max_duration_seconds == 20.0
