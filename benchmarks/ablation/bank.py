"""The data of one seed: recordings divided anew, soundscapes made of them, datasets for the arms.

Strong clips are clean soundscapes of some recordings; unlabelled, validation and test clips are of
others, carried over into another domain. The true labels of the unlabelled clips are written, too:
the oracle's, and those that the teacher is watched with.
"""

from __future__ import annotations

import csv
import fcntl
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

STRONG = "audio/train/synthetic21_train/soundscapes"
UNLABELLED = "audio/train/unlabel_in_domain"
SOUNDSCAPES = "metadata/train/synthetic21_train/soundscapes.tsv"
TRUTH = "metadata/train/unlabel_in_domain_truth.tsv"
SPLITS = {
    "validation": ("audio/validation/validation", "metadata/validation/validation"),
    "test": ("audio/eval/public", "metadata/eval/public"),
}
IN_MANIFEST = {"synthetic": "train-synthetic", "real": "train-real"}
"""What a manifest calls splits that it does not call by their names."""


def make_bank(soundbank: Path, drop: tuple[str, ...], seed: int, out: Path) -> Path:
    """A soundbank of links to another's recordings, which a seed divides among the splits.

    Pieces of a recording stay together; classes in ``drop`` are left out.
    """
    from earmark.synth.soundbank import divide_recordings

    rows = recordings(soundbank, drop)
    names: dict[str, list[str]] = {}
    for label, name, _ in rows:
        names.setdefault(label, []).append(f"{seed}/{name}")
    split_of = divide_recordings({label: sorted(set(own)) for label, own in names.items()})
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for label, name, path in rows:
        link = out / label / path.name
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(path.resolve())
        split = split_of[f"{seed}/{name}"]
        lines.append([label, f"{label}/{path.name}", name, IN_MANIFEST.get(split, split)])
    with (out / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["event_label", "file", "recording", "split"], *lines])
    return out


def recordings(soundbank: Path, drop: tuple[str, ...]) -> list[tuple[str, str, Path]]:
    """Class, recording and file of all that a soundbank holds, as its manifest or names say."""
    from earmark.core.audio.folders import list_audio
    from earmark.synth.soundbank import recording_name

    manifest = soundbank / "manifest.csv"
    if manifest.is_file():
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            rows = [
                (row["event_label"], row["recording"], soundbank / row["file"])
                for row in csv.DictReader(file)
            ]
    else:
        files = [path for path in list_audio(soundbank) if path.parent.parent == soundbank]
        rows = [(path.parent.name, recording_name(path), path) for path in files]
    return sorted(row for row in rows if row[0] not in drop)


def synth_settings(bank: Mapping[str, Any]) -> Any:
    """Settings of the soundscapes, of the choices' ``bank``."""
    from earmark.core.config import parse_settings
    from earmark.synth.settings import SynthSettings

    return parse_settings(SynthSettings, {"truth": True, **bank["synth"]})


def make_data(soundbank: Path, bank: Mapping[str, Any], seed: int, work: Path) -> Path:
    """The dataset of a seed, made once; an unfinished one is continued.

    Processes that want it at once wait for the first of them.
    """
    from earmark.synth.soundbank import Soundbank
    from earmark.synth.soundscapes import write_dataset

    key = json.dumps({"seed": seed, **bank}, sort_keys=True)
    done, folder = work / "done.json", work / "data"
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (done.is_file() and done.read_text(encoding="utf-8") == key):
            own = make_bank(soundbank, tuple(bank["drop"]), seed, work / "bank")
            write_dataset(folder, Soundbank(own), synth_settings(bank), seed)
            done.write_text(key, encoding="utf-8")
    return folder


def describe(folder: Path, labels: int, oracle: bool) -> tuple[Path, Path]:
    """Dataset descriptions of an arm, and of the unlabelled clips with their truth.

    The labelled clips are the first ``labels``, the same for every arm. As a source they are
    called real, and the oracle's synthetic: a batch takes them in this order, so that every arm
    goes through its labelled clips alike.
    """
    table = folder / f"labelled-{labels}.tsv"
    _first_clips(folder / SOUNDSCAPES, labels, table)
    train: list[dict[str, Any]] = [
        {"name": "labelled", "audio": STRONG, "strong": table.name, "domain": "real"}
    ]
    if oracle:
        own = {"name": "oracle", "audio": UNLABELLED, "strong": TRUTH, "domain": "synthetic"}
        train.append(own)
    else:
        train.append({"name": "unlabelled", "audio": UNLABELLED, "unlabelled": True})
    splits = {
        name: {"audio": audio, "strong": f"{tables}.tsv", "durations": f"{tables}_durations.tsv"}
        for name, (audio, tables) in SPLITS.items()
    }
    classes = sorted(_classes(folder / SOUNDSCAPES) | _classes(folder / TRUTH))
    description = folder / f"{'oracle' if oracle else 'plain'}-{labels}.yaml"
    _write(description, {"classes": classes, "train": train, **splits})
    watched = folder / "unlabelled.yaml"
    truth = {"audio": UNLABELLED, "strong": TRUTH}
    _write(watched, {"classes": classes, "splits": {"unlabelled": truth}})
    return description, watched


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write a file that another process may be writing, too, with the same content."""
    text = yaml.safe_dump(content, sort_keys=False)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        from earmark.core.files import write_text

        write_text(path, text)


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _classes(table: Path) -> set[str]:
    return {row["event_label"] for row in _rows(table) if row["event_label"]}


def _first_clips(table: Path, count: int, out: Path) -> None:
    """The rows of a table's first clips by name.

    Raises:
        ValueError: There are fewer.
    """
    from earmark.core.files import write_text

    rows = _rows(table)
    names = sorted({row["filename"] for row in rows})
    if len(names) < count:
        raise ValueError(f"{table}: {count} labelled clips wanted, there are {len(names)}")
    chosen = set(names[:count])
    lines = ["\t".join(rows[0])]
    lines += ["\t".join(row.values()) for row in rows if row["filename"] in chosen]
    text = "\n".join(lines) + "\n"
    if not out.is_file() or out.read_text(encoding="utf-8") != text:
        write_text(out, text)
