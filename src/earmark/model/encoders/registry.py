"""Encoders by their settings: those of this package, and those that other packages register."""

from __future__ import annotations

from typing import cast

from earmark.core.config import AtstSettings, EncoderSettings, YamnetSettings, encoder_class
from earmark.core.errors import ConfigError
from earmark.model.encoders.atst import AtstFrame
from earmark.model.encoders.contract import FrameEncoder, TaggingEncoder
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


def make_tagging_encoder(settings: EncoderSettings) -> TaggingEncoder:
    """An encoder with its classifier, with random weights.

    Raises:
        ConfigError: It has none, or the settings agree on no encoder.
        ValueError: No installed package has this kind any more.
    """
    if isinstance(settings, YamnetSettings):
        return Yamnet(settings.taps, patches=settings.patches, classifier=True)
    encoder = make_encoder(settings)
    if not hasattr(encoder, "class_scores"):
        raise ConfigError(f"an encoder of the kind {settings.kind!r} names no classes itself")
    return cast(TaggingEncoder, encoder)
