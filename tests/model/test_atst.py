"""ATST-Frame: published names, the formulas written out, masks, positions, alignment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from earmark.core.config import AtstSettings
from earmark.core.errors import AudioError
from earmark.model.encoders.alignment import align_tokens, overlap_weights
from earmark.model.encoders.atst import (
    ENCODER_SIZES,
    AtstFrame,
    DropPath,
)

pytestmark = pytest.mark.processor

GOLDEN = Path(__file__).parent / "golden"
TINY = ENCODER_SIZES["tiny"]
TOKEN_HOP, FRAME_HOP = 640, 1024


def make(**changes: Any) -> AtstFrame:
    """A tiny encoder whose every parameter differs from its neutral value."""
    generator = torch.Generator().manual_seed(0)
    encoder = AtstFrame(TINY.model_copy(update=changes))
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            neutral = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(neutral + 0.2 * noise)
    return encoder.eval()


def mels(batch: int, frames: int, seed: int = 1) -> Tensor:
    return torch.randn(batch, 64, frames, generator=torch.Generator().manual_seed(seed))


def published(size: str) -> dict[str, tuple[int, ...]]:
    """Entries of the published encoder of a size."""
    entries: dict[str, tuple[int, ...]] = {}
    inside = False
    for line in (GOLDEN / "atst_frame_state_dict.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# ATST-Frame"):
            inside = f"Frame {size}" in line
        elif line.startswith("# heads"):
            inside = False
        elif inside and "\t" in line:
            name, shape, _ = line.split("\t")
            entries[name] = tuple(int(number) for number in re.findall(r"\d+", shape))
    return entries


@pytest.mark.parametrize(("size", "parameters"), [("small", 21_475_968), ("base", 85_419_264)])
def test_entries_are_the_published_ones(size: str, parameters: int) -> None:
    with torch.device("meta"):
        encoder = AtstFrame(ENCODER_SIZES[size])
    ours = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    assert len(ours) == 138
    assert ours == published(size)
    assert list(ours) == list(published(size))
    assert sum(p.numel() for p in encoder.parameters()) == parameters


def written_out(encoder: AtstFrame, mel: Tensor, masked: Tensor | None = None) -> Tensor:
    """The encoder's formulas, head by head, token by token for the patches."""
    width, heads = encoder.settings.width, encoder.settings.heads
    patch = encoder.patch_embed.patch_embed
    tokens = [
        torch.stack([mel[:, band, t + k] for band in range(64) for k in range(4)], dim=1)
        for t in range(0, mel.shape[2] - 3, 4)
    ]
    x = torch.stack([F.linear(token, patch.weight, patch.bias) for token in tokens], dim=1)
    if masked is not None:
        x[masked] = encoder.mask_embed[0, 0]
    x = x + encoder.pos_embed[:, 1 : 1 + x.shape[1]]
    for block in encoder.blocks:
        q, k, v = F.linear(block.norm1(x), block.attn.qkv.weight).chunk(3, dim=2)
        parts = []
        for part in torch.arange(width).chunk(heads):
            scores = q[..., part] @ k[..., part].transpose(1, 2) / len(part) ** 0.5
            parts.append(scores.softmax(dim=-1) @ v[..., part])
        x = x + block.attn.proj(torch.cat(parts, dim=2))
        hidden = block.mlp.fc1(block.norm2(x))
        x = x + block.mlp.fc2(0.5 * hidden * (1 + torch.erf(hidden / 2**0.5)))
    final = encoder.norm_frame
    centred = x - x.mean(dim=2, keepdim=True)
    variance = centred.square().mean(dim=2, keepdim=True)
    return centred / (variance + 1e-6).sqrt() * final.weight + final.bias


@torch.no_grad()
@pytest.mark.parametrize("frames", [4, 7, 83])
def test_equals_the_formulas_written_out(frames: int) -> None:
    encoder, mel = make(), mels(2, frames)
    out = encoder(mel)
    assert out.shape == (2, frames // 4, 96) == (2, encoder.tokens_in(frames), 96)
    torch.testing.assert_close(out, written_out(encoder, mel), atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_masked_tokens_are_replaced_before_their_positions_are_added() -> None:
    encoder, mel = make(), mels(2, 40)
    masked = torch.rand(2, 10, generator=torch.Generator().manual_seed(2)) < 0.5
    out = encoder(mel, masked=masked)
    torch.testing.assert_close(out, written_out(encoder, mel, masked), atol=2e-5, rtol=1e-4)
    hidden = masked.repeat_interleave(4, dim=1)[:, None].expand_as(mel)
    torch.testing.assert_close(encoder(torch.where(hidden, 9.0, mel), masked=masked), out)


@torch.no_grad()
def test_padding_is_no_key() -> None:
    encoder, mel = make(), mels(3, 80)
    counts = torch.tensor([20, 7, 1])
    valid = torch.arange(20) < counts[:, None]
    out = encoder(mel, valid)
    for row, count in enumerate(counts.tolist()):
        alone = encoder(mel[row : row + 1, :, : 4 * count])
        torch.testing.assert_close(out[row, :count], alone[0], atol=1e-5, rtol=1e-4)
    # Without the mask the padding is heard.
    assert (encoder(mel)[1, :7] - out[1, :7]).abs().max() > 0.05


@torch.no_grad()
def test_a_clip_of_nothing_but_padding_stays_finite_and_harms_no_other() -> None:
    encoder, mel = make(), mels(2, 40)
    valid = torch.tensor([[False] * 10, [True] * 6 + [False] * 4])
    out = encoder(mel, valid)
    assert torch.isfinite(out).all()
    torch.testing.assert_close(out[0], encoder(mel[:1])[0])
    torch.testing.assert_close(out[1, :6], encoder(mel[1:, :, :24])[0], atol=1e-5, rtol=1e-4)


def test_a_clip_of_nothing_but_padding_has_finite_gradients() -> None:
    encoder = make()
    encoder(mels(2, 40), torch.zeros(2, 10, dtype=torch.bool)).square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters() if p.grad is not None)


@torch.no_grad()
def test_clips_do_not_see_one_another() -> None:
    encoder, mel = make(), mels(3, 60)
    other = mel.clone()
    other[1:] += 5.0
    torch.testing.assert_close(encoder(mel)[0], encoder(other)[0], atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_cut_takes_the_first_rows_and_refuses_more_than_there_are() -> None:
    encoder = make(max_tokens=12)
    encoder(mels(1, 51))  # 12 tokens and three frames left over
    with pytest.raises(AudioError, match=r"13 tokens \(0\.52 s\).*12 positions.*interpolate"):
        encoder(mels(1, 52))
    with pytest.raises(AudioError, match="no whole token"):
        encoder(mels(1, 3))


@torch.no_grad()
def test_interpolate_resizes_the_table_both_ways() -> None:
    cut, resized = make(max_tokens=12), make(max_tokens=12, positions="interpolate")
    mel = mels(1, 120)
    assert torch.equal(cut(mel[:, :, :48]), resized(mel[:, :, :48]))
    assert resized(mel).shape == (1, 30, 96)
    assert torch.isfinite(resized(mel)).all()
    # On a linear table the resized rows lie on the same line, as nearly as bicubic can.
    ramp = (torch.arange(13.0) - 0.5)[None, :, None].expand(1, 13, 96)
    resized.pos_embed.copy_(ramp)
    rows = resized._positions(24)[0, :, 0]
    torch.testing.assert_close(rows, (torch.arange(24.0) + 0.5) / 2, atol=0.15, rtol=0)


def test_drop_path_grows_over_depth_keeps_the_mean_and_rests_in_evaluation() -> None:
    encoder = make(drop_path=0.3)
    rates = [block.drop_path.rate for block in encoder.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])
    mel = mels(4, 40)
    assert torch.equal(encoder(mel), make()(mel))
    torch.manual_seed(0)
    assert not torch.equal(encoder.train()(mel), encoder(mel))
    ones = torch.ones(4000, 3, 2)
    dropped = DropPath(0.3).train()(ones)
    assert sorted(dropped.unique().tolist()) == pytest.approx([0.0, 1 / 0.7])
    assert torch.equal(dropped, dropped[:, :1, :1].expand_as(dropped))  # whole clips
    assert dropped.mean() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(DropPath(1.0).train()(ones), torch.zeros_like(ones))


def test_checkpointing_gives_the_same_gradients() -> None:
    gradients = []
    for checkpointing in (False, True):
        encoder = make(checkpointing=checkpointing, drop_path=0.5).train()
        torch.manual_seed(3)
        valid = torch.arange(10) < torch.tensor([[10], [4], [8]])
        encoder(mels(3, 40), valid).square().mean().backward()
        gradients.append({n: p.grad for n, p in encoder.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def test_gradients_reach_every_parameter() -> None:
    encoder, mel = make().train(), mels(2, 40)
    encoder(mel).square().sum().backward()
    without = {name for name, p in encoder.named_parameters() if p.grad is None}
    assert without == {"mask_embed"}
    encoder(mel, masked=torch.arange(10).expand(2, -1) < 4).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_initial_weights_are_a_truncated_normal() -> None:
    torch.manual_seed(0)
    encoder = AtstFrame(TINY)
    for name, parameter in encoder.named_parameters():
        if "norm" in name or name.endswith("bias"):
            expected = 1.0 if name.endswith("weight") else 0.0
            assert (parameter == expected).all(), name
        elif parameter.numel() > 1000:
            assert float(parameter.detach().std()) == pytest.approx(0.02, rel=0.05), name


def test_width_must_be_a_multiple_of_heads() -> None:
    with pytest.raises(ValueError, match="multiple of heads"):
        AtstSettings(width=100, heads=3)


# --- tokens onto frames ---------------------------------------------------------------------


def test_adaptive_is_the_average_over_v1s_bins() -> None:
    tokens = torch.randn(2, 250, 5, generator=torch.Generator().manual_seed(0))
    out = align_tokens(tokens, 156, "adaptive", TOKEN_HOP, FRAME_HOP)
    spans = [(i * 250 // 156, -(-(i + 1) * 250 // 156)) for i in range(156)]
    assert sorted({end - start for start, end in spans}) == [2, 3]
    assert sum(end - start == 2 for start, end in spans) == 64
    expected = torch.stack([tokens[:, start:end].mean(dim=1) for start, end in spans], dim=1)
    torch.testing.assert_close(out, expected)


@settings(max_examples=40, deadline=None)
@given(
    frames=st.integers(1, 30),
    tokens=st.integers(1, 40),
    token_hop=st.integers(1, 24),
    frame_hop=st.integers(1, 24),
)
def test_exact_is_the_mean_over_the_samples_of_a_frame(
    frames: int, tokens: int, token_hop: int, frame_hop: int
) -> None:
    values = torch.randn(1, tokens, 2, generator=torch.Generator().manual_seed(tokens))
    out = align_tokens(values, frames, "exact", token_hop, frame_hop)
    samples = values.repeat_interleave(token_hop, dim=1)
    for frame in range(frames):
        heard = samples[:, frame * frame_hop : (frame + 1) * frame_hop]
        expected = heard.mean(dim=1) if heard.shape[1] else values[:, -1]
        torch.testing.assert_close(out[:, frame], expected)
    weights = overlap_weights(frames, tokens, token_hop, frame_hop)
    torch.testing.assert_close(torch.from_numpy(weights).sum(dim=1), torch.ones(frames))


def test_exact_keeps_time_where_v1_drifts() -> None:
    centres = (torch.arange(250.0) + 0.5) * 40  # ms
    frames = (torch.arange(156.0) + 0.5) * 64
    lag = {}
    for how in ("exact", "adaptive"):
        out = align_tokens(centres[None, :, None], 156, how, TOKEN_HOP, FRAME_HOP)
        lag[how] = out[0, :, 0] - frames
    # The mean of a step function differs from the ramp's by under an eighth of a token.
    assert lag["exact"].abs().max() < 40 / 8
    drift = {how: 2 * float(ms[78:].mean() - ms[:78].mean()) for how, ms in lag.items()}
    assert drift["exact"] == pytest.approx(0, abs=0.1)
    assert drift["adaptive"] == pytest.approx(16, abs=1)
