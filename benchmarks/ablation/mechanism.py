"""Why an arm does what it does: figures of a run's networks that are no detections.

The frames' average precision, what a linear map makes of the tap, and how large the gradient of the
embedding loss is beside the supervised one.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from earmark.core.event import Event
    from earmark.core.tables.scores import ScoreTable
    from earmark.data.dataset import Batch
    from earmark.data.manifest import Evaluation, Manifest
    from earmark.method.networks import Student, Teacher
    from earmark.method.settings import MethodSettings, Recipe

PROBED = 200
"""Clips that the linear map is fitted on, and as many that it is scored on."""


def events_by_id(clips: Evaluation) -> dict[str, Sequence[Event]]:
    """A split's events by clip id."""
    return {clips.ids[name]: own for name, own in clips.events.items()}


def frame_truth(events: Sequence[Event], edges: Any, labels: tuple[str, ...]) -> Any:
    """[T, C] whether an event of a class covers a frame's middle; edges in seconds [T + 1]."""
    middles = (edges[:-1] + edges[1:]) / 2
    true = np.zeros((len(middles), len(labels)), dtype=bool)
    for event in events:
        inside = (middles >= event.onset) & (middles < event.offset)
        true[inside, labels.index(event.event_label)] = True
    return true


def frame_precision(tables: Mapping[str, ScoreTable], clips: Evaluation) -> float:
    """Mean over classes of the frames' average precision, against the true events."""
    events = events_by_id(clips)
    true = [frame_truth(events.get(clip, ()), t.boundaries, t.labels) for clip, t in tables.items()]
    return mean_precision(
        np.concatenate([table.values for table in tables.values()]), np.concatenate(true)
    )


def mean_precision(scores: NDArray[np.float64], true: NDArray[np.bool_]) -> float:
    """Mean of the average precisions of the classes that sound at all: [n, C] and [n, C]."""
    present = np.flatnonzero(true.any(axis=0))
    return float(np.mean([average_precision(scores[:, c], true[:, c]) for c in present]))


def average_precision(scores: NDArray[np.float64], true: NDArray[np.bool_]) -> float:
    """Sum of the precisions at each rise of recall; equal scores come together."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(true[order])
    last = np.append(np.diff(scores[order]) != 0, True)  # of its group of equal scores
    hits, taken = hits[last], np.flatnonzero(last) + 1
    rises = np.diff(hits, prepend=0)
    return float(np.sum(rises * hits / taken) / hits[-1])


def tap_frames(network: Any, tap: str, clips: Evaluation) -> tuple[Any, Any]:
    """The embedding of every frame of the first clips [n, D], and its classes [n, C]."""
    import torch

    from earmark.core.audio.audio import load_audio
    from earmark.detect.torch_network import evaluating

    rows, targets, spec, events = [], [], network.spec, events_by_id(clips)
    for clip in sorted(clips.by_id)[:PROBED]:
        samples = load_audio(clips.by_id[clip], spec.sample_rate)[: spec.window]
        with torch.no_grad(), evaluating(network):
            output = network(torch.from_numpy(samples)[None])
        frames = output.embeddings[tap][0].double().numpy()
        edges = spec.grid.boundaries(len(frames), len(samples) / spec.sample_rate)
        rows.append(frames)
        targets.append(frame_truth(events.get(clip, ()), edges, spec.labels))
    return np.concatenate(rows), np.concatenate(targets)


def linear_probe(network: Any, tap: str, fitted: Evaluation, scored: Evaluation) -> float:
    """Frame mAP of a ridge regression from the tap to the classes, fitted on other clips."""
    x, y = tap_frames(network, tap, fitted)
    other, true = tap_frames(network, tap, scored)
    return mean_precision(ridge(x, y, other), true)


def ridge(x: Any, y: Any, other: Any) -> NDArray[np.float64]:
    """Scores [m, C] of rows [m, D] by a regression fitted on standardised x [n, D], y [n, C]."""
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-6
    x, other = (x - mean) / deviation, (other - mean) / deviation
    gram = x.T @ x + 1e-3 * len(x) * np.eye(x.shape[1])
    return np.asarray(other @ np.linalg.solve(gram, x.T @ (y - y.mean(axis=0))))


def gradient_ratio(
    student: Student,
    teacher: Teacher,
    batch: Batch,
    step: int,
    settings: MethodSettings,
    encoder: Any = None,
) -> float | None:
    """‖∇ w_e·L_emb‖ / ‖∇ L_sup‖ over the network's parameters; None without the loss.

    From one batch, mixed alike in both; student and teacher stay as they are.
    """
    import torch

    from earmark.method.step import StepInputs, training_step

    if student.heads is None:
        return None
    alone = {"mean_teacher": 0.0, "pseudo_label": 0.0}
    both = settings.model_copy(update=alone)
    without = settings.embedding.model_copy(update={"weight": 0.0})
    found = []
    for chosen in (both.model_copy(update={"embedding": without}), both):
        own, other = copy.deepcopy(student).train(), copy.deepcopy(teacher)
        torch.manual_seed(step)
        generator = torch.Generator().manual_seed(step)
        inputs = StepInputs(encoder=encoder)
        loss = training_step(own, other, batch, step, chosen, generator, inputs).loss
        learning = [p for p in own.network.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(loss, learning, allow_unused=True)
        found.append(
            torch.cat([
                torch.zeros(p.numel()) if g is None else g.flatten()
                for p, g in zip(learning, gradients, strict=True)
            ])
        )  # fmt: skip
    supervised, embedding = found[0], found[1] - found[0]
    return float(embedding.norm() / supervised.norm().clamp(min=1e-12))


def one_batch(recipe: Recipe, manifest: Manifest, network: Any, step: int) -> Batch:
    """The batch that a step of a run takes."""
    from earmark.data.dataset import StepSampler, compose, step_loader

    spec = network.spec
    dataset, groups = compose(manifest, recipe.train.batch, spec.grid, spec.window, cache_gib=0.0)
    sampler = StepSampler(groups, recipe.train.seed, step, step + 1)
    return next(iter(step_loader(dataset, sampler, 0)))
