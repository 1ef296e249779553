"""Schedules against the published values, and parameter groups."""

from __future__ import annotations

import pytest
import torch

from earmark.core.config import TrainSettings
from earmark.core.errors import ConfigError
from earmark.train.optim import learning_rate, make_optimizer, set_learning_rate

STAGE_2 = TrainSettings(
    epochs=250, steps_per_epoch=29, lr=2e-4, warmup_steps=290, lr_final=0.1, optimizer="adam"
)


@pytest.mark.parametrize(("step", "rate"), [(1, 1.4e-6), (290, 2e-4), (3770, 1.1e-4), (7250, 2e-5)])
def test_rate_of_the_published_second_stage(step: int, rate: float) -> None:
    """Published steps count from 1; ours from 0."""
    assert STAGE_2.lr * learning_rate(step - 1, STAGE_2) == pytest.approx(rate, rel=0.02)


def test_rate_is_constant_after_the_ramp_where_it_ends_at_one() -> None:
    settings = TrainSettings(epochs=2, steps_per_epoch=50, warmup_steps=10, lr_final=1.0)
    assert {learning_rate(step, settings) for step in range(10, 100)} == {1.0}
    assert learning_rate(0, TrainSettings(warmup_steps=0)) == pytest.approx(1.0, abs=1e-3)


def test_groups_by_longest_prefix() -> None:
    module = torch.nn.ModuleDict({"cnn": torch.nn.Linear(2, 2), "rnn": torch.nn.Linear(2, 2)})
    settings = TrainSettings(lr=1e-3, lr_groups={"cnn": 1e-4, "cnn.bias": 1e-5}, warmup_steps=10)
    optimizer = make_optimizer(module, settings)
    rates = {
        parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]
    }
    expected = {"cnn.weight": 1e-4, "cnn.bias": 1e-5, "rnn.weight": 1e-3, "rnn.bias": 1e-3}
    assert {name: rates[p] for name, p in module.named_parameters()} == expected
    set_learning_rate(optimizer, 4, settings)
    share = learning_rate(4, settings)
    assert sorted(g["lr"] for g in optimizer.param_groups) == pytest.approx(
        [1e-5 * share, 1e-4 * share, 1e-3 * share]
    )


def test_an_idle_prefix_is_refused() -> None:
    with pytest.raises(ConfigError, match="encoder"):
        make_optimizer(torch.nn.Linear(2, 2), TrainSettings(lr_groups={"encoder": 1e-4}))
