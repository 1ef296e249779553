"""Settings of a training run, and those that version 0.1 wrote."""

from __future__ import annotations

from typing import Any

import pytest

from earmark.core.config import parse_settings
from earmark.core.errors import ConfigError
from earmark.method.pretraining_settings import MaskSettings
from earmark.method.settings import MethodSettings, V1Settings
from earmark.train.recipe import load_pretrain_recipe, load_recipe

# `method` of the recipes atst-sed-stage1 and -stage2 as version 0.1 shipped them.
STAGE_1 = {
    "mixup": {
        **{"probability": 0.5, "alpha": 0.2, "tau": 1.0, "level": "none", "domain": "mel"},
        **{"labels": "soft", "per": "kind", "fold": False, "encoder": False},
    },
    "embedding": {"weight": 0.0},
    "teacher_sees": "mixture",
    **{"mean_teacher": 2.0, "pseudo_label": 0.0, "weak": 1.0, "ramp_steps": 2950},
    **{"ema": 0.999, "ema_horizon": 1.0},
}
STAGE_2 = {
    "mixup": {
        **{"probability": 0.5, "alpha": 0.2, "tau": 1.0, "level": "none", "domain": "mel"},
        **{"labels": "soft", "per": "kind", "fold": False},
    },
    "embedding": {"weight": 0.0},
    "consistency": "kind",
    **{"mean_teacher": 70.0, "pseudo_label": 8.75, "weak": 0.5, "ramp_steps": 290, "ema": 0.999},
    **{"warp_probability": 0.5, "warp_range": [0.6, 1.0], "warp_per": "kind"},
}
OFF: dict[str, Any] = {
    **{"per": "clip", "fold": True, "mix_encoder": True},
    **{"warp_per": "clip", "teacher_sees": "clean", "consistency": "clip"},
}


@pytest.mark.parametrize(("stage", "content"), [(1, STAGE_1), (2, STAGE_2)])
def test_v1s_recipes_of_version_0_1_are_those_of_today(stage: int, content: dict[str, Any]) -> None:
    before = {name: dict(value) for name, value in content.items() if isinstance(value, dict)}
    assert parse_settings(MethodSettings, content) == load_recipe(f"atst-sed-stage{stage}").method
    assert {name: content[name] for name in before} == before  # the caller's mapping is left alone


def test_a_run_of_v2_that_version_0_1_wrote_in_full_is_one_of_v2() -> None:
    content = MethodSettings().model_dump(mode="json")
    del content["v1"]
    content["mixup"] |= {"per": "clip", "fold": True, "encoder": True}
    content |= {"warp_per": "clip", "teacher_sees": "clean", "consistency": "clip"}
    found = parse_settings(MethodSettings, content)
    assert found == MethodSettings()
    assert found.v1 is None


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("method.mixup.per=kind", {"per": "kind"}),
        ("method.mixup.encoder=false", {"mix_encoder": False}),
        ("method.warp_per=kind", {"warp_per": "kind"}),
        ("method.teacher_sees=mixture", {"teacher_sees": "mixture"}),
        ("method.consistency=kind", {"consistency": "kind"}),
    ],
)
def test_an_override_of_version_0_1_changes_one_switch(
    override: str, changed: dict[str, Any]
) -> None:
    assert load_recipe("mini", [override]).method.v1 == V1Settings(**OFF | changed)
    stage = load_recipe("atst-sed-stage2").method.v1
    assert stage is not None
    assert load_recipe("atst-sed-stage2", [override]).method.v1 == stage.model_copy(update=changed)


def test_an_override_of_version_0_1_that_says_what_v2_does_changes_nothing() -> None:
    assert load_recipe("mini", ["method.mixup.per=clip"]) == load_recipe("mini")


@pytest.mark.parametrize("override", ["method.mixup.fold=false", "method.v1={}"])
def test_coefficients_below_one_half_compose_only(override: str) -> None:
    with pytest.raises(ConfigError, match=r"v1\.fold: false needs mixup\.tau >= 1"):
        load_recipe("mini", [override])
    v1 = load_recipe("mini", [override, "method.mixup.tau=1"]).method.v1
    assert v1 is not None
    assert not v1.fold


def test_a_switch_that_is_none_is_named_as_today() -> None:
    with pytest.raises(ConfigError, match=r"method\.v1\.per: "):
        load_recipe("mini", ["method.mixup.per=batch"])


def test_the_fraction_of_tokens_to_guess_was_called_share() -> None:
    assert parse_settings(MaskSettings, {"share": 0.4, "span": 3}) == MaskSettings(
        fraction=0.4, span=3
    )
    changed = load_pretrain_recipe("atst-frame-pretrain", ["mask.share=0.4"])
    assert changed == load_pretrain_recipe("atst-frame-pretrain", ["mask.fraction=0.4"])
