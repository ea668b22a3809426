"""Replay: groups of clips wait on the device and are shown several times, each time in other views.

Drawing a clip takes longer than a training step on it does on a GPU. What is shown when depends on the settings alone, so an
interrupted run can draw again what was waiting, and continues with the same clips and views.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from model.config import WINDOW_FRAMES
from model.network import Tensor
from model.training.clips import Batch
from model.training.settings import TrainingSettings

_PLAN = 1
_ORDER = 2
"""Keep the random numbers of the plan and of the views' order apart."""


class Showing(NamedTuple):
    """A group of clips in a step.

    Attributes:
      group: Number of the group.
      times_before: How many times it was shown before.
    """

    group: int
    times_before: int


class Plan:
    """Which groups each step draws and shows.

    Group g is shown `replay` times on average, in steps drawn at random: floor((g + 1) · replay) − floor(g · replay) times.

    Attributes:
      waiting: How many times each group that waits to be shown again was shown before, by its number, in order.
      drawn: Groups drawn so far; they have the numbers from 0.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self._settings = settings
        self._rng = np.random.default_rng([settings.seed, _PLAN])
        self._showings_left = math.inf if settings.minutes else settings.steps * settings.groups_per_step
        self._owed = 0
        self.waiting: dict[int, int] = {}
        self.drawn = 0

    def times(self, group: int) -> int:
        """Returns how many times a group is shown; fewer at the end of a run."""
        return math.floor((group + 1) * self._settings.replay) - math.floor(group * self._settings.replay)

    def next_step(self) -> tuple[list[int], list[Showing]]:
        """Returns the groups to draw before the next step, and the groups that it shows, all different.

        Groups that were shown for the last time are no longer in `waiting`.
        """
        per_step = self._settings.groups_per_step
        most = self._settings.buffer_clips // self._settings.group_clips
        fresh: list[int] = []
        # Twice what a step shows, so that the first step need not wait until the buffer is full.
        while len(self.waiting) < most and len(fresh) < 2 * per_step:
            if len(self.waiting) >= per_step and self._owed >= self._showings_left:
                break  # the run ends before it could show more
            self.waiting[self.drawn] = 0
            self._owed += self.times(self.drawn)
            fresh.append(self.drawn)
            self.drawn += 1
        numbers = list(self.waiting)
        chosen = [numbers[i] for i in self._rng.choice(len(numbers), per_step, replace=False)]
        showings = [Showing(group, self.waiting[group]) for group in chosen]
        for group in chosen:
            self.waiting[group] += 1
            if self.waiting[group] == self.times(group):
                del self.waiting[group]
        self._owed -= per_step
        self._showings_left -= per_step
        return fresh, showings


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """A group of clips on the device.

    Attributes:
      frames: Frames on the device, (clips, 64, 112, 112, 3) uint8, RGB.
      labels: Its views and labels, see `Batch`, without frames; the views of each clip are in random order.
    """

    frames: Tensor
    labels: Batch


class Example(NamedTuple):
    """Input of a training step: `clips` clips in groups, each in `views` views.

    Attributes:
      groups: Frames of each group on the device, (clips of a group, 64, 112, 112, 3) uint8, RGB.
      views: Frame that each position of each view shows, numbered across all groups, (clips, views, 64) int32.
      period: Period in positions, (clips, views, 64) float32; 0 where nothing repeats.
      periodic: 1 where something repeats, else 0, (clips, views, 64) float32.
      weight: Weight of each position in the loss, (clips, views, 64) float32.
    """

    groups: tuple[Tensor, ...]
    views: np.ndarray
    period: np.ndarray
    periodic: np.ndarray
    weight: np.ndarray


def keep(frames: Tensor, batch: Batch, number: int, settings: TrainingSettings) -> Group:
    """Returns a drawn group with its frames on the device, and its views in random order."""
    order = np.tile(np.arange(settings.views_per_clip), (settings.group_clips, 1))
    order = np.random.default_rng([settings.seed, _ORDER, number]).permuted(order, axis=1)[..., None]

    def reorder(values: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values, order, axis=1)

    labels = Batch(
        np.empty(0, np.uint8),
        reorder(batch.views),
        reorder(batch.period),
        reorder(batch.periodic),
        reorder(batch.weight),
    )
    return Group(frames, labels)


def assemble(shown: Sequence[Group], times_before: Sequence[int], settings: TrainingSettings) -> Example:
    """Returns the input of a step that shows groups; each showing of a group continues where the one before ended.

    Args:
      shown: Groups to show.
      times_before: How many times each was shown before.
      settings: Settings of the run.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    for place, (group, times) in enumerate(zip(shown, times_before, strict=True)):
        first = times * settings.views_per_showing
        chosen = np.arange(first, first + settings.views_per_showing) % settings.views_per_clip
        labels = group.labels
        offset = np.int32(place * settings.group_clips * WINDOW_FRAMES)
        parts.append(
            (
                labels.views[:, chosen] + offset,
                labels.period[:, chosen],
                labels.periodic[:, chosen],
                labels.weight[:, chosen],
            )
        )
    views, period, periodic, weight = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Example(tuple(group.frames for group in shown), views, period, periodic, weight)
