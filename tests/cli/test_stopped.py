"""Commands that are stopped, and disks that are full: one line, and nothing left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.core.files import DRAFT
from helpers.full_disk import full_after
from helpers.score_world import run

CLIPS = "strong=40,weak=40,unlabelled=40,validation=0,test=0"


def _children(pid: int) -> list[int]:
    """All processes that a process has started, and theirs."""
    own = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            own.append(int(place.parent.name))
    return own + [inner for child in own for inner in _children(child)]


def _gone(pids: list[int], seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no list of processes")
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
)
def test_a_stopped_synth_leaves_no_process(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    command = ["synth", str(tmp_path / "out"), "--recipe", "mini", "--clips", CLIPS]
    process = subprocess.Popen(
        [sys.executable, "-m", "earmark", *command, "--workers", "2"],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 120
    while not list((tmp_path / "out").glob("audio/**/*.wav")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    children = _children(process.pid)
    assert len(children) >= 2
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code
    assert _gone(children)
    if number != signal.SIGKILL:
        [line] = told.strip().splitlines()
        assert "what is finished is kept" in line
        assert ("SIGTERM" in line) == (number == signal.SIGTERM)


STUCK = """
import sys, time
from earmark.cli.stopping import stopping
def tell(number, kept):
    print(number, flush=True)
with stopping(tell):
    begun = False
    while True:  # as a step that no signal can interrupt
        try:
            if not begun:
                begun = True
                print("begun", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            pass
"""


def test_what_cannot_be_interrupted_ends_all_the_same() -> None:
    process = subprocess.Popen([sys.executable, "-c", STUCK], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.terminate()
    told, _ = process.communicate(timeout=60)
    assert (process.returncode, told) == (143, f"{int(signal.SIGTERM)}\n")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("full") / "data"
    run("synth", out, "--recipe", "demo", "--workers", 1,
        "--clips", "strong=3,weak=2,unlabelled=0,validation=2,test=0")  # fmt: skip
    audio = out / "audio/train/synthetic21_train/soundscapes"
    for path in list(out.rglob("*.wav"))[:1]:
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 480_000), 48_000)
    assert audio.parent.parent.is_dir()
    return out


FILLING = {
    "synth": ("synth {out} --recipe demo --workers 1 --clips strong=2,weak=0,unlabelled=0,"
              "validation=0,test=0", 50_000),
    "cache": ("cache {data} --out {out} --workers 1", 50_000),
    "export": ("export mini --out {out}/model.onnx", 50_000),
    "plots": ("evaluate mini --data {data} --out {out} --plot", 3_000),
    "doctor": ("doctor {data} --no-cache --json {out}/report.json --workers 1", 100),
    "import-labels": ("import-labels {labels} --audio {audio} --out {out} --fractions 1,0,0",
                      50_000),
    "train": ("train mini --data {data} --out {out} --device cpu --set train.epochs=1 "
              "--set train.steps_per_epoch=1 --set network.channels=[4,4,4,4,4] --set "
              "network.rnn_hidden=4 --set method.embedding.hidden=8 --set "
              "method.embedding.out=4", 5_000),
}  # fmt: skip


@pytest.mark.parametrize("name", FILLING)
def test_a_full_disk_is_one_line(
    name: str, data: Path, tmp_path: Path, mistake: Callable[..., str]
) -> None:
    audio, out = tmp_path / "audio", tmp_path / "out"
    audio.mkdir()
    soundfile.write(audio / "tone.wav", np.random.default_rng(1).normal(0, 0.1, 160_000), 16_000)
    labels = tmp_path / "labels.tsv"
    labels.write_text("filename\tonset\toffset\tevent_label\ntone.wav\t1\t2\tTone\n")
    line, size = FILLING[name]
    out.mkdir()
    arguments = line.format(out=out, data=data, audio=audio, labels=labels).split()
    with full_after(size):
        told = mistake(*arguments)
    assert "File too large" in told, told
    assert DRAFT not in told
    assert not [path for path in out.rglob("*") if path.name.startswith((DRAFT, ".earmark"))]


def test_a_folder_that_nobody_may_write_to(mistake: Callable[..., str]) -> None:
    if not Path("/sys/kernel").is_dir():
        pytest.skip("no folder that nobody may write to")
    told = mistake("doctor", "/sys/kernel", "--json", "/sys/kernel/x.json")
    assert told.startswith("earmark: ")
