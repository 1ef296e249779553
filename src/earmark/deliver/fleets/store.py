"""A folder anywhere that fsspec reaches: a disk, S3, Google Cloud Storage, Azure, HTTP, SSH."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from earmark.core.audio.folders import why_no_sound
from earmark.core.errors import AudioError, ConfigError, EarmarkError, optional_package
from earmark.core.files import DRAFT, write_whole
from earmark.core.naming import READ_SUFFIXES
from earmark.deliver.recordings import find_recordings

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]


def is_url(name: str) -> bool:
    """Whether a name is for fsspec (``s3://…``) and no path of this machine."""
    return "://" in name


def as_local(name: str) -> str:
    """``file://`` URLs as the paths they are; everything else as it is."""
    return name.removeprefix("file://") if name.startswith("file:///") else name


def file_system(url: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a URL or path, and the path within it.

    Raises:
        ConfigError: If fsspec or what it needs for this kind of URL is not installed.
    """
    fsspec = optional_package("fsspec.core", "URLs need", "fleet", where=url)
    try:
        system, path = fsspec.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"cannot be reached ({str(error).splitlines()[0]})",
            where=url,
            hint="Install what fsspec needs for it (s3fs, gcsfs, adlfs …), or check the URL",
        ) from None
    return system, str(path)


@dataclass(frozen=True)
class Remote:
    """A recording of a fleet.

    Attributes:
        name: Full path or URL.
        stamp: What tells that it changed: its size, and its date where the file system says.
    """

    name: str
    stamp: str

    def open(self) -> BinaryIO | Path:
        """What the recording is read from."""
        if not is_url(self.name):
            return Path(self.name)
        system, path = file_system(self.name)
        return cast(BinaryIO, system.open(path, "rb"))


def local_recording(path: Path) -> Remote:
    """A file of this machine, or one that every machine sees under this path."""
    try:
        status = path.stat()
    except OSError:
        return Remote(str(path), "")  # told when its turn comes
    return Remote(str(path), f"{status.st_size}-{status.st_mtime_ns}")


def remote_recordings(url: str) -> list[Remote]:
    """The recordings at a URL: one, those in a folder and below, or those matching a pattern.

    Raises:
        AudioError: If there is none.
        ConfigError: If the URL cannot be reached.
    """
    system, path = file_system(url)
    try:
        if any(sign in path for sign in "*?["):
            found = system.glob(path, detail=True)
        else:
            found = system.find(path, detail=True)
        kept = {name: about for name, about in found.items() if _is_recording(system, name, about)}
    # Every kind of store has errors of its own; all mean that nothing can be listed.
    except Exception as error:
        raise AudioError(f"cannot be listed ({type(error).__name__}: {error})", where=url) from None
    if not kept:
        raise AudioError("no recordings there", where=url, hint="Check the URL")
    return [
        Remote(str(system.unstrip_protocol(name)), _stamp(about))
        for name, about in sorted(kept.items())
    ]


def _is_recording(system: AbstractFileSystem, name: str, about: dict[str, Any]) -> bool:
    """Whether a file is one by its suffix or, where that says nothing, by its first bytes."""
    base = posixpath.basename(name)
    if base.lower().endswith(READ_SUFFIXES):
        return True
    if base.startswith(".") or not about.get("size") or about.get("type", "file") != "file":
        return False
    with system.open(name, "rb") as file:
        return not why_no_sound(file)


def listed_recordings(audio: Iterable[str]) -> list[Remote]:
    """All recordings at paths, patterns and URLs, each once."""
    found: dict[Remote, None] = {}
    for given in map(as_local, audio):
        if is_url(given):
            found.update(dict.fromkeys(remote_recordings(given)))
        else:
            found.update(dict.fromkeys(map(local_recording, find_recordings([given]))))
    return list(found)


def _stamp(about: dict[str, Any]) -> str:
    """Size, and the first of what stores call a version."""
    marks = [about.get(key) for key in ("ETag", "etag", "md5Hash", "mtime", "LastModified")]
    mark = next((str(mark) for mark in marks if mark), "")
    return f"{about.get('size')}-{mark}".rstrip("-")


class Store:
    """Files in a folder; each appears whole or not at all.

    Args:
        url: The folder, a path or a URL; made where folders are.
    """

    def __init__(self, url: str) -> None:
        url = as_local(url)
        self.url = url if is_url(url) else os.path.abspath(url)  # noqa: PTH100 - keeps links
        self._system, self._root = file_system(self.url)
        self._local = None if is_url(self.url) else Path(self.url)

    def names(self, folder: str) -> list[str]:
        """Names of the files in a sub-folder, sorted; none where there is no such folder."""
        place = self._place(folder)
        try:
            found = self._system.ls(place, detail=False, refresh=True)
        except FileNotFoundError:
            return []
        except TypeError:  # file systems without a memory of listings
            found = self._system.ls(place, detail=False)
        names = {str(path).rstrip("/").rpartition("/")[2] for path in found}
        return sorted(name for name in names if not name.startswith(DRAFT))

    def read(self, name: str) -> bytes | None:
        """A file's content, None where there is no such file."""
        try:
            return cast(bytes, self._system.cat_file(self._place(name)))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Writes a file.

        Raises:
            EarmarkError: If it cannot be written.
        """
        try:
            if self._local is not None:
                write_whole(self._local / name, lambda draft: draft.write_bytes(content))
            else:  # what is put into an object store appears whole
                self._system.makedirs(self._place(name).rpartition("/")[0], exist_ok=True)
                self._system.pipe_file(self._place(name), content)
        except OSError as error:
            raise EarmarkError(
                f"cannot be written ({error.strerror or error})", where=f"{self.url}/{name}"
            ) from None

    def remove(self, names: Iterable[str]) -> None:
        """Removes files that are there."""
        for name in names:
            try:
                self._system.rm_file(self._place(name))
            except FileNotFoundError:
                continue

    def _place(self, name: str) -> str:
        return f"{self._root}/{name}"
