"""The network's logits for a stretch of frames, stride by stride, and the grid of windows they belong to.

At stride s, window w of a stretch of n frames holds frames min(64·s·w + s·j, n − 1) for j = 0..63. A stretch of
`chunk_frames(strides)` frames ends with a whole window at every stride. So stretches of that length are scored independently,
and their logits concatenate to those of the whole video.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from model.config import WINDOW_FRAMES


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


def window_frames(num_frames: int, stride: int) -> np.ndarray:
    """Returns the frames that each window shows, (num_windows, 64) int64; past the end, the last frame repeats."""
    num_windows = -(-num_frames // (WINDOW_FRAMES * stride))
    positions = np.arange(num_windows * WINDOW_FRAMES).reshape(num_windows, WINDOW_FRAMES)
    return np.minimum(positions * stride, num_frames - 1)


def concatenate(chunks: Sequence[Mapping[int, StrideLogits]]) -> dict[int, StrideLogits]:
    """Returns the logits of a whole video from those of its chunks, in order."""
    return {
        stride: StrideLogits(
            period=np.concatenate([chunk[stride].period for chunk in chunks]),
            periodicity=np.concatenate([chunk[stride].periodicity for chunk in chunks]),
            frozen_period=chunks[-1][stride].frozen_period,
            frozen_periodicity=chunks[-1][stride].frozen_periodicity,
        )
        for stride in chunks[0]
    }
