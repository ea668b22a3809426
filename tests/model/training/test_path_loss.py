"""The loss of a path is that of summing over all paths one by one, and votes for the right path lower it."""

import itertools
import math

import numpy as np
import pytest

from model.training import path_loss as module
from model.training.path_loss import path_loss
from model.voting import BINS_PER_OCTAVE, CHANGE_COST


def rest_vote(highest):
    return 0.2


def loss_of(votes, bins, num_steps=None, weight=None):
    votes, num_steps = np.asarray(votes, np.float32), num_steps or [len(votes)]
    weight = np.ones(len(num_steps)) if weight is None else np.array(weight)
    return path_loss(votes, np.asarray(bins, np.float32), num_steps, weight, rest_vote)


def votes_for(places, height=0.8, num_bins=60):
    """Votes of which those around a bin are high at each time step; none where it is negative."""
    votes = np.full((len(places), num_bins), 0.02, np.float32)
    for step, place in enumerate(places):
        if place >= 0:
            votes[step, place - 1 : place + 2] = height
    return votes


def test_sums_are_those_of_every_path_by_itself():
    rng = np.random.default_rng(0)
    num_steps, num_bins = 5, 3
    moving, resting = rng.random((num_steps, 1, num_bins)), rng.random((num_steps, 1))
    stay, change = module._bin_changes(num_bins), math.exp(-module._SHARPNESS * CHANGE_COST)
    total, in_bins = 0.0, np.zeros((num_steps, num_bins))
    for path in itertools.product(range(-1, num_bins), repeat=num_steps):
        likelihood = math.prod(resting[step, 0] if state < 0 else moving[step, 0, state] for step, state in enumerate(path))
        for before, after in itertools.pairwise((-1, *path, -1)):
            if before < 0 <= after:
                likelihood *= change / BINS_PER_OCTAVE
            elif after < 0 <= before:
                likelihood *= change
            elif before >= 0:
                likelihood *= stay[before, after]
        total += likelihood
        for step, state in enumerate(path):
            if state >= 0:
                in_bins[step, state] += likelihood
    log_totals, shares = module._sum_paths(moving, resting)
    assert log_totals[0] == pytest.approx(math.log(total))
    np.testing.assert_allclose(shares[:, 0], in_bins / total)


def test_the_gradient_is_that_of_small_changes():
    rng = np.random.default_rng(1)
    votes, bins = 0.4 * rng.random((30, 40)), np.full(30, -1.0)
    bins[5:18], bins[22:28] = 20.4, 31.0
    weight, num_steps = np.array([1.0, 0.3]), [19, 11]
    _, gradient = path_loss(votes, bins, num_steps, weight, rest_vote)
    for place in [(10, 20), (6, 22), (12, 5), (20, 31), (25, 31), (28, 12)]:
        loss = []
        for sign in (1, -1):
            changed = votes.copy()
            changed[place] += sign * 0.02
            loss.append(float(path_loss(changed, bins, num_steps, weight, rest_vote)[0]))
        assert gradient[place] == pytest.approx((loss[0] - loss[1]) / 0.04, rel=0.02, abs=1e-4)


def test_votes_for_the_right_periods_cost_less_than_any_others():
    bins = [-1] * 30 + [20] * 40 + [-1] * 12 + [45] * 40
    no_rest, one_period = bins[:70] + [20] * 12 + bins[82:], [20 if place == 45 else place for place in bins]
    right, weak, merged, wrong, nothing = (
        float(loss_of(votes, bins)[0])
        for votes in (
            votes_for(bins),
            votes_for(bins, 0.3),
            votes_for(no_rest),
            votes_for(one_period),
            votes_for([-1] * len(bins)),
        )
    )
    assert 0 <= right < weak < merged < wrong
    assert weak < nothing


def test_the_start_and_end_of_a_set_need_not_be_exact():
    bins = [-1] * 30 + [20] * 40 + [-1] * 30
    exact, *moved = (float(loss_of(votes_for([-1] * (30 + by) + [20] * (40 - by) + [-1] * 30), bins)[0]) for by in (0, 2, 3, 8))
    assert abs(moved[0] - exact) < 0.5
    assert exact < moved[1] < moved[2]
    assert moved[2] > exact + 4


def test_at_rest_any_vote_costs():
    none, weak, strong = (float(loss_of(votes_for([20] * 30, height), [-1] * 30)[0]) for height in (0.0, 0.3, 0.8))
    assert 0 <= none < weak < strong


def test_videos_of_different_lengths_are_apart_and_weigh_by_their_weight():
    first, second = votes_for([20] * 50, 0.5), votes_for([30] * 20, 0.4)
    losses, gradients = zip(loss_of(first, [20] * 50), loss_of(second, [-1] * 20), strict=True)
    loss, gradient = loss_of(np.concatenate([first, second]), [20] * 50 + [-1] * 20, [50, 20], [1.0, 0.3])
    assert loss == pytest.approx((losses[0] + 0.3 * losses[1]) / 2, rel=1e-5)
    np.testing.assert_allclose(gradient, np.concatenate([gradients[0], 0.3 * gradients[1]]) / 2, rtol=1e-4, atol=1e-7)


def test_the_score_of_rest_is_each_video_s_own():
    received = []

    def record(highest):
        received.append(highest.tolist())
        return 0.2

    votes = votes_for([20] * 3 + [-1] * 2)
    path_loss(votes, np.full(5, -1.0), [3, 2], np.ones(2), record)
    assert [[round(vote, 2) for vote in video] for video in received] == [[0.8] * 3, [0.02] * 2]
