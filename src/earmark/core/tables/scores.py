"""Score tables: a score for every frame and class, before any decision."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earmark.core.errors import LabelError, ScoreError
from earmark.core.files import read_text, split_lines
from earmark.core.tables.rows import from_csv

if TYPE_CHECKING:
    import pandas as pd

TIME_TOLERANCE = 5e-7
"""Edges of neighbouring frames may differ by this many seconds in a file (6 decimals)."""
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of one clip: T gapless frames of possibly different lengths, C classes.

    Args:
        boundaries: Edges of the frames in seconds, ``[T + 1]``, strictly increasing.
        values: One score per frame and class, ``[T, C]``; any real number, ``-inf`` for
            "never active".
        labels: The C class names, in the order of the columns.

    Raises:
        ScoreError: If shapes disagree, the edges do not increase, a score is NaN, or labels repeat.
    """

    boundaries: NDArray[np.float64]
    values: NDArray[Any]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        boundaries = np.asarray(self.boundaries, dtype=np.float64).view()
        values = np.asarray(self.values)
        if values.dtype not in (np.float32, np.float64):
            values = values.astype(np.float64)
        values = values.view()
        labels = tuple(self.labels)
        _check(boundaries, values, labels)
        boundaries.flags.writeable = values.flags.writeable = False
        object.__setattr__(self, "boundaries", boundaries)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.values)

    def on(self, boundaries: NDArray[np.float64]) -> ScoreTable:
        """The table in other frames: each gets the mean over its time.

        Args:
            boundaries: Edges of the new frames in seconds, strictly increasing. What lies before
                the first or after the last of the old ones has the score of the nearest frame.

        Raises:
            ScoreError: If a score is infinite.
        """
        if not np.isfinite(self.values).all():
            raise ScoreError("scores that are infinite have no mean over a frame")
        lengths = np.diff(self.boundaries)[:, None]
        rows = np.concatenate([self.values[:1], self.values, self.values[-1:]])  # [T + 2, C]
        far = max(float(np.abs(boundaries).max()), 1.0) * 2.0 + abs(float(self.boundaries[-1]))
        lengths = np.concatenate([[[far]], lengths, [[far]]])
        edges = np.concatenate(
            [[self.boundaries[0] - far], self.boundaries, [self.boundaries[-1] + far]]
        )
        sums = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows * lengths, axis=0)])
        at = np.stack([np.interp(boundaries, edges, column) for column in sums.T], axis=1)
        values = np.diff(at, axis=0) / np.diff(boundaries)[:, None]
        low, high = self.values.min(axis=0), self.values.max(axis=0)
        return ScoreTable(boundaries, np.clip(values, low, high), self.labels)

    def to_frame(self) -> pd.DataFrame:
        """The table as columns ``onset``, ``offset`` and one per class, seconds."""
        import pandas as pd

        frame = pd.DataFrame(self.values, columns=list(self.labels))
        frame.insert(0, "onset", self.boundaries[:-1])
        frame.insert(1, "offset", self.boundaries[1:])
        return frame

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, where: str | Path | None = None) -> ScoreTable:
        """A table from columns ``onset``, ``offset`` and one per class.

        Args:
            frame: Rows in time, each starting where the one before ends.
            where: The file the frame was read from, named in errors.

        Raises:
            ScoreError: If a column is missing or not a number, rows leave gaps, or the table is
                not valid; in a file also if a score is not in [0, 1].
        """
        columns = [str(name) for name in frame.columns]
        try:
            numbers = frame.to_numpy(dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ScoreError(f"a cell is not a number ({error})", where=where) from None
        return cls._from_columns(columns, numbers, where)

    @classmethod
    def _from_columns(
        cls, columns: Sequence[str], numbers: NDArray[np.float64], where: str | Path | None
    ) -> ScoreTable:
        if list(columns[:2]) != ["onset", "offset"]:
            raise ScoreError(
                "a score table starts with the columns onset and offset",
                where=where,
                hint=f"Its columns are: {', '.join(columns) or 'none'}.",
            )
        onsets, offsets = numbers[:, 0], numbers[:, 1]
        gaps = np.flatnonzero(~(np.abs(onsets[1:] - offsets[:-1]) <= TIME_TOLERANCE))
        if len(gaps):
            row = int(gaps[0])
            raise ScoreError(
                f"frame {row + 2} starts at {onsets[row + 1]:g} s, the one before ends at "
                f"{offsets[row]:g} s",
                where=where if where is None else f"{where}:{row + 3}",
                hint="Frames must follow each other without gaps.",
            )
        try:
            table = cls(np.append(onsets, offsets[-1:]), numbers[:, 2:], tuple(columns[2:]))
        except ScoreError as error:
            raise ScoreError(error.what, where=where, hint=error.hint) from None
        return table if where is None else table.probabilities(where)

    def probabilities(self, where: str | Path) -> ScoreTable:
        """The table itself, as a file must have it: every score from 0 to 1.

        Args:
            where: The file. Its header counts as its first row.

        Raises:
            ScoreError: If a score is infinite or not in [0, 1]; row and column are named.
        """
        # What is written of sums in single precision may be 1 and a last digit.
        wrong = ~((self.values >= -_ROUNDING) & (self.values <= 1 + _ROUNDING))
        if wrong.any():
            row, column = np.argwhere(wrong)[0].tolist()
            raise ScoreError(
                f"the score of {self.labels[column]} is {self.values[row, column]:g}, not from 0 "
                f"to 1 ({np.count_nonzero(wrong)} such cells)",
                where=f"{where}:{row + 2}",
                hint="Write probabilities: the sigmoid of logits, 0 for what is never active",
            )
        return self

    @classmethod
    def read(cls, path: str | Path) -> ScoreTable:
        """Read a score table, separated by tabs or commas as its header is.

        Args:
            path: The file; one that ends with ``.gz`` is unpacked.

        Raises:
            ScoreError: If the file is missing, not a table of numbers, not a valid table, or has a
                score that is not in [0, 1].
        """
        try:
            text = read_text(path)
        except LabelError as error:
            raise ScoreError(
                f"cannot read the score table ({error.what})", where=path, hint=error.hint
            ) from None
        lines = split_lines(text)
        first = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
        header = lines[first] if first < len(lines) else ""
        delimiter = "," if "," in header and "\t" not in header else "\t"
        columns = next(csv.reader([header], delimiter=delimiter), [])
        columns = [from_csv(name) for name in columns] if delimiter == "," else columns
        body = lines[first + 1 :]
        try:
            # Correctly rounded, and faster than cell by cell …
            if not any(body):
                raise ValueError  # NumPy would only warn
            numbers = np.loadtxt(body, delimiter=delimiter, comments=None, ndmin=2)
            if numbers.shape[1:] != (len(columns),):
                raise ValueError
        except ValueError:
            # … which names the line that is wrong.
            numbers = _cells(lines, first, delimiter, len(columns), path)
        if columns[:1] == [""]:  # the index that pandas writes by default
            columns, numbers = columns[1:], numbers[:, 1:]
        return cls._from_columns(columns, numbers, path)

    def write(self, path: str | Path) -> None:
        """Write the table as tab-separated text; reading it gives the same numbers back."""
        frame = self.to_frame()
        frame[list(self.labels)] = frame[list(self.labels)].astype(np.float64)
        frame.to_csv(path, sep="\t", index=False, lineterminator="\n")


def _cells(
    lines: Sequence[str], header: int, delimiter: str, size: int, path: str | Path
) -> NDArray[np.float64]:
    """The numbers below a table's header, cell by cell; errors name the line."""
    rows = []
    for number, row in enumerate(csv.reader(lines[header + 1 :], delimiter=delimiter), header + 2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != size:
            raise ScoreError(f"{len(row)} cells for {size} columns", where=f"{path}:{number}")
        try:
            rows.append([float(cell) for cell in row])
        except ValueError as error:
            raise ScoreError(
                f"a cell is not a number ({error})", where=f"{path}:{number}"
            ) from None
    if not rows:
        raise ScoreError("the score table has no frames", where=path)
    return np.array(rows)


def _check(boundaries: NDArray[np.float64], values: NDArray[Any], labels: tuple[str, ...]) -> None:
    if values.ndim != 2 or boundaries.shape != (len(values) + 1,) or not len(values):
        raise ScoreError(
            f"{values.shape} scores do not fit {boundaries.shape} frame edges",
            hint="T frames need T + 1 edges and scores [T, C], T at least 1.",
        )
    if values.shape[1] != len(labels) or len(set(labels)) != len(labels) or not labels:
        raise ScoreError(
            f"{values.shape[1]} columns of scores for the labels {', '.join(labels) or '(none)'}",
            hint="Give one label per column, each once.",
        )
    if not np.isfinite(boundaries).all() or not (np.diff(boundaries) > 0).all():
        raise ScoreError("frame edges must be finite and increase strictly")
    bad = np.argwhere(np.isnan(values))
    if len(bad):
        frame, column = bad[0]
        raise ScoreError(
            f"the score of {labels[column]} is NaN in frame {frame + 1} "
            f"({boundaries[frame]:g} s; {len(bad)} NaN in all)"
        )


def common_labels(tables: Iterable[tuple[str, ScoreTable]]) -> tuple[str, ...]:
    """The labels that all tables have, in their order.

    Args:
        tables: Pairs of clip id and table.

    Raises:
        ScoreError: If there is no table, or two clips have different labels or another order.
    """
    first: tuple[str, ScoreTable] | None = None
    for clip, table in tables:
        if first is None:
            first = clip, table
        elif table.labels != first[1].labels:
            raise ScoreError(
                f"the score columns of {clip} ({', '.join(table.labels)}) differ from those of "
                f"{first[0]} ({', '.join(first[1].labels)})",
                hint="Every clip needs the same classes in the same order.",
            )
    if first is None:
        raise ScoreError("there are no score tables")
    return first[1].labels
