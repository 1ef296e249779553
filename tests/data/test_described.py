"""A dataset described by YAML: what is read, what is refused and in which line."""

from __future__ import annotations

from pathlib import Path

import pytest

from earmark.core.batch_settings import BatchSettings
from earmark.core.config import DataSettings
from earmark.core.errors import ConfigError, DataError, LabelError
from earmark.core.event import Event
from earmark.core.timeline import FrameGrid
from earmark.data.dataset import compose
from earmark.data.manifest import Manifest, Source, load_manifest
from helpers.trees import clip, strong, table, weak

YAML = """\
classes: [Kettle, Doorbell, Speech]
class_map: {Bell: Doorbell, Chime: Doorbell, Wind: null}
train:
  - {audio: soundscapes/, strong: soundscapes.tsv, domain: synthetic}
  - {audio: clips/, weak: weak.tsv, labelled: [Kettle, Bell]}
  - {audio: attic/, unlabelled: true}
validation: {audio: val/, strong: val.tsv}
test: {audio: test/, strong: test.tsv, durations: test_durations.tsv, labelled: [Speech]}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A described dataset with every kind of part."""
    for number, name in enumerate(("soundscapes/0", "clips/0", "clips/1", "attic/a", "attic/b/c")):
        clip(tmp_path / f"{name}.wav", 0.01 + 0.01 * number)
    clip(tmp_path / "val/v.wav", 0.2)
    clip(tmp_path / "test/t.flac", 0.3)
    strong(
        tmp_path / "soundscapes.tsv",
        {"0.wav": [(0, 0.01, "Bell"), (0, 0.02, "Wind"), (0.01, 0.02, "Speech")]},
    )
    weak(tmp_path / "weak.tsv", {"0.wav": "Chime,Bell,Wind", "1.wav": "Kettle,Speech"})
    strong(tmp_path / "val.tsv", {"v.wav": [(0, 0.01, "Chime")]})
    strong(tmp_path / "test.tsv", {"t.wav": [(0, 0.01, "Speech"), (0, 0.01, "Bell")]})
    table(tmp_path / "test_durations.tsv", "filename\tduration", "t.wav\t0.05")
    (tmp_path / "home.yaml").write_text(YAML, encoding="utf-8")
    return tmp_path


def changed(home: Path, old: str, new: str) -> Path:
    text = (home / "home.yaml").read_text(encoding="utf-8")
    assert old in text
    (home / "home.yaml").write_text(text.replace(old, new), encoding="utf-8")
    return home / "home.yaml"


def source(manifest: Manifest, name: str) -> Source:
    return next(source for source in manifest.train if source.name == name)


def test_every_part(home: Path) -> None:
    manifest = load_manifest(home / "home.yaml")
    assert manifest.labels.names == ("Kettle", "Doorbell", "Speech")  # in the order given
    kinds = [(part.kind, part.name, part.domain, len(part.clips)) for part in manifest.train]
    assert kinds == [
        ("strong", "soundscapes", "synthetic", 1),
        ("weak", "clips", "real", 2),
        ("unlabelled", "attic", "real", 2),
    ]
    assert list(manifest.splits) == ["validation", "test"]
    assert manifest.damage == ()


def test_classes_are_renamed_merged_and_dropped(home: Path) -> None:
    manifest = load_manifest(home / "home.yaml")
    events = source(manifest, "soundscapes").events
    assert events is not None
    assert events["0.wav"] == [
        Event(0.0, 0.01, "Doorbell"),
        Event(0.01, 0.02, "Speech"),
    ]
    assert source(manifest, "clips").weak == {"0.wav": ("Doorbell",), "1.wav": ("Kettle",)}
    validation = manifest.splits["validation"]
    assert validation.events == {"v.wav": [Event(0.0, 0.01, "Doorbell")]}


def test_partially_labelled_parts(home: Path) -> None:
    """Labels of other classes are left aside, and told; `labelled` is mapped as labels are."""
    manifest = load_manifest(home / "home.yaml")
    assert source(manifest, "clips").labelled == ("Kettle", "Doorbell")
    assert source(manifest, "soundscapes").labelled is None
    test = manifest.splits["test"]
    assert test.labelled == ("Speech",)
    assert test.events == {"t.flac": [Event(0.0, 0.01, "Speech")]}
    assert test.durations == {"t.flac": 0.05}
    told = "\n".join(manifest.notes)
    assert (
        "clips: labels of classes that it is not `labelled` for are left aside: Speech (1)" in told
    )
    dataset, _ = compose(manifest, BatchSettings(real=0), FrameGrid(256), 1600)
    assert dataset[1].known.tolist() == [True, True, False]
    assert dataset[0].known.all()
    every = changed(home, ", labelled: [Kettle, Bell]", "")
    assert load_manifest(every).fingerprint != manifest.fingerprint


def test_a_folder_with_a_description_is_a_dataset(home: Path) -> None:
    (home / "home.yaml").rename(home / "dataset.yaml")
    assert len(load_manifest(home).train) == 3
    (home / "audio").mkdir()  # a tree of DESED's: the description is somebody else's
    with pytest.raises(DataError, match="no labelled clip"):
        load_manifest(home)


def test_classes_may_be_read_from_the_labels(home: Path) -> None:
    yaml = changed(home, "classes: [Kettle, Doorbell, Speech]\n", "")
    assert load_manifest(yaml).labels.names == ("Doorbell", "Kettle", "Speech")
    yaml = changed(home, "Wind: null", 'Wind: null, "*": null')
    yaml = changed(home, "labelled: [Kettle, Bell]", "labelled: [Bell]")
    yaml = changed(home, ", labelled: [Speech]", "")
    assert load_manifest(yaml).labels.names == ("Doorbell",)  # what the map leads to


def test_all_others_may_be_dropped(home: Path) -> None:
    yaml = changed(home, "Wind: null", '"*": null')
    events = source(load_manifest(yaml), "soundscapes").events
    assert events is not None
    assert sorted(e.event_label for own in events.values() for e in own) == ["Doorbell", "Speech"]


def test_several_folders_and_tables_of_a_part(home: Path) -> None:
    clip(home / "more/9.wav", 0.5)
    strong(home / "more.tsv", {"9.wav": []})
    yaml = changed(home, "audio: soundscapes/, strong: soundscapes.tsv", "AUDIO")
    yaml = changed(home, "AUDIO", "audio: [soundscapes, more], strong: [soundscapes.tsv, more.tsv]")
    assert [path.name for path in source(load_manifest(yaml), "soundscapes").clips] == [
        "0.wav",
        "9.wav",
    ]


def test_clips_in_two_parts_are_used_once(home: Path) -> None:
    clip(home / "attic/t.wav", 0.3)
    (home / "attic/v.wav").write_bytes((home / "val/v.wav").read_bytes())
    manifest = load_manifest(home / "home.yaml")
    assert [path.name for path in source(manifest, "attic").clips] == ["a.wav", "t.wav", "c.wav"]
    assert source(manifest, "attic").excluded == ("v.wav",)  # t.wav has a test clip's name only


def test_held_out_and_excluded_clips(home: Path) -> None:
    table(home / "bad.tsv", "filename\tsource", "0.wav\tclips")
    yaml = changed(home, "validation:", "exclude: bad.tsv\nvalidation:")
    manifest = load_manifest(yaml)
    assert [path.name for path in source(manifest, "clips").clips] == ["1.wav"]
    assert len(source(manifest, "soundscapes").clips) == 1
    held = load_manifest(yaml, DataSettings(weak_held_out=0.5)).held_out
    assert [(part.name, len(part.clips)) for part in held] == [("clips_held_out", 1)]
    yaml = changed(home, "exclude: bad.tsv", "held_out: {audio: clips/, weak: weak.tsv}")
    manifest = load_manifest(yaml)
    assert [part.name for part in manifest.held_out] == ["clips_held_out"]
    assert source(manifest, "clips").clips == ()


MISTAKES = [
    ("strong: soundscapes.tsv", "stron: soundscapes.tsv", 4, "no such key. Did you mean strong?"),
    ("strong: soundscapes.tsv", "strong: nowhere.tsv", 4, "no such file"),
    ("audio: attic/", "audio: cellar/", 6, "no such folder"),
    (
        "audio: attic/",
        "sound: attic/",
        6,
        "Known are audio, domain, labelled, name, negatives, pseudo, scores",
    ),
    ("unlabelled: true", "unlabelled: true, weak: weak.tsv", 6, "name it twice"),
    ("unlabelled: true", "unlabelled: true, labelled: [Speech]", 6, "labelled for no class"),
    ("[Kettle, Bell]", "[Kettle, Bel]", 5, "Did you mean Kettle?|none of the classes"),
    ("Speech]\nclass_map", "Kettle]\nclass_map", 1, "each class once"),
    ("Doorbell, Speech]\nclass_map", "Doorbell, On]\nclass_map", 1, "quotation marks"),
    ("Chime: Doorbell", "Chime: Gong", 2, "'Gong' is none of the classes"),
    ("class_map: {Bell", "class_map: {Doorbell: Kettle, Bell", 2, "mapped itself"),
    ("validation: {", "test: {", 8, "second time"),
    ("validation: {audio", "validation: {audio: {", 7, "string|YAML|expected"),
    ("strong: val.tsv", "weak: val.tsv", 7, "needs strong labels"),
    ("train:\n", "train: [\n", 4, "not readable as YAML"),
]


@pytest.mark.parametrize(("old", "new", "line", "told"), MISTAKES)
def test_mistakes_are_told_with_file_line_and_key(
    home: Path, old: str, new: str, line: int, told: str
) -> None:
    yaml = changed(home, old, new)
    with pytest.raises(ConfigError) as caught:
        load_manifest(yaml)
    message = str(caught.value)
    assert any(part in message for part in told.split("|")), message
    if "YAML" not in message:
        assert message.startswith(f"{yaml}:{line}: "), message
    else:
        assert message.startswith(f"{yaml}:"), message


def test_labels_that_are_none_of_the_classes_are_told_with_their_line(home: Path) -> None:
    strong(home / "val.tsv", {"v.wav": [(0, 0.01, "Kettel")]})
    with pytest.raises(LabelError, match=r"val\.tsv:2: 'Kettel' is none .* Did you mean Kettle\?"):
        load_manifest(home / "home.yaml")


def test_what_is_labelled_must_be_a_class_somewhere(home: Path) -> None:
    yaml = changed(home, "classes: [Kettle, Doorbell, Speech]\n", "")
    yaml = changed(home, "labelled: [Speech]", "labelled: [Speach]")
    with pytest.raises(ConfigError, match=r"yaml:7: test\.labelled: .*Did you mean Speech\?"):
        load_manifest(yaml)


def test_files_of_other_kinds_are_no_datasets(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"DESED's layout, or a \.yaml file"):
        load_manifest(home / "val.tsv")
    with pytest.raises(ConfigError, match="no such file"):
        load_manifest(home / "none.yaml")
    (home / "list.yaml").write_text("- a\n")
    with pytest.raises(ConfigError, match="expected a mapping"):
        load_manifest(home / "list.yaml")
    (home / "empty.yaml").write_text("classes: [a]\n")
    with pytest.raises(DataError, match=r"no labelled clip.*`train`"):
        load_manifest(home / "empty.yaml")
