"""Tokens of a frozen encoder on disk: what it makes of a clip is made once, ever.

One file for each clip, in a folder for each encoder, as NumPy arrays of float32:

    FOLDER / encoder's key / first two digits / the other digits of the clip's key .npy

The encoder's key is a digest of its weights, its settings and front-end, the window, and the kind
of device and arithmetic; the clip's is one of its samples and of how many frames of it are sound.
So nothing that would change a token is left out, and a folder serves any number of runs. A file
appears whole or not at all, and one that cannot be read is made again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from earmark.core.config import NetworkSettings
from earmark.core.errors import ConfigError
from earmark.data.dataset import Batch
from earmark.method.settings import Recipe
from earmark.model.encoders.registry import make_encoder
from earmark.model.sed import SedNetwork
from earmark.train.shared_encoder import SharedEncoder, clean_tokens

_log = logging.getLogger(__name__)
_FORMAT = "1"
_THREADS = 4
_HEADER = 128  # bytes of an .npy file before its numbers
_DRAFT = ".part"
_STALE = 3600.0  # s; an older draft was left by a run that was killed


def default_folder() -> Path:
    """Where ``auto`` keeps tokens: ``earmark/tokens`` in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "earmark" / "tokens"


def token_bytes(settings: NetworkSettings) -> int:
    """What the tokens of one clip take; 0 without an encoder."""
    if settings.encoder is None:
        return 0
    encoder = make_encoder(settings.encoder)
    return int(settings.window_seconds / encoder.token_hop) * encoder.width * 4


def encoder_key(network: SedNetwork, arithmetic: str) -> str:
    """32 hexadecimal digits of all that decides about tokens but the clip."""
    settings = network.settings.encoder
    if settings is None:
        raise ValueError("a network without an encoder has no tokens")
    digest = hashlib.blake2b(_FORMAT.encode(), digest_size=16)
    options = settings.model_dump(mode="json", exclude=set(settings.tokens_ignore))
    spec = network.spec
    digest.update(repr((sorted(options.items()), spec.window, spec.frame_hop)).encode())
    digest.update(arithmetic.encode())
    for name, value in network.sure_encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class TokenCache:
    """Tokens of clips for one frozen encoder.

    Args:
        folder: Of tokens of any encoders; made if missing.
        network: Whose encoder it is; its weights must not change any more.
        limit: Bytes of the whole folder, at most.
        arithmetic: Device and precision, as far as they decide about tokens.
        writers: Processes that write to it together; each may fill an equal fraction of the room.

    Raises:
        ConfigError: The folder cannot be made.
    """

    def __init__(
        self, folder: Path, network: SedNetwork, limit: int, arithmetic: str, writers: int = 1
    ) -> None:
        self._network = network
        self.folder = folder / encoder_key(network, arithmetic)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot be made ({error.strerror})",
                where=folder,
                hint="Give another train.token_cache, or null for none",
            ) from None
        self._room = max(0, limit - _clean_and_measure(folder)) // writers
        self._full = False
        self._threads = ThreadPoolExecutor(_THREADS)
        self.hits = self.misses = 0

    def tokens_of(self, batch: Batch, device: torch.device) -> Tensor:
        """Tokens [B, N, D] of a batch that lies on the CPU, on a device; what is new is kept."""
        keys = list(self._threads.map(_clip_key, batch.waveforms, batch.valid))
        rows = {key: row for row, key in enumerate(keys)}  # a step may hold a clip twice
        found = list(self._threads.map(self._read, rows))
        new = [row for row, tokens in zip(rows.values(), found, strict=True) if tokens is None]
        known = [tokens for tokens in found if tokens is not None]
        self.misses += len(new)
        self.hits += len(keys) - len(new)
        known_and_new = [torch.stack(known).to(device)] if known else []
        if new:
            waveforms, valid = batch.waveforms[new].to(device), batch.valid[new].to(device)
            made = clean_tokens(self._network, waveforms, valid).float()
            self._keep([keys[row] for row in new], made)
            known_and_new.append(made)
        old = [key for key, tokens in zip(rows, found, strict=True) if tokens is not None]
        places = {key: place for place, key in enumerate([*old, *(keys[row] for row in new)])}
        return torch.cat(known_and_new)[[places[key] for key in keys]]

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key[2:]}.npy"

    def _read(self, key: str) -> Tensor | None:
        try:
            return torch.from_numpy(np.load(self._path(key), allow_pickle=False))
        except (OSError, ValueError, EOFError):  # no file, or half of one after a power cut
            return None

    def _keep(self, keys: Sequence[str], tokens: Tensor) -> None:
        """Write what there is room for, and say once when there is none."""
        if self._full:
            return
        size = tokens[0].numel() * 4 + _HEADER
        count = min(len(keys), self._room // size)
        try:
            list(self._threads.map(self._write, keys[:count], tokens[:count].cpu()))
        except OSError as error:  # the disk is full before the limit is reached
            self._stop(f"cannot be written ({error.strerror})")
            return
        self._room -= count * size
        if count < len(keys):
            self._stop("is full")

    def _stop(self, why: str) -> None:
        self._full = True
        _log.warning("%s %s: other clips are encoded every time", self.folder.parent, why)

    def _write(self, key: str, tokens: Tensor) -> None:
        path = self._path(key)
        path.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=_DRAFT, delete=False) as draft:
            try:
                np.save(draft, tokens.numpy(), allow_pickle=False)
            except OSError:
                Path(draft.name).unlink()
                raise
        Path(draft.name).replace(path)


def _clip_key(waveform: Tensor, valid: Tensor) -> str:
    digest = hashlib.blake2b(waveform.contiguous().numpy().data, digest_size=16)
    digest.update(valid.contiguous().numpy().data)
    return digest.hexdigest()


def _clean_and_measure(folder: Path) -> int:
    """Bytes of all files below; drafts of runs that were killed are removed."""
    total = 0
    for path in folder.glob("*/*/*"):
        try:
            state = path.stat()
            if path.suffix == _DRAFT and time.time() - state.st_mtime > _STALE:
                path.unlink()
            else:
                total += state.st_size
        except FileNotFoundError:  # another run's draft took its place meanwhile
            continue
    return total


def open_token_cache(
    recipe: Recipe, encoder: SharedEncoder | None, fabric: Fabric
) -> TokenCache | None:
    """The cache of tokens that ``train.token_cache`` asks for.

    Raises:
        ConfigError: There is nothing to keep: the encoder learns, or never hears a clip as it is.
    """
    settings, method = recipe.train, recipe.method
    if settings.token_cache is None:
        return None
    hint = "Set train.token_cache to null"
    if any(hook.domain == "waveform" for hook in method.augmentations):
        raise ConfigError(
            "train.token_cache keeps what clips are as they were read, and an augmentation of "
            "waveforms changes them",
            hint=f"{hint}, or augment the mel",
        )
    if encoder is None:
        raise ConfigError(
            "train.token_cache needs a frozen encoder, the same in student and teacher",
            hint=f"Add encoder. to train.frozen. {hint}, otherwise",
        )
    v1 = method.v1
    sees_mixtures = v1 is not None and v1.teacher_sees == "mixture" and v1.mix_encoder
    if method.warp_probability or (sees_mixtures and method.mixup.probability == 1.0):
        raise ConfigError(
            "train.token_cache has nothing to keep: the encoder hears no clip as it is", hint=hint
        )
    folder = default_folder() if settings.token_cache == "auto" else Path(settings.token_cache)
    limit = int(settings.token_cache_gib * 2**30)
    arithmetic = f"{fabric.device.type} {settings.precision}"
    return TokenCache(folder, encoder.network, limit, arithmetic, fabric.world_size)
