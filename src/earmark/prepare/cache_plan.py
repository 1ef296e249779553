"""What a cache of a dataset holds: every recording and label file, and where each is put."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import yaml

from earmark.core.audio.folders import folder_content, left_out
from earmark.core.errors import DataError
from earmark.data.described import Described, description_of
from earmark.prepare.cache_index import INDEX

#: Files that are copied as they are: labels, and what describes a dataset.
LABEL_SUFFIXES = (".tsv", ".csv", ".txt", ".yaml", ".yml", ".json", ".jams", ".md")
Format = Literal["flac", "wav"]

_COPIES = "_16k"  # DESED's owners keep 16-kHz copies in folders of this name beside the originals
_BESIDE = "dcase_synth"  # its synthetic part may lie beside the dataset's folder
_TABLES = ("strong", "weak", "durations", "exclude")  # keys of a description that name files


@dataclass(frozen=True)
class Task:
    """A file to be made.

    Attributes:
        source: What it is made from.
        target: Its path in the cache.
        audio: Whether it is a recording; else it is copied.
        text: What to write instead of the source's own content.
    """

    source: Path
    target: str
    audio: bool
    text: str | None = None


@dataclass
class CachePlan:
    """All files of a cache.

    Attributes:
        folders: Where recordings are taken from.
        tasks: Target → how it is made.
        superseded: Recordings left out because a ``_16k`` folder beside has them.
        ignored: Files that are neither recordings nor labels, with the reason.
        failed: Source → why it cannot be in the cache.
        use: Path in the cache that is the dataset: the cache itself, or a description in it.
    """

    folders: list[Path] = field(default_factory=list)
    tasks: dict[str, Task] = field(default_factory=dict)
    superseded: int = 0
    ignored: dict[Path, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    use: str = ""

    def add_folder(self, root: Path, prefix: str, format: Format, *, labels: bool) -> None:
        """Take the recordings in a folder, and its label files if asked to."""
        self.folders.append(root)
        content = folder_content(root)
        recordings = content.recordings
        stems = {path.relative_to(root).with_suffix("") for path in recordings}
        for path in recordings:
            relative = path.relative_to(root)
            target = prefix + relative.with_suffix(f".{format}").as_posix()
            known = self.tasks.get(target)
            if _has_copy(relative, stems):
                self.superseded += 1
            elif known is not None and known.source != path:
                name = known.source.name
                self.failed[str(path)] = f"it would get the name of {name}. Rename one of them"
            else:
                self.tasks[target] = Task(path, target, audio=True)
        for path, why in content.others.items() if labels else ():
            target = prefix + path.relative_to(root).as_posix()
            if target == INDEX or why == "hidden" or path.suffix.lower() not in LABEL_SUFFIXES:
                self.ignored[path] = why
            else:
                self.tasks[target] = Task(path, target, audio=False)


def plan_cache(data: Path, format: Format) -> CachePlan:
    """What a cache of a dataset holds.

    Args:
        data: Folder of the dataset, all of whose recordings and label files are taken, or a YAML
            file that describes one, of which what it names is taken.
        format: Kind of the cache's audio files.

    Raises:
        DataError: There is no such folder, or no recording in it.
        ConfigError: A description has a mistake.
    """
    plan = CachePlan()
    if (description := description_of(data)) is not None:
        _plan_described(plan, description, format)
    elif data.is_dir():
        plan.add_folder(data, "", format, labels=True)
        beside = data.resolve().parent / _BESIDE
        if beside.is_dir() and beside != data.resolve() and not (data / _BESIDE).exists():
            plan.add_folder(beside, f"{_BESIDE}/", format, labels=True)
    else:
        raise DataError("no such folder", where=data, hint="Check the path of the dataset")
    if not any(task.audio for task in plan.tasks.values()):
        others = "; ".join(left_out(plan.ignored))
        told = f" ({others})" if others else ""
        raise DataError(f"no recording in it{told}", where=data)
    return plan


def _has_copy(relative: Path, stems: set[Path]) -> bool:
    """Whether a folder ``X_16k`` beside one of a recording's folders ``X`` holds it as well."""
    parts = relative.with_suffix("").parts
    return any(
        Path(*parts[:index], part + _COPIES, *parts[index + 1 :]) in stems
        for index, part in enumerate(parts[:-1])
    )


def _plan_described(plan: CachePlan, path: Path, format: Format) -> None:
    """A description's folders and tables, and the description with their new places."""
    described = Described(path)
    if described.extended is not None:
        raise described.file.mistake(
            ["extends"],
            "a dataset that extends another cannot be cached",
            f"Cache {described.extended}, and let a copy of this file extend the cache",
        )
    places: dict[str, str] = {}
    for keys, subset in _subsets(described):
        audio = getattr(subset, "audio", ())
        for name, folder in zip(audio, described.folders(keys, audio), strict=True):
            places[name] = _place(name, places)
            plan.add_folder(folder, f"{places[name]}/", format, labels=False)
        if (scores := getattr(subset, "scores", None)) is not None:
            (folder,) = described.folders(keys, [scores], "scores")
            places[scores] = _place(scores, places)
            for source in sorted(folder.rglob("*.npz")):
                target = f"{places[scores]}/{source.relative_to(folder).as_posix()}"
                plan.tasks[target] = Task(source, target, audio=False)
        for key in _TABLES:
            for name in _names(getattr(subset, key, None)):
                places[name] = _place(name, places)
                source = described.table(keys, key, name)
                plan.tasks[places[name]] = Task(source, places[name], audio=False)
    moved = any(place != PurePosixPath(name).as_posix() for name, place in places.items())
    text = yaml.safe_dump(
        _with_places(described.file.content, places), sort_keys=False, allow_unicode=True
    )
    plan.use = path.name
    plan.tasks[path.name] = Task(path, path.name, audio=False, text=text if moved else None)


def _subsets(described: Described) -> Iterator[tuple[Sequence[str | int], Any]]:
    """All that names files, with the keys that lead to it; last the description itself."""
    for keys, _, source in (*described.sources("train"), *described.sources("held_out")):
        yield keys, source
    yield from described.splits().values()
    yield (), described.settings


def _names(given: str | Sequence[str] | None) -> Sequence[str]:
    return () if given is None else (given,) if isinstance(given, str) else given


def _place(name: str, places: Mapping[str, str]) -> str:
    """Where in the cache a path of a description is put: where it was, if that is below it."""
    pure = PurePosixPath(Path(name).as_posix())
    if name in places:
        return places[name]
    if not (pure.is_absolute() or ".." in pure.parts or name.startswith("~")):
        return pure.as_posix()
    place, number = f"outside/{pure.name}", 2
    while place in places.values():
        place, number = f"outside/{pure.stem}-{number}{pure.suffix}", number + 1
    return place


def _with_places(content: Any, places: Mapping[str, str], key: str = "") -> Any:
    """A description with its paths replaced."""
    if isinstance(content, Mapping):
        return {name: _with_places(value, places, str(name)) for name, value in content.items()}
    if isinstance(content, list):
        return [_with_places(value, places, key) for value in content]
    if key in ("audio", "scores", *_TABLES) and isinstance(content, str):
        return places.get(content, content)
    return content
