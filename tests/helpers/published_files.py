"""Checkpoints with the published names and shapes, and the golden data's rule for their weights."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from earmark.core.config import AtstSettings, NetworkSettings
from earmark.core.errors import EarmarkError
from earmark.model.encoders.atst import ENCODER_SIZES, AtstFrame
from earmark.model.published.convert import import_checkpoint
from earmark.model.published.networks import from_official, to_official
from earmark.model.sed import SedNetwork

GOLDEN = Path(__file__).parents[1] / "model" / "golden"
DEPTH, WIDTH = ENCODER_SIZES["tiny"].depth, ENCODER_SIZES["tiny"].width


def entries(name: str) -> dict[str, tuple[int, ...]]:
    """Name and shape of every entry of a published state dict (the last of a name counts)."""
    found = {}
    for line in (GOLDEN / name).read_text(encoding="utf-8").splitlines():
        fields = line.split("\t")
        if len(fields) >= 3:
            found[fields[0]] = tuple(int(size) for size in re.findall(r"\d+", fields[1]))
    return found


def ruled_tensor(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """The weight that the golden data's rule gives an entry of the official state dict."""
    generator = torch.Generator().manual_seed((zlib.crc32(name.encode()) + 1000003 * seed) % 2**31)
    if name.endswith("num_batches_tracked"):
        return torch.ones(shape, dtype=torch.long)
    if name.endswith("running_var"):
        return 1 + 0.1 * torch.rand(shape, generator=generator)
    r = torch.randn(shape, generator=generator)
    if name.endswith("running_mean"):
        return 0.1 * r
    if len(shape) == 1:
        return 1 + 0.1 * r if "norm" in name and name.endswith("weight") else 0.05 * r
    if name.endswith(("pos_embed", "mask_embed")):
        return 0.1 * r
    return r / np.sqrt(np.prod(shape[1:]))


def ruled(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """A state dict by the rule."""
    return {name: ruled_tensor(name, shape, seed) for name, shape in shapes.items()}


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in tensors.items()}


def encoder(seed: int, width: int = WIDTH, depth: int = DEPTH) -> dict[str, Tensor]:
    """ATST-Frame under its bare names, of another size."""
    settings = AtstSettings(width=width, depth=depth, heads=3)
    with torch.device("meta"):
        state = AtstFrame(settings).state_dict()
    return ruled({name: tuple(value.shape) for name, value in state.items()}, seed)


def head(inputs: int, seed: int, hidden: int = 16, out: int = 8) -> dict[str, Tensor]:
    """A projector or predictor as published, narrower."""
    shapes: dict[str, tuple[int, ...]] = {"0.weight": (hidden, inputs)}
    shapes |= {f"1.{name}": (hidden,) for name in ("weight", "bias", "running_mean", "running_var")}
    return ruled(shapes | {"1.num_batches_tracked": (), "3.weight": (out, hidden)}, seed)


def lightning(tensors: dict[str, Tensor], **more: Any) -> dict[str, Any]:
    """What Lightning writes around a state dict."""
    return {
        "epoch": 19,
        "global_step": 1180,
        "pytorch-lightning_version": "1.9.0",
        "state_dict": tensors,
        "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": {"best_model_score": torch.ones(())}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}],
        "lr_schedulers": [],
        **more,
    }


def ssl() -> dict[str, Any]:
    """ATST-Frame, self-supervised: student and teacher, both with projectors, one predictor."""
    state = prefixed("model.student.encoder.", encoder(11))
    state |= prefixed("model.student.projector.", head(WIDTH, 12))
    state |= prefixed("model.student.predictor.", head(8, 13))
    state |= prefixed("model.teacher.encoder.", encoder(21))
    state |= prefixed("model.teacher.projector.", head(WIDTH, 22))
    return lightning(state, hyper_parameters={"arch": "tiny", "ema": 0.997})


def clip() -> dict[str, Any]:
    """ATST-Clip: a class token, and the last norm under another name."""
    state: dict[str, Tensor] = {}
    for role, seed in (("student", 11), ("teacher", 21)):
        own = encoder(seed)
        own = {name.replace("norm_frame.", "norm."): value for name, value in own.items()}
        state |= prefixed(f"model.{role}.encoder.", own | {"cls_token": torch.ones(1, 1, WIDTH)})
        state |= prefixed(f"model.{role}.projector.", head(WIDTH, seed + 1))
    return lightning(state)


def finetuned(classes: int = 527) -> dict[str, Any]:
    """Fine-tuned on AudioSet-2M (527 classes) or AudioSet-strong (407)."""
    state = prefixed("encoder.encoder.", encoder(21))
    state |= {"head.linear.weight": torch.zeros(classes, WIDTH)}
    state |= {"head.linear.bias": torch.zeros(classes), "head.norm.running_mean": torch.zeros(9)}
    return lightning(state)


def distilled() -> dict[str, Any]:
    """Clip-to-frame distilled; the clip model is still there."""
    state = prefixed("encoder.encoder.frame_encoder.", encoder(21))
    state |= prefixed("encoder.encoder.teacher_module.encoder.", encoder(5))
    return lightning(state | {"head.linear.weight": torch.zeros(527, WIDTH)})


def strong(wrapper: str = "") -> dict[str, Any]:
    """Fine-tuned on AudioSet-strong by CPJKU."""
    state = prefixed(f"net_strong.model.{wrapper}atst.", encoder(21))
    for name in ("rnn.rnn.weight_ih_l0", "sigmoid_dense.weight", "softmax_dense.bias"):
        state[f"net_strong.{name}"] = torch.zeros(4, 4)
    return lightning(state)


def pretrained_sed(mel: bool) -> dict[str, Tensor]:
    """PretrainedSED's ATST-F: a flat file; buffers of the mel may be absent."""
    state = prefixed("model.atst.", encoder(21))
    state |= {"strong_head.weight": torch.zeros(447, WIDTH), "strong_head.bias": torch.zeros(447)}
    state |= {"weak_head.weight": torch.zeros(447, WIDTH), "weak_head.bias": torch.zeros(447)}
    state["seq_model.rnn.weight_ih_l0"] = torch.zeros(6, WIDTH)
    if mel:
        state["model.atst_mel.mel_transform.spectrogram.window"] = torch.zeros(1024)
        state["model.atst_mel.mel_transform.mel_scale.fb"] = torch.zeros(513, 64)
    return state


def v1_settings(**sizes: Any) -> NetworkSettings:
    """ATST-SED v1, as wide as published but for the encoder."""
    use = {"align": "adaptive", "mask_padding": False, "merge": 128} | sizes.pop("encoder", {})
    tiny = ENCODER_SIZES["tiny"].model_copy(update=use)
    return NetworkSettings(encoder=tiny, **sizes)


def detector(seed: int, settings: NetworkSettings, classes: int = 10) -> dict[str, Tensor]:
    """A detector under ATST-SED's names."""
    with torch.device("meta"):
        state = SedNetwork(settings, tuple(map(str, range(classes)))).state_dict()
    shapes = {str(to_official(name)): tuple(value.shape) for name, value in state.items()}
    return ruled(shapes, seed)


def atst_sed(**more: Any) -> dict[str, Any]:
    """A checkpoint of ATST-SED's training, either stage."""
    student, teacher = (detector(seed, v1_settings()) for seed in (1, 2))
    state = prefixed("sed_student.", student) | prefixed("sed_teacher.", teacher)
    state["mel_spec.spectrogram.window"] = torch.zeros(2048)
    state["mel_spec.mel_scale.fb"] = torch.zeros(1025, 128)
    own = {"sed_student": student, "sed_teacher": teacher}
    return lightning(state, **own, **more)


def cpjku(head_classes: int | None = 527, activation: str = "cg") -> dict[str, Any]:
    """A checkpoint of CPJKU's DCASE 2024 training: 27 classes, and AudioSet's head or not."""
    settings = v1_settings(rnn_hidden=256, encoder={"merge": 256})
    own: dict[str, dict[str, Tensor]] = {}
    for role, seed in (("student", 3), ("teacher", 4)):
        place = "as_model.model.atst." if head_classes else "as_model.atst."
        state = {
            name.replace("atst_frame.atst.", place).replace(".cg", f".{activation}"): value
            for name, value in detector(seed, settings, 27).items()
        }
        if head_classes:
            name = "as_model.head_linear_layer"
            shapes = {f"{name}.weight": (head_classes, WIDTH), f"{name}.bias": (head_classes,)}
            state |= ruled(shapes | {"cat_tf.weight": (256, 128 + head_classes)}, seed)
        own[role] = state
    whole = prefixed("student.", own["student"]) | prefixed("teacher.", own["teacher"])
    whole["mel.spectrogram.window"] = torch.zeros(2048)
    return lightning(whole, **own)


def write(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def same(ours: Any, theirs: Any) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(v, theirs[n]) for n, v in ours.items())


def network(official: dict[str, Tensor], settings: NetworkSettings, classes: int) -> SedNetwork:
    """Ours with given official weights, without the code under test."""
    made = SedNetwork(settings, tuple(map(str, range(classes))))
    made.load_state_dict({from_official(name): value for name, value in official.items()})
    return made.eval()


def refused(content: Any, tmp_path: Path, words: str, **options: Any) -> None:
    path = tmp_path / "file.ckpt"
    if not path.exists():
        write(content, path)
    with pytest.raises(EarmarkError, match=words) as caught:
        import_checkpoint(path, tmp_path / "out", **options)
    assert "\n" not in str(caught.value)
    assert "file.ckpt" in str(caught.value)
    assert not (tmp_path / "out").exists()
