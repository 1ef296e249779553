"""Figures of the mechanism, against plain formulations."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from earmark.data.dataset import Batch
from earmark.method.losses import embedding_loss, strong_bce
from earmark.method.networks import Student, Teacher
from earmark.method.settings import MethodSettings
from earmark.model.sed import SedNetwork
from earmark.train.recipe import load_recipe


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30))
def test_average_precision_is_the_area_under_the_steps(rows: list[tuple[int, bool]]) -> None:
    from mechanism import average_precision

    true = [hit for _, hit in rows]
    if not any(true):
        return
    area, recall = 0.0, 0.0
    for threshold in sorted({score for score, _ in rows}, reverse=True):
        taken = [hit for score, hit in rows if score >= threshold]
        now = sum(taken) / sum(true)
        area += (now - recall) * sum(taken) / len(taken)
        recall = now
    scores = np.array([float(score) for score, _ in rows])
    assert average_precision(scores, np.array(true)) == pytest.approx(area)


def test_ridge_finds_a_linear_map() -> None:
    from mechanism import mean_precision, ridge

    rng = np.random.default_rng(0)
    x, other, noise = rng.normal(3, 2, (400, 6)), rng.normal(3, 2, (100, 6)), rng.normal(size=6)
    weights = rng.normal(size=(6, 2))
    bound = 3 * weights.sum(axis=0)
    y, true = x @ weights > bound, other @ weights > bound
    assert mean_precision(ridge(x, y, other), true) > 0.99
    assert mean_precision(other @ np.stack([noise, noise], axis=1), true) < 0.95


@pytest.mark.parametrize("step", [0, 5])
def test_gradient_ratio_is_that_of_the_two_losses(step: int) -> None:
    """Unmixed, without dropout and past the ramps the two losses can be written down."""
    from mechanism import gradient_ratio

    recipe = load_recipe(
        "mini",
        ["network.channels=[4,8,8,8,8]", "network.rnn_hidden=8", "network.dropout=0"],
    )
    torch.manual_seed(0)
    embedding = {"weight": 0.7, "hidden": 16, "out": 8, "detach_steps": 3, "ramp_steps": 0}
    settings = MethodSettings.model_validate(
        {"mixup": {"probability": 0.0}, "embedding": embedding, "mean_teacher": 50.0}
    )
    student = Student(SedNetwork(recipe.network, ("a", "b")), settings.embedding)
    teacher = Teacher(student)
    frames = student.network.spec.grid.frames_in(32_000)
    strong = (torch.rand(4, frames, 2) > 0.7).float()
    sound, valid = 0.1 * torch.randn(4, 32_000), torch.ones(4, frames, dtype=torch.bool)
    batch = Batch(sound, strong, strong.amax(dim=1), valid, torch.zeros(4, dtype=torch.long))
    before = copy.deepcopy(student.state_dict())

    found = gradient_ratio(student, teacher, batch, step, settings)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    if step == 0:  # the heads alone are warmed up
        assert found == 0.0
        return
    own = copy.deepcopy(student).train()
    output = own.network(sound)
    vectors = own.heads(output.embeddings["rnn"], valid)
    with torch.no_grad():
        clean = teacher.network(sound).embeddings["rnn"]
        z = torch.nn.functional.normalize(teacher.projector(clean, valid, True), dim=-1)
    learning = list(own.network.parameters())

    def norm(loss: torch.Tensor) -> float:
        gradients = torch.autograd.grad(loss, learning, retain_graph=True, allow_unused=True)
        return float(torch.cat([g.flatten() for g in gradients if g is not None]).norm())

    expected = norm(0.7 * embedding_loss(vectors, z, valid)) / norm(
        strong_bce(output.strong, strong, valid)
    )
    assert found == pytest.approx(expected, rel=1e-3)


def test_no_gradient_ratio_without_the_loss() -> None:
    from mechanism import gradient_ratio

    settings = MethodSettings.model_validate({"embedding": {"weight": 0.0}})
    network = SedNetwork(load_recipe("mini").network, ("a",))
    student = Student(network, settings.embedding)
    batch = Batch(*[torch.zeros(1)] * 5)
    assert gradient_ratio(student, Teacher(student), batch, 0, settings) is None
