"""The golden data of the tests of scores."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.golden import Golden


@pytest.fixture(scope="session")
def golden(shared_dir: Path) -> Golden:
    return Golden(shared_dir / "golden" / "evaluation")
