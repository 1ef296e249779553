"""Settings, bundles, states and journals: good ones, and how they are read."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import soundfile
import torch

from earmark.core.config import NetworkSettings, parse_settings
from earmark.core.event import Event
from earmark.core.locking import LOCK, only_writer
from earmark.core.tables.scores import ScoreTable
from earmark.deliver.journal import BatchJournal
from earmark.detect.online.stream import EventStream
from earmark.detect.postprocess import scores_to_events
from earmark.detect.postprocess_spec import PostProcess, read_postprocess, read_tuning
from earmark.model.bundle import load_bundle, save_bundle
from earmark.model.onnx_form import FormRecord
from earmark.model.published import tf_checkpoint
from earmark.model.published.convert import import_checkpoint
from earmark.model.published.file import read_checkpoint
from earmark.model.sed import SedNetwork
from earmark.prepare.cache_index import CacheIndex
from earmark.prepare.importing.class_map import load_class_map
from earmark.score.classes import read_class_map
from earmark.synth.settings import load_synth_settings
from earmark.synth.soundbank import MANIFEST_SPLITS
from earmark.train.checkpoint import STATE, open_run
from earmark.train.initial import read_start
from earmark.train.recipe import load_pretrain_recipe, load_recipe
from earmark.train.record.journal import Journal, run_record
from fuzz.base import LABELS, LEFT, PACKAGE, Files
from fuzz.sounds_and_labels import good_tables, read_by_all
from helpers import tf_files

# Settings --------------------------------------------------------------------------------------


def good_yaml(*paths: Path) -> Callable[[], dict[str, tuple[bytes, str]]]:
    return lambda: {path.name: (path.read_bytes(), "yaml") for path in paths}


def good_recipe_files() -> dict[str, tuple[bytes, str]]:
    folder = PACKAGE / "recipes"
    paths = [*sorted(folder.glob("*.yaml")), *sorted(folder.glob("*/*.yaml"))]
    return {f"{p.parent.name}-{p.name}": (p.read_bytes(), "yaml") for p in paths}


def try_recipe(path: Path) -> None:
    if path.name.startswith("synth-"):
        load_synth_settings(path)
        return
    read_by_all(path, (load_recipe, load_pretrain_recipe))


def good_maps() -> dict[str, tuple[bytes, str]]:
    texts = {
        "map.yaml": "classes:\n  Dog: [barking, 'dog*']\n  Bell:\ndrop: [noise, '?']\nrest: keep\n",
        "described.yaml": "class_map: {Bell: Doorbell, Wind: null, '*': null}\n",
        "score.yaml": "Speech, male: Speech\nDog: ''\n",
    }
    return {name: (text.encode(), "yaml") for name, text in texts.items()}


def try_map(path: Path) -> None:
    found = load_class_map(path)
    found.targets([("barking", "a"), ("Wind", "b"), ("noise", "c"), ("dogs", "d")])


def try_score_map(path: Path) -> None:
    read_by_all(path, (read_class_map, try_map))


def good_described() -> dict[str, tuple[bytes, str]]:
    text = (
        "classes: [Dog, Cat]\nclass_map: {Puppy: Dog, Wind: null}\ntrain:\n"
        "  - {audio: clips, strong: strong.tsv, domain: synthetic}\n"
        "  - {audio: clips, weak: weak.tsv, labelled: [Dog]}\n"
        "  - {audio: clips, unlabelled: true, name: attic}\n"
        "validation: {audio: clips, strong: strong.tsv, durations: durations.tsv}\n"
    )
    return {"dataset.yaml": (text.encode(), "yaml")}


def good_described_files() -> Files:
    content = io.BytesIO()
    soundfile.write(content, np.zeros(1600), 16_000, format="WAV", subtype="PCM_16")
    tables = {name: data for name, (data, _) in good_tables().items()}
    return {"clips/a.wav": content.getvalue(), "clips/b.wav": content.getvalue(), **tables}


def good_postprocess() -> dict[str, tuple[bytes, str]]:
    texts = {
        "median.yaml": "median_seconds: {Dog: 0.45, default: 0.1}\nthreshold: 0.5\n"
        "min_gap_seconds: 0.1\nmin_duration_seconds: 0.1\nmax_duration_seconds: null\n",
        "csebb.yaml": "method: csebb\nthreshold: {default: 0.3}\ncsebb:\n  Dog: {step_seconds: 0.3,"
        " absolute: 0.2, relative: null}\n  default: {step_seconds: 0.5, absolute: 0.2}\n",
    }
    return {name: (text.encode(), "yaml") for name, text in texts.items()}


def try_postprocess(path: Path) -> None:
    settings = read_postprocess(str(path))
    if settings is not None:
        scores = np.random.default_rng(3).random((50, 2))
        table = ScoreTable(np.arange(51) * 0.02, scores, ("Dog", "Cat"))
        for event in scores_to_events(table, settings):
            assert 0 <= event.onset < event.offset <= 1.1


# Bundles, encoders, states ----------------------------------------------------------------------


@cache
def good_bundle() -> dict[str, bytes]:
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


def good_bundle_seeds() -> dict[str, tuple[bytes, str]]:
    kinds = {".yaml": "yaml", ".safetensors": "safetensors", ".json": "json"}
    return {
        name: (data, kinds.get(Path(name).suffix, "text")) for name, data in good_bundle().items()
    }


def try_bundle(path: Path) -> None:
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


def good_folder(path: Path, **kinds: str) -> Callable[[], dict[str, tuple[bytes, str]]]:
    return lambda: {name: ((path / name).read_bytes(), how) for name, how in kinds.items()}


def files_beside(path: Path, *names: str) -> Callable[[], Files]:
    return lambda: {name: (path / name).read_bytes() for name in names}


def try_state(path: Path) -> None:
    recipe = load_recipe(path.parent / "recipe.yaml")
    state = open_run(path.parent, recipe, good_fingerprint(), resume=True)
    assert state is not None
    read_start(path.parent)


@cache
def good_fingerprint() -> str:
    state = torch.load(LEFT / "runs/mini" / STATE, weights_only=True)
    return str(state["data"])


def try_foreign_checkpoint(path: Path) -> None:
    file = read_checkpoint(path)
    assert all(torch.is_tensor(value) for value in file.tensors.values())
    import_checkpoint(path, path.parent / "out")


@cache
def good_tf() -> dict[str, tuple[bytes, str]]:
    return {name: (data, "bytes") for name, data in good_tf_files().items()}


@cache
def good_tf_files() -> dict[str, bytes]:
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


def try_tf(path: Path) -> None:
    with patch.object(tf_checkpoint, "masked", lambda _: _AnyChecksum()):
        found = tf_checkpoint.read_tf_checkpoint(path.parent / "variables.index")
    assert all(value.nbytes < 2**20 for value in found.variables.values())


# Journals ---------------------------------------------------------------------------------------


def try_run_journal(path: Path) -> None:
    run_record(path.parent)
    Journal(path.parent, keep_epochs=2).close()


def try_batch_journal(path: Path) -> None:
    journal = BatchJournal(path)
    try:
        for record in journal.done.values():
            assert record.to_line()
            for track in record.tracks:
                assert all(isinstance(event, Event) for event in track.events)
    finally:
        journal.close()


def try_cache_index(path: Path) -> None:
    with CacheIndex(path.parent, "flac") as index:
        assert all(isinstance(name, str) for name in index.entries)


def try_lock(path: Path) -> None:
    with only_writer(path.parent):
        pass


def good_lock() -> dict[str, tuple[bytes, str]]:
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


def good_stream() -> EventStream:
    return EventStream(_Network(), PostProcess(median_seconds=0.1), 8_000)  # type: ignore[arg-type]


@cache
def good_stream_files() -> dict[str, tuple[bytes, str]]:
    import tempfile

    stream = good_stream()
    list(stream.push(np.zeros(12_000, np.float32)))
    with tempfile.TemporaryDirectory() as folder:
        stream.save(Path(folder) / "stream.npz")
        return {"stream.npz": ((Path(folder) / "stream.npz").read_bytes(), "zip")}


def try_stream(path: Path) -> None:
    stream = good_stream()
    stream.load(path)


def good_manifest() -> dict[str, tuple[bytes, str]]:
    rows = [f"{label},{label}/{n}.wav,{split}" for label in ("Dog", "background")
            for n, split in enumerate(MANIFEST_SPLITS)]  # fmt: skip
    return {"manifest.csv": ("\n".join(["event_label,file,split", *rows, ""]).encode(), "text")}


def good_manifest_files() -> Files:
    content = io.BytesIO()
    noise = 0.1 * np.random.default_rng(5).standard_normal(1600)
    soundfile.write(content, noise, 16_000, format="WAV", subtype="PCM_16")
    return {
        f"{label}/{n}.wav": content.getvalue() for label in ("Dog", "background") for n in range(4)
    }
