"""Trains the heads on the vote of all strides, on whole videos.

Counts depend on the vote (`model.voting`). A window is too little to tell some movements apart at some strides. There, a head
that is unsure leaves the choice to strides that see it better. Nothing in the loss of single windows teaches that.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from model.config import WINDOW_FRAMES, RepNetConfig
from model.counting_options import CountingOptions
from model.network import Tensor
from model.training import backends
from model.training.encoded_videos import EncodedVideo
from model.training.learner import Learner
from model.training.losses import period_loss, periodicity_loss
from model.training.path_loss import path_loss
from model.training.settings import TrainingSettings
from model.voting import BINS_PER_OCTAVE, STEP_FRAMES, period_axis

_ORDER = 3
"""Keeps the random numbers of the order of videos apart."""


class VideoExample(NamedTuple):
    """Input of a training step: the windows of a few videos, all strides of a video after each other, W in all.

    Attributes:
      embeddings: (W, 64, embedding_width) float32.
      period: Period in positions, (W, 64) float32; 0 where nothing repeats.
      periodic: 1 where something repeats, else 0, (W, 64) float32.
      weight: Weight of each position in the loss, (W, 64) float32.
      positions: Position that each stride has at each time step, numbered across the windows, (strides, time steps) int32.
      period_frames: Period in frames at each time step, (time steps,) float32; 0 where nothing repeats.
      num_steps: Number of time steps of each video, (videos,) int32.
      video_weight: Weight of each video in the loss of the path, (videos,) float32.
    """

    embeddings: np.ndarray
    period: np.ndarray
    periodic: np.ndarray
    weight: np.ndarray
    positions: np.ndarray
    period_frames: np.ndarray
    num_steps: np.ndarray
    video_weight: np.ndarray


def join_videos(videos: Sequence[EncodedVideo]) -> VideoExample:
    """Returns the example of a few videos."""
    labels = [video.window_labels() for video in videos]
    period, periodic, weight = (np.concatenate(values) for values in zip(*labels, strict=True))
    embeddings = [of_stride for video in videos for of_stride in video.embeddings.values()]
    positions: list[list[np.ndarray]] = [[] for _ in videos[0].embeddings]
    first, period_frames = 0, []
    for video in videos:
        steps = np.arange(0, len(video.active), STEP_FRAMES)
        for (stride, of_stride), parts in zip(video.embeddings.items(), positions, strict=True):
            parts.append(first + steps // stride)
            first += len(of_stride) * WINDOW_FRAMES
        period_frames.append(np.where(video.active, video.period_frames, 0)[steps])
    return VideoExample(
        embeddings=np.concatenate(embeddings).astype(np.float32),
        period=period,
        periodic=periodic,
        weight=weight,
        positions=np.array([np.concatenate(parts) for parts in positions], np.int32),
        period_frames=np.concatenate(period_frames).astype(np.float32),
        num_steps=np.array([len(periods) for periods in period_frames], np.int32),
        video_weight=np.array([video.weight for video in videos], np.float32),
    )


def order_videos(settings: TrainingSettings, first_step: int) -> Iterator[list[int]]:
    """Yields which videos each step shows, from a step on, without end: all in random order, then all in another."""
    per_round = settings.videos // settings.batch_videos
    step = first_step
    while True:
        number, place = divmod(step, per_round)
        order = np.random.default_rng([settings.seed, _ORDER, number]).permutation(settings.videos)
        for at in range(place, per_round):
            yield order[at * settings.batch_videos : (at + 1) * settings.batch_videos].tolist()
        step += per_round - place


class VideoLearner(Learner):
    """A network whose heads learn from videos, with TensorFlow.

    Attributes:
      strides: Strides that vote.
    """

    def __init__(
        self, settings: TrainingSettings, config: RepNetConfig, strides: Sequence[int], counting: CountingOptions
    ) -> None:
        """Makes a network of random weights.

        Args:
          settings: Settings of the run, which have `videos`.
          config: Configuration of the network.
          strides: Strides that vote.
          counting: How votes become counts, for the score of rest.

        Raises:
          ValueError: Keras' backend is not TensorFlow.
        """
        if keras.backend.backend() != "tensorflow":
            raise ValueError(f"videos need Keras' backend tensorflow: set KERAS_BACKEND. Received: {keras.backend.backend()}")
        super().__init__(settings, config)
        self.strides = tuple(strides)
        self._counting = counting
        self._on_videos: Any = None  # compiled by the first step

    def step_on_videos(self, example: VideoExample, learning_rate: float, average_decay: float) -> Tensor:
        """Trains on an example; returns its losses of period, periodicity and path, (3,) float32 on the device."""
        if self._on_videos is None:
            self._on_videos = self._compile()
        return self._on_videos(example, np.float32(learning_rate), np.float32(average_decay))

    def _compile(self) -> Any:
        import tensorflow as tf

        from model import graph_voting
        from model.graph_curves import GraphLogits

        network, settings, strides, rest_vote = self.network, self._settings, self.strides, self._counting.score_threshold
        offset, classes = network.config.period_offset, network.config.num_periods
        shortest = period_axis(strides, classes, offset)[0]

        @tf.custom_gradient
        def path_loss_of(votes: Tensor, bins: Tensor, num_steps: Tensor, weight: Tensor) -> tuple[Tensor, Any]:
            compute = functools.partial(path_loss, rest_vote=rest_vote)
            loss, gradient = tf.numpy_function(compute, [votes, bins, num_steps, weight], [tf.float32, tf.float32])
            loss.set_shape(())
            gradient.set_shape(votes.shape)
            return loss, lambda upstream: (upstream * gradient, None, None, None)

        def compute_losses(example: VideoExample) -> tuple[Tensor, Tensor]:
            period, periodicity = network.heads(example.embeddings, training=True)
            flat_period, flat_periodicity = tf.reshape(period, (-1, classes)), tf.reshape(periodicity, (-1,))
            at_steps = {
                stride: GraphLogits(tf.gather(flat_period, positions), tf.gather(flat_periodicity, positions))
                for stride, positions in zip(strides, tf.unstack(example.positions, len(strides)), strict=True)
            }
            octaves = tf.math.log(tf.maximum(example.period_frames, 1.0)) / math.log(2)
            bins = tf.where(example.period_frames > 0, tf.maximum((octaves - shortest) * BINS_PER_OCTAVE, 0.0), -1.0)
            votes = graph_voting.add_votes(at_steps, offset).votes
            parts = tf.stack(
                [
                    period_loss(example.period, period, example.weight, offset),
                    periodicity_loss(example.periodic, periodicity, example.weight),
                    path_loss_of(votes, bins, example.num_steps, example.video_weight),
                ]
            )
            return tf.reduce_sum(parts * [1.0, settings.periodicity_weight, settings.path_weight]), parts

        windows, numbers = tf.TensorSpec((None, WINDOW_FRAMES)), tf.TensorSpec((None,))
        embeddings = tf.TensorSpec((None, WINDOW_FRAMES, network.embedding_width))
        positions, num_steps = tf.TensorSpec((len(strides), None), tf.int32), tf.TensorSpec((None,), tf.int32)
        signature = VideoExample(embeddings, windows, windows, windows, positions, numbers, num_steps, numbers)

        update = functools.partial(
            backends.update_with_tensorflow, compute_losses, self._model.trainable_variables, self._optimizer, self._averages
        )
        return tf.function(update, input_signature=[signature, tf.TensorSpec(()), tf.TensorSpec(())])
