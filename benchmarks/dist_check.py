"""Whether the wheel works for a stranger: a fresh environment, no checkout, no PyTorch.

    python benchmarks/dist_check.py dist/earmark-*.whl [--constraints FILE] [--keep FOLDER]

Installs the wheel with the machine's own pip settings, prints the installed size and the seconds of
each step, synthesises a small dataset, and detects, scores, evaluates and tunes on it with the
bundles that come along. Ends with an error where something fails, where PyTorch got
in, or where more than 600 MB were installed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

MOST_MB = 600


def run(env: Path, folder: Path, *command: str | Path) -> str:
    """Runs a program of the environment, away from any checkout; its output."""
    program, *arguments = map(str, command)
    path = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    began = time.monotonic()
    done = subprocess.run(
        [str(env / "bin" / program), *arguments],
        cwd=folder, env=path, capture_output=True, text=True,
    )  # fmt: skip
    print(f"{time.monotonic() - began:6.1f} s  {program} {' '.join(arguments)}")
    if done.returncode:
        sys.exit(f"failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def megabytes(folder: Path) -> float:
    """Of all files."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def check(wheel: Path, folder: Path, constraints: Path | None) -> None:
    """All steps."""
    env = folder / "env"
    venv.create(env, with_pip=True)
    given = ["-c", constraints.resolve()] if constraints else []
    options = ["--disable-pip-version-check", "--quiet"]
    run(env, folder, "pip", "install", *options, wheel.resolve(), *given)
    size = megabytes(env)
    installed = run(env, folder, "pip", "list", "--disable-pip-version-check").lower()
    assert "torch" not in installed, installed
    print(f"wheel {wheel.stat().st_size / 1e6:.1f} MB, installed {size:.0f} MB, no PyTorch")
    run(env, folder, "earmark", "--version")
    run(env, folder, "earmark", "info", "home")
    clips = "strong=1,weak=1,unlabelled=1,validation=4,test=2"
    run(env, folder, "earmark", "synth", "data", "--recipe", "demo", "--clips", clips)
    split = folder / "data/audio/validation/validation"
    truth = folder / "data/metadata/validation"
    run(env, folder, "earmark", "doctor", "data")
    for bundle in ("home", "audioset", "mini"):
        run(env, folder, "earmark", "detect", bundle, split, "--out", f"found-{bundle}")
        rows = (folder / f"found-{bundle}/events.tsv").read_text(encoding="utf-8").splitlines()
        print(f"          {len(rows) - 1} events")
        assert len(rows) > 1
    durations = ("--durations", truth / "validation_durations.tsv")
    run(env, folder, "earmark", "score", "--events", "found-home/events.tsv", "--truth",
        truth / "validation.tsv", *durations)  # fmt: skip
    run(env, folder, "earmark", "evaluate", "mini", "--data", "data", "--out", "val")
    run(env, folder, "earmark", "tune", "mini", "--data", "data", "--out", "tuned", "--folds", "0")
    run(env, folder, "earmark", "info", "tuned")
    assert size < MOST_MB, f"{size:.0f} MB installed, {MOST_MB} are allowed"


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--constraints", type=Path, help="versions to install, for pip")
    parser.add_argument("--keep", type=Path, help="leave the environment in this folder")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        check(options.wheel, options.keep.resolve(), options.constraints)
        return
    with tempfile.TemporaryDirectory() as folder:
        check(options.wheel, Path(folder).resolve(), options.constraints)


if __name__ == "__main__":
    main()
