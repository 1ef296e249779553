"""How a bundle's post-processing was tuned: ``tuning.json`` beside its settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from earmark.core.errors import ConfigError
from earmark.detect.postprocess import PostProcess

RECORD = "tuning.json"
FORMAT = 1


def read_tuning(folder: Path, postprocess: PostProcess) -> dict[str, Any] | None:
    """How settings were tuned; ``None`` if they were not, or the record is of other settings.

    Args:
        folder: The bundle.
        postprocess: Its settings.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        same = PostProcess.from_dict(record["postprocess"]) == postprocess
    except (OSError, ValueError, KeyError, TypeError, ConfigError):
        return None
    return record if same and record.get("format") == FORMAT else None
