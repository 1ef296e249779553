"""Our weights as a checkpoint that other people's code reads: ATST-SED v1's, or ATST-Frame's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from earmark._version import __version__
from earmark.core.config import AtstSettings, NetworkSettings, differing
from earmark.core.errors import BundleError
from earmark.core.files import write_whole
from earmark.model.encoders.encoder_file import Encoder
from earmark.model.published.networks import V1, to_official
from earmark.model.sed import SedNetwork

_TRAINING_ONLY = {"conv_dropout", "dropout", "norm_momentum", "drop_path", "checkpointing"}
_LIGHTNING = "1.9.5"  # of the published training code; newer versions migrate from what they read


def v1_checkpoint(
    networks: Mapping[str, SedNetwork], postprocess: Mapping[str, Any], source: Path
) -> tuple[dict[str, Any], list[str]]:
    """ATST-SED's own layout: networks by role under both names that its code looks for.

    Args:
        networks: ``student`` and ``teacher``.
        postprocess: Of the bundle.
        source: The bundle, for errors.

    Returns:
        The checkpoint, and in which settings the networks differ from the published one.

    Raises:
        BundleError: The network has no such form.
    """
    network = networks["teacher"]
    settings = network.settings
    _refuse_without_form(settings, source)
    checkpoint: dict[str, Any] = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": _LIGHTNING,
        "hyper_parameters": _hyper_parameters(network, postprocess),
    }
    whole: dict[str, Tensor] = {}
    for role, own in networks.items():
        state = {
            str(to_official(name)): value.detach().cpu().contiguous()
            for name, value in own.state_dict().items()
        }
        checkpoint[f"sed_{role}"] = state
        whole |= {f"sed_{role}.{name}": value for name, value in state.items()}
    whole["mel_spec.spectrogram.window"] = network.frontend.window
    whole["mel_spec.mel_scale.fb"] = network.frontend.filters
    return checkpoint | {"state_dict": whole}, differences(settings)


def ssl_checkpoint(encoder: Encoder, size: str) -> dict[str, Any]:
    """ATST-Frame's self-supervised layout; student and teacher are the same encoder."""
    state: dict[str, Tensor] = {}
    for role in ("student", "teacher"):
        state |= {f"model.{role}.encoder.{n}": v for n, v in encoder.weights.items()}
        state |= {f"model.{role}.projector.{n}": v for n, v in (encoder.projector or {}).items()}
    state |= {f"model.student.predictor.{n}": v for n, v in (encoder.predictor or {}).items()}
    ours = {"version": __version__, "encoder": encoder.settings.model_dump(mode="json")}
    return {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": _LIGHTNING,
        "hyper_parameters": {"arch": size, "earmark": ours},
        "state_dict": state,
    }


def write_checkpoint(checkpoint: Mapping[str, Any], out: Path) -> None:
    """Write a ``torch.save`` file, whole or not at all.

    Raises:
        BundleError: It cannot be written.
    """

    def write(draft: Path) -> None:
        with draft.open("wb") as file:  # given a path, PyTorch hides the system's own error
            torch.save(dict(checkpoint), file)

    try:
        write_whole(out, write)
    except OSError as error:
        raise BundleError(f"cannot be written ({error.strerror})", where=out) from None


def differences(settings: NetworkSettings) -> list[str]:
    """Settings that shape the scores and are not the published network's."""
    return [
        f"{name} is {ours}, v1's {theirs}"
        for name, ours, theirs in differing(settings, V1)
        if name.rpartition(".")[2] not in _TRAINING_ONLY
    ]


def _refuse_without_form(settings: NetworkSettings, source: Path) -> None:
    reasons = []
    if settings.encoder is None:
        reasons.append("it is a light network, without ATST-Frame")
    elif not isinstance(settings.encoder, AtstSettings):
        reasons.append(f"its encoder is {settings.encoder.kind}")
    elif settings.encoder.merge != settings.channels[-1]:
        reasons.append("its merge layer is not as wide as its last convolution")
    if settings.activation != "gate":
        reasons.append(f"its activation is {settings.activation}, not gate")
    if set(settings.strides) != {(1, 1)}:
        reasons.append("its convolutions have strides")
    if reasons:
        raise BundleError(f"has no ATST-SED v1 form: {'; '.join(reasons)}", where=source)


def _hyper_parameters(network: SedNetwork, postprocess: Mapping[str, Any]) -> dict[str, Any]:
    """What v1's configuration says of a network, and all of ours under ``earmark``."""
    settings, labels, grid = network.settings, network.spec.labels, network.spec.grid
    front = settings.frontend
    seconds = postprocess.get("median_seconds", 0.0)
    medians = [seconds[label] if isinstance(seconds, Mapping) else seconds for label in labels]
    count = len(settings.channels)
    return {
        "net": {
            "dropout": settings.dropout,
            "rnn_layers": settings.rnn_layers,
            "n_in_channel": 1,
            "nclass": len(labels),
            "attention": True,
            "n_RNN_cell": settings.rnn_hidden,
            "activation": "cg",
            "rnn_type": "BGRU",
            "kernel_size": list(settings.kernels),
            "padding": [kernel // 2 for kernel in settings.kernels],
            "stride": [1] * count,
            "nb_filters": list(settings.channels),
            "pooling": [list(pool) for pool in settings.pools],
            "dropout_recurrent": 0,
            "use_embeddings": True,
            "embedding_size": getattr(settings.encoder, "width", 0),
            "embedding_type": "frame",
            "aggregation_type": "pool1d",
        },
        "feats": {
            "n_mels": front.n_mels,
            "n_filters": front.n_fft,
            "hop_length": front.hop,
            "n_window": front.n_fft,
            "sample_rate": network.spec.sample_rate,
            "f_min": front.f_min,
            "f_max": front.f_max,
        },
        "scaler": {"statistic": "instance", "normtype": "minmax", "dims": [1, 2]},
        "training": {"median_window": [max(1, round(m / grid.seconds)) for m in medians]},
        "data": {
            "audio_max_len": settings.window_seconds,
            "fs": network.spec.sample_rate,
            "net_subsample": settings.frame_hop // front.hop,
        },
        "opt": {"tfm_trainable_layers": 14},
        "ultra": {"atst_dropout": 0.0, "model_init": None, "atst_init": None},
        "labels": list(labels),
        "earmark": {
            "version": __version__,
            "network": settings.model_dump(mode="json"),
            "postprocess": dict(postprocess),
        },
    }
