"""Starting weights of a run: from an encoder, a run or a bundle, whole, in part, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from earmark.core.errors import BundleError
from earmark.data.manifest import load_manifest
from earmark.method.networks import FrameHead, Student, Teacher
from earmark.method.settings import Recipe
from earmark.model.bundle import load_bundle, save_bundle
from earmark.model.encoders.atst import AtstFrame
from earmark.model.encoders.encoder_file import Encoder, encoder_fingerprint, save_encoder
from earmark.model.sed import SedNetwork
from earmark.train.distributed import make_fabric
from earmark.train.engine import Run, train
from earmark.train.initial import Begun, begin_with, read_start, teach
from earmark.train.recipe import load_recipe

LABELS = ("Alarm_bell_ringing", "Dog", "Speech")


def _recipe(stage: int, *overrides: str) -> Recipe:
    return load_recipe(
        f"atst-sed-tiny-stage{stage}",
        [
            "network.channels=[4,4,4,4,4]",
            "network.rnn_hidden=4",
            "network.encoder.width=12",
            "network.encoder.depth=1",
            "network.encoder.merge=6",
            "method.embedding.hidden=8",
            "method.embedding.out=4",
            "method.embedding.detach_steps=0",
            "train.epochs=1",
            "train.steps_per_epoch=1",
            "train.batch={real: 0, synthetic: 2, weak: 2, unlabelled: 2}",
            "train.warmup_steps=0",
            *overrides,
        ],
    )


def _student(recipe: Recipe, labels: tuple[str, ...] = LABELS, seed: int = 0) -> Student:
    torch.manual_seed(seed)
    return Student(SedNetwork(recipe.network, labels), recipe.method.embedding)


def _begin(
    recipe: Recipe, folder: Path, labels: tuple[str, ...] = LABELS
) -> tuple[Student, Teacher, Begun]:
    """What a run of this recipe would begin with."""
    start, student = read_start(folder, recipe.train.init_epoch), _student(recipe, labels)
    begun = begin_with(student, start, recipe.train)
    teacher = Teacher(student)
    teach(teacher, start, begun)
    return student, teacher, begun


def _train(recipe: Recipe, data: Path, out: Path, **options: object) -> Run:
    return train(recipe, load_manifest(data), out, fabric=make_fabric("cpu"), **options)  # type: ignore[arg-type]


def _equal(module: torch.nn.Module, other: torch.nn.Module) -> bool:
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def _pretrained() -> Encoder:
    settings = _recipe(1).network.encoder
    assert settings is not None
    torch.manual_seed(7)
    return Encoder(
        settings,
        AtstFrame(settings).state_dict(),
        FrameHead(12, 8, 4).layers.state_dict(),
        FrameHead(4, 8, 4).layers.state_dict(),
        {"recipe": "some-recipe"},
    )


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return save_encoder(tmp_path / "encoder", _pretrained(), "")


@pytest.fixture(scope="module")
def first(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A first stage that began with an encoder."""
    out = tmp_path_factory.mktemp("first")
    folder = save_encoder(out / "encoder", _pretrained(), "")
    recipe = _recipe(1, f"train.init={folder}", "train.lr=0.1")
    return out / "one", _train(recipe, tiny_data, out / "one")


@pytest.mark.parametrize(
    ("overrides", "heads", "told"),
    [
        ([], True, ""),
        (["method.embedding.hidden=16"], False, r"is (16, 12) in the recipe, (8, 12)"),
        (["method.embedding.tap=rnn"], False, "for the tap encoder, not rnn"),
        (["method.embedding.weight=0"], False, ""),
        (["train.init_heads=fresh"], False, ""),
        (["train.init_heads=need"], True, ""),
    ],
)
def test_an_encoder_brings_its_heads_where_they_fit_and_are_wanted(
    encoder: Path, overrides: list[str], heads: bool, told: str
) -> None:
    recipe = _recipe(1, *overrides)
    before = _student(recipe)
    student, teacher, begun = _begin(recipe, encoder)
    pretrained = _pretrained()
    assert student.network.encoder is not None
    assert _equal(student.network.encoder, pretrained.build())
    assert _equal(teacher.network, student.network)
    changed = {
        name.split(".")[0]
        for name, value in student.state_dict().items()
        if not torch.equal(value, before.state_dict()[name])
        and not name.startswith("network.encoder.")
    }
    assert changed == ({"heads"} if heads else set())
    assert begun.heads == heads
    assert told in " ".join(begun.notes)
    assert bool(begun.notes) == bool(told)
    if student.heads is not None and teacher.projector is not None:
        assert _equal(teacher.projector, student.heads.projector)
    if heads:
        assert student.heads is not None
        layers = student.heads.predictor.layers.state_dict()
        assert all(torch.equal(v, (pretrained.predictor or {})[n]) for n, v in layers.items())


def test_heads_that_are_needed_must_fit(encoder: Path, tmp_path: Path) -> None:
    needed = ["train.init_heads=need", "method.embedding.out=6"]
    with pytest.raises(BundleError, match=r"no heads.*in the recipe.*init_heads=fresh"):
        _begin(_recipe(1, *needed), encoder)
    bare = Encoder(_pretrained().settings, _pretrained().weights)
    with pytest.raises(BundleError, match="there are none"):
        _begin(_recipe(1, needed[0]), save_encoder(tmp_path / "bare", bare, ""))


def test_an_encoder_of_another_size_or_log_mel_is_refused(encoder: Path) -> None:
    with pytest.raises(BundleError, match=r"encoder\.width 12, the recipe's 24"):
        _begin(_recipe(1, "network.encoder.width=24"), encoder)
    with pytest.raises(BundleError, match=r"frontend\.f_min 60\.0, the recipe's 50\.0"):
        _begin(_recipe(1, "network.encoder.frontend.f_min=50"), encoder)
    with pytest.raises(BundleError, match="the network has none"):
        _begin(_recipe(1, "network.encoder=null", "method.embedding.tap=rnn"), encoder)


def test_another_clamp_is_told_and_taken_as_atst_sed_did(encoder: Path) -> None:
    clamped = _recipe(1, "network.encoder.frontend.db_clamp=[-50,80]")
    _, _, begun = _begin(clamped, encoder)
    assert any("db_clamp None; the recipe has (-50" in note for note in begun.notes)
    # How a network uses an encoder is its own affair.
    assert not _begin(_recipe(1, "network.encoder.align=adaptive"), encoder)[2].notes


def test_two_stages(tiny_data: Path, first: tuple[Path, Run], tmp_path: Path) -> None:
    """Stage 2 begins with student, teacher and heads as stage 1 left them, each with its own."""
    folder, one = first
    encoder = one.student.network.encoder
    assert encoder is not None
    assert _equal(encoder, _pretrained().build())  # it was frozen
    assert not _equal(one.teacher.network, one.student.network)
    student, teacher, begun = _begin(_recipe(2), folder)
    assert begun == Begun(True, [])
    assert _equal(student, one.student)
    assert _equal(teacher, one.teacher)
    still = ["train.lr=1e-30", "train.encoder_lr=1e-30", "train.lr_groups={}", "method.ema=0"]
    recipe = _recipe(2, f"train.init={folder}", *still, "method.warp_probability=0")
    two = _train(recipe, tiny_data, tmp_path / "two")
    assert two.step == 1  # optimiser and counters are fresh
    for name, value in one.student.named_parameters():
        torch.testing.assert_close(two.student.state_dict()[name], value, rtol=0, atol=1e-12)


def test_fresh_heads_of_a_run_are_the_same_in_student_and_teacher(first: tuple[Path, Run]) -> None:
    folder, one = first
    student, teacher, _ = _begin(_recipe(2, "train.init_heads=fresh"), folder)
    assert student.heads is not None
    assert one.student.heads is not None
    assert teacher.projector is not None
    assert not _equal(student.heads.projector, one.student.heads.projector)
    assert _equal(teacher.projector, student.heads.projector)
    assert _equal(teacher.network, one.teacher.network)


def test_bundles_alone_or_with_their_student(first: tuple[Path, Run], tmp_path: Path) -> None:
    """As training leaves them, and as an import does: the teacher with its student in a folder."""
    folder, one = first
    _, teacher, begun = _begin(_recipe(2), folder / "teacher")
    assert "begin at random: there are none" in begun.notes[0]
    assert _equal(teacher.network, one.teacher.network)
    best, both, _ = _begin(_recipe(2, "train.init_epoch=best"), folder)
    assert _equal(best.network, load_bundle(folder).network)
    assert _equal(both.network, best.network)
    save_bundle(tmp_path / "imported", one.teacher.network, {}, "")
    save_bundle(tmp_path / "imported" / "student", one.student.network, {}, "")
    student, teacher, _ = _begin(_recipe(2), tmp_path / "imported")
    assert _equal(student.network, one.student.network)
    assert _equal(teacher.network, one.teacher.network)


def test_what_does_not_fit_is_refused(first: tuple[Path, Run], tmp_path: Path) -> None:
    folder, _ = first
    for overrides, words in (
        (["network.rnn_hidden=6"], "rnn_hidden 4, the recipe's 6"),
        (["network.activation=gate"], "activation relu, the recipe's gate"),
        (["network.frontend.f_max=7000"], r"frontend\.f_max"),
        (["network.encoder=null", "method.embedding.tap=rnn"], "encoder"),
    ):
        with pytest.raises(BundleError, match=words) as caught:
            _begin(_recipe(2, *overrides), folder)
        assert "\n" not in str(caught.value)
    with pytest.raises(BundleError, match="no such bundle"):
        read_start(tmp_path / "nothing")
    (tmp_path / "state.ckpt").write_bytes(b"nonsense")
    with pytest.raises(BundleError, match="is no state of a training run") as caught:
        read_start(tmp_path)
    assert "\n" not in str(caught.value)


def test_weights_cut_from_a_run_are_named(first: tuple[Path, Run], tmp_path: Path) -> None:
    folder, _ = first
    state = torch.load(folder / "state.ckpt", weights_only=True)
    del state["teacher"]["network.crnn.merge.bias"]
    torch.save(state, tmp_path / "state.ckpt")
    with pytest.raises(BundleError, match=r"crnn\.merge\.bias is \(6,\).*there it is none"):
        _begin(_recipe(2), tmp_path)


def test_classes_are_found_by_name(first: tuple[Path, Run]) -> None:
    folder, one = first
    strict = _recipe(2, "train.init_classes=same")
    with pytest.raises(BundleError, match=r"without Cat; with Speech.*init_classes=known"):
        _begin(strict, folder, ("Cat", "Dog", "Alarm_bell_ringing"))
    other = ("Speech", "Alarm_bell_ringing", "Dog")
    student, teacher, begun = _begin(_recipe(2), folder, other)
    assert not begun.notes
    rows = [LABELS.index(label) for label in other]
    for ours, theirs in ((student, one.student), (teacher, one.teacher)):
        heads, before = ours.network.crnn.heads, theirs.network.crnn.heads
        for name, value in heads.state_dict().items():
            assert torch.equal(value, before.state_dict()[name][rows]), name


def test_classes_that_are_new_begin_at_random(first: tuple[Path, Run]) -> None:
    folder, one = first
    known, labels = _recipe(2), ("Cat", "Dog", "Frying", "Speech")
    fresh = _student(known, labels)
    student, teacher, begun = _begin(known, folder, labels)
    told = "(without Cat, Frying; with Alarm_bell_ringing); begun at random: Cat, Frying"
    assert told in begun.notes[0]
    assert "classes kept: Dog, Speech" in begun.notes[0]
    for ours, theirs in ((student, one.student), (teacher, one.teacher)):
        for name, value in ours.network.crnn.heads.state_dict().items():
            before = theirs.network.crnn.heads.state_dict()[name]
            assert torch.equal(value[[1, 3]], before[[1, 2]]), name
            own = fresh.network.crnn.heads.state_dict()[name]
            assert torch.equal(value[[0, 2]], own[[0, 2]]), name
        assert _equal(ours.network.crnn.rnn, theirs.network.crnn.rnn)


def test_cards_tell_and_resumed_runs_need_it_no_more(
    tiny_data: Path, encoder: Path, tmp_path: Path
) -> None:
    recipe = _recipe(1, f"train.init={encoder}", "train.epochs=2")
    whole = _train(recipe, tiny_data, tmp_path / "whole")
    _train(recipe, tiny_data, tmp_path / "parts", stop_after_epochs=1)
    fingerprint = encoder_fingerprint(encoder)
    encoder.rename(tmp_path / "gone")
    parts = _train(recipe, tiny_data, tmp_path / "parts", resume=True)
    assert _equal(parts.student, whole.student)
    assert _equal(parts.teacher, whole.teacher)
    for folder in ("whole", "whole/student", "parts"):
        card = (tmp_path / folder / "README.md").read_text()
        for words in ("It began with the encoder", fingerprint, "some-recipe", "loss's heads"):
            assert words in card, folder


def test_random_encoders_are_told(
    tiny_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _train(_recipe(1), tiny_data, tmp_path / "one")
    assert "random weights" in caplog.text
    assert "It began with" not in (tmp_path / "one" / "README.md").read_text()
