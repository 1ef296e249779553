"""``earmark synth``: write a dataset of soundscapes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from earmark.cli.options import Overrides, Workers, argument, completing, option, with_options
from earmark.cli.progress import counting


@dataclass(frozen=True, kw_only=True)
class SynthOptions:
    """Options of ``earmark synth``."""

    out: Path = argument(..., "Write the dataset to this folder; an unfinished one is continued.")
    recipe: str = option(
        "mini",
        "Recipe of the soundscapes: demo, mini, mini-long, scaper, or a YAML file.",
        autocompletion=completing("demo", "mini", "mini-long", "scaper"),
    )
    seed: int = option(0, "Seed; equal seeds give equal bytes.", min=0)
    soundbank: list[Path] | None = option(
        None,
        "Use recordings of this folder instead of synthesised sounds: CLASS/*.wav|flac and "
        "background/, optionally manifest.csv, or Scaper's foreground/ and background/; may be "
        "repeated.",
    )
    synthesised: float = option(
        0.0,
        "With --soundbank: fraction of the sounds to synthesise instead.",
        min=0.0,
        max=1.0,
    )
    also: list[str] | None = option(
        None, "With --soundbank: class to synthesise only; may be repeated."
    )
    clips: str | None = option(
        None,
        "Number of clips per subset, e.g. strong=100,weak=50,unlabelled=200,test=0.",
        metavar="SUBSET=N,…",
    )
    workers: Workers = 0
    jams: bool = option(False, "Write a JAMS file beside each strongly labelled clip.", "--jams")
    set_: Overrides = None


@with_options
def synth(options: SynthOptions) -> None:
    """Write a dataset of 10-second soundscapes with exact labels, in DESED's layout.

    Strong clips are clean mixtures; weak, unlabelled, validation and test clips are converted to
    another domain (rooms, microphones, noise, level). The subsets never share a recording or a
    random stream. Run it again to continue where it stopped.

    Numbers may be distributions: `12`, `[6,30]` (uniform), `{choose: [0,6,12]}`,
    `{normal: {mean: 15, sd: 5}}`, `{truncnorm: {mean: 15, sd: 5, low: 6, high: 30}}`, for snr_db,
    event_time, source_time, duration, pitch_shift, time_stretch, background_db, and for the
    number of events. See docs/soundscapes.md for all settings.

    Examples:
    - `earmark synth data/mini`
    - `earmark synth data/own --soundbank my_sounds --recipe scaper --seed 3`
    - `earmark synth data/both --soundbank my_sounds --soundbank more --synthesised 0.25`
    - `earmark synth data/small --clips strong=100,weak=50,unlabelled=200,validation=30,test=30`
    - `earmark synth data/own --soundbank my_sounds --set "pitch_shift={normal: {mean: 0, sd: 1}}"
      --set "strong.counts={Doorbell: 1}" --set "strong.events=[0,3]"`
    """
    from earmark.core.config import apply_overrides, parse_settings
    from earmark.core.parallel import available_cores
    from earmark.synth.settings import SynthSettings, load_synth_mapping
    from earmark.synth.soundscapes import write_dataset

    overrides = [
        *_clip_overrides(options.clips),
        *(["jams=true"] if options.jams else []),
        *(options.set_ or []),
    ]
    content: dict[str, Any] = apply_overrides(load_synth_mapping(options.recipe), overrides)
    settings = parse_settings(SynthSettings, content, options.recipe)
    supplier = _supplier(options.soundbank or [], settings, options.synthesised, options.also or [])
    with counting("soundscapes") as progress:
        write_dataset(
            options.out,
            supplier,
            settings,
            options.seed,
            workers=options.workers or available_cores(),
            progress=progress,
        )
    typer.echo(_summary(options.out, settings, supplier.labels))


def _supplier(folders: list[Path], settings: Any, synthesised: float, also: list[str]) -> Any:
    """One soundbank, several or partly synthesised ones, or synthesised sounds alone.

    Raises:
        ConfigError: Options that go with a soundbank, without one.
    """
    from earmark.core.errors import ConfigError
    from earmark.synth.settings import SPLIT_OF, SUBSETS
    from earmark.synth.soundbank import Soundbank
    from earmark.synth.sources import SynthesisedSources

    if not folders:
        if synthesised or also:
            raise ConfigError(
                "--synthesised and --also need --soundbank",
                hint="Without recordings every sound is synthesised",
            )
        return SynthesisedSources()
    used = [name for name in SUBSETS if settings.subset(name).clips]
    blended = len(folders) > 1 or synthesised > 0 or bool(also)
    banks = [
        Soundbank(
            folder,
            needed=() if blended else {SPLIT_OF[name] for name in used},
            events=settings.soundbank.events,
            lengthen=settings.soundbank.background,
        )
        for folder in folders
    ]
    if not blended:
        return banks[0]
    from earmark.synth.blend import BlendedSources

    return BlendedSources(banks, synthesised, also)


def _clip_overrides(clips: str | None) -> list[str]:
    """``strong=100,weak=50`` as overrides of the settings.

    Raises:
        ConfigError: It is not of that form, or names no subset.
    """
    from earmark.core.errors import ConfigError
    from earmark.synth.settings import SUBSETS

    overrides: list[str] = []
    for item in (clips or "").split(","):
        if not item.strip():
            continue
        subset, _, count = (part.strip() for part in item.partition("="))
        if subset not in SUBSETS or not count.isdecimal():
            raise ConfigError(
                f"--clips: {item.strip()!r} is not SUBSET=NUMBER",
                hint=f"Subsets are {', '.join(SUBSETS)}",
            )
        overrides.append(f"{subset}.clips={count}")
    return overrides


def _summary(out: Path, settings: Any, labels: tuple[str, ...]) -> str:
    from earmark.synth.settings import SUBSETS

    counts = ", ".join(f"{settings.subset(name).clips} {name}" for name in SUBSETS)
    classes = f"{len(labels)} class{'' if len(labels) == 1 else 'es'}"
    return f"{out}: {counts} clips of {settings.seconds:g} s, {classes}"
