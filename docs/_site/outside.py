"""MkDocs hook: files of the repository that pages link to become pages of the site.

A page of docs/ links to a file outside of it as the repository's view needs it,
``../CHANGELOG.md``. MkDocs knows files under docs/ only, so each such file is added to the site
under ``repository/``, Markdown as a page, other text as a page that shows it, and the links are
turned there. A link to what does not exist stays as it is, and the strict build fails over it.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

FOLDER = "repository"
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".json": "json"}

_paths: dict[str, str] = {}
"""Of every page of the site, its path in the repository."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages link to outside of docs/, and what that links to in turn."""
    root, docs = Path(config.config_file_path).parent, Path(config.docs_dir).name
    _paths.clear()
    _paths.update({page.src_uri: f"{docs}/{page.src_uri}" for page in files.documentation_pages()})
    waiting = list(_paths.values())
    known = set(waiting)
    while waiting:
        path = waiting.pop()
        if not path.endswith(".md"):
            continue
        for link in LINK.finditer((root / path).read_text(encoding="utf-8")):
            target = _target(path, link[2])
            if target in known or target.startswith(f"{docs}/") or not (root / target).is_file():
                continue
            known.add(target)
            waiting.append(target)
            files.append(_file(root, target, config))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    """Turn links that leave docs/, or come back to it, to where the site has their files."""
    here = page.file.src_uri
    own = _paths[here]
    placed = {path: uri for uri, path in _paths.items()}

    def turned(link: re.Match[str]) -> str:
        target = _target(own, link[2])
        if here.startswith(f"{FOLDER}/") and target.startswith("docs/"):
            uri = target.removeprefix("docs/")
        elif target in placed and placed[target].startswith(f"{FOLDER}/"):
            uri = placed[target]
        else:
            return link[0]
        return f"{link[1]}{relpath(uri, PurePosixPath(here).parent)}{link[3]}"

    return LINK.sub(turned, markdown)


def _target(page: str, link: str) -> str:
    """The path in the repository that a page's link means."""
    return normpath(f"{PurePosixPath(page).parent}/{link}")


def _file(root: Path, path: str, config: MkDocsConfig) -> File:
    """A file of the repository as one of the site."""
    source, uri = root / path, f"{FOLDER}/{path}"
    text = source.read_text(encoding="utf-8")
    if source.suffix != ".md":
        uri = f"{uri}.md"
        language = LANGUAGES.get(source.suffix, "text")
        text = f"# {source.name}\n\n`{path}`\n\n````{language}\n{text.rstrip()}\n````\n"
    _paths[uri] = path
    return File.generated(config, uri, content=text, inclusion=InclusionLevel.INCLUDED)
