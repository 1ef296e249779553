"""Rows of events, those that hypothesis draws too."""

from __future__ import annotations

import pandas as pd
from hypothesis import strategies as st

from earmark.core.errors import LabelError
from earmark.core.event import EVENT_COLUMNS
from earmark.core.tables.rows import check_label, check_name

MANY = ("tsv", "csv", "json", "jsonl", "rttm")
NO_XML = {"\ufffe", "\uffff"}
Rows = list[tuple[str, float, float, str, float]]


def table(*rows: tuple[object, ...]) -> pd.DataFrame:
    columns = [*EVENT_COLUMNS, "score"]
    return pd.DataFrame(list(rows), columns=columns[: len(rows[0]) if rows else 5])


awkward = st.sampled_from(
    [
        *("Dog", "Running_water", "a, b", "a; b", 'say "hi"', '"', "'", "<b>&amp;</b>", "-->"),
        *("犬の声", "e\u0301", "\\x", "🐕", "a\u00a0b", "WEBVTT", "NOTE", "{", "#", "=1+1"),
    ]
)


def fit(name: str) -> bool:
    try:
        return check_name(check_label(name)) == name
    except LabelError:
        return False


names = awkward | st.text(max_size=8).filter(fit) | st.text("<>&\"'\\,; -", max_size=6).filter(fit)


def rows_for(format: str, names: st.SearchStrategy[str]) -> st.SearchStrategy[Rows]:
    fitting = names.filter(lambda name: not set(name) & NO_XML) if format == "elan" else names
    files = fitting if format in MANY else st.just("Küche, 2 & 3.wav")
    time = st.floats(0, 1e5)
    return st.lists(
        st.tuples(files, time, time, fitting, st.floats(0, 1)).map(
            lambda row: (row[0], min(row[1:3]), max(row[1:3]), *row[3:])
        ),
        max_size=6,
    )
