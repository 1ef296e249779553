"""``earmark evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from earmark.cli.options import Data


def evaluate(
    bundle: Annotated[str, typer.Argument(help="Bundle folder, shipped name, Hub id, or .onnx.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for score tables and metrics.json.")],
    split: Annotated[str, typer.Option(help="validation, test, or another of the data.")] = (
        "validation"
    ),
    batch_size: Annotated[int, typer.Option(help="Clips in one network call.")] = 16,
) -> None:
    """Score a bundle on a labelled split: PSDS1, PSDS2 and the F1 family, overall and by class.

    Missing and unreadable clips are counted and named, never fatal: the table says on how many of
    the listed clips the figures were made. Unfiltered score tables, one a clip, go to `OUT/scores`.
    """
    import json

    from rich.console import Console
    from rich.progress import Progress

    from earmark.core.errors import DataError
    from earmark.data.manifest import load_manifest
    from earmark.detect.evaluate import evaluate_scores, score_clips
    from earmark.detect.loading import load_trained

    console = Console()
    loaded = load_trained(bundle)
    manifest = load_manifest(data)
    if split not in manifest.splits:
        known = ", ".join(manifest.splits) or "none"
        raise DataError(f"has no split {split!r}", where=data, mend=f"It has: {known}")
    for note in manifest.notes:
        if note.startswith(f"{split}:"):
            console.print(f"[yellow]note:[/] {note}")
    evaluation = manifest.splits[split]
    with Progress(console=console) as bar:
        task = bar.add_task("scoring", total=len(evaluation.clips))
        tables = score_clips(
            loaded.network,
            evaluation.clips,
            batch_size=batch_size,
            progress=lambda done, _: bar.update(task, completed=done),
            on_unreadable=lambda _, error: console.print(f"[yellow]not scored:[/] {error}"),
        )
    metrics = evaluate_scores(tables, evaluation, loaded.labels, loaded.postprocess)
    folder = out / "scores"
    folder.mkdir(parents=True, exist_ok=True)
    for clip, table in tables.items():
        table.write(folder / f"{clip}.tsv")
    text = json.dumps(metrics, indent=2) + "\n"
    (out / "metrics.json").write_text(text, encoding="utf-8")
    console.print(metrics_view(metrics, f"{bundle} on {split}"))


def metrics_view(metrics: dict[str, Any], title: str) -> Any:
    """Metrics as a Rich table: one row for the mean, one for each class."""
    from rich.table import Table

    from earmark.train.card import FIGURES

    present = [name for name in FIGURES if isinstance(metrics.get(name), int | float)]
    note = f"{metrics['clips']} of {metrics['of']} clips, fingerprint {metrics['fingerprint']}"
    table = Table("class", *present, title=title, caption=note)
    table.add_row("all", *(f"{metrics[name]:.3f}" for name in present), style="bold")
    labels = sorted({label for name in present for label in metrics["per_class"].get(name, {})})
    for label in labels:
        values = [metrics["per_class"].get(name, {}).get(label) for name in present]
        table.add_row(label, *("–" if v is None else f"{v:.3f}" for v in values))
    return table
