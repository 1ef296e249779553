"""Options that several commands have, each with one meaning, and options as dataclasses."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

import typer
from rich.console import Console

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from earmark.core.config import EncoderSettings, Settings
    from earmark.method.pretraining_settings import PretrainRecipe
    from earmark.method.settings import Recipe
    from earmark.train.record.loggers import RunLogger

Options = TypeVar("Options")
AnyRecipe = TypeVar("AnyRecipe", "Recipe", "PretrainRecipe")

NETWORK, METRICS, OUTPUT, EVENTS = "Network", "Metrics", "Output", "Which events"
TRAINING = "Training"
"""Panels of the help."""
BY_CLASS = "NUMBER|CLASS=NUMBER,default=NUMBER,…"

RENAMED: Mapping[str, Mapping[str, str]] = {
    "cache": {"format": "audio-format"},
    "detect": {"hop-seconds": "hop", "scores": "score-format"},
    "evaluate": {"plots": "plot", "no-plots": "no-plot"},
    "export": {"turns": "repeats"},
    "import-labels": {"split": "fractions"},
    "listen": {"hop-seconds": "hop", "format": "sample-format"},
    "pretrain": {"accelerator": "device"},
    "score": {"plots": "plot-dir"},
    "train": {"accelerator": "device"},
}
"""Command → an option's spelling in version 0.1, which still works, → today's, which is shown."""


def option(default: Any, help: str, *names: str, panel: str | None = None, **more: Any) -> Any:
    """A field of a dataclass of options.

    Args:
        default: Its default; ``...`` makes it required.
        help: Its line in the command's help.
        names: Its spellings; by default ``--`` and the field's name.
        panel: Heading of the help that it stands under.
        more: Further arguments of `typer.Option`.
    """
    info = typer.Option(*names, help=help, rich_help_panel=panel, **more)
    return field(default=MISSING if default is ... else default, metadata={"typer": info})


def argument(default: Any, help: str) -> Any:
    """A field of a dataclass of options that is an argument of the command, as of `option`."""
    info = typer.Argument(help=help)
    return field(default=MISSING if default is ... else default, metadata={"typer": info})


def with_options(function: Callable[[Options], None]) -> Callable[..., None]:
    """Makes a Typer command of a function whose only parameter is a dataclass of options.

    Each field is an `option` or an `argument`, or is annotated like a parameter of a command.
    """
    kind = next(hint for name, hint in get_type_hints(function).items() if name != "return")
    hints = get_type_hints(kind, include_extras=True)

    def command(**values: Any) -> None:
        function(kind(**values))

    parameters = []
    for one in sorted(fields(kind), key=lambda one: one.default is not MISSING):
        info, hint = one.metadata.get("typer"), hints[one.name]
        default = inspect.Parameter.empty if one.default is MISSING else one.default
        annotation = hint if info is None else Annotated[hint, info]
        parameters.append(
            inspect.Parameter(
                one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )
        )
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    return command


def accepting_old_spellings(command: str) -> dict[str, Any]:
    """Settings of a command's context with which its options have their old spellings too."""
    renamed = RENAMED.get(command, {})
    return {"token_normalize_func": lambda name: renamed.get(name, name)}


def completing(*words: str) -> Callable[[str], list[str]]:
    """Completes one of some words in the shell, or the last of several between commas."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{word}" for word in words if word.startswith(last)]

    return complete


Bundle = Annotated[
    str,
    typer.Argument(help="Bundle: a folder, a shipped name, a Hub id or an exported .onnx file."),
]
Data = Annotated[
    Path, typer.Option("--data", help="Dataset: a folder in DESED's layout, or a YAML description.")
]
Split = Annotated[str, typer.Option(help="Split of the dataset: validation, test or another.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Override a setting; may be repeated."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")]
Workers = Annotated[int, typer.Option(min=0, help="Number of processes; 0 for one per core.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the results, but write nothing.")]

Device = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda|cuda:N|mps",
        autocompletion=completing("auto", "cpu", "cuda", "mps"),
        help="Where the network runs; auto takes a CUDA GPU if there is one.",
        rich_help_panel=NETWORK,
    ),
]
Devices = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Devices per machine, one process each; 1, or as many as torchrun started.",
        rich_help_panel=NETWORK,
    ),
]
Nodes = Annotated[
    int | None,
    typer.Option(min=1, help="Machines; 1, or those of torchrun.", rich_help_panel=NETWORK),
]
Precision = Annotated[
    Literal["32-true", "bf16-mixed", "16-mixed", "auto"] | None,
    typer.Option(
        help="Precision of training; overrides the recipe. auto takes what is fastest here.",
        rich_help_panel=NETWORK,
    ),
]
DetectionPrecision = Annotated[
    Literal["32-true", "bf16-mixed", "auto"],
    typer.Option(
        "--precision",
        help="bf16-mixed computes an encoder in bfloat16: several times faster on processors that "
        "support it; scores change by some thousandths. auto takes what is fastest here, bfloat16 "
        "only if the bundle's card says what that changes.",
        rich_help_panel=NETWORK,
    ),
]
Runtime = Annotated[
    Literal["auto", "onnx", "torch"],
    typer.Option(
        help="What runs a bundle: auto takes ONNX Runtime on the CPU, if the bundle has its ONNX "
        "form (it starts faster, with the same events), and PyTorch otherwise.",
        rich_help_panel=NETWORK,
    ),
]
BatchSize = Annotated[
    int, typer.Option(min=1, help="Clips per call of the network.", rich_help_panel=NETWORK)
]
Hop = Annotated[
    float | None,
    typer.Option(
        help="Seconds from one window to the next; by default half a window, or half the "
        "look-ahead where one is set.",
        rich_help_panel=NETWORK,
    ),
]
Threshold = Annotated[
    list[str] | None,
    typer.Option(
        metavar=BY_CLASS,
        help="Score above which a class is detected; by default the bundle's own, which "
        "earmark info prints. Names with commas are quoted as in CSV, or the option is repeated.",
        rich_help_panel=EVENTS,
    ),
]

Classes = Annotated[
    list[str] | None,
    typer.Option(
        "--classes",
        metavar="NAME,…",
        help="Detect only these classes, by name, number or identifier; may be repeated. Names "
        "with commas are quoted as in CSV. By default all.",
        rich_help_panel=EVENTS,
    ),
]

Resamples = Annotated[
    int,
    typer.Option(
        min=0,
        help="Resamples of the clips for 95 % intervals; 0 for none.",
        rich_help_panel=METRICS,
    ),
]
DropEventless = Annotated[
    bool,
    typer.Option(
        "--drop-eventless",
        help="Leave out clips without events, as DCASE recipes since 2023 do.",
        rich_help_panel=METRICS,
    ),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Refuse labels that do not fit their sound or each other."),
]
AllowMissing = Annotated[
    bool,
    typer.Option(
        "--allow-missing", help="Accept clips without scores; they are counted and named."
    ),
]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", help="Write all results to this JSON file.", rich_help_panel=OUTPUT),
]


def settled(precision: str, bundle: str, device: str, runtime: str) -> str:
    """A precision to detect in; of ``auto`` it says which that is."""
    if precision != "auto":
        return precision
    from earmark.detect.network import choose_precision

    chosen = choose_precision(bundle, device, runtime)
    typer.echo(str(chosen), err=True)
    return chosen.name


@dataclass(frozen=True, kw_only=True)
class CriteriaOptions:
    """Options of the commands that score: when a detection is right."""

    collar: float = option(
        0.2, "Collar F1: seconds by which onset and offset may differ.", panel=METRICS, min=0
    )
    offset_ratio: float = option(
        0.2,
        "Collar F1: or the offset by this fraction of the event, if that is more.",
        panel=METRICS,
        min=0,
    )
    onset_only: bool = option(
        False, "Collar F1: compare onsets only, not offsets.", "--onset-only", panel=METRICS
    )
    pi_psds: bool = option(
        False,
        "Add pi-PSDS, which does not hang on post-processing: each PSDS with the best of several "
        "median filters for every class and rate of false alarms.",
        "--pi-psds",
        panel=METRICS,
    )
    pi_filters: str | None = option(
        None,
        "Lengths of its filters; by default 0 to 2 s by 0.2.",
        panel=METRICS,
        metavar="SECONDS,…",
    )
    segment: float = option(1.0, "Segment F1 and error rate: seconds of a segment.", panel=METRICS)
    overlap: float = option(
        0.5,
        "Intersection F1: fraction of a detection, and of an event, that must lie in the other.",
        panel=METRICS,
        min=0,
        max=1,
    )

    @property
    def criteria(self) -> dict[str, Any]:
        """When a detection is right, as `MetricSettings` takes it.

        Raises:
            ScoreError: If a segment has no length.
        """
        from earmark.score.f1 import CollarCriterion, IntersectionCriterion, SegmentCriterion

        offset = math.inf if self.onset_only else self.collar
        return {
            "collar": CollarCriterion(self.collar, offset, self.offset_ratio),
            "intersection": IntersectionCriterion(self.overlap, self.overlap),
            "segment": SegmentCriterion(self.segment),
            "filters": self._filters(),
        }

    def _filters(self) -> tuple[float, ...]:
        """Lengths of the filters of pi-PSDS.

        Raises:
            ConfigError: If they are no lengths.
        """
        from earmark.core.errors import ConfigError

        if self.pi_filters is None:
            return tuple(round(0.2 * number, 1) for number in range(11)) if self.pi_psds else ()
        try:
            lengths = tuple(float(text) for text in self.pi_filters.split(","))
        except ValueError:
            lengths = (-1.0,)
        if not all(0 <= length < math.inf for length in lengths):
            raise ConfigError(
                f"--pi-filters {self.pi_filters!r} are no seconds", hint="Use e.g. 0,0.2,0.5,1"
            )
        return tuple(dict.fromkeys(lengths))


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of the commands that train: recipe and where they run."""

    recipe: str
    epochs: int | None = option(
        None, "Number of epochs; overrides the recipe.", panel=TRAINING, min=1
    )
    batch_size: int | None = option(
        None,
        "Clips of a step, all kinds of labels together, in the recipe's proportions; overrides "
        "the recipe.",
        panel=TRAINING,
        min=1,
    )
    lr: float | None = option(
        None, "Peak learning rate; overrides the recipe.", panel=TRAINING, metavar="RATE"
    )
    seed: int | None = option(
        None, "Seed of weights, order and mixing; overrides the recipe.", panel=TRAINING, min=0
    )
    wandb: str | None = option(
        None,
        "Send figures to this project of Weights & Biases, too (extra wandb; needs an account).",
        panel=TRAINING,
        metavar="PROJECT",
    )
    set_: Overrides = None
    resume: Resume = False
    device: Device = "auto"
    devices: Devices = None
    nodes: Nodes = None
    precision: Precision = None

    @property
    def overrides(self) -> list[str]:
        """Of the recipe, options that stand for settings among them.

        Raises:
            ConfigError: If a setting is given by its option and by --set.
        """
        from earmark.core.errors import ConfigError

        given = [text.partition("=")[0].strip() for text in self.set_ or []]
        own = []
        for option, key, value in self._settings():
            if value is None:
                continue
            twice = [one for one in given if f"{one}.".startswith(f"{key}.")]
            if twice:
                raise ConfigError(
                    f"{twice[0]} is given twice, by {option} and by --set", hint="Give one of them"
                )
            own.append(f"{key}={value}")
        return [*(self.set_ or []), *own]

    def _settings(self) -> list[tuple[str, str, Any]]:
        """Option, setting and value of the options that stand for settings."""
        own = None if self.precision == "auto" else self.precision
        return [
            ("--epochs", "train.epochs", self.epochs),
            ("--batch-size", "train.batch", self.batch_size),
            ("--lr", "train.lr", self.lr),
            ("--seed", "train.seed", self.seed),
            ("--precision", "train.precision", own),
        ]

    def with_precision(self, settings: AnyRecipe, encoder: EncoderSettings | None) -> AnyRecipe:
        """A recipe with the precision that ``auto`` stands for; says which."""
        if self.precision != "auto":
            return settings
        from earmark.model.precision import training_precision

        chosen = training_precision(encoder, self.device)
        typer.echo(str(chosen), err=True)
        train = settings.train.model_copy(update={"precision": chosen.name})
        return settings.model_copy(update={"train": train})

    def loggers(self, folder: Path, settings: Settings) -> list[RunLogger]:
        """Who is told of the run's figures, beside journal and TensorBoard.

        Raises:
            ConfigError: A package is not installed.
        """
        from earmark.train.record.loggers import WandbLogger

        if self.wandb is None:
            return []
        return [WandbLogger(self.wandb, folder, settings.model_dump(mode="json"))]

    def start(self, precision: str) -> tuple[Fabric, Console]:
        """Starts the processes; the console is quiet in all but the first."""
        from earmark.train.distributed import make_fabric, start

        fabric = make_fabric(self.device, self.devices, self.nodes, precision)
        start(fabric)
        return fabric, Console(quiet=not fabric.is_global_zero)


@dataclass(frozen=True, kw_only=True)
class DetectionOptions:
    """Options of the commands that detect events in recordings."""

    bundle: Bundle
    classes: Classes = None
    threshold: Threshold = None
    min_duration: list[str] | None = option(
        None,
        "Leave out events of fewer seconds, after gaps are closed.",
        metavar=BY_CLASS,
        panel=EVENTS,
    )
    max_duration: list[str] | None = option(
        None, "Leave out events of more seconds.", metavar=BY_CLASS, panel=EVENTS
    )
    min_gap: list[str] | None = option(
        None,
        "Make one of events of a class with fewer seconds between them.",
        metavar=BY_CLASS,
        panel=EVENTS,
    )
    device: Device = "auto"
    precision: DetectionPrecision = "32-true"
    runtime: Runtime = "auto"
    hop: Hop = None

    @property
    def detecting(self) -> dict[str, Any]:
        """How to detect, as `Detector.from_pretrained` takes it.

        Raises:
            ConfigError: If a number by class is not written as one.
        """
        from earmark.core.class_names import parse_by_class

        asked = {
            "threshold": ("--threshold", self.threshold),
            "min_gap_seconds": ("--min-gap", self.min_gap),
            "min_duration_seconds": ("--min-duration", self.min_duration),
            "max_duration_seconds": ("--max-duration", self.max_duration),
        }
        return {
            **{
                name: parse_by_class(given, option)
                for name, (option, given) in asked.items()
                if given
            },
            "device": self.device,
            "precision": settled(self.precision, self.bundle, self.device, self.runtime),
            "runtime": self.runtime,
            "hop_seconds": self.hop,
        }
