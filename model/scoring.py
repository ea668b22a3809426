"""Scores frames: returns the network's logits at every stride, computing what depends on a single frame only once."""

from __future__ import annotations

import logging
import math
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import tensorflow as tf
from keras import ops
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from model.config import FRAME_SIZE, TAP_REACH, WINDOW_FRAMES
from model.folding import fold
from model.logits import StrideLogits, join_windows, window_frames
from model.network import RepNet
from model.precision import ActivationRanges, Precision
from model.quantization import quantize

_LOGGER = logging.getLogger(__name__)

BATCH_WINDOWS = 32
"""Batch size of the heads in windows."""

_EMBEDDED_WINDOWS = 8
"""Windows that are embedded together: for a published model, five tensors of 51 MB each, from the gathered taps to the ReLU."""

_Result = TypeVar("_Result")


def batch_sizes(num_frames: int, largest: int) -> Iterator[int]:
    """Yields batch sizes that sum to `num_frames`: `largest` while possible, then descending powers of two.

    So any length needs only a few shapes, and no padding.
    """
    while num_frames:
        size = largest if num_frames >= largest else 1 << (num_frames.bit_length() - 1)
        yield size
        num_frames -= size


class Scorer:
    """A network prepared for inference.

    Attributes:
      strides: Strides to score, in the order given.
      precision: Number format of the encoder and the temporal taps.
      overlap_from: Stride from which on windows overlap, see `model.logits`; 0 if none do.
    """

    def __init__(
        self,
        network: RepNet,
        strides: Sequence[int],
        precision: Precision = Precision.FLOAT32,
        batch_frames: int = 128,
        overlap_from: int = 0,
        activation_ranges: ActivationRanges | None = None,
    ) -> None:
        """Folds and freezes the frame model, that is, the encoder and the temporal taps; see `model.folding`.

        Args:
          network: Network with its weights.
          strides: Strides to score, in frames; at least one, each at least 1.
          precision: Number format of the frame model.
          batch_frames: Batch size of the frame model in frames.
          overlap_from: Stride from which on windows overlap. Default: none do.
          activation_ranges: Ranges of the network's activations, which INT8 needs. Default: none.

        Raises:
          ValueError: There are no strides, or a stride is below 1 or repeated. Or the precision is INT8, and there are no
            ranges, or they are of another network, or TensorFlow is without oneDNN.
        """
        if not strides or min(strides) < 1 or len(set(strides)) != len(strides):
            raise ValueError(f"strides must be different whole numbers of at least 1. Received: {tuple(strides)}")
        self.strides = tuple(strides)
        self.precision = Precision(precision)
        self.overlap_from = overlap_from
        self._batch_frames = batch_frames
        self._halvings = 0
        self._positions = math.prod(network.encoder.output_shape[1:3])
        self._channels = network.config.embedding_channels
        if self.precision is Precision.INT8:
            if activation_ranges is None:
                raise ValueError("int8 needs the ranges of the network's activations. Received: none")
            compute, self._bias = quantize(network, activation_ranges)
            self._frame_dtype, self._tap_dtype = tf.uint8, tf.float32
        else:
            compute, self._bias = fold(network, self.precision.value, convolve_norms=not tf.config.list_physical_devices("GPU"))
            self._frame_dtype = self._tap_dtype = tf.as_dtype(self.precision.value)

        def compute_taps(frames: tf.Tensor) -> list[tf.Tensor]:
            return tf.split(tf.reshape(compute(frames), (-1, self._positions, 3 * self._channels)), 3, axis=-1)

        self._frame_model = _freeze(compute_taps, tf.TensorSpec((None, FRAME_SIZE, FRAME_SIZE, 3), self._frame_dtype))
        if self.precision is Precision.INT8:
            _check_int8(self._frame_model)
        self._layout = None if network.layout is None else tf.constant(ops.convert_to_numpy(network.layout.kernel), tf.float32)
        self._similarity = network.similarity
        self._embed = tf.function(
            self._embed_window,
            input_signature=[
                [tf.TensorSpec((None, self._positions, self._channels), self._tap_dtype)] * 3,
                tf.TensorSpec((None, WINDOW_FRAMES), tf.int32),
            ],
            autograph=False,
        )
        self._heads = tf.function(
            network.heads,
            input_signature=[tf.TensorSpec((None, WINDOW_FRAMES, network.embedding_width), tf.float32)],
            autograph=False,
        )

    def score(self, frames: np.ndarray, *, is_last: bool = True, repeats: int = 1) -> dict[int, StrideLogits]:
        """Returns the logits of a stretch of frames, by stride.

        Windows overlap within the stretch only. So where they do, a video scored in chunks differs at the ends of the chunks.
        If the device runs out of memory, batches are half as large from then on. After any other error, the frames are scored
        once more with batches half as large.

        Args:
          frames: At least one frame, (num_frames, 112, 112, 3), RGB in 0..255, uint8 or float32. Every chunk of a video except
            its last must have `chunk_frames(strides)` frames.
          is_last: Whether the stretch ends the video. If so, the frozen window of the notebook rule is scored too.
          repeats: Times that windows show each frame, see `model.logits.slow_repeats`.

        Raises:
          ValueError: There is no frame, or the frames have another shape.
          Exception: Any error of TensorFlow, the second time; ResourceExhaustedError if batches of one do not fit.
        """
        if frames.ndim != 4 or not len(frames) or frames.shape[1:] != (FRAME_SIZE, FRAME_SIZE, 3):
            raise ValueError(f"frames must be (at least 1, {FRAME_SIZE}, {FRAME_SIZE}, 3). Received: {frames.shape}")
        windows = {
            stride: window_frames(len(frames), stride, repeats, overlap=self._overlaps(stride)) for stride in self.strides
        }
        shown = np.concatenate(list(windows.values()))
        if is_last:
            shown = np.concatenate([shown, np.full((1, WINDOW_FRAMES), len(frames) - 1)])
        period, periodicity = self._score_shown_windows(frames, shown.astype(np.int32))

        out, first = {}, 0
        for stride, frames_of in windows.items():
            own = slice(first, first + len(frames_of))
            overlap = self._overlaps(stride)
            out[stride] = StrideLogits(
                period=join_windows(period[own], overlap=overlap),
                periodicity=join_windows(periodicity[own], overlap=overlap),
                frozen_period=period[-1] if is_last else None,
                frozen_periodicity=periodicity[-1] if is_last else None,
            )
            first = own.stop
        return out

    def _overlaps(self, stride: int) -> bool:
        """Returns whether the windows of a stride overlap."""
        return 0 < self.overlap_from <= stride

    def warm_up(self) -> None:
        """Scores black frames, so that compilation and tuning at first use are done."""
        self.score(np.zeros((max(self.strides) * WINDOW_FRAMES, FRAME_SIZE, FRAME_SIZE, 3), np.uint8))

    def embeddings(self, frames: np.ndarray) -> np.ndarray:
        """Returns the embeddings, (64, embedding_width) float32, of one window of frames, (64, 112, 112, 3)."""
        taps = self._retry(lambda halvings: self._compute_taps(frames, halvings))
        return self._embed_shown(taps, np.arange(WINDOW_FRAMES, dtype=np.int32)[None])[0].numpy()

    def embed_windows(self, frames: np.ndarray, repeats: int = 1) -> dict[int, np.ndarray]:
        """Returns the embeddings of all windows of a video, (windows, 64, embedding_width) float32, by stride.

        Args:
          frames: At least one frame, (num_frames, 112, 112, 3).
          repeats: Times that windows show each frame, see `model.logits.slow_repeats`.
        """
        taps = self._retry(lambda halvings: self._compute_taps(frames, halvings))
        return {
            stride: self._embed_shown(taps, window_frames(len(frames), stride, repeats).astype(np.int32)).numpy()
            for stride in self.strides
        }

    def similarity(self, frames: np.ndarray) -> np.ndarray:
        """Returns how similar each two frames look to the network, (n, n) float32 in 0..1, with 1 on the diagonal.

        It is the network's similarity matrix, extended beyond one window: every frame is embedded with its neighbours on either
        side, and distances are relative to their mean over all frames. Where there are several channels, it is their mean.

        Args:
          frames: At least one frame, (n, 112, 112, 3), RGB in 0..255, evenly spaced. A few hundred fit into memory.
        """
        taps = self._retry(lambda halvings: self._compute_taps(frames, halvings))
        inner = WINDOW_FRAMES - 2 * TAP_REACH  # without the ends of a window, where neighbours are missing
        parts = []
        for first in range(0, len(frames), inner):
            shown = np.clip(np.arange(WINDOW_FRAMES) + first - TAP_REACH, 0, len(frames) - 1)
            parts.append(self._embed_shown(taps, shown[None].astype(np.int32))[0, TAP_REACH : TAP_REACH + inner])
        channels = self._similarity(tf.concat(parts, axis=0)[None, : len(frames)])[0].numpy()
        to_itself = np.diagonal(channels).T[:, None]  # below 1 where rows add up to a constant
        return np.clip((channels / to_itself).mean(axis=-1), 0.0, 1.0)

    def _score_shown_windows(self, frames: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns period logits, (W, 64, P), and periodicity logits, (W, 64), of windows of `frames`, (W, 64) int32."""
        return self._retry(lambda halvings: self._score_windows(self._compute_taps(frames, halvings), shown, halvings))

    def _retry(self, compute: Callable[[int], _Result]) -> _Result:
        """Returns the result of a function that takes how many times batches are halved; see `score`.

        The second try is in this process, with the frames that it holds. Failing the bundle to try on another worker would
        need a count of tries, which Beam does not give. A bundle with four bad chunks would fail its job.
        """
        is_second = False
        while True:
            halvings = self._halvings + is_second
            try:
                return compute(halvings)
            except tf.errors.ResourceExhaustedError:
                if max(self._batch_frames, BATCH_WINDOWS) >> halvings <= 1:
                    raise
                self._halvings = max(self._halvings, halvings + 1)  # another thread may have halved them already
                _LOGGER.warning("Out of memory: the batch size is %d frames from now on.", self._halved(self._halvings)[0])
            except Exception as error:
                if is_second:
                    raise
                is_second = True
                _LOGGER.info("Scoring failed and is tried again with half the batch size: %s", error)

    def _halved(self, halvings: int) -> tuple[int, int]:
        """Returns the batch sizes of the frame model, in frames, and of the heads, in windows."""
        return max(1, self._batch_frames >> halvings), max(1, BATCH_WINDOWS >> halvings)

    def _compute_taps(self, frames: np.ndarray, halvings: int) -> list[tf.Tensor]:
        """Returns the taps of frames, (num_frames, 112, 112, 3): for past, present and future each (num_frames + 1, 49, E).

        The last row of each is 0: the tap of a frame that is not there.
        """
        if self._frame_dtype == tf.uint8 and frames.dtype != np.uint8:
            frames = np.rint(frames).astype(np.uint8)
        batches, first = [], 0
        for size in batch_sizes(len(frames), self._halved(halvings)[0]):
            # uint8 on the way to the device: a quarter of the bytes. The device converts it with all its threads.
            batch = tf.cast(tf.constant(frames[first : first + size]), self._frame_dtype)
            batches.append(self._frame_model(batch))
            first += size
        return with_zero_row(batches)

    def _embed_window(self, taps: Sequence[tf.Tensor], shown: tf.Tensor) -> tf.Tensor:
        """Returns the embeddings, (…, 64, embedding_width) float32, of windows that show frames `shown`, (…, 64) int32.

        Args:
          taps: As `_compute_taps` returns them.
          shown: Numbers of frames.
        """
        nothing = tf.zeros_like(shown[..., :TAP_REACH]) + tf.shape(taps[0])[0] - 1
        read = (
            tf.concat([nothing, shown[..., :-TAP_REACH]], axis=-1),
            shown,
            tf.concat([shown[..., TAP_REACH:], nothing], axis=-1),
        )
        summed = tf.add_n([tf.cast(tf.gather(tap, rows), tf.float32) for tap, rows in zip(taps, read, strict=True)])
        features = tf.nn.relu(summed + self._bias)
        pooled = tf.reduce_max(features, axis=-2)
        if self._layout is None:
            return pooled
        layout = tf.matmul(tf.reshape(features, (-1, self._channels)), self._layout)
        width = self._positions * self._layout.shape[-1]
        return tf.concat([pooled, tf.reshape(layout, tf.concat([tf.shape(shown), [width]], axis=0))], axis=-1)

    def _embed_shown(self, taps: Sequence[tf.Tensor], shown: np.ndarray, halvings: int = 0) -> tf.Tensor:
        """Returns the embeddings, (W, 64, embedding_width) float32, of windows given by their frames, (W, 64) int32."""
        size = max(1, _EMBEDDED_WINDOWS >> halvings)
        return tf.concat(
            [self._embed(taps, tf.constant(shown[first : first + size])) for first in range(0, len(shown), size)], axis=0
        )

    def _score_windows(self, taps: Sequence[tf.Tensor], shown: np.ndarray, halvings: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns period logits, (W, 64, P), and periodicity logits, (W, 64), of W windows, given by their frames, (W, 64)."""
        embeddings = self._embed_shown(taps, shown, halvings)
        _, size = self._halved(halvings)
        parts = [self._heads(embeddings[first : first + size]) for first in range(0, len(shown), size)]
        period, periodicity = zip(*parts, strict=True)
        return np.concatenate(period), np.concatenate(periodicity)


def with_zero_row(batches: Sequence[Sequence[tf.Tensor]]) -> list[tf.Tensor]:
    """Returns the taps of all batches of frames, each with a row of zeros behind its last frame; see `Scorer`."""
    zeros = tf.zeros_like(batches[0][0][:1])
    return [tf.concat([*parts, zeros], axis=0) for parts in zip(*batches, strict=True)]


_NO_KERNEL = (
    tf.errors.InternalError,  # without oneDNN the kernel is there, and has no output
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.UnimplementedError,
)
"""Errors of an operation that this TensorFlow, or this processor, does not have. Too little memory raises another one."""


def _check_int8(frame_model: Callable[[tf.Tensor], object]) -> None:
    """Raises ValueError if this TensorFlow lacks a kernel of the frame model, by trying a black frame; other errors pass."""
    try:
        frame_model(tf.zeros((1, FRAME_SIZE, FRAME_SIZE, 3), tf.uint8))
    except _NO_KERNEL as error:
        raise ValueError(
            "int8 needs TensorFlow with oneDNN on an x86 processor; use another --precision. "
            f"Received: TF_ENABLE_ONEDNN_OPTS={os.environ.get('TF_ENABLE_ONEDNN_OPTS')} on {platform.machine()}"
        ) from error


def _freeze(function: Callable[[tf.Tensor], object], signature: tf.TensorSpec) -> Callable[..., list[tf.Tensor]]:
    """Returns `function` as a graph with its variables as constants, so that oneDNN lays out weights only once."""
    frozen = convert_variables_to_constants_v2(tf.function(function, autograph=False).get_concrete_function(signature))
    # Called by itself, what TensorFlow returns takes 3 ms to check its argument.
    return tf.function(lambda argument: frozen(argument), input_signature=[signature], autograph=False)  # noqa: PLW0108 (it has no signature)
