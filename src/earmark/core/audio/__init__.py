"""Sound: decoding any container, resampling, reading whole or in blocks."""

from earmark.core.audio.audio import (
    AudioInfo,
    AudioSource,
    audio_info,
    load_audio,
    load_excerpt,
    load_int16,
    read_blocks,
    write_audio,
)
from earmark.core.audio.folders import list_audio

__all__ = [
    "AudioInfo",
    "AudioSource",
    "audio_info",
    "list_audio",
    "load_audio",
    "load_excerpt",
    "load_int16",
    "read_blocks",
    "write_audio",
]
