"""Weights and metadata come back as they were written; damaged, missing and half-written files are refused."""

import dataclasses
import errno
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from model import storage, weights_file
from model.errors import WeightsError
from tests.support import checkpoints
from tests.support.checkpoints import TINY

ARRAYS = {
    "a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "scale": np.full((), 0.5, np.float32),
    "b": np.ones(4, np.float32),
}
METADATA = {"name": "tiny", "strides": [1, 2], "counting": {"frame_threshold": 0.25}, "training": {"steps": 3}}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.safetensors"
    weights_file.write(path, TINY, ARRAYS, METADATA)
    return path


@pytest.fixture
def old_path(tmp_path):
    """A pair of files of the previous format."""
    return checkpoints.save_old_weights(tmp_path / "a.weights.h5", TINY, ARRAYS, METADATA)


def assert_same(arrays):
    assert arrays.keys() == ARRAYS.keys()
    for name, array in arrays.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, ARRAYS[name], err_msg=name)


def test_arrays_and_metadata_come_back_as_they_were_written(path):
    metadata, arrays = weights_file.read(path)
    assert_same(arrays)
    assert metadata == weights_file.read_metadata(path)
    assert metadata.items() >= METADATA.items()
    assert metadata["sha256"] == weights_file.model_sha256(TINY, ARRAYS)
    assert weights_file.read_config(metadata, path) == TINY


def test_files_of_the_previous_format_are_read(old_path):
    metadata, arrays = weights_file.read(old_path)
    assert_same(arrays)
    assert metadata == weights_file.read_metadata(old_path)
    assert metadata.items() >= METADATA.items()
    assert weights_file.read_config(metadata, old_path) == TINY


def test_any_safetensors_reader_reads_the_file(path):
    assert_same(safetensors.numpy.load_file(path))


@pytest.mark.parametrize(("name", "expected"), [("a.safetensors", True), ("gs://b/a.weights.h5", True), ("a.h5", False)])
def test_a_weights_file_is_known_by_its_ending(name, expected):
    assert weights_file.is_weights_file(name) == expected


def test_writing_twice_makes_the_same_file(path, tmp_path):
    weights_file.write(tmp_path / "again" / "a.safetensors", TINY, ARRAYS, METADATA)
    assert (tmp_path / "again" / "a.safetensors").read_bytes() == path.read_bytes()


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"must end with .safetensors. Received: '.*a\.weights\.h5'"):
        weights_file.write(tmp_path / "a.weights.h5", TINY, ARRAYS, METADATA)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("write_bytes", OSError(errno.ENOSPC, "No space left on device"), "cannot write the weights: the disk is full"),
        ("mkdir", PermissionError(errno.EACCES, "Permission denied"), "cannot write the weights: .*Permission denied"),
    ],
)
def test_a_failed_write_leaves_what_was_there(path, monkeypatch, function, error, message):
    before = path.read_bytes()

    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(Path, function, refuse)
    with pytest.raises(WeightsError, match=message):
        weights_file.write(path, TINY, ARRAYS | {"b": np.zeros(4, np.float32)}, METADATA)
    monkeypatch.undo()
    assert [(file.name, file.read_bytes()) for file in path.parent.iterdir()] == [(path.name, before)]


def test_damaged_weights_are_refused(path):
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:-4] + b"\xff" * 4, b"weights", b""):
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"the weights are damaged: .* Received: .*a\.safetensors'") as caught:
            weights_file.read(path)
        assert "\n" not in str(caught.value)


def test_damaged_weights_of_the_previous_format_are_refused(old_path):
    content = old_path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:-8] + b"\xff" * 8, b""):
        old_path.write_bytes(damaged)
        with pytest.raises(WeightsError, match="the weights are damaged"):
            weights_file.read(old_path)


def test_an_old_file_that_is_not_hdf5_is_refused(old_path):
    old_path.write_bytes(b"weights")
    sidecar = old_path.with_name("a.json")
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"sha256": storage.file_sha256(old_path)}))
    with pytest.raises(WeightsError, match="cannot read the weights"):
        weights_file.read(old_path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"cannot read the weights: No such file.* Received: '.*none\.safetensors'"):
        weights_file.read(tmp_path / "none.safetensors")


def test_a_file_without_permission_is_refused(path, monkeypatch):
    def refuse(path, framework):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(weights_file.safetensors, "safe_open", refuse)
    with pytest.raises(WeightsError, match=r"cannot read the weights: .*Permission denied.* Received: '.*a\.safetensors'"):
        weights_file.read_metadata(path)


@pytest.mark.parametrize("missing", ["a.weights.h5", "a.json"])
def test_half_a_pair_of_files_is_refused(old_path, missing):
    old_path.with_name(missing).unlink()
    with pytest.raises(WeightsError, match=f"Received: no '.*{missing}'"):
        weights_file.read(old_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sha256": null}', "\xff"])
def test_old_metadata_that_make_no_sense_are_refused(old_path, content):
    old_path.with_name("a.json").write_text(content, encoding="latin-1")
    with pytest.raises(WeightsError, match="Received: "):
        weights_file.read(old_path)


@pytest.mark.parametrize("metadata", [None, {}, {"repcount": "{"}, {"repcount": "[]"}, {"repcount": "{}"}])
def test_a_file_of_another_program_is_refused(path, metadata):
    path.write_bytes(safetensors.numpy.save(ARRAYS, metadata))
    with pytest.raises(WeightsError, match="the weights' metadata are invalid"):
        weights_file.read(path)


def test_metadata_nested_too_deep_and_numbers_of_other_types_are_refused(path):
    path.write_bytes(safetensors.numpy.save(ARRAYS, {"repcount": "[" * 200_000}))
    with pytest.raises(WeightsError, match="the weights' metadata are invalid"):
        weights_file.read(path)
    header = b'{"__metadata__":{"repcount":"{}"},"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"0")
    with pytest.raises(WeightsError, match=r"must be numbers of NumPy's types: .*Received: "):
        weights_file.read(path)


def test_a_folder_is_no_weights_file(tmp_path):
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(WeightsError, match="must be a file, not a folder"):
        weights_file.read(tmp_path / "a.safetensors")


def test_a_changed_configuration_is_damage(path):
    metadata = weights_file.read_metadata(path)
    metadata["config"]["temperature"] = 10.0
    path.write_bytes(safetensors.numpy.save(ARRAYS, {"repcount": json.dumps(metadata)}))
    with pytest.raises(WeightsError, match="the weights are damaged"):
        weights_file.read(path)


def test_the_hash_of_a_model_depends_on_configuration_names_shapes_and_values_only():
    arrays: dict[str, np.ndarray] = {"a": np.arange(6, dtype=np.float32), "b": np.ones(2, np.float32)}
    same: dict[str, np.ndarray] = {"b": np.ones(2, np.float32), "a": np.arange(12, dtype=np.float32)[::2] / 2}
    sha256 = weights_file.model_sha256(TINY, arrays)
    assert weights_file.model_sha256(dataclasses.replace(TINY), same) == sha256
    others: list[dict[str, np.ndarray]] = [
        {"a": arrays["a"], "c": arrays["b"]},
        {"a": arrays["a"].reshape(2, 3), "b": arrays["b"]},
        {"a": arrays["a"], "b": np.array([1, 2], np.float32)},
    ]
    for other in others:
        assert weights_file.model_sha256(TINY, other) != sha256
    for change in ({"similarity": "relative"}, {"temperature": 13.0}, {"period_offset": 0}, {"num_heads": 4}):
        assert weights_file.model_sha256(dataclasses.replace(TINY, **change), arrays) != sha256
