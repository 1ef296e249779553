"""Pseudo-labels: means of networks, thresholds, going on after a stop, and training on them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric

from earmark.core.errors import ConfigError, DataError, ScoreError
from earmark.core.tables.label_tables import strong_table
from earmark.core.tables.score_files import read_scores
from earmark.core.tables.scores import ScoreTable
from earmark.core.timeline import FrameGrid
from earmark.data.dataset import ClipDataset, compose, labelled_clips
from earmark.data.described import scores_file
from earmark.data.manifest import load_manifest
from earmark.deliver.pseudo_labels import Ensemble, PseudoLabels, mean_scores, write_pseudo_labels
from earmark.detect.evaluate import score_clips
from earmark.detect.network import Trained
from earmark.detect.postprocess import scores_to_events
from earmark.detect.postprocess_spec import PostProcess
from earmark.method.settings import Recipe
from earmark.train.engine import train
from earmark.train.record.journal import run_record
from helpers import trees
from helpers.networks import BandEnergy, Spec
from helpers.score_world import run as command

RATE = 16_000


def sound(seed: int, seconds: float = 4.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    parts = [
        np.sin(2 * np.pi * hertz * time) * (np.abs(time - rng.uniform(1, seconds - 1)) < 0.7)
        for hertz in (500, 2000, 5000)
    ]
    return (0.1 * sum(parts)).astype(np.float32)


def trained(path: Path, scale: float, labels: tuple[str, ...], hop: int = 1024) -> Trained:
    network = BandEnergy(Spec(labels=labels, frame_hop=hop), scale).eval()
    post = PostProcess(threshold={**dict.fromkeys(labels, 0.5), labels[0]: 0.3}, median_seconds=0.1)
    return Trained(network, post, path, f"{path.name}-{scale}")


LABELS = ("low", "mid", "high")
NAMES = {"low": "Hum", "mid": "Tone", "high": None}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two strong clips of Hum, Tone and Bird, and five that nobody labelled."""
    root = tmp_path / "data"
    for folder, count in (("clips", 2), ("attic/sub", 5)):
        (root / folder).mkdir(parents=True)
        for number in range(count):
            soundfile.write(root / folder / f"{number}.wav", sound(len(folder) * 9 + number), RATE)
    events = [(0, 1, "Hum"), (1, 2, "Tone"), (2, 3, "Bird")]
    trees.strong(root / "clips.tsv", {"0.wav": events, "1.wav": events[:1]})
    (root / "data.yaml").write_text(
        "train: [{audio: clips, strong: clips.tsv}, {audio: attic, unlabelled: true}]\n"
    )
    return root / "data.yaml"


def ensemble(tmp_path: Path, *scales: float, names: Mapping[str, str | None] = NAMES) -> Ensemble:
    members = [
        trained(tmp_path / f"b{n}", scale, LABELS, 1024 if n == 0 else 640)
        for n, scale in enumerate(scales)
    ]
    return Ensemble(members, names, ("Bird", "Hum", "Tone"))


def written(data: Path, out: Path, of: Ensemble, **options: Any) -> PseudoLabels:
    chosen = {"postprocess": of.postprocess, **options}
    return write_pseudo_labels(out, data=data, manifest=load_manifest(data), ensemble=of, **chosen)


def test_one_network_labels_as_it_detects(data: Path, tmp_path: Path) -> None:
    of = ensemble(tmp_path, 30.0)
    found = written(data, tmp_path / "out", of)
    assert (found.clips, found.before, dict(found.unreadable)) == (5, 0, {})
    assert of.classes == ("Hum", "Tone")
    assert of.postprocess.threshold == {"Hum": 0.3, "Tone": 0.5}
    clips = {f"sub/{n}.wav": data.parent / f"attic/sub/{n}.wav" for n in range(5)}
    tables = score_clips(of.members[0].network, clips)
    expected = {
        name: [
            (round(e.onset, 9), round(e.offset, 9), str(NAMES[e.event_label]))
            for e in scores_to_events(table, of.members[0].postprocess)
            if NAMES[e.event_label]
        ]
        for name, table in tables.items()
    }
    assert sum(map(len, expected.values())) >= 8
    rows: dict[str, list[Any]] = {name: [] for name in clips}
    for _, name, event in strong_table(tmp_path / "out/labels.tsv").rows:
        rows[name].append(tuple(event[:3]))
    assert {name: sorted(own) for name, own in rows.items()} == (
        {name: sorted(own) for name, own in expected.items()}
    )
    assert sum(found.events.values()) == sum(map(len, expected.values()))


def test_an_ensemble_is_the_mean_of_its_networks(data: Path, tmp_path: Path) -> None:
    of = ensemble(tmp_path, 30.0, 3.0)
    written(data, tmp_path / "out", of)
    path = data.parent / "attic/sub/3.wav"
    one, other = (score_clips(t.network, {"x": path})["x"] for t in of.members)
    found = read_scores(scores_file(tmp_path / "out/scores", "sub/3.wav"))
    assert found.labels == ("Hum", "Tone")
    expected = (one.values + other.on(one.boundaries).values)[:, :2] / 2
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    np.testing.assert_array_equal(found.boundaries, one.boundaries)


def test_a_stopped_run_goes_on_and_other_thresholds_need_no_network(
    data: Path, tmp_path: Path
) -> None:
    of = ensemble(tmp_path, 30.0)
    whole = written(data, tmp_path / "whole", of)

    class StoppedError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise StoppedError

    import earmark.deliver.pseudo_labels as module

    together, module._TOGETHER = module._TOGETHER, 2
    try:
        with pytest.raises(StoppedError):
            written(data, tmp_path / "parts", of, progress=stop)
        assert not (tmp_path / "parts/dataset.yaml").exists()
        parts = written(data, tmp_path / "parts", of)
    finally:
        module._TOGETHER = together
    assert (parts.before, parts.events) == (2, whole.events)
    for name in ("labels.tsv", "postprocess.yaml", "pseudo-label.yaml", "dataset.yaml"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    of.members[0].network.calls.clear()  # type: ignore[union-attr, operator]
    strict = written(data, tmp_path / "whole", of, postprocess=PostProcess(threshold=0.999999))
    assert not of.members[0].network.calls  # type: ignore[union-attr]
    assert strict.before == 5
    assert sum(strict.events.values()) < sum(whole.events.values())
    with pytest.raises(DataError, match="pseudo-labels made otherwise, it differs in bundles"):
        written(data, tmp_path / "whole", ensemble(tmp_path, 20.0))


def test_unreadable_clips_are_left_out_and_named(data: Path, tmp_path: Path) -> None:
    (data.parent / "attic/sub/2.wav").write_bytes(b"RIFF nothing")
    found = written(data, tmp_path / "out", ensemble(tmp_path, 30.0, 20.0))
    assert found.clips == 4
    assert [path.name for path in found.unreadable] == ["2.wav"]
    assert len(load_manifest(found.description).train[-1].clips) == 4


def test_classes_must_meet(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match="no class of b0 is one of the data's"):
        ensemble(tmp_path, 30.0, names={})
    with pytest.raises(ScoreError, match="renames hi, which"):
        ensemble(tmp_path, 30.0, names={"hi": "Bird"})
    members = [trained(tmp_path / "a", 1.0, LABELS), trained(tmp_path / "b", 1.0, ("low", "x"))]
    with pytest.raises(ScoreError, match="a do not have the same of the data's classes: mid"):
        Ensemble(members, {}, ("low", "mid"))


def test_the_written_data_are_the_old_ones_and_one_more_source(data: Path, tmp_path: Path) -> None:
    found = written(data, tmp_path / "out", ensemble(tmp_path, 30.0))
    manifest = load_manifest(found.description)
    assert tuple(manifest.labels) == ("Bird", "Hum", "Tone")
    by_name = {source.name: source for source in manifest.train}
    assert by_name["pseudo"].pseudo
    assert by_name["pseudo"].labelled == ("Hum", "Tone")
    assert not by_name["pseudo"].can_be_held_out
    assert len(by_name["pseudo"].clips) == 5
    assert len(by_name["attic"].clips) == 0  # in the better labelled source
    assert any("they are in pseudo" in text for text in manifest.notes)
    assert load_manifest(data).fingerprint != manifest.fingerprint
    hard = manifest.fingerprint
    soft = load_manifest(
        written(data, tmp_path / "out", ensemble(tmp_path, 30.0), targets="scores").description
    )
    assert soft.fingerprint != hard
    assert {clip.scores is None for clip in labelled_clips(soft.train[-1])} == {False}
    scores_file(tmp_path / "out/scores", "sub/0.wav").unlink()
    again = load_manifest(found.description)
    assert len(again.train[-1].clips) == 4
    assert any("1 clips have no scores (sub/0.wav)" in text for text in again.damage)


def test_scores_are_the_targets_of_their_frames(data: Path, tmp_path: Path) -> None:
    of = ensemble(tmp_path, 30.0)
    found = written(data, tmp_path / "out", of, targets="scores")
    manifest = load_manifest(found.description)
    grid = FrameGrid(640)
    clips = labelled_clips(manifest.train[-1])
    dataset = ClipDataset(clips, manifest.labels, grid, 10 * RATE)
    item = dataset[1]
    table = read_scores(scores_file(tmp_path / "out/scores", "sub/1.wav"))
    assert item.known.tolist() == [False, True, True]
    # Frames of 40 ms in the table's frames of 64 ms: overlaps weigh.
    for frame in (0, 1, 7, 40, 99):
        first, last = frame * 0.04, (frame + 1) * 0.04
        overlap = np.clip(
            np.minimum(last, table.boundaries[1:]) - np.maximum(first, table.boundaries[:-1]), 0, 1
        )
        expected = overlap @ table.values / 0.04
        np.testing.assert_allclose(item.strong[frame, 1:], expected, atol=1e-5)
    assert 0.01 < float(item.strong[:100, 1].mean()) < 0.99
    assert not item.strong[:, 0].any()


def test_a_class_that_the_scores_lack_is_an_error(data: Path, tmp_path: Path) -> None:
    found = written(data, tmp_path / "out", ensemble(tmp_path, 30.0), targets="scores")
    text = found.description.read_text().replace("- Hum\n", "- Hum\n  - Bird\n")
    found.description.write_text(text)
    manifest = load_manifest(found.description)
    dataset = ClipDataset(labelled_clips(manifest.train[-1]), manifest.labels, FrameGrid(640), RATE)
    with pytest.raises(ScoreError, match="has no scores of Bird"):
        _ = dataset[0]


@pytest.mark.parametrize(("own", "groups"), [(0, {"real": 7}), (3, {"real": 2, "pseudo": 5})])
def test_their_place_in_a_batch(
    data: Path, tmp_path: Path, tiny: Recipe, own: int, groups: dict[str, int]
) -> None:
    found = written(data, tmp_path / "out", ensemble(tmp_path, 30.0))
    batch = tiny.train.batch.model_copy(update={"real": 2, "pseudo": own})
    _, composed = compose(load_manifest(found.description), batch, FrameGrid(640), RATE)
    assert {group.name: group.size for group in composed} == groups


@pytest.fixture
def tiny() -> Recipe:
    from earmark.train.recipe import load_recipe
    from helpers.recipes import TINY

    small = [one for one in TINY if not one.startswith("method.embedding")]
    batch = "train.batch={real: 1, synthetic: 0, weak: 0, unlabelled: 0, pseudo: 4}"
    return load_recipe("mini-distilled", [*small, batch, "method.mixup.probability=0"])


def test_a_student_learns_the_scores(data: Path, tmp_path: Path, tiny: Recipe) -> None:
    """Cross-entropy with scores as targets: it falls towards their own entropy."""
    found = written(data, tmp_path / "out", ensemble(tmp_path, 30.0), targets="scores")
    manifest = load_manifest(found.description)
    longer = {"epochs": 5, "steps_per_epoch": 4, "lr": 0.02, "warmup_steps": 2, "validate_every": 9}
    short = tiny.network.model_copy(update={"window_seconds": 4.0})
    recipe = tiny.model_copy(
        update={"train": tiny.train.model_copy(update=longer), "network": short}
    )
    train(recipe, manifest, tmp_path / "run", fabric=Fabric(accelerator="cpu", devices=1))
    losses = [record["losses"]["strong"] for record in run_record(tmp_path / "run")]
    assert losses[-1] < 0.9 * losses[0]


def test_the_loss_is_cross_entropy_with_the_scores() -> None:
    from earmark.method.losses import strong_bce

    generator = torch.Generator().manual_seed(3)
    p, q = torch.rand(2, 3, 5, 4, generator=generator, dtype=torch.float64)
    known = torch.rand(3, 4, generator=generator) < 0.6
    valid = torch.rand(3, 5, generator=generator) < 0.8
    expected = -(q * p.log() + (1 - q) * (1 - p).log())
    chosen = [
        expected[b, t, c]
        for b in range(3) for t in range(5) for c in range(4) if valid[b, t] and known[b, c]
    ]  # fmt: skip
    found = strong_bce(p, q, valid, known)
    assert float(found) == pytest.approx(float(torch.stack(chosen).mean()), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.floats(0.01, 0.5), min_size=1, max_size=8),
    others=st.lists(st.floats(0.01, 0.7), min_size=1, max_size=8),
    seed=st.integers(0, 99),
)
def test_other_frames_keep_the_sound(lengths: list[float], others: list[float], seed: int) -> None:
    """Every frame is a mean over its time, so finer ones give the table back."""
    rng = np.random.default_rng(seed)
    edges, new = (np.concatenate([[0.0], np.cumsum(own)]) for own in (lengths, others))
    table = ScoreTable(edges, rng.random((len(lengths), 2)), ("a", "b"))
    found = table.on(new)
    assert (found.values >= table.values.min(axis=0) - 1e-12).all()
    assert (found.values <= table.values.max(axis=0) + 1e-12).all()
    both = np.unique(np.concatenate([edges, new[new < edges[-1]], [edges[-1]]]))
    fine = table.on(both)
    middles = (both[:-1] + both[1:]) / 2
    frame = np.searchsorted(edges, middles) - 1
    np.testing.assert_allclose(fine.values, table.values[frame], atol=1e-6)
    np.testing.assert_allclose(fine.on(edges).values, table.values, atol=1e-6)
    np.testing.assert_allclose(table.on(edges).values, table.values, atol=1e-9)
    same = mean_scores([table, table, table])
    np.testing.assert_allclose(same.values, table.values, atol=1e-9)


def test_infinite_scores_have_no_mean() -> None:
    table = ScoreTable(np.array([0.0, 1.0]), np.array([[-np.inf]]), ("a",))
    with pytest.raises(ScoreError, match="infinite"):
        table.on(np.array([0.0, 0.5]))


def test_the_command(data: Path, tmp_path: Path) -> None:
    text = (data.parent / "clips.tsv").read_text().replace("Hum", "Speech").replace("Tone", "Dog")
    (data.parent / "clips.tsv").write_text(text)
    (tmp_path / "map.yaml").write_text("Cat: Bird\nDog: null\n")
    line = ["pseudo-label", "mini", "mini", "--data", data, "--out", tmp_path / "out",
            "--class-map", tmp_path / "map.yaml", "--device", "cpu"]  # fmt: skip
    said = command(*line)
    assert "not labelled, for the bundles lack them: Dog" in said
    assert "5 clips; events:" in said
    manifest = load_manifest(tmp_path / "out/dataset.yaml")
    assert manifest.train[-1].labelled == ("Bird", "Speech")
    again = command(*line, "--threshold", "Bird=0.0,default=0.9", "--targets", "scores")
    assert "5 scored before" in again
    record = json.dumps((tmp_path / "out/postprocess.yaml").read_text())
    assert "Bird: 0.0" in record


def test_descriptions_that_extend(data: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.yaml"

    def refused(text: str, told: str) -> None:
        more.write_text(text)
        with pytest.raises(ConfigError, match=told) as found:
            load_manifest(more)
        assert str(more) in str(found.value)

    source = "train: [{audio: data/clips, strong: data/clips.tsv, name: NAME}]\n"
    refused("extends: nowhere\n" + source, "nothing is at")
    refused("extends: more.yaml\n" + source, "no other dataset is there")
    refused("extends: data/data.yaml\n" + source.replace("NAME", "clips"), "it has clips, too")
    refused("extends: data/data.yaml\nclasses: [Hum]\n" + source, "has labels of Bird, Tone, too")
    refused(
        "extends: data/data.yaml\ntrain: [{audio: data/clips, unlabelled: true, scores: x}]\n",
        "scores are targets of a source with pseudo: true",
    )
    (tmp_path / "a.yaml").write_text("extends: more.yaml\n" + source)
    refused("extends: a.yaml\n" + source.replace("NAME", "b"), "extends itself")
