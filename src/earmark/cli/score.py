"""``earmark score``: the figures of anyone's predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from earmark.detect.postprocess import PostProcess
    from earmark.score.classes import ScoredClasses
    from earmark.score.psds import PsdsParameters
    from earmark.score.report import Measurement
    from earmark.score.settings import MetricSettings

DRAWS = 1000
SYSTEM, POST, METRICS, OUTPUT = "What is scored", "Post-processing", "Metrics", "Output"


def score(
    truth: Annotated[
        Path,
        typer.Option(help="Table of true events: filename, onset, offset, event_label."),
    ],
    scores: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of score tables, one CLIP.tsv each: onset, offset, a column a class. "
            "Repeat it for runs of several seeds.",
            rich_help_panel=SYSTEM,
        ),
    ] = None,
    events: Annotated[
        list[str] | None,
        typer.Option(
            help="Table of detected events instead; THRESHOLD=TABLE, repeated, or a folder of "
            "them, for PSDS at several thresholds.",
            rich_help_panel=SYSTEM,
        ),
    ] = None,
    durations: Annotated[
        Path | None,
        typer.Option(
            help="Table of filename and duration in seconds, or the folder of the recordings. "
            "Without it score tables end with their clips, and events have no PSDS."
        ),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            help="Another system's scores or events, to be compared with on the same clips; "
            "repeat it for its seeds (or thresholds).",
            rich_help_panel=SYSTEM,
        ),
    ] = None,
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing",
            help="Measure the clips there are if some have no scores; they are counted and named.",
        ),
    ] = False,
    class_map: Annotated[
        Path | None,
        typer.Option(
            help="YAML file of 'predicted name: true name'; several with one true name become one "
            "class, those with none are left out.",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Measure these classes only, separated by commas."),
    ] = None,
    postprocess: Annotated[
        str | None,
        typer.Option(
            help="Before scoring: none, median=SECONDS, csebb, csebb=STEP,absolute=A,relative=R, "
            "a postprocess.yaml, or a bundle. Scores are taken as they are if not given.",
            rich_help_panel=POST,
        ),
    ] = None,
    median: Annotated[
        float | None,
        typer.Option(
            help="Short for --postprocess median=SECONDS.",
            metavar="SECONDS",
            rich_help_panel=POST,
        ),
    ] = None,
    csebb: Annotated[
        bool, typer.Option("--csebb", help="Short for --postprocess csebb.", rich_help_panel=POST)
    ] = False,
    compare_postprocess: Annotated[
        str | None,
        typer.Option(
            help="For the system of --compare; that of the first if not given.",
            rich_help_panel=POST,
        ),
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            help="Scores above it are detections, for the F1 scores; 0.5, or that of the "
            "post-processing, if not given. CLASS=NUMBER, repeated, for single classes.",
            metavar="NUMBER",
            rich_help_panel=POST,
        ),
    ] = None,
    psds: Annotated[
        list[str] | None,
        typer.Option(
            help="A further PSDS: dtc=0.5,gtc=0.5 and cttc, alpha_ct, alpha_st, max_efpr, name.",
            metavar="A=B,…",
            rich_help_panel=METRICS,
        ),
    ] = None,
    drop_eventless: Annotated[
        bool,
        typer.Option(
            "--drop-eventless",
            help="Leave out clips without events, as DCASE recipes since 2023 do.",
            rich_help_panel=METRICS,
        ),
    ] = False,
    ct_mean: Annotated[
        str,
        typer.Option(
            help="Cross triggers of PSDS2 averaged over the 'others', or over all as before 2022: "
            "'old'.",
            rich_help_panel=METRICS,
        ),
    ] = "others",
    like: Annotated[
        str,
        typer.Option(
            help="Times of detections compared rounded, as sed_scores_eval, or raw: psds_eval.",
            rich_help_panel=METRICS,
        ),
    ] = "sed_scores_eval",
    best: Annotated[
        bool | None,
        typer.Option(
            "--best/--no-best",
            help="F1 at each class's best threshold, and mAP of tags; on unless the scores are "
            "too many to be kept in memory.",
            rich_help_panel=METRICS,
        ),
    ] = None,
    resamples: Annotated[
        int,
        typer.Option(
            min=0,
            help="Draws of clips for 95 % intervals; 0 for none, at once.",
            rich_help_panel=METRICS,
        ),
    ] = 1000,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the draws.", rich_help_panel=METRICS)
    ] = 0,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write everything into this file.", rich_help_panel=OUTPUT),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            help="Folder for pictures: PSD-ROC curves, and bars by class.", rich_help_panel=OUTPUT
        ),
    ] = None,
) -> None:
    """Score any system's predictions: PSDS1, PSDS2, the F1 family, with intervals.

    PSDS is exact: every distinct score is a threshold. Clips are matched by name, with or without
    folder and `.wav`; tables may have tabs or commas. Whatever was changed, left out or is missing
    is said below the figures.

    Score tables of DESED's validation set, into a file:

        earmark score --scores DIR --truth validation.tsv --durations durations.tsv --json out.json

    Three seeds (mean and sd); is cSEBB better than a median filter, on the same clips?

        earmark score --scores run1 --scores run2 --scores run3 --truth T --durations D

        earmark score --scores run1 --csebb --compare run1 --compare-postprocess median=0.45 …

    Detected events: one table, or one for each of several thresholds:

        earmark score --events dets.tsv --truth T --durations D

        earmark score --events 0.3=low.tsv --events 0.5=mid.tsv --events 0.7=high.tsv …
    """
    from rich.console import Console

    from earmark.cli import tables
    from earmark.detect.systems import Scoring, System
    from earmark.score.report import compared_reports, report

    console, errors = Console(), Console(stderr=True)
    post = _postprocess(postprocess, median, csebb)
    first = System(tuple(map(str, scores or ())), tuple(events or ()), post)
    second = None
    if compare:
        second = System.of(compare, _other_post(compare, compare_postprocess, post))
    scoring = Scoring.of_files(
        truth,
        durations,
        classes=_classes(class_map, classes),
        settings=_settings(psds, ct_mean, like, drop_eventless, best),
        thresholds=_thresholds(threshold or []),
        allow_missing=allow_missing,
        force_best=best is True,
        weightable=resamples > 0 or second is not None,
        bar=lambda title: tables.steps(errors, title),
    )
    runs = scoring.measure(first)
    names = tables.titles(first, second)
    draws: dict[str, Any] = {"resamples": resamples, "seed": seed}
    if second is None:
        with tables.steps(errors, "intervals") as bar:
            found = report(runs, **draws, progress=bar)
        pictured = [(names[0], found, runs)]
    else:
        others = scoring.measure(second)
        draws["resamples"] = resamples or DRAWS
        with tables.steps(errors, "intervals and comparison") as bar:
            found, against, metrics = compared_reports(runs, others, **draws, progress=bar)
        against |= {"system": names[1], "postprocess": scoring.told(second)}
        pictured = [(names[0], found, runs), (names[1], against, others)]
        found["comparison"] = {"with": against, "metrics": metrics}
    found |= {"system": names[0], "postprocess": scoring.told(first)}
    tables.print_report(console, found, names[0])
    if second is not None:
        console.print(tables.comparison_table(metrics, *names))
    if json_file is not None:
        _write_json(json_file, found)
    if plots is not None:
        _plot(console, plots, pictured)


def _postprocess(spec: str | None, median: float | None, csebb: bool) -> PostProcess | None:
    from earmark.core.errors import ConfigError
    from earmark.detect.postprocess_spec import read_postprocess

    given = [
        *([spec] if spec is not None else []),
        *([f"median={median}"] if median is not None else []),
        *(["csebb"] if csebb else []),
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


def _settings(
    psds: list[str] | None, ct_mean: str, like: str, drop_eventless: bool, best: bool | None
) -> MetricSettings:
    from earmark.core.errors import ScoreError
    from earmark.score.settings import MetricSettings, read_scenario

    extra: dict[str, PsdsParameters] = {}
    for text in psds or ():
        name, parameters = read_scenario(text)
        if name in (*extra, "psds1", "psds2"):
            raise ScoreError(
                f"two PSDS are called {name}", hint="Give this one another: --psds name=psds_b,…"
            )
        extra[name] = parameters
    scenarios = MetricSettings.with_scenarios(extra, ct_mean=ct_mean).scenarios  # type: ignore[arg-type]
    return MetricSettings(scenarios, drop_eventless, best is not False, like)  # type: ignore[arg-type]


def _thresholds(given: list[str]) -> dict[str, float]:
    """Threshold by class; "" stands for all others."""
    from earmark.core.errors import ConfigError

    found: dict[str, float] = {}
    for text in given:
        label, _, number = text.rpartition("=")
        try:
            found[label] = float(number)
        except ValueError:
            raise ConfigError(
                f"the threshold {text!r} is not a number", hint="Write 0.5, or CLASS=0.5"
            ) from None
    return found


def _write_json(path: Path, found: Mapping[str, Any]) -> None:
    from earmark.core.errors import EarmarkError

    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise EarmarkError(f"cannot be written ({error.strerror})", where=path) from None


def _plot(
    console: Console, folder: Path, systems: list[tuple[str, dict[str, Any], list[Measurement]]]
) -> None:
    from earmark.deliver.pictures.score_plots import Pictured, plot_scores

    paths = plot_scores(folder, [Pictured(*system) for system in systems])
    console.print(f"pictures: {', '.join(map(str, paths))}", highlight=False, soft_wrap=True)
