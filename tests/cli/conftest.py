"""What a user's mistake looks like, the same for every command; files to score."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from earmark.cli import main
from helpers.score_world import World, write_world


@pytest.fixture
def mistake(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs ``earmark ARGUMENTS`` in an empty folder; it must fail with exit code 2 and one line."""
    monkeypatch.chdir(tmp_path)

    def told(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["earmark", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2
        line = capsys.readouterr().err
        assert "Traceback" not in line
        assert len(line.strip().splitlines()) == 1, line
        return line

    return told


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("score"))
