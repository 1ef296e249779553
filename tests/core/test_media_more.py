"""Kinds of sound that few programs write: true times, whole or an error, never one of several."""

from __future__ import annotations

import base64
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from earmark.core.audio.audio import load_audio
from earmark.core.audio.folders import list_audio
from earmark.core.errors import AudioError

av = pytest.importorskip("av", reason="needs PyAV (the extra 'media')")

ON, OFF, SECONDS = 2.0, 3.0, 6.0  # s of a tone, and of all
KINDS = {  # FFmpeg's names of container and codec
    "tone.wv": ("wv", "wavpack", 48_000),
    "tone.tta": ("tta", "tta", 48_000),
    "aac.flv": ("flv", "aac", 44_100),
    "mp3.flv": ("flv", "mp3", 44_100),
    "tone.rm": ("rm", "ac3", 48_000),
}
MUSEPACK = (  # a second of 44.1 kHz with a tone of 1 kHz from 0.4 s to 0.7 s, by mpcenc 1.30.1
    "TVBDS1NIDrqt8vUIgthEAAULUkcMAQAAAAAAAAAARUkHUQEeAVNPCIgMAAAAQVCIBB//gQAdZsDB8EAARwKuABJAFS"
    "SgKtAA5oFZAAdECsAKErAVcAB4gKiABP7+/v7+/v7+/v7+CP9/v3odwpkKkCxfb02lIKJTdigSoQ8mRSHNTxY5n7/3"
    "/v/f+/9/7/3/v/f++Esfg/L+TSXTHUDumo+JqnjRwF54DlfYIc1yAW5MdqfiK6PofBbSA0n379+/fv379+/Sf9+5uM"
    "0FWBzHvsPJ0ASt/nz78+fvmj9/ffv379+/fv379J/37q4vuhSQqt10aX8h9/Q1NLM//NHS1tLP///DWeebwRZk3Pmm"
    "g0SM9vuWFHK+b/P///AzPPHI5eEk1/mWgD/sa4V66ui5uv//+CK1trqBva2thP9LR1SVktQKADAAesoGHBSpC/ZFK9"
    "CAoB2inw2pkDgDXAdoYlE8oFF8h5Qc+DY5LhdEhKuQ7ASiBeXlgBgAPV1AEAT7MrUCfwlSnA1fQfkITAFZQTiVDHbi"
    "Dd5BVA1P0YdTh/1BnsfJAhqJkLrRC0nrdygvuYBTYAMAA6tsA9KxKkB9OllIOPAcT2VxYjhOZ5EXYQwkZTMaRngoQX"
    "5EMsnyAVimfh0dgN6xCrEMJvTq7HvyQN1pACgAOL22KFK01KAkkkqQgSh96BncfpgepZ0MqxB2g1yHSEJhRIhNjImI"
    "Hv40NzEYQwRtkS2WUL03yt1ACQAHF7WUA3I2UwGfIpUaiaLFpadjd6B2ghroVlqoRoo8bgbyH6iHaGgDikQOQNbh4i"
    "iOqIjz3WiI891qkAKAA4vLxhgCdSluEeUpYKrpDzg57G50Wi6LCTUQ7QShxgYGw0fwfiIbEE5IUFCEO3IG7jrE4Cvq"
    "1eoASAA4vahA52eqQdE9SogqoZnaQPJo/7g30PUoQ080F1khaQa7Dk/KhVHk7KQ74QghmaGQuBFwKADAAeuoC8zVlA"
    "SQVqUZQYQvERnJ44VlR6OXgG/kJaC8zTiFJHrWDew/Tg9RzoaVSDuBkAGAA9ZQMOClSsP4VVxHaGJRPKBRgIeQHvw1"
    "Ny8YRARskSsEooXFx0NnsHZiGvhWVqxJABgAPW0L9kUqBP4SpUQdt4N4kBSDdBRBxPIHQGNg9RxFUzAWXCHoBryODw"
    "sFsYEmkiWwMbtMwfv8ALSgVUASBV5QK+DgV6EgVywM6RCj4CoKYIhAQwWgVjlCVVf/GQOEYYYmJsNIAIYSExhSSFJQ"
    "fjp1BushLAYm6YQJY+8g3yPkwPCiPEidEjM5a6T4QOPJBPJiDyJgNWta/8QWCUsFQdKzYA1J7nxilv//GDNLdxNQ8E"
    "nD2lv//mNSPO/sGaBDKv//hu2YBowA9Nf+dG//kkkMBVxQOQAMYAYFAV959Q/AB///H4EfgR+BH4EC/+BTVAYBEtBT"
    "RQM="
)


def tone(seconds: float, on: float, off: float, rate: int) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    wave: np.ndarray = 0.3 * np.sin(2 * np.pi * 1000 * t) * ((t >= on) & (t < off))
    return wave.astype(np.float32)


def write(path: Path, file_format: str, codec: str, rate: int) -> bytes:
    with av.open(str(path), "w", format=file_format) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            tone(SECONDS, ON, OFF, rate)[None], format="flt", layout="mono"
        )
        frame.rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        context = stream.codec_context
        fit = av.AudioResampler(context.format, "mono", rate, frame_size=context.frame_size or 1152)
        for part in [*fit.resample(frame), *fit.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path.read_bytes()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("more")
    return {name: write(folder / name, *how) for name, how in KINDS.items()}


def heard(path: Path, loud: float = 0.1) -> tuple[float, float, float]:
    """Seconds at which a recording gets loud, at which it ends to be, and at which it ends."""
    samples = load_audio(path)
    at = np.flatnonzero(np.abs(samples) > loud) / 16_000
    return float(at[0]), float(at[-1]), len(samples) / 16_000


@pytest.mark.parametrize("name", KINDS)
def test_their_times_are_true(written: dict[str, bytes], tmp_path: Path, name: str) -> None:
    path = tmp_path / "anything"
    path.write_bytes(written[name])
    assert list_audio(tmp_path) == [path]
    np.testing.assert_allclose(heard(path), (ON, OFF, SECONDS), atol=0.05)


@pytest.mark.parametrize("name", KINDS)
def test_cut_anywhere_they_are_whole_to_a_tenth_or_an_error(
    written: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    path, data = tmp_path / name, written[name]
    for kept in np.random.default_rng(3).integers(40, len(data), 25):
        path.write_bytes(data[:kept])
        try:
            seconds = heard(path)[2]
        except AudioError:
            continue
        assert seconds > SECONDS - 0.11


@pytest.mark.parametrize("name", KINDS)
def test_of_two_in_one_file_never_the_first_alone(
    written: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(written[name] * 2)
    with pytest.raises(AudioError, match=r"one behind the other|damaged"):
        load_audio(path)


def dsf(samples: np.ndarray, rate: int) -> bytes:
    """DSF of samples [s] of full scale 1 (Sony's specification 1.01): one bit each, in blocks."""
    bits, error = np.zeros(-(-len(samples) // 32_768) * 32_768, np.uint8), 0.0
    for number, value in enumerate(samples.tolist()):  # a first-order modulator
        error += value
        bits[number] = error >= 0
        error -= 1.0 if bits[number] else -1.0
    data = np.packbits(bits, bitorder="little").tobytes()
    form = struct.pack("<4sQIIIIIIQII", b"fmt ", 52, 1, 0, 1, 1, rate, 1, len(samples), 4096, 0)
    body = form + struct.pack("<4sQ", b"data", 12 + len(data)) + data
    return struct.pack("<4sQQQ", b"DSD ", 28, 28 + len(body), 0) + body


def test_dsf_is_heard(tmp_path: Path) -> None:
    rate = 2_822_400 // 4
    path = tmp_path / "tone.dsf"
    path.write_bytes(dsf(tone(1.0, 0.4, 0.7, rate), rate))
    np.testing.assert_allclose(heard(path), (0.4, 0.7, 1.0), atol=0.05)
    path.write_bytes(path.read_bytes()[:40_000])
    with pytest.raises(AudioError, match="truncated"):
        load_audio(path)


def test_musepack_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "tone.mpc"
    path.write_bytes(base64.b64decode(MUSEPACK))
    np.testing.assert_allclose(heard(path), (0.4, 0.7, 1.0), atol=0.05)
