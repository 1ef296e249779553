"""Every parser of files that people may be given by others, with good files to begin with."""

from __future__ import annotations

from earmark.core.config import load_yaml
from earmark.data.manifest import load_manifest
from earmark.model.encoders.encoder_file import load_encoder
from earmark.prepare.cache_index import INDEX
from earmark.synth.soundbank import Soundbank
from earmark.train.checkpoint import STATE
from fuzz import settings_and_folders as folders
from fuzz import sounds_and_labels as sounds
from fuzz.base import LEFT, Target

_MINI, _PRETRAIN = LEFT / "runs/mini", LEFT / "runs/pretrain"
TARGETS: dict[str, Target] = {
    "audio": Target(sounds.try_audio, sounds.good_audio, weight=4),
    "labels": Target(sounds.try_labels, sounds.good_labels, weight=4),
    "tables": Target(sounds.try_tables, sounds.good_tables, weight=2),
    "scores": Target(sounds.try_scores, sounds.good_scores, weight=2),
    "recipe": Target(folders.try_recipe, folders.good_recipe_files, weight=2),
    "class map": Target(folders.try_score_map, folders.good_maps),
    "data set": Target(load_manifest, folders.good_described, folders.good_described_files),
    "postprocess": Target(folders.try_postprocess, folders.good_postprocess),
    "bundle": Target(folders.try_bundle, folders.good_bundle_seeds, folders.good_bundle, weight=3),
    "encoder": Target(
        lambda path: load_encoder(path.parent),
        folders.good_folder(
            _PRETRAIN, **{"encoder.yaml": "yaml", "encoder.safetensors": "safetensors"}
        ),
        folders.files_beside(_PRETRAIN, "encoder.yaml", "encoder.safetensors", "README.md"),
    ),
    "state": Target(
        folders.try_state,
        folders.good_folder(_MINI, **{STATE: "zip"}),
        folders.files_beside(_MINI, "recipe.yaml"),
    ),
    "checkpoint": Target(
        folders.try_foreign_checkpoint, folders.good_folder(_MINI, **{STATE: "zip"})
    ),
    "TensorFlow": Target(folders.try_tf, folders.good_tf, folders.good_tf_files),
    "run journal": Target(
        folders.try_run_journal, folders.good_folder(_MINI, **{"journal.jsonl": "lines"})
    ),
    "batch journal": Target(
        folders.try_batch_journal, folders.good_folder(LEFT / "found", **{"detect.jsonl": "lines"})
    ),
    "cache index": Target(
        folders.try_cache_index, folders.good_folder(LEFT / "cache", **{INDEX: "lines"})
    ),
    "lock": Target(folders.try_lock, folders.good_lock, weight=0.25),
    "stream": Target(folders.try_stream, folders.good_stream_files),
    "soundbank": Target(
        lambda path: Soundbank(path.parent),
        folders.good_manifest,
        folders.good_manifest_files,
        weight=0.5,
    ),
    "settings": Target(
        load_yaml, folders.good_yaml(_MINI / "config.yaml", _MINI / "recipe.yaml"), weight=0.5
    ),
}
