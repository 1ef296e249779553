"""Scoring clips in batches is what detection does one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from earmark.core.audio.audio import load_audio, write_audio
from earmark.core.config import AtstSettings
from earmark.core.errors import AudioError, DataError
from earmark.core.event import Event
from earmark.data.manifest import Evaluation
from earmark.detect.detector import Detector
from earmark.detect.evaluate import evaluate_network, evaluate_scores, score_clips
from earmark.detect.postprocess import PostProcess
from earmark.model.sed import SedNetwork
from earmark.train.recipe import load_recipe

SECONDS = (10.0, 9.3, 0.4, 12.97, 10.03)


ENCODER = AtstSettings(width=32, depth=2, heads=2, merge=16)


def make_network(encoder: AtstSettings | None) -> SedNetwork:
    torch.manual_seed(0)
    settings = load_recipe("mini").network.model_copy(update={"encoder": encoder})
    return SedNetwork(settings, ("a", "b")).eval()


@pytest.fixture(scope="module", params=[None, ENCODER], ids=["light", "encoder"])
def network(request: pytest.FixtureRequest) -> SedNetwork:
    return make_network(request.param)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    paths = []
    for number, seconds in enumerate(SECONDS):
        path = folder / f"Y{number}_{seconds}.wav"
        write_audio(path, 0.1 * rng.standard_normal(int(seconds * 16_000)).astype(np.float32))
        paths.append(path)
    return paths


def test_equals_detection(network: SedNetwork, clips: list[Path]) -> None:
    seen = []
    tables = score_clips(
        network,
        {path.stem: path for path in clips},
        batch_size=2,
        progress=lambda *done: seen.append(done),
    )
    assert list(tables) == [path.stem for path in clips]
    assert seen[-1] == (len(clips), len(clips))
    detector = Detector(network)
    for path, seconds in zip(clips, SECONDS, strict=True):
        expected = detector.score(path)
        table = tables[path.stem]
        np.testing.assert_allclose(table.boundaries, expected.boundaries)
        np.testing.assert_allclose(table.values, expected.values, atol=1e-5)
        assert table.boundaries[-1] == pytest.approx(seconds)


def test_a_short_clip_has_the_scores_of_an_encoder_network_alone(clips: list[Path]) -> None:
    network = make_network(ENCODER)
    tables = score_clips(network, {path.stem: path for path in clips}, batch_size=len(clips))
    for path in clips[:3]:
        with torch.inference_mode():
            alone = network(torch.from_numpy(load_audio(path))[None]).strong[0].double().numpy()
        np.testing.assert_allclose(tables[path.stem].values[: len(alone)], alone, atol=1e-5)


def test_metrics_keys_and_mode_is_restored(network: SedNetwork, clips: list[Path]) -> None:
    events = {path.name: [Event(0.1, 0.3, "a")] for path in clips}
    durations = {path.name: s for path, s in zip(clips, SECONDS, strict=True)}
    evaluation = Evaluation("test", tuple(clips), events, durations, ("gone.wav",))
    network.train()
    metrics = evaluate_network(network, evaluation, PostProcess(median_seconds=0.3))
    assert network.training
    network.eval()
    assert (metrics["clips"], metrics["of"]) == (5, 6)
    assert metrics["fingerprint"] == evaluation.fingerprint
    for name in ("psds1", "psds2", "collar_f1", "intersection_f1", "segment_f1"):
        assert 0.0 <= metrics[name] <= 1.0
        assert set(metrics["per_class"][name]) == {"a"}


def test_unreadable_clips_are_told_and_counted(clips: list[Path], tmp_path: Path) -> None:
    network = make_network(None)
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no audio")
    told: list[str] = []
    paths = [clips[2], broken]
    tables = score_clips(
        network,
        {path.stem: path for path in paths},
        on_unreadable=lambda path, _: told.append(path.name),
    )
    assert (list(tables), told) == ([clips[2].stem], ["broken.wav"])
    with pytest.raises(AudioError, match=r"broken\.wav"):
        score_clips(network, {path.stem: path for path in paths})
    events = {path.name: [Event(0.1, 0.3, "a")] for path in paths}
    durations = {clips[2].name: SECONDS[2], "broken.wav": 10.0}
    evaluation = Evaluation("test", tuple(paths), events, durations)
    metrics = evaluate_scores(tables, evaluation, PostProcess())
    assert (metrics["clips"], metrics["of"]) == (1, 2)
    assert metrics["fingerprint"] != evaluation.fingerprint
    with pytest.raises(DataError, match="none of the clips of test can be read"):
        evaluate_network(network, evaluation.only([]), PostProcess())
