"""The report of a run: one HTML file that says how training goes, made anew after every epoch.

All of it is read from the run's folder, so that it can be made again, also of a run of version 0.1,
whose journal has fewer figures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from earmark.core.errors import EarmarkError, optional_package
from earmark.core.files import write_text
from earmark.deliver.pages.charts import Bound, Chart, ChartLine, number
from earmark.deliver.pages.class_table import class_table
from earmark.deliver.pages.scripts import rendered, styles
from earmark.method.settings import COLLAPSED_COSINE, COLLAPSED_STD
from earmark.train.record.journal import read_begun, run_record

REPORT = "report.html"
_NETWORKS = ("teacher", "student")
_TERMS = {  # title and colour
    "loss": ("whole loss", 7),
    "strong": ("strong labels", 0),
    "weak": ("weak labels", 2),
    "mean_teacher": ("mean teacher", 3),
    "pseudo_label": ("pseudo-labels", 4),
    "embedding": ("embedding", 1),
    "to_clean": ("to the clean view", 0),
    "to_perturbed": ("to the perturbed view", 1),
}
_MANY = 20  # notes of one kind that are listed

Record = Mapping[str, Any]


def write_run_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Makes the report of a run, finished or not.

    Args:
        folder: Run folder, of training or of pretraining.
        out: The file; ``report.html`` in the folder by default.

    Returns:
        The file, which appears whole or not at all.

    Raises:
        DataError: There is no journal, or it is damaged.
        EarmarkError: It cannot be written, or a package is missing.
    """
    optional_package("jinja2", "reports need", "plot")
    folder = Path(folder)
    path = folder / REPORT if out is None else Path(out)
    text = rendered("run_report.html", **_content(folder))
    try:
        write_text(path, text, flush=False)
    except OSError as error:
        raise EarmarkError(f"cannot be written ({error.strerror})", where=path) from None
    return path


def _content(folder: Path) -> dict[str, Any]:
    """What the template shows."""
    records, begun, recipe = run_record(folder), read_begun(folder), _recipe(folder)
    train = recipe.get("train", {})
    epochs = int(train.get("epochs", 0)) or (records[-1]["epoch"] if records else 0)
    best = best_epoch(records, str(train.get("select", "teacher_psds")))
    return {
        "css": styles("report.css"),
        "title": str(recipe.get("name") or folder.resolve().name),
        "description": " ".join(str(recipe.get("description", "")).split()),
        "folder": folder.resolve().name,
        "done": records[-1]["epoch"] if records else 0,
        "finished": bool(records) and (records[-1]["epoch"] >= epochs or "stopped" in records[-1]),
        "stopped": records[-1].get("stopped", "") if records else "",
        "epochs": epochs,
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "tiles": _tiles(records, best, train),
        "warnings": warnings_of(records, begun, recipe),
        "groups": [(title, [c for c in own if c]) for title, own in _charts(records, recipe)],
        "classes": None if best is None else _classes(best, begun.get("data", {})),
        "facts": _facts(folder, begun, train),
        "sources": _sources(begun.get("data", {})),
        "settings": yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True) if recipe else "",
    }


def _recipe(folder: Path) -> dict[str, Any]:
    """The run's settings, as they were written, of any version."""
    try:
        found = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def best_epoch(records: Sequence[Record], select: str) -> tuple[Record, str] | None:
    """The record whose network was kept, and which network it is; None without validation."""
    network = "student" if select == "student_psds" else "teacher"
    scored = [one for one in records if network in one.get("validation", {})]
    if not scored:
        return None
    if select == "last":
        return scored[-1], network

    def figure(record: Record) -> float:
        metrics = record["validation"][network]
        return float(metrics["psds1"] + (0 if select == "teacher_psds1" else metrics["psds2"]))

    return max(scored, key=figure), network


def _tiles(
    records: Sequence[Record], best: tuple[Record, str] | None, train: Record
) -> list[tuple[str, str, str]]:
    """Heading, figure and what it is of."""
    tiles = []
    if best is not None:
        record, network = best
        where = f"{network}, epoch {record['epoch']}, the best so far"
        metrics = record["validation"][network]
        for name, title in (("psds1", "PSDS1"), ("psds2", "PSDS2"), ("collar_f1", "collar F1")):
            if isinstance(metrics.get(name), int | float):
                tiles.append((title, f"{metrics[name]:.3f}", where))
    if records:
        last = records[-1]
        losses = last["losses"]
        tiles.append(("loss", number(losses.get("loss", float("nan"))), f"epoch {last['epoch']}"))
        steps = int(train.get("steps_per_epoch", 0)) or last["step"] // last["epoch"]
        seconds = [one["seconds"] for one in records if "seconds" in one]
        if seconds and steps:
            step = sorted(seconds)[len(seconds) // 2] / steps
            spent = sum(seconds)
            tiles.append(("seconds a step", number(step), f"{_clock(spent)} of training so far"))
        if memory := last.get("memory"):
            said = ", ".join(f"{number(value / 1e9)} GB" for value in memory.values())
            tiles.append(("memory", said, f"at most, of {' and '.join(memory)}"))
    return tiles


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def warnings_of(records: Sequence[Record], begun: Record, recipe: Record) -> list[str]:
    """What a user should look at, a sentence each."""
    found = [*_collapse(records, recipe), *_lost(records)]
    data = begun.get("data", {})
    found += _without_clips(data)
    train = recipe.get("train", {})
    steps = int(train.get("epochs", 0)) * int(train.get("steps_per_epoch", 0))
    if 0 < steps < int(train.get("warmup_steps", 0)):
        found.append(
            f"The warm-up lasts {train['warmup_steps']} steps and the run {steps}: the learning "
            "rate never reaches its peak."
        )
    if records and "frozen" in train and not any(one.get("validation") for one in records):
        ended = records[-1]["epoch"] >= int(train.get("epochs", 0))
        found.append(
            "Nothing was validated: the data have no split to choose an epoch on."
            if ended
            else "Nothing is validated yet."
        )
    return found + _few([str(note) for note in data.get("notes", ())])


def _few(notes: list[str]) -> list[str]:
    more = len(notes) - _MANY
    return notes[:_MANY] + ([f"… and {more} more of this kind"] if more > 0 else [])


def _collapse(records: Sequence[Record], recipe: Record) -> list[str]:
    """Epochs, past the ramp of the embedding loss, whose vectors grew alike."""
    embedding = recipe.get("method", {}).get("embedding", {})
    ramped = int(embedding.get("detach_steps", 0)) + int(embedding.get("ramp_steps", 0))
    even = _even(recipe)
    out = []
    for record in records:
        losses = record["losses"]
        std, cosine = losses.get("embedding_std", 1.0), losses.get("embedding_cosine", 0.0)
        teacher = losses.get("teacher_std")
        if record["step"] > ramped and (std < COLLAPSED_STD or cosine > COLLAPSED_COSINE):
            out.append((record["epoch"], f"std {std:.3f}, cosine {cosine:.2f}"))
        elif teacher is not None and even and teacher < 0.25 * even:
            out.append((record["epoch"], f"std {teacher:.4f}, evenly spread {even:.4f}"))
    if not out:
        return []
    try_ = (
        "a smaller train.lr, a longer warm-up or a larger train.ema"
        if "heads" in recipe
        else "method.embedding.teacher_norm=batch, method.embedding.center=true or a smaller "
        "method.embedding.weight"
    )
    return [
        f"Embeddings collapse in {_epochs([epoch for epoch, _ in out])} (last: {out[-1][1]}; "
        f"healthy is a std above {COLLAPSED_STD:g}, a cosine below {COLLAPSED_COSINE:g}): "
        f"try {try_}."
    ]


def _even(recipe: Record) -> float:
    """Standard deviation of vectors evenly spread over the sphere: 1/√d."""
    width = recipe.get("heads", recipe.get("method", {}).get("embedding", {})).get("out", 0)
    return float(width) ** -0.5 if width else 0.0


def _lost(records: Sequence[Record]) -> list[str]:
    """Steps that were left out, and files that could not be read."""
    found = []
    skipped = {one["epoch"]: int(one["losses"].get("skipped", 0)) for one in records}
    if total := sum(skipped.values()):
        when = _epochs([epoch for epoch, count in skipped.items() if count])
        found.append(
            f"{total} step{'s were' if total > 1 else ' was'} left out in {when}, for a loss or "
            "gradient was not finite: the log names terms and clips."
        )
    unreadable = records[-1].get("unreadable") if records else None
    if isinstance(unreadable, dict):
        found += _few([f"A clip is skipped: {why}" for why in unreadable.values()])
    elif unreadable:
        found.append(f"{unreadable} recordings could not be used: unreadable.tsv names them.")
    return found


def _epochs(numbers: Sequence[int]) -> str:
    """``epoch 3``, ``epochs 3 to 7 and 9``."""
    runs = [[numbers[0], numbers[0]]]
    for before, now in pairwise(numbers):
        if now == before + 1:
            runs[-1][1] = now
        else:
            runs.append([now, now])
    words = [f"{a}" if a == b else f"{a} to {b}" for a, b in runs]
    shown = words if len(words) < 5 else [*words[:3], f"{len(words) - 3} later spans"]
    text = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
    return f"epoch{'s' * (len(numbers) > 1)} {text}"


def _without_clips(data: Record) -> list[str]:
    """Classes that nothing can be learned of, or that no figure is of."""
    found, labels = [], data.get("labels", ())
    trained = {label for one in data.get("sources", ()) for label in one.get("by_class", ())}
    if trained and (lacking := [label for label in labels if label not in trained]):
        found.append(f"No labelled clip to learn from: {', '.join(lacking)}.")
    for split in data.get("splits", ()):
        there = split.get("by_class", {})
        if lacking := [label for label in labels if label not in there]:
            found.append(f"Not an event in the split {split['name']}: {', '.join(lacking)}.")
    return found


def _charts(records: Sequence[Record], recipe: Record) -> list[tuple[str, list[Chart]]]:
    """Groups of charts; those without points are empty."""

    def of(name: str, title: str, colour: int = 0, place: str = "losses") -> ChartLine:
        own = [
            (one["epoch"], float(value))
            for one in records
            if isinstance(value := (one.get(place, {}) if place else one).get(name), int | float)
        ]
        return ChartLine(title, own, colour)

    def scored(metric: str) -> list[ChartLine]:
        return [
            ChartLine(
                network,
                [
                    (one["epoch"], float(one["validation"][network][metric]))
                    for one in records
                    if metric in one.get("validation", {}).get(network, {})
                ],
                colour,
            )
            for colour, network in enumerate(_NETWORKS)
        ]

    steps = int(recipe.get("train", {}).get("steps_per_epoch", 0))
    speed = [
        (one["epoch"], one["seconds"] / steps) for one in records if steps and "seconds" in one
    ]
    memory = [
        ChartLine(
            name,
            [
                (one["epoch"], one["memory"][name] / 1e9)
                for one in records
                if name in one.get("memory", {})
            ],
            colour,
        )
        for colour, name in enumerate(("process", "device"))
    ]
    terms = [of(name, title, colour) for name, (title, colour) in _TERMS.items()]
    even = _even(recipe)
    spread = [Bound(COLLAPSED_STD, f"collapsed below {COLLAPSED_STD:g}")]
    if even:
        spread.append(Bound(even, f"evenly spread: {number(even)}"))
    return [
        (
            "Scores on validation",
            [
                Chart("PSDS1", scored("psds1"), low=0),
                Chart("PSDS2", scored("psds2"), low=0),
                Chart("Collar F1", scored("collar_f1"), low=0),
                Chart("Intersection F1", scored("intersection_f1"), low=0),
            ],
        ),
        (
            "Losses",
            [
                Chart("Losses by term", terms, log=True, note="Before weights; logarithmic."),
                Chart(
                    "Gradient, embedding loss over supervised",
                    [of("gradient_ratio", "ratio of norms", 1, "")],
                    low=0,
                    note="‖∇ w·L_emb‖ / ‖∇ L_sup‖ over the network, of a batch at each validation.",
                ),
            ],
        ),
        (
            "Embeddings",
            [
                Chart(
                    "Standard deviation of the vectors",
                    [
                        of("embedding_std", "student", 1),
                        of("student_std", "student", 1),
                        of("teacher_std", "teacher", 0),
                    ],
                    bounds=spread,
                    low=0,
                    high=max([1.15 * even, *_values(records, "_std")]) or None,
                ),
                Chart(
                    "Mean cosine between clips",
                    [
                        of("embedding_cosine", "student", 1),
                        of("student_cosine", "student", 1),
                        of("teacher_cosine", "teacher", 0),
                    ],
                    bounds=[Bound(COLLAPSED_COSINE, f"collapsed above {COLLAPSED_COSINE:g}")],
                    low=min([0.0, *_values(records, "_cosine")]),
                    high=1,
                ),
            ],
        ),
        (
            "Mixing, ramps and rates",
            [
                Chart(
                    "λ and modes",
                    [
                        of("lambda", "mean λ", 0, "mixing"),
                        of("composed", "clips that are compositions", 1, "mixing"),
                        of("perturbed", "perturbations", 2, "mixing"),
                    ],
                    low=0,
                    high=1,
                    note="The other clips are not mixed.",
                ),
                Chart(
                    "Ramps and the teacher's average",
                    [
                        of("ramp", "consistency r", 0),
                        of("embedding_ramp", "embedding r_e", 1, ""),
                        of("ema", "decay of the average", 2, ""),
                    ],
                    low=0,
                    high=1,
                ),
                Chart("Learning rate", [of("lr", "peak groups", 0, "")], low=0),
                Chart("Weight decay", [of("weight_decay", "matrices", 0, "")], low=0),
            ],
        ),
        (
            "Cost",
            [
                Chart("Seconds a step", [ChartLine("without validation", speed)], low=0),
                Chart("Memory, GB at most", memory, low=0),
            ],
        ),
    ]


def _values(records: Sequence[Record], ending: str) -> list[float]:
    return [
        value
        for one in records
        for name, value in one["losses"].items()
        if name.endswith(ending) and value == value
    ]


def _classes(best: tuple[Record, str], data: Record) -> dict[str, Any]:
    """The table by class of the network that was kept."""
    record, network = best
    metrics = record["validation"][network]
    learned: dict[str, int] = {}
    for source in data.get("sources", ()):
        for label, count in source.get("by_class", {}).items():
            learned[label] = learned.get(label, 0) + count
    clips = f"{metrics.get('clips')} of {metrics.get('of')} clips"
    where = f"{network} of epoch {record['epoch']}, on {clips}"
    return class_table(metrics, where, data.get("labels", ()), learned)


def _facts(folder: Path, begun: Record, train: Record) -> list[tuple[str, str]]:
    """What the run is, a line each."""
    fingerprint = begun.get("data", {}).get("fingerprint") or _of_card(folder)
    batch = train.get("batch")
    said = ", ".join(f"{k} {v}" for k, v in batch.items()) if isinstance(batch, dict) else batch
    lines = [
        ("command", begun.get("command")),
        ("begun", begun.get("began")),
        ("data fingerprint", fingerprint or "not recorded (version 0.1)"),
        ("device", begun.get("device")),
        ("processes", begun.get("processes")),
        ("precision", begun.get("precision") or train.get("precision")),
        ("seed", train.get("seed")),
        ("batch", said),
        ("steps an epoch", train.get("steps_per_epoch")),
        ("begins with", train.get("init")),
        ("earmark", begun.get("earmark")),
    ]
    return [(name, str(value)) for name, value in lines if value not in (None, "")]


def _of_card(folder: Path) -> str:
    """The data's fingerprint, as the model card of a run of version 0.1 has it."""
    try:
        card = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    found = re.search(r"[Dd]ata\s+fingerprint `([0-9a-f]+)`", card)
    return found.group(1) if found else ""


def _sources(data: Record) -> list[tuple[str, str, int]]:
    """Name, kind and clips of what is learned from and scored on."""
    found = [
        (str(one["name"]), str(one["kind"]), int(one["clips"])) for one in data.get("sources", ())
    ]
    return found + [
        (str(one["name"]), "scored on", int(one["clips"])) for one in data.get("splits", ())
    ]
