"""Every parser of files that people may be given by others, with good files to begin with."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import soundfile
import torch

from earmark.core.audio.audio import audio_info, choose_channel, load_int16, read_blocks
from earmark.core.audio.folders import why_no_recording
from earmark.core.config import NetworkSettings, load_yaml, parse_settings
from earmark.core.errors import EarmarkError
from earmark.core.event import EVENT_COLUMNS, Event
from earmark.core.formats import FORMATS, READERS, SUFFIXES, read_events, write_events
from earmark.core.formats.base import event_table
from earmark.core.locking import LOCK, only_writer
from earmark.core.tables.label_tables import duration_table, strong_table, weak_table
from earmark.core.tables.score_files import SCORE_FORMATS, read_scores, write_scores
from earmark.core.tables.scores import ScoreTable
from earmark.data.leakage import read_exclusions
from earmark.data.manifest import load_manifest
from earmark.deliver.journal import BatchJournal
from earmark.detect.online.stream import EventStream
from earmark.detect.postprocess import scores_to_events
from earmark.detect.postprocess_spec import PostProcess, read_postprocess, read_tuning
from earmark.model.bundle import load_bundle, save_bundle
from earmark.model.encoders.encoder_file import load_encoder
from earmark.model.onnx_form import FormRecord
from earmark.model.published import tf_checkpoint
from earmark.model.published.convert import import_checkpoint
from earmark.model.published.file import read_checkpoint
from earmark.model.sed import SedNetwork
from earmark.prepare.cache_index import INDEX, CacheIndex
from earmark.prepare.importing.class_map import load_class_map
from earmark.score.classes import read_class_map
from earmark.score.files import read_detections, read_durations, read_truth
from earmark.synth.settings import load_synth_settings
from earmark.synth.soundbank import MANIFEST_SPLITS, Soundbank
from earmark.train.checkpoint import STATE, open_run
from earmark.train.initial import read_start
from earmark.train.recipe import load_pretrain_recipe, load_recipe
from earmark.train.record.journal import Journal, run_record
from helpers import tf_files

LEFT = Path(__file__).parents[1] / "legacy" / "v0_1"
PACKAGE = Path(load_recipe.__code__.co_filename).parents[1]
LABELS = ("Dog", "Cat, small", "犬")
Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Target:
    """A parser.

    Attributes:
        read: Reads a file in a folder; an answer that is not right is an AssertionError.
        seeds: Good files by name, with how each is to be spoiled (see `mutations`).
        beside: Files that the folder needs, too.
        weight: How often it is tried beside others.
    """

    read: Callable[[Path], object]
    seeds: Callable[[], Mapping[str, tuple[bytes, str]]]
    beside: Callable[[], Files] = dict
    weight: float = 1.0
    name: str = field(default="", compare=False)


def _right_events(events: pd.DataFrame) -> None:
    assert list(events.columns)[:4] == list(EVENT_COLUMNS)
    for _, onset, offset, label, *score in events.itertuples(index=False, name=None):
        assert 0 <= onset <= offset < math.inf
        assert label
        assert all(not math.isinf(one) for one in score)


def _right_scores(table: ScoreTable) -> None:
    assert np.isfinite(table.values).all()
    assert (np.diff(table.boundaries) > 0).all()


# Recordings ------------------------------------------------------------------------------------


def _audio() -> dict[str, tuple[bytes, str]]:
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
    found |= {name: (data, "bytes") for name, data in _media().items()}
    return found


@cache
def _media() -> dict[str, bytes]:
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


def _read_audio(path: Path) -> None:
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


def _events() -> pd.DataFrame:
    rows = [(0.25, 1.5, LABELS[0], 0.5), (1.0, 1.25, LABELS[1], 0.25), (2.5, 3.0, "x y", 0.125)]
    return event_table([("a.wav", Event(*row)) for row in rows], scored=True)


@cache
def _labels() -> dict[str, tuple[bytes, str]]:
    import tempfile

    found: dict[str, tuple[bytes, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in FORMATS.items():
            path = Path(folder) / f"{name}{kind.suffix}"
            write_events(path, _events(), name, recording="a.wav")
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


def _read_labels(path: Path) -> None:
    _right_events(read_events(path))
    for name, reader in READERS.items():
        if SUFFIXES.get(path.suffix.lower()) == name and reader is not None:
            with suppress(EarmarkError):  # what its name says, it need not be
                _right_events(read_events(path, name, recording="b.wav", encoding="latin-1"))


def _tables() -> dict[str, tuple[bytes, str]]:
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


def _read_tables(path: Path) -> None:
    readers: Mapping[str, tuple[Callable[[Path], Any], ...]] = {
        "strong.tsv": (lambda path: strong_table(path).checked(), read_truth),
        "weak.tsv": (lambda path: weak_table(path).checked(),),
        "durations.tsv": (lambda path: duration_table(path).checked(), read_durations),
        "detections.tsv": (lambda path: read_detections([path]),),
        "exclude.tsv": (read_exclusions,),
    }
    _all(path, readers[path.name])


def _all(path: Path, readers: tuple[Callable[[Path], Any], ...]) -> None:
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
def _scores() -> dict[str, tuple[bytes, str]]:
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


def _read_scores(path: Path) -> None:
    _right_scores(read_scores(path))


# Settings --------------------------------------------------------------------------------------


def _yaml(*paths: Path) -> Callable[[], dict[str, tuple[bytes, str]]]:
    return lambda: {path.name: (path.read_bytes(), "yaml") for path in paths}


def _recipe_files() -> dict[str, tuple[bytes, str]]:
    folder = PACKAGE / "recipes"
    paths = [*sorted(folder.glob("*.yaml")), *sorted(folder.glob("*/*.yaml"))]
    return {f"{p.parent.name}-{p.name}": (p.read_bytes(), "yaml") for p in paths}


def _read_recipe(path: Path) -> None:
    if path.name.startswith("synth-"):
        load_synth_settings(path)
        return
    _all(path, (load_recipe, load_pretrain_recipe))


def _maps() -> dict[str, tuple[bytes, str]]:
    texts = {
        "map.yaml": "classes:\n  Dog: [barking, 'dog*']\n  Bell:\ndrop: [noise, '?']\nrest: keep\n",
        "described.yaml": "class_map: {Bell: Doorbell, Wind: null, '*': null}\n",
        "score.yaml": "Speech, male: Speech\nDog: ''\n",
    }
    return {name: (text.encode(), "yaml") for name, text in texts.items()}


def _read_map(path: Path) -> None:
    found = load_class_map(path)
    found.targets([("barking", "a"), ("Wind", "b"), ("noise", "c"), ("dogs", "d")])


def _read_score_map(path: Path) -> None:
    _all(path, (read_class_map, _read_map))


def _described() -> dict[str, tuple[bytes, str]]:
    text = (
        "classes: [Dog, Cat]\nclass_map: {Puppy: Dog, Wind: null}\ntrain:\n"
        "  - {audio: clips, strong: strong.tsv, domain: synthetic}\n"
        "  - {audio: clips, weak: weak.tsv, labelled: [Dog]}\n"
        "  - {audio: clips, unlabelled: true, name: attic}\n"
        "validation: {audio: clips, strong: strong.tsv, durations: durations.tsv}\n"
    )
    return {"dataset.yaml": (text.encode(), "yaml")}


def _described_files() -> Files:
    content = io.BytesIO()
    soundfile.write(content, np.zeros(1600), 16_000, format="WAV", subtype="PCM_16")
    tables = {name: data for name, (data, _) in _tables().items()}
    return {"clips/a.wav": content.getvalue(), "clips/b.wav": content.getvalue(), **tables}


def _postprocess() -> dict[str, tuple[bytes, str]]:
    texts = {
        "median.yaml": "median_seconds: {Dog: 0.45, default: 0.1}\nthreshold: 0.5\n"
        "min_gap_seconds: 0.1\nmin_duration_seconds: 0.1\nmax_duration_seconds: null\n",
        "csebb.yaml": "method: csebb\nthreshold: {default: 0.3}\ncsebb:\n  Dog: {step_seconds: 0.3,"
        " absolute: 0.2, relative: null}\n  default: {step_seconds: 0.5, absolute: 0.2}\n",
    }
    return {name: (text.encode(), "yaml") for name, text in texts.items()}


def _read_postprocess(path: Path) -> None:
    settings = read_postprocess(str(path))
    if settings is not None:
        scores = np.random.default_rng(3).random((50, 2))
        table = ScoreTable(np.arange(51) * 0.02, scores, ("Dog", "Cat"))
        for event in scores_to_events(table, settings):
            assert 0 <= event.onset < event.offset <= 1.1


# Bundles, encoders, states ----------------------------------------------------------------------


@cache
def _bundle() -> dict[str, bytes]:
    import tempfile

    small = {
        "channels": [4],
        "kernels": [3],
        "strides": [[1, 1]],
        "pools": [[4, 4]],
        "rnn_hidden": 4,
    }
    settings = parse_settings(NetworkSettings, {**small, "window_seconds": 0.5})
    torch.manual_seed(0)
    network = SedNetwork(settings, LABELS)
    with tempfile.TemporaryDirectory() as folder:
        save_bundle(folder, network, PostProcess().to_dict(), "# card\n")
        found = {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}
    record = {"format": 1, "postprocess": PostProcess().to_dict(), "grid": {}, "scores": {}}
    form = {"format": 1, "content": "0", "graphs": {"windows.onnx": "0"}, "times": None,
            "stored": {"windows.onnx": {"w": ["crnn.x", [2, 2], False]}}}  # fmt: skip
    return found | {
        "tuning.json": json.dumps(record).encode(),
        "onnx.json": json.dumps(form).encode(),
    }


def _bundle_seeds() -> dict[str, tuple[bytes, str]]:
    kinds = {".yaml": "yaml", ".safetensors": "safetensors", ".json": "json"}
    return {name: (data, kinds.get(Path(name).suffix, "text")) for name, data in _bundle().items()}


def _read_bundle(path: Path) -> None:
    folder = path.parent
    if path.name == "onnx.json":
        FormRecord.read(path)
        return
    bundle = load_bundle(folder)
    read_tuning(folder, PostProcess())
    read_postprocess(str(folder))
    assert bundle.fingerprint
    window = bundle.spec.window
    if window <= 32_000 and bundle.spec.frames <= 500:
        with torch.no_grad():
            strong = bundle.network(torch.zeros(1, window)).strong
        assert strong.shape[2] == len(bundle.spec.labels)
        assert ((strong >= 0) & (strong <= 1)).all()


def _folder(path: Path, **kinds: str) -> Callable[[], dict[str, tuple[bytes, str]]]:
    return lambda: {name: ((path / name).read_bytes(), how) for name, how in kinds.items()}


def _beside(path: Path, *names: str) -> Callable[[], Files]:
    return lambda: {name: (path / name).read_bytes() for name in names}


def _read_state(path: Path) -> None:
    recipe = load_recipe(path.parent / "recipe.yaml")
    state = open_run(path.parent, recipe, _fingerprint(), resume=True)
    assert state is not None
    read_start(path.parent)


@cache
def _fingerprint() -> str:
    state = torch.load(LEFT / "runs/mini" / STATE, weights_only=True)
    return str(state["data"])


def _read_foreign_checkpoint(path: Path) -> None:
    file = read_checkpoint(path)
    assert all(torch.is_tensor(value) for value in file.tensors.values())
    import_checkpoint(path, path.parent / "out")


@cache
def _tf() -> dict[str, tuple[bytes, str]]:
    return {name: (data, "bytes") for name, data in _tf_files().items()}


@cache
def _tf_files() -> dict[str, bytes]:
    import tempfile

    rng = np.random.default_rng(4)
    variables = {f"layer{n}/kernel": rng.random((3, 4)).astype(np.float32) for n in range(6)}
    with tempfile.TemporaryDirectory() as folder:
        tf_files.write_checkpoint(Path(folder) / "variables.index", variables)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


class _AnyChecksum(int):
    """Equal to all: else a spoiled table would be told by its checksums alone."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


def _read_tf(path: Path) -> None:
    with patch.object(tf_checkpoint, "masked", lambda _: _AnyChecksum()):
        found = tf_checkpoint.read_tf_checkpoint(path.parent / "variables.index")
    assert all(value.nbytes < 2**20 for value in found.variables.values())


# Journals ---------------------------------------------------------------------------------------


def _read_run_journal(path: Path) -> None:
    run_record(path.parent)
    Journal(path.parent, keep_epochs=2).close()


def _read_batch_journal(path: Path) -> None:
    journal = BatchJournal(path)
    try:
        for record in journal.done.values():
            assert record.to_line()
            for track in record.tracks:
                assert all(isinstance(event, Event) for event in track.events)
    finally:
        journal.close()


def _read_cache_index(path: Path) -> None:
    with CacheIndex(path.parent, "flac") as index:
        assert all(isinstance(name, str) for name in index.entries)


def _read_lock(path: Path) -> None:
    with only_writer(path.parent):
        pass


def _lock() -> dict[str, tuple[bytes, str]]:
    holder = {"pid": 999_999_999, "started": "1", "host": "x", "since": "2026-01-01 00:00:00"}
    return {LOCK: (json.dumps(holder).encode(), "json")}


class _Network:
    def __init__(self) -> None:
        from earmark.core.spec import ModelSpec

        self.spec = ModelSpec(("Dog", "Cat"), 320, 16_000)

    def score_windows(self, waveforms: Any, lengths: Any) -> Any:
        return np.full((len(waveforms), 50, 2), 0.75, np.float32)

    def batch_size(self) -> int:
        return 1


def _stream() -> EventStream:
    return EventStream(_Network(), PostProcess(median_seconds=0.1), 8_000)  # type: ignore[arg-type]


@cache
def _stream_files() -> dict[str, tuple[bytes, str]]:
    import tempfile

    stream = _stream()
    list(stream.push(np.zeros(12_000, np.float32)))
    with tempfile.TemporaryDirectory() as folder:
        stream.save(Path(folder) / "stream.npz")
        return {"stream.npz": ((Path(folder) / "stream.npz").read_bytes(), "zip")}


def _read_stream(path: Path) -> None:
    stream = _stream()
    stream.load(path)


def _manifest() -> dict[str, tuple[bytes, str]]:
    rows = [f"{label},{label}/{n}.wav,{split}" for label in ("Dog", "background")
            for n, split in enumerate(MANIFEST_SPLITS)]  # fmt: skip
    return {"manifest.csv": ("\n".join(["event_label,file,split", *rows, ""]).encode(), "text")}


def _manifest_files() -> Files:
    content = io.BytesIO()
    noise = 0.1 * np.random.default_rng(5).standard_normal(1600)
    soundfile.write(content, noise, 16_000, format="WAV", subtype="PCM_16")
    return {
        f"{label}/{n}.wav": content.getvalue() for label in ("Dog", "background") for n in range(4)
    }


_MINI, _PRETRAIN = LEFT / "runs/mini", LEFT / "runs/pretrain"
TARGETS: dict[str, Target] = {
    "audio": Target(_read_audio, _audio, weight=4),
    "labels": Target(_read_labels, _labels, weight=4),
    "tables": Target(_read_tables, _tables, weight=2),
    "scores": Target(_read_scores, _scores, weight=2),
    "recipe": Target(_read_recipe, _recipe_files, weight=2),
    "class map": Target(_read_score_map, _maps),
    "data set": Target(load_manifest, _described, _described_files),
    "postprocess": Target(_read_postprocess, _postprocess),
    "bundle": Target(_read_bundle, _bundle_seeds, _bundle, weight=3),
    "encoder": Target(
        lambda path: load_encoder(path.parent),
        _folder(_PRETRAIN, **{"encoder.yaml": "yaml", "encoder.safetensors": "safetensors"}),
        _beside(_PRETRAIN, "encoder.yaml", "encoder.safetensors", "README.md"),
    ),
    "state": Target(
        _read_state,
        _folder(_MINI, **{STATE: "zip"}),
        _beside(_MINI, "recipe.yaml"),
    ),
    "checkpoint": Target(_read_foreign_checkpoint, _folder(_MINI, **{STATE: "zip"})),
    "TensorFlow": Target(_read_tf, _tf, _tf_files),
    "run journal": Target(_read_run_journal, _folder(_MINI, **{"journal.jsonl": "lines"})),
    "batch journal": Target(
        _read_batch_journal, _folder(LEFT / "found", **{"detect.jsonl": "lines"})
    ),
    "cache index": Target(_read_cache_index, _folder(LEFT / "cache", **{INDEX: "lines"})),
    "lock": Target(_read_lock, _lock, weight=0.25),
    "stream": Target(_read_stream, _stream_files),
    "soundbank": Target(
        lambda path: Soundbank(path.parent), _manifest, _manifest_files, weight=0.5
    ),
    "settings": Target(load_yaml, _yaml(_MINI / "config.yaml", _MINI / "recipe.yaml"), weight=0.5),
}
