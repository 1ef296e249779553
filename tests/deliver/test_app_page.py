"""The app in a real browser: upload, thresholds, download, a bad file, two at once, a phone."""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from earmark.core.formats import read_events
from earmark.detect.detector import Detector
from helpers.app_pages import served, tone_detector
from helpers.review_pages import browser, sound

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SHOWN = "[...document.querySelectorAll('#status')].some(one => one.innerText.includes({!r}))"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as one:
        yield one


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(lambda _: tone_detector(), minutes=0.5, files=3) as address:
        yield address


@contextmanager
def visiting(chromium: Browser, address: str, width: int = 1280) -> Iterator[Page]:
    """The page; what it asks of another machine, and errors of its scripts, fail."""
    context = chromium.new_context(
        viewport={"width": width, "height": 900}, accept_downloads=True, has_touch=width < 800
    )
    page = context.new_page()
    page.set_default_timeout(30_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((address, "data:", "blob:"))
            else faults.append(request.url)
        ),
    )
    page.goto(address)
    page.wait_for_selector("#files input[type=file]", state="attached")
    yield page
    assert faults == []
    context.close()


def upload(page: Page, *files: Path) -> None:
    page.set_input_files("#files input[type=file]", [str(file) for file in files])


def wait_for(page: Page, words: str) -> None:
    page.wait_for_function(SHOWN.format(words))


def set_threshold(page: Page, value: str) -> None:
    page.fill("#threshold input[type=number]", value)
    page.press("#threshold input[type=number]", "Enter")
    page.keyboard.press("Tab")


def test_from_upload_to_download(chromium: Browser, address: str, tmp_path: Path) -> None:
    with visiting(chromium, address) as page:
        upload(page, sound(tmp_path / "kitchen.wav", 6.0))
        wait_for(page, "3 events.")
        page.wait_for_function("document.querySelector('#picture img')?.naturalWidth === 1600")
        assert "0:00:01.9" in page.locator("#events").inner_text()  # 1.98 s
        with page.expect_download() as download:
            page.get_by_role("button", name="TSV").click()
        assert download.value.suggested_filename == "kitchen.tsv"
        assert len(read_events(save(download.value, tmp_path / "kitchen.tsv"))) == 3
        set_threshold(page, "0.3")
        wait_for(page, "6 events.")
        with page.expect_download() as download:
            page.get_by_role("button", name="Audacity").click()
        rows = read_events(save(download.value, tmp_path / "kitchen.txt"), "audacity")
        assert set(rows.event_label) == {"tone", "quiet"}
        page.locator("#events").get_by_text("tone", exact=True).first.click()
        page.wait_for_function(
            "[...document.querySelectorAll('audio')].some(one => one.src.includes('event.wav'))"
        )


def save(download: object, path: Path) -> Path:
    path.write_bytes(Path(download.path()).read_bytes())  # type: ignore[attr-defined]
    return path


def test_bad_and_long_files_get_a_sentence(chromium: Browser, address: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("a shopping list")
    with visiting(chromium, address) as page:
        upload(page, notes)
        wait_for(page, "notes.txt: ")
        upload_again = [sound(tmp_path / "a.wav", 4.0), sound(tmp_path / "long.wav", 40.0)]
        page.reload()
        page.wait_for_selector("#files input[type=file]", state="attached")
        upload(page, *upload_again)
        wait_for(page, "long.wav: longer than the 0.5 minutes")
        wait_for(page, "2 events.")  # of the other
        assert "/tmp" not in page.locator("#status").inner_text()


def test_two_visitors_and_a_phone(chromium: Browser, address: str, tmp_path: Path) -> None:
    with (
        visiting(chromium, address) as one,
        visiting(chromium, address, width=390) as other,
    ):
        upload(one, sound(tmp_path / "one.wav", 4.0))
        names = ("what_a_long_name_it_has_20260531_043000.wav", "y.wav")
        upload(other, sound(tmp_path / names[0], 8.0), sound(tmp_path / names[1], 2.0))
        wait_for(one, "2 events.")
        wait_for(other, "5 events in 2 recordings, 4 in this one.")
        other.wait_for_function("document.querySelector('#picture img')?.naturalWidth === 1600")
        assert other.evaluate("document.documentElement.scrollWidth") <= 390
        set_threshold(other, "0.95")
        wait_for(other, "0 events in 2 recordings")
        assert "2 events." in one.locator("#status").inner_text()  # its own thresholds


def test_no_file_of_the_server_is_read(address: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    places = [secret, Path("/etc/passwd"), Path.cwd() / "pyproject.toml", Path("pyproject.toml")]
    for place in places:
        for route in ("gradio_api/file=", "file="):
            url = f"{address}{route}{urllib.parse.quote(str(place))}"
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(url, timeout=20)
            assert refused.value.code in (403, 404), url


def test_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def load(_: str) -> Detector:
        return tone_detector()

    with served(load) as address:
        boundary = "one-two"
        content = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n'
            "Content-Type: audio/wav\r\n\r\nsound\r\n"
            f"--{boundary}--\r\n"
        )
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        request = urllib.request.Request(
            f"{address}gradio_api/upload", content.encode(), headers, method="POST"
        )
        urllib.request.urlopen(request, timeout=20).read()
        assert [path for path in tmp_path.rglob("a.wav") if path.read_bytes() == b"sound"]
    assert list(tmp_path.iterdir()) == []
