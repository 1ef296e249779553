"""The run folder: its settings, the one checkpoint to go on from, and its refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from earmark.core.config import Settings, differing, dump_yaml, parse_settings
from earmark.core.errors import ConfigError

STATE = "state.ckpt"
FREE = {
    *("name", "description"),
    *(f"train.{name}" for name in ("workers", "cache_gib", "token_cache", "token_cache_gib")),
    "train.non_finite",  # or no run that stopped could go on without such steps
}
"""Settings that change nothing of what a run learns, and may be others when it goes on."""


def open_run(
    out: Path, recipe: Settings, fingerprint: str, resume: bool, data_name: str = "dataset"
) -> dict[str, Any] | None:
    """The state to resume from, or None for a new run, whose settings are written.

    Args:
        out: Run folder.
        recipe: Settings of the run; a state holds them as ``recipe``.
        fingerprint: Of the data; a state holds it as ``data``.
        resume: Go on from the folder's checkpoint if there is one.
        data_name: What the data are called in a message.

    Raises:
        ConfigError: The folder holds a run and ``resume`` is off, or a run of other settings,
            of another kind or on other data.
    """
    path = out / STATE
    if resume and path.exists():
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        _refuse_other_run(state, recipe, fingerprint, out, data_name)
        return state
    if path.exists():
        raise ConfigError(
            "holds a run already", where=out, hint="Add --resume, or choose another folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.yaml").write_text(dump_yaml(recipe), encoding="utf-8")
    return None


def _refuse_other_run(
    state: dict[str, Any], recipe: Settings, fingerprint: str, out: Path, data_name: str
) -> None:
    stored = parse_settings(type(recipe), state["recipe"], out / STATE)
    changed = [found for found in differing(recipe, stored) if found[0] not in FREE]
    if changed:
        shown = "; ".join(f"{name} was {theirs}, now {ours}" for name, ours, theirs in changed[:4])
        more = f"; and {len(changed) - 4} more" if len(changed) > 4 else ""
        raise ConfigError(
            f"was begun with other settings ({shown}{more})",
            where=out / "recipe.yaml",
            hint="Resume with the same recipe and overrides, or choose another folder",
        )
    if state["data"] != fingerprint:
        raise ConfigError(
            f"was begun on other data (fingerprint {state['data']}, now {fingerprint})",
            where=out,
            hint=f"Give the same {data_name}, or choose another folder",
        )


def save_state(state: dict[str, Any], out: Path) -> None:
    """Write the checkpoint, whole or not at all."""
    draft = (out / STATE).with_suffix(".part")
    torch.save(state, draft)
    draft.replace(out / STATE)


def micro_batch_generator(seed: int, step: int, index: int) -> torch.Generator:
    """The generator of one micro-batch of a step."""
    key = (seed * 1_000_003 + step) * 1_009 + index
    return torch.Generator().manual_seed(key % 2**63)
