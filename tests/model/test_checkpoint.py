import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph
from tensorflow.python.trackable.autotrackable import AutoTrackable

from model import checkpoint, storage
from model.checkpoint import CheckpointError
from model.config import REPNET_2020, REPNET_2025
from model.network import RepNet
from tests.reference import checkpoint_layout
from tests.support import checkpoints


@pytest.fixture(scope="module")
def network():
    return RepNet(checkpoints.TINY)


def some_layers():
    return {"base_model/layer_with_weights-0/kernel": np.ones((2, 3), np.float32), "pos_encoding": np.zeros(4, np.float32)}


@pytest.mark.parametrize("year", ["2020", "2025"])
def test_every_variable_of_the_published_layout_is_read(year, request):
    arrays = checkpoint.read_checkpoint(request.getfixturevalue(f"standin_{year}"))
    shapes = checkpoint_layout.canonical_variables(year)
    assert arrays.keys() == shapes.keys()
    for name, shape in shapes.items():
        np.testing.assert_array_equal(arrays[name], checkpoint_layout.value(name, shape), err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(("year", "config"), [("2020", REPNET_2020), ("2025", REPNET_2025)])
def test_the_published_layout_fits_the_network(year, config, request):
    network = RepNet(config)
    checkpoint.assign(network, checkpoint.read_checkpoint(request.getfixturevalue(f"standin_{year}")))
    for name, variable in network.variables_by_name().items():
        np.testing.assert_array_equal(variable, checkpoint_layout.value(name, tuple(variable.shape)), err_msg=name)


def test_layers_known_by_position_alone_count_those_with_variables(tmp_path):
    """Three of twelve layers have variables."""
    layers = {f"base_model/layer-{n}": AutoTrackable() for n in range(12)}
    kernels = {f"base_model/layer-{n}/kernel": np.full(2, n, np.float32) for n in (2, 5, 10)}
    arrays = checkpoint.read_checkpoint(checkpoints.save(layers | kernels, tmp_path / "ckpt"))
    assert {name: array[0] for name, array in arrays.items()} == {
        "base_model/layer_with_weights-0/kernel": 2,
        "base_model/layer_with_weights-1/kernel": 5,
        "base_model/layer_with_weights-2/kernel": 10,
    }


def test_an_attribute_names_a_layer_rather_than_its_position(tmp_path):
    layer = checkpoints.tree({"kernel": np.zeros(2, np.float32)})
    prefix = checkpoints.save({"layer-0": layer, "layer_with_weights-0": layer, "fc": layer}, tmp_path / "ckpt")
    assert list(checkpoint.read_checkpoint(prefix)) == ["fc/kernel"]


def test_what_is_beside_the_model_and_its_optimizer_are_left_out(tmp_path):
    rate = np.full((), 0.1, np.float32)
    prefix = checkpoints.save(some_layers() | {"optimizer/rate": rate}, tmp_path / "ckpt", step=tf.Variable(7))
    assert checkpoint.read_checkpoint(prefix).keys() == some_layers().keys()


def test_slots_of_an_optimizer_are_left_out(tmp_path):
    kernel = tf.Variable(np.ones(3, np.float32))
    optimizer = tf.compat.v1.train.MomentumOptimizer(0.1, 0.9)
    optimizer.apply_gradients([(tf.ones(3), kernel)])
    prefix = checkpoints.save({"fc/kernel": kernel, "trainer": optimizer}, tmp_path / "ckpt")
    assert any(".OPTIMIZER_SLOT" in name for name, _ in tf.train.list_variables(prefix))
    assert list(checkpoint.read_checkpoint(prefix)) == ["fc/kernel"]


def test_a_checkpoint_on_cloud_storage_is_read(cloud_storage, tmp_path):
    checkpoints.save(some_layers(), tmp_path / "ckpt")
    cloud_storage.contents = {f"bucket/repnet/{path.name}": path.read_bytes() for path in tmp_path.iterdir()}
    assert checkpoint.read_checkpoint("gs://bucket/repnet/ckpt").keys() == some_layers().keys()
    with pytest.raises(storage.StorageError, match="Received: 'gs://bucket/repnet/other'"):
        checkpoint.read_checkpoint("gs://bucket/repnet/other")


@pytest.fixture
def prefix(tmp_path):
    return checkpoints.save(some_layers(), tmp_path / "ckpt")


@pytest.mark.parametrize("name", ["ckpt.index", "ckpt.data-00000-of-00001"])
@pytest.mark.parametrize("damage", ["absent", "empty", "half", "flipped"])
def test_a_damaged_file_is_one_clear_line(prefix, tmp_path, name, damage):
    file = tmp_path / name
    content = file.read_bytes()
    middle = len(content) // 2
    damaged = {
        "empty": b"",
        "half": content[:middle],
        "flipped": bytes(byte ^ 0x55 if 4 <= i < 24 else byte for i, byte in enumerate(content)),
    }
    file.unlink() if damage == "absent" else file.write_bytes(damaged[damage])
    with pytest.raises(CheckpointError, match=r"Received: '.*ckpt'") as caught:
        checkpoint.read_checkpoint(prefix)
    assert "\n" not in str(caught.value)


def test_a_truncated_published_file_is_refused(standin_2025, tmp_path):
    shutil.copy(f"{standin_2025}.index", tmp_path)
    with open(f"{standin_2025}.data-00000-of-00001", "rb") as data:
        (tmp_path / "ckpt-70.data-00000-of-00001").write_bytes(data.read(50_000_000))
    with pytest.raises(CheckpointError, match="incomplete or corrupt"):
        checkpoint.read_checkpoint(str(tmp_path / "ckpt-70"))


def test_a_name_based_checkpoint_is_refused(tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable = tf.compat.v1.get_variable("kernel", initializer=np.ones(3, np.float32))
        session.run(variable.initializer)
        tf.compat.v1.train.Saver([variable]).save(session, str(tmp_path / "ckpt"), write_meta_graph=False)
    with pytest.raises(CheckpointError, match="no object graph"):
        checkpoint.read_checkpoint(str(tmp_path / "ckpt"))


@pytest.mark.parametrize("number", [999, -1])
def test_a_graph_that_names_a_node_that_is_not_there_is_refused(number):
    graph = TrackableObjectGraph()
    graph.nodes.add().children.add(local_name="model", node_id=number)
    with pytest.raises(CheckpointError, match=f"the checkpoint is corrupt: it has no node {number}. Received: 'ckpt'"):
        checkpoint._variable_keys(graph, "ckpt")


def test_a_checkpoint_without_a_model_is_refused(tmp_path):
    prefix = tf.train.Checkpoint(network=checkpoints.tree(some_layers())).write(str(tmp_path / "ckpt"))
    with pytest.raises(CheckpointError, match="has no model, only network"):
        checkpoint.read_checkpoint(prefix)


def test_variables_of_another_type_are_refused(tmp_path):
    prefix = checkpoints.save({"pos_encoding": np.zeros(3, np.float64)}, tmp_path / "ckpt")
    with pytest.raises(CheckpointError, match="Received: pos_encoding of float64"):
        checkpoint.read_checkpoint(prefix)


def test_two_variables_of_one_name_are_refused(tmp_path):
    """A name with a slash looks the same as a layer below another."""
    first, second = (checkpoints.tree({"kernel": np.full(2, value, np.float32)}) for value in (1, 2))
    outer = AutoTrackable()
    setattr(outer, "a/b", first)
    outer.a = checkpoints.tree({"b": second})
    prefix = tf.train.Checkpoint(model=outer).write(str(tmp_path / "ckpt"))
    with pytest.raises(CheckpointError, match="two variables have the name a/b/kernel"):
        checkpoint.read_checkpoint(prefix)


def test_assign_gives_every_variable_its_value(network):
    arrays = checkpoints.random_arrays(network)
    checkpoint.assign(network, arrays)
    for name, variable in network.variables_by_name().items():
        np.testing.assert_array_equal(variable, arrays[name], err_msg=name)


def without(name):
    return lambda arrays: arrays.pop(name)


def with_value(name, shape):
    return lambda arrays: arrays.update({name: np.zeros(shape, np.float32)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("pos_encoding2"), "1 missing: pos_encoding2"),
        (with_value("fc_layers/3/kernel", (4, 4)), "1 unexpected: fc_layers/3/kernel"),
        (with_value("pos_encoding", (1, 64, 1)), r"1 of another shape: pos_encoding \(1, 64, 1\) instead of \(1, 64, 4\)"),
    ],
)
def test_assign_changes_nothing_unless_every_variable_matches(network, change, message):
    before = {name: np.asarray(variable).copy() for name, variable in network.variables_by_name().items()}
    arrays = checkpoints.random_arrays(network, seed=1)
    change(arrays)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.assign(network, arrays)
    for name, variable in network.variables_by_name().items():
        np.testing.assert_array_equal(variable, before[name], err_msg=name)


def test_assign_names_only_the_first_of_many(network):
    with pytest.raises(CheckpointError, match=r"missing: base_model/layer_with_weights-0/bias, .* and \d+ more"):
        checkpoint.assign(network, {})


def test_arrays_beyond_the_network_are_left_out_of_a_file_that_is_known(network):
    arrays = checkpoints.random_arrays(network, seed=2)
    checkpoint.assign(network, arrays | {"teacher/kernel": np.zeros(3, np.float32)}, ignore_unexpected=True)
    np.testing.assert_array_equal(network.variables_by_name()["pos_encoding"], arrays["pos_encoding"])
