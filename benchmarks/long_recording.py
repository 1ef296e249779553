"""Memory and speed of `earmark detect` on recordings of a minute to three hours.

    python benchmarks/long_recording.py            # the shipped bundle
    python benchmarks/long_recording.py --bundle runs/mine

Recordings are soundscapes of synthesised sounds tiled to length. Each is detected in a process of
its own, whose peak resident memory is read when it ends. Times are shares of the recording's
length within this one run. Results: benchmarks/results/long_recording.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/long_recording.json"
CASES = ((1, 16_000, 1), (60, 16_000, 1), (60, 44_100, 2), (180, 16_000, 1))
DETECT = """
import resource, sys
from earmark.cli import app
try:
    app(sys.argv[1:], standalone_mode=False)
finally:
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def write_recording(path: Path, minutes: int, rate: int, channels: int) -> None:
    """Soundscapes of a minute, tiled; other rates and channels by repetition of samples."""
    from earmark.synth.scene import make_soundscape
    from earmark.synth.settings import load_synth_settings
    from earmark.synth.sources import SynthesisedSources

    sources, settings = SynthesisedSources(), load_synth_settings("demo")
    rng = np.random.default_rng(0)
    scenes = [make_soundscape(sources, "test", settings, rng, subset="test") for _ in range(6)]
    minute = np.concatenate([scene.audio for scene in scenes])
    index = np.arange(60 * rate) * 16_000 // rate
    block = np.repeat(minute[index][:, None], channels, axis=1)
    with sf.SoundFile(path, "w", rate, channels, "PCM_16") as file:
        for _ in range(minutes):
            file.write(block)


def measure(bundle: str, minutes: int, rate: int, channels: int) -> dict[str, Any]:
    """Detect one recording in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "recording.wav"
        write_recording(recording, minutes, rate, channels)
        arguments = ["detect", bundle, str(recording), "--out", f"{folder}/found"]
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", DETECT, *arguments], capture_output=True, text=True, check=True
        )
        seconds = time.monotonic() - began
    peak = next(line for line in done.stdout.splitlines() if line.startswith("peak"))
    return {
        "minutes": minutes,
        "sample_rate": rate,
        "channels": channels,
        "peak_mib": round(int(peak.split()[1]) / 1024),
        "times_real_time": round(60 * minutes / seconds),
    }


def main() -> None:
    """Measure every case and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="mini")
    options = parser.parse_args()
    rows = [measure(options.bundle, *case) for case in CASES]
    for row in rows:
        print(row)
    result = {
        "command": "python benchmarks/long_recording.py",
        "bundle": options.bundle,
        "cores": os.cpu_count(),
        "rows": rows,
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
