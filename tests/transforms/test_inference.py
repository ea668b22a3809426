"""Every chunk becomes scores or a failure of its video, and failures of earlier steps pass through."""

import datetime
import gc
import pickle
import sys
import time
import types
import weakref

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from model.logits import StrideLogits
from model.storage import WeightsError
from transforms.decoding.video_facts import VideoFacts
from transforms.failure_codes import FailureCode, Stage
from transforms.inference import RepNetModelHandler, ScoreChunks
from transforms.records import ChunkScores, Failure, FrameChunk, VideoRef
from transforms.scoring import ModelConfig, score_or_fail

VIDEO = VideoRef("a.mp4", 1, 2, datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc))
FACTS = VideoFacts(64, 48, "h264", 0, 30.0, 7, 0.2, False, False)
POISON = 13


class FakeScorer:
    """Scores by integer arithmetic: the logits of stride s are the sum of the frames times s."""

    def score(self, frames, *, is_last=True):
        total = int(frames.sum())
        if total == POISON:
            raise ArithmeticError("this chunk\nis poison " + "x" * 1000)
        return {stride: StrideLogits(np.full((1, 1), total * stride), np.full(1, float(is_last))) for stride in (1, 2)}


class StepClock:
    """Advances by 100 ms at each call."""

    def __init__(self):
        self.now_sec = 0.0

    def __call__(self):
        self.now_sec += 0.1
        return self.now_sec


def chunk_of(total, index=0, facts=None, num_frames=3):
    frames = np.zeros((num_frames, 2, 2, 3), np.uint8)
    frames[0, 0, 0, 0] = total
    return FrameChunk(VIDEO, index, frames, np.arange(num_frames) / 30, facts)


def test_a_chunk_becomes_scores_without_frames():
    chunk = chunk_of(5, index=4, facts=FACTS)
    (scores,) = RepNetModelHandler(FakeScorer).run_inference([chunk], FakeScorer())
    assert isinstance(scores, ChunkScores)
    assert (scores.video, scores.index, scores.facts) == (VIDEO, 4, FACTS)
    assert scores.times_sec is chunk.times_sec
    assert {stride: logits.period.item() for stride, logits in scores.logits.items()} == {1: 5, 2: 10}


def test_only_the_last_chunk_is_scored_as_the_last():
    chunks = [chunk_of(5), chunk_of(5, index=1, facts=FACTS)]
    scored = RepNetModelHandler(FakeScorer).run_inference(chunks, FakeScorer())
    assert [scores.logits[1].periodicity.item() for scores in scored if isinstance(scores, ChunkScores)] == [0.0, 1.0]


def test_scores_do_not_keep_the_frames_in_memory():
    chunk = chunk_of(5)
    frames = weakref.ref(chunk.frames)
    scored = RepNetModelHandler(FakeScorer).run_inference([chunk], FakeScorer())
    del chunk
    gc.collect()
    assert scored
    assert frames() is None


def test_a_chunk_that_cannot_be_scored_fails_alone():
    batch = [chunk_of(5), chunk_of(POISON, index=1), chunk_of(6, index=2)]
    first, failure, last = RepNetModelHandler(FakeScorer).run_inference(batch, FakeScorer())
    assert [outline(first), outline(last)] == [(0, 10), (2, 12)]
    assert isinstance(failure, Failure)
    assert (failure.video, failure.stage, failure.code) == (VIDEO, Stage.SCORE, FailureCode.SCORING_FAILED)
    assert failure.message.startswith("ArithmeticError: this chunk is poison")
    assert len(failure.message) <= 500


def test_a_failure_of_an_earlier_step_passes_unchanged_in_order():
    failure = Failure(VIDEO, Stage.DECODE, FailureCode.NO_FRAMES, "nothing")
    scored = list(RepNetModelHandler(FakeScorer).run_inference([chunk_of(5), failure, chunk_of(6, index=1)], FakeScorer()))
    assert scored[1] is failure
    assert [outline(scored[0]), outline(scored[2])] == [(0, 10), (1, 12)]


def test_an_error_is_one_line_in_the_log_and_a_traceback_at_debug_level(caplog):
    caplog.set_level("DEBUG", logger="transforms.scoring")
    score_or_fail(chunk_of(POISON, index=3), FakeScorer())
    line, trace = caplog.records
    assert (line.levelname, line.exc_info) == ("INFO", None)
    assert line.getMessage().startswith("Scoring chunk 3 of 'a.mp4' failed: ArithmeticError: this chunk is poison")
    assert trace.levelname == "DEBUG"
    assert trace.exc_info


def test_the_size_of_a_batch_is_the_size_of_its_frames():
    handler = RepNetModelHandler(FakeScorer)
    failure = Failure(VIDEO, Stage.DECODE, FailureCode.NO_FRAMES, "nothing")
    assert handler.get_num_bytes([chunk_of(1), failure, chunk_of(2, num_frames=5)]) == 8 * 2 * 2 * 3


def test_a_batch_is_one_chunk():
    assert RepNetModelHandler(FakeScorer).batch_elements_kwargs() == {"min_batch_size": 1, "max_batch_size": 1}


def test_inference_args_are_refused():
    handler = RepNetModelHandler(FakeScorer)
    handler.validate_inference_args(None)
    with pytest.raises(ValueError, match=r"Received: \{'threshold': 1\}"):
        handler.validate_inference_args({"threshold": 1})


def test_a_pickled_handler_loads_its_model():
    handler = pickle.loads(pickle.dumps(RepNetModelHandler(FakeScorer)))
    assert isinstance(handler.load_model(), FakeScorer)


@pytest.fixture
def fake_model_modules(monkeypatch):
    """Replaces the modules that load and score by fakes without TensorFlow; returns the arguments that they received."""
    asked: dict[str, object] = {}

    class Scorer:
        def __init__(self, network, strides, precision, batch_frames):
            asked.update(network=network, strides=strides, precision=precision, batch_frames=batch_frames)

        def warm_up(self):
            asked["warm"] = True

    def load_model(name_or_path):
        asked["model"] = name_or_path
        return types.SimpleNamespace(network="network", sha256="f" * 64)

    monkeypatch.setitem(sys.modules, "model.devices", types.SimpleNamespace(prepare_gpus=lambda require: require))
    monkeypatch.setitem(sys.modules, "model.presets", types.SimpleNamespace(load_model=load_model))
    monkeypatch.setitem(sys.modules, "model.scoring", types.SimpleNamespace(Precision=str.upper, Scorer=Scorer))
    return asked


def test_the_model_is_loaded_by_name_and_scores_its_strides(fake_model_modules):
    scorer = ModelConfig("lite", "f" * 64, (4, 5), "bfloat16", 1).load_scorer()
    assert weakref.ref(scorer)() is scorer
    assert fake_model_modules == {
        "model": "lite",
        "network": "network",
        "strides": (4, 5),
        "precision": "BFLOAT16",
        "batch_frames": 64,
    }


def test_on_a_gpu_the_model_warms_up_before_the_first_chunk(fake_model_modules):
    ModelConfig("lite", "f" * 64, (4, 5), "bfloat16", 1, 256, require_gpu=True).load_scorer()
    assert (fake_model_modules["warm"], fake_model_modules["batch_frames"]) == (True, 256)


@pytest.mark.usefixtures("fake_model_modules")
def test_weights_that_changed_since_the_run_began_are_refused():
    with pytest.raises(WeightsError, match=rf"weights of 'lite' changed .* hash was {'0' * 64}\. Received: {'f' * 64}"):
        ModelConfig("lite", "0" * 64, (1,), "float32", 1).load_scorer()


def run_scoring(items, check, clock=time.monotonic):
    """Scores items in a pipeline, passes the results to `check`, and returns the metrics by name."""
    pipeline = beam.Pipeline(runner=FnApiRunner())
    scored = pipeline | beam.Create(items, reshuffle=False) | ScoreChunks(RepNetModelHandler(FakeScorer, clock=clock))
    assert_that(scored | beam.Map(outline), check)
    found = pipeline.run().metrics().query(MetricsFilter().with_namespace("repcount"))
    return {metric.key.metric.name: metric.committed for kind in ("counters", "distributions") for metric in found[kind]}


def outline(item):
    if isinstance(item, Failure):
        return item.stage.value, item.code.value
    return item.index, item.logits[2].period.item()


def same_as(expected):
    def check(actual):
        assert sorted(actual, key=str) == sorted(expected, key=str)

    return check


def test_a_pipeline_scores_chunks_and_passes_failures():
    failure = Failure(VIDEO, Stage.DECODE, FailureCode.NO_FRAMES, "nothing")
    items = [chunk_of(5), failure, chunk_of(POISON, index=1), chunk_of(7, index=2, num_frames=4), failure]
    expected = [(0, 10), (2, 14), ("score", "SCORING_FAILED"), ("decode", "NO_FRAMES"), ("decode", "NO_FRAMES")]
    metrics = run_scoring(items, same_as(expected), clock=StepClock())
    assert metrics["frames_scored"] == 7
    assert (metrics["score_msec"].count, metrics["score_msec"].sum) == (2, 200)
    assert metrics["batch_frames"].count == 2


def test_a_pipeline_with_failures_only_works():
    failure = Failure(VIDEO, Stage.DECODE, FailureCode.NO_FRAMES, "nothing")
    run_scoring([failure], same_as([("decode", "NO_FRAMES")]))
