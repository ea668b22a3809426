"""What an exported model's folder says about itself. Imports no TensorFlow."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.errors import WeightsError

METADATA_PATH = Path("assets.extra", "repcount.json")
"""Where the metadata is in an exported model's folder; TensorFlow leaves `assets.extra` to others."""


def check_folder(folder: Path) -> None:
    """Raises WeightsError unless a model can be written to `folder`: a new folder or an empty one."""
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise WeightsError(f"an export needs a folder that can be written to. Received: {str(folder)!r}")
    if existing == folder and any(folder.iterdir()):
        raise WeightsError(f"an export needs a new or empty folder. Received: {str(folder)!r}, which has files")


def is_exported(folder: Path) -> bool:
    """Returns whether `folder` is a model that `repcount model export` wrote."""
    return (folder / METADATA_PATH).is_file()


def read_metadata(folder: Path) -> Mapping[str, Any]:
    """Returns name, hash, options and layers of an exported model.

    Raises:
      WeightsError: The metadata is damaged.
      OSError: The file cannot be read.
    """
    path = folder / METADATA_PATH
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"the metadata of an exported model must be JSON. Received: {error} in {str(path)!r}") from error
    layers = metadata.get("layers") if isinstance(metadata, dict) else None
    is_whole = isinstance(layers, dict) and all(
        isinstance(sizes, list) and sizes and all(isinstance(size, int) for size in sizes) for sizes in layers.values()
    )
    if not is_whole:
        raise WeightsError(f"the metadata of an exported model must list its layers. Received: none in {str(path)!r}")
    return dict(metadata)
