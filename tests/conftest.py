"""What every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from torch import Tensor

# A busy machine is no fault of the code: no example has to end within a time.
settings.register_profile("earmark", deadline=None)
settings.load_profile("earmark")

pytest.register_assert_rewrite("helpers")  # so that a helper's assertion shows its values, too


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The optional folder of golden data and recordings that the project never contains."""
    folder = os.environ.get("EARMARK_SHARED")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs the optional shared folder: set EARMARK_SHARED to its path")
    return Path(folder)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All arithmetic in float64, the heads' too, so that only mistakes are left to see."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
