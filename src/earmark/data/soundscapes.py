"""Seeded soundscapes with exact labels, and whole datasets of them in DESED's layout.

A soundscape is a background at a fixed level with events on top, each at a signal-to-noise ratio
of its own, as Scaper (Salamon et al., WASPAA 2017) makes them and as DESED's synthetic part was
made. A clip is a function of (seed, subset, index) and the settings alone: the bytes are the same
whatever the number of processes, and a run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import json
import pickle
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earmark import __version__
from earmark.core.audio import write_audio
from earmark.core.config import dump_yaml
from earmark.core.errors import ConfigError, DataError
from earmark.core.timeline import samples_to_seconds, seconds_to_samples
from earmark.data.activity import FRAME, frame_power, runs
from earmark.data.domain import apply_domain
from earmark.data.supplier import Supplier
from earmark.data.synth_settings import LAYOUT, SPLIT_OF, SUBSETS, Subset, SynthSettings

if TYPE_CHECKING:
    import pandas as pd

Samples = NDArray[np.float32]
#: The file in a dataset that says how it was made.
RECORD = "synth.yaml"

_JOURNAL = ".synth"  # holds the labels of finished blocks until the dataset is complete
_BLOCK = 20  # clips of one job
_SHORTEST_HEARD = 3  # frames of 10 ms
_PLACES = 16  # onsets tried for an event before it is left out


@dataclass(frozen=True)
class Soundscape:
    """A clip and what sounds in it.

    Attributes:
        audio: Samples [S] at 16 kHz, peak at most 1.
        events: (onset, offset, label) in seconds, in order of onset.
    """

    audio: Samples
    events: list[tuple[float, float, str]]


@dataclass(frozen=True)
class _Placed:
    """An event in the clip.

    Attributes:
        label: Its class.
        start: Its first sample in the clip.
        samples: What sounds from there on [N], at its level in the mixture.
        heard: Ranges of samples, counted from ``start``, that stand out of the background.
    """

    label: str
    start: int
    samples: Samples
    heard: list[tuple[int, int]]

    @property
    def stop(self) -> int:
        return self.start + self.samples.size


def make_soundscape(
    supplier: Supplier,
    split: str,
    settings: SynthSettings,
    rng: np.random.Generator,
    *,
    subset: Subset | None = None,
) -> Soundscape:
    """Make one soundscape.

    Args:
        supplier: Where sounds come from.
        split: Which of its sounds may be used, one of ``SPLITS``.
        settings: What soundscapes are like.
        rng: Source of all randomness.
        subset: Whose number of events and domain to use; by default the first that draws from
            this split.

    Returns:
        The soundscape. Its labels span the audible part of each placed event, clipped to the
        clip and at least ``shortest_event`` long.

    Raises:
        DataError: The supplier has no such sound.
        ConfigError: No class of the supplier has a probability above 0.
    """
    if subset is None:
        part = next(settings.subset(name) for name in SUBSETS if SPLIT_OF[name] == split)
    else:
        part = settings.subset(subset)
    size = seconds_to_samples(settings.seconds)
    background = _at_level(supplier.background(split, size, rng), settings.background_db)
    mixture = background.copy()
    events: list[tuple[float, float, str]] = []
    count = (
        0 if rng.random() < part.empty else int(rng.integers(part.events[0], part.events[1] + 1))
    )
    for placed in _place_events(supplier, split, settings, count, size, rng):
        mixture[placed.start : placed.stop] += placed.samples
        for first, last in placed.heard:
            events.append(_label(placed.label, placed.start + first, placed.start + last, settings))
    if part.domain is not None:
        mixture = apply_domain(mixture, settings.domains[part.domain], rng)
    peak = float(np.max(np.abs(mixture)))
    if peak > 1:
        mixture /= np.float32(peak)
    return Soundscape(mixture, sorted(events))


def _place_events(
    supplier: Supplier,
    split: str,
    settings: SynthSettings,
    count: int,
    size: int,
    rng: np.random.Generator,
) -> list[_Placed]:
    """Draw events and places for them; one that fits nowhere is left out."""
    placed: list[_Placed] = []
    for _ in range(count):
        label = _draw_label(supplier.labels, [event.label for event in placed], settings, rng)
        sound = _truncate(supplier.event(label, split, rng), settings, rng)
        level = settings.background_db + rng.uniform(*settings.snr_db)
        sound = _at_level(sound, level, loud_frames=True)
        for _ in range(_PLACES):
            event = _cut_to_clip(label, sound, settings, size, rng)
            if event.heard and _fits(event, placed, settings):
                placed.append(event)
                break
    return placed


def _draw_label(
    labels: Sequence[str], present: Sequence[str], settings: SynthSettings, rng: np.random.Generator
) -> str:
    weights = np.array([settings.probabilities.get(label, 1.0) for label in labels])
    if not weights.sum() > 0:
        raise ConfigError("probabilities: no class has a probability above 0")
    factors = np.ones(len(labels))
    for other in sorted(set(present)):
        table = settings.co_occurrence.get(other, {})
        factors *= [table.get(label, 1.0) for label in labels]
    if (weights * factors).sum() > 0:  # else everything is excluded by what is there already
        weights = weights * factors
    return labels[int(rng.choice(len(labels), p=weights / weights.sum()))]


def _truncate(sound: Samples, settings: SynthSettings, rng: np.random.Generator) -> Samples:
    """Now and then, let a long event end early, faded out."""
    shortest = seconds_to_samples(settings.shortest_truncated)
    if rng.random() >= settings.truncated or sound.size <= shortest:
        return sound
    sound = sound[: int(rng.integers(shortest, sound.size))].copy()
    fade = min(seconds_to_samples(settings.fade), sound.size)
    if fade:
        sound[sound.size - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return sound


def _cut_to_clip(
    label: str, sound: Samples, settings: SynthSettings, size: int, rng: np.random.Generator
) -> _Placed:
    """Draw an onset, and cut the event where it leaves the clip."""
    shortest = min(seconds_to_samples(settings.shortest_event), sound.size)
    if rng.random() < settings.started and sound.size > shortest:
        cut = int(rng.integers(1, sound.size - shortest + 1))
        start, sound = 0, sound[cut : cut + size]
    else:
        start = int(rng.integers(0, size - shortest + 1))
        sound = sound[: size - start]
    return _Placed(label, start, sound, _heard(sound, settings))


def _fits(event: _Placed, placed: Sequence[_Placed], settings: SynthSettings) -> bool:
    """No event of its class too near, and nowhere more events at once than allowed."""
    gap = seconds_to_samples(settings.same_class_gap)
    over = [other for other in placed if other.start < event.stop and event.start < other.stop]
    for other in placed:
        near = other.start < event.stop + gap and event.start < other.stop + gap
        if near and other.label == event.label:
            return False
    # The count of overlapping events can only rise where one of them, or the new one, starts.
    for moment in [event.start, *(other.start for other in over)]:
        if event.start <= moment:
            sounding = sum(other.start <= moment < other.stop for other in over)
            if sounding + 1 > settings.max_polyphony:
                return False
    return True


def _at_level(samples: Samples, level_db: float, *, loud_frames: bool = False) -> Samples:
    """Scale to an RMS level in dB; ``loud_frames`` measures frames within 20 dB of the loudest.

    Counting the loud frames only keeps the pauses of speech or of clattering dishes from raising
    the rest.
    """
    power = frame_power(samples)
    if loud_frames:
        power = power[power >= power.max() * 1e-2]
    rms = float(np.sqrt(power.mean()))
    if rms == 0:
        return samples
    return (samples * np.float32(10 ** (level_db / 20) / rms)).astype(np.float32, copy=False)


def _heard(samples: Samples, settings: SynthSettings) -> list[tuple[int, int]]:
    """Ranges of samples that stand out of the background, joined over short pauses.

    A range of fewer than ``_SHORTEST_HEARD`` frames is no event beside longer ones.
    """
    threshold = 10 ** ((settings.background_db + settings.audible_db) / 10)
    bridge = seconds_to_samples(settings.longest_pause) // FRAME
    found = runs(frame_power(samples) >= threshold, bridge)
    lasting = [run for run in found if run[1] - run[0] >= _SHORTEST_HEARD]
    if found and not lasting:
        lasting = [max(found, key=lambda run: run[1] - run[0])]
    return [(start * FRAME, min(stop * FRAME, samples.size)) for start, stop in lasting]


def _label(label: str, start: int, stop: int, settings: SynthSettings) -> tuple[float, float, str]:
    """Seconds of a label, widened to the shortest one within the clip."""
    size = seconds_to_samples(settings.seconds)
    shortest = seconds_to_samples(settings.shortest_event)
    stop = min(size, max(stop, start + shortest))
    start = max(0, min(start, stop - shortest))
    return samples_to_seconds(start), samples_to_seconds(stop), label


ClipEvents = list[tuple[float, float, str]]


@dataclass(frozen=True)
class _Job:
    """Clips [start, stop) of one subset, for any process."""

    out: Path
    subset: Subset
    start: int
    stop: int
    seed: int
    payload: bytes  # the pickled (supplier, settings)

    @property
    def journal(self) -> Path:
        return self.out / _JOURNAL / f"{self.subset}-{self.start:06d}.json"


def write_dataset(
    out: str | Path,
    supplier: Supplier,
    settings: SynthSettings,
    seed: int,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a dataset of soundscapes in DESED's layout.

    Calling it again on a folder it did not finish, with the same settings, seed and supplier,
    goes on there; on a finished one it restores clips that are gone. ``synth.yaml`` records the
    settings, the seed, the supplier and Earmark's version.

    Args:
        out: Folder of the dataset; made if it does not exist.
        supplier: Where sounds come from; must be picklable where ``workers`` > 1.
        settings: What the dataset is like.
        seed: Non-negative. Clip ``i`` of subset number ``n`` draws from
            ``numpy.random.default_rng([seed, n, i])``.
        workers: Processes that make clips. They are spawned: a script that asks for several must
            guard its entry with ``if __name__ == "__main__"``.
        progress: Called with (clips done, clips in all).

    Returns:
        The folder.

    Raises:
        DataError: The folder holds something else or a dataset made otherwise, or the supplier
            lacks a sound.
        ConfigError: There are no clips to write, the seed is negative, or probabilities name an
            unknown class.
    """
    out = Path(out)
    _check_request(supplier, settings, seed)
    _claim(out, _record(supplier, settings, seed))
    payload = pickle.dumps((supplier, settings))
    jobs = [
        _Job(out, subset, start, min(start + _BLOCK, settings.subset(subset).clips), seed, payload)
        for subset in SUBSETS
        for start in range(0, settings.subset(subset).clips, _BLOCK)
    ]
    total = sum(job.stop - job.start for job in jobs)
    pending = [job for job in jobs if not _finished(job, settings.format)]
    done = total - sum(job.stop - job.start for job in pending)
    if progress is not None:
        progress(done, total)
    for job in _run(pending, workers):
        done += job.stop - job.start
        if progress is not None:
            progress(done, total)
    if (out / _JOURNAL).is_dir():
        _write_metadata(jobs, settings)
        shutil.rmtree(out / _JOURNAL)
    return out


def clip_name(subset: Subset, index: int, suffix: str) -> str:
    """File name of a clip; names are unique in the whole dataset."""
    return f"{subset}_{index:05d}.{suffix}"


def _run(jobs: Sequence[_Job], workers: int) -> Iterator[_Job]:
    """Do the jobs, yielding each when its clips and labels are on disk."""
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            _write_block(job)
            yield job
        return
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)),
        mp_context=get_context("spawn"),
        initializer=signal.signal,  # Ctrl-C is for the process that waits; it stops the others
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    with pool:
        try:
            futures = {pool.submit(_write_block, job): job for job in jobs}
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool:
            raise DataError(
                "a process that makes clips was killed, perhaps for want of memory",
                mend="Run again with fewer workers; finished clips are kept.",
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _write_block(job: _Job) -> None:
    """Make a job's clips and journal their labels; every file appears whole or not at all."""
    supplier, settings = _unpacked(job.payload)
    folder = job.out / LAYOUT[job.subset][0]
    folder.mkdir(parents=True, exist_ok=True)
    labels: dict[str, ClipEvents] = {}
    for index in range(job.start, job.stop):
        rng = np.random.default_rng([job.seed, SUBSETS.index(job.subset), index])
        split = SPLIT_OF[job.subset]
        soundscape = make_soundscape(supplier, split, settings, rng, subset=job.subset)
        name = clip_name(job.subset, index, settings.format)
        partial = folder / f".{name}.partial.{settings.format}"
        write_audio(partial, soundscape.audio)
        partial.replace(folder / name)
        labels[name] = soundscape.events
    if job.journal.parent.is_dir():  # else the labels are written already: clips were restored
        partial = job.journal.with_suffix(".partial")
        partial.write_text(json.dumps(labels), encoding="utf-8")
        partial.replace(job.journal)


@lru_cache(maxsize=1)
def _unpacked(payload: bytes) -> tuple[Supplier, SynthSettings]:
    """The supplier and settings of a process's jobs, kept so that its cache of audio lasts."""
    supplier, settings = pickle.loads(payload)
    return supplier, settings


def _finished(job: _Job, suffix: str) -> bool:
    """Whether a job's clips are there, and their labels unless all labels are written."""
    if job.journal.parent.is_dir() and not job.journal.is_file():
        return False
    folder = job.out / LAYOUT[job.subset][0]
    return all(
        (folder / clip_name(job.subset, index, suffix)).is_file()
        for index in range(job.start, job.stop)
    )


def _check_request(supplier: Supplier, settings: SynthSettings, seed: int) -> None:
    """Refuse what would fail, or silently do nothing, later."""
    if seed < 0:
        raise ConfigError(f"the seed must not be negative, it is {seed}")
    if not any(settings.subset(subset).clips for subset in SUBSETS):
        raise ConfigError("there are no clips to write: every subset has clips = 0")
    known = set(supplier.labels)
    tables: dict[str, Mapping[str, Any]] = {
        "probabilities": settings.probabilities,
        "co_occurrence": settings.co_occurrence,
    }
    tables |= {f"co_occurrence.{name}": row for name, row in settings.co_occurrence.items()}
    for where, table in tables.items():
        if unknown := sorted(set(table) - known):
            raise ConfigError(
                f"{where}: unknown class {unknown[0]!r}",
                mend=f"The supplier has {', '.join(supplier.labels)}.",
            )


def _record(supplier: Supplier, settings: SynthSettings, seed: int) -> str:
    """What decides the bytes of a dataset, as YAML."""
    content: dict[str, Any] = {
        "earmark": __version__,
        "seed": seed,
        "supplier": {"kind": type(supplier).__name__, "labels": list(supplier.labels)},
        "settings": settings.model_dump(mode="json"),
    }
    fingerprint = getattr(supplier, "fingerprint", None)
    if fingerprint is not None:
        content["supplier"]["fingerprint"] = str(fingerprint)
    return dump_yaml(content)


def _claim(out: Path, record: str) -> None:
    """Make the folder ours, or make sure that what is in it was begun the same way."""
    file = out / RECORD
    if file.is_file():
        if file.read_text(encoding="utf-8") != record:
            raise DataError(
                "this folder holds a dataset of other settings, seed, sounds or version",
                where=file,
                mend="Name another folder, or delete this one first.",
            )
        return
    # A journal alone is a run that was cut off in this very function.
    if out.exists() and not (out.is_dir() and {path.name for path in out.iterdir()} <= {_JOURNAL}):
        raise DataError(
            "not an empty folder, and not a dataset this command made",
            where=out,
            mend="Name a folder that is new or empty.",
        )
    (out / _JOURNAL).mkdir(parents=True, exist_ok=True)
    partial = out / _JOURNAL / RECORD
    partial.write_text(record, encoding="utf-8")
    partial.replace(file)


def _write_metadata(jobs: Sequence[_Job], settings: SynthSettings) -> None:
    """Write the label and duration tables from the journal."""
    from earmark.core.events import write_durations, write_strong, write_weak

    for subset in SUBSETS:
        labels: dict[str, ClipEvents] = {}
        for job in jobs:
            if job.subset == subset:
                labels |= json.loads(job.journal.read_text(encoding="utf-8"))
        _, label_file, duration_file = LAYOUT[subset]
        if not labels or label_file is None:
            continue
        path = jobs[0].out / label_file
        path.parent.mkdir(parents=True, exist_ok=True)
        if subset == "weak":
            write_weak(
                path, {name: tuple(sorted({e[2] for e in rows})) for name, rows in labels.items()}
            )
        else:
            write_strong(path, _event_table(labels), list(labels))
        if duration_file is not None:
            write_durations(jobs[0].out / duration_file, dict.fromkeys(labels, settings.seconds))


def _event_table(labels: Mapping[str, ClipEvents]) -> pd.DataFrame:
    """Events of many clips as a table (columns ``EVENT_COLUMNS``)."""
    from pandas import DataFrame

    from earmark.core.events import EVENT_COLUMNS

    rows = [(name, *event) for name, events in labels.items() for event in events]
    return DataFrame(rows, columns=list(EVENT_COLUMNS))
