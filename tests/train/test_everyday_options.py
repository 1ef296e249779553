"""Training's everyday options: what they stand for, what is given twice, unknown or unmeant."""

from __future__ import annotations

import re
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.cli.pretrain import PretrainOptions
from earmark.cli.train import TrainOptions
from earmark.core.batch_settings import BatchSettings
from earmark.core.config import EncoderSettings
from earmark.core.errors import ConfigError
from earmark.method.settings import Recipe
from earmark.train.recipe import check_meant, load_pretrain_recipe, load_recipe


def loaded(recipe: str = "mini", **options: object) -> Recipe:
    given = TrainOptions(recipe=recipe, data="data", out="out", **options)  # type: ignore[arg-type]
    return load_recipe(recipe, given.overrides)


def test_options_override_the_recipe_and_leave_the_rest() -> None:
    plain = loaded()
    train = loaded(epochs=3, lr=5e-4, seed=7, batch_size=11, set_=["train.warmup_steps=4"]).train
    assert (train.epochs, train.lr, train.seed, train.warmup_steps) == (3, 5e-4, 7, 4)
    assert sum(train.batch.model_dump().values()) == 11
    assert train.steps_per_epoch == plain.train.steps_per_epoch
    assert loaded().train == plain.train


def test_options_of_pretraining() -> None:
    options = PretrainOptions(
        recipe="atst-frame-pretrain", audio=[], out="out", epochs=2, batch_size=6, lr=1e-3, seed=5
    )  # type: ignore[arg-type]
    train = load_pretrain_recipe(options.recipe, options.overrides).train
    assert (train.epochs, train.batch, train.lr, train.seed) == (2, 6, 1e-3, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 3, "set_": ["train.epochs=4"]}, "train.epochs is given twice, by --epochs"),
        ({"batch_size": 8, "set_": ["train.batch.weak=4"]}, "by --batch-size and by --set"),
        ({"precision": "32-true", "set_": ["train.precision=bf16-mixed"]}, "by --precision"),
        ({"init": "yamnet", "set_": ["train.init=home"]}, "by --init"),
    ],
)
def test_a_setting_given_twice_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        loaded(**options)


@given(
    st.builds(BatchSettings, **dict.fromkeys(BatchSettings.model_fields, st.integers(0, 60))),
    st.integers(5, 300),
)
def test_a_batch_keeps_its_proportions(batch: BatchSettings, clips: int) -> None:
    own = batch.model_dump()
    if not any(own.values()):
        return
    sized = batch.of_size(clips).model_dump()
    assert sum(sized.values()) == clips
    for name, count in own.items():
        assert bool(sized[name]) == bool(count)
        if count:
            exact = clips * count / sum(own.values())
            assert abs(sized[name] - exact) < 1 or exact < 1 or min(sized.values()) <= 1
    assert batch.of_size(max(5, sum(own.values()))) == batch or sum(own.values()) < 5


def test_a_batch_smaller_than_its_kinds() -> None:
    with pytest.raises(ConfigError, match="a batch of 2 clips has none for some of"):
        loaded(batch_size=2)


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("train.epoch=3", r"Did you mean train\.epochs"),
        ("tau=0.5", r"Did you mean method\.mixup\.tau\?"),
        ("train.weight_decays=1", r"Did you mean train\.weight_decay"),
        ("network.encoder={kind: yamnet, tap: [6]}", r"network\.encoder\.taps"),
        ("train.batch.unlabeled=3", r"Did you mean train\.batch\.unlabelled\?"),
    ],
)
def test_did_you_mean(setting: str, hint: str) -> None:
    with pytest.raises(ConfigError, match="no such setting") as refused:
        loaded(set_=[setting])
    assert refused.value.hint is not None
    assert re.search(hint, refused.value.hint)


def test_nothing_is_meant_by_what_is_like_nothing() -> None:
    with pytest.raises(ConfigError, match="zzz: there is no such setting") as refused:
        loaded(set_=["zzz=1"])
    assert not refused.value.hint


def test_a_frozen_encoder_needs_weights() -> None:
    with pytest.raises(ConfigError, match="random weights"):
        check_meant(loaded("atst-sed-stage1"))
    for recipe, options in (
        ("atst-sed-stage1", {"init": "encoder"}),
        ("atst-sed-stage2", {}),
        ("own", {}),
        ("mini", {}),
        ("atst-sed-stage1", {"set_": ["train.frozen=[]"]}),
    ):
        check_meant(loaded(recipe, **options))


def test_an_encoder_of_another_package_may_have_nothing_to_learn() -> None:
    class BandSettings(EncoderSettings):
        kind: Literal["bands"] = "bands"

    recipe = loaded(set_=["train.frozen=[encoder.]"])
    network = recipe.network.model_copy(update={"encoder": BandSettings()})
    check_meant(recipe.model_copy(update={"network": network}))
