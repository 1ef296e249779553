"""One spoiled file and what a parser makes of it, within bounds of time and memory."""

from __future__ import annotations

import logging
import resource
import signal
import time
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from earmark.core.errors import EarmarkError
from fuzz.base import Target
from fuzz.mutations import mutated
from fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
SECONDS, BYTES = 5, 2**30


class Hang(BaseException):
    """A parser takes longer than any file explains."""


def spoiled_file(target: str, seed: int) -> tuple[str, bytes]:
    """Name and content of a case."""
    rng = np.random.default_rng([zlib.crc32(target.encode()), seed])
    seeds = TARGETS[target].seeds()
    name = sorted(seeds)[int(rng.integers(len(seeds)))]
    return name, mutated(*seeds[name], rng)


def lay_out(target: Target, folder: Path) -> None:
    """What a target's folder has beside the spoiled file."""
    for name, data in target.beside().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def fault_of(target: str, name: str, data: bytes, folder: Path) -> str | None:
    """What is wrong with how a parser takes a file; None where it reads or refuses it.

    Args:
        target: The parser.
        name: Of the file.
        data: Its content.
        folder: With what lies beside it; it is left as it was.
    """
    parser, path = TARGETS[target], folder / name
    before = path.read_bytes() if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _within(SECONDS):
                parser.read(path)
    except EarmarkError as error:
        text = str(error)
        return f"an error of {len(text.splitlines())} lines" if "\n" in text.strip() else None
    except Hang:
        return f"longer than {SECONDS} s"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        if before is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(before)
    return None


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Hang

    old = signal.signal(signal.SIGALRM, stop)
    began = time.process_time()
    signal.setitimer(signal.ITIMER_REAL, 12 * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    if time.process_time() - began > seconds:  # of the processor: a busy machine is no fault
        raise Hang


@contextmanager
def bounded_memory(size: int = BYTES) -> Iterator[None]:
    """Memory beyond what the process has by so much is refused, and so seen as a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages + size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def quiet() -> Iterator[None]:
    """Warnings of thousands of spoiled files are nothing to read."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
