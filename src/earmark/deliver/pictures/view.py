"""Pictures of what was heard: spectrogram, class scores and events on one time axis.

Recordings are read in blocks and reduced to the width of the picture on the way, so that an hour
needs no more memory than a minute. Where several values share a pixel the greatest is shown:
short events stay visible.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

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


_WIDTH, _HEIGHT, _DPI = 1600, 900, 100  # pixels
_COLUMNS = 1400  # of them the time axis has about this many
_BANDS = 80
_LOWEST = 50.0  # Hz
_FFT = 1024
_RANGE_DB = 70.0
_CLASSES = 16  # rows that stay legible
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
) -> Path:
    """Draws a recording's log-mel spectrogram, its class scores and its events into a PNG.

    Args:
        path: The picture, 1600 × 900 pixels.
        source: The recording: a path, a file object or ``(samples, sample_rate)``.
        result: What the detector found in it.
        truth: True events, drawn as outlines: `Event` or plain tuples of onset, offset and label,
            or a table of events, of which the rows of ``result.filename`` are taken.
        max_seconds: Only the recording's first so many seconds are drawn; all when None.

    Returns:
        The path of the picture.

    Raises:
        EarmarkError: If matplotlib is not installed, or ``max_seconds`` is not positive.
        AudioError: If the recording cannot be read.
    """
    figure_class = require_matplotlib()
    if not isinstance(source, tuple | str | os.PathLike):
        source.seek(0)  # detection has read it to its end
    span = result.duration if max_seconds is None else min(result.duration, max_seconds)
    if not span > 0:
        raise EarmarkError(f"a picture of {span} s shows nothing", hint="Use a positive length")
    true_events = _true_events(truth, result.filename)
    labels = _shown_labels(result, true_events)
    figure: Figure = figure_class(figsize=(_WIDTH / _DPI, _HEIGHT / _DPI), dpi=_DPI)
    rows = max(4, len(labels))
    grid = figure.add_gridspec(
        3, 2, height_ratios=[8, 2 + 0.5 * rows, 2 + 0.5 * rows], width_ratios=[70, 1],
        left=0.13, right=0.955, top=0.935, bottom=0.07, hspace=0.11, wspace=0.02,
    )  # fmt: skip
    top = figure.add_subplot(grid[0, 0])
    middle = figure.add_subplot(grid[1, 0], sharex=top)
    bottom = figure.add_subplot(grid[2, 0], sharex=top)
    top.set_title(_title(result, span, labels), loc="left", fontsize=14)
    _draw_spectrogram(top, figure.add_subplot(grid[0, 1]), source, span)
    _draw_scores(middle, figure.add_subplot(grid[1, 1]), result, labels, span)
    _draw_events(bottom, result, labels, true_events, span)
    bottom.set_xlim(0.0, span)
    bottom.set_xlabel("time (s)", fontsize=12)
    for axes in (top, middle):
        axes.tick_params(labelbottom=False)
    figure.savefig(path, format="png")
    return Path(path)


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


def _title(result: Result, span: float, labels: Sequence[str]) -> str:
    count = len(result.found)
    parts = [result.filename, f"{count} event{'' if count == 1 else 's'}"]
    if span < result.duration:
        parts.append(f"first {span:g} s of {result.duration:.6g} s")
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
    samples = max(1, seconds_to_samples(span))
    hop = int(np.clip(samples // (2 * columns), 64, _FFT // 2))  # no sample at a taper's zeros
    count = -(-samples // hop)
    columns = min(columns, count)
    weights, taper = _mel_weights(), np.hanning(_FFT)
    power = np.zeros((_BANDS, columns))
    held = np.zeros(_FFT // 2, dtype=np.float32)  # so that spectrum i is centred on sample i·hop
    done = 0
    end = np.zeros(_FFT + hop, dtype=np.float32)  # so that the last spectrum has its samples
    for block in chain(read_blocks(source, SAMPLE_RATE, 20.0), [end]):
        held = np.concatenate([held, block])
        ready = min(count - done, (len(held) - _FFT) // hop + 1)
        if ready > 0:
            frames = np.lib.stride_tricks.sliding_window_view(held, _FFT)[: ready * hop : hop]
            spectra = np.abs(np.fft.rfft(frames * taper, axis=1)) ** 2  # [n, bins]
            place = (np.arange(done, done + ready) * columns) // count
            np.maximum.at(power.T, place, spectra @ weights.T)
            held, done = held[ready * hop :], done + ready
        if done == count:
            break
    return power


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


def _draw_spectrogram(axes: Axes, bar: Axes, source: AudioSource, span: float) -> None:
    power = spectrogram_columns(source, span)
    level = 10.0 * np.log10(np.maximum(power, 1e-12))
    level -= level.max()
    image = axes.imshow(
        level, origin="lower", aspect="auto", cmap="magma", vmin=-_RANGE_DB, vmax=0.0,
        extent=(0.0, span, hertz_to_mel(_LOWEST), hertz_to_mel(SAMPLE_RATE / 2)),
        interpolation="nearest",
    )  # fmt: skip
    ticks = [250, 500, 1000, 2000, 4000, 8000]
    axes.set_yticks([hertz_to_mel(hz) for hz in ticks], [f"{hz / 1000:g}" for hz in ticks])
    axes.set_ylabel("frequency (kHz)", fontsize=12)
    bar.figure.colorbar(image, cax=bar).set_label("level (dB)", fontsize=11)


def _draw_scores(axes: Axes, bar: Axes, result: Result, labels: Sequence[str], span: float) -> None:
    """Class scores as a heat map, one row a class; classes only truth knows stay empty."""
    boundaries = result.table.boundaries
    frames = max(1, int(np.searchsorted(boundaries, span - 1e-9)))
    peaks = peaks_by_column(result.table.values, frames)
    known = {label: column for column, label in enumerate(result.table.labels)}
    rows = np.full((len(labels), len(peaks)), np.nan)
    for row, label in enumerate(labels):
        if label in known:
            rows[row] = peaks[:, known[label]]
    image = axes.imshow(
        rows, aspect="auto", cmap="viridis", vmin=0.0, vmax=1.0, interpolation="nearest",
        extent=(0.0, float(boundaries[frames]), len(labels) - 0.5, -0.5),
    )  # fmt: skip
    _class_rows(axes, labels)
    bar.figure.colorbar(image, cax=bar).set_label("score", fontsize=11)


def _draw_events(
    axes: Axes, result: Result, labels: Sequence[str], truth: Sequence[Event], span: float
) -> None:
    """Found events as bars with their scores, true events as outlines around them."""
    from matplotlib.patches import Patch

    least = 2.0 * span / _COLUMNS  # an event narrower than two pixels would not be seen
    for row, label in enumerate(labels):
        found = [
            (on, max(min(off, span) - on, least), score)
            for on, off, name, score in result.found
            if name == label and on < span
        ]
        colour = _COLOURS[row % len(_COLOURS)]
        bars = [(onset, width) for onset, width, _ in found]
        axes.broken_barh(bars, (row - 0.28, 0.56), color=colour, linewidth=0)
        for onset, width, score in found:
            if width > 0.028 * span:
                axes.text(
                    onset + width / 2, row, f"{score:.2f}", color="white", fontsize=9,
                    ha="center", va="center_baseline", clip_on=True,
                )  # fmt: skip
        true_bars = [
            (on, max(min(off, span) - on, least)) for on, off, name, _ in truth if name == label
        ]
        axes.broken_barh(
            true_bars, (row - 0.42, 0.84), facecolor="none", edgecolor="black", linewidth=1.4
        )
    _class_rows(axes, labels)
    axes.grid(axis="x", color="0.85", linewidth=0.8)
    axes.set_axisbelow(True)
    if truth:
        handles = [
            Patch(facecolor="0.45", label="found"),
            Patch(facecolor="none", edgecolor="black", linewidth=1.4, label="true"),
        ]
        axes.legend(
            handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False,
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
