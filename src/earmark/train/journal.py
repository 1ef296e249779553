"""The run's diary: one JSON line an epoch, and TensorBoard curves where that is installed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """Appends records to ``journal.jsonl``.

    Args:
        folder: Run folder.
        keep_epochs: Lines of later epochs are dropped: they were written after the checkpoint
            that the run goes on from.
    """

    def __init__(self, folder: Path, keep_epochs: int = 0) -> None:
        self.path = folder / "journal.jsonl"
        kept = []
        if keep_epochs and self.path.exists():
            kept = list(_until(keep_epochs, self.path.read_text(encoding="utf-8").splitlines()))
        self.path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self._board: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=keep_epochs)

    def write(self, record: dict[str, Any]) -> None:
        """Add one epoch."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        if self._board is not None:
            for name, value in _scalars(record):
                self._board.add_scalar(name, value, record["step"])

    def close(self) -> None:
        """Flush the curves."""
        if self._board is not None:
            self._board.close()


def _until(epoch: int, lines: list[str]) -> Iterator[str]:
    """Lines up to an epoch; a run killed while writing leaves a broken line after them."""
    for line in lines[:epoch]:
        if json.loads(line)["epoch"] <= epoch:
            yield line


def _scalars(record: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in record["losses"].items():
        yield f"train/{name}", value
    yield "train/lr", record["lr"]
    for network, metrics in record.get("validation", {}).items():
        for name, value in metrics.items():
            if isinstance(value, int | float):
                yield f"{network}/{name}", value
