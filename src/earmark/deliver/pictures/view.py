"""Pictures of what was heard: spectrogram, class scores and events on one time axis.

Recordings are read in blocks and reduced to the width of the picture on the way, so that an hour
needs no more memory than a minute. Where several values share a pixel the greatest is shown:
short events stay visible.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earmark.core.audio.audio import AudioSource, read_blocks
from earmark.core.errors import EarmarkError, optional_package
from earmark.core.event import Event, EventTuple
from earmark.core.timeline import SAMPLE_RATE, seconds_to_samples
from earmark.detect.detector import Result
from earmark.features.mel import hertz_to_mel, mel_to_hertz

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


PAGE = 600.0
"""Seconds that a picture shows at most, where a recording is drawn in pages."""
Span = tuple[float, float]
"""First and last second."""
_MINUTE = 60.0
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200)
_TICKS = 12
_WIDTH, _HEIGHT, _DPI = 1600, 900, 100  # pixels
_COLUMNS = 1400  # of them the time axis has about this many
_BANDS = 80
_LOWEST = 50.0  # Hz
_FFT = 1024
_RANGE_DB = 70.0
_CLASSES = 16  # rows that stay legible
_WRONG: dict[str, Any] = {
    "facecolor": "white", "edgecolor": "#b00020", "hatch": "/////", "linewidth": 0.8,
}  # fmt: skip
_TRUE: dict[str, Any] = {"facecolor": "none", "edgecolor": "black", "linewidth": 1.4}
_MISSED: dict[str, Any] = _TRUE | {"linestyle": (0, (2, 1.5)), "edgecolor": "#b00020"}
_COLOURS = (  # dark enough for white figures on them
    "#1f77b4", "#c0561a", "#2a8a2a", "#c12f30", "#7d55a8",
    "#7a4a3d", "#c2559c", "#5f6670", "#80801a", "#128a99",
)  # fmt: skip


def plot_detection(
    path: str | os.PathLike[str],
    source: AudioSource,
    result: Result,
    truth: pd.DataFrame | Iterable[EventTuple] | None = None,
    max_seconds: float | None = None,
    power: NDArray[np.float64] | None = None,
) -> Path:
    """Draws a recording's log-mel spectrogram, its class scores and its events into a PNG.

    Args:
        path: The picture, 1600 × 900 pixels.
        source: The recording: a path, a file object or ``(samples, sample_rate)``.
        result: What the detector found in it.
        truth: True events, drawn as outlines: `Event` or plain tuples of onset, offset and label,
            or a table of events, of which the rows of ``result.filename`` are taken. With them,
            found events that are wrong are hatched and true ones that were missed are dashed
            (`half_covered`).
        max_seconds: Only the recording's first so many seconds are drawn; all when None.
        power: Its `spectrogram_columns` of these seconds, where they are known; the recording is
            not read then.

    Returns:
        The path of the picture.

    Raises:
        EarmarkError: If matplotlib is not installed, or ``max_seconds`` is not positive.
        AudioError: If the recording cannot be read.
    """
    require_matplotlib()
    span = result.duration if max_seconds is None else min(result.duration, max_seconds)
    if not span > 0:
        raise EarmarkError(f"a picture of {span} s shows nothing", hint="Use a positive length")
    powers = None if power is None else [power]
    [draw] = plot_pages(source, result, [(0.0, span)], truth, powers)
    draw(Path(path))
    return Path(path)


def pages_of(duration: float, wanted: Span | None = None) -> list[Span]:
    """What each picture of a recording shows, first and last second, some ten minutes at most.

    Args:
        duration: Of the recording in seconds.
        wanted: First and last second to show; all when None. Without any of it there are no pages.
    """
    first, last = (0.0, duration) if wanted is None else (wanted[0], min(wanted[1], duration))
    if not last > first:
        return []
    count = max(1, math.ceil((last - first) / PAGE - 0.1))  # no page of a few seconds at the end
    starts = [first + number * PAGE for number in range(count)]
    return list(zip(starts, [*starts[1:], last], strict=True))


def plot_pages(
    source: AudioSource,
    result: Result,
    pages: Sequence[Span],
    truth: pd.DataFrame | Iterable[EventTuple] | None = None,
    powers: Iterable[NDArray[np.float64]] | None = None,
) -> Iterator[Callable[[Path], None]]:
    """Draws pages of a recording, one after the other; the recording is read once.

    Args:
        source: The recording, as of `plot_detection`.
        result: What the detector found in it.
        pages: First and last second of each, in order.
        truth: True events, as of `plot_detection`.
        powers: `spectrogram_columns` of each page, where they are known; nothing is read then.

    Yields:
        For each page what draws it into a PNG.

    Raises:
        EarmarkError: If matplotlib is not installed.
        AudioError: If the recording cannot be read.
    """
    if not isinstance(source, tuple | str | os.PathLike):
        source.seek(0)  # detection has read it to its end
    true_events = _true_events(truth, result.filename)
    labels = _shown_labels(result, true_events)
    powers = spectrogram_pages(source, pages) if powers is None else powers
    for span, power in zip(pages, powers, strict=True):
        yield partial(_draw_page, result, labels, true_events, span, power)


def _draw_page(
    result: Result,
    labels: list[str],
    truth: Sequence[Event],
    span: Span,
    power: NDArray[np.float64],
    path: Path,
) -> None:
    figure: Figure = require_matplotlib()(figsize=(_WIDTH / _DPI, _HEIGHT / _DPI), dpi=_DPI)
    rows = max(4, len(labels))
    grid = figure.add_gridspec(
        3, 2, height_ratios=[8, 2 + 0.5 * rows, 2 + 0.5 * rows], width_ratios=[70, 1],
        left=0.13, right=0.955, top=0.935, bottom=0.07, hspace=0.11, wspace=0.02,
    )  # fmt: skip
    top = figure.add_subplot(grid[0, 0])
    middle = figure.add_subplot(grid[1, 0], sharex=top)
    bottom = figure.add_subplot(grid[2, 0], sharex=top)
    top.set_title(_title(result, span, labels), loc="left", fontsize=14)
    _draw_spectrogram(top, figure.add_subplot(grid[0, 1]), power, span)
    _draw_scores(middle, figure.add_subplot(grid[1, 1]), result, labels, span)
    _draw_events(bottom, result, labels, truth, span)
    _time_axis(bottom, result.duration, span)
    for axes in (top, middle):
        axes.tick_params(labelbottom=False)
    figure.savefig(path, format="png")


def clock(seconds: float) -> str:
    """A time as h:mm:ss, with tenths where there are some."""
    tenths = round(10 * seconds)
    whole, rest = divmod(tenths, 10)
    text = f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{text}.{rest}" if rest else text


def _time_axis(axes: Axes, duration: float, span: Span) -> None:
    """Seconds, or in a recording of a minute and more its clock."""
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    axes.set_xlim(*span)
    if duration < _MINUTE:
        axes.set_xlabel("time (s)", fontsize=12)
        return
    axes.set_xlabel("time (h:mm:ss)", fontsize=12)
    step = next((one for one in _STEPS if one * _TICKS >= span[1] - span[0]), _STEPS[-1])
    steps = max(1, math.ceil((span[1] - span[0]) / step / _TICKS))
    axes.xaxis.set_major_locator(MultipleLocator(step * steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda time, _: clock(time)))


def require_matplotlib() -> type[Figure]:
    """Returns matplotlib's figure, which draws without a window and without global state.

    Raises:
        ConfigError: If matplotlib is not installed.
    """
    module = optional_package(
        "matplotlib.figure", "pictures need", "plot", instead=", or use --no-plot"
    )
    figure: type[Figure] = module.Figure
    return figure


def _true_events(truth: pd.DataFrame | Iterable[EventTuple] | None, filename: str) -> list[Event]:
    import pandas as pd

    if truth is None:
        return []
    if not isinstance(truth, pd.DataFrame):
        return [Event(float(one[0]), float(one[1]), str(one[2])) for one in truth]
    own = truth[truth["filename"] == filename] if "filename" in truth.columns else truth
    columns = (own[name] for name in ("onset", "offset", "event_label"))
    return [Event(float(on), float(off), str(name)) for on, off, name in zip(*columns, strict=True)]


def _shown_labels(result: Result, truth: Sequence[Event]) -> list[str]:
    """All classes if they fit, otherwise those with events, then those with the highest peaks."""
    table = result.table
    true_only = sorted({event.event_label for event in truth} - set(table.labels))
    labels = [*table.labels, *true_only]
    if len(labels) <= _CLASSES:
        return labels
    active = {event.event_label for event in result.found} | {event.event_label for event in truth}
    peaks = dict(zip(table.labels, table.values.max(axis=0).tolist(), strict=True))
    ranked = sorted(labels, key=lambda name: (name not in active, -peaks.get(name, 0.0)))
    chosen = set(ranked[:_CLASSES])
    return [name for name in labels if name in chosen]


def _title(result: Result, span: Span, labels: Sequence[str]) -> str:
    count = len(result.found)
    parts = [result.filename, f"{count} event{'' if count == 1 else 's'}"]
    if span != (0.0, result.duration):
        of = clock(result.duration) if result.duration >= _MINUTE else f"{result.duration:.6g} s"
        parts.append(f"{clock(span[0])} to {clock(span[1])} of {of}")
    if len(labels) < len(result.table.labels):
        parts.append(f"{len(labels)} of {len(result.table.labels)} classes")
    return "   ·   ".join(parts)


def _mel_weights() -> NDArray[np.float64]:
    """The picture's mel bands [M, bins], each summing to 1."""
    span = np.linspace(hertz_to_mel(_LOWEST), hertz_to_mel(SAMPLE_RATE / 2), _BANDS + 2)
    edges = [mel_to_hertz(mel) for mel in span]
    bins = np.linspace(0.0, SAMPLE_RATE / 2, _FFT // 2 + 1)
    weights = np.stack([np.interp(bins, edges[m : m + 3], [0, 1, 0]) for m in range(_BANDS)])
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def spectrogram_columns(
    source: AudioSource, span: float, columns: int = _COLUMNS
) -> NDArray[np.float64]:
    """A recording's mel power in a fixed number of columns, read block by block.

    Args:
        source: The recording.
        span: Seconds from its start to show.
        columns: Columns N of the picture; fewer for recordings too short to fill them.

    Returns:
        Greatest mel power [M, N] of the spectra centred in each column.

    Raises:
        AudioError: If the recording cannot be read.
    """
    return next(spectrogram_pages(source, [(0.0, span)], columns))


def spectrogram_pages(
    source: AudioSource, pages: Sequence[Span], columns: int = _COLUMNS
) -> Iterator[NDArray[np.float64]]:
    """The mel power of pages of a recording, as of `spectrogram_columns`; it is read once.

    Args:
        source: The recording.
        pages: First and last second of each, in order and apart.
        columns: Columns N of a page.
    """
    weights, taper = _mel_weights(), np.hanning(_FFT)
    blocks = read_blocks(source, SAMPLE_RATE, 20.0)
    held = np.zeros(_FFT // 2, dtype=np.float32)  # so that spectrum i is centred on sample i·hop
    place = -(_FFT // 2)  # of the first sample held
    for first, last in pages:
        begin = seconds_to_samples(first)
        samples = max(1, seconds_to_samples(last) - begin)
        hop = int(np.clip(samples // (2 * columns), 64, _FFT // 2))  # no sample at a taper's zeros
        count, done = -(-samples // hop), 0
        power = np.zeros((_BANDS, min(columns, count)))
        while done < count:
            gone = min(len(held), begin + done * hop - _FFT // 2 - place)
            held, place = held[gone:], place + gone
            ready = min(count - done, (len(held) - _FFT) // hop + 1)
            if ready < 1 or place < begin + done * hop - _FFT // 2:
                # After the end silence, so that the last spectrum has its samples.
                held = np.concatenate([held, next(blocks, np.zeros(_FFT + hop, dtype=np.float32))])
                continue
            frames = np.lib.stride_tricks.sliding_window_view(held, _FFT)[: ready * hop : hop]
            spectra = np.abs(np.fft.rfft(frames * taper, axis=1)) ** 2  # [n, bins]
            column = (np.arange(done, done + ready) * power.shape[1]) // count
            np.maximum.at(power.T, column, spectra @ weights.T)
            done += ready
        yield power


def peaks_by_column(
    table_values: NDArray[np.floating], frames: int, columns: int = _COLUMNS
) -> NDArray[np.floating]:
    """Reduces scores to the columns of a picture, keeping the greatest of each.

    Args:
        table_values: Scores [T, C].
        frames: Frames from the start to show, at most T.
        columns: Columns N of the picture.

    Returns:
        Scores [min(N, frames), C].
    """
    if frames <= columns:
        return table_values[:frames]
    starts = (np.arange(columns) * frames) // columns
    peaks: NDArray[np.floating] = np.maximum.reduceat(table_values[:frames], starts, axis=0)
    return peaks


def _draw_spectrogram(axes: Axes, bar: Axes, power: NDArray[np.float64], span: Span) -> None:
    level = 10.0 * np.log10(np.maximum(power, 1e-12))
    level -= level.max()
    image = axes.imshow(
        level, origin="lower", aspect="auto", cmap="magma", vmin=-_RANGE_DB, vmax=0.0,
        extent=(*span, hertz_to_mel(_LOWEST), hertz_to_mel(SAMPLE_RATE / 2)),
        interpolation="nearest",
    )  # fmt: skip
    ticks = [250, 500, 1000, 2000, 4000, 8000]
    axes.set_yticks([hertz_to_mel(hz) for hz in ticks], [f"{hz / 1000:g}" for hz in ticks])
    axes.set_ylabel("frequency (kHz)", fontsize=12)
    bar.figure.colorbar(image, cax=bar).set_label("level (dB)", fontsize=11)


def _draw_scores(axes: Axes, bar: Axes, result: Result, labels: Sequence[str], span: Span) -> None:
    """Class scores as a heat map, one row a class; classes only truth knows stay empty."""
    boundaries = result.table.boundaries
    first = max(0, int(np.searchsorted(boundaries, span[0] + 1e-9)) - 1)
    last = max(first + 1, int(np.searchsorted(boundaries, span[1] - 1e-9)))
    peaks = peaks_by_column(result.table.values[first:last], last - first)
    known = {label: column for column, label in enumerate(result.table.labels)}
    rows = np.full((len(labels), len(peaks)), np.nan)
    for row, label in enumerate(labels):
        if label in known:
            rows[row] = peaks[:, known[label]]
    image = axes.imshow(
        rows, aspect="auto", cmap="viridis", vmin=0.0, vmax=1.0, interpolation="nearest",
        extent=(float(boundaries[first]), float(boundaries[last]), len(labels) - 0.5, -0.5),
    )  # fmt: skip
    _class_rows(axes, labels)
    bar.figure.colorbar(image, cax=bar).set_label("score", fontsize=11)


def half_covered(events: Sequence[EventTuple], others: Sequence[EventTuple]) -> list[bool]:
    """Which events have at least half of their time in others of their class.

    Of found events in true ones that is the detection tolerance, of true ones in found ones the
    ground truth tolerance of PSDS (arXiv 1910.08440), both at 0.5.
    """
    covered = []
    for onset, offset, label, *_ in events:
        parts = sorted(
            (max(onset, on), min(offset, off)) for on, off, name, *_ in others if name == label
        )
        reached, seconds = onset, 0.0
        for start, stop in parts:
            seconds += max(0.0, stop - max(start, reached))
            reached = max(reached, stop)
        covered.append(seconds >= 0.5 * (offset - onset))
    return covered


def _part(onset: float, offset: float, span: Span, least: float) -> tuple[float, float]:
    """Where the part of an event that a picture shows begins, and its width there."""
    first, last = span
    start = max(onset, first)
    return start, max(min(offset, last) - start, least)


def _draw_events(
    axes: Axes, result: Result, labels: Sequence[str], truth: Sequence[Event], span: Span
) -> None:
    """Found events as bars with their scores, true events as outlines around them."""
    right = half_covered(result.found, truth)
    heard = half_covered(truth, result.found)
    first, last = span
    length = last - first
    least = 2.0 * length / _COLUMNS  # an event narrower than two pixels would not be seen
    for row, label in enumerate(labels):
        found = [
            (*_part(on, off, span, least), score, not truth or correct)
            for (on, off, name, score), correct in zip(result.found, right, strict=True)
            if name == label and on < last and off > first
        ]
        colour = _COLOURS[row % len(_COLOURS)]
        bars = [(onset, width) for onset, width, _, correct in found if correct]
        axes.broken_barh(bars, (row - 0.28, 0.56), color=colour, linewidth=0)
        wrong = [(onset, width) for onset, width, _, correct in found if not correct]
        axes.broken_barh(wrong, (row - 0.28, 0.56), **_WRONG)
        for onset, width, score, correct in found:
            if correct and width > 0.028 * length:
                axes.text(
                    onset + width / 2, row, f"{score:.2f}", color="white", fontsize=9,
                    ha="center", va="center_baseline", clip_on=True,
                )  # fmt: skip
        for style, missed in ((_TRUE, False), (_MISSED, True)):
            outlines = [
                _part(on, off, span, least)
                for (on, off, name, _), found_it in zip(truth, heard, strict=True)
                if name == label and found_it is not missed and on < last and off > first
            ]
            axes.broken_barh(outlines, (row - 0.42, 0.84), **style)
    _class_rows(axes, labels)
    axes.grid(axis="x", color="0.85", linewidth=0.8)
    axes.set_axisbelow(True)
    if truth:
        from matplotlib.patches import Patch

        styles = {"found": {"facecolor": "0.45"}, "found, wrong": _WRONG, "true": _TRUE}
        styles["true, missed"] = _MISSED
        handles = [Patch(label=name, **style) for name, style in styles.items()]
        axes.legend(
            handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, frameon=False,
            fontsize=10, borderaxespad=0.1,
        )  # fmt: skip


def _class_rows(axes: Axes, labels: Sequence[str]) -> None:
    """One row a class, from the top, named at the left."""
    axes.set_yticks(range(len(labels)), [short_name(label) for label in labels], fontsize=10)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def short_name(label: str) -> str:
    """A class name that fits beside the axes."""
    text = label.replace("_", " ")
    return text if len(text) <= 26 else f"{text[:25]}…"
