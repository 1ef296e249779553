"""The run folder: its settings, the checkpoint to go on from and its refusals."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch

from earmark.core.config import Settings, differing, dump_yaml, parse_settings
from earmark.core.errors import ConfigError
from earmark.core.files import DRAFT, flush_file, write_text, write_whole
from earmark.core.files.bounds import check_archive, refuse_special
from earmark.train.record.journal import JOURNAL

STATE, BEFORE = "state.ckpt", "state.before.ckpt"
_WEIGHTS = ("model.safetensors", "encoder.safetensors")
_log = logging.getLogger(__name__)
FREE = {
    *("name", "description"),
    *(f"train.{name}" for name in ("workers", "cache_gib", "token_cache", "token_cache_gib")),
    "train.non_finite",  # or no run that stopped could go on without such steps
    "train.patience",  # or none that ended early could go on
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
            of another kind or on other data, whose state is damaged, or a bundle of another origin.
    """
    begun = any((out / name).exists() for name in (STATE, BEFORE))
    if resume and begun:
        state = _read_state(out)
        _refuse_other_run(state, recipe, fingerprint, out, data_name)
        return state
    if begun:
        raise ConfigError(
            "holds a run already", where=out, hint="Add --resume, or choose another folder"
        )
    if not (out / JOURNAL).exists() and any((out / name).exists() for name in _WEIGHTS):
        raise ConfigError(
            "holds a bundle or an encoder that this run has not made, and would replace",
            where=out,
            hint="Choose another folder",
        )
    write_text(out / "recipe.yaml", dump_yaml(recipe))
    return None


def _read_state(out: Path) -> dict[str, Any]:
    """The state of a run, or the one before it where the last is damaged."""
    reasons: list[str] = []
    for path in (out / STATE, out / BEFORE):
        if not path.exists():
            continue
        try:
            refuse_special(path)
            check_archive(path)
            state = torch.load(path, map_location="cpu", weights_only=True)
            if isinstance(state, dict) and {"recipe", "data", "student", "epoch"} <= state.keys():
                if reasons:
                    _log.warning(
                        "%s cannot be read (%s): going on from the state before, of epoch %d",
                        out / STATE,
                        reasons[0],
                        state["epoch"],
                    )
                return state
            reasons.append("is no state of a run")
        # PyTorch's reader raises many kinds of error for a file that is cut or changed.
        except Exception as error:
            reasons.append(str(error).partition("\n")[0] or "it ends too early")
    raise ConfigError(
        f"cannot be read ({'; '.join(reasons)})",
        where=out / STATE,
        hint="Delete it to begin this run again, or choose another folder; a bundle in the folder "
        "is whole and can be begun with (--init)",
    )


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
    """Write the checkpoint, whole or not at all; the one before it is kept."""

    def write(draft: Path) -> None:
        try:
            with draft.open("wb") as file:  # given a path, PyTorch hides the system's own error
                torch.save(state, file)
        except RuntimeError as error:  # its archive cannot be closed after a write has failed
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
        flush_file(draft)
        if (out / STATE).exists():
            _keep_before(out)

    write_whole(out / STATE, write, flush=False)


def _keep_before(out: Path) -> None:
    draft = out / f"{DRAFT}{BEFORE}"
    draft.unlink(missing_ok=True)
    try:
        os.link(out / STATE, draft)
    except OSError:  # file systems without a second name for a file
        (out / STATE).replace(draft)
    draft.replace(out / BEFORE)
    draft.unlink(missing_ok=True)  # two names of one file: then nothing is renamed


def forget_before(out: Path) -> None:
    """A finished run needs no state but its last."""
    (out / BEFORE).unlink(missing_ok=True)


def micro_batch_generator(seed: int, step: int, index: int) -> torch.Generator:
    """The generator of one micro-batch of a step."""
    key = (seed * 1_000_003 + step) * 1_009 + index
    return torch.Generator().manual_seed(key % 2**63)
