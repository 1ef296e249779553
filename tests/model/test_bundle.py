"""Bundles: round trip, clear refusals, nothing unpickled."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import torch

from earmark.core.errors import BundleError, ConfigError, EarmarkError
from earmark.detect.postprocess import PostProcess
from earmark.detect.tuning.tune import CSEBB_GRID as GRID
from earmark.model.bundle import load_bundle, save_bundle
from earmark.model.bundle_files import EXTRAS, FILES, find_bundle, save_postprocess
from earmark.model.sed import SedNetwork
from earmark.train.recipe import load_recipe

LABELS = ("Kettle", "Türklingel", "dog bark")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = SedNetwork(load_recipe("mini").network, LABELS)
    postprocess = {"median_seconds": dict.fromkeys(LABELS, 0.3), "threshold": 0.4}
    return save_bundle(tmp_path / "bundle", network, postprocess, "# card\n")


def test_round_trip(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    torch.manual_seed(0)
    network = SedNetwork(load_recipe("mini").network, LABELS).eval()
    waveform = torch.randn(1, 160_000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(loaded.network(waveform).strong, network(waveform).strong)
    assert loaded.spec == network.spec
    assert loaded.postprocess["threshold"] == 0.4
    assert sorted(path.name for path in bundle.iterdir()) == sorted(FILES)
    assert stat.S_IMODE((bundle / FILES[0]).stat().st_mode) == stat.S_IMODE(
        (bundle / "config.yaml").stat().st_mode
    )


def test_fingerprint_follows_content_not_place(bundle: Path, tmp_path: Path) -> None:
    before = load_bundle(bundle).fingerprint
    moved = bundle.rename(tmp_path / "moved")
    assert load_bundle(moved).fingerprint == before
    (moved / "postprocess.yaml").write_text("threshold: 0.5\n")
    assert load_bundle(moved).fingerprint != before


def test_what_is_saved_again_has_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    """The library writes metadata in any order; ten orders that agree by chance are unlikely."""
    network = load_bundle(bundle).network
    for number in range(10):
        save_bundle(tmp_path / str(number), network, {}, "card")
    files = [(tmp_path / str(number) / FILES[0]).read_bytes() for number in range(10)]
    assert set(files) == {files[0]}
    assert torch.equal(
        next(iter(load_bundle(tmp_path / "0").network.state_dict().values())),
        next(iter(network.state_dict().values())),
    )


@pytest.mark.parametrize("name", FILES[:4])
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.yaml", "format: 7\n", "format 7"),
        ("config.yaml", "format: 1\nnetwork: {channles: [4]}\n", "channles"),
        ("config.yaml", "]", "YAML"),
        ("labels.txt", "only one\n", "has other classes"),
        ("model.safetensors", "no tensors", "is no safetensors file"),
        ("postprocess.yaml", "a: [", "YAML"),
    ],
)
def test_a_damaged_file_is_one_clear_line(
    bundle: Path, name: str, content: str, words: str
) -> None:
    (bundle / name).write_text(content)
    with pytest.raises(EarmarkError, match=words) as caught:
        load_bundle(bundle)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, BundleError | ConfigError)


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle"):
        find_bundle("nothing-of-that-name")
    with pytest.raises(BundleError, match="is no bundle"):
        load_bundle(tmp_path)


def test_hub_failure_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError("no connection\nmore")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(BundleError, match="no connection") as caught:
        find_bundle("someone/something")
    assert "\n" not in str(caught.value)


def test_hub_folder_is_used(monkeypatch: pytest.MonkeyPatch, bundle: Path) -> None:
    asked = []

    def fetch(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(bundle)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert load_bundle("someone/something").spec.labels == LABELS
    assert asked == [("someone/something", [*FILES, *EXTRAS])]


def test_shipped_bundle_loads_and_says_what_it_is() -> None:
    loaded = load_bundle("mini")
    assert len(loaded.spec.labels) == 10
    assert sum(path.stat().st_size for path in loaded.path.iterdir()) < 3_000_000
    card = (loaded.path / "README.md").read_text(encoding="utf-8")
    for word in ("seed", "fingerprint", "synthesised", "psds1", *loaded.spec.labels):
        assert word in card


def test_other_post_processing(bundle: Path, tmp_path: Path) -> None:
    before = load_bundle(bundle).fingerprint
    settings = PostProcess(
        method="csebb",
        csebb={label: GRID[4 * number] for number, label in enumerate(LABELS)},
        threshold=dict.fromkeys(LABELS, 0.3),
    )
    path = save_postprocess(bundle, settings.to_dict())
    loaded = load_bundle(bundle)
    assert PostProcess.from_dict(loaded.postprocess) == settings
    assert loaded.fingerprint != before
    assert path == bundle / "postprocess.yaml"
    assert sorted(found.name for found in bundle.iterdir()) == sorted(FILES)
    with pytest.raises(BundleError, match="is no bundle"):
        save_postprocess(tmp_path, {})


def test_names_of_classes_are_bound_to_the_weights(bundle: Path) -> None:
    names = (bundle / "labels.txt").read_text(encoding="utf-8").splitlines()
    for others in (names[::-1], [*names[:-1], "Cat"]):
        (bundle / "labels.txt").write_text("\n".join(others) + "\n", encoding="utf-8")
        with pytest.raises(BundleError, match=r"labels\.txt: has other classes than the weights"):
            load_bundle(bundle)
    (bundle / "labels.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    assert load_bundle(bundle).spec.labels == LABELS
