"""The results of a fleet: shards of tables in a folder that many machines write into.

``events/NAME.parquet`` has the events of a shard's recordings, ``recordings/NAME.parquet`` the
recordings and their lengths, ``failures/NAME.parquet`` those that could not be read. A shard is
done when its second file is there, which is written last. ``fleet.json`` says what was detected
with.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earmark._version import __version__
from earmark.core.errors import ConfigError, EarmarkError, optional_package
from earmark.core.formats import write_events
from earmark.deliver.fleets.store import Remote, Store
from earmark.deliver.outputs import events_of

if TYPE_CHECKING:
    import pyarrow as pa

    from earmark.deliver.journal import Track

ABOUT = "fleet.json"
EVENTS, RECORDINGS, FAILURES, DOING = "events", "recordings", "failures", "doing"
KINDS = ("parquet", "tsv")
Rows = dict[str, list[Any]]


@dataclass(frozen=True)
class Shards:
    """The tables of a fleet.

    Args:
        store: The folder.
        kind: ``parquet`` or ``tsv``.
    """

    store: Store
    kind: str = "parquet"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(
                f"shards cannot be {self.kind!r}", hint=f"Choose {' or '.join(KINDS)}"
            )

    def begin(self, key: str, about: dict[str, Any]) -> None:
        """Puts the folder in order before a run.

        Events of shards that were not finished are removed, and so is what failed: it will be
        tried again.

        Args:
            key: What decides the events of a recording beside its content.
            about: Told in ``fleet.json`` beside it.

        Raises:
            ConfigError: If the folder has the results of other settings.
        """
        present = self.store.read(ABOUT)
        told = {"key": key, "kind": self.kind, "earmark": __version__, **about}
        if present is None:
            self.store.write(ABOUT, json.dumps(told, indent=1, ensure_ascii=False).encode())
        else:
            before = json.loads(present)
            if (before.get("key"), before.get("kind")) != (key, self.kind):
                raise ConfigError(
                    "holds what another bundle, other options or another format gave",
                    where=self.store.url,
                    hint="Choose another --out",
                )
        done = set(self.store.names(RECORDINGS))
        orphans = [name for name in self.store.names(EVENTS) if name not in done]
        self.store.remove(f"{EVENTS}/{name}" for name in orphans)
        for folder in (FAILURES, DOING):
            self.store.remove(f"{folder}/{name}" for name in self.store.names(folder))

    def done(self) -> set[Remote]:
        """The recordings that are in a finished shard."""
        found: set[Remote] = set()
        for name in self.store.names(RECORDINGS):
            rows = self._read(f"{RECORDINGS}/{name}")
            found.update(map(Remote, rows["filename"], rows["stamp"]))
        return found

    def write(
        self,
        shard: str,
        found: Sequence[tuple[Remote, Sequence[tuple[str, Track]]]],
        failures: Sequence[tuple[str, str]],
    ) -> None:
        """Writes a shard.

        Args:
            shard: Its name.
            found: Recordings, and their channels with the names these have in the tables.
            failures: Names of the recordings that failed, with the reason.
        """
        if failures:
            names, reasons = map(list, zip(*failures, strict=True))
            self._write(f"{FAILURES}/{shard}", {"filename": names, "reason": reasons})
        tracks = [track for _, named in found for track in named]
        self._write_events(f"{EVENTS}/{shard}", tracks)
        durations = [named[0][1].duration for _, named in found]
        rows: Rows = {
            "filename": [remote.name for remote, _ in found],
            "duration": durations,
            "events": [sum(len(track.events) for _, track in named) for _, named in found],
            "stamp": [remote.stamp for remote, _ in found],
        }
        self._write(f"{RECORDINGS}/{shard}", rows)

    def _write_events(self, name: str, tracks: Sequence[tuple[str, Track]]) -> None:
        table = events_of(tracks)
        if self.kind == "parquet":
            self._write(name, {column: table[column].tolist() for column in table.columns})
            return
        with tempfile.TemporaryDirectory() as folder:
            draft = Path(folder) / "events.tsv"
            write_events(draft, table, "tsv")
            self.store.write(f"{name}.tsv", draft.read_bytes())

    def _write(self, name: str, rows: Rows) -> None:
        if self.kind == "parquet":
            content = _parquet(rows)
        else:
            lines = [list(rows), *zip(*rows.values(), strict=True)]
            content = "".join("\t".join(map(_field, line)) + "\n" for line in lines).encode()
        self.store.write(f"{name}.{self.kind}", content)

    def _read(self, name: str) -> Rows:
        content = self.store.read(name) or b""
        try:
            if self.kind == "parquet":
                return dict(_arrow().parquet.read_table(io.BytesIO(content)).to_pydict())
            header, *lines = content.decode().splitlines()
            columns = zip(*(line.split("\t") for line in lines), strict=True)
            empty: Rows = {column: [] for column in header.split("\t")}
            return empty | dict(zip(empty, map(list, columns), strict=False))
        except (ValueError, OSError) as error:
            raise EarmarkError(
                f"is no table of a fleet ({error})",
                where=f"{self.store.url}/{name}",
                hint="Remove it: its recordings are then detected again",
            ) from None


def _field(value: Any) -> str:
    """A value of a line; names with tabs or line ends are written with blanks."""
    return " ".join(value.split()) if isinstance(value, str) else repr(value)


def _arrow() -> Any:
    optional_package("pyarrow.parquet", "Parquet needs", "fleet", instead=", or use --format tsv")
    return import_module("pyarrow")


_TYPES = {
    "onset": "float64",
    "offset": "float64",
    "score": "float64",
    "duration": "float64",
    "events": "int64",
}


def _parquet(rows: Rows) -> bytes:
    """Columns as a Parquet file; types do not depend on whether there are rows."""
    arrow = _arrow()
    fields = [(name, getattr(arrow, _TYPES.get(name, "string"))()) for name in rows]
    table: pa.Table = arrow.table(rows, schema=arrow.schema(fields))
    buffer = io.BytesIO()
    arrow.parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
