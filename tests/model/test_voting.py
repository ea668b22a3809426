"""Strides that agree outvote one that sees another period; the path rests, changes and stays as the votes say."""

import dataclasses
import math

import numpy as np
import pytest

from benchmarks import plain_vote
from model import voting
from model.counting import count_repetitions
from model.counting_options import CountingOptions, StrideRule
from model.frame_counts import rounded_count
from model.logits import StrideLogits
from model.voting import (
    BINS_PER_OCTAVE,
    LEAST_EVIDENCE,
    STEP_FRAMES,
    Votes,
    bridge_holds,
    collect_votes,
    find_path,
    find_sets,
    refine_periods,
    stride_weights,
)
from tests.support.logits import NUM_PERIODS, differences, logits_of, random_logits


def sure_logits(period_positions, num_positions, periodic=20.0):
    """Logits of a stride that is sure of one period."""
    period = np.zeros((num_positions, NUM_PERIODS), np.float32)
    period[:, round(period_positions) - 1] = 30.0
    return StrideLogits(period, np.full(num_positions, periodic, np.float32))


def steady_votes(num_steps, num_bins, chosen, vote=0.9):
    votes = np.full((num_steps, num_bins), 0.01, np.float32)
    votes[:, chosen] = vote
    return votes


def test_strides_that_agree_say_the_period_whatever_their_own_positions():
    logits = {stride: sure_logits(24 / stride, 64) for stride in (1, 2, 3, 4)}
    votes = collect_votes(logits, 64, period_offset=1)
    found = votes.periods[votes.votes.argmax(axis=1)]
    assert found == pytest.approx(24, rel=0.03)
    assert votes.votes.max() > 0.9
    assert votes.votes.max() <= 1


def test_a_stride_that_is_too_coarse_is_outvoted():
    logits = {stride: sure_logits(12 / stride, 64) for stride in (1, 2, 3)}
    logits[10] = sure_logits(6, 64)  # sees every tenth frame of a period of twelve: six positions, sixty frames
    votes = collect_votes(logits, 64, period_offset=1)
    assert votes.periods[votes.votes.argmax(axis=1)] == pytest.approx(12, rel=0.03)


@pytest.mark.parametrize(("period", "weight"), [(5, 0.7), (10, 1.7)])
def test_what_only_one_stride_can_see_gets_less_than_half_of_its_vote(period, weight):
    logits = {1: sure_logits(period, 64)} | {stride: sure_logits(20, 64, -20.0) for stride in (12, 13, 14)}
    assert collect_votes(logits, 64, period_offset=1).votes.max() == pytest.approx(weight / 4, abs=0.01)


def test_a_stride_is_believed_most_where_a_period_is_ten_of_its_positions():
    logits = {1: sure_logits(10, 64), 3: sure_logits(20, 64), 12: sure_logits(3, 64)}
    votes = collect_votes(logits, 64, period_offset=1)
    assert votes.periods[votes.votes.argmax(axis=1)] == pytest.approx(10, rel=0.03)


def test_the_weight_of_a_stride_rises_up_to_ten_positions_and_falls_until_twenty():
    weights = [float(stride_weights(np.log2([period]), 2)[0]) for period in (6, 10, 14, 20, 28, 40, 60)]
    assert weights[:2] == pytest.approx([0.7, 0.7])
    assert weights[3] == pytest.approx(1.7)
    assert weights[-2:] == pytest.approx([1.1, 1.1])
    assert weights[1] < weights[2] < weights[3] > weights[4] > weights[5]


def test_periods_below_three_positions_have_no_vote():
    assert collect_votes({1: sure_logits(2, 64)}, 64, period_offset=1).votes.max() < 0.2


def test_a_time_step_is_three_frames_and_every_frame_has_a_value():
    votes = collect_votes({1: sure_logits(10, 128)}, 100, period_offset=1)
    assert len(votes.votes) == math.ceil(100 / STEP_FRAMES)
    per_frame = votes.to_frames(np.arange(len(votes.votes)))
    assert per_frame.tolist() == [frame // STEP_FRAMES for frame in range(100)]


@pytest.mark.parametrize("num_steps", [1, 2, 256, 257, 258, 700])
@pytest.mark.parametrize("rest_vote", [-math.inf, 0.0, 0.5, 0.9])
def test_the_path_is_that_of_trying_every_change(num_steps, rest_vote):
    rng = np.random.default_rng(num_steps)
    likely = 20 + np.cumsum(rng.normal(0, 1, num_steps))
    votes = np.exp(-0.5 * ((np.arange(40) - likely[:, None]) / 2) ** 2) * rng.random((num_steps, 1))
    votes = (votes + 0.3 * rng.random((num_steps, 40))).astype(np.float32)
    assert np.array_equal(find_path(votes, rest_vote), plain_vote.find_path(votes, rest_vote))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"constant_speed": True},
        {"fully_periodic": True},
        {"constant_speed": True, "fully_periodic": True},
        {"peak_share": 0.7},
        {"peak_share": 0.0, "frame_threshold": 0.3},
        {"video_threshold": 0.6},
        {"certainty": (0.5, 1.0, -0.2, -1.0, -0.5)},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("num_frames", "strides", "repeats", "period_offset"),
    [(900, (1, 2, 3, 4, 6, 8, 12), 1, 1), (700, (1, 2, 3, 4), 1, 0), (130, (2, 5), 4, 1), (1, (1, 3), 1, 1)],
)
def test_counts_are_those_of_the_vote_without_shortcuts(monkeypatch, changes, num_frames, strides, repeats, period_offset):
    options = CountingOptions(stride_rule=StrideRule.VOTE, frame_threshold=0.12, peak_share=0.3, video_threshold=0.2)
    options = dataclasses.replace(options, **changes)
    logits = random_logits(np.random.default_rng(num_frames), num_frames * repeats, strides)
    counted = count_repetitions(logits, num_frames, period_offset, options, repeats)
    monkeypatch.setattr(voting, "collect_votes", plain_vote.collect_votes)
    monkeypatch.setattr(voting, "find_path", plain_vote.find_path)
    expected = count_repetitions(logits, num_frames, period_offset, options, repeats)
    assert all(difference < 1e-9 for difference in differences(counted, expected).values())
    assert counted.count > 1 or changes or num_frames == 1


def test_a_set_begins_and_ends_where_the_votes_do():
    votes = np.full((60, 48), 0.01, np.float32)
    votes[20:45, 30] = 0.9
    path = find_path(votes, 0.2)
    assert path.tolist() == [-1] * 20 + [30] * 25 + [-1] * 15


def test_a_short_hesitation_does_not_end_a_set():
    votes = steady_votes(60, 48, 30)
    votes[28:32] = 0.01
    assert (find_path(votes, 0.3) == 30).all()


def test_a_passing_doubt_about_the_octave_does_not_change_the_period():
    votes = steady_votes(60, 72, 30, 0.6)
    votes[25:35, 30 + BINS_PER_OCTAVE] = 0.8
    assert (find_path(votes, 0.2) == 30).all()


def test_another_exercise_changes_the_period():
    votes = steady_votes(120, 72, 10)
    votes[60:] = steady_votes(60, 72, 50)
    path = find_path(votes, 0.2)
    assert set(path[:60]) <= {10, -1}
    assert set(path[60:]) <= {50, -1}
    assert (path == -1).sum() <= 1


def test_a_single_time_step_is_rest_unless_rest_is_ruled_out():
    assert find_path(np.array([[0.1, 0.9]], np.float32), 0.3).tolist() == [-1]
    assert find_path(np.array([[0.1, 0.9]], np.float32), -math.inf).tolist() == [1]


def test_a_rest_of_two_seconds_ends_a_set():
    votes = steady_votes(80, 48, 30)
    votes[30:50] = 0.01
    assert find_path(votes, 0.2).tolist() == [30] * 30 + [-1] * 20 + [30] * 30


PERIODS = 2 ** (np.arange(60) / BINS_PER_OCTAVE + 5)  # from 32 frames


@pytest.mark.parametrize(
    ("first", "second", "pause", "is_hold"),
    [
        (24, 24, 31, True),  # 93 of 64 frames
        (24, 24, 32, False),  # 1.5 periods
        (24, 31, 20, True),
        (31, 24, 20, True),
        (24, 32, 20, False),
        (0, 0, 15, True),
        (0, 0, 16, False),
    ],
)
def test_a_pause_is_a_hold_if_it_is_short_and_the_speed_stays(first, second, pause, is_hold):
    path = np.array([-1] * 10 + [first] * 20 + [-1] * pause + [second] * 20 + [-1] * 10)
    bridged = bridge_holds(path, PERIODS)
    held, rest = bridged[30 : 30 + pause], np.delete(np.arange(len(path)), np.arange(30, 30 + pause))
    assert (held >= 0).all() == is_hold
    assert (held >= 0).any() == is_hold
    assert np.array_equal(bridged[rest], path[rest])


def test_during_a_hold_the_period_changes_evenly():
    path = np.array([20] * 5 + [-1] * 5 + [26] * 5)
    assert bridge_holds(path, PERIODS).tolist() == [20] * 5 + [21, 22, 23, 24, 25] + [26] * 5


@pytest.mark.parametrize("path", [[-1] * 8, [-1], [5], [-1, -1, 5, 5], [5, 5, -1, -1], [-1, 5, -1]])
def test_what_is_not_between_two_sets_is_no_hold(path):
    assert bridge_holds(np.array(path), PERIODS).tolist() == path


def test_of_several_pauses_each_is_judged_by_itself():
    path = np.array([10] * 9 + [-1] * 4 + [10] * 9 + [-1] * 90 + [12] * 9 + [-1] * 4 + [40] * 9)
    bridged = bridge_holds(path, PERIODS)
    assert bridged.tolist() == [10] * 22 + path[22:].tolist()


@pytest.mark.parametrize(("vote", "num_steps", "counts"), [(0.3, 45, False), (0.3, 60, True), (0.9, 6, False), (0.9, 10, True)])
def test_a_video_with_little_evidence_is_all_rest(vote, num_steps, counts):
    votes = np.zeros((100, 60), np.float32)
    votes[20 : 20 + num_steps, 30] = vote
    assert (find_path(votes, 0.2) >= 0).sum() == num_steps
    assert ((vote - 0.2) * num_steps > LEAST_EVIDENCE) == counts
    assert (find_sets(Votes(votes, PERIODS, 300), 0.2) >= 0).sum() == num_steps * counts


def test_evidence_of_all_sets_adds_up():
    votes = np.zeros((200, 60), np.float32)
    votes[20:50, 30] = votes[120:150, 10] = 0.3
    assert (find_sets(Votes(votes, PERIODS, 600), 0.2) >= 0).sum() == 60


def test_where_rest_is_ruled_out_no_evidence_is_needed():
    votes = np.zeros((3, 60), np.float32)
    votes[:, 30] = 0.01
    assert find_sets(Votes(votes, PERIODS, 9), -math.inf).tolist() == [30] * 3


def test_periods_lie_between_bins_where_the_votes_do():
    periods = 2 ** (np.arange(9) / BINS_PER_OCTAVE + 3)
    votes = np.zeros((2, 9), np.float32)
    votes[0, 4] = 1.0
    votes[1, [4, 5]] = 0.5
    refined = refine_periods(Votes(votes, periods, 6), np.array([4, 4]))
    assert refined == pytest.approx([periods[4], math.sqrt(periods[4] * periods[5])])


class TestVote:
    """Counts by the vote of all strides."""

    options = CountingOptions(stride_rule=StrideRule.VOTE, frame_threshold=0.12, peak_share=0.3)

    def count(self, periods, scores, strides=(1, 2, 3, 4), **changes):
        options = dataclasses.replace(self.options, **changes)
        logits = {stride: logits_of(periods, scores, stride) for stride in strides}
        return count_repetitions(logits, len(periods), 1, options)

    def test_a_steady_set_is_counted_from_where_it_begins_to_where_it_ends(self):
        scores = np.zeros(360)
        scores[60:300] = 0.95
        counted = self.count(np.full(360, 24), scores)
        assert counted.count == pytest.approx(10, rel=0.03)
        assert [(s.start_frame, s.end_frame) for s in counted.segments] == [(60, 300)]
        assert counted.confidence > 0.8

    def test_a_video_without_repetitions_counts_nothing_and_is_sure_of_nothing(self):
        counted = self.count(np.full(200, 20), np.zeros(200))
        assert (counted.count, counted.confidence, counted.segments) == (0, 0, ())

    def test_a_stride_too_coarse_for_a_fast_set_does_not_count_it(self):
        periods, scores = np.full(384, 12), np.full(384, 0.95)
        logits = {stride: logits_of(periods, scores, stride) for stride in (1, 2, 3)}
        logits[12] = logits_of(np.full(384, 72), np.full(384, 0.99), 12)  # the surest, but of six positions where there is one
        assert count_repetitions(logits, 384, 1, self.options).count == pytest.approx(32, rel=0.03)

    @pytest.mark.parametrize(("period", "at_limit"), [(384, True), (372, False), (120, False)])
    def test_the_longest_period_is_told_and_named(self, period, at_limit):
        counted = self.count(np.full(3000, period), np.full(3000, 0.95), (12,))
        assert counted.count == pytest.approx(3000 / period, rel=0.01)
        assert counted.at_period_limit == at_limit

    def test_the_longest_period_is_that_of_the_longest_stride(self):
        assert not self.count(np.full(1200, 40), np.full(1200, 0.95), (1, 2, 3, 4)).at_period_limit

    def test_the_shortest_period_is_told(self):
        counted = self.count(np.full(3000, 3), np.full(3000, 0.95), video_threshold=0.0)  # as the preset `lite`
        assert counted.count == pytest.approx(1000, rel=0.01)

    def test_two_exercises_each_have_their_own_period(self):
        periods = np.concatenate([np.full(240, 12), np.full(240, 48)])
        counted = self.count(periods, np.full(480, 0.95), (1, 2, 3, 4, 6))
        assert counted.count == pytest.approx(25, abs=1)

    def test_below_the_video_threshold_nothing_counts(self):
        assert self.count(np.full(200, 20), np.full(200, 0.5), video_threshold=0.9).count == 0

    def test_one_speed_for_all(self):
        counted = self.count(np.full(240, 24), np.full(240, 0.9), constant_speed=True)
        assert len(np.unique(counted.period_frames_curve)) == 1
        assert counted.count == pytest.approx(10, rel=0.03)

    def test_the_one_speed_is_that_of_the_set_and_not_of_a_long_rest(self):
        scores = np.where(np.arange(2880) < 240, 0.95, 0.35)
        periods = np.where(np.arange(2880) < 240, 24, 60)
        counted = self.count(periods, scores, constant_speed=True, frame_threshold=0.3)
        assert counted.count == pytest.approx(10, rel=0.03)

    def test_a_doubtful_rest_beside_a_set_must_reach_its_share_of_the_peak(self):
        scores = np.where(np.arange(600) < 300, 0.95, 0.45)
        assert self.count(np.full(600, 24), scores).segments[0].end_frame < 330
        assert self.count(np.full(600, 24), scores, peak_share=0.1).segments[0].end_frame == 600

    def test_fully_periodic_rests_nowhere(self):
        assert self.count(np.full(240, 24), np.full(240, 0.1), fully_periodic=True, video_threshold=0).is_periodic.all()

    def test_the_parts_add_up(self):
        scores = np.where(np.arange(400) % 200 < 150, 0.9, 0.0)
        counted = self.count(np.full(400, 20), scores)
        assert counted.count == pytest.approx(counted.per_frame_count.sum())
        assert counted.count == pytest.approx(sum(segment.count for segment in counted.segments))
        assert len(counted.repetition_frames) == rounded_count(counted.count)
        assert ((counted.per_frame_count > 0) == counted.is_periodic).all()
