"""Draws labelled clips: 64 frames, whether each belongs to repetitions, and its phase in the repetition.

A clip is one or two shots of a scene, see `model.training.scenes`, as some stride of a video shows them. The timing of a set
continues across cuts, as in edited workout videos. What is one repetition, left and right included, is said in
`model.training.timing`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from model.config import WINDOW_FRAMES
from model.training import drawing, edits
from model.training.scenes import ANYTHING, Ingredients, Scene, draw_shot
from model.training.timing import Timing, draw_timing, no_set
from model.training.views import draw_views

PARTS = ("bystanders", "camera", "damage", "edits", "entrances", "fidgeting", "groups", "strokes", "talking", "volume")
"""Parts of clips that can be left out, for ablation.

In order: people beside the actor; a moving camera; blur, compression, low resolution and held frames; cuts, title cards,
counters and bars; actors who arrive, take their position and leave; movements without rhythm where nothing repeats; several
people who do the same; fine rhythmic work that is no exercise; talk with gestures; limbs with volume and textured clothes.
"""

_STRIDES, _STRIDE_SHARES = (1, 2, 3, 4, 6, 8), (0.4, 0.16, 0.12, 0.12, 0.11, 0.09)
"""Strides at which clips are seen, and the share of clips with each. At a coarse stride, gestures and shakes look faster."""

_HARD_SCENES = (
    Scene(subject="people", sides="turns"),
    Scene(subject="people", sides="turns"),
    Scene(subject="people", sides="swing"),
    Scene(subject="people", sides="stride"),
    Scene(subject="people", talks=True),
    Scene(subject="people", holds=True),
    Scene(subject="people", camera="hand"),
    Scene(subject="people", camera="walk"),
    Scene(subject="patches"),
    Scene(subject="picture"),
)
"""Scenes that networks err on most. A share of the clips shows one of them, unless parts are left out."""

_HARD_SHARE = 0.3

STROKES_WEIGHT = 0.3
"""Weight of labels of fine rhythmic strokes (make-up, typing, chewing). They do repeat, but nobody wants them counted."""


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """A drawn clip with its label.

    Attributes:
      frames: Frames, (num_frames, 112, 112, 3) uint8, RGB. Clips for training have 64.
      timing: When repetitions happen, see `Timing`. Frames covered by a title card are not active.
      weight: Weight of each frame's label in the loss, (num_frames,) float32 in 0..1; below 1 where people may disagree.
    """

    frames: np.ndarray
    timing: Timing
    weight: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """The input of a training step.

    Attributes:
      frames: Frames, (clips, 64, 112, 112, 3) uint8, RGB.
      views: Frame that each position of each view shows, numbered across the batch, (clips, views, 64) int32.
      period: Period in positions, (clips, views, 64) float32; 0 where nothing repeats.
      periodic: 1 where something repeats, else 0, (clips, views, 64) float32.
      weight: Weight of each position in the loss, that of its frame's label, (clips, views, 64) float32.
    """

    frames: np.ndarray
    views: np.ndarray
    period: np.ndarray
    periodic: np.ndarray
    weight: np.ndarray


def draw_clip(seed: int, without: frozenset[str] = frozenset(), photographs: Sequence[np.ndarray] = ()) -> Clip:
    """Returns the clip of a seed. The same arguments draw the same clip.

    Args:
      seed: Seed of the clip.
      without: Those of `PARTS` to leave out.
      photographs: Photographs of which some textures are parts, see `photographs.load`; none by default.
    """
    rng = np.random.default_rng(seed)
    given = Ingredients(without, photographs)
    edited, damage = given.has("edits"), given.has("damage")
    scene, timing, weight = ANYTHING, draw_timing(rng, WINDOW_FRAMES), 1.0
    if given.has("strokes") and rng.random() < 0.06:
        scene, timing, weight = Scene(subject="strokes"), no_set(WINDOW_FRAMES), STROKES_WEIGHT
    elif not without and rng.random() < _HARD_SHARE:
        scene = _HARD_SCENES[rng.integers(len(_HARD_SCENES))]
    stride = int(rng.choice(_STRIDES, p=_STRIDE_SHARES))
    frames = draw_shot(rng, timing, scene, given, stride)
    active = timing.active.copy()
    if edited and rng.random() < 0.15:
        edits.cut(frames, draw_shot(rng, timing, scene, given, stride), rng)
    if edited and rng.random() < 0.12:
        active &= ~edits.insert_card(frames, rng)
    if edited and rng.random() < 0.15:
        edits.overlay(frames, timing, rng)
    if damage:
        frames = drawing.degrade(rng, frames)
    if edited and rng.random() < 0.15:
        edits.add_bars(frames, rng)
    if damage and rng.random() < 0.1:
        edits.hold_frames(frames, timing, rng)
    return Clip(frames, dataclasses.replace(timing, active=active), np.full(len(frames), weight, np.float32))


def draw_batch(
    first_seed: int,
    size: int,
    views_per_clip: int,
    without: frozenset[str] = frozenset(),
    photographs: Sequence[np.ndarray] = (),
) -> Batch:
    """Returns the clips of `size` consecutive seeds, with their views. The same arguments draw the same batch."""
    cv2.setNumThreads(1)
    clips = [draw_clip(seed, without, photographs) for seed in range(first_seed, first_seed + size)]
    timings = [(clip.timing.phase, clip.timing.period_frames, clip.timing.active) for clip in clips]
    views = draw_views(np.random.default_rng([first_seed, size]), timings, views_per_clip)
    shape = (size, views_per_clip, WINDOW_FRAMES)
    shown = np.stack([view.frames for view in views])
    periodic = np.stack([view.periodic for view in views])
    return Batch(
        frames=np.stack([clip.frames for clip in clips]),
        views=shown.reshape(shape),
        period=np.where(periodic, np.stack([view.period for view in views]), 0).astype(np.float32).reshape(shape),
        periodic=periodic.astype(np.float32).reshape(shape),
        weight=np.concatenate([clip.weight for clip in clips])[shown].reshape(shape),
    )
