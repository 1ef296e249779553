"""A run's journal: one line of JSON an epoch; and how the run began."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earmark._version import __version__
from earmark.core.errors import DataError
from earmark.core.files import write_lines, write_text
from earmark.core.files.bounds import parse_json, read_bytes
from earmark.data.subsets import Manifest
from earmark.train.record.loggers import RunLogger

if TYPE_CHECKING:
    from lightning_fabric import Fabric

JOURNAL, BEGUN = "journal.jsonl", "run.json"
Record = dict[str, Any]


class Journal:
    """Appends records to ``journal.jsonl``, and tells loggers of their figures.

    Args:
        folder: Run folder.
        keep_epochs: Lines of later epochs are dropped: they were written after the checkpoint
            that the run goes on from.
        loggers: Told of every epoch, and closed with the journal.
    """

    def __init__(
        self, folder: Path, keep_epochs: int = 0, loggers: Sequence[RunLogger] = ()
    ) -> None:
        self.path, self._loggers = folder / JOURNAL, tuple(loggers)
        kept: list[str] = []
        if keep_epochs and self.path.exists():
            lines = read_bytes(self.path, DataError).decode("utf-8", "replace").splitlines()
            kept = list(_until(keep_epochs, lines))
        write_lines(self.path, kept)

    def write(self, record: Record) -> None:
        """Add one epoch."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        for logger in self._loggers:
            logger.log(dict(figures_of(record)), record["step"])

    def close(self) -> None:
        """End what the loggers write."""
        for logger in self._loggers:
            logger.close()


def _until(epoch: int, lines: list[str]) -> Iterator[str]:
    """Lines up to an epoch; a run killed while writing leaves a broken line after them."""
    for line in lines[:epoch]:
        with suppress(ValueError, TypeError, KeyError):
            if parse_json(line)["epoch"] <= epoch:
                yield line


def figures_of(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a record by name: ``train/…`` and, of each network, ``teacher/…``."""
    for name, value in record["losses"].items():
        yield f"train/{name}", value
    for name in ("lr", "weight_decay", "ema", "embedding_ramp", "gradient_ratio", "seconds"):
        if isinstance(record.get(name), int | float):
            yield f"train/{name}", record[name]
    for group in ("memory", "mixing"):
        for name, value in record.get(group, {}).items():
            yield f"{group}/{name}", value
    for network, metrics in record.get("validation", {}).items():
        for name, value in metrics.items():
            if isinstance(value, int | float):
                yield f"{network}/{name}", value


def run_record(out: str | Path) -> list[Record]:
    """The journal of a run, one record an epoch; a last line written half is left out.

    Raises:
        DataError: There is no journal, or a line of it is damaged.
    """
    path = Path(out) / JOURNAL
    try:
        lines = read_bytes(path, DataError).decode().splitlines()
    except (DataError, UnicodeDecodeError):
        raise DataError(
            "holds no journal of a run", where=out, hint="Name the folder of earmark train --out"
        ) from None
    records: list[Record] = []
    for number, line in enumerate(lines, start=1):
        try:
            record = parse_json(line)
            epoch, step, losses = record["epoch"], record["step"], record["losses"]
        except (ValueError, TypeError, KeyError):
            if number == len(lines):
                break  # the run writes it now, or was killed while it did
            raise DataError(
                "is no line of a journal", where=f"{path}:{number}", hint="Delete this line"
            ) from None
        if not (isinstance(epoch, int) and isinstance(step, int) and isinstance(losses, dict)):
            raise DataError(
                "is no line of a journal", where=f"{path}:{number}", hint="Delete this line"
            )
        records.append(record)
    return records


def write_begun(out: Path, record: Mapping[str, Any]) -> None:
    """Write how a run began, or goes on: command, data, device."""
    write_text(out / BEGUN, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def read_begun(out: str | Path) -> Record:
    """How a run began; empty for a run of version 0.1, which did not say."""
    try:
        found = parse_json(read_bytes(Path(out) / BEGUN, DataError).decode())
    except (DataError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def begun_record(fabric: Fabric, precision: str, command: str) -> Record:
    """By what, on what and when a run is begun, or gone on with."""
    return {
        "earmark": __version__,
        "command": command,
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": fabric.device.type,
        "processes": fabric.world_size,
        "precision": precision,
    }


def data_record(manifest: Manifest) -> Record:
    """What there is to learn from and to be scored on: clips, and clips by class."""
    sources = [
        {
            "name": source.name,
            "kind": source.kind,
            "clips": len(source.clips),
            "by_class": _clips_by_class(
                [{event.event_label for event in own} for own in source.events.values()]
                if source.events is not None
                else [set(tags) for tags in (source.weak or {}).values()]
            ),
        }
        for source in manifest.train
    ]
    splits = [
        {
            "name": name,
            "clips": len(split.clips),
            "by_class": _clips_by_class(
                [{event.event_label for event in own} for own in split.events.values()]
            ),
        }
        for name, split in manifest.splits.items()
    ]
    return {
        "fingerprint": manifest.fingerprint,
        "labels": list(manifest.labels),
        "sources": sources,
        "splits": splits,
    }


def _clips_by_class(tags: Sequence[set[str]]) -> dict[str, int]:
    return dict(sorted(Counter(label for own in tags for label in own).items()))


def peak_memory() -> dict[str, int]:
    """Most bytes that this process has had in memory, where the system tells."""
    try:
        import resource
    except ImportError:  # Windows
        return {}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"process": peak if sys.platform == "darwin" else peak * 1024}
