"""A fake decoder and a fake model that take no time, in a module of their own because worker processes import it by name."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import numpy as np

from model.logits import StrideLogits, window_frames
from transforms.decoding.options import DecodingOptions
from transforms.decoding.process import DecoderProcess
from transforms.decoding.samples import Samples
from transforms.decoding.video_facts import VideoFacts

_FRAMES = 60

_FACTS = VideoFacts(1920, 1080, "h264", 0, 30.0, _FRAMES, _FRAMES / 30, truncated=False, variable_frame_rate=False)


class InstantScorer:
    """Scores any frames as repeating every 20 frames."""

    def score(self, frames: np.ndarray, *, is_last: bool = True, repeats: int = 1) -> Mapping[int, StrideLogits]:
        """Returns the same logits for all frames; see `ChunkScorer`."""
        return _logits(len(frames) * repeats)


class InstantDecoder(DecoderProcess):
    """Starts no process, and decodes any file into the same two seconds."""

    def read(self, file: BinaryIO, options: DecodingOptions) -> Iterator[Samples]:
        """Yields 60 equal frames."""
        yield samples()


@functools.cache
def samples() -> Samples:
    """Returns the frames of every video: 60 equal ones of two seconds, and facts about it."""
    return Samples(np.full((_FRAMES, 112, 112, 3), 90, np.uint8), np.arange(_FRAMES) / 30, _FACTS)


@functools.cache
def _logits(num_frames: int) -> dict[int, StrideLogits]:
    num_positions = window_frames(num_frames, 1).size
    period = np.full((num_positions, 32), -9.0, np.float32)
    period[:, 19] = 9.0
    return {1: StrideLogits(period, np.full(num_positions, 9.0, np.float32))}
