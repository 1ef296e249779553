"""A detector of tones, and the app served in a thread for a browser."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from earmark.core.spec import ModelSpec
from earmark.deliver.pages.app_session import AppLimits
from earmark.detect.detector import Detector

RATE = 16_000
CLASSES = ("tone", "quiet")


class ToneScorer:
    """Scores of 0.9 for a tone and 0.4 for quiet, where there is one or the other, else 0.1."""

    spec = ModelSpec(CLASSES, 1024)

    def score_windows(
        self, waveforms: NDArray[np.float32], lengths: Sequence[int]
    ) -> NDArray[np.floating]:
        """Windows [B, S] → [B, T, 2]."""
        count = self.spec.frames
        cut = waveforms[:, : count * 1024].reshape(len(waveforms), count, 1024)
        loud = np.sqrt((cut**2).mean(axis=2)) > 0.15  # [B, T]
        scores = np.stack([np.where(loud, 0.9, 0.1), np.where(loud, 0.1, 0.4)], axis=2)
        return np.asarray(scores, dtype=np.float32)


def tone_detector() -> Detector:
    """Which hears tones."""
    return Detector(ToneScorer(), threads=1)


@contextmanager
def served(load: Any, **limits: Any) -> Iterator[str]:
    """The app's address; a test without Gradio is skipped, and fails where ``CI=true``."""
    if find_spec("gradio") is None:
        assert os.environ.get("CI") != "true", "gradio is not installed"
        pytest.skip("gradio is not installed: pip install 'earmark[app]'")
    from earmark.deliver.pages.app import serving

    with serving(["tones", "other"], load, AppLimits(**limits)) as address:
        yield address
