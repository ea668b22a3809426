"""JAX computes what TensorFlow does, and trains where TensorFlow is not installed."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from model.network import RepNet
from model.presets import load_model
from model.training import backends
from model.training.clips import draw_clip
from model.training.learner import TrainingModel
from model.training.replay import Example
from tests.support import training

ROOT = Path(__file__).parents[3]


def run_jax(*arguments):
    """Runs `tests.support.backend_child` under JAX, without TensorFlow."""
    pytest.importorskip("jax", reason="needs JAX, of the extra `train`")
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.support.backend_child", *map(str, arguments)]
    finished = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.slow
def test_the_shipped_weights_give_the_same_logits_under_jax_as_under_tensorflow(tmp_path):
    window = draw_clip(3).frames[None]
    np.save(tmp_path / "frames.npy", window)
    run_jax("logits", tmp_path / "frames.npy", tmp_path / "logits.npz")
    period, periodicity = load_model("lite").network(window)
    under_jax = np.load(tmp_path / "logits.npz")
    assert np.ptp(period) > 1
    np.testing.assert_allclose(under_jax["period"], period, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(under_jax["periodicity"], periodicity, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_jax_trains_without_tensorflow_and_resumes_as_if_it_had_not_been_interrupted(tmp_path):
    run_jax("train", tmp_path)
    whole, resumed = np.load(tmp_path / "whole.npz"), np.load(tmp_path / "resumed.npz")
    assert len(whole.files) > 30
    for name in whole.files:
        np.testing.assert_allclose(resumed[name], whole[name], atol=1e-6, err_msg=name)
    logs = [list(csv.DictReader((tmp_path / run / "log.csv").open())) for run in ("whole", "interrupted")]
    assert [[line["step"] for line in log] for log in logs] == [["1", "2"]] * 2
    assert all(0 < float(line["period_loss"]) < 10 for log in logs for line in log)
    assert json.loads((tmp_path / "whole" / "machine.json").read_text())["backend"] == "jax"


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ValueError, match=r"Keras' backend tensorflow or jax: set KERAS_BACKEND\. Received: torch"):
        backends.device_name()


def test_frames_on_the_device_stay_when_their_memory_is_used_again():
    frames = np.zeros((1, 64, 112, 112, 3), np.uint8)
    on_device = backends.to_device(frames)
    frames[:] = 255
    assert not np.asarray(on_device).any()


def test_a_processor_is_no_gpu():
    assert backends.device_name() == "cpu"
    assert backends.gpu_multiplies_bfloat16() is None


def test_a_step_changes_the_weights_by_the_rate_averages_them_and_reports_the_losses(eagerly):
    model = TrainingModel(RepNet(training.TINY))
    trained = model.trainable_variables
    optimizer = keras.optimizers.SGD(0.0)
    optimizer.build(trained)
    before = [keras.ops.convert_to_numpy(variable).copy() for variable in trained]
    averages = [keras.Variable(variable, trainable=False) for variable in trained]

    def losses(logits, labels):
        total = keras.ops.mean(logits[0] ** 2) + keras.ops.mean(logits[1] ** 2)
        return total, keras.ops.stack([total, labels[0][0, 0, 0]])

    views = np.arange(64, dtype=np.int32).reshape(1, 1, 64)
    label = np.full((1, 1, 64), 9, np.float32)
    frames = backends.to_device(np.random.default_rng(0).integers(0, 256, (1, 64, 112, 112, 3), np.uint8))
    update = backends.compile_update(model, optimizer, averages, losses)
    reported = np.asarray(update(Example((frames,), views, label, label, label), 0.5, 0.75))
    update.sync()
    assert reported[0] > 0
    assert reported[1] == 9
    after = [keras.ops.convert_to_numpy(variable) for variable in trained]
    assert any((old != new).any() for old, new in zip(before, after, strict=True))
    for old, new, average in zip(before, after, averages, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(average), 0.75 * old + 0.25 * new, atol=1e-6)
