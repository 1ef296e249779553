"""Score tables."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.core.errors import ScoreError
from earmark.core.tables.scores import ScoreTable, common_labels

EDGES = np.array([0.0, 0.1, 0.25, 1.0])
VALUES = np.array([[0.1, 0.0], [0.2, 1.0], [1 / 3, 1e-17]])


def table() -> ScoreTable:
    return ScoreTable(EDGES, VALUES, ("Cat", "Dog"))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_survives_its_file_bit_for_bit(tmp_path: Path) -> None:
    table().write(tmp_path / "clip.tsv")
    again = ScoreTable.read(tmp_path / "clip.tsv")
    assert again.labels == ("Cat", "Dog")
    assert np.array_equal(again.boundaries, EDGES)
    assert np.array_equal(again.values, VALUES)
    assert (tmp_path / "clip.tsv").read_text().startswith("onset\toffset\tCat\tDog\n0.0\t0.1\t0.1")


@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 2**32 - 1), st.booleans())
def test_random_tables_survive_a_frame(frames: int, size: int, seed: int, single: bool) -> None:
    rng = np.random.default_rng(seed)
    edges = np.cumsum(rng.uniform(1e-3, 2, frames + 1))
    values = rng.normal(size=(frames, size)).astype(np.float32 if single else np.float64)
    before = ScoreTable(edges, values, tuple(f"c{k}" for k in range(size)))
    after = ScoreTable.from_frame(before.to_frame())
    assert np.array_equal(before.boundaries, after.boundaries)
    assert np.array_equal(before.values, after.values)
    assert before.labels == after.labels
    assert len(after) == frames


def test_single_precision_stays_and_integers_become_floats() -> None:
    assert ScoreTable(EDGES, VALUES.astype(np.float32), ("a", "b")).values.dtype == np.float32
    assert ScoreTable(EDGES, np.ones((3, 2), int), ("a", "b")).values.dtype == np.float64


def test_a_table_cannot_be_changed_and_leaves_the_given_arrays_alone() -> None:
    values = VALUES.copy()
    made = ScoreTable(EDGES, values, ("a", "b"))
    with pytest.raises(ValueError, match="read-only"):
        made.values[0, 0] = 2
    values[0, 0] = 7.0


@pytest.mark.parametrize(
    ("edges", "values", "labels", "message"),
    [
        (EDGES[:-1], VALUES, ("a", "b"), "do not fit"),
        (EDGES, VALUES[0], ("a", "b"), "do not fit"),
        (EDGES[:1], VALUES[:0], ("a", "b"), "do not fit"),
        (EDGES, VALUES, ("a",), "2 columns"),
        (EDGES, VALUES, ("a", "a"), "2 columns"),
        (EDGES, VALUES[:, :0], (), "0 columns"),
        (np.array([0, 0.1, 0.1, 1]), VALUES, ("a", "b"), "increase"),
        (np.array([0, 0.1, np.nan, 1]), VALUES, ("a", "b"), "finite"),
        (np.array([0, 0.1, 0.2, np.inf]), VALUES, ("a", "b"), "finite"),
        (EDGES, np.where(VALUES == 1, np.nan, VALUES), ("a", "b"), "score of b is NaN in frame 2"),
    ],
)
def test_bad_tables_are_refused(
    edges: np.ndarray, values: np.ndarray, labels: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ScoreError, match=message):
        ScoreTable(edges, values, labels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no frames"),
        ("onset\toffset\ta\n", "no frames"),
        ("start\toffset\ta\n0\t1\t1\n", "starts with the columns onset and offset"),
        ("onset\toffset\ta\n0\t1\t1\n1.1\t2\t1\n", r"clip.tsv:3: frame 2 starts at 1.1 s"),
        ("onset\toffset\ta\n0\t1\tx\n", r"clip.tsv:2: a cell is not a number"),
        ("onset\toffset\ta\n0\t1\t\n", r"clip.tsv:2: a cell is not a number"),
        ("onset\toffset\ta\n0\t1\n", r"clip.tsv:2: 2 cells for 3 columns"),
        ("onset\toffset\ta\ta\n0\t1\t1\t1\n", "clip.tsv: 2 columns"),
        ("onset\toffset\ta\n0\t1\tnan\n", "clip.tsv: the score of a is NaN"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        ScoreTable.read(write(tmp_path / "clip.tsv", text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match=r"nothing\.tsv: cannot read"):
        ScoreTable.read(tmp_path / "nothing.tsv")


def test_a_frame_with_words_in_it_is_refused() -> None:
    frame = table().to_frame().astype(object)
    frame.loc[0, "Cat"] = "loud"
    with pytest.raises(ScoreError, match="not a number"):
        ScoreTable.from_frame(frame)


@pytest.mark.parametrize("cell", ["-inf", "inf", "1.5", "-0.2", "1e308", "37"])
def test_scores_in_files_are_probabilities(tmp_path: Path, cell: str) -> None:
    path = write(tmp_path / "clip.tsv", f"onset\toffset\ta\tb\n0\t1\t0\t1\n1\t2\t1\t{cell}\n")
    with pytest.raises(ScoreError, match=rf"clip.tsv:3: the score of b is .*{cell[:2]}") as caught:
        ScoreTable.read(path)
    assert "sigmoid" in str(caught.value)


def test_edges_and_numbers_are_read_as_they_are_written(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.tsv", "onset\toffset\ta\n0\t1\t1.0000001\n1.0000004\t2\t1e-3\n\n")
    read = ScoreTable.read(path)
    assert read.values.tolist() == [[1.0000001], [0.001]]  # a sum in single precision
    assert read.boundaries.tolist() == [0.0, 1.0000004, 2.0]


def test_common_labels() -> None:
    assert common_labels([("x", table()), ("y", table())]) == ("Cat", "Dog")
    other = ScoreTable(EDGES, VALUES, ("Dog", "Cat"))
    with pytest.raises(ScoreError, match=r"columns of y \(Dog, Cat\) differ from those of x"):
        common_labels([("x", table()), ("y", other)])
    with pytest.raises(ScoreError, match="no score tables"):
        common_labels([])


@pytest.mark.parametrize("name", ["c.tsv", "c.csv", "c.tsv.gz", "c.csv.gz"])
def test_tables_of_either_kind_with_an_index_or_without(tmp_path: Path, name: str) -> None:
    rows = [
        ["onset", "offset", "Löwe", "b c"],
        ["0", "0.1", "5e-1", "0"],
        ["0.1", "1", "1", "0.2"],
    ]
    between = "\t" if "tsv" in name else ","
    for index in (False, True):
        given = [[str(number - 1) if number else "", *row] for number, row in enumerate(rows)]
        lines = [between.join(row if index else row[1:]) for row in given]
        data = ("\ufeff" + "\r\n".join(lines)).encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        read = ScoreTable.read(tmp_path / name)
        assert read.labels == ("Löwe", "b c")
        assert read.values.tolist() == [[0.5, 0.0], [1.0, 0.2]]
        assert read.boundaries.tolist() == [0.0, 0.1, 1.0]


def test_numbers_are_those_that_python_reads(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    cells = [repr(value) for value in np.exp(-np.abs(rng.normal(size=300)) * 20).tolist()]
    cells += [f"{value:.25f}" for value in rng.random(300)]
    lines = [f"{k}\t{k + 1}\t{cell}" for k, cell in enumerate(cells)]
    path = write(tmp_path / "clip.tsv", "\n".join(["onset\toffset\ta", *lines]))
    assert ScoreTable.read(path).values[:, 0].tolist() == [float(cell) for cell in cells]


def test_a_torn_archive_is_told(tmp_path: Path) -> None:
    data = gzip.compress(b"onset\toffset\ta\n0\t1\t2\n" * 50)
    for torn in (data[:-12], b"no archive", data[:30] + b"xxxx" + data[34:]):
        (tmp_path / "c.tsv.gz").write_bytes(torn)
        with pytest.raises(ScoreError, match="cannot read the score table"):
            ScoreTable.read(tmp_path / "c.tsv.gz")
