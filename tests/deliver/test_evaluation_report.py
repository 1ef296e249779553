"""The report of an evaluation: confusions, the worst clips, and in a browser without a network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from earmark.core.event import Event
from earmark.deliver.pages.evaluation_report import EvaluatedClip, write_evaluation_report
from earmark.deliver.pages.judging import confused_with
from earmark.score.report import ScoringTask, measure_tables, report
from helpers.review_pages import LABELS, NASTY, browser, opened, result, serious, sound

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FOUND = {
    "a": [Event(0.0, 1.0, "Dog", 0.9), Event(2.0, 3.0, "قطة", 0.8), Event(6.0, 7.0, NASTY, 0.7)],
    "b": [Event(1.0, 2.0, "Dog", 0.6)],
    "long": [Event(49.0, 50.0, "Dog", 0.6)],
    "gone": [Event(3.0, 4.0, "قطة", 0.6)],
}
TRUTH = {
    "a": [Event(0.1, 1.0, "Dog"), Event(2.0, 3.2, "Dog"), Event(8.0, 9.0, "قطة")],
    "b": [Event(1.0, 2.0, "Dog")],
    "long": [Event(52.0, 53.0, "قطة"), Event(54.0, 55.0, "قطة")],
    "gone": [Event(0.0, 1.0, NASTY)],
}
SECONDS = {"a": 10.0, "b": 4.0, "long": 90.0, "gone": 5.0}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as one:
        yield one


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    clips, tables = [], {}
    for name, seconds in SECONDS.items():
        path = folder / f"{name}.wav"
        if name != "gone":
            sound(path, seconds)
        tables[name] = result(name, seconds, FOUND[name]).table
        clips.append(EvaluatedClip(path, name, FOUND[name], TRUTH[name], seconds))
    task = ScoringTask(tuple(SECONDS), TRUTH, SECONDS, LABELS)
    measured = measure_tables(tables, FOUND, task)
    numbers = report([measured], resamples=50)
    file = folder / "report.html"
    faults = write_evaluation_report(file, NASTY, "split test", numbers, measured, clips, LABELS)
    assert [fault.partition(" ")[0] for fault in faults] == ["gone"]
    assert "cannot be heard" in faults[0]
    return file


def test_a_confusion_is_with_the_class_that_covers_most() -> None:
    truth = [Event(0.0, 1.0, "A"), Event(0.5, 3.0, "B"), Event(2.9, 9.0, "C")]
    assert confused_with(Event(0.0, 3.0, "D"), truth) == "B"
    assert confused_with(Event(2.5, 8.0, "D"), truth) == "C"


def test_it_says_what_went_wrong(page_file: Path) -> None:
    text = page_file.read_text("utf-8")
    assert NASTY not in text
    assert "<bdi>Dog</bdi> taken for <bdi>قطة</bdi>: 1" in text
    heard = re.findall(r"<h3><bdi>(.*?)</bdi>(.*?)</h3>\s*<p><small>(.*?)</small>", text)
    assert [one[0] for one in heard] == ["a", "long"]  # the worst first; b is right
    assert heard[0][2] == "2 misses, 1 false alarm, 1 confusion"
    begin = float(re.findall(r"from ([\d.]+) s", heard[1][1])[0])
    assert begin < 49 < 55 < begin + 30


def test_the_matrix_counts_each_kind_once(page_file: Path) -> None:
    text = page_file.read_text("utf-8")
    body = text[text.index('<table class="matrix">') : text.index("The worst clips")]
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', body, re.DOTALL)
    counts = {
        re.sub(r"<.*?>", "", name): [int(n or 0) for n in re.findall(r"<td.*?>(\d*)</td>", cells)]
        for name, cells in rows
    }
    assert counts["Dog"] == [2, 1, 0, 0, 1]
    assert counts["قطة"] == [0, 0, 0, 0, 3]
    assert counts["no event"][:4] == [1, 1, 0, 1]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(chromium: Browser, page_file: Path, theme: str, width: int) -> None:
    with opened(chromium, page_file, width=width, theme=theme, ready="article.clip") as page:
        assert page.title() == f"{NASTY} – evaluation"
        assert page.evaluate("window.hacked") is None
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        picture = page.locator(".picture").first
        picture.scroll_into_view_if_needed()
        assert page.evaluate("document.querySelector('.picture img').naturalWidth") == 500
        box = picture.bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 20)
        page.wait_for_function("document.querySelector('audio').currentTime > 5.05")
        second = page.locator("audio").nth(1)
        second.evaluate("one => one.play()")
        page.wait_for_function("document.querySelector('audio').paused")
        second.evaluate("one => one.pause()")
        assert serious(page) == []
