"""Draws when repetitions happen: the sets of a clip or a video, their speed, and their pauses.

A repetition takes the body out of its start position and back to it. Sides follow from this:

- Where the body comes to rest in the start position after each side, each side is a repetition, as in alternating lunges.
- Where it swings from side to side without such a rest, left and right together are one, as in Russian twists and running.

Every label of the generator keeps to this convention, and so do the labels of the real clips that `docs/lite.md` reports on.
"""

from __future__ import annotations

import dataclasses
import itertools

import cv2
import numpy as np

_SHORTEST_FRAMES, _LONGEST_FRAMES = 2.7, 64.0
"""Mean periods of clips. Few are above half of the longest."""

_SHORTEST_IN_SETS_FRAMES, _LONGEST_IN_SETS_FRAMES = 10.0, 60.0
"""Mean periods where a video has several sets."""

_LEAST_CYCLES = 1.75
"""Cycles that a set has at least; a shorter one looks like a single movement."""


@dataclasses.dataclass(frozen=True, eq=False)
class Timing:
    """When repetitions happen.

    Attributes:
      phase: Phase in cycles, increasing, (num_frames,); meaningless where not active.
      period_frames: Length in frames of the cycle around each frame, (num_frames,).
      active: Whether each frame is within repetitions, (num_frames,) bool.
    """

    phase: np.ndarray
    period_frames: np.ndarray
    active: np.ndarray

    @property
    def count(self) -> float:
        """Number of repetitions."""
        return float((self.active / self.period_frames).sum())

    def slowed(self, times: int) -> Timing:
        """Returns the timing of the same repetitions in `times` as many frames; every `times`-th of them is a frame of this."""
        frames = np.arange(times * len(self.phase)) / times
        phase = np.interp(frames, np.arange(len(self.phase)), self.phase)
        return Timing(phase, np.repeat(self.period_frames, times) * times, np.repeat(self.active, times))

    def sets(self) -> list[tuple[int, int]]:
        """Returns the first frame of each set and the frame after its last one."""
        edges = np.flatnonzero(np.diff(np.concatenate([[0], self.active.astype(np.int8), [0]])))
        return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def smooth_noise(
    rng: np.random.Generator, num_frames: int, scale: float, channels: int = 1, most_knots: int = 8, knot_frames: float = 0.0
) -> np.ndarray:
    """Returns smooth noise, (num_frames, channels) float32.

    Args:
      rng: Source of randomness.
      num_frames: Number of frames.
      scale: Standard deviation at the knots.
      channels: Number of independent channels.
      most_knots: Most knots; more knots make it change faster.
      knot_frames: Frames from knot to knot. Default: 3 to `most_knots` knots, however many frames there are.
    """
    count = 2 + int(num_frames / knot_frames) if knot_frames else int(rng.integers(3, most_knots + 1))
    knots = rng.standard_normal((count, channels)).astype(np.float32) * scale
    interpolation = cv2.INTER_LINEAR if rng.random() < 0.3 else cv2.INTER_CUBIC
    return cv2.resize(knots, (channels, num_frames), interpolation=interpolation).reshape(num_frames, channels)


def draw_timing(rng: np.random.Generator, num_frames: int) -> Timing:
    """Returns the timing of a clip: one set or two with drifting speed, perhaps starting late or ending early, or no set."""
    active = np.ones(num_frames, bool)
    kind = rng.random()
    if kind < 0.18:
        active[:] = False
    elif kind < 0.6:
        start = int(rng.integers(-24, num_frames // 2))
        end = num_frames - int(rng.integers(-24, num_frames // 2))
        active[: max(0, start)] = False
        active[max(0, end) :] = False
        if rng.random() < 0.12:  # a rest in the middle
            rest = int(rng.integers(8, 30))
            at = int(rng.integers(0, num_frames - rest))
            active[at : at + rest] = False
    elif kind < 0.72:  # another exercise after a short transition
        gap = int(rng.integers(2, 14))
        at = int(rng.integers(num_frames // 4, num_frames * 3 // 4 - gap))
        active[at : at + gap] = False
    longest_frames = _LONGEST_FRAMES if rng.random() < 0.15 else _LONGEST_FRAMES / 2
    base = np.full(num_frames, np.exp(rng.uniform(np.log(_SHORTEST_FRAMES), np.log(longest_frames))))
    if 0.6 <= kind < 0.72:
        base[:] = np.minimum(base, 16.0)
        base[at + gap // 2 :] *= np.exp(rng.uniform(-0.7, 0.7))
    return _timing(rng, base, active, jitter_share=0.4, rests=rng.random() < 0.75)


def draw_set(
    rng: np.random.Generator,
    num_frames: int,
    base: float,
    before: float = 0.0,
    after: float = 0.0,
    jitter_share: float = 0.3,
    rests: bool = True,
) -> Timing:
    """Returns the timing of one set.

    Args:
      rng: Source of randomness.
      num_frames: Number of frames of the video.
      base: Mean period in frames.
      before: Share of the video before the set.
      after: Share of the video after the set.
      jitter_share: Probability that every repetition has its own duration.
      rests: Whether the set starts and ends at the start position, with whole repetitions, where it does not fill the video.
    """
    active = np.zeros(num_frames, bool)
    active[int(before * num_frames) : num_frames - int(after * num_frames)] = True
    return _timing(rng, np.full(num_frames, base), active, jitter_share, rests)


def draw_sets(rng: np.random.Generator, num_frames: int, number: int) -> Timing:
    """Returns the timing of several sets with short transitions, each of its own speed and about three repetitions or more."""
    shares = np.cumsum(rng.dirichlet(np.full(number, 8.0)))
    bounds = np.concatenate([[0], np.round(shares * num_frames)]).astype(int)
    base, active = np.ones(num_frames), np.zeros(num_frames, bool)
    for start, end in itertools.pairwise(bounds):
        gap = int(rng.integers(4, 40))
        slowest = float(np.clip((end - start - gap) / 3.2, _SHORTEST_IN_SETS_FRAMES, _LONGEST_IN_SETS_FRAMES))
        base[start:end] = np.exp(rng.uniform(np.log(max(_SHORTEST_IN_SETS_FRAMES, slowest / 3)), np.log(slowest)))
        active[start + gap // 2 : end - (gap - gap // 2)] = True
    return _timing(rng, base, active, jitter_share=0.3, rests=rng.random() < 0.8)


def no_set(num_frames: int, period_frames: float = 16.0) -> Timing:
    """Returns the timing of a video in which nothing repeats."""
    period = np.full(num_frames, period_frames)
    return Timing(np.cumsum(1.0 / period), period, np.zeros(num_frames, bool))


def _timing(rng: np.random.Generator, base: np.ndarray, active: np.ndarray, jitter_share: float, rests: bool) -> Timing:
    """Returns a timing with drifting speed.

    Args:
      rng: Source of randomness.
      base: Mean period in frames around each frame, (num_frames,).
      active: Whether each frame is within a set, (num_frames,) bool; sets of fewer than nearly two cycles are left out.
      jitter_share: Probability that every repetition has its own duration.
      rests: Whether sets start and end with whole repetitions, except at the ends of the video.
    """
    num_frames = len(base)
    drift = np.exp(smooth_noise(rng, num_frames, float(rng.choice([0.0, 0.05, 0.12, 0.2])))[:, 0])
    period = np.maximum(base * drift / drift.mean(), 2.2)
    phase = np.cumsum(1.0 / period) + rng.random()
    if rng.random() < jitter_share:
        jitter = np.exp(rng.standard_normal(int(phase[-1]) + 2) * rng.uniform(0.03, 0.15))
        period = np.maximum(period * jitter[np.floor(phase).astype(int)], 2.2)
        phase = np.cumsum(1.0 / period) + rng.random()
    timing = Timing(phase, period, active.copy())
    if rests:
        for start, end in timing.sets():
            _make_whole(timing, start, end)
    return Timing(phase, period, timing.active & runs_of_two_cycles(phase, timing.active))


def _make_whole(timing: Timing, start: int, end: int) -> None:
    """Makes a set of whole repetitions: they begin at its start, or end at its end where the video begins within it."""
    phase, last = timing.phase, len(timing.phase)
    if start > 0:
        phase[start:] += np.ceil(phase[start - 1]) - phase[start - 1]
        if end < last:
            cycles = np.cumsum(1.0 / timing.period_frames[start:end])
            timing.active[start + int(np.searchsorted(cycles, np.floor(cycles[-1]) - 1e-9)) + 1 : end] = False
    elif end < last:
        phase += np.ceil(phase[end - 1]) - phase[end - 1]


def runs_of_two_cycles(phase: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Returns `active` with only its runs of nearly two cycles or more; shorter ones look like a single movement."""
    out = np.zeros_like(active)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], active.astype(np.int8), [0]])))
    for start, end in edges.reshape(-1, 2):
        if phase[end - 1] - phase[start] >= _LEAST_CYCLES:
            out[start:end] = True
    return out
