"""The review page in a real browser: opened as a file, without the network."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from earmark.cli.import_labels import import_labels
from earmark.core.errors import EarmarkError
from earmark.core.event import Event
from earmark.core.formats import read_events
from earmark.core.tables.label_tables import strong_table
from earmark.deliver.pages import sounds
from earmark.deliver.pages.review import write_review
from earmark.deliver.pages.sounds import SOUND_KINDS
from helpers.review_pages import (
    EVENING,
    LABELS,
    NASTY,
    browser,
    item,
    opened,
    serious,
    small_page,
    sound,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as one:
        yield one


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("review")
    small_page(folder)
    return folder


def names(page: Page) -> list[str]:
    """Classes of the list, in its order."""
    return page.locator("#list .item .name bdi").all_inner_texts()


def saved(page: Page, button: str) -> bytes:
    """What a button of the export dialog gives."""
    page.keyboard.press("Control+s")
    with page.expect_download() as download:
        page.click(button)
    content = Path(download.value.path()).read_bytes()
    page.keyboard.press("Escape")
    return content


def table(page: Page, path: Path) -> pd.DataFrame:
    path.write_bytes(saved(page, "#save-tsv"))
    return read_events(path)


def pick(page: Page, text: str) -> None:
    """Type a class into the dialog that asks for one."""
    page.wait_for_selector("#label-dialog[open]")
    page.keyboard.type(text)
    page.keyboard.press("Enter")
    page.wait_for_selector("#label-dialog", state="hidden")


def test_names_are_text_and_errors_come_first(chromium: Browser, folder: Path) -> None:
    with opened(chromium, folder / "page" / "index.html") as page:
        assert page.title() == f"{NASTY} – review"
        assert page.evaluate("window.hacked") is None
        assert page.locator("#title").inner_text() == NASTY
        assert page.locator("#recording option").first.inner_text() == f"{EVENING} (0:00:12)"
        badges = page.locator("#list .item .badge").all_inner_texts()
        assert badges == ["miss", "miss", "confusion", "false alarm", "false alarm", "hit", "hit"]
        assert names(page) == ["Dog", "Dog", LABELS[2], "قطة", NASTY, "Dog", "Dog"]
        page.select_option("#show", "false alarm")
        assert names(page) == ["قطة", NASTY]
        page.select_option("#show", "")
        page.select_option("#sort", "sure")
        assert page.locator("#list .item .score").first.inner_text() == "0.91"
        page.select_option("#scope", "one")
        page.select_option("#class", "Dog")
        assert names(page) == ["Dog"] * 3


def test_a_whole_review_by_keyboard(chromium: Browser, folder: Path, tmp_path: Path) -> None:
    context = chromium.new_context(offline=True, accept_downloads=True)
    index = folder / "page" / "index.html"
    with opened(chromium, index, context=context) as page:
        page.select_option("#sort", "time")
        page.locator("body").press("ArrowDown")  # the first: Dog, 0 to 1 s
        page.wait_for_function("document.getElementById('audio').currentTime > 0.05")
        page.keyboard.press("a")  # accepted; on to the next, قطة
        page.keyboard.press("l")
        pick(page, "Wolf")  # a class nobody knew
        for _ in range(3):
            page.keyboard.press("1")  # 0.05 s earlier each
        page.keyboard.press("Shift+Digit4")  # 0.01 s later
        page.keyboard.press("j")  # Dog, missed at 4 s
        page.keyboard.press("x")
        page.keyboard.press("Escape")
        page.keyboard.press("Home")
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("n")  # at 6 s
        pick(page, LABELS[2])
        page.keyboard.press("z")
        page.keyboard.press("z")  # the rejection
        assert page.locator("#decided").inner_text() == "2 of 7 decided"
        page.keyboard.press("Shift+Z")
        page.keyboard.press("Shift+Z")
        assert page.locator("#decided").inner_text() == "4 of 8 decided"
        before = table(page, tmp_path / "labels.tsv")
    expected = [
        (EVENING, 0.0, 1.0, "Dog"), (EVENING, 1.85, 3.01, "Wolf"), (EVENING, 6.0, 7.0, LABELS[2]),
    ]  # fmt: skip
    assert list(before.itertuples(index=False, name=None)) == expected
    with opened(chromium, index, context=context) as page:  # the tab was closed
        assert page.locator("#decided").inner_text() == "4 of 8 decided"
        pd.testing.assert_frame_equal(table(page, tmp_path / "again.tsv"), before)
        page.keyboard.press("PageDown")
        page.check("#complete")  # of b.wav, of which nothing is accepted
        rows = saved(page, "#save-tsv").decode().splitlines()
        assert rows[-1] == "b.wav\t\t\t"
        page.keyboard.press("Control+s")
        page.check("[name=which][value=all]")
        page.keyboard.press("Escape")
        every = table(page, tmp_path / "all.tsv")
        assert list(every.event_label) == ["Dog", "Wolf", LABELS[2], LABELS[2], NASTY, "Dog"]
    context.close()


def test_the_export_is_imported(chromium: Browser, folder: Path, tmp_path: Path) -> None:
    with opened(chromium, folder / "page" / "index.html") as page:
        page.select_option("#sort", "time")
        page.uncheck("#auto")
        for key in ("ArrowDown", "a", "a", "a"):
            page.keyboard.press(key)
        page.keyboard.press("PageDown")
        page.check("#complete")
        (tmp_path / "labels.tsv").write_bytes(saved(page, "#save-tsv"))
        page.keyboard.press("PageUp")
        (tmp_path / "evening.txt").write_bytes(saved(page, "#save-audacity"))
    app = typer.Typer()
    app.command()(import_labels)
    out = tmp_path / "data"
    arguments = [tmp_path / "labels.tsv", "--audio", folder / "in", "--out", out, "--workers", 1]
    done = CliRunner().invoke(
        app, [*map(str, arguments), "--seconds", "12", "--fractions", "1,0,0"]
    )
    assert done.exit_code == 0, done.output
    [labels] = (out / "metadata" / "train").glob("*.tsv")
    events = sorted(row.event for row in strong_table(labels).rows)
    assert [(e.onset, e.offset, e.event_label) for e in events] == [
        (0.0, 1.0, "Dog"), (2.0, 3.0, "قطة"), (4.0, 5.0, "Dog"),
    ]  # fmt: skip
    track = read_events(tmp_path / "evening.txt", "audacity")
    assert list(track.event_label) == ["Dog", "قطة", "Dog"]


def test_edges_and_events_by_mouse(chromium: Browser, folder: Path, tmp_path: Path) -> None:
    with opened(chromium, folder / "page" / "index.html") as page:
        page.select_option("#sort", "time")
        page.uncheck("#auto")
        page.locator("#list .item").nth(1).click()
        page.keyboard.press("0")
        box = page.locator("#view").bounding_box()
        assert box is not None
        second, y = box["width"] / 12, box["y"] + 90

        def drag(first: float, last: float) -> None:
            page.mouse.move(box["x"] + first * second, y)
            page.mouse.down()
            page.mouse.move(box["x"] + (first + last) / 2 * second, y, steps=3)
            page.mouse.move(box["x"] + last * second, y)
            page.mouse.up()

        drag(3.0, 3.5)  # the offset of قطة
        drag(9.0, 10.0)  # a range
        page.click("#add")
        pick(page, "dog")
        page.mouse.click(box["x"] + 5.0 * second, y)
        page.wait_for_function("document.getElementById('audio').currentTime > 5.02")
        found = table(page, tmp_path / "labels.tsv")
    assert list(found.event_label) == ["قطة", "Dog"]
    times = found[["onset", "offset"]].to_numpy().ravel().tolist()
    assert times == pytest.approx([2.0, 3.5, 9.0, 10.0], abs=0.03)


def test_what_was_clicked_does_not_take_the_keys(chromium: Browser, folder: Path) -> None:
    with opened(chromium, folder / "page" / "index.html") as page:
        page.uncheck("#auto")
        page.locator("#list .item").first.click()
        page.click("#accept")
        page.keyboard.press("Space")
        page.wait_for_function("!document.getElementById('audio').paused")
        assert page.locator("#decided").inner_text() == "1 of 7 decided"
        page.focus("#accept")  # but by keyboard a button is pressed
        page.keyboard.press("Space")
        assert page.locator("#decided").inner_text() == "2 of 7 decided"


def test_times_are_typed_and_wrong_ones_told(chromium: Browser, folder: Path) -> None:
    with opened(chromium, folder / "page" / "index.html") as page:
        page.select_option("#sort", "time")
        page.locator("#list .item").first.click()
        page.fill("#offset", "0:00:01.750")
        page.keyboard.press("Enter")
        assert page.input_value("#offset") == "0:00:01.750"
        page.fill("#offset", "soon")
        page.keyboard.press("Enter")
        assert "h:mm:ss" in page.locator("#status").inner_text()
        assert page.input_value("#offset") == "0:00:01.750"
        page.fill("#onset", "9")  # never behind its offset
        page.keyboard.press("Enter")
        assert page.input_value("#onset") == "0:00:01.740"


def test_a_loop_comes_back_until_it_is_stopped(chromium: Browser, folder: Path) -> None:
    with opened(chromium, folder / "page" / "index.html") as page:
        page.select_option("#sort", "time")
        page.evaluate(
            "document.getElementById('audio').addEventListener('seeking', "
            "() => { window.seeks = (window.seeks || 0) + 1; })"
        )
        page.uncheck("#auto")
        page.locator("#list .item").first.click()
        page.keyboard.press("o")
        page.wait_for_function("window.seeks >= 3")  # to its start, and back twice
        page.keyboard.press("Escape")
        assert page.evaluate("document.getElementById('audio').paused")


def test_two_reviewers_are_merged(chromium: Browser, folder: Path, tmp_path: Path) -> None:
    index, theirs = folder / "page" / "index.html", tmp_path / "anna.review.json"
    with opened(chromium, index) as page:
        page.select_option("#sort", "time")
        page.uncheck("#auto")
        for key in ("ArrowDown", "a", "x", "a"):  # Dog, قطة, missed Dog
            page.keyboard.press(key)
        page.keyboard.press("Control+s")
        page.fill("#reviewer", "Anna")
        page.keyboard.press("Escape")
        theirs.write_bytes(saved(page, "#save-review"))
    with opened(chromium, index) as page:
        page.select_option("#sort", "time")
        page.uncheck("#auto")
        for key in ("ArrowDown", "a", "a"):  # Dog as Anna, قطة not
            page.keyboard.press(key)
        merge(page, theirs)
        page.wait_for_selector("#conflicts-dialog[open]")
        assert "differently on 1; 1 more" in page.locator("#conflicts-text").inner_text()
        assert "قطة" in page.locator("#conflicts").inner_text()
        page.check("#conflicts input[value=theirs]")
        page.click("#take")
        states = page.locator("#list .item .sign").all_inner_texts()
        assert states[:3] == ["✓", "✗", "✓"]
        page.keyboard.press("z")  # all of it in one step
        assert page.locator("#decided").inner_text() == "2 of 7 decided"


def merge(page: Page, file: Path) -> None:
    page.keyboard.press("Control+s")
    page.set_input_files("#merge", file)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: "no JSON", "no review file"),
        (lambda content: {"some": "thing"}, "no review file"),
        (lambda content: content | {"digest": "0"}, "another page"),
        (lambda content: content | {"changes": [["0f0", {"on": "1"}]]}, "damaged"),
        (lambda content: content | {"changes": [["0f0", {"on": 2.0}]]}, "damaged"),
        (lambda content: content | {"changes": [["0f99", {"status": "accepted"}]]}, "damaged"),
    ],
)
def test_other_files_are_not_merged(
    chromium: Browser, folder: Path, tmp_path: Path, change: Any, words: str
) -> None:
    with opened(chromium, folder / "page" / "index.html") as page:
        content = change(json.loads(saved(page, "#save-review")))
        file = tmp_path / "other.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        merge(page, file)
        page.wait_for_function(
            "words => document.getElementById('status').textContent.includes(words)", arg=words
        )
        assert page.locator("#decided").inner_text() == "0 of 7 decided"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_accessible_and_fits(chromium: Browser, folder: Path, theme: str, width: int) -> None:
    index = folder / "page" / "index.html"
    with opened(chromium, index, width=width, height=800, theme=theme) as page:
        page.uncheck("#auto")
        page.locator("#list .item").first.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert serious(page) == []
        for opener in ("#help", "#export", "#label") if (width, theme) == (390, "light") else ():
            page.click(opener)
            assert serious(page) == [], opener
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.keyboard.press("Escape")


def test_the_picture_has_the_sound_where_it_is(chromium: Browser, folder: Path) -> None:
    """What is drawn: bright in the seconds with a tone, dark between."""
    with opened(chromium, folder / "page" / "index.html") as page:
        page.keyboard.press("0")
        page.wait_for_function("[...document.images].every(one => one.complete)")
        page.wait_for_timeout(200)  # for it to be drawn
        box = page.locator("#view").bounding_box()
        assert box is not None
        clip = {"x": box["x"], "y": box["y"] + 24, "width": box["width"], "height": 370}
        shot = page.screenshot(clip=clip)  # type: ignore[arg-type]
    grey = np.asarray(Image.open(io.BytesIO(shot)).convert("L"), dtype=float)
    peaks = [grey[:, round((n + 0.5) * grey.shape[1] / 12)].max() for n in range(4, 11)]
    loud, quiet = peaks[0::2], peaks[1::2]
    assert min(loud) > max(quiet) + 40


def test_sound_goes_on_from_piece_to_piece(
    chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sounds, "PIECE", 4.0)
    monkeypatch.setattr(sounds, "OVERLAP", 1.0)
    one = item(sound(tmp_path / "long.wav", 10.0), [Event(8.5, 9.0, "Dog", 0.9)])
    shown = write_review(tmp_path / "page", [one], title="x", labels=LABELS)
    assert len(list((tmp_path / "page").rglob("a*.ogg"))) == 3
    with opened(chromium, shown.file) as page:
        page.keyboard.press("Home")
        for _ in range(4):
            page.keyboard.press("ArrowRight")
        page.select_option("#speed", "2")
        page.locator("body").press("Space")
        page.wait_for_function("document.getElementById('audio').src.endsWith('a1.ogg')")
        page.wait_for_function("document.getElementById('audio').src.endsWith('a2.ogg')")
        clock = "document.getElementById('clock').textContent"
        page.wait_for_function(f"{clock} >= '0:00:09.2'")


@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_a_browser_hears_every_kind_of_sound_on_time(
    chromium: Browser, tmp_path: Path, rate: int
) -> None:
    samples = np.zeros(2 * rate, dtype=np.float32)
    samples[rate : rate + 20] = 0.8
    with contextlib.closing(chromium.new_page()) as page:
        for name, kind in SOUND_KINDS.items():
            file = tmp_path / f"a.{kind.suffix}"
            sounds.write_piece(file, samples, rate, kind)
            heard = page.evaluate(
                """async ([data, rate]) => {
                    const bytes = Uint8Array.from(atob(data), one => one.charCodeAt(0)).buffer;
                    const context = new OfflineAudioContext(1, rate, rate);
                    const decoded = await context.decodeAudioData(bytes);
                    const loud = decoded.getChannelData(0).map(Math.abs);
                    return [decoded.duration, loud.indexOf(Math.max(...loud)) / rate];
                }""",
                [base64.b64encode(file.read_bytes()).decode(), rate],
            )
            assert heard == pytest.approx([2.0, 1.0], abs=0.003), name


def test_one_file_holds_everything(chromium: Browser, tmp_path: Path) -> None:
    shown = small_page(tmp_path, single=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "page.html"]
    with opened(chromium, shown.file) as page:
        assert page.evaluate("window.hacked") is None
        page.keyboard.press("ArrowDown")
        page.wait_for_function("document.getElementById('audio').currentTime > 4")


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "thesis.txt").write_text("years of work")
    with pytest.raises(EarmarkError, match="not an empty folder"):
        small_page(tmp_path)
    assert (tmp_path / "page" / "thesis.txt").is_file()
