"""Make docs/ablation.md of the committed runs, and of nothing else.

    python benchmarks/ablation/report.py            # write the measured part of the page
    python benchmarks/ablation/report.py --check    # exit with 1 if that would change it

A run whose configuration is not the frozen one is refused, and so is a pair that was not scored on
the same clips of the same recordings.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from paired import Difference, closed_gap, holm, paired_t, sign_flip, smallest_difference
from plan import CHOICES, HERE, Choices, digest, load_arms, load_choices

PAGE = HERE.parents[1] / "docs/ablation.md"
BEGIN, END = "<!-- measured -->", "<!-- /measured -->"
Run = Mapping[str, Any]
Runs = Mapping[str, Mapping[int, Run]]
"""Arm → seed → run, of one network."""


def _test(post: str, name: str) -> Callable[[Run], float]:
    return lambda run: float(run["test"][post][name])


PRIMARY = "class-mean PSDS1"
FIGURES: dict[str, Callable[[Run], float]] = {
    PRIMARY: _test("median", "class_mean_psds1"),
    "PSDS1": _test("median", "psds1"),
    "PSDS2": _test("median", "psds2"),
    "collar F1": _test("median", "collar_f1"),
    "class-mean PSDS1, cSEBB": _test("csebb", "class_mean_psds1"),
    "PSDS1, cSEBB": _test("csebb", "psds1"),
    "PSDS2, cSEBB": _test("csebb", "psds2"),
    "collar F1, cSEBB": _test("csebb", "collar_f1"),
    "frame mAP": lambda run: float(run["test"]["frame_map"]),
}


class RefusedError(Exception):
    """Runs that are not of the comparison; the message names each."""


def read_runs(folder: Path, choices: Choices) -> dict[str, Runs]:
    """All runs of a folder, by network, arm and seed.

    Raises:
        RefusedError: A run has another configuration than the frozen one, is there twice, is of a
            seed that is not among those chosen, or pairs differ in their data.
    """
    found: dict[str, dict[str, dict[int, Run]]] = {}
    faults: list[str] = []
    for path in sorted(folder.glob("*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        network, arm, seed = run["network"], run["arm"], run["seed"]
        frozen = choices.frozen.get(network, {}).get(arm)
        if digest(run["configuration"]) != run["digest"]:
            faults.append(f"{path.name}: its digest is not that of its configuration")
        elif run["digest"] != frozen:
            faults.append(f"{path.name}: its configuration is {run['digest']}, frozen is {frozen}")
        elif seed not in choices.seeds:
            faults.append(f"{path.name}: seed {seed} is not among those of the choices")
        elif seed in found.get(network, {}).get(arm, {}):
            faults.append(f"{path.name}: this run is there twice")
        else:
            found.setdefault(network, {}).setdefault(arm, {})[seed] = run
    for network, arms in found.items():
        faults += list(_unpaired(network, arms))
    if faults:
        raise RefusedError("\n".join(faults))
    return {network: found[network] for network in choices.networks if network in found}


def _unpaired(network: str, runs: Runs) -> Iterator[str]:
    """What is wrong with runs of a seed that were not scored alike."""
    every = [run for arm in runs.values() for run in arm.values()]
    if len({run["recordings"] for run in every}) > 1:
        yield f"{network}: its runs are of different recordings"
    for seed in sorted({run["seed"] for run in every}):
        scored = {run["test"]["evaluation"] for run in every if run["seed"] == seed}
        if len(scored) > 1:
            yield f"{network}, seed {seed}: its runs were scored on different clips"


def differences(runs: Runs, arm: str, other: str, figure: str = PRIMARY) -> list[float]:
    """Arm minus other in a figure, for the seeds that both have."""
    of = FIGURES[figure]
    ours, theirs = runs.get(arm, {}), runs.get(other, {})
    return [of(ours[seed]) - of(theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]


def hypothesis(runs: Runs, arm: str, than: Sequence[str]) -> tuple[str, list[float]] | None:
    """The other that the arm is least above, in units of the error, and the differences from it.

    To be above all of several is to be above this one (an intersection-union test); None while a
    comparison has fewer than two seeds.
    """
    found = {other: differences(runs, arm, other) for other in than}
    if any(len(values) < 2 for values in found.values()):
        return None
    least = min(found, key=lambda other: paired_t(found[other]).t)
    return least, found[least]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Markdown."""
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean ± standard deviation (n − 1)."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def p_text(p: float) -> str:
    """A p with as many digits as mean anything."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def arms_table(runs: Runs) -> list[str]:
    """Every figure of every arm."""
    arms = load_arms()
    rows = [
        [f"**{name}** {arms[name].title}", str(len(own))]
        + [spread([of(run) for run in own.values()]) for of in FIGURES.values()]
        for name in arms
        if (own := runs.get(name))
    ]
    return table(["arm", "seeds", *FIGURES], rows)


def hypotheses_table(runs: Runs, declared: Sequence[Mapping[str, Any]]) -> list[str]:
    """The declared hypotheses on the primary figure; what was not run counts as p = 1 for Holm."""
    found = {own["says"]: hypothesis(runs, own["arm"], own["than"]) for own in declared}
    tests = {says: paired_t(own[1]) for says, own in found.items() if own is not None}
    adjusted = holm({says: tests[says].p if says in tests else 1.0 for says in found})
    rows = []
    for own in declared:
        name = f"{own['arm']} > {own['than'][0]}"
        if len(own["than"]) > 1:
            name = f"{own['arm']} > max({', '.join(own['than'])})"
        said = f"{name}: {own['says']}"
        if (one := found[own["says"]]) is None:
            rows.append([said, "0", *["not run"] * 6])
            continue
        least, values = one
        test = tests[own["says"]]
        against = f" (against {least})" if len(own["than"]) > 1 else ""
        rows.append([said + against, *hypothesis_cells(test, values, adjusted[own["says"]])])
    header = ["declared", "seeds", "difference", "95 % interval", "p (t)", "p (Holm)"]
    return table([*header, "p (sign-flip)", "seen with 80 % power"], rows)


def hypothesis_cells(test: Difference, values: Sequence[float], adjusted: float) -> list[str]:
    """Everything that is said of one comparison."""
    return [
        str(test.seeds),
        f"{test.mean:+.4f}",
        f"[{test.low:+.4f}, {test.high:+.4f}]",
        p_text(test.p),
        p_text(adjusted),
        p_text(sign_flip(values)),
        f"{smallest_difference(test.sd, test.seeds):.4f}",
    ]


def secondary_table(runs: Runs) -> list[str]:
    """The paper's arm less the supervised one, in every figure; not tested."""
    rows = []
    for figure in FIGURES:
        row = [figure]
        for other in ("B", "G", "C"):
            values = differences(runs, "H", other, figure)
            row.append("" if len(values) < 2 else interval_text(paired_t(values)))
        rows.append(row)
    return table(["figure", "H − B", "H − G", "H − C"], rows)


def interval_text(found: Difference) -> str:
    """A difference with its interval."""
    return f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def ceiling_lines(runs: Runs) -> list[str]:
    """What the oracle leaves to be won, and how much of it is."""
    arms = [runs.get(name, {}) for name in ("H", "B", "O")]
    seeds = sorted(arms[0].keys() & arms[1].keys() & arms[2].keys())
    if len(seeds) < 2:
        return ["The fraction of the gap to the oracle, (H − B) / (O − B), needs two seeds.", ""]
    h, b, o = ([FIGURES[PRIMARY](arm[seed]) for seed in seeds] for arm in arms)
    found = closed_gap(h, b, o)
    gap = paired_t([high - low for high, low in zip(o, b, strict=True)])
    return [
        f"The oracle's gap O − B is {interval_text(gap)}; of it the method closes "
        f"(H − B) / (O − B) = {found.value:.2f} [{found.low:.2f}, {found.high:.2f}] "
        f"({len(seeds)} seeds, 95 % interval over resampled seeds).",
        "",
    ]


def course_table(runs: Runs) -> list[str]:
    """Mechanism: the teacher on unlabelled clips over the run, the vectors at its end, the cost."""
    rows = []
    for name in load_arms():
        own = list(runs.get(name, {}).values())
        if not own:
            continue
        steps = zip(*([point["frame_ap_unlabelled"] for point in run["course"]] for run in own),
                    strict=True)  # fmt: skip
        last = [run["course"][-1] for run in own]
        vectors = [
            spread([point[key] for point in last]) if all(key in point for point in last) else ""
            for key in ("embedding_std", "embedding_cosine", "gradient_ratio")
        ]
        probe = spread([run["probe"] for run in own])
        cost = statistics.median(run["cost"]["cpu_seconds_per_step"] for run in own)
        means = " → ".join(f"{statistics.mean(values):.3f}" for values in steps)
        rows.append([name, means, probe, *vectors, f"{cost:.3f}"])
    return table(
        ["arm", "teacher's frame mAP on unlabelled clips, over the run", "linear probe of the tap",
         "std of û", "cosine between clips", "gradient, embedding : supervised",
         "processor seconds a step"],
        rows,
    )  # fmt: skip


def network_section(name: str, runs: Runs, choices: Choices) -> list[str]:
    """All that is said of a network."""
    one = next(run for arm in runs.values() for run in arm.values())
    made = sum(map(len, runs.values()))
    clips = one["configuration"]["bank"]["synth"]
    return [
        f"### Network {name}: the runs",
        "",
        f"{made} runs of {one['steps']:,} steps; {one['parameters']:,} parameters, frozen "
        f"ones too; {one['labels']} labelled clips, {clips['unlabelled']['clips']:,} unlabelled "
        f"ones, {one['test']['clips']:,} test clips; classes {', '.join(one['classes'])}.",
        "",
        *arms_table(runs),
        *declared_section(name, runs, choices),
        *ceiling_lines(runs),
        "Other figures, paired, mean and 95 % interval; none of these was declared:",
        "",
        *secondary_table(runs),
        f"### Network {name}: mechanism and cost",
        "",
        *course_table(runs),
    ]


def declared_section(name: str, runs: Runs, choices: Choices) -> list[str]:
    """The hypotheses of a network; a budget of labels beside the main one has none."""
    declared = choices.hypotheses.get(name)
    if not declared:
        return []
    return [
        f"### Network {name}: what was declared",
        "",
        f"On {PRIMARY} of the last teacher. p is two-sided, Holm's correction is over the whole "
        "family, whatever of it was run.",
        "",
        *hypotheses_table(runs, declared),
    ]


def measured_part(folder: Path, choices: Choices) -> str:
    """The page's measured part, as Markdown."""
    runs = read_runs(folder, choices)
    if not runs:
        return "No run is finished yet."
    lines = [line for name, own in runs.items() for line in network_section(name, own, choices)]
    return "\n".join(lines).strip()


def written(page: str, measured: str) -> str:
    """A page with its measured part replaced.

    Raises:
        ValueError: The page has no place for it.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page lacks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{measured}\n{END}{after}"


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, default=HERE / "runs")
    parser.add_argument("--choices", type=Path, default=CHOICES)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if it would change")
    options = parser.parse_args(arguments)
    try:
        measured = measured_part(options.runs, load_choices(options.choices))
    except RefusedError as error:
        print(error, file=sys.stderr)
        return 2
    page = options.page.read_text(encoding="utf-8")
    new = written(page, measured)
    if options.check:
        return int(new != page)
    options.page.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
