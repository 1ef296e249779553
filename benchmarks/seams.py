"""What overlap and weighting of windows are worth: at the windows' edges, and in all.

    python benchmarks/seams.py            # some minutes; --minutes 3 for a glance
    python benchmarks/seams.py --bundle runs/trained_encoder/network    # of trained_encoder.py

Soundscapes of another domain than the bundle was trained on, joined to recordings, are scored with
windows of several hops and weightings. The same recordings are scored again with their beginning
cut off by 2, 4, 6 and 8 s, so that the same event lies at the edge of a window in one and inside
in another; only events that do both are compared. An event of truth lies "at a seam" if a multiple
of the window's length is within it (or within 0.25 s of it): where windows without overlap would
cut it. It is found if a detection of its class overlaps it by half of what both span together.
`calls` is the number of windows, as a multiple of that without overlap: what it costs. The last
rows are of windows of which only the last seconds count (`lookahead_seconds`).
Results: benchmarks/results/seams.json; of another bundle, seams_FOLDER.json, after the
folder it lies in.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from earmark.core.event import Event
from earmark.core.tables.scores import ScoreTable
from earmark.core.timeline import FrameGrid
from earmark.detect.network import load_trained
from earmark.detect.postprocess import filter_table, scores_to_events
from earmark.detect.sliding import sliding_scores
from earmark.score.report import ScoringTask, measure_tables, report
from earmark.synth.scene import make_soundscape
from earmark.synth.settings import load_synth_settings
from earmark.synth.sources import SynthesisedSources

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/seams.json"
RATE = 16_000
WINDOW = 156  # frames of 64 ms
HOPS = (156, 117, 78, 39)
WEIGHTINGS = ("flat", "triangle", "hann")
CUTS = (0.0, 2.0, 4.0, 6.0, 8.0)  # seconds off the beginning
LOOKAHEADS = (156, 78, 47, 31, 16)  # frames: 10, 5, 3, 2, 1 s


def make_recordings(minutes: float, seed: int) -> tuple[np.ndarray[Any, Any], list[Event]]:
    """One recording of soundscapes after one another, and its events."""
    sources, settings = SynthesisedSources(), load_synth_settings("demo")
    rng = np.random.default_rng(seed)
    audio, events, at = [], [], 0.0
    for _ in range(int(minutes * 6)):
        scene = make_soundscape(sources, "test", settings, rng, subset="test")
        audio.append(scene.audio)
        events += [
            Event(onset + at, offset + at, label) for onset, offset, label, _ in scene.events
        ]
        at += len(scene.audio) / RATE
    return np.concatenate(audio).astype(np.float32), events


def shifted(events: list[Event], cut: float) -> dict[int, Event]:
    """Events of a recording without its first seconds, by their number."""
    return {
        number: Event(max(0.0, event.onset - cut), event.offset - cut, event.event_label)
        for number, event in enumerate(events)
        if event.offset - cut > 0.05
    }


def at_seam(event: Event) -> bool:
    """Whether windows without overlap would cut an event."""
    length = WINDOW * 1024 / RATE
    near = round((event[0] + event[1]) / 2 / length)
    return any(
        event[0] - 0.25 < k * length < event[1] + 0.25 for k in (near - 1, near, near + 1) if k
    )


def is_found(event: Event, detections: list[Any]) -> bool:
    """Whether a detection of its class overlaps it by half of both."""
    for onset, offset, label, _ in detections:
        if label == event[2]:
            common = min(offset, event[1]) - max(onset, event[0])
            if common > 0.5 * (max(offset, event[1]) - min(onset, event[0])):
                return True
    return False


def measure(trained: Any, audio: Any, events: list[Event], **options: Any) -> dict[str, Any]:
    """One setting on every shifted recording."""
    scores, found, truth, durations = {}, {}, {}, {}
    seam: dict[int, list[bool]] = {number: [] for number in range(len(events))}
    inside: dict[int, list[bool]] = {number: [] for number in range(len(events))}
    for cut in CUTS:
        clip = f"cut {cut:g}"
        samples = audio[round(cut * RATE) :]
        values = sliding_scores([samples], trained.network, batch_size=4, threads=1, **options)
        durations[clip] = len(samples) / RATE
        edges = FrameGrid(1024).boundaries(len(values), durations[clip])
        table = ScoreTable(edges, values, trained.network.spec.labels)
        detections = scores_to_events(table, trained.postprocess)
        scores[clip] = filter_table(table, trained.postprocess)
        there = shifted(events, cut)
        truth[clip] = list(there.values())
        found[clip] = detections
        for number, event in there.items():
            place = seam if at_seam(event) else inside
            place[number].append(is_found(event, detections))
    both = [number for number in seam if seam[number] and inside[number]]
    task = ScoringTask(tuple(scores), truth, durations, trained.network.spec.labels)
    metrics = report([measure_tables(scores, found, task)])
    return {
        "found_at_seams": round(statistics.fmean(statistics.fmean(seam[n]) for n in both), 4),
        "found_inside": round(statistics.fmean(statistics.fmean(inside[n]) for n in both), 4),
        "events": len(both),
        **{key: round(metrics[key], 4) for key in ("psds1", "psds2", "collar_f1")},
    }


def main() -> None:
    """Measure every setting over several recordings and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=4.0, help="of each recording")
    parser.add_argument("--seeds", type=int, default=3, help="recordings")
    parser.add_argument("--bundle", default="mini")
    options = parser.parse_args()
    trained = load_trained(options.bundle)
    bundle = "" if options.bundle == "mini" else f" --bundle {options.bundle}"
    results = RESULTS
    if bundle:
        results = RESULTS.with_name(f"seams_{Path(options.bundle).resolve().parent.name}.json")
    sounds = [make_recordings(options.minutes, seed) for seed in range(options.seeds)]
    settings: list[dict[str, Any]] = [
        {"hop": hop, "weighting": weighting, "ahead": None}
        for hop in HOPS
        for weighting in WEIGHTINGS
        if hop < WINDOW or weighting == "flat"  # without overlap there is nothing to weigh
    ]
    settings += [
        {"hop": max(1, ahead // 2), "weighting": "hann", "ahead": ahead} for ahead in LOOKAHEADS
    ]
    rows = []
    for one in settings:
        given = {"hop_seconds": one["hop"] * 0.064, "weighting": one["weighting"]}
        if one["ahead"] is not None:
            given["lookahead_seconds"] = one["ahead"] * 0.064
        runs = [measure(trained, *sound, **given) for sound in sounds]
        row: dict[str, Any] = {
            "hop_seconds": round(one["hop"] * 0.064, 3),
            "weighting": one["weighting"],
            "lookahead_seconds": one["ahead"] and round(one["ahead"] * 0.064, 3),
            "calls": round(WINDOW / one["hop"], 2),
        }
        for key in runs[0]:
            values = [run[key] for run in runs]
            row[key] = round(statistics.fmean(values), 4)
            if not key.startswith("events"):
                row[f"{key}_sd"] = round(statistics.stdev(values), 4) if len(values) > 1 else None
        rows.append(row)
        print(row, flush=True)
    result = {
        "command": f"python benchmarks/seams.py --minutes {options.minutes:g} "
        f"--seeds {options.seeds}{bundle}",
        "bundle": options.bundle,
        "rows": rows,
    }
    results.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
