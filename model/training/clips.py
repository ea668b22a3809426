"""Draws labelled clips: 64 frames, whether each belongs to repetitions, and its phase in the repetition.

A clip is one or two shots of a scene. A scene has a background, a camera, an actor (a figure, patches, or the picture itself)
that repeats a movement or does not, and bystanders. Actors may arrive first, and leave again. The timing of a set continues
across cuts, as in edited workout videos.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from model.config import FRAME_SIZE, WINDOW_FRAMES
from model.training import drawing, motion
from model.training.views import draw_views

PARTS = ("bystanders", "camera", "damage", "edits", "entrances", "fidgeting")
"""Parts of clips that can be left out, for ablation.

In order: people beside the actor; a moving camera; blur, compression, low resolution and held frames; cuts, title cards,
counters and bars; actors who arrive, take their position and leave; movements without rhythm where nothing repeats.
"""

_VIDEOS = 20201
"""Keeps the seeds of `draw_video` apart from those of training."""


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """A drawn clip with its label.

    Attributes:
      frames: Frames, (num_frames, 112, 112, 3) uint8, RGB. Clips for training have 64.
      timing: When repetitions happen, see `motion.Timing`. Frames covered by a title card are not active.
      weight: Weight of each frame's label in the loss, (num_frames,) float32 in 0..1; below 1 where people may disagree.
    """

    frames: np.ndarray
    timing: motion.Timing
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
    edits, damage = "edits" not in without, "damage" not in without
    timing = motion.draw_timing(rng, WINDOW_FRAMES)
    frames = _draw_shot(rng, timing, without, photographs)
    active = timing.active.copy()
    if edits and rng.random() < 0.15:
        _cut(frames, _draw_shot(rng, timing, without, photographs), rng)
    if edits and rng.random() < 0.12:
        active &= ~_insert_card(frames, rng)
    if edits and rng.random() < 0.15:
        _overlay(frames, timing, rng)
    if damage:
        frames = drawing.degrade(rng, frames)
    if edits and rng.random() < 0.15:
        _bars(frames, rng)
    if damage and rng.random() < 0.1:
        _hold_frames(frames, timing, rng)
    return Clip(frames, dataclasses.replace(timing, active=active), np.ones(len(frames), np.float32))


def draw_video(seed: int) -> Clip:
    """Returns a whole video of 240 to 700 frames, to measure counting; its seeds are apart from those of training.

    It has at most one set, of `(timing.active / timing.period_frames).sum()` repetitions, and may have a cut.
    """
    rng = np.random.default_rng([_VIDEOS, seed])
    timing = motion.draw_set(rng, int(rng.integers(240, 700)))
    frames = _draw_shot(rng, timing, frozenset())
    if rng.random() < 0.1:
        _cut(frames, _draw_shot(rng, timing, frozenset()), rng)
    return Clip(drawing.degrade(rng, frames), timing, np.ones(len(frames), np.float32))


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


def _draw_shot(
    rng: np.random.Generator, timing: motion.Timing, without: frozenset[str], photographs: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """Returns a scene from one viewpoint, (num_frames, 112, 112, 3) uint8."""
    num_frames = len(timing.phase)
    bystanders, entrances, fidgets = (part not in without for part in ("bystanders", "entrances", "fidgeting"))
    camera = drawing.fix_camera(num_frames) if "camera" in without else drawing.draw_camera(rng, num_frames)
    frames = drawing.paint_backgrounds(drawing.draw_background(rng, FRAME_SIZE * 3 // 2, photographs), camera)
    if bystanders and rng.random() < 0.2:
        _paint_bystander(frames, camera, rng)
    kind = rng.random()
    if kind < 0.72:
        _paint_actor(frames, camera, timing, rng, entrances, fidgets)
    elif kind < 0.92:
        _paint_patches(frames, camera, timing, rng, fidgets, photographs)
    else:
        frames = _move_picture(frames, timing, rng, fidgets)
    if bystanders and rng.random() < 0.1:
        _paint_bystander(frames, camera, rng)
    return frames


def _place(rng: np.random.Generator, seen: np.ndarray, scale: float, stray: float) -> np.ndarray:
    """Returns joints in scene pixels, (num_frames, K, 2), near the middle, squeezed as non-square videos are."""
    squeeze = float(rng.choice([0.56, 0.56, 0.75, 1.0, 1.78]))
    middle = seen.reshape(-1, 2).mean(axis=0)
    size = np.array([scale * np.sqrt(squeeze), scale / np.sqrt(squeeze)], np.float32)
    return (seen - middle) * size + FRAME_SIZE / 2 + rng.uniform(-stray, stray, 2).astype(np.float32)


def _paint_actor(
    frames: np.ndarray, camera: drawing.Camera, timing: motion.Timing, rng: np.random.Generator, entrances: bool, fidgets: bool
) -> None:
    """Paints a figure that exercises while the timing is active, and otherwise idles, walks, arrives or leaves."""
    num_frames = len(frames)
    exercise = motion.draw_exercise(rng)
    joints = motion.move_figure(rng, exercise, timing, fidgets)
    if rng.random() < 0.08:  # another exercise, at another speed, in the second half of the set
        joints = _change_exercise(joints, motion.move_figure(rng, motion.draw_exercise(rng), timing, fidgets), rng)
    away = motion.draw_absences(rng, timing.active) if entrances and rng.random() < 0.4 else []
    for absence in away:
        joints = motion.change_posture(rng, joints, absence)
    seen = motion.view_figure(rng, joints)
    scale = FRAME_SIZE * float(np.exp(rng.normal(-0.15, 0.35)))
    places = _place(rng, seen, scale, FRAME_SIZE * 0.2)
    for absence in away:
        places = _approach(places, absence, rng)
    idle = 1.0 - motion.blend_weights(rng, timing.active)
    if rng.random() < 0.35:  # walks about while not exercising
        walk = motion.smooth_noise(rng, num_frames, float(rng.uniform(5, 50)), 2)
        anchor = walk[int(np.argmin(idle))]
        places += ((walk - anchor) * idle[:, None])[:, None, :]
    places = camera.place(places)
    look = drawing.draw_look(rng)
    for t in range(num_frames):
        drawing.paint_figure(frames[t], places[t], look, scale)


def _approach(places: np.ndarray, absence: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Moves a figure towards the camera, away from it, or out of the picture, as far as it is absent."""
    middle = places.mean(axis=1, keepdims=True)
    swell = np.exp(float(rng.uniform(-0.5, 1.2)) * absence)[:, None, None]
    shift = rng.normal(0, FRAME_SIZE * float(rng.choice([0.1, 0.3, 0.8])), 2)
    return (middle + (places - middle) * swell + shift * absence[:, None, None]).astype(np.float32)


def _change_exercise(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Joins two movements of a figure with a short transition."""
    at = float(rng.uniform(0.3, 0.7)) * len(first)
    weight = 1.0 / (1.0 + np.exp(-(np.arange(len(first)) - at) / 1.5))
    return first + (second - first) * weight[:, None, None].astype(np.float32)


def _paint_patches(
    frames: np.ndarray,
    camera: drawing.Camera,
    timing: motion.Timing,
    rng: np.random.Generator,
    fidgets: bool,
    photographs: Sequence[np.ndarray],
) -> None:
    """Paints one to four textured patches that move, turn and swell together, like objects, close-ups or things from above."""
    num_frames = len(frames)
    weight = motion.blend_weights(rng, timing.active)
    shared_idling = motion.draw_idling(rng, num_frames, fidgets)
    for _ in range(int(rng.integers(1, 5))):
        wave = motion.at_phase(motion.draw_wave(rng), timing.phase + float(rng.choice([0.0, 0.0, 0.5])))
        move = weight * wave + (1 - weight) * shared_idling
        swing = rng.normal(0, 1, 2) * float(rng.choice([0.0, 6.0, 15.0, 30.0]))
        swell = float(rng.normal(0, 0.25))
        turn = float(rng.normal(0, 0.6)) if rng.random() < 0.5 else 0.0
        if np.abs(swing).max() < 4 and abs(swell) < 0.12 and abs(turn) < 0.3:
            swing = np.array([0.0, 15.0])
        still = motion.smooth_noise(rng, num_frames, float(rng.choice([0.2, 1.0])), 2)
        side = int(rng.integers(8, 80))
        patch = drawing.draw_background(rng, side, photographs)
        mask = np.zeros((side, side), np.uint8)
        cv2.ellipse(mask, (side // 2, side // 2), (side // 2, int(side * rng.uniform(0.15, 0.5))), 0, 0, 360, 255, -1)
        home = rng.uniform(25, FRAME_SIZE - 25, 2)
        base_turn = float(rng.uniform(0, 6.28))
        for t in range(num_frames):
            zoom, angle = np.exp(swell * move[t]), base_turn + turn * move[t]
            cos, sin = np.cos(angle) * zoom, np.sin(angle) * zoom
            local = np.array([[cos, -sin], [sin, cos]])
            middle = home + swing * move[t] + still[t]
            linear = camera.maps[t, :, :2] @ local
            offset = camera.maps[t, :, :2] @ middle + camera.maps[t, :, 2] - linear @ np.array([side / 2, side / 2])
            matrix = np.concatenate([linear, offset[:, None]], axis=1)
            seen = cv2.warpAffine(patch, matrix, (FRAME_SIZE, FRAME_SIZE))
            cover = cv2.warpAffine(mask, matrix, (FRAME_SIZE, FRAME_SIZE))
            cv2.copyTo(seen, (cover > 127).astype(np.uint8), frames[t])


def _move_picture(frames: np.ndarray, timing: motion.Timing, rng: np.random.Generator, fidgets: bool) -> np.ndarray:
    """Returns the frames moved, turned or scaled as a whole, as from a camera worn on the body."""
    num_frames = len(frames)
    weight = motion.blend_weights(rng, timing.active)
    wave = motion.at_phase(motion.draw_wave(rng), timing.phase)
    move = weight * wave + (1 - weight) * motion.draw_idling(rng, num_frames, fidgets)
    shift = rng.normal(0, 12, 2)
    swell, turn = float(rng.normal(0, 0.15)), float(rng.normal(0, 0.2))
    for t in range(num_frames):
        matrix = cv2.getRotationMatrix2D(
            (FRAME_SIZE / 2, FRAME_SIZE / 2), float(np.degrees(turn * move[t])), float(np.exp(swell * move[t]))
        )
        matrix[:, 2] += shift * move[t]
        frames[t] = cv2.warpAffine(frames[t], matrix, (FRAME_SIZE, FRAME_SIZE), borderMode=cv2.BORDER_REFLECT)
    return frames


def _paint_bystander(frames: np.ndarray, camera: drawing.Camera, rng: np.random.Generator) -> None:
    """Paints a person who stands, fidgets or walks through the picture."""
    num_frames = len(frames)
    nothing = motion.Timing(
        np.linspace(0, num_frames / rng.uniform(6, 20), num_frames), np.ones(num_frames), np.zeros(num_frames, bool)
    )
    seen = motion.view_figure(rng, motion.move_figure(rng, motion.draw_exercise(rng), nothing))
    scale = FRAME_SIZE * float(rng.uniform(0.2, 0.9))
    places = _place(rng, seen, scale, FRAME_SIZE * 0.5)
    if rng.random() < 0.5:
        places += np.linspace(-0.5, 0.5, num_frames)[:, None, None].astype(np.float32) * rng.normal(0, 80, 2).astype(np.float32)
    places = camera.place(places)
    look = drawing.draw_look(rng)
    for t in range(num_frames):
        drawing.paint_figure(frames[t], places[t], look, scale)


def _cut(frames: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> None:
    """Changes to another shot, with a hard cut or a dissolve."""
    at = float(rng.uniform(0.15, 0.85)) * len(frames)
    length = 0.05 if rng.random() < 0.5 else float(rng.uniform(3, 14))
    weights = np.clip((np.arange(len(frames)) - at) / length, 0, 1)
    for t, weight in enumerate(weights):
        if weight > 0:
            cv2.addWeighted(frames[t], 1 - weight, other[t], weight, 0, dst=frames[t])


def _insert_card(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Inserts a title card at the start or the end; returns which frames it covers, (num_frames,) bool."""
    length = int(rng.integers(5, 30))
    covered = np.zeros(len(frames), bool)
    covered[slice(0, length) if rng.random() < 0.5 else slice(-length, None)] = True
    frames[covered] = drawing.draw_card(rng)
    return covered


def _overlay(frames: np.ndarray, timing: motion.Timing, rng: np.random.Generator) -> None:
    """Burns in a text, or a counter that rises with every repetition."""
    seed = int(rng.integers(1 << 31))
    counter = rng.random() < 0.5
    offset = int(rng.integers(0, 20))
    for t in range(len(frames)):
        text = str(int(timing.phase[t]) + offset) if counter else "WORKOUT"
        drawing.write(frames[t], np.random.default_rng(seed), text)


def _bars(frames: np.ndarray, rng: np.random.Generator) -> None:
    """Adds black bars left and right or above and below; the picture is squeezed in between."""
    bar = int(rng.integers(6, 38))
    inner = FRAME_SIZE - 2 * bar
    upright = rng.random() < 0.5
    for t in range(len(frames)):
        squeezed = cv2.resize(frames[t], (inner, FRAME_SIZE) if upright else (FRAME_SIZE, inner), interpolation=cv2.INTER_AREA)
        frames[t] = 0
        if upright:
            frames[t, :, bar : bar + inner] = squeezed
        else:
            frames[t, bar : bar + inner] = squeezed


def _hold_frames(frames: np.ndarray, timing: motion.Timing, rng: np.random.Generator) -> None:
    """Repeats every frame a few times, like a source with a low frame rate sampled at a higher one."""
    longest = int(np.clip(timing.period_frames.min() / 3, 1, 6))
    if longest > 1:
        hold = int(rng.integers(2, longest + 1))
        frames[:] = frames[np.arange(len(frames)) // hold * hold]
