"""Scores a chunk of frames in one compiled function: frames in, logits of all strides out. For GPUs.

A GPU waits for Python between small functions: a chunk of `lite` needs some 90 calls otherwise. On a processor, XLA's
convolutions are slower than oneDNN's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from model.config import FRAME_SIZE, WINDOW_FRAMES
from model.folding import fold
from model.logits import chunk_frames, window_frames
from model.network import RepNet
from model.precision import Precision
from model.scoring import Scorer, with_zero_row

_LOGGER = logging.getLogger(__name__)

_WINDOWS = 16
"""Batch size of the heads in windows. A larger one would pad more: a whole chunk of `lite` has 71 windows."""

_SHORT = 4
"""How many times shorter than a whole chunk the second shape is. Compilation takes long, so there are only two shapes."""


class CompiledScorer(Scorer):
    """A `Scorer` that uses one function for a chunk, compiled by XLA for two lengths; shorter chunks are padded.

    Within the function, frames and windows go through in the same batches as otherwise, so memory is bounded alike. Where the
    function does not fit a chunk, or once it has failed, chunks are scored as by `Scorer`. Several threads may score at once:
    then one chunk travels to the device while another is computed.
    """

    def __init__(
        self,
        network: RepNet,
        strides: Sequence[int],
        precision: Precision = Precision.FLOAT32,
        batch_frames: int = 128,
        overlap_from: int = 0,
    ) -> None:
        """Prepares both ways; see `Scorer`. Compilation is at first use, or in `warm_up`."""
        super().__init__(network, strides, precision, batch_frames, overlap_from)
        self._network = network
        self._variable_model, _ = fold(network, self.precision.value)  # XLA takes weights as arguments, not as constants
        whole = chunk_frames(self.strides)
        self._num_windows = {
            size: self._count_windows(size) for size in sorted({self._padded(whole // _SHORT), self._padded(whole)})
        }
        self._compiled = tf.function(self._score_chunk, jit_compile=True, autograph=False)
        self._is_given_up = False

    def warm_up(self) -> None:
        """Scores black frames of each length, so that compilation and tuning at first use are done."""
        for size in self._num_windows:
            self.score(np.zeros((size, FRAME_SIZE, FRAME_SIZE, 3), np.uint8))

    def _padded(self, num_frames: int) -> int:
        """Returns a number of frames rounded up to whole batches."""
        return -(-num_frames // self._batch_frames) * self._batch_frames

    def _count_windows(self, num_frames: int) -> int:
        """Returns the number of windows that the function for so many frames computes: whole batches, one window frozen."""
        num_windows = 1 + sum(len(window_frames(num_frames, stride, overlap=self._overlaps(stride))) for stride in self.strides)
        return -(-num_windows // _WINDOWS) * _WINDOWS

    def _score_shown_windows(self, frames: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        fitting = (size for size, windows in self._num_windows.items() if len(frames) <= size and len(shown) <= windows)
        size = next(fitting, None)
        if size is None or frames.dtype != np.uint8 or self._is_given_up:
            return super()._score_shown_windows(frames, shown)
        padding = np.zeros((self._num_windows[size] - len(shown), WINDOW_FRAMES), np.int32)
        try:
            logits = self._compiled(tf.constant(_pad(frames, size)), tf.constant(np.concatenate([shown, padding])))
            period, periodicity = (part.numpy()[: len(shown)] for part in logits)
        except Exception as error:  # XLA is missing a tool, or the device has too little memory
            self._is_given_up = True
            _LOGGER.warning("One function for a chunk has failed, and smaller ones score from now on: %s", error)
            return super()._score_shown_windows(frames, shown)
        return period, periodicity

    def _score_chunk(self, frames: tf.Tensor, shown: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns period logits, (W, 64, P), and periodicity logits, (W, 64).

        Args:
          frames: (F, 112, 112, 3) uint8, F a multiple of the batch size.
          shown: Frames of each window, (W, 64) int32, W a multiple of `_WINDOWS`.
        """
        taps = tf.map_fn(
            self._batch_taps,
            tf.reshape(frames, (-1, self._batch_frames, *frames.shape[1:])),
            fn_output_signature=(tf.TensorSpec((self._batch_frames, self._positions, self._channels), self.precision.value),)
            * 3,
        )
        rows = with_zero_row([[tf.reshape(tap, (-1, self._positions, self._channels)) for tap in taps]])
        period, periodicity = tf.map_fn(
            lambda windows: self._network.heads(self._embed_window(rows, windows)),
            tf.reshape(shown, (-1, _WINDOWS, WINDOW_FRAMES)),
            fn_output_signature=(tf.float32, tf.float32),
        )
        return tf.reshape(period, (-1, *period.shape[2:])), tf.reshape(periodicity, (-1, WINDOW_FRAMES))

    def _batch_taps(self, frames: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Returns the taps of a batch for past, present and future, each (B, 49, E)."""
        taps = self._variable_model(tf.cast(frames, self.precision.value))
        return tuple(tf.split(tf.reshape(taps, (-1, self._positions, 3 * self._channels)), 3, axis=-1))


def _pad(frames: np.ndarray, size: int) -> np.ndarray:
    """Returns `size` frames: those given, then black ones."""
    if len(frames) == size:
        return frames
    padded = np.zeros((size, *frames.shape[1:]), frames.dtype)
    padded[: len(frames)] = frames
    return padded
