"""What counting inside a TensorFlow graph shares, whichever rule counts."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from model.counting_options import PEAK_PERCENTILE, CountingOptions


class GraphLogits(NamedTuple):
    """Logits of one stride over all windows, as in `model.logits.StrideLogits`.

    Attributes:
      period: Period logits, (num_positions, num_periods) float32.
      periodicity: Periodicity logits, (num_positions,) float32.
    """

    period: tf.Tensor
    periodicity: tf.Tensor


class GraphFrameCounts(NamedTuple):
    """The count of a video of n frames, frame by frame, as in `model.frame_counts.FrameCounts`.

    Attributes:
      confidence: () float64.
      per_frame_count: (n,) float64.
      periodicity: (n,) float32.
      period_frames_curve: (n,) float64.
      is_periodic: (n,) bool.
    """

    confidence: tf.Tensor
    per_frame_count: tf.Tensor
    periodicity: tf.Tensor
    period_frames_curve: tf.Tensor
    is_periodic: tf.Tensor


def first_argmax(values: tf.Tensor) -> tf.Tensor:
    """Returns the lowest index of the maximum along the last axis, int32. `tf.argmax` does not say which index wins a tie."""
    indices = tf.range(tf.shape(values)[-1])
    is_greatest = tf.equal(values, tf.reduce_max(values, axis=-1, keepdims=True))
    return tf.reduce_min(tf.where(is_greatest, indices, tf.int32.max), axis=-1)


def middle_shown(num_frames: tf.Tensor, repeats: tf.Tensor) -> tf.Tensor:
    """Returns which shown frame stands for each frame, (num_frames,) int32, see `model.logits.middle_shown`."""
    return tf.range(num_frames) * repeats + repeats // 2


def periodic_probability(periodicity_logits: tf.Tensor) -> tf.Tensor:
    """Returns the sigmoid of logits, float64, which does not overflow for a very sure "no"."""
    return tf.exp(-tf.math.softplus(-tf.cast(periodicity_logits, tf.float64)))


def score_threshold(scores: tf.Tensor, options: CountingOptions) -> tf.Tensor:
    """Returns the score, () float64, above which a frame is periodic; see `CountingOptions.score_threshold`.

    Args:
      scores: Scores of the frames or time steps of a video, (n,) float32.
      options: How to count.
    """
    if options.fully_periodic:
        return tf.constant(0.0, tf.float64)
    ascending = tf.sort(scores)
    place = tf.cast(tf.size(scores) - 1, tf.float64) * (PEAK_PERCENTILE / 100)
    below = tf.cast(tf.floor(place), tf.int32)
    above = tf.minimum(below + 1, tf.size(scores) - 1)
    low, high = (tf.cast(ascending[index], tf.float64) for index in (below, above))
    peak = low + (high - low) * (place - tf.floor(place))
    return tf.maximum(tf.constant(options.frame_threshold, tf.float64), options.peak_share * peak)
