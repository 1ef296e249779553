"""A DESED-shaped tree with sound in it, and thirty-odd ways to damage it, one by one or together.

Run as a script, it leaves such a tree: ``python tests/helpers/damage.py FOLDER [KIND …]``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
SYNTHETIC = "audio/train/synthetic21_train/soundscapes"
REAL, WEAK = "audio/train/strong_label_real", "audio/train/weak_16k"
UNLABELLED, VALIDATION = "audio/train/unlabel_in_domain", "audio/validation/validation"
SYNTHETIC_TSV = "metadata/train/synthetic21_train/soundscapes.tsv"
REAL_TSV, WEAK_TSV = "metadata/train/audioset_strong.tsv", "metadata/train/weak.tsv"
VALIDATION_TSV = "metadata/validation/validation.tsv"
DURATIONS_TSV = "metadata/validation/validation_durations.tsv"
LABELS = ("Cat", "Dog", "Speech")


def name_of(part: str, number: int) -> str:
    return f"Y{part[:3]}{number:08d}_0.000_1.000.wav"


def noise(seed: int, samples: int = RATE) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(samples)


def write(path: Path, audio: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, subtype=subtype)


def make_tree(root: Path) -> Path:
    """Six clips of one second in every part."""
    for number, (folder, table) in enumerate(
        (
            (SYNTHETIC, SYNTHETIC_TSV),
            (REAL, REAL_TSV),
            (WEAK, WEAK_TSV),
            (UNLABELLED, None),
            (VALIDATION, VALIDATION_TSV),
        )
    ):
        part = folder.split("/")[-2][:3] if folder == SYNTHETIC else folder.split("/")[-1]
        names = [name_of(part, index) for index in range(6)]
        for index, name in enumerate(names):
            write(root / folder / name, noise(100 * number + index))
        if table is None:
            continue
        lines = ["filename\tonset\toffset\tevent_label"]
        lines += [f"{n}\t0.1\t0.6\t{LABELS[i % 3]}" for i, n in enumerate(names)]
        if table == WEAK_TSV:
            lines = ["filename\tevent_labels"]
            lines += [f"{n}\t{LABELS[i % 3]}" for i, n in enumerate(names)]
        (root / table).parent.mkdir(parents=True, exist_ok=True)
        (root / table).write_text("\n".join(lines) + "\n", encoding="utf-8")
        if table == VALIDATION_TSV:
            rows = ["filename\tduration", *(f"{n}\t1.0" for n in names)]
            (root / DURATIONS_TSV).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def clip(root: Path, folder: str, number: int) -> Path:
    return sorted((root / folder).glob("*.wav"))[number]


def add(root: Path, table: str, *rows: str) -> None:
    with (root / table).open("a", encoding="utf-8") as file:
        file.writelines(f"{row}\n" for row in rows)


def edit(root: Path, table: str, line: int, change: Callable[[str], str]) -> None:
    lines = (root / table).read_text(encoding="utf-8").splitlines()
    lines[line - 1] = change(lines[line - 1])
    (root / table).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _row(line: int, onset: str, offset: str, label: str = "Dog", table: str = SYNTHETIC_TSV):
    def damage(root: Path) -> str:
        edit(root, table, line, lambda row: f"{row.split(chr(9))[0]}\t{onset}\t{offset}\t{label}")
        return f"{table}:{line}"

    return damage


def _clip(folder: str, number: int, do: Callable[[Path], None]):
    def damage(root: Path) -> str:
        path = clip(root, folder, number)
        do(path)
        return path.name

    return damage


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:9000])


def _nan(path: Path) -> None:
    audio = noise(1)
    audio[50] = np.nan
    write(path, audio, subtype="FLOAT")


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.wav")


def _added(folder: str, name: str, audio: np.ndarray, rate: int = RATE):
    def damage(root: Path) -> str:
        write(root / folder / name, audio, rate)
        return name

    return damage


def _copied(source: tuple[str, int], folder: str, name: str | None = None):
    def damage(root: Path) -> str:
        path = clip(root, *source)
        target = root / folder / (name or path.name)
        target.write_bytes(path.read_bytes())
        return target.name

    return damage


def _appended(table: str, row: Callable[[Path], str]):
    def damage(root: Path) -> str:
        count = len((root / table).read_text(encoding="utf-8").splitlines())
        add(root, table, row(root))
        return f"{table}:{count + 1}"

    return damage


def _columns(root: Path) -> str:
    edit(root, REAL_TSV, 1, lambda row: row + "\tannotator")
    return f"{REAL_TSV}:1"


def _unsure(root: Path) -> str:
    edit(root, WEAK_TSV, 1, lambda row: row + "\tconfidence")
    return f"{WEAK_TSV}:1 confidence"


def _bad_table(root: Path) -> str:
    edit(root, WEAK_TSV, 1, lambda row: row.replace("event_labels", "labels"))
    return WEAK_TSV


def _no_table(root: Path) -> str:
    (root / REAL_TSV).unlink()
    return REAL


def _no_recordings(root: Path) -> str:
    for path in (root / REAL).iterdir():
        path.unlink()
    return REAL


def _other_file(root: Path) -> str:
    (root / UNLABELLED / "late.dff").write_bytes(b"x")
    return "late.dff"


def _first(root: Path, folder: str, number: int = 0) -> str:
    return clip(root, folder, number).name


def _longer(root: Path) -> str:
    edit(root, DURATIONS_TSV, 5, lambda row: f"{row.split(chr(9))[0]}\t9.0")
    return DURATIONS_TSV


DAMAGE: dict[str, Callable[[Path], str]] = {
    "missing": _clip(WEAK, 0, lambda path: path.unlink()),
    "empty-file": _clip(REAL, 0, lambda path: path.write_bytes(b"")),
    "dangling-link": _clip(REAL, 1, _link),
    "unreadable": _clip(UNLABELLED, 0, lambda path: path.write_bytes(b"no audio at all")),
    "truncated": _clip(VALIDATION, 0, _cut),
    "no-samples": _clip(UNLABELLED, 1, lambda path: write(path, noise(0, 0))),
    "not-finite": _clip(SYNTHETIC, 0, _nan),
    "silent": _clip(UNLABELLED, 2, lambda path: write(path, np.zeros(RATE))),
    "cancelled": _clip(
        UNLABELLED, 3, lambda path: write(path, np.stack([noise(2), -noise(2)], axis=1))
    ),
    "clipped": _clip(UNLABELLED, 4, lambda path: write(path, np.clip(50 * noise(3), -1, 1))),
    "wrong-rate": _clip(WEAK, 1, lambda path: write(path, noise(4, 44_100), 44_100)),
    "low-rate": _clip(UNLABELLED, 5, lambda path: write(path, noise(5, 8000), 8000)),
    "several-channels": _clip(
        VALIDATION, 1, lambda path: write(path, np.stack([noise(6), noise(7)], axis=1))
    ),
    "wrong-speed": _added(UNLABELLED, "Yspeed000000_0.000_1.000.wav", noise(8, 44_100)),
    "too-long": _added(UNLABELLED, "long.wav", noise(9, 11 * RATE)),
    "weak-too-long": _clip(WEAK, 4, lambda path: write(path, noise(12, 11 * RATE))),
    "unused-confidence": _unsure,
    "too-short": _added(UNLABELLED, "short.wav", noise(10, 400)),
    "duplicate-audio": _copied((WEAK, 2), WEAK, "again.wav"),
    "leak-by-content": _copied((VALIDATION, 2), UNLABELLED, "renamed.wav"),
    "leak-by-name": _copied((VALIDATION, 3), UNLABELLED),
    "shared-content": _copied((SYNTHETIC, 1), UNLABELLED, "soundscape.wav"),
    "same-name": _copied((WEAK, 3), WEAK, name_of("weak_16k", 3).replace("wav", "flac")),
    "other-files": _other_file,
    "not-listed": _added(REAL, "extra.wav", noise(11)),
    "no-table": _no_table,
    "no-recordings": _no_recordings,
    "bad-table": _bad_table,
    "unknown-column": _columns,
    "inverted-times": _row(2, "0.6", "0.1"),
    "negative-times": _row(3, "-0.5", "0.4"),
    "bad-number": _row(4, "0.1s", "0.5"),
    "incomplete-event": _row(5, "0.1", ""),
    "zero-length": _row(6, "0.3", "0.3"),
    "after-end": _appended(REAL_TSV, lambda root: f"{_first(root, REAL, 4)}\t3.0\t4.0\tDog"),
    "beyond-end": _row(4, "0.5", "2.0", table=REAL_TSV),
    "bad-class-name": _row(5, "0.1", "0.5", "Dog\x07", REAL_TSV),
    "overlap": _appended(REAL_TSV, lambda root: f"{_first(root, REAL, 5)}\t0.4\t0.9\tSpeech"),
    "duplicate-row": _appended(
        VALIDATION_TSV, lambda root: f"{_first(root, VALIDATION, 5)}\t0.1\t0.6\tSpeech"
    ),
    "no-file-name": _appended(VALIDATION_TSV, lambda _: "\t0.1\t0.5\tDog"),
    "same-base-name": _appended(
        VALIDATION_TSV,
        lambda root: "\n".join(
            f"{folder}/{_first(root, VALIDATION, 4)}\t0.1\t0.2\tDog" for folder in ("one", "two")
        ),
    ),
    "bad-row": _appended(VALIDATION_TSV, lambda _: "x.wav\t0.1\t0.5\tDog\tbark"),
    "alike-classes": _appended(WEAK_TSV, lambda root: f"{_first(root, WEAK, 4)}\tspeech "),
    "never-trained": _appended(
        VALIDATION_TSV, lambda root: f"{_first(root, VALIDATION, 5)}\t0.7\t0.9\tBlender"
    ),
    "duration-differs": _longer,
    "bad-duration": _appended(
        DURATIONS_TSV, lambda root: f"{_first(root, VALIDATION, 5)}\tten seconds"
    ),
}
"""By the kind of finding it must lead to; each tells the file (and line) that it damaged."""


WHOLE_PARTS = {"no-table", "no-recordings", "bad-table"}
"""These take a whole part away, and with it what other damage to it would show."""

if __name__ == "__main__":
    tree = make_tree(Path(sys.argv[1]))
    for kind in sys.argv[2:] or [kind for kind in DAMAGE if kind not in WHOLE_PARTS]:
        print(kind, DAMAGE[kind](tree))  # noqa: T201
