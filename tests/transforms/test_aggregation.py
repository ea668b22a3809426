"""All chunks of a video and all its failures become one count or one failure."""

import dataclasses
import math

import numpy as np
import pytest

from model.counting import count_repetitions
from tests.support.logits import concatenate
from tests.support.scores import FACTS, OPTIONS, PERIOD_OFFSET, chunk, chunks, failure, reduced, video
from transforms.aggregation import aggregate, find_flags
from transforms.failure_codes import FailureCode, Stage
from transforms.machine_faults import MachineFaultError
from transforms.records import Failure, VideoCount, VideoFlag


def aggregated(items):
    return aggregate(video(), reduced(items), OPTIONS)


class TestAggregate:
    def test_chunks_in_any_order_are_counted_as_one_video(self):
        first, second, last = chunks()

        result = aggregated([last, first, second])

        assert isinstance(result, VideoCount)
        assert result.video == video()
        assert result.facts is FACTS
        assert result.counted.count == pytest.approx(300 / 16)
        np.testing.assert_allclose(result.times_sec, np.arange(300) / 30)
        assert result.flags == ()

    def test_counts_what_the_chunks_joined_up_count(self):
        whole = concatenate([scores.logits for scores in chunks()])

        result = aggregated(chunks())

        expected = count_repetitions(whole, 300, PERIOD_OFFSET, OPTIONS)
        np.testing.assert_array_equal(result.counted.per_frame_count, expected.per_frame_count)
        assert result.counted.stride_scores == expected.stride_scores

    def test_the_first_of_retried_chunks_counts(self):
        retried = chunk(index=1, period=8)

        assert aggregated([*chunks(), retried]).counted.count == pytest.approx(300 / 16)
        assert aggregated([retried, *chunks()]).counted.count > 300 / 16 + 1

    def test_any_failure_fails_the_video(self):
        failed = failure(Stage.SCORE, FailureCode.SCORING_FAILED)

        assert aggregated([*chunks(), failed]) == failed

    def test_the_failure_of_the_earliest_stage_counts_then_the_first_code(self):
        late = failure(Stage.SCORE, FailureCode.SCORING_FAILED)
        early = failure(Stage.DECODE, FailureCode.READ_ERROR)
        early_too = failure(Stage.DECODE, FailureCode.NOT_A_VIDEO)

        assert aggregated([late, early]) == early
        assert aggregated([early, late, early_too]) == early_too

    def test_of_failures_that_differ_in_their_message_it_is_the_same_one_in_any_order(self):
        one, other = (failure(Stage.DECODE, FailureCode.READ_ERROR, message=message) for message in "ab")

        assert aggregated([one, other]) == aggregated([other, one]) == one

    @pytest.mark.parametrize(
        ("kept", "message"),
        [
            ([], "no scores arrived"),
            ([0, 1], "the scores of the last chunk did not arrive, those of the 2 before it did"),
            ([0, 2], "the scores of chunk 1 did not arrive, those of chunk 2 did"),
            ([1, 2], "the scores of chunk 0 did not arrive, those of chunk 1 did"),
        ],
    )
    def test_missing_chunks_make_the_video_incomplete(self, kept, message):
        everything = chunks()

        result = aggregated([everything[index] for index in kept])

        assert result == Failure(video(), Stage.COUNT, FailureCode.INCOMPLETE, message)

    def test_chunks_after_the_last_make_the_video_incomplete(self):
        result = aggregated([chunk(index=0, facts=FACTS), chunk(index=1, facts=FACTS)])

        assert result == failure(
            Stage.COUNT, FailureCode.INCOMPLETE, message="chunk 0 is marked as the last one, and there are 2"
        )

    def test_a_count_that_raises_is_a_failure_with_one_line(self):
        broken = chunk(facts=FACTS)
        broken.logits[2].periodicity[5] = math.nan

        result = aggregated([broken])

        assert result == failure(
            Stage.COUNT,
            FailureCode.COUNTING_FAILED,
            message="ValueError: logits of stride 2 must be finite. Received: 1 values of `periodicity` that are not",
        )

    def test_the_line_of_a_failed_count_is_single_and_bounded(self, monkeypatch):
        def fail(*_):
            raise RuntimeError("first\n  second " + "x" * 10_000)

        monkeypatch.setattr("transforms.aggregation.count_evidence", fail)

        result = aggregated(chunks())

        assert result.code is FailureCode.COUNTING_FAILED
        assert result.message.startswith("RuntimeError: first second xxx")
        assert len(result.message) == 500

    def test_a_machine_without_memory_fails_no_video(self, monkeypatch):
        def fail(*_):
            raise MemoryError("Unable to allocate 8 GiB")

        monkeypatch.setattr("transforms.aggregation.count_evidence", fail)

        with pytest.raises(MachineFaultError, match=r"^counting 'gs://.*MemoryError: Unable to allocate 8 GiB$"):
            aggregated(chunks())

    def test_a_stride_that_one_chunk_lacks_is_a_failure(self):
        first, *others = chunks()
        del others[0].logits[2]

        assert aggregated([first, *others]).code is FailureCode.COUNTING_FAILED


class TestFlags:
    def flags(self, scores=None, **facts):
        scores = scores or chunk()
        counted = count_repetitions(scores.logits, len(scores.times_sec), PERIOD_OFFSET, OPTIONS)
        return find_flags(dataclasses.replace(FACTS, **facts), counted)

    def test_none_for_a_plain_video(self):
        assert self.flags() == ()

    @pytest.mark.parametrize(
        ("facts", "flag"),
        [
            ({"truncated": True}, VideoFlag.TRUNCATED),
            ({"trailing_data": True}, VideoFlag.TRAILING_DATA),
            ({"variable_frame_rate": True}, VideoFlag.VARIABLE_FRAME_RATE),
            ({"rotation_degrees": 90}, VideoFlag.ROTATED),
        ],
    )
    def test_of_the_file(self, facts, flag):
        assert self.flags(**facts) == (flag,)

    def test_not_periodic_if_nothing_is_counted(self):
        assert self.flags(chunk(periodicity=-9.0)) == (VideoFlag.NOT_PERIODIC,)

    @pytest.mark.parametrize(("num_frames", "expected"), [(63, (VideoFlag.TOO_SHORT,)), (64, ())])
    def test_too_short_if_no_window_is_full(self, num_frames, expected):
        assert self.flags(chunk(num_frames=num_frames)) == expected

    @pytest.mark.parametrize(("num_frames", "expected"), [(21, (VideoFlag.TOO_SHORT,)), (22, ())])
    def test_too_short_depends_on_how_often_frames_were_shown(self, num_frames, expected):
        shown = chunk(num_frames=3 * num_frames, facts=FACTS)
        result = aggregated([dataclasses.replace(shown, times_sec=np.arange(num_frames) / 10, repeats=3)])
        assert result.flags == expected

    def test_period_at_limit(self):
        assert VideoFlag.PERIOD_AT_LIMIT in self.flags(chunk(period=32))

    def test_ambiguous_stride(self):
        scores = chunk()
        scores.logits[2] = chunk(period=8).logits[2]

        assert self.flags(scores) == (VideoFlag.AMBIGUOUS_STRIDE,)

    def test_stand_in_the_order_of_their_definition(self):
        flags = self.flags(
            chunk(num_frames=10, periodicity=-9.0), truncated=True, variable_frame_rate=True, rotation_degrees=180
        )

        assert flags == (
            VideoFlag.NOT_PERIODIC,
            VideoFlag.TRUNCATED,
            VideoFlag.TOO_SHORT,
            VideoFlag.VARIABLE_FRAME_RATE,
            VideoFlag.ROTATED,
        )
