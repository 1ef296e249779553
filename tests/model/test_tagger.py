"""An encoder's own classifier as a detector: its scores in time, padding, and its bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from earmark.core.errors import BundleError, EarmarkError
from earmark.core.folders import shipped_folder
from earmark.detect.detector import Detector
from earmark.detect.postprocess import PostProcess
from earmark.model.bundle import load_bundle
from earmark.model.bundle_files import is_bundle, save_postprocess
from earmark.model.encoders.yamnet import pretrained_yamnet
from earmark.model.tagger import Tagger
from earmark.train.initial import read_start

RATE = 16_000
PATCH, HOP = 15_600, 7_680  # samples of a published patch, and from one to the next


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    network = load_bundle("audioset").network
    assert isinstance(network, Tagger)
    return network


def sound(samples: int, seed: int = 0) -> torch.Tensor:
    """Noise that comes and goes, over a quiet tone."""
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.random(samples // 4000 + 1) ** 4, 4000)[:samples]
    tone = 0.01 * np.sin(2 * np.pi * 700 * np.arange(samples) / RATE)
    return torch.from_numpy((level * 0.3 * rng.normal(size=samples) + tone).astype(np.float32))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_folder("bundles") / "audioset", tmp_path / "copy"))


def test_a_frame_has_the_scores_of_the_patch_around_it(tagger: Tagger) -> None:
    waveform = sound(tagger.spec.window)
    yamnet = pretrained_yamnet((14,), patches=True, classifier=True)
    with torch.no_grad():
        strong = tagger(waveform[None]).strong[0]
        patches = waveform.unfold(0, PATCH, HOP)  # each alone, as published
        wanted = torch.stack(
            [yamnet.class_scores(yamnet(yamnet.features(p[None])))[0, 0] for p in patches]
        )
    assert len(wanted) == 19
    for frame, scores in enumerate(strong):
        middle = (frame + 0.5) * tagger.spec.frame_hop
        nearest = int(np.abs(np.arange(19) * HOP + PATCH / 2 - middle).argmin())
        assert torch.allclose(scores, wanted[nearest], atol=1e-5), frame


def test_a_clip_has_the_same_scores_alone_and_padded(tagger: Tagger) -> None:
    for frames in (1, 3, 4, 5, 17, 40):
        clip = sound(frames * tagger.spec.frame_hop, frames)
        padded = torch.nn.functional.pad(clip, (0, tagger.spec.window - len(clip)))
        valid = torch.arange(tagger.spec.frames)[None] < frames
        with torch.no_grad():
            alone, within = tagger(clip[None]), tagger(padded[None], valid)
        assert torch.allclose(within.strong[:, :frames], alone.strong, atol=1e-5)
        assert torch.allclose(within.weak, alone.weak, atol=1e-5)


def test_weights_are_shared_and_checked(copy: Path) -> None:
    assert not [path for path in copy.iterdir() if path.suffix == ".safetensors"]
    assert is_bundle(copy)
    assert load_bundle(copy).fingerprint == load_bundle("audioset").fingerprint
    text = (copy / "config.yaml").read_text()
    digest = text.split("sha256: ")[1].split()[0]
    (copy / "config.yaml").write_text(text.replace(digest, "f" * 64))
    with pytest.raises(BundleError, match="other weights of yamnet") as caught:
        load_bundle(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("config.yaml", "weights: yamnet", "weights: other", "needs the encoder other"),
        ("config.yaml", "kind: yamnet", "kind: nothing", "no encoder is of the kind"),
        ("config.yaml", "frame_hop: 3840", "frame_hop: 0", "frame_hop"),
        ("config.yaml", "    - 14", "    - 6", "reads block 14"),
        ("labels.txt", "Speech\n", "", "has other classes than labels.txt"),
        ("classes.csv", "/m/09x0r,", "", "has other classes"),
    ],
)
def test_a_damaged_bundle_is_one_clear_line(
    copy: Path, name: str, old: str, new: str, words: str
) -> None:
    text = (copy / name).read_text(encoding="utf-8")
    assert old in text
    (copy / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(EarmarkError, match=words) as caught:
        load_bundle(copy)
    assert "\n" not in str(caught.value)


def test_labels_without_identifiers_must_still_be_as_many(copy: Path) -> None:
    (copy / "classes.csv").unlink()
    assert load_bundle(copy).spec.ids == ()
    (copy / "labels.txt").write_text("Speech\nDog\n")
    with pytest.raises(BundleError, match="2 classes, but the encoder's classifier has 521"):
        load_bundle(copy)


def test_it_takes_other_post_processing_and_begins_no_training(copy: Path) -> None:
    save_postprocess(copy, PostProcess(threshold=0.4).to_dict())
    assert Detector.from_pretrained(copy).postprocess.threshold == 0.4
    with pytest.raises(BundleError, match="--init yamnet"):
        read_start(copy)


def test_what_ships_is_complete() -> None:
    bundle = load_bundle("audioset")
    settings = PostProcess.from_dict(bundle.postprocess)
    thresholds = [settings.for_label(label).threshold for label in bundle.spec.labels]
    assert len(thresholds) == len(bundle.spec.ids) == 521
    assert min(thresholds) > 0
    assert max(thresholds) < 1
    names = {path.name for path in bundle.path.iterdir()}
    assert {"NOTICE", "LICENSE", "README.md", "classes.csv"} <= names
    sizes = {path.name: path.stat().st_size for path in bundle.path.iterdir()}
    graphs = sum(size for name, size in sizes.items() if name.endswith(".onnx"))
    assert graphs < 2_000_000  # the weights are YAMNet's own file
    assert sum(sizes.values()) - graphs < 100_000
    card = (bundle.path / "README.md").read_text(encoding="utf-8")
    for word in ("Apache", "0.5 s", "threshold", "Google", "audioset_thresholds.py"):
        assert word in card
