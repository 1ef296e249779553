"""The report of a run: what it says, of any journal, and in a real browser without a network."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from earmark.core.errors import DataError, EarmarkError
from earmark.deliver.pages.charts import Bound, Chart, ChartLine, number
from earmark.deliver.pages.run_report import best_epoch, warnings_of, write_run_report
from earmark.train.record.journal import JOURNAL
from helpers.review_pages import NASTY, browser, opened, serious

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LEGACY = Path(__file__).parents[1] / "legacy" / "v0_1" / "runs"
LABELS = ("Dog", NASTY, "قطة")
RECIPE = {
    "name": NASTY,
    "description": "A run of a test.",
    "method": {"embedding": {"out": 64, "detach_steps": 0, "ramp_steps": 10}},
    "train": {"epochs": 20, "steps_per_epoch": 10, "select": "teacher_psds", "frozen": []},
}


def record(epoch: int, **changed: Any) -> dict[str, Any]:
    """A line of the journal, as training writes it."""
    rising = 1 - math.exp(-epoch / 8)
    losses = {
        "strong": 0.7 - 0.4 * rising, "weak": 0.6 - 0.3 * rising, "mean_teacher": 0.01 * rising,
        "pseudo_label": 0.02, "embedding": 1.5 - rising, "embedding_std": 0.1 * rising + 0.03,
        "embedding_cosine": 0.3, "ramp": rising,
        "loss": 1.2 - rising,
    }  # fmt: skip
    scores = {
        "psds1": 0.4 * rising, "psds2": 0.6 * rising, "collar_f1": 0.3 * rising,
        "intersection_f1": 0.5 * rising, "clips": 30, "of": 31,
        "per_class": {
            name: {label: 0.2 * n * rising for n, label in enumerate(LABELS, 1)}
            for name in ("psds1", "psds2", "intersection_f1", "precision", "recall", "true_events")
        },
        "per_class_intervals": {"intersection_f1": {label: [0.1, 0.4] for label in LABELS}},
    }  # fmt: skip
    return {
        "epoch": epoch, "step": 10 * epoch, "lr": 0.001, "ema": 0.99, "embedding_ramp": rising,
        "losses": losses | changed.pop("losses", {}), "seconds": 12.0, "gradient_ratio": 0.2,
        "memory": {"process": 10**9},
        "mixing": {"lambda": 0.8, "composed": 0.5, "perturbed": 0.2},
        "validation": {"student": scores, "teacher": scores | {"psds1": 0.5 * rising}},
    } | changed  # fmt: skip


def run_folder(folder: Path, records: list[dict[str, Any]], **begun: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    (folder / JOURNAL).write_text("".join(json.dumps(one) + "\n" for one in records))
    data = {
        "fingerprint": "0123456789abcdef", "labels": list(LABELS), "notes": [f"look: {NASTY}"],
        "sources": [
            {"name": "strong", "kind": "strong", "clips": 9, "by_class": {"Dog": 5, NASTY: 2}}
        ],
        "splits": [{"name": "validation", "clips": 30, "by_class": {"Dog": 9, "قطة": 3}}],
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps({"command": "earmark train", "data": data} | begun))
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as one:
        yield one


def test_what_a_user_should_look_at_is_said_in_words() -> None:
    records = [record(n) for n in range(1, 10)]
    records[0]["losses"]["embedding_std"] = 0.001  # before the ramp is over
    for epoch in (3, 4, 8):
        records[epoch - 1]["losses"]["embedding_cosine"] = 0.9
    records[5]["losses"]["skipped"] = 2.0
    records[-1]["unreadable"] = {"a.wav": "a.wav: cut short"}
    data = {
        "labels": LABELS, "notes": ["said at the start"],
        "sources": [{"by_class": {"Dog": 5}}], "splits": [{"name": "v", "by_class": {"قطة": 3}}],
    }  # fmt: skip
    found = warnings_of(records, {"data": data}, RECIPE)
    collapse, skipped, unreadable, learned, scored, note = found
    assert "epochs 3 to 4 and 8 " in collapse
    assert "cosine 0.90" in collapse
    assert skipped.startswith("2 steps were left out in epoch 6,")
    assert unreadable == "A clip is skipped: a.wav: cut short"
    assert learned == f"No labelled clip to learn from: {NASTY}, قطة."
    assert scored == f"Not an event in the split v: Dog, {NASTY}."
    assert note == "said at the start"
    assert warnings_of([record(n) for n in range(1, 10)], {}, RECIPE) == []


def test_the_network_that_was_kept_is_shown() -> None:
    records = [record(n) for n in (1, 2, 3)]
    records[1]["validation"]["teacher"] |= {"psds1": 0.9}
    records[2]["validation"]["student"] |= {"psds1": 0.9}
    for select, epoch, network in (
        ("teacher_psds", 2, "teacher"), ("teacher_psds1", 2, "teacher"),
        ("student_psds", 3, "student"), ("last", 3, "teacher"),
    ):  # fmt: skip
        best = best_epoch(records, select)
        assert best is not None
        assert (best[0]["epoch"], best[1]) == (epoch, network)
    assert best_epoch([record(1, validation={})], "teacher_psds") is None


def test_the_report_holds_the_run(tmp_path: Path) -> None:
    path = write_run_report(run_folder(tmp_path, [record(n) for n in range(1, 6)]))
    text = path.read_text("utf-8")
    assert path == tmp_path / "report.html"
    for words in (
        "epoch <b>5</b> of 20", "0123456789abcdef", "PSDS1", "λ and modes", "consistency r",
        "Gradient, embedding loss over supervised", "Seconds a step", "Memory, GB at most",
        "[0.10, 0.40]", "steps_per_epoch: 10", "No labelled clip to learn from: قطة.",
    ):  # fmt: skip
        assert words in text, words
    assert NASTY not in text
    assert "http:" not in text
    assert "https:" not in text


@pytest.mark.parametrize("name", ["mini", "v1", "v1_frozen", "pretrain"])
def test_journals_of_version_0_1_are_read(name: str, tmp_path: Path) -> None:
    text = write_run_report(LEGACY / name, tmp_path / "report.html").read_text("utf-8")
    assert ("Scores on validation" in text) == (name != "pretrain")
    assert "Losses by term" in text
    assert "not recorded" not in text  # the card has the data's fingerprint


def test_a_run_that_has_just_begun_and_no_run(tmp_path: Path) -> None:
    assert "epoch <b>0</b> of 20" in write_run_report(run_folder(tmp_path, [])).read_text("utf-8")
    with pytest.raises(DataError, match="no journal"):
        write_run_report(tmp_path / "elsewhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(EarmarkError, match="cannot be written"):
        write_run_report(tmp_path, tmp_path / "file" / "report.html")


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True, min_value=None, width=32), max_size=30),
    st.booleans(),
)
def test_any_numbers_can_be_drawn(values: list[float], log: bool) -> None:
    chart = Chart("t", [ChartLine("c", list(enumerate(values)))], bounds=[Bound(0.5, "b")], log=log)
    usable = [one for one in values if math.isfinite(one) and (one > 0 or not log)]
    assert bool(chart) == bool(usable)
    if chart:
        text = chart.svg()
        assert "nan" not in text.lower()
        assert "inf" not in text.lower()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.12345, "0.123"), (12345.0, "12,345"), (1e-7, "1e-7"), (2.5, "2.5")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(chromium: Browser, tmp_path: Path, theme: str, width: int) -> None:
    file = write_run_report(run_folder(tmp_path, [record(n) for n in range(1, 8)]))
    with opened(chromium, file, width=width, theme=theme, ready="svg.chart") as page:
        assert page.title() == f"{NASTY} – run report"
        assert page.evaluate("window.hacked") is None
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        chart = page.locator("svg.chart").first
        chart.scroll_into_view_if_needed()
        box = chart.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * 0.98, box["y"] + 40)
        said = page.locator("figure output").first.inner_text()
        assert said == f"epoch 7: teacher {0.5 * (1 - math.exp(-7 / 8)):.3g}, " + (
            f"student {0.4 * (1 - math.exp(-7 / 8)):.3g}"
        )
        page.locator("summary").click()
        assert "steps_per_epoch" in page.locator("pre").inner_text()
        assert serious(page) == []
