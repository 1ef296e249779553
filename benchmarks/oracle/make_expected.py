"""Expected scores of the seeded cases in tests/helpers/score_cases.py, by the reference libraries.

Run by ``make oracle`` in an environment of its own (requirements.txt), because those libraries need
older numpy and pandas. Writes tests/score/expected_oracle.json, which is committed; nothing else
in the project needs these libraries.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import sed_eval
from psds_eval import PSDSEval
from sed_scores_eval import collar_based, intersection_based, segment_based
from sed_scores_eval.base_modules.scores import create_score_dataframe

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from helpers.score_cases import SEEDS, Case, Event, detections, make_case  # noqa: E402

OUT = ROOT / "tests" / "score" / "expected_oracle.json"
PACKAGES = ["numpy", "pandas", "scipy", "sed-scores-eval", "psds-eval", "sed-eval", "dcase-util"]
INTERSECTIONS = (0.1, 0.5, 0.7)


def main() -> None:
    """Measure every case and write the numbers with their provenance."""
    warnings.filterwarnings("ignore")
    cases = []
    for seed in SEEDS:
        cases.append(measure(make_case(seed)))
        print(f"case {seed}: {cases[-1]['psds'][1]['value']:.4f}")
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    provenance = {
        "command": "make oracle",
        "python": platform.python_version(),
        "packages": versions,
    }
    text = json.dumps({"provenance": provenance, "cases": cases}, indent=1, allow_nan=False)
    OUT.write_text(text + "\n", encoding="utf-8")
    print(f"wrote {OUT.relative_to(ROOT)}")


def measure(case: Case) -> dict[str, Any]:
    """All expected numbers of one case."""
    frames = {
        clip: create_score_dataframe(values, case.boundaries[clip], list(case.labels))
        for clip, values in case.values.items()
    }
    hard = detections(case, case.threshold)
    return {
        "seed": case.seed,
        "psds": [psds(case, frames, parameters) for parameters in case.parameters],
        "psds_operating_points": [operating_points(case, given) for given in case.parameters],
        "collar_f1": f1(
            collar_based.fscore(
                frames,
                case.truth,
                threshold=case.threshold,
                onset_collar=0.2,
                offset_collar=0.2,
                offset_collar_rate=0.2,
            )
        ),
        "segment_f1": segments(case, frames, case.durations),
        "segment_f1_every_segment": segments(case, frames, None),
        "intersection_f1": {
            str(ratio): f1(
                intersection_based.fscore(
                    frames,
                    case.truth,
                    threshold=case.threshold,
                    dtc_threshold=ratio,
                    gtc_threshold=ratio,
                )
            )
            for ratio in INTERSECTIONS
        },
        **by_sed_eval(case, hard),
    }


def segments(
    case: Case, frames: Mapping[str, pd.DataFrame], durations: Mapping[str, float] | None
) -> dict[str, float]:
    """Segment-based F1 by sed_scores_eval, up to the durations or over every segment."""
    return f1(
        segment_based.fscore(
            frames, case.truth, durations, threshold=case.threshold, segment_length=1.0
        )
    )


def psds(case: Case, frames: Mapping[str, pd.DataFrame], given: dict[str, Any]) -> dict[str, Any]:
    """PSDS over all thresholds by sed_scores_eval."""
    value, per_class, *_ = intersection_based.psds(
        frames,
        case.truth,
        case.durations,
        dtc_threshold=given["dtc"],
        gtc_threshold=given["gtc"],
        cttc_threshold=given["cttc"],
        alpha_ct=given["alpha_ct"],
        alpha_st=given["alpha_st"],
        max_efpr=given["max_efpr"],
        unit_of_time="hour",
    )
    numbers = {label: float(per_class[label]) for label in case.labels}
    return {"parameters": given, "value": float(value), "per_class": numbers}


def operating_points(case: Case, given: dict[str, Any]) -> float | None:
    """PSDS from detections at a few thresholds by psds_eval.

    None for a single class: its mean over no other classes is not a number, and its PSDS 0.
    """
    if len(case.labels) == 1:
        return None
    measure = PSDSEval(
        ground_truth=table(case.truth),
        metadata=pd.DataFrame(
            [(f"{clip}.wav", seconds) for clip, seconds in case.durations.items()],
            columns=["filename", "duration"],
        ),
        dtc_threshold=given["dtc"],
        gtc_threshold=given["gtc"],
        cttc_threshold=given["cttc"] or 0.3,
    )
    for threshold in case.operating_points:
        measure.add_operating_point(table(detections(case, threshold)))
    return float(
        measure.psds(
            alpha_ct=given["alpha_ct"], alpha_st=given["alpha_st"], max_efpr=given["max_efpr"]
        ).value
    )


def table(events: Mapping[str, list[Event]]) -> pd.DataFrame:
    """Events as psds_eval takes them."""
    rows = [(f"{clip}.wav", *event) for clip, found in events.items() for event in found]
    return pd.DataFrame(rows, columns=["filename", "onset", "offset", "event_label"])


def f1(result: tuple[Mapping[str, float], ...]) -> dict[str, float]:
    """The F values of sed_scores_eval: classes, macro_average, micro_average."""
    return {name: float(value) for name, value in result[0].items()}


def by_sed_eval(case: Case, hard: Mapping[str, list[Event]]) -> dict[str, dict[str, float | None]]:
    """Event-based and segment-based F1 by sed_eval, clip by clip."""
    collar = sed_eval.sound_event.EventBasedMetrics(
        list(case.labels),
        t_collar=0.2,
        percentage_of_length=0.2,
        empty_system_output_handling="zero_score",
    )
    segment = sed_eval.sound_event.SegmentBasedMetrics(list(case.labels), time_resolution=1.0)
    for clip in case.truth:
        true, found = listed(clip, case.truth[clip]), listed(clip, hard[clip])
        collar.evaluate(reference_event_list=true, estimated_event_list=found)
        segment.evaluate(reference_event_list=true, estimated_event_list=found)
    return {
        "collar_f1_sed_eval": sed_eval_f1(collar, case),
        "segment_f1_sed_eval": sed_eval_f1(segment, case),
    }


def listed(clip: str, events: list[Event]) -> list[dict[str, Any]]:
    """Events as sed_eval takes them; a clip without any is an entry with only its name."""
    name = f"{clip}.wav"
    return [
        {"filename": name, "onset": onset, "offset": offset, "event_label": label}
        for onset, offset, label in events
    ] or [{"filename": name}]


def sed_eval_f1(metrics: Any, case: Case) -> dict[str, float | None]:
    """F values with the names that sed_scores_eval uses; None where sed_eval has none."""
    by_class = metrics.results_class_wise_metrics()
    found = {label: float(by_class[label]["f_measure"]["f_measure"]) for label in case.labels}
    numbers = {label: None if math.isnan(value) else value for label, value in found.items()}
    macro = metrics.results_class_wise_average_metrics()["f_measure"]["f_measure"]
    micro = metrics.results_overall_metrics()["f_measure"]["f_measure"]
    return {**numbers, "macro_average": float(macro), "micro_average": float(micro)}


if __name__ == "__main__":
    main()
