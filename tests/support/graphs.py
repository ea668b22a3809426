"""Logits for counting inside a TensorFlow graph, from those for counting in NumPy."""

import numpy as np
import tensorflow as tf

from model.graph_curves import GraphLogits
from model.logits import StrideLogits, window_frames


def random_logits(seed, strides, num_frames, repeats=1, num_periods=32):
    """Logits of random movements that last a few seconds, with noise: each option has something to decide."""
    rng = np.random.default_rng(seed)
    num_shown = num_frames * repeats
    changes = np.sort(rng.integers(0, num_shown, 3))
    periods = rng.uniform(4, 60, 4)[np.searchsorted(changes, np.arange(num_shown))]
    rests = rng.random(4)[np.searchsorted(changes, np.arange(num_shown))] < 0.3
    frozen = rng.normal(0, 1, (64, num_periods)).astype(np.float32), rng.normal(-2, 1, 64).astype(np.float32)
    out = {}
    for stride in strides:
        shown = window_frames(num_shown, stride).ravel()
        period = rng.normal(0, 1, (len(shown), num_periods))
        distance = np.arange(1, num_periods + 1) - periods[shown, None] / stride
        period += 6 * np.exp(-0.5 * distance**2)
        periodicity = np.where(rests[shown], -3.0, 2.0) + rng.normal(0, 1, len(shown))
        out[stride] = StrideLogits(period.astype(np.float32), periodicity.astype(np.float32), *frozen)
    return out


def in_graph(logits):
    """Logits of a video by stride, as tensors."""
    return {stride: GraphLogits(tf.constant(one.period), tf.constant(one.periodicity)) for stride, one in logits.items()}


def frozen_in_graph(logits):
    """Logits of the frozen window by stride, as tensors; zeros where there is none, since the batches are full without it."""
    out = {}
    for stride, one in logits.items():
        if one.frozen_period is None:
            out[stride] = GraphLogits(tf.zeros((64, one.period.shape[1])), tf.zeros(64))
        else:
            out[stride] = GraphLogits(tf.constant(one.frozen_period), tf.constant(one.frozen_periodicity))
    return out
