"""Ramps, and the moving average over parameters and buffers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from earmark.method.teacher import ema_decay, make_teacher, ramp, update_teacher


def test_ramp_is_the_baselines() -> None:
    assert ramp(0, 100) == pytest.approx(math.exp(-5))
    assert ramp(50, 100) == pytest.approx(math.exp(-1.25))
    assert ramp(100, 100) == ramp(500, 100) == ramp(0, 0) == 1.0


def test_decay_grows_with_the_run_and_is_capped() -> None:
    decays = [ema_decay(step, 0.999, 0.2) for step in range(1, 20_000, 50)]
    assert decays == sorted(decays)
    assert decays[0] < 0.2
    assert decays[-1] == 0.999
    assert ema_decay(1, 0.99) == 0.99


def test_average_over_parameters_and_float_buffers() -> None:
    student = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    teacher = make_teacher(student)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    student(torch.randn(16, 3))
    update_teacher(teacher, student, 0.9)
    for name, value in teacher.state_dict().items():
        new = student.state_dict()[name]
        expected = 0.9 * before[name] + 0.1 * new if value.is_floating_point() else new
        torch.testing.assert_close(value, expected)


def test_teacher_takes_no_gradient_and_is_not_the_student() -> None:
    student = nn.Linear(2, 2)
    teacher = make_teacher(student)
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not teacher.training
    assert all(p.requires_grad for p in student.parameters())
    assert teacher.weight.data_ptr() != student.weight.data_ptr()
