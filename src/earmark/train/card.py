"""Model cards of bundles and encoders: classes, training data and scores."""

from __future__ import annotations

from typing import Any

from earmark._version import __version__
from earmark.data.crops import Survey
from earmark.data.manifest import Manifest
from earmark.method.pretraining_settings import PretrainRecipe
from earmark.method.settings import Recipe
from earmark.train.recipe import validation_split

FIGURES = ("psds1", "psds2", "collar_f1", "intersection_f1", "segment_f1")


def model_card(
    recipe: Recipe,
    manifest: Manifest,
    network: str,
    epoch: int,
    metrics: dict[str, Any],
    command: str = "",
    origin: str = "",
) -> str:
    """Markdown for a bundle's ``README.md``; ``origin`` is what its weights began as."""
    train = recipe.train
    sources = "\n".join(
        f"- {source.name} ({source.kind}): {len(source.clips)} clips" for source in manifest.train
    )
    lines = [
        f"# {recipe.name}: a sound event detector",
        f"Classes: {', '.join(manifest.labels)}.",
        recipe.description.strip(),
        "## Trained on",
        f"Data fingerprint `{manifest.fingerprint}`.",
        sources,
        "## How",
        f"Recipe `{recipe.name}`, {network} after epoch {epoch} of {train.epochs} "
        f"({train.steps_per_epoch} steps each), seed {train.seed}, earmark {__version__}.",
    ]
    if own := (*recipe.method.losses, *recipe.method.augmentations, train.postprocess):
        named = [f"{hook} {dict(hook.options) or ''}".strip() for hook in own if hook is not None]
        lines += [f"Of installed packages: {', '.join(named)}."] if named else []
    if origin:
        lines.append(f"It began with {origin}.")
    if command:
        lines.append(f"    {command}")
    split = validation_split(recipe, manifest)
    where = "the validation split" if split is None else f"the split `{split.name}`"
    lines += [f"## Scores on {where}", metrics_table(metrics)]
    lines += ["## Licence", "Weights: MIT. The audio it was trained on keeps its own licences."]
    return "\n\n".join(line for line in lines if line) + "\n"


def metrics_table(metrics: dict[str, Any]) -> str:
    """Metrics as a Markdown table, one row for the mean and one for each class."""
    present = [name for name in FIGURES if isinstance(metrics.get(name), int | float)]
    if not present:
        return "None: the data have no validation split."
    rows = [f"| class | {' | '.join(present)} |", f"|---|{'---|' * len(present)}"]
    rows.append("| **all** | " + " | ".join(f"{metrics[name]:.3f}" for name in present) + " |")
    per_class = metrics.get("per_class", {})
    labels = sorted({label for name in present for label in per_class.get(name, {})})
    for label in labels:
        values = [per_class.get(name, {}).get(label) for name in present]
        cells = ["–" if value is None else f"{value:.3f}" for value in values]
        rows.append(f"| {label} | {' | '.join(cells)} |")
    note = f"On {metrics.get('clips')} of {metrics.get('of')} clips"
    return "\n".join(rows) + f"\n\n{note}, fingerprint `{metrics.get('fingerprint')}`."


def encoder_card(
    recipe: PretrainRecipe,
    recordings: Survey,
    epoch: int,
    figures: dict[str, float],
    unreadable: int,
    command: str = "",
) -> str:
    """Markdown for the ``README.md`` of a pretrained encoder's folder."""
    train, encoder = recipe.train, recipe.encoder
    clamp = "none" if encoder.frontend.db_clamp is None else str(list(encoder.frontend.db_clamp))
    lines = [
        f"# {recipe.name}: a pretrained encoder",
        f"ATST-Frame {recipe.size}: width {encoder.width}, depth {encoder.depth}, "
        f"{encoder.heads} heads; a token is {1000 * encoder.token_seconds:g} ms. It names no "
        "sounds: a detector is trained on top of it.",
        recipe.description.strip(),
        "## Trained on",
        f"{len(recordings.paths)} recordings, {recordings.hours:.2f} h, without labels; data "
        f"fingerprint `{recordings.fingerprint}`. {unreadable} files could not be used.",
        "## How",
        f"Self-supervised, teacher's weights after epoch {epoch} of {train.epochs} "
        f"({train.steps_per_epoch} steps of {train.batch} crops of {recipe.window_seconds:g} s "
        f"each), seed {train.seed}, earmark {__version__}. Clamp of decibels: {clamp}.",
    ]
    if command:
        lines.append(f"    {command}")
    spread = 1.0 / recipe.heads.out**0.5
    lines += [
        "## At the end of training",
        f"Loss {figures['loss']:.3f} (0 is a perfect guess, 2 is chance); standard deviation of "
        f"the teacher's vectors {figures['teacher_std']:.4f} (evenly spread: {spread:.4f}).",
        "## Licence",
        "Weights: MIT. The audio it was trained on keeps its own licences.",
    ]
    return "\n\n".join(line for line in lines if line) + "\n"
