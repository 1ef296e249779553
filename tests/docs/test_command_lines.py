"""Command lines of the documentation: each names a command, options and values that exist.

Commands are parsed as they would be when run, types of options included; nothing is executed.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from earmark.cli import app
from earmark.core.config import apply_overrides, parse_settings
from earmark.core.errors import EarmarkError
from earmark.core.formats import FORMATS
from earmark.core.tables.score_files import SCORE_FORMATS
from earmark.model.encoders.atst import ENCODER_SIZES
from earmark.synth.settings import SynthSettings, load_synth_mapping
from earmark.train.recipe import load_pretrain_recipe, load_recipe
from helpers.plugins import install_example

SHELLS = ("sh", "bash", "shell", "console")
OURS = re.compile(r"(earmark|python|make|pip) ")
"""How blocks without a language begin that are shell text."""
PLACEHOLDER = re.compile(r"…|\.\.\.")
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
OPTIONS = {
    name: {
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("-")
    }
    for name, command in COMMANDS.items()
}
OTHERS = {
    *("--help", "--version", "--install-completion"),
    *("--nnodes", "--node-rank", "--no-deps", "--test_from_checkpoint"),
}
"""Options of every command, and of other programs that the pages speak of."""
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "auto")
KNOWN = {
    ("detect", "formats"): tuple(FORMATS),
    ("detect", "score_formats"): tuple(SCORE_FORMATS),
    ("detect", "engine"): ("local", "ray"),
    ("detect", "precision"): PRECISIONS,
    ("evaluate", "precision"): PRECISIONS,
    ("review", "precision"): PRECISIONS,
    ("review", "sound"): ("opus", "mp3", "flac"),
    ("train", "precision"): PRECISIONS,
    ("pretrain", "precision"): PRECISIONS,
    ("pretrain", "size"): tuple(ENCODER_SIZES),
    ("import-labels", "format"): tuple(FORMATS),
    ("cache", "audio_format"): ("flac", "wav"),
    ("listen", "lines"): ("tsv", "jsonl"),
    ("listen", "sample_format"): ("u8", "s16le", "s32le", "f32le"),
    ("tune", "method"): ("csebb", "median", "auto"),
    ("import", "which"): ("student", "teacher"),
    ("import", "to"): ("bundle", "official"),
    ("score", "like"): ("sed_scores_eval", "psds_eval"),
}
"""Options that take a word of a list."""
RECIPES = ("mini", "atst-sed-v2-stage1", "atst-frame-pretrain")


def simple_commands(text: str) -> Iterator[tuple[int, list[str]]]:
    """Words of each command of a shell text, and its line: pipes and lists taken apart.

    Comments, prompts, redirections and settings of variables before a command are left out.
    """
    number, waiting = 0, ""
    for row, line in enumerate(text.splitlines()):
        number = number if waiting else row
        waiting += line.strip().removeprefix("$ ")
        if waiting.endswith("\\"):
            waiting = waiting[:-1] + " "
            continue
        lexer = shlex.shlex(waiting, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split, waiting = True, ""
        words: list[str] = []
        ended = object()
        for word in [*lexer, ended]:
            if word is ended or set(str(word)) <= set("|&;"):
                if words:
                    yield number, words
                words = []
            elif words or not re.match(r"\w+=", str(word)):
                words.append(str(word))
    assert not waiting, f"the text ends within a command: {text}"


def without_redirections(words: list[str]) -> list[str]:
    kept, skip = [], False
    for word in words:
        if set(word) <= set("<>&"):
            skip = True
        elif skip:
            skip = False
        else:
            kept.append(word)
    return kept


def fault_of(words: list[str], whole: bool) -> str | None:
    """What the command line would say against a command, ``earmark`` left out; None if nothing.

    Args:
        words: The command's name and arguments.
        whole: False where arguments may be missing, as in running text.
    """
    if words[:1] in (["--version"], ["--help"], ["-h"]) or not words:
        return None
    name, *arguments = words
    if name not in COMMANDS:
        return f"no command {name!r}"
    whole = whole and not any(PLACEHOLDER.fullmatch(word) for word in arguments)
    arguments = [word for word in arguments if not PLACEHOLDER.fullmatch(word)]
    if "--help" in arguments or "-h" in arguments:
        return None
    try:
        context = COMMANDS[name].make_context(name, arguments)
    except Exception as error:  # whatever the parser raises is the fault
        told = getattr(error, "format_message", error.__str__)()
        missing = type(error).__name__ == "MissingParameter" or "requires an argument" in told
        return None if missing and not whole else told
    return fault_of_values(name, context.params) or fault_of_recipe(name, context.params)


def fault_of_values(command: str, values: dict[str, Any]) -> str | None:
    """An option's value, or one of those it has between commas, that the command does not know."""
    for (owner, option), known in KNOWN.items():
        value = values.get(option)
        if owner == command and value:
            wrong = set(str(value).split(",")) - set(known)
            if wrong:
                return f"{', '.join(sorted(wrong))} is no {option}: {', '.join(known)}"
    return None


def fault_of_recipe(command: str, values: dict[str, Any]) -> str | None:
    """What is wrong with a recipe's name or the settings laid over it."""
    if command == "synth":
        return fault_of_soundscapes(values)
    if command not in ("train", "pretrain", "recipes"):
        return None
    recipe = values.get("recipe") or values.get("name")
    if recipe is None or recipe.isupper() or recipe.endswith(".yaml"):
        return None
    overrides = values.get("set_") or []
    try:
        if command == "pretrain" or recipe == "atst-frame-pretrain":
            load_pretrain_recipe(recipe, overrides, values.get("size"))
        else:
            load_recipe(recipe, overrides)
    except EarmarkError as error:
        return str(error)
    return None


def fault_of_soundscapes(values: dict[str, Any]) -> str | None:
    if values["recipe"].endswith(".yaml"):
        return None
    try:
        given = apply_overrides(load_synth_mapping(values["recipe"]), values.get("set_") or [])
        parse_settings(SynthSettings, given)
    except EarmarkError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def shell_lines(pages: Any) -> list[tuple[str, list[str]]]:
    """Words of every command of every shell block, and where it stands."""
    found = []
    for page in pages:
        indented = [block for block in page.blocks("") if OURS.match(block[1])]
        for first, content in (*page.blocks(*SHELLS), *indented):
            for row, words in simple_commands(content):
                found.append((f"{page.name}:{first + row}", without_redirections(words)))
    return found


def test_the_parser_of_shell_text() -> None:
    text = "A=1 earmark x 'a b' \\\n  --c d  # e\n$ cat f | earmark g > h && earmark i; ls"
    assert [(row, without_redirections(words)) for row, words in simple_commands(text)] == [
        (0, ["earmark", "x", "a b", "--c", "d"]),
        (2, ["cat", "f"]),
        (2, ["earmark", "g"]),
        (2, ["earmark", "i"]),
        (2, ["ls"]),
    ]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("detect mini a.wav --out found", None),
        ("detekt mini a.wav --out found", "no command"),
        ("detect mini a.wav --out found --formats tsv", "--formats"),
        ("detect mini a.wav", None),
        ("evaluate mini --data d", "--out"),
        ("detect mini a.wav --out found --threads many", "--threads"),
        ("evaluate mini other --data d --out o", "other"),
        ("train mini --data d --out o --set method.mixup.tau=0.9", None),
        ("train mini --data d --out o --set method.mixup.tua=0.9", "tua"),
        ("train minni --data d --out o", "minni"),
        ("train RECIPE --data d …", None),
        ("detect mini a.wav --out found --format tsv,ravn", "ravn"),
        ("tune b --data d --method cseb", "cseb"),
        ("synth d --recipe mini --set strong.clps=4", "clps"),
    ],
)
def test_faults_are_found(line: str, fault: str | None) -> None:
    found = fault_of(line.split(), whole=True)
    assert found is None if fault is None else found is not None and fault in found, found


def test_commands_in_blocks_parse(
    shell_lines: list[tuple[str, list[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for example in ("own_encoder", "own_hooks"):
        install_example(example, tmp_path / example, monkeypatch)
    ours = [(where, words[1:]) for where, words in shell_lines if words[0] == "earmark"]
    assert len(ours) > 60
    faults = [f"{where}: {fault}" for where, words in ours if (fault := fault_of(words, True))]
    assert not faults, "\n".join(faults)


def test_commands_and_options_in_running_text_exist(pages: Any) -> None:
    faults, seen = [], 0
    for page in pages:
        known = options_spoken_of(page)
        for line, token in page.inline("code_inline"):
            # [--workers N]: it may be left out, and N is any number
            text = re.sub(r"(?<!\w)\[(.*?)\]", r"\1", token.content.strip())
            text = re.sub(r" N\b", " 1", text)
            if text.startswith("earmark "):
                fault = fault_of(words_of(text)[1:], whole=False)
            elif re.match(r"--[a-z]", text):
                wrong = [word for word in options_of(text) if word not in known]
                fault = f"no command of the page has {', '.join(wrong)}" if wrong else None
            else:
                continue
            seen += 1
            if fault:
                faults.append(f"{page.name}:{line}: `{text}`: {fault}")
    assert seen > 150
    assert not faults, "\n".join(faults)


def test_commands_in_the_help_and_in_errors_exist(root: Path) -> None:
    """What the program itself tells people to type."""
    faults, seen = [], 0
    for path in sorted((root / "src").rglob("*.py")):
        for text in re.findall(r"`(earmark [a-z][^`{}\n]*)`", path.read_text(encoding="utf-8")):
            seen += 1
            fault = fault_of(words_of(text)[1:], whole=False)
            faults += [f"{path.name}: `{text}`: {fault}"] if fault else []
    assert seen > 60
    assert not faults, "\n".join(faults)


def options_spoken_of(page: Any) -> set[str]:
    """Options of every command and script that a page names; of all commands if it names none."""
    text = page.path.read_text(encoding="utf-8")
    named = [name for name in COMMANDS if re.search(rf"earmark {name}\b", text)]
    known = set().union(OTHERS, *(OPTIONS[name] for name in named or COMMANDS))
    for name in re.findall(r"python (benchmarks/[\w/]+\.py)", text):
        script = page.root / name
        if script.is_file():  # that it is there, another test says
            known |= set(re.findall(r"--[a-z][\w-]+", script.read_text(encoding="utf-8")))
    return known


def words_of(text: str) -> list[str]:
    _, words = next(simple_commands(text))
    return without_redirections(words)


def options_of(text: str) -> list[str]:
    return [word.split("=")[0] for word in words_of(text) if re.match(r"--[a-z]", word)]


def test_overrides_in_running_text_are_settings(pages: Any) -> None:
    """`train.x=1` anywhere is a setting of some recipe, and the value one it takes."""
    faults, seen = [], 0
    for page in pages:
        for line, token in page.inline("code_inline"):
            if not re.search(r"\b(train|method|network|data)\.[\w.]+=", token.content):
                continue
            words = [word for word in words_of(token.content) if re.match(r"[a-z]+\.[\w.]+=", word)]
            for word in words:
                seen += 1
                if not (re.search(r"=([a-z]|[A-Z]+)$", word) or any(accept(word))):
                    faults.append(f"{page.name}:{line}: {word}")
    assert seen > 10
    assert not faults, "\n".join(faults)


def accept(override: str) -> Iterator[bool]:
    """Whether the recipes take an override, one after the other."""
    for recipe in RECIPES:
        load = load_pretrain_recipe if "pretrain" in recipe else load_recipe
        try:
            load(recipe, [override])
        except EarmarkError:
            yield False
        else:
            yield True


def test_scripts_targets_and_extras_exist(
    pages: Any, shell_lines: list[tuple[str, list[str]]], root: Path
) -> None:
    in_text = [
        (f"{page.name}:{line}", words_of(token.content))
        for page in pages
        for line, token in page.inline("code_inline")
        if re.match(r"(python|make) [^…]+$", token.content)
    ]
    shell_lines = shell_lines + in_text
    assert len(in_text) > 20
    targets = set(re.findall(r"^([a-z0-9-]+):.*##", (root / "Makefile").read_text(), re.MULTILINE))
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    faults = []
    for where, words in shell_lines:
        if words[0] == "make":
            named = [w for w in words[1:] if "=" not in w and not w.startswith("-")]
            faults += [f"{where}: no target {w}" for w in named if w not in targets]
        elif words[0] in ("python", "python3"):
            faults += [f"{where}: {fault}" for fault in script_faults(words[1:], root)]
    said = [(where, " ".join(words)) for where, words in shell_lines]
    said += [(path.name, path.read_text(encoding="utf-8")) for path in (root / "src").rglob("*.py")]
    for where, text in said:
        for extra in re.findall(r"(?:earmark|\.)\[([a-z]+(?:,[a-z]+)*)\](?=['\"]|$)", text):
            names = set(extra.split(",")) - set(project["optional-dependencies"])
            faults += [f"{where}: no extra {name}" for name in names]
    assert not faults, "\n".join(faults)


def script_faults(words: list[str], root: Path) -> list[str]:
    if words[:2] == ["-m", "pytest"]:
        files = [word for word in words[2:] if not word.startswith("-")]
        return [f"no file {word}" for word in files if not any(root.glob(word.split("::")[0]))]
    if not words[0].startswith(("benchmarks/", "examples/")):
        return []
    script = root / words[0]
    if not script.is_file():
        return [f"no file {words[0]}"]
    source = script.read_text(encoding="utf-8")
    options = [word.split("=")[0] for word in words[1:] if word.startswith("--")]
    return [f"{words[0]} has no {word}" for word in options if not declares(source, word)]


def declares(source: str, option: str) -> bool:
    """Whether a script speaks of an option, as a string or as a parameter of that name."""
    name = option.removeprefix("--").replace("-", "_")
    return f'"{option}' in source or re.search(rf"\b{name}\s*:", source) is not None
