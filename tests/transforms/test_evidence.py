"""What waits for counting is small, the same on every try, and counts as the logits do."""

import dataclasses
import pickle

import numpy as np
import pytest

from model.counting import count_evidence, count_repetitions, gather_evidence
from model.counting_options import CountingOptions, StrideRule
from model.presets import PRESETS, load_model
from model.scoring import Scorer
from model.training.videos import draw_video
from tests.support.logits import differences, random_logits
from tests.support.scores import FACTS, PERIOD_OFFSET, chunk, video
from transforms.aggregation import aggregate
from transforms.evidence import pack, reduce_or_fail, unpack
from transforms.failure_codes import FailureCode, Stage
from transforms.machine_faults import MachineFaultError
from transforms.records import ChunkScores, Failure, VideoCount

LITE = PRESETS["lite"]
MINUTE = 1800


def minute_of_scores(strides):
    logits = random_logits(np.random.default_rng(5), MINUTE, strides)
    return ChunkScores(video(), 0, logits, np.arange(MINUTE) / 30, FACTS)


def test_a_minute_for_the_vote_takes_less_than_a_tenth_of_a_megabyte():
    scores = minute_of_scores(LITE.strides)
    reduced = reduce_or_fail(scores, LITE.counting, PERIOD_OFFSET)
    assert len(pickle.dumps(reduced)) < 100_000
    assert len(pickle.dumps(reduced)) < len(pickle.dumps(scores)) / 5


def test_a_minute_for_the_best_stride_takes_less_than_a_twentieth_of_a_megabyte():
    scores = minute_of_scores((1, 2, 3, 4))
    assert len(pickle.dumps(reduce_or_fail(scores, CountingOptions(), PERIOD_OFFSET))) < 50_000


@pytest.mark.parametrize(
    "options",
    [
        CountingOptions(),
        CountingOptions(stride_rule=StrideRule.NOTEBOOK, batch_windows=1, interpolate_periods=True),
        CountingOptions(constant_speed=True),
    ],
    ids=str,
)
def test_the_best_stride_counts_exactly_as_before_packing(options):
    scores = minute_of_scores((1, 2, 3, 4))
    evidence = gather_evidence(scores.logits, MINUTE, PERIOD_OFFSET, options)
    unpacked, times_sec = unpack(pack(evidence, scores.times_sec))
    assert differences(count_evidence(unpacked, options), count_evidence(evidence, options)) == {}
    assert np.array_equal(times_sec, scores.times_sec)


def test_votes_are_rounded_to_a_65535th():
    scores = minute_of_scores(LITE.strides)
    votes = gather_evidence(scores.logits, MINUTE, PERIOD_OFFSET, LITE.counting)
    unpacked, _ = unpack(pack(votes, scores.times_sec))
    assert unpacked.votes.votes == pytest.approx(votes.votes.votes, abs=0.51 / 65_535)
    assert unpacked.votes.votes.dtype == np.float32
    again, _ = unpack(pack(unpacked, scores.times_sec))
    assert np.array_equal(again.votes.votes, unpacked.votes.votes)


@pytest.mark.parametrize(
    ("strides", "options"),
    [(LITE.strides, LITE.counting), ((1, 2, 3, 4), CountingOptions()), ((1, 2, 3, 4), CountingOptions(constant_speed=True))],
    ids=["vote", "best stride", "constant speed"],
)
def test_a_program_that_wants_errors_from_numpy_gets_the_same_count(strides, options):
    scores = minute_of_scores(strides)
    expected = aggregate(video(), [reduce_or_fail(scores, options, PERIOD_OFFSET)], options)
    with np.errstate(all="raise"):
        result = aggregate(video(), [reduce_or_fail(scores, options, PERIOD_OFFSET)], options)
    assert isinstance(result, VideoCount), result
    assert differences(result.counted, expected.counted) == {}


@pytest.mark.parametrize("changes", [{}, {"constant_speed": True}, {"fully_periodic": True}], ids=str)
def test_the_vote_counts_as_with_the_logits_to_a_thousandth(changes):
    options = dataclasses.replace(LITE.counting, **changes)
    scores = minute_of_scores(LITE.strides)
    evidence, _ = unpack(reduce_or_fail(scores, options, PERIOD_OFFSET).packed)
    expected = count_repetitions(scores.logits, MINUTE, PERIOD_OFFSET, options)
    assert expected.count > 1
    assert count_evidence(evidence, options).count == pytest.approx(expected.count, abs=1e-3)


@pytest.mark.slow
def test_drawn_videos_count_as_with_their_logits_to_a_thousandth():
    scorer = Scorer(load_model("lite").network, LITE.strides)
    counts, expected = [], []
    for seed in range(4):
        frames = draw_video(seed).frames
        logits = scorer.score(frames)
        reduced = reduce_or_fail(
            ChunkScores(video(), 0, logits, np.arange(len(frames)) / 30, FACTS), LITE.counting, PERIOD_OFFSET
        )
        counts.append(count_evidence(unpack(reduced.packed)[0], LITE.counting).count)
        expected.append(count_repetitions(logits, len(frames), PERIOD_OFFSET, LITE.counting).count)
    assert counts == pytest.approx(expected, abs=1e-3)
    assert sum(expected) > 10


def test_another_try_gives_the_same_bytes():
    scores = minute_of_scores(LITE.strides)
    assert reduce_or_fail(scores, LITE.counting, 1).packed == reduce_or_fail(scores, LITE.counting, 1).packed


def test_a_chunk_that_cannot_be_counted_is_a_failure_of_its_video():
    broken = chunk(facts=FACTS)
    broken.logits[2].periodicity[5] = np.nan
    failed = reduce_or_fail(broken, CountingOptions(), PERIOD_OFFSET)
    assert isinstance(failed, Failure)
    assert (failed.video, failed.stage, failed.code) == (video(), Stage.COUNT, FailureCode.COUNTING_FAILED)


def test_a_machine_without_memory_is_no_fault_of_the_video(monkeypatch):
    def fail(*_):
        raise MemoryError("Unable to allocate 8 GiB")

    monkeypatch.setattr("transforms.evidence.gather_evidence", fail)
    with pytest.raises(MachineFaultError, match="MemoryError: Unable to allocate 8 GiB"):
        reduce_or_fail(chunk(), CountingOptions(), PERIOD_OFFSET)
