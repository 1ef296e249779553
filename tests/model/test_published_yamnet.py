"""YAMNet's published files: every kind read to the last bit, everything else refused."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

from earmark.cli import app
from earmark.core.errors import BundleError, ConfigError, EarmarkError
from earmark.model.encoders.encoder_file import load_encoder
from earmark.model.encoders.yamnet import Yamnet, pretrained_weights
from earmark.model.published.convert import import_checkpoint
from earmark.model.published.tf_checkpoint import crc32c
from earmark.model.published.yamnet import find_yamnet, keras_names, read_yamnet, yamnet_names
from helpers import tf_files

PREFIX, SUFFIX = "_yamnet/", "/.ATTRIBUTES/VARIABLE_VALUE"
Variables = dict[str, Tensor]


@pytest.fixture(scope="module")
def weights() -> Variables:
    torch.manual_seed(0)
    state = Yamnet((14,), classifier=True).state_dict()
    generator = torch.Generator().manual_seed(1)
    return {name: torch.rand(value.shape, generator=generator) for name, value in state.items()}


def published(weights: Variables, names: dict[str, str]) -> Variables:
    """The variables as TensorFlow orders their axes."""
    out = {}
    for own, theirs in names.items():
        value = weights[own]
        if own == "classifier.weight":
            value = value.T
        elif value.dim() == 4:
            # [out, in, time, band] → [time, band, in, out], or of depthwise ones [.., channel, 1].
            value = value.permute((2, 3, 0, 1) if "depthwise" in own else (2, 3, 1, 0))
        out[theirs] = value.contiguous()
    return out


def write_saved_model(folder: Path, variables: Variables, prefix: str = PREFIX) -> Path:
    arrays = {f"{prefix}{name}{SUFFIX}": value.numpy() for name, value in variables.items()}
    arrays[f"keras_api/metrics/0/total{SUFFIX}"] = np.zeros((), np.float32)
    graph = tf_files.message((1, tf_files.STRING), (4, 0), (5, 0))
    index = folder / "variables" / "variables.index"
    extra = {"_CHECKPOINTABLE_OBJECT_GRAPH": graph}
    tf_files.write_checkpoint(index, arrays, checksum=crc32c, extra=extra)
    (folder / "saved_model.pb").write_bytes(b"")
    return folder


def same(found: Variables, expected: Variables) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(value, expected[name]) for name, value in found.items()
    )


@pytest.mark.parametrize("prefix", ["", "_yamnet/", "layer-1/layer_with_weights-0/layer/_yamnet/"])
def test_a_saved_model_is_read_whole(tmp_path: Path, weights: Variables, prefix: str) -> None:
    folder = write_saved_model(tmp_path / "yamnet", published(weights, yamnet_names()), prefix)
    found = find_yamnet(folder)
    assert found.title == "YAMNet, SavedModel"
    assert found.where == prefix
    assert found.ignored == {"keras_api/*": 1, "_CHECKPOINTABLE_OBJECT_GRAPH": 1}
    assert same(found.weights, weights)


def test_each_file_of_a_saved_model_leads_to_it(tmp_path: Path, weights: Variables) -> None:
    folder = write_saved_model(tmp_path / "yamnet", published(weights, yamnet_names()))
    inside = [
        "variables",
        "saved_model.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
    ]
    for name in inside:
        assert find_yamnet(folder / name).path == folder / "variables" / "variables.index"


def test_safetensors_of_the_published_names(tmp_path: Path, weights: Variables) -> None:
    path = tmp_path / "yamnet.safetensors"
    save_file(published(weights, yamnet_names()), path)
    assert same(read_yamnet(path), weights)
    save_file({n: v.half() for n, v in published(weights, yamnet_names()).items()}, path)
    halves = {name: value.half().float() for name, value in weights.items()}
    assert same(read_yamnet(path), halves)


def write_keras(path: Path, variables: Variables, dense: str, prefix: str = "") -> Path:
    h5py = pytest.importorskip("h5py", reason="needs the extra keras")
    with h5py.File(path, "w") as file:
        for name, value in variables.items():
            layer, _, variable = name.rpartition("/")
            layer = dense if layer == "logits" else layer
            file[f"{prefix}{layer}/{layer}/{variable}:0"] = value.numpy()
    return path


@pytest.mark.parametrize("dense", ["logits", "dense", "dense_3"])
@pytest.mark.parametrize("prefix", ["", "model_weights/"])
def test_weights_that_keras_saved(
    tmp_path: Path, weights: Variables, dense: str, prefix: str
) -> None:
    variables = published(weights, keras_names())
    path = write_keras(tmp_path / "yamnet.h5", variables, dense, prefix)
    found = find_yamnet(path)
    assert found.title == "YAMNet, weights saved by Keras"
    assert same(found.weights, weights)


def test_names_of_layers_in_keras_are_those_of_the_published_file() -> None:
    names = keras_names()
    assert len(names) == len(set(names.values())) == len(yamnet_names()) == 110
    assert names["blocks.0.conv.weight"] == "layer1/conv/kernel"
    assert names["blocks.0.conv.beta"] == "layer1/conv/bn/beta"
    assert names["blocks.13.depthwise.weight"] == "layer14/depthwise_conv/depthwise_kernel"
    assert names["blocks.13.conv.variance"] == "layer14/pointwise_conv/bn/moving_variance"


def test_keras_files_need_a_package_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "yamnet.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    genuine = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "h5py":
            raise ModuleNotFoundError(name)
        return genuine(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"yamnet\.h5: .*needs h5py.*earmark\[keras\]"):
        find_yamnet(path)


def test_a_damaged_keras_file(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="needs the extra keras")
    (tmp_path / "yamnet.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(BundleError, match="cannot be read as HDF5") as caught:
        find_yamnet(tmp_path / "yamnet.h5")
    assert "\n" not in str(caught.value)


CHANGES: list[tuple[Callable[[Variables, dict[str, str]], Any], str]] = [
    (lambda v, n: v.pop(n["blocks.3.conv.mean"]), "missing: {blocks.3.conv.mean}"),
    (lambda v, n: v.update({"layer_with_weights-55/kernel": torch.ones(1)}), "left over: layer_w"),
    (
        lambda v, n: v.update({n["classifier.bias"]: torch.ones(10)}),
        r"of another shape: {classifier.bias} \(10,\) instead of \(521,\)",
    ),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
@pytest.mark.parametrize("kind", ["saved_model", "safetensors", "keras"])
def test_a_network_must_be_whole(
    tmp_path: Path,
    weights: Variables,
    kind: str,
    change: Callable[[Variables, dict[str, str]], Any],
    words: str,
) -> None:
    names = keras_names() if kind == "keras" else yamnet_names()
    variables = published(weights, names)
    change(variables, names)
    if kind == "saved_model":
        path = write_saved_model(tmp_path / "yamnet", variables)
    elif kind == "keras":
        path = write_keras(tmp_path / "yamnet.h5", variables, "logits")
    else:
        path = tmp_path / "yamnet.safetensors"
        save_file(variables, path)
    for own, theirs in names.items():
        words = words.replace("{" + own + "}", theirs)
    with pytest.raises(BundleError, match=f"looks like YAMNet.*{words}") as caught:
        find_yamnet(path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_files_are_told_which_are_known(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    save_file({"x": torch.ones(1)}, tmp_path / "x.safetensors")
    tf_files.write_checkpoint(tmp_path / "y.index", {"x": np.ones(1, np.float32)})
    faults = {
        "nothing.h5": "no such file",
        "empty": "holds no SavedModel.*Known are",
        "notes.txt": "is no safetensors file.*Known are",
        "x.safetensors": "looks like YAMNet.*missing",
        "y.index": r"holds no YAMNet \(it has x, …\).*Known are",
    }
    for name, words in faults.items():
        with pytest.raises(EarmarkError, match=words):
            find_yamnet(tmp_path / name)


@pytest.mark.parametrize("kind", ["folder", "index", "safetensors", "keras"])
def test_import_makes_an_encoder_that_training_takes(
    tmp_path: Path, weights: Variables, kind: str
) -> None:
    folder = write_saved_model(tmp_path / "yamnet", published(weights, yamnet_names()))
    path = {"folder": folder, "index": folder / "variables" / "variables.index"}.get(kind)
    if kind == "safetensors":
        path = tmp_path / "yamnet.safetensors"
        save_file(published(weights, yamnet_names()), path)
    elif kind == "keras":
        path = write_keras(tmp_path / "yamnet.h5", published(weights, keras_names()), "logits")
    assert path is not None
    out = tmp_path / "encoder"
    done = CliRunner().invoke(app, ["import", str(path), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "YAMNet" in done.output
    assert "encoder" in done.output
    encoder = load_encoder(out)
    assert encoder.settings.kind == "yamnet"
    assert same(dict(encoder.weights), weights)  # nothing is rounded
    with pytest.raises(BundleError, match="is not empty"):
        import_checkpoint(path, out)
    with pytest.raises(BundleError, match="Leave out --which"):
        import_checkpoint(path, tmp_path / "b", which="teacher")


def test_import_of_the_published_weights_is_what_ships(shared_dir: Path, tmp_path: Path) -> None:
    file = shared_dir / "yamnet/yamnet_official.safetensors"
    import_checkpoint(file, tmp_path / "encoder")
    ours, shipped = dict(load_encoder(tmp_path / "encoder").weights), pretrained_weights()
    assert ours.keys() == shipped.keys()
    for name, value in ours.items():
        torch.testing.assert_close(shipped[name].float(), value, atol=1e-3, rtol=1e-3)
