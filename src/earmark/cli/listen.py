"""``earmark listen``: events while they happen, from a microphone, a pipe or a file."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from earmark.cli.options import DetectionPrecision
from earmark.core.errors import AudioError, ConfigError

if TYPE_CHECKING:
    from earmark.core.event import Event
    from earmark.detect.online.stream import EventStream

_BLOCK = 0.1  # seconds


def listen(
    bundle: Annotated[str, typer.Argument(help="A shipped bundle, a folder, or a Hub id.")],
    audio: Annotated[
        Path | None, typer.Argument(help="A file to try it with, instead of the microphone.")
    ] = None,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Raw samples from a pipe instead of the microphone.")
    ] = False,
    rate: Annotated[
        int, typer.Option(min=1, help="Samples per second, of the pipe or the microphone.")
    ] = 16_000,
    format: Annotated[
        str, typer.Option(help="Samples of the pipe: u8, s16le, s32le or f32le.")
    ] = "s16le",
    pipe_channels: Annotated[int, typer.Option(min=1, help="Channels of the pipe.")] = 1,
    microphone: Annotated[
        str | None, typer.Option(help="Name or number of the sound device; the system's if none.")
    ] = None,
    latency: Annotated[
        float | None,
        typer.Option(
            help="Seconds after an event's end by which it is told, at most; less hears worse. A "
            "window and the post-processing if none."
        ),
    ] = None,
    hop_seconds: Annotated[
        float | None, typer.Option(help="Time between windows; half of what may be looked ahead.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Score above which a class is heard; the bundle's if none.")
    ] = None,
    channels: Annotated[
        str, typer.Option(help="mean of all channels, first, or the number of one.")
    ] = "mean",
    device: Annotated[str, typer.Option(help="cpu, cuda, mps; auto.")] = "auto",
    precision: DetectionPrecision = "32-true",
    lines: Annotated[str, typer.Option("--lines", help="What is printed: tsv or jsonl.")] = "tsv",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the lines here; appended to.")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(help="File to go on from, if it is there, and to leave the state in."),
    ] = None,
) -> None:
    """Prints events while audio comes, a line for each, once it cannot change any more.

    Times are seconds since the beginning. Together the lines are what `earmark detect` finds in
    the same audio. Ctrl-C ends it: what is under way is told then. With `--state` it is kept
    instead, and the next call goes on as if there had been no pause. docs/streaming.md tells more.

    Examples:
    - `earmark listen mini`
    - `earmark listen mini --latency 3 --threshold 0.4`
    - `ffmpeg -i rtsp://camera -f s16le -ac 1 -ar 16000 - | earmark listen mini --stdin`
    - `earmark listen mini kitchen.wav --lines jsonl`
    """
    printer = {"tsv": _tsv, "jsonl": _jsonl}.get(lines)
    if printer is None:
        raise ConfigError(f"--lines: {lines!r} is none of tsv, jsonl")
    if stdin and audio is not None:
        raise ConfigError("both --stdin and a file are given", hint="Choose one")
    stream, blocks = _open(
        bundle,
        _source(audio, stdin, rate, format, pipe_channels, microphone),
        {
            "hop_seconds": hop_seconds,
            "channels": channels,
            "device": device,
            "precision": precision,
        },
        threshold,
        latency,
    )
    if state is not None and state.is_file():
        stream.load(state)
    with _output(out) as file:
        if lines == "tsv" and not (out is not None and out.stat().st_size):
            print("onset\toffset\tevent_label\tscore", file=file, flush=True)
        _follow(stream, blocks, state, lambda event: _say(file, printer(event)))


Source = tuple[int, Callable[[], Iterator[Any]]]
"""Samples per second, and what gives the blocks."""


def _source(
    audio: Path | None,
    stdin: bool,
    rate: int,
    format: str,
    channels: int,
    microphone: str | None,
) -> Source:
    from earmark.deliver import sound_sources as sources

    if audio is not None:
        return sources.file_source(audio, _BLOCK)
    if stdin:
        return sources.pipe_source(sys.stdin.buffer, rate, format, channels, _BLOCK)
    return sources.microphone_source(microphone, rate, _BLOCK)


def _open(
    bundle: str,
    source: Source,
    options: dict[str, Any],
    threshold: float | None,
    latency: float | None,
) -> tuple[EventStream, Iterator[Any]]:
    from earmark.detect.detector import Detector

    rate, begin = source
    detector = Detector.from_pretrained(bundle, threads=1, **options)
    if threshold is not None:
        detector.postprocess = detector.postprocess.with_threshold(threshold)
    if latency is not None:
        detector.lookahead_seconds = detector.lookahead_for(latency, rate)
    stream = detector.open_stream(rate)
    told = "unbounded (cSEBB)" if stream.latency == float("inf") else f"{stream.latency:.1f} s"
    typer.echo(f"listening; events are told within {told}; Ctrl-C ends", err=True)
    return stream, begin()


def _follow(
    stream: EventStream,
    blocks: Iterator[Any],
    state: Path | None,
    say: Callable[[Event], None],
) -> None:
    """Tells events until the audio ends or the user ends it."""
    for block in _until_interrupted(blocks):
        for event in stream.push(block):
            say(event)
    if state is not None:
        stream.save(state)
        return
    for event in stream.finish():
        say(event)


def _until_interrupted(blocks: Iterator[Any]) -> Iterator[Any]:
    """Blocks up to Ctrl-C, which is heard between two of them: a block is never half done."""
    waiting, ended = False, False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True
        if waiting:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, end)
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
        signal.signal(signal.SIGINT, before)


def _output(out: Path | None) -> Any:
    from contextlib import nullcontext

    if out is None:
        return nullcontext(sys.stdout)
    try:
        return out.open("a", encoding="utf-8")
    except OSError as error:
        raise AudioError(f"cannot be written ({error.strerror})", where=out) from None


def _say(file: TextIO, line: str) -> None:
    print(line, file=file, flush=True)


def _tsv(event: Event) -> str:
    onset, offset, label, score = event
    return f"{onset:.3f}\t{offset:.3f}\t{label}\t{score:.3f}"


def _jsonl(event: Event) -> str:
    return json.dumps(
        event._asdict(),
        ensure_ascii=False,
    )
