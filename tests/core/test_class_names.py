"""Classes by name, number or identifier: each way finds the class, and mistakes suggest."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.core.class_names import find_classes
from earmark.core.errors import LabelError
from earmark.core.folders import shipped_folder

FOLDER = shipped_folder("bundles") / "audioset"
LABELS = tuple((FOLDER / "labels.txt").read_text(encoding="utf-8").splitlines())
with (FOLDER / "classes.csv").open(encoding="utf-8", newline="") as _file:
    IDS = tuple(row[1] for row in list(csv.reader(_file))[1:])
classes = st.integers(0, len(LABELS) - 1)


def quoted(*names: str) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(names)
    return text.getvalue().strip()


def test_the_published_list_is_whole() -> None:
    assert len(LABELS) == len(IDS) == len(set(IDS)) == 521
    assert sum("," in label for label in LABELS) == 73
    assert (LABELS[0], IDS[0]) == ("Speech", "/m/09x0r")


@pytest.mark.parametrize("number", range(len(LABELS)))
def test_every_class_by_each_of_its_names(number: int) -> None:
    label = LABELS[number]
    for asked in (label, quoted(label), label.upper(), str(number), IDS[number]):
        assert find_classes([asked], LABELS, IDS) == (number,), asked


@given(st.lists(st.tuples(classes, st.sampled_from(("name", "number", "id"))), min_size=1))
def test_several_at_once_are_as_each_repeated(chosen: list[tuple[int, str]]) -> None:
    spelt = [
        {"name": LABELS[number], "number": str(number), "id": IDS[number]}[way]
        for number, way in chosen
    ]
    wanted = tuple(sorted({number for number, _ in chosen}))
    assert find_classes(spelt, LABELS, IDS) == wanted
    assert find_classes([quoted(*spelt)], LABELS, IDS) == wanted
    assert find_classes([quoted(name) for name in spelt], LABELS, IDS) == wanted


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("Speach", "'Speech'"),
        ("faucet", "'Water tap, faucet'"),
        ("Water tap, sink", "'Water tap, faucet'"),
        ("521", "There are 'Speech'"),
        ("/m/none", "no class is called '/m/none'"),
        ('"Dog', "CSV"),
        ("", "no classes are named"),
    ],
)
def test_an_unknown_class_is_an_error_that_suggests(asked: str, words: str) -> None:
    with pytest.raises(LabelError) as caught:
        find_classes([asked], LABELS, IDS)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "labels"),
    [
        ("DOG", ("Dog", "dog", "cat")),  # but for upper and lower case
        ("1", ("7", "cat", "1")),  # a number, and another one's name
        ("cat, dog", ("cat, dog", "cat", "dog")),  # one class, and two
    ],
)
def test_what_could_be_several_is_an_error(asked: str, labels: tuple[str, ...]) -> None:
    with pytest.raises(LabelError, match=r"could be|of several"):
        find_classes([asked], labels)


def test_names_of_one_case_are_told_apart() -> None:
    assert find_classes(["dog"], ("Dog", "dog")) == (1,)
    assert find_classes(['"cat, dog"'], ("cat, dog", "cat", "mouse")) == (0,)
