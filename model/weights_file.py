"""Reads and writes weights files: one float32 array per variable, and what the model is, in one safetensors file.

Arrays have the canonical names of `RepNet.variables_by_name`. Keras' own weights files name them after classes and attributes,
which would tie the files to the code that wrote them.

Files of the previous format can still be read: an HDF5 file NAME.weights.h5 with the arrays, and NAME.json with the metadata.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from model import storage
from model.config import RepNetConfig
from model.errors import WeightsError, one_line
from model.replacing import DISK_FULL, replacing

SUFFIX = ".safetensors"

OLD_SUFFIX = ".weights.h5"
"""Ending of HDF5 files of the previous format; the JSON file is beside them."""

_METADATA_KEY = "repcount"
"""Key of the metadata, one JSON object. With several keys, equal contents would not give equal files: their order is random."""


def is_weights_file(path: str | Path) -> bool:
    """Returns whether a path has the ending of a weights file of either format."""
    return str(path).endswith((SUFFIX, OLD_SUFFIX))


def sidecar_path(weights: Path) -> Path:
    """Returns the path of the JSON file beside a NAME.weights.h5 file."""
    return weights.with_name(weights.name.removesuffix(OLD_SUFFIX) + ".json")


def read_metadata(path: Path) -> dict[str, Any]:
    """Returns the metadata of a weights file, see `presets.save_weights`, without reading its arrays.

    Raises:
      WeightsError: The file is missing, unreadable or damaged, or has no metadata of ours.
    """
    if path.name.endswith(OLD_SUFFIX):
        return _read_sidecar(path)
    with _open(path) as file:
        return _parse(file.metadata(), path)


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns the metadata and the arrays of a weights file, once their hash is verified.

    Raises:
      WeightsError: The file is missing, unreadable or damaged.
    """
    if path.name.endswith(OLD_SUFFIX):
        return _read_old(path)
    with _open(path) as file:
        metadata = _parse(file.metadata(), path)
        try:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        except (AttributeError, TypeError) as error:  # a type of numbers that NumPy does not have
            raise WeightsError(f"the weights must be numbers of NumPy's types: {error}. Received: {str(path)!r}") from error
    found = model_sha256(read_config(metadata, path), arrays)
    _check_hash(metadata, found, path)
    return metadata, arrays


def write(path: Path, config: RepNetConfig, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> str:
    """Writes a weights file; an existing one is replaced only once the new one is complete.

    Args:
      path: Must end with `.safetensors`.
      config: Configuration of the network; added to the metadata.
      arrays: float32 values by canonical name.
      metadata: Must be representable in JSON.

    Returns:
      The model's hash, see `model_sha256`; added to the metadata.

    Raises:
      WeightsError: The path has another ending, or the disk is full or refuses.
    """
    from safetensors.numpy import save

    if not path.name.endswith(SUFFIX):
        raise WeightsError(f"the name of a weights file must end with {SUFFIX}. Received: {str(path)!r}")
    sha256 = model_sha256(config, arrays)
    described = json.dumps({**metadata, "config": dataclasses.asdict(config), "sha256": sha256})
    try:
        with replacing(path) as partial:
            partial.write_bytes(save(dict(arrays), {_METADATA_KEY: described}))
    except OSError as error:
        reason = "the disk is full" if error.errno in DISK_FULL else one_line(error)
        raise WeightsError(f"cannot write the weights: {reason}. Received: {str(path)!r}") from error
    return sha256


def model_sha256(config: RepNetConfig, arrays: Mapping[str, np.ndarray]) -> str:
    """Returns a hash of everything that determines what a network computes, independent of the kind of file.

    In int8, `ActivationRanges` have a small share in that, too. They are not hashed, so that older files keep their hash.

    Args:
      config: Configuration of the network. Its strides and counting options are not part of the hash.
      arrays: float32 values by canonical name; names and shapes are hashed too.
    """
    sizes = json.dumps(dataclasses.asdict(config), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(f"{sizes}\n".encode())
    for name in sorted(arrays):
        digest.update(f"{name} {list(arrays[name].shape)}\n".encode())
        digest.update(np.asarray(arrays[name], dtype="<f4").tobytes())
    return digest.hexdigest()


def read_config(metadata: Mapping[str, Any], path: Path) -> RepNetConfig:
    """Returns the network's configuration from the metadata of the weights file at `path`; raises WeightsError if invalid."""
    with metadata_errors(path):
        return RepNetConfig.from_json(metadata["config"])


@contextlib.contextmanager
def metadata_errors(path: Path) -> Iterator[None]:
    """Turns errors about missing or impossible metadata of the weights file at `path` into a one-line WeightsError."""
    try:
        yield
    except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__} {error}".split())
        raise WeightsError(f"the weights' metadata are invalid ({reason}). Received: {str(path)!r}") from error


@contextlib.contextmanager
def _open(path: Path) -> Iterator[safetensors.safe_open]:
    """Yields an open safetensors file; turns the library's errors into WeightsError with a one-line message."""
    if os.path.isdir(path):
        raise WeightsError(f"weights must be a file, not a folder. Received: {str(path)!r}")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            yield file
    except safetensors.SafetensorError as error:
        raise WeightsError(f"the weights are damaged: {one_line(error)}. Received: {str(path)!r}") from error
    except OSError as error:
        raise _cannot_read(path, error) from error


def _parse(file_metadata: Mapping[str, str] | None, path: Path) -> dict[str, Any]:
    """Returns the JSON object in the metadata of a safetensors file."""
    with metadata_errors(path):
        return _as_object(json.loads((file_metadata or {})[_METADATA_KEY]))


def _read_sidecar(path: Path) -> dict[str, Any]:
    """Returns the JSON object in the file beside NAME.weights.h5."""
    sidecar = sidecar_path(path)
    for file in (path, sidecar):
        if not file.is_file():
            raise WeightsError(f"weights are two files, {path.name} and {sidecar.name}. Received: no {str(file)!r}")
    with metadata_errors(sidecar):
        return _as_object(json.loads(sidecar.read_text(encoding="utf-8")))


def _read_old(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns metadata and arrays of NAME.weights.h5 and the JSON file beside it, which has the hash of the whole HDF5 file."""
    import h5py  # slow to import, and only needed for old files

    metadata = _read_sidecar(path)
    arrays: dict[str, np.ndarray] = {}

    def read_dataset(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset):
            arrays[name] = node[()]

    try:
        _check_hash(metadata, storage.file_sha256(path), path)
        with h5py.File(path, "r") as file:
            file.visititems(read_dataset)
    except (OSError, RuntimeError) as error:  # HDF5 raises either
        raise _cannot_read(path, error) from error
    return metadata, arrays


def _check_hash(metadata: Mapping[str, Any], found: str, path: Path) -> None:
    """Raises WeightsError unless the metadata state the hash that was found."""
    if found != metadata.get("sha256"):
        raise WeightsError(
            f"the weights are damaged: their sha256 must be {metadata.get('sha256')}. Received: {found} of {str(path)!r}"
        )


def _as_object(content: object) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError(f"metadata must be a JSON object. Received: {type(content).__name__}")
    return content


def _cannot_read(path: Path, error: Exception) -> WeightsError:
    return WeightsError(f"cannot read the weights: {one_line(error)}. Received: {str(path)!r}")
