"""Numbers of many clips, put aside clip by clip and taken out class by class.

What does not fit into a few tens of megabytes goes to a temporary file, so that memory does not
grow with the number of clips.
"""

from __future__ import annotations

import tempfile
from typing import IO

import numpy as np

from earmark.score.events import Floats, Ints
from earmark.score.psds.steps import COST, Steps

PENDING = 500_000
"""So many steps are held in memory before they are written away."""
ROWS = 1_000_000
"""So many scores are held, written or read at once."""
RECORD = np.dtype([("score", "f8"), ("change", "f8"), ("clip", "i4"), ("kind", "i2")])


class SpilledSteps:
    """Steps of C classes.

    Args:
        labels: Number of classes C.
    """

    def __init__(self, labels: int) -> None:
        self.labels = labels
        self._pending: list[Steps] = []
        self._waiting = 0
        self._written: list[tuple[IO[bytes], int, Ints]] = []
        self._file: IO[bytes] | None = None

    def put(self, steps: Steps) -> None:
        """Put steps of any classes aside."""
        self._pending.append(steps)
        self._waiting += len(steps)
        if self._waiting > PENDING:
            self._write()

    def join(self, other: SpilledSteps) -> None:
        """Take over what another one holds."""
        for steps in other._pending:
            self.put(steps)
        self._written += other._written

    def settle(self) -> None:
        """Sort what is still in memory, before classes are taken out."""
        steps = Steps.joined(self._pending)
        order = np.argsort(steps.label, kind="stable")
        self._pending, self._waiting = [steps.at(order)], len(steps)

    def take(self, label: int) -> Steps:
        """All steps of one class; `settle` comes before."""
        first, last = np.searchsorted(self._pending[0].label, [label, label + 1])
        found = [self._pending[0].at(slice(first, last))]
        for file, begin, bounds in self._written:
            file.seek(begin + int(bounds[label]) * RECORD.itemsize)
            size = int(bounds[label + 1] - bounds[label]) * RECORD.itemsize
            read = np.frombuffer(file.read(size), dtype=RECORD)
            kind, change = read["kind"].astype(np.int64), read["change"]
            change = change.copy() if np.any(kind == COST) else change.astype(np.int64)
            labels = np.full(len(read), label)
            found.append(Steps.of(kind, labels, read["score"].copy(), read["clip"], change))
        return Steps.joined(found)

    def _write(self) -> None:
        self.settle()
        [steps] = self._pending
        record = np.empty(len(steps), dtype=RECORD)
        for name in ("score", "change", "clip", "kind"):
            record[name] = getattr(steps, name)
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 — closed with it
        begin = self._file.seek(0, 2)
        self._file.write(record.tobytes())
        bounds = np.searchsorted(steps.label, np.arange(self.labels + 1))
        self._written.append((self._file, begin, bounds))
        self._pending, self._waiting = [], 0


class SpilledRows:
    """Rows of C numbers, of which the n-th highest of each column is asked for.

    Args:
        labels: Number of columns C.
    """

    def __init__(self, labels: int) -> None:
        self.labels = labels
        self._pending: list[Floats] = []
        self._files: list[tuple[IO[bytes], int]] = []  # and the number of rows in each
        self.rows = 0

    def put(self, row: Floats) -> None:
        """Put one row aside ``[C]``."""
        self._pending.append(row)
        self.rows += 1
        if len(self._pending) * self.labels > ROWS:
            self._write()

    def copy(self) -> SpilledRows:
        """Another one with the same rows."""
        found = SpilledRows(self.labels)
        found.join(self)
        return found

    def join(self, other: SpilledRows) -> None:
        """Take over the rows of another one, which keeps them too."""
        self._pending += other._pending
        self._files += other._files
        self.rows += other.rows

    def highest(self, number: int) -> Floats:
        """The ``number``-th highest of each column ``[C]``."""
        found = np.empty(self.labels)
        size = max(1, ROWS // self.rows)
        for first in range(0, self.labels, size):
            columns = slice(first, first + size)
            values = self._columns(columns)
            values.partition(self.rows - number, axis=0)
            found[columns] = values[self.rows - number]
        return found

    def _columns(self, columns: slice) -> Floats:
        """Some columns of all rows."""
        found = [np.stack(self._pending)[:, columns]] if self._pending else []
        step = max(1, ROWS // self.labels)
        for file, rows in self._files:
            file.seek(0)
            for first in range(0, rows, step):
                count = min(step, rows - first)
                block = np.frombuffer(file.read(count * self.labels * 8))
                found.append(block.reshape(count, self.labels)[:, columns].copy())
        return np.concatenate(found)

    def _write(self) -> None:
        file = tempfile.TemporaryFile()  # noqa: SIM115 — closed with it
        file.write(np.stack(self._pending).tobytes())
        self._files.append((file, len(self._pending)))
        self._pending = []
