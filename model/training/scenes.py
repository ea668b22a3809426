"""Draws shots of scenes: a background, a camera, those who repeat a movement or do not, and bystanders."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from model.config import FRAME_SIZE
from model.training import drawing, figures, motion
from model.training.strokes import paint_strokes
from model.training.timing import Timing, no_set, smooth_noise


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a shot shows; chance decides about each None.

    Attributes:
      subject: "people", "patches", "picture" (the camera itself moves) or "strokes" (fine rhythmic work that is no exercise).
      people: Number of people who do the same.
      sides: How the exercise uses left and right, one of `motion.SIDES`.
      holds: Whether the exercise has long holds.
      talks: Whether people talk and gesture while they do not exercise.
      camera: Kind of the camera, see `drawing.draw_camera`.
    """

    subject: str | None = None
    people: int | None = None
    sides: str | None = None
    holds: bool | None = None
    talks: bool | None = None
    camera: str | None = None


ANYTHING = Scene()


@dataclasses.dataclass(frozen=True, eq=False)
class Ingredients:
    """What shots are drawn from.

    Attributes:
      without: Those of `clips.PARTS` to leave out.
      photographs: Photographs of which some textures are parts, see `photographs.load`; none by default.
    """

    without: frozenset[str] = frozenset()
    photographs: Sequence[np.ndarray] = ()

    def has(self, part: str) -> bool:
        """Returns whether a part is not left out."""
        return part not in self.without


EVERYTHING = Ingredients()


def draw_shot(
    rng: np.random.Generator, timing: Timing, scene: Scene = ANYTHING, given: Ingredients = EVERYTHING, stride: int = 1
) -> np.ndarray:
    """Returns a scene from one viewpoint, (num_frames, 112, 112, 3) uint8.

    Args:
      rng: Source of randomness.
      timing: When repetitions happen in the frames that are painted.
      scene: What the shot shows.
      given: What it is drawn from.
      stride: Paints only every `stride`-th frame of a shot that is as much longer. People idle, gesture and walk, and cameras
        shake, at their usual pace, so all that is faster from painted frame to painted frame. Strokes have stride 1.
    """
    stride = 1 if scene.subject == "strokes" else stride
    timing = timing.slowed(stride) if stride > 1 else timing
    num_frames = len(timing.phase)
    camera = drawing.draw_camera(rng, num_frames, scene.camera) if given.has("camera") else drawing.fix_camera(num_frames)
    camera = drawing.Camera(camera.maps[::stride], camera.background[::stride])
    frames = drawing.paint_backgrounds(drawing.draw_background(rng, FRAME_SIZE * 3 // 2, given.photographs), camera)
    bystanders, fidgets = given.has("bystanders"), given.has("fidgeting")
    if bystanders and rng.random() < 0.2:
        _paint_bystander(frames, camera, rng, given, stride)
    subject = scene.subject or str(rng.choice(["people", "patches", "picture"], p=[0.74, 0.19, 0.07]))
    if subject == "people":
        _paint_people(frames, camera, timing, rng, scene, given, stride)
    elif subject == "patches":
        _paint_patches(frames, camera, timing, rng, given, stride)
    elif subject == "picture":
        frames = _move_picture(frames, timing, rng, fidgets, stride)
    else:
        paint_strokes(rng, frames, camera, given.photographs)
    if bystanders and rng.random() < 0.1:
        _paint_bystander(frames, camera, rng, given, stride)
    return frames


def _place(rng: np.random.Generator, seen: np.ndarray, scale: float, stray: float, active: np.ndarray) -> np.ndarray:
    """Returns joints in scene pixels, (num_frames, K, 2), squeezed as non-square videos are.

    What moves while the set lasts is near the middle, as people aim a camera.
    """
    squeeze = float(rng.choice([0.56, 0.56, 0.75, 1.0, 1.78]))
    middle = seen.reshape(-1, 2).mean(axis=0)
    if active.any() and rng.random() < 0.8:
        during = seen[active]
        moved = during.std(axis=0).sum(axis=-1) + 1e-3
        middle = (during.mean(axis=0) * moved[:, None]).sum(axis=0) / moved.sum()
    size = np.array([scale * np.sqrt(squeeze), scale / np.sqrt(squeeze)], np.float32)
    return ((seen - middle) * size + FRAME_SIZE / 2 + rng.uniform(-stray, stray, 2)).astype(np.float32)


def _paint_people(
    frames: np.ndarray,
    camera: drawing.Camera,
    timing: Timing,
    rng: np.random.Generator,
    scene: Scene,
    given: Ingredients,
    stride: int,
) -> None:
    """Paints figures that do the same while the timing is active, and otherwise idle, talk, walk, arrive or leave."""
    people = scene.people or (int(rng.integers(2, 5)) if given.has("groups") and rng.random() < 0.08 else 1)
    slow = float(np.median(timing.period_frames)) > 14
    holds = slow and rng.random() < 0.25 if scene.holds is None else scene.holds
    sets = len(timing.sets()) if rng.random() < 0.8 else 1  # mostly another exercise in each set
    exercises = [motion.draw_exercise(rng, scene.sides, holds) for _ in range(min(max(sets, 1), 5))]
    viewpoint = motion.draw_viewpoint(rng)
    scale = FRAME_SIZE * float(np.exp(rng.normal(-0.15, 0.35))) * (1.0 if people == 1 else float(rng.uniform(0.6, 0.9)))
    apart = float(rng.uniform(22, 45))
    for i in range(people):
        own = scale if people == 1 else scale * float(rng.uniform(0.85, 1.15))
        late = 0.0 if people == 1 else float(rng.normal(0, 0.04))
        person = Timing(timing.phase + late, timing.period_frames, timing.active)
        places = _move_person(rng, exercises, person, viewpoint, own, scene, given)[::stride]
        places[..., 0] += (i - (people - 1) / 2) * apart
        figures.paint_figure(frames, camera.place(places), figures.draw_look(rng, given.has("volume"), given.photographs), own)


def _move_person(
    rng: np.random.Generator,
    exercises: list[motion.Exercise],
    timing: Timing,
    viewpoint: motion.Viewpoint,
    scale: float,
    scene: Scene,
    given: Ingredients,
) -> np.ndarray:
    """Returns the joints of a person in scene pixels, (num_frames, 15, 2) float32.

    Args:
      rng: Source of randomness.
      exercises: Exercises of the person, one per set.
      timing: When the sets are.
      viewpoint: Where the camera sees the person from.
      scale: Pixels per body height.
      scene: What is asked of the scene.
      given: What the scene is drawn from.
    """
    num_frames, fidgets = len(timing.phase), given.has("fidgeting")
    talks = given.has("talking") and rng.random() < 0.25 if scene.talks is None else scene.talks
    joints = motion.move_figure(rng, exercises, timing, fidgets, talks)
    for share in motion.set_weights(timing, len(exercises)).T[1:]:
        joints = motion.change_posture(rng, joints, share)
    away = motion.draw_absences(rng, timing.active) if given.has("entrances") and rng.random() < 0.4 else []
    for absence in away:
        joints = motion.change_posture(rng, joints, absence)
    places = _place(rng, viewpoint.see(joints), scale, FRAME_SIZE * 0.2, timing.active)
    for absence in away:
        places = _approach(places, absence, rng)
    idle = 1.0 - motion.blend_weights(rng, timing.active)
    if rng.random() < 0.35:  # walks about while not exercising
        walk = smooth_noise(rng, num_frames, float(rng.uniform(5, 50)), 2)
        anchor = walk[int(np.argmin(idle))]
        places += ((walk - anchor) * idle[:, None])[:, None, :]
    return places


def _approach(places: np.ndarray, absence: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Moves a figure towards the camera, away from it, or out of the picture, as far as it is absent."""
    middle = places.mean(axis=1, keepdims=True)
    swell = np.exp(float(rng.uniform(-0.5, 1.2)) * absence)[:, None, None]
    shift = rng.normal(0, FRAME_SIZE * float(rng.choice([0.1, 0.3, 0.8])), 2)
    return (middle + (places - middle) * swell + shift * absence[:, None, None]).astype(np.float32)


def _paint_patches(
    frames: np.ndarray, camera: drawing.Camera, timing: Timing, rng: np.random.Generator, given: Ingredients, stride: int
) -> None:
    """Paints one to four textured patches that move, turn and swell together, like objects, close-ups or things from above."""
    num_frames = len(timing.phase)
    weight = motion.blend_weights(rng, timing.active)
    shared_idling = motion.draw_idling(rng, num_frames, given.has("fidgeting"))
    for _ in range(int(rng.integers(1, 5))):
        wave = motion.at_phase(motion.draw_wave(rng), timing.phase + float(rng.choice([0.0, 0.0, 0.5])))
        move = (weight * wave + (1 - weight) * shared_idling)[::stride]
        swing = rng.normal(0, 1, 2) * float(rng.choice([0.0, 6.0, 15.0, 30.0]))
        swell = float(rng.normal(0, 0.25))
        turn = float(rng.normal(0, 0.6)) if rng.random() < 0.5 else 0.0
        if np.abs(swing).max() < 4 and abs(swell) < 0.12 and abs(turn) < 0.3:
            swing = np.array([0.0, 15.0])
        still = smooth_noise(rng, num_frames, float(rng.choice([0.2, 1.0])), 2)[::stride]
        side = int(rng.integers(8, 80))
        patch = drawing.draw_background(rng, side, given.photographs)
        mask = np.zeros((side, side), np.uint8)
        cv2.ellipse(mask, (side // 2, side // 2), (side // 2, int(side * rng.uniform(0.15, 0.5))), 0, 0, 360, 255, -1)
        home = rng.uniform(25, FRAME_SIZE - 25, 2)
        base_turn = float(rng.uniform(0, 6.28))
        zoom, angle = np.exp(swell * move), base_turn + turn * move
        cos, sin = np.cos(angle) * zoom, np.sin(angle) * zoom
        local = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)
        middle = home + swing * move[:, None] + still
        linear = camera.maps[:, :, :2] @ local
        offset = camera.place(middle[:, None])[:, 0] - linear @ np.array([side / 2, side / 2])
        drawing.paste(frames, patch, mask, np.concatenate([linear, offset[..., None]], axis=-1))


def _move_picture(frames: np.ndarray, timing: Timing, rng: np.random.Generator, fidgets: bool, stride: int) -> np.ndarray:
    """Returns the frames moved, turned or scaled as a whole, as from a camera worn on the body."""
    num_frames = len(timing.phase)
    weight = motion.blend_weights(rng, timing.active)
    wave = motion.at_phase(motion.draw_wave(rng), timing.phase)
    move = (weight * wave + (1 - weight) * motion.draw_idling(rng, num_frames, fidgets))[::stride]
    shift = rng.normal(0, 12, 2)
    swell, turn = float(rng.normal(0, 0.15)), float(rng.normal(0, 0.2))
    for t in range(len(frames)):
        matrix = cv2.getRotationMatrix2D(
            (FRAME_SIZE / 2, FRAME_SIZE / 2), float(np.degrees(turn * move[t])), float(np.exp(swell * move[t]))
        )
        matrix[:, 2] += shift * move[t]
        frames[t] = cv2.warpAffine(frames[t], matrix, (FRAME_SIZE, FRAME_SIZE), borderMode=cv2.BORDER_REFLECT)
    return frames


def _paint_bystander(
    frames: np.ndarray, camera: drawing.Camera, rng: np.random.Generator, given: Ingredients, stride: int
) -> None:
    """Paints a person who stands, fidgets, talks or walks through the picture."""
    num_frames = stride * len(frames)
    nothing = no_set(num_frames, float(rng.uniform(6, 20)))
    talks = given.has("talking") and rng.random() < 0.3
    joints = motion.move_figure(rng, [motion.draw_exercise(rng)], nothing, talks=talks)
    scale = FRAME_SIZE * float(rng.uniform(0.2, 0.9))
    places = _place(rng, motion.draw_viewpoint(rng).see(joints), scale, FRAME_SIZE * 0.5, nothing.active)
    if rng.random() < 0.5:
        places += np.linspace(-0.5, 0.5, num_frames)[:, None, None].astype(np.float32) * rng.normal(0, 80, 2).astype(np.float32)
    look = figures.draw_look(rng, given.has("volume"), given.photographs)
    figures.paint_figure(frames, camera.place(places[::stride]), look, scale)
