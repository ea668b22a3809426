"""Scoring of frames: what the network says about a stretch of video at every stride, each frame's part computed once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from keras import ops
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from model.config import FRAME_SIZE, TAP_REACH, WINDOW_FRAMES
from model.folding import fold
from model.logits import StrideLogits, window_frames
from model.network import RepNet
from model.precision import Precision

_LOGGER = logging.getLogger(__name__)

_WINDOWS_AT_ONCE = 16
"""Windows whose heads are computed together."""


def batch_sizes(num_frames: int, largest: int) -> Iterator[int]:
    """Yields sizes of batches that sum to `num_frames`: `largest` while they last, then falling powers of two.

    So there are few shapes for any length, and no frame is computed for nothing.
    """
    while num_frames:
        size = largest if num_frames >= largest else 1 << (num_frames.bit_length() - 1)
        yield size
        num_frames -= size


class Scorer:
    """A network ready to score.

    Attributes:
      strides: strides that are scored, in the order given.
      precision: number format of the frames' part.
    """

    def __init__(
        self, network: RepNet, strides: Sequence[int], precision: Precision = Precision.FLOAT32, batch_frames: int = 64
    ) -> None:
        """Folds and freezes the network's frames' part.

        Args:
          network: with its weights.
          strides: strides to score; each at least 1.
          precision: number format of the frames' part.
          batch_frames: frames that the frames' part computes together.

        Raises:
          ValueError: for strides below 1, repeated, or none.
        """
        if not strides or min(strides) < 1 or len(set(strides)) != len(strides):
            raise ValueError(f"strides must be different whole numbers of at least 1. Received: {tuple(strides)}")
        self.strides = tuple(strides)
        self.precision = Precision(precision)
        self._batch_frames = batch_frames
        frames_part, self._bias = fold(network, self.precision.value)
        self._frames_part = _freeze(
            lambda frames: frames_part(tf.cast(frames, self.precision.value)),
            tf.TensorSpec((None, FRAME_SIZE, FRAME_SIZE, 3), tf.float32),
        )
        taps_shape = frames_part.output_shape[1:]
        self._positions = taps_shape[0] * taps_shape[1]
        self._channels = taps_shape[2] // 3
        self._layout = None if network.layout is None else tf.constant(ops.convert_to_numpy(network.layout.kernel), tf.float32)
        self._embed = tf.function(
            self._embed_window,
            input_signature=[
                tf.TensorSpec((None, self._positions, 3 * self._channels), self.precision.value),
                tf.TensorSpec((WINDOW_FRAMES,), tf.int32),
            ],
        )
        self._heads = tf.function(
            network.heads, input_signature=[tf.TensorSpec((None, WINDOW_FRAMES, network.embedding_width), tf.float32)]
        )

    def score(self, frames: np.ndarray, *, is_last: bool = True) -> dict[int, StrideLogits]:
        """Scores a stretch of frames at every stride.

        Args:
          frames: (num_frames, 112, 112, 3), RGB in 0..255, uint8 or float32; at least one frame. All chunks of a video but its
            last have `chunk_frames(strides)` frames.
          is_last: the stretch ends the video, so that the frozen window of the notebook's rule is scored too.

        Returns:
          Logits by stride.

        Raises:
          ValueError: if there is no frame or the frames' shape is another.
        """
        if frames.ndim != 4 or not len(frames) or frames.shape[1:] != (FRAME_SIZE, FRAME_SIZE, 3):
            raise ValueError(f"frames must be (at least 1, {FRAME_SIZE}, {FRAME_SIZE}, 3). Received: {frames.shape}")
        windows = {stride: window_frames(len(frames), stride) for stride in self.strides}
        shown = list(np.concatenate(list(windows.values())))
        if is_last:
            shown.append(np.full(WINDOW_FRAMES, len(frames) - 1))
        period, periodicity = self._score_windows(self._compute_taps(frames), shown)

        out, first = {}, 0
        for stride, frames_of in windows.items():
            own = slice(first, first + len(frames_of))
            out[stride] = StrideLogits(
                period=period[own].reshape(-1, period.shape[-1]),
                periodicity=periodicity[own].ravel(),
                frozen_period=period[-1] if is_last else None,
                frozen_periodicity=periodicity[-1] if is_last else None,
            )
            first = own.stop
        return out

    def warm_up(self) -> None:
        """Scores black frames, so that what compiles and tunes itself at first use has done so."""
        self.score(np.zeros((max(self.strides) * WINDOW_FRAMES, FRAME_SIZE, FRAME_SIZE, 3), np.uint8))

    def embeddings(self, frames: np.ndarray) -> np.ndarray:
        """Returns the embeddings (64, embedding_width) float32 of one window of frames (64, 112, 112, 3)."""
        return self._embed(self._compute_taps(frames), tf.range(WINDOW_FRAMES)).numpy()

    def _compute_taps(self, frames: np.ndarray) -> tf.Tensor:
        """Returns the taps (num_frames, 49, 3E) of frames (num_frames, 112, 112, 3).

        Where the device has too little memory for so many frames at once, half as many are, from then on.
        """
        while True:
            tried = self._batch_frames
            try:
                return self._compute_taps_of(frames, tried)
            except tf.errors.ResourceExhaustedError:
                if tried == 1:
                    raise
                self._batch_frames = min(self._batch_frames, tried // 2)  # another thread may have been here
                _LOGGER.warning("Out of memory: from now on %d frames are computed together.", self._batch_frames)

    def _compute_taps_of(self, frames: np.ndarray, batch_frames: int) -> tf.Tensor:
        parts, first = [], 0
        for size in batch_sizes(len(frames), batch_frames):
            batch = tf.constant(frames[first : first + size], tf.float32)
            (taps,) = self._frames_part(batch)
            parts.append(tf.reshape(taps, (size, self._positions, 3 * self._channels)))
            first += size
        return tf.concat(parts, axis=0)

    def _embed_window(self, taps: tf.Tensor, shown: tf.Tensor) -> tf.Tensor:
        """Returns the embeddings (64, embedding_width) float32 of the window of frames `shown` (64,) of those with `taps`."""
        window = tf.cast(tf.gather(taps, shown), tf.float32)
        past, present, future = tf.split(window, 3, axis=-1)
        ends = [[TAP_REACH, TAP_REACH], [0, 0], [0, 0]]
        past = tf.pad(past, ends)[: -2 * TAP_REACH]
        future = tf.pad(future, ends)[2 * TAP_REACH :]
        summed = past + present + future
        pooled = tf.nn.relu(tf.reduce_max(summed, axis=1) + self._bias)
        if self._layout is None:
            return pooled
        layout = tf.tensordot(tf.nn.relu(summed + self._bias), self._layout, 1)
        return tf.concat([pooled, tf.reshape(layout, (WINDOW_FRAMES, -1))], axis=-1)

    def _score_windows(self, taps: tf.Tensor, shown: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the period logits (W, 64, P) and periodicity logits (W, 64) of W windows given by their frames."""
        embeddings = tf.stack([self._embed(taps, tf.constant(frames, tf.int32)) for frames in shown])
        parts = [self._heads(embeddings[i : i + _WINDOWS_AT_ONCE]) for i in range(0, len(shown), _WINDOWS_AT_ONCE)]
        period, periodicity = zip(*parts, strict=True)
        return np.concatenate(period), np.concatenate(periodicity)


def _freeze(function: Callable[[tf.Tensor], object], signature: tf.TensorSpec) -> Callable[..., list[tf.Tensor]]:
    """Returns `function` as a graph with constants for variables: oneDNN then lays weights out once, not at every call."""
    return convert_variables_to_constants_v2(tf.function(function).get_concrete_function(signature))
