"""Names of recordings: unique by construction, and found by whatever other programs list."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.core.errors import LabelError
from earmark.core.naming import (
    RecordingNames,
    UnclearNameError,
    base_name,
    by_base_name,
    common_root,
    listed_at,
    names_from,
    parse_listed,
    without_suffix,
)

ROOT = Path("/here/rec")
FOLDERS = st.sampled_from(["a", "b", "site 1", "Küche", "100%"])
NAMES = st.sampled_from(["0500.wav", "0500.WAV", "0500.flac", "x.wav", "x.y.wav", "été 1.wav"])
TREES = st.sets(
    st.tuples(st.lists(FOLDERS, max_size=3).map(tuple), NAMES).map(
        lambda t: "/".join((*t[0], t[1]))
    ),
    min_size=1,
    max_size=7,
).map(sorted)

FORMS: dict[str, Callable[[str], str]] = {
    "name": lambda name: name,
    "same machine": lambda name: f"/here/rec/{name}",
    "windows": lambda name: "D:\\old\\rec\\" + name.replace("/", "\\"),
    "other place": lambda name: f"/media/disk/{name}",
    "share": lambda name: "\\\\server\\share\\" + name.replace("/", "\\"),
    "url": lambda name: f"file:///C:/old/{quote(name)}",
    "url of one slash": lambda name: f"file:/old/{quote(name)}",
    "bucket": lambda name: f"s3://bucket/{name}",
    "from here": lambda name: f"./{name}",
    "decomposed": lambda name: unicodedata.normalize("NFD", name),
}


def recordings(names: list[str]) -> RecordingNames:
    return RecordingNames.of_files({ROOT / name: name for name in names})


@pytest.mark.parametrize("form", FORMS)
@given(tree=TREES)
def test_every_recording_is_found_by_its_path_in_any_form(form: str, tree: list[str]) -> None:
    """Right or an error, never another recording."""
    listed = {FORMS[form](name): name for name in tree}
    try:
        found = recordings(tree).match(listed)
    except UnclearNameError:
        # Only a root that differs and shows nothing: all in one folder of equal names elsewhere.
        assert form not in ("name", "same machine", "from here", "decomposed")
        return
    assert all(found[name] == own for name, own in listed.items() if name in found)
    if form in ("name", "same machine", "from here", "decomposed"):
        assert found == listed


@given(tree=TREES)
def test_a_base_name_alone_counts_where_it_is_clear(tree: list[str]) -> None:
    for name in tree:
        base, found = base_name(name), None
        alike = [own for own in tree if base_name(own) == base]
        try:
            found = recordings(tree).find(base)
        except UnclearNameError as error:
            unclear = error.recordings
        else:
            unclear = ()
            assert found == (base if base in tree else alike[0])
        assert bool(unclear) == (len(alike) > 1 and base not in tree)
        assert not unclear or set(unclear) == set(alike)


@given(tree=TREES, data=st.data())
def test_a_name_that_is_not_there_is_not_another(tree: list[str], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(tree))
    rest = [name for name in tree if name != gone]
    for form in ("name", "windows", "url"):
        listed = {FORMS[form](name): name for name in tree}
        if not rest:
            continue
        try:
            found = recordings(rest).match(listed)
        except UnclearNameError:
            continue
        wrong = found.get(FORMS[form](gone))
        # At most a copy in another format of the very same place.
        assert wrong is None or without_suffix(wrong).casefold() == without_suffix(gone).casefold()


@given(tree=TREES)
def test_files_of_a_tree_beside_belong_to_their_own_recordings(tree: list[str]) -> None:
    known = recordings(tree)
    for labels in (ROOT, Path("/here/labels")):
        for name in tree:
            own = listed_at((labels / name).with_suffix(""), labels)
            try:
                found = known.match([own]).get(own.text)
            except UnclearNameError as error:
                stems = {without_suffix(one).casefold() for one in error.recordings}
                assert len(stems) == 1  # in two formats
                continue
            assert found is not None
            assert without_suffix(found).casefold() == without_suffix(name).casefold()


def test_the_longest_tail_wins_over_the_file_beside() -> None:
    known = recordings(["0500.wav", "site2/0500.wav"])
    listed = ["C:\\proj\\rec\\0500.wav", "C:\\proj\\rec\\site2\\0500.wav"]
    for beside in (None, ROOT, ROOT / "site2"):
        assert list(known.match(listed, beside=beside).values()) == ["0500.wav", "site2/0500.wav"]
    assert known.find("0500.wav", beside=ROOT / "site2") == "site2/0500.wav"
    assert known.find("0500.wav", beside=ROOT) == "0500.wav"
    assert known.find("0500.wav") == "0500.wav"
    elsewhere = ["C:\\mine\\0500.wav", "C:\\mine\\site2\\0500.wav"]  # the root has another name
    assert list(known.match(elsewhere).values()) == ["0500.wav", "site2/0500.wav"]


def test_what_is_not_clear_names_both() -> None:
    known = recordings(["site1/0500.wav", "site2/0500.wav", "site3/x.wav"])
    for name in ("0500.wav", "0500", "D:\\0500.wav"):
        with pytest.raises(LabelError, match=r"could be site1/0500\.wav and site2/0500\.wav"):
            known.find(name, where="t.csv")
    for name in ("site3/0500.wav", "D:\\rec\\site3\\0500.wav", "site9/x.wav", "y.wav"):
        assert known.find(name) is None  # its folder is known and does not hold it, or differs
    assert known.find("D:\\anywhere\\x.wav") == "site3/x.wav"
    loose: dict[str, str] = {}
    assert known.match(["site9/x.wav", "site3/0500.wav", "y.wav"], loose=loose) == loose
    assert loose == {"site9/x.wav": "site3/x.wav"}
    assert "'site9/x.wav' is taken for site3/x.wav" in by_base_name(loose)[0]
    alone = recordings(["0500.wav"])
    with pytest.raises(LabelError, match=r"'2023/0500\.wav' and '2024/0500\.wav' could both be"):
        alone.match(["2023/0500.wav", "2024/0500.wav"])
    faults: dict[str, UnclearNameError] = {}
    assert alone.match(["2023/0500.wav", "2024/0500.wav"], faults=faults) == {}
    assert list(faults) == ["2023/0500.wav", "2024/0500.wav"]
    assert len(alone.match(["0500.wav", "rec/0500.wav", "/here/rec/0500.wav", "0500"])) == 4
    with pytest.raises(LabelError, match=r"'0500\.wav' and 'a/0500\.wav' could both be a/0500"):
        recordings(["a/0500.wav"]).match(["0500.wav", "a/0500.wav"])


def test_suffix_and_case_decide_only_between_equals() -> None:
    known = recordings(["a/x.wav", "a/x.flac", "b/X.wav", "c/y.flac"])
    assert known.find("a/x.flac") == "a/x.flac"
    assert known.find("x.flac") == "a/x.flac"
    assert known.find("X.wav") == "b/X.wav"
    assert known.find("c/Y.WAV") == "c/y.flac"
    with pytest.raises(LabelError, match=r"'a/x' could be a/x\.wav and a/x\.flac"):
        known.find("a/x")


def test_names_begin_at_the_root_of_what_was_given(tmp_path: Path) -> None:
    for folder in ("rec/site1", "rec/site2"):
        (tmp_path / folder).mkdir(parents=True)
    one, two = tmp_path / "rec/site1/x.wav", tmp_path / "rec/site2/x.wav"
    one.touch()
    two.touch()
    assert common_root([tmp_path / "rec"]) == tmp_path / "rec"
    assert common_root([one]) == one.parent
    assert names_from(common_root([one, two]), [one, two]) == {
        one: "site1/x.wav",
        two: "site2/x.wav",
    }
    assert names_from(common_root([two.parent]), [two]) == {two: "x.wav"}
    assert names_from(two.parent, [one])[one].endswith("rec/site1/x.wav")


@given(parts=st.lists(st.text("ab%20 ÄC:\\.#?&'", min_size=1), min_size=1, max_size=4))
def test_any_text_can_be_taken_apart(parts: list[str]) -> None:
    for text in ("/".join(parts), "\\".join(parts), "file:///" + "/".join(parts)):
        listed = parse_listed(text)
        for reading in listed.readings:
            assert reading
            assert all(part not in ("", ".", "..") for part in reading)
            assert PurePosixPath(*reading).parts == reading
