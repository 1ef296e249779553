"""A bundle with tuned post-processing: the settings, how they came about, and what they are worth.

``postprocess.yaml`` gets the settings, ``tuning.json`` what was tried on which clips and the
settings there were before, ``README.md`` a section with the cross-validated figures.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earmark._version import __version__
from earmark.core.errors import BundleError
from earmark.core.files import write_text
from earmark.core.locking import is_empty
from earmark.detect.postprocess import PostProcess
from earmark.detect.postprocess_spec import TUNING_FILE, TUNING_FORMAT
from earmark.detect.tuning.tune import Tuning
from earmark.model.bundle_card import with_section
from earmark.model.bundle_files import EXTRAS, FILES, find_bundle, save_postprocess

HEADING = "## Tuned post-processing"
SHOWN = ("psds1", "psds2", "collar_f1", "intersection_f1", "segment_f1")


@dataclass(frozen=True)
class TuningOrigin:
    """Where a tuning came from.

    Args:
        clips: The clips in words: "validation", or the name of a table.
        command: The command line.
    """

    clips: str
    command: str


def check_destination(name: str | Path, out: Path | None) -> None:
    """Tell before the work is done that a bundle is not to be changed, or a copy cannot be made.

    Args:
        name: A bundle by folder, shipped name or Hub id.
        out: Folder for a copy.

    Raises:
        BundleError: If it is so.
    """
    if Path(name).is_file():
        raise BundleError(
            "is no bundle", where=name, hint="Tune the bundle, and export it again afterwards"
        )
    if out is None and not Path(name).is_dir():
        raise BundleError(
            "is no folder of yours and is not changed", where=name, hint="Copy it: --out FOLDER"
        )
    if out is not None and not is_empty(out):
        raise BundleError("is there already", where=out, hint="Give the copy a new folder")


def writable_bundle(name: str | Path, out: Path | None) -> Path:
    """The folder that tuned settings go to: the bundle's own, or a copy of it that is made.

    Arguments and errors as of `check_destination`.
    """
    check_destination(name, out)
    folder = find_bundle(name)
    if out is None:
        return folder
    try:
        out.mkdir(parents=True, exist_ok=True)
        for file in (*FILES, *EXTRAS, TUNING_FILE):
            if (folder / file).is_file():
                shutil.copyfile(folder / file, out / file)
    except OSError as error:
        raise BundleError(f"cannot be written ({error.strerror})", where=out) from None
    return out


def write_tuning(folder: Path, tuning: Tuning, before: PostProcess, origin: TuningOrigin) -> None:
    """Give a bundle tuned settings; each file appears whole or not at all, the settings last.

    Args:
        folder: The bundle.
        tuning: The result.
        before: Settings there were before.
        origin: Where it came from.

    Raises:
        BundleError: If the folder is no bundle or cannot be written.
    """
    record = {
        "format": TUNING_FORMAT,
        "earmark": __version__,
        "command": origin.command,
        "clips": origin.clips,
        "before": before.to_dict(),
        **tuning.to_dict(),
    }
    card = folder / "README.md"
    try:
        text = card.read_text(encoding="utf-8") if card.is_file() else ""
        write_text(folder / TUNING_FILE, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        write_text(card, with_section(text, tuning_section(tuning, origin)))
    except OSError as error:
        raise BundleError(f"cannot be written ({error.strerror})", where=folder) from None
    save_postprocess(folder, tuning.postprocess.to_dict())


def tuning_section(tuning: Tuning, origin: TuningOrigin) -> str:
    """What a model card says of a tuning."""
    before, after = tuning.untuned, tuning.cross_validated
    how = "cSEBB" if tuning.method == "csebb" else "Median filters"
    lines = [
        HEADING,
        f"{how}, tuned for `{tuning.objective}` on {before['clips']} of {before['of']} clips of "
        f"{origin.clips}, fingerprint `{before['fingerprint']}` (earmark {__version__}):",
        f"    {origin.command}",
    ]
    if after is None:
        lines.append("Not cross-validated: scores on other clips may be lower.")
    else:
        lines += [
            f"Every clip with settings chosen without it ({len(tuning.folds)} folds); brackets are "
            "95 % of resampled clips:"
            if before["intervals"]
            else f"Every clip with settings chosen without it ({len(tuning.folds)} folds):",
            "\n".join(_rows(tuning)),
        ]
    lines.append(f"Settings before, and all choices by class, are in `{TUNING_FILE}`.")
    return "\n\n".join(lines)


def _rows(tuning: Tuning) -> list[str]:
    after = tuning.cross_validated or {}
    rows = ["| | before | tuned | difference |", "|---|---|---|---|"]
    for name in SHOWN:
        if name not in after:
            continue
        change = f"{after[name] - tuning.untuned[name]:+.3f}"
        if name in tuning.difference:
            found = tuning.difference[name]
            change += f" [{found['low']:+.3f}, {found['high']:+.3f}]"
        rows.append(
            f"| {name} | {_figure(tuning.untuned, name)} | {_figure(after, name)} | {change} |"
        )
    return rows


def _figure(report: Mapping[str, Any], name: str) -> str:
    interval = report["intervals"].get(name)
    text = f"{report[name]:.3f}"
    return text if interval is None else f"{text} [{interval[0]:.3f}, {interval[1]:.3f}]"
