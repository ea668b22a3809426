"""A learner shows the network the frames of its views, starts from given weights, and is restored as it was."""

import dataclasses

import numpy as np
import pytest

from model import presets, weights_file
from model.network import RepNet
from model.presets import PRESETS
from model.training import backends, learner
from model.training.learner import Learner, TrainingModel, frame_policy
from model.training.replay import Example
from tests.support import checkpoints
from tests.support.training import SETTINGS, TINY


@pytest.fixture
def example():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (1, 64, 112, 112, 3), np.uint8)
    views = np.stack([np.arange(64), np.arange(63, -1, -1)])[None].astype(np.int32)
    labels = np.ones((1, 2, 64), np.float32)
    return Example((backends.to_device(frames),), views, 8 * labels, labels, labels)


def test_a_training_model_shows_the_network_the_frames_of_its_views():
    network = RepNet(TINY)
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 112, 112, 3), np.uint8)
    views = np.stack([np.arange(64), np.arange(127, 63, -1)]).reshape(2, 1, 64)
    period, periodicity = TrainingModel(network)((frames[:1], frames[1:]), views)
    for i, shown in enumerate((frames[0], frames[1, ::-1])):
        expected_period, expected_periodicity = network(shown[None])
        np.testing.assert_allclose(period[i], expected_period, atol=1e-4)
        np.testing.assert_allclose(periodicity[i], expected_periodicity, atol=1e-4)


def test_clips_are_augmented_in_training_only():
    frames = np.random.default_rng(0).integers(0, 256, (1, 64, 112, 112, 3), np.uint8)
    views = np.arange(64, dtype=np.int32).reshape(1, 1, 64)
    network = RepNet(TINY)
    plain, augmented = TrainingModel(network), TrainingModel(network, augments=True)
    np.testing.assert_array_equal(plain((frames,), views)[0], augmented((frames,), views)[0])
    seen = []
    network.encode = lambda given, training: seen.append(np.asarray(given)) or RepNet.encode(network, given, training)
    for model in (plain, augmented):
        model((frames,), views, training=True)
    np.testing.assert_array_equal(seen[0], frames[0])
    assert (seen[1] != frames[0]).any()


@pytest.mark.slow
def test_a_step_lowers_the_loss_and_the_average_follows(example, eagerly):
    taught = Learner(dataclasses.replace(SETTINGS, augment=False), TINY)
    losses = [np.asarray(taught.step(example, 0.01, 0.5)) for _ in range(4)]
    assert losses[-1].sum() < losses[0].sum()
    weights = taught.values()
    assert (weights["model/000"] != weights["average/000"]).any()


@pytest.mark.slow
def test_a_learner_is_restored_as_it_was(example, eagerly):
    first, second = (Learner(SETTINGS, TINY) for _ in range(2))
    first.step(example, 0.01, 0.5)
    second.restore(first.values())
    for taught in (first, second):
        taught.step(example, 0.01, 0.5)
    expected = first.values()
    for name, value in second.values().items():
        np.testing.assert_allclose(value, expected[name], atol=1e-6, err_msg=name)


def test_values_of_another_network_are_refused():
    values = Learner(SETTINGS, dataclasses.replace(TINY, num_periods=40)).values()
    with pytest.raises(ValueError, match="a checkpoint must have the values of this network"):
        Learner(SETTINGS, TINY).restore(values)


def test_the_averages_become_the_network_s_weights(example, eagerly):
    taught = Learner(SETTINGS, TINY)
    taught.step(example, 0.01, 0.5)
    average = taught.values()["average/000"]
    np.testing.assert_array_equal(taught.take_averages().trainable_variables[0], average)


def test_a_run_starts_from_given_weights_where_they_fit(tmp_path):
    before = RepNet(TINY)
    for name, array in checkpoints.random_arrays(before).items():
        before.variables_by_name()[name].assign(array)
    path = tmp_path / "first.safetensors"
    presets.save_weights(path, before, dataclasses.replace(PRESETS["lite"], config=TINY))
    taught = Learner(SETTINGS, dataclasses.replace(TINY, num_periods=40))
    assigned = taught.start_from(weights_file.read(path)[1])
    arrays, expected = presets.network_arrays(taught.take_averages()), presets.network_arrays(before)
    assert assigned == len(arrays) - 2  # kernel and bias of the last dense layer of the period head
    for name, array in arrays.items():
        if not name.startswith("fc_layers/2/"):
            np.testing.assert_array_equal(array, expected[name], err_msg=name)
    frozen = dataclasses.replace(SETTINGS, frozen_encoder=True, initial_weights=str(path))
    assert Learner(frozen, dataclasses.replace(TINY, num_periods=40)).start_from(weights_file.read(path)[1]) == assigned
    with pytest.raises(ValueError, match=r"frozen_encoder needs initial weights of the same encoder\. Received: others"):
        Learner(frozen, dataclasses.replace(TINY, embedding_channels=5)).start_from(weights_file.read(path)[1])
    with pytest.raises(ValueError, match=r"initial_weights must be of such a network\. Received: weights of which none fits"):
        Learner(SETTINGS, TINY).start_from({"another": np.zeros(1)})


@pytest.mark.parametrize(
    ("on_gpu", "on_processor", "policy"),
    [
        (True, "float32", "mixed_bfloat16"),
        (False, "bfloat16", "float32"),
        (None, "bfloat16", "mixed_bfloat16"),
        (None, "float32", "float32"),
    ],
)
def test_bfloat16_is_used_where_the_device_multiplies_it(on_gpu, on_processor, policy, monkeypatch):
    monkeypatch.setattr(backends, "gpu_multiplies_bfloat16", lambda: on_gpu)
    monkeypatch.setattr(learner.precision, "best_precision", lambda: on_processor)
    assert frame_policy(dataclasses.replace(SETTINGS, frame_policy="auto")) == policy
    assert frame_policy(dataclasses.replace(SETTINGS, frame_policy="bfloat16")) == "bfloat16"


def test_biases_and_gains_do_not_decay(eagerly):
    """A step whose labels weigh nothing has no gradient, so that only decay changes the weights."""
    taught = Learner(dataclasses.replace(SETTINGS, weight_decay=0.5, augment=False), TINY)
    before = presets.network_arrays(taught.network)
    nothing = np.zeros((1, 1, 64), np.float32)
    frames = backends.to_device(np.zeros((1, 64, 112, 112, 3), np.uint8))
    taught.step(Example((frames,), np.arange(64, dtype=np.int32).reshape(1, 1, 64), nothing, nothing, nothing), 0.1, 0.5)
    taught.values()
    after = presets.network_arrays(taught.network)
    np.testing.assert_allclose(after["fc_layers/0/kernel"], 0.95 * before["fc_layers/0/kernel"], rtol=1e-5)
    assert any(name.endswith("gain") for name in before)
    for name in before:
        if name.endswith(("gain", "bias", "gamma", "beta")):
            np.testing.assert_array_equal(after[name], before[name], err_msg=name)
