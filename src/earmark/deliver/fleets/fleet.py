"""Detection on many machines with Ray Data: one actor for every core or GPU.

The recordings that are not done are dealt into shards; an actor scores a shard with a detector of
its own and writes the shard's tables itself, so nothing large travels back. A worker or machine
that dies takes one shard with it, which another worker does again; a recording that kills its
worker twice is given up and told. Stopped and started again, the run goes on with what is not done.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from earmark.core.errors import ConfigError, EarmarkError, optional_package
from earmark.core.locking import only_writer
from earmark.deliver.batch import DetectorSettings
from earmark.deliver.fleets.shards import DOING, Shards
from earmark.deliver.fleets.store import Remote, Store, is_url
from earmark.deliver.journal import Track
from earmark.detect.detector import Detector, Result

SHARD_SIZE = 32
TRIES = 2
"""How often a recording may end its worker."""


@dataclass(frozen=True)
class FleetJob:
    """What a fleet does.

    Attributes:
        detector: What to detect with; its bundle is sent to every worker.
        out: Folder of the results, a path or a URL every worker can write to.
        kind: Of the tables, ``parquet`` or ``tsv``.
        workers: Actors; one for every core, or GPU where there are any, if None.
        shard_size: Recordings in a shard.
        address: Of a running Ray cluster; by default that of ``RAY_ADDRESS``, or a new one of this
            machine alone.
    """

    detector: DetectorSettings
    out: str
    kind: str = "parquet"
    workers: int | None = None
    shard_size: int = SHARD_SIZE
    address: str | None = None


@dataclass(frozen=True)
class ShardDone:
    """A finished shard: how many recordings, how much sound, what was found, what failed."""

    shard: str
    recordings: int
    seconds: float
    events: int
    failures: int
    elapsed: float
    worker: str


def run_fleet(recordings: Sequence[Remote], job: FleetJob) -> Iterator[ShardDone | int]:
    """Detects in many recordings on many machines.

    Args:
        recordings: Each once.
        job: What to do, and where to put it.

    Yields:
        First the number of recordings that were done before; then every shard when it is done.

    Raises:
        ConfigError: If Ray is not installed, the folder has the results of other settings, or a
            setting is not usable.
        EarmarkError: If the workers cannot do it: what is done is kept.
    """
    ray = require_ray()
    detector = job.detector.load(threads=1)
    shards = Shards(Store(job.out), job.kind)
    about = {"bundle": job.detector.bundle, "fingerprint": detector.fingerprint}
    with nullcontext() if is_url(job.out) else only_writer(job.out):
        shards.begin(job.detector.key(detector), about)
        done = shards.done()
        waiting = [recording for recording in recordings if recording not in done]
        yield len(recordings) - len(waiting)
        if not waiting:
            return
        with _cluster(ray, job.address):
            content = bundle_content(detector)
            del detector
            yield from _work(ray, list(make_shards(waiting, job.shard_size)), job, content)


def make_shards(recordings: Sequence[Remote], size: int) -> Iterator[tuple[str, list[Remote]]]:
    """Shards of so many recordings, each with a name made from what is in it.

    Raises:
        ConfigError: If the size is not at least 1.
    """
    if size < 1:
        raise ConfigError(f"a shard of {size} recordings is empty", hint="Use 1 or more")
    for start in range(0, len(recordings), size):
        members = list(recordings[start : start + size])
        text = "\n".join(f"{member.name}\t{member.stamp}" for member in members)
        yield hashlib.sha256(os.fsencode(text)).hexdigest()[:16], members


def require_ray() -> Any:
    """Ray with Ray Data.

    Raises:
        ConfigError: If it is not installed.
    """
    optional_package("ray.data", "--engine ray needs", "fleet", instead=", or leave --engine out")
    return import_module("ray")


class _cluster:  # noqa: N801 - used as a function
    """A connection to a cluster, or a cluster of this machine for as long as it is needed."""

    def __init__(self, ray: Any, address: str | None) -> None:
        self._ray = ray
        self._address = address
        self._ours = not ray.is_initialized()

    def __enter__(self) -> None:
        if not self._ours:
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its own log files have the rest
        address = self._address or os.environ.get("RAY_ADDRESS")
        try:
            self._ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if address else {"include_dashboard": False}),
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise EarmarkError(
                f"no Ray cluster ({str(error).splitlines()[0]})",
                where=address,
                hint="Start one with `ray start --head`, or leave the address out",
            ) from None

    def __exit__(self, *_: object) -> None:
        if self._ours:
            self._ray.shutdown()


def _work(
    ray: Any, shards: Sequence[tuple[str, list[Remote]]], job: FleetJob, content: dict[str, bytes]
) -> Iterator[ShardDone]:
    wanted = job.detector.options.get("device", "auto") != "cpu"
    gpus = int(ray.cluster_resources().get("GPU", 0)) if wanted else 0
    cores = int(ray.cluster_resources().get("CPU", 1))
    workers = min(job.workers or gpus or cores, len(shards))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    for name in ("ray.data", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)
    rows = [
        {"shard": name, "members": json.dumps([asdict(member) for member in members])}
        for name, members in shards
    ]
    results = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        ShardWorker,
        fn_constructor_args=(job, ray.put(content)),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
        **({"num_gpus": 1} if gpus else {}),
    )  # Ray Data replaces actors that die, and gives another what they were doing
    try:
        for row in results.iter_rows():
            yield ShardDone(**row)
    except ray.exceptions.RayError as error:
        raise EarmarkError(
            f"the workers stopped ({_reason(error)})",
            hint="What is done is kept; run it again to go on",
        ) from None


def _reason(error: BaseException) -> str:
    """The last line of what a worker told."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def bundle_content(detector: Detector) -> dict[str, bytes]:
    """The files of a bundle by name: workers need not see the disk it lies on."""
    path = detector.path
    if path is None:
        raise ConfigError("a detector of a fleet must come from a bundle or an exported file")
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    return {file.name: file.read_bytes() for file in files if file.suffix in _KEPT}


_KEPT = (".safetensors", ".yaml", ".txt", ".csv", ".onnx", ".json")


class ShardWorker:
    """An actor: detects in the recordings of one shard after the other and writes its tables.

    Args:
        job: What to do.
        content: `bundle_content`, or a reference to it in Ray's store.
    """

    def __init__(self, job: FleetJob, content: Any) -> None:
        if not isinstance(content, dict):
            content = require_ray().get(content)
        files: dict[str, bytes] = content
        self._folder = tempfile.TemporaryDirectory()  # the detector reads from it as it needs
        folder = Path(self._folder.name)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        exported = next(iter(files)) if len(files) == 1 else ""
        settings = replace(job.detector, bundle=str(folder / exported))
        # An actor has one core, or a GPU whose calls one thread prepares.
        self._detector = settings.load(threads=1)
        self._each = job.detector.channels == "each"
        self._store = Store(job.out)
        self._shards = Shards(self._store, job.kind)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """A batch of one shard, as Ray Data gives it → its `ShardDone`, as Ray Data takes it."""
        members = [Remote(**member) for member in json.loads(str(batch["members"][0]))]
        done = self._do(str(batch["shard"][0]), members)
        return {name: [value] for name, value in asdict(done).items()}

    def _do(self, shard: str, members: Sequence[Remote]) -> ShardDone:
        began = time.perf_counter()
        tries = _Tries(self._store, shard)
        found, failures = [], []
        for number, member in enumerate(members):
            if not tries.begin(number):
                reason = f"its worker died {TRIES} times, perhaps out of memory"
                failures.append((member.name, reason))
                continue
            try:
                found.append((member, self._tracks(member)))
            except (EarmarkError, OSError) as error:
                failures.append((member.name, str(error)))
            except Exception as error:  # of decoders and stores; never the others' end
                failures.append((member.name, f"{type(error).__name__}: {error}"))
        self._shards.write(shard, found, failures)
        tries.end()
        tracks = [track for _, named in found for _, track in named]
        return ShardDone(
            shard=shard,
            recordings=len(found),
            seconds=sum(named[0][1].duration for _, named in found),
            events=sum(len(track.events) for track in tracks),
            failures=len(failures),
            elapsed=time.perf_counter() - began,
            worker=f"{platform.node()}:{os.getpid()}",
        )

    def _tracks(self, member: Remote) -> list[tuple[str, Track]]:
        """What is found in a recording, or in each of its channels."""
        source = member.open()
        try:
            results: list[Result]
            if self._each:
                results = self._detector.detect_channels(source, filename=member.name)
            else:
                results = [self._detector.detect(source, filename=member.name)]
        finally:
            if not isinstance(source, Path):
                source.close()
        return [
            (result.filename, Track(number, result.duration, result.found))
            for number, result in enumerate(results, start=1)
        ]


class _Tries:
    """Which recording of a shard is being done, noted where a worker's end does not lose it."""

    def __init__(self, store: Store, shard: str) -> None:
        self._store = store
        self._name = f"{DOING}/{shard}.json"
        noted = json.loads(store.read(self._name) or b"{}")
        self._counts: dict[str, int] = noted

    def begin(self, number: int) -> bool:
        """Notes that a recording is begun; says no if that has ended workers too often."""
        count = self._counts.get(str(number), 0)
        if count >= TRIES:
            return False
        # Of those before, which are done again, none ended the worker: only this one is counted.
        kept = {key: value for key, value in self._counts.items() if value >= TRIES}
        self._store.write(self._name, json.dumps(kept | {str(number): count + 1}).encode())
        return True

    def end(self) -> None:
        """Forgets all of it."""
        self._store.remove([self._name])
