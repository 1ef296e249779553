"""Every clip in one place: held-out clips, shared ones, test clips that must not be trained on."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from earmark.core.config import DataSettings
from earmark.core.errors import LabelError
from earmark.data.clips import promised_seconds, same_bytes
from earmark.data.leakage import hold_out_as_v1, hold_out_by_name
from earmark.data.manifest import Manifest, load_manifest
from helpers import trees
from helpers.trees import clip, table

YOUTUBE = "Y00pbt6aJV8Y_350.000_360.000.wav"
OTHER = "Y-aj7y1dvNI0_30.000_40.000.wav"


def strong(path: Path, *names: str) -> None:
    trees.strong(path, {name: [(0, 0.01, "Dog")] for name in names})


def weak(path: Path, *names: str) -> None:
    trees.weak(path, dict.fromkeys(names, "Cat"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four recordings of each kind, all different, and a validation set."""
    for number, (folder, kind) in enumerate(
        (("strong_label_real", "r"), ("weak", "w"), ("unlabel_in_domain", "u"))
    ):
        for index in range(4):
            value = 0.1 * number + 0.01 * index
            clip(tmp_path / f"audio/train/{folder}/{kind}{index}.wav", value)
    strong(tmp_path / "metadata/train/audioset_strong.tsv", *(f"r{i}.wav" for i in range(4)))
    weak(tmp_path / "metadata/train/weak.tsv", *(f"w{i}.wav" for i in range(4)))
    clip(tmp_path / "audio/validation/validation/v.wav", 0.7)
    strong(tmp_path / "metadata/validation/validation.tsv", "v.wav")
    return tmp_path


def clips(manifest: Manifest, name: str) -> list[str]:
    (part,) = (part for part in (*manifest.train, *manifest.held_out) if part.name == name)
    return [path.name for path in part.clips]


def test_weak_clips_are_held_out_as_pandas_draws_rows() -> None:
    """The published system: ``weak = table.sample(frac=0.9, random_state=42)``, rest validates."""
    names = [f"Y{number:011d}_0.000_10.000.wav" for number in range(1578)]
    frame = pd.DataFrame({"filename": names, "event_labels": "Dog"})
    train = frame.sample(frac=0.9, random_state=42)
    held_out = hold_out_as_v1(names, 0.1)
    assert held_out == set(frame.drop(train.index)["filename"])
    assert (len(names) - len(held_out), len(held_out)) == (1420, 158)


def test_missing_clips_do_not_change_sides(root: Path) -> None:
    settings = DataSettings(weak_held_out=0.5, real_held_out=0.5)
    whole = load_manifest(root, settings)
    assert len(clips(whole, "weak")) == len(clips(whole, "weak_held_out")) == 2
    assert len(clips(whole, "real")) == len(clips(whole, "real_held_out")) == 2
    lost = [clips(whole, "weak")[0], clips(whole, "weak_held_out")[0]]
    lost += [clips(whole, "real")[0], clips(whole, "real_held_out")[0]]
    for path in root.rglob("*.wav"):
        if path.name in lost:
            path.unlink()
    holes = load_manifest(root, settings)
    for name in ("weak", "real", "weak_held_out", "real_held_out"):
        assert clips(holes, name) == [clip for clip in clips(whole, name) if clip not in lost]
    (held_out,) = (part for part in holes.held_out if part.name == "weak_held_out")
    assert held_out.missing == (lost[1],)
    split = holes.splits["real_held_out"]
    assert (len(split.clips), split.listed) == (1, 2)
    assert set(split.durations.values()) == {0.05}
    assert "weak_held_out" not in holes.splits  # weak labels cannot be scored by events
    assert whole.fingerprint != load_manifest(root).fingerprint


def test_our_own_division_depends_on_names_alone() -> None:
    names = [f"Y{number:011d}_0.000_10.000.wav" for number in range(3373)]
    held_out = hold_out_by_name(names, 373 / 3373)
    assert len(held_out) == 373
    assert held_out == hold_out_by_name(reversed(names), 373 / 3373)
    bare = {name[1:].replace(".wav", ".flac") for name in names}
    assert {f"Y{name}".replace(".flac", ".wav") for name in hold_out_by_name(bare, 373 / 3373)} == (
        held_out
    )


def test_the_tables_of_the_published_division_decide(root: Path) -> None:
    folder = root / "metadata/train"
    strong(folder / "audioset_strong_train.tsv", "r0.wav", "r3.wav", "gone.wav")
    strong(folder / "audioset_strong_val.tsv", "r1.wav")
    table(folder / "audioset_strong_val_dur.tsv", "filename\tduration", "r1.wav\t9.5")
    manifest = load_manifest(root, DataSettings(real_held_out=0.5))
    assert clips(manifest, "real") == ["r0.wav", "r3.wav"]
    assert clips(manifest, "real_held_out") == ["r1.wav"]
    assert manifest.splits["real_held_out"].durations == {"r1.wav": 9.5}
    assert len(clips(load_manifest(root), "real")) == 4  # not asked for
    (folder / "audioset_strong.tsv").unlink()
    assert clips(load_manifest(root), "real") == ["r0.wav", "r3.wav", "r1.wav"]


def test_test_clips_are_never_trained_on(root: Path) -> None:
    strong(root / "metadata/validation/validation.tsv", "v.wav", YOUTUBE, OTHER)
    clip(root / "audio/validation/validation" / YOUTUBE)
    # The other is listed and lost, yet it is a test clip: other people's scores count it.
    for folder in ("strong_label_real", "weak", "unlabel_in_domain"):
        clip(root / f"audio/train/{folder}" / YOUTUBE[1:].replace("wav", "flac"), 0.3)
        clip(root / f"audio/train/{folder}" / OTHER, 0.4)
        clip(root / f"audio/train/{folder}" / "v.wav", 0.7)  # the same bytes
    own = [f"{i}.wav" for i in ("r0", "r1")]
    strong(root / "metadata/train/audioset_strong.tsv", *own, YOUTUBE, OTHER, "v.wav")
    weak(root / "metadata/train/weak.tsv", "w0.wav", YOUTUBE, OTHER, "v.wav")
    for shared in ("leave_out", "keep"):
        manifest = load_manifest(root, DataSettings.model_validate({"shared": shared}))
        assert clips(manifest, "real") == own
        assert clips(manifest, "weak") == ["w0.wav"]
        assert clips(manifest, "unlabelled") == [f"u{i}.wav" for i in range(4)]
    assert "real: 3 of 5 clips left out, they are in validation" in "\n".join(manifest.notes)
    assert manifest.train[0].events is not None
    assert set(manifest.train[0].events) == set(own)


def test_equal_names_of_different_recordings_stay(root: Path) -> None:
    clip(root / "audio/train/weak/v.wav", 0.2)
    clip(root / "audio/train/strong_label_real/w0.wav", 0.3)
    weak(root / "metadata/train/weak.tsv", "w0.wav", "v.wav")
    strong(root / "metadata/train/audioset_strong.tsv", "r0.wav", "w0.wav")
    manifest = load_manifest(root)
    assert clips(manifest, "weak") == ["w0.wav", "v.wav"]
    assert clips(manifest, "real") == ["r0.wav", "w0.wav"]


def test_a_clip_with_two_kinds_of_label_keeps_the_better_one(root: Path) -> None:
    clip(root / "audio/train/weak" / YOUTUBE, 0.2)
    clip(root / "audio/train/strong_label_real" / YOUTUBE, 0.3)
    clip(root / "audio/train/unlabel_in_domain" / YOUTUBE, 0.4)
    clip(root / "audio/train/unlabel_in_domain" / "w1.flac", 0.5)
    weak(root / "metadata/train/weak.tsv", YOUTUBE, "w1.wav")
    strong(root / "metadata/train/audioset_strong.tsv", YOUTUBE)
    manifest = load_manifest(root)
    assert clips(manifest, "real") == [YOUTUBE]
    assert clips(manifest, "weak") == ["w1.wav"]
    assert clips(manifest, "unlabelled") == [f"u{i}.wav" for i in range(4)]
    kept = load_manifest(root, DataSettings(shared="keep"))
    assert clips(kept, "weak") == [YOUTUBE, "w1.wav"]
    assert YOUTUBE in clips(kept, "unlabelled")


def test_held_out_clips_are_not_trained_on_elsewhere(root: Path) -> None:
    for index in range(4):
        (root / f"audio/train/weak/r{index}.wav").write_bytes(
            (root / f"audio/train/strong_label_real/r{index}.wav").read_bytes()
        )
    weak(root / "metadata/train/weak.tsv", *(f"r{i}.wav" for i in range(4)))
    settings = DataSettings(real_held_out=0.5, shared="keep")
    manifest = load_manifest(root, settings)
    assert len(clips(manifest, "weak")) == 2
    assert not set(clips(manifest, "weak")) & set(clips(manifest, "real_held_out"))


def test_clips_on_a_list_are_left_out(root: Path) -> None:
    rows = ["r0.wav\t", "w0.wav\tweak", "u0.wav\tweak"]
    table(root / "exclude.tsv", "filename\tsource", *rows)
    manifest = load_manifest(root, DataSettings(exclude=str(root / "exclude.tsv")))
    assert clips(manifest, "real") == ["r1.wav", "r2.wav", "r3.wav"]
    assert clips(manifest, "weak") == ["w1.wav", "w2.wav", "w3.wav"]
    assert len(clips(manifest, "unlabelled")) == 4
    with pytest.raises(LabelError, match="no such file"):
        load_manifest(root, DataSettings(exclude=str(root / "none.tsv")))


def test_bytes_and_names(tmp_path: Path) -> None:
    one, other, third = (tmp_path / name for name in "abc")
    one.write_bytes(b"x" * 200_000)
    other.write_bytes(b"x" * 200_000)
    third.write_bytes(b"x" * 199_999 + b"y")
    assert same_bytes(one, other)
    assert same_bytes(one, one)
    assert not same_bytes(one, third)
    assert not same_bytes(one, tmp_path / "none")
    assert promised_seconds(YOUTUBE) == promised_seconds(YOUTUBE[1:]) == 10.0
    assert promised_seconds("kitchen_1_2.wav") is None


def test_clips_of_one_recording_are_on_one_side() -> None:
    names = [f"r{n}_{k}.000_{k + 1}.000.wav" for n in range(20) for k in range(n % 4 + 1)]
    for fraction in (0.1, 0.3, 0.5, 0.9):
        held_out = hold_out_by_name(names, fraction)
        assert round(fraction * len(names)) <= len(held_out) < round(fraction * len(names)) + 4
        kept = {name.partition("_")[0] for name in set(names) - held_out}
        assert not kept & {name.partition("_")[0] for name in held_out}
    assert hold_out_by_name(names, 0.0) == set()
    assert hold_out_by_name(names, 1.0) == set(names)
