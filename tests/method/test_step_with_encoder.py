"""The step with an encoder: both front-ends, its tap, one pass of a frozen one, no padding."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from earmark.core.config import AtstSettings, NetworkSettings, apply_overrides, parse_settings
from earmark.core.errors import ConfigError
from earmark.data.dataset import Batch
from earmark.method.mixup import Mix, draw_mix, mix_inputs
from earmark.method.networks import Student, Teacher
from earmark.method.settings import MethodSettings
from earmark.method.step import StepInputs, StepResult
from earmark.method.versions import step_of
from earmark.method.views import make_views
from earmark.model.sed import SedNetwork
from earmark.train.distributed import leave_out_unused
from earmark.train.shared_encoder import SharedEncoder, clean_tokens, share_encoder

pytestmark = pytest.mark.processor

KINDS = [0, 0, 0, 1, 1, 2, 2, 2]
SMALL: dict[str, Any] = {
    "channels": (4, 4, 8, 8, 8, 8, 8),
    "rnn_hidden": 8,
    "rnn_layers": 1,
    "dropout": 0.0,
    "conv_dropout": 0.0,
    "window_seconds": 2.048,
    "encoder": AtstSettings(width=16, depth=2, heads=2, merge=12, max_tokens=60),
}


def method(*overrides: str) -> MethodSettings:
    base = ["embedding={hidden: 16, out: 8, tap: encoder, ramp_steps: 100}", "ramp_steps=100"]
    return parse_settings(MethodSettings, apply_overrides({}, [*base, *overrides]))


def make_batch(seed: int = 0) -> Batch:
    """Clips of 2.048 s: 32 frames, 51 tokens; one is half padding."""
    generator = torch.Generator().manual_seed(seed)
    strong = (torch.rand(len(KINDS), 32, 2, generator=generator) > 0.7).float()
    valid = torch.ones(len(KINDS), 32, dtype=torch.bool)
    valid[1, 16:] = False
    waveforms = 0.1 * torch.randn(len(KINDS), 32 * 1024, generator=generator)
    waveforms[1, 16 * 1024 :] = 0.0
    return Batch(waveforms, strong, strong.amax(1), valid, torch.tensor(KINDS))


def make_models(
    settings: MethodSettings, frozen: bool = False, **network: Any
) -> tuple[Student, Teacher]:
    torch.manual_seed(0)
    made = SedNetwork(NetworkSettings.model_validate(SMALL | network), ("a", "b"))
    with torch.no_grad():  # an encoder that matters, so that what it is given shows
        for name, parameter in made.named_parameters():
            if name.startswith(("encoder.", "crnn.merge")) and parameter.dim() > 1:
                parameter.mul_(6.0)
    leave_out_unused(made)
    if frozen and made.encoder is not None:
        made.encoder.requires_grad_(False)
    student = Student(made, settings.embedding)
    return student, Teacher(student)


def take_step(
    settings: MethodSettings,
    batch: Batch | None = None,
    step: int = 40,
    models: tuple[Student, Teacher] | None = None,
    mix: Mix | None = None,
    encoder: SharedEncoder | None = None,
) -> tuple[StepResult, Student, Teacher]:
    student, teacher = models or make_models(settings)
    generator = torch.Generator().manual_seed(7)
    batch = batch or make_batch()
    inputs = StepInputs(mix, encoder=encoder)
    result = step_of(settings)(student, teacher, batch, step, settings, generator, inputs)
    return result, student, teacher


OPTIONS = [
    [],
    ["embedding.tap=rnn"],
    ["mixup.domain=mel"],
    ["mixup.domain=mel", "mixup.encoder=false"],
    ["mixup.encoder=false"],
    ["mixup.per=kind", "mixup.fold=false", "mixup.tau=1", "consistency=kind"],
    ["teacher_sees=mixture"],
    ["warp_probability=0.7"],
    ["warp_probability=1.0", "warp_per=kind"],
    ["embedding.weights=activity"],
    ["embedding.weights=energy"],
    ["embedding.weights=hard", "mixup.domain=mel"],
    ["embedding.symmetric=true", "embedding.center=true"],
    ["mixup.probability=0"],
]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("overrides", OPTIONS, ids=lambda o: " ".join(o) or "default")
def test_every_option_trains_the_student_and_never_the_teacher(
    overrides: list[str], frozen: bool
) -> None:
    settings = method(*overrides)
    models = make_models(settings, frozen)
    encoder = share_encoder(*models)
    before = [p.clone() for p in models[0].network.encoder.parameters()]  # type: ignore[union-attr]
    result, student, teacher = take_step(settings, models=models, encoder=encoder)
    result.loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(result.loss)
    for name, parameter in student.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().max() > 0, name
        else:
            assert parameter.grad is None, name
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    after = student.network.encoder.parameters()  # type: ignore[union-attr]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("tap", ["encoder", "rnn"])
@pytest.mark.parametrize("domain", ["waveform", "mel"])
def test_what_lies_in_padding_never_enters_a_loss(tap: str, domain: str) -> None:
    """Labels, vectors and scores of padded frames may be anything; the loss is the same."""
    overrides = ["mixup.tau=0.0", f"mixup.domain={domain}", f"embedding.tap={tap}"]
    settings, batch = method(*overrides), make_batch()
    changed = Batch(batch.waveforms, batch.strong.clone(), batch.weak, batch.valid, batch.kinds)
    changed.strong[1, 16:] = 1 - changed.strong[1, 16:]
    plain = take_step(settings, batch)[0].loss
    assert plain == take_step(settings, changed)[0].loss
    models = make_models(settings)
    from_mel = SedNetwork.from_mel

    def noisy(self: SedNetwork, mels: Any, valid: Tensor, *rest: Any) -> Any:
        """Put noise into the padding of everything that comes out of a network."""
        output = from_mel(self, mels, valid, *rest)
        strong = torch.where(valid.unsqueeze(-1), output.strong, 0.3)
        found = output.embeddings[tap]
        sound = self.token_mask(valid, found.shape[1]) if tap == "encoder" else valid
        found = torch.where(sound.unsqueeze(-1), found, torch.randn_like(found))
        return output._replace(strong=strong, embeddings=output.embeddings | {tap: found})

    with mock.patch.object(SedNetwork, "from_mel", noisy):
        assert take_step(settings, batch, models=models)[0].loss == plain


@pytest.mark.parametrize(
    ("overrides", "clips"),
    [
        (["mixup.probability=0"], 8),
        (["mixup.encoder=false"], 8),
        (["teacher_sees=mixture"], 8),
        ([], None),
        (["mixup.domain=mel"], None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_frozen_encoder_runs_once_per_distinct_input(
    overrides: list[str], clips: int | None
) -> None:
    settings = method(*overrides)
    apart, together = make_models(settings, frozen=True), make_models(settings, frozen=True)
    encoder = share_encoder(*together)
    assert encoder is not None
    expected = take_step(settings, models=apart)[0]
    encode, seen = SedNetwork.encode, []

    def counted(self: SedNetwork, mel: Tensor, valid: Tensor | None = None) -> Tensor:
        seen.append(mel[mel.abs().amax(dim=(1, 2)) > 0])
        return encode(self, mel, valid)

    with mock.patch.object(SedNetwork, "encode", counted):
        found = take_step(settings, models=together, encoder=encoder)[0]
    inputs = torch.cat(seen)
    assert len(torch.unique(inputs, dim=0)) == len(inputs)
    assert clips is None or len(inputs) == clips
    torch.testing.assert_close(found.loss, expected.loss)
    for name, value in expected.figures.items():
        assert found.figures[name] == pytest.approx(value, rel=1e-4), name


def test_an_encoder_that_learns_or_differs_is_not_shared() -> None:
    settings = method()
    student, teacher = make_models(settings)
    assert share_encoder(student, teacher) is None
    assert teacher.network.encoder is not student.network.encoder
    student, teacher = make_models(settings, frozen=True)
    with torch.no_grad():
        student.network.encoder.norm_frame.bias.add_(1.0)  # type: ignore[union-attr]
    assert share_encoder(student, teacher) is None
    assert teacher.network.encoder is not student.network.encoder


def test_what_is_mixed_for_whom() -> None:
    """The loss depends on a partner through the encoder's input only if that is mixed."""
    settings = {name: method(f"mixup.encoder={name}", "mixup.tau=1") for name in ("true", "false")}
    batch = make_batch()
    partner = torch.tensor([1, 2, 0, 4, 3, 6, 7, 5])
    mix = Mix(torch.full((8,), 0.6), partner, torch.ones(8, dtype=torch.bool))
    encode, seen = SedNetwork.encode, []

    def kept(self: SedNetwork, mel: Tensor, valid: Tensor | None = None) -> Tensor:
        seen.append((self.training, mel, valid))
        return encode(self, mel, valid)

    for name, mixed in (("true", True), ("false", False)):
        seen.clear()
        with mock.patch.object(SedNetwork, "encode", kept):
            take_step(settings[name], batch, mix=mix)
        (_, clean, own), (_, students, theirs) = seen
        assert torch.equal(clean, students) is not mixed
        assert own is not None and theirs is not None  # noqa: PT018
        assert torch.equal(own, batch.valid)
        assert torch.equal(theirs, batch.valid) is not mixed  # clip 1's partner fills its padding


@pytest.mark.parametrize("domain", ["waveform", "mel"])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_coefficient_of_one_is_no_mixing(domain: str, frozen: bool) -> None:
    """Whoever the partner is: the same loss, figures and gradients as with no mixing at all."""
    settings = method(f"mixup.domain={domain}")
    nobody = torch.zeros(len(KINDS), dtype=torch.bool)
    alone = torch.arange(len(KINDS))
    gradients, figures = [], []
    for partner in (alone, torch.tensor([1, 2, 0, 4, 3, 6, 7, 5])):
        models = make_models(settings, frozen)
        encoder = share_encoder(*models)
        mix = Mix(torch.ones(len(KINDS)), partner, nobody)
        result, student, _ = take_step(settings, models=models, mix=mix, encoder=encoder)
        result.loss.backward()  # type: ignore[no-untyped-call]
        figures.append(result.figures)
        gradients.append([p.grad for p in student.parameters() if p.grad is not None])
    assert figures[0] == figures[1]
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_tokens_mixed_as_they_are_kept() -> None:
    """The CNN hears the mixture of waveforms; its frames are joined by the mixture of tokens."""
    settings = method("mixup.domain=tokens", "mixup.level=rms", "embedding.tap=rnn")
    student, teacher = make_models(settings, frozen=True)
    encoder = share_encoder(student, teacher)
    assert encoder is not None
    batch, generator = make_batch(), torch.Generator().manual_seed(3)
    mix = draw_mix(batch.kinds, settings.mixup, generator)
    views = make_views(teacher, batch, mix, settings, generator, encoder)
    clean = clean_tokens(teacher.network, batch.waveforms, batch.valid)
    weights = mix.coefficient[:, None, None]
    assert views.mixed.tokens is not None
    expected = weights * clean + (1 - weights) * clean[mix.partner]
    torch.testing.assert_close(views.mixed.tokens, expected)
    wave = teacher.network.linear(mix_inputs(batch.waveforms, mix, "rms"), with_encoder=False)
    torch.testing.assert_close(views.mixed.mels.cnn, teacher.network.scale(wave).cnn)
    assert views.mixed.mels.encoder is None  # so that the encoder ran on the clean clips alone


def test_tokens_are_mixed_only_where_the_encoder_is_frozen() -> None:
    with pytest.raises(ConfigError, match=r"mixup\.domain=tokens.*train\.frozen"):
        take_step(method("mixup.domain=tokens"))
