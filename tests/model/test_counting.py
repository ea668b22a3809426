import dataclasses
import math

import numpy as np
import pytest

from model import counting
from model.counting import count_repetitions
from model.counting_options import CountingOptions, StrideRule
from model.frame_counts import rounded_count
from model.logits import StrideLogits
from tests.support.golden_cases import GOLDEN_CASES, golden_case, with_frozen
from tests.support.logits import logits_of, logits_of_positions

PLAIN = CountingOptions(median_filter=False)


def count_one_stride(frame_periods, frame_scores, stride=1, options=PLAIN, **kwargs):
    logits = {stride: logits_of(frame_periods, frame_scores, stride, **kwargs)}
    return count_repetitions(logits, len(frame_periods), kwargs.get("offset", 1), options)


def rounded(segments):
    return [(segment.start_frame, segment.end_frame, round(segment.count, 9)) for segment in segments]


@pytest.mark.parametrize(("year", "case"), GOLDEN_CASES)
def test_counts_like_the_authors_code(year, case):
    logits, num_frames, offset, options, golden = golden_case(year, case)

    counted = count_repetitions(logits, num_frames, offset, options)

    assert counted.stride == golden["chosen_stride"]
    assert counted.count == pytest.approx(golden["per_frame_counts"].sum(), abs=1e-6)
    assert counted.confidence == pytest.approx(float(golden["pred_score"]), abs=1e-6)
    assert counted.notebook_period_frames == pytest.approx(float(golden["pred_period"]), rel=1e-6)
    np.testing.assert_allclose(counted.per_frame_count, golden["per_frame_counts"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(counted.periodicity, golden["within_period"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("year", "case"), GOLDEN_CASES)
def test_notebook_rule_scores_strides_over_the_padding_too(year, case):
    logits, num_frames, offset, options, golden = golden_case(year, case)

    counted = count_repetitions(logits, num_frames, offset, options)

    for stride in logits:
        scores = counting.position_scores(golden[f"raw_{stride}"], golden[f"within_{stride}"][:, 0], offset)[1]
        assert counted.stride_scores[stride] == pytest.approx(scores.mean(dtype=np.float64), abs=1e-6)


@pytest.mark.parametrize(("year", "case"), GOLDEN_CASES)
@pytest.mark.parametrize("rule", list(StrideRule))
def test_results_agree_with_each_other(year, case, rule):
    logits, num_frames, offset, options, _ = golden_case(year, case)

    counted = count_repetitions(logits, num_frames, offset, dataclasses.replace(options, stride_rule=rule))

    for curve in (counted.per_frame_count, counted.periodicity, counted.period_frames_curve, counted.is_periodic):
        assert curve.shape == (num_frames,)
    assert counted.periodicity.dtype == np.float32
    assert counted.count == pytest.approx(counted.per_frame_count.sum())
    np.testing.assert_array_equal(counted.is_periodic, counted.per_frame_count > 0)
    np.testing.assert_array_equal(
        counted.per_frame_count[counted.is_periodic], 1 / counted.period_frames_curve[counted.is_periodic]
    )
    assert sum(segment.count for segment in counted.segments) == pytest.approx(counted.count)
    assert len(counted.repetition_frames) == rounded_count(counted.count)
    assert (np.diff(counted.repetition_frames) > 0).all()


def test_steady_repetitions_are_counted():
    counted = count_one_stride([10] * 100, [0.9] * 100)

    assert counted.count == pytest.approx(10)
    assert counted.notebook_period_frames == pytest.approx(10)
    assert counted.confidence == pytest.approx(0.9)
    assert rounded(counted.segments) == [(0, 100, 10)]
    np.testing.assert_allclose(counted.repetition_frames, np.arange(10, 101, 10), atol=1e-6)


def test_a_position_stands_for_as_many_frames_as_the_stride():
    counted = count_one_stride([12] * 90 + [24] * 91, [0.9] * 181, stride=4)

    assert counted.per_frame_count.shape == (181,)
    np.testing.assert_allclose(counted.period_frames_curve[:92], 12)
    np.testing.assert_allclose(counted.period_frames_curve[92:], 24)


@pytest.mark.parametrize("rule", list(StrideRule))
def test_frames_that_were_shown_several_times_count_once(rule):
    shown = {stride: with_frozen(logits_of([36] * 360, [0.9] * 360, stride), 0.1) for stride in (2, 3, 4)}
    options = dataclasses.replace(PLAIN, stride_rule=rule, video_threshold=0.0)
    counted = count_repetitions(shown, 120, 1, options, repeats=3)

    assert counted.count == pytest.approx(10, abs=0.1)
    assert counted.is_periodic.sum() / counted.count == pytest.approx(12, abs=0.1)
    assert counted.per_frame_count.shape == counted.periodicity.shape == counted.period_frames_curve.shape == (120,)
    assert counted.segments[0].end_frame == 120
    assert counted.repetition_frames[0] == pytest.approx(12, abs=0.2)
    assert counted.notebook_period_frames == pytest.approx(12, abs=0.1)
    assert (counted.ambiguous_stride, counted.at_period_limit) == (False, False)


@pytest.mark.parametrize("rule", list(StrideRule))
def test_frames_that_were_shown_several_times_have_a_shorter_longest_period(rule):
    shown = {4: with_frozen(logits_of([128] * 1536, [0.9] * 1536, 4), 0.1)}
    counted = count_repetitions(shown, 512, 1, dataclasses.replace(PLAIN, stride_rule=rule), repeats=3)

    assert counted.count == pytest.approx(12, rel=0.01)
    assert counted.at_period_limit


def test_period_is_that_of_the_periodic_part_and_the_notebooks_that_of_the_whole_video():
    counted = count_one_stride([10] * 100, [0.9] * 50 + [0.4] * 50)

    assert counted.count == pytest.approx(5)
    assert counted.notebook_period_frames == pytest.approx(20)


def test_without_a_count_there_is_no_period():
    counted = count_one_stride([10] * 100, [0.4] * 100)

    assert counted.count == 0
    assert counted.notebook_period_frames == math.inf
    assert counted.segments == ()
    assert counted.repetition_frames.shape == (0,)
    assert not counted.at_period_limit


def test_below_the_video_threshold_nothing_counts_and_no_frame_is_periodic():
    counted = count_one_stride([10] * 100, [0.6] * 100, options=CountingOptions(video_threshold=0.7))

    assert counted.count == 0
    assert not counted.is_periodic.any()
    assert counted.confidence == pytest.approx(0.6)
    assert counted.notebook_period_frames == pytest.approx(10)


@pytest.mark.parametrize("rule", list(StrideRule))
def test_a_video_counts_at_the_video_threshold(rule):
    logits = {1: with_frozen(logits_of([10] * 128, [0.6] * 128, 1), 0.6)}
    options = dataclasses.replace(PLAIN, stride_rule=rule, frame_threshold=0.1)
    confidence = count_repetitions(logits, 128, 1, options).confidence
    at_threshold = dataclasses.replace(options, video_threshold=confidence)

    assert count_repetitions(logits, 128, 1, at_threshold).count == pytest.approx(12.8, rel=0.01)


def test_a_frame_is_periodic_above_the_frame_threshold():
    threshold = float(count_one_stride([10] * 64, [0.6] * 64).periodicity[0])

    assert count_one_stride([10] * 64, [0.6] * 64, options=dataclasses.replace(PLAIN, frame_threshold=threshold)).count == 0


@pytest.mark.parametrize("rule", [StrideRule.REAL_FRAMES, StrideRule.VOTE])
def test_the_score_of_a_stride_leaves_out_padding(rule):
    logits = {stride: logits_of([12] * 100, [0.6] * 100, stride, padding_score=0.99) for stride in (1, 2)}

    counted = count_repetitions(logits, 100, 1, dataclasses.replace(PLAIN, stride_rule=rule))

    assert counted.stride_scores == pytest.approx({1: 0.6, 2: 0.6}, abs=1e-6)


def test_periods_below_three_positions_do_not_count():
    counted = count_one_stride([2] * 50 + [3] * 50, [0.9] * 100)

    np.testing.assert_array_equal(counted.periodicity[:50], 0)
    np.testing.assert_array_equal(counted.period_frames_curve[:50], math.inf)
    assert counted.count == pytest.approx(50 / 3)


@pytest.mark.parametrize("period", range(4, 32, 2))
@pytest.mark.parametrize("repetitions", [2, 5, 11])
def test_halves_are_rounded_up_whatever_the_error_of_the_sum(period, repetitions):
    num_frames = repetitions * period + period // 2
    counted = count_one_stride([period] * num_frames, [0.9] * num_frames)
    assert counted.count == repetitions + 0.5
    assert len(counted.repetition_frames) == rounded_count(counted.count) == repetitions + 1


def test_one_frame_is_a_video():
    counted = count_one_stride([12], [0.9], stride=4, options=CountingOptions())

    assert counted.periodicity.shape == (1,)
    assert counted.count == 0  # the median with what is beyond the ends


def test_fully_periodic_counts_every_frame_with_a_period():
    counted = count_one_stride([10] * 80 + [2] * 20, [0.3] * 100, options=dataclasses.replace(PLAIN, fully_periodic=True))

    assert counted.count == pytest.approx(8)


@pytest.mark.parametrize(("offset", "expected_period"), [(0, 9), (1, 10)])
def test_period_offset_says_what_class_zero_stands_for(offset, expected_period):
    logits = logits_of_positions(np.full(64, 9), np.full(64, 0.9))

    assert count_repetitions({1: logits}, 64, offset, PLAIN).count == pytest.approx(64 / expected_period)


class TestPositionScores:
    def test_score_is_the_root_of_both_probabilities(self):
        period = np.log(np.array([[0.1, 0.1, 0.6, 0.2]], np.float32))
        periodicity = np.array([math.log(0.8 / 0.2)], np.float32)

        periods, scores = counting.position_scores(period, periodicity, period_offset=1)

        assert periods.tolist() == [3]
        assert scores == pytest.approx([math.sqrt(0.6 * 0.8)], abs=1e-7)

    def test_the_lowest_class_wins_a_tie(self):
        periods, _ = counting.position_scores(np.zeros((1, 8), np.float32), np.zeros(1, np.float32), period_offset=1)

        assert periods.tolist() == [1]

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize(("logit", "score"), [(-3e38, 0.0), (3e38, 1.0)])
    def test_extreme_logits_neither_overflow_nor_warn(self, logit, score):
        period = np.full((1, 8), -3e38, np.float32)
        period[0, 5] = 3e38

        _, scores = counting.position_scores(period, np.array([logit], np.float32), period_offset=1)

        assert scores.tolist() == [score]


class TestChoiceOfStride:
    def test_padding_does_not_count_against_a_stride_by_default(self):
        # 80 frames a repetition: stride 4 sees it, and has but 75 positions of a batch's 1280 on these 300 frames.
        logits = {
            1: with_frozen(logits_of([80] * 300, [0.35] * 300, 1, padding_score=0.1), 0.1),
            4: with_frozen(logits_of([80] * 300, [0.8] * 300, 4, padding_score=0.1), 0.1),
        }

        counted = count_repetitions(logits, 300, 1, PLAIN)
        as_notebook = count_repetitions(logits, 300, 1, dataclasses.replace(PLAIN, stride_rule=StrideRule.NOTEBOOK))

        assert counted.stride == 4
        assert counted.stride_scores == pytest.approx({1: 0.35, 4: 0.8}, abs=1e-6)
        assert counted.count == pytest.approx(300 / 80)
        assert as_notebook.stride == 1
        expected = {1: 0.1 + 0.25 * 300 / 1280, 4: 0.1 + 0.7 * 75 / 1280}
        assert as_notebook.stride_scores == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("num_frames", [1, 2, 3, 63, 64, 65, 255, 256, 257])
    @pytest.mark.parametrize("stride", [1, 3, 4])
    def test_what_the_network_says_of_padding_changes_nothing(self, num_frames, stride):
        quiet = count_one_stride([24] * num_frames, [0.8] * num_frames, stride, padding_score=0.0)
        loud = count_one_stride([24] * num_frames, [0.8] * num_frames, stride, padding_score=0.99)

        assert quiet.stride_scores == loud.stride_scores == pytest.approx({stride: 0.8}, abs=1e-6)
        assert quiet.count == loud.count

    def test_the_first_of_equal_strides_wins(self):
        logits = {stride: logits_of([24] * 100, [0.8] * 100, stride) for stride in (3, 1, 2)}
        same_score = {
            stride: dataclasses.replace(of_stride, periodicity=np.zeros_like(of_stride.periodicity))
            for stride, of_stride in logits.items()
        }

        assert count_repetitions(same_score, 100, 1, PLAIN).stride == 3

    @pytest.mark.parametrize(
        ("second_score", "second_period", "ambiguous"), [(0.86, 20, True), (0.84, 20, False), (0.86, 12, False)]
    )
    def test_ambiguous_if_the_next_best_stride_is_as_good_and_counts_differently(self, second_score, second_period, ambiguous):
        logits = {
            1: logits_of([11] * 120, [0.9] * 120, 1),
            2: logits_of([second_period] * 120, [second_score] * 120, 2),
            3: logits_of([90] * 120, [0.3] * 120, 3),
        }

        assert count_repetitions(logits, 120, 1, PLAIN).ambiguous_stride is ambiguous


class TestConstantSpeed:
    OPTIONS = dataclasses.replace(PLAIN, constant_speed=True)

    def test_one_period_stands_for_all_periodic_frames(self):
        counted = count_one_stride([10] * 60 + [20] * 40 + [5] * 100, [0.9] * 100 + [0.1] * 100, options=self.OPTIONS)

        assert counted.count == pytest.approx(100 / 10)
        assert counted.confidence == pytest.approx(0.6, abs=1e-6)
        assert counted.notebook_period_frames == pytest.approx(10)
        np.testing.assert_array_equal(counted.period_frames_curve, 10)

    def test_a_position_weighs_as_many_frames_as_it_stands_for(self):
        # 9 frames at stride 4: positions of 4, 4 and 1 frames, so that two positions are 5 frames and one is 4.
        logits = logits_of_positions(np.array([9, 19, 19] + [0] * 61), np.full(64, 0.9))

        counted = count_repetitions({4: logits}, 9, 1, self.OPTIONS)

        assert counted.confidence == pytest.approx(5 / 9, abs=1e-6)
        assert counted.notebook_period_frames == 80

    def test_without_a_periodic_frame_the_confidence_is_zero(self):
        counted = count_one_stride([10] * 100, [0.1] * 100, options=self.OPTIONS)

        assert counted.count == 0
        assert counted.confidence == 0
        assert counted.notebook_period_frames == math.inf

    @pytest.mark.filterwarnings("error")
    def test_a_period_of_zero_positions_counts_nothing(self):
        # Each half is surest of its own period; that no frame shows period 0 first is what lets it win the mean.
        period = np.full((64, 8), -20.0, np.float32)
        period[:, 0] = 1.0
        period[:32, 4] = period[32:, 5] = 1.1
        logits = StrideLogits(period, np.full(64, 9.0, np.float32))

        counted = count_repetitions({1: logits}, 64, 0, self.OPTIONS)

        assert counted.count == 0
        assert not counted.is_periodic.any()


class TestMedianFilter:
    def test_takes_the_middle_of_five(self):
        values = np.array([1.0, 9.0, 2.0, 8.0, 3.0, 7.0])

        np.testing.assert_array_equal(counting.median_filter(values, beyond=0.0), [1, 2, 3, 7, 3, 3])

    def test_what_lies_beyond_the_ends_has_a_say(self):
        np.testing.assert_array_equal(counting.median_filter(np.array([4.0, 4.0, 4.0]), beyond=0.0), [4, 4, 4])
        np.testing.assert_array_equal(counting.median_filter(np.array([4.0, 4.0]), beyond=0.0), [0, 0])
        np.testing.assert_array_equal(counting.median_filter(np.array([4.0, 4.0]), beyond=math.inf), [math.inf] * 2)

    def test_closes_holes_and_drops_specks(self):
        frames = np.array([1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1], bool)

        np.testing.assert_array_equal(
            counting.median_filter(frames, beyond=False), [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
        )


@pytest.mark.parametrize(("num_at_limit", "expected"), [(49, False), (50, True)])
def test_at_period_limit_if_half_of_the_periodic_frames_are(num_at_limit, expected):
    stride = 1
    periods = [32] * num_at_limit + [20] * (100 - num_at_limit) + [32] * 100

    assert count_one_stride(periods, [0.9] * 100 + [0.1] * 100, stride).at_period_limit is expected


def test_at_period_limit_depends_on_the_stride():
    assert not count_one_stride([32] * 100, [0.9] * 100, stride=2).at_period_limit
    assert count_one_stride([64] * 100, [0.9] * 100, stride=2).at_period_limit


class TestErrors:
    def test_no_frames(self):
        with pytest.raises(ValueError, match=r"at least one frame. Received: 0$"):
            count_repetitions({1: logits_of([10], [0.9], 1)}, 0, 1, PLAIN)

    def test_no_strides(self):
        with pytest.raises(ValueError, match=r"at least one stride. Received: none$"):
            count_repetitions({}, 10, 1, PLAIN)

    @pytest.mark.parametrize("num_frames", [128, 257])
    def test_windows_that_do_not_fit_the_frames(self, num_frames):
        logits = {1: logits_of([10] * num_frames, [0.9] * num_frames, 1), 2: logits_of([10] * 200, [0.9] * 200, 2)}

        with pytest.raises(ValueError, match=rf"stride 2 has \d+ positions for {num_frames} frames.*Received.*\(128, 32\)"):
            count_repetitions(logits, num_frames, 1, PLAIN)

    @pytest.mark.parametrize("name", ["period", "periodicity", "frozen_period", "frozen_periodicity"])
    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_logits_that_are_not_finite(self, name, value):
        good = with_frozen(logits_of([10] * 100, [0.9] * 100, 3), 0.1)
        values = getattr(good, name).copy()
        values.flat[7] = value

        with pytest.raises(ValueError, match=f"stride 3 must be finite. Received: 1 values of `{name}`"):
            count_repetitions({3: dataclasses.replace(good, **{name: values})}, 100, 1, PLAIN)

    def test_notebook_rule_without_the_window_to_fill_batches_with(self):
        options = CountingOptions(stride_rule=StrideRule.NOTEBOOK, batch_windows=3)

        with pytest.raises(ValueError, match=r"frozen window.*Received: 2 windows for batches of 3"):
            count_one_stride([10] * 100, [0.9] * 100, options=options)


class TestBeyondTheNotebook:
    """What our own model uses, and the notebook does not know."""

    @staticmethod
    def logits(classes, periodicity):
        period = np.full((64, 32), -20.0, np.float32)
        for position, likely in enumerate(classes):
            for period_class, logit in likely.items():
                period[position, period_class] = logit
        return {1: StrideLogits(period, np.asarray(periodicity, np.float32))}

    def test_a_period_between_two_classes_is_read_off_their_probabilities(self):
        logits = self.logits([{7: 3.0, 8: 3.0}] * 64, np.full(64, 9.0))
        options = CountingOptions(video_threshold=0.0, frame_threshold=0.0, median_filter=False)
        plain = count_repetitions(logits, 64, 1, options)
        between = count_repetitions(logits, 64, 1, dataclasses.replace(options, interpolate_periods=True))
        assert plain.period_frames_curve[0] == 8
        assert between.period_frames_curve[0] == pytest.approx(8.5, abs=1e-6)
        assert between.count == pytest.approx(64 / 8.5)

    @pytest.mark.parametrize("last", [2, 31])
    def test_beyond_the_ends_there_is_no_class_to_lean_to(self, last):
        logits = self.logits([{last: 5.0}] * 64, np.full(64, 9.0))
        options = CountingOptions(video_threshold=0.0, frame_threshold=0.0, interpolate_periods=True)
        counted = count_repetitions(logits, 64, 1, options)
        assert counted.period_frames_curve[0] == pytest.approx(last + 1, abs=1e-6)
        assert counted.at_period_limit == (last == 31)

    def test_half_sure_frames_beside_a_sure_set_are_rest(self):
        sure, half_sure = 9.0, -0.9  # scores of 1 and of √0.29
        logits = self.logits([{7: 9.0}] * 64, [sure] * 32 + [half_sure] * 32)
        options = CountingOptions(video_threshold=0.0, frame_threshold=0.3, median_filter=False)
        assert count_repetitions(logits, 64, 1, options).count == pytest.approx(8)
        strict = dataclasses.replace(options, peak_share=0.7)
        assert count_repetitions(logits, 64, 1, strict).count == pytest.approx(4)

    def test_where_nothing_is_sure_the_frame_threshold_decides(self):
        logits = self.logits([{7: 9.0}] * 64, np.full(64, -0.9))
        options = CountingOptions(video_threshold=0.0, frame_threshold=0.3, peak_share=0.7)
        assert count_repetitions(logits, 64, 1, options).count == pytest.approx(8)
