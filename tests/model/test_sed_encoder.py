"""A network with an encoder: padding, short windows, tokens given, bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from earmark.core.config import AtstSettings, NetworkSettings
from earmark.core.errors import AudioError, ConfigError
from earmark.model.bundle import load_bundle, save_bundle
from earmark.model.sed import Mels, SedNetwork
from earmark.train.recipe import load_recipe

pytestmark = pytest.mark.processor

LABELS = ("a", "b")
TINY = AtstSettings(width=32, depth=2, heads=2, merge=16)


def make(window: float = 10.0, **encoder: Any) -> SedNetwork:
    """A small network whose encoder matters: large weights, so that what it hears shows."""
    torch.manual_seed(0)
    changes = {"encoder": TINY.model_copy(update=encoder), "window_seconds": window}
    small: NetworkSettings = load_recipe("mini").network.model_copy(update=changes)
    network = SedNetwork(small, LABELS)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith(("encoder.", "crnn.merge")) and parameter.dim() > 1:
                parameter.mul_(8.0)
    return network.eval()


def noise(batch: int, samples: int, seed: int = 1) -> Tensor:
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))


def padded(network: SedNetwork, clips: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Clips [S] of any lengths as the training batches have them: waveforms and valid frames."""
    waveforms = torch.zeros(len(clips), network.spec.window)
    valid = torch.zeros(len(clips), network.spec.frames, dtype=torch.bool)
    for row, clip in enumerate(clips):
        waveforms[row, : len(clip)] = clip
        valid[row, : network.spec.grid.frames_covering(len(clip))] = True
    return waveforms, valid


@torch.no_grad()
@pytest.mark.parametrize("align", ["exact", "adaptive"])
def test_a_batch_of_unequal_lengths_scores_each_clip_as_alone(align: str) -> None:
    network = make(align=align)
    lengths = [160_000, 120_345, 64_000, 20_000, 1_500]
    clips = [noise(1, length, seed=length)[0] for length in lengths]
    clips[1] *= 30.0  # a loud neighbour
    together = network(*padded(network, clips))
    for row, (length, clip) in enumerate(zip(lengths, clips, strict=True)):
        alone = network(clip[None])
        frames = length // network.spec.frame_hop
        assert alone.strong.shape == (1, frames, 2)
        torch.testing.assert_close(together.strong[row, :frames], alone.strong[0])
        torch.testing.assert_close(together.weak[row], alone.weak[0])
        for tap in ("cnn", "rnn"):
            ours = together.embeddings[tap][row, :frames]
            torch.testing.assert_close(ours, alone.embeddings[tap][0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_padding_is_attended_to_only_as_v1_did() -> None:
    for mask_padding in (True, False):
        network = make(mask_padding=mask_padding)
        waveforms, valid = padded(network, [noise(1, 50_000)[0]])
        told, untold = network(waveforms, valid), network(waveforms)
        same = torch.allclose(told.strong, untold.strong, atol=1e-5)
        assert same is not mask_padding
        assert network.masks_padding is mask_padding


@torch.no_grad()
def test_what_stands_in_the_padding_of_the_encoders_mel_is_never_heard() -> None:
    network = make()
    waveforms, valid = padded(network, [noise(1, 64_000)[0]])
    mels = network.scale(network.linear(waveforms))
    other = mels.encoder.clone()
    other[:, :, 440:] = 3.0  # 63 frames hold sound: 4.032 s, 101 tokens, 404 mel frames
    changed, ours = network.encode(other, valid), network.encode(mels.encoder, valid)
    torch.testing.assert_close(changed[:, :101], ours[:, :101])
    assert (network.encode(other)[:, :101] - ours[:, :101]).abs().max() > 0.01


@torch.no_grad()
def test_clips_of_a_batch_do_not_see_one_another() -> None:
    network = make()
    clips = noise(3, 160_000)
    clips[0] *= 0.01
    torch.testing.assert_close(network(clips).strong[:1], network(clips[:1]).strong)


@settings(max_examples=40, deadline=None)
@given(frames=st.integers(0, 156), window=st.sampled_from([10.0, 5.0, 4.07, 2.048]))
@example(frames=155, window=10.0)
@example(frames=62, window=4.07)
def test_token_mask_covers_the_valid_frames(frames: int, window: float) -> None:
    network = make(window)
    frames = min(frames, network.spec.frames)
    valid = torch.arange(network.spec.frames)[None] < frames
    mask = network.token_mask(valid)
    tokens = (1 + network.spec.window // 160) // 4
    assert mask.shape == (1, tokens)
    # A window that is full is full to its end, also after its last whole frame.
    full = frames == network.spec.frames
    expected = tokens if full else min(tokens, -(-frames * 1024 // 640))
    assert mask.sum() == expected
    assert mask[0, :expected].all()
    assert torch.equal(network.token_mask(valid[:, :frames]), mask)


@torch.no_grad()
def test_full_windows_are_the_same_told_or_not() -> None:
    network = make(4.07)
    clips = noise(2, network.spec.window)
    valid = torch.ones(2, network.spec.frames, dtype=torch.bool)
    torch.testing.assert_close(network(clips, valid).strong, network(clips).strong)


@torch.no_grad()
def test_given_tokens_stand_for_the_encoder() -> None:
    network = make()
    waveforms, valid = padded(network, [noise(1, 160_000)[0], noise(1, 70_000)[0]])
    mels = network.scale(network.linear(waveforms))
    whole = network.from_mel(mels, valid, 156)
    tokens = network.encode(mels.encoder, valid)
    with mock.patch.object(network.encoder, "forward", side_effect=AssertionError):
        given_tokens = network.from_mel(Mels(mels.cnn), valid, 156, tokens)
    assert torch.equal(given_tokens.strong, whole.strong)
    assert torch.equal(given_tokens.embeddings["encoder"], tokens)
    with pytest.raises(ValueError, match="its own mel, or its tokens"):
        network.from_mel(Mels(mels.cnn), valid)


@torch.no_grad()
def test_taps_have_the_widths_they_say() -> None:
    network = make()
    out = network(noise(2, 160_000))
    assert {tap: e.shape[2] for tap, e in out.embeddings.items()} == network.tap_widths
    assert out.embeddings["encoder"].shape == (2, 250, 32)
    assert network.tap_widths["encoder"] == 32


def test_gradients_reach_every_parameter_but_the_mask() -> None:
    network = make().train()
    out = network(*padded(network, [noise(1, 160_000)[0], noise(1, 40_000)[0]]))
    (out.strong.square().sum() + out.weak.sum()).backward()
    for name, parameter in network.named_parameters():
        if name == "encoder.mask_embed":
            assert parameter.grad is None
            continue
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_names_of_the_parts() -> None:
    parts = {".".join(name.split(".")[:2]) for name in make().state_dict()}
    parts = {name if name.startswith("crnn") else name.split(".")[0] for name in parts}
    assert parts == {"encoder", "crnn.cnn", "crnn.merge", "crnn.rnn", "crnn.heads"}


@torch.no_grad()
def test_too_long_input_is_refused_in_one_clear_line_or_interpolated() -> None:
    with pytest.raises(AudioError, match=r"251 tokens \(10\.04 s\).*250 positions \(10 s\)"):
        make()(noise(1, 160_500))
    out = make(positions="interpolate")(noise(1, 200_000))
    assert out.strong.shape == (1, 195, 2)
    assert torch.isfinite(out.strong).all()
    with pytest.raises(ConfigError, match=r"12 s is longer than the 10\.03 s"):
        make(12.0)
    make(12.0, positions="interpolate")


@torch.no_grad()
def test_a_bundle_keeps_encoder_and_scores(tmp_path: Path) -> None:
    network = make()
    save_bundle(tmp_path / "run", network, {}, "card")
    loaded = load_bundle(tmp_path / "run").network
    assert loaded.settings == network.settings
    clips = noise(1, 90_000)
    assert torch.equal(loaded(clips).strong, network(clips).strong)


def test_a_light_network_has_no_tokens() -> None:
    network = SedNetwork(load_recipe("mini").network, LABELS)
    assert not network.masks_padding
    assert "encoder" not in network.tap_widths
    with pytest.raises(ValueError, match="no tokens"):
        network.encode(torch.zeros(1, 64, 1001))
    with pytest.raises(ValueError, match="no tokens"):
        network.token_mask(torch.ones(1, 156, dtype=torch.bool))


def test_batch_norm_of_tokens_brings_each_number_to_one_scale() -> None:
    network = make(norm="batch", merge_activation="gelu").train()
    sizes = torch.logspace(-1, 2, TINY.width)
    tokens = 3.0 + noise(4, 250 * TINY.width).view(4, 250, TINY.width) * 10.0 * sizes
    normed = network.crnn.token_norm(tokens)
    assert normed.shape == tokens.shape
    torch.testing.assert_close(normed.mean((0, 1)), torch.zeros(TINY.width), atol=1e-4, rtol=0)
    # ε leaves a number that hardly moves smaller than the others.
    assert normed.std((0, 1)).max() < 1.01
    torch.testing.assert_close(
        normed.std((0, 1))[10:], torch.ones(TINY.width - 10), rtol=0.02, atol=0
    )
    network.eval()
    alone = network.crnn.token_norm(tokens[:1])
    torch.testing.assert_close(alone[0], network.crnn.token_norm(tokens)[0])


@torch.no_grad()
def test_the_joined_vectors_pass_layer_norm_and_gelu_when_asked() -> None:
    plain, other = make(), make(merge_activation="gelu")
    assert set(dict(other.named_parameters())) - set(dict(plain.named_parameters())) == {
        "crnn.merge_activation.0.weight",
        "crnn.merge_activation.0.bias",
    }
    joined = noise(2, 250 * 16).view(2, 250, 16)
    expected = torch.nn.functional.gelu(torch.nn.functional.layer_norm(joined, (16,)))
    torch.testing.assert_close(other.crnn.merge_activation(joined), expected)
    torch.testing.assert_close(plain.crnn.merge_activation(joined), joined)
