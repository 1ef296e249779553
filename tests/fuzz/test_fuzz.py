"""No file makes a parser fail otherwise than in a line, hang, or take a gigabyte."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.targets import TARGETS
from fuzz.trial import CORPUS, fault_of, lay_out, quiet, spoiled_file

CASES = 2000
_WEIGHT = sum(target.weight for target in TARGETS.values())


@pytest.mark.parametrize("target", TARGETS)
def test_good_files_are_read(target: str, tmp_path: Path) -> None:
    lay_out(TARGETS[target], tmp_path)
    for name, (data, _) in TARGETS[target].seeds().items():
        path = tmp_path / name
        path.write_bytes(data)
        if target not in ("class map", "recipe", "checkpoint"):  # each is of one of several kinds
            TARGETS[target].read(path)
        assert fault_of(target, name, data, tmp_path) is None


@pytest.mark.parametrize("target", TARGETS)
def test_spoiled_files_are_read_or_refused(target: str, tmp_path: Path) -> None:
    lay_out(TARGETS[target], tmp_path)
    with quiet():
        for seed in range(round(CASES * TARGETS[target].weight / _WEIGHT)):
            name, data = spoiled_file(target, seed)
            fault = fault_of(target, name, data, tmp_path)
            assert fault is None, f"seed {seed}, {name}: {fault}"


@pytest.mark.parametrize("target", sorted(path.name for path in CORPUS.glob("*")))
def test_files_that_were_a_fault_once(target: str, tmp_path: Path) -> None:
    lay_out(TARGETS[target], tmp_path)
    with quiet():
        for path in sorted((CORPUS / target).iterdir()):
            name = path.name.partition("-")[2]
            fault = fault_of(target, name, path.read_bytes(), tmp_path)
            assert fault is None, f"{path.name}: {fault}"
