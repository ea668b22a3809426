"""Measures follow their formulas; failures count as wrong in each; without clips there is no measure."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from model.evaluation import BASELINE_COUNT, Measures, measure


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
    assert measure([None], [4.0]) == Measures(
        num_clips=1, obo=0.0, num_mae_clips=1, mae=1.0, bias=-1.0, num_zero_clips=0, zero_share=None
    )
    assert measure([None], [0.0]) == Measures(
        num_clips=1, obo=0.0, num_mae_clips=0, mae=None, bias=None, num_zero_clips=1, zero_share=0.0
    )
    assert measure([None], [0.5]).obo == 0.0


def test_measures_over_no_clips_are_none():
    assert dataclasses.astuple(measure([], [])) == (0, None, 0, None, None, 0, None)


def test_always_answering_five_is_right_about_fives():
    true = [4.0, 5.0, 6.0, 10.0, 0.0]
    baseline = measure([BASELINE_COUNT] * len(true), true)
    assert (baseline.obo, baseline.zero_share) == (0.6, 0.0)
    assert baseline.mae == pytest.approx((0.25 + 0 + 1 / 6 + 0.5) / 4)


def test_measures_are_plain_numbers():
    assert {type(value) for value in dataclasses.astuple(measure([5.0, 0.0], [4.0, 0.0]))} == {int, float}


@pytest.mark.parametrize("true", [[-1.0], [float("nan")], [float("inf")], [1.0, 2.0], []])
def test_a_truth_that_cannot_be_is_refused(true):
    with pytest.raises(ValueError, match="Received: "):
        measure([1.0], true)


def test_neither_beam_nor_tensorflow_is_needed():
    code = "import sys; from model import evaluation; print({'apache_beam', 'tensorflow', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
