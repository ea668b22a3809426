import dataclasses
import math
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from model import checkpoint, presets, storage, weights_file
from model.calibration import quantized_layers
from model.config import REPNET_2020, REPNET_2025
from model.counting_options import CountingOptions
from model.errors import WeightsError
from model.network import RepNet
from model.precision import ActivationRanges
from model.presets import PRESETS, RemoteFile
from tests.support import checkpoints
from tests.support.checkpoints import TINY_PRESET

REPOSITORY = Path(__file__).parents[2]


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
    assert [file.size_bytes for file in old.files] == [13_172, 93_435, 328_985_260]
    assert old.files[0].url == "https://storage.googleapis.com/repnet_ckpt/ckpt-88.index"
    assert new.files[1].url == "https://storage.googleapis.com/semantic_repetitions/repnet_ckpt/ckpt-70.data-00000-of-00001"
    assert all(len(bytes.fromhex(file.sha256)) == 32 for file in (*old.files, *new.files))


def multiply_adds_per_frame(network):
    """Returns the multiply-adds of the encoder's convolutions and the temporal taps, from the shapes of the Keras layers."""
    convolutions = [layer for layer in network.encoder.layers if isinstance(layer, keras.layers.Conv2D)]
    encoder = sum(math.prod(layer.output.shape[1:3]) * math.prod(layer.kernel.shape) for layer in convolutions)
    return encoder + math.prod(network.encoder.output.shape[1:3]) * math.prod(network.temporal.kernel.shape)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())
def test_the_cost_of_a_frame_is_that_of_the_layers(preset):
    expected = 2 * multiply_adds_per_frame(RepNet(preset.config)) / 1e9
    assert preset.gflop_per_frame == pytest.approx(expected, rel=1e-9)


def test_a_model_of_our_own_has_no_published_checkpoint():
    with pytest.raises(ValueError, match="Received: 'lite'"):
        _ = PRESETS["lite"].checkpoint_name


@pytest.mark.parametrize("name", ["repnet-1999", "lite"])
def test_a_name_that_is_not_fetched_is_answered_with_those_that_are(name):
    with pytest.raises(WeightsError, match=f"repnet-2020 or repnet-2025; .* Received: '{name}'"):
        presets.find_fetched(name)


def test_the_cache_folder_is_chosen_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("REPCOUNT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert presets.default_cache_dir() == tmp_path / ".cache" / "repcount"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert presets.default_cache_dir() == tmp_path / "xdg" / "repcount"
    monkeypatch.setenv("REPCOUNT_CACHE", str(tmp_path / "chosen"))
    assert presets.weights_path(PRESETS["repnet-2025"]) == tmp_path / "chosen" / "repnet-2025.safetensors"


@pytest.mark.usefixtures("no_home")
def test_without_a_home_only_fetched_models_need_a_folder(monkeypatch, tmp_path):
    with pytest.raises(WeightsError, match=r"^set REPCOUNT_CACHE to a folder"):
        presets.load_model("repnet-2020")
    assert presets.weights_path(PRESETS["lite"]).is_file()
    monkeypatch.setenv("REPCOUNT_CACHE", str(tmp_path))
    assert presets.weights_path(PRESETS["repnet-2020"]) == tmp_path / "repnet-2020.safetensors"


def test_saved_weights_load_as_they_were(tiny_network, tiny_weights):
    loaded = presets.load_model(str(tiny_weights))
    assert loaded.preset == TINY_PRESET
    assert loaded.sha256 == weights_file.model_sha256(TINY_PRESET.config, presets.network_arrays(tiny_network))
    assert_same(tiny_network, loaded.network)
    assert weights_file.read_metadata(tiny_weights)["training"] == {"steps": 3}


def test_equal_weights_of_another_configuration_are_another_model(tiny_weights):
    before = presets.load_weights(tiny_weights).sha256
    change_metadata(tiny_weights, strides=[1], description="other words")
    assert presets.load_weights(tiny_weights).sha256 == before
    metadata, arrays = weights_file.read(tiny_weights)
    weights_file.write(tiny_weights, dataclasses.replace(TINY_PRESET.config, temperature=10.0), arrays, metadata)
    assert presets.load_weights(tiny_weights).sha256 != before


def test_a_model_has_the_same_hash_from_a_checkpoint_and_from_a_weights_file(tiny_network, tiny_weights, tmp_path, monkeypatch):
    file = RemoteFile("ckpt-1.index", "http://nowhere", 3, "0" * 64)
    monkeypatch.setattr(presets, "PRESETS", {"tiny": dataclasses.replace(TINY_PRESET, files=(file,))})
    prefix = checkpoints.save(presets.network_arrays(tiny_network), tmp_path / "ckpt-1")
    assert presets.load_model(prefix).sha256 == presets.load_model(str(tiny_weights)).sha256


def test_saved_weights_load_from_cloud_storage(tiny_network, tiny_weights, cloud_storage):
    cloud_storage.contents = {f"bucket/models/{path.name}": path.read_bytes() for path in tiny_weights.parent.iterdir()}
    loaded = presets.load_model("gs://bucket/models/tiny.safetensors")
    assert_same(tiny_network, loaded.network)


def test_weights_of_the_previous_format_load(tiny_network, tiny_weights, tmp_path, cloud_storage):
    metadata, arrays = weights_file.read(tiny_weights)
    old = checkpoints.save_old_weights(tmp_path / "old.weights.h5", TINY_PRESET.config, arrays, metadata)
    cloud_storage.contents = {f"bucket/models/{path.name}": path.read_bytes() for path in tmp_path.glob("old.*")}
    for path in (str(old), "gs://bucket/models/old.weights.h5"):
        loaded = presets.load_model(path)
        assert loaded.preset == TINY_PRESET
        assert loaded.sha256 == presets.load_weights(tiny_weights).sha256
        assert_same(tiny_network, loaded.network)


def test_a_preset_fetched_in_the_previous_format_is_found_until_there_is_a_newer_file(tmp_path, monkeypatch):
    monkeypatch.setenv("REPCOUNT_CACHE", str(tmp_path))
    preset = PRESETS["repnet-2020"]
    for name in ("repnet-2020.weights.h5", "repnet-2020.json"):
        assert presets.weights_path(preset).name == "repnet-2020.safetensors"
        (tmp_path / name).touch()
    assert presets.weights_path(preset).name == "repnet-2020.weights.h5"
    (tmp_path / "repnet-2020.safetensors").touch()
    assert presets.weights_path(preset).name == "repnet-2020.safetensors"


def change_metadata(path, **changes):
    metadata, arrays = weights_file.read(path)
    weights_file.write(path, TINY_PRESET.config, arrays, metadata | changes)


def test_activation_ranges_are_kept_with_the_weights(tiny_network, tiny_weights):
    assert presets.load_weights(tiny_weights).activation_ranges is None
    ranges = ActivationRanges({name: 1.5 + i for i, name in enumerate(quantized_layers(tiny_network))})
    presets.save_weights(tiny_weights, tiny_network, TINY_PRESET, activation_ranges=ranges)
    assert presets.load_weights(tiny_weights).activation_ranges == ranges


@pytest.mark.parametrize(
    "changes",
    [
        {"counting": {"threshold": 1}},
        {"counting": {"frame_threshold": 2}},
        {"counting": {"median_filter": "no"}},
        {"counting": {"certainty": [10**400] * 5}},
        {"strides": 1},
        {"strides": []},
        {"strides": "abc"},
        {"strides": [1, 1]},
        {"strides": [1, 2.5]},
        {"strides": [0, -3]},
        {"name": [1]},
        {"overlap_from": math.inf},
        {"overlap_from": -1},
        {"repeat_below_fps": math.nan},
        {"activation_ranges": {"stage0_down": -1}},
        {"activation_ranges": {"stage0_down": 1.5}},
        {"activation_ranges": 3},
    ],
)
def test_impossible_metadata_are_refused(tiny_weights, changes):
    change_metadata(tiny_weights, **changes)
    with pytest.raises(WeightsError, match="the weights' metadata are invalid"):
        presets.load_weights(tiny_weights)


def test_weights_of_another_network_are_refused(tiny_weights):
    metadata, arrays = weights_file.read(tiny_weights)
    weights_file.write(tiny_weights, dataclasses.replace(TINY_PRESET.config, num_periods=9), arrays, metadata)
    with pytest.raises(checkpoint.CheckpointError, match="2 of another shape: fc_layers/2/bias"):
        presets.load_weights(tiny_weights)


def test_only_the_preset_s_network_is_saved(tiny_network, tmp_path):
    with pytest.raises(WeightsError, match="have the preset's configuration"):
        presets.save_weights(tmp_path / "lite.safetensors", tiny_network, PRESETS["lite"])
    assert not list(tmp_path.iterdir())


def test_only_finite_weights_are_loaded(tiny_weights):
    metadata, arrays = weights_file.read(tiny_weights)
    arrays["pos_encoding"] = np.full_like(arrays["pos_encoding"], np.nan)
    weights_file.write(tiny_weights, TINY_PRESET.config, arrays, metadata)
    with pytest.raises(WeightsError, match=r"weights must be finite\. Received: other values in pos_encoding and 0 more"):
        presets.load_weights(tiny_weights)


def test_only_finite_weights_are_saved(tmp_path):
    network = RepNet(TINY_PRESET.config)
    variable = network.variables_by_name()["pos_encoding"]
    variable.assign(np.full(variable.shape, np.nan))
    with pytest.raises(WeightsError, match=r"weights must be finite\. Received: other values in pos_encoding and 0 more"):
        presets.save_weights(tmp_path / "tiny.safetensors", network, TINY_PRESET)


@pytest.fixture
def published(tiny_weights, monkeypatch):
    """A published preset whose weights are in the folder of `tiny_weights`, as if fetched."""
    preset = dataclasses.replace(
        TINY_PRESET, strides=(2,), files=(RemoteFile("ckpt-1.index", "http://nowhere/ckpt-1.index", 3, "0" * 64),)
    )
    monkeypatch.setattr(presets, "PRESETS", {"tiny": preset})
    return preset


def test_a_fetched_preset_is_loaded_from_the_cache(tiny_network, tiny_weights, published, monkeypatch):
    monkeypatch.setenv("REPCOUNT_CACHE", str(tiny_weights.parent))
    loaded = presets.load_model("tiny")
    assert loaded.preset == published
    assert_same(tiny_network, loaded.network)


def test_a_preset_that_was_not_fetched_names_the_command(published, tmp_path, monkeypatch):
    monkeypatch.setenv("REPCOUNT_CACHE", str(tmp_path / "empty"))
    with pytest.raises(WeightsError, match="run `repcount model fetch tiny`"):
        presets.load_model("tiny")


def test_a_preset_s_weights_are_of_its_network(tiny_weights, published, monkeypatch):
    monkeypatch.setattr(presets, "PRESETS", {"tiny": dataclasses.replace(published, config=REPNET_2020)})
    monkeypatch.setenv("REPCOUNT_CACHE", str(tiny_weights.parent))
    with pytest.raises(WeightsError, match="must be of the network of tiny"):
        presets.load_model("tiny")


def test_the_facts_of_a_preset_are_those_of_the_loaded_model_and_need_no_tensorflow():
    code = (
        "import sys; from model.presets import read_facts; facts = read_facts('lite'); "
        "print(facts.preset.name, facts.sha256, len(facts.activation_ranges.layers), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = presets.load_model("lite")
    assert done.stdout.split() == ["lite", loaded.sha256, str(len(loaded.activation_ranges.layers)), "False"]


def test_the_facts_of_other_weights_come_with_the_refusal_of_those_that_do_not_fit(tiny_weights):
    assert presets.read_facts(str(tiny_weights)).preset == TINY_PRESET
    metadata, arrays = weights_file.read(tiny_weights)
    weights_file.write(tiny_weights, dataclasses.replace(TINY_PRESET.config, num_periods=9), arrays, metadata)
    with pytest.raises(checkpoint.CheckpointError, match="2 of another shape: fc_layers/2/bias"):
        presets.read_facts(str(tiny_weights))


def test_strides_and_counting_of_a_preset_loaded_by_name_are_its_own(tiny_weights, monkeypatch):
    changed = dataclasses.replace(TINY_PRESET, strides=(1, 2), counting=CountingOptions(), description="ours")
    monkeypatch.setattr(presets, "PRESETS", {"tiny": changed})
    monkeypatch.setattr(presets, "_SHIPPED_WEIGHTS", tiny_weights.parent)
    assert presets.load_model("tiny").preset == changed
    assert presets.load_model(str(tiny_weights)).preset == TINY_PRESET


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if not preset.files])
def test_the_shipped_weights_say_the_same_as_their_preset(name):
    preset = PRESETS[name]
    path = presets.weights_path(preset)
    assert path.name == f"{name}.safetensors"
    assert presets.load_model(name).preset == preset
    from_file = presets.load_weights(path).preset
    assert dataclasses.replace(from_file, core_score_fps=preset.core_score_fps) == preset  # a machine's speed, not the model's


@pytest.mark.parametrize("year", ["2020", "2025"])
def test_the_kind_of_a_checkpoint_follows_from_its_positions(year, request):
    prefix = request.getfixturevalue(f"standin_{year}")
    loaded = presets.load_model(prefix)
    preset = PRESETS[f"repnet-{year}"]
    expected = dataclasses.replace(preset, name=os.path.basename(prefix), description=loaded.preset.description)
    assert loaded.preset == expected
    assert loaded.sha256 == weights_file.model_sha256(preset.config, checkpoint.read_checkpoint(prefix))


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    kernel = np.ones(3, np.float32)
    for positions in ({}, {"pos_encoding": np.zeros((1, 64, 7), np.float32)}):
        prefix = checkpoints.save({"fc/kernel": kernel, **positions}, tmp_path / "ckpt")
        with pytest.raises(checkpoint.CheckpointError, match=r"a published RepNet has pos_encoding .* Received: "):
            presets.load_model(prefix)


def test_an_unexpected_variable_is_refused_unless_the_file_is_the_published_one(tiny_network, tmp_path, monkeypatch):
    arrays = checkpoints.random_arrays(tiny_network) | {"teacher/kernel": np.ones(3, np.float32)}
    prefix = checkpoints.save(arrays, tmp_path / "ckpt-1")
    preset = dataclasses.replace(TINY_PRESET, files=(RemoteFile("ckpt-1.index", "http://nowhere", 3, "0" * 64),))
    monkeypatch.setattr(presets, "PRESETS", {"tiny": preset})
    with pytest.raises(checkpoint.CheckpointError, match="1 unexpected: teacher/kernel"):
        presets.load_model(prefix)

    known = RemoteFile("ckpt-1.index", "http://nowhere", 3, storage.file_sha256(tmp_path / "ckpt-1.index"))
    monkeypatch.setattr(presets, "PRESETS", {"tiny": dataclasses.replace(preset, files=(known,))})
    assert presets.load_model(prefix).preset.name == "ckpt-1"


@pytest.mark.parametrize("name", ["nothing", "/no/such/ckpt-70", ""])
def test_an_unknown_model_is_answered_with_the_names_and_kinds_of_paths(name):
    with pytest.raises(WeightsError, match=f"{', '.join(PRESETS)}, or the path .* Received: '{name}'"):
        presets.load_model(name)


@pytest.mark.parametrize(
    "name",
    [
        "nothing",
        "absent.safetensors",
        "absent.weights.h5",
        "name" * 100 + ".safetensors",
        "repnet-2025",
        "/no/such/ckpt-70",
        "s3://bucket/ckpt",
    ],
)
def test_a_model_that_is_not_there_is_refused_before_tensorflow_is_imported(name, tmp_path):
    code = (
        "import sys; from model import errors, presets\n"
        "try: presets.load_model(sys.argv[1])\n"
        "except errors.UserError: sys.exit('tensorflow' in sys.modules)"
    )
    environment = os.environ | {"REPCOUNT_CACHE": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code, name], check=True, env=environment, cwd=REPOSITORY)


def test_other_remote_schemes_are_refused():
    with pytest.raises(storage.StorageError, match="Received: 's3://bucket/ckpt-70'"):
        presets.load_model("s3://bucket/ckpt-70")
