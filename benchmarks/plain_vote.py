"""The vote of all strides as it is defined, without shortcuts. `model.voting` must find the same, in less time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from model.logits import StrideLogits
from model.voting import (
    BINS_PER_OCTAVE,
    CHANGE_COST,
    LEAST_WEIGHT,
    OCTAVE_COST,
    SHORTEST_POSITIONS,
    STEP_FRAMES,
    STRIDE_WEIGHTS,
    Votes,
)


def collect_votes(
    logits: Mapping[int, StrideLogits], num_frames: int, period_offset: int, repeats: int = 1, first_frame: int = 0
) -> Votes:
    """Returns the votes of all strides, computed for each time step by itself; see `model.voting.collect_votes`."""
    num_classes = next(iter(logits.values())).period.shape[1]
    positions = np.arange(num_classes) + period_offset
    can_see = positions >= SHORTEST_POSITIONS
    shortest = np.log2(SHORTEST_POSITIONS * min(logits))
    longest = np.log2((positions[-1] + 0.5) * max(logits))
    bins = shortest + np.arange(int((longest - shortest) * BINS_PER_OCTAVE) + 1) / BINS_PER_OCTAVE
    steps = np.arange(-first_frame * repeats % STEP_FRAMES, num_frames * repeats, STEP_FRAMES)
    votes, total_weight = np.zeros((len(steps), len(bins)), np.float32), np.zeros(len(bins))
    places, weights_there = np.log2(list(STRIDE_WEIGHTS)), np.log2(list(STRIDE_WEIGHTS.values()))
    for stride, of_stride in logits.items():
        seen = positions[can_see][:, None]
        width = np.maximum(1.2 / BINS_PER_OCTAVE, 0.6 * np.log2((seen + 0.5) / (seen - 0.5)))
        shares = np.exp(-0.5 * ((bins - np.log2(seen * stride)) / width) ** 2)
        likelihood = of_stride.period[steps // stride].astype(np.float64)
        likelihood = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
        likelihood /= likelihood.sum(axis=1, keepdims=True)
        periodic = 1.0 / (1.0 + np.exp(-of_stride.periodicity[steps // stride].astype(np.float64)))
        weighted = np.einsum("sc,cb->sb", likelihood[:, can_see] * periodic[:, None], shares)
        weight = 2 ** np.interp(bins - np.log2(stride), places, weights_there)
        votes += (np.minimum(weighted, 1.0) * weight).astype(np.float32)
        total_weight += np.minimum(shares.sum(axis=0), 1.0) * weight
    votes = (votes / np.maximum(total_weight, min(LEAST_WEIGHT, len(logits)))).astype(np.float32)
    return Votes(votes, 2**bins, num_frames, repeats)


def find_path(votes: np.ndarray, rest_vote: float) -> np.ndarray:
    """Returns the most likely path, found by trying each change from a bin to a bin; see `model.voting.find_path`."""
    num_steps, num_bins = votes.shape
    states = np.arange(num_bins + 1)  # the last one is rest
    cost = np.abs(states[:, None] - states) * (OCTAVE_COST / BINS_PER_OCTAVE)
    cost[-1], cost[:, -1], cost[-1, -1] = CHANGE_COST, CHANGE_COST, 0.0
    worth = np.concatenate([votes.astype(np.float64), np.full((num_steps, 1), rest_vote)], axis=1)
    score, came_from = worth[0] - cost[-1], np.zeros((num_steps, num_bins + 1), np.int64)
    for t in range(1, num_steps):
        candidates = score - cost
        came_from[t] = candidates.argmax(axis=1)
        score = candidates.max(axis=1) + worth[t]
    path = np.empty(num_steps, np.int64)
    path[-1] = (score - cost[-1]).argmax()
    for t in range(num_steps - 1, 0, -1):
        path[t - 1] = came_from[t, path[t]]
    return np.where(path == num_bins, -1, path)
