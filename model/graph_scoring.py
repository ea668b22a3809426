"""Scores a whole video inside a TensorFlow graph; the exported model needs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from model.config import FRAME_SIZE, WINDOW_FRAMES
from model.graph_curves import GraphLogits
from model.logits import BETWEEN_WEIGHTS, HALF_WINDOW, chunk_frames
from model.network import RepNet
from model.scoring import BATCH_WINDOWS, Scorer, with_zero_row

FrameSource = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Returns frames from `first` up to `last` of a video, both () int32: (last − first, 112, 112, 3) float32, RGB in 0..255."""


class GraphScorer(Scorer):
    """A `Scorer` whose work can be part of a graph: memory grows with a video's logits, not with its frames.

    Attributes:
      variables: Variables of the heads, which a saved graph needs. The frame model's weights are constants. Those of the heads
        are not: TensorFlow's optimizer would move constant positions into a constant bias, which has another shape.
    """

    def __init__(self, network: RepNet, strides: Sequence[int], batch_frames: int = 128, overlap_from: int = 0) -> None:
        """Folds and freezes the frame model, in float32; see `Scorer`."""
        super().__init__(network, strides, batch_frames=batch_frames, overlap_from=overlap_from)
        self._num_periods = network.config.num_periods
        self._embedding_width = network.embedding_width
        if self._layout is not None:
            self._layout = self._layout.numpy()  # a constant of the graph
        heads = (network.similarity, network.similarity_conv, network.period_head, network.periodicity_head)
        self.variables = [variable.value for layer in heads for variable in layer.weights]

    def score_all(self, frames: FrameSource, num_frames: tf.Tensor, repeats: tf.Tensor) -> dict[int, GraphLogits]:
        """Returns the logits of a whole video, by stride.

        Args:
          frames: The video's frames.
          num_frames: Number of frames, () int32, at least 1.
          repeats: Times that windows show each frame, () int32, see `model.logits.slow_repeats`.
        """

        def score_chunk(first: tf.Tensor, last: tf.Tensor) -> tuple[tf.Tensor, ...]:
            taps = self._taps_between(frames, first, last)
            windows = [self._windows(last - first, stride, repeats) for stride in self.strides]
            period, periodicity = self._score_shown(taps, tf.concat(windows, axis=0))
            sizes = [tf.shape(window)[0] for window in windows]
            values = zip(self.strides * 2, (*tf.split(period, sizes), *tf.split(periodicity, sizes)), strict=True)
            return tuple(self._join_windows(of_stride, stride) for stride, of_stride in values)

        per_position = [tf.TensorSpec((None, self._num_periods)), tf.TensorSpec((None,))]
        specs = [spec for spec in per_position for _ in self.strides]
        parts = in_batches(score_chunk, num_frames, chunk_frames(self.strides), specs)
        of_stride = zip(self.strides, parts[: len(self.strides)], parts[len(self.strides) :], strict=True)
        return {stride: GraphLogits(period, periodicity) for stride, period, periodicity in of_stride}

    def score_frozen(self, frames: FrameSource, num_frames: tf.Tensor) -> GraphLogits:
        """Returns the logits of a window that shows a video's last frame 64 times."""
        taps = self._taps_between(frames, num_frames - 1, num_frames)
        period, periodicity = self._score_shown(taps, tf.zeros((1, WINDOW_FRAMES), tf.int32))
        return GraphLogits(period[0], periodicity[0])

    def _taps_between(self, frames: FrameSource, first: tf.Tensor, last: tf.Tensor) -> list[tf.Tensor]:
        """Returns the taps of some of a video's frames, each (last − first + 1, 49, E) float32; see `Scorer._compute_taps`."""

        def compute(start: tf.Tensor, end: tf.Tensor) -> tuple[tf.Tensor, ...]:
            batch = tf.ensure_shape(frames(first + start, first + end), (None, FRAME_SIZE, FRAME_SIZE, 3))
            return tuple(self._frame_model(batch))

        spec = tf.TensorSpec((None, self._positions, self._channels))
        return with_zero_row([in_batches(compute, last - first, self._batch_frames, [spec] * 3)])

    def _score_shown(self, taps: Sequence[tf.Tensor], shown: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns period logits, (W, 64, P), and periodicity logits, (W, 64), of windows of frames, (W, 64) int32."""

        def score(start: tf.Tensor, end: tf.Tensor) -> tuple[tf.Tensor, ...]:
            spec = tf.TensorSpec((WINDOW_FRAMES, self._embedding_width))
            embeddings = tf.map_fn(
                lambda window: self._embed_window(taps, window),
                shown[start:end],
                fn_output_signature=spec,
                parallel_iterations=2,
            )
            period, periodicity = self._heads(embeddings)
            return period, periodicity

        specs = [tf.TensorSpec((None, WINDOW_FRAMES, self._num_periods)), tf.TensorSpec((None, WINDOW_FRAMES))]
        period, periodicity = in_batches(score, tf.shape(shown)[0], BATCH_WINDOWS, specs)
        return period, periodicity

    def _windows(self, num_frames: tf.Tensor, stride: int, repeats: tf.Tensor) -> tf.Tensor:
        """Returns the frames that each window shows, (W, 64) int32, see `model.logits.window_frames`."""
        num_shown = num_frames * repeats
        num_windows = -(-num_shown // (WINDOW_FRAMES * stride))
        frames = tf.minimum(tf.range(num_windows * WINDOW_FRAMES) * stride, num_shown - 1) // repeats
        windows = tf.reshape(frames, (-1, WINDOW_FRAMES))
        if not self._overlaps(stride):
            return windows
        return tf.concat([windows, tf.reshape(frames[HALF_WINDOW:-HALF_WINDOW], (-1, WINDOW_FRAMES))], axis=0)

    def _join_windows(self, values: tf.Tensor, stride: int) -> tf.Tensor:
        """Returns a value for each position of a stride, see `model.logits.join_windows`."""
        rest = values.shape[2:]
        if not self._overlaps(stride):
            return tf.reshape(values, (-1, *rest))
        num_windows = (tf.shape(values)[0] + 1) // 2
        grid = tf.reshape(values[:num_windows], (-1, *rest))
        inner = tf.reshape(grid[HALF_WINDOW:-HALF_WINDOW], (-1, WINDOW_FRAMES, *rest))
        inner += (values[num_windows:] - inner) * BETWEEN_WEIGHTS.reshape(-1, *[1] * len(rest))
        return tf.concat([grid[:HALF_WINDOW], tf.reshape(inner, (-1, *rest)), grid[-HALF_WINDOW:]], axis=0)


def in_batches(
    function: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]],
    count: tf.Tensor,
    size: int,
    specs: Sequence[tf.TensorSpec],
) -> list[tf.Tensor]:
    """Returns the results of a function over batches, one after the other, each concatenated.

    Args:
      function: Computes items number `first` to `last` − 1, two () int32.
      count: Number of items, () int32, at least 1.
      size: Items per batch; the last batch may be smaller.
      specs: Shape and dtype of each result of a batch, whose first dimension is None.
    """
    num_batches = -(-count // size)
    results = tuple(tf.TensorArray(spec.dtype, num_batches, element_shape=spec.shape, infer_shape=False) for spec in specs)

    def compute(batch: tf.Tensor, results: tuple[tf.TensorArray, ...]) -> tuple[tf.Tensor, tuple[tf.TensorArray, ...]]:
        first = batch * size
        parts = function(first, tf.minimum(first + size, count))
        return batch + 1, tuple(result.write(batch, part) for result, part in zip(results, parts, strict=True))

    # One after the other, or several batches would be in memory.
    _, results = tf.while_loop(lambda batch, _: batch < num_batches, compute, (0, results), parallel_iterations=1)
    return [result.concat() for result in results]
