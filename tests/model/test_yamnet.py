"""YAMNet against the published graph's outputs, and what it promises as an encoder."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

import earmark
from earmark.core.errors import ConfigError
from earmark.model.encoders.contract import nearest_token, token_centre, token_span
from earmark.model.encoders.yamnet import (
    Yamnet,
    YamnetMel,
    mel_weights,
    pretrained_weights,
    pretrained_yamnet,
)
from earmark.model.published.yamnet import read_yamnet, save_yamnet

pytestmark = pytest.mark.processor

TONES = ("0.4s", "1s", "5s", "10s")
ALL = tuple(range(1, 15))
STRIDES = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
DILATIONS = (1,) * 7 + (2,) * 6 + (4,)


@pytest.fixture(scope="module")
def weights(shared_dir: Path) -> dict[str, Tensor]:
    return read_yamnet(shared_dir / "yamnet/yamnet_official.safetensors")


@pytest.fixture(scope="module")
def random_weights() -> dict[str, Tensor]:
    """Of all blocks; norms that do something, so that forgetting one shows."""
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    state = Yamnet(ALL, classifier=True).state_dict()
    for name, value in state.items():
        if name.endswith((".beta", ".mean")):
            value.uniform_(-0.1, 0.3, generator=generator)
        elif name.endswith(".variance"):
            value.uniform_(0.5, 1.5, generator=generator)
    return state


def made(state: dict[str, Tensor], *taps: int, patches: bool = False) -> Yamnet:
    """A YAMNet of these weights; blocks above its taps have none."""
    encoder = Yamnet(taps, patches=patches, classifier=14 in taps)
    encoder.load_state_dict({name: state[name] for name in encoder.state_dict()})
    return encoder.eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def written_out(state: dict[str, Tensor], log_mel: Tensor) -> list[Tensor]:
    """The dilated form layer by layer in plain convolutions: each block's [B, T, C]."""
    x, outputs = log_mel.unsqueeze(1), []
    for index, (stride, dilation) in enumerate(zip(STRIDES, DILATIONS, strict=True)):
        for conv in ("depthwise", "conv"):
            name = f"blocks.{index}.{conv}"
            if f"{name}.weight" not in state:
                continue
            kernel, size = state[f"{name}.weight"], state[f"{name}.weight"].shape[2]
            if size == 3:
                thinned = stride == 2 and index <= 4
                time = (0, 0) if thinned else (dilation, dilation)
                x = F.pad(x, (int(stride == 1), 1, *time))
                steps = (2 if thinned else 1, stride)
                groups = 1 if index == 0 else len(kernel)
                x = F.conv2d(x, kernel, None, steps, 0, (dilation, 1), groups)
            else:
                x = F.conv2d(x, kernel)
            mean, variance = state[f"{name}.mean"], state[f"{name}.variance"]
            x = F.batch_norm(x, mean, variance, None, state[f"{name}.beta"], eps=1e-4).relu()
        outputs.append(x.mean(dim=3).transpose(1, 2))
    return outputs


@pytest.mark.parametrize("tones", TONES)
def test_equals_the_published_graph(
    tones: str, weights: dict[str, Tensor], shared_dir: Path
) -> None:
    golden = np.load(shared_dir / "yamnet/golden.npz")
    waveform = torch.from_numpy(golden[f"tones_{tones}/pcm"].astype(np.float32) / 32768.0)
    encoder = made(weights, 14, patches=True)
    with torch.inference_mode():
        log_mel = encoder.features(waveform[None])
        tokens = encoder(log_mel)
        scores = encoder.class_scores(tokens)
    for ours, name in ((log_mel, "log_mel"), (tokens, "embeddings"), (scores, "scores")):
        np.testing.assert_allclose(ours[0], golden[f"tones_{tones}/{name}"], atol=1e-4, rtol=0)


def test_the_transform_is_that_of_an_fft_and_reads_every_bin_that_counts() -> None:
    waveform = noise(1, 400 + 160 * 20 + 99)
    frames = waveform.double().unfold(1, 400, 160) * torch.hann_window(400, dtype=torch.float64)
    expected = torch.fft.rfft(frames, 512).abs() @ mel_weights()
    assert YamnetMel()(waveform).shape == (1, 21, 64)
    torch.testing.assert_close(YamnetMel()(waveform).double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("tokens", [1, 2, 3, 5, 8, 14])
def test_the_dilated_form_equals_its_layers_written_out(
    tokens: int, random_weights: dict[str, Tensor]
) -> None:
    encoder = made(random_weights, 14, 5, 6, 7, 12, 13)
    with torch.inference_mode():
        features = encoder.features(noise(2, 1280 * tokens - 77))
        blocks = written_out(random_weights, features)
        expected = torch.cat([blocks[tap - 1] for tap in encoder.taps], dim=2)
        ours = encoder(features)
    assert features.shape == (2, 8 * tokens + 7, 64)
    assert ours.shape == (2, tokens, encoder.width) == (2, tokens, 1024 + 256 * 2 + 512 * 2 + 1024)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


def test_finer_blocks_are_averaged_around_the_tokens_centre(
    random_weights: dict[str, Tensor],
) -> None:
    encoder = made(random_weights, 1, 2, 3, 4)
    with torch.inference_mode():
        features = encoder.features(noise(1, 1280 * 6))
        ours = encoder(features).split([32, 64, 128, 128], dim=2)
        blocks = written_out(random_weights, features)
    for tap, places in ((1, 4), (2, 4), (3, 2), (4, 2)):
        fine, step = blocks[tap - 1], 8 // places  # place i is centred on frame step·(i + 1) - 1
        for token in range(6):
            middle = (8 * token + 8) // step - 1
            around = fine[:, middle - places // 2 : middle + places // 2 + 1].clone()
            around[:, 0] *= 0.5
            around[:, -1] *= 0.5
            expected = around.sum(dim=1) / places
            torch.testing.assert_close(ours[tap - 1][:, token], expected, atol=1e-6, rtol=1e-5)


def test_a_clip_has_the_same_tokens_alone_and_padded(random_weights: dict[str, Tensor]) -> None:
    encoder = made(random_weights, *ALL)
    lengths = (20_000, 12_801, 9_000, 700)
    waveforms = noise(4, 20_000)
    for clip, samples in zip(waveforms, lengths, strict=True):
        clip[samples:] = 0.0
    counts = torch.tensor([-(-samples // 1280) for samples in lengths])
    with torch.inference_mode():
        together = encoder(encoder.features(waveforms), torch.arange(16) < counts[:, None])
        for clip, (count, samples) in enumerate(zip(counts, lengths, strict=True)):
            alone = encoder(encoder.features(waveforms[clip : clip + 1, :samples]))
            torch.testing.assert_close(together[clip, :count], alone[0], atol=1e-5, rtol=1e-5)


def test_sound_is_in_the_tokens_within_reach_and_in_no_others(
    random_weights: dict[str, Tensor],
) -> None:
    for taps in ((2,), (6,), (7,), (14,)):
        encoder = made(random_weights, *taps)
        silent = torch.zeros(1, 1280 * 60)
        sounding = silent.clone()
        sample = 1280 * 30 + 640  # the centre of token 30
        sounding[:, sample] = 0.9
        with torch.inference_mode():
            tokens, quiet = (encoder(encoder.features(x))[0] for x in (sounding, silent))
        changed = (tokens != quiet).any(dim=1).nonzero().squeeze(1).tolist()
        reach = encoder.reach / encoder.token_hop
        assert reach - 1 <= 30 - min(changed) <= reach
        assert max(changed) - 30 == 30 - min(changed)  # to both sides alike


def test_the_longest_reach_is_what_the_layers_add_up_to() -> None:
    assert Yamnet().reach == Fraction(1570, 1000) + Fraction(1, 80)
    assert Yamnet(patches=True).reach == Fraction(39, 80)


def test_times_are_exact() -> None:
    encoder = Yamnet((6,))
    assert (encoder.token_hop, encoder.first_centre) == (Fraction(2, 25), Fraction(1, 25))
    assert token_centre(encoder, 45_000) == Fraction(3600) + Fraction(1, 25)
    assert token_span(encoder, 3) == (Fraction(24, 100), Fraction(32, 100))
    assert nearest_token(encoder, Fraction(24, 100), 10) == 3
    assert nearest_token(encoder, Fraction(2399, 10_000), 10) == 2
    assert nearest_token(encoder, Fraction(0), 10) == 0
    assert nearest_token(encoder, Fraction(99), 10) == 9


def test_layers_name_every_parameter_once_from_the_top() -> None:
    encoder = Yamnet(classifier=True)
    groups = encoder.layers()
    names = [name for group in groups for name in group]
    assert sorted(names) == sorted(name for name, _ in encoder.named_parameters())
    assert groups[0] == ["classifier.weight", "classifier.bias"]
    assert groups[1][0].startswith("blocks.13.")
    assert groups[-1] == ["blocks.0.conv.weight", "blocks.0.conv.beta"]


def test_training_does_not_move_the_norms(random_weights: dict[str, Tensor]) -> None:
    encoder = made(random_weights, 6, 14).train()
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    features = encoder.features(noise(2, 12_800))
    encoder(features).square().mean().backward()
    assert all(torch.equal(value, before[name]) for name, value in encoder.named_buffers())
    gradients = {n: p.grad for n, p in encoder.named_parameters() if not n.startswith("class")}
    assert all(g is not None and bool(g.abs().sum() > 0) for g in gradients.values())
    with torch.inference_mode():
        torch.testing.assert_close(encoder(features), encoder.eval()(features), atol=0, rtol=0)


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_are_those_of_the_layers_written_out(
    masked: bool, random_weights: dict[str, Tensor]
) -> None:
    encoder = made(random_weights, 6, 12, 14).double()
    state = {name: value.double() for name, value in random_weights.items()}
    trained = {name for name, _ in encoder.named_parameters() if not name.startswith("class")}
    for name in trained:
        state[name].requires_grad_()
    features = encoder.features(noise(2, 1280 * 7)).double()
    valid = torch.ones(2, 7, dtype=torch.bool)
    if masked:
        valid[1, 4:] = False
    ours = encoder(features, valid)
    clips = [written_out(state, features[b : b + 1, : 8 * int(valid[b].sum()) + 7]) for b in (0, 1)]
    factor = torch.randn(
        ours.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    )
    (ours * factor * valid[:, :, None]).sum().backward()
    total = torch.zeros((), dtype=torch.float64)
    for clip, blocks in enumerate(clips):
        theirs = torch.cat([blocks[tap - 1] for tap in (6, 12, 14)], dim=2)[0]
        total = total + (theirs * factor[clip, : len(theirs)]).sum()
    total.backward()
    for name, parameter in encoder.named_parameters():
        if name in trained:
            torch.testing.assert_close(parameter.grad, state[name].grad, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("taps", [(), (0,), (15,), (6, 6)])
def test_impossible_taps_are_refused(taps: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="blocks 1 to 14"):
        Yamnet(taps)


def test_the_classifier_needs_its_block() -> None:
    with pytest.raises(ConfigError, match="block 14"):
        Yamnet((6, 12), classifier=True)
    with pytest.raises(ConfigError, match="classifier=True"):
        Yamnet((14,)).class_scores(torch.zeros(1, 1, 1024))


def test_our_file_is_the_published_one_in_half_precision(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    save_yamnet(weights, tmp_path)
    ours = pretrained_weights()
    stored = load_file(tmp_path / "encoder.safetensors")
    again = {name.removeprefix("encoder."): value for name, value in stored.items()}
    assert ours.keys() == again.keys() == weights.keys()
    for name, value in ours.items():
        assert value.dtype == again[name].dtype
        assert torch.equal(value, again[name])
    rounded = {name for name, value in ours.items() if value.dtype == torch.float16}
    kept = sum(ours[name].numel() for name in ours.keys() - rounded)
    assert sum(ours[name].numel() for name in rounded) > 0.97 * 3_751_369
    assert kept == 3_751_369 - sum(ours[name].numel() for name in rounded)
    assert all(torch.equal(ours[name], weights[name]) for name in ours.keys() - rounded)


def test_licence_and_authors_are_beside_the_weights() -> None:
    folder = Path(earmark.__file__).parent / "bundles" / "yamnet"
    assert "Apache License" in (folder / "LICENSE").read_text(encoding="utf-8")
    notice = (folder / "NOTICE").read_text(encoding="utf-8")
    assert all(word in notice for word in ("M. Plakal, D. Ellis", "half precision", "Apache"))
    assert (folder / "encoder.safetensors").stat().st_size < 7.7e6


def test_rounding_costs_what_the_notice_says(weights: dict[str, Tensor], shared_dir: Path) -> None:
    golden = np.load(shared_dir / "yamnet/golden.npz")
    names = [name[5:-12] for name in golden.files if name.endswith("/mean_scores")]
    assert len(names) == 9
    for patches, largest, others in ((True, 0.0013, 0), (False, 0.0026, 2)):
        exact = made(weights, 6, 12, 14, patches=patches)
        rounded = pretrained_yamnet(patches=patches, classifier=True)
        differing = 0
        for name in names:
            samples, _ = soundfile.read(shared_dir / "soundbank" / name, dtype="float32")
            waveform = torch.from_numpy(samples)[None]
            with torch.inference_mode():
                features = exact.features(waveform)
                expected = exact.class_scores(exact(features))
                scores = rounded.class_scores(rounded(features))
            torch.testing.assert_close(scores, expected, atol=largest, rtol=0)
            differing += int((scores.argmax(2) != expected.argmax(2)).sum())
            if patches:
                mean = golden[f"bank/{name}/mean_scores"]
                np.testing.assert_allclose(expected[0].mean(0), mean, atol=2e-5, rtol=0)
                np.testing.assert_allclose(scores[0].mean(0), mean, atol=5e-4, rtol=0)
        assert differing <= others


def test_the_pretrained_network_knows_silence_from_noise() -> None:
    encoder = pretrained_yamnet((14,), classifier=True)
    assert not encoder.training
    with torch.inference_mode():
        silent, noisy = (
            encoder.class_scores(encoder(encoder.features(x)))[0].mean(dim=0)
            for x in (torch.zeros(1, 48_000), 10 * noise(1, 48_000).clamp(-0.1, 0.1))
        )
    silence, white_noise = 494, 514  # of the published class map
    assert silent.argmax() == silence
    assert white_noise in noisy.topk(3).indices
