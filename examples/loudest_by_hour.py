"""Listener: events of a folder of recordings in one table, and how loud each class was by the hour.

    python examples/loudest_by_hour.py RECORDINGS   # they follow each other, by name
    python examples/loudest_by_hour.py              # synthesised ones, with minutes for hours

Writes events.tsv and loudest.png into a folder, runs/loudest unless a second one is named. In the
picture the loudest class of each hour has a star. Needs the extra `plot`.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from earmark import Detector
from earmark.core.audio.audio import load_excerpt, write_audio
from earmark.core.audio.folders import list_audio
from earmark.core.timeline import seconds_to_samples
from earmark.synth.scene import make_recording
from earmark.synth.settings import load_synth_settings
from earmark.synth.sources import SynthesisedSources

parser = argparse.ArgumentParser(usage=__doc__)
parser.add_argument("recordings", type=Path, nargs="?")
parser.add_argument("out", type=Path, nargs="?", default=Path("runs/loudest"))
asked = parser.parse_args()
folder, seconds, unit = asked.recordings, 3600, "hour"
asked.out.mkdir(parents=True, exist_ok=True)
if folder is None:
    folder, seconds, unit = asked.out / "recordings", 60, "minute"
    folder.mkdir(exist_ok=True)
    for number in range(2):
        generators = [np.random.default_rng([number, clip]) for clip in range(9)]
        settings = load_synth_settings("mini")
        made = make_recording(SynthesisedSources(), "test", settings, generators, subset="test")
        write_audio(folder / f"{number}.wav", made.audio)


def energy(path: Path, onset: float, offset: float) -> float:
    """Sound energy of a stretch of a recording, full scale for a second being 1."""
    first, last = seconds_to_samples(onset), seconds_to_samples(offset)
    return float(np.square(load_excerpt(path, first, last - first)).mean()) * (offset - onset)


detector = Detector.from_pretrained("mini")
tables, begin = [], 0.0
for path in list_audio(folder):
    result = detector.detect(path)
    table = result.events
    table["energy"] = [energy(path, e.onset, e.offset) for e in table.itertuples()]
    table["since_start"] = begin + table["onset"]
    tables.append(table)
    begin += result.duration
if not any(map(len, tables)):
    sys.exit(f"no events in {folder}")
events = pd.concat(tables, ignore_index=True)
events.to_csv(asked.out / "events.tsv", sep="\t", index=False)

events["period"] = (events["since_start"] // seconds).astype(int)  # that in which it begins
sums = events.pivot_table(index="event_label", columns="period", values="energy", aggfunc="sum")
levels = 10 * np.log10(sums / seconds).reindex(columns=range(math.ceil(begin / seconds)))  # [C, H]
print(levels.round(1).to_string(na_rep=""))

figure = Figure(figsize=(10, 1 + 0.4 * len(levels)), layout="constrained")
axes = figure.subplots()
image = axes.imshow(levels, aspect="auto", cmap="magma")
for period, label in levels.dropna(axis="columns", how="all").idxmax().items():
    axes.plot(period, levels.index.get_loc(label), "c*")
axes.set_yticks(range(len(levels)), levels.index)
axes.xaxis.get_major_locator().set_params(integer=True)
axes.set_xlabel(unit)
figure.colorbar(image, label=f"level over the whole {unit}, dB of full scale")
figure.savefig(asked.out / "loudest.png", dpi=120)
