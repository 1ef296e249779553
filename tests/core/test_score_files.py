"""Score tables in files of every kind."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.errors import EarmarkError, ScoreError
from earmark.core.tables.score_files import SCORE_FORMATS, read_scores, write_scores
from earmark.core.tables.scores import ScoreTable


def table(frames: int, seed: int, dtype: Any, labels: tuple[str, ...]) -> ScoreTable:
    rng = np.random.default_rng(seed)
    values = rng.random((frames, len(labels))).astype(dtype)
    values[rng.random(values.shape) < 0.1] = 0
    return ScoreTable(np.cumsum(rng.random(frames + 1) + 1e-3), values, labels)


@pytest.mark.parametrize("format", SCORE_FORMATS)
@settings(max_examples=20, deadline=None)
@given(
    frames=st.integers(1, 50),
    seed=st.integers(0, 1000),
    dtype=st.sampled_from([np.float32, np.float64]),
    labels=st.sampled_from([("Dog",), ("Dog", "a, b", 'say "hi"', "犬"), ("onset", "2")]),
)
def test_scores_survive_every_format(
    format: str,
    frames: int,
    seed: int,
    dtype: Any,
    labels: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    if "onset" in labels:
        labels = ("Onset", "2")
    scores = table(frames, seed, dtype, labels)
    folder = tmp_path_factory.mktemp("scores")
    paths = [folder / f"{n}{SCORE_FORMATS[format].suffix}" for n in (1, 2)]
    for path in paths:
        write_scores(path, scores, format)
    again = read_scores(paths[0])
    np.testing.assert_array_equal(again.boundaries, scores.boundaries)
    np.testing.assert_allclose(again.values, scores.values, rtol=5e-6 if format == "csv" else 0)
    if format == "csv":
        fields = [row.split(",")[-1] for row in paths[0].read_text("utf-8").splitlines()[1:]]
        assert max(len(field.partition("e")[0].lstrip("0.")) for field in fields) <= 7
    assert again.labels == scores.labels
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(folder.iterdir()) == paths


def test_what_is_no_score_table(tmp_path: Path) -> None:
    for name, message in (("a.npz", "NumPy"), ("a.xyz", "Known: .tsv"), ("a.tsv", "frames")):
        (tmp_path / name).write_bytes(b"nonsense")
        with pytest.raises(ScoreError, match=message):
            read_scores(tmp_path / name)
    np.savez(tmp_path / "b.npz", values=np.zeros((2, 2)))
    with pytest.raises(ScoreError, match="boundaries"):
        read_scores(tmp_path / "b.npz")
    with pytest.raises(ScoreError, match="tsv, csv, npz, parquet"):
        write_scores(tmp_path / "c", table(2, 0, np.float32, ("a",)), "hdf5")


@pytest.mark.parametrize("format", SCORE_FORMATS)
@pytest.mark.parametrize("value", [np.inf, -np.inf, 1.25, -3.0])
def test_scores_that_are_no_probabilities_are_refused(
    tmp_path: Path, format: str, value: float
) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    values = np.full((4, 2), 0.5)
    values[2, 1] = value
    path = tmp_path / f"a{SCORE_FORMATS[format].suffix}"
    write_scores(path, ScoreTable(np.arange(5.0), values, ("Dog", "Cat")), format)
    with pytest.raises(ScoreError, match=rf"{path.name}:4: the score of Cat is {value:g}"):
        read_scores(path)


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(EarmarkError, match="pip install"):
        write_scores(tmp_path / "a.parquet", table(2, 0, np.float32, ("a",)), "parquet")
    assert not list(tmp_path.iterdir())
