"""What is read from a bundle's card is what training and the shipped bundles write there."""

from __future__ import annotations

from pathlib import Path

import pytest

from earmark.core.folders import shipped_folder
from earmark.model.bundle_card import BundleCard, read_card
from earmark.train.card import metrics_table


def test_scores_as_training_writes_them(tmp_path: Path) -> None:
    metrics = {"psds1": 0.1234, "collar_f1": 0.5, "per_class": {"psds1": {"Dog": 0.2}}, "clips": 3}
    text = (
        f"# x\n\n## Scores on the split `test`\n\n{metrics_table(metrics)}\n\n## Licence\n\nMIT.\n"
    )
    (tmp_path / "README.md").write_text(text)
    assert read_card(tmp_path) == BundleCard(
        {"Scores on the split `test`": {"psds1": 0.123, "collar_f1": 0.5}}, "MIT."
    )


def test_without_a_card_or_figures(tmp_path: Path) -> None:
    assert read_card(tmp_path) == BundleCard({})
    (tmp_path / "README.md").write_text(f"## Scores on nothing\n\n{metrics_table({})}\n")
    assert read_card(tmp_path) == BundleCard({})


@pytest.mark.parametrize("bundle", ["home", "mini", "audioset"])
def test_shipped_cards(bundle: str) -> None:
    card = read_card(shipped_folder("bundles") / bundle)
    assert bool(card.scores) == (bundle != "audioset")
    assert all(0 < means["psds1"] < 1 for means in card.scores.values())
    assert card.licence.startswith("Weights")
