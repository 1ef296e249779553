"""``earmark pseudo-label``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rich.console import Console

from earmark.cli.console import exit_if_failed, note, say
from earmark.cli.options import (
    EVENTS,
    BatchSize,
    Data,
    Device,
    Runtime,
    Threshold,
    argument,
    option,
    with_options,
)
from earmark.cli.progress import counting


@dataclass(frozen=True, kw_only=True)
class PseudoLabelOptions:
    """Options of ``earmark pseudo-label``."""

    bundles: list[str] = argument(
        ..., "Bundles whose mean scores are taken: folders, shipped names, Hub ids or .onnx files."
    )
    data: Data
    out: Path = option(..., "Write labels, scores and dataset.yaml to this folder.", "--out", "-o")
    targets: Literal["labels", "scores"] = option(
        "labels",
        "What training is to take as targets: the events, or the scores themselves (distillation).",
    )
    class_map: Path | None = option(
        None, "YAML file with a line for each class that the data name otherwise: 'theirs: the "
        "data's'. Several may become one, and null leaves one out.",
    )  # fmt: skip
    postprocess: str | None = option(
        None,
        "Make events by this instead of the first bundle's settings: median=SECONDS, csebb, "
        "csebb=STEP,absolute=A,relative=R, a postprocess.yaml, or another bundle.",
        panel=EVENTS,
    )
    threshold: Threshold = None
    batch_size: BatchSize = 16
    device: Device = "auto"
    runtime: Runtime = "auto"


@with_options
def pseudo_label(options: PseudoLabelOptions) -> None:
    """Label a dataset's unlabelled clips by what bundles find in them, to train on.

    One bundle's scores, or the mean scores of several, become events. OUT gets `labels.tsv`, the
    score tables in `scores/`, and `dataset.yaml`: the dataset as it was, with the clips as one more
    strongly labelled source, of which only the bundles' classes count as labelled. A stopped run
    goes on when it is repeated; other thresholds are tried without running a network again.

        earmark pseudo-label home runs/one runs/two --data data --out pseudo

        earmark train own --data pseudo/dataset.yaml --out runs/second

    A small network learns from a large one by its scores:

        earmark pseudo-label home --data data --targets scores --out soft

        earmark train mini-distilled --data soft/dataset.yaml --out runs/small
    """
    from earmark.core.class_names import parse_by_class
    from earmark.core.errors import ConfigError
    from earmark.data.manifest import load_manifest
    from earmark.deliver.pseudo_labels import Ensemble, write_pseudo_labels
    from earmark.detect.masked import with_masks
    from earmark.detect.network import load_trained
    from earmark.detect.postprocess_spec import read_postprocess
    from earmark.score.classes import read_class_map

    console = Console()
    names = {} if options.class_map is None else read_class_map(str(options.class_map))
    postprocess = None
    if options.postprocess is not None:
        postprocess = read_postprocess(options.postprocess)
        if postprocess is None:
            raise ConfigError("--postprocess none makes no events", hint="Give a threshold")
    threshold = parse_by_class(options.threshold, "--threshold") if options.threshold else None
    manifest = load_manifest(options.data)
    loaded = [
        load_trained(name, options.device, runtime=options.runtime) for name in options.bundles
    ]
    members = [replace(one, network=with_masks(one.network, one.postprocess)) for one in loaded]
    ensemble = Ensemble(members, names, tuple(manifest.labels))
    used = ensemble.postprocess if postprocess is None else postprocess
    for label in ensemble.classes:
        used.for_label(label)  # a missing class is reported now
    used = used.laid_over(ensemble.classes, threshold=threshold)
    with counting("scoring clips") as bar:
        found = write_pseudo_labels(
            options.out, data=options.data, manifest=manifest, ensemble=ensemble, postprocess=used,
            targets=options.targets, batch_size=options.batch_size, progress=bar,
        )  # fmt: skip
    unlabelled = [label for label in manifest.labels if label not in ensemble.classes]
    if unlabelled:
        note(console, f"not labelled, for the bundles lack them: {', '.join(unlabelled)}")
    counts = ", ".join(f"{count} {label}" for label, count in found.events.items())
    before = f", {found.before} scored before" if found.before else ""
    say(console, f"{found.clips} clips{before}; events: {counts}")
    say(console, f"train on them: earmark train RECIPE --data {found.description} --out RUN")
    exit_if_failed({str(path): reason for path, reason in found.unreadable.items()})
