"""``earmark info``: what a bundle detects, and how."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from earmark.cli.console import say
from earmark.cli.options import Bundle, Classes
from earmark.cli.tables import title_of

if TYPE_CHECKING:
    from earmark.detect.network import Trained
    from earmark.detect.postprocess_spec import PostProcess


def info(bundle: Bundle, classes: Classes = None) -> None:
    """Print what a bundle detects, and how: classes, thresholds, windows, scores, licence.

    Number, identifier and name each name a class to `--classes` and `--threshold` of `earmark
    detect`, `earmark listen` and `earmark review`. The scores are those of the bundle's card.

    Examples:
    - `earmark info mini`
    - `earmark info audioset --classes 'Dog,"Water tap, faucet"'`
    """
    from earmark.core.class_names import find_classes
    from earmark.core.spec import spec_of
    from earmark.detect.network import load_trained

    trained = load_trained(bundle, "cpu")
    spec = spec_of(trained.network)
    shown = find_classes(classes, spec.labels, spec.ids) if classes else range(len(spec.labels))
    boxes = trained.postprocess.method == "csebb"
    headings = ("threshold", "step s" if boxes else "median s")
    table = Table("number", *(["identifier"] if spec.ids else []), "class", *headings)
    for number in shown:
        label = spec.labels[number]
        identifier = [spec.ids[number]] if spec.ids else []
        own = trained.postprocess.for_label(label)
        length = own.csebb.step_seconds if boxes else own.median_seconds
        table.add_row(
            str(number), *identifier, escape(label), f"{own.threshold:.2f}", f"{length:g}"
        )
    console = Console()
    console.print(table)
    for line in _about(trained):
        say(console, line)


def _about(trained: Trained) -> Iterator[str]:
    """How it listens, what it is made of, and what its card says."""
    from earmark.core.spec import spec_of
    from earmark.detect.windows import plan_windows
    from earmark.model.bundle_card import read_card

    spec = spec_of(trained.network)
    hop = plan_windows(spec).hop_frames * spec.grid.seconds
    yield (
        f"{len(spec.labels)} classes at {spec.sample_rate / 1000:g} kHz, windows of "
        f"{spec.window / spec.sample_rate:g} s every {hop:g} s, frames of "
        f"{spec.grid.seconds * 1000:g} ms"
    )
    yield f"post-processing: {_postprocess(trained.postprocess)}"
    path = Path(trained.path)
    if path.is_file():
        yield f"exported network, {path.stat().st_size / 1e6:.1f} MB, {trained.fingerprint}"
        return
    yield f"encoder: {_encoder(path)}"
    size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
    yield f"size: {size / 1e6:.1f} MB, fingerprint {trained.fingerprint}"
    card = read_card(path)
    for heading, means in card.scores.items():
        figures = ", ".join(f"{title_of(name)} {value:.3f}" for name, value in means.items())
        yield f"{heading[:1].lower()}{heading[1:]}: {figures}"
    yield f"licence: {card.licence or 'not stated'}"
    if (path / "README.md").is_file():
        yield f"card: {path / 'README.md'}"


def _postprocess(settings: PostProcess) -> str:
    """The method, and what it does beside medians and thresholds."""
    more = {
        "gaps closed below": settings.min_gap_seconds,
        "shorter events left out": settings.min_duration_seconds,
        "longer events left out": settings.max_duration_seconds,
    }
    told = [
        f"{what} {'by class' if isinstance(value, Mapping) else f'{value:g} s'}"
        for what, value in more.items()
        if isinstance(value, Mapping) or 0 < value < math.inf
    ]
    first = [] if settings.hook is None else [str(settings.hook)]
    return ", ".join([*first, settings.method, *told])


def _encoder(folder: Path) -> str:
    from earmark.model.bundle_files import TaggerSettings, bundle_settings

    settings = bundle_settings(folder)
    if settings.encoder is None:
        return "none"
    shared = " with its own classifier" if isinstance(settings, TaggerSettings) else ""
    return f"{settings.encoder.kind}{shared}"
