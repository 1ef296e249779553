"""Work shared by processes: each job's result as soon as it is there, in bounded memory."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context, parent_process
from typing import Any, TypeVar

from earmark.core.errors import DataError

Job = TypeVar("Job")
Result = TypeVar("Result")
Shared = TypeVar("Shared")

#: Called with (done, in all).
Progress = Callable[[int, int], None]

_WAITING = 3  # jobs handed out for each process, so that none waits for the next one
_shared: Any = None  # of this process, set once when it starts


def available_cores() -> int:
    """Cores this process may use, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_jobs(
    function: Callable[[Job, Shared], Result],
    jobs: Iterable[Job],
    shared: Shared,
    workers: int,
) -> Iterator[tuple[Job, Result]]:
    """Do jobs in several processes, yielding each with its result when it is done.

    Processes are spawned, so a script that asks for several must guard its entry with
    ``if __name__ == "__main__"``. With one worker everything happens in this process, in order.

    Args:
        function: Called with a job and ``shared``; importable by its name.
        jobs: Taken as they are needed; picklable.
        shared: What all jobs need, sent to each process once.
        workers: Processes.

    Raises:
        DataError: A process was killed.
        Exception: Whatever a job raises; the jobs not begun are dropped.
    """
    if workers <= 1:
        for job in jobs:
            yield job, function(job, shared)
        return
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_start, initargs=(shared,)
    )
    with pool:
        try:
            yield from side_by_side(
                lambda job: pool.submit(_run, function, job), jobs, workers * _WAITING
            )
        except BrokenProcessPool:
            raise DataError(
                "a process was killed, perhaps out of memory",
                hint="Run again with fewer workers; what is finished is kept.",
            ) from None
        except BaseException:
            # At once: a job may take minutes, and what it writes appears whole or not at all.
            for process in list((pool._processes or {}).values()):
                process.kill()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def counted(
    results: Iterable[tuple[Job, Result]],
    before: int,
    total: int,
    progress: Progress | None,
    size: Callable[[Job], int] = lambda _: 1,
) -> Iterator[tuple[Job, Result]]:
    """Pass the results of jobs on, reporting progress at the start and after each was used.

    Args:
        results: Of `run_jobs`.
        before: What was done before.
        total: All there is to do, with what was done before.
        progress: Called with (done, in all); None reports nothing.
        size: How much a job counts.
    """
    if progress is not None:
        progress(before, total)
    for job, result in results:
        yield job, result
        before += size(job)
        if progress is not None:
            progress(before, total)


def tracked(
    items: Iterable[Job], total: int, progress: Progress | None, before: int = 0
) -> Iterator[Job]:
    """Pass items on, reporting progress after each was used; see `counted`."""
    for done, item in enumerate(items, before + 1):
        yield item
        if progress is not None:
            progress(done, total)


def side_by_side(
    submit: Callable[[Job], Future[Result]], jobs: Iterable[Job], most: int
) -> Iterator[tuple[Job, Result]]:
    """Keep so many jobs with a pool, and no more, however many there are.

    Args:
        submit: Gives a job to the pool.
        jobs: Taken as they are needed.
        most: Jobs that the pool has at a time.
    """
    waiting = iter(jobs)
    pending: dict[Future[Result], Job] = {}
    while True:
        for job in islice(waiting, most - len(pending)):
            pending[submit(job)] = job
        if not pending:
            return
        finished = wait(pending, return_when=FIRST_COMPLETED).done
        for future in [future for future in pending if future in finished]:
            yield pending.pop(future), future.result()


def _start(shared: Any) -> None:
    global _shared
    _shared = shared
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits


def end_with_parent() -> None:
    """In a process that another one started: end when that one does, however it ends.

    Nothing is written any more once the run is gone: the next one may have begun.
    """
    parent = parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _run(function: Callable[[Job, Any], Result], job: Job) -> Result:
    return function(job, _shared)
