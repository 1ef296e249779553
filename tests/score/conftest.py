"""The golden data of the tests of scores, and one seeded case."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.golden import Golden
from helpers.score_cases import Case, make_case


@pytest.fixture(scope="session")
def golden(shared_dir: Path) -> Golden:
    return Golden(shared_dir / "golden" / "evaluation")


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case(9)
