"""TensorFlow checkpoints: read whole, or refused with one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from earmark.core.errors import BundleError
from earmark.model.published.tf_checkpoint import LANES, crc32c, masked, read_tf_checkpoint
from helpers import tf_files

NAMES = st.text("abz/_.-0", min_size=1, max_size=12)


def some_variables() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    names = [f"layer-{n}/{part}/kernel" for n in range(6) for part in ("conv", "bn")]
    shapes = [(), (3,), (2, 0), (3, 4), (1, 2, 3)]
    kinds = ("float32", "float64", "int32", "int64", "float16", "bool")
    return {
        name: np.asarray(100 * rng.random(shapes[i % 5])).astype(kinds[i % 6])
        for i, name in enumerate(names)
    }


def test_known_checksums() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert masked(0x8A9136AA) == tf_files.mask(0x8A9136AA)


@pytest.mark.parametrize("length", [1, LANES - 1, LANES, LANES + 1, 3 * LANES + 17])
def test_checksums_of_stretches_join_to_that_of_the_whole(length: int) -> None:
    data = np.random.default_rng(length).bytes(length)
    assert crc32c(data) == tf_files.slow_crc32c(data)


def test_variables_are_read_as_they_were_written(tmp_path: Path) -> None:
    variables = some_variables()
    found = read_tf_checkpoint(tf_files.write_checkpoint(tmp_path / "model.index", variables))
    assert found.left_out == ()
    assert found.variables.keys() == variables.keys()
    for name, value in variables.items():
        assert found.variables[name].dtype == value.dtype
        np.testing.assert_array_equal(found.variables[name], value)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(names=st.sets(NAMES, max_size=20))
def test_names_of_all_kinds(tmp_path: Path, names: set[str]) -> None:
    variables = {name: np.full(2, n, np.float32) for n, name in enumerate(sorted(names))}
    found = read_tf_checkpoint(tf_files.write_checkpoint(tmp_path / "model.index", variables))
    assert {n: v.tolist() for n, v in found.variables.items()} == {
        n: v.tolist() for n, v in variables.items()
    }


def test_strings_and_slices_are_left_out(tmp_path: Path) -> None:
    text = tf_files.message((1, tf_files.STRING), (4, 0), (5, 3))
    sliced = tf_files.entry(np.zeros(2, np.float32), 0, 0, extra=((7, b""),))
    index = tf_files.write_checkpoint(
        tmp_path / "model.index",
        {"kernel": np.ones(2, np.float32)},
        extra={"_CHECKPOINTABLE_OBJECT_GRAPH": text, "sliced": sliced},
    )
    found = read_tf_checkpoint(index)
    assert list(found.variables) == ["kernel"]
    assert found.left_out == ("_CHECKPOINTABLE_OBJECT_GRAPH", "sliced")


def complaint(index: Path, variables: dict[str, np.ndarray]) -> str | None:
    """What is said of a checkpoint; None if it gives the variables all the same."""
    try:
        found = read_tf_checkpoint(index)
    except BundleError as error:
        return str(error)
    assert found.variables.keys() == variables.keys()
    for name, value in variables.items():
        np.testing.assert_array_equal(found.variables[name], value)
    return None


def test_any_damaged_byte_is_noticed(tmp_path: Path) -> None:
    variables = {f"v{n}": np.arange(3, dtype=np.float32) + n for n in range(7)}
    index = tf_files.write_checkpoint(tmp_path / "model.index", variables)
    for path, silent in ((index, 60), (index.with_suffix(".data-00000-of-00001"), 0)):
        whole, said = path.read_bytes(), []
        for place in range(len(whole)):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << place % 8
            path.write_bytes(damaged)
            said.append(complaint(index, variables))
        path.write_bytes(whole)
        # Bytes that say nothing are the empty block of notes and what fills up the end.
        assert said.count(None) <= silent
        assert not any("\n" in text for text in said if text)


@pytest.mark.parametrize("length", [0, 1, 47, 48, 100, 200])
def test_an_index_cut_short(tmp_path: Path, length: int) -> None:
    index = tf_files.write_checkpoint(tmp_path / "model.index", some_variables())
    index.write_bytes(index.read_bytes()[:length])
    with pytest.raises(BundleError, match="is no index of a TensorFlow checkpoint"):
        read_tf_checkpoint(index)


def test_numbers_cut_short_or_missing(tmp_path: Path) -> None:
    index = tf_files.write_checkpoint(tmp_path / "model.index", some_variables())
    data = index.with_suffix(".data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"data-00000-of-00001: is cut short: layer-5.*Fetch it"):
        read_tf_checkpoint(index)
    data.unlink()
    with pytest.raises(BundleError, match=r"data-00000-of-00001: no such file.*model\.index"):
        read_tf_checkpoint(index)


def test_damaged_numbers_are_named(tmp_path: Path) -> None:
    index = tf_files.write_checkpoint(tmp_path / "model.index", {"kernel": np.ones(4, np.float32)})
    data = index.with_suffix(".data-00000-of-00001")
    data.write_bytes(bytes(16))
    with pytest.raises(BundleError, match=r"is damaged: the checksum of kernel"):
        read_tf_checkpoint(index)


def test_other_forms_are_refused(tmp_path: Path) -> None:
    ones = {"kernel": np.ones(1, np.float32)}
    with pytest.raises(BundleError, match="compressed"):
        read_tf_checkpoint(tf_files.write_checkpoint(tmp_path / "a.index", ones, compression=1))
    with pytest.raises(BundleError, match="byte order"):
        read_tf_checkpoint(tf_files.write_checkpoint(tmp_path / "b.index", ones, endianness=1))
    with pytest.raises(BundleError, match="no such file"):
        read_tf_checkpoint(tmp_path / "nothing.index")
    wrong = tf_files.message((1, 1), (2, tf_files.message((2, tf_files.message((1, 5))))), (5, 4))
    with pytest.raises(BundleError, match=r"kernel of shape \(5,\) has 4 bytes"):
        read_tf_checkpoint(
            tf_files.write_checkpoint(tmp_path / "c.index", {}, extra={"kernel": wrong})
        )
    (tmp_path / "d.index").write_bytes(tf_files.table({b"kernel": b""}))
    with pytest.raises(BundleError, match="header"):
        read_tf_checkpoint(tmp_path / "d.index")
