"""The vote of all strides inside a TensorFlow graph, as `model.voting` does it in NumPy; the exported model needs it.

`model.voting` decides what is right; tests compare the two. Arithmetic is float64 and rounds in the same places.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from model import voting
from model.certainty import LEAST_CONFIDENCE, MOST_LOGIT
from model.counting_options import CountingOptions
from model.graph_curves import GraphFrameCounts, GraphLogits, first_argmax, middle_shown, periodic_probability, score_threshold


@dataclasses.dataclass(frozen=True, eq=False)
class GraphVotes:
    """The votes of all strides together, as in `model.voting.Votes`.

    Attributes:
      votes: Vote for each period at each time step, (num_steps, num_bins) float32 in 0..1.
      octaves: Logarithm, to base 2, of the period of each bin in shown frames, (num_bins,) float64.
    """

    votes: tf.Tensor
    octaves: np.ndarray


def count_by_vote(
    logits: Mapping[int, GraphLogits], num_frames: tf.Tensor, period_offset: int, options: CountingOptions, repeats: tf.Tensor
) -> tuple[GraphFrameCounts, tf.Tensor]:
    """Counts a video by the vote of all strides.

    Args:
      logits: Logits of the whole video, by stride.
      num_frames: Number of sampled frames in the video, () int32.
      period_offset: Period in frames of class 0, see `RepNetConfig`.
      options: How to count.
      repeats: Times that each frame was shown, () int32.

    Returns:
      The counts, and their certainty, () float64: NaN if no frame is periodic or the options have no coefficients for it.
    """
    collected = collect_votes(logits, num_frames, period_offset, repeats)
    votes = collected.votes
    likeliest = first_argmax(votes)
    rest_vote = tf.constant(-math.inf, tf.float64)
    if not options.fully_periodic:
        rest_vote = score_threshold(tf.reduce_max(votes, axis=1), options)
    path = find_sets(collected, rest_vote)
    repeating = path >= 0
    bins = tf.where(repeating, path, likeliest)
    if options.constant_speed:
        total = tf.reduce_sum(tf.where(repeating[:, None], votes, tf.zeros_like(votes)), axis=0)
        bins = tf.where(tf.reduce_any(repeating), first_argmax(total), bins)
    periods = refine_periods(collected, bins)
    if options.constant_speed:
        mean = _mean_where(repeating, periods)
        periods = tf.where(tf.reduce_any(repeating), mean, periods)
    step_of = middle_shown(num_frames, repeats) // voting.STEP_FRAMES
    frame_repeats = tf.cast(repeats, tf.float64)
    curve = tf.gather(periods, step_of) / frame_repeats
    is_periodic = tf.gather(repeating, step_of)
    periodicity = tf.gather(tf.gather(votes, bins, batch_dims=1), step_of)
    confidence = _mean_where(is_periodic, tf.cast(periodicity, tf.float64))
    likeliest_rates = frame_repeats / tf.gather(refine_periods(collected, likeliest), step_of)
    is_periodic &= confidence >= options.video_threshold
    zero = tf.zeros_like(curve)
    counts = GraphFrameCounts(confidence, tf.where(is_periodic, 1.0 / curve, zero), periodicity, curve, is_periodic)
    return counts, _certainty(counts, tf.reduce_sum(tf.where(is_periodic, likeliest_rates, zero)), options)


def collect_votes(
    logits: Mapping[int, GraphLogits], num_frames: tf.Tensor, period_offset: int, repeats: tf.Tensor
) -> GraphVotes:
    """Returns the votes of all strides together; see `model.voting.collect_votes`."""
    steps = tf.range(0, num_frames * repeats, voting.STEP_FRAMES)
    at_steps = {
        stride: GraphLogits(tf.gather(of_stride.period, steps // stride), tf.gather(of_stride.periodicity, steps // stride))
        for stride, of_stride in logits.items()
    }
    return add_votes(at_steps, period_offset)


def add_votes(logits: Mapping[int, GraphLogits], period_offset: int) -> GraphVotes:
    """Returns the votes of all strides together.

    Args:
      logits: Logits of each stride at each time step, in place of those at each position.
      period_offset: Period in frames of class 0, see `RepNetConfig`.
    """
    first = next(iter(logits.values()))
    num_classes = first.period.shape[1]
    octaves = voting.period_axis(list(logits), num_classes, period_offset)
    positions = np.arange(num_classes) + period_offset
    can_see = positions >= voting.SHORTEST_POSITIONS
    votes = tf.zeros((tf.size(first.periodicity), len(octaves)), tf.float32)
    total_weight = np.zeros(len(octaves))
    for stride, of_stride in logits.items():
        shares = voting.class_shares(octaves, positions[can_see], stride)
        weights = voting.stride_weights(octaves, stride)
        probabilities = tf.nn.softmax(tf.cast(of_stride.period, tf.float64), axis=1)
        periodic = periodic_probability(of_stride.periodicity)
        weighted = tf.matmul(probabilities[:, int(can_see.argmax()) :] * periodic[:, None], tf.constant(shares, tf.float64))
        votes += tf.cast(tf.minimum(weighted, 1.0) * weights, tf.float32)
        total_weight += np.minimum(shares.sum(axis=0), 1.0) * weights
    divisor = np.maximum(total_weight, min(voting.LEAST_WEIGHT, len(logits)))
    return GraphVotes(tf.cast(tf.cast(votes, tf.float64) / divisor, tf.float32), octaves)


def find_sets(collected: GraphVotes, rest_vote: tf.Tensor) -> tf.Tensor:
    """Returns the bin of the period at each time step, (num_steps,) int32; −1 for rest; see `model.voting.find_sets`."""
    path = find_path(collected.votes, rest_vote)
    above = tf.cast(tf.gather(collected.votes, tf.maximum(path, 0), batch_dims=1), tf.float64) - rest_vote
    evidence = tf.reduce_sum(tf.where(path >= 0, above, tf.zeros_like(above)))
    return tf.where(evidence >= voting.LEAST_EVIDENCE, bridge_holds(path, 2**collected.octaves), -1)


def bridge_holds(path: tf.Tensor, periods: np.ndarray) -> tf.Tensor:
    """Returns a path whose holds belong to their set, (num_steps,) int32; see `model.voting.bridge_holds`."""
    steps, last = tf.range(tf.size(path)), tf.size(path) - 1
    bounds = tf.concat([[0], tf.cast(tf.where(path >= 0)[:, 0], tf.int32), [last]], axis=0)
    place = tf.searchsorted(bounds, steps)
    before, after = tf.gather(bounds, tf.maximum(place - 1, 0)), tf.gather(bounds, place)
    first, second = tf.gather(path, before), tf.gather(path, after)
    is_between = (path < 0) & (first >= 0) & (second >= 0)
    pause = tf.cast((after - before - 1) * voting.STEP_FRAMES, tf.float64)
    period = tf.gather(tf.constant(periods), tf.maximum((first + second) // 2, 0))
    is_hold = is_between & (pause < voting.HOLD_PERIODS * period) & (tf.abs(second - first) <= voting.HOLD_BINS)
    return tf.where(is_hold, first + (second - first) * (steps - before) // tf.maximum(after - before, 1), path)


def find_path(votes: tf.Tensor, rest_vote: tf.Tensor) -> tf.Tensor:
    """Returns the most likely path of the period through the video; see `model.voting.find_path`.

    The way there keeps the scores of every time step. The way back finds where each of its steps came from. This way, only one
    row a step needs to know the place of a maximum.

    Args:
      votes: Vote for each period at each time step, (num_steps, num_bins) float32.
      rest_vote: Score of a time step of rest, () float64.

    Returns:
      The bin at each time step, (num_steps,) int32; −1 for rest.
    """
    num_steps, num_bins = tf.shape(votes)[0], votes.shape[1]
    climb = np.arange(num_bins) * (voting.OCTAVE_COST / voting.BINS_PER_OCTAVE)
    # [i, j]: on the way from bin j to bin i. Sums are grouped as in `model.voting`, so that both round alike and ties are ties.
    is_below = np.arange(num_bins) <= np.arange(num_bins)[:, None]
    leave = tf.constant(np.where(is_below, climb, -climb))
    arrive = tf.constant(np.where(is_below, climb[:, None], -climb[:, None]))

    def step_on(
        t: tf.Tensor, moving: tf.Tensor, resting: tf.Tensor, all_moving: tf.TensorArray, all_resting: tf.TensorArray
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.TensorArray, tf.TensorArray]:
        stay = tf.reduce_max((moving + leave) - arrive, axis=1)
        reached = tf.maximum(stay, resting - voting.CHANGE_COST) + tf.cast(votes[t], tf.float64)
        resting = tf.maximum(resting, tf.reduce_max(moving) - voting.CHANGE_COST) + rest_vote
        return t + 1, reached, resting, all_moving.write(t, reached), all_resting.write(t, resting)

    moving = tf.cast(votes[0] - voting.CHANGE_COST, tf.float64)
    all_moving = tf.TensorArray(tf.float64, num_steps, element_shape=(num_bins,)).write(0, moving)
    all_resting = tf.TensorArray(tf.float64, num_steps, element_shape=()).write(0, rest_vote)
    _, moving, resting, all_moving, all_resting = tf.while_loop(
        lambda t, *_: t < num_steps, step_on, (1, moving, rest_vote, all_moving, all_resting), parallel_iterations=1
    )
    moving_at, resting_at = all_moving.stack(), all_resting.stack()

    def step_back(t: tf.Tensor, state: tf.Tensor, path: tf.TensorArray) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        before, rest_before = moving_at[t - 1], resting_at[t - 1]
        came_from = tf.cond(
            state < 0,
            lambda: _likelier(rest_before, before, first_argmax(before), voting.CHANGE_COST),
            lambda: _origin(before, rest_before, tf.constant(climb), state),
        )
        return t - 1, came_from, path.write(t - 1, came_from)

    last = _likelier(resting, moving, first_argmax(moving), voting.CHANGE_COST)
    path = tf.TensorArray(tf.int32, num_steps, element_shape=()).write(num_steps - 1, last)
    _, _, path = tf.while_loop(lambda t, *_: t > 0, step_back, (num_steps - 1, last, path), parallel_iterations=1)
    return path.stack()


def _likelier(resting: tf.Tensor, moving: tf.Tensor, best: tf.Tensor, cost: float) -> tf.Tensor:
    """Returns bin `best` if ending its set is better than having rested, else −1, () int32."""
    return tf.where(moving[best] - cost > resting, best, -1)


def _origin(before: tf.Tensor, rest_before: tf.Tensor, climb: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
    """Returns the bin before that leads to bin `state`, or −1 for rest, () int32; on ties the nearest bin, the lower first."""
    indices = tf.range(tf.size(before))
    lowest = tf.constant(-math.inf, tf.float64)
    from_below = tf.where(indices <= state, before + climb, lowest)
    from_above = tf.where(indices >= state, before - climb, lowest)
    below, above = tf.reduce_max(from_below), tf.reduce_max(from_above)
    nearest_below = tf.reduce_max(tf.where(tf.equal(from_below, below) & (indices <= state), indices, -1))
    nearest_above = tf.reduce_min(tf.where(tf.equal(from_above, above) & (indices >= state), indices, tf.int32.max))
    below, above = below - climb[state], above + climb[state]
    origin = tf.where(below >= above, nearest_below, nearest_above)
    return tf.where(rest_before - voting.CHANGE_COST > tf.maximum(below, above), -1, origin)


def refine_periods(collected: GraphVotes, bins: tf.Tensor) -> tf.Tensor:
    """Returns the period in shown frames at each time step, (num_steps,) float64; see `model.voting.refine_periods`."""
    offsets, last = np.arange(-voting.REFINED_BINS, voting.REFINED_BINS + 1, dtype=np.int32), len(collected.octaves) - 1
    around = tf.clip_by_value(bins[:, None] + offsets, 0, last)
    inside = np.abs(offsets) <= tf.minimum(bins, last - bins)[:, None]
    votes = tf.gather(collected.votes, around, batch_dims=1) + np.float32(voting.LEAST_VOTE)
    weights = tf.cast(tf.where(inside, votes, tf.zeros_like(votes)), tf.float64)
    octaves = tf.reduce_sum(weights * tf.gather(tf.constant(collected.octaves), around), axis=1)
    return tf.pow(tf.constant(2.0, tf.float64), octaves / tf.reduce_sum(weights, axis=1))


def _mean_where(condition: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Returns the mean of the values where a condition holds, () float64; 0 if it holds nowhere."""
    chosen = tf.cast(condition, tf.float64)
    total = tf.reduce_sum(tf.where(condition, values, tf.zeros_like(values)))
    return total / tf.maximum(tf.reduce_sum(chosen), 1.0)


def _certainty(counts: GraphFrameCounts, alternative_count: tf.Tensor, options: CountingOptions) -> tf.Tensor:
    """Returns the probability that the count is within one, () float64, or NaN; see `model.certainty`."""
    nothing = tf.constant(math.nan, tf.float64)
    if not options.certainty:
        return nothing
    count = tf.reduce_sum(counts.per_frame_count)
    confidence = tf.clip_by_value(counts.confidence, LEAST_CONFIDENCE, 1 - LEAST_CONFIDENCE)
    octaves = tf.math.log(counts.period_frames_curve) / math.log(2.0)
    spread = tf.sqrt(_mean_where(counts.is_periodic, tf.square(octaves - _mean_where(counts.is_periodic, octaves))))
    features = (
        tf.ones_like(count),
        tf.math.log(confidence / (1 - confidence)),
        tf.math.log(count),
        spread,
        tf.math.log1p(tf.abs(alternative_count - count)),
    )
    logit = tf.reduce_sum(tf.stack(features) * tf.constant(options.certainty, tf.float64))
    return tf.where(tf.reduce_any(counts.is_periodic), tf.sigmoid(tf.clip_by_value(logit, -MOST_LOGIT, MOST_LOGIT)), nothing)
