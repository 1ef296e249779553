"""One writer a folder: it is named, a dead one does not count, and readers never wait."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from earmark.core import locking
from earmark.core.errors import EarmarkError
from earmark.core.locking import LOCK, Holder, only_writer, started

HOLD = """
import sys, time
from earmark.core.locking import only_writer
with only_writer(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts a process that holds a folder."""
    running: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_the_second_is_refused_and_told_who_writes(
    tmp_path: Path, other: Callable[[], subprocess.Popen[str]]
) -> None:
    process = other()
    year = time.strftime("%Y")
    told = rf"another run is writing.*process {process.pid}, since {year}-.*Wait until"
    with pytest.raises(EarmarkError, match=told), only_writer(tmp_path):
        pass
    assert (tmp_path / LOCK).is_file()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_dead_writer_does_not_count(
    tmp_path: Path, other: Callable[[], subprocess.Popen[str]], end: signal.Signals
) -> None:
    process = other()
    process.send_signal(end)
    process.wait()
    with only_writer(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert not (tmp_path / LOCK).exists()


def test_it_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), only_writer(tmp_path):
        raise ZeroDivisionError
    with only_writer(tmp_path):
        pass


def test_a_folder_made_for_nothing_goes_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), only_writer(tmp_path / "new"):
        raise ZeroDivisionError
    assert not (tmp_path / "new").exists()


def test_other_files_of_a_folder_can_be_written(tmp_path: Path) -> None:
    with only_writer(tmp_path, ".a.lock"), only_writer(tmp_path, ".b.lock"), only_writer(tmp_path):
        assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("change", [{}, {"started": "1"}, {"pid": 2**22 + 5}, {"host": "other"}])
def test_without_locks_of_the_system_the_process_named_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    monkeypatch.setattr(locking, "_lock", lambda _: True)
    (tmp_path / LOCK).write_text(json.dumps(asdict(replace(Holder.this(), **change))))
    if change:
        with only_writer(tmp_path):
            pass
        return
    with pytest.raises(EarmarkError, match=f"process {os.getpid()}"), only_writer(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 3}', "\0"])
def test_whatever_stands_in_an_old_lock(tmp_path: Path, content: str) -> None:
    (tmp_path / LOCK).write_text(content)
    with only_writer(tmp_path):
        pass


def test_of_many_at_once_one_at_a_time(tmp_path: Path) -> None:
    inside, most, refused = [], [], []

    def one(number: int) -> None:
        try:
            with only_writer(tmp_path):
                inside.append(number)
                most.append(len(inside))
                time.sleep(0.001)
                inside.remove(number)
        except EarmarkError:
            refused.append(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(64)))
    assert set(most) == {1}
    assert len(most) + len(refused) == 64


def _sleep() -> None:
    time.sleep(30)


@pytest.mark.skipif(sys.platform == "win32", reason="processes are not forked")
def test_forked_processes_do_not_keep_it(tmp_path: Path) -> None:
    child = multiprocessing.get_context("fork").Process(target=_sleep)
    with only_writer(tmp_path):
        child.start()
    try:
        with only_writer(tmp_path):
            pass
    finally:
        child.kill()
        child.join()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EarmarkError, match="a file of this name"), only_writer(tmp_path / "file"):
        pass


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no folder that nobody may write to")
def test_where_nothing_can_be_written() -> None:
    with pytest.raises(EarmarkError, match="cannot be"), only_writer("/sys/kernel/earmark"):
        pass
    with pytest.raises(EarmarkError, match="cannot be written"), only_writer("/sys/kernel"):
        pass


def test_a_process_is_known_by_its_start() -> None:
    assert started(os.getpid()) == started(os.getpid()) != ""
    assert started(2**22 + 5) == ""
