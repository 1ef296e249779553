"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The optional folder of golden data and recordings that the project never contains."""
    folder = os.environ.get("EARMARK_SHARED")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs the optional shared folder: set EARMARK_SHARED to its path")
    return Path(folder)
