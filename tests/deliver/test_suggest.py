"""What is suggested to be labelled: unsure, unlike, never what is labelled or tested on."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from earmark.core.errors import ConfigError, EarmarkError
from earmark.data.subsets import Evaluation, Source
from earmark.deliver.suggest import (
    Pool,
    choose_stretches,
    labelled_already,
    read_pool,
    suggest,
    tag_uncertainty,
)
from earmark.detect.detector import Detector
from earmark.detect.one_pass import one_pass_of
from helpers.app_pages import ToneScorer, tone_detector
from helpers.review_pages import RATE, sound


def test_uncertainty_is_one_bit_at_the_threshold_and_none_where_it_is_sure() -> None:
    values = np.array([[0.1, 0.0, 0.2, 1.0], [0.3, 0.0, 0.8, 0.2]])
    bits = tag_uncertainty(values, np.array([0.3, 0.5, 0.5, 0.5]))
    q = 0.8
    expected = [1.0, 0.0, -(q * np.log2(q) + (1 - q) * np.log2(1 - q)), 0.0]
    assert bits == pytest.approx(expected, abs=1e-4)


@given(st.floats(0, 1), st.floats(0.01, 0.99))
def test_uncertainty_is_a_number_of_bits(score: float, threshold: float) -> None:
    [bits] = tag_uncertainty(np.array([[score]]), np.array([threshold]))
    assert 0.0 <= bits <= 1.0


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 10))
def test_each_choice_is_the_best_beside_those_before_it(seed: int, count: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    worth, vectors = rng.random(count), rng.normal(size=(count, width))
    chosen, distances = choose_stretches(worth, vectors, 8)
    assert len(set(chosen)) == len(chosen) == min(8, count)
    assert chosen[0] == int(np.argmax(worth))
    centred = vectors - vectors.mean(axis=0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    for place in range(1, len(chosen)):
        far = np.array(
            [min((1 - unit[n] @ unit[m]) / 2 for m in chosen[:place]) for n in range(count)]
        )
        far = far.clip(0, 1)
        free = [n for n in range(count) if n not in chosen[:place]]
        best = max(worth[n] * far[n] for n in free)
        assert worth[chosen[place]] * far[chosen[place]] == pytest.approx(best, abs=1e-9)
        assert distances[place] == pytest.approx(far[chosen[place]], abs=1e-9)


def test_copies_are_not_suggested_twice() -> None:
    vectors = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1], [-1, -1]])
    chosen, _ = choose_stretches(np.array([1.0, 0.99, 0.5, 0.5, 0.2]), vectors, 3)
    assert sorted(chosen) == [0, 2, 4]


def test_the_budget_is_kept(tmp_path: Path) -> None:
    detector = tone_detector()
    files = {sound(tmp_path / f"{n}.wav", 23.0, 300.0 + 90 * n): f"{n}.wav" for n in range(3)}
    pool = read_pool(detector, files, length=5.0)
    assert not pool.embedded
    spans = [(one.onset, one.offset) for one in pool.candidates if one.name == "0.wav"]
    assert spans == [(0, 5), (5, 10), (10, 15), (15, 20), (20, 23)]
    found = suggest(pool, 21.0)
    assert sum(one.candidate.offset - one.candidate.onset for one in found) <= 21.0
    assert len(found) >= 4
    with pytest.raises(ConfigError, match="less than a stretch"):
        suggest(pool, 2.0)
    with pytest.raises(ConfigError, match="nothing is left"):
        suggest(Pool([], np.zeros((0, 1))), 60.0)
    left = read_pool(detector, files, length=5.0, skipped={"0.wav": [(4.0, 11.0)]})
    spans = [(one.onset, one.offset) for one in left.candidates if one.name == "0.wav"]
    assert spans == [(15, 20), (20, 23)]


def test_names_that_no_table_holds_are_named(tmp_path: Path) -> None:
    bad, good = sound(tmp_path / "a\nb.wav", 6.0), sound(tmp_path / "good.wav", 6.0)
    pool = read_pool(tone_detector(), {bad: bad.name, good: good.name})
    assert "Rename the recording" in pool.failures[bad]
    assert {one.name for one in pool.candidates} == {"good.wav"}


def test_bad_recordings_are_named(tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.wav", sound(tmp_path / "good.wav", 6.0)
    bad.write_bytes(b"no sound")
    pool = read_pool(tone_detector(), {bad: "bad.wav", good: "good.wav"})
    assert list(pool.failures) == [bad]
    assert {one.name for one in pool.candidates} == {"good.wav"}
    with pytest.raises(EarmarkError, match="no recording can be read"):
        read_pool(tone_detector(), {bad: "bad.wav"})


class Halves(ToneScorer):
    """A scorer whose encoder says of every frame its mean and its largest sample."""

    def one_pass(self) -> Any:
        return SimpleNamespace(
            context=0,
            samples=lambda frames: range(frames.start * 1024, frames.stop * 1024),
            encode=self.encode,
            score_frames=lambda waveforms, encoded: self.score_windows(waveforms, []),
        )

    def encode(self, samples: Any, first: int, frames: range) -> Any:
        whole = np.zeros((len(frames), 1024), np.float32)
        whole.flat[: len(samples)] = samples[: whole.size]
        return np.stack([np.abs(whole).mean(axis=1), whole.max(axis=1)], axis=1)


@pytest.mark.parametrize("seconds", [4.0, 37.0])
def test_embeddings_are_the_means_of_what_the_encoder_makes(seconds: float, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = (rng.normal(size=round(seconds * RATE)) * 0.1).astype(np.float32)
    path = tmp_path / "noise.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    pools = [
        read_pool(
            Detector(Halves(), threads=threads, batch_size=2), {path: "noise.wav"}, length=8.0
        )
        for threads in (1, 3)
    ]
    assert pools[0].embedded
    assert np.array_equal(pools[0].vectors, pools[1].vectors)
    drawn = np.random.default_rng(0).normal(size=(2, 128)) / np.sqrt(128)
    count = -(-len(samples) // 1024)
    each = Halves().encode(samples, 0, range(count)) @ drawn.astype(np.float32)
    place = ((np.arange(count) + 0.5) * 0.064 // 8.0).astype(int)
    for number, vector in enumerate(pools[0].vectors):
        expected = each[place == number].mean(axis=0)
        assert vector == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_real_bundle_is_heard_once(tmp_path: Path) -> None:
    detector = Detector.from_pretrained("home", runtime="onnx")
    assert one_pass_of(cast(Any, detector.network)) is not None
    path = sound(tmp_path / "tone.wav", 25.0)
    pool = read_pool(detector, {path: "tone.wav"})
    assert pool.embedded
    assert pool.vectors.shape == (3, 128)
    assert np.isfinite(pool.vectors).all()


def test_what_is_labelled_or_tested_on_is_known_by_name_and_by_content(tmp_path: Path) -> None:
    strong, test, free, pseudo = (
        sound(tmp_path / f"data/{n}.wav", 2.0, 300.0 + n) for n in range(4)
    )
    manifest = SimpleNamespace(
        train=(
            Source("strong", "s", (strong,), events={}),
            Source("unlabelled", "u", (free,)),
            Source("strong", "pseudo", (pseudo,), events={}, pseudo=True),  # by no one
        ),
        held_out=(),
        splits={"test": Evaluation("test", (test,), {}, {})},
    )
    pool = tmp_path / "pool"
    pool.mkdir()
    renamed = Path(shutil.copy(test, pool / "another name.wav"))
    same_name = sound(pool / "0.wav", 2.0, 999.0)  # every set has a 0.wav: the name says nothing
    new = sound(pool / "new.wav", 2.0, 777.0)
    pool_of = [strong, renamed, same_name, new, free, pseudo]
    out, left = labelled_already(pool_of, cast(Any, manifest))
    assert out == [strong, renamed]
    assert left == [same_name, new, free, pseudo]
