"""Fleets: shards, restarts, and workers that die."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from typer.testing import CliRunner

import earmark.cli
from earmark import Detector
from earmark.core.errors import AudioError, ConfigError
from earmark.deliver.batch import DetectorSettings
from earmark.deliver.fleets import fleet
from earmark.deliver.fleets.fleet import (
    FleetJob,
    ShardDone,
    ShardWorker,
    bundle_content,
    make_shards,
    run_fleet,
)
from earmark.deliver.fleets.shards import Shards
from earmark.deliver.fleets.store import Remote, Store
from earmark.deliver.fleets.store import listed_recordings as listed
from helpers.score_world import wrong

pytest.importorskip("pyarrow", reason="needs the extra fleet")

RATE = 16_000


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    paths = []
    for number in range(10):
        rng = np.random.default_rng(number)
        loud = np.repeat(rng.random(60) ** 2, RATE // 4)
        paths.append(folder / f"night {number}.wav")
        soundfile.write(paths[-1], 0.3 * loud * rng.normal(size=len(loud)).clip(-3, 3), RATE)
    return paths


def settings(hop_seconds: float | None = None) -> DetectorSettings:
    return DetectorSettings("mini", options={"threshold": 0.3, "hop_seconds": hop_seconds})


def worker(out: Path, kind: str = "parquet") -> ShardWorker:
    job = FleetJob(settings(), str(out), kind)
    return ShardWorker(job, bundle_content(Detector.from_pretrained("mini")))


def batch(members: list[Remote], name: str = "one") -> dict[str, Any]:
    about = [{"name": member.name, "stamp": member.stamp} for member in members]
    return {"shard": np.array([name]), "members": np.array([json.dumps(about)])}


def expected(paths: list[Path], hop_seconds: float | None = None) -> dict[str, list[Any]]:
    """What one process finds, by full path."""
    detector = settings(hop_seconds).load()
    return {str(path): [list(e) for e in detector.detect(path).found] for path in paths}


def found(out: Path) -> dict[str, list[Any]]:
    table = pd.read_parquet(out / "events")
    rows: dict[str, list[Any]] = {name: [] for name in pd.read_parquet(out / "recordings").filename}
    for name, *event in table.itertuples(index=False):
        rows[name].append(event)
    return rows


def test_recordings_are_found_by_path_and_url(recordings: list[Path]) -> None:
    folder = recordings[0].parent
    here = listed([str(folder)])
    assert [remote.name for remote in here] == [str(path) for path in recordings]
    assert listed([f"file://{folder}", str(recordings[3])]) == here
    assert len({remote.stamp.split("-")[1] for remote in here}) > 1


def test_urls_are_listed_and_read(recordings: list[Path]) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in recordings[:2]:
        memory.pipe_file(f"/deep/er/{path.name}", path.read_bytes())
    memory.pipe_file("/deep/notes.txt", b"no recording")
    memory.pipe_file("/odd/yard.dat", recordings[0].read_bytes())
    memory.pipe_file("/odd/notes.dat", b"no recording")
    assert [remote.name for remote in listed(["memory://odd"])] == ["memory:///odd/yard.dat"]
    remotes = listed(["memory://deep"])
    assert [remote.name for remote in remotes] == [
        f"memory:///deep/er/{path.name}" for path in recordings[:2]
    ]
    assert listed(["memory://deep/*/*1.wav"]) == remotes[1:]
    with remotes[1].open() as file:  # type: ignore[union-attr]
        assert soundfile.read(file)[0].shape == soundfile.read(recordings[1])[0].shape
    with pytest.raises(AudioError, match="no recordings"):
        listed(["memory://elsewhere"])
    with pytest.raises(ConfigError, match="cannot be reached"):
        listed(["nonsense://bucket/x"])


@pytest.mark.parametrize("kind", ["parquet", "tsv"])
def test_a_shard_and_its_failures(recordings: list[Path], tmp_path: Path, kind: str) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF")
    members = listed([str(recordings[0]), str(bad), str(recordings[1])])
    done = worker(tmp_path / "out", kind)(batch(members))
    assert (done["recordings"], done["failures"]) == ([2], [1])
    shards = Shards(Store(str(tmp_path / "out")), kind)
    assert shards.done() == {members[0], members[2]}
    files = {path.relative_to(tmp_path / "out").as_posix() for path in tmp_path.rglob("one*")}
    assert files == {f"{folder}/one.{kind}" for folder in ("events", "recordings", "failures")}
    if kind == "parquet":
        assert found(tmp_path / "out") == expected(recordings[:2])
        [failure] = pd.read_parquet(tmp_path / "out/failures").itertuples(index=False)
        assert failure.filename == str(bad)
        assert "bad.wav" in failure.reason
    else:
        lines = (tmp_path / "out/events/one.tsv").read_text("utf-8").splitlines()
        assert lines[0].split("\t") == ["filename", "onset", "offset", "event_label", "score"]
        assert len(lines) - 1 == sum(map(len, expected(recordings[:2]).values()))


def test_an_empty_shard_has_the_types_of_a_full_one(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    Shards(Store(str(tmp_path))).write("none", [], [])
    table = pq.read_table(tmp_path / "events/none.parquet")
    assert [str(field.type) for field in table.schema] == [
        "string",
        "double",
        "double",
        "string",
        "double",
    ]


def test_what_kills_its_worker_twice_is_given_up(recordings: list[Path], tmp_path: Path) -> None:
    members = listed([str(path) for path in recordings[:4]])

    def dies(self: Any, member: Remote) -> Any:
        if member == members[2]:
            raise SystemExit("as if it were killed")
        return ShardWorker._tracks(self, member)

    lives = worker(tmp_path / "out")
    for _ in range(2):
        mortal = worker(tmp_path / "out")
        mortal._tracks = dies.__get__(mortal)  # type: ignore[method-assign]
        with pytest.raises(SystemExit):
            mortal(batch(members))
    lives._tracks = dies.__get__(lives)  # type: ignore[method-assign]
    done = lives(batch(members))
    assert (done["recordings"], done["failures"]) == ([3], [1])
    [failure] = pd.read_parquet(tmp_path / "out/failures").itertuples(index=False)
    assert failure.filename == members[2].name
    assert "died 2 times" in failure.reason
    assert not list((tmp_path / "out/doing").iterdir())


def test_a_folder_is_put_in_order(tmp_path: Path) -> None:
    shards = Shards(Store(str(tmp_path)))
    shards.begin("key", {})
    shards.write("done", [], [("a.wav", "broken")])
    shards.write("half", [], [])
    (tmp_path / "recordings/half.parquet").unlink()  # the worker's end came before its last file
    shards.begin("key", {})
    assert {path.stem for path in (tmp_path / "events").iterdir()} == {"done"}
    assert not list((tmp_path / "failures").iterdir())  # to be tried again
    for other in (Shards(Store(str(tmp_path)), "tsv"), shards):
        with pytest.raises(ConfigError, match="another bundle"):
            other.begin("key" if other is not shards else "another", {})


def test_dealing() -> None:
    remotes = [Remote(str(number), "") for number in range(10)]
    shards = dict(make_shards(remotes, 4))
    assert [len(members) for members in shards.values()] == [4, 4, 2]
    assert [member for members in shards.values() for member in members] == remotes
    assert shards == dict(make_shards(remotes, 4))
    assert not set(shards) & set(
        dict(make_shards([Remote("0", "changed"), *remotes[1:]], 4)).keys()
    ) - {*list(shards)[1:]}
    with pytest.raises(ConfigError, match="empty"):
        list(make_shards(remotes, 0))


def test_without_ray_it_names_the_extra(
    recordings: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"earmark\[fleet\]"):
        fleet.require_ray()
    arguments = ["detect", "mini", str(recordings[0]), "--out", str(tmp_path / "out"), "--no-plot"]
    done = CliRunner().invoke(earmark.cli.app, arguments)
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(
        earmark.cli.app, [*arguments, "--engine", "ray", "--score-format", "tsv"]
    )
    assert isinstance(done.exception, ConfigError)
    told = wrong(*arguments, "--engine", "spark", capsys=capsys)
    assert "'spark' is not one of 'local', 'ray'" in told


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="needs the extra fleet")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


def test_a_fleet_with_a_worker_killed_on_the_way(
    cluster: Any, recordings: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    hop_seconds = 0.2  # so that nobody is done with everything before the kill
    job = FleetJob(settings(hop_seconds), str(out), workers=2, shard_size=1)
    members = listed([str(recordings[0].parent)])
    run = run_fleet(members, job)
    assert next(run) == 0
    first = next(run)
    assert isinstance(first, ShardDone)
    os.kill(int(first.worker.rpartition(":")[2]), signal.SIGKILL)
    done = [first, *(shard for shard in run if isinstance(shard, ShardDone))]
    assert len(done) == len(recordings)
    assert (
        len({shard.worker for shard in done}) == 3
    )  # the two, and the one in the dead one's place
    assert sum(shard.failures for shard in done) == 0
    assert found(out) == expected(recordings, hop_seconds)
    before = {path: path.read_bytes() for path in out.rglob("*.parquet")}

    # Started again it does what is missing: here a shard that was lost and a recording that is new.
    assert list(run_fleet(members, job)) == [len(recordings)]
    lost = out / "recordings" / f"{done[4].shard}.parquet"
    lost.unlink()
    again = list(run_fleet(members, job))
    assert again[0] == len(recordings) - 1
    assert len(again) == 2
    assert {path: path.read_bytes() for path in out.rglob("*.parquet")} == before
    with pytest.raises(ConfigError, match="another bundle"):
        list(
            run_fleet(
                members, FleetJob(DetectorSettings("mini", options={"threshold": 0.7}), str(out))
            )
        )
