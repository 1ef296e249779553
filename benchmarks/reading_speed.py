"""How fast clips are read for training, from a cache and from what it was made of.

    python benchmarks/reading_speed.py                   # an epoch of 10,000 clips
    python benchmarks/reading_speed.py --clips 1000      # a tenth of it

It makes distinct 10-second clips at 44.1 kHz (a tenth of the clips) and at 16 kHz, copies the
former with `earmark cache`, and reads epochs through the loader that training uses, targets
included, decoded clips not kept: each in a process of its own, whose peak memory (with its reading
processes') is read at the end. Everything is read once before, so figures are of
decoding, not of the disk: 300 clips a second are some 45 MB/s of FLAC. Last, windows of 10 s are
read out of an hour-long FLAC. Results: benchmarks/results/reading_speed.json.
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
import soundfile

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/reading_speed.json"
BATCH = 48
EPOCH = """
import json, resource, sys, time
import torch
from pathlib import Path
from earmark.core.tables.labels import LabelSet
from earmark.core.timeline import FrameGrid
from earmark.data.dataset import ClipDataset, LabelledClip, ClipGroup, StepSampler, step_loader
torch.set_num_threads(1)
folder, clips, workers, batch = Path(sys.argv[1]), *map(int, sys.argv[2:])
events = ((1.0, 2.0, "Cat"), (3.0, 7.0, "Dog"))
files = sorted(folder.iterdir())[:clips]
known = [LabelledClip(path, "strong", events=events) for path in files]
dataset = ClipDataset(known, LabelSet(("Cat", "Dog")), FrameGrid(1024), 160_000, cache_gib=0)
sampler = StepSampler([ClipGroup("real", 0, len(files), batch)], 0, 0, len(files) // batch)
before = time.process_time()
began, count = time.perf_counter(), 0
for loaded in step_loader(dataset, sampler, workers):
    count += len(loaded.waveforms)
seconds = time.perf_counter() - began
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
work = sum(one.ru_utime + one.ru_stime for one in used) - before
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if workers else 0
print(json.dumps([count / seconds, peak / 1024, children / 1024, 1000 * work / count]))
"""


def write_clips(folder: Path, count: int, rate: int, kind: str, channels: int = 1) -> None:
    """Distinct clips: soundscapes, each turned by another time and at another level."""
    from earmark.synth.scene import make_soundscape
    from earmark.synth.settings import load_synth_settings
    from earmark.synth.sources import SynthesisedSources

    folder.mkdir(parents=True)
    sources, settings = SynthesisedSources(), load_synth_settings("mini")
    rng = np.random.default_rng(0)
    scenes = [make_soundscape(sources, "synthetic", settings, rng).audio for _ in range(40)]
    index = np.arange(10 * rate) * 16_000 // rate
    for number in range(count):
        turned = np.roll(scenes[number % len(scenes)], 3_989 * number) * rng.uniform(0.5, 1)
        samples = np.repeat(turned[index][:, None], channels, axis=1)
        soundfile.write(folder / f"clip{number:05d}.{kind}", samples, rate, "PCM_16")


def epoch(folder: Path, clips: int, workers: int) -> list[float]:
    """Clips a second; peak memory of the process and of its largest reading process, MiB.

    Last comes the processor time of a clip in all processes, ms: what does not depend on who else
    uses the machine.
    """
    arguments = [str(folder), str(clips), str(workers), str(BATCH)]
    command = [sys.executable, "-W", "ignore", "-c", EPOCH, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: list[float] = json.loads(done.stdout)
    return found


def read_epochs(
    folders: dict[str, Path], clips: dict[str, int], turns: int
) -> list[dict[str, Any]]:
    """Every kind of file with 0, 1 and 2 reading processes, in alternating turns, best of them."""
    cases = [(name, workers) for name in folders for workers in (0, 1, 2)]
    found: dict[tuple[str, int], list[list[float]]] = {case: [] for case in cases}
    for _ in range(turns):
        for name, workers in cases:
            found[name, workers].append(epoch(folders[name], clips[name], workers))
    return [
        {
            "files": name,
            "clips": clips[name],
            "workers": workers,
            "clips_per_second": round(max(own[0] for own in turns_of)),
            "cpu_milliseconds_per_clip": round(min(own[3] for own in turns_of), 2),
        }
        for (name, workers), turns_of in found.items()
    ]


def memory(folder: Path, most: int) -> list[dict[str, Any]]:
    """Peak memory for ten times the clips."""
    rows = []
    for clips in (most // 10, most):
        for workers in (0, 2):
            _, main, reader, _ = epoch(folder, clips, workers)
            rows.append(
                {
                    "clips": clips,
                    "workers": workers,
                    "peak_mib": round(main),
                    "peak_of_a_reader_mib": round(reader),
                }
            )
    return rows


def make_cache(data: Path, out: Path) -> list[dict[str, Any]]:
    """Clips a second of `earmark cache`, by number of processes."""
    from earmark.prepare.cache import write_cache

    rows = []
    for workers in (1, 2):
        began = time.perf_counter()
        report = write_cache(data, out / f"by{workers}", workers=workers)
        rate = report.made / (time.perf_counter() - began)
        rows.append({"workers": workers, "clips_per_second": round(rate)})
    return rows


class Counting:
    """A file that counts what is read of it."""

    def __init__(self, path: Path) -> None:
        self.file, self.count = path.open("rb"), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer."""
        size = self.file.readinto(buffer)
        self.count += size
        return size

    def read(self, size: int = -1) -> bytes:
        """Read bytes."""
        data = self.file.read(size)
        self.count += len(data)
        return data


def windows_of_an_hour(clips: Path, rate: int) -> dict[str, Any]:
    """Random windows of 10 s out of an hour, against reading all of it."""
    from earmark.core.audio.audio import load_audio, load_excerpt

    path = clips.parent / f"hour{rate}.flac"
    minute = np.concatenate([soundfile.read(clip)[0] for clip in sorted(clips.iterdir())[:6]])
    minute = np.interp(np.arange(60 * rate) / rate, np.arange(len(minute)) / 16_000, minute)
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
        for number in range(60):
            file.write(np.roll(minute, 997 * number))
    began = time.perf_counter()
    whole = load_audio(path)
    seconds = time.perf_counter() - began
    rng, counts, times, error = np.random.default_rng(0), [], [], 0.0
    for _ in range(50):
        first, file = int(rng.integers(len(whole) - 160_000)), Counting(path)
        began = time.perf_counter()
        excerpt = load_excerpt(file, first, 160_000)  # type: ignore[arg-type]
        times.append(time.perf_counter() - began)
        counts.append(file.count)
        error = max(error, float(np.max(np.abs(excerpt - whole[first : first + 160_000]))))
    return {
        "sample_rate": rate,
        "whole_seconds": round(seconds, 2),
        "window_milliseconds": round(1000 * float(np.median(times)), 1),
        "times_faster": round(seconds / float(np.median(times))),
        "share_of_bytes_read": round(float(np.mean(counts)) / path.stat().st_size, 5),
        "largest_difference": error,
    }


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    few = max(BATCH, options.clips // 10)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_clips(folder / "desed/audio/train/weak", few, 44_100, "wav", channels=2)
        write_clips(folder / "flac", options.clips, 16_000, "flac")
        write_clips(folder / "wav", few, 16_000, "wav")
        caching = make_cache(folder / "desed", folder / "cache")
        folders = {
            "cache: FLAC, 16 kHz": folder / "flac",
            "cache: WAV, 16 kHz": folder / "wav",
            "WAV, 44.1 kHz, stereo": folder / "desed/audio/train/weak",
        }
        clips = dict(zip(folders, (options.clips, few, few), strict=True))
        rows = read_epochs(folders, clips, options.turns)
        peaks = memory(folder / "flac", options.clips)
        hours = [windows_of_an_hour(folder / "flac", rate) for rate in (16_000, 44_100)]
    result = {
        "command": f"python benchmarks/reading_speed.py --clips {options.clips}",
        "cores": os.cpu_count(),
        "turns": options.turns,
        "epochs": rows,
        "memory": peaks,
        "cache": caching,
        "windows_of_an_hour": hours,
    }
    for part in (rows, peaks, caching, hours):
        print(*part, sep="\n")
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
