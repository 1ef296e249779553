"""What a dataset holds: strong, weak and unlabelled clips to learn from, splits to be scored on.

A dataset is a folder in DESED's layout or a YAML file that describes it. Every part is optional.
Clips that are listed but not there are counted and named, because recordings vanish from where
DESED takes them. What is on disk decides a clip's name: labels are carried over to it.
"""

from __future__ import annotations

from pathlib import Path

from earmark.core.config import DataSettings
from earmark.core.errors import DataError
from earmark.data.assembling import assemble
from earmark.data.described import description_of, is_description, read_description
from earmark.data.desed import find_root, read_desed
from earmark.data.subsets import Evaluation, Kind, Manifest, Source

__all__ = ["Evaluation", "Kind", "Manifest", "Source", "load_manifest", "refuse_damage"]

_DEFAULT = DataSettings()


def load_manifest(root: str | Path, settings: DataSettings = _DEFAULT) -> Manifest:
    """Read a dataset: a folder in DESED's layout, or a YAML file that describes one.

    A folder without ``audio`` and ``metadata`` but with a ``dataset.yaml`` is described by it; see
    `earmark.data.described`.

    In DESED's layout audio folders may carry the suffix ``_16k``; where both are there, a clip is
    taken from the 16 kHz one. Clips are found by name without suffix, with or without the ``Y``
    before a YouTube id. The synthetic parts may also lie in ``dcase_synth`` inside or beside the
    folder.

    Args:
        root: The dataset's folder, or one that holds it as ``dataset``; or the YAML file.
        settings: Which clips are kept back or left out.

    Raises:
        DataError: If there is neither a labelled clip to learn from nor a split to be scored on.
        ConfigError: If a description has a mistake or names what is not there.
        LabelError: If a label is none of the classes that a description lists.
    """
    path = Path(root)
    if is_description(path):
        return assemble(read_description(description_of(path)), settings)
    return assemble(read_desed(find_root(path), settings), settings)


def refuse_damage(manifest: Manifest) -> None:
    """For those who want all of their data or none of it.

    Raises:
        DataError: Something of the dataset is missing or damaged.
    """
    if manifest.damage:
        more = len(manifest.damage) - 1
        raise DataError(
            manifest.damage[0] + (f"; and {more} more of this kind" if more else ""),
            where=manifest.root,
            hint="`earmark doctor` tells it all; without --strict the rest is used",
        )
