"""Fake models for tests of everything around the model."""

import os
import signal

import numpy as np

from model.counting_options import CountingOptions
from model.logits import StrideLogits, window_frames
from pipeline.counter import Counter
from tests.support.samples import make_video
from transforms.decoding.options import DecodingOptions
from transforms.records import FrameChunk
from transforms.scoring import ModelConfig

PERIOD_FRAMES = 20


class FakeScorer:
    """Scores frames as repeating every 20 frames; dark frames as not repeating; raises an error for bright frames."""

    strides = (1, 2)

    def score(self, frames, *, is_last=True, repeats=1):
        if frames.mean() > 200:
            raise RuntimeError("out of memory\nwhile scoring")
        logits = {}
        for stride in self.strides:
            num_positions = window_frames(len(frames), stride, repeats).size
            period = np.full((num_positions, 32), -9.0, np.float32)
            period[:, PERIOD_FRAMES // stride - 1] = 9.0
            periodicity = np.full(num_positions, 9.0 / stride if frames.mean() > 5 else -9.0, np.float32)
            logits[stride] = StrideLogits(period, periodicity)
        return logits

    def similarity(self, frames):
        levels = frames.reshape(len(frames), -1).mean(axis=1, dtype=np.float64)
        return np.exp(-np.abs(levels[:, None] - levels)).astype(np.float32)


FAKE_MODEL = ModelConfig("fake", "0" * 64, FakeScorer.strides, "float32", period_offset=1)
FAKE_COUNTER = Counter(DecodingOptions(chunk_frames=128), FakeScorer(), CountingOptions(), FAKE_MODEL)
"""Counts with a `FakeScorer`."""


class DeadlyScorer(FakeScorer):
    """Scores as `FakeScorer` does, but the frames of `videos.draw_deadly` kill its process."""

    def score(self, frames, *, is_last=True, repeats=1):
        if abs(frames.mean() - 128) < 5 and frames.std() < 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().score(frames, is_last=is_last)


POISON = 13
"""Sum of frames at which `SumScorer` raises an error."""


class SumScorer:
    """Scores by integer arithmetic: the logits of stride s are the sum of the frames times s."""

    def score(self, frames, *, is_last=True, repeats=1):
        total = int(frames.sum())
        if total == POISON:
            raise ArithmeticError("this chunk\nis poison " + "x" * 1000)
        return {stride: StrideLogits(np.full((1, 1), total * stride), np.full(1, float(is_last))) for stride in (1, 2)}


def sum_chunk(total, index=0, facts=None, num_frames=3):
    """Returns a chunk whose frames have this sum."""
    frames = np.zeros((num_frames, 2, 2, 3), np.uint8)
    frames[0, 0, 0, 0] = total
    return FrameChunk(make_video("a.mp4"), index, frames, np.arange(num_frames) / 30, facts)
