"""Votes: strides that agree outvote one that sees another period; the course rests, changes and stays as the votes say."""

import itertools
import math

import numpy as np
import pytest

from model import voting
from model.logits import StrideLogits
from model.voting import BINS_PER_OCTAVE, CHANGE_COST, STEP_FRAMES, Votes, collect_votes, find_course, refine_periods

NUM_PERIODS = 32


def sure_logits(period_positions, num_positions, periodic=20.0):
    """Logits of a stride that is sure of one period."""
    period = np.zeros((num_positions, NUM_PERIODS), np.float32)
    period[:, round(period_positions) - 1] = 30.0
    return StrideLogits(period, np.full(num_positions, periodic, np.float32))


def steady_votes(num_moments, num_bins, chosen, vote=0.9):
    votes = np.full((num_moments, num_bins), 0.01, np.float32)
    votes[:, chosen] = vote
    return votes


def brute_force(votes, rest_vote):
    """The best course by trying all of them."""
    num_moments, num_bins = votes.shape

    def worth(course):
        total = sum(rest_vote if state < 0 else votes[t, state] for t, state in enumerate(course))
        for before, after in itertools.pairwise((-1, *course, -1)):
            if (before < 0) != (after < 0):
                total -= CHANGE_COST
            elif before >= 0:
                total -= abs(after - before) * voting.OCTAVE_COST / BINS_PER_OCTAVE
        return total

    courses = np.stack(np.meshgrid(*[np.arange(-1, num_bins)] * num_moments), -1).reshape(-1, num_moments)
    return max(worth(course) for course in courses), worth


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


def test_what_only_one_stride_can_see_counts_a_quarter_at_most():
    logits = {stride: sure_logits(5 if stride == 1 else 20, 64, 20.0 if stride == 1 else -20.0) for stride in (1, 2, 3, 4)}
    assert collect_votes(logits, 64, period_offset=1).votes.max() == pytest.approx(1 / 4, abs=0.01)


def test_periods_below_three_positions_have_no_vote():
    assert collect_votes({1: sure_logits(2, 64)}, 64, period_offset=1).votes.max() < 0.2


def test_there_is_a_moment_for_every_three_frames_and_a_value_for_every_frame():
    votes = collect_votes({1: sure_logits(10, 128)}, 100, period_offset=1)
    assert len(votes.votes) == math.ceil(100 / STEP_FRAMES)
    of_frames = votes.to_frames(np.arange(len(votes.votes)))
    assert of_frames.tolist() == [frame // STEP_FRAMES for frame in range(100)]


def test_the_course_is_the_best_there_is():
    rng = np.random.default_rng(0)
    for scale in (1.0, 4.0, 12.0):
        for _ in range(10):
            votes = (rng.random((5, 3)) * scale).astype(np.float32)
            rest_vote = float(rng.random() * scale)
            best, worth = brute_force(votes, rest_vote)
            assert worth(find_course(votes, rest_vote)) == pytest.approx(best)


def test_a_set_begins_and_ends_where_the_votes_do():
    votes = np.full((60, 48), 0.01, np.float32)
    votes[20:45, 30] = 0.9
    course = find_course(votes, 0.2)
    assert course.tolist() == [-1] * 20 + [30] * 25 + [-1] * 15


def test_a_short_hesitation_does_not_end_a_set():
    votes = steady_votes(60, 48, 30)
    votes[28:32] = 0.01
    assert (find_course(votes, 0.3) == 30).all()


def test_a_passing_doubt_about_the_octave_does_not_change_the_period():
    votes = steady_votes(60, 72, 30, 0.6)
    votes[25:35, 30 + BINS_PER_OCTAVE] = 0.8
    assert (find_course(votes, 0.2) == 30).all()


def test_another_exercise_changes_the_period():
    votes = steady_votes(120, 72, 10)
    votes[60:] = steady_votes(60, 72, 50)
    course = find_course(votes, 0.2)
    assert set(course[:60]) <= {10, -1}
    assert set(course[60:]) <= {50, -1}
    assert (course == -1).sum() <= 1


def test_a_single_moment_is_rest_unless_there_is_none():
    assert find_course(np.array([[0.1, 0.9]], np.float32), 0.3).tolist() == [-1]
    assert find_course(np.array([[0.1, 0.9]], np.float32), -math.inf).tolist() == [1]


def test_periods_lie_between_bins_where_the_votes_do():
    periods = 2 ** (np.arange(9) / BINS_PER_OCTAVE + 3)
    votes = np.zeros((2, 9), np.float32)
    votes[0, 4] = 1.0
    votes[1, [4, 5]] = 0.5
    refined = refine_periods(Votes(votes, periods, 6), np.array([4, 4]))
    assert refined == pytest.approx([periods[4], math.sqrt(periods[4] * periods[5])])
