"""A run keeps a record, resumes with the next clips, is not run twice, and is exported as it was trained."""

import dataclasses
import json
from concurrent.futures import Future
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf

from model import network as network_module
from model import presets, weights_file
from model.config import LITE
from model.network import RepNet
from model.presets import PRESETS, WeightsError
from model.training import train as training
from model.training.train import (
    PeriodicityLoss,
    PeriodLoss,
    TrainingModel,
    TrainingSettings,
    assign_matching,
    compile_model,
    draw_examples,
    export,
    train,
)
from tests.support import checkpoints

SETTINGS = TrainingSettings(steps=2, batch_size=1, warmup_steps=1, steps_per_epoch=1, seed=3)
FIRST_SEED = 30_000_000
TINY = dataclasses.replace(checkpoints.TINY, num_periods=32)


class InProcess:
    """Replaces the pool of processes, which take seconds to start, and records the seeds to draw."""

    seeds: ClassVar[list[int]] = []

    def __init__(self, workers, mp_context):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def submit(self, function, first_seed, *args):
        self.seeds.append(first_seed)
        future: Future = Future()
        future.set_result(function(first_seed, *args))
        return future


@pytest.fixture
def drawn(monkeypatch):
    """The first seed of every batch drawn, in order, prefetched ones included."""
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
    """Raised instead of starting the second epoch."""


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


@pytest.mark.slow
def test_an_interrupted_run_resumes_with_the_next_batch(drawn, eager, tmp_path, monkeypatch):
    interrupt(tmp_path, monkeypatch)
    assert drawn == list(range(FIRST_SEED, FIRST_SEED + len(drawn)))
    assert epochs_logged(tmp_path) == ["0"]

    drawn.clear()
    train(SETTINGS, tmp_path, TINY)
    assert drawn == list(range(FIRST_SEED + 1, FIRST_SEED + 1 + len(drawn)))
    assert len(drawn) > 1
    assert epochs_logged(tmp_path) == ["0", "1"]
    assert not (tmp_path / "backup").exists()


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_weights_of_an_undisturbed_one_but_for_dropout(drawn, eager, tmp_path, monkeypatch):
    monkeypatch.setattr(network_module, "_DROPOUT", 0.0)
    interrupt(tmp_path, monkeypatch)
    expected = presets.network_arrays(train(SETTINGS, tmp_path / "undisturbed", TINY))
    for name, array in presets.network_arrays(train(SETTINGS, tmp_path, TINY)).items():
        np.testing.assert_allclose(array, expected[name], atol=1e-6, err_msg=name)


class KilledLogger(keras.callbacks.CSVLogger):
    """The log of a run that is killed in its last epoch, after the checkpoint was written."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise InterruptionError
        super().on_epoch_end(epoch, logs)


@pytest.mark.slow
def test_a_run_killed_after_its_last_checkpoint_is_finished_and_not_started_over(drawn, eager, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(keras.callbacks, "CSVLogger", KilledLogger)
        with pytest.raises(InterruptionError):
            train(SETTINGS, tmp_path / "killed", TINY)
    (tmp_path / "killed" / "averaged.weights.h5").unlink()
    finished = presets.network_arrays(train(SETTINGS, tmp_path / "killed", TINY))
    for name, array in presets.network_arrays(train(SETTINGS, tmp_path / "whole", TINY)).items():
        np.testing.assert_allclose(finished[name], array, rtol=1e-6, atol=1e-7, err_msg=name)  # averages are rounded twice
    assert (tmp_path / "killed" / "averaged.weights.h5").exists()
    assert epochs_logged(tmp_path / "killed") == ["0"]
    train(SETTINGS, tmp_path / "killed", TINY)
    assert epochs_logged(tmp_path / "killed") == ["0"]


class DivergingLogger(keras.callbacks.CSVLogger):
    """The log of a run whose loss is NaN in its second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            variable = self.model.trainable_variables[0]
            variable.assign(np.nan * np.ones(variable.shape))


@pytest.mark.slow
def test_a_run_that_diverges_ends_with_an_error_and_keeps_what_it_had(drawn, eager, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(keras.callbacks, "CSVLogger", DivergingLogger)
        with pytest.raises(RuntimeError, match="NaN"):
            train(SETTINGS, tmp_path, TINY)
    network = RepNet(TINY)
    TrainingModel(network).load_weights(tmp_path / "averaged.weights.h5")
    assert all(np.isfinite(array).all() for array in presets.network_arrays(network).values())
    assert (tmp_path / "backup").exists()


@pytest.mark.slow
def test_a_finished_run_is_not_run_again(drawn, eager, tmp_path):
    network = train(SETTINGS, tmp_path, TINY)
    log = (tmp_path / "log.csv").read_bytes()
    drawn.clear()
    assert_same(network, train(SETTINGS, tmp_path, TINY))
    assert drawn == []
    assert (tmp_path / "log.csv").read_bytes() == log


@pytest.mark.slow
def test_an_unfinished_run_is_exported_with_its_record(drawn, eager, tmp_path, monkeypatch):
    interrupt(tmp_path, monkeypatch)
    monkeypatch.setattr(training, "PRESETS", {"lite": dataclasses.replace(PRESETS["lite"], config=TINY)})
    path = tmp_path / "exported.safetensors"
    sha256 = export(tmp_path, path)

    loaded = presets.load_model(str(path))
    assert (loaded.sha256, loaded.preset.name, loaded.preset.config) == (sha256, "lite", TINY)
    averaged = RepNet(TINY)
    TrainingModel(averaged).load_weights(tmp_path / "averaged.weights.h5")
    assert_same(loaded.network, averaged)
    record = weights_file.read_metadata(tmp_path / "exported.safetensors")["training"]
    assert record["steps_done"] == 1
    assert record["settings"] | {"initial_weights": ""} == dataclasses.asdict(SETTINGS)
    assert record["initial"] is None
    assert record["last_losses"]["period_loss"] > 0


def test_steps_are_told_by_the_number_of_the_last_epoch(tmp_path, monkeypatch):
    described = {"settings": dataclasses.asdict(SETTINGS), "network": dataclasses.asdict(TINY)}
    (tmp_path / "settings.json").write_text(json.dumps(described))
    TrainingModel(RepNet(TINY)).save_weights(tmp_path / "averaged.weights.h5")
    (tmp_path / "log.csv").write_text("epoch,period_loss,periodicity_loss\n0,9,9\n1,8,8\n0,7,7\n1,6,5\n")
    monkeypatch.setattr(training, "PRESETS", {"lite": dataclasses.replace(PRESETS["lite"], config=TINY)})
    export(tmp_path, tmp_path / "exported.safetensors")
    record = weights_file.read_metadata(tmp_path / "exported.safetensors")["training"]
    assert record["steps_done"] == 2
    assert record["last_losses"] == {"period_loss": 6, "periodicity_loss": 5}


def test_a_run_of_another_network_is_not_exported_as_the_preset_s(tmp_path):
    described = {"settings": dataclasses.asdict(SETTINGS), "network": dataclasses.asdict(TINY)}
    (tmp_path / "settings.json").write_text(json.dumps(described))
    TrainingModel(RepNet(TINY)).save_weights(tmp_path / "averaged.weights.h5")
    (tmp_path / "log.csv").write_text("epoch,period_loss,periodicity_loss\n0,9,9\n")
    with pytest.raises(WeightsError, match="have the preset's configuration"):
        export(tmp_path, tmp_path / "exported.safetensors")


def test_examples_are_those_of_their_seeds_whichever_comes_first(drawn):
    (frames, views), (period, periodic), (weight, _) = next(draw_examples(SETTINGS, 1, workers=1))
    assert frames.shape == (1, 64, 112, 112, 3)
    assert period.shape == periodic.shape == weight.shape == (1, 3, 64)
    expected = training.draw_batch(FIRST_SEED + 1, 1, 3)
    np.testing.assert_array_equal(frames, expected.frames)
    np.testing.assert_array_equal(views, expected.views)
    np.testing.assert_array_equal(period, expected.period)


def test_a_training_model_shows_the_network_the_frames_of_its_views():
    network = RepNet(TINY)
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 112, 112, 3), np.uint8)
    views = np.stack([np.arange(64), np.arange(127, 63, -1)]).reshape(2, 1, 64)
    period, periodicity = TrainingModel(network)((frames, views))
    for i, shown in enumerate((frames[0], frames[1, ::-1])):
        expected_period, expected_periodicity = network(shown[None])
        np.testing.assert_allclose(period[i], expected_period, atol=1e-4)
        np.testing.assert_allclose(periodicity[i], expected_periodicity, atol=1e-4)


class TestPeriodLoss:
    """Of a network with 32 classes, class 0 a period of 1."""

    loss = PeriodLoss(period_offset=1)

    def logits(self, likelihoods):
        logits = np.full((1, 1, 1, 32), -30.0, np.float32)
        for positions, likelihood in likelihoods.items():
            logits[..., positions - 1] = np.log(likelihood)
        return logits

    def of(self, period, likelihoods):
        # One position of one: the sum of repeating positions is divided by one more than their number.
        return 2 * float(self.loss(np.full((1, 1, 1), period, np.float32), self.logits(likelihoods)))

    def test_a_sure_right_answer_costs_nothing(self):
        assert self.of(10, {10: 1.0}) == pytest.approx(0, abs=1e-4)

    def test_between_two_classes_both_are_right_by_their_shares(self):
        shared = self.of(10.25, {10: 0.75, 11: 0.25})
        assert shared == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)), abs=1e-4)
        assert shared < self.of(10.25, {10: 0.5, 11: 0.5}) < self.of(10.25, {10: 0.01, 11: 0.99})

    @pytest.mark.parametrize(("period", "nearest"), [(32.4, 32), (0.5, 1)])
    def test_beyond_the_classes_the_last_one_is_right(self, period, nearest):
        assert self.of(period, {nearest: 1.0}) == pytest.approx(0, abs=1e-4)

    @pytest.mark.parametrize(("period", "nearest"), [(10.25, 10), (10.75, 11)])
    def test_of_whole_periods_the_nearest_class_is_right(self, period, nearest):
        loss = PeriodLoss(period_offset=1, whole_periods=True)
        truth = np.full((1, 1, 1), period, np.float32)
        assert float(loss(truth, self.logits({nearest: 1.0}))) == pytest.approx(0, abs=1e-4)

    def test_where_nothing_repeats_no_period_is_wrong(self):
        assert self.of(0, {5: 1.0}) == 0


def test_a_label_of_low_weight_moves_the_loss_and_its_gradient_in_proportion():
    rng = np.random.default_rng(0)
    logits = tf.Variable(rng.standard_normal((1, 2, 64)).astype(np.float32))
    weight = np.ones((1, 2, 64), np.float32)
    weight[0, 1, 10:] = 0.25
    with tf.GradientTape(persistent=True) as tape:
        plain = PeriodicityLoss()(np.zeros((1, 2, 64), np.float32), logits)
        weighted = PeriodicityLoss()(np.zeros((1, 2, 64), np.float32), logits, sample_weight=weight)
    np.testing.assert_allclose(tape.gradient(weighted, logits), weight * tape.gradient(plain, logits), rtol=1e-5)
    assert 0 < float(weighted) < float(plain)


def test_fitting_weighs_labels_by_the_weights_of_a_batch(eager):
    network = RepNet(TINY)
    model = TrainingModel(network)
    compile_model(model, SETTINGS)
    frames = np.random.default_rng(0).integers(0, 256, (1, 64, 112, 112, 3), np.uint8)
    views = np.arange(64, dtype=np.int32).reshape(1, 1, 64)
    period, periodic, weight = (np.full((1, 1, 64), value, np.float32) for value in (8, 1, 0.25))
    full, quarter = (
        model.evaluate((frames, views), (period, periodic), sample_weight=(given, given), verbose=0, return_dict=True)
        for given in (np.ones_like(weight), weight)
    )
    for name in ("loss", "period_loss", "periodicity_loss"):
        assert quarter[name] == pytest.approx(full[name] / 4, rel=1e-4)


@pytest.fixture
def first(tmp_path):
    """A network and the file that holds its weights."""
    network = RepNet(TINY)
    for name, array in checkpoints.random_arrays(network).items():
        network.variables_by_name()[name].assign(array)
    path = tmp_path / "first.safetensors"
    presets.save_weights(path, network, dataclasses.replace(PRESETS["lite"], config=TINY))
    return network, path


def test_a_run_starts_from_given_weights_where_they_fit(first):
    before, path = first
    network = RepNet(dataclasses.replace(TINY, num_periods=40))
    assigned = assign_matching(network, path)
    arrays, expected = presets.network_arrays(network), presets.network_arrays(before)
    assert assigned == len(arrays) - 2  # kernel and bias of the last dense layer of the period head
    for name, array in arrays.items():
        if not name.startswith("fc_layers/2/"):
            np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.slow
def test_a_frozen_encoder_stays_as_it_was(first, drawn, eager, tmp_path):
    before, path = first
    settings = dataclasses.replace(SETTINGS, initial_weights=str(path), frozen_encoder=True)
    arrays, expected = presets.network_arrays(train(settings, tmp_path / "run", TINY)), presets.network_arrays(before)
    initial = json.loads((tmp_path / "run" / "initial.json").read_text())
    (tmp_path / "run" / "log.csv").unlink()
    (tmp_path / "run" / "initial.json").write_text("{}")
    with pytest.raises(ValueError, match=r"has a run from other weights.* Received: first\.safetensors"):
        train(settings, tmp_path / "run", TINY)
    assert (initial["file"], initial["sha256"]) == ("first.safetensors", weights_file.read_metadata(path)["sha256"])
    frozen = {name for name in arrays if name.startswith(("base_model/", "temporal_"))}
    assert all(np.array_equal(arrays[name], expected[name]) for name in frozen)
    assert not all(np.array_equal(arrays[name], expected[name]) for name in arrays.keys() - frozen)


@pytest.mark.slow
def test_a_run_of_our_own_network_leaves_weights_and_a_record_and_refuses_other_settings(tmp_path):
    network = train(SETTINGS, tmp_path)
    assert network.config == LITE
    assert (tmp_path / "averaged.weights.h5").exists()
    assert epochs_logged(tmp_path) == ["0", "1"]
    assert json.loads((tmp_path / "settings.json").read_text())["settings"]["steps"] == 2
    with pytest.raises(ValueError, match="has a run with other settings"):
        train(TrainingSettings(steps=100), tmp_path)


def test_a_run_is_a_whole_number_of_epochs():
    with pytest.raises(ValueError, match="multiple of 100"):
        TrainingSettings(steps=150)


def test_only_known_parts_can_be_left_out():
    with pytest.raises(ValueError, match="Received: cats"):
        TrainingSettings(without="camera,cats")
