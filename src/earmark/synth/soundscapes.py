"""Datasets of seeded soundscapes with exact labels, in DESED's layout.

A clip is a function of (seed, subset, index) and the settings alone: the bytes are the same
whatever the number of processes, and a run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from earmark._version import __version__
from earmark.core.audio.audio import write_audio
from earmark.core.errors import ConfigError
from earmark.core.event import Event
from earmark.core.files import remove_drafts, write_text, write_whole
from earmark.core.folders import claim_folder
from earmark.core.formats.jams import annotation, document
from earmark.core.locking import writes_to
from earmark.core.parallel import Progress, counted, run_jobs
from earmark.core.tables.label_tables import write_durations, write_strong, write_weak
from earmark.synth.placing import Ingredient
from earmark.synth.scene import Soundscape, make_soundscape
from earmark.synth.settings import LAYOUT, SPLIT_OF, SUBSETS, TRUTH, Subset, SynthSettings
from earmark.synth.supplier import Supplier

#: The file in a dataset that says how it was made.
RECORD = "synth.yaml"

_JOURNAL = ".synth"  # holds the labels of finished blocks until the dataset is complete
_BLOCK = 20  # clips of one job
_COUNTS = ""  # the key of a journal that is no clip
_SHOWN = 5  # classes and reasons of events that are left out
_STRONG = ("strong", "validation", "test")

#: Of the way sounds become clips. A folder that another version began is refused, so it goes up
#: with every change that moves a sample by more than a step of 16 bits, and with no other. With
#: ``loudness: lufs`` it is one more: version 0.1 weighted levels, but not whether events are heard.
MIXING_VERSION = 1

_log = logging.getLogger(__name__)

ClipEvents = list[tuple[float, float, str]]
"""Onset, offset and label of a clip's events, as the journal has them."""


@dataclass(frozen=True)
class _Job:
    """Clips [start, stop) of one subset, for any process."""

    subset: Subset
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def journal(self, out: Path) -> Path:
        return out / _JOURNAL / f"{self.subset}-{self.start:06d}.json"


@dataclass(frozen=True)
class _Dataset:
    """What all jobs share."""

    out: Path
    supplier: Supplier
    settings: SynthSettings
    seed: int

    def clips(self, job: _Job) -> list[Path]:
        """The audio files of a job."""
        folder = self.out / LAYOUT[job.subset][0]
        suffix = self.settings.format
        return [folder / clip_name(job.subset, i, suffix) for i in range(job.start, job.stop)]

    def has_jams(self, job: _Job) -> bool:
        return self.settings.jams and job.subset in _STRONG


@writes_to("out")
def write_dataset(
    out: str | Path,
    supplier: Supplier,
    settings: SynthSettings,
    seed: int,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Write a dataset of soundscapes in DESED's layout.

    Calling it again on a folder it did not finish, with the same settings, seed and supplier,
    goes on there; on a finished one it restores clips that are gone. ``synth.yaml`` records the
    settings, the seed, the supplier, and the version of what makes the clips.

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
        ConfigError: There are no clips to write, the seed is negative, or the settings name an
            unknown class.
    """
    out = Path(out)
    _check_request(supplier, settings, seed)
    record = _record(supplier, settings, seed)
    claim_folder(out, RECORD, record, workspace=_JOURNAL, current=_current_form)
    dataset = _Dataset(out, supplier, settings, seed)
    jobs = [
        _Job(subset, start, min(start + _BLOCK, settings.subset(subset).clips))
        for subset in SUBSETS
        for start in range(0, settings.subset(subset).clips, _BLOCK)
    ]
    total = sum(map(len, jobs))
    pending = [job for job in jobs if not _finished(job, dataset)]
    before = total - sum(map(len, pending))
    results = run_jobs(_write_block, pending, dataset, min(workers, len(pending)))
    for _ in counted(results, before, total, progress, len):
        pass
    if (out / _JOURNAL).is_dir():
        _write_metadata(jobs, dataset)
        for folder in {path.parent for job in jobs for path in dataset.clips(job)}:
            remove_drafts(folder)
        shutil.rmtree(out / _JOURNAL)
    return out


def clip_name(subset: Subset, index: int, suffix: str) -> str:
    """File name of a clip; names are unique in the whole dataset."""
    return f"{subset}_{index:05d}.{suffix}"


def _write_block(job: _Job, dataset: _Dataset) -> None:
    """Make a job's clips and journal their labels; every file appears whole or not at all."""
    settings = dataset.settings
    labels: dict[str, ClipEvents] = {}
    drawn, left_out = 0, Counter[str]()
    for index, path in zip(range(job.start, job.stop), dataset.clips(job), strict=True):
        rng = np.random.default_rng([dataset.seed, SUBSETS.index(job.subset), index])
        split = SPLIT_OF[job.subset]
        soundscape = make_soundscape(dataset.supplier, split, settings, rng, subset=job.subset)
        if dataset.has_jams(job):
            document = _jams_document(soundscape, path.name, settings.seconds)
            text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
            write_text(path.with_suffix(".jams"), text, flush=False)
        # Last: where the clip is, its JAMS file is.
        write_whole(path, partial(write_audio, samples=soundscape.audio), flush=False)
        labels[path.name] = [event[:3] for event in soundscape.events]
        drawn += len(soundscape.ingredients) - 1 + len(soundscape.left_out)
        left_out.update(f"{one.label}, {one.why}" for one in soundscape.left_out)
    journal = job.journal(dataset.out)
    if journal.parent.is_dir():  # else the labels are written already: clips were restored
        counts = {_COUNTS: {"drawn": drawn, "left_out": left_out}}
        write_text(journal, json.dumps(labels | counts), flush=False)


def _finished(job: _Job, dataset: _Dataset) -> bool:
    """Whether a job's files are there, and their labels unless all labels are written."""
    journal = job.journal(dataset.out)
    if journal.parent.is_dir() and not journal.is_file():
        return False
    wanted = dataset.clips(job)
    if dataset.has_jams(job):
        wanted += [path.with_suffix(".jams") for path in wanted]
    return all(path.is_file() for path in wanted)


def _check_request(supplier: Supplier, settings: SynthSettings, seed: int) -> None:
    """Refuse what would fail, or silently do nothing, later."""
    if seed < 0:
        raise ConfigError(f"the seed must not be negative, it is {seed}")
    if not any(settings.subset(subset).clips for subset in SUBSETS):
        raise ConfigError("there are no clips to write: every subset has clips = 0")
    _check_classes(supplier, settings)


def _check_classes(supplier: Supplier, settings: SynthSettings) -> None:
    """Refuse settings for classes the supplier does not have."""
    tables: dict[str, Iterable[str]] = {
        "classes": settings.classes,
        "probabilities": settings.probabilities,
        "co_occurrence": settings.co_occurrence,
    }
    tables |= {f"co_occurrence.{name}": row for name, row in settings.co_occurrence.items()}
    tables |= {f"{subset}.counts": settings.subset(subset).counts for subset in SUBSETS}
    for where, table in tables.items():
        if unknown := sorted(set(table) - set(supplier.labels)):
            raise ConfigError(
                f"{where}: unknown class {unknown[0]!r}",
                hint=f"The supplier has {', '.join(supplier.labels)}.",
            )


def _record(supplier: Supplier, settings: SynthSettings, seed: int) -> dict[str, Any]:
    """What decides the samples of a dataset; ``earmark`` is for the reader only."""
    content: dict[str, Any] = {
        "earmark": __version__,
        "mixing": MIXING_VERSION + (settings.loudness == "lufs"),
        "seed": seed,
        "supplier": {"kind": type(supplier).__name__, "labels": list(supplier.labels)},
        "settings": settings.model_dump(mode="json"),
    }
    fingerprint = getattr(supplier, "fingerprint", None)
    if fingerprint is not None:
        content["supplier"]["fingerprint"] = str(fingerprint)
    return content


def _current_form(record: dict[str, Any]) -> dict[str, Any]:
    """A record as this version would write it, settings that were added since at their defaults."""
    if record.pop("code", None) is not None:  # of version 0.1, which hashed the text of its code
        record["mixing"] = 1
        supplier = record.get("supplier")
        if isinstance(supplier, dict) and supplier.get("kind") == "SynthesisedSources":
            record["supplier"] = {**supplier, "fingerprint": "sounds-1"}
    with suppress(ValidationError, KeyError):
        settings = SynthSettings.model_validate(record["settings"])
        record["settings"] = settings.model_dump(mode="json")
    return record


def _write_metadata(jobs: Sequence[_Job], dataset: _Dataset) -> None:
    """Write the label and duration tables from the journal."""
    seconds = dataset.settings.seconds
    drawn, left_out = 0, Counter[str]()
    for subset in SUBSETS:
        labels: dict[str, ClipEvents] = {}
        for job in jobs:
            if job.subset == subset:
                labels |= json.loads(job.journal(dataset.out).read_text(encoding="utf-8"))
                counts: Any = labels.pop(_COUNTS, {})  # not in journals of version 0.1
                drawn += counts.get("drawn", 0)
                left_out.update(counts.get("left_out", {}))
        _, label_file, duration_file = LAYOUT[subset]
        if not labels:
            continue
        if subset == "weak" and label_file is not None:
            classes = ((name, {label for *_, label in own}) for name, own in labels.items())
            tags = {name: tuple(sorted(present)) for name, present in classes}
            write_weak(dataset.out / label_file, tags)
        strong_file = label_file if subset in _STRONG else TRUTH[subset]
        if strong_file is not None and (subset in _STRONG or dataset.settings.truth):
            events = {name: [Event(*one) for one in own] for name, own in labels.items()}
            write_strong(dataset.out / strong_file, events)
        if duration_file is not None:
            write_durations(dataset.out / duration_file, dict.fromkeys(labels, seconds))
    if left_out:
        most = "; ".join(f"{what}: {count}" for what, count in left_out.most_common(_SHOWN))
        more = "; …" * (len(left_out) > _SHOWN)
        _log.warning(
            "%d of %d events drawn are left out (%s%s)", left_out.total(), drawn, most, more
        )


def _jams_document(soundscape: Soundscape, name: str, seconds: float) -> dict[str, Any]:
    """A clip as a JAMS document (Humphrey et al., ISMIR 2014), to be written as JSON.

    It has two annotations: what the clip was mixed from (Scaper's namespace ``scaper``, one
    observation a sound, the background first) and what is heard in it (``tag_open``).

    Args:
        soundscape: The clip.
        name: Its file name.
        seconds: Its length.
    """
    made = (
        _observation(one.onset, one.duration, _scaper_value(one)) for one in soundscape.ingredients
    )
    heard = (
        _observation(event.onset, event.offset - event.onset, event.event_label)
        for event in soundscape.events
    )
    annotations = [
        annotation("scaper", seconds, list(made)),
        annotation("tag_open", seconds, list(heard)),
    ]
    return document(name, seconds, annotations)


def _observation(time: float, duration: float, value: Any) -> dict[str, Any]:
    return {"time": time, "duration": duration, "value": value, "confidence": 1.0}


def _scaper_value(sound: Ingredient) -> dict[str, Any]:
    """As Scaper has it: durations before stretching, null for what was not changed."""
    return {
        "label": sound.label,
        "source_file": sound.source,
        "source_time": sound.source_time,
        "event_time": sound.onset,
        "event_duration": sound.duration / sound.time_stretch,
        "snr": sound.snr_db,
        "role": sound.role,
        "pitch_shift": sound.pitch_shift or None,
        "time_stretch": sound.time_stretch if sound.time_stretch != 1 else None,
    }
