"""Jobs in several processes: all of them, once each, and errors as they were raised."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from earmark.core.errors import ConfigError, DataError
from earmark.core.parallel import available_cores, run_jobs


def scaled(job: int, factor: int) -> tuple[int, int]:
    if job == 13:
        raise ConfigError("thirteen")
    if job == 66:
        os._exit(1)
    return job * factor, os.getpid()


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_is_done_once(workers: int) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for job in (*range(13), *range(14, 40)):
            taken.append(job)
            yield job

    results = {}
    for done, (job, (value, pid)) in enumerate(run_jobs(scaled, jobs(), 3, workers), start=1):
        assert len(taken) - done <= 3 * workers  # the others are not even asked for
        assert (pid == os.getpid()) == (workers == 1)
        results[job] = value
    assert results == {job: 3 * job for job in (*range(13), *range(14, 40))}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_job_arrives(workers: int) -> None:
    with pytest.raises(ConfigError, match="thirteen"):
        list(run_jobs(scaled, [13, *range(100)], 1, workers))


def test_a_killed_process_is_told() -> None:
    with pytest.raises(DataError, match=r"killed.*fewer workers"):
        list(run_jobs(scaled, [1, 66, 2], 1, 2))


def test_cores() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
