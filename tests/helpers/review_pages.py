"""A small review page, and a browser that opens it as a file without the network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from earmark.core.event import Event
from earmark.core.tables.scores import ScoreTable
from earmark.deliver.pages.review import ReviewItem, ReviewPage, write_review
from earmark.detect.detector import Result

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

RATE = 16_000
NASTY = "</script><script>window.hacked = 1</script><b>\"'&"
LABELS = ("Dog", "قطة", '🐦 "tweet"', NASTY)
EVENING = 'evening "🐶" قط & <b>.wav'


def sound(path: Path, seconds: float, hertz: float = 440.0) -> Path:
    """A tone in every other second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * RATE)) / RATE
    soundfile.write(path, 0.4 * np.sin(2 * np.pi * hertz * time) * (time % 2 < 1), RATE)
    return path


def result(name: str, seconds: float, found: Sequence[Event]) -> Result:
    """What a detector would give: a score of 0.9 within its events, else 0.1."""
    frames = int(np.ceil(seconds / 0.064))
    edges = np.minimum(np.arange(frames + 1) * 0.064, seconds)
    values = np.full((frames, len(LABELS)), 0.1, dtype=np.float32)
    for event in found:
        inside = (edges[:-1] < event.offset) & (edges[1:] > event.onset)
        values[inside, LABELS.index(event.event_label)] = 0.9
    return Result(name, seconds, ScoreTable(edges, values, LABELS), tuple(found))


def item(
    path: Path, found: Sequence[Event], truth: Sequence[Event] | None = None, name: str = ""
) -> ReviewItem:
    """A recording of a page, with its events given."""
    name, seconds = name or path.name, soundfile.info(path).duration
    given = None if truth is None else tuple(truth)
    return ReviewItem(path, name, lambda _: result(name, seconds, found), given)


def small_page(folder: Path, **options: Any) -> ReviewPage:
    """Two recordings with hits, a miss, a false alarm and a confusion."""
    found = [
        Event(0.0, 1.0, "Dog", 0.91),
        Event(2.0, 3.0, "قطة", 0.62),
        Event(4.2, 5.2, LABELS[2], 0.55),
        Event(7.0, 7.5, NASTY, 0.31),
    ]
    truth = [Event(0.1, 1.0, "Dog"), Event(4.0, 5.0, "Dog"), Event(8.0, 9.0, "Dog")]
    other = [Event(1.0, 2.0, "Dog", 0.5)]
    items = [
        item(sound(folder / "in" / EVENING, 12.0), found, truth),
        item(sound(folder / "in" / "b.wav", 4.0, 900.0), other, [Event(1.0, 2.0, "Dog")]),
    ]
    out = folder / ("page.html" if options.get("single") else "page")
    return write_review(out, items, title=NASTY, labels=LABELS, **options)


def why_no_browser() -> str | None:
    """What this machine lacks to open a page in a browser."""
    try:
        import playwright.sync_api  # noqa: F401
    except ModuleNotFoundError:
        return "playwright is not installed"
    return (
        None if shutil.which("chromium") else "chromium is not installed: apt-get install chromium"
    )


@contextmanager
def browser() -> Iterator[Browser]:
    """Headless Chromium; a test without it is skipped, and fails where ``CI=true``."""
    lacking = why_no_browser()
    if lacking is not None:
        assert os.environ.get("CI") != "true", lacking
        pytest.skip(lacking)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio"],
        )
        yield chromium
        chromium.close()


@contextmanager
def opened(
    chromium: Browser,
    file: Path,
    *,
    width: int = 1280,
    height: int = 800,
    theme: str = "light",
    context: Any = None,
    ready: str = "#list .item",
) -> Iterator[Page]:
    """A page opened as a file, offline; whatever it complains of, or asks of a network, fails."""
    own = context or chromium.new_context(
        viewport={"width": width, "height": height}, offline=True, accept_downloads=True,
        color_scheme=theme, has_touch=width < 800,  # type: ignore[arg-type]
    )  # fmt: skip
    page = own.new_page()
    page.set_default_timeout(10_000)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("file:", "data:", "blob:"))
            else complaints.append(f"asked for {request.url}")
        ),
    )
    page.goto(file.as_uri())
    page.wait_for_selector(ready)
    yield page
    assert complaints == []
    page.close()
    if context is None:
        own.close()


AXE = Path(__file__).parents[1] / "node" / "node_modules" / "axe-core" / "axe.min.js"


def serious(page: Page) -> list[str]:
    """What axe-core finds that is serious or critical; a test without it is skipped."""
    if not AXE.is_file():
        assert os.environ.get("CI") != "true", "axe-core is not installed: make node"
        pytest.skip("axe-core is not installed: make node")
    if not page.evaluate("'axe' in window"):
        page.add_script_tag(content=AXE.read_text("utf-8"))
    found = page.evaluate("axe.run({ preload: false })")["violations"]
    return [
        f"{one['id']}: {node['html']}: {node['failureSummary']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
