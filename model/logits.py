"""The network's logits for a stretch of frames, stride by stride, and the grid of windows they belong to.

At stride s, window w of a stretch of n frames holds frames min(64·s·w + s·j, n − 1) for j = 0..63. A stretch of
`chunk_frames(strides)` frames ends with a whole window at every stride. So stretches of that length are scored independently,
and their logits concatenate to those of the whole video.

Near its ends, a window shows little of what comes before or after. So windows may overlap: then there is one more halfway
between each two of a stretch, and each position gets the mean of its two windows, weighted by how far it is from their ends.
No window is in two stretches, so the logits remain those of each stretch.

A slow video is scored as if each of its frames were there r times (`slow_repeats`). Its stretches are r times as long in
windows, and end with whole windows just the same.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np

from model.config import WINDOW_FRAMES

HALF_WINDOW = WINDOW_FRAMES // 2

BETWEEN_WEIGHTS = (1.0 - np.abs(np.arange(1, 2 * WINDOW_FRAMES, 2) - WINDOW_FRAMES) / WINDOW_FRAMES).astype(np.float32)
"""Weight of each position of a window between two others, (64,) float32; those have the rest (Bartlett's window)."""

MOST_REPEATS = 8
"""Most times that a frame is shown. Below four frames a second, few movements have a frame at either end."""

SHOWN_FPS = 30.0
"""Frames a second at which the network knows movements."""


@dataclasses.dataclass(frozen=True, eq=False)
class StrideLogits:
    """Logits of one stride over consecutive windows.

    Attributes:
      period: Period logits, (num_windows · 64, num_periods) float32. Position k is frame k · stride; positions beyond the last
        frame are padding, which repeats that frame.
      periodicity: Periodicity logits, (num_windows · 64,) float32.
      frozen_period: Period logits of a window that shows the last frame 64 times, (64, num_periods) float32. The notebook rule
        pads batches with it. None unless the stretch ends the video.
      frozen_periodicity: Periodicity logits of that window, (64,) float32; None if `frozen_period` is.
    """

    period: np.ndarray
    periodicity: np.ndarray
    frozen_period: np.ndarray | None = None
    frozen_periodicity: np.ndarray | None = None


def chunk_frames(strides: Iterable[int]) -> int:
    """Returns the length of a chunk in frames: the shortest stretch that ends with a whole window at every stride."""
    return WINDOW_FRAMES * math.lcm(*strides)


def window_frames(num_frames: int, stride: int, repeats: int = 1, *, overlap: bool = False) -> np.ndarray:
    """Returns the frames that each window shows, (W, 64) int64; past the end, the last frame repeats.

    Args:
      num_frames: Number of frames in the stretch.
      stride: Stride in shown frames.
      repeats: Times that each frame is shown, one after the other.
      overlap: Whether windows overlap. If so, those halfway between each two come last: W is 2 · num_windows − 1.
    """
    num_shown = num_frames * repeats
    num_windows = -(-num_shown // (WINDOW_FRAMES * stride))
    frames = np.minimum(np.arange(num_windows * WINDOW_FRAMES) * stride, num_shown - 1) // repeats
    windows = frames.reshape(-1, WINDOW_FRAMES)
    if not overlap:
        return windows
    return np.concatenate([windows, frames[HALF_WINDOW:-HALF_WINDOW].reshape(-1, WINDOW_FRAMES)])


def join_windows(values: np.ndarray, *, overlap: bool = False) -> np.ndarray:
    """Returns a value for each position, (num_windows · 64, …), from those of the windows, (W, 64, …).

    Args:
      values: Values of the windows, in the order of `window_frames`.
      overlap: Whether windows overlap.
    """
    rest = values.shape[2:]
    if not overlap:
        return values.reshape(-1, *rest)
    num_windows = (len(values) + 1) // 2
    grid = values[:num_windows].reshape(-1, *rest)
    inner = grid[HALF_WINDOW:-HALF_WINDOW].reshape(-1, WINDOW_FRAMES, *rest)
    inner = inner + (values[num_windows:] - inner) * BETWEEN_WEIGHTS.reshape(-1, *[1] * len(rest))
    return np.concatenate([grid[:HALF_WINDOW], inner.reshape(-1, *rest), grid[-HALF_WINDOW:]])


def middle_shown(num_frames: int, repeats: int) -> np.ndarray:
    """Returns which shown frame stands for each frame, (num_frames,) int64: the middle one of its showings."""
    return np.arange(num_frames) * repeats + repeats // 2


def slow_repeats(times_sec: np.ndarray, below_fps: float) -> int:
    """Returns how often each frame of a video should be shown, so that its movements last long enough for the network.

    A movement of four or five frames is shorter than any that the network knows. Shown at about 30 frames a second, it is not.

    Args:
      times_sec: Times of the video's first frames in seconds, (n,) float64, strictly ascending.
      below_fps: Frames a second below which a video is slow.

    Returns:
      1 for a video that is not slow, or has a single frame; else 30 divided by its frames a second, rounded, at most
      `MOST_REPEATS`. The frame rate is that of the median step.
    """
    if len(times_sec) < 2:
        return 1
    fps = 1.0 / float(np.median(np.diff(times_sec)))
    return min(max(round(SHOWN_FPS / fps), 1), MOST_REPEATS) if fps < below_fps else 1


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the probability of each class, (n, num_classes) float64, from logits of that shape."""
    probabilities = logits.astype(np.float64)
    probabilities = np.exp(probabilities - probabilities.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities, float64, from logits of any shape. By their logarithm: exp(−x) overflows for a very sure "no"."""
    return np.exp(-np.logaddexp(0.0, -logits.astype(np.float64)))
