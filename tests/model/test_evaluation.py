"""Measures follow their formulas; failures count as wrong in each; without clips there is no measure."""

import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest

from model import evaluation
from model.evaluation import (
    BASELINE_COUNT,
    Measures,
    bootstrap_interval,
    compare,
    measure,
    measure_as_published,
    wilson_interval,
)


def test_obo_is_the_share_of_all_clips_that_are_off_by_one_at_most():
    assert measure([7.0, 6.99, 9.0, 10.0], [8.0, 8.0, 8.0, 8.5]).obo == 0.5
    assert measure([1.0, 0.5, 2.5], [0.0, 1.0, 0.5]).obo == pytest.approx(2 / 3)


def test_counts_are_not_rounded_before_they_are_compared():
    assert measure([9.4], [8.0]).obo == 0.0


def test_the_rounding_of_a_sum_does_not_make_a_count_off_by_more_than_one():
    count = float(np.full(30, 1 / 6).sum())
    assert count > 5
    assert measure([count], [4.0]).obo == 1.0


def test_mae_is_the_mean_relative_error_over_the_clips_with_more_than_one():
    measures = measure([9.0, 3.0, 40.0, 7.0], [10.0, 2.0, 1.0, 0.0])
    assert measures.mae == pytest.approx((0.1 + 0.5) / 2)
    assert measures.num_mae_clips == 2


def test_bias_has_a_sign():
    assert measure([9.0, 3.0], [10.0, 2.0]).bias == pytest.approx((-0.1 + 0.5) / 2)
    assert measure([8.0], [10.0]).bias == pytest.approx(-0.2)


def test_without_repetitions_a_count_below_one_is_right():
    measures = measure([0.0, 0.99, 1.0, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0, 5.0])
    assert (measures.zero_share, measures.num_zero_clips) == (0.5, 4)


def test_a_clip_that_failed_is_wrong_by_every_measure():
    wrong = Measures(
        num_clips=1,
        obo=0.0,
        obo_interval=(0.0, pytest.approx(0.793, abs=5e-4)),
        num_mae_clips=1,
        mae=1.0,
        mae_interval=(1.0, 1.0),
        bias=-1.0,
        num_whole_clips=1,
        exact_share=0.0,
        num_zero_clips=0,
        zero_share=None,
    )
    assert measure([None], [4.0]) == wrong
    no_mae = dataclasses.replace(wrong, num_mae_clips=0, mae=None, mae_interval=None, bias=None)
    assert measure([None], [0.0]) == dataclasses.replace(no_mae, num_zero_clips=1, zero_share=0.0)
    assert measure([None], [0.5]).obo == 0.0


def test_measures_over_no_clips_are_none():
    measures = dataclasses.asdict(measure([], []))
    assert {name: value for name, value in measures.items() if value is not None} == {
        "num_clips": 0,
        "num_mae_clips": 0,
        "num_whole_clips": 0,
        "num_zero_clips": 0,
    }


def test_exact_is_the_share_of_clips_with_a_whole_true_count_whose_rounded_count_is_it():
    measures = measure([7.5, 8.49, 8.5, 0.4, 3.5, None], [8.0, 8.0, 8.0, 0.0, 3.5, 2.0])
    assert (measures.exact_share, measures.num_whole_clips) == (3 / 5, 5)


def test_papers_round_counts_and_leave_out_only_clips_without_repetitions():
    published = measure_as_published([9.4, 1.6, 0.0, None], [8.0, 1.0, 0.0, 4.0])
    assert (published.num_clips, published.obo) == (4, 3 / 4)
    assert (published.num_mae_clips, published.mae) == (3, pytest.approx((1 / 8 + 1.0 + 1.0) / 3))
    assert measure_as_published([], []).mae is None


def test_the_interval_of_obo_is_wilsons():
    interval = measure([5.0] * 33 + [9.0], [5.0] * 34).obo_interval
    assert interval == (pytest.approx(0.851, abs=5e-4), pytest.approx(0.995, abs=5e-4))


@pytest.mark.parametrize("clips", [1, 5, 31, 34])
def test_all_or_no_clips_right_leaves_the_other_end_of_the_interval_open(clips):
    low, high = wilson_interval(np.ones(clips, bool))
    assert 0 < low < high <= 1
    assert wilson_interval(np.zeros(clips, bool)) == (0.0, pytest.approx(1 - low))
    assert high == pytest.approx(1)


def test_about_95_of_100_intervals_of_obo_hold_the_true_share_even_for_few_clips():
    chances = [math.comb(34, right) * 0.97**right * 0.03 ** (34 - right) for right in range(35)]
    intervals = [wilson_interval(np.arange(34) < right) for right in range(35)]
    held = sum(chance for chance, (low, high) in zip(chances, intervals, strict=True) if low <= 0.97 <= high)
    assert held == pytest.approx(0.95, abs=0.04)


def test_an_interval_holds_the_middle_95_percent_of_what_other_clips_would_give():
    hits = np.arange(400) < 320
    low, high = bootstrap_interval(hits)
    error = 1.96 * (0.8 * 0.2 / 400) ** 0.5  # of the normal distribution, which is close for so many clips
    assert (low, high) == (pytest.approx(0.8 - error, abs=0.005), pytest.approx(0.8 + error, abs=0.005))


def test_the_same_counts_have_the_same_intervals_whatever_the_memory(monkeypatch):
    errors = np.random.default_rng(7).random(30)
    interval = bootstrap_interval(errors)
    assert bootstrap_interval(errors) == interval
    monkeypatch.setattr(evaluation, "_BLOCK_DRAWS", 1000)
    assert bootstrap_interval(errors) == interval


def test_obo_and_mae_have_intervals_around_them():
    measures = measure([4.0, 9.0, 2.0, 10.0], [4.0, 5.0, 2.0, 20.0])
    for value, (low, high) in ((measures.obo, measures.obo_interval), (measures.mae, measures.mae_interval)):
        assert 0 <= low < value < high <= 1


def test_two_counters_are_compared_clip_by_clip():
    true = [10.0, 10.0, 10.0, 4.0, 0.0, 6.0]
    compared = compare([10.0, 14.0, 12.0, 4.0, 0.0, None], [10.04, 10.0, 13.0, 6.0, 0.0, 6.0], true)
    assert (compared.num_better, compared.num_worse, compared.num_same) == (2, 2, 2)
    assert compared.obo_difference == pytest.approx((1 - 1 + 1) / 6)
    first, second = measure([10.0, 14.0, 12.0, 4.0, 0.0, None], true), measure([10.04, 10.0, 13.0, 6.0, 0.0, 6.0], true)
    assert compared.obo_difference == pytest.approx(second.obo - first.obo)
    assert compared.mae_difference == pytest.approx(second.mae - first.mae)
    assert compared.mae_interval[0] < compared.mae_difference < compared.mae_interval[1]


def test_a_count_that_is_too_high_is_better_than_one_that_is_further_too_low():
    compared = compare([4.0, 6.0], [5.5, 4.5], [5.0, 5.0])
    assert (compared.num_better, compared.num_worse, compared.num_same) == (2, 0, 0)


def test_a_difference_that_one_decimal_place_hides_is_none_either_way():
    compared = compare([10.0, 10.04], [10.04, 10.0], [10.0, 10.0])
    assert (compared.num_better, compared.num_worse, compared.num_same) == (0, 0, 2)


def test_a_paired_interval_ignores_how_much_the_clips_differ_from_each_other():
    true = np.arange(2.0, 62.0)
    counts = true * np.where(np.arange(60) % 2, 1.0, 1.5)
    other = counts - 0.1 * true * np.where(np.arange(60) % 2, -1, 1)
    compared = compare(counts.tolist(), other.tolist(), true.tolist())
    assert compared.mae_interval == (pytest.approx(-0.02, abs=0.03), pytest.approx(0.02, abs=0.03))
    low, high = measure(counts.tolist(), true.tolist()).mae_interval
    assert high - low > 0.1


def test_both_failing_is_the_same_and_failing_alone_is_worse():
    compared = compare([None, 5.0, None], [None, None, 5.0], [5.0, 5.0, 5.0])
    assert (compared.num_better, compared.num_worse, compared.num_same) == (1, 1, 1)


def test_without_clips_there_is_nothing_to_compare():
    compared = compare([], [], [])
    assert (compared.obo_difference, compared.obo_interval, compared.mae_difference, compared.mae_interval) == (None,) * 4


def test_always_answering_five_is_right_about_fives():
    true = [4.0, 5.0, 6.0, 10.0, 0.0]
    baseline = measure([BASELINE_COUNT] * len(true), true)
    assert (baseline.obo, baseline.zero_share) == (0.6, 0.0)
    assert baseline.mae == pytest.approx((0.25 + 0 + 1 / 6 + 0.5) / 4)


def test_measures_are_plain_numbers():
    values = dataclasses.astuple(measure([5.0, 0.0], [4.0, 0.0]))
    assert {type(value) for value in values} == {int, float, tuple}
    assert {type(end) for value in values if isinstance(value, tuple) for end in value} == {float}
    assert {type(value) for value in dataclasses.astuple(compare([5.0], [4.0], [4.0]))} == {int, float, tuple}


@pytest.mark.parametrize("true", [[-1.0], [float("nan")], [float("inf")], [1.0, 2.0], []])
def test_a_truth_that_cannot_be_is_refused(true):
    with pytest.raises(ValueError, match="Received: "):
        measure([1.0], true)


def test_neither_beam_nor_tensorflow_is_needed():
    code = "import sys; from model import evaluation; print({'apache_beam', 'tensorflow', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
