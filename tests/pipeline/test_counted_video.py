"""A counted video tells its numbers in seconds, with the model and the options that decided them."""

import numpy as np
import pytest

from pipeline.counted_video import describe
from tests.support.samples import make_video_count
from tests.support.scorers import FAKE_COUNTER
from transforms.records import TimeSegment


def test_times_are_in_seconds_and_rates_follow_from_them():
    counted = describe(make_video_count(num_frames=100, fps=10.0, period=20), FAKE_COUNTER)
    (segment,) = counted.segments
    assert segment == TimeSegment(2.5, 7.5, pytest.approx(2.5))
    assert (segment.rate_hz, segment.rate_per_minute) == pytest.approx((0.5, 30.0))
    assert (counted.mean_period_sec, counted.mean_rate_hz) == pytest.approx((2.0, 0.5))
    assert counted.stride_scores == {1: 0.25, 2: 0.5}
    assert list(counted.stride_scores) == [1, 2]
    assert counted.curve[-1] == pytest.approx(counted.count)
    np.testing.assert_allclose(counted.period_sec[25:75], 2.0)
    np.testing.assert_allclose(counted.rate_hz[25:75], 0.5)
    assert np.isnan(counted.period_sec[:25]).all()
    assert not counted.rate_hz[:25].any()


def test_the_model_and_the_options_are_told():
    counted = describe(make_video_count(), FAKE_COUNTER)
    assert (counted.model, counted.model_sha256) == ("fake", "0" * 64)
    assert counted.options["strides"] == (1, 2)
    assert counted.options["max_fps"] == 30.0
    assert counted.options["counting"]["stride_rule"] == "real_frames"
    assert counted.uri == counted.video_uri == "gs://bucket/a.mp4"
