"""Files for a test to read, and what lies in a folder, to be compared."""

from __future__ import annotations

import hashlib
from pathlib import Path


def written(folder: Path, text: str | bytes, name: str = "labels.tsv") -> Path:
    """A file with just this text, its line ends as they are."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path from there."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def digests(folder: Path) -> dict[str, str]:
    """A digest of every file below a folder, which tells more shortly where two folders differ."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in contents(folder).items()}
