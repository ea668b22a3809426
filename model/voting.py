"""The vote: all strides together find the period at each time step of a video.

A stride can see periods from `SHORTEST_POSITIONS` positions up to the network's number of classes. A faster movement may look
like another, slower one, as wheels in films turn backwards. Near the longest period the network sees too few repetitions to be
sure. So no single stride is right everywhere. But the strides that are right agree, and those that are wrong differ.

The vote is the mean of the strides' probabilities on one logarithmic axis of periods, weighted by how well each sees a period.
Dynamic programming (Viterbi) then finds the most likely path of the period through the video; not repeating is one of its
states. A pause in which a slow movement is held becomes part of its set, and a video with little evidence counts nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from model.counting_options import CountingOptions
from model.frame_counts import FrameCounts
from model.logits import StrideLogits, middle_shown, sigmoid, softmax

SHORTEST_POSITIONS = 3
"""Shortest period, in positions, at which a stride votes."""

BINS_PER_OCTAVE = 24
"""Resolution of the axis of periods: periods that differ by less than 3 % share a bin."""

STEP_FRAMES = 3
"""Shown frames per time step: a tenth of a second at 30 frames per second."""

LEAST_WEIGHT = 4
"""Least total weight that votes are divided by, unless there are fewer strides.

So what only one stride can see gets less than half of its vote.
"""

STRIDE_WEIGHTS = {5: 0.7, 10: 1.7, 20: 1.1}
"""Weight of a stride's vote by the period in its positions; in between, its logarithm is interpolated over octaves.

A stride sees best where a period is ten positions: frames are close enough, and the window shows six repetitions. Fitted to
drawn videos, see `docs/lite.md`.
"""

CHANGE_COST = 1.0
"""Cost of starting or ending a set, in votes of one time step."""

OCTAVE_COST = 6.0
"""Cost of doubling or halving the period within a set; other changes cost in proportion.

A large change, as from one exercise to the next, costs less through a single time step of rest.
"""

LEAST_EVIDENCE = 5.0
"""Votes above the score of rest, summed over all sets, below which a video counts nothing.

It is what five seconds of votes 0.1 above that score add up to, or two thirds of a second of the surest ones. Fine strokes and
fidgeting stay below.
"""

HOLD_PERIODS = 1.5
"""Length in periods below which a pause may be a hold within a set."""

HOLD_BINS = 7
"""Most bins by which the period differs before and after a hold: 22 %. After a change of exercise, most differ more."""

_BLOCK_STEPS = 256
"""Time steps whose paths are traced together. More are not faster, and take more memory."""

_BLOCK_ROWS = 16
"""Rows of a matrix that are multiplied together."""

LEAST_VOTE = 1e-9
"""Added to votes that weight a mean, so that bins without any vote have one."""

REFINED_BINS = 2
"""Bins on either side of the most likely one that a period is averaged over."""


@dataclasses.dataclass(frozen=True, eq=False)
class Votes:
    """The votes of all strides together, for a video or a stretch of it.

    Attributes:
      votes: Vote for each period at each time step, (num_steps, num_bins) float32 in 0..1: among the strides that can see the
        period, the share that do, each weighted by how sure it is and by `stride_weights`.
      periods: Period of each bin in shown frames, (num_bins,) float64, ascending.
      num_frames: Number of sampled frames in the video or stretch.
      repeats: Times that each of them is shown.
    """

    votes: np.ndarray
    periods: np.ndarray
    num_frames: int
    repeats: int = 1

    def to_frames(self, per_step: np.ndarray) -> np.ndarray:
        """Returns one value per frame of a whole video, (num_frames,), from one per time step, (num_steps,)."""
        return per_step[middle_shown(self.num_frames, self.repeats) // STEP_FRAMES]


def count_by_vote(collected: Votes, options: CountingOptions) -> tuple[FrameCounts, float]:
    """Counts a video by the vote of all strides.

    Args:
      collected: The votes of the whole video.
      options: How to count.

    Returns:
      The counts, and how many repetitions the periodic frames have if each time step has its own most likely period.
    """
    repeats = collected.repeats
    votes = collected.votes
    likeliest = votes.argmax(axis=1)
    rest_vote = -math.inf if options.fully_periodic else options.score_threshold(votes.max(axis=1))
    path = find_sets(collected, rest_vote)
    repeating = path >= 0
    bins = np.where(repeating, path, likeliest)
    if options.constant_speed and repeating.any():
        bins = np.full(len(bins), votes[repeating].sum(axis=0).argmax())
    step_votes = np.take_along_axis(votes, bins[:, None], axis=1)[:, 0]
    periods = refine_periods(collected, bins)
    if options.constant_speed and repeating.any():
        periods = np.full(len(bins), periods[repeating].mean())
    curve, is_periodic = collected.to_frames(periods) / repeats, collected.to_frames(repeating)
    periodicity = collected.to_frames(step_votes)
    confidence = float(periodicity[is_periodic].mean(dtype=np.float64)) if is_periodic.any() else 0.0
    total = float(np.sum(1.0 / curve[is_periodic]))
    total_of_likeliest = float(np.sum(repeats / collected.to_frames(refine_periods(collected, likeliest))[is_periodic]))
    if confidence < options.video_threshold:
        is_periodic = np.zeros_like(is_periodic)
    counts = FrameCounts(
        confidence=confidence,
        notebook_period_frames=collected.num_frames / total if total else math.inf,
        per_frame_count=np.where(is_periodic, 1.0 / curve, 0.0),
        periodicity=periodicity,
        period_frames_curve=curve,
        is_periodic=is_periodic,
    )
    return counts, total_of_likeliest


def collect_votes(
    logits: Mapping[int, StrideLogits], num_frames: int, period_offset: int, repeats: int = 1, first_frame: int = 0
) -> Votes:
    """Returns the votes of all strides together.

    Args:
      logits: Logits of the whole video or of a stretch of it, by stride.
      num_frames: Number of sampled frames in the video or stretch.
      period_offset: Period in frames of class 0, see `RepNetConfig`.
      repeats: Times that each frame was shown.
      first_frame: Number of frames before the stretch. The time steps are those of the whole video.
    """
    num_classes = next(iter(logits.values())).period.shape[1]
    bins = period_axis(list(logits), num_classes, period_offset)
    steps = np.arange(-first_frame * repeats % STEP_FRAMES, num_frames * repeats, STEP_FRAMES)
    votes = np.zeros((len(steps), len(bins)), np.float32)
    total_weight = np.zeros(len(bins))
    positions = np.arange(num_classes) + period_offset
    can_see = positions >= SHORTEST_POSITIONS
    for stride, of_stride in logits.items():
        shares, weights = class_shares(bins, positions[can_see], stride), stride_weights(bins, stride)
        shown, position_of = np.unique(steps // stride, return_inverse=True)
        probabilities, periodic = softmax(of_stride.period[shown]), sigmoid(of_stride.periodicity[shown])
        weighted = _multiply(probabilities[:, can_see] * periodic[:, None], shares)
        votes += (np.minimum(weighted, 1.0) * weights).astype(np.float32)[position_of]
        total_weight += np.minimum(shares.sum(axis=0), 1.0) * weights
    least = min(LEAST_WEIGHT, len(logits))
    return Votes((votes / np.maximum(total_weight, least)).astype(np.float32), 2**bins, num_frames, repeats)


def join_votes(stretches: Sequence[Votes]) -> Votes:
    """Returns the votes of a video from those of its stretches, in order."""
    return dataclasses.replace(
        stretches[0],
        votes=np.concatenate([stretch.votes for stretch in stretches]),
        num_frames=sum(stretch.num_frames for stretch in stretches),
    )


def period_axis(strides: Sequence[int], num_classes: int, period_offset: int) -> np.ndarray:
    """Returns the logarithm, to base 2, of the period of each bin in shown frames, (num_bins,) float64, ascending.

    Args:
      strides: Strides that vote.
      num_classes: Number of period classes of the network.
      period_offset: Period in frames of class 0, see `RepNetConfig`.
    """
    shortest = math.log2(SHORTEST_POSITIONS * min(strides))
    longest = math.log2((num_classes - 1 + period_offset + 0.5) * max(strides))
    return shortest + np.arange(int((longest - shortest) * BINS_PER_OCTAVE) + 1) / BINS_PER_OCTAVE


def class_shares(bins: np.ndarray, positions: np.ndarray, stride: int) -> np.ndarray:
    """Returns the weight of each class in each bin, (len(positions), len(bins)): a bell curve as wide as the class.

    Args:
      bins: Logarithms of periods, see `period_axis`.
      positions: Period in positions of each class.
      stride: Stride in shown frames.
    """
    width = np.maximum(1.2 / BINS_PER_OCTAVE, 0.6 * np.log2((positions + 0.5) / (positions - 0.5)))
    return np.exp(-0.5 * ((bins - np.log2(positions * stride)[:, None]) / width[:, None]) ** 2)


def stride_weights(bins: np.ndarray, stride: int) -> np.ndarray:
    """Returns the weight of a stride's vote for each bin, (num_bins,) float64; see `STRIDE_WEIGHTS`.

    Args:
      bins: Logarithms of periods, see `period_axis`.
      stride: Stride in shown frames.
    """
    octaves, logarithms = np.log2(list(STRIDE_WEIGHTS)), np.log2(list(STRIDE_WEIGHTS.values()))
    return 2 ** np.interp(bins - math.log2(stride), octaves, logarithms)


def _multiply(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Returns the product of two matrices, in blocks so small that BLAS starts no threads.

    On products as small as these, its threads burn ten times the processor time that they save.
    """
    blocks = np.zeros((-(-len(left) // _BLOCK_ROWS), _BLOCK_ROWS, left.shape[1]))
    blocks.reshape(-1, left.shape[1])[: len(left)] = left
    return (blocks @ right).reshape(-1, right.shape[1])[: len(left)]


def find_sets(collected: Votes, rest_vote: float) -> np.ndarray:
    """Returns the bin of the period at each time step, (num_steps,) int64; −1 for rest.

    It is the most likely path, with holds as part of their set. If the evidence is below `LEAST_EVIDENCE`, all is rest.

    Args:
      collected: The votes of the whole video.
      rest_vote: Score of a time step of rest.
    """
    path = find_path(collected.votes, rest_vote)
    repeating = path >= 0
    evidence = np.sum(collected.votes[repeating, path[repeating]] - np.float64(rest_vote))
    return bridge_holds(path, collected.periods) if evidence >= LEAST_EVIDENCE else np.full_like(path, -1)


def bridge_holds(path: np.ndarray, periods: np.ndarray) -> np.ndarray:
    """Returns a path whose short pauses between sets of nearly one speed belong to the set; there, the period changes evenly.

    Args:
      path: A bin for each time step, (num_steps,); −1 for rest.
      periods: Period of each bin in shown frames, (num_bins,).
    """
    steps, last = np.arange(len(path)), len(path) - 1
    bounds = np.concatenate([[0], np.flatnonzero(path >= 0), [last]])
    place = np.searchsorted(bounds, steps)
    before, after = bounds[np.maximum(place - 1, 0)], bounds[place]
    first, second = path[before], path[after]
    is_between = (path < 0) & (first >= 0) & (second >= 0)
    is_short = (after - before - 1) * STEP_FRAMES < HOLD_PERIODS * periods[(first + second) // 2]
    is_hold = is_between & is_short & (np.abs(second - first) <= HOLD_BINS)
    return np.where(is_hold, first + (second - first) * (steps - before) // np.maximum(after - before, 1), path)


def find_path(votes: np.ndarray, rest_vote: float) -> np.ndarray:
    """Returns the most likely path of the period through the video (Viterbi, 1967).

    A path scores the votes for its bins plus `rest_vote` for each time step of rest. It pays `CHANGE_COST` each time a set
    starts or ends, also at the ends of the video, and `OCTAVE_COST` for each octave by which the period changes.

    Args:
      votes: Vote for each period at each time step, (num_steps, num_bins).
      rest_vote: Score of a time step of rest.

    Returns:
      The bin at each time step, (num_steps,) int64; −1 for rest.
    """
    num_steps, num_bins = votes.shape
    came_from = np.empty((num_steps, num_bins), np.int16)  # −1: from rest
    rest_came_from = np.empty(num_steps, np.int16)
    moving, resting = (votes[0] - CHANGE_COST).astype(np.float64), rest_vote
    for first in range(1, num_steps, _BLOCK_STEPS):
        block = votes[first : first + _BLOCK_STEPS].astype(np.float64)
        scores, rests = _score_paths(block, rest_vote, moving, resting)
        steps = slice(first, first + len(block))
        came_from[steps], rest_came_from[steps] = _find_origins(scores[:-1], rests[:-1])
        moving, resting = scores[-1], float(rests[-1])
    path = np.empty(num_steps, np.int64)
    path[-1] = moving.argmax() if moving.max() - CHANGE_COST > resting else -1
    for t in range(num_steps - 1, 0, -1):
        path[t - 1] = rest_came_from[t] if path[t] < 0 else came_from[t, path[t]]
    return path


def _climb(num_bins: int) -> np.ndarray:
    """Returns the cost of a change from the first bin to each bin, (num_bins,) float64."""
    return np.arange(num_bins) * (OCTAVE_COST / BINS_PER_OCTAVE)


def _score_paths(votes: np.ndarray, rest_vote: float, moving: np.ndarray, resting: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the scores of the best paths before each time step and after the last one.

    The best previous bin is below or above. Since the cost is proportional to the distance, running maxima find both.

    Args:
      votes: Votes, (num_steps, num_bins) float64.
      rest_vote: Score of a time step of rest.
      moving: Score of the best path so far to each bin, (num_bins,) float64.
      resting: Score of the best path so far to rest.

    Returns:
      Scores of the paths to each bin, (num_steps + 1, num_bins) float64, and to rest, (num_steps + 1,) float64.
    """
    climb = _climb(len(moving))
    scores, rests = np.empty((len(votes) + 1, len(moving))), np.empty(len(votes) + 1)
    scores[0], rests[0] = moving, resting
    below, above = np.empty_like(climb), np.empty_like(climb)
    downwards = above[::-1]
    # The calls take more time than the arithmetic, so each writes to an array that is there already.
    for step, vote in enumerate(votes):
        before, after = scores[step], scores[step + 1]
        np.add(before, climb, out=below)
        np.maximum.accumulate(below, out=below)
        np.subtract(below, climb, out=below)
        np.subtract(before, climb, out=above)
        np.maximum.accumulate(downwards, out=downwards)
        np.add(above, climb, out=above)
        np.maximum(below, above, out=after)
        np.maximum(after, resting - CHANGE_COST, out=after)
        np.add(after, vote, out=after)
        resting = max(resting, float(np.maximum.reduce(before)) - CHANGE_COST) + rest_vote
        rests[step + 1] = resting
    return scores, rests


def _find_origins(scores: np.ndarray, rests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the best path to each bin, (num_steps, num_bins), and to rest, (num_steps,), comes from; −1 for rest.

    Args:
      scores: Scores before each time step of the paths that end in each bin, (num_steps, num_bins) float64.
      rests: Scores before each time step of the path that ends in rest, (num_steps,) float64.
    """
    climb, last = _climb(scores.shape[1]), scores.shape[1] - 1
    below, from_below = _running_maximum(scores + climb)
    above, from_above = _running_maximum((scores - climb)[:, ::-1])
    below, above = below - climb, above[:, ::-1] + climb
    origins = np.where(below >= above, from_below, last - from_above[:, ::-1])
    origins[(rests - CHANGE_COST)[:, None] > np.maximum(below, above)] = -1
    return origins, np.where(scores.max(axis=1) - CHANGE_COST > rests, scores.argmax(axis=1), -1)


def _running_maximum(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the running maximum of each row, and the index where it was reached last."""
    greatest = np.maximum.accumulate(values, axis=1)
    return greatest, np.maximum.accumulate(np.where(values >= greatest, np.arange(values.shape[1]), 0), axis=1)


def refine_periods(votes: Votes, bins: np.ndarray) -> np.ndarray:
    """Returns the period in shown frames at each time step, (num_steps,): the mean around a bin, weighted by the votes.

    The mean takes as many bins on either side. Otherwise it would lean inwards at the ends of the axis, and the longest period
    could never be found.

    Args:
      votes: The votes of all strides together.
      bins: A bin for each time step, (num_steps,).
    """
    offsets, last = np.arange(-REFINED_BINS, REFINED_BINS + 1), len(votes.periods) - 1
    around = np.clip(bins[:, None] + offsets, 0, last)
    inside = np.abs(offsets) <= np.minimum(bins, last - bins)[:, None]
    weights = np.where(inside, np.take_along_axis(votes.votes, around, axis=1) + LEAST_VOTE, 0.0)
    octaves = (weights * np.log2(votes.periods)[around]).sum(axis=1) / weights.sum(axis=1)
    return 2**octaves
