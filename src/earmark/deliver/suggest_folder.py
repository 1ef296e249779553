"""What `earmark suggest` leaves: stretches as sound files, a table, and a page to label them on."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from earmark.core.audio.audio import audio_info, load_excerpt, write_audio
from earmark.core.errors import EarmarkError, LabelError
from earmark.core.files import write_text
from earmark.core.folders import refuse_foreign
from earmark.core.locking import writes_to
from earmark.core.naming import without_suffix
from earmark.core.parallel import Progress
from earmark.core.tables.rows import read_rows
from earmark.core.timeline import seconds_to_samples
from earmark.deliver.pages.review import ReviewItem, ReviewPage, write_review
from earmark.deliver.suggest import Suggestion
from earmark.detect.detector import Detector, Result

TABLE, CLIPS, PAGE = "suggested.tsv", "clips", "page"
COLUMNS = ("filename", "onset", "offset", "clip", "bits", "why")


@writes_to("out")
def write_suggestions(
    out: Path,
    suggestions: Sequence[Suggestion],
    detector: Detector,
    *,
    title: str,
    sound: str = "opus",
    progress: Progress | None = None,
) -> ReviewPage:
    """Writes stretches to label: ``clips/``, ``suggested.tsv``, and a review page in ``page/``.

    Args:
        out: The folder, which is new, empty, or holds earlier suggestions, which go.
        suggestions: The most useful first.
        detector: Whose labels are filled in.
        title: Of the page.
        sound: Kind of the page's sound, as `write_review` takes it.
        progress: Of the page.

    Raises:
        DataError: The folder holds something else.
        EarmarkError: It cannot be written, or a recording cannot be read any more.
    """
    refuse_foreign(out, "folder of suggestions", (TABLE, CLIPS, PAGE))
    try:
        for name in (CLIPS, PAGE):
            shutil.rmtree(out / name, ignore_errors=True)
        names = _clip_names(suggestions)
        for one, name in zip(suggestions, names, strict=True):
            _cut(one, out / CLIPS / name)
        text = io.StringIO()
        writer = csv.writer(text, "excel-tab", lineterminator="\n")
        writer.writerow(COLUMNS)
        for one, name in zip(suggestions, names, strict=True):
            part = one.candidate
            times = (f"{part.onset:.3f}", f"{part.offset:.3f}")
            writer.writerow([part.name, *times, name, f"{part.uncertainty:.3f}", one.why])
        write_text(out / TABLE, text.getvalue())
    except OSError as error:
        raise EarmarkError(f"cannot be written ({error.strerror})", where=out) from None
    items = [_item(detector, out / CLIPS / name, name) for name in names]
    return write_review(
        out / PAGE, items, title=title, labels=detector.labels, sound=sound, progress=progress
    )


def _item(detector: Detector, path: Path, name: str) -> ReviewItem:
    def find(progress: Progress) -> Result:
        return detector.detect(path, filename=name, progress=progress)

    return ReviewItem(path, name, find)


def _clip_names(suggestions: Iterable[Suggestion]) -> list[str]:
    """``yard_0h12m30.000s.wav``, a name for each, in folders as the recordings are."""
    names: dict[str, None] = {}
    for one in suggestions:
        milliseconds = round(one.candidate.onset * 1000)
        seconds, milliseconds = divmod(milliseconds, 1000)
        hours, minutes = divmod(seconds // 60, 60)
        time = f"{hours}h{minutes:02d}m{seconds % 60:02d}.{milliseconds:03d}s"
        stem, number = f"{without_suffix(one.candidate.name)}_{time}", 1
        name = f"{stem}.wav"
        while name in names:  # recordings that differ in their suffix alone
            number += 1
            name = f"{stem}_{number}.wav"
        names[name] = None
    return list(names)


def _cut(suggestion: Suggestion, path: Path) -> None:
    """Writes a stretch, the mean of its channels, at the rate of its recording."""
    one = suggestion.candidate
    rate = audio_info(one.path).sample_rate
    first, last = seconds_to_samples(one.onset, rate), seconds_to_samples(one.offset, rate)
    write_audio(path, load_excerpt(one.path, first, last - first, rate), rate)


def read_stretches(files: Iterable[Path]) -> dict[str, list[tuple[float, float]]]:
    """Stretches of earlier tables of suggestions, by the names of their recordings.

    Raises:
        LabelError: A file is missing, or no such table.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for file in files:
        for line, row in read_rows(file, ("filename", "onset", "offset")):
            try:
                span = float(row["onset"]), float(row["offset"])
            except ValueError:
                raise LabelError(
                    "onset and offset are seconds", where=f"{file}:{line}", hint="Mend this row"
                ) from None
            found.setdefault(row["filename"], []).append(span)
    return found


def named_as(
    stretches: Mapping[str, Sequence[tuple[float, float]]], found: Mapping[str, str]
) -> dict[str, list[tuple[float, float]]]:
    """Stretches by the names that recordings have now."""
    now: dict[str, list[tuple[float, float]]] = {}
    for listed, spans in stretches.items():
        if listed in found:
            now.setdefault(found[listed], []).extend(spans)
    return now
