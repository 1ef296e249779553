"""Training and evaluation run on the healthy rest of a tree with thirty kinds of damage."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning_fabric import Fabric

from earmark.data.manifest import load_manifest
from earmark.detect.evaluate import evaluate_network
from earmark.detect.postprocess import PostProcess
from earmark.method.settings import Recipe
from earmark.train.engine import train
from earmark.train.record.journal import run_record
from helpers import damage


def test_the_healthy_rest_is_trained_and_scored_on(tiny_recipe: Recipe, tmp_path: Path) -> None:
    tree = damage.make_tree(tmp_path / "data")
    done = {k: do(tree) for k, do in damage.DAMAGE.items() if k not in damage.WHOLE_PARTS}
    assert len(done) >= 30
    manifest = load_manifest(tree)
    run = train(
        tiny_recipe, manifest, tmp_path / "run", fabric=Fabric(accelerator="cpu", devices=1)
    )
    record = run_record(tmp_path / "run")[-1]
    assert record["epoch"] == 2
    figures = record["validation"]["teacher"]
    # Of seven clips listed one breaks off and two have a row that cannot be understood.
    assert (figures["clips"], figures["of"]) == (4, 7)
    again = evaluate_network(run.teacher.network, manifest.splits["validation"], PostProcess())
    assert (again["clips"], again["of"]) == (4, 7)
    assert again["fingerprint"] != manifest.splits["validation"].fingerprint


@pytest.mark.parametrize("kind", sorted(damage.WHOLE_PARTS))
def test_a_part_that_is_gone_is_told_and_the_others_train(
    kind: str, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    tree = damage.make_tree(tmp_path / "data")
    damage.DAMAGE[kind](tree)
    manifest = load_manifest(tree)
    assert len(manifest.damage) == 1
    train(
        tiny_recipe,
        manifest,
        tmp_path / "run",
        fabric=Fabric(accelerator="cpu", devices=1),
        stop_after_epochs=1,
    )
    assert run_record(tmp_path / "run")[0]["epoch"] == 1
