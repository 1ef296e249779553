"""The report of an evaluation: one HTML file with curves, figures by class, confusions, and sound.

Everything is in the file, the worst clips too, so that it can be mailed.
"""

from __future__ import annotations

import base64
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from earmark.core.audio.audio import audio_info, load_excerpt
from earmark.core.errors import EarmarkError, optional_package
from earmark.core.event import Event
from earmark.core.files import write_text
from earmark.core.timeline import samples_to_seconds, seconds_to_samples
from earmark.deliver.pages.charts import Chart, ChartLine
from earmark.deliver.pages.class_table import class_table
from earmark.deliver.pages.judging import CONFUSION, FALSE_ALARM, HIT, MISS, confused_with, judge
from earmark.deliver.pages.scripts import rendered, styles
from earmark.deliver.pages.sounds import SOUND_KINDS, write_piece
from earmark.deliver.pages.tiles import Spectrogram
from earmark.score.psds import PsdsStatistics
from earmark.score.report import Measurement
from earmark.score.settings import title_of

REPORT = "report.html"
WORST = 10
"""Clips to hear."""
_LONGEST = 30.0  # seconds of a clip that are heard
_RATE = 16_000
_MATRIX = 20  # classes that a matrix has room for
_PAIRS = 30
_SEVERAL = {MISS: "misses", FALSE_ALARM: "false alarms", CONFUSION: "confusions"}
_TILES = (
    ("precision", "precision"),
    ("recall", "recall"),
    ("false_alarms_per_hour", "false alarms/h"),
    ("psds1", "PSDS1"),
    ("psds2", "PSDS2"),
    ("collar_f1", "collar F1"),
    ("intersection_f1", "intersection F1"),
    ("segment_f1", "segment F1"),
)


@dataclass(frozen=True)
class EvaluatedClip:
    """A clip with what was found in it.

    Attributes:
        path: The file.
        name: What it is called.
        found: Detections.
        truth: True events of the classes that are measured.
        seconds: Its length.
    """

    path: Path
    name: str
    found: Sequence[Event]
    truth: Sequence[Event]
    seconds: float


def write_evaluation_report(
    path: str | Path,
    title: str,
    where: str,
    report: Mapping[str, Any],
    measured: Measurement,
    clips: Iterable[EvaluatedClip],
    labelled: Collection[str] | None = None,
) -> list[str]:
    """Writes the page of an evaluation.

    Args:
        path: The file, which appears whole or not at all.
        title: What was evaluated.
        where: On what.
        report: Its numbers, as of `earmark.score.report.report`.
        measured: Its counts.
        clips: What was found in each clip.
        labelled: Classes that are judged; all when None.

    Returns:
        What could not be heard, a sentence each.

    Raises:
        EarmarkError: It cannot be written, or a package is missing.
    """
    for package in ("jinja2", "matplotlib", "PIL.Image"):
        optional_package(package, "reports of evaluations need", "plot")
    errors = _Errors(labelled)
    for clip in clips:
        errors.add(clip)
    faults: list[str] = []
    matrix, pairs = errors.matrix(measured.task.labels)
    content = {
        "css": styles("report.css"),
        "title": title,
        "where": where,
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "tiles": _tiles(report),
        "warnings": _warnings(report),
        "charts": [chart for chart in _curves(measured) if chart],
        "classes": class_table(report, f"figures of {report['clips']} of {report['of']} clips"),
        "matrix": matrix,
        "pairs": pairs,
        "clips": list(_heard(errors.worst(), labelled, faults)),
        "parameters": yaml.safe_dump(
            {name: value for name, value in report["parameters"].items() if name != "warnings"},
            sort_keys=False,
            allow_unicode=True,
        ),
    }
    try:
        write_text(path, rendered("evaluation_report.html", **content))
    except OSError as error:
        raise EarmarkError(f"cannot be written ({error.strerror})", where=path) from None
    return faults


def _tiles(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    tiles = []
    for name, title in _TILES:
        if not isinstance(report.get(name), int | float):
            continue
        ends = report["intervals"].get(name)
        of = "" if ends is None else f"95 %: {ends[0]:.3f} to {ends[1]:.3f}"
        if name in ("precision", "recall", "false_alarms_per_hour"):
            of = "all classes, at the thresholds in use"
        digits = 1 if name == "false_alarms_per_hour" else 3
        tiles.append((title, f"{report[name]:.{digits}f}", of))
    return tiles


def _warnings(report: Mapping[str, Any]) -> list[str]:
    missing = report["missing"]
    found = list(report["warnings"])
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        found.append(f"{len(missing)} clips have no scores: {', '.join(missing[:5])}{more}")
    return found


def _curves(measured: Measurement) -> list[Chart]:
    """A PSD-ROC for each scenario: every class thin, all together thick."""
    charts = []
    for name, statistics in measured.statistics.items():
        if not isinstance(statistics, PsdsStatistics):
            continue
        result = statistics.result()
        limit = result.parameters.max_efpr
        ranked = sorted(result.curves, key=lambda label: -result.per_class[label])
        lines = [
            ChartLine(
                f"{label} {result.per_class[label]:.2f}",
                _points(result.curves[label].efpr, result.curves[label].tpr, limit),
                1 + number % 7,
                step=True,
                thin=True,
            )
            for number, label in enumerate(ranked)
        ]
        whole = _points(result.effective.efpr, result.effective.tpr, limit)
        lines.insert(0, ChartLine(f"all classes {result.value:.3f}", whole, 0, step=True))
        title = f"{title_of(name)}: true-positive rate"
        charts.append(Chart(title, lines, "effective false positives per hour", low=0, high=1))
    return charts


def _points(rates: Any, heights: Any, limit: float) -> list[tuple[float, float]]:
    ends = np.append(rates, limit), np.append(heights, heights[-1])
    return list(zip(ends[0].tolist(), ends[1].tolist(), strict=True))


class _Errors:
    """Counts errors clip by clip, and keeps the clips with most of them."""

    def __init__(self, labelled: Collection[str] | None) -> None:
        self._labelled = labelled
        self._counts: Counter[tuple[str | None, str | None]] = Counter()
        self._worst: list[tuple[int, EvaluatedClip]] = []

    def add(self, clip: EvaluatedClip) -> None:
        """Another clip."""
        kinds, others = judge(clip.found, clip.truth, self._labelled)
        for event, kind in zip(clip.found, kinds, strict=True):
            if kind == CONFUSION:
                self._counts[confused_with(event, clip.truth), event.event_label] += 1
            elif kind == FALSE_ALARM:
                self._counts[None, event.event_label] += 1
        for event, kind in zip(clip.truth, others, strict=True):
            self._counts[event.event_label, event.event_label if kind == HIT else None] += 1
        wrong = sum(kind in (CONFUSION, FALSE_ALARM) for kind in kinds) + others.count(MISS)
        if wrong:
            self._worst.append((wrong, clip))
            self._worst.sort(key=lambda one: (-one[0], one[1].name))
            del self._worst[WORST:]

    def worst(self) -> list[EvaluatedClip]:
        """The clips with most errors, the worst first."""
        return [clip for _, clip in self._worst]

    def matrix(self, labels: Sequence[str]) -> tuple[dict[str, Any] | None, list[Any]]:
        """Counts of true and found classes where there is room, and the pairs confused most."""
        counts = self._counts
        pairs = [
            (true, found, count)
            for (true, found), count in counts.most_common()
            if true is not None and found is not None and true != found
        ][:_PAIRS]
        if len(labels) > _MATRIX:
            return None, pairs
        most = max(counts.values(), default=1)
        rows = []
        for true in (*labels, None):
            cells = []
            for found in (*labels, None):
                count = counts[true, found]
                kind = "right" if true == found else "wrong"
                shade = round(65 * count / most) if count else 0
                cells.append((count, kind, shade))
            rows.append((true, cells))
        return {"columns": list(labels), "rows": rows}, pairs


def _heard(
    clips: Sequence[EvaluatedClip], labelled: Collection[str] | None, faults: list[str]
) -> Iterable[dict[str, Any]]:
    """What the page shows and plays of each clip."""
    for clip in clips:
        begin, end = _stretch(clip, labelled)
        try:
            picture, sound, seconds = _media(clip.path, begin, end)
        except EarmarkError as error:
            faults.append(f"{clip.name} cannot be heard: {error}")
            continue
        kinds, others = judge(clip.found, clip.truth, labelled)
        lanes: dict[str, tuple[list[Any], list[Any]]] = {}
        marks = [
            *((0, event, kind) for event, kind in zip(clip.truth, others, strict=True)),
            *((1, event, kind) for event, kind in zip(clip.found, kinds, strict=True)),
        ]
        for line, event, kind in marks:
            if event.offset <= begin or event.onset >= begin + seconds:
                continue
            first = max(0.0, event.onset - begin)
            last = min(seconds, event.offset - begin)
            words = f"{event.event_label}, {event.onset:.2f} to {event.offset:.2f} s: {kind}"
            if event.score is not None:
                words += f", score {event.score:.2f}"
            place = (round(100 * first / seconds, 2), round(100 * (last - first) / seconds, 2))
            wrong = kind in (MISS, CONFUSION, FALSE_ALARM)
            lanes.setdefault(event.event_label, ([], []))[line].append((*place, wrong, words))
        counts = Counter([*kinds, *others])
        said = [
            f"{counts[kind]} {several if counts[kind] > 1 else kind}"
            for kind, several in _SEVERAL.items()
            if counts[kind]
        ]
        yield {
            "name": clip.name,
            "begin": f"{begin:.1f} s" if begin else "",
            "seconds": round(seconds, 3),
            "said": ", ".join(said),
            "picture": picture,
            "sound": sound,
            "lanes": [(label, *lanes[label]) for label in sorted(lanes)],
        }


def _stretch(clip: EvaluatedClip, labelled: Collection[str] | None) -> tuple[float, float]:
    """The seconds that are heard: all of a clip, of a long one those with most errors."""
    if clip.seconds <= _LONGEST:
        return 0.0, clip.seconds
    kinds, others = judge(clip.found, clip.truth, labelled)
    wrong = [e.onset for e, kind in zip(clip.found, kinds, strict=True) if kind not in (HIT, "")]
    wrong += [e.onset for e, kind in zip(clip.truth, others, strict=True) if kind == MISS]
    onsets = np.array(sorted(wrong))
    count = np.searchsorted(onsets, onsets + _LONGEST - 1.0) - np.arange(len(onsets))
    begin = max(0.0, float(onsets[int(np.argmax(count))]) - 1.0)
    begin = min(begin, clip.seconds - _LONGEST)
    return begin, begin + _LONGEST


def _media(path: Path, begin: float, end: float) -> tuple[str, str, float]:
    """Spectrogram and sound of a stretch, as addresses that hold them, and its length."""
    kind = SOUND_KINDS["opus"]
    first = seconds_to_samples(begin, _RATE)
    count = seconds_to_samples(end - begin, _RATE)
    if audio_info(path).seconds <= _LONGEST:
        count = seconds_to_samples(_LONGEST, _RATE)  # to its very end
    samples = load_excerpt(path, first, max(1, count), _RATE)
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile() as store:
        folder = Path(scratch)
        write_piece(folder / "a.ogg", samples, _RATE, kind)
        spectrogram = Spectrogram(_RATE, store)
        spectrogram.push(samples)
        spectrogram.finish()
        spectrogram.draw(folder)
        picture = (folder / "s0-0.jpg").read_bytes()
        sound = (folder / "a.ogg").read_bytes()
    seconds = samples_to_seconds(len(samples), _RATE)
    return _address("image/jpeg", picture), _address(kind.media, sound), seconds


def _address(media: str, content: bytes) -> str:
    return f"data:{media};base64,{base64.b64encode(content).decode()}"
