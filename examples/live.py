"""Listener: events while audio comes, from any source that gives blocks of samples.

    python examples/live.py                # synthesised audio
    python examples/live.py kitchen.wav    # a recording, as if it came live
    ffmpeg -i INPUT -f s16le -ac 1 -ar 16000 - | python examples/live.py -

Each event is printed once, as soon as nothing that may still come can change it, and at most
LATENCY seconds of audio after its end. All together they are what `Detector.detect` finds in the
whole with the same look-ahead.
"""

import argparse
import sys
from collections.abc import Iterator

import numpy as np

from earmark import Detector
from earmark.core.audio.audio import read_blocks
from earmark.synth.scene import make_recording
from earmark.synth.settings import load_synth_settings
from earmark.synth.sources import SynthesisedSources

RATE, BLOCK, LATENCY = 16_000, 1_600, 4.0


def piped() -> Iterator[np.ndarray]:
    """Blocks of 16-bit samples from standard input."""
    while data := sys.stdin.buffer.read(2 * BLOCK):
        yield np.frombuffer(data[: len(data) // 2 * 2], dtype="<i2")


def synthesised() -> Iterator[np.ndarray]:
    """Half a minute of household sounds."""
    generators = [np.random.default_rng([3, clip]) for clip in range(3)]
    settings = load_synth_settings("mini")
    made = make_recording(SynthesisedSources(), "test", settings, generators, subset="test")
    for first in range(0, len(made.audio), BLOCK):
        yield made.audio[first : first + BLOCK]


heard = 0


def counted(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same blocks; `heard` is how many samples came so far."""
    global heard
    for block in blocks:
        heard += len(block)
        yield block


parser = argparse.ArgumentParser(usage=__doc__)
parser.add_argument("source", nargs="?")
name = parser.parse_args().source
if name is None:
    source = synthesised()
else:
    source = piped() if name == "-" else read_blocks(name, RATE, block_seconds=BLOCK / RATE)

detector = Detector.from_pretrained("mini")
detector.lookahead_seconds = detector.lookahead_for(LATENCY, RATE)
for event in detector.stream(counted(source), sample_rate=RATE):
    times = f"{event.onset:6.2f} to {event.offset:6.2f} s"
    print(f"at {heard / RATE:6.2f} s: {times} {event.event_label} ({event.score:.2f})")
