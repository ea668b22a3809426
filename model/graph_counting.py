"""Counts repetitions inside a TensorFlow graph, as `model.counting` does in NumPy; the exported model needs it.

`model.counting` decides what is right; tests compare the two. Arithmetic is float64 and rounds in the same places.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from model import graph_voting
from model.config import WINDOW_FRAMES
from model.counting import MEDIAN_WIDTH, MIN_PERIOD
from model.counting_options import CountingOptions, StrideRule
from model.frame_counts import SUM_DECIMALS, SUM_TOLERANCE
from model.graph_curves import GraphFrameCounts, GraphLogits, first_argmax, middle_shown, periodic_probability, score_threshold


@dataclasses.dataclass(frozen=True, eq=False)
class GraphCounted:
    """The count of a video of n sampled frames, as tensors; `model.counting.Counted` explains each.

    Attributes:
      count: () float64.
      confidence: () float64.
      certainty: () float64; NaN where `Counted` has None.
      stride: () int32.
      per_frame_count: (n,) float64.
      periodicity: (n,) float32.
      period_frames_curve: (n,) float64.
      is_periodic: (n,) bool.
      repetition_frames: (rounded count,) float64.
    """

    count: tf.Tensor
    confidence: tf.Tensor
    certainty: tf.Tensor
    stride: tf.Tensor
    per_frame_count: tf.Tensor
    periodicity: tf.Tensor
    period_frames_curve: tf.Tensor
    is_periodic: tf.Tensor
    repetition_frames: tf.Tensor


def count_repetitions(
    logits: Mapping[int, GraphLogits],
    num_frames: tf.Tensor,
    period_offset: int,
    options: CountingOptions,
    repeats: tf.Tensor,
    frozen: Mapping[int, GraphLogits] | None = None,
) -> GraphCounted:
    """Returns the count of a video, with its curve and the times of repetitions.

    Args:
      logits: Logits of the whole video, by stride. If scores tie, the first stride wins.
      num_frames: Number of sampled frames in the video, () int32, at least 1.
      period_offset: Period in frames of class 0, see `RepNetConfig`.
      options: How to count.
      repeats: Times that windows showed each frame, () int32, see `model.logits.slow_repeats`.
      frozen: Logits of a window that shows the last frame 64 times, by stride; needed by the NOTEBOOK rule.

    Raises:
      ValueError: The NOTEBOOK rule lacks the frozen window.
    """
    positions = {stride: _position_scores(of_stride, period_offset) for stride, of_stride in logits.items()}
    if options.stride_rule is StrideRule.NOTEBOOK:
        if frozen is None:
            raise ValueError("the notebook rule needs the logits of a frozen window. Received: none")
        scores = [
            _notebook_score(scores, _position_scores(frozen[stride], period_offset)[1], options.batch_windows)
            for stride, (_, scores) in positions.items()
        ]
    else:
        shown = num_frames * repeats
        scores = [_mean(scores[: -(-shown // stride)]) for stride, (_, scores) in positions.items()]
    best = first_argmax(tf.stack(scores))

    if options.stride_rule is StrideRule.VOTE:
        chosen, certainty = graph_voting.count_by_vote(logits, num_frames, period_offset, options, repeats)
    else:
        branches = [
            lambda stride=stride: _count_at_stride(
                stride, logits[stride], positions[stride], num_frames, period_offset, options, repeats
            )
            for stride in logits
        ]
        chosen = GraphFrameCounts(*tf.switch_case(best, branches))
        certainty = tf.constant(math.nan, tf.float64)
    return GraphCounted(
        count=_total_count(chosen.per_frame_count),
        confidence=chosen.confidence,
        certainty=certainty,
        stride=tf.constant(list(logits), tf.int32)[best],
        per_frame_count=chosen.per_frame_count,
        periodicity=chosen.periodicity,
        period_frames_curve=chosen.period_frames_curve,
        is_periodic=chosen.is_periodic,
        repetition_frames=_find_repetitions(chosen.per_frame_count),
    )


def rounded_count(count: tf.Tensor) -> tf.Tensor:
    """Returns a count, () float64, rounded to the nearest whole number, () int32, halves up."""
    return tf.cast(tf.floor(count + 0.5), tf.int32)


def _total_count(per_frame_count: tf.Tensor) -> tf.Tensor:
    """Returns the sum of what frames add, () float64, without the error of summing."""
    scale = 10.0**SUM_DECIMALS
    return tf.round(tf.reduce_sum(per_frame_count) * scale) / scale


def _position_scores(logits: GraphLogits, period_offset: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns each position's period, (num_positions,) int32, and score, (num_positions,) float32."""
    period = tf.cast(logits.period, tf.float64)
    periods = first_argmax(logits.period) + period_offset
    sharpness = 1.0 / tf.reduce_sum(tf.exp(period - tf.reduce_max(period, axis=1, keepdims=True)), axis=1)
    confidence = tf.where(periods < MIN_PERIOD, tf.zeros_like(sharpness), sharpness)
    return periods, tf.cast(tf.sqrt(periodic_probability(logits.periodicity) * confidence), tf.float32)


def _mean(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.cast(values, tf.float64))


def _notebook_score(scores: tf.Tensor, frozen_scores: tf.Tensor, batch_windows: int) -> tf.Tensor:
    """Returns the mean score over whole batches of windows, () float64, see `model.counting.notebook_score`."""
    num_windows = tf.size(scores) // WINDOW_FRAMES
    num_padding = -num_windows % batch_windows
    of_padding = tf.cast(num_padding, tf.float64) * tf.reduce_sum(tf.cast(frozen_scores, tf.float64))
    total = tf.reduce_sum(tf.cast(scores, tf.float64)) + of_padding
    return total / tf.cast((num_windows + num_padding) * WINDOW_FRAMES, tf.float64)


def _median_filter(values: tf.Tensor, beyond: float) -> tf.Tensor:
    """Returns the median, (n,) float64, of each value, (n,) float64, and the two on either side of it."""
    reach = MEDIAN_WIDTH // 2
    padded = tf.pad(values, [[reach, reach]], constant_values=tf.constant(beyond, tf.float64))
    size = tf.size(values)
    around = tf.stack([padded[offset : offset + size] for offset in range(MEDIAN_WIDTH)], axis=1)
    return tf.sort(around, axis=1)[:, reach]


def _count_at_stride(
    stride: int,
    logits: GraphLogits,
    positions: tuple[tf.Tensor, tf.Tensor],
    num_frames: tf.Tensor,
    period_offset: int,
    options: CountingOptions,
    repeats: tf.Tensor,
) -> GraphFrameCounts:
    """Counts the video at one stride."""
    position_periods, position_scores = positions
    position_of = middle_shown(num_frames, repeats) // stride
    frame_stride = tf.cast(stride, tf.float64) / tf.cast(repeats, tf.float64)
    periodicity = tf.gather(position_scores, position_of)
    is_periodic = periodicity > tf.cast(score_threshold(periodicity, options), tf.float32)
    if options.median_filter:
        is_periodic = _median_filter(tf.cast(is_periodic, tf.float64), beyond=0.0) > 0.5
    if options.constant_speed:
        period, confidence = _constant_period(logits.period, is_periodic, position_of, period_offset)
        curve = tf.fill([num_frames], frame_stride * period)
    else:
        periods = tf.cast(position_periods, tf.float64)
        if options.interpolate_periods:
            periods += _offset_between_classes(logits.period)
        none = tf.constant(math.inf, tf.float64)
        curve = tf.gather(tf.where(position_periods < MIN_PERIOD, none, frame_stride * periods), position_of)
        if options.median_filter:
            curve = _median_filter(curve, beyond=math.inf)
        confidence = _mean(periodicity)
    is_periodic &= confidence >= options.video_threshold
    per_frame_count = tf.where(is_periodic, 1.0 / curve, tf.zeros_like(curve))
    return GraphFrameCounts(confidence, per_frame_count, periodicity, curve, per_frame_count > 0)


def _offset_between_classes(period_logits: tf.Tensor) -> tf.Tensor:
    """Returns the period's distance from the most likely class towards its neighbours, (num_positions,) float64 in −1..1."""
    padded = tf.pad(tf.cast(period_logits, tf.float64), [[0, 0], [1, 1]], constant_values=tf.constant(-math.inf, tf.float64))
    around = tf.gather(padded, first_argmax(period_logits)[:, None] + np.arange(3, dtype=np.int32), batch_dims=1)
    weights = tf.exp(around - around[:, 1:2])
    return (weights[:, 2] - weights[:, 0]) / tf.reduce_sum(weights, axis=1)


def _constant_period(
    period_logits: tf.Tensor, is_periodic: tf.Tensor, position_of: tf.Tensor, period_offset: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the likeliest one period in positions, () float64, and its mean probability, () float64."""
    frames = tf.math.unsorted_segment_sum(tf.cast(is_periodic, tf.float64), position_of, tf.shape(period_logits)[0])
    num_periodic = tf.reduce_sum(frames)
    probabilities = tf.nn.softmax(tf.cast(period_logits, tf.float64), axis=1)
    mean = tf.linalg.matvec(probabilities, frames, transpose_a=True) / tf.maximum(num_periodic, 1.0)
    best = first_argmax(mean)
    period = tf.cast(best + period_offset, tf.float64)
    has_period = (num_periodic > 0) & (period > 0)
    period = tf.where(has_period, period, tf.constant(math.inf, tf.float64))
    return period, tf.where(num_periodic > 0, mean[best], tf.zeros_like(num_periodic))


def _find_repetitions(per_frame_count: tf.Tensor) -> tf.Tensor:
    """Returns the fractional frames, (rounded count,) float64, at which the running count reaches 1, 2, 3 … ."""
    running = tf.cumsum(per_frame_count)
    whole = tf.cast(tf.range(1, rounded_count(_total_count(per_frame_count)) + 1), tf.float64)
    whole = tf.minimum(whole, running[-1])
    frames = tf.searchsorted(running, whole - SUM_TOLERANCE)
    missing = tf.gather(running, frames) - whole
    return tf.cast(frames, tf.float64) + tf.clip_by_value(1.0 - missing / tf.gather(per_frame_count, frames), 0.0, 1.0)
