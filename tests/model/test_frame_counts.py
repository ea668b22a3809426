"""Segments join runs of periodic frames over short gaps; each repetition has its time."""

import math

import numpy as np
import pytest

from model import frame_counts


def rounded(segments):
    return [(segment.start_frame, segment.end_frame, round(segment.count, 9)) for segment in segments]


class TestSegments:
    def find(self, runs):
        """Finds the segments of runs of (frames, period), a period of 0 being a gap."""
        periods = np.concatenate([np.full(frames, float(period)) for frames, period in runs])
        is_periodic = periods > 0
        counts = np.divide(1.0, periods, out=np.zeros_like(periods), where=is_periodic)
        return rounded(frame_counts.find_segments(is_periodic, counts, np.where(is_periodic, periods, math.inf)))

    def test_none_without_a_periodic_frame(self):
        assert self.find([(50, 0)]) == []

    def test_runs_keep_their_borders_and_counts(self):
        assert self.find([(5, 0), (20, 10), (30, 0), (40, 8)]) == [(5, 25, 2), (55, 95, 5)]

    @pytest.mark.parametrize(("gap", "num_segments"), [(1, 1), (19, 1), (20, 2), (21, 2)])
    def test_a_gap_shorter_than_the_longer_period_beside_it_is_bridged(self, gap, num_segments):
        segments = self.find([(30, 10), (gap, 0), (40, 20)])

        assert len(segments) == num_segments
        assert segments[0][0] == 0
        assert segments[-1][1] == 70 + gap
        assert sum(count for _, _, count in segments) == pytest.approx(5)

    def test_bridges_in_a_row_make_one_segment(self):
        runs = [(20, 10), (5, 0), (20, 10), (5, 0), (20, 10), (50, 0), (1, 10)]

        assert self.find(runs) == [(0, 70, 6), (120, 121, 0.1)]

    def test_each_gap_is_measured_by_the_periods_beside_it(self):
        runs = [(20, 10), (15, 0), (20, 10), (15, 0), (40, 20), (15, 0), (12, 4), (15, 0), (12, 4)]

        assert [(start, end) for start, end, _ in self.find(runs)] == [(0, 20), (35, 137), (152, 164)]


@pytest.mark.parametrize(("count", "rounded"), [(0.0, 0), (0.49, 0), (0.5, 1), (1.5, 2), (2.5, 3), (11.6, 12)])
def test_counts_round_halves_up(count, rounded):
    assert frame_counts.rounded_count(count) == rounded


class TestRepetitions:
    def test_falls_between_frames(self):
        np.testing.assert_allclose(frame_counts.find_repetitions(np.array([0.4, 0.4, 0.4, 0.4, 0.4])), [2.5, 5.0])

    def test_waits_through_a_gap(self):
        counts = np.array([0.5, 0.25, 0, 0, 0, 0.25, 0.5])

        np.testing.assert_allclose(frame_counts.find_repetitions(counts), [6.0, 7.0])

    @pytest.mark.parametrize("period", range(3, 65))
    def test_rounding_of_the_sum_loses_no_repetition(self, period):
        frames = frame_counts.find_repetitions(np.full(period * 500, 1 / period))

        np.testing.assert_allclose(frames, period * np.arange(1, 501), atol=1e-6)

    def test_there_are_as_many_as_the_rounded_count_and_the_last_ends_where_counting_does(self):
        assert frame_counts.find_repetitions(np.full(4, 0.1)).shape == (0,)
        np.testing.assert_allclose(frame_counts.find_repetitions(np.full(9, 0.1)), [9.0])
        np.testing.assert_allclose(frame_counts.find_repetitions(np.array([0.5, 0.5, 0.4, 0.3, 0.0])), [2.0, 4.0])
