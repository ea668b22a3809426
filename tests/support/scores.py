"""Scores of chunks that count to known numbers of repetitions."""

import datetime

import numpy as np

from model.counting_options import CountingOptions
from model.logits import StrideLogits, window_frames
from transforms.decoding.video_facts import VideoFacts
from transforms.evidence import reduce_or_fail
from transforms.records import ChunkScores, Failure, VideoRef

CHUNK_FRAMES = 128
STRIDES = (1, 2)
OPTIONS = CountingOptions()
PERIOD_OFFSET = 1
FACTS = VideoFacts(
    width=640,
    height=360,
    codec="h264",
    rotation_degrees=0,
    fps=30.0,
    decoded_frames=300,
    duration_sec=10.0,
    truncated=False,
    variable_frame_rate=False,
)


def video(name="squats.mp4", generation=7):
    return VideoRef(f"gs://gym/{name}", generation, 1000, datetime.datetime(2025, 3, 1, 12, tzinfo=datetime.UTC))


def chunk(of=None, index=0, *, num_frames=CHUNK_FRAMES, facts=None, period=16, periodicity=5.0):
    """Returns the scores of a chunk that repeats every `period` frames."""
    logits = {}
    for stride in STRIDES:
        num_positions = window_frames(num_frames, stride).size
        classes = np.full((num_positions, 32), -9.0, np.float32)
        classes[:, period // stride - PERIOD_OFFSET] = 9.0
        logits[stride] = StrideLogits(classes, np.full(num_positions, periodicity - stride, np.float32))
    times_sec = (np.arange(num_frames) + index * CHUNK_FRAMES) / 30
    return ChunkScores(of or video(), index, logits, times_sec, facts)


def chunks(of=None):
    """Returns the scores of a video of 300 frames, which has 18.75 repetitions."""
    return [chunk(of, 0), chunk(of, 1), chunk(of, 2, num_frames=44, facts=FACTS)]


def reduced(items, options=OPTIONS):
    """Returns what counting needs of scores, and failures unchanged."""
    return [item if isinstance(item, Failure) else reduce_or_fail(item, options, PERIOD_OFFSET) for item in items]


def failure(stage, code, of=None, message="no"):
    return Failure(of or video(), stage, code, message)
