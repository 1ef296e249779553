"""Listener: events of a folder of recordings in one table, and how loud each class was by the hour.

    python examples/loudest_by_hour.py RECORDINGS OUT    # recordings follow each other, by name
    python examples/loudest_by_hour.py                   # of synthesised ones, minutes for hours

Writes OUT/events.tsv and OUT/loudest.png. Needs the extra `plot`.
"""

import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from earmark import Detector
from earmark.core.audio import list_audio, load_excerpt, write_audio
from earmark.core.timeline import seconds_to_samples
from earmark.data.scene import make_recording
from earmark.data.sources import SynthesisedSources
from earmark.data.synth_settings import load_synth_settings

given = len(sys.argv) > 2
folder, out = (Path(name) for name in (sys.argv[1:3] if given else ("runs/day", "runs/loudest")))
out.mkdir(parents=True, exist_ok=True)
if not given:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(2):
        generators = [np.random.default_rng([number, clip]) for clip in range(9)]
        settings = load_synth_settings("mini")
        day = make_recording(SynthesisedSources(), "test", settings, generators, subset="test")
        write_audio(folder / f"{number}.wav", day.audio)


def energy(path: Path, onset: float, offset: float) -> float:
    """Sound energy of a stretch of a recording, full scale for a second being 1."""
    first, last = seconds_to_samples(onset), seconds_to_samples(offset)
    return float(np.square(load_excerpt(path, first, last - first), dtype=np.float64).sum()) / 16000


detector = Detector.from_pretrained("mini")
tables, begin = [], 0.0
for path in list_audio(folder):
    result = detector.detect(path)
    table = result.events
    table["energy"] = [energy(path, e.onset, e.offset) for e in table.itertuples()]
    table["since_start"] = begin + table["onset"]
    tables.append(table)
    begin += result.duration
events = pd.concat(tables, ignore_index=True)
events.to_csv(out / "events.tsv", sep="\t", index=False)

seconds = 3600 if given else 60
events["period"] = (events["since_start"] // seconds).astype(int)
sums = events.pivot_table(index="event_label", columns="period", values="energy", aggfunc="sum")
levels = 10 * np.log10(sums.reindex(columns=range(math.ceil(begin / seconds))) / seconds)  # [C, H]
print(levels.round(1).to_string(na_rep=""))

figure = Figure(figsize=(10, 1 + 0.4 * len(levels)), layout="constrained")
axes = figure.subplots()
image = axes.imshow(levels, aspect="auto", cmap="magma")
axes.set_yticks(range(len(levels)), levels.index)
axes.set_xlabel("hour" if given else "minute")
figure.colorbar(image, label="level over the whole period, dB of full scale")
figure.savefig(out / "loudest.png", dpi=120)
