"""While one run writes a folder, every command that would write it too refuses, and says who."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from earmark.cli.commands import COMMANDS
from earmark.core.locking import LOCK, only_writer
from earmark.model.bundle_files import find_bundle
from helpers.score_world import World, run

WRITING = {
    "synth": "synth {out} --recipe demo --workers 1",
    "import-labels": "import-labels {labels} --audio {audio} --out {out} --fractions 1,0,0",
    "cache": "cache {data} --out {out} --workers 1",
    "pretrain": "pretrain atst-frame-pretrain --audio {audio} --out {out} --device cpu",
    "train": "train mini --data {data} --out {out} --device cpu",
    "evaluate": "evaluate mini --data {data} --out {out}",
    "score": "score --scores {world}/scores --truth {world}/truth.tsv "
    "--durations {world}/seconds.csv --plot-dir {out}",
    "tune": "tune mini --data {data} --out {out}",
    "tune, a bundle of its own": "tune {bundle} --data {data}",
    "pseudo-label": "pseudo-label mini --data {data} --out {out}",
    "detect": "detect mini {audio} --out {out}",
    "detect, clips": "detect mini {audio} --out {elsewhere} --clips {out}",
    "review": "review mini {audio} --out {out}",
    "suggest": "suggest mini {audio} --out {out}",
    "import": "import {checkpoint} --out {out}",
    "export": "export mini --out {out}/model.onnx",
    "export, into a bundle": "export {bundle} --into-bundle",
    "demo": "demo --out {out}",
    "summary": "summary {world}/truth.tsv --out {out}",
}
NOT_WRITING = {"doctor", "recipes", "report", "info", "listen", "app"}
"""They write single files at most, which appear whole."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, world: World) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("writer")
    run("synth", root / "data", "--recipe", "demo", "--workers", 1,
        "--clips", "strong=2,weak=2,unlabelled=2,validation=2,test=0")  # fmt: skip
    (root / "audio").mkdir()
    soundfile.write(root / "audio/tone.wav", np.sin(np.arange(160_000) / 9) * 0.1, 16_000)
    (root / "labels.tsv").write_text(
        "filename\tonset\toffset\tevent_label\ntone.wav\t1\t2\tTone\n", encoding="utf-8"
    )
    torch.save({"state_dict": {}}, root / "some.ckpt")
    shutil.copytree(find_bundle("mini"), root / "bundle")
    return {
        **{name: root / name for name in ("data", "audio", "bundle")},
        "labels": root / "labels.tsv",
        "checkpoint": root / "some.ckpt",
        "world": world.folder,
    }


def test_every_command_is_looked_at() -> None:
    assert {name.partition(",")[0] for name in WRITING} | NOT_WRITING == COMMANDS.keys()


@pytest.mark.parametrize("name", WRITING)
def test_the_second_writer_is_refused(
    name: str, places: dict[str, Path], tmp_path: Path, mistake: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    line = WRITING[name].format(**places, out=out, elsewhere=tmp_path / "elsewhere")
    written = places["bundle"] if "{bundle}" in WRITING[name] else out
    with only_writer(written, ".model.onnx.lock" if name == "export" else LOCK):
        before = sorted(path.name for path in written.iterdir())
        told = mistake(*line.split())
        assert sorted(path.name for path in written.iterdir()) == before
    assert f"another run is writing into this folder (process {os.getpid()}, since 2" in told
    assert "Wait until it has finished" in told
