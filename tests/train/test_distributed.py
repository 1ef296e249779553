"""A step in parts is the step; two processes do what one does; every clip is scored once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from earmark.core.errors import ConfigError
from earmark.data.crops import survey
from earmark.data.dataset import Batch, ClipGroup
from earmark.data.manifest import load_manifest
from earmark.detect.evaluate import score_clips
from earmark.method.mixup import Mix
from earmark.method.networks import Student, Teacher
from earmark.method.settings import Recipe
from earmark.method.step import StepInputs
from earmark.method.versions import step_of
from earmark.model.bundle import load_bundle
from earmark.model.sed import SedNetwork
from earmark.train import distributed, loop
from earmark.train.distributed import (
    StepBuffers,
    leave_out_unused,
    lone_clips,
    make_fabric,
)
from earmark.train.engine import train
from earmark.train.micro_batch import read_micro_batches
from earmark.train.pretrain import pretrain
from earmark.train.record.journal import run_record
from helpers import ranks as worker
from helpers.ranks import learned, of_kinds, small_recipe

PARTS = ([0, 0, 0, 1, 2], [0, 0, 1, 1, 2], [0, 0, 2, 2])  # uneven in every kind; one has no tags


def _part(number: int, partial: bool = False) -> Batch:
    """Clips of uneven lengths; ``partial``: of some one class, of some no class is known."""
    generator = torch.Generator().manual_seed(number)
    kinds, frames = torch.tensor(PARTS[number]), 32
    strong = (torch.rand(len(kinds), frames, 2, generator=generator) > 0.7).float()
    ends = torch.randint(6, frames + 1, (len(kinds),), generator=generator)
    valid = torch.arange(frames) < ends[:, None]
    waveforms = 0.1 * torch.randn(len(kinds), frames * 1024, generator=generator)
    waveforms *= torch.repeat_interleave(valid, 1024, dim=1)
    known = torch.rand(len(kinds), 2, generator=generator) > 0.4 if partial else None
    return Batch(waveforms, strong, strong.amax(1), valid, kinds, known)


def _joined(batches: list[Batch], mixes: list[Mix]) -> tuple[Batch, Mix]:
    """The same clips with the same partners as one batch."""
    names = ["waveforms", "strong", "weak", "valid", "kinds"]
    names += [] if batches[0].known is None else ["known"]
    batch = Batch(*(torch.cat([getattr(part, name) for part in batches]) for name in names))
    firsts = [sum(len(part.kinds) for part in batches[:n]) for n in range(len(batches))]
    partner = torch.cat([mix.partner + first for mix, first in zip(mixes, firsts, strict=True)])
    coefficient = torch.cat([mix.coefficient for mix in mixes])
    return batch, Mix(coefficient, partner, torch.cat([mix.composed for mix in mixes]))


def _models(recipe: Recipe) -> tuple[Student, Teacher]:
    """Both in evaluation mode: their running statistics normalise, and nothing is dropped."""
    settings = recipe.method
    torch.manual_seed(0)
    network = SedNetwork(recipe.network, ("a", "b"))
    leave_out_unused(network)
    student = Student(network, settings.embedding)
    teacher = Teacher(student)
    for parameter in teacher.parameters():
        parameter += 0.05 * torch.randn_like(parameter)
    if teacher.centre is not None:
        teacher.centre.mean += 0.3 * torch.randn_like(teacher.centre.mean)
    return student.eval(), teacher


@pytest.fixture(scope="module")
def one() -> Fabric:
    """One process."""
    return make_fabric("cpu")


ENCODER = (
    "network.encoder={width: 12, depth: 1, heads: 2, merge: 8, max_tokens: 51, "
    "frontend: {n_fft: 1024, hop: 160, n_mels: 64, power: 2, scaling: fixed}}"
)
OPTIONS = [
    [],
    ["method.mixup.probability=0"],
    ["method.mixup.tau=0.0"],
    ["method.mixup.per=kind", "method.consistency=kind"],
    ["method.embedding.symmetric=true", "method.embedding.weights=activity"],
    ["method.embedding.gain=unit", "method.embedding.tap=cnn"],
    [ENCODER, "method.embedding.tap=encoder", "method.embedding.weights=activity"],
    [ENCODER, "method.embedding.tap=encoder", "method.mixup.encoder=false"],
    [ENCODER, "method.teacher_sees=mixture", "method.consistency=kind"],
]


@pytest.mark.processor
@pytest.mark.parametrize("overrides", OPTIONS, ids=lambda o: " ".join(o) or "default")
def test_parts_have_the_gradients_of_the_whole(
    one: Fabric, overrides: list[str], double: None
) -> None:
    _check_gradients(one, overrides, [_part(number) for number in range(len(PARTS))])


@pytest.mark.parametrize("overrides", OPTIONS[:3], ids=lambda o: " ".join(o) or "default")
def test_parts_of_partially_labelled_clips_too(
    one: Fabric, overrides: list[str], double: None
) -> None:
    batches = [_part(number, partial=True) for number in range(len(PARTS))]
    assert len({float(cast(Tensor, batch.known).double().mean()) for batch in batches}) > 1
    _check_gradients(one, overrides, batches)


def _check_gradients(one: Fabric, overrides: list[str], batches: list[Batch]) -> None:
    # Statistics of the batch, in the projector as in the norms, would be those of a part.
    stored = "method.embedding.teacher_norm=eval"
    recipe = small_recipe("network.window_seconds=2.048", stored, *overrides)
    settings = recipe.method
    take = step_of(settings)
    make = lambda part: torch.Generator().manual_seed(part)  # noqa: E731
    at_tap = _models(recipe)[1].valid_at_tap
    parts = read_micro_batches(one, iter(batches), len(batches), make, settings, at_tap)
    gradients: list[dict[str, Tensor]] = []
    figures: list[dict[str, float]] = []
    for whole in (False, True):
        student, teacher = _models(recipe)
        if whole:
            batch, mix = _joined(batches, [part.mix for part in parts])
            result = take(student, teacher, batch, 2, settings, make(0), StepInputs(mix))
            result.loss.backward()  # type: ignore[no-untyped-call]
            figures.append(result.figures)
        else:
            sums: dict[str, float] = {}
            buffers = StepBuffers(one, (student, teacher), len(parts))
            buffers.begin_step()
            for part in parts:
                buffers.begin_micro_batch()  # the centre is that from before the step
                models = (student, teacher, part.batch, 2, settings, part.generator)
                result = take(*models, StepInputs(part.mix, part.weights))
                (result.loss / len(parts)).backward()  # type: ignore[no-untyped-call]
                for name, value in result.figures.items():
                    sums[name] = sums.get(name, 0.0) + value / len(parts)
            figures.append(sums)
        gradients.append({n: p.grad for n, p in student.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, expected in gradients[1].items():
        assert expected.abs().max() > 0, name
        torch.testing.assert_close(gradients[0][name], expected, rtol=1e-7, atol=1e-12, msg=name)
    for name in figures[1].keys() - {"embedding_std", "embedding_cosine"}:
        assert figures[0][name] == pytest.approx(figures[1][name], rel=1e-9), name


def test_running_statistics_move_once_a_step(one: Fabric) -> None:
    """Their means as those of the whole batch; variances without that between the parts' means."""
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).repeat_interleave(5, dim=0)
    x = x + 0.1 * torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    norm, whole = nn.BatchNorm1d(3, momentum=0.2), nn.BatchNorm1d(3, momentum=0.2)
    whole(x)
    buffers = StepBuffers(one, [norm], 2)
    buffers.begin_step()
    for rows in (x[:5], x[5:]):
        buffers.begin_micro_batch()
        norm(rows)
        buffers.end_micro_batch(len(rows) / len(x))
    buffers.end_step()
    assert int(norm.num_batches_tracked or 0) == 1
    torch.testing.assert_close(norm.running_mean, whole.running_mean)
    expected = 0.8 + 0.2 * (0.25 * x[:5].var(0) + 0.75 * x[5:].var(0))
    torch.testing.assert_close(norm.running_var, expected)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_one_move_of_the_teacher_per_optimiser_step(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    moves: list[float] = []
    follow = Teacher.follow

    def counted(self: Teacher, student: Student, decay: float) -> None:
        before = self.network.crnn.heads.strong.weight.clone()
        follow(self, student, decay)
        expected = decay * before + (1 - decay) * student.network.crnn.heads.strong.weight
        torch.testing.assert_close(self.network.crnn.heads.strong.weight, expected.detach())
        moves.append(decay)

    monkeypatch.setattr(Teacher, "follow", counted)
    recipe = small_recipe(f"train.accumulate={accumulate}", "train.validate_every=9")
    run = train(recipe, of_kinds(load_manifest(tiny_data), "strong", "weak"), tmp_path)
    assert run.step == recipe.train.steps == len(moves) == 4
    horizon = recipe.method.ema_horizon or 0
    assert moves == pytest.approx([1 - 1 / (1 + horizon * step) for step in (1, 2, 3, 4)])


def test_parts_of_a_step_are_the_same_clips(tiny_data: Path, tmp_path: Path) -> None:
    """Without draws and with statistics that do not move, accumulation changes nothing."""
    still = [
        "network.dropout=0",
        "network.norm_momentum=0",
        "method.mixup.probability=0",
        "train.validate_every=9",
        "train.epochs=1",
        "train.lr=1e-3",
    ]
    manifest = of_kinds(load_manifest(tiny_data), "strong", "weak", "unlabelled")
    weights = []
    for accumulate in (1, 4):
        recipe = small_recipe(*still, f"train.accumulate={accumulate}")
        student = _frozen_norms(recipe, manifest, tmp_path / str(accumulate))
        weights.append(student)
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=2e-5, msg=name)


def _frozen_norms(recipe: Any, manifest: Any, out: Path) -> dict[str, Tensor]:
    """Weights after training with batch norms that normalise by their running statistics."""
    patch = pytest.MonkeyPatch()
    patch.setattr(
        nn.modules.batchnorm._BatchNorm,
        "train",
        lambda self, mode=True: nn.Module.train(self, False),
    )
    original = loop.run_epoch

    def epoch(task: Any) -> Any:
        task.run.student.eval()
        patch.setattr(task.student, "train", lambda mode=True: task.student)
        return original(task)

    patch.setattr(loop, "run_epoch", epoch)
    try:
        return train(recipe, manifest, out, fabric=make_fabric("cpu")).student.state_dict()
    finally:
        patch.undo()


def test_a_step_too_small_for_its_parts_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="11 clips cannot be divided into 12 micro-batches"):
        train(small_recipe("train.accumulate=12"), load_manifest(tiny_data), tmp_path)


def test_clips_without_a_partner_are_told() -> None:
    groups = [
        ClipGroup("real", 0, 9, 2),
        ClipGroup("synthetic", 9, 9, 2),
        ClipGroup("weak", 18, 9, 4),
    ]
    assert lone_clips(groups, 1) == lone_clips(groups, 2) == []
    assert lone_clips(groups, 3) == ["strong", "weak"]
    assert lone_clips([ClipGroup("weak", 0, 9, 1), ClipGroup("real", 9, 9, 4)], 2) == ["weak"]


def test_devices_that_are_not_there_are_one_line() -> None:
    with pytest.raises(ConfigError, match="cannot start with these devices") as caught:
        make_fabric("cuda" if not torch.cuda.is_available() else "tpu", devices=1)
    assert "\n" not in str(caught.value)


def test_a_launcher_has_the_say_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORLD_SIZE", "6"), ("LOCAL_WORLD_SIZE", "3"), ("RANK", "4")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    strategy: Any = make_fabric("cpu").strategy
    assert (strategy.num_nodes, strategy.num_processes) == (2, 3)
    with pytest.raises(ConfigError, match="6 processes were started for 2 nodes of 2 devices"):
        make_fabric("cpu", devices=2, nodes=2)


@pytest.fixture(scope="module")
def ranks(
    tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    """What two gloo processes saw of the scenarios of ranks.py, and where they wrote."""
    out = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = os.environ | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": "test",
        "OMP_NUM_THREADS": "1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, worker.__file__, str(tiny_data), str(out)],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    logs = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(logs)
    return out, [torch.load(out / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


def _assert_same(ours: Any, theirs: Any, where: str = "") -> int:
    """Nested states are equal up to rounding; returns how many tensors were compared."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        return sum(_assert_same(ours[key], theirs[key], f"{where}.{key}") for key in ours)
    if isinstance(ours, list | tuple):
        assert len(ours) == len(theirs), where
        return sum(_assert_same(a, b, where) for a, b in zip(ours, theirs, strict=True))
    if isinstance(ours, Tensor):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-7, msg=where)
        return 1
    if isinstance(ours, float):
        assert ours == pytest.approx(theirs, abs=1e-6, nan_ok=True), where
        return 0
    assert ours == theirs, where
    return 0


def test_pretraining_on_two_processes_is_that_of_one_in_two_parts(
    ranks: tuple[Path, list[dict[str, Any]]], tiny_data: Path, tmp_path: Path
) -> None:
    """Five crops in parts of three and two, an interruption, and a bank for each part."""
    first, second = (seen["pretrained"] for seen in ranks[1])
    assert _assert_same(first, second) > 50
    recipe = worker.small_pretraining("train.batch=5", "train.accumulate=2")
    recordings = survey([tiny_data], recipe.shortest)
    alone = pretrain(recipe, recordings, tmp_path, fabric=make_fabric("cpu"))
    assert _assert_same(first, worker.pretrained(alone)) > 50
    records = [run_record(folder) for folder in (ranks[0] / "pretrained", tmp_path)]
    losses = [[record["losses"]["loss"] for record in found] for found in records]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.parametrize("scenario", ["whole", "strong", "second"])
def test_processes_hold_the_same(ranks: tuple[Path, list[dict[str, Any]]], scenario: str) -> None:
    first, second = ranks[1]
    assert (first["world"], first["rank"], second["rank"]) == (2, 0, 1)
    assert _assert_same(first[scenario], second[scenario]) > 50


@pytest.mark.processor
def test_two_processes_do_what_one_does_in_two_parts(
    ranks: tuple[Path, list[dict[str, Any]]], tiny_data: Path, tmp_path: Path
) -> None:
    """Student, optimiser and teacher, over an interruption; the journal is written once."""
    out, (first, _) = ranks
    run = train(small_recipe("train.accumulate=2"), load_manifest(tiny_data), tmp_path)
    assert _assert_same(learned(run), first["whole"]) > 50
    journals = [run_record(tmp_path), run_record(out / "whole")]
    assert [len(journal) for journal in journals] == [2, 2]
    for ours, theirs in zip(*journals, strict=True):
        assert ours["losses"] == pytest.approx(theirs["losses"], rel=1e-6)
    _assert_same(journals[0][1]["validation"], journals[1][1]["validation"])
    bundles = [load_bundle(folder / "teacher").network for folder in (tmp_path, out / "whole")]
    assert _assert_same(*(network.state_dict() for network in bundles)) > 10


def test_strong_labels_alone_leave_no_parameter_waiting(
    ranks: tuple[Path, list[dict[str, Any]]], tiny_data: Path, tmp_path: Path
) -> None:
    _, (first, _) = ranks
    recipe = small_recipe("train.accumulate=2", "train.epochs=1")
    run = train(recipe, of_kinds(load_manifest(tiny_data), "strong"), tmp_path)
    assert _assert_same(learned(run), first["strong"]) > 50


def test_a_run_that_begins_with_another_is_the_same_on_two_processes(
    ranks: tuple[Path, list[dict[str, Any]]], tiny_data: Path, tmp_path: Path
) -> None:
    out, (first, second) = ranks
    recipe = small_recipe("train.accumulate=2", "train.epochs=1", f"train.init={out / 'whole'}")
    run = train(recipe, of_kinds(load_manifest(tiny_data), "strong"), tmp_path)
    assert _assert_same(learned(run), first["second"]) > 50
    assert second["other start"][0] == "BundleError"
    assert first["other start"][0] == "ElsewhereError"
    assert first["other start"][1] == second["other start"][1]


def test_a_frozen_encoder_and_its_tokens_serve_two_processes_as_one(
    ranks: tuple[Path, list[dict[str, Any]]], tiny_data: Path, tmp_path: Path
) -> None:
    """Both write to one folder; what each keeps is what the other would have made."""
    out, (first, _) = ranks
    recipe = worker.frozen_recipe(tmp_path / "tokens", "train.accumulate=2")
    manifest = of_kinds(load_manifest(tiny_data), "strong", "weak", "unlabelled")
    run = train(recipe, manifest, tmp_path / "run")
    assert run.encoder is not None
    assert _assert_same(learned(run), first["frozen"]) > 50
    kept = [sorted(file.name for file in path.rglob("*.npy")) for path in (tmp_path, out)]
    assert kept[0] == kept[1]
    assert len(kept[0]) > 10


def test_an_encoder_learns_on_two_processes_as_on_one(
    ranks: tuple[Path, list[dict[str, Any]]], one: Fabric
) -> None:
    _, (first, second) = ranks
    assert _assert_same(first["encoder"], second["encoder"]) > 50
    alone = worker.encoder_steps(one, 2)
    # Adam makes a step of full size of a gradient that is nothing but rounding.
    for name, value in first["encoder"].items():
        torch.testing.assert_close(value, alone[name], rtol=0, atol=1e-5, msg=name)


def test_every_clip_is_scored_once_by_some_process(
    ranks: tuple[Path, list[dict[str, Any]]], tiny_data: Path
) -> None:
    _, seen = ranks
    manifest = load_manifest(tiny_data)
    torch.manual_seed(5)
    network = SedNetwork(small_recipe().network, tuple(manifest.labels)).eval()
    tables = score_clips(network, manifest.splits["validation"].by_id)
    assert len(tables) == 3  # two of one process, one of the other
    for scores in (one["scores"] for one in seen):
        assert list(scores) == list(tables)
        for clip, values in scores.items():
            torch.testing.assert_close(values, torch.tensor(tables[clip].values))
    for one in seen:  # a third clip is not there, and not scored
        assert one["unreadable"] == list(tables)[:2]


def test_mistakes_end_all_processes_and_are_told_once(
    ranks: tuple[Path, list[dict[str, Any]]],
) -> None:
    _, (first, second) = ranks
    for scenario, kind, text in (
        ("taken", "ConfigError", "holds a run already"),
        ("own", "ConfigError", "no luck"),
    ):
        assert (first[scenario][0], second[scenario][0]) == (kind, "ElsewhereError")
        for seen in (first, second):
            assert text in seen[scenario][1]
    for scenario in ("other data", "other weights"):
        for seen in (first, second):
            assert seen[scenario][0] == "ConfigError"
            assert f"began with different {scenario.split()[1]}" in seen[scenario][1]


@pytest.mark.parametrize(("device", "kept"), [("cpu", 1), ("cuda", 0)])
def test_processes_of_cpus_keep_what_they_free(
    device: str, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(distributed, "keep_freed_memory", lambda: asked.append(True))
    fabric: Any = SimpleNamespace(launch=lambda: None, device=torch.device(device))
    distributed.start(fabric)
    assert len(asked) == kept
