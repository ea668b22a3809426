"""How long frames last, and what follows for times of repetitions, periods and sets."""

from __future__ import annotations

import itertools

import numpy as np

from model.frame_counts import Segment
from model.sampling import USUAL_STEPS


def frame_lengths(edges_sec: np.ndarray, is_periodic: np.ndarray, periods_frames: np.ndarray) -> np.ndarray:
    """Returns the seconds that each frame lasts, (n,) float64: until the next one appears, but before a pause one usual step.

    Recorders drop frames while nothing moves. A step that is longer than a repetition beside it, at the usual step, is a pause:
    the frame before it shows no movement of that length. The usual step is the median of 31 steps, since a video may go on at
    another frame rate: those around it, or the first or last ones of the video. Of an even number, the lower of the two in the
    middle counts.

    Args:
      edges_sec: Times at which each frame appears, and at which the last one ends, (n + 1,) float64, ascending.
      is_periodic: Whether each frame counts, (n,) bool.
      periods_frames: Period of each frame in frames, (n,) float64, finite where it counts.
    """
    steps_sec = np.diff(edges_sec)
    counting = np.flatnonzero(is_periodic)
    if not len(counting):
        return steps_sec
    frames = np.arange(len(steps_sec))
    before = np.maximum(np.searchsorted(counting, frames, "right") - 1, 0)
    after = np.minimum(np.searchsorted(counting, frames + 1), len(counting) - 1)
    longest = np.maximum(1.0, np.maximum(periods_frames[counting[before]], periods_frames[counting[after]]))
    long = np.flatnonzero(steps_sec > longest * steps_sec.min())  # hardly any, so few medians are needed
    num_around = min(USUAL_STEPS, len(steps_sec))
    first = np.clip(long - USUAL_STEPS // 2, 0, len(steps_sec) - num_around)
    around = first[:, None] + np.arange(num_around)
    usual_sec = np.sort(steps_sec[around], axis=1)[:, (num_around - 1) // 2]
    lengths_sec = steps_sec.copy()
    lengths_sec[long] = np.where(steps_sec[long] > longest[long] * usual_sec, usual_sec, steps_sec[long])
    return lengths_sec


def times_at(positions: np.ndarray, times_sec: np.ndarray, lengths_sec: np.ndarray) -> np.ndarray:
    """Returns the times in seconds, (k,) float64, at which fractional frames are over.

    Args:
      positions: Fractional frames, (k,) float64 from 0 to n: frame i lasts from i to i + 1.
      times_sec: Times at which frames appear, (n,) float64.
      lengths_sec: How long they last, (n,) float64.
    """
    frames = np.maximum(np.ceil(positions).astype(np.int64) - 1, 0)
    return times_sec[frames] + (positions - frames) * lengths_sec[frames]


def periods_sec(frames: np.ndarray, periods_frames: np.ndarray, lengths_sec: np.ndarray) -> np.ndarray:
    """Returns (k,) float64: the duration in seconds of one period around each of k frames, pauses left out.

    A period near an end of the video is measured within the video. One longer than the video is extrapolated from all of it.

    Args:
      frames: (k,) int64, indices of the frames.
      periods_frames: (k,) float64, finite, the period at each frame, in frames.
      lengths_sec: How long all frames last, (n,) float64.
    """
    num_frames = len(lengths_sec)
    within = np.minimum(periods_frames, num_frames)
    starts = np.clip(frames + 0.5 - within / 2, 0, num_frames - within)
    edges, played_sec = np.arange(num_frames + 1), np.append(0.0, np.cumsum(lengths_sec))
    spans_sec = np.interp(starts + within, edges, played_sec) - np.interp(starts, edges, played_sec)
    return spans_sec * (periods_frames / within)


def split_at_pauses(segment: Segment, is_pause: np.ndarray, per_frame_count: np.ndarray) -> list[Segment]:
    """Returns the parts of a segment between pauses, without the frames at their ends that add nothing to the count.

    No part has less than one repetition: a recorder that sends a frame now and then does not make a set of each.

    Args:
      segment: Segment of a video of n frames.
      is_pause: Whether a pause follows each frame, (n,) bool.
      per_frame_count: Repetitions that each frame adds, (n,) float64.
    """
    pauses = segment.start_frame + 1 + np.flatnonzero(is_pause[segment.start_frame : segment.end_frame - 1])
    bounds = [segment.start_frame]
    for pause in pauses.tolist():
        if min(per_frame_count[bounds[-1] : pause].sum(), per_frame_count[pause : segment.end_frame].sum()) >= 1:
            bounds.append(pause)
    if len(bounds) == 1:
        return [segment]
    parts = []
    for start, end in itertools.pairwise([*bounds, segment.end_frame]):
        counting = start + np.flatnonzero(per_frame_count[start:end])
        first, last = int(counting[0]), int(counting[-1])
        parts.append(Segment(first, last + 1, float(per_frame_count[first : last + 1].sum())))
    return parts
