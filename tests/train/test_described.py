"""Every mix of kinds of label trains, from a dataset described by YAML."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from earmark.core.errors import DataError
from earmark.data.manifest import load_manifest
from earmark.method.settings import Recipe
from earmark.train.engine import train
from earmark.train.record.journal import run_record

STRONG = (
    "  - {audio: DATA/audio/train/synthetic21_train/soundscapes, domain: synthetic,"
    " strong: DATA/metadata/train/synthetic21_train/soundscapes.tsv}\n"
)
WEAK = "  - {audio: DATA/audio/train/weak, weak: DATA/metadata/train/weak.tsv}\n"
UNLABELLED = "  - {audio: DATA/audio/train/unlabel_in_domain, unlabelled: true}\n"
VALIDATION = (
    "validation: {audio: DATA/audio/validation/validation,"
    " strong: DATA/metadata/validation/validation.tsv}\n"
)


@pytest.mark.parametrize(
    "sources",
    [
        [STRONG],
        [STRONG, WEAK],
        [STRONG, UNLABELLED],
        [STRONG, WEAK, UNLABELLED],
        [WEAK],
        [WEAK, UNLABELLED],
    ],
    ids=["strong", "strong+weak", "strong+unlabelled", "all", "weak", "weak+unlabelled"],
)
def test_every_mix_of_labels_trains(
    sources: list[str], tiny_data: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    text = "train:\n" + "".join(sources) + VALIDATION
    (tmp_path / "data.yaml").write_text(text.replace("DATA", str(tiny_data)), encoding="utf-8")
    manifest = load_manifest(tmp_path / "data.yaml")
    fabric = Fabric(accelerator="cpu", devices=1)
    run = train(tiny_recipe, manifest, tmp_path / "run", fabric=fabric, stop_after_epochs=1)
    before = {name: value.clone() for name, value in run.student.named_parameters()}
    run = train(tiny_recipe, manifest, tmp_path / "run", fabric=fabric, resume=True)
    records = run_record(tmp_path / "run")
    assert [record["epoch"] for record in records] == [1, 2]
    losses = records[-1]["losses"]
    assert torch.isfinite(torch.tensor(list(losses.values()))).all()
    assert (losses["strong"] > 0) == (STRONG in sources)
    assert (losses["weak"] > 0) == (WEAK in sources)
    assert (losses["mean_teacher"] + losses["pseudo_label"]) > 0
    assert records[-1]["validation"]["teacher"]["of"] == 3
    assert any(
        not torch.equal(value, before[name]) for name, value in run.student.named_parameters()
    )


def test_unlabelled_clips_alone_do_not(
    tiny_data: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    text = "train:\n" + UNLABELLED + VALIDATION
    (tmp_path / "data.yaml").write_text(text.replace("DATA", str(tiny_data)), encoding="utf-8")
    manifest = load_manifest(tmp_path / "data.yaml")
    with pytest.raises(DataError, match="no labelled clip to train on"):
        train(tiny_recipe, manifest, tmp_path / "run", fabric=Fabric(accelerator="cpu", devices=1))
