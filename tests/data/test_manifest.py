from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.core.errors import DataError
from earmark.core.event import Event
from earmark.data.manifest import Evaluation, Source, load_manifest, refuse_damage

SYNTHETIC = "audio/train/synthetic21_train/soundscapes"
SYNTHETIC_TSV = "metadata/train/synthetic21_train/soundscapes.tsv"
REAL = "audio/train/strong_label_real"
REAL_TSV = "metadata/train/audioset_strong.tsv"
WEAK = "audio/train/weak"
WEAK_TSV = "metadata/train/weak.tsv"
UNLABELLED = "audio/train/unlabel_in_domain"
VALIDATION = "audio/validation/validation"
VALIDATION_TSV = "metadata/validation/validation.tsv"


def clips(root: Path, folder: str, names: Sequence[str], samples: int = 160) -> None:
    for name in names:
        path = root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(samples, dtype=np.int16), 16_000)


def strong(root: Path, path: str, rows: Mapping[str, Sequence[tuple[float, float, str]]]) -> None:
    lines = ["filename\tonset\toffset\tevent_label"]
    for name, events in rows.items():
        lines += [f"{name}\t{on}\t{off}\t{label}" for on, off, label in events] or [f"{name}\t\t\t"]
    text(root, path, lines)


def text(root: Path, path: str, lines: Sequence[str]) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text("\n".join(lines) + "\n")


def source(root: Path, name: str) -> Source:
    return next(part for part in load_manifest(root).train if part.name == name)


def names_of(part: Source | Evaluation) -> list[str]:
    return [path.name for path in part.clips]


@pytest.fixture
def desed(tmp_path: Path) -> Path:
    """A small tree with every part."""
    root = tmp_path / "dataset"
    clips(root, SYNTHETIC, ["0.wav", "1.wav"])
    strong(root, SYNTHETIC_TSV, {"0.wav": [(0, 1, "Dog")], "1.wav": [(0, 1, "Cat")]})
    clips(root, REAL, ["r.wav"])
    strong(root, REAL_TSV, {"r.wav": [(0.5, 2, "Speech")]})
    clips(root, WEAK, ["w.wav"])
    text(root, WEAK_TSV, ["filename\tevent_labels", "w.wav\tDog,Blender"])
    clips(root, UNLABELLED, ["u.wav", "v.wav"])
    clips(root, VALIDATION, ["0.wav", "y.wav"], 320)
    strong(root, VALIDATION_TSV, {"0.wav": [(0, 0.5, "Frying")], "y.wav": []})
    text(
        root,
        "metadata/validation/validation_durations.tsv",
        ["filename\tduration", "0.wav\t10.0", "y.wav\t9.971"],
    )
    clips(root, "audio/eval/public", ["p.wav"], 480)
    strong(root, "metadata/eval/public.tsv", {"p.wav": [(0, 0.01, "Cat")]})
    clips(root, "audio/validation/synthetic21_validation/soundscapes", ["7.wav"])
    strong(
        root,
        "metadata/validation/synthetic21_validation/soundscapes.tsv",
        {"7.wav": [(0, 1, "Dog")]},
    )
    return root


def test_every_part(desed: Path) -> None:
    manifest = load_manifest(desed)
    assert [(part.kind, part.name, len(part.clips)) for part in manifest.train] == [
        ("strong", "synthetic", 2),
        ("strong", "real", 1),
        ("weak", "weak", 1),
        ("unlabelled", "unlabelled", 2),
    ]
    assert manifest.labels.names == ("Blender", "Cat", "Dog", "Frying", "Speech")
    assert list(manifest.splits) == ["validation", "test", "synthetic_validation"]
    assert source(desed, "weak").weak == {"w.wav": ("Dog", "Blender")}
    validation = manifest.splits["validation"]
    assert validation.durations == {"0.wav": 10.0, "y.wav": 9.971}
    assert (len(validation.clips), validation.listed, validation.missing) == (2, 2, ())
    assert manifest.splits["test"].durations == {"p.wav": 0.03}  # from its header
    assert manifest.notes == ()


def test_equal_names_in_two_subsets_keep_their_own_labels(desed: Path) -> None:
    events = source(desed, "synthetic").events
    assert events is not None
    assert events["0.wav"] == [Event(0.0, 1.0, "Dog")]
    validation = load_manifest(desed).splits["validation"]
    assert validation.events == {"0.wav": [Event(0.0, 0.5, "Frying")]}
    assert all("validation" in path.parts for path in validation.clips)


@pytest.mark.parametrize("keep", [["synthetic"], ["real"], ["weak"], ["validation"]])
def test_every_part_is_optional(keep: list[str], desed: Path) -> None:
    folders = {"synthetic": SYNTHETIC, "real": REAL, "weak": WEAK, "validation": VALIDATION}
    kept = [desed / folders[name] for name in keep]
    for path in sorted(desed.glob("audio/**/*.wav")):
        if path.parent not in kept:
            path.unlink()
    manifest = load_manifest(desed)
    found = [part.name for part in manifest.train if part.clips] + list(manifest.splits)
    assert found == keep
    assert len(manifest.labels) == 5  # the classes do not depend on which clips were found


def test_16_khz_folders_are_preferred_and_filled_up(desed: Path) -> None:
    clips(desed, f"{SYNTHETIC}_16k", ["1.wav"])
    paths = source(desed, "synthetic").clips
    assert [path.parent.name for path in paths] == ["soundscapes", "soundscapes_16k"]
    clips(desed, f"{SYNTHETIC}_16k", ["0.wav"])
    shutil.rmtree(desed / SYNTHETIC)
    assert names_of(source(desed, "synthetic")) == ["0.wav", "1.wav"]
    clips(desed, f"{UNLABELLED}_16k", ["sub/u.wav"])
    unlabelled = source(desed, "unlabelled").clips
    assert sorted(path.parent.name for path in unlabelled) == ["sub", "unlabel_in_domain"]


def test_clips_are_found_by_name_without_suffix_and_renamed(desed: Path) -> None:
    (desed / WEAK / "w.wav").unlink()
    clips(desed, WEAK, ["w.flac", "00pbt6aJV8Y_350.000_360.000.flac", "deep/z.wav"])
    text(
        desed,
        WEAK_TSV,
        [
            "filename\tevent_labels",
            "w.wav\tDog",
            "Y00pbt6aJV8Y_350.000_360.000.wav\tCat",
            "z\tSpeech",
        ],
    )
    weak = source(desed, "weak")
    assert weak.missing == ()
    assert weak.weak == {
        "w.flac": ("Dog",),
        "00pbt6aJV8Y_350.000_360.000.flac": ("Cat",),
        "deep/z.wav": ("Speech",),
    }
    (desed / REAL / "r.wav").unlink()
    clips(desed, REAL, ["r.flac"])
    events = source(desed, "real").events
    assert events is not None
    assert [name for name, own in events.items() for _ in own] == ["r.flac"]


def test_missing_and_empty_clips_are_counted_and_named(desed: Path) -> None:
    (desed / SYNTHETIC / "1.wav").unlink()
    (desed / VALIDATION / "y.wav").write_bytes(b"")
    manifest = load_manifest(desed)
    synthetic = manifest.train[0]
    assert (names_of(synthetic), synthetic.missing) == (["0.wav"], ("1.wav",))
    assert synthetic.events is not None
    assert [e.event_label for own in synthetic.events.values() for e in own] == ["Dog"]
    validation = manifest.splits["validation"]
    assert (len(validation.clips), validation.listed) == (1, 2)
    assert validation.missing == ("y.wav",)
    assert list(validation.durations) == ["0.wav"]
    assert any("synthetic: 1 of 2" in note and "1.wav" in note for note in manifest.notes)
    assert any("validation: 1 of 2" in note and "y.wav" in note for note in manifest.notes)


def test_clips_without_events_are_kept(desed: Path) -> None:
    strong(desed, SYNTHETIC_TSV, {"0.wav": [], "1.wav": [(0, 1, "Cat")]})
    assert names_of(source(desed, "synthetic")) == ["0.wav", "1.wav"]
    assert names_of(load_manifest(desed).splits["validation"]) == ["0.wav", "y.wav"]


def test_unlabelled_clips_with_labels_elsewhere_are_left_out(desed: Path) -> None:
    clips(desed, UNLABELLED, ["sub/w.flac", "sub/r.wav", "sub/deeper/n.wav"])
    unlabelled = source(desed, "unlabelled")
    assert sorted(names_of(unlabelled)) == ["n.wav", "u.wav", "v.wav"]
    assert sorted(unlabelled.excluded) == ["sub/r.wav", "sub/w.flac"]
    notes = load_manifest(desed).notes
    assert any("1 of 5 clips left out, they are in real (sub/r.wav)" in note for note in notes)
    assert any("1 of 4 clips left out, they are in weak (sub/w.flac)" in note for note in notes)


def test_a_test_set_of_its_own_comes_before_the_public_one(desed: Path) -> None:
    clips(desed, "audio/test/test", ["t.wav"])
    strong(desed, "metadata/test/test.tsv", {"t.wav": []})
    assert names_of(load_manifest(desed).splits["test"]) == ["t.wav"]


def test_audio_without_labels_is_told(desed: Path) -> None:
    (desed / WEAK_TSV).unlink()
    manifest = load_manifest(desed)
    assert "weak" not in [part.name for part in manifest.train]
    assert any(WEAK_TSV in note for note in manifest.notes)


@pytest.mark.parametrize("place", ["inside", "beside"])
def test_synthetic_parts_under_a_second_root(place: str, desed: Path) -> None:
    second = (desed if place == "inside" else desed.parent) / "dcase_synth"
    for part in (SYNTHETIC, SYNTHETIC_TSV):
        (second / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(desed / part, second / part)
    assert names_of(source(desed, "synthetic")) == ["0.wav", "1.wav"]


def test_isolated_events_beside_soundscapes_do_not_take_their_place(desed: Path) -> None:
    clips(desed, f"{SYNTHETIC}/0_events", ["0.wav", "foreground0_Dog.wav"], 50)
    assert source(desed, "synthetic").clips[0] == desed / SYNTHETIC / "0.wav"


def test_folder_above_the_dataset(desed: Path) -> None:
    assert load_manifest(desed.parent).root == desed


def test_nothing_to_learn_from(tmp_path: Path, desed: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load_manifest(tmp_path / "none")
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match=r"no labelled clip.*DESED"):
        load_manifest(tmp_path / "other")
    for path in desed.glob("audio/**/*.wav"):
        if UNLABELLED not in path.as_posix():
            path.unlink()
    with pytest.raises(DataError, match="synthetic: 2 of 2 clips listed are missing"):
        load_manifest(desed)


def test_damaged_files_are_named_and_the_rest_is_used(desed: Path) -> None:
    before = load_manifest(desed)
    assert before.damage == ()
    (desed / "audio/eval/public/p.wav").write_bytes(b"no audio")  # its duration is not listed
    text(desed, WEAK_TSV, ["filename\tlabels", "w.wav\tDog"])
    strong(desed, SYNTHETIC_TSV, {"0.wav": [(0, 1, "Dog"), (2, 1, "Cat")], "1.wav": []})
    strong(desed, VALIDATION_TSV, {"0.wav": [(0, 0.5, "Frying")], "y.wav": [(-1, 1, "Cat")]})
    manifest = load_manifest(desed)
    assert [part.name for part in manifest.train] == ["synthetic", "real", "unlabelled"]
    assert (names_of(manifest.train[0]), manifest.train[0].faulty) == (["1.wav"], ("0.wav",))
    assert "test" not in manifest.splits
    validation = manifest.splits["validation"]
    assert (names_of(validation), validation.faulty, validation.listed) == (
        ["0.wav"],
        ("y.wav",),
        2,
    )
    told = "\n".join(manifest.damage)
    for part in (r"p.wav is left out, it cannot be read", "weak.tsv:1: no column event_labels"):
        assert part in told
    assert "synthetic: 1 of 2 clips left out, 1 row of their labels" in told
    assert "soundscapes.tsv:3: an event from 2 s to 1 s" in told


def test_a_dangling_link_is_a_missing_clip(desed: Path) -> None:
    (desed / WEAK / "w.wav").unlink()
    (desed / WEAK / "w.wav").symlink_to(desed / "nowhere.wav")
    assert source(desed, "weak").missing == ("w.wav",)


def test_fingerprint_is_of_the_content(desed: Path, tmp_path: Path) -> None:
    first = load_manifest(desed)
    assert len(first.fingerprint) == 16
    assert int(first.fingerprint, 16) >= 0
    copy = tmp_path / "elsewhere"
    shutil.copytree(desed, copy)
    lines = (copy / SYNTHETIC_TSV).read_text().splitlines()
    text(copy, SYNTHETIC_TSV, [lines[0], *reversed(lines[1:])])
    again = load_manifest(copy)
    assert again.fingerprint == first.fingerprint
    assert again.splits["validation"].fingerprint == first.splits["validation"].fingerprint


def test_fingerprint_changes_with_the_data(desed: Path) -> None:
    seen = {load_manifest(desed).fingerprint}

    def changed() -> bool:
        seen.add(load_manifest(desed).fingerprint)
        return len(seen) == expected

    expected = 2
    strong(desed, REAL_TSV, {"r.wav": [(0.5, 2.001, "Speech")]})
    assert changed()
    expected = 3
    text(desed, WEAK_TSV, ["filename\tevent_labels", "w.wav\tDog"])
    assert changed()
    expected = 4
    clips(desed, UNLABELLED, ["u.wav"], 161)
    assert changed()
    expected = 5
    (desed / UNLABELLED / "u.wav").rename(desed / UNLABELLED / "renamed.wav")
    assert changed()
    expected = 6
    (desed / VALIDATION / "y.wav").unlink()
    assert changed()


def test_damage_can_be_refused(desed: Path) -> None:
    refuse_damage(load_manifest(desed))
    (desed / SYNTHETIC / "1.wav").unlink()
    (desed / WEAK_TSV).unlink()
    with pytest.raises(DataError, match=r"synthetic: 1 of 2 .*\(1\.wav\); and 1 more.*doctor"):
        refuse_damage(load_manifest(desed))
