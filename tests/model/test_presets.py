import dataclasses
import json
import os

import numpy as np
import pytest

from model import checkpoint, presets, storage
from model.config import REPNET_2020, REPNET_2025
from model.counting import CountingOptions, StrideRule
from model.network import RepNet
from model.presets import PRESETS, Preset, RemoteFile, WeightsError
from tests.model import checkpoints

TINY = Preset(
    name="tiny",
    config=checkpoints.TINY,
    description="for tests",
    strides=(1, 5),
    counting=CountingOptions(stride_rule=StrideRule.NOTEBOOK, frame_threshold=0.25),
)


@pytest.fixture(scope="module")
def network():
    network = RepNet(TINY.config)
    checkpoint.assign(network, checkpoints.random_arrays(network))
    return network


@pytest.fixture
def weights(network, tmp_path):
    """Path of saved weights."""
    path = tmp_path / "tiny.weights.h5"
    presets.save_weights(path, network, TINY, training={"steps": 3})
    return path


def assert_same(network, other):
    for name, variable in network.variables_by_name().items():
        np.testing.assert_array_equal(variable, other.variables_by_name()[name], err_msg=name)


def test_the_published_presets_are_those_of_the_reference():
    assert list(PRESETS) == ["lite", "repnet-2020", "repnet-2025"]
    old, new = PRESETS["repnet-2020"], PRESETS["repnet-2025"]
    assert (old.config, new.config) == (REPNET_2020, REPNET_2025)
    assert (old.checkpoint_name, new.checkpoint_name) == ("ckpt-88", "ckpt-70")
    assert old.strides == new.strides == (1, 2, 3, 4)
    assert old.counting == new.counting == CountingOptions(video_threshold=0.2, frame_threshold=0.5)
    assert [file.size_bytes for file in old.files] == [13_172, 93_435, 328_985_260, 922]
    assert old.files[0].url == "https://storage.googleapis.com/repnet_ckpt/ckpt-88.index"
    assert new.files[1].url == "https://storage.googleapis.com/semantic_repetitions/repnet_ckpt/ckpt-70.data-00000-of-00001"
    assert all(len(bytes.fromhex(file.sha256)) == 32 for file in (*old.files, *new.files))


def test_a_model_of_our_own_has_no_published_checkpoint():
    with pytest.raises(ValueError, match="Received: 'lite'"):
        _ = PRESETS["lite"].checkpoint_name


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(WeightsError, match=r"lite, repnet-2020, repnet-2025. Received: 'repnet-1999'"):
        presets.find_preset("repnet-1999")


def test_the_cache_folder_is_chosen_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("REPCOUNT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert presets.default_cache_dir() == tmp_path / ".cache" / "repcount"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert presets.default_cache_dir() == tmp_path / "xdg" / "repcount"
    monkeypatch.setenv("REPCOUNT_CACHE", str(tmp_path / "chosen"))
    assert presets.weights_path(PRESETS["repnet-2025"]) == tmp_path / "chosen" / "repnet-2025.weights.h5"


def test_saved_weights_load_as_they_were(network, weights):
    loaded = presets.load_model(str(weights))
    assert loaded.preset == TINY
    assert loaded.sha256 == checkpoint.weights_sha256(presets.network_arrays(network))
    assert_same(network, loaded.network)
    sidecar = json.loads(weights.with_name("tiny.json").read_text())
    assert sidecar["sha256"] == storage.file_sha256(weights)
    assert sidecar["training"] == {"steps": 3}


def test_saving_twice_makes_the_same_file(network, weights, tmp_path):
    presets.save_weights(tmp_path / "again" / "tiny.weights.h5", network, TINY)
    assert (tmp_path / "again" / "tiny.weights.h5").read_bytes() == weights.read_bytes()


def test_saved_weights_load_from_cloud_storage(network, weights, cloud_storage):
    cloud_storage.contents = {f"bucket/models/{path.name}": path.read_bytes() for path in weights.parent.iterdir()}
    loaded = presets.load_model("gs://bucket/models/tiny.weights.h5")
    assert_same(network, loaded.network)


def test_damaged_weights_are_refused(weights):
    content = weights.read_bytes()
    for damaged in (content[: len(content) // 2], content[:-8] + b"\xff" * 8, b""):
        weights.write_bytes(damaged)
        with pytest.raises(WeightsError, match="the weights are damaged"):
            presets.load_weights(weights)


@pytest.mark.parametrize("missing", ["tiny.weights.h5", "tiny.json"])
def test_half_a_pair_of_files_is_refused(weights, missing):
    weights.with_name(missing).unlink()
    with pytest.raises(WeightsError, match=f"Received: no '.*{missing}'"):
        presets.load_weights(weights)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sha256": null}', "\xff"])
def test_a_sidecar_of_nonsense_is_refused(weights, content):
    weights.with_name("tiny.json").write_text(content, encoding="latin-1")
    with pytest.raises(WeightsError, match="Received: "):
        presets.load_weights(weights)


def change_sidecar(weights, **changes):
    path = weights.with_name("tiny.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {}},
        {"config": dataclasses.asdict(TINY.config) | {"num_heads": 3}},
        {"counting": {"threshold": 1}},
        {"strides": 1},
    ],
)
def test_a_sidecar_that_says_something_else_is_refused(weights, changes):
    change_sidecar(weights, **changes)
    with pytest.raises(WeightsError, match="says something else"):
        presets.load_weights(weights)


def test_a_sidecar_of_another_network_is_refused(weights):
    change_sidecar(weights, config=dataclasses.asdict(TINY.config) | {"num_periods": 9})
    with pytest.raises(checkpoint.CheckpointError, match="2 of another shape: fc_layers/2/bias"):
        presets.load_weights(weights)


def test_a_file_that_is_no_hdf5_is_refused(weights):
    weights.write_bytes(b"weights")
    change_sidecar(weights, sha256=storage.file_sha256(weights))
    with pytest.raises(WeightsError, match="cannot be read"):
        presets.load_weights(weights)


def test_only_the_preset_s_network_is_saved_and_only_under_the_right_ending(network, tmp_path):
    with pytest.raises(WeightsError, match=r"ends with .weights.h5"):
        presets.save_weights(tmp_path / "tiny.h5", network, TINY)
    with pytest.raises(WeightsError, match="of the preset's configuration"):
        presets.save_weights(tmp_path / "lite.weights.h5", network, PRESETS["lite"])
    assert not list(tmp_path.iterdir())


def test_a_write_cut_short_leaves_what_was_there(network, weights, monkeypatch):
    before = {path.name: path.read_bytes() for path in weights.parent.iterdir()}

    def refuse(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "file_sha256", refuse)
    with pytest.raises(WeightsError, match="the disk is full"):
        presets.save_weights(weights, network, TINY)
    assert {path.name: path.read_bytes() for path in weights.parent.iterdir()} == before


@pytest.fixture
def published(weights, monkeypatch):
    """A published preset whose weights lie in the folder of `weights`, as if fetched."""
    preset = dataclasses.replace(
        TINY, strides=(2,), files=(RemoteFile("ckpt-1.index", "http://nowhere/ckpt-1.index", 3, "0" * 64),)
    )
    monkeypatch.setattr(presets, "PRESETS", {"tiny": preset})
    return preset


def test_a_fetched_preset_is_loaded_from_the_cache(network, weights, published, monkeypatch):
    monkeypatch.setenv("REPCOUNT_CACHE", str(weights.parent))
    loaded = presets.load_model("tiny")
    assert loaded.preset == published
    assert_same(network, loaded.network)


def test_a_preset_that_was_not_fetched_names_the_command(published, tmp_path):
    with pytest.raises(WeightsError, match="run `repcount model fetch tiny`"):
        presets.load_model("tiny", cache_dir=tmp_path / "empty")


def test_a_preset_s_weights_are_of_its_network(weights, published, monkeypatch):
    monkeypatch.setattr(presets, "PRESETS", {"tiny": dataclasses.replace(published, config=REPNET_2020)})
    with pytest.raises(WeightsError, match="must be of the network of tiny"):
        presets.load_model("tiny", cache_dir=weights.parent)


def test_training_chooses_the_strides_of_our_own_presets(weights, monkeypatch):
    monkeypatch.setattr(presets, "PRESETS", {"tiny": dataclasses.replace(TINY, strides=(1, 2), description="ours")})
    monkeypatch.setattr(presets, "_SHIPPED_WEIGHTS", weights.parent)
    loaded = presets.load_model("tiny")
    assert loaded.preset == dataclasses.replace(TINY, description="ours")


@pytest.mark.parametrize("year", ["2020", "2025"])
def test_a_checkpoint_s_kind_is_told_by_its_positions(year, request):
    prefix = request.getfixturevalue(f"standin_{year}")
    loaded = presets.load_model(prefix)
    preset = PRESETS[f"repnet-{year}"]
    expected = dataclasses.replace(preset, name=os.path.basename(prefix), description=loaded.preset.description)
    assert loaded.preset == expected
    assert loaded.sha256 == checkpoint.weights_sha256(checkpoint.read_checkpoint(prefix))


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    kernel = np.ones(3, np.float32)
    for positions in ({}, {"pos_encoding": np.zeros((1, 64, 7), np.float32)}):
        prefix = checkpoints.save({"fc/kernel": kernel, **positions}, tmp_path / "ckpt")
        with pytest.raises(checkpoint.CheckpointError, match=r"a published RepNet has pos_encoding .* Received: "):
            presets.load_model(prefix)


def test_an_unexpected_variable_is_refused_unless_the_file_is_the_published_one(network, tmp_path, monkeypatch):
    arrays = checkpoints.random_arrays(network) | {"teacher/kernel": np.ones(3, np.float32)}
    prefix = checkpoints.save(arrays, tmp_path / "ckpt-1")
    preset = dataclasses.replace(TINY, files=(RemoteFile("ckpt-1.index", "http://nowhere", 3, "0" * 64),))
    monkeypatch.setattr(presets, "PRESETS", {"tiny": preset})
    with pytest.raises(checkpoint.CheckpointError, match="1 unexpected: teacher/kernel"):
        presets.load_model(prefix)

    known = RemoteFile("ckpt-1.index", "http://nowhere", 3, storage.file_sha256(tmp_path / "ckpt-1.index"))
    monkeypatch.setattr(presets, "PRESETS", {"tiny": dataclasses.replace(preset, files=(known,))})
    assert presets.load_model(prefix).preset.name == "ckpt-1"


@pytest.mark.parametrize("name", ["nothing", "/no/such/ckpt-70", ""])
def test_what_is_neither_name_nor_file_is_answered_with_both(name):
    with pytest.raises(WeightsError, match=f"lite, repnet-2020, repnet-2025, or the path .* Received: '{name}'"):
        presets.load_model(name)


def test_only_cloud_storage_is_read_from_afar():
    with pytest.raises(storage.StorageError, match="Received: 's3://bucket/ckpt-70'"):
        presets.load_model("s3://bucket/ckpt-70")
