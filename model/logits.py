"""What the network says about a stretch of frames, stride by stride, and the grid of windows on which it says so.

For stride s, window w of a stretch of n frames holds frames min(64·s·w + s·j, n − 1) for j = 0..63. A stretch of
`chunk_frames(strides)` frames ends with a whole window of every stride, so stretches of that length are scored independently
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
      period: (num_windows · 64, num_periods) float32, period logits. Position k is frame k · stride; positions at or beyond the
        last frame's are padding (the last frame repeated).
      periodicity: (num_windows · 64,) float32, periodicity logits.
      frozen_period: (64, num_periods) float32, period logits of a window that shows the last frame 64 times: what the
        notebook's rule pads batches with. Only where the stretch ends the video, else None.
      frozen_periodicity: (64,) float32, its periodicity logits; None where `frozen_period` is.
    """

    period: np.ndarray
    periodicity: np.ndarray
    frozen_period: np.ndarray | None = None
    frozen_periodicity: np.ndarray | None = None


def chunk_frames(strides: Iterable[int]) -> int:
    """Returns the frames of a chunk: the shortest stretch that ends with a whole window of every stride."""
    return WINDOW_FRAMES * math.lcm(*strides)


def window_frames(num_frames: int, stride: int) -> np.ndarray:
    """Returns (num_windows, 64) int64: which frames each window shows, the last frame repeated where frames have run out."""
    num_windows = -(-num_frames // (WINDOW_FRAMES * stride))
    positions = np.arange(num_windows * WINDOW_FRAMES).reshape(num_windows, WINDOW_FRAMES)
    return np.minimum(positions * stride, num_frames - 1)


def concatenate(chunks: Sequence[Mapping[int, StrideLogits]]) -> dict[int, StrideLogits]:
    """Joins the logits of a video's chunks, in their order, to those of the whole video."""
    return {
        stride: StrideLogits(
            period=np.concatenate([chunk[stride].period for chunk in chunks]),
            periodicity=np.concatenate([chunk[stride].periodicity for chunk in chunks]),
            frozen_period=chunks[-1][stride].frozen_period,
            frozen_periodicity=chunks[-1][stride].frozen_periodicity,
        )
        for stride in chunks[0]
    }
