"""Score tables in files that other tools read: text, NumPy archives, Parquet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from earmark.core.errors import ScoreError, optional_package
from earmark.core.files import write_whole
from earmark.core.files.bounds import read_arrays, refuse_bomb, refuse_special
from earmark.core.tables.rows import no_formula, six_digits
from earmark.core.tables.scores import ScoreTable


@dataclass(frozen=True)
class ScoreFormat:
    """A kind of file for the scores of a recording.

    Attributes:
        suffix: How its files end, with the dot.
        title: What it is, in a few words.
        write: Writes one.
        read: Reads one.
    """

    suffix: str
    title: str
    write: Callable[[Path, ScoreTable], object]
    read: Callable[[Path], ScoreTable]


def write_scores(path: str | Path, table: ScoreTable, format: str = "tsv") -> None:
    """Write a score table; the file appears whole or not at all.

    Args:
        path: The file; its folder is made.
        table: The scores.
        format: One of ``SCORE_FORMATS``. All but ``csv``, which has six digits of
            each score, hold the numbers to their last bit.

    Raises:
        ScoreError: If the format is unknown.
        EarmarkError: If Parquet is asked for and pyarrow is not installed.
    """
    chosen = score_format(format)
    write_whole(path, lambda draft: chosen.write(draft, table))


def read_scores(path: str | Path) -> ScoreTable:
    """Read a score table of any of ``SCORE_FORMATS``, by its suffix.

    Raises:
        ScoreError: If it is none.
        EarmarkError: If it is Parquet and pyarrow is not installed.
    """
    path = Path(path)
    name = path.name.lower().removesuffix(".gz")
    for format in SCORE_FORMATS.values():
        if name.endswith(format.suffix):
            return format.read(path)
    known = ", ".join(format.suffix for format in SCORE_FORMATS.values())
    raise ScoreError("not a known kind of score table", where=path, hint=f"Known: {known}")


def score_format(name: str) -> ScoreFormat:
    """A kind of file for scores.

    Raises:
        ScoreError: If there is none of that name.
    """
    if name not in SCORE_FORMATS:
        raise ScoreError(
            f"no format of scores is called {name!r}",
            hint=f"Known formats: {', '.join(SCORE_FORMATS)}",
        )
    return SCORE_FORMATS[name]


def _write_csv(path: Path, table: ScoreTable) -> None:
    frame = table.to_frame()
    for label in table.labels:
        frame[label] = list(map(six_digits, frame[label]))
    frame.columns = list(map(no_formula, frame.columns))
    frame.to_csv(path, index=False, lineterminator="\n")


def _write_npz(path: Path, table: ScoreTable) -> None:
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            boundaries=table.boundaries,
            values=table.values,
            labels=np.array(table.labels, dtype=np.str_),
        )


def _read_npz(path: Path) -> ScoreTable:
    try:
        content = read_arrays(path)
        boundaries, values, names = (content[name] for name in ("boundaries", "values", "labels"))
    except (ValueError, KeyError) as error:
        raise ScoreError(f"no score table of NumPy ({error})", where=path) from None
    kinds = boundaries.dtype.kind, values.dtype.kind, names.dtype.kind
    if not set(kinds[:2]) <= set("fiu") or kinds[2] != "U" or names.ndim != 1:
        raise ScoreError(f"no score table of NumPy (its arrays are of {kinds})", where=path)
    try:
        table = ScoreTable(boundaries, values, tuple(map(str, names)))
    except ScoreError as error:
        raise ScoreError(error.what, where=path, hint=error.hint) from None
    return table.probabilities(path)


def _write_parquet(path: Path, table: ScoreTable) -> None:
    _need_pyarrow(path)
    table.to_frame().to_parquet(path, engine="pyarrow", index=False)


def _read_parquet(path: Path) -> ScoreTable:
    import pandas as pd

    parquet = _need_pyarrow(path)
    refuse_special(path, ScoreError)
    try:
        about = parquet.read_metadata(path)
        refuse_bomb(8 * about.num_rows * about.num_columns, path.stat().st_size)
        frame = pd.read_parquet(path, engine="pyarrow")
    except (OSError, ValueError, NotImplementedError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ScoreError(f"no Parquet table ({reason})", where=path) from None
    return ScoreTable.from_frame(frame, where=path)


def _need_pyarrow(path: Path) -> Any:
    optional_package("pyarrow", "Parquet needs", "fleet", where=path, instead=", or choose npz")
    return import_module("pyarrow.parquet")


SCORE_FORMATS = {
    "tsv": ScoreFormat(
        ".tsv",
        "tab-separated, as sed_scores_eval reads it",
        lambda path, table: table.write(path),
        ScoreTable.read,
    ),
    "csv": ScoreFormat(".csv", "comma-separated", _write_csv, ScoreTable.read),
    "npz": ScoreFormat(".npz", "NumPy archive: boundaries, values, labels", _write_npz, _read_npz),
    "parquet": ScoreFormat(".parquet", "Parquet", _write_parquet, _read_parquet),
}
"""Kinds of files for scores by name."""
