"""The losses against straight formulations, their identities and their gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.method.losses import (
    collapse_figures,
    compose_embeddings,
    embedding_loss,
    frame_energy,
    frame_weights,
    masked_mean,
    strong_bce,
    strong_consistency,
    weak_bce,
    weak_consistency,
)

pytestmark = pytest.mark.processor


def _draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _all(*shape: int) -> torch.Tensor:
    return torch.ones(*shape, dtype=torch.bool)


def _two_term(p: torch.Tensor, z: torch.Tensor, partner: torch.Tensor, w: float) -> torch.Tensor:
    u, unit = F.normalize(p, dim=-1), F.normalize(z, dim=-1)
    own, other = (u * unit).sum(-1), (u * unit[partner]).sum(-1)
    return (w * (2 - 2 * own) + (1 - w) * (2 - 2 * other)).mean()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), w=st.floats(0.5, 0.99))
def test_resultant_gain_is_the_two_term_loss_without_its_floor(seed: int, w: float) -> None:
    p = _draw(3, 5, 8, seed=seed).requires_grad_()
    z, partner = _draw(3, 5, 8, seed=seed + 1), torch.tensor([1, 2, 0])
    m = compose_embeddings(z, partner, torch.full((3, 5), w, dtype=torch.float64))
    loss = embedding_loss(p, m, _all(3, 5), "resultant")
    reference = _two_term(p, z, partner, w)
    floor = (2 * (1 - m.norm(dim=-1))).mean()
    torch.testing.assert_close(loss, reference - floor)
    own = torch.autograd.grad(loss, p, retain_graph=True)[0]
    torch.testing.assert_close(own, torch.autograd.grad(reference, p)[0])


def test_lambda_one_is_the_byol_loss() -> None:
    p, z = _draw(2, 4, 6), _draw(2, 4, 6, seed=1)
    m = compose_embeddings(z, torch.tensor([1, 0]), torch.ones(2, 4, dtype=torch.float64))
    expected = (F.normalize(p, dim=-1) - F.normalize(z, dim=-1)).square().sum(-1).mean()
    for gain in ("resultant", "unit"):
        torch.testing.assert_close(embedding_loss(p, m, _all(2, 4), gain), expected)


def test_embedding_loss_is_zero_at_its_target_and_skips_padding() -> None:
    z = _draw(2, 4, 6)
    m = compose_embeddings(z, torch.tensor([1, 0]), torch.full((2, 4), 0.6, dtype=torch.float64))
    assert embedding_loss(3.0 * m, m, _all(2, 4)) == pytest.approx(0.0, abs=1e-12)
    valid = _all(2, 4)
    valid[:, 2:] = False
    p = _draw(2, 4, 6, seed=9)
    changed = p.clone()
    changed[:, 2:] = 100.0
    assert embedding_loss(p, m, valid) == embedding_loss(changed, m, valid)


def test_opposite_teachers_give_no_nan() -> None:
    z = torch.stack([torch.ones(1, 4), -torch.ones(1, 4)])
    p = torch.randn(2, 1, 4, requires_grad=True)
    m = compose_embeddings(z, torch.tensor([1, 0]), torch.full((2, 1), 0.5))
    embedding_loss(p, m, _all(2, 1)).backward()
    assert torch.isfinite(p.grad).all()


def test_frame_weights_by_hand() -> None:
    coefficient, partner = torch.tensor([0.8, 0.8]), torch.tensor([1, 0])
    activity = torch.tensor([[0.9, 0.0], [0.0, 0.9]])
    energy = torch.tensor([[1.0, 1.0], [1.0, 9.0]])
    args = (coefficient, partner, activity, energy)
    torch.testing.assert_close(frame_weights("lambda", *args), torch.full((2, 2), 0.8))
    first = 0.8 * 1.0 / (0.8 * 1.0 + 0.2 * 0.1)
    second = 0.8 * 0.1 / (0.8 * 0.1 + 0.2 * 1.0)
    expected = torch.tensor([[first, second], [second, first]])
    torch.testing.assert_close(frame_weights("activity", *args), expected)
    share = 0.8 / (0.8 + 0.2 * 9)
    by_energy = frame_weights("energy", *args)
    assert by_energy[0, 1] == pytest.approx(share)
    assert torch.equal(frame_weights("hard", *args), (by_energy > 0.5).float())


def test_frame_energy_of_waveform_and_mel() -> None:
    wave = torch.cat([torch.zeros(1, 80), torch.full((1, 80), 2.0)], dim=1)
    torch.testing.assert_close(frame_energy(wave, 80, 2), torch.tensor([[0.0, 4.0]]))
    mel = torch.ones(1, 5, 10)
    torch.testing.assert_close(frame_energy(mel, 4, 3), torch.tensor([[5.0, 5.0, 2.5]]))


def test_masked_bce_equals_bce_of_the_valid_part() -> None:
    scores, targets = torch.rand(2, 6, 3), torch.rand(2, 6, 3).round()
    valid = _all(2, 6)
    valid[1, 4:] = False
    kept = torch.cat([scores[0], scores[1, :4]]), torch.cat([targets[0], targets[1, :4]])
    torch.testing.assert_close(strong_bce(scores, targets, valid), F.binary_cross_entropy(*kept))


def test_masked_bce_equals_bce_of_the_known_classes() -> None:
    scores, targets = torch.rand(3, 6, 4), torch.rand(3, 6, 4).round()
    valid, known = _all(3, 6), torch.rand(3, 4) > 0.5
    valid[1, 4:] = False
    kept = [
        (scores[b, t, c], targets[b, t, c])
        for b in range(3)
        for t in range(6)
        for c in range(4)
        if valid[b, t] and known[b, c]
    ]
    expected = F.binary_cross_entropy(*map(torch.stack, zip(*kept, strict=True)))
    torch.testing.assert_close(strong_bce(scores, targets, valid, known), expected)
    tags, truth = scores[:, 0], targets[:, 0]
    expected = F.binary_cross_entropy(tags[known], truth[known])
    torch.testing.assert_close(weak_bce(tags, truth, known), expected)
    none = torch.zeros_like(known)
    assert strong_bce(scores, targets, valid, none) == weak_bce(tags, truth, none) == 0.0
    everything = torch.ones_like(known)
    torch.testing.assert_close(
        strong_bce(scores, targets, valid, everything), strong_bce(scores, targets, valid)
    )
    torch.testing.assert_close(weak_bce(tags, truth, everything), weak_bce(tags, truth))


def test_empty_rows_give_zero_with_a_gradient_path() -> None:
    empty = torch.zeros(0, 3, requires_grad=True)
    assert weak_bce(empty, torch.zeros(0, 3)) == 0.0
    assert masked_mean(torch.ones(2, 3, 1), torch.zeros(2, 3, dtype=torch.bool)) == 0.0


def test_consistency_splits_over_modes() -> None:
    scores, targets = torch.rand(4, 5, 2), torch.rand(4, 5, 2)
    valid, clips = _all(4, 5), torch.tensor([True, False, True, False])
    parts = [strong_consistency(scores, targets, valid, c) for c in (clips, ~clips)]
    torch.testing.assert_close(sum(parts), F.mse_loss(scores, targets))
    weak = [weak_consistency(scores[:, 0], targets[:, 0], c) for c in (clips, ~clips)]
    torch.testing.assert_close(sum(weak), F.mse_loss(scores[:, 0], targets[:, 0]))


def test_collapse_is_seen() -> None:
    spread = collapse_figures(_draw(8, 50, 64), _all(8, 50))
    assert spread["embedding_std"] == pytest.approx(1 / 8, rel=0.05)
    assert abs(spread["embedding_cosine"]) < 0.02
    collapsed = collapse_figures(torch.ones(8, 50, 64), _all(8, 50))
    assert collapsed["embedding_std"] < 1e-6
    assert collapsed["embedding_cosine"] == pytest.approx(1.0)


def test_cross_entropy_under_cuda_autocast() -> None:
    """CUDA's autocast refuses it of probabilities; fake tensors tell so without a GPU."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    enabled, kind = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    try:
        with FakeTensorMode():
            scores = torch.empty(2, 5, 3, device="cuda")
            with pytest.raises(RuntimeError, match="unsafe to autocast"):
                torch.nn.functional.binary_cross_entropy(scores, scores)
            valid = torch.ones(2, 5, dtype=torch.bool, device="cuda")
            assert strong_bce(scores, scores, valid).dtype == torch.float32
            tags = torch.empty(2, 3, device="cuda")
            assert weak_bce(tags, tags).dtype == torch.float32
    finally:
        torch.set_autocast_enabled("cuda", enabled)
        torch.set_autocast_dtype("cuda", kind)
