"""Spectrograms and scores in tiles of several zooms, so that a page loads what it shows.

Tiles have `TILE` columns. Level 0 has the finest columns, and each further level one for four of
the level before, until one tile holds the recording.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from earmark.core.tables.scores import ScoreTable
from earmark.features.mel import hertz_to_mel, mel_to_hertz

TILE = 3000
"""Columns of a tile."""
ZOOM = 4
"""Columns of a level that become one of the next."""
COLUMNS, SCORES = 50, 25
"""Columns a second of the finest spectrogram and of the finest scores."""
BANDS = 128
LOWEST = 50.0
"""Hz, the lower edge of a spectrogram."""
_FFT = 1024
_FLOOR, _STEPS = -120.0, 2.0  # dB of level 0, and levels per dB, of a column while it is kept
_LEAST, _MOST = 35.0, 75.0  # dB between the darkest and the brightest colour
_QUALITY = 70
_AT_ONCE = 4096  # columns computed in one go

Bytes = NDArray[np.uint8]


def level_count(columns: int) -> int:
    """How many levels so many columns have."""
    count = 1
    while columns > TILE:
        columns, count = -(-columns // ZOOM), count + 1
    return count


class Spectrogram:
    """A recording's mel spectrogram, computed while its blocks come, and drawn in the end.

    Args:
        rate: Samples per second.
        store: An empty file that holds the columns meanwhile.
    """

    def __init__(self, rate: int, store: BinaryIO) -> None:
        self._hop, self._store = rate // COLUMNS, store
        self._weights = mel_weights(rate).astype(np.float32)
        taper = np.hanning(_FFT).astype(np.float32)
        self._taper = taper / (taper.sum() / 2)  # a sine of full scale has 0 dB
        # Column i is centred on the middle of its samples.
        self._held = np.zeros((_FFT - self._hop) // 2, dtype=np.float32)
        self._samples = 0
        self._count = np.zeros(256, dtype=np.int64)
        self.columns = 0

    def push(self, block: NDArray[np.float32]) -> None:
        """Takes the next samples [s]."""
        self._samples += len(block)
        self._held = np.concatenate([self._held, block])
        self._compute((len(self._held) - _FFT) // self._hop + 1)

    def finish(self) -> None:
        """Computes the last columns; what lies beyond the end is silence."""
        rest = -(-self._samples // self._hop) - self.columns
        missing = (rest - 1) * self._hop + _FFT - len(self._held)
        self._held = np.pad(self._held, (0, max(0, missing)))
        self._compute(rest)

    def _compute(self, ready: int) -> None:
        for first in range(0, ready, _AT_ONCE):
            count = min(_AT_ONCE, ready - first)
            held = self._held[first * self._hop :]
            frames = np.lib.stride_tricks.sliding_window_view(held, _FFT)[:: self._hop][:count]
            spectra = scipy.fft.rfft(frames * self._taper, axis=1)  # [n, bins]
            power = (spectra.real**2 + spectra.imag**2) @ self._weights.T  # [n, BANDS]
            level = 10.0 * np.log10(np.maximum(power, 1e-12))
            kept = np.clip((level - _FLOOR) * _STEPS, 0, 255).astype(np.uint8)
            self._count += np.bincount(kept.ravel(), minlength=256)
            self._store.write(kept.tobytes())
        if ready > 0:
            self._held = self._held[ready * self._hop :]
            self.columns += ready

    def draw(self, folder: Path) -> int:
        """Writes the tiles ``s{level}-{number}.jpg``; returns how many levels there are."""
        from PIL import Image

        self._store.flush()
        kept = np.memmap(self._store, dtype=np.uint8, mode="r", shape=(self.columns, BANDS))
        colours, levels = self._colours(), level_count(self.columns)
        columns: Bytes = kept
        for level in range(levels):
            pooled = []
            for number, tile in enumerate(tiles_of(columns)):
                picture = Image.fromarray(colours[tile.T[::-1]])
                picture.save(folder / f"s{level}-{number}.jpg", quality=_QUALITY)
                pooled.append(_pool(tile))
            columns = np.concatenate(pooled)
        del kept
        return levels

    def _colours(self) -> Bytes:
        """A colour [256, 3] for each kept level, from the recording's floor to its peaks."""
        from matplotlib import colormaps

        share = np.cumsum(self._count) / max(1, self._count.sum())
        low, high = (float(np.searchsorted(share, q)) for q in (0.10, 0.9995))
        high = max(high, low + _LEAST * _STEPS)
        low = max(low, high - _MOST * _STEPS)
        place = np.clip((np.arange(256) - low) / (high - low), 0, 1)
        return np.asarray(np.rint(colormaps["magma"](place)[:, :3] * 255), dtype=np.uint8)


def tiles_of(columns: Bytes) -> Iterator[Bytes]:
    """Columns [N, …] cut into tiles."""
    for first in range(0, len(columns), TILE):
        yield columns[first : first + TILE]


def _pool(tile: Bytes) -> Bytes:
    """Columns of the next level: between the mean and the peak of four, to see what is short."""
    padded = np.pad(tile, ((0, -len(tile) % ZOOM), (0, 0)), mode="edge")
    fours = padded.reshape(-1, ZOOM, padded.shape[1])
    both: Bytes = ((fours.max(axis=1) + fours.mean(axis=1)) / 2).astype(np.uint8)
    return both


def mel_weights(rate: int) -> NDArray[np.float64]:
    """Bands [BANDS, bins] from `LOWEST` to half the rate, each summing to 1, none empty."""
    mels = np.linspace(hertz_to_mel(LOWEST), hertz_to_mel(rate / 2), BANDS + 2)
    edges = np.array([mel_to_hertz(mel) for mel in mels])
    bins = np.linspace(0.0, rate / 2, _FFT // 2 + 1)
    half = np.maximum(np.diff(edges), bins[1])  # as wide as the bins are apart, at least
    rise = 1 - (edges[1:-1, None] - bins) / half[:-1, None]
    fall = 1 - (bins - edges[1:-1, None]) / half[1:, None]
    weights = np.clip(np.minimum(rise, fall), 0.0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def write_scores(folder: Path, key: str, table: ScoreTable, columns: Sequence[int]) -> int:
    """Writes scores as 8-bit numbers, ``c{level}-{number}.js``; returns how many levels there are.

    Args:
        folder: Where.
        key: What the page knows the recording's tiles by.
        table: Scores of the recording.
        columns: Which of its classes.
    """
    values = np.clip(np.rint(table.values[:, columns] * 255), 0, 255).astype(np.uint8)
    seconds = float(table.boundaries[-1])
    starts = np.arange(max(1, int(np.ceil(seconds * SCORES - 1e-6)))) / SCORES
    frames = np.searchsorted(table.boundaries, starts + 1e-9, side="right") - 1
    # The greatest of the frames that begin in a column, or the one that it lies in.
    scores: Bytes = np.maximum.reduceat(values, frames.clip(0, len(values) - 1), axis=0)
    levels = level_count(len(scores))
    for level in range(levels):
        for number, tile in enumerate(tiles_of(scores)):
            text = base64.b64encode(np.ascontiguousarray(tile.T).tobytes()).decode()
            name = json.dumps(f"{key}/c{level}-{number}")
            (folder / f"c{level}-{number}.js").write_text(f'EARMARK.scores({name},"{text}");\n')
        padded = np.pad(scores, ((0, -len(scores) % ZOOM), (0, 0)), mode="edge")
        scores = padded.reshape(-1, ZOOM, padded.shape[1]).max(axis=1)
    return levels
