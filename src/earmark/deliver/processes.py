"""Jobs in several processes, any of which may die without taking the others' work with it.

`earmark.core.parallel` stops where a process is killed. Here a job that kills its process (a
decoder that crashes, a lack of memory) is told as such, and the process is replaced.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from multiprocessing import connection, get_context
from typing import Any, Generic, TypeVar

from earmark.core.parallel import end_with_parent

Job = TypeVar("Job")
Result = TypeVar("Result")

_SPAWN = get_context("spawn")
_PATIENCE = 5.0  # seconds for a process to end by itself


@dataclass(frozen=True)
class Died:
    """A job whose process died; negative codes are signals."""

    code: int | None

    def __str__(self) -> str:
        if self.code is not None and self.code < 0:
            try:
                return f"its process was killed by {signal.Signals(-self.code).name}"
            except ValueError:
                return f"its process was killed by signal {-self.code}"
        return f"its process ended with code {self.code}"


def in_processes(
    work: Callable[[Job], Result], jobs: Iterable[Job], count: int
) -> Generator[tuple[Job, Result | Died]]:
    """Does jobs in several processes, yielding each with its result when it is done.

    Processes are spawned, so a script must guard its entry with ``if __name__ == "__main__"``. They
    end with this one, however it ends.

    Args:
        work: Called with each job; sent to every process once, so picklable.
        jobs: Taken as they are needed; picklable.
        count: Processes.
    """
    waiting = iter(jobs)
    lanes: list[_Lane[Job]] = []
    try:
        for job in waiting:  # no more processes than jobs
            lane: _Lane[Job] = _Lane(work)
            lanes.append(lane)
            lane.give(job)
            if len(lanes) == count:
                break
        busy = list(lanes)
        while busy:
            connection.wait([one for lane in busy for one in lane.signals])
            for lane in [lane for lane in busy if lane.is_ready()]:
                yield lane.take()
                try:
                    lane.give(next(waiting))
                except StopIteration:
                    busy.remove(lane)
    finally:
        for lane in lanes:
            lane.end()


class _Lane(Generic[Job]):
    """A process and the job it has."""

    def __init__(self, work: Callable[[Job], Any]) -> None:
        self._work = work
        self._start()

    def _start(self) -> None:
        self._ours, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(self._work, theirs), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def signals(self) -> tuple[Any, int]:
        """What becomes ready when the job is done or the process dead."""
        return self._ours, self._process.sentinel

    def is_ready(self) -> bool:
        return bool(connection.wait(self.signals, timeout=0))

    def give(self, job: Job) -> None:
        self._job = job
        try:
            self._ours.send(job)
        except OSError:  # it died since its last job
            self._replace()
            self._ours.send(job)

    def take(self) -> tuple[Job, Any]:
        try:
            return self._job, self._ours.recv()
        except (EOFError, OSError):
            self._process.join(_PATIENCE)
            died = Died(self._process.exitcode)
            self._replace()
            return self._job, died

    def _replace(self) -> None:
        self._ours.close()
        self._start()

    def end(self) -> None:
        self._ours.close()
        self._process.terminate()
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.kill()


def _serve(work: Callable[[Any], Any], jobs: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits
    end_with_parent()
    while True:
        try:
            job = jobs.recv()
        except EOFError:
            return
        jobs.send(work(job))
