"""Voting: all strides together say, for every moment of a video, how long a repetition takes.

A stride sees a movement whose period is at least `SHORTEST_POSITIONS` positions and at most as many as there are classes. Below
that it may see another, slower movement in its place (a wheel in a film turns backwards), and at the top it may see a few
repetitions too few to be sure. So no single stride is right everywhere, but the ones that are right agree, and those that are
not differ. Here each stride's probabilities are laid out on one logarithmic axis of periods in frames and added up; then the
most likely course of the period through the video is found, of which standing still is one, by dynamic programming.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from model.logits import StrideLogits

SHORTEST_POSITIONS = 3
"""Positions of the shortest period that a stride is believed."""

BINS_PER_OCTAVE = 24
"""Periods that differ by less than 3 % share a bin."""

STEP_FRAMES = 3
"""Frames from one moment to the next: a tenth of a second at 30 frames a second."""

FEWEST_STRIDES = 4
"""Strides that share a vote, at least: what only one of them sees gets a quarter of its vote at most."""

CHANGE_COST = 1.0
"""What it costs to begin or end a set, in votes of one moment."""

OCTAVE_COST = 12.0
"""What it costs to double or halve the period within a set; in proportion for other changes.

A greater change, as from one exercise to the next, is cheaper by way of a moment's rest.
"""

_REFINED_BINS = 2
"""Bins on either side of the likeliest over which a period is averaged."""


@dataclasses.dataclass(frozen=True, eq=False)
class Votes:
    """What the strides say together.

    Attributes:
      votes: (num_moments, num_bins) float32, 0..1: of the strides that can see the bin's period, the share that do, each
        weighed by how sure it is.
      periods: (num_bins,) float64, period of each bin in frames, growing.
      num_frames: frames of the video.
    """

    votes: np.ndarray
    periods: np.ndarray
    num_frames: int

    def to_frames(self, of_moments: np.ndarray) -> np.ndarray:
        """Returns a value for each frame, (num_frames,), from one for each moment."""
        return np.repeat(of_moments, STEP_FRAMES)[: self.num_frames]


def collect_votes(logits: Mapping[int, StrideLogits], num_frames: int, period_offset: int) -> Votes:
    """Adds up what the strides say.

    Args:
      logits: of the whole video, by stride.
      num_frames: sampled frames of the video.
      period_offset: frames that period class 0 of the network stands for.
    """
    num_classes = next(iter(logits.values())).period.shape[1]
    shortest = math.log2(SHORTEST_POSITIONS * min(logits))
    longest = math.log2((num_classes - 1 + period_offset + 0.5) * max(logits))
    bins = shortest + np.arange(int((longest - shortest) * BINS_PER_OCTAVE) + 1) / BINS_PER_OCTAVE
    moments = np.arange(0, num_frames, STEP_FRAMES)
    votes = np.zeros((len(moments), len(bins)), np.float32)
    strides_that_see = np.zeros(len(bins))
    positions = np.arange(num_classes) + period_offset
    seen = positions >= SHORTEST_POSITIONS
    for stride, of_stride in logits.items():
        shares = _shares(bins, positions[seen], stride)
        shown = moments // stride
        likelihood = of_stride.period[shown].astype(np.float64)
        likelihood = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
        likelihood /= likelihood.sum(axis=1, keepdims=True)
        periodic = np.exp(-np.logaddexp(0.0, -of_stride.periodicity[shown].astype(np.float64)))
        votes += np.minimum((likelihood[:, seen] * periodic[:, None]) @ shares, 1.0).astype(np.float32)
        strides_that_see += np.minimum(shares.sum(axis=0), 1.0)
    fewest = min(FEWEST_STRIDES, len(logits))
    return Votes((votes / np.maximum(strides_that_see, fewest)).astype(np.float32), 2**bins, num_frames)


def _shares(bins: np.ndarray, positions: np.ndarray, stride: int) -> np.ndarray:
    """Returns (len(positions), len(bins)): how much a class speaks for a period, a bell as wide as the class."""
    width = np.maximum(1.2 / BINS_PER_OCTAVE, 0.6 * np.log2((positions + 0.5) / (positions - 0.5)))
    return np.exp(-0.5 * ((bins - np.log2(positions * stride)[:, None]) / width[:, None]) ** 2)


def find_course(votes: np.ndarray, rest_vote: float) -> np.ndarray:
    """Finds the likeliest course of the period (Viterbi, 1967).

    It is the course with the greatest sum of the votes for its bins, and of `rest_vote` for each moment of rest, less
    `CHANGE_COST` wherever a set begins or ends, be it with the video, and `OCTAVE_COST` for each octave that the period moves.

    Args:
      votes: (num_moments, num_bins).
      rest_vote: what a moment of rest is worth.

    Returns:
      (num_moments,) int64: the bin at each moment, −1 for rest.
    """
    num_moments, num_bins = votes.shape
    climb = np.arange(num_bins) * (OCTAVE_COST / BINS_PER_OCTAVE)
    came_from = np.empty((num_moments, num_bins), np.int16)  # −1: from rest
    rest_came_from = np.full(num_moments, -1)
    moving, resting = votes[0] - CHANGE_COST, rest_vote
    for t in range(1, num_moments):
        # The best bin to come from is below or above: with a cost in proportion to the way, running maxima find both.
        below, from_below = _running_maximum(moving + climb)
        above, from_above = _running_maximum((moving - climb)[::-1])
        below, above = below - climb, above[::-1] + climb
        stay = np.maximum(below, above)
        origin = np.where(below >= above, from_below, num_bins - 1 - from_above[::-1])
        begin = resting - CHANGE_COST
        came_from[t] = np.where(begin > stay, -1, origin)
        last = int(moving.argmax())
        if moving[last] - CHANGE_COST > resting:
            resting, rest_came_from[t] = moving[last] - CHANGE_COST, last
        resting += rest_vote
        moving = np.maximum(stay, begin) + votes[t]
    course = np.empty(num_moments, np.int64)
    course[-1] = moving.argmax() if moving.max() - CHANGE_COST > resting else -1
    for t in range(num_moments - 1, 0, -1):
        course[t - 1] = rest_came_from[t] if course[t] < 0 else came_from[t, course[t]]
    return course


def _running_maximum(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the greatest value so far at each place, and where it was."""
    greatest = np.maximum.accumulate(values)
    return greatest, np.maximum.accumulate(np.where(values >= greatest, np.arange(len(values)), 0))


def refine_periods(votes: Votes, bins: np.ndarray) -> np.ndarray:
    """Returns the period in frames at each moment, (num_moments,): the mean around a bin, weighted by the votes.

    As many bins on either side take part, or the mean would lean inwards at the ends: the longest period could never be told.

    Args:
      votes: what the strides say.
      bins: (num_moments,), a bin for each moment.
    """
    offsets, last = np.arange(-_REFINED_BINS, _REFINED_BINS + 1), len(votes.periods) - 1
    around = np.clip(bins[:, None] + offsets, 0, last)
    inside = np.abs(offsets) <= np.minimum(bins, last - bins)[:, None]
    weights = np.where(inside, np.take_along_axis(votes.votes, around, axis=1) + 1e-9, 0.0)
    octaves = (weights * np.log2(votes.periods)[around]).sum(axis=1) / weights.sum(axis=1)
    return 2**octaves
