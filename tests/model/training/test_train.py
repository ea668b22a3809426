"""A run keeps a record, goes on with the clips where it was stopped, is not run twice, and is exported as it was trained."""

import dataclasses
import json
from concurrent.futures import Future
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf

from model import network as network_module
from model import presets
from model.config import LITE
from model.network import RepNet
from model.presets import PRESETS, WeightsError
from model.training import train as training
from model.training.clips import NUM_PERIODS
from model.training.train import TrainingSettings, draw_batches, export, train
from tests.model import checkpoints

SETTINGS = TrainingSettings(steps=2, batch_size=1, warmup_steps=1, steps_per_epoch=1, frame_policy="float32", seed=3)
FIRST_SEED = 30_000_000
TINY = dataclasses.replace(checkpoints.TINY, num_periods=NUM_PERIODS)


class InProcess:
    """Stands in for the pool of processes, which take seconds to start, and notes what it is to draw."""

    seeds: ClassVar[list[int]] = []

    def __init__(self, workers, mp_context):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def submit(self, function, first_seed, size):
        self.seeds.append(first_seed)
        future: Future = Future()
        future.set_result(function(first_seed, size))
        return future


@pytest.fixture
def drawn(monkeypatch):
    """The first seeds of the batches that are drawn, in order, some of them ahead of the network."""
    monkeypatch.setattr(InProcess, "seeds", [])
    monkeypatch.setattr(training, "ProcessPoolExecutor", InProcess)
    return InProcess.seeds


@pytest.fixture
def eager():
    """Compiling takes much longer than a few steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


class InterruptionError(Exception):
    """The second epoch does not begin."""


class InterruptingLogger(keras.callbacks.CSVLogger):
    """The log of a run that is stopped after its first epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise InterruptionError


def interrupt(folder, monkeypatch):
    """Trains for the first of two epochs."""
    with monkeypatch.context() as patch:
        patch.setattr(keras.callbacks, "CSVLogger", InterruptingLogger)
        with pytest.raises(InterruptionError):
            train(SETTINGS, folder, TINY)


def epochs_logged(folder):
    return [line.split(",")[0] for line in (folder / "log.csv").read_text().splitlines()[1:]]


def assert_same(network, other):
    arrays = presets.network_arrays(other)
    for name, array in presets.network_arrays(network).items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)


def test_a_run_goes_on_with_the_batches_where_it_was_interrupted(drawn, eager, tmp_path, monkeypatch):
    interrupt(tmp_path, monkeypatch)
    assert drawn == list(range(FIRST_SEED, FIRST_SEED + len(drawn)))
    assert epochs_logged(tmp_path) == ["0"]

    drawn.clear()
    train(SETTINGS, tmp_path, TINY)
    assert drawn == list(range(FIRST_SEED + 1, FIRST_SEED + 1 + len(drawn)))
    assert len(drawn) > 1
    assert epochs_logged(tmp_path) == ["0", "1"]
    assert not (tmp_path / "backup").exists()


def test_an_interrupted_run_ends_with_the_weights_of_an_undisturbed_one_but_for_dropout(drawn, eager, tmp_path, monkeypatch):
    monkeypatch.setattr(network_module, "_DROPOUT", 0.0)
    interrupt(tmp_path, monkeypatch)
    expected = presets.network_arrays(train(SETTINGS, tmp_path / "undisturbed", TINY))
    for name, array in presets.network_arrays(train(SETTINGS, tmp_path, TINY)).items():
        np.testing.assert_allclose(array, expected[name], atol=1e-6, err_msg=name)


def test_a_finished_run_is_not_run_again(drawn, eager, tmp_path):
    network = train(SETTINGS, tmp_path, TINY)
    log = (tmp_path / "log.csv").read_bytes()
    drawn.clear()
    assert_same(network, train(SETTINGS, tmp_path, TINY))
    assert drawn == []
    assert (tmp_path / "log.csv").read_bytes() == log


def test_an_unfinished_run_is_exported_with_its_record(drawn, eager, tmp_path, monkeypatch):
    interrupt(tmp_path, monkeypatch)
    monkeypatch.setattr(training, "PRESETS", {"lite": dataclasses.replace(PRESETS["lite"], config=TINY)})
    path = tmp_path / "exported.weights.h5"
    sha256 = export(tmp_path, path)

    loaded = presets.load_model(str(path))
    assert (loaded.sha256, loaded.preset.name, loaded.preset.config) == (sha256, "lite", TINY)
    averaged = RepNet(TINY)
    averaged.load_weights(tmp_path / "averaged.weights.h5")
    assert_same(loaded.network, averaged)
    record = json.loads((tmp_path / "exported.json").read_text())["training"]
    assert record["steps_done"] == 1
    assert record["settings"] == dataclasses.asdict(SETTINGS)
    assert record["last_losses"]["period_loss"] > 0


def test_steps_are_told_by_the_number_of_the_last_epoch(tmp_path, monkeypatch):
    described = {"settings": dataclasses.asdict(SETTINGS), "network": dataclasses.asdict(TINY)}
    (tmp_path / "settings.json").write_text(json.dumps(described))
    RepNet(TINY).save_weights(tmp_path / "averaged.weights.h5")
    (tmp_path / "log.csv").write_text("epoch,period_loss,periodicity_loss\n0,9,9\n1,8,8\n0,7,7\n1,6,5\n")
    monkeypatch.setattr(training, "PRESETS", {"lite": dataclasses.replace(PRESETS["lite"], config=TINY)})
    export(tmp_path, tmp_path / "exported.weights.h5")
    record = json.loads((tmp_path / "exported.json").read_text())["training"]
    assert record["steps_done"] == 2
    assert record["last_losses"] == {"period_loss": 6, "periodicity_loss": 5}


def test_a_run_of_another_network_is_not_exported_as_the_preset_s(tmp_path):
    described = {"settings": dataclasses.asdict(SETTINGS), "network": dataclasses.asdict(TINY)}
    (tmp_path / "settings.json").write_text(json.dumps(described))
    RepNet(TINY).save_weights(tmp_path / "averaged.weights.h5")
    (tmp_path / "log.csv").write_text("epoch,period_loss,periodicity_loss\n0,9,9\n")
    with pytest.raises(WeightsError, match="of the preset's configuration"):
        export(tmp_path, tmp_path / "exported.weights.h5")


def test_batches_are_those_of_their_seeds_whichever_comes_first(drawn):
    (frames, (period_class, periodic)) = next(draw_batches(SETTINGS, 1, workers=1))
    assert (frames.shape, period_class.shape, periodic.shape) == ((1, 64, 112, 112, 3), (1, 64), (1, 64))
    expected = training.draw_batch(FIRST_SEED + 1, 1)
    np.testing.assert_array_equal(frames, expected[0])
    np.testing.assert_array_equal(period_class, expected[1][0])


@pytest.mark.slow
def test_a_run_of_our_own_network_leaves_weights_and_a_record_and_refuses_other_settings(tmp_path):
    network = train(SETTINGS, tmp_path)
    assert network.config == LITE
    assert (tmp_path / "averaged.weights.h5").exists()
    assert epochs_logged(tmp_path) == ["0", "1"]
    assert json.loads((tmp_path / "settings.json").read_text())["settings"]["steps"] == 2
    with pytest.raises(ValueError, match="holds a run with other settings"):
        train(TrainingSettings(steps=100), tmp_path)


def test_a_run_is_a_whole_number_of_epochs():
    with pytest.raises(ValueError, match="multiple of 100"):
        TrainingSettings(steps=150)
