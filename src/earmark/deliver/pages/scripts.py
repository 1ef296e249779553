"""What pages have in common: their templates, and data within a script."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from earmark._version import __version__


def script_json(content: Any) -> str:
    """JSON that is safe in a script element: no markup, ASCII alone."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def asset(name: str) -> str:
    """A file of ``assets/``."""
    return (resources.files("earmark.deliver.pages") / "assets" / name).read_text("utf-8")


def styles(name: str) -> str:
    """A style sheet of ``assets/``, behind the one of all pages."""
    return asset("base.css") + asset(name)


def rendered(template: str, **content: Any) -> str:
    """A page of a template of ``assets/``; what is put in is text unless marked as safe."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(asset),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(version=__version__, **content)
