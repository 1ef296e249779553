"""The app's layout, in Gradio: what stands where, and what happens at a click.

What it does is in `earmark.deliver.pages.app_session`.
"""

from __future__ import annotations

import html
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from earmark.core.errors import ConfigError, EarmarkError
from earmark.deliver.pages.app_session import (
    DOWNLOADS,
    IDLE,
    TABLE,
    AppLimits,
    AppSession,
    AppSessions,
    hear,
    sentence,
    table_rows,
)
from earmark.detect.detector import Detector

ALL = "All classes"
_TITLES = {"tsv": "TSV", "csv": "CSV", "json": "JSON", "audacity": "Audacity", "raven": "Raven"}
_BLUE, _LIGHT_BLUE = "#0b5cad", "#7db8f5"  # of the review page
_CSS = """
footer { display: none !important; }
.gradio-container { max-width: min(1200px, 100vw) !important; margin: auto; }
.gradio-container :is(.main, main, .wrap, .column) { min-width: 0 !important; max-width: 100%; }
#status { min-height: 1.5em; }
#downloads { flex-wrap: wrap; }
#downloads button { min-width: 96px; flex: 1 0 96px; }
@media (max-width: 640px) {
  .gradio-container, .gradio-container .main { padding: 8px !important; }
  .stack, .stack .form { flex-direction: column !important; }
  .stack > *, .stack .form > * { min-width: 0 !important; width: 100% !important; }
}
"""

Load = Callable[[str], Detector]


class EarmarkApp:
    """The page and its events.

    Args:
        bundles: Those that a visitor may choose from, by name; no other is loaded.
        load: Loads one.
        limits: What a visitor may ask for.
        sessions: The open pages.
    """

    def __init__(
        self, bundles: Sequence[str], load: Load, limits: AppLimits, sessions: AppSessions
    ) -> None:
        self._bundles, self._load = list(bundles), load
        self._limits, self._sessions = limits, sessions

    def build(self) -> gr.Blocks:
        """Puts everything in its place."""
        with gr.Blocks(
            title="Earmark", analytics_enabled=False, delete_cache=(300, round(IDLE))
        ) as page:
            gr.HTML(
                "<h1>Earmark</h1><p>What sounds when: drop recordings, or record.</p>"
                f"<p>{html.escape(self._limits.sentence())} Recordings are removed when the page "
                "is closed, and after an hour.</p>"
            )
            self._bundle = gr.Dropdown(self._bundles, value=self._bundles[0], label="Bundle")
            with gr.Row(elem_classes="stack"):
                files = gr.File(
                    file_count="multiple", label="Recordings", elem_id="files", height=150
                )
                microphone = gr.Audio(
                    sources=["microphone"], type="filepath", label="Microphone", min_width=280
                )
            self._status = gr.HTML("", elem_id="status")
            with gr.Column(visible=False) as self._found:
                self._build_found()
            every = [
                self._status, self._found, self._recording, self._classes, self._of, self._slider,
                *self._shown,
            ]  # fmt: skip
            scored: dict[str, Any] = {
                "outputs": every, "concurrency_limit": self._limits.at_once,
                "concurrency_id": "detect", "api_visibility": "private",
            }  # fmt: skip
            files.upload(self._on_files, [files, self._bundle], **scored)
            microphone.stop_recording(self._on_sound, [microphone, self._bundle], **scored)
            self._bundle.input(self._on_bundle, [self._bundle], **scored)
            page.unload(self._on_closed)
        return page

    def _build_found(self) -> None:
        self._recording = gr.Dropdown([], label="Recording", type="index", visible=False)
        with gr.Row(elem_classes="stack"):
            self._classes = gr.Dropdown(
                [], label="Classes shown", info="All if none is chosen; type to search.",
                multiselect=True, elem_id="classes",
            )  # fmt: skip
            self._of = gr.Dropdown([ALL], value=ALL, label="Threshold of", elem_id="of")
            self._slider = gr.Slider(
                0.01, 0.99, 0.5, step=0.01, label="Threshold", elem_id="threshold"
            )
        own = gr.Button("The bundle's own thresholds", size="sm")
        self._picture = gr.Image(
            show_label=False, interactive=False, type="filepath", elem_id="picture",
            buttons=["download", "fullscreen"],
            alt_text="Spectrogram, scores and events",
        )  # fmt: skip
        plain = gr.WaveformOptions(show_recording_waveform=False)
        self._sound = gr.Audio(
            label="Sound", interactive=False, waveform_options=plain, buttons=["download"]
        )
        self._table = gr.Dataframe(
            headers=list(TABLE), datatype="str", label="Events; choose one to hear it",
            interactive=False, elem_id="events", max_height=420,
        )  # fmt: skip
        self._event = gr.Audio(
            label="Event",
            interactive=False,
            autoplay=True,
            waveform_options=plain,
            buttons=["download"],
        )
        with gr.Row(elem_id="downloads"):
            self._buttons = [gr.DownloadButton(_TITLES[kind], size="sm") for kind in DOWNLOADS]
        self._shown = [self._picture, self._sound, self._table, self._event, *self._buttons]
        decided = {"outputs": [self._status, *self._shown], "api_visibility": "private"}
        place = [self._recording]
        self._recording.input(self._on_recording, place, **decided)
        self._classes.input(self._on_classes, [*place, self._classes], **decided)
        self._slider.release(self._on_slider, [*place, self._of, self._slider], **decided)
        self._of.input(self._on_of, [self._of], [self._slider], api_visibility="private")
        own.click(
            self._on_own, [*place, self._of], [self._slider, self._status, *self._shown],
            api_visibility="private",
        )  # fmt: skip
        self._table.select(self._on_event, place, [self._event], api_visibility="private")

    def _session(self, request: gr.Request) -> AppSession:
        return self._sessions.get(str(request.session_hash))

    def _on_closed(self, request: gr.Request) -> None:
        self._sessions.close(str(request.session_hash))

    def _on_files(
        self,
        files: list[str] | None,
        bundle: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),
    ) -> list[Any]:
        return self._scored([Path(file) for file in files or ()], bundle, request, progress)

    def _on_sound(
        self,
        sound: str | None,
        bundle: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),
    ) -> list[Any]:
        return self._scored([Path(sound)] if sound else [], bundle, request, progress)

    def _on_bundle(
        self, bundle: str, request: gr.Request, progress: gr.Progress = gr.Progress()
    ) -> list[Any]:
        files = [one.path for one in self._session(request).heard]
        return self._scored(files, bundle, request, progress)

    def _scored(
        self, files: list[Path], bundle: str, request: gr.Request, progress: gr.Progress
    ) -> list[Any]:
        """Scores recordings and shows the first; what cannot be is said."""
        session = self._session(request)
        unchanged = [gr.skip()] * (5 + len(self._shown))
        if not files:
            return [gr.skip(), *unchanged]
        try:
            if bundle not in self._bundles:  # a page can ask for anything
                raise ConfigError("no such bundle", hint="Choose one of the list")
            detector = self._load(bundle)
            heard, failures = hear(
                files, detector, self._limits, lambda done, name: progress(done, desc=name)
            )
        except EarmarkError as error:
            return [_said([sentence(error, {})]), *unchanged]
        if not heard:
            return [_said(failures.values()), gr.update(visible=False), *unchanged[1:]]
        session.take(bundle, detector, heard)
        names = [one.name for one in heard]
        status, *shown = self._decided(session, 0, list(failures.values()))
        return [
            status,
            gr.update(visible=True),
            gr.update(choices=names, value=names[0], visible=len(names) > 1),
            gr.update(choices=sorted(session.labels, key=str.casefold), value=[*session.classes]),
            gr.update(choices=[ALL, *sorted(session.labels, key=str.casefold)], value=ALL),
            session.threshold(None),
            *shown,
        ]

    def _decided(self, session: AppSession, number: int, more: Sequence[str] = ()) -> list[Any]:
        """What is shown of a recording with the thresholds as they are."""
        result = session.result(number)
        count = sum(len(one.found) for one in session.results())
        told = f"{count} event{'s' * (count != 1)}"
        if len(session.heard) > 1:
            told += f" in {len(session.heard)} recordings, {len(result.found)} in this one"
        files = session.downloads()
        return [
            _said([f"{told}.", *more]),
            str(session.draw(number)),
            str(session.sound(number)),
            table_rows(result),
            None,
            *(str(files[kind]) for kind in DOWNLOADS),
        ]

    def _again(self, session: AppSession, number: int | None) -> list[Any]:
        if not all(one.path.is_file() for one in session.heard) or not session.heard:
            skipped = [gr.skip()] * len(self._shown)
            return [_said(["Drop the recordings again: they were removed."]), *skipped]
        return self._decided(session, min(number or 0, len(session.heard) - 1))

    def _on_recording(self, number: int | None, request: gr.Request) -> list[Any]:
        return self._again(self._session(request), number)

    def _on_classes(self, number: int | None, classes: list[str], request: gr.Request) -> list[Any]:
        session = self._session(request)
        session.classes = tuple(one for one in session.labels if one in classes)
        return self._again(session, number)

    def _on_slider(
        self, number: int | None, of: str, value: float, request: gr.Request
    ) -> list[Any]:
        session = self._session(request)
        session.set_threshold(None if of == ALL else of, min(0.99, max(0.01, value)))
        return self._again(session, number)

    def _on_of(self, of: str, request: gr.Request) -> Any:
        session = self._session(request)
        return session.threshold(None if of == ALL else of) if session.heard else gr.skip()

    def _on_own(self, number: int | None, of: str, request: gr.Request) -> list[Any]:
        session = self._session(request)
        session.thresholds = {}
        return [self._on_of(of, request), *self._again(session, number)]

    def _on_event(self, number: int | None, chosen: gr.SelectData, request: gr.Request) -> Any:
        session = self._session(request)
        place = number or 0
        try:
            result = session.result(place)
            event = result.found[table_rows(result).index(list(chosen.row_value))]
            return str(session.event_sound(place, event))
        except (EarmarkError, LookupError, ValueError):
            return None  # of a page that shows what is there no longer


def _said(sentences: Any) -> str:
    """Sentences as HTML; what is in them is text."""
    return "".join(f"<p role='status'>{html.escape(one)}</p>" for one in sentences)


@contextmanager
def serving(
    bundles: Sequence[str],
    load: Load,
    limits: AppLimits,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[str]:
    """Serves the app while the context is open; all that it wrote is removed at its end.

    Args:
        bundles: Those that a visitor may choose from; the first is chosen.
        load: Loads one.
        limits: What a visitor may ask for.
        host: Address to listen at; the default is heard by this computer alone.
        port: Port; 0 for the first from 7860 that is free.

    Yields:
        The page's address.

    Raises:
        ConfigError: If it cannot listen there.
    """
    with tempfile.TemporaryDirectory(prefix="earmark-app-") as scratch:
        root = Path(scratch).resolve()
        (root / "uploads").mkdir()
        with _environment(root):
            page = EarmarkApp(bundles, load, limits, AppSessions(root / "sessions")).build()
            page.queue(max_size=limits.waiting, api_open=False)
            try:
                _, address, _ = page.launch(
                    server_name=host, server_port=port or None, prevent_thread_lock=True,
                    quiet=True, share=False, show_error=False, ssr_mode=False, footer_links=[],
                    run_history=False, max_file_size=limits.megabytes * 10**6,
                    allowed_paths=[], theme=_theme(), css=_CSS,
                )  # fmt: skip
            except OSError as error:
                raise ConfigError(
                    f"cannot listen at {host}:{port} ({error.strerror or 'the port is taken'})",
                    hint="Choose another --port",
                ) from None
            try:
                yield address
            finally:
                page.close(verbose=False)


def _theme() -> Any:
    """The system's fonts, so that nothing is loaded from elsewhere, and the review page's blue."""
    return gr.themes.Default(font=("system-ui", "sans-serif"), font_mono=("monospace",)).set(
        button_primary_background_fill=_BLUE, slider_color=_BLUE, slider_color_dark=_LIGHT_BLUE
    )


@contextmanager
def _environment(root: Path) -> Iterator[None]:
    """Folders that Gradio writes to; it serves what lies in them and nothing else."""
    own = {
        "GRADIO_TEMP_DIR": str(root / "uploads"),
        "GRADIO_EXAMPLES_CACHE": str(root / "none"),
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
