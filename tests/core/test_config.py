"""Settings: overrides, clear refusals, round trips."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from earmark.core.config import (
    NetworkSettings,
    apply_overrides,
    dump_yaml,
    load_yaml,
    parse_settings,
)
from earmark.core.errors import ConfigError
from earmark.method.settings import MixupSettings, Recipe, TrainSettings


def test_overrides_reach_any_depth_and_leave_the_original_alone() -> None:
    base = {"a": {"b": 1, "c": [1]}, "d": "x"}
    changed = apply_overrides(base, ["a.b=2", "a.new.deep=true", "d=null", "a.c=[3, 4]", "e=1e-3"])
    assert changed == {"a": {"b": 2, "c": [3, 4], "new": {"deep": True}}, "d": None, "e": 0.001}
    assert base == {"a": {"b": 1, "c": [1]}, "d": "x"}


@pytest.mark.parametrize(
    ("override", "words"),
    [("a.b", "a.b=c"), ("=1", "a.b=c"), ("a.b.c=1", "group"), ("a=[1", "YAML")],
)
def test_unusable_overrides(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        apply_overrides({"a": {"b": 1}}, [override])


def test_every_fault_is_named_in_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(Recipe, {"name": "x", "train": {"lr": -1, "epocs": 3}}, "own.yaml")
    told = str(caught.value)
    assert told.startswith("own.yaml: ")
    assert "train.lr" in told
    assert "train.epocs" in told
    assert "\n" not in told


@given(tau=st.floats(0, 2), alpha=st.floats(0.01, 10), probability=st.floats(0, 1))
def test_settings_survive_yaml(tau: float, alpha: float, probability: float) -> None:
    import yaml

    settings = MixupSettings(tau=tau, alpha=alpha, probability=probability)
    assert MixupSettings.model_validate(yaml.safe_load(dump_yaml(settings))) == settings


def test_settings_are_frozen_and_checked() -> None:
    with pytest.raises(ValidationError):
        MixupSettings().tau = 1.0  # type: ignore[misc]
    with pytest.raises(ConfigError, match="same length"):
        parse_settings(NetworkSettings, {"channels": [4, 4]})
    with pytest.raises(ConfigError, match="odd"):
        parse_settings(NetworkSettings, {"kernels": [4] * 7})


def test_yaml_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_yaml(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="mapping"):
        load_yaml(tmp_path / "list.yaml")


def test_the_published_crnn_has_frames_of_64_ms() -> None:
    settings = NetworkSettings()
    assert settings.frame_hop == 1024
    assert settings.window == 160_000


def test_medians_by_class() -> None:
    one = TrainSettings(median_seconds=0.4)
    assert one.medians(["a", "b"]) == 0.4
    some = TrainSettings(median_seconds={"a": 0.3, "default": 0.5})
    assert some.medians(["a", "b"]) == {"a": 0.3, "b": 0.5}
    with pytest.raises(ConfigError, match="nothing for b, c"):
        TrainSettings(median_seconds={"a": 0.3}).medians(["a", "b", "c"])
