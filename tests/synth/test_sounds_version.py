"""The version of the sounds stands for their samples: it goes up with them, and only with them.

The reference was written by version 0.1 of Earmark with ``tests/helpers/sound_excerpts.py``. Where
a sound is changed on purpose, ``SOUNDS_VERSION`` (or ``MIXING_VERSION``) goes up and it is written
anew.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from earmark.synth.scene import Soundscape
from earmark.synth.soundscapes import MIXING_VERSION
from earmark.synth.sources import SOUNDS_VERSION, SYNTHESISED_LABELS, SynthesisedSources
from helpers.sound_excerpts import SCENES, excerpt, scenes, sounds

FILE = Path(__file__).with_name("sounds_version_1.npz")


@pytest.fixture(scope="module")
def reference() -> dict[str, NDArray[np.int16]]:
    with np.load(FILE) as file:
        return dict(file)


@pytest.fixture(scope="module")
def mixed() -> dict[str, Soundscape]:
    return scenes()


def within_a_step(ours: NDArray[np.int16], stored: NDArray[np.int16]) -> bool:
    """The same length, and no sample further off than one step of 16 bits."""
    if ours.shape != stored.shape or np.any(ours[:2] != stored[:2]):
        return False
    return int(np.abs(ours.astype(int) - stored).max()) <= 1


def test_every_class_and_background_sounds_as_it_did(
    reference: dict[str, NDArray[np.int16]],
) -> None:
    assert SOUNDS_VERSION == 1
    assert SynthesisedSources().fingerprint == SynthesisedSources(["Dog"]).fingerprint
    made = sounds()
    stored = {name for name in reference if not name.startswith(("scene-", "events-"))}
    assert set(made) == stored
    assert {name.rpartition("-")[0] for name in made} == {*SYNTHESISED_LABELS, "background"}
    assert [name for name in made if not within_a_step(made[name], reference[name])] == []


@pytest.mark.parametrize("name", SCENES)
def test_scenes_are_mixed_as_they_were(
    reference: dict[str, NDArray[np.int16]], mixed: dict[str, Soundscape], name: str
) -> None:
    assert MIXING_VERSION == 1
    scene = mixed[name]
    assert [str(event[:3]) for event in scene.events] == reference[f"events-{name}"].tolist()
    assert within_a_step(excerpt(scene.audio), reference[f"scene-{name}"])


def test_the_reference_sees_two_steps(mixed: dict[str, Soundscape]) -> None:
    audio = mixed["clean"].audio
    stored = excerpt(audio)
    assert within_a_step(excerpt(audio + np.float32(0.9 / 32768)), stored)
    assert not within_a_step(excerpt(audio + np.float32(2.1 / 32768)), stored)
    assert not within_a_step(excerpt(audio[:-1]), stored)
