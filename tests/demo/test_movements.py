"""Repetitions have a human tempo and full range."""

import numpy as np
import pytest

from demo.movements import Repetitions, repetitions


def test_periods_drift_by_at_most_ten_percent():
    for seed in range(20):
        beat = repetitions(np.random.default_rng(seed), 8, 1.25)
        periods_sec = np.diff(beat.borders_sec)
        assert len(periods_sec) == 8
        assert np.all((periods_sec > 1.25 * 0.89) & (periods_sec < 1.25 * 1.11))
        assert np.ptp(periods_sec) > 0.005


def test_effort_is_0_between_repetitions_and_1_at_their_far_end():
    beat = Repetitions((1.0, 2.0, 3.5), (0.4, 0.1, 0.4, 0.1))
    assert [beat.effort(time_sec) for time_sec in (0.0, 1.0, 2.0, 3.5, 9.0)] == [0.0] * 5
    assert beat.effort(1.45) == beat.effort(2.0 + 0.45 * 1.5) == pytest.approx(1.0)
    assert beat.effort(1.2) == pytest.approx(0.5)
