"""``earmark listen``: events while they happen, from a microphone, a pipe or a file."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from earmark.cli.options import DetectionOptions, argument, completing, option, with_options
from earmark.core.errors import AudioError, ConfigError

if TYPE_CHECKING:
    from earmark.core.event import Event
    from earmark.deliver.sound_sources import Source
    from earmark.detect.online.stream import EventStream

_BLOCK = 0.1  # seconds
_SAVE_EVERY = 30.0  # seconds
_HEADER = "onset\toffset\tevent_label\tscore"


@dataclass(frozen=True, kw_only=True)
class ListenOptions(DetectionOptions):
    """Options of ``earmark listen``."""

    audio: Path | None = argument(None, "Recording to read instead of the microphone.")
    stdin: bool = option(False, "Read raw samples from standard input.", "--stdin")
    rate: int = option(16_000, "Sample rate of standard input or the microphone in Hz.", min=1)
    sample_format: Literal["u8", "s16le", "s32le", "f32le"] = option(
        "s16le", "Format of the samples on standard input, as ffmpeg names it."
    )
    pipe_channels: int = option(1, "Number of channels on standard input.", min=1)
    microphone: str | None = option(
        None, "Name or number of the sound device; by default the system's."
    )
    latency: float | None = option(
        None,
        "Report each event at most this many seconds after its end; lower values reduce accuracy. "
        "By default one window plus the post-processing.",
    )
    channels: str = option(
        "mean",
        "Use the mean of all channels, the first, channel N, or of a file auto, as `detect` does.",
        metavar="mean|auto|first|N",
        autocompletion=completing("mean", "auto", "first"),
    )
    lines: Literal["tsv", "jsonl"] = option("tsv", "Format of the lines that are printed.")
    out: Path | None = option(
        None, "Append the lines to this file instead of printing them.", "--out", "-o"
    )
    state: Path | None = option(
        None, "Continue from this file if it exists, and save the state to it."
    )


@with_options
def listen(options: ListenOptions) -> None:
    """Print events while audio arrives, one line each, as soon as they are final.

    Times are seconds since the beginning. Together the lines are what `earmark detect` finds in
    the same audio. Stop with Ctrl-C: events in progress are then printed. With `--state` they are
    saved instead, and the next call continues as if there had been no pause. See
    docs/streaming.md.

    Examples:
    - `earmark listen mini`
    - `earmark listen mini --latency 3 --threshold 0.4`
    - `earmark listen home --classes Dog,Cat --threshold Dog=0.8,default=0.6 --min-duration 0.3`
    - `ffmpeg -i rtsp://camera -f s16le -ac 1 -ar 16000 - | earmark listen mini --stdin`
    - `earmark listen mini kitchen.wav --lines jsonl`
    """
    if options.stdin and options.audio is not None:
        raise ConfigError("both --stdin and a file are given", hint="Choose one")
    if options.stdin and sys.stdin is None:
        raise ConfigError("standard input is closed", hint="Pipe audio into it, or name a file")
    if options.latency is not None and not 0 <= options.latency < float("inf"):
        raise ConfigError(f"--latency {options.latency}", hint="Give seconds, such as 3")
    rate, begin = _source(options)
    out, state = options.out, options.state
    if out is not None:
        _check_lines(out, options.lines)
    stream = _open(options, rate)
    blocks = begin()
    line = _tsv if options.lines == "tsv" else _jsonl
    with _output(out) as file:

        def write(text: str) -> None:
            print(text, file=file, flush=True)

        if options.lines == "tsv" and not (out is not None and out.stat().st_size):
            write(_HEADER)
        _follow(stream, blocks, state, lambda event: write(line(event)))


def _source(options: ListenOptions) -> Source:
    from earmark.deliver import sound_sources as sources

    if options.audio is not None:
        return sources.file_source(options.audio, _BLOCK)
    if options.stdin:
        return sources.pipe_source(
            sys.stdin.buffer, options.rate, options.sample_format, options.pipe_channels, _BLOCK
        )
    return sources.microphone_source(options.microphone, options.rate, _BLOCK)


def _open(options: ListenOptions, rate: int) -> EventStream:
    from earmark.detect.detector import Detector

    channels: str | int = options.channels
    if channels == "auto" and options.audio is not None:
        from earmark.core.audio.audio import choose_channel

        channels = choose_channel(options.audio) or "mean"
    detector = Detector.from_pretrained(
        options.bundle,
        threads=1,
        channels=channels,
        classes=options.classes,
        **options.detecting,
    )
    if options.latency is not None:
        detector.lookahead_seconds = detector.lookahead_for(options.latency, rate)
    stream = detector.open_stream(rate)
    if options.state is not None and options.state.exists():
        stream.load(options.state)
    bound = (
        "unbounded (cSEBB)" if stream.latency == float("inf") else f"within {stream.latency:.1f} s"
    )
    typer.echo(f"listening; latency {bound}; stop with Ctrl-C", err=True)
    return stream


def _follow(
    stream: EventStream,
    blocks: Iterator[Any],
    state: Path | None,
    write: Callable[[Event], None],
) -> None:
    """Writes events until the audio ends or the user stops it; the state is saved on the way."""
    saved = time.monotonic()
    for block in _until_interrupted(blocks):
        for event in stream.push(block):
            write(event)
        if state is not None and time.monotonic() - saved > _SAVE_EVERY:
            stream.save(state)
            saved = time.monotonic()
    if state is not None:
        stream.save(state)
        return
    for event in stream.finish():
        write(event)


def _until_interrupted(blocks: Iterator[Any]) -> Iterator[Any]:
    """Blocks up to Ctrl-C, SIGTERM or the end of the terminal, which take effect between two."""
    waiting, ended = False, False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True
        if waiting:
            raise KeyboardInterrupt

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {
        number: signal.signal(number, end) for number in map(signal.Signals.__getitem__, names)
    }
    try:
        while not ended:
            waiting = True
            block = next(blocks, None)
            waiting = False
            if block is None:
                return
            yield block
    except KeyboardInterrupt:
        return
    finally:
        waiting = False
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_lines(out: Path, lines: str) -> None:
    """Refuses to append to what has lines of another form."""
    try:
        with out.open(encoding="utf-8", errors="replace") as file:
            first = file.readline()
    except FileNotFoundError:
        return
    except OSError as error:
        raise AudioError(f"cannot be written ({error.strerror})", where=out) from None
    alike = first.rstrip("\n") == _HEADER if lines == "tsv" else first.startswith("{")
    if first and not alike:
        raise ConfigError(
            f"the file has other lines than {lines}",
            where=out,
            hint="Choose another --out, or the --lines that it has",
        )


def _output(out: Path | None) -> Any:
    if out is None:
        return nullcontext(sys.stdout)
    try:
        return out.open("a", encoding="utf-8")
    except OSError as error:
        raise AudioError(f"cannot be written ({error.strerror})", where=out) from None


def _tsv(event: Event) -> str:
    onset, offset, label, score = event
    return f"{onset:.3f}\t{offset:.3f}\t{label}\t{score:.3f}"


def _jsonl(event: Event) -> str:
    return json.dumps(event._asdict(), ensure_ascii=False)
