"""Weak-score masking, and the splits that a bundle's run kept back."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from earmark.core.config import dump_yaml, load_yaml
from earmark.core.errors import ConfigError
from earmark.core.folders import shipped_folder
from earmark.detect.detector import Detector
from earmark.detect.evaluate import load_split, score_clips
from earmark.detect.masked import MaskedNetwork, with_masks
from earmark.detect.network import as_scorer
from earmark.detect.postprocess_spec import PostProcess
from helpers import trees
from helpers.networks import BandEnergy, Output
from helpers.score_world import run as command

RATE = 16_000


def sound(seconds: float, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    level = np.repeat(rng.random(len(time) // 8000 + 1) ** 3, 8000)[: len(time)]
    return (0.2 * level * np.sin(2 * np.pi * 2000 * time)).astype(np.float32)


def test_a_class_is_silent_where_the_clip_denies_it() -> None:
    network = BandEnergy()
    waves = np.zeros((3, 160_000), dtype=np.float32)
    waves[0], waves[1, :40_000] = sound(10), sound(2.5)
    lengths = [160_000, 40_000, 160_000]
    strong, weak = as_scorer(network).score_both(waves, lengths)  # type: ignore[attr-defined]
    assert np.array_equal(strong, as_scorer(network).score_windows(waves, lengths))
    limit = float(np.sort(weak[:, 1])[1])  # the middle one of three, which is not above itself
    masked = MaskedNetwork(network, [0.0, limit, 0.999]).score_windows(waves, lengths)
    assert np.array_equal(masked[:, :, 0], strong[:, :, 0])
    expected = strong[:, :, 1] * (weak[:, 1] > limit)[:, None]
    assert np.array_equal(masked[:, :, 1], expected)
    assert expected.any()
    assert not masked[:, :, 2].any()


def test_nothing_changes_without_a_threshold() -> None:
    network = BandEnergy()
    assert with_masks(network, PostProcess()) is network
    assert with_masks(network, None) is network
    assert "weak_threshold" not in PostProcess().to_dict()
    kept = PostProcess(weak_threshold={"low": 0.2, "default": 0.0})
    assert PostProcess.from_dict(kept.to_dict()) == kept
    with pytest.raises(ConfigError, match="no weak_threshold for class 'mid'"):
        with_masks(network, PostProcess(weak_threshold={"low": 0.2}))
    with pytest.raises(ConfigError, match="weak_threshold"):
        PostProcess(weak_threshold=1.0)


class StrongAlone(BandEnergy):
    def forward(self, waveforms: Tensor) -> Output:
        class Strong(nn.Module):
            strong = super(StrongAlone, self).forward(waveforms).strong

        return Strong()  # type: ignore[return-value]


def test_a_network_without_weak_scores_is_refused() -> None:
    masked = with_masks(StrongAlone(), PostProcess(weak_threshold=0.3))
    with pytest.raises(ConfigError, match="gives none"):
        masked.score_windows(np.zeros((1, 160_000), np.float32), [160_000])  # type: ignore[union-attr]

    class Scorer:
        spec = BandEnergy().spec

        def score_windows(self, waveforms: np.ndarray, lengths: list[int]) -> np.ndarray:
            raise AssertionError

    with pytest.raises(ConfigError, match="gives none"):
        with_masks(Scorer(), PostProcess(weak_threshold=0.3))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mini` whose post-processing masks."""
    folder = tmp_path_factory.mktemp("masked") / "bundle"
    shutil.copytree(shipped_folder("bundles") / "mini", folder)
    content = load_yaml(folder / "postprocess.yaml")
    (folder / "postprocess.yaml").write_text(dump_yaml({**content, "weak_threshold": 0.4}))
    return folder


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_detectors_streams_and_both_runtimes_mask_alike(bundle: Path, runtime: str) -> None:
    rng = np.random.default_rng(5)
    audio = np.concatenate([sound(9), 0.05 * rng.standard_normal(6 * RATE), sound(8, 4)])
    audio = audio.astype(np.float32)
    detector = Detector.from_pretrained(bundle, runtime=runtime, threads=1)
    plain = Detector.from_pretrained("mini", runtime=runtime, threads=1)
    scores, before = detector.score((audio, RATE)), plain.score((audio, RATE))
    assert (scores.values <= before.values + 1e-9).all()
    assert (scores.values == 0).mean() > (before.values == 0).mean() + 0.1
    streamed = list(detector.stream(np.array_split(audio, 40), RATE))
    assert sorted(event[:3] for event in streamed) == [
        event[:3] for event in detector.detect((audio, RATE)).found
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    names = [f"Y{number:011d}_0.000_1.000.wav" for number in range(12)]
    for number, name in enumerate(names):
        trees.clip(root / "audio/train/strong_label_real" / name, 0.01 + 0.01 * number, 16_000)
    trees.strong(
        root / "metadata/train/audioset_strong.tsv",
        {name: [(0.1, 0.6, "Speech" if n % 2 else "Dog")] for n, name in enumerate(names)},
    )
    return root


def test_a_bundle_is_tuned_on_the_clips_that_its_run_kept_back(
    data: Path, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/recipe.yaml").write_text("name: x\ndata: {real_held_out: 0.5}\n")
    for folder in (tmp_path / "run", tmp_path / "run/teacher"):
        shutil.copytree(bundle, folder, dirs_exist_ok=True)
        evaluation, _ = load_split(data, "real_held_out", bundle=folder)
        assert len(evaluation.clips) == 6
    said = command(
        "tune", tmp_path / "run", "--data", data, "--split", "real_held_out", "--dry-run",
        "--method", "median", "--folds", "0", "--resamples", "0", "--device", "cpu",
    )  # fmt: skip
    assert "nothing written" in said
    out = tmp_path / "out"
    command("evaluate", tmp_path / "run", "--data", data, "--split", "real_held_out", "--out", out,
            "--resamples", "0", "--no-plot", "--device", "cpu")  # fmt: skip
    kept = {path.stem for path in (out / "scores").iterdir()}
    assert kept == {path.stem for path in evaluation.clips}
    network = with_masks(Detector.from_pretrained("mini").network, PostProcess(weak_threshold=0.4))
    from earmark.core.tables.score_files import read_scores

    for clip, table in score_clips(network, evaluation.by_id).items():
        np.testing.assert_allclose(
            read_scores(out / "scores" / f"{clip}.tsv").values, table.values, atol=1e-4
        )
