"""Forty-odd kinds of damage, one by one and together: each is named, with what to do about it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from earmark.cli import app
from earmark.core.config import DataSettings
from earmark.data.manifest import load_manifest
from earmark.prepare.doctor.catalogue import KINDS
from earmark.prepare.doctor.examine import Diagnosis, examine
from earmark.prepare.doctor.recordings import FactsCache, inspect_all
from helpers import damage
from helpers.files import digests


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return damage.make_tree(tmp_path / "dataset")


def places(diagnosis: Diagnosis, kind: str) -> list[str]:
    return [
        f"{place.file}:{place.line} {place.detail}"
        if place.line
        else f"{place.file} {place.detail}"
        for finding in diagnosis.findings
        if finding.kind == kind
        for place in finding.places
    ]


def test_a_healthy_tree(tree: Path) -> None:
    diagnosis = examine(tree)
    assert diagnosis.findings == []
    assert diagnosis.healthy
    assert diagnosis.fingerprint == load_manifest(tree).fingerprint
    assert [(part.name, part.found, part.seconds) for part in diagnosis.subsets] == [
        ("validation", 6, 6.0),
        ("synthetic", 6, 6.0),
        ("real", 6, 6.0),
        ("weak", 6, 6.0),
        ("unlabelled", 6, 6.0),
    ]
    assert diagnosis.subsets[1].labels == {"Cat": 2, "Dog": 2, "Speech": 2}


@pytest.mark.parametrize("kind", damage.DAMAGE)
def test_every_damage_is_named_with_its_file_and_hint(tree: Path, kind: str) -> None:
    where = damage.DAMAGE[kind](tree)
    before = digests(tree)
    diagnosis = examine(tree)
    found = places(diagnosis, kind)
    assert any(where in place for place in found), (where, found, diagnosis.findings)
    assert KINDS[kind].hint
    assert digests(tree) == before  # it changes nothing
    load_manifest(tree)  # and what is left can be used


def test_a_strong_table_without_events(tree: Path) -> None:
    names = sorted(path.name for path in (tree / damage.REAL).iterdir())
    rows = ["filename\tonset\toffset\tevent_label", *(f"{name}\t\t\t" for name in names)]
    (tree / damage.REAL_TSV).write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert places(examine(tree), "no-events") == [f"{damage.REAL_TSV} 6 clips"]


def test_declared_classes_that_nothing_is_labelled_with(tmp_path: Path) -> None:
    damage.make_tree(tmp_path)
    source = f"{{audio: {damage.REAL}, strong: {damage.REAL_TSV}}}"
    text = f"classes: [Cat, Dog, Siren, Speech]\ntrain:\n  - {source}\n"
    (tmp_path / "data.yaml").write_text(text, encoding="utf-8")
    (place,) = places(examine(tmp_path / "data.yaml"), "never-trained")
    assert place.endswith(" Siren")


def damaged(tree: Path) -> dict[str, str]:
    kinds = [kind for kind in damage.DAMAGE if kind not in damage.WHOLE_PARTS]
    assert len(kinds) >= 30
    return {kind: damage.DAMAGE[kind](tree) for kind in kinds}


def test_all_damage_together(tree: Path) -> None:
    done = damaged(tree)
    diagnosis = examine(tree, workers=2)
    for kind, where in done.items():
        assert any(where in place for place in places(diagnosis, kind)), (kind, where)
    severities = [finding.severity for finding in diagnosis.findings]
    assert severities == sorted(severities, key=["error", "warning", "info"].index)
    manifest = load_manifest(tree)
    sides = [*manifest.train, *manifest.splits.values()]
    for part in sides:  # nothing is lost: every listed clip is used or named
        listed = {*part.missing, *part.faulty, *getattr(part, "excluded", ())}
        assert not listed & {path.name for path in part.clips}
    validation = manifest.splits["validation"]
    assert validation.listed == 7  # six and x.wav, whose row cannot be understood
    assert set(validation.faulty) == {damage.name_of("validation", 4), "x.wav"}
    assert manifest.damage


def test_headers_alone_miss_what_is_in_the_samples(tree: Path) -> None:
    for kind in ("silent", "truncated", "missing"):
        damage.DAMAGE[kind](tree)
    kinds = {finding.kind for finding in examine(tree, content=False).findings}
    assert kinds == {"truncated", "missing"}


def test_what_is_known_is_not_looked_at_again(tree: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "facts.sqlite"
    damage.DAMAGE["silent"](tree)
    first = examine(tree, cache=cache)
    again = examine(tree, cache=cache)
    assert (first.inspected, again.inspected) == (30, 0)
    assert again.findings == first.findings
    assert examine(tree, cache=cache, content=False).inspected == 0
    path = damage.clip(tree, damage.WEAK, 0)
    damage.write(path, damage.noise(77))
    os.utime(path, ns=(1, 1))
    assert examine(tree, cache=cache).inspected == 1
    cache.write_bytes(b"no database" * 100)
    assert examine(tree, cache=cache).findings == first.findings


def test_an_interruption_loses_nothing(tree: Path, tmp_path: Path) -> None:
    paths = sorted(tree.rglob("*.wav")) * 5
    cache = tmp_path / "facts.sqlite"
    facts = FactsCache(cache)

    def stop(done: int, _: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inspect_all(paths, facts, True, progress=stop)
    facts.close()
    assert inspect_all(paths[:30], FactsCache(cache), True) == 0


def test_excluding_what_leaks(tree: Path, tmp_path: Path) -> None:
    damage.DAMAGE["leak-by-content"](tree)
    damage.DAMAGE["shared-content"](tree)
    before = load_manifest(tree)
    out, table = tmp_path / "report.json", tmp_path / "exclude.tsv"
    command = ["doctor", str(tree), "--json", str(out), "--exclude", str(table), "--no-cache"]
    result = CliRunner().invoke(app, [*command, "--workers", "1"])
    assert result.exit_code == 1, result.output
    assert "leak-by-content" in result.output
    assert "hint:" in result.output
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["healthy"] is False
    (leak,) = (one for one in report["findings"] if one["kind"] == "leak-by-content")
    assert leak["places"][0]["file"].endswith("renamed.wav")
    after = load_manifest(tree, DataSettings(exclude=str(table)))
    names = {path.name for path in after.train[3].clips}
    assert len(before.train[3].clips) - len(names) == 2
    assert not names & {"renamed.wav", "soundscape.wav"}


def test_exit_codes(tree: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert run(app, ["doctor", str(tree), "--no-cache", "--workers", "1"]).exit_code == 0
    damage.DAMAGE["missing"](tree)  # a warning: the rest is used
    assert run(app, ["doctor", str(tree), "--no-cache", "--workers", "1"]).exit_code == 0
    result = run(app, ["doctor", str(tmp_path / "none"), "--no-cache"])
    assert "no such folder" in str(result.exception)  # main() makes it exit code 2
