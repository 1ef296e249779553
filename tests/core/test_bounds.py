"""Files that ask for more than they are: refused before anything is read, unpacked or built."""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
import threading
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from earmark.cli import app
from earmark.core.audio.audio import load_audio, load_int16
from earmark.core.audio.folders import list_audio
from earmark.core.config import NetworkSettings, apply_overrides, load_yaml, parse_settings
from earmark.core.errors import AudioError, BundleError, ConfigError, EarmarkError, LabelError
from earmark.core.event import Event
from earmark.core.files import read_text
from earmark.core.files.bounds import UNPACKED, gunzip, most_unpacked, stays_inside
from earmark.core.files.yaml_bounds import YAML_BYTES
from earmark.core.folders import shipped_folder
from earmark.core.formats import read_events, write_events
from earmark.core.formats.base import event_table
from earmark.core.locking import LOCK, only_writer
from earmark.core.tables.score_files import read_scores, write_scores
from earmark.core.tables.scores import ScoreTable
from earmark.data.manifest import load_manifest
from earmark.data.yaml_lines import YamlFile
from earmark.deliver.journal import BatchJournal
from earmark.detect.postprocess_spec import PostProcess, read_postprocess, read_tuning
from earmark.model.bundle import load_bundle, save_bundle
from earmark.model.encoders.encoder_file import load_encoder
from earmark.model.folder import READY, read_tensors, settle
from earmark.model.onnx_form import FormRecord
from earmark.model.published.file import read_checkpoint
from earmark.model.published.tf_checkpoint import read_tf_checkpoint
from earmark.model.published.yamnet import find_yamnet
from earmark.model.sed import SedNetwork
from earmark.prepare.cache_index import INDEX, CacheIndex
from earmark.prepare.importing.class_map import load_class_map
from earmark.synth.soundbank import Soundbank
from earmark.train.checkpoint import STATE, open_run
from earmark.train.recipe import load_recipe

READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "text": ("a.txt", read_text),
    "labels": ("a.tsv", read_events),
    "json": ("a.json", read_events),
    "jams": ("a.jams", read_events),
    "elan": ("a.eaf", read_events),
    "textgrid": ("a.TextGrid", read_events),
    "packed": ("a.tsv.gz", read_scores),
    "scores": ("a.tsv", read_scores),
    "npz": ("a.npz", read_scores),
    "yaml": ("a.yaml", load_yaml),
    "yaml lines": ("a.yaml", YamlFile),
    "dataset": ("a.yaml", load_manifest),
    "class map": ("a.yaml", load_class_map),
    "recipe": ("a.yaml", load_recipe),
    "audio": ("a.wav", load_audio),
    "checkpoint": ("a.ckpt", read_checkpoint),
    "tensors": ("a.safetensors", read_tensors),
    "TensorFlow": ("a.index", read_tf_checkpoint),
    "YAMNet": ("a.h5", find_yamnet),
    "ONNX form": ("onnx.json", FormRecord.read),
    "journal": ("detect.jsonl", BatchJournal),
    "manifest": ("manifest.csv", lambda path: Soundbank(path.parent)),
    "bundle": ("config.yaml", lambda path: load_bundle(path.parent)),
    "state": (
        STATE,
        lambda path: open_run(path.parent, load_recipe("mini"), "0", resume=True),
    ),
}


@pytest.mark.parametrize("kind", READERS)
def test_what_is_no_file_is_refused_in_a_line(kind: str, tmp_path: Path) -> None:
    """By a device that ends at once, so that a reader that takes it does not hang here."""
    name, read = READERS[kind]
    path = tmp_path / name
    path.symlink_to("/dev/null")
    with pytest.raises(EarmarkError, match=r"a pipe, a device or a socket|missing") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_pipes_and_sockets_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tsv")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.yaml"))
        for read, name in ((read_text, "pipe.tsv"), (load_yaml, "socket.yaml")):
            caught: list[BaseException] = []
            thread = threading.Thread(target=_catch, args=(read, tmp_path / name, caught))
            thread.daemon = True
            thread.start()
            thread.join(60)
            assert not thread.is_alive()
            assert "a pipe, a device or a socket" in str(caught[0])


def _catch(read: Callable[[Path], Any], path: Path, caught: list[BaseException]) -> None:
    try:
        read(path)
    except EarmarkError as error:
        caught.append(error)


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "--events", "F", "--truth", "F"],
        ["train", "F", "--data", "D", "--out", "O"],
        ["train", "mini", "--data", "F", "--out", "O"],
        ["doctor", "F"],
        ["summary", "T", "--out", "O"],
        ["import", "F", "--out", "O"],
        ["detect", "home", "F", "--out", "O"],
        ["tune", "--scores", "D", "--truth", "F", "--durations", "F", "--out", "O.yaml"],
        ["synth", "O", "--recipe", "F"],
    ],
    ids=" ".join,
)
def test_commands_refuse_a_device_in_a_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("D").mkdir()
    names = {"F": "f.yaml", "T": "t.tsv"}
    for name in names.values():
        Path(name).symlink_to("/dev/null")
    given = [names.get(one, one) for one in arguments]
    result = CliRunner().invoke(app, given)
    refused = isinstance(result.exception, EarmarkError)
    said = str(result.exception) if refused else result.output
    assert refused or isinstance(result.exception, SystemExit), result.exception
    assert "a pipe, a device or a socket" in said, said


def test_packed_text_is_read_up_to_a_bound(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(UNPACKED + 2**20), 9)
    assert len(bomb) < 2**17
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(bomb)
    with pytest.raises(LabelError, match=r"a\.tsv\.gz: cannot be unpacked \(.* more than 64 MiB"):
        read_text(path)
    half = b"onset\toffset\n" * 100_000
    path.write_bytes(gzip.compress(half))
    assert read_text(path) == half.decode()


def test_how_far_an_archive_unpacks_depends_on_its_size() -> None:
    assert most_unpacked(0) == UNPACKED
    assert most_unpacked(2**30) == 30 * 2**30
    with pytest.raises(ValueError, match="ended before"):
        gunzip(gzip.compress(b"x" * 1000)[:-9])


def test_score_archives_hold_no_more_than_they_say(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(
        path, boundaries=np.arange(2.0), values=np.zeros((3000, 3000)), labels=["a"]
    )
    with pytest.raises(EarmarkError, match="unpack to more than 64 MiB"):
        read_scores(path)
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        huge, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2**20)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("boundaries.npy", huge.getvalue())
    with pytest.raises(EarmarkError, match="says that it has the shape"):
        read_scores(path)


def test_parquet_holds_no_more_than_its_size_explains(tmp_path: Path) -> None:
    pandas, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    rows = 3_000_000
    pandas.DataFrame({name: np.zeros(rows) for name in ("onset", "offset", "Dog")}).to_parquet(path)
    assert path.stat().st_size < 100_000
    with pytest.raises(EarmarkError, match="unpack to more than 64 MiB"):
        read_scores(path)


def _laughs() -> str:
    names = "abcdefghij"
    rest = (f"{own}: &{own} [{', '.join([f'*{before}'] * 9)}]\n" for before, own in pairwise(names))
    return "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(rest)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        (_laughs(), 5, "more than 50,000 values"),
        (_laughs().replace("[*", "{<<: [*").replace("]\n", "]}\n").replace("]}", "]", 1), 5, ""),
        ("a: 1\nb: " + "[" * 200 + "]" * 200, 2, "nests deeper than 50 levels"),
        ("a: 1\nb: " + "{c: " * 200 + "}" * 200, 2, "nests deeper than 50 levels"),
        ("a: &a\n  - *a\n", 2, "stands inside itself"),
        ("a: 1\nb: " + "1:" * 50_000 + "1", 2, "a number of 100001 digits"),
        ("a: " + "9" * 10_000, 1, "a number of 10000 digits"),
        ("a: 2020-99-99", 0, "month must be"),
        ("a: !!bool x", 0, "'x'"),
        ("a: " + "x" * YAML_BYTES, 0, "settings at most 1,048,576"),
    ],
)
def test_yaml_is_bounded(text: str, line: int, what: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    for read in (load_yaml, YamlFile):
        with pytest.raises(ConfigError) as caught:
            read(path)
        assert what in str(caught.value)
        assert str(caught.value).startswith(f"{path}:{line}:" if line else f"{path}:")


def test_yaml_within_bounds_is_read_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("base: &base {x: 1, y: [1, 2]}\nown:\n  <<: *base\n  y: 3\nagain: *base\n")
    assert load_yaml(path)["own"] == {"x": 1, "y": 3}
    assert YamlFile(path).where(["own", "y"]) == f"{path}:4"
    path.write_text(f"note: {'3 dogs and more, ' * 100}\n")
    assert load_yaml(path)["note"].startswith("3 dogs")
    with pytest.raises(ConfigError, match="not readable"):
        apply_overrides({}, ["a=2020-99-99"])


def test_json_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    whole = {"events": [{"onset": 10**400, "offset": 1, "event_label": "Dog"}]}
    for text in ("[" * 100_000, json.dumps(whole), '{"events":' * 50_000):
        path.write_text(text)
        with pytest.raises(LabelError, match="no JSON"):
            read_events(path)
        path.with_suffix(".jams").write_text(text)
        with pytest.raises(LabelError, match="no JAMS"):
            read_events(path.with_suffix(".jams"))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    settings = parse_settings(
        NetworkSettings,
        {
            "channels": [4],
            "kernels": [3],
            "strides": [[1, 1]],
            "pools": [[4, 4]],
            "rnn_hidden": 4,
            "window_seconds": 1.0,
        },
    )
    network = SedNetwork(settings, ("Dog", "Cat"))
    return save_bundle(tmp_path / "bundle", network, PostProcess().to_dict(), "# card\n")


@pytest.mark.parametrize(
    "setting",
    [
        "rnn_hidden=60000",
        "channels=[20000]",
        "encoder={width: 65536, depth: 256, heads: 64}",
        "rnn_layers=250",
    ],
)
def test_a_bundle_is_no_larger_than_its_weights(
    setting: str, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_yaml(bundle / "config.yaml")
    config["network"] = apply_overrides(config["network"], [setting])
    (bundle / "config.yaml").write_text(json.dumps(config))
    asked: list[int] = []
    real = torch.Tensor.uniform_

    def uniform(self: torch.Tensor, *args: Any, **named: Any) -> torch.Tensor:
        if self.device.type != "meta":
            asked.append(self.numel())
        return real(self, *args, **named)

    monkeypatch.setattr(torch.Tensor, "uniform_", uniform)
    with pytest.raises(BundleError, match=r"model\.safetensors: weights do not fit"):
        load_bundle(bundle)
    assert not asked  # nothing was made for real


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"window_seconds": 3600.0, "frontend": {"hop": 16}}, "GiB in a single layer"),
        ({"channels": [65536, 1, 1, 1, 1, 1, 1]}, "GiB in a single layer"),
        ({"kernels": [999_999_999] * 7}, "1024"),
        ({"channels": [1] * 100_000}, "64"),
        ({"frontend": {"n_mels": 4096}}, "1024"),
        ({"frontend": {"n_fft": 2**20}}, "32768"),
        ({"pools": [[1024, 1024]] * 7}, "no frame"),
        ({"pools": [[2, 1024], *[[1, 1]] * 6]}, "nothing of a window"),
    ],
)
def test_networks_beyond_any_sense_are_no_settings(settings: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        parse_settings(NetworkSettings, settings)


def test_labels_of_a_bundle_are_text_and_each_once(bundle: Path) -> None:
    for content, what in ((b"\xff\xfe", "no text"), (b"Dog\nDog\n", "twice"), (b"\n", "no class")):
        (bundle / "labels.txt").write_bytes(content)
        with pytest.raises(BundleError, match=what):
            load_bundle(bundle)


def test_links_in_a_bundle_lead_to_no_files_of_others(bundle: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "letter.txt").write_text("mine")
    (own / "rc").write_text("alias")
    (bundle / READY).symlink_to(own)
    settle(bundle)
    load_bundle(bundle)
    assert (own / "letter.txt").read_text() == "mine"
    (bundle / LOCK).symlink_to(own / "rc")
    with pytest.raises(EarmarkError, match="cannot be written"), only_writer(bundle):
        pass
    assert (own / "rc").read_text() == "alias"


@pytest.mark.parametrize("name", ["../x.flac", "/etc/x.flac", "a/../../x.flac"])
def test_names_in_records_do_not_lead_out_of_their_folder(name: str, tmp_path: Path) -> None:
    assert not stays_inside(name)
    cache = tmp_path / "cache"
    cache.mkdir()
    head = {"cache": 1, "sample_rate": 16_000, "format": "flac"}
    entry = {"file": name, "size": 1, "changed": 1, "bytes": 1}
    (cache / INDEX).write_text(f"{json.dumps(head)}\n{json.dumps(entry)}\n")
    with pytest.raises(EarmarkError, match="outside this folder"):
        CacheIndex(cache, "flac")
    line = {"path": "/a.wav", "size": 1, "modified": 1, "content": "", "key": "", "name": name}
    (tmp_path / "detect.jsonl").write_text(json.dumps({**line, "tracks": []}) + "\n")
    assert not BatchJournal(tmp_path / "detect.jsonl").done


def test_graphs_and_encoders_of_a_bundle_are_its_own(tmp_path: Path) -> None:
    record = {"format": 1, "content": "", "graphs": {"../x.onnx": ""}, "stored": {}, "times": None}
    (tmp_path / "onnx.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match="other names"):
        FormRecord.read(tmp_path / "onnx.json")
    shipped = shipped_folder("bundles") / "audioset"
    for name in ("labels.txt", "classes.csv", "postprocess.yaml"):
        (tmp_path / name).write_bytes((shipped / name).read_bytes())
    config = load_yaml(shipped / "config.yaml")
    config["tagger"]["weights"] = "../../../elsewhere"
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    with pytest.raises(BundleError, match="must name an encoder that comes with Earmark"):
        load_bundle(tmp_path)


def test_torch_archives_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("a/data.pkl", bytes(UNPACKED + 2**20))
    with pytest.raises(BundleError, match="unpack to more than 64 MiB"):
        read_checkpoint(path)
    path.rename(tmp_path / STATE)
    with pytest.raises(ConfigError, match="unpack to more than 64 MiB"):
        open_run(tmp_path, load_recipe("mini"), "0", resume=True)


def test_what_stands_beside_a_bundle_is_no_pipe(bundle: Path) -> None:
    (bundle / "tuning.json").symlink_to("/dev/null")
    assert read_tuning(bundle, PostProcess()) is None
    (bundle / "postprocess.yaml").write_text("threshold: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigError, match="could not determine a constructor"):
        read_postprocess(str(bundle))
    with pytest.raises(EarmarkError):
        load_encoder(bundle)


def _wav(rate: int, channels: int, samples: int = 100) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, np.zeros((samples, 1)), 8000, format="WAV", subtype="PCM_16")
    head = bytearray(content.getvalue())
    head[22:24], head[24:28] = channels.to_bytes(2, "little"), rate.to_bytes(4, "little")
    return bytes(head)


@pytest.mark.parametrize(("rate", "channels"), [(0, 1), (2**31, 1), (2**32 - 1, 1), (8000, 65535)])
@pytest.mark.parametrize("stated", [None, 0, 2**32 - 1])
def test_rates_and_channels_that_no_audio_has(
    rate: int, channels: int, stated: int | None, tmp_path: Path
) -> None:
    content = bytearray(_wav(rate, channels))
    if stated is not None:
        content[40:44] = stated.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AudioError):
        load_audio(tmp_path / "a.wav")


def test_an_aiff_rate_beyond_any_number(tmp_path: Path) -> None:
    content = io.BytesIO()
    soundfile.write(content, np.zeros((100, 1)), 8000, format="AIFF", subtype="PCM_16")
    data = bytearray(content.getvalue())
    place = data.index(b"COMM") + 16
    data[place : place + 2] = b"\x7f\xfe"
    (tmp_path / "a.aiff").write_bytes(data)
    with pytest.raises(AudioError):
        load_audio(tmp_path / "a.aiff")


def test_a_flac_header_that_promises_days(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(1600), 16_000, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4  # 2^36 - 1 samples, 128 GiB as 16-bit numbers
    path.write_bytes(data)
    with pytest.raises(AudioError, match=r"too long|breaks off"):
        load_int16(path)
    with pytest.raises(AudioError, match="breaks off"):
        load_int16(path, most=160_000)


def test_recordings_too_long_to_be_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earmark.core.audio.audio.MOST_SAMPLES", 15_000)
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(16_000), 16_000)
    with pytest.raises(AudioError, match="too long to be held at once"):
        load_audio(path)
    assert len(load_int16(path, most=1000)) == 1000


def test_boxes_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\x00\x00\x00\x08ftyp" + b"\x00\x00\x00\x09free\x00" * 500_000)
    with pytest.raises(AudioError, match="empty boxes"):
        load_audio(path)


def test_links_of_folders_are_followed_once(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [path.name for path in list_audio(tmp_path)] == ["a.wav"]


@pytest.mark.parametrize(
    "name", ["=cmd|' /C calc'!A0", "@SUM(A1)", "+x", "-x", "'=x", "''@y", "'a"]
)
def test_no_spreadsheet_runs_a_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    events = event_table([("+1.wav", Event(0.0, 1.0, name)), (name, Event(0.0, 1.0, "Dog"))])
    write_events(path, events, "csv")
    for field in (field for line in path.read_text().splitlines() for field in line.split(",")):
        assert field[:1] not in "=@+-" or field in ("", "-1")
    assert read_events(path)[["filename", "event_label"]].to_numpy().tolist() == [
        ["+1.wav", name],
        [name, "Dog"],
    ]
    table = ScoreTable(np.arange(2.0), np.array([[0.5, 0.25]]), (name, "Dog"))
    write_scores(tmp_path / "b.csv", table, "csv")
    assert (tmp_path / "b.csv").read_text().split(",")[2][:1] not in "=@+-"
    assert read_scores(tmp_path / "b.csv").labels == (name, "Dog")
    for kind in ("tsv", "json"):  # nothing else is changed
        write_events(tmp_path / f"c.{kind}", events, kind)
        assert f"'{name}" not in (tmp_path / f"c.{kind}").read_text()
