"""What training on videos lowers: how unlikely the right path of the period is under the vote, with the gradient.

Counting takes the path with the highest score (`model.voting.find_path`). Here, a path's likelihood is proportional to the
exponential of its score, as in a conditional random field (Lafferty et al., 2001). So the votes matter most where they decide:
in a short rest between two exercises, more than in the middle of a set. Forward-backward (Rabiner, 1989) sums over all paths.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from model.voting import BINS_PER_OCTAVE, CHANGE_COST, OCTAVE_COST

_SHARPNESS = 4.0
"""Factor of scores before the exponential. It is low, so that votes must win clearly."""

_NEAR_BINS = 1.5
"""Standard deviation in bins of what counts as the right period: 4 %."""

_FAR = 1e-6
"""Likelihood of the right period, relative to the nearest bin, that every bin has."""

_EDGE_STEPS = 2
"""Time steps before and after the start or end of a set in which rest and repeating are both right."""


def path_loss(
    votes: np.ndarray,
    bins: np.ndarray,
    num_steps: Sequence[int],
    weight: np.ndarray,
    rest_vote: Callable[[np.ndarray], float],
) -> tuple[np.float32, np.ndarray]:
    """Returns the mean over videos of −ln(likelihood of the right path), in nats, and its gradient by the votes.

    Right are all paths with about the right period wherever something repeats, and with rest elsewhere. The gradient takes the
    score of rest as given, though it follows from the votes.

    Args:
      votes: Vote for each period at each time step, one video after the other, (S, num_bins), see `model.voting`.
      bins: Bin of the true period at each time step, a fraction between two bins included, (S,); negative at rest.
      num_steps: Number of time steps of each video; they add up to S.
      weight: Weight of each video, (num_videos,).
      rest_vote: Returns the score of rest in a video from the highest vote at each of its time steps.

    Returns:
      The loss, and its gradient, (S, num_bins) float32.
    """
    num_videos, longest, num_bins = len(num_steps), int(max(num_steps)), votes.shape[1]
    # Behind its end a video rests, so that all are as long. [:, 0]: all paths, [:, 1]: right paths.
    moving = np.zeros((longest, 2, num_videos, num_bins))
    resting = np.ones((longest, 2, num_videos))
    videos = np.split(np.arange(len(votes)), np.cumsum(num_steps)[:-1])
    for video, steps in enumerate(videos):
        of_video, own = votes[steps].astype(np.float64), slice(len(steps))
        likelihood = np.exp(_SHARPNESS * (of_video - rest_vote(of_video.max(axis=1))))
        is_right, may_rest = _right_states(bins[steps], num_bins)
        moving[own, 0, video], moving[own, 1, video] = likelihood, likelihood * is_right
        resting[own, 1, video] = may_rest
    shape = (longest, 2 * num_videos)
    totals, posteriors = _sum_paths(moving.reshape(*shape, num_bins), resting.reshape(shape))
    all_paths, right_paths = totals.reshape(2, num_videos)
    posterior = posteriors.reshape(longest, 2, num_videos, num_bins)
    gradient = np.concatenate(
        [
            (posterior[: len(steps), 0, video] - posterior[: len(steps), 1, video]) * (_SHARPNESS * weight[video] / num_videos)
            for video, steps in enumerate(videos)
        ]
    )
    return np.float32(np.mean(weight * (all_paths - right_paths))), gradient.astype(np.float32)


def _right_states(bins: np.ndarray, num_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns how right each bin is at each time step, (num_steps, num_bins), and whether rest is, (num_steps,) bool."""
    is_repeating, steps = bins >= 0, np.arange(len(bins))
    is_edge = np.zeros(len(bins), bool)
    for first in np.flatnonzero(np.diff(is_repeating)) + 1:
        is_edge[max(0, first - _EDGE_STEPS) : first + _EDGE_STEPS] = True
    repeating = np.flatnonzero(is_repeating)
    if not len(repeating):
        return np.zeros((len(bins), num_bins)), np.ones(len(bins), bool)
    nearest = repeating[np.abs(steps[:, None] - repeating).argmin(axis=1)]
    nearness = np.exp(-0.5 * ((np.arange(num_bins) - bins[nearest][:, None]) / _NEAR_BINS) ** 2) + _FAR
    return nearness * (is_repeating | is_edge)[:, None], ~is_repeating | is_edge


def _sum_paths(moving: np.ndarray, resting: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums the likelihoods of all paths; a path begins and ends at rest.

    Args:
      moving: Factor of a path's likelihood for each bin at each time step, (num_steps, C, num_bins), for C videos.
      resting: The same for rest, (num_steps, C).

    Returns:
      The logarithm of each sum, (C,), and the share of the paths that are in each bin, (num_steps, C, num_bins).
    """
    stay, change = _bin_changes(moving.shape[2]), math.exp(-_SHARPNESS * CHANGE_COST)
    start = change / BINS_PER_OCTAVE  # periods count by octaves, so that rest is not one choice among a hundred
    forward_moving, forward_resting = np.empty_like(moving), np.empty_like(resting)
    in_bins, at_rest = np.zeros(moving.shape[1:]), np.ones(resting.shape[1])
    log_total = np.zeros(resting.shape[1])
    for step in range(len(moving)):
        into_bins = (in_bins @ stay + start * at_rest[:, None]) * moving[step]
        at_rest = (at_rest + change * in_bins.sum(axis=1)) * resting[step]
        total = into_bins.sum(axis=1) + at_rest
        in_bins, at_rest = into_bins / total[:, None], at_rest / total  # or the numbers would overflow
        log_total += np.log(total)
        forward_moving[step], forward_resting[step] = in_bins, at_rest
    log_total += np.log(at_rest + change * in_bins.sum(axis=1))

    shares = np.empty_like(moving)
    from_bins, from_rest = np.full(moving.shape[1:], change), np.ones(resting.shape[1])
    for step in reversed(range(len(moving))):
        shares[step] = forward_moving[step] * from_bins
        shares[step] /= (shares[step].sum(axis=1) + forward_resting[step] * from_rest)[:, None]
        onwards, rest_onwards = from_bins * moving[step], from_rest * resting[step]
        from_bins = onwards @ stay + change * rest_onwards[:, None]
        from_rest = rest_onwards + start * onwards.sum(axis=1)
        total = from_bins.max(axis=1) + from_rest
        from_bins, from_rest = from_bins / total[:, None], from_rest / total
    return log_total, shares


@functools.cache
def _bin_changes(num_bins: int) -> np.ndarray:
    """Returns the likelihood of a change from each bin to each, (num_bins, num_bins), symmetric.

    A row adds up to about 1, near either end to less.
    """
    distances = np.abs(np.arange(num_bins)[:, None] - np.arange(num_bins))
    likelihoods = np.exp(-_SHARPNESS * OCTAVE_COST / BINS_PER_OCTAVE * distances)
    return likelihoods / likelihoods[num_bins // 2].sum()
