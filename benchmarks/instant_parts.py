"""A fake decoder and a fake model that take no time, in a module of their own because worker processes import it by name."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from model.logits import StrideLogits, window_frames
from transforms.decoding.video_facts import VideoFacts
from transforms.records import FrameChunk, VideoRef

_FRAMES = 60

_FACTS = VideoFacts(1920, 1080, "h264", 0, 30.0, _FRAMES, _FRAMES / 30, truncated=False, variable_frame_rate=False)


class InstantScorer:
    """Scores any frames as repeating every 20 frames."""

    def score(self, frames: np.ndarray, *, is_last: bool = True, repeats: int = 1) -> Mapping[int, StrideLogits]:
        """Returns the same logits for all frames; see `ChunkScorer`."""
        return _logits(len(frames) * repeats)


@functools.cache
def _logits(num_frames: int) -> dict[int, StrideLogits]:
    num_positions = window_frames(num_frames, 1).size
    period = np.full((num_positions, 32), -9.0, np.float32)
    period[:, 19] = 9.0
    return {1: StrideLogits(period, np.full(num_positions, 9.0, np.float32))}


@functools.cache
def _frames() -> tuple[np.ndarray, np.ndarray]:
    return np.full((_FRAMES, 112, 112, 3), 90, np.uint8), np.arange(_FRAMES) / 30


def decode(video: VideoRef) -> FrameChunk:
    """Returns a chunk of 60 equal frames, the whole of a video of two seconds."""
    frames, times_sec = _frames()
    return FrameChunk(video, 0, frames, times_sec, _FACTS)
