"""Where a run's figures go beside its journal: TensorBoard, Weights & Biases, or anything else."""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from earmark.core.errors import optional_package
from earmark.core.files import write_text

WANDB_ID = "wandb_id.txt"


class RunLogger(Protocol):
    """Takes figures by name, as ``train/loss`` or ``teacher/psds1``, after every epoch."""

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Figures after so many optimiser steps."""

    def close(self) -> None:
        """The run ends here, finished or not."""


class TensorBoardLogger:
    """Curves in ``tensorboard/`` of a run folder.

    Args:
        folder: Run folder.
        step: Optimiser steps done: curves beyond, of a run that was stopped, are dropped.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    @staticmethod
    def is_installed() -> bool:
        """Whether there is TensorBoard."""
        return importlib.util.find_spec("tensorboard") is not None

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Add a point to each curve."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush the curves."""
        self._writer.close()


class WandbLogger:
    """A run of Weights & Biases; a run that is resumed goes on in the same one.

    Args:
        project: Its project there.
        folder: Run folder: its name is the run's, and it keeps the run's id.
        settings: Shown as the run's configuration.

    Raises:
        EarmarkError: If the package ``wandb`` is not installed.
    """

    def __init__(self, project: str, folder: Path, settings: Mapping[str, Any]) -> None:
        self._wandb: Any = optional_package("wandb", "--wandb needs", "wandb")
        self._project, self._folder, self._settings = project, folder, dict(settings)
        self._run: Any = None  # begun with the first epoch: a run may be refused before

    def _begin(self) -> Any:
        known = self._folder / WANDB_ID
        if not known.is_file():
            write_text(known, uuid.uuid4().hex[:12] + "\n")
        return self._wandb.init(
            project=self._project,
            name=self._folder.resolve().name,
            id=known.read_text(encoding="utf-8").strip(),
            resume="allow",
            dir=str(self._folder),
            config=self._settings,
        )

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Send a point of each curve."""
        self._run = self._run or self._begin()
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        """End the run there."""
        if self._run is not None:
            self._run.finish()
