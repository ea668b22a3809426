"""A chunk becomes scores, or a failure in one line; a model is loaded as the run names it."""

import sys
import types
import weakref

import keras
import pytest
import tensorflow as tf

from model.errors import UserError, WeightsError
from model.precision import Precision
from tests.support.scorers import POISON, SumScorer, sum_chunk
from transforms.failure_codes import FailureCode, Stage
from transforms.machine_faults import MachineFaultError
from transforms.records import Failure
from transforms.scoring import ModelConfig, score_or_fail


def test_a_chunk_that_cannot_be_scored_is_a_failure():
    chunk = sum_chunk(POISON, index=1)
    failure = score_or_fail(chunk, SumScorer())
    assert isinstance(failure, Failure)
    assert (failure.video, failure.stage, failure.code) == (chunk.video, Stage.SCORE, FailureCode.SCORING_FAILED)


def test_an_error_is_one_line_in_the_log_and_a_traceback_at_debug_level(caplog):
    caplog.set_level("DEBUG", logger="transforms.scoring")
    score_or_fail(sum_chunk(POISON, index=3), SumScorer())
    line, trace = caplog.records
    assert (line.levelname, line.exc_info) == ("INFO", None)
    assert line.getMessage().startswith("Scoring chunk 3 of 'a.mp4' failed: ArithmeticError: this chunk is poison")
    assert trace.levelname == "DEBUG"
    assert trace.exc_info


class FaultyScorer:
    """Raises an error for every chunk."""

    def __init__(self, error):
        self.error = error

    def score(self, frames, *, is_last=True, repeats=1):
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.InternalError(None, None, "the GPU\nis lost"),
        tf.errors.ResourceExhaustedError(None, None, "no memory, even for one frame"),
        MemoryError("no memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_fault_of_the_machine_is_raised_and_fails_no_video(error):
    with pytest.raises(
        MachineFaultError, match=rf"^scoring 'a.mp4' met a fault of the machine.*{type(error).__name__}: "
    ) as caught:
        score_or_fail(sum_chunk(5), FaultyScorer(error))
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is error


def test_an_error_that_depends_on_the_chunk_fails_its_video():
    failure = score_or_fail(sum_chunk(5), FaultyScorer(tf.errors.InvalidArgumentError(None, None, "NaN")))
    assert isinstance(failure, Failure)
    assert failure.code is FailureCode.SCORING_FAILED


@pytest.fixture
def fake_model_modules(monkeypatch):
    """Replaces the modules that load and score by fakes without TensorFlow; returns the arguments that they received."""
    asked: dict[str, object] = {}

    class Scorer:
        def __init__(self, network, strides, precision, batch_frames, overlap_from, activation_ranges=None):
            asked.update(network=network, strides=strides, precision=precision, batch_frames=batch_frames)
            asked.update(overlap_from=overlap_from, activation_ranges=activation_ranges)

    class CompiledScorer(Scorer):
        def warm_up(self):
            asked["warm"] = True

    def load_model(name_or_path):
        asked["model"] = name_or_path
        return types.SimpleNamespace(network="network", sha256="f" * 64, activation_ranges="ranges")

    monkeypatch.setitem(sys.modules, "model.devices", types.SimpleNamespace(prepare_gpus=lambda require: require))
    monkeypatch.setitem(sys.modules, "model.presets", types.SimpleNamespace(load_model=load_model))
    monkeypatch.setitem(sys.modules, "model.compiled_scoring", types.SimpleNamespace(CompiledScorer=CompiledScorer))
    monkeypatch.setitem(sys.modules, "model.scoring", types.SimpleNamespace(Scorer=Scorer))
    return asked


def test_the_model_is_loaded_by_name_and_scores_its_strides(fake_model_modules):
    scorer = ModelConfig("lite", "f" * 64, (4, 5), "bfloat16", 1, overlap_from=5).load_scorer()
    assert weakref.ref(scorer)() is scorer
    assert fake_model_modules == {
        "model": "lite",
        "network": "network",
        "strides": (4, 5),
        "precision": Precision.BFLOAT16,
        "batch_frames": 128,
        "overlap_from": 5,
        "activation_ranges": "ranges",
    }


def test_on_a_gpu_the_model_is_compiled_and_warm_before_the_first_chunk(fake_model_modules):
    ModelConfig("lite", "f" * 64, (4, 5), "bfloat16", 1, 256, 4, require_gpu=True).load_scorer()
    assert [fake_model_modules[name] for name in ("warm", "batch_frames", "overlap_from")] == [True, 256, 4]


def test_8_bit_numbers_are_scored_on_the_processor_though_there_is_a_gpu(fake_model_modules):
    ModelConfig("lite", "f" * 64, (4, 5), "int8", 1, require_gpu=True).load_scorer()
    assert "warm" not in fake_model_modules
    assert fake_model_modules["precision"] is Precision.INT8


def test_no_scorer_is_made_under_another_backend_which_would_fail_every_video(fake_model_modules, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UserError, match=r"Keras' backend must be tensorflow: .*\. Received: 'jax'"):
        ModelConfig("lite", "f" * 64, (4, 5), "bfloat16", 1).load_scorer()
    assert not fake_model_modules


@pytest.mark.usefixtures("fake_model_modules")
def test_weights_that_changed_since_the_run_began_are_refused():
    with pytest.raises(WeightsError, match=rf"weights of 'lite' changed .* hash was {'0' * 64}\. Received: {'f' * 64}"):
        ModelConfig("lite", "0" * 64, (1,), "float32", 1).load_scorer()
