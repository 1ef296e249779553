"""Run the comparison of METHOD's arms: a queue that goes on where it was stopped.

    python benchmarks/ablation/run.py --soundbank FOLDER --work FOLDER
    python benchmarks/ablation/run.py --soundbank FOLDER --work FOLDER --arms B,H --seeds 1-3
    python benchmarks/ablation/run.py --work FOLDER --list      # what is finished
    python benchmarks/ablation/run.py --freeze                  # write the digests

Data and states stay in --work; each finished run leaves one JSON in benchmarks/ablation/runs/,
to be committed. `report.py` makes docs/ablation.md of these. Runs whose configuration is not the
frozen one need --pilot, and their JSON goes elsewhere.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml
from one_run import make_run
from plan import CHOICES, HERE, Choices, Planned, digest, load_arms, load_choices, not_frozen, plan


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--soundbank", type=Path, help="recordings, as for earmark synth")
    parser.add_argument("--work", type=Path, help="keep data and states here")
    parser.add_argument("--runs", type=Path, help="write finished runs here")
    parser.add_argument("--choices", type=Path, default=CHOICES)
    parser.add_argument("--networks", type=names, default=["crnn"], help="e.g. crnn,yamnet")
    parser.add_argument("--arms", type=names, default=list("BHOGCDEF"), help="e.g. B,H")
    parser.add_argument("--seeds", type=numbers, help="e.g. 1-5 or 1,3; by default all")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no run after these")
    parser.add_argument("--pilot", action="store_true", help="runs that decide nothing")
    parser.add_argument("--labels", type=int, help="with --pilot: strongly labelled clips")
    parser.add_argument("--steps", type=int, help="with --pilot: optimiser steps")
    parser.add_argument("--set", action="append", default=[], help="with --pilot: a.b=c")
    parser.add_argument("--list", action="store_true", help="list what is finished, and stop")
    parser.add_argument("--freeze", action="store_true", help="write the digests, and stop")
    options = parser.parse_args(arguments)
    if not options.pilot and (options.labels or options.steps or options.set):
        parser.error("--labels, --steps and --set are for --pilot")
    if not options.freeze and options.work is None:
        parser.error("--work is needed")
    return options


def names(text: str) -> list[str]:
    """``B,H`` as a list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def numbers(text: str) -> list[int]:
    """``1-3,7`` as a list."""
    found: list[int] = []
    for item in names(text):
        first, _, last = item.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def chosen_runs(options: argparse.Namespace) -> list[Planned]:
    """The runs that the options ask for.

    Raises:
        SystemExit: They are not those that were frozen, or names are unknown.
    """
    choices = load_choices(options.choices)
    unknown = [arm for arm in options.arms if arm not in load_arms()]
    unknown += [network for network in options.networks if network not in choices.networks]
    if unknown:
        raise SystemExit(f"no arm or network is called {', '.join(unknown)}")
    if options.pilot:
        choices = choices.changed(options.labels, options.steps, options.set)
        seeds = options.seeds or [choices.development_seed]
        return plan(choices, options.networks, options.arms, seeds)
    planned = plan(choices, options.networks, options.arms, options.seeds or choices.seeds)
    other = {one.seed for one in planned} - set(choices.seeds)
    if other:
        raise SystemExit(f"seeds {sorted(other)} are not among those of {options.choices}")
    faults = not_frozen(planned)
    if faults:
        raise SystemExit(
            f"{options.choices} does not freeze these runs:\n  " + "\n  ".join(faults)
            + "\nFreeze before the first run (--freeze), or add --pilot"
        )  # fmt: skip
    return planned


def freeze(choices: Choices, path: Path) -> None:
    """Write the digest of every arm's configuration at the end of the choices' file."""
    found = {
        network: {
            name: digest(Planned(network, arm, 0, choices).configuration())
            for name, arm in load_arms().items()
        }
        for network in choices.networks
    }
    text = path.read_text(encoding="utf-8")
    before, key, _ = text.partition("\nfrozen:")
    if not key:
        raise SystemExit(f"{path} has no key 'frozen' at its end")
    path.write_text(before + "\n" + yaml.safe_dump({"frozen": found}), encoding="utf-8")


def work_off(options: argparse.Namespace, planned: list[Planned], runs: Path) -> None:
    """Make the runs that are not finished, ``jobs`` at a time."""
    began = time.monotonic()

    def tell(one: Planned, result: dict[str, Any]) -> None:
        figure = result["test"]["median"]["class_mean_psds1"]
        seconds = result["cost"]["cpu_seconds_per_step"]
        print(
            f"{time.monotonic() - began:7.0f} s  {one.name}: class-mean PSDS1 {figure:.4f}, "
            f"{seconds:.3f} s a step",
            flush=True,
        )

    waiting = [one for one in planned if not (runs / f"{one.name}.json").is_file()]
    print(f"{len(planned) - len(waiting)} of {len(planned)} runs are finished", flush=True)
    given = (options.soundbank, options.work, runs, options.threads)
    if options.jobs == 1:
        for one in waiting:
            if time.monotonic() - began < 60 * options.minutes:
                tell(one, job(one, *given))
        return
    deadline = time.time() + 60 * min(options.minutes, 1e6)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        jobs = {pool.submit(job, one, *given, deadline): one for one in waiting}
        for done in as_completed(jobs):
            if (result := done.result()) is not None:
                tell(jobs[done], result)


def job(
    one: Planned, soundbank: Path, work: Path, runs: Path, threads: int, deadline: float = 1e18
) -> Any:
    """A run in this process, or None where it is too late to begin it."""
    import torch

    if time.time() > deadline:
        return None
    torch.set_num_threads(threads)
    return make_run(one, soundbank, work, runs)


def main(arguments: list[str] | None = None) -> None:
    """Freeze, list, or run."""
    options = parse(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    if options.freeze:
        freeze(load_choices(options.choices), options.choices)
        return
    planned = chosen_runs(options)
    if options.runs is not None:
        runs = options.runs
    else:
        runs = options.work / "pilot" if options.pilot else HERE / "runs"
    if options.list:
        for one in planned:
            done = (runs / f"{one.name}.json").is_file()
            begun = (options.work / one.name).is_dir()
            print(one.name, "finished" if done else "begun" if begun else "waiting")
        return
    if options.soundbank is None:
        raise SystemExit("--soundbank is needed: a folder of recordings, as for earmark synth")
    options.work.mkdir(parents=True, exist_ok=True)
    with (options.work / "queue.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"another queue works in {options.work}") from None
        work_off(options, planned, runs)


if __name__ == "__main__":
    sys.exit(main())
