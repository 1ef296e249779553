"""What is measured, and by which rules."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from earmark.core.errors import ScoreError
from earmark.score.events import CONVENTIONS, TIME_DECIMALS, Convention
from earmark.score.f1.collars import CollarCriterion
from earmark.score.f1.events import Criterion, CriterionName
from earmark.score.f1.intersections import IntersectionCriterion
from earmark.score.f1.segments import SegmentCriterion
from earmark.score.psds.parameters import PSDS1, PSDS2, PsdsParameters

NAME = re.compile(r"psds[a-z0-9_]*")


UNSTATED = ("decimals", "durations")
"""Settings of criteria that `MetricSettings` decides."""
SCENARIOS: Mapping[str, PsdsParameters] = MappingProxyType({"psds1": PSDS1, "psds2": PSDS2})


@dataclass(frozen=True)
class MetricSettings:
    """What is measured, and by which rules.

    Args:
        scenarios: Each PSDS by the name it has in the report.
        drop_eventless: Whether to leave out clips without truth, from every metric.
        best: Whether to measure what needs all scores in memory at once: F1 scores of each class
            at its best threshold, and the average precision of tags.
        collar: When a detection is right by collars.
        intersection: When it is by intersection.
        segment: What a segment is.
        filters: Lengths in seconds of the median filters that pi-PSDS takes the best of, of each
            scenario; none for no pi-PSDS.
        like: Whose conventions hold for detections: as of
            `earmark.score.psds.psds_of_detections`; with ``"psds_eval"`` collar and
            intersection F1 compare raw floats too, as psds_eval and sed_eval do.

    Raises:
        ScoreError: If a scenario has no fit name, or the convention is unknown.
    """

    scenarios: Mapping[str, PsdsParameters] = field(default_factory=lambda: dict(SCENARIOS))
    drop_eventless: bool = False
    best: bool = True
    like: Convention = "sed_scores_eval"
    collar: CollarCriterion = field(default_factory=CollarCriterion)
    intersection: IntersectionCriterion = field(default_factory=IntersectionCriterion)
    segment: SegmentCriterion = field(default_factory=SegmentCriterion)
    filters: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in self.scenarios:
            if not NAME.fullmatch(name):
                raise ScoreError(
                    f"a PSDS cannot be called {name!r}",
                    hint="Use psds and lower-case letters, digits or _, e.g. psds_strict or psds3.",
                )
        if self.like not in CONVENTIONS:
            raise ScoreError(
                f"no library's conventions are called {self.like!r}",
                hint=f"Use {' or '.join(CONVENTIONS)}.",
            )

    @classmethod
    def with_scenarios(
        cls, extra: Mapping[str, PsdsParameters], *, ct_mean: Literal["others", "old"] = "others"
    ) -> MetricSettings:
        """PSDS1 and PSDS2, further scenarios, and one mean of cross triggers for PSDS2."""
        second = dataclasses.replace(PSDS2, ct_mean=ct_mean)
        return cls(scenarios={"psds1": PSDS1, "psds2": second, **extra})

    def to_dict(self) -> dict[str, Any]:
        """The ``parameters`` of a report; two reports with the same have the same rules."""
        stated: dict[str, Any] = {name: asdict(given) for name, given in self.scenarios.items()}
        for name, criterion in self.sweeps().items():
            own = asdict(criterion).items()
            stated[f"{name}_f1"] = {
                key: None if value == math.inf else value
                for key, value in own
                if key not in UNSTATED
            }
        if self.filters:
            stated["pi_psds"] = {"median_seconds": list(self.filters)}
        stated["clips_without_events"] = "dropped" if self.drop_eventless else "counted"
        return stated if self.like == CONVENTIONS[0] else {**stated, "like": self.like}

    def criteria(self) -> dict[str, Criterion]:
        """When a detection is right, by metric."""
        decimals = None if self.like == "psds_eval" else TIME_DECIMALS
        return {
            "collar_f1": dataclasses.replace(self.collar, decimals=decimals),
            "intersection_f1": dataclasses.replace(self.intersection, decimals=decimals),
            "segment_f1": self.segment,
        }

    def sweeps(self) -> dict[CriterionName, Criterion]:
        """When a detection is right at any threshold, by the first word of the metric."""
        return {"collar": self.collar, "intersection": self.intersection, "segment": self.segment}


def read_scenario(text: str) -> tuple[str, PsdsParameters]:
    """A PSDS as it is written on a command line: ``dtc=0.5,gtc=0.5,max_efpr=50``.

    Args:
        text: Parameters of `PsdsParameters` by name, separated by commas; ``dtc`` and ``gtc`` must
            be there. ``name=psds_strict`` says what it is called in the report, ``psds`` if
            nothing does.

    Raises:
        ScoreError: If a parameter is unknown, missing or impossible.
    """
    known = [one.name for one in dataclasses.fields(PsdsParameters)]
    given: dict[str, Any] = {}
    for pair in text.split(","):
        name, equals, value = (piece.strip() for piece in pair.partition("="))
        if not equals or name not in (*known, "name") or name in given:
            what = "twice" if name in given else "no parameter of a PSDS"
            raise ScoreError(
                f"{pair.strip()!r} in {text!r} is {what}",
                hint=f"Use NAME=NUMBER, separated by commas; names are {', '.join(known)}, name.",
            )
        try:
            given[name] = value if name in ("name", "ct_mean") else float(value)
        except ValueError:
            raise ScoreError(f"{value!r} in {text!r} is not a number") from None
    name = given.pop("name", "psds")
    if not {"dtc", "gtc"} <= set(given):
        raise ScoreError(f"the PSDS {text!r} needs dtc and gtc", hint="Use dtc=0.5,gtc=0.5,…")
    return name, PsdsParameters(**given)


_TITLES = {
    "segment_map": "segment AP",
    "error_rate": "error rate",
    "error_rate_substitutions": "substitutions",
    "error_rate_deletions": "deletions",
    "error_rate_insertions": "insertions",
    "true_events": "events",
    "precision": "precision",
    "recall": "recall",
    "false_alarms_per_hour": "false alarms an hour",
}


def title_of(metric: str) -> str:
    """A metric as it is called on a page: ``collar_f1_best`` is "collar F1, best threshold"."""
    if metric.startswith("pi_psds"):
        return f"pi-{title_of(metric.removeprefix('pi_'))}"
    if metric.startswith("psds"):
        return metric.upper().replace("_", " ")
    if metric in _TITLES:
        return _TITLES[metric]
    base, best, rest = metric.partition("_best")
    words = base.removesuffix("_micro").replace("_map", " mAP").replace("_f1", " F1")
    return words + ", best threshold" * bool(best) + ", micro" * ("micro" in (base + rest))
