"""Writes a model as a TensorFlow SavedModel that counts by itself: from frames and their times to the count.

Whoever loads it needs TensorFlow and nothing of this project. Sampling, resizing, scoring and counting are inside the graph,
with their options as constants.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from model import graph_frames
from model.counting_options import CountingOptions, StrideRule
from model.exported import METADATA_PATH, check_folder
from model.graph_counting import count_repetitions, rounded_count
from model.graph_scoring import GraphScorer, in_batches
from model.logits import chunk_frames
from model.network import RepNet
from model.replacing import replacing

_RESIZED_FRAMES = 8
"""Frames that are resized together: 50 MB of 1080p."""


def make_counter(
    network: RepNet,
    strides: Sequence[int],
    counting: CountingOptions,
    max_fps: float,
    repeat_below_fps: float,
    overlap_from: int = 0,
) -> tf.Module:
    """Returns a module whose function `count` counts the repetitions in a video; it can be saved.

    `count` takes `frames`, (n, height, width, 3) uint8 RGB, upright, and `times_sec`, (n,) float64, the time in seconds at
    which each frame appears. It raises InvalidArgumentError if there is no frame, or not a time for each. It returns, by name,
    with all times from the first frame:

    - count: () float64, repetitions, fractions included.
    - count_rounded: () int32.
    - confidence: () float64, 0..1.
    - certainty: () float64, probability that `count` is within one of the true number; NaN if nothing repeats or the counting
      options have no coefficients for it.
    - stride: () int32, stride in shown frames with the best score.
    - mean_period_sec: () float64, seconds per repetition over the frames that count; NaN if nothing repeats.
    - times_sec: (m,) float64, times of the frames that `max_fps` keeps. The following are of these frames.
    - per_frame_count: (m,) float64, repetitions that each frame adds.
    - periodicity: (m,) float32 in 0..1.
    - period_sec: (m,) float64, seconds that one repetition around each frame takes; NaN where nothing repeats.
    - repetition_times_sec: (count_rounded,) float64, times at which repetitions 1, 2, 3 … are complete.

    Args:
      network: Float32 network with its weights.
      strides: Strides to score, in frames, in order of preference if scores tie.
      counting: How logits become counts.
      max_fps: Most frames per second to score; frames above it are left out.
      repeat_below_fps: Frames a second below which each frame is shown several times, see `model.logits.slow_repeats`.
      overlap_from: Stride from which on windows overlap, see `model.logits`. Default: none do.

    Raises:
      ValueError: There are no strides, or a stride is below 1 or repeated.
    """
    scorer = GraphScorer(network, strides, overlap_from=overlap_from)

    def count(frames: tf.Tensor, times_sec: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies(graph_frames.check_input(frames, times_sec)):
            since_first_sec = graph_frames.ascending(times_sec)
        kept = graph_frames.sample(since_first_sec, max_fps)
        kept_sec, num_kept = tf.gather(since_first_sec, kept), tf.size(kept)
        repeats = graph_frames.slow_repeats(kept_sec[: chunk_frames(strides)], repeat_below_fps)

        def kept_frames(first: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
            def resize(start: tf.Tensor, end: tf.Tensor) -> tuple[tf.Tensor, ...]:
                return (graph_frames.resize(graph_frames.take(frames, kept[first + start : first + end])),)

            return in_batches(resize, last - first, _RESIZED_FRAMES, [graph_frames.RESIZED_SPEC])[0]

        logits = scorer.score_all(kept_frames, num_kept, repeats)
        frozen = None
        if counting.stride_rule is StrideRule.NOTEBOOK:
            frozen = dict.fromkeys(strides, scorer.score_frozen(kept_frames, num_kept))
        counted = count_repetitions(logits, num_kept, network.config.period_offset, counting, repeats, frozen)

        edges_sec = graph_frames.frame_edges(kept_sec, since_first_sec)
        lengths_sec = graph_frames.frame_lengths(edges_sec, counted.is_periodic, counted.period_frames_curve)
        periodic_sec = tf.reduce_sum(tf.boolean_mask(lengths_sec, counted.is_periodic))
        nothing = tf.constant(math.nan, tf.float64)
        return {
            "count": counted.count,
            "count_rounded": rounded_count(counted.count),
            "confidence": counted.confidence,
            "certainty": counted.certainty,
            "stride": counted.stride,
            "mean_period_sec": tf.where(counted.count > 0, periodic_sec / counted.count, nothing),
            "times_sec": kept_sec,
            "per_frame_count": counted.per_frame_count,
            "periodicity": counted.periodicity,
            "period_sec": graph_frames.period_seconds(counted.is_periodic, counted.period_frames_curve, lengths_sec),
            "repetition_times_sec": graph_frames.times_at(counted.repetition_frames, kept_sec, lengths_sec),
        }

    module = tf.Module(name="repcount")
    module.heads = scorer.variables
    signature = [
        tf.TensorSpec((None, None, None, 3), tf.uint8, "frames"),
        tf.TensorSpec((None,), tf.float64, "times_sec"),
    ]
    module.count = tf.function(count, input_signature=signature, autograph=False)
    return module


def save(counter: tf.Module, folder: Path, metadata: Mapping[str, Any]) -> None:
    """Writes a module of `make_counter` as a SavedModel, completely or not at all.

    Args:
      counter: The module. Its function `count` is also the serving signature, "serving_default".
      folder: A new folder, or an empty one.
      metadata: What `model.exported.read_metadata` returns of the folder; must fit into JSON.

    Raises:
      WeightsError: The folder cannot be written to, or has files.
      OSError: The disk is full or refuses.
    """
    check_folder(folder)
    with replacing(folder) as partial:
        partial.mkdir()  # TensorFlow's own error for this would be no OSError
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        try:
            tf.saved_model.save(counter, str(partial), signatures=counter.count, options=options)
        except tf.errors.OpError as error:
            raise OSError(f"TensorFlow cannot write: {error.message}") from error
        path = partial / METADATA_PATH
        path.parent.mkdir()
        path.write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
