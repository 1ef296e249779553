"""Commands killed with SIGKILL at random moments, run again, and compared with undisturbed runs.

    python benchmarks/kill_anything.py                            # an hour on one core; goes on
    python benchmarks/kill_anything.py --commands synth --kills 2 --results kills.json

Each command runs in a process of its own, forked from one that has everything imported, so that a
round takes seconds and a kill falls into the command's work. When a run ends before it is killed,
what it left is compared with what a run leaves that nothing disturbed, and the next begins in a new
folder. Results, with the seeds and moments: benchmarks/results/kill_anything.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/kill_anything.json"
SYNTH = "strong=6,weak=3,unlabelled=3,validation=3,test=2"
TINY = (
    *("network.channels=[4,8,8,8,8]", "network.rnn_hidden=8", "method.embedding.hidden=16"),
    *("method.embedding.out=8", "method.embedding.detach_steps=1", "train.epochs=3"),
    *("train.steps_per_epoch=2", "train.validate_every=1", "train.workers=0"),
    "train.batch={real: 0, synthetic: 2, weak: 2, unlabelled: 2}",
)
SMALL = (
    *("window_seconds=1", "encoder.width=12", "encoder.depth=1", "heads={hidden: 8, out: 4}"),
    *("train.epochs=4", "train.steps_per_epoch=2", "train.batch=4", "train.warmup_steps=1"),
)


@dataclass(frozen=True)
class Command:
    """What is killed.

    Attributes:
        arguments: Of the command line, for the folder of inputs and the one that it writes.
        again: What is added when it goes on.
        before: Lays out what must be in its folder at the start.
    """

    arguments: Callable[[Path, Path], list[str]]
    again: tuple[str, ...] = ()
    before: Callable[[Path, Path], None] = field(default=lambda inputs, out: None)


def _set(overrides: tuple[str, ...]) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


def _copy_bundle(inputs: Path, out: Path) -> None:
    shutil.copytree(inputs / "run", out, ignore=shutil.ignore_patterns("state*", "*.jsonl"))


COMMANDS = {
    "synth": Command(
        lambda inputs, out: [
            "synth",
            str(out),
            "--recipe",
            "demo",
            "--clips",
            SYNTH,
            "--workers",
            "1",
        ]
    ),
    "cache": Command(
        lambda inputs, out: ["cache", str(inputs / "clips"), "--out", str(out), "--workers", "1"]
    ),
    "detect": Command(
        lambda inputs, out: [
            *("detect", str(inputs / "run"), str(inputs / "clips"), "--out", str(out)),
            *("--workers", "1", "--format", "tsv,json", "--scores", "npz", "--threshold", "0.1"),
        ]
    ),
    "tune": Command(
        lambda inputs, out: [
            *("tune", str(out), "--data", str(inputs / "data"), "--yes", "--folds", "0")
        ],
        before=_copy_bundle,
    ),
    "train": Command(
        lambda inputs, out: [
            *("train", "mini", "--data", str(inputs / "data"), "--out", str(out)),
            *("--device", "cpu", *_set(TINY)),
        ],
        ("--resume",),
    ),
    "pretrain": Command(
        lambda inputs, out: [
            *("pretrain", "atst-frame-pretrain", "--audio", str(inputs / "clips")),
            *("--out", str(out), "--device", "cpu", *_set(SMALL)),
        ],
        ("--resume",),
    ),
}


def fork(arguments: list[str], log: Path) -> int:
    """Start a command; the number of its process."""
    number = os.fork()
    if number:
        return number
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.argv = ["earmark", *arguments]
        from earmark.cli import main as run

        run()
        os._exit(0)
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(99)


def ended(number: int) -> int:
    """Wait for a process; its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def killed(number: int, seconds: float) -> bool:
    """Kill a process after a time; False where it ended before."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if os.waitpid(number, os.WNOHANG)[0]:
            return False
        time.sleep(0.002)
    os.kill(number, signal.SIGKILL)
    return ended(number) == -signal.SIGKILL


def content(folder: Path) -> dict[str, str]:
    """A digest of every file of a folder, without what tells the time."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or name.startswith("tensorboard/"):
            continue
        data = path.read_bytes()
        if path.name == "journal.jsonl":
            records = [json.loads(line) for line in data.splitlines()]
            data = json.dumps([_without(record, "seconds") for record in records]).encode()
        if path.name == "tuning.json":
            data = json.dumps(_without(json.loads(data), "previous", "seconds")).encode()
        if path.suffix in (".md", ".yaml", ".json", ".tsv"):
            data = data.replace(str(folder).encode(), b"OUT")
        found[name] = hashlib.sha256(data).hexdigest()[:16]
    return found


def _without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in names}


def kill_one_command(name: str, kills: int, seed: int, inputs: Path, work: Path) -> dict[str, Any]:
    """Kill a command so many times; what came of it."""
    command, rng = COMMANDS[name], random.Random(f"{name} {seed}")
    out, log = work / f"{name}-out", work / f"{name}.log"

    def start(new: bool) -> int:
        if new:
            shutil.rmtree(out, ignore_errors=True)
            command.before(inputs, out)
        return fork([*command.arguments(inputs, out), *(() if new else command.again)], log)

    began = time.monotonic()
    if code := ended(start(True)):
        raise SystemExit(f"{name} ends with {code}: {log.read_text()[-2000:]}")
    lasts = time.monotonic() - began
    whole = content(out)
    moments: list[float] = []
    compared = differing = failed = 0
    new = True
    while len(moments) < kills:
        seconds = rng.random() * lasts
        process = start(new)
        new = not killed(process, seconds)
        if not new:
            moments.append(round(seconds, 3))
            continue
        compared += 1  # it ended by itself
        differing += content(out) != whole
    code = ended(start(new))
    failed += code != 0
    compared += 1
    last = content(out)
    differing += last != whole
    if last != whole:
        names = sorted(
            name for name in whole.keys() | last.keys() if whole.get(name) != last.get(name)
        )
        print(f"{name}: {', '.join(names)} differ", flush=True)
    return {
        "seed": seed,
        "undisturbed_seconds": round(lasts, 2),
        "killed_after_seconds": moments,
        "kills": len(moments),
        "files": len(whole),
        "runs_compared": compared,
        "runs_that_differ": differing,
        "last_exit_code": code,
    }


def make_inputs(folder: Path) -> None:
    """A data set, recordings, and a trained run."""
    (folder / "clips").mkdir(parents=True)
    for number in range(12):
        rng = np.random.default_rng(number)
        level = np.repeat(rng.random(6) ** 3, 8000)
        audio = (0.3 * rng.normal(size=len(level)) * level).clip(-1, 1)
        soundfile.write(folder / f"clips/{number:02d}.wav", audio, 22_050)
    log = folder / "log"
    for arguments in (
        ["synth", str(folder / "data"), "--recipe", "demo", "--clips", SYNTH, "--workers", "1"],
        COMMANDS["train"].arguments(folder, folder / "run"),
    ):
        if code := ended(fork(arguments, log)):
            raise SystemExit(f"{arguments} ends with {code}: {log.read_text()[-2000:]}")


def main() -> None:
    """Kill, go on, compare and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commands", default=",".join(COMMANDS))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    import torch

    import earmark.cli.detect
    import earmark.cli.pretrain
    import earmark.cli.train
    import earmark.cli.tune
    import earmark.detect.detector
    import earmark.train.engine
    import earmark.train.pretrain  # noqa: F401 - so that every fork has it

    torch.set_num_threads(1)
    found = json.loads(options.results.read_text()) if options.results.is_file() else {}
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        wanted = [name for name in options.commands.split(",") if _left(found, name, options)]
        if wanted:
            make_inputs(work / "inputs")
        for name in wanted:
            found[name] = kill_one_command(name, options.kills, options.seed, work / "inputs", work)
            print(f"{name}: {json.dumps(found[name])}", flush=True)
            options.results.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if any(one["runs_that_differ"] or one["last_exit_code"] for one in found.values()):
        sys.exit(1)


def _left(found: dict[str, Any], name: str, options: argparse.Namespace) -> bool:
    done = found.get(name, {})
    return done.get("seed") != options.seed or done.get("kills", 0) < options.kills


if __name__ == "__main__":
    main()
