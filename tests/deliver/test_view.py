"""Pictures of detections, judged by their pixels and the numbers behind them."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from earmark.core.errors import EarmarkError
from earmark.core.event import Event
from earmark.core.tables.scores import ScoreTable
from earmark.deliver.pictures.view import (
    _mel_weights,
    clock,
    half_covered,
    pages_of,
    peaks_by_column,
    plot_detection,
    plot_pages,
    spectrogram_columns,
    spectrogram_pages,
)
from earmark.detect.detector import Result

matplotlib = pytest.importorskip("matplotlib")

RATE = 16_000


def result(seconds: float, labels: tuple[str, ...], found: list[Any]) -> Result:
    frames = int(np.ceil(seconds * RATE / 1024))
    edges = np.minimum(np.arange(frames + 1) * 0.064, seconds)
    values = np.random.default_rng(0).random((frames, len(labels))).astype(np.float32)
    return Result(
        "kitchen.wav",
        seconds,
        ScoreTable(edges, values, labels),
        tuple(Event(*one) for one in found),
    )


def tone(seconds: float, hertz: float, onset: float, offset: float) -> np.ndarray[Any, Any]:
    time = np.arange(round(seconds * RATE)) / RATE
    inside = (time >= onset) & (time < offset)
    return (np.sin(2 * np.pi * hertz * time) * inside).astype(np.float32)


def pixels(path: Path) -> np.ndarray[Any, Any]:
    from matplotlib.image import imread

    return np.asarray(imread(path))


def test_picture_has_its_size_and_shows_events(tmp_path: Path) -> None:
    labels = ("Cat", "Dog")
    audio = (tone(10, 1000, 2, 4), RATE)
    empty = plot_detection(tmp_path / "a.png", audio, result(10, labels, []))
    full = plot_detection(
        tmp_path / "b.png", audio, result(10, labels, [(2.0, 4.0, "Cat", 0.9), (1, 9, "Dog", 0.6)])
    )
    before, after = pixels(empty), pixels(full)
    assert before.shape[:2] == after.shape[:2] == (900, 1600)
    assert (before != after).any(-1).sum() > 10_000


def test_truth_is_drawn_and_only_of_this_recording(tmp_path: Path) -> None:
    found = result(10, ("Cat",), [])
    audio = (tone(10, 1000, 2, 4), RATE)
    rows = [("kitchen.wav", 1.0, 5.0, "Cat"), ("garden.wav", 0.0, 9.0, "Cat")]
    table = pd.DataFrame(rows, columns=["filename", "onset", "offset", "event_label"])
    by_table = pixels(plot_detection(tmp_path / "a.png", audio, found, table))
    by_list = pixels(plot_detection(tmp_path / "b.png", audio, found, [(1.0, 5.0, "Cat")]))
    without = pixels(plot_detection(tmp_path / "c.png", audio, found))
    np.testing.assert_array_equal(by_table, by_list)
    assert (by_table != without).any()


def test_path_file_object_and_array_give_one_picture(tmp_path: Path) -> None:
    path = tmp_path / "kitchen.wav"
    soundfile.write(path, 0.5 * tone(3, 500, 1, 2), RATE, subtype="FLOAT")
    found = result(3, ("Cat",), [(1.0, 2.0, "Cat", 0.7)])
    stored = io.BytesIO(path.read_bytes())
    stored.seek(0, io.SEEK_END)  # as detection leaves it
    pictures = [
        pixels(plot_detection(tmp_path / f"{number}.png", source, found))
        for number, source in enumerate([path, stored, (soundfile.read(path)[0], RATE)])
    ]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[0], pictures[2])


def test_only_the_start_can_be_shown(tmp_path: Path) -> None:
    audio = (tone(20, 1000, 15, 16), RATE)
    whole = plot_detection(tmp_path / "a.png", audio, result(20, ("Cat",), []))
    start = plot_detection(tmp_path / "b.png", audio, result(20, ("Cat",), []), max_seconds=5)
    assert (pixels(whole) != pixels(start)).any()
    with pytest.raises(EarmarkError, match="shows nothing"):
        plot_detection(tmp_path / "c.png", audio, result(20, ("Cat",), []), max_seconds=0)


def test_many_classes_stay_legible(tmp_path: Path) -> None:
    labels = tuple(f"class number {n} with quite a long name" for n in range(400))
    path = plot_detection(
        tmp_path / "a.png", (tone(2, 900, 0, 1), RATE), result(2, labels, [(0, 1, labels[7], 0.9)])
    )
    assert pixels(path).shape[:2] == (900, 1600)


def test_very_short_recording(tmp_path: Path) -> None:
    found = result(0.001, ("Cat",), [])
    assert plot_detection(tmp_path / "a.png", (tone(0.001, 900, 0, 1), RATE), found).is_file()


@pytest.mark.parametrize("seconds", [2.0, 65.0, 400.0])
def test_spectrogram_puts_sound_where_it_is(seconds: float) -> None:
    onset = 0.75 * seconds
    power = spectrogram_columns(
        (tone(seconds, 2000, onset, onset + 0.1), RATE), seconds, columns=200
    )
    assert power.shape == (80, 200)
    band, column = np.unravel_index(power.argmax(), power.shape)
    assert (onset - 0.05) / seconds * 200 - 1 <= column <= (onset + 0.15) / seconds * 200 + 1
    low, mel, high = (2595 * np.log10(1 + hertz / 700) for hertz in (50, 2000, 8000))
    assert abs((mel - low) / (high - low) * 81 - (band + 1)) < 1
    assert power[:, :140].max() < 1e-6 * power.max()


def test_a_click_survives_the_width_of_the_picture() -> None:
    audio = np.zeros(600 * RATE, dtype=np.float32)
    audio[444 * RATE] = 1.0
    power = spectrogram_columns((audio, RATE), 600.0, columns=300)
    assert abs(power.sum(axis=0).argmax() - 444 / 2) <= 1


def test_peaks_survive_the_width_of_the_picture() -> None:
    values = np.zeros((10_000, 2), dtype=np.float32)
    values[7_777, 1] = 1.0
    peaks = peaks_by_column(values, 10_000, 100)
    assert peaks.shape == (100, 2)
    assert peaks[77, 1] == 1.0
    assert peaks.sum() == 1.0
    np.testing.assert_array_equal(peaks_by_column(values, 50, 100), values[:50])


def test_missing_matplotlib_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(EarmarkError, match=r"earmark\[plot\]"):
        plot_detection(tmp_path / "a.png", (tone(1, 1, 0, 1), RATE), result(1, ("Cat",), []))


@pytest.mark.parametrize(
    ("duration", "wanted", "pages"),
    [
        (10.0, None, [(0, 10)]),
        (650.0, None, [(0, 650)]),
        (3600.0, None, [(600 * n, 600 * n + 600) for n in range(6)]),
        (1300.0, None, [(0, 600), (600, 1200), (1200, 1300)]),
        (3600.0, (90.0, 120.0), [(90, 120)]),
        (3600.0, (3000.0, 9999.0), [(3000, 3600)]),
        (60.0, (90.0, 120.0), []),
    ],
)
def test_pages_of_a_recording(duration: float, wanted: Any, pages: Any) -> None:
    assert pages_of(duration, wanted) == pages


def test_pages_show_what_single_pictures_of_their_time_show() -> None:
    rng = np.random.default_rng(0)
    audio = (0.1 * rng.standard_normal(70 * RATE)).astype(np.float32)
    spans = [(0.0, 20.0), (20.0, 43.7), (50.0, 70.0)]
    pages = list(spectrogram_pages((audio, RATE), spans, columns=100))
    for (first, last), power in zip(spans, pages, strict=True):
        begin, end = round(first * RATE), round(last * RATE)
        around = np.pad(audio, 512)[begin : end + 1024]  # half a spectrum on either side
        hop = min(512, (end - begin) // 200)
        weights, taper = _mel_weights(), np.hanning(1024)
        count = -(-(end - begin) // hop)
        expected = np.zeros((80, 100))
        for number in range(count):
            spectrum = np.abs(np.fft.rfft(around[number * hop :][:1024] * taper)) ** 2
            column = number * 100 // count
            expected[:, column] = np.maximum(expected[:, column], weights @ spectrum)
        np.testing.assert_allclose(power, expected, rtol=1e-4, atol=1e-9)


def test_the_clock_of_a_long_recording(tmp_path: Path) -> None:
    assert [clock(time) for time in (0, 59.95, 61.5, 3600, 36_000)] == [
        "0:00:00", "0:01:00", "0:01:01.5", "1:00:00", "10:00:00"
    ]  # fmt: skip
    audio, found = (tone(130, 1000, 100, 101), RATE), result(130, ("Cat",), [(90, 125, "Cat", 0.9)])
    for number, draw in enumerate(plot_pages(audio, found, [(0.0, 60.0), (95.0, 120.0)])):
        draw(tmp_path / f"{number}.png")
    without = result(130, ("Cat",), [])
    for number, draw in enumerate(plot_pages(audio, without, [(0.0, 60.0), (95.0, 120.0)])):
        draw(tmp_path / f"without{number}.png")
    same, other = (
        (pixels(tmp_path / f"{n}.png")[150:] == pixels(tmp_path / f"without{n}.png")[150:]).all()
        for n in (0, 1)
    )
    assert same  # below the title, which counts the events of the whole recording
    assert not other


def test_half_covered_counts_the_time_in_events_of_the_class() -> None:
    truth = [Event(0.0, 4.0, "Dog"), Event(3.0, 6.0, "Dog"), Event(0.0, 9.0, "Cat")]
    found = [(2.0, 6.0, "Dog"), (5.0, 7.1, "Dog"), (8.0, 9.0, "Dog"), (8.9, 9.1, "Cat")]
    assert half_covered(found, truth) == [True, False, False, True]
    # Overlapping events of one class count once.
    assert half_covered([(0.0, 12.1, "Dog")], truth) == [False]
    assert half_covered([], truth) == []


def test_right_wrong_and_missed_events_are_told_apart(tmp_path: Path) -> None:
    labels = ("Cat", "Dog")
    audio = (tone(10, 1000, 2, 4), RATE)

    def red(found: list[Any], truth: list[Event]) -> int:
        path = plot_detection(tmp_path / "a.png", audio, result(10, labels, found), truth=truth)
        lower = pixels(path)[700:, :1500, :3]
        r, g, b = np.moveaxis(lower, -1, 0)
        return int(((r - g > 0.25) & (b >= g)).sum())  # no class has this hue

    right = red([(2.0, 4.0, "Cat", 0.9)], [Event(2.0, 4.0, "Cat")])
    wrong = red([(2.0, 4.0, "Dog", 0.9)], [])
    missed = red([], [Event(2.0, 4.0, "Cat")])
    both = red([(2.0, 4.0, "Dog", 0.9)], [Event(2.0, 4.0, "Cat")])
    assert wrong == 0  # nothing can be wrong without truth
    assert right == 0
    assert missed > 50
    assert both > missed + 500
