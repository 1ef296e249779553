"""Frame targets, batches by kind, and the stateless sampler."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.audio.audio import write_audio
from earmark.core.batch_settings import BatchSettings
from earmark.core.errors import ConfigError, DataError
from earmark.core.event import Event
from earmark.core.tables.labels import LabelSet
from earmark.core.timeline import FrameGrid
from earmark.data.dataset import (
    KINDS,
    Batch,
    ClipDataset,
    ClipGroup,
    LabelledClip,
    StepSampler,
    compose,
    frame_targets,
    split_evenly,
    step_loader,
)
from earmark.data.manifest import load_manifest

GRID = FrameGrid(1024)
LABELS = LabelSet(("a", "b"))
WINDOW = 160_000


@settings(max_examples=100, deadline=None)
@given(onset=st.floats(0, 9.9), length=st.floats(0.07, 5.0), hop=st.sampled_from([256, 640, 1024]))
def test_event_to_frames_and_back_within_a_frame(onset: float, length: float, hop: int) -> None:
    grid, offset = FrameGrid(hop), min(onset + length, 9.98)
    frames = grid.frames_in(WINDOW)
    targets = frame_targets([Event(onset, offset, "b")], LABELS, grid, frames)
    assert not targets[:, 0].any()
    active = np.flatnonzero(targets[:, 1])
    if len(active) == 0:  # begins in the part-frame after the last whole one
        assert onset >= grid.time(frames)
        return
    assert (np.diff(active) == 1).all()
    assert abs(grid.time(int(active[0])) - onset) <= grid.seconds + 1e-9
    end = min(offset, grid.time(frames))
    assert abs(grid.time(int(active[-1]) + 1) - end) <= grid.seconds + 1e-9


def test_overlapping_classes_and_several_events() -> None:
    events = [Event(0.0, 0.128, "a"), Event(0.064, 0.256, "b"), Event(0.3, 0.301, "a")]
    targets = frame_targets(events, LABELS, GRID, 6)
    np.testing.assert_array_equal(targets.T, [[1, 1, 0, 0, 1, 0], [0, 1, 1, 1, 0, 0]])


def _clip(folder: Path, name: str, seconds: float) -> Path:
    path = folder / name
    samples = np.full(int(seconds * 16_000), 0.25, dtype=np.float32)
    write_audio(path, samples)
    return path


def test_short_clips_are_padded_and_long_ones_cut(tmp_path: Path) -> None:
    clips = [
        LabelledClip(_clip(tmp_path, "short.wav", 4.0), "strong", events=(Event(3.0, 4.0, "a"),)),
        LabelledClip(_clip(tmp_path, "long.wav", 12.0), "weak", tags=("b",)),
    ]
    dataset = ClipDataset(clips, LABELS, GRID, WINDOW, cache_gib=0.0)
    waveform, strong, weak, valid, kind, *_ = dataset[0]
    assert len(waveform) == WINDOW
    assert torch.all(waveform[:64_000] == 0.25)
    assert not waveform[64_000:].any()
    assert valid.sum() == 63  # 62.5 frames of sound
    assert strong[:, 0].sum() == 17
    assert (weak.tolist(), KINDS[kind]) == ([1.0, 0.0], "strong")
    waveform, strong, weak, valid, kind, *_ = dataset[1]
    assert len(waveform) == WINDOW
    assert valid.all()
    assert not strong.any()
    assert (weak.tolist(), KINDS[kind]) == ([0.0, 1.0], "weak")


def test_cache_gives_the_same_clip(tmp_path: Path) -> None:
    path = _clip(tmp_path, "clip.wav", 2.0)
    dataset = ClipDataset([LabelledClip(path, "unlabelled")], LABELS, GRID, WINDOW)
    first = dataset[0][0]
    path.unlink()
    assert torch.equal(dataset[0][0], first)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    take=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_sampler_walks_each_share_without_repeats(sizes: list[int], take: int, seed: int) -> None:
    first, groups = 0, []
    for size in sizes:
        groups.append(ClipGroup("x", first, size, take))
        first += size
    steps = 12
    rows = [row for step in StepSampler(groups, seed, 0, steps) for row in step]
    for group in groups:
        own = [row for row in rows if group.first <= row < group.first + group.size]
        counts = Counter(own)
        assert len(own) == steps * take
        assert (
            max(counts.values()) - min(counts.get(group.first + i, 0) for i in range(group.size))
            <= 1
        )


def test_sampler_resumes_where_it_was() -> None:
    groups = [ClipGroup("a", 0, 7, 2), ClipGroup("b", 7, 5, 4)]
    whole = list(StepSampler(groups, 3, 0, 10))
    assert [*StepSampler(groups, 3, 0, 4), *StepSampler(groups, 3, 4, 10)] == whole
    parts = list(StepSampler(groups, 3, 0, 10, 1, 2, 2))
    assert len(parts) == len(StepSampler(groups, 3, 0, 10, 1, 2, 2)) == 20
    assert list(StepSampler(groups, 3, 6, 10, 1, 2, 2)) == parts[12:]


@settings(max_examples=30, deadline=None)
@given(
    takes=st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(sum),
    world=st.integers(1, 4),
    accumulate=st.integers(1, 3),
)
def test_every_clip_of_a_step_goes_to_one_part(
    takes: list[int], world: int, accumulate: int
) -> None:
    """Whatever the division: the same clips a step, each once, evenly dealt."""
    groups = [ClipGroup(str(n), 100 * n, 11, take) for n, take in enumerate(takes)]
    if sum(takes) < world * accumulate:
        with pytest.raises(ConfigError, match="cannot be divided"):
            StepSampler(groups, 3, 0, 4, 0, world, accumulate)
        return
    whole = list(StepSampler(groups, 3, 0, 4))
    ranks = [list(StepSampler(groups, 3, 0, 4, rank, world, accumulate)) for rank in range(world)]
    for step, together in enumerate(whole):
        turns = [step * accumulate + turn for turn in range(accumulate)]
        parts = [ranks[rank][turn] for turn in turns for rank in range(world)]
        assert sorted(row for part in parts for row in part) == sorted(together)
        for n in range(len(takes)):
            sizes = [sum(row // 100 == n for row in part) for part in parts]
            assert max(sizes) - min(sizes) <= 1
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert min(map(len, parts)) > 0


@pytest.mark.parametrize("parts", [2, 3, 4, 6, 8, 9, 12])
def test_the_papers_batch_is_dealt_in_proportion(parts: int) -> None:
    sizes = split_evenly([24, 24, 48, 48], parts)
    assert {sum(size) for size in sizes} == {144 // parts}
    for real, synthetic, weak, unlabelled in sizes:
        kinds = (real + synthetic, weak, unlabelled)
        assert max(kinds) - min(kinds) <= 1
        assert abs(real - 24 / parts) < 1


def _tree(root: Path, strong: str | None, weak: bool, unlabelled: bool) -> Path:
    audio, tables = root / "audio/train", root / "metadata/train"
    tables.mkdir(parents=True)
    if strong:
        (audio / strong).mkdir(parents=True)
        table = {
            "strong_label_real": tables / "audioset_strong.tsv",
            "synthetic21_train/soundscapes": tables / "synthetic21_train/soundscapes.tsv",
        }[strong]
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text("filename\tonset\toffset\tevent_label\ns.wav\t0.5\t1.0\ta\n")
        _clip(audio / strong, "s.wav", 2.0)
    if weak:
        (audio / "weak").mkdir(parents=True)
        (tables / "weak.tsv").write_text("filename\tevent_labels\nw.wav\ta,b\n")
        _clip(audio / "weak", "w.wav", 2.0)
    if unlabelled:
        (audio / "unlabel_in_domain").mkdir(parents=True)
        _clip(audio / "unlabel_in_domain", "u.wav", 2.0)
    return root


BATCH = BatchSettings(real=1, synthetic=2, weak=3, unlabelled=4)


@pytest.mark.parametrize("strong", ["strong_label_real", "synthetic21_train/soundscapes"])
def test_one_strong_source_fills_both_places(tmp_path: Path, strong: str) -> None:
    manifest = load_manifest(_tree(tmp_path, strong, weak=True, unlabelled=True))
    dataset, groups = compose(manifest, BATCH, GRID, WINDOW)
    sampler = StepSampler(groups, 0, 0, 1)
    (batch,) = step_loader(dataset, sampler, workers=0)
    assert isinstance(batch, Batch)
    assert [int(batch.of_kind(kind).sum()) for kind in KINDS] == [3, 3, 4]
    assert batch.weak[batch.of_kind("weak")].all()


@pytest.mark.parametrize(("weak", "unlabelled"), [(False, False), (False, True), (True, False)])
def test_absent_kinds_are_left_out(tmp_path: Path, weak: bool, unlabelled: bool) -> None:
    manifest = load_manifest(_tree(tmp_path, "strong_label_real", weak, unlabelled))
    _, groups = compose(manifest, BATCH, GRID, WINDOW)
    names = {group.name for group in groups}
    assert names == {"real", *(["weak"] if weak else []), *(["unlabelled"] if unlabelled else [])}


def test_a_batch_without_labels_is_refused(tmp_path: Path) -> None:
    manifest = load_manifest(_tree(tmp_path, "strong_label_real", weak=False, unlabelled=True))
    with pytest.raises(DataError, match="no labelled clip"):
        compose(manifest, BatchSettings(real=0, synthetic=0, weak=2, unlabelled=4), GRID, WINDOW)


def test_reading_processes_give_the_same_batches(tmp_path: Path) -> None:
    clips = [
        LabelledClip(_clip(tmp_path, f"{number}.wav", 0.5 + 0.01 * number), "strong")
        for number in range(12)
    ]
    sampler = StepSampler([ClipGroup("real", 0, 12, 4)], seed=1, start=0, stop=5)

    def batches(workers: int) -> list[torch.Tensor]:
        dataset = ClipDataset(clips, LabelSet(("a",)), FrameGrid(256), 16_000)
        return [batch.waveforms for batch in step_loader(dataset, sampler, workers)]

    for alone, shared in zip(batches(0), batches(2), strict=True):
        assert torch.equal(alone, shared)


def test_reading_processes_share_the_memory(tmp_path: Path) -> None:
    clips = [LabelledClip(_clip(tmp_path, f"{n}.wav", 1.0), "strong") for n in range(8)]
    size = 32_000  # bytes of a decoded clip
    dataset = ClipDataset(clips, LabelSet(("a",)), FrameGrid(256), 16_000, 4.5 * size / 2**30)
    dataset.share_cache(2)
    for number in range(8):
        dataset[number]
    assert len(dataset._cache) == 2


@pytest.fixture
def damaged(tmp_path: Path) -> ClipDataset:
    """Two groups of four clips each; the third and fourth of the first cannot be read."""
    clips = []
    for number in range(8):
        path = tmp_path / f"{number}.wav"
        write_audio(path, np.full(1600, 0.01 * (number + 1), dtype=np.float32))
        if number in (2, 3):
            path.write_bytes(path.read_bytes()[:700])  # breaks off
        clips.append(LabelledClip(path, "strong" if number < 4 else "unlabelled"))
    return ClipDataset(clips, LabelSet(("a",)), FrameGrid(256), 1600, sizes=[4, 4])


def test_the_next_clip_of_the_share_stands_in_for_one_that_cannot_be_read(
    damaged: ClipDataset,
) -> None:
    rows = [damaged.readable(row)[0] for row in range(8)]
    assert rows == [0, 1, 0, 0, 4, 5, 6, 7]  # around the end of the group, never into the other
    assert [damaged.readable(row)[0] for row in reversed(range(8))] == rows[::-1]
    item = damaged[2]
    assert torch.equal(item.waveform, damaged[0].waveform)
    assert [Path(path).name for path in item.unreadable] == ["2.wav", "3.wav"]
    assert "truncated" in item.unreadable[str(damaged.clips[2].path)]
    assert damaged[0].unreadable == {}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_names_the_clips_that_others_stand_in_for(
    damaged: ClipDataset, workers: int
) -> None:
    sampler = StepSampler([ClipGroup("a", 0, 4, 4), ClipGroup("b", 4, 4, 2)], 1, 0, 1)
    (batch,) = step_loader(damaged, sampler, workers)
    assert {Path(path).name for path in batch.unreadable} == {"2.wav", "3.wav"}
    assert len(batch.waveforms) == 6
    assert batch.to(torch.device("cpu")).unreadable == batch.unreadable


def test_a_share_without_a_readable_clip_is_told(damaged: ClipDataset) -> None:
    for clip in damaged.clips[:4]:
        clip.path.write_bytes(b"no audio")
    with pytest.raises(DataError, match=r"none of 4 clips can be read.*1\.wav.*earmark doctor"):
        damaged[1]
    assert damaged[4].unreadable == {}


def test_classes_a_source_is_not_labelled_for_are_unknown(tmp_path: Path) -> None:
    path = _clip(tmp_path, "clip.wav", 1.0)
    clips = [
        LabelledClip(path, "weak", tags=("b",), labelled=("b",)),
        LabelledClip(path, "strong", events=(Event(0, 1, "a"),)),
        LabelledClip(path, "unlabelled"),
    ]
    dataset = ClipDataset(clips, LABELS, GRID, WINDOW)
    assert [dataset[n].known.tolist() for n in range(3)] == [
        [False, True],
        [True, True],
        [False, False],
    ]
