"""``earmark detect --engine ray``: many machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from earmark.deliver.fleets.fleet import FleetJob
    from earmark.deliver.fleets.store import Remote


def detect_fleet(audio: Sequence[str], job: FleetJob) -> int:
    """Runs a fleet and tells how it goes; returns how many recordings failed."""
    import time

    from earmark.deliver.fleets.fleet import ShardDone, require_ray, run_fleet

    require_ray()
    console, errors = Console(), Console(stderr=True)
    recordings = listed(audio)
    began, before, done = time.monotonic(), 0, []
    bar = Progress(
        TextColumn("[bold]recordings"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=len(recordings))
        for event in run_fleet(recordings, job):
            if isinstance(event, ShardDone):
                done.append(event)
                bar.advance(task, event.recordings + event.failures)
            else:
                before = event
                bar.advance(task, before)
    seconds = sum(shard.seconds for shard in done)
    failed = sum(shard.failures for shard in done)
    workers = len({shard.worker for shard in done})
    speed = seconds / max(1e-9, time.monotonic() - began)
    console.print(
        f"{sum(shard.events for shard in done)} events in "
        f"{sum(shard.recordings for shard in done)} recordings ({seconds / 3600:.2f} hours)"
        + (f", {before} more done before" if before else "")
        + (f", {failed} failed" if failed else "")
        + (f"; {workers} workers, {speed:.0f} times real time" if done else "")
        + f": {job.out}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    if failed:
        errors.print(f"[red]{failed} failed:[/red] see failures/ in {job.out}", soft_wrap=True)
    return failed


def listed(audio: Sequence[str]) -> list[Remote]:
    """All recordings at paths, patterns and URLs, each once."""
    from earmark.deliver.fleets.store import as_local, is_url, local_recording, remote_recordings
    from earmark.deliver.recordings import find_recordings

    found: dict[Remote, None] = {}
    for given in map(as_local, audio):
        if is_url(given):
            found.update(dict.fromkeys(remote_recordings(given)))
        else:
            found.update(dict.fromkeys(map(local_recording, find_recordings([given]))))
    return list(found)
