"""A fingerprint of code: of what makes sounds, so that two versions of it are told apart."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

_LIBRARIES = ("numpy", "scipy", "soxr")


def code_fingerprint(modules: Iterable[str]) -> str:
    """16 hexadecimal digits over the text of modules and the versions of what they compute with.

    Args:
        modules: Names; of a package all modules in it count.
    """
    digest = hashlib.sha256()
    for name in sorted(set(modules)):
        module = importlib.import_module(name)
        inner = pkgutil.iter_modules(getattr(module, "__path__", []), f"{name}.")
        for part in (module, *(importlib.import_module(found.name) for found in inner)):
            digest.update(part.__name__.encode())
            digest.update(Path(str(part.__file__)).read_bytes())
    digest.update(repr([(name, version(name)) for name in _LIBRARIES]).encode())
    return digest.hexdigest()[:16]
