"""A command that is stopped: by Ctrl-C, SIGTERM or a terminal that closes."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_PATIENCE = 1.5  # seconds; a step of a network may take longer, and cannot be interrupted
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class StoppedError(KeyboardInterrupt):
    """A signal that asks to end.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def kept(self) -> str:
        """What was noted of it on its way up; otherwise what holds for every command."""
        return "; ".join(getattr(self, "__notes__", ())) or KEPT


KEPT = "what is finished is kept, nothing is left half written: run it again to go on"


@contextmanager
def stopping(tell: Callable[[int, str], None]) -> Iterator[list[StoppedError]]:
    """While it lasts, signals raise `StoppedError`; if that has no effect, the process ends.

    Args:
        tell: Says on standard error that a signal of this number ends the process, and a text.

    Yields:
        What was raised, for the parser makes a mere exit code of it.
    """
    raised: list[StoppedError] = []
    if threading.current_thread() is not threading.main_thread():
        yield raised
        return

    def stop(number: int, _: Any) -> None:
        raised.append(StoppedError(number))
        raise raised[-1]

    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.signal(number, stop) for number in numbers}
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(ours, set(numbers), tell), daemon=True).start()
    try:
        yield raised
    finally:
        signal.set_wakeup_fd(wakeup)
        theirs.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(ours: socket.socket, numbers: set[int], tell: Callable[[int, str], None]) -> None:
    """End the process if a signal has not done so after a while; other processes end with it."""
    with ours:
        while content := ours.recv(1):
            if content[0] in numbers:
                time.sleep(_PATIENCE)
                if ours.fileno() >= 0 and _is_open(ours):
                    tell(content[0], KEPT)
                    os._exit(128 + content[0])


def _is_open(ours: socket.socket) -> bool:
    """Whether the command still runs, whose end closes the other side."""
    ours.setblocking(False)
    try:
        return ours.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    finally:
        ours.setblocking(True)
