"""One writer a folder: who writes into it and since when. Reading is never locked.

The lock is a small file in the folder, there while a command writes. The system's own lock on it
(``flock``) goes with the process that has it, however that ends. Where the file system knows none,
the process counts that the file names, by number and time of start: a number alone may have gone to
another process since.
"""

from __future__ import annotations

import inspect
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

from earmark.core.errors import EarmarkError
from earmark.core.files import remove_drafts
from earmark.core.files.bounds import refuse_special

P = ParamSpec("P")
R = TypeVar("R")

LOCK = ".earmark.lock"
_PATIENCE = 2.0  # seconds for what a killed run left behind to end with it


@dataclass(frozen=True)
class Holder:
    """Who writes into a folder.

    Attributes:
        pid: Number of the process.
        started: When it started, in the system's words; empty where that is not told.
        host: Its machine.
        since: When it took the folder.
    """

    pid: int
    started: str
    host: str
    since: str

    @classmethod
    def this(cls) -> Holder:
        """This process, now."""
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        return cls(os.getpid(), started(os.getpid()), socket.gethostname(), since)

    @property
    def is_here(self) -> bool:
        """Whether it is of this machine, and can be looked up."""
        return self.host == socket.gethostname()

    @property
    def is_alive(self) -> bool:
        """Whether this very process still runs on this machine."""
        return self.is_here and self.started != "" and started(self.pid) == self.started

    def __str__(self) -> str:
        place = "" if self.is_here else f" on {self.host}"
        return f"process {self.pid}{place}, since {self.since}"


@contextmanager
def only_writer(folder: str | Path, name: str = LOCK) -> Iterator[None]:
    """Be the only one that writes into a folder; it is made, and what stopped runs left is removed.

    Args:
        folder: What is written to.
        name: Of the lock. One of its own lets others write other files into the folder.

    Raises:
        EarmarkError: Another run writes into it, which is named, or it cannot be written.
    """
    folder = Path(folder)
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "a file of this name is there" if folder.is_file() else error.strerror
        raise EarmarkError(
            f"cannot be made a folder ({reason})", where=folder, hint="Choose another --out"
        ) from None
    try:
        file = _acquired(folder / name)
    except OSError as error:
        raise EarmarkError(f"cannot be written ({error.strerror})", where=folder) from None
    try:
        if name == LOCK:  # whoever wrote them was stopped: nobody else writes here
            remove_drafts(folder)
        yield
    finally:
        with suppress(OSError):  # left behind it does no harm: the process it names is gone
            (folder / name).unlink(missing_ok=True)
        _unlock(file)
        file.close()
        if new:
            with suppress(OSError):  # nothing was written: a mistake was found first
                folder.rmdir()


def writes_to(parameter: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Makes a function the only writer, while it runs, of the folder that a parameter names.

    Args:
        parameter: Name of a parameter of the function, a path.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @wraps(function)
        def locked(*args: P.args, **kwargs: P.kwargs) -> R:
            with only_writer(signature.bind(*args, **kwargs).arguments[parameter]):
                return function(*args, **kwargs)

        return locked

    return decorate


def is_empty(folder: str | Path) -> bool:
    """Whether a folder is not there, or has nothing in it but a lock; a file is none."""
    folder = Path(folder)
    if not folder.is_dir():
        return not folder.exists()
    return all(path.name == LOCK for path in folder.iterdir())


def _acquired(path: Path) -> IO[str]:
    """The lock's file, locked and with this process's name in it."""
    patience = time.monotonic() + _PATIENCE
    while True:
        file = _opened(path)
        try:
            locked = _lock(file)
            holder = _holder(file)
            alive = holder is not None and holder.is_alive
            if locked and not alive and _is_at(file, path):
                file.truncate(0)
                file.write(json.dumps(asdict(Holder.this())))
                file.flush()
                return file
            if alive or (not locked and time.monotonic() > patience):
                raise _refusal(path, holder)
        except BaseException:
            file.close()
            raise
        file.close()
        if not locked:
            time.sleep(0.05)


def _opened(path: Path) -> IO[str]:
    """The lock's file, made if missing; never another one that a link in its place leads to."""
    refuse_special(path)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(os.open(path, flags, 0o666), "a+", encoding="utf-8", errors="replace")


def _refusal(path: Path, holder: Holder | None) -> EarmarkError:
    who = "" if holder is None else f" ({holder})"
    return EarmarkError(
        f"another run is writing into this folder{who}",
        where=path.parent,
        hint="Wait until it has finished, or choose another --out",
    )


def _holder(file: IO[str]) -> Holder | None:
    file.seek(0)
    try:
        return Holder(**json.load(file))
    except (ValueError, TypeError):
        return None  # nobody's yet, or written half


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether the file is still at its place: whoever had it may have removed it meanwhile."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: IO[str]) -> bool:
    """Whether nobody else has the system's lock; True where there are no locks."""
    try:
        import fcntl
    except ModuleNotFoundError:  # pragma: no cover - systems that are not POSIX
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # file systems that know no locks
        return True
    return True


def _unlock(file: IO[str]) -> None:
    """Give the system's lock up, for forked processes that still have the file open, too."""
    with suppress(ModuleNotFoundError, OSError):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_UN)


def started(pid: int) -> str:
    """When a process started, in the system's words; empty where there is none, or it is not told.

    Args:
        pid: Its number.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    else:
        fields = status.rpartition(")")[2].split()  # the name before may hold anything
        return "" if fields[0] in "ZX" else fields[19]  # a zombie does nothing any more
    try:  # pragma: no cover - systems without /proc
        asked = ["ps", "-o", "lstart=", "-p", str(pid)]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # pragma: no cover
        return ""
