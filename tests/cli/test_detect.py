"""`earmark detect` on files, folders and failures, through a bundle on disk."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import typer
from typer.testing import CliRunner, Result

from earmark.cli import main
from earmark.cli.detect import detect
from earmark.core.config import NetworkSettings
from earmark.core.errors import EarmarkError
from earmark.core.formats import read_events
from earmark.core.naming import names_from
from earmark.deliver.recordings import file_names
from earmark.detect.detector import Detector
from earmark.model.bundle import save_bundle
from earmark.model.sed import SedNetwork

RATE = 16_000
TABLES = {"events.tsv", "recordings.tsv", "detect.jsonl"}
SMALL = {
    "channels": (4, 4, 4),
    "kernels": (3, 3, 3),
    "strides": ((1, 1),) * 3,
    "pools": ((2, 4), (2, 4), (1, 8)),
    "rnn_hidden": 4,
    "rnn_layers": 1,
    "activation": "relu",
}

app = typer.Typer()
app.command()(detect)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network: its events mean nothing, but they depend on the sound."""
    torch.manual_seed(1)
    network = SedNetwork(NetworkSettings.model_validate(SMALL), ("Cat", "Dog"))
    example = sound(tmp_path_factory.mktemp("example") / "a.wav", 9)
    values = torch.tensor(Detector(network.eval()).score(example).values).logit()  # [T, C]
    head = network.get_parameter("crnn.heads.strong.weight")
    bias = network.get_parameter("crnn.heads.strong.bias")
    gain = 2.0 / values.std(0)
    with torch.no_grad():  # scores then pass 0.5 up and down as the sound does
        bias.copy_((bias - values.mean(0)) * gain)
        head.mul_(gain[:, None])
    labels = {"Cat": 0.192, "Dog": 0.0}
    settings = {"median_seconds": labels, "threshold": {"Cat": 0.5, "Dog": 0.5}}
    return save_bundle(tmp_path_factory.mktemp("bundle"), network.eval(), settings, "# card\n")


def sound(path: Path, seconds: float = 3.0, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    envelope = np.repeat(rng.random(int(seconds * 4) + 1) ** 3, RATE // 4)[: int(seconds * RATE)]
    soundfile.write(path, 0.3 * rng.normal(size=len(envelope)).clip(-3, 3) * envelope, RATE)
    return path


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_one_recording_in_all_formats(bundle: Path, tmp_path: Path) -> None:
    path = sound(tmp_path / "in" / "my kitchen.wav", 12.97)
    done = run(bundle, path, "--out", tmp_path / "out", "--threshold", "0.4")
    assert done.exit_code == 0, done.output
    stem = "my kitchen"
    expected = {f"{stem}.tsv", f"{stem}.json", f"{stem}.txt", f"{stem}.png"}
    assert files(tmp_path / "out") == expected | TABLES | {"events.json"}
    detector = Detector.from_pretrained(bundle)
    detector.postprocess = detector.postprocess.with_threshold(0.4)
    events = detector.detect(path).events
    assert len(events) > 0
    for name in ("my kitchen.tsv", "my kitchen.json", "events.tsv"):
        pd.testing.assert_frame_equal(read_events(tmp_path / "out" / name), events)
    track = read_events(tmp_path / "out" / "my kitchen.txt", "audacity")
    np.testing.assert_allclose(track.onset, events.onset, atol=1e-6)
    assert "my kitchen.wav" in done.output
    assert f"{events.onset.iloc[0]:.3f}" in done.output


def test_a_corrupt_file_stops_nothing(bundle: Path, tmp_path: Path) -> None:
    good = [sound(tmp_path / "in" / f"{n}.wav", seed=n) for n in range(3)]
    bad = tmp_path / "in" / "1a.wav"
    bad.write_bytes(b"RIFF and nothing more")
    done = run(bundle, tmp_path / "in", "--out", tmp_path / "out", "--format", "json")
    assert done.exit_code == 1
    assert "1a.wav" in done.stderr
    assert "1 failed" in done.output
    expected = {f"{p.stem}.json" for p in good} | TABLES | {"events.json"}
    assert files(tmp_path / "out") == expected | {"failures.tsv"}
    sound(bad, seed=9)
    again = run(bundle, tmp_path / "in", "--out", tmp_path / "out", "--format", "json")
    assert again.exit_code == 0
    assert "3 of them done before" in again.output
    names = set(read_events(tmp_path / "out" / "events.tsv").filename)
    assert names <= {"0.wav", "1.wav", "1a.wav", "2.wav"}


def test_what_is_done_is_not_done_again(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        sound(tmp_path / "in" / f"{n}.wav", seed=n)
    worked: list[str] = []
    original = Detector.detect

    def watched(self: Detector, source: Any, **options: Any) -> Any:
        worked.append(Path(source).name)
        return original(self, source, **options)

    monkeypatch.setattr(Detector, "detect", watched)
    out = tmp_path / "out"

    def work(*options: Any) -> list[str]:
        worked.clear()
        assert run(bundle, tmp_path / "in", "--out", out, *options).exit_code == 0
        return sorted(worked)

    all_of_them = ["0.wav", "1.wav", "2.wav"]
    assert work() == all_of_them
    combined = (out / "events.tsv").read_bytes()
    assert work() == []
    assert (out / "events.tsv").read_bytes() == combined
    assert work("--batch-size", 3, "--threads", 1, "--format", "elan,csv") == []
    assert work("--threshold", "0.45") == all_of_them
    assert work("--threshold", "0.45", "--hop", "2") == all_of_them
    assert work("--threshold", "0.45", "--hop", "2", "--channels", "first") == all_of_them
    assert work() == all_of_them
    assert work("--fresh") == all_of_them
    assert (out / "events.tsv").read_bytes() == combined
    assert (out / "scores").exists() is False
    assert work("--score-format", "tsv,npz") == all_of_them
    for folder, kind in (("scores", "tsv"), ("scores-npz", "npz")):  # each recording once in each
        assert sorted(path.name for path in (out / folder).iterdir()) == [
            f"{n}.{kind}" for n in range(3)
        ]


def test_equal_names_do_not_overwrite_one_another(bundle: Path, tmp_path: Path) -> None:
    first = sound(tmp_path / "monday" / "x.wav", 3, seed=1)
    second = sound(tmp_path / "sunday" / "x.wav", 9, seed=2)
    third = sound(tmp_path / "sunday" / "x.flac", 4, seed=3)
    out = tmp_path / "out"
    arguments = (first, second.parent, "--out", out, "--format", "tsv", "--threshold", "0.3")
    assert run(bundle, *arguments).exit_code == 0
    made = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert made - TABLES == {"monday/x.tsv", "sunday/x.wav.tsv", "sunday/x.flac.tsv"}
    combined = pd.read_csv(out / "events.tsv", sep="\t")
    assert set(combined.filename) == {"monday/x.wav", "sunday/x.wav", "sunday/x.flac"}
    detector = Detector.from_pretrained(bundle)
    detector.postprocess = detector.postprocess.with_threshold(0.3)
    for path, name, shown in (
        (first, "monday/x.tsv", "monday/x.wav"), (third, "sunday/x.flac.tsv", "sunday/x.flac")
    ):  # fmt: skip
        found = detector.detect(path, filename=shown).events
        pd.testing.assert_frame_equal(read_events(out / name), found)


def test_a_later_run_does_not_overwrite_another_recording(bundle: Path, tmp_path: Path) -> None:
    first = sound(tmp_path / "a" / "x.wav", seed=1)
    second = sound(tmp_path / "b" / "x.wav", seed=2)
    out = tmp_path / "out"
    assert run(bundle, first, "--out", out, "--format", "tsv", "--no-plot").exit_code == 0
    before = (out / "x.tsv").read_bytes()
    assert run(bundle, second, "--out", out, "--format", "tsv", "--no-plot").exit_code == 0
    assert (out / "x.tsv").read_bytes() == before
    assert (out / "x.wav.tsv").is_file()


def test_names_are_unique_and_kept() -> None:
    paths = [Path(p) for p in ("/a/x.wav", "/b/X.wav", "/b/y.wav", "/b/events.wav", "/c/b/y.wav")]
    shown = names_from(Path("/b"), paths)
    assert list(shown.values()) == ["a/x.wav", "X.wav", "y.wav", "events.wav", "c/b/y.wav"]
    names = file_names(shown, ["y"])
    assert list(names.values()) == ["a/x", "X", "y.wav", "events.wav", "c/b/y"]
    for folder in ("scores", "Scores-npz"):
        assert file_names({Path(f"/b/{folder}/y.wav"): f"{folder}/y.wav"}) == {
            Path(f"/b/{folder}/y.wav"): f"b/{folder}/y.wav"  # no other recording's score table
        }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.wav"], "no such file"),
        (["empty"], "no recordings"),
        (["a.wav", "--format", "tsv,docx"], "docx"),
        (["a.wav", "--format", ","], "format"),
        (["a.wav", "--threshold", "1.5"], "threshold"),
        (["a.wav", "--score-format", "tsv,hdf5"], "hdf5"),
        (["a.wav", "--format", "tsv", "--labels-with-score"], "audacity"),
        (["a.wav", "--channels", "left"], "channels"),
        (["a.wav", "--device", "gpu"], "device"),
        (["*.flac"], "no recordings match"),
        (["a.wav", "--hop", "30"], "hop"),
    ],
)
def test_mistakes_are_told_before_any_work(
    bundle: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    sound(tmp_path / "a.wav")
    (tmp_path / "empty").mkdir()
    done = run(bundle, tmp_path / arguments[0], *arguments[1:], "--out", tmp_path / "out")
    assert isinstance(done.exception, EarmarkError)
    assert message in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder_for_results(bundle: Path, tmp_path: Path) -> None:
    path = sound(tmp_path / "a.wav")
    done = run(bundle, path, "--out", path)
    assert isinstance(done.exception, EarmarkError)


def test_a_long_table_is_trimmed(bundle: Path, tmp_path: Path) -> None:
    path = sound(tmp_path / "a.wav", 3.0)
    out = tmp_path / "out"
    assert run(bundle, path, "--out", out, "--no-plot").exit_code == 0
    record = json.loads((out / "detect.jsonl").read_text())
    record["tracks"][0]["events"] = [[n, n + 0.5, "Cat", 0.75] for n in range(500)]
    (out / "detect.jsonl").write_text(json.dumps(record) + "\n")
    done = run(bundle, path, "--out", out, "--no-plot")
    assert "500 events" in done.output
    assert done.output.count("Cat") == 40


def test_post_processing_of_a_bundle_is_blamed_on_its_file(bundle: Path, tmp_path: Path) -> None:
    broken = tmp_path / "bundle"
    shutil.copytree(bundle, broken)
    (broken / "postprocess.yaml").write_text("threshold: 7\n")
    with pytest.raises(EarmarkError, match=r"postprocess\.yaml: threshold is 7"):
        Detector.from_pretrained(broken)


def test_a_folders_other_files_are_counted_and_named(bundle: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    sound(source / "a.wav", 2)
    sound(source / "b.wav", 2).rename(source / "b.dat")
    (source / "notes.txt").write_text("dawn chorus")
    (source / "old.dff").write_bytes(b"FRM8" + bytes(100))
    done = run(bundle, source, "--out", tmp_path / "out", "--format", "tsv")
    assert done.exit_code == 0
    assert set(pd.read_csv(tmp_path / "out/recordings.tsv", sep="\t").filename) == {
        "a.wav",
        "b.dat",
    }
    assert "1 file left out, not sound: notes.txt" in done.output
    assert "1 file left out, DSDIFF, which Earmark does not read: old.dff" in done.output


def test_which_events(bundle: Path, tmp_path: Path) -> None:
    path, out = sound(tmp_path / "yard.wav", 30), tmp_path / "out"

    def found(*options: str) -> pd.DataFrame:
        assert run(bundle, path, "--out", out, "--no-plot", *options).exit_code == 0
        return pd.read_csv(out / "events.tsv", sep="\t")

    def rows(events: pd.DataFrame, label: str) -> list[tuple[float, float]]:
        own = events[events.event_label == label]
        return list(zip(own.onset, own.offset, strict=True))

    both, high = found(), found("--threshold", "0.9")
    one = found("--threshold", "dog=0.9")
    assert rows(one, "Dog") == rows(high, "Dog") != rows(both, "Dog")
    assert rows(one, "Cat") == rows(both, "Cat") != rows(high, "Cat")
    other = found("--threshold", "Dog=0.5,default=0.9")
    assert rows(other, "Cat") == rows(high, "Cat")
    assert rows(other, "Dog") == rows(both, "Dog")
    assert set(found("--classes", "Dog").event_label) == {"Dog"}
    assert sorted(found("--top", "2").score) == sorted(both.score)[-2:]
    longest = (both.offset - both.onset).max() - 0.01
    assert 0 < len(found("--max-duration", f"{longest}")) < len(both)
    assert 0 < len(found("--min-duration", f"{longest}")) < len(both)
    assert len(found("--min-gap", "30")) == 2


def test_names_that_the_terminal_cannot_show_are_escaped(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, broken = sound(tmp_path / "Küche 犬.wav"), tmp_path / "defekt 犬.wav"
    broken.write_bytes(b"RIFF")
    for given, code in ((path, 0), (broken, 1)):
        streams = [io.TextIOWrapper(io.BytesIO(), encoding="latin-1") for _ in range(2)]
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        more = ["-o", str(tmp_path / "out"), "--no-plot"]
        monkeypatch.setattr(sys, "argv", ["earmark", "detect", str(bundle), str(given), *more])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert (stopped.value.code or 0) == code
        for stream in streams:
            stream.flush()
        shown = "".join(stream.buffer.getvalue().decode("latin-1") for stream in streams)
        assert given.name.replace("犬", "\\u72ac") in shown
        assert "Traceback" not in shown


def test_pages_and_ranges_of_pictures(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("earmark.deliver.pictures.view.PAGE", 10.0)
    path, out = sound(tmp_path / "yard.wav", 25), tmp_path / "out"

    def pictures(*options: str) -> set[str]:
        assert run(bundle, path, "--out", out, *options).exit_code == 0
        return {file.name for file in out.glob("*.png")}

    pages = {f"yard.0h00m{first:02d}s-0h00m{last:02d}s.png" for first, last in
             ((0, 10), (10, 20), (20, 25))}  # fmt: skip
    assert pictures() == pages
    assert pictures("--plot-range", "0:05-7.5") == pages | {"yard.0h00m05s-0h00m07.5s.png"}
    moved = path.rename(tmp_path / "park.wav")
    assert run(bundle, moved, "--out", out).exit_code == 0
    names = {file.name for file in out.glob("*.png")}
    assert {name.replace("yard", "park") for name in pages} <= names
    assert not any(name.startswith("yard") for name in names)
    for wrong in ("5", "7-5", "a-b", "1-2-3"):
        refused = run(bundle, moved, "--out", out, "--plot-range", wrong).exception
        assert "is not FROM-TO" in str(refused)
