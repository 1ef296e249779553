"""What is freed is kept: the same blocks cost no page faults again."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from earmark.core.memory import keep_freed_memory

FAULTS = """
import resource, sys
import numpy as np
from earmark.core.memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
for turn in range(12):
    if turn == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**23)  # 64 MiB, as many pages as 16,384
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_blocks_are_kept_for_the_next_time() -> None:
    # NumPy would ask the kernel for huge pages, which has faults of its own count.
    environment = os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0"}
    faults = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", FAULTS, how],
                capture_output=True,
                text=True,
                check=True,
                env=environment,
            ).stdout
        )
        for how in ("leave", "keep")
    }
    assert faults["leave"] > 10_000
    assert faults["keep"] < faults["leave"] / 20


def test_other_c_libraries_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() is False
