"""Encoders by their settings: those of this package, and those that other packages register."""

from __future__ import annotations

from typing import cast

from earmark.core.config import AtstSettings, EncoderSettings, YamnetSettings, encoder_class
from earmark.model.encoders.atst import AtstFrame
from earmark.model.encoders.contract import FrameEncoder
from earmark.model.encoders.yamnet import Yamnet


def make_encoder(settings: EncoderSettings) -> FrameEncoder:
    """An encoder with random weights.

    Raises:
        ConfigError: The settings agree on no encoder.
        ValueError: No installed package has this kind any more.
    """
    if isinstance(settings, AtstSettings):
        return AtstFrame(settings)
    if isinstance(settings, YamnetSettings):
        return Yamnet(settings.taps, patches=settings.patches)
    return cast(FrameEncoder, encoder_class(settings.kind)(settings))
