"""Expected boxes of the seeded tables in tests/helpers/csebb_cases.py, by the reference cSEBB.

Run by ``make oracle`` in an environment of its own (requirements.txt). The reference is under the
AGPL; it is run here as it is, for its outputs alone, and nothing else in the project needs it.
Writes tests/detect/csebb_oracle.json, which is committed.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
import warnings
from pathlib import Path

from sebbs import csebbs
from sed_scores_eval.base_modules.scores import create_score_dataframe

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from helpers.csebb_cases import SEEDS, make_case  # noqa: E402

OUT = ROOT / "tests" / "detect" / "csebb_oracle.json"
PACKAGES = ["numpy", "pandas", "sed-scores-eval", "sebbs"]


def main() -> None:
    """Find the boxes of every case and write them with their provenance."""
    warnings.filterwarnings("ignore")
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    provenance = {
        "command": "make oracle",
        "python": platform.python_version(),
        "packages": versions,
    }
    lines = ",\n".join(f' "{seed}": {json.dumps(boxes(seed))}' for seed in SEEDS)
    text = f'{{"provenance": {json.dumps(provenance)},\n"boxes": {{\n{lines}\n}}}}\n'
    OUT.write_text(text, encoding="utf-8")
    count = sum(map(len, json.loads(text)["boxes"].values()))
    print(f"wrote {OUT.relative_to(ROOT)}: {count} boxes of {len(SEEDS)} tables")


def boxes(seed: int) -> list[tuple[str, float, float, float]]:
    """Label, onset, offset, confidence of every box of one case."""
    case = make_case(seed)
    predictor = csebbs.CSEBBsPredictor(
        step_filter_length=case.step,
        merge_threshold_abs=case.absolute,
        merge_threshold_rel=case.relative,
        sound_classes=list(case.labels),
    )
    table = create_score_dataframe(case.values, case.boundaries, list(case.labels))
    found = predictor.predict({"clip": table})["clip"]
    return sorted(
        (label, round(float(onset), 6), round(float(offset), 6), round(float(confidence), 6))
        for onset, offset, label, confidence in found
    )


if __name__ == "__main__":
    main()
