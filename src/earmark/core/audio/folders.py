"""Which files of a folder are recordings: by what is in them, whatever they are called."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from earmark.core.audio.containers import frames_follow
from earmark.core.audio.media import media_kind
from earmark.core.errors import AudioError
from earmark.core.naming import READ_SUFFIXES as SUFFIXES

_BEGINS = {
    b"fLaC": "FLAC", b"OggS": "Ogg", b".snd": "AU", b"ID3": "MP3", b"NIST_1A\n": "NIST SPHERE",
    b"Creative Voice File": "VOC", b" paf": "PAF", b"fap ": "PAF", b"PVF1\n": "PVF", b"2BIT": "AVR",
    b"ALawSoundFile**": "WVE", b"Extended Instrument:": "XI", b"riff\x2e\x91\xcf\x11": "Wave64",
    **{bytes((0x64, 0xA3, version, 0)): "IRCAM" for version in range(1, 5)},
    **{bytes((0, version, 0xA3, 0x64)): "IRCAM" for version in range(1, 5)},
}  # fmt: skip
"""How files begin that libsndfile reads; FFmpeg's are in ``media``."""
_FORMS = {b"WAVE": (b"RIFF", b"RIFX", b"RF64"), b"AIFF": (b"FORM",), b"AIFC": (b"FORM",),
          b"8SVX": (b"FORM",), b"16SV": (b"FORM",)}  # fmt: skip
_PICTURES = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis", b"crx ")
"""Brands of files that begin as MP4 does."""
_UNREAD = {
    b"FRM8": "DSDIFF", b".ra\xfd": "RealAudio", b"MThd": "MIDI", b"WAAC": "WAC",
}  # fmt: skip
_HEAD = 64  # bytes
_PACKETS = 3 * 188  # bytes that distinguish a transport stream from a text with two letters G
_SHOWN = 3


@dataclass(frozen=True)
class FolderContent:
    """The files of a folder and its sub-folders, sorted by their paths.

    Attributes:
        recordings: Those with a suffix of sound, and those that are sound whatever their suffix.
        others: The rest, each with the reason.
    """

    recordings: list[Path]
    others: dict[Path, str]


def list_audio(folder: str | os.PathLike[str]) -> list[Path]:
    """All recordings in a folder and its sub-folders, sorted by their paths.

    Links to folders are followed; hidden files and folders are not looked at.

    Raises:
        AudioError: If there is no such folder.
    """
    return folder_content(folder).recordings


def folder_content(folder: str | os.PathLike[str]) -> FolderContent:
    """All files in a folder and its sub-folders: recordings, and why others are none.

    Raises:
        AudioError: If there is no such folder.
    """
    recordings: list[Path] = []
    others: dict[Path, str] = {}
    for path, hidden in _walk(Path(folder)):
        why = "hidden" if hidden else why_no_recording(path)
        if why:
            others[path] = why
        else:
            recordings.append(path)
    return FolderContent(recordings, others)


def list_files(folder: str | os.PathLike[str]) -> list[Path]:
    """All files in a folder and its sub-folders, as `list_audio` finds recordings."""
    return [path for path, hidden in _walk(Path(folder)) if not hidden]


def _walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Files in order of their paths, and whether they are hidden; of hidden folders none."""
    if not folder.is_dir():
        raise AudioError("no such folder", where=folder, hint="Check the path")
    found: list[Path] = []
    seen: set[str] = set()
    for base, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(base)
        if real in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(base, name) for name in names]
    for path in sorted(found, key=lambda path: path.relative_to(folder).as_posix()):
        yield path, path.name.startswith(".")


def why_no_recording(path: Path) -> str:
    """Why a file in a folder is not taken for a recording; empty if it is."""
    if path.name.lower().endswith(SUFFIXES):
        return ""  # whatever is wrong with it is an error
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return "a pipe, a device or a socket"
        if not status.st_size:
            return "empty"
        with path.open("rb") as file:
            return why_no_sound(file)
    except OSError as error:
        return f"cannot be opened ({error.strerror})"


def why_no_sound(file: BinaryIO) -> str:
    """Why a file is not sound by its first bytes; empty if it is.

    Args:
        file: Seekable and at its start; its position is changed.
    """
    head = file.read(_HEAD)
    unread = next((name for first, name in _UNREAD.items() if head.startswith(first)), None)
    if unread:
        return f"{unread}, which Earmark does not read"
    return "" if _is_sound(head, file) else "not sound"


def _is_sound(head: bytes, file: BinaryIO) -> bool:
    if any(head.startswith(first) for first in _BEGINS) or head[:4] in _FORMS.get(head[8:12], ()):
        return True
    if head[:1] == b"\xff":  # eleven bits are no proof
        return frames_follow(file)
    kind = media_kind(file)
    if kind is None or (kind.demuxer == "mov" and head[8:12] in _PICTURES):
        return False
    return kind.demuxer != "mpegts" or file.seek(0, os.SEEK_END) >= _PACKETS


def left_out(others: Mapping[Path, str], known: Iterable[str] = ()) -> list[str]:
    """What of a folder is not taken, by reason: a sentence each, with the number and some names.

    Args:
        others: Files and reasons, as `folder_content` has them.
        known: Suffixes of files that are taken for something else.
    """
    by_reason: dict[str, list[str]] = {}
    endings = tuple(known)
    for path, why in others.items():
        if not path.name.lower().endswith(endings or ("\0",)):
            by_reason.setdefault(why, []).append(path.name)
    return [
        f"{len(names):,} file{'s' if len(names) > 1 else ''} left out, {why}: "
        + ", ".join(names[:_SHOWN])
        + (", …" if len(names) > _SHOWN else "")
        for why, names in sorted(by_reason.items())
    ]
