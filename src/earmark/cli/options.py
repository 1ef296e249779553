"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path,
    typer.Option(
        "--data", help="Dataset: a folder in DESED's layout, or a YAML that describes one."
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Override a setting; may be repeated."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")]
Accelerator = Annotated[
    str, typer.Option("--accelerator", "--device", help="cpu, cuda, mps, or auto.")
]
Devices = Annotated[
    int | None,
    typer.Option(
        "--devices", min=1, help="Processes on each node, one a device; 1, or torchrun's."
    ),
]
Nodes = Annotated[int | None, typer.Option("--nodes", min=1, help="Machines; 1, or torchrun's.")]
Precision = Annotated[
    str | None,
    typer.Option("--precision", help="32-true, bf16-mixed or 16-mixed, instead of the recipe's."),
]
DetectionPrecision = Annotated[
    str,
    typer.Option(
        "--precision",
        help="32-true, or bf16-mixed: an encoder's products in bfloat16, several times faster "
        "where the processor has them; scores change by some thousandths.",
    ),
]
