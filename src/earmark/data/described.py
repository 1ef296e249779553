"""A dataset of one's own: a short YAML file that names its subsets, instead of DESED's tree.

```yaml
classes: [Kettle, Doorbell, Speech]        # optional: else read from the labels
class_map: {Bell: Doorbell, Wind: null}    # optional: rename, merge, drop
train:
  - {audio: soundscapes/, strong: soundscapes.tsv, domain: synthetic}
  - {audio: clips/, weak: weak.tsv, labelled: [Kettle, Speech]}
  - {audio: attic/, unlabelled: true}
  - {audio: street/, negatives: true}      # none of the classes sounds here
validation: {audio: val/, strong: val.tsv}
test: {audio: test/, strong: test.tsv, durations: test_durations.tsv}
```

Paths are relative to the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from earmark.core.config import Settings
from earmark.core.errors import ConfigError, LabelError
from earmark.core.tables.rows import check_label
from earmark.data.classes import OTHERS, Classes
from earmark.data.clips import ClipFinder
from earmark.data.reading import SubsetReader, Subsets, some, unlabelled_source
from earmark.data.subsets import Domain, Evaluation, Kind, Source
from earmark.data.yaml_lines import Keys, YamlFile

#: What a folder's description is called where a folder is given in its place.
DESCRIPTION = "dataset.yaml"
_HINT = "Name sources with labels under `train`, or splits under `validation` or `test`"


def _several(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


Paths = Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1)]
Names = tuple[str, ...]


class SourceDescription(Settings):
    """Clips to learn from, with one kind of label.

    Attributes:
        audio: Folder, or several.
        strong: Table of strong labels, or several.
        weak: Table of weak labels.
        unlabelled: All recordings in the folder.
        negatives: None of the classes sounds in it; all recordings in the folder, or those that a
            table without events lists.
        pseudo: Its strong labels are a network's (`earmark pseudo-label`).
        scores: Folder of score tables, ``NAME.npz`` for a recording NAME of the table: the targets
            of its frames in place of the events; for ``pseudo`` alone.
        labelled: Classes it was annotated for, where these are not all.
        domain: ``real`` recordings or ``synthetic`` soundscapes.
        name: What it is called in messages; by default as its folder.
    """

    audio: Paths
    strong: Paths | None = None
    weak: str | None = None
    unlabelled: bool = False
    negatives: bool = False
    pseudo: bool = False
    scores: str | None = None
    labelled: Names | None = None
    domain: Literal["real", "synthetic"] = "real"
    name: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> SourceDescription:
        strong = self.strong is not None or self.negatives
        kinds = [strong, self.weak is not None, self.unlabelled]
        if sum(kinds) != 1:
            raise ValueError(
                "a source has one of strong: TABLE, weak: TABLE, unlabelled: true and "
                "negatives: true" + ("; name it twice for two kinds of label" if sum(kinds) else "")
            )
        if self.unlabelled and self.labelled is not None:
            raise ValueError("an unlabelled source is labelled for no class")
        if self.pseudo and (self.strong is None or self.negatives):
            raise ValueError("a source of pseudo-labels has strong: TABLE")
        if self.scores is not None and not self.pseudo:
            raise ValueError("scores are targets of a source with pseudo: true")
        return self

    @property
    def kind(self) -> Kind:
        """Of its labels."""
        if self.unlabelled:
            return "unlabelled"
        return "strong" if self.weak is None else "weak"

    @property
    def tables(self) -> Names:
        """Its label tables, of one kind."""
        return self.strong or ((self.weak,) if self.weak is not None else ())


class SplitDescription(Settings):
    """Clips to be scored on; see `SourceDescription`."""

    audio: Paths
    strong: Paths
    durations: str | None = None
    labelled: Names | None = None

    @model_validator(mode="before")
    @classmethod
    def _by_events(cls, content: Any) -> Any:
        if isinstance(content, dict) and "weak" in content and "strong" not in content:
            raise ValueError(
                "a split is scored by events and needs strong labels; weakly labelled clips can "
                "choose epochs under `held_out`"
            )
        return content

    @property
    def tables(self) -> Names:
        """Its label tables, all strong."""
        return self.strong


Sources = Annotated[tuple[SourceDescription, ...], BeforeValidator(_several)]


class Description(Settings):
    """A dataset.

    Attributes:
        extends: A dataset whose sources and splits are taken, too: a folder or a description.
        classes: In the order of a network's outputs; by default all that the labels name, sorted.
        class_map: Name in the labels → class, or null to drop its labels. ``*`` stands for every
            name that is neither here nor a class.
        train: Sources to learn from.
        validation: Split to choose epochs and post-processing on.
        test: Split to score on.
        splits: More splits, by name.
        held_out: Labelled sources to choose epochs on by their losses.
        exclude: Table of clips not to train on, as ``data.exclude`` of a recipe.
    """

    extends: str | None = None
    classes: Names | None = None
    class_map: dict[str, str | None] = Field(default_factory=dict)
    train: Sources = ()
    validation: SplitDescription | None = None
    test: SplitDescription | None = None
    splits: dict[str, SplitDescription] = Field(default_factory=dict)
    held_out: Sources = ()
    exclude: str | None = None


Named = tuple[Keys, str, SourceDescription]


class Described:
    """A dataset's description, with the file it is from.

    Args:
        path: The file.

    Raises:
        ConfigError: It is not such a description; the message names file, line and key.
    """

    def __init__(self, path: Path) -> None:
        self.file = YamlFile(path)
        self.root = path.parent
        self.settings = self.file.parse(Description)
        self.classes = self._classes()

    def splits(self) -> dict[str, tuple[Keys, SplitDescription]]:
        """All splits by name, with the keys that lead to them."""
        found: dict[str, tuple[Keys, SplitDescription]] = {}
        for name in ("validation", "test"):
            split = getattr(self.settings, name)
            if split is not None:
                found[name] = ((name,), split)
        for name, split in self.settings.splits.items():
            if name in found:
                raise self.file.mistake(("splits", name), "is described above already")
            found[name] = (("splits", name), split)
        return found

    def sources(self, key: Literal["train", "held_out"]) -> list[Named]:
        """Sources with the keys that lead to them and names of their own."""
        result: list[Named] = []
        taken: set[str] = set()
        for number, source in enumerate(getattr(self.settings, key)):
            own = source.name or Path(source.audio[0]).name or "train"
            own = own if key == "train" else f"{own}_held_out"
            name, number_of_name = own, 1
            while name in taken:
                number_of_name += 1
                name = f"{own}_{number_of_name}"
            if source.name is not None and name != own:
                raise self.file.mistake((key, number, "name"), f"{own!r} is taken already")
            taken.add(name)
            result.append(((key, number), name, source))
        return result

    def folders(self, keys: Keys, audio: Iterable[str], key: str = "audio") -> list[Path]:
        """Folders of a subset.

        Raises:
            ConfigError: One is not there.
        """
        folders = [self._path(name) for name in audio]
        for folder in folders:
            if not folder.is_dir():
                raise self.file.mistake(
                    [*keys, key], f"no such folder: {folder}", "Paths are relative to this file"
                )
        return folders

    def tables(self, keys: Keys, subset: SourceDescription | SplitDescription) -> list[Path]:
        """The label tables of a source or a split, as of `table`."""
        key = subset.kind if isinstance(subset, SourceDescription) else "strong"
        return [self.table(keys, key, name) for name in subset.tables]

    def table(self, keys: Keys, key: str, name: str) -> Path:
        """A table of a subset.

        Raises:
            ConfigError: It is not there.
        """
        path = self._path(name)
        if not path.is_file():
            raise self.file.mistake(
                [*keys, key], f"no such file: {path}", "Paths are relative to this file"
            )
        return path

    def labelled(self, keys: Keys, names: Names | None) -> Names | None:
        """The classes that a subset is annotated for, under their names in the dataset.

        Raises:
            ConfigError: One is none of the classes.
        """
        if names is None:
            return None
        try:
            return self.classes.many(names)
        except LabelError as error:
            raise self.file.mistake([*keys, "labelled"], error.what, error.hint) from None

    def check_labelled(self, known: Iterable[str]) -> None:
        """Refuse a subset labelled for a class that no label and no list of classes has.

        Raises:
            ConfigError: There is one.
        """
        names = sorted(known)
        subsets = [(keys, split.labelled) for keys, split in self.splits().values()]
        subsets += [(keys, source.labelled) for keys, _, source in self.sources("train")]
        for keys, own in subsets:
            for name in self.labelled(keys, own) or ():
                if name not in names:
                    close = get_close_matches(name, names, n=1)
                    raise self.file.mistake(
                        [*keys, "labelled"],
                        f"no label of the dataset is {name!r}",
                        f"Did you mean {close[0]}?" if close else f"Its labels: {', '.join(names)}",
                    )

    @property
    def extended(self) -> Path | None:
        """The dataset that it extends.

        Raises:
            ConfigError: It is not there, or is this file.
        """
        if self.settings.extends is None:
            return None
        path = self._path(self.settings.extends)
        if not path.exists() or description_of(path) == self.file.path:
            what = "no other dataset is there" if path.exists() else f"nothing is at {path}"
            raise self.file.mistake(["extends"], what, "Paths are relative to this file")
        return path

    def take_classes(self, base: SubsetReader) -> None:
        """Have the classes of the dataset that it extends, where it lists none itself.

        Raises:
            ConfigError: It lists classes, and lacks some that the other's labels have.
        """
        if self.classes.names is None:
            self.classes = replace(self.classes, names=base.classes.names)
            return
        lacking = sorted(base.labels - set(self.classes.names))
        if lacking:
            what = f"the dataset it extends has labels of {', '.join(lacking)}, too"
            raise self.file.mistake(["classes"], what, "Leave classes out, or list these as well")

    def _path(self, name: str) -> Path:
        try:
            path = self.root / Path(name).expanduser()
            path.exists()
        except (OSError, RuntimeError) as error:  # too long a name, the home of nobody
            reason = getattr(error, "strerror", None) or str(error)
            raise self.file.mistake((), f"no path: {name[:80]!r} ({reason})") from None
        return path

    def _classes(self) -> Classes:
        settings = self.settings
        names = settings.classes
        try:
            for name in names or ():
                check_label(name)
        except LabelError as error:
            raise self.file.mistake(["classes"], error.what, error.hint) from None
        if names is not None and (not names or len(set(names)) < len(names)):
            raise self.file.mistake(["classes"], "each class once, and at least one")
        for old, new in settings.class_map.items():
            keys = ["class_map", old]
            if new is None:
                continue
            if old == OTHERS:
                raise self.file.mistake(keys, "all other names can only be dropped (null)")
            if names is not None and new not in names:
                raise self.file.mistake(keys, f"{new!r} is none of the classes {', '.join(names)}")
            try:
                check_label(new)
            except LabelError as error:
                raise self.file.mistake(keys, error.what, error.hint) from None
            if settings.class_map.get(new, new) != new:
                raise self.file.mistake(
                    keys, f"leads to {new!r}, which is mapped itself", "Map it to where that leads"
                )
        return Classes(names, settings.class_map)


def read_description(path: Path, base: Subsets | None = None) -> Subsets:
    """All subsets of a described dataset.

    Args:
        path: The description.
        base: The dataset that it extends (`Described.extended`).

    Raises:
        ConfigError: The description has a mistake, or names what is not there.
        LabelError: A label is none of its classes.
    """
    described = Described(path)
    if base is not None:
        described.take_classes(base.reader)
    reader = SubsetReader(described.root, described.classes)
    subsets = Subsets(path, reader, _HINT)
    for keys, name, source in described.sources("train"):
        read = _source(described, reader, keys, name, source)
        if read is not None:
            subsets.train.append(read)
    for keys, name, source in described.sources("held_out"):
        if source.unlabelled:
            raise described.file.mistake(keys, "clips without labels cannot choose an epoch")
        read = _source(described, reader, keys, name, source)
        if read is not None:
            subsets.held_out.append(read)
    for name, (keys, split) in described.splits().items():
        evaluation = _split(described, reader, keys, name, split)
        if evaluation is not None:
            subsets.splits[name] = evaluation
    above = set() if base is None else base.reader.labels
    described.check_labelled(described.classes.names or reader.labels | above)
    if described.settings.exclude is not None:
        subsets.exclude = described.table((), "exclude", described.settings.exclude)
    if base is None:
        return subsets
    own = {*(source.name for source in subsets.train), *subsets.splits}
    twice = own & {*(source.name for source in base.train), *base.splits}
    if twice:
        what = f"it has {', '.join(sorted(twice))}, too"
        raise described.file.mistake(["extends"], what, "Give what stands here another name")
    return subsets.beside(base)


def _source(
    described: Described, reader: SubsetReader, keys: Keys, name: str, source: SourceDescription
) -> Source | None:
    finder = ClipFinder(described.folders(keys, source.audio))
    labelled = described.labelled(keys, source.labelled)
    domain: Domain = source.domain
    tables = described.tables(keys, source)
    if source.negatives:
        return _negatives(described, reader, keys, name, source)
    if source.kind == "strong":
        read = reader.strong(name, tables, finder, domain, labelled)
        if read is None or not source.pseudo:
            return read
        return _pseudo(described, reader, keys, read, source)
    if source.kind == "weak":
        return reader.weak(name, tables[0], finder, domain, labelled)
    if not finder.clips:
        reader.note(f"{name}: no recordings in {', '.join(source.audio)}", lost=True)
    return unlabelled_source(name, finder, domain)


def _pseudo(
    described: Described, reader: SubsetReader, keys: Keys, read: Source, source: SourceDescription
) -> Source:
    """A source that a network labelled; clips without their score table are left out.

    Raises:
        ConfigError: There is no folder of scores.
    """
    read = replace(read, pseudo=True)
    if source.scores is None:
        return read
    (folder,) = described.folders(keys, [source.scores], "scores")
    files = {read.name_of(path): scores_file(folder, read.name_of(path)) for path in read.clips}
    lost = [name for name, file in files.items() if not file.is_file()]
    if lost:
        reader.note(f"{read.name}: {len(lost)} clips have no scores ({some(lost)})", lost=True)
    there = read.only(path for path in read.clips if read.name_of(path) not in lost)
    files = {name: file for name, file in files.items() if name not in lost}
    return replace(there, scores=files, missing=(*there.missing, *lost))


def scores_file(folder: Path, name: str) -> Path:
    """The file of a recording's score table in a folder of them."""
    return folder / f"{name}.npz"


def _negatives(
    described: Described, reader: SubsetReader, keys: Keys, name: str, source: SourceDescription
) -> Source | None:
    """A source in which none of the classes sounds.

    Raises:
        ConfigError: Its table has events.
    """
    finder = ClipFinder(described.folders(keys, source.audio))
    labelled, tables = described.labelled(keys, source.labelled), described.tables(keys, source)
    read = reader.strong(name, tables, finder, source.domain, labelled) if tables else None
    if tables and read is None:
        return None
    if read is not None and any((read.events or {}).values()):
        raise described.file.mistake(
            [*keys, "negatives"],
            "a source of negatives has no events, and its table has some",
            "Leave negatives out: clips without events are negatives there, too",
        )
    if read is not None and (read.clips or read.missing or read.faulty):
        return replace(read, negatives=True)
    if not finder.clips:
        reader.note(f"{name}: no recordings in {', '.join(source.audio)}", lost=True)
        return None
    clips, names = tuple(finder.clips), finder.names
    return Source(
        "strong", name, clips, events={}, domain=source.domain, labelled=labelled, names=names,
        negatives=True,
    )  # fmt: skip


def _split(
    described: Described, reader: SubsetReader, keys: Keys, name: str, split: SplitDescription
) -> Evaluation | None:
    finder = ClipFinder(described.folders(keys, split.audio))
    durations = split.durations
    return reader.evaluation(
        name,
        described.tables(keys, split),
        finder,
        None if durations is None else described.table(keys, "durations", durations),
        described.labelled(keys, split.labelled),
    )


def description_of(path: Path) -> Path | None:
    """The description that is meant by a path; None for a folder without, or with DESED's tree.

    Raises:
        ConfigError: A file that is no description.
    """
    if path.is_dir():
        tree = any((path / name).is_dir() for name in ("audio", "metadata"))
        return path / DESCRIPTION if not tree and (path / DESCRIPTION).is_file() else None
    if path.suffix.lower() in (".yaml", ".yml"):
        return path
    if path.is_file():
        raise ConfigError(
            "not a dataset",
            where=path,
            hint="Give a folder in DESED's layout, or a .yaml file that describes one",
        )
    return None
