"""Views: windows of drawn clips with their frames slower, faster, backwards or held, or with one clip after another.

Nearly all the cost of a training step is drawing and encoding clips; a view only costs a gather and the heads. So each clip is
shown in several views, and the heads see more speeds, cuts and ends of videos than there are clips.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from model.config import WINDOW_FRAMES
from model.training.timing import runs_of_two_cycles

LONGEST_PERIOD = 32.5
"""Longest period in positions that a window can show; frames with a longer one count as not periodic."""

SHORTEST_PERIOD = 2.2
"""Shortest period in positions; in faster views a movement looks like another, slower one."""


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """A window of 64 positions.

    Attributes:
      frames: Frame of the clip that each position shows, (64,) int32.
      period: Period in positions, (64,) float32; meaningful where `periodic`.
      periodic: Whether the position belongs to repetitions whose period the network can tell, (64,) bool.
    """

    frames: np.ndarray
    period: np.ndarray
    periodic: np.ndarray


def show(clip_phase: np.ndarray, clip_period: np.ndarray, clip_active: np.ndarray, places: np.ndarray) -> View:
    """Returns the view whose positions show a clip at `places`.

    Args:
      clip_phase: Phase in cycles, increasing, (num_frames,).
      clip_period: Period in frames, (num_frames,).
      clip_active: Whether each frame is within repetitions, (num_frames,) bool.
      places: Fractional frames to show, (64,) float. Beyond the clip, its first or last frame is shown and nothing repeats.
    """
    last = len(clip_phase) - 1
    frames = np.clip(np.round(places), 0, last).astype(np.int32)
    inside = (places > -0.5) & (places < last + 0.5)
    speed = np.maximum(np.abs(np.gradient(places)), 1e-3)
    period = clip_period[frames] / speed
    cycles = np.abs(clip_phase[frames] - clip_phase[frames[0]])
    active = runs_of_two_cycles(cycles, clip_active[frames] & inside)
    return View(frames, period.astype(np.float32), active & (period <= LONGEST_PERIOD))


def draw_places(rng: np.random.Generator, shortest_period: float) -> np.ndarray:
    """Returns the fractional frames, (64,) float, that a view of a clip of 64 frames shows, at some speed, in either direction.

    Args:
      rng: Source of randomness.
      shortest_period: Shortest period of the clip in frames.
    """
    fastest = float(np.clip(shortest_period / SHORTEST_PERIOD, 1.0, 2.0))
    speed = 1.0 if rng.random() < 0.25 else float(np.exp(rng.uniform(np.log(0.5), np.log(fastest))))
    slack = WINDOW_FRAMES - 1 - speed * (WINDOW_FRAMES - 1)
    # A clip that ends before the view does mostly starts with the view, as in a video's last window.
    is_late = slack >= 0 or rng.random() < 0.3
    start = float(rng.uniform(min(slack, 0.0), max(slack, 0.0))) if is_late else 0.0
    places = start + speed * np.arange(WINDOW_FRAMES)
    return places[::-1].copy() if rng.random() < 0.4 else places


def join(first: View, second: View, cut: int, second_offset: int) -> View:
    """Returns a view that shows `first` up to position `cut`, then `second` with `second_offset` added to its frames.

    Where fewer than two cycles of either are left, they are no longer periodic.
    """
    frames = np.concatenate([first.frames[:cut], second.frames[cut:] + second_offset])
    period = np.concatenate([first.period[:cut], second.period[cut:]])
    periodic = np.zeros(len(frames), bool)
    for part, view in ((slice(0, cut), first), (slice(cut, None), second)):
        cycles = np.cumsum(1.0 / view.period[part])
        periodic[part] = runs_of_two_cycles(cycles, view.periodic[part])
    return View(frames, period, periodic)


def draw_views(
    rng: np.random.Generator, clips: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], per_clip: int
) -> list[View]:
    """Returns `per_clip` views of each clip, in order. Their frames are numbered across the batch.

    Args:
      rng: Source of randomness.
      clips: Phase, period and activity of each clip, see `show`.
      per_clip: Views per clip; the first one always shows the clip unchanged.
    """
    out: list[View] = []
    for i, (phase, period, active) in enumerate(clips):
        offset = i * WINDOW_FRAMES
        for number in range(per_clip):
            places = draw_places(rng, float(period.min())) if number else np.arange(WINDOW_FRAMES, dtype=float)
            view = show(phase, period, active, places)
            view = View(view.frames + np.int32(offset), view.period, view.periodic)
            if number and rng.random() < 0.3:
                other = int(rng.integers(len(clips)))
                other_phase, other_period, other_active = clips[other]
                after = show(other_phase, other_period, other_active, draw_places(rng, float(other_period.min())))
                view = join(view, after, int(rng.integers(8, WINDOW_FRAMES - 8)), other * WINDOW_FRAMES)
            out.append(view)
    return out
