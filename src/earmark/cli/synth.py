"""``earmark synth``: write a dataset of soundscapes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def synth(
    out: Annotated[Path, typer.Argument(help="Folder of the dataset; new, or begun before.")],
    recipe: Annotated[
        str, typer.Option(help="demo, mini, mini-long, scaper, or a YAML file of settings.")
    ] = "mini",
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal bytes.")] = 0,
    soundbank: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of recordings: CLASS/*.wav|flac and background/, optionally "
            "manifest.csv; Scaper's foreground/ and background/ will do. Repeat it for several. "
            "Without it all sounds are synthesised."
        ),
    ] = None,
    synthesised: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="With --soundbank: fraction of the sounds synthesised all the same.",
        ),
    ] = 0.0,
    also: Annotated[
        list[str] | None,
        typer.Option(help="With --soundbank: class that is synthesised alone. Repeat it."),
    ] = None,
    clips: Annotated[
        str | None,
        typer.Option(help="Clips by subset, as strong=100,weak=50,unlabelled=200; test=0 is none."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes; 0 takes one per available core.")
    ] = 0,
    jams: Annotated[
        bool, typer.Option("--jams", help="Write a JAMS file beside each strongly labelled clip.")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting: snr_db=[0,20], strong.events=[1,2], …"),
    ] = None,
) -> None:
    """Write a dataset of 10-second soundscapes with exact labels, in DESED's layout.

    Strong clips are clean mixtures; weak, unlabelled, validation and test clips are carried over
    into another domain (rooms, microphones, noise, level). The subsets never share a recording
    or a random stream. Run it again to go on where it stopped.

    Numbers may be distributions: `12`, `[6,30]` (uniform), `{choose: [0,6,12]}`,
    `{normal: {mean: 15, sd: 5}}`, `{truncnorm: {mean: 15, sd: 5, low: 6, high: 30}}`, for snr_db,
    event_time, source_time, duration, pitch_shift, time_stretch, background_db, and for the
    number of events. docs/soundscapes.md explains all settings.

    Examples:
    - `earmark synth data/mini`
    - `earmark synth data/own --soundbank my_sounds --recipe scaper --seed 3`
    - `earmark synth data/both --soundbank my_sounds --soundbank more --synthesised 0.25`
    - `earmark synth data/small --clips strong=100,weak=50,unlabelled=200,validation=30,test=30`
    - `earmark synth data/own --soundbank my_sounds --set "pitch_shift={normal: {mean: 0, sd: 1}}"
      --set "strong.counts={Doorbell: 1}" --set "strong.events=[0,3]"`
    """
    from earmark.cli.progress import counting
    from earmark.core.config import apply_overrides, parse_settings
    from earmark.core.parallel import available_cores
    from earmark.synth.settings import SynthSettings, load_synth_mapping
    from earmark.synth.soundscapes import write_dataset

    overrides = [*_clip_overrides(clips), *(["jams=true"] if jams else []), *(set_ or [])]
    content: dict[str, Any] = apply_overrides(load_synth_mapping(recipe), overrides)
    settings = parse_settings(SynthSettings, content, recipe)
    supplier = _supplier(soundbank or [], settings, synthesised, also or [])
    with counting("soundscapes") as progress:
        write_dataset(
            out, supplier, settings, seed, workers=workers or available_cores(), progress=progress
        )
    typer.echo(_summary(out, settings, supplier.labels))


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
                "--synthesised and --also go with --soundbank",
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
                hint=f"Subsets are {', '.join(SUBSETS)}.",
            )
        overrides.append(f"{subset}.clips={count}")
    return overrides


def _summary(out: Path, settings: Any, labels: tuple[str, ...]) -> str:
    from earmark.synth.settings import SUBSETS

    counts = ", ".join(f"{settings.subset(name).clips} {name}" for name in SUBSETS)
    classes = f"{len(labels)} class{'' if len(labels) == 1 else 'es'}"
    return f"{out}: {counts} clips of {settings.seconds:g} s, {classes}"
