"""Recordings, labels, tables and scores: good ones, and how they are read."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from earmark.core.audio.audio import audio_info, choose_channel, load_int16, read_blocks
from earmark.core.audio.folders import why_no_recording
from earmark.core.errors import EarmarkError
from earmark.core.event import EVENT_COLUMNS, Event
from earmark.core.formats import FORMATS, READERS, SUFFIXES, read_events, write_events
from earmark.core.formats.base import event_table
from earmark.core.tables.label_tables import duration_table, strong_table, weak_table
from earmark.core.tables.score_files import SCORE_FORMATS, read_scores, write_scores
from earmark.core.tables.scores import ScoreTable
from earmark.data.leakage import read_exclusions
from earmark.score.files import read_detections, read_durations, read_truth
from fuzz.base import LABELS


def check_events(events: pd.DataFrame) -> None:
    assert list(events.columns)[:4] == list(EVENT_COLUMNS)
    for _, onset, offset, label, *score in events.itertuples(index=False, name=None):
        assert 0 <= onset <= offset < math.inf
        assert label
        assert all(not math.isinf(one) for one in score)


def check_scores(table: ScoreTable) -> None:
    assert np.isfinite(table.values).all()
    assert (np.diff(table.boundaries) > 0).all()


# Recordings ------------------------------------------------------------------------------------


def good_audio() -> dict[str, tuple[bytes, str]]:
    rng = np.random.default_rng(1)
    found: dict[str, tuple[bytes, str]] = {}
    kinds = {
        "a.wav": ("WAV", "PCM_16"), "b.wav": ("WAVEX", "FLOAT"), "c.wav": ("RF64", "PCM_24"),
        "d.wav": ("WAV", "ULAW"), "e.wav": ("WAV", "MS_ADPCM"), "a.aiff": ("AIFF", "PCM_16"),
        "a.au": ("AU", "PCM_16"), "a.caf": ("CAF", "PCM_16"), "a.w64": ("W64", "PCM_16"),
        "a.flac": ("FLAC", "PCM_16"), "a.ogg": ("OGG", "VORBIS"), "a.opus": ("OGG", "OPUS"),
        "a.mp3": ("MP3", "MPEG_LAYER_III"), "a.voc": ("VOC", "PCM_16"),
        "a.nist": ("NIST", "PCM_16"),
    }  # fmt: skip
    for name, (format, subtype) in kinds.items():
        content = io.BytesIO()
        rate = 48_000 if subtype == "OPUS" else 8_000
        noise = 0.1 * rng.standard_normal((rate // 10, 2))
        soundfile.write(content, noise, rate, format=format, subtype=subtype)
        found[name] = content.getvalue(), "bytes"
    plain = found["a.wav"][0]
    found["f.wav"] = plain[:40] + b"\xff\xff\xff\xff" + plain[44:], "bytes"
    found |= {name: (data, "bytes") for name, data in good_media().items()}
    return found


@cache
def good_media() -> dict[str, bytes]:
    """What FFmpeg reads, where PyAV is there."""
    try:
        import av
    except ModuleNotFoundError:
        return {}
    found = {}
    for name, codec in {"a.m4a": "aac", "a.mka": "libopus", "a.avi": "pcm_s16le"}.items():
        content = io.BytesIO()
        with av.open(
            content, "w", format={"m4a": "mp4", "mka": "matroska"}.get(name[2:], "avi")
        ) as to:
            stream = to.add_stream(codec, rate=48_000, layout="mono")
            for number in range(8):
                samples = np.zeros((1, 1024), np.int16)
                frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                frame.sample_rate, frame.pts = 48_000, 1024 * number
                to.mux(stream.encode(frame))
            to.mux(stream.encode(None))
        found[name] = content.getvalue()
    return found


def try_audio(path: Path) -> None:
    why_no_recording(path)
    info = audio_info(path)
    assert info.samples > 0
    for number, block in enumerate(read_blocks(path, block_seconds=5.0)):
        assert block.dtype == np.float32
        assert np.isfinite(block).all()
        if number > 20:  # a clock that was changed leads to hours of silence
            break
    choose_channel(path)
    load_int16(path, most=16_000)


# Labels and scores -----------------------------------------------------------------------------


def good_events() -> pd.DataFrame:
    rows = [(0.25, 1.5, LABELS[0], 0.5), (1.0, 1.25, LABELS[1], 0.25), (2.5, 3.0, "x y", 0.125)]
    return event_table([("a.wav", Event(*row)) for row in rows], scored=True)


@cache
def good_labels() -> dict[str, tuple[bytes, str]]:
    import tempfile

    found: dict[str, tuple[bytes, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in FORMATS.items():
            path = Path(folder) / f"{name}{kind.suffix}"
            write_events(path, good_events(), name, recording="a.wav")
            how = {"json": "json", "jams": "json", "jsonl": "lines"}.get(name, "text")
            found[path.name] = path.read_bytes(), how
    grid = (
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n3\n<exists>\n1\n"IntervalTier"\n'
        '"Dog"\n0\n3\n3\n0\n1\n""\n1\n2\n"bark"\n2\n3\n""\n'
    )
    kaleidoscope = "INDIR,FOLDER,IN FILE,OFFSET,DURATION,MANUAL ID\n/a,b,c.wav,1.5,2,Dog\n"
    raven = (
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tSpecies\n1\tS\t1\t0.5\t1.5\tDog\n"
    )
    others = {
        "a.TextGrid": grid,
        "a.srt": "1\n00:00:01,000 --> 00:00:02,500\nDog\n\n2\n00:00:03,000 --> 00:00:04,000\nCat\n",
        "a.ann": "0.5\t1.5\tDog\n2.0\t3.0\tCat\n",
        "kaleidoscope.csv": kaleidoscope,
        "raven.txt": raven,
        "elan-tab.txt": "Dog\t\t00:00:01.000\t1.0\t00:00:02.000\t2.0\tbark\n",
        "clock.csv": "start,end,label\n0:01.5,1:02:03,Dog\n",
        "semicolons.csv": 'sep=;\nonset;offset;event_label\n0,5;1,5;"Dog; big"\n',
    }
    return found | {name: (text.encode(), "text") for name, text in others.items()}


def try_labels(path: Path) -> None:
    check_events(read_events(path))
    for name, reader in READERS.items():
        if SUFFIXES.get(path.suffix.lower()) == name and reader is not None:
            with suppress(EarmarkError):  # what its name says, it need not be
                check_events(read_events(path, name, recording="b.wav", encoding="latin-1"))


def good_tables() -> dict[str, tuple[bytes, str]]:
    strong = "filename\tonset\toffset\tevent_label\na.wav\t0.5\t1.5\tDog\nb.wav\t\t\t\n"
    texts = {
        "strong.tsv": strong,
        "weak.tsv": "filename\tevent_labels\na.wav\tDog,Cat\nb.wav\t\n",
        "durations.tsv": "filename\tduration\na.wav\t10.0\nb.wav\t9.5\n",
        "detections.tsv": strong.replace("label\n", "label\tscore\tthreshold\n").replace(
            "Dog\n", "Dog\t0.5\t0.25\n"
        ),
        "exclude.tsv": "filename\tsource\na.wav\tweak\nb.wav\t\n",
    }
    return {name: (text.encode(), "text") for name, text in texts.items()}


def try_tables(path: Path) -> None:
    readers: Mapping[str, tuple[Callable[[Path], Any], ...]] = {
        "strong.tsv": (lambda path: strong_table(path).checked(), read_truth),
        "weak.tsv": (lambda path: weak_table(path).checked(),),
        "durations.tsv": (lambda path: duration_table(path).checked(), read_durations),
        "detections.tsv": (lambda path: read_detections([path]),),
        "exclude.tsv": (read_exclusions,),
    }
    read_by_all(path, readers[path.name])


def read_by_all(path: Path, readers: tuple[Callable[[Path], Any], ...]) -> None:
    """Every reader has a go, whatever the one before it says."""
    refused: list[EarmarkError] = []
    for read in readers:
        try:
            read(path)
        except EarmarkError as error:
            refused.append(error)
    if refused:
        raise refused[0]


@cache
def good_scores() -> dict[str, tuple[bytes, str]]:
    import gzip
    import tempfile

    rng = np.random.default_rng(2)
    table = ScoreTable(np.linspace(0, 1, 9), rng.random((8, 3)).astype(np.float32), LABELS)
    found: dict[str, tuple[bytes, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in SCORE_FORMATS.items():
            path = Path(folder) / f"a{kind.suffix}"
            try:
                write_scores(path, table, name)
            except Exception:  # without pyarrow no Parquet
                continue
            how = {"npz": "zip", "parquet": "bytes"}.get(name, "text")
            found[path.name] = path.read_bytes(), how
    found["b.tsv.gz"] = gzip.compress(found["a.tsv"][0]), "gz"
    return found


def try_scores(path: Path) -> None:
    check_scores(read_scores(path))
