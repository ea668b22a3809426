"""Every chunk becomes scores or a failure of its video, and failures of earlier steps pass through."""

import gc
import pickle
import time
import weakref

import apache_beam as beam
import pytest
from apache_beam import typehints
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from tests.support.samples import make_video
from tests.support.scorers import POISON, SumScorer, sum_chunk
from tests.support.steps import StepClock, read_metrics, same_as
from transforms.decoding.video_facts import VideoFacts
from transforms.failure_codes import FailureCode, Stage
from transforms.inference import RepNetModelHandler, ScoreChunks
from transforms.records import ChunkScores, Failure, FrameChunk

VIDEO = make_video("a.mp4")
FACTS = VideoFacts(64, 48, "h264", 0, 30.0, 7, 0.2, False, False)


NOTED = []
"""What pipelines in this process have done, in order."""


def test_a_chunk_becomes_scores_without_frames():
    chunk = sum_chunk(5, index=4, facts=FACTS)
    (scores,) = RepNetModelHandler(SumScorer).run_inference([chunk], SumScorer())
    assert isinstance(scores, ChunkScores)
    assert (scores.video, scores.index, scores.facts) == (VIDEO, 4, FACTS)
    assert scores.times_sec is chunk.times_sec
    assert {stride: logits.period.item() for stride, logits in scores.logits.items()} == {1: 5, 2: 10}


def test_only_the_last_chunk_is_scored_as_the_last():
    chunks = [sum_chunk(5), sum_chunk(5, index=1, facts=FACTS)]
    scored = RepNetModelHandler(SumScorer).run_inference(chunks, SumScorer())
    assert [scores.logits[1].periodicity.item() for scores in scored if isinstance(scores, ChunkScores)] == [0.0, 1.0]


def test_scores_do_not_keep_the_frames_in_memory():
    chunk = sum_chunk(5)
    frames = weakref.ref(chunk.frames)
    scored = RepNetModelHandler(SumScorer).run_inference([chunk], SumScorer())
    del chunk
    gc.collect()
    assert scored
    assert frames() is None


def test_a_chunk_that_cannot_be_scored_fails_alone():
    batch = [sum_chunk(5), sum_chunk(POISON, index=1), sum_chunk(6, index=2)]
    first, failure, last = RepNetModelHandler(SumScorer).run_inference(batch, SumScorer())
    assert [outline(first), outline(last)] == [(0, 10), (2, 12)]
    assert isinstance(failure, Failure)
    assert (failure.video, failure.stage, failure.code) == (VIDEO, Stage.SCORE, FailureCode.SCORING_FAILED)
    assert failure.message.startswith("ArithmeticError: this chunk is poison")
    assert len(failure.message) <= 500


def test_a_failure_of_an_earlier_step_passes_unchanged_in_order():
    failure = Failure(VIDEO, Stage.DECODE, FailureCode.NO_FRAMES, "nothing")
    scored = list(RepNetModelHandler(SumScorer).run_inference([sum_chunk(5), failure, sum_chunk(6, index=1)], SumScorer()))
    assert scored[1] is failure
    assert [outline(scored[0]), outline(scored[2])] == [(0, 10), (1, 12)]


def test_the_size_of_a_batch_is_the_size_of_its_frames():
    handler = RepNetModelHandler(SumScorer)
    failure = Failure(VIDEO, Stage.DECODE, FailureCode.NO_FRAMES, "nothing")
    assert handler.get_num_bytes([sum_chunk(1), failure, sum_chunk(2, num_frames=5)]) == 8 * 2 * 2 * 3


class NotingScorer(SumScorer):
    def score(self, frames, *, is_last=True, repeats=1):
        NOTED.append(f"scored {frames.sum()}")
        return super().score(frames, is_last=is_last)


def make_chunks(_):
    for total in (1, 2):
        NOTED.append(f"made {total}")
        yield sum_chunk(total)
    NOTED.append("all made")


def test_a_chunk_is_scored_before_the_next_one_is_made():
    NOTED.clear()
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = pipeline | beam.Create([0]) | beam.FlatMap(make_chunks) | ScoreChunks(RepNetModelHandler(NotingScorer))
    pipeline.run()
    assert NOTED == ["made 1", "scored 1", "made 2", "scored 2", "all made"]


def test_inference_args_are_refused():
    handler = RepNetModelHandler(SumScorer)
    handler.validate_inference_args(None)
    with pytest.raises(ValueError, match=r"Received: \{'threshold': 1\}"):
        handler.validate_inference_args({"threshold": 1})


def test_a_pickled_handler_loads_its_model():
    handler = pickle.loads(pickle.dumps(RepNetModelHandler(SumScorer)))
    assert isinstance(handler.load_model(), SumScorer)


def run_scoring(items, check, clock=time.monotonic):
    """Scores items in a pipeline, passes the results to `check`, and returns the metrics by name."""
    pipeline = beam.Pipeline(runner=FnApiRunner())
    scored = pipeline | beam.Create(items, reshuffle=False) | ScoreChunks(RepNetModelHandler(SumScorer, clock=clock))
    assert_that(scored | beam.Map(outline), check)
    return read_metrics(pipeline.run())


def outline(item):
    if isinstance(item, Failure):
        return item.stage.value, item.code.value
    return item.index, item.logits[2].period.item()


def test_a_pipeline_scores_chunks_and_passes_failures():
    failure = Failure(VIDEO, Stage.DECODE, FailureCode.NO_FRAMES, "nothing")
    items = [sum_chunk(5), failure, sum_chunk(POISON, index=1), sum_chunk(7, index=2, num_frames=4), failure]
    expected = [(0, 10), (2, 14), ("score", "SCORING_FAILED"), ("decode", "NO_FRAMES"), ("decode", "NO_FRAMES")]
    metrics = run_scoring(items, same_as(expected), clock=StepClock())
    assert metrics["frames_scored"] == 7
    assert (metrics["videos_scored"], metrics["failures_found"]) == (2, 3)
    assert (metrics["score_msec"].count, metrics["score_msec"].sum) == (2, 200)
    assert metrics["batch_frames"].count == 2


def test_a_pipeline_with_failures_only_works():
    failure = Failure(VIDEO, Stage.DECODE, FailureCode.NO_FRAMES, "nothing")
    run_scoring([failure], same_as([("decode", "NO_FRAMES")]))


@pytest.mark.parametrize("accelerator", ["", "type:nvidia-l4;count:1"])
def test_the_next_step_knows_the_type_of_scores(accelerator):
    chunks = beam.Pipeline() | beam.Create([sum_chunk(5)]).with_output_types(FrameChunk | Failure)
    scored = chunks | ScoreChunks(RepNetModelHandler(SumScorer), accelerator)
    assert scored.element_type == typehints.Union[ChunkScores, Failure]
