"""A tiny dataset and a recipe that trains on it within seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from earmark.method.settings import Recipe
from earmark.synth.settings import load_synth_settings
from earmark.synth.soundscapes import write_dataset
from earmark.synth.sources import SynthesisedSources
from earmark.train.recipe import load_recipe

TINY = {"strong": 8, "weak": 4, "unlabelled": 6, "validation": 3, "test": 2}


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tiny")
    settings = load_synth_settings("demo")
    subsets = {
        name: settings.subset(name).model_copy(update={"clips": clips})
        for name, clips in TINY.items()
    }
    labels = ("Alarm_bell_ringing", "Dog", "Speech")
    return write_dataset(out, SynthesisedSources(labels), settings.model_copy(update=subsets), 1)


@pytest.fixture
def tiny_recipe() -> Recipe:
    return load_recipe(
        "mini",
        [
            "network.channels=[4,8,8,8,8]",
            "network.rnn_hidden=8",
            "method.embedding.hidden=16",
            "method.embedding.out=8",
            "method.embedding.detach_steps=1",
            "train.epochs=2",
            "train.steps_per_epoch=2",
            "train.batch={real: 0, synthetic: 3, weak: 2, unlabelled: 3}",
            "train.validate_every=1",
        ],
    )
