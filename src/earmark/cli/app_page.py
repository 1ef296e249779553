"""``earmark app``: a page on which people drop recordings and see what is in them."""

from __future__ import annotations

import functools
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from earmark.cli.console import note, say
from earmark.cli.options import (
    DetectionPrecision,
    Device,
    Runtime,
    argument,
    option,
    settled,
    with_options,
)

if TYPE_CHECKING:
    from earmark.detect.detector import Detector

LIMITS = "Limits"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class AppOptions:
    """Options of ``earmark app``."""

    bundle: str | None = argument(
        None,
        "Bundle that is chosen at first, beside the shipped ones: a folder, a shipped name, a Hub "
        "id or an exported .onnx file.",
    )
    host: str = option("127.0.0.1", "Address to listen at; others than this one are heard by all.")
    port: int = option(0, "Port; 0 for the first from 7860 that is free.", min=0, max=65535)
    browser: bool = option(False, "Open the page in the browser.", "--browser")
    max_minutes: float = option(60.0, "Minutes of an upload's recordings together.", panel=LIMITS)
    max_size: int = option(500, "Megabytes of a file.", panel=LIMITS, min=1)
    max_files: int = option(20, "Recordings of an upload.", panel=LIMITS, min=1)
    concurrency: int = option(1, "Uploads scored at the same time.", panel=LIMITS, min=1)
    waiting: int = option(10, "Uploads that may wait.", panel=LIMITS, min=1)
    device: Device = "auto"
    precision: DetectionPrecision = "32-true"
    runtime: Runtime = "auto"


@with_options
def app(options: AppOptions) -> None:
    """Serve a page to drop recordings on: events as picture, table, sound and files.

    Only this computer can open it, unless --host says otherwise; it asks for no password. Classes
    and thresholds are changed by slider without scoring again. What is uploaded is removed when
    the page is closed, and the rest when the app ends. Stop it with Ctrl C. See docs/app.md.

    Examples:
    - `earmark app`
    - `earmark app runs/own --browser`
    - `earmark app home --host 0.0.0.0 --max-minutes 10 --max-size 50`
    """
    from earmark.core.errors import optional_package
    from earmark.deliver.pages.app_session import AppLimits
    from earmark.deliver.pictures.view import require_matplotlib
    from earmark.model.bundle_files import shipped_bundles

    optional_package("gradio", "the app needs", "app")
    require_matplotlib()
    from earmark.deliver.pages.app import serving

    limits = AppLimits(
        options.max_minutes, options.max_size, options.max_files, options.concurrency,
        options.waiting,
    )  # fmt: skip
    load = _loader(options)
    first = options.bundle or "home"
    load(first)  # what is wrong with it is said now
    bundles = list(dict.fromkeys([first, *shipped_bundles()]))
    console = Console()
    signal.signal(signal.SIGTERM, _stop)  # so that it cleans up, too
    with serving(bundles, load, limits, host=options.host, port=options.port) as address:
        say(console, f"{address}  (stop with Ctrl C)")
        if options.host not in _LOOPBACK:
            note(console, "others can open it, too, and it asks for no password")
        if options.browser:
            typer.launch(address)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            say(console, "stopped; what was uploaded is removed")


def _loader(options: AppOptions) -> Any:
    """Loads bundles, and keeps the last two."""
    from earmark.detect.detector import Detector

    lock = threading.Lock()

    @functools.lru_cache(maxsize=2)
    def loaded(name: str) -> Detector:
        precision = settled(options.precision, name, options.device, options.runtime)
        return Detector.from_pretrained(
            name, device=options.device, precision=precision, runtime=options.runtime
        )

    def load(name: str) -> Detector:
        with lock:
            return loaded(name)

    return load


def _stop(*_: object) -> None:
    raise KeyboardInterrupt
