"""Seeded ways to spoil a file: its bytes, its text, its tree of values, or what it has packed."""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import yaml

NUMBERS = (
    *("0", "-1", "-0", "1e308", "-1e308", "1e999", "nan", "inf", "-inf", "1e-320", "0x7f", "1_0"),
    *("99999999999999999999", "9" * 500, "1e9", "3600", "65536", "2147483648", "-2147483649", ""),
    *("٣", "1:60", "1:00:00", "12:34:56.7", ".5.", "1,5", "1e5", "4294967295", "0.1", "0.5", "1"),
)
PIECES = (
    *('"', "'", "\\", "\0", "\t", "\t\t\t", "\n", "\r", "\r\n", ",", ";", "sep=;", "﻿", "\u2028"),
    *(
        "\x1b[31m",
        "\x85",
        "é",
        "🦉",
        "\u202e",
        "[" * 100,
        "{" * 100,
        "(",
        "../..",
        "/dev/zero",
        "~",
    ),
    *("=cmd()", "null", "true", "none", "NA", "---", "&a", "*a", "!!python/name:os.system", "<<: "),
    *(
        "%s",
        "{}",
        "x" * 3000,
        " ",
        "   ",
        "#",
        "<!DOCTYPE x>",
        "&amp;",
        "<a>",
        "-->",
        "WEBVTT",
        "*",
    ),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 0.5, 1e308, -1e308, float("nan"), float("inf"), 10**20),
    *(2**31, 2**32, 2**63, 2**64, -(2**63), 1e-320, "", "x", "nan", "../x", "/dev/zero", "a\0b"),
    *(
        [],
        {},
        [[]],
        [None],
        {"": ""},
        {"a": {"b": {}}},
        [0] * 100,
        [[1, 1]],
        "x" * 300,
        "1e5",
        1000,
    ),
)
_NUMBER = re.compile(rb"-?\d+(?:[.:]\d+)*(?:[eE][-+]?\d+)?")
_LARGE = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1)


def mutated(data: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """A file with one to four faults.

    Args:
        data: A good one.
        kind: ``bytes``, ``text``, ``json``, ``yaml``, ``zip``, ``gz`` or ``safetensors``; any of
            these is at times treated as bytes.
        rng: Decides everything.
    """
    for _ in range(int(rng.integers(1, 5))):
        data = _once(data, kind if rng.random() < 0.8 else "bytes", rng)
    return data


def _once(data: bytes, kind: str, rng: np.random.Generator) -> bytes:
    if kind == "text":
        return _text(data, rng)
    if kind in ("json", "yaml"):
        return _tree(data, kind, rng) if rng.random() < 0.7 else _text(data, rng)
    if kind == "lines":
        return _line(data, rng)
    if kind == "zip":
        return _zip(data, rng)
    if kind == "gz":
        try:
            return gzip.compress(_text(gzip.decompress(data), rng), 1)
        except (OSError, EOFError, zlib.error):
            return _bytes(data, rng)
    if kind == "safetensors":
        return _safetensors(data, rng)
    return _bytes(data, rng)


def _pick(rng: np.random.Generator, choices: Sequence[Any]) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _bytes(data: bytes, rng: np.random.Generator) -> bytes:
    if not data:
        return rng.bytes(8)
    content = bytearray(data)
    # Headers lie at the beginning: that is where half of it happens.
    reach = len(content) if rng.random() < 0.5 else min(len(content), 128)
    place = int(rng.integers(reach))
    match int(rng.integers(8)):
        case 0:
            content[place] ^= 1 << int(rng.integers(8))
        case 1:
            content[place] = _pick(rng, (0, 1, 0x7F, 0x80, 0xFE, 0xFF))
        case 2:
            del content[place:]
        case 3:
            del content[place : place + int(rng.integers(1, 64))]
        case 4:
            length = int(rng.integers(1, 256))
            content[place:place] = content[place : place + length] * int(rng.integers(1, 20))
        case 5:
            content[place:place] = rng.bytes(int(rng.integers(1, 32)))
        case 6:
            width = _pick(rng, (2, 4, 8))
            value = _pick(rng, _LARGE) % 2 ** (8 * width)
            content[place : place + width] = value.to_bytes(width, _pick(rng, ("little", "big")))
        case _:
            other = int(rng.integers(len(content)))
            content[place : place + 16] = content[other : other + 16]
    return bytes(content)


def _text(data: bytes, rng: np.random.Generator) -> bytes:
    match int(rng.integers(9)):
        case 0 | 1:
            numbers = list(_NUMBER.finditer(data))
            if not numbers:
                return data + b"1"
            one = _pick(rng, numbers)
            return data[: one.start()] + _pick(rng, NUMBERS).encode() + data[one.end() :]
        case 2 | 3:
            place = int(rng.integers(len(data) + 1))
            return data[:place] + _pick(rng, PIECES).encode("utf-8", "surrogatepass") + data[place:]
        case 4:
            lines = data.split(b"\n")
            one = int(rng.integers(len(lines)))
            lines[one : one + 1] = [lines[one]] * _pick(rng, (0, 2, 300))
            return b"\n".join(lines)
        case 5:
            lines = data.split(b"\n")
            lines[int(rng.integers(len(lines)))] = _pick(rng, lines)
            return b"\n".join(lines)
        case 6:
            old, new = _pick(rng, b"\t,;:= \"'[]{}"), _pick(rng, b"\t,;:= \"'[]{}")
            return data.replace(bytes([old]), bytes([new]), int(rng.integers(1, 5)))
        case 7:
            encoding = _pick(rng, ("utf-16", "utf-32", "utf-16-le", "cp1252", "utf-8-sig"))
            return data.decode("utf-8", "replace").encode(encoding, "replace")
        case _:
            return _bytes(data, rng)


def _tree(data: bytes, kind: str, rng: np.random.Generator) -> bytes:
    try:
        text = data.decode()
        tree = json.loads(text) if kind == "json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError):
        return _text(data, rng)
    changed = spoiled(tree, rng)
    try:
        if kind == "json":
            return json.dumps(changed).encode()
        return yaml.safe_dump(changed, sort_keys=False).encode()
    except (ValueError, yaml.YAMLError, RecursionError, TypeError):
        return _text(data, rng)


def spoiled(tree: Any, rng: np.random.Generator) -> Any:
    """A tree of values with one of them changed, taken away, renamed or repeated."""
    if isinstance(tree, dict) and tree and rng.random() < 0.9:
        key = _pick(rng, list(tree))
        changed = {**tree, key: spoiled(tree[key], rng)}
        if rng.random() < 0.1:
            del changed[key]
        if rng.random() < 0.1:
            name = _pick(rng, ("", "x", "a.b", "../x", "default", "*", f"{key}x"))
            changed[name] = tree[key]
        return changed
    if isinstance(tree, list) and tree and rng.random() < 0.9:
        place = int(rng.integers(len(tree)))
        changed_list = [*tree[:place], spoiled(tree[place], rng), *tree[place + 1 :]]
        return changed_list if rng.random() < 0.8 else changed_list * _pick(rng, (0, 2, 50))
    return _pick(rng, VALUES)


def _line(data: bytes, rng: np.random.Generator) -> bytes:
    """JSON Lines: one of them spoiled."""
    lines = data.split(b"\n")
    place = int(rng.integers(len(lines)))
    lines[place] = _tree(lines[place], "json", rng) if lines[place].strip() else b"{}"
    return b"\n".join(lines)


def _zip(data: bytes, rng: np.random.Generator) -> bytes:
    """An archive with one of its members spoiled, its checksums right again."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {one.filename: archive.read(one) for one in archive.infolist()}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError):
        return _bytes(data, rng)
    if not members:
        return _bytes(data, rng)
    name = _pick(rng, list(members))
    if rng.random() < 0.5:  # the pickle of a state, the small header of an array
        name = min(members, key=lambda one: len(members[one]) if "version" not in one else 10**9)
        name = next((one for one in members if one.endswith(".pkl")), name)
    members[name] = _bytes(members[name], rng)
    if rng.random() < 0.05:
        del members[name]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for one, content in members.items():
            archive.writestr(zipfile.ZipInfo(one), content)
    return out.getvalue()


def _safetensors(data: bytes, rng: np.random.Generator) -> bytes:
    """A file of tensors with another header, its length right."""
    if len(data) < 8:
        return _bytes(data, rng)
    length = struct.unpack("<Q", data[:8])[0]
    header, rest = data[8 : 8 + length], data[8 + length :]
    changed = _tree(header, "json", rng)
    return struct.pack("<Q", len(changed)) + changed + rest
