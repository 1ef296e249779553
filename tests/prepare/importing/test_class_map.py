"""Names to classes: exact ones, stars, what is left out, and what nobody foresaw."""

from __future__ import annotations

from pathlib import Path

import pytest

from earmark.core.errors import ConfigError, LabelError
from earmark.prepare.importing.class_map import ClassMap, load_class_map

YAML = """
classes:
  Dog: [woof, "dog*", Köter]
  Doorbell:
  Cat: meow
drop: [noise, "?", "dog toy"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "classes.yaml"
    path.write_text(YAML, encoding="utf-8")
    return path


def test_a_file(file: Path) -> None:
    found = load_class_map(file)
    expected = {
        "woof": "Dog",
        "Dog": "Dog",
        "dogs barking": "Dog",
        "dog toy": None,
        "Köter": "Dog",
        "Doorbell": "Doorbell",
        "meow": "Cat",
        "noise": None,
        "?": None,
    }
    assert {name: found.target(name) for name in expected} == expected
    assert found.targets((name, "a.txt") for name in expected) == expected


def test_names_that_stand_nowhere(file: Path) -> None:
    named = [("woof", "a.txt"), ("brak", "b.txt"), ("brak", "c.txt"), ("mooo", "c.txt")]
    with pytest.raises(LabelError, match=r"^b\.txt: .*'brak' \(2\), 'mooo' \(1\)\. Add them"):
        load_class_map(file).targets(named)
    assert load_class_map(file, rest="keep").target("brak") == "brak"
    assert load_class_map(file, rest="drop").target("brak") is None


def test_flags_come_on_top(file: Path) -> None:
    found = load_class_map(file, ["brak=Dog", "mooo = Cow"], ["hum"])
    assert [found.target(name) for name in ("brak", "mooo", "Cow", "hum", "woof")] == [
        "Dog", "Cow", "Cow", None, "Dog",
    ]  # fmt: skip
    alone = load_class_map(None, ["woof=Dog"])
    assert [alone.target(name) for name in ("woof", "Cat")] == ["Dog", "Cat"]
    assert ClassMap(rest="keep").target("anything") == "anything"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: {Dog: [a], Cat: [a]}", "'a' has two places"),
        ("classes: {Dog: [a]}\ndrop: [a]", "'a' has two places"),
        ("classes: [Dog]", "no mapping"),
        ("klasses: {}", "klasses"),
        ("rest: maybe", "rest"),
        ('classes: {"Do\\tg": [a]}', "holds a tab"),
        ("- Dog", "expected a mapping"),
    ],
)
def test_files_that_make_no_sense(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_class_map(path)


def test_the_spelling_of_described_datasets(tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text('class_map: {Bell: Doorbell, Wind: null, "*": null}\n')
    found = load_class_map(path)
    names = ("Bell", "Doorbell", "Wind", "Rain")
    assert [found.target(name) for name in names] == ["Doorbell", "Doorbell", None, None]
    path.write_text("class_map: [Bell]\n")
    with pytest.raises(ConfigError, match="class_map is no mapping"):
        load_class_map(path)


def test_flags_that_make_no_sense() -> None:
    for wrong in ("Dog", "=Dog", "woof="):
        with pytest.raises(ConfigError, match="OLD=NEW"):
            load_class_map(None, [wrong])


def test_words_that_may_mean_nothing_need_a_place_of_their_own() -> None:
    for word in ("NA", "none", "null", "NaN"):
        with pytest.raises(LabelError, match=rf"{word}.*mean that there is none.*--drop {word}"):
            load_class_map(None).targets([(word, "a.txt")])
        dropped, renamed = (
            load_class_map(None, drops=[word]),
            load_class_map(None, [f"{word}=Bell"]),
        )
        assert dropped.targets([(word, "a.txt")]) == {word: None}
        assert renamed.targets([(word, "a.txt")]) == {word: "Bell"}
        assert ClassMap(classes={word: ()}).targets([(word, "a.txt")]) == {word: word}


def test_names_that_yaml_takes_for_something_else(tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text("classes: {Bell: [null, NA]}\ndrop: none\n")
    targets = load_class_map(path).targets([(word, "") for word in ("null", "NA", "none")])
    assert targets == {"null": "Bell", "NA": "Bell", "none": None}
    path.write_text("classes: {Bell: [no]}\n")
    with pytest.raises(ConfigError, match=r"False in YAML\. Put it in quotes"):
        load_class_map(path)
