"""ONNX against PyTorch for the network of every shipped recipe and every shipped bundle.

    python benchmarks/onnx_parity.py            # about four minutes on 2 cores
    python benchmarks/onnx_parity.py --only crnn-baseline

Networks of recipes have random weights, their heads widened so that scores span 0 to 1 (scores of
an untrained network are all near a half, and any two of them alike). Recipes of one and the same
network share a row. Differences are the largest of any strong or weak score over noise from faint
to overloaded, silence, a tone, a click, soundscapes and short clips, alone and in a batch. Speed is
the best of alternating turns with PyTorch in the same process.

Writes benchmarks/results/onnx_parity.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from earmark.deliver.onnx.export import export_network
from earmark.model.bundle import load_bundle
from earmark.model.bundle_files import shipped_bundles
from earmark.model.sed import SedNetwork
from earmark.train.recipe import load_recipe, recipe_names

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/onnx_parity.json"
LABELS = tuple(f"class {number}" for number in range(10))


def networks() -> dict[str, list[str]]:
    """Each network that a recipe has, as JSON, with the recipes that have it."""
    found: dict[str, list[str]] = {}
    for name in recipe_names():
        found.setdefault(load_recipe(name).network.model_dump_json(), []).append(name)
    return found


def candidates() -> Iterator[tuple[str, SedNetwork]]:
    """Names and networks: those of the recipes, and the trained ones that ship."""
    sys.path.insert(0, str(ROOT / "tests"))
    from helpers.sharpened import sharpen

    for names in networks().values():
        torch.manual_seed(0)
        network = SedNetwork(load_recipe(names[0]).network, LABELS).eval()
        sharpen(network)
        yield ", ".join(names), network
    for name in shipped_bundles():
        yield f"bundle {name}", load_bundle(name).network


def row(name: str, network: SedNetwork, turns: int) -> dict[str, Any]:
    """Export one network and tell of it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model.onnx"
        report = export_network(network, {}, out, source=name, int8=True, repeats=turns).to_dict()
    print(name)
    for file in report["files"]:
        print("  ", file["precision"], file["megabytes"], file["parity"]["largest"], file["speed"])
    return report


def main() -> None:
    """Export, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="replace only rows whose names contain this")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = [
        row(name, network, options.turns)
        for name, network in candidates()
        if not options.only or options.only in name
    ]
    if options.only:
        known = json.loads(options.out.read_text(encoding="utf-8"))["rows"]
        made = {row["source"]: row for row in rows}
        rows = [made.get(row["source"], row) for row in known]
    content = {"command": "python benchmarks/onnx_parity.py", "rows": rows}
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
