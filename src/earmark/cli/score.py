"""``earmark score``: the figures of anyone's predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from earmark.cli import tables
from earmark.cli.console import plot, write_json
from earmark.cli.options import (
    BY_CLASS,
    METRICS,
    OUTPUT,
    AllowMissing,
    CriteriaOptions,
    DropEventless,
    JsonFile,
    Resamples,
    Strict,
    option,
    with_options,
)
from earmark.cli.progress import counting

if TYPE_CHECKING:
    from earmark.detect.postprocess import PostProcess
    from earmark.score.classes import ScoredClasses
    from earmark.score.psds import PsdsParameters
    from earmark.score.settings import MetricSettings

RESAMPLES = 1000
SYSTEM, POST = "What to score", "Post-processing"


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(CriteriaOptions):
    """Options of ``earmark score``."""

    truth: Path = option(..., "Table of true events: filename, onset, offset, event_label.")
    scores: list[Path] | None = option(
        None,
        "Folder of score tables, one CLIP.tsv each: onset, offset, one column per class. Repeat it "
        "for runs with other seeds.",
        panel=SYSTEM,
    )
    events: list[str] | None = option(
        None,
        "Table of detected events instead; for PSDS at several thresholds THRESHOLD=TABLE, "
        "repeated, or a folder of such tables.",
        panel=SYSTEM,
    )
    durations: Path | None = option(
        None,
        "Table of filename and duration in seconds, or the folder of the recordings. Without it, "
        "clips end with their score tables, and events have no PSDS.",
    )
    compare: list[str] | None = option(
        None,
        "Scores or events of another system, to compare with on the same clips; repeat it for its "
        "seeds or thresholds.",
        panel=SYSTEM,
    )
    allow_missing: AllowMissing = False
    strict: Strict = False
    class_map: Path | None = option(
        None,
        "YAML file of 'predicted name: true name'; predicted classes with one true name are "
        "merged, those without one are left out.",
    )
    classes: str | None = option(None, "Score only these classes, separated by commas.")
    postprocess: str | None = option(
        None,
        "Post-process the scores first: none, median=SECONDS, csebb, "
        "csebb=STEP,absolute=A,relative=R, a postprocess.yaml, or a bundle. By default scores are "
        "used as they are.",
        panel=POST,
    )
    median: float | None = option(
        None, "Short for --postprocess median=SECONDS.", panel=POST, metavar="SECONDS"
    )
    csebb: bool = option(False, "Short for --postprocess csebb.", "--csebb", panel=POST)
    compare_postprocess: str | None = option(
        None,
        "Post-processing of the system of --compare; by default that of the first.",
        panel=POST,
    )
    threshold: list[str] | None = option(
        None,
        "Score above which a class is detected, for F1; by default that of the post-processing, or "
        "0.5. Names with commas are quoted as in CSV, or the option is repeated.",
        panel=POST,
        metavar=BY_CLASS,
    )
    psds: list[str] | None = option(
        None,
        "Add a PSDS: dtc=0.5,gtc=0.5 and cttc, alpha_ct, alpha_st, max_efpr, name.",
        panel=METRICS,
        metavar="A=B,…",
    )
    drop_eventless: DropEventless = False
    ct_mean: Literal["others", "old"] = option(
        "others",
        "Average PSDS2's cross-triggers over the other classes, or over all as before 2022 (old).",
        panel=METRICS,
    )
    like: Literal["sed_scores_eval", "psds_eval"] = option(
        "sed_scores_eval",
        "Compare times of detections rounded, as sed_scores_eval does, or as raw floats, as "
        "psds_eval does.",
        panel=METRICS,
    )
    best: bool | None = option(
        None,
        "Report F1 at each class's best threshold, and mAP of tags; by default if the scores fit "
        "into memory.",
        "--best/--no-best",
        panel=METRICS,
    )
    resamples: Resamples = RESAMPLES
    seed: int = option(0, "Seed of the resamples.", panel=METRICS, min=0)
    json_file: JsonFile = None
    plot_dir: Path | None = option(
        None, "Draw PSD-ROC curves and bars by class into this folder.", panel=OUTPUT
    )


@with_options
def score(options: ScoreOptions) -> None:
    """Score any system's predictions: what it finds, false alarms, PSDS, the F1 family.

    PSDS is exact: every distinct score is a threshold. Clips are matched by name, with or without
    folder and `.wav`; tables may be separated by tabs or commas. Whatever was changed, left out or
    is missing is listed below the metrics.

    Score tables of DESED's validation set, into a file:

        earmark score --scores DIR --truth validation.tsv --durations durations.tsv --json out.json

    Three seeds (mean and sd); is cSEBB better than a median filter, on the same clips?

        earmark score --scores run1 --scores run2 --scores run3 --truth T --durations D

        earmark score --scores run1 --csebb --compare run1 --compare-postprocess median=0.45 …

    Detected events: one table, or one for each of several thresholds:

        earmark score --events dets.tsv --truth T --durations D

        earmark score --events 0.3=low.tsv --events 0.5=mid.tsv --events 0.7=high.tsv …
    """
    from earmark.core.locking import only_writer
    from earmark.detect.systems import Scoring, System
    from earmark.score.report import compared_reports, report

    console, compare, post = Console(), options.compare, _postprocess(options)
    first = System(tuple(map(str, options.scores or ())), tuple(options.events or ()), post)
    second = None
    if compare:
        second = System.of(compare, _other_post(compare, options.compare_postprocess, post))
    scoring = Scoring.of_files(
        options.truth,
        options.durations,
        classes=_classes(options.class_map, options.classes),
        settings=_settings(options),
        thresholds=_thresholds(options.threshold or []),
        allow_missing=options.allow_missing,
        strict=options.strict,
        force_best=options.best is True,
        weightable=options.resamples > 0 or second is not None,
        bar=counting,
    )
    runs = scoring.measure(first)
    names = tables.titles(first, second)
    resampling: dict[str, Any] = {"resamples": options.resamples, "seed": options.seed}
    if second is None:
        with counting("intervals") as bar:
            found = report(runs, **resampling, progress=bar)
        systems = [(names[0], found, runs)]
    else:
        others = scoring.measure(second)
        resampling["resamples"] = options.resamples or RESAMPLES
        with counting("intervals and comparison") as bar:
            found, against, metrics = compared_reports(runs, others, **resampling, progress=bar)
        against |= {"system": names[1], "postprocess": scoring.told(second)}
        systems = [(names[0], found, runs), (names[1], against, others)]
        found["comparison"] = {"with": against, "metrics": metrics}
    found |= {"system": names[0], "postprocess": scoring.told(first)}
    tables.print_report(console, found, names[0])
    if second is not None:
        console.print(tables.comparison_table(metrics, *names))
    if options.json_file is not None:
        write_json(options.json_file, found)
    if options.plot_dir is not None:
        with only_writer(options.plot_dir):
            plot(console, options.plot_dir, systems)


def _postprocess(options: ScoreOptions) -> PostProcess | None:
    from earmark.core.errors import ConfigError
    from earmark.detect.postprocess_spec import read_postprocess

    given = [
        *([options.postprocess] if options.postprocess is not None else []),
        *([f"median={options.median}"] if options.median is not None else []),
        *(["csebb"] if options.csebb else []),
    ]
    if len(given) > 1:
        raise ConfigError(
            f"post-processing given more than once: {' and '.join(given)}",
            hint="Give one of --postprocess, --median and --csebb",
        )
    return read_postprocess(given[0]) if given else None


def _other_post(
    compare: list[str], spec: str | None, first: PostProcess | None
) -> PostProcess | None:
    """Post-processing of the other system: its own, or that of the first if it has scores."""
    from earmark.detect.postprocess_spec import read_postprocess
    from earmark.score.files import is_score_folder

    if spec is not None:
        return read_postprocess(spec)
    return first if all(is_score_folder(path) for path in compare) else None


def _classes(class_map: Path | None, classes: str | None) -> ScoredClasses:
    from earmark.score.classes import ScoredClasses, read_class_map

    chosen = None
    if classes is not None:
        chosen = tuple(name.strip() for name in classes.split(",") if name.strip())
    return ScoredClasses({} if class_map is None else read_class_map(str(class_map)), chosen)


def _settings(options: ScoreOptions) -> MetricSettings:
    from earmark.core.errors import ScoreError
    from earmark.score.settings import MetricSettings, read_scenario

    extra: dict[str, PsdsParameters] = {}
    for text in options.psds or ():
        name, parameters = read_scenario(text)
        if name in (*extra, "psds1", "psds2"):
            raise ScoreError(
                f"two PSDS are called {name}", hint="Name this one: --psds name=psds_b,…"
            )
        extra[name] = parameters
    scenarios = MetricSettings.with_scenarios(extra, ct_mean=options.ct_mean).scenarios
    best = options.best is not False
    return MetricSettings(scenarios, options.drop_eventless, best, options.like, **options.criteria)


def _thresholds(given: list[str]) -> dict[str, float]:
    """Threshold by class; "" is for all others."""
    from earmark.core.class_names import DEFAULT, parse_by_class

    found = parse_by_class(given, "--threshold")
    if isinstance(found, float):
        return {"": found}
    return {"" if label == DEFAULT else label: number for label, number in found.items()}
