"""Pictures of pages for the documentation: synthesise a recording, make its page, photograph it.

    python benchmarks/page_pictures.py

Needs Chromium (``apt-get install chromium``) and Playwright, which the extra ``dev`` brings.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from earmark import Detector
from earmark.core.audio.audio import write_audio
from earmark.deliver.pages.review import ReviewItem, write_review
from earmark.synth.scene import make_recording
from earmark.synth.settings import load_synth_settings
from earmark.synth.sources import SynthesisedSources

IMAGES = Path(__file__).parents[1] / "docs" / "img"
CLIPS, SEED = 12, 7


def review_page(folder: Path) -> Path:
    """The page of a synthesised recording with its true events."""
    generators = [np.random.default_rng([SEED, number]) for number in range(CLIPS)]
    settings = load_synth_settings("demo")
    made = make_recording(SynthesisedSources(), "test", settings, generators, subset="test")
    recording = folder / "kitchen.wav"
    write_audio(recording, made.audio)
    detector = Detector.from_pretrained("mini")
    item = ReviewItem(
        recording, recording.name, lambda step: detector.detect(recording, progress=step),
        tuple(made.events),
    )  # fmt: skip
    return write_review(folder / "page", [item], title="mini", labels=detector.labels).file


def photograph(index: Path, out: Path, width: int, height: int, theme: str) -> None:
    """A picture of the page with some events decided, in few colours to be small."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--mute-audio"]
        )
        page = chromium.new_page(
            viewport={"width": width, "height": height},
            color_scheme=theme,  # type: ignore[arg-type]
        )
        page.goto(index.as_uri())
        page.wait_for_selector("#list .item")
        page.uncheck("#auto")
        page.select_option("#sort", "time")
        for key in ("ArrowDown", "a", "a", "x", "a", "a", "x", "a", "a", "a"):
            page.keyboard.press(key)
        page.wait_for_timeout(1500)
        page.screenshot(path=out)
        chromium.close()
    Image.open(out).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(out, optimize=True)


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=IMAGES)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        index = review_page(Path(folder))
        photograph(index, out / "review.png", 1280, 800, "light")
        photograph(index, out / "review_phone.png", 390, 844, "dark")


if __name__ == "__main__":
    main()
