"""A one-hour recording on disk: where its last event is, and what it costs in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE = 16_000
CODE = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from earmark.detect.detector import Detector
from helpers.networks import BandEnergy
detector = Detector(BandEnergy(), {"median_seconds": 0.2, "threshold": 0.5})
result = detector.detect(sys.argv[1])
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps({
    "events": [event[:3] for event in result.found],
    "frames": len(result.table.values),
    "duration": result.duration,
    "peak": int(status["VmHWM"].split()[0]) * 1024,
}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read on Linux")
def test_hour_on_disk_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "hour.wav"
    rng = np.random.default_rng(0)
    minute = rng.normal(0, 1e-3, 60 * RATE)
    minute[7 * RATE : 8 * RATE] += 0.3 * np.sin(2 * np.pi * 2000 * np.arange(RATE) / RATE)
    last = minute.copy()
    last[59 * RATE :] += 0.3 * np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for number in range(60):
            file.write(minute if number < 59 else last)
    done = subprocess.run(
        [sys.executable, "-c", CODE, path, Path(__file__).parents[1]],
        capture_output=True,
        text=True,
        check=True,
    )
    seen = json.loads(done.stdout)
    assert seen["duration"] == 3600.0
    assert seen["frames"] == 56_250
    assert seen["peak"] < 1 << 30
    expected = [(60.0 * n + 7, 60.0 * n + 8, "mid") for n in range(60)] + [(3599, 3600, "low")]
    assert [event[2] for event in seen["events"]] == [event[2] for event in expected]
    times = np.array([event[:2] for event in seen["events"]])
    errors = np.abs(times - np.array([event[:2] for event in expected]))
    assert errors.max() <= 0.064 + 1e-9
