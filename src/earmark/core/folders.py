"""Folders that a command writes and goes on with: whose they are, and how they were begun."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from earmark.core.config import dump_yaml
from earmark.core.errors import DataError
from earmark.core.files import DRAFT, write_text
from earmark.core.files.bounds import read_bytes
from earmark.core.files.yaml_bounds import parse_yaml
from earmark.core.locking import LOCK

Record = Mapping[str, Any]


def shipped_folder(kind: str) -> Path:
    """A folder inside the package: ``bundles``, ``recipes``."""
    return Path(str(resources.files("earmark"))) / kind


def claim_folder(
    out: Path,
    name: str,
    record: Record,
    *,
    other: str = "a dataset made otherwise",
    workspace: str | None = None,
    current: Callable[[dict[str, Any]], Record] = dict,
) -> None:
    """Make a folder ours, or make sure that what is in it was begun the same way.

    Args:
        out: The folder; made if it does not exist.
        name: The YAML file in it that holds the record.
        record: What decides the folder's content. Its entry ``earmark``, the version of the
            package, is for the reader and may differ.
        other: What a folder with another record holds, for the message.
        workspace: A folder in it, made before the record is there, for what the command keeps
            until it is done; none by default.
        current: Brings the record of an earlier version into the form of ``record``.

    Raises:
        DataError: The folder holds something else, or was begun with another record.
    """
    file = out / name
    if file.is_file():
        _refuse_other(file, record, other, current)
        return
    # A workspace or a draft alone is a run that was stopped in this very function.
    refuse_foreign(out, "dataset", () if workspace is None else (workspace,))
    if workspace is not None:
        (out / workspace).mkdir(parents=True, exist_ok=True)
    write_text(file, dump_yaml(record))


def refuse_foreign(out: Path, what: str, ours: Collection[str] = ()) -> None:
    """Refuse a folder in which there is anything.

    Args:
        out: The folder; it need not exist.
        what: The kind of thing that the command writes there, for the message.
        ours: Names of what may be in it.

    Raises:
        DataError: There is something else in it, or it is a file.
    """
    inside = [path.name for path in out.iterdir()] if out.is_dir() else []
    kept = (*ours, LOCK)
    foreign = [name for name in inside if name not in kept and not name.startswith(DRAFT)]
    if foreign or (out.exists() and not out.is_dir()):
        raise DataError(
            f"not an empty folder, and not a {what} this command made",
            where=out,
            hint="Name a folder that is new or empty",
        )


def _refuse_other(
    file: Path, record: Record, other: str, current: Callable[[dict[str, Any]], Record]
) -> None:
    try:
        before = parse_yaml(read_bytes(file, DataError).decode())
    except (yaml.YAMLError, UnicodeDecodeError):
        before = None
    found = {**current(before), "earmark": record["earmark"]} if isinstance(before, dict) else {}
    differing = _differences(found, record)
    if differing:
        shown = ", ".join(differing[:5]) + (", …" if len(differing) > 5 else "")
        raise DataError(
            f"this folder holds {other}, it differs in {shown}",
            where=file,
            hint="Name another folder, or delete this one first",
        )


def _differences(before: Record, now: Record, prefix: str = "") -> list[str]:
    """Names of the entries that are not alike, as ``settings.snr_db``."""
    names: list[str] = []
    for key in dict.fromkeys([*now, *before]):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            names += _differences(old, new, f"{prefix}{key}.")
        elif yaml.safe_dump(old) != yaml.safe_dump(new):
            names.append(f"{prefix}{key}")
    return names
