"""Keeps a bounded number of evenly spaced frames of a video of any length while its chunks pass."""

from __future__ import annotations

import numpy as np

from model.config import FRAME_SIZE
from transforms.records import FrameChunk

MOST_FRAMES = 384
"""Most frames that are kept, 37,632 bytes each. Videos that are longer leave at least half as many."""


class KeptFrames:
    """Evenly spaced frames of the chunks seen so far: every one, every second, every fourth … .

    Attributes:
      step: Steps from one kept frame to the next, in frames of the chunks.
    """

    def __init__(self) -> None:
        self.step = 1
        self._num_seen = 0
        self._frames: list[np.ndarray] = []
        self._times_sec: list[float] = []

    def add(self, chunk: FrameChunk) -> None:
        """Takes the next chunk of the video."""
        first = -self._num_seen % self.step
        for position in range(first, len(chunk.frames), self.step):
            if (self._num_seen + position) % self.step:
                continue  # the step has grown within this chunk
            self._frames.append(chunk.frames[position].copy())  # not a view, which would hold the whole chunk
            self._times_sec.append(float(chunk.times_sec[position]))
            if len(self._frames) > MOST_FRAMES:
                del self._frames[1::2], self._times_sec[1::2]
                self.step *= 2
        self._num_seen += len(chunk.frames)

    @property
    def frames(self) -> np.ndarray:
        """(n, 112, 112, 3) uint8, RGB, 0..255, in the order of their times; n is 0 before the first chunk."""
        return np.stack(self._frames) if self._frames else np.zeros((0, FRAME_SIZE, FRAME_SIZE, 3), np.uint8)

    @property
    def times_sec(self) -> np.ndarray:
        """(n,) float64, presentation times in seconds of the kept frames."""
        return np.array(self._times_sec)
