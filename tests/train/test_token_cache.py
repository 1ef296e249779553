"""Tokens on disk: training with them is training without, whatever happens to the files."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from earmark.core.errors import ConfigError
from earmark.data.dataset import Batch
from earmark.data.manifest import load_manifest
from earmark.method.settings import Recipe
from earmark.model.sed import SedNetwork
from earmark.train import token_cache
from earmark.train.engine import Run, train
from earmark.train.recipe import load_recipe
from earmark.train.record.journal import run_record
from earmark.train.shared_encoder import clean_tokens
from earmark.train.token_cache import TokenCache, default_folder, encoder_key, token_bytes

HEARD = 14  # strong and unlabelled clips; the weak ones are longer than the window


def recipe_of(name: str, *overrides: str) -> Recipe:
    """A stage of the tiny network, smaller still, for two epochs of two steps."""
    return load_recipe(
        name,
        [
            "network.window_seconds=2.0",
            "network.channels=[4,8,8,8,8]",
            "network.rnn_hidden=8",
            "network.encoder.width=12",
            "network.encoder.depth=2",
            "network.encoder.merge=8",
            "method.embedding.hidden=16",
            "method.embedding.out=8",
            "train.batch={real: 0, synthetic: 4, weak: 3, unlabelled: 4}",
            "train.epochs=2",
            "train.steps_per_epoch=2",
            "train.validate_every=2",
            *overrides,
        ],
    )


def run_of(recipe: Recipe, data: Path, out: Path, **options: Any) -> Run:
    fabric = Fabric(accelerator="cpu", devices=1, precision=recipe.train.precision)
    manifest = dataclasses.replace(load_manifest(data), splits={})  # nothing to validate on
    return train(recipe, manifest, out, fabric=fabric, **options)


def same(one: Run, other: Run) -> bool:
    pairs = [(one.student, other.student), (one.teacher, other.teacher)]
    return all(
        torch.equal(value, theirs.state_dict()[name])
        for ours, theirs in pairs
        for name, value in ours.state_dict().items()
    )


V1 = ["method.mixup={domain: mel, per: kind, fold: false, tau: 1.0, encoder: false}"]


@pytest.mark.processor
@pytest.mark.parametrize(
    "overrides",
    [[], ["method.mixup.probability=0"], [*V1, "method.teacher_sees=mixture"]],
    ids=["v2", "unmixed", "v1"],
)
def test_a_run_with_the_cache_is_the_run_without_bit_for_bit(
    tiny_data: Path, tmp_path: Path, overrides: list[str]
) -> None:
    """The first run fills it, the second reads it, a third begins within it and is resumed."""
    folder = f"train.token_cache={tmp_path / 'tokens'}"
    plain = recipe_of("atst-sed-tiny-stage1", *overrides)
    cached = recipe_of("atst-sed-tiny-stage1", *overrides, folder)
    without = run_of(plain, tiny_data, tmp_path / "without")
    filled = run_of(cached, tiny_data, tmp_path / "filled")
    with mock.patch.object(token_cache, "clean_tokens", side_effect=AssertionError):
        read = run_of(cached, tiny_data, tmp_path / "read")
    assert same(without, filled)
    assert same(without, read)
    first, second = (run_record(tmp_path / name)[-1]["token_cache"] for name in ("filled", "read"))
    files = list((tmp_path / "tokens").rglob("*.npy"))
    assert len(files) == first["misses"] == HEARD  # every clip once
    assert first["misses"] + first["hits"] == second["hits"] > HEARD
    for file in files[::2]:
        file.unlink()
    run_of(cached, tiny_data, tmp_path / "parts", stop_after_epochs=1)
    assert same(without, run_of(cached, tiny_data, tmp_path / "parts", resume=True))


def test_kept_tokens_and_mixtures_in_reduced_precision_go_together(
    tiny_data: Path, tmp_path: Path
) -> None:
    """What is kept is float32; YAMNet under autocast gives bfloat16."""
    changes = ["train.precision=bf16-mixed", "method.mixup.probability=1.0"]
    changes.append("network.encoder={kind: yamnet, merge: 16, norm: batch}")
    folder = f"train.token_cache={tmp_path / 'tokens'}"
    run_of(recipe_of("atst-sed-tiny-stage1", *changes, folder), tiny_data, tmp_path / "run")
    assert run_record(tmp_path / "run")[-1]["token_cache"]["misses"] == HEARD


def test_the_encoder_stands_still_and_the_heads_go_on_to_the_state(
    tiny_data: Path, tmp_path: Path
) -> None:
    recipe = recipe_of("atst-sed-tiny-stage1")
    torch.manual_seed(recipe.train.seed)
    start = SedNetwork(recipe.network, tuple(load_manifest(tiny_data).labels))
    run = run_of(recipe, tiny_data, tmp_path)
    for network in run.networks.values():
        assert network.encoder is not None
        assert start.encoder is not None
        for name, value in network.encoder.state_dict().items():
            assert torch.equal(value, start.encoder.state_dict()[name]), name
    assert run.student.network.encoder is run.teacher.network.encoder
    state = torch.load(tmp_path / "state.ckpt", weights_only=True)
    for name in ("projector", "predictor"):
        assert f"heads.{name}.layers.0.weight" in state["student"]
    assert "projector.layers.0.weight" in state["teacher"]


def _cache(folder: Path, network: SedNetwork, limit: int = 10**9, **options: Any) -> TokenCache:
    return TokenCache(folder, network, limit, "cpu 32-true", **options)


def _network(seed: int = 0, **encoder: Any) -> SedNetwork:
    settings = recipe_of("atst-sed-tiny-stage1").network
    assert settings.encoder is not None
    changed = settings.encoder.model_copy(update=encoder)
    torch.manual_seed(seed)
    return SedNetwork(settings.model_copy(update={"encoder": changed}), ("a",)).eval()


def _batch(network: SedNetwork, clips: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    waveforms = 0.1 * torch.randn(clips, network.spec.window, generator=generator)
    valid = torch.ones(clips, network.spec.frames, dtype=torch.bool)
    valid[0, 12:] = False
    waveforms[0, 12 * network.spec.frame_hop :] = 0.0
    empty = torch.zeros(clips, network.spec.frames, 1)
    return Batch(waveforms, empty, empty[:, 0], valid, torch.zeros(clips))


def _tensors(batch: Batch) -> dict[str, Tensor]:
    return {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}


def _rows(batch: Batch, rows: Tensor) -> Batch:
    return Batch(**{name: value[rows] for name, value in _tensors(batch).items()})


def _joined(one: Batch, other: Batch) -> Batch:
    return Batch(**{n: torch.cat([v, _tensors(other)[n]]) for n, v in _tensors(one).items()})


def _expected(network: SedNetwork, batch: Batch) -> Tensor:
    with torch.no_grad():
        mel = network.scale(network.linear(batch.waveforms)).encoder
        assert mel is not None
        return network.encode(mel, batch.valid)


CPU = torch.device("cpu")


@pytest.mark.processor
def test_tokens_are_those_of_the_encoder_whoever_is_beside_them(tmp_path: Path) -> None:
    network, cache = _network(), _cache(tmp_path, _network())
    batch = _batch(network, 11)  # more than a turn
    tokens = cache.tokens_of(batch, CPU)
    torch.testing.assert_close(tokens, _expected(network, batch), atol=1e-5, rtol=1e-4)
    rows = torch.tensor([9, 0, 4])
    some = _rows(batch, rows)
    assert torch.equal(cache.tokens_of(some, CPU), tokens[rows])
    assert torch.equal(clean_tokens(network, some.waveforms, some.valid), tokens[rows])
    assert (cache.misses, cache.hits) == (11, 3)
    both = _joined(some, _rows(_batch(network, 3, seed=7), torch.tensor([2, 2, 1])))
    again = cache.tokens_of(both, CPU)  # some known, some new, one of these twice
    assert (cache.misses, cache.hits) == (13, 7)
    assert torch.equal(again[:3], tokens[rows])
    assert torch.equal(again[3], again[4])
    torch.testing.assert_close(again, _expected(network, both), atol=1e-5, rtol=1e-4)


def test_whatever_changes_tokens_changes_the_key() -> None:
    network = _network()
    key = encoder_key(network, "cpu 32-true")
    assert key == encoder_key(_network(), "cpu 32-true")
    others = [_network(seed=1), _network(mask_padding=False), _network(heads=2)]
    front = network.settings.encoder.frontend.model_copy(update={"f_min": 61.0})  # type: ignore[union-attr]
    others.append(_network(frontend=front))
    keys = {encoder_key(other, "cpu 32-true") for other in others}
    keys |= {encoder_key(network, "cpu bf16-mixed"), key}
    assert len(keys) == 6
    assert encoder_key(_network(drop_path=0.5, align="adaptive"), "cpu 32-true") == key


def test_padding_told_or_not_is_another_clip(tmp_path: Path) -> None:
    network = _network()
    cache, batch = _cache(tmp_path, network), _batch(network, 1)
    told = cache.tokens_of(batch, CPU)
    sound = torch.ones_like(batch.valid)
    untold = Batch(batch.waveforms, batch.strong, batch.weak, sound, batch.kinds)
    assert not torch.allclose(cache.tokens_of(untold, CPU)[0, :10], told[0, :10])


def test_half_a_file_is_made_again_and_old_drafts_go(tmp_path: Path) -> None:
    network = _network()
    batch = _batch(network, 3)
    tokens = _cache(tmp_path, network).tokens_of(batch, CPU)
    files = sorted(tmp_path.rglob("*.npy"))
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[: len(whole) // 2])
    files[1].write_bytes(b"")
    old, new = files[2].with_name("old.part"), files[2].with_name("new.part")
    for draft in (old, new):
        draft.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    cache = _cache(tmp_path, network)
    assert not old.exists()
    assert new.exists()
    assert torch.equal(cache.tokens_of(batch, CPU), tokens)
    assert (cache.hits, cache.misses) == (1, 2)
    assert files[0].read_bytes() == whole


def test_the_folder_never_grows_past_its_limit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = _network()
    size = token_bytes(network.settings)
    assert size == 50 * 12 * 4
    batch = _batch(network, 5)
    expected = clean_tokens(network, batch.waveforms, batch.valid)
    limit = 3 * size + size // 2
    for _ in range(2):
        cache = _cache(tmp_path, network, limit)
        for _ in range(2):
            assert torch.equal(cache.tokens_of(batch, CPU), expected)
    files = list(tmp_path.rglob("*.npy"))
    assert len(files) == 3
    assert sum(file.stat().st_size for file in files) <= limit
    assert caplog.text.count("is full") == 2  # once a run
    assert len(np.load(files[0])) == 50
    _cache(tmp_path / "shared", network, 5 * size, writers=2).tokens_of(batch, CPU)
    assert len(list((tmp_path / "shared").rglob("*.npy"))) == 2


def test_a_full_disk_ends_the_keeping_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = _network()
    cache, batch = _cache(tmp_path, network), _batch(network, 2)
    with mock.patch.object(np, "save", side_effect=OSError(28, "No space left on device")):
        cache.tokens_of(batch, CPU)
        cache.tokens_of(batch, CPU)
    assert "No space left on device" in caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert cache.misses == 4


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["train.frozen=[]"], "needs a frozen encoder"),
        (["method.warp_probability=0.5"], "nothing to keep"),
        (["method.teacher_sees=mixture", "method.mixup.probability=1"], "nothing to keep"),
        (["train.token_cache=/dev/null/here"], "cannot be made"),
    ],
)
def test_a_cache_that_can_serve_nothing_is_refused(
    tiny_data: Path, tmp_path: Path, overrides: list[str], words: str
) -> None:
    folder = f"train.token_cache={tmp_path / 'tokens'}"
    with pytest.raises(ConfigError, match=words):
        run_of(recipe_of("atst-sed-tiny-stage1", folder, *overrides), tiny_data, tmp_path / "run")


def test_auto_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "earmark/tokens"
