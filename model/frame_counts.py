"""What each frame of a video adds to its count, and what follows: segments, and the times of repetitions."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

AMBIGUOUS_COUNT_DIFFERENCE = 1.0
"""Repetitions by which two equally good answers may differ before the video counts as ambiguous."""

SUM_DECIMALS = 9
SUM_TOLERANCE = 10.0**-SUM_DECIMALS
"""Most that a sum over frames may be off: 30 times 1/6 is slightly more than 5, and 15 times 1/6 slightly less than 2.5."""


@dataclasses.dataclass(frozen=True, eq=False)
class FrameCounts:
    """The count of a video of n frames, frame by frame, as one stride or the vote of all strides found it.

    Attributes:
      confidence: How sure the network is of the video, 0..1; see `counting.Counted`.
      notebook_period_frames: The notebook's period in frames; see `counting.Counted`.
      per_frame_count: Repetitions that each frame adds, (n,) float64: 1/period where the frame is periodic, else 0.
      periodicity: Score of each frame, (n,) float32 in 0..1.
      period_frames_curve: Period of each frame in frames, (n,) float64; inf where there is none.
      is_periodic: Whether each frame counts, (n,) bool.
    """

    confidence: float
    notebook_period_frames: float
    per_frame_count: np.ndarray
    periodicity: np.ndarray
    period_frames_curve: np.ndarray
    is_periodic: np.ndarray


@dataclasses.dataclass(frozen=True)
class Segment:
    """A stretch of repetitions.

    Attributes:
      start_frame: First frame of the segment.
      end_frame: Frame after the last one.
      count: Repetitions in the segment.
    """

    start_frame: int
    end_frame: int
    count: float


def find_segments(is_periodic: np.ndarray, per_frame_count: np.ndarray, period_frames_curve: np.ndarray) -> tuple[Segment, ...]:
    """Returns the stretches of repetitions: runs of periodic frames, joined over short gaps.

    A gap shorter than the longer of the two periods beside it is bridged, since a pause of less than one repetition starts no
    new set. Bridged frames add nothing to the count.

    Args:
      is_periodic: Whether each frame counts, (n,) bool.
      per_frame_count: Repetitions that each frame adds, (n,) float64.
      period_frames_curve: Period of each frame in frames, (n,) float64.
    """
    edges = np.flatnonzero(np.diff(is_periodic, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return ()
    gaps = starts[1:] - ends[:-1]
    splits = gaps >= np.maximum(period_frames_curve[ends[:-1] - 1], period_frames_curve[starts[1:]])
    starts, ends = starts[np.append(True, splits)], ends[np.append(splits, True)]
    return tuple(
        Segment(start_frame=start, end_frame=end, count=float(per_frame_count[start:end].sum()))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    )


def total_count(per_frame_count: np.ndarray) -> float:
    """Returns the sum of what frames add, (n,) float64, without the error of summing: a half is a half, and is rounded up."""
    return round(float(np.sum(per_frame_count)), SUM_DECIMALS)


def rounded_count(count: float) -> int:
    """Returns a count, 0 or more, rounded to the nearest whole number, halves up, as SQL's ROUND does."""
    return math.floor(count + 0.5)


def find_repetitions(per_frame_count: np.ndarray) -> np.ndarray:
    """Returns the fractional frames, (rounded_count(total_count),) float64, at which the running count reaches 1, 2, 3 … .

    A frame's count accrues evenly from i to i + 1. Twelve times 1/12 is one repetition, whatever the rounding of the sum. If
    the sum is rounded up, the last repetition is complete where counting ends.
    """
    running = np.cumsum(per_frame_count)
    whole = np.minimum(np.arange(1, rounded_count(total_count(per_frame_count)) + 1), running[-1])
    frames = np.searchsorted(running, whole - SUM_TOLERANCE)
    missing = running[frames] - whole
    return frames + np.clip(1.0 - missing / per_frame_count[frames], 0.0, 1.0)


def is_at_period_limit(is_periodic: np.ndarray, period_frames_curve: np.ndarray, longest_period_frames: float) -> bool:
    """Returns whether at least half of the periodic frames, and at least one, have the longest period the network can tell."""
    periods = period_frames_curve[is_periodic]
    return len(periods) > 0 and bool(np.mean(periods >= longest_period_frames) >= 0.5)
