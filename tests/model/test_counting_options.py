"""Options out of range are refused by name; the score threshold follows the video."""

import dataclasses
import json
import math

import numpy as np
import pytest

from model.counting_options import CountingOptions, StrideRule


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("stride_rule", "padded", r"one of real_frames, notebook, vote. Received: 'padded'$"),
        ("video_threshold", -0.1, r"video_threshold must be within 0..1. Received: -0.1$"),
        ("video_threshold", math.nan, r"video_threshold must be within 0..1. Received: nan$"),
        ("frame_threshold", 1.5, r"frame_threshold must be within 0..1. Received: 1.5$"),
        ("batch_windows", 0, r"at least 1. Received: 0$"),
        ("batch_windows", 2.5, r"at least 1. Received: 2.5$"),
    ],
)
def test_options_out_of_range(field, value, message):
    with pytest.raises(ValueError, match=message):
        CountingOptions(**{field: value})


@pytest.mark.parametrize("field", ["video_threshold", "frame_threshold", "peak_share"])
def test_0_and_1_are_within_the_range(field):
    for value in (0, 1):
        assert getattr(CountingOptions(**{field: value}), field) == value


def test_options_survive_json():
    options = CountingOptions(stride_rule=StrideRule.NOTEBOOK, video_threshold=0.3)

    restored = CountingOptions(**json.loads(json.dumps(dataclasses.asdict(options))))

    assert restored == options
    assert restored.stride_rule is StrideRule.NOTEBOOK


@pytest.mark.parametrize("certainty", [(1.0,), "abcde", [float("nan")] * 5, [None] * 5])
def test_certainty_is_five_finite_numbers_or_none(certainty):
    with pytest.raises(ValueError, match="Received: "):
        CountingOptions(certainty=certainty)
    assert CountingOptions(certainty=[1, 2, 3, 4, 5]).certainty == (1, 2, 3, 4, 5)


def test_a_share_is_within_0_and_1():
    with pytest.raises(ValueError, match=r"peak_share must be within 0\.\.1"):
        CountingOptions(peak_share=1.5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (CountingOptions(frame_threshold=0.3), 0.3),
        (CountingOptions(frame_threshold=0.3, peak_share=0.5), 0.45),
        (CountingOptions(frame_threshold=0.3, peak_share=0.5, fully_periodic=True), 0.0),
    ],
)
def test_a_frame_must_reach_the_threshold_and_its_share_of_the_peak(options, expected):
    scores = np.linspace(0, 1, 101)  # the 90th percentile is 0.9
    assert options.score_threshold(scores) == pytest.approx(expected)
