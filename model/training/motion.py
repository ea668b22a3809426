"""Draws motion for clips: waves, idling, and the joints of a figure in each frame."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import cv2
import numpy as np

from model.training.timing import Timing, smooth_noise

_TABLE = 256
"""Samples per cycle in a wave's table."""


def draw_wave(rng: np.random.Generator, holds: bool = False) -> np.ndarray:
    """Returns one cycle of a movement there and back, with holds or asymmetry, (256,) float32, mostly within 0..1.

    With `holds`, it stays long at one end or both, and moves quickly between them.
    """
    phase = np.arange(_TABLE) / _TABLE
    kind = 0.5 if holds else rng.random()
    if kind < 0.3:
        wave = 0.5 - 0.5 * np.cos(2 * np.pi * phase)
    elif kind < 0.7:
        pauses = [0.3, 8.0, 16.0] if holds else [0.3, 1.5, 5.0]
        up, top, down, bottom = rng.dirichlet([3.0, rng.choice(pauses), 3.0, rng.choice(pauses)])
        knots = np.cumsum([0, max(up, 0.1), top, max(down, 0.1), bottom])
        corners = np.interp(phase, knots / knots[-1], [0, 1, 1, 0, 0])
        width = int(rng.integers(8, 40))
        wave = np.convolve(np.tile(corners, 3), np.ones(width) / width, "same")[_TABLE : 2 * _TABLE]
    elif kind < 0.85:
        harmonics = [rng.standard_normal() / k**1.3 * np.sin(2 * np.pi * k * phase + rng.uniform(0, 6.28)) for k in (1, 2, 3)]
        wave = np.sum(harmonics, axis=0)
        wave = (wave - wave.min()) / max(np.ptp(wave), 1e-3)
    else:  # a bounce: fast at one end
        wave = np.abs(np.sin(np.pi * phase)) ** rng.uniform(0.6, 2.0)
    return np.roll(wave, int(rng.integers(_TABLE))).astype(np.float32)


def start_at_rest(wave: np.ndarray) -> np.ndarray:
    """Returns the wave shifted and lowered so that it starts at its lowest point, at 0."""
    return np.roll(wave, -int(np.argmin(wave))) - wave.min()


def draw_swing(rng: np.random.Generator) -> np.ndarray:
    """Returns one cycle of a swing between two sides with equal holds at both, (256,) float32 in 0..1."""
    swing = -np.cos(2 * np.pi * np.arange(_TABLE) / _TABLE)
    hold = float(rng.choice([1.0, 1.0, 1.4, 2.0]))
    return (0.5 + 0.5 * np.clip(hold * swing, -1, 1)).astype(np.float32)


def at_phase(wave: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Returns a wave's values at phases in cycles."""
    return wave[(np.floor(phase * _TABLE).astype(int)) % _TABLE]


# A figure's segments: (parent segment or -1 for the hip, length in body heights, mirrored partner or itself).
SEGMENTS = (
    (-1, 0.30, 0),  # 0 torso
    (0, 0.13, 1),  # 1 neck and head
    (0, 0.17, 4),  # 2 upper arm, left
    (2, 0.16, 5),  # 3 forearm, left
    (0, 0.17, 2),  # 4 upper arm, right
    (4, 0.16, 3),  # 5 forearm, right
    (-1, 0.24, 8),  # 6 thigh, left
    (6, 0.24, 9),  # 7 shin, left
    (-1, 0.24, 6),  # 8 thigh, right
    (8, 0.24, 7),  # 9 shin, right
)
ROOTS = (2, 4, 6, 8)
"""Segments that begin beside the body's middle, at the shoulders and the hip joints."""

_PARTNER = np.array([segment[2] for segment in SEGMENTS])
_LENGTHS = np.array([s[1] for s in SEGMENTS], np.float32)
_STANDING = np.array(
    [
        (0, -1, 0),
        (0, -1, 0),
        (-0.2, 1, 0),
        (0, 1, 0.1),
        (0.2, 1, 0),
        (0, 1, 0.1),
        (-0.1, 1, 0),
        (0, 1, 0),
        (0.1, 1, 0),
        (0, 1, 0),
    ],
    np.float32,
)
_LEAST_MOVEMENTS = (0.4, 0.8, 0.8)
"""Least distances between the poses of an exercise, one of which is drawn, see `_distance`.

A curl of both forearms has 0.5, a squat 1.0, a jumping jack 1.5. Smaller movements are lost among the swaying.
"""

_SIDE = np.array([0, 0, -0.11, 0, 0.11, 0, -0.06, 0, 0.06, 0], np.float32)
"""Distance of a limb's root from the body's middle along x, in body heights."""


def _random_rotation(rng: np.random.Generator, angle: float) -> np.ndarray:
    """Returns a 3×3 rotation by `angle` radians about a random axis."""
    axis = rng.standard_normal(3)
    rotation, _ = cv2.Rodrigues((axis / np.linalg.norm(axis) * angle).astype(np.float64))
    return rotation.astype(np.float32)


def _draw_pose(rng: np.random.Generator, base: np.ndarray, reach: float, symmetric: bool) -> np.ndarray:
    """Returns `base`, (10, 3), with some limbs turned by up to `reach` radians; left and right mirrored if `symmetric`."""
    pose = base.copy()
    chosen = rng.random(len(SEGMENTS)) < rng.uniform(0.2, 0.8)
    chosen[0] &= rng.random() < 0.5
    if not chosen.any():
        chosen[rng.integers(2, len(SEGMENTS))] = True
    mirror = np.array([-1, 1, 1], np.float32)
    for i in np.flatnonzero(chosen):
        pose[i] = _random_rotation(rng, rng.uniform(0.3, 1.0) * reach) @ pose[i]
        if symmetric:
            if _PARTNER[i] == i:
                pose[i, 0] *= 0.2
            else:
                pose[_PARTNER[i]] = pose[i] * mirror
    return pose


SIDES = ("", "turns", "swing", "stride")
"""How an exercise uses the sides of the body.

In order: both or one; in turns, each a repetition (alternating lunges); in a swing from one side to the other and back, one
repetition (Russian twists); left and right limbs half a cycle apart, one repetition (running).
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Exercise:
    """A cyclic movement of a figure: from pose `rest` towards `goal` along `wave`, through `detour` along `detour_wave`.

    Attributes:
      rest: Directions of the segments at rest, (10, 3).
      goal: Directions of the segments at the far end of the wave, (10, 3).
      detour: Directions of the segments on the way, (10, 3).
      wave: Table of the movement towards `goal`, (256,).
      detour_wave: Table of the movement towards `detour`, (256,).
      lag: Phase in cycles by which each segment lags, (10,): half a cycle between left and right if they alternate.
      anchor: Index of the segment whose end stays in place, or -1 for the hip.
      travel: Movement of the whole figure at the far end of the wave, in body heights, (3,).
      sides: How it uses the sides of the body, one of `SIDES`. In turns, every other repetition is mirrored.
    """

    rest: np.ndarray
    goal: np.ndarray
    detour: np.ndarray
    wave: np.ndarray
    detour_wave: np.ndarray
    lag: np.ndarray
    anchor: int
    travel: np.ndarray
    sides: str = ""


def draw_exercise(rng: np.random.Generator, sides: str | None = None, holds: bool = False) -> Exercise:
    """Returns a random exercise.

    Args:
      rng: Source of randomness.
      sides: One of `SIDES`; None for any.
      holds: Whether it has long holds, see `draw_wave`.
    """
    if sides is None:
        sides = str(rng.choice(SIDES, p=[0.7, 0.1, 0.08, 0.12]))
    symmetric = sides in ("turns", "swing") or rng.random() < 0.7
    rest = _draw_pose(rng, _STANDING, rng.choice([0.2, 0.6, 1.4]), symmetric)
    least = rng.choice(_LEAST_MOVEMENTS)
    for _ in range(12):  # until it can be seen
        goal = _draw_pose(rng, rest, rng.uniform(0.5, 2.4), symmetric and sides in ("", "stride"))
        if _distance(goal, _mirror(goal) if sides in ("turns", "swing") else rest) > least:
            break
    detour = _draw_pose(rng, rest, 1.0, symmetric) if sides in ("", "turns") and rng.random() < 0.25 else rest
    wave, lag = draw_wave(rng, holds), np.zeros(len(SEGMENTS), np.float32)
    travel = rng.standard_normal(3).astype(np.float32) * rng.choice([0.0, 0.0, 0.1, 0.25])
    detour_wave = draw_wave(rng)
    if sides == "swing":
        # From the mirrored pose to the pose itself, so that half a cycle looks like the other half.
        rest, wave = _mirror(goal), draw_swing(rng)
        detour, travel = rest, travel * np.array([1, 0, 0], np.float32)
    elif sides == "stride":
        wave, lag[[4, 5, 8, 9]] = draw_swing(rng), 0.5
        travel = travel * np.float32(0)
    elif sides == "turns" or rng.random() < 0.75:
        # The detour begins and ends at rest with the movement, so that a set does not start with a jerk.
        wave, detour_wave = start_at_rest(wave), start_at_rest(detour_wave)
    if sides == "" and rng.random() < 0.15:
        lag += rng.uniform(-0.1, 0.1, len(SEGMENTS)).astype(np.float32)
    anchor = int(rng.choice([-1, -1, 3, 7, 7, 7, 9, 1]))
    if sides not in ("", "stride"):
        anchor = -1 if rng.random() < 0.5 else 1
    return Exercise(rest, goal, detour, wave, detour_wave, lag, anchor, travel, sides)


def _distance(pose: np.ndarray, other: np.ndarray) -> float:
    """Returns how far the ends of the segments are apart in two poses, summed over the segments, in body heights."""
    return float((np.linalg.norm(pose - other, axis=1) * _LENGTHS).sum())


def _mirror(pose: np.ndarray) -> np.ndarray:
    """Returns a pose, (10, 3), with left and right exchanged."""
    return pose[_PARTNER] * np.array([-1, 1, 1], np.float32)


def draw_idling(rng: np.random.Generator, num_frames: int, fidgets: bool = True) -> np.ndarray:
    """Returns the movement that replaces the wave where nothing repeats, (num_frames,) float32.

    It is standing still, wandering, fidgeting, going to and fro without rhythm, or one or two single movements. Without
    `fidgets`, standing still and wandering replace the movements without rhythm.
    """
    kind = rng.random()
    if not fidgets and 0.5 <= kind < 0.82:
        kind -= 0.5
    if kind < 0.3:
        return np.full(num_frames, rng.uniform(0, 1), np.float32)
    if kind < 0.5:
        return np.clip(smooth_noise(rng, num_frames, 0.6)[:, 0] + 0.4, -0.3, 1.3)
    if kind < 0.7:  # gestures: as fast as repetitions, but never the same twice
        fidget = smooth_noise(rng, num_frames, float(rng.uniform(0.1, 0.8)), most_knots=36)[:, 0]
        return np.clip(fidget + rng.uniform(0, 1), -0.3, 1.3).astype(np.float32)
    if kind < 0.82:
        durations = float(np.exp(rng.uniform(np.log(4), np.log(24)))) * np.exp(rng.normal(0, 0.5, 40))
        heights = rng.uniform(0.1, 1.0, 40)
        phase = np.interp(np.arange(num_frames), np.concatenate([[0], np.cumsum(durations)]), np.arange(41))
        return ((0.5 - 0.5 * np.cos(2 * np.pi * phase)) * heights[np.minimum(phase.astype(int), 39)]).astype(np.float32)
    # One or two movements there and back, each at its own pace, too irregular to be repetitions.
    out = np.zeros(num_frames, np.float32)
    for _ in range(int(rng.integers(1, 3))):
        at, width = rng.uniform(0, num_frames), rng.uniform(3, 16)
        out = np.maximum(out, np.exp(-((np.arange(num_frames) - at) ** 2) / (2 * width**2)).astype(np.float32))
    return out


def blend_weights(rng: np.random.Generator, active: np.ndarray) -> np.ndarray:
    """Returns the weight of the wave, (num_frames,) float32: 1 within repetitions, else 0, mostly with soft edges."""
    weights: np.ndarray = active.astype(np.float32)
    if rng.random() < 0.7:
        weights = cv2.GaussianBlur(weights.reshape(1, -1), (7, 1), 0, borderType=cv2.BORDER_REPLICATE).ravel()
    return weights


def draw_absences(rng: np.random.Generator, active: np.ndarray) -> list[np.ndarray]:
    """Returns how absent an actor is before its set, and after it: two arrays, (num_frames,) float32 in 0..1.

    Within the set they are 0. Without a set, the actor only passes through its place.
    """
    frames = np.arange(len(active))
    within = np.flatnonzero(active) if active.any() else rng.integers(0, len(active), 1)
    absences = []
    for distance in (within[0] - frames, frames - within[-1]):
        share = np.clip(distance / np.exp(rng.uniform(np.log(5), np.log(40))), 0.0, 1.0)
        absences.append((share * share * (3.0 - 2.0 * share)).astype(np.float32))
    return absences


def change_posture(rng: np.random.Generator, joints: np.ndarray, absence: np.ndarray) -> np.ndarray:
    """Returns joints, (num_frames, K, 3), turned, as from standing to lying, in proportion to absence, (num_frames,)."""
    axis = rng.standard_normal(3) * np.array([1.0, 0.3, 1.0])
    axis *= rng.choice([0.0, 0.5, 1.5]) * rng.uniform(0.7, 1.2) / np.linalg.norm(axis)
    turned = joints.copy()
    for t in np.flatnonzero(absence):
        turn, _ = cv2.Rodrigues(axis * float(absence[t]))
        middle = joints[t].mean(axis=0)
        turned[t] = middle + (joints[t] - middle) @ turn.T.astype(np.float32)
    return turned


def draw_gestures(rng: np.random.Generator, num_frames: int) -> np.ndarray:
    """Returns how the segments of a speaker move, (num_frames, 10, 3) float32: the arms in bursts, the head by a nod."""
    pace = float(rng.uniform(3, 12))
    gestures = smooth_noise(rng, num_frames, 0.9, channels=30, knot_frames=pace).reshape(num_frames, 10, 3)
    bursts = np.clip(0.5 + smooth_noise(rng, num_frames, 0.6, knot_frames=4 * pace), 0, 1.2)[:, :, None]
    share = np.array([0.06, 0.25, 0.5, 1, 0.5, 1, 0.04, 0.04, 0.04, 0.04], np.float32)[:, None]
    if rng.random() < 0.4:  # one hand only
        share[rng.choice([[2, 3], [4, 5]])] *= 0.1
    return gestures * bursts * share


def set_weights(timing: Timing, number: int) -> np.ndarray:
    """Returns the weight of each of `number` exercises in each frame, (num_frames, number) float32: one per set, in turns.

    The exercises change half-way between sets.
    """
    which = np.zeros(len(timing.phase), int)
    sets = timing.sets()
    for i, ((_, end), (start, _)) in enumerate(itertools.pairwise(sets)):
        which[(end + start) // 2 :] = (i + 1) % number
    weights = np.eye(number, dtype=np.float32)[which]
    return cv2.GaussianBlur(weights.T, (9, 1), 0, borderType=cv2.BORDER_REPLICATE).reshape(number, -1).T


def _directions(
    rng: np.random.Generator, exercise: Exercise, timing: Timing, weight: np.ndarray, idling: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the directions of the segments in an exercise, (num_frames, 10, 3), and the figure's travel, (num_frames, 3).

    Args:
      rng: Source of randomness.
      exercise: Exercise to do.
      timing: When to do it.
      weight: Weight of the exercise, (num_frames, 1); idling has the rest.
      idling: Movement towards the goal while idling, (num_frames, 1).
    """
    phases = timing.phase[:, None] + exercise.lag[None, :]
    amplitude = 1.0 + smooth_noise(rng, len(timing.phase), float(rng.choice([0.0, 0.05, 0.15])))
    towards = (weight * at_phase(exercise.wave, phases) * amplitude)[..., None]
    aside = (weight * at_phase(exercise.detour_wave, phases))[..., None]
    idle = ((1 - weight) * idling)[..., None]
    goal, detour, travel = exercise.goal - exercise.rest, exercise.detour - exercise.rest, exercise.travel
    turned_goal, turned_detour, turned_travel = goal, detour, travel
    if exercise.sides == "turns":
        left = (np.floor(timing.phase) % 2 == 0)[:, None, None]
        turned_goal = np.where(left, goal, _mirror(exercise.goal) - exercise.rest)
        turned_detour = np.where(left, detour, _mirror(exercise.detour) - exercise.rest)
        turned_travel = np.where(left[..., 0], travel, travel * np.array([-1, 1, 1], np.float32))
    directions = exercise.rest + towards * turned_goal + aside * turned_detour + idle * goal
    return directions, towards[:, 0] * turned_travel + idle[:, 0] * travel


def move_figure(
    rng: np.random.Generator, exercises: Sequence[Exercise], timing: Timing, fidgets: bool = True, talks: bool = False
) -> np.ndarray:
    """Returns the joints in body heights, y down, (num_frames, 15, 3) float32.

    They are the hip, then each segment's end, then the shoulders and the hip joints. Outside the repetitions the figure idles,
    see `draw_idling`. It always sways a little.

    Args:
      rng: Source of randomness.
      exercises: Exercises to do, one per set, in turns.
      timing: When to do them.
      fidgets: See `draw_idling`.
      talks: Whether it talks and gestures outside the repetitions.
    """
    num_frames = len(timing.phase)
    weight = blend_weights(rng, timing.active)[:, None]
    idling = draw_idling(rng, num_frames, fidgets)[:, None]
    shares = set_weights(timing, len(exercises))
    directions, travel = np.zeros((num_frames, 10, 3), np.float32), np.zeros((num_frames, 3), np.float32)
    for exercise, share in zip(exercises, shares.T, strict=True):
        there, away = _directions(rng, exercise, timing, weight, idling)
        directions += there * share[:, None, None]
        travel += away * share[:, None]
    sway = smooth_noise(rng, num_frames, float(rng.choice([0.01, 0.05, 0.1])), channels=30).reshape(num_frames, 10, 3)
    if talks:
        restless = draw_gestures(rng, num_frames) + 0.7 * (_STANDING - exercises[0].rest)
    else:
        restless = smooth_noise(rng, num_frames, float(rng.choice([0.0, 0.3, 0.6])), channels=30).reshape(num_frames, 10, 3)
    directions = directions + sway + (1 - weight[..., None]) * restless
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True) + 1e-3

    joints = np.zeros((num_frames, len(SEGMENTS) + 1 + len(ROOTS), 3), np.float32)
    for i, (parent, length, _) in enumerate(SEGMENTS):
        root = joints[:, parent + 1]
        if i in ROOTS:
            root = joints[:, 11 + ROOTS.index(i)] = root + np.array([_SIDE[i], 0, 0], np.float32)
        joints[:, i + 1] = root + directions[:, i] * length
    anchors = np.zeros((num_frames, 3), np.float32)
    for exercise, share in zip(exercises, shares.T, strict=True):
        if exercise.anchor >= 0:
            moved = joints[:, exercise.anchor + 1] - joints[:1, exercise.anchor + 1]
            anchors += moved * share[:, None]
    joints += (travel - anchors)[:, None, :]
    return joints


@dataclasses.dataclass(frozen=True, eq=False)
class Viewpoint:
    """Where a camera sees a figure from.

    Attributes:
      rotation: Rotation from the figure's to the camera's axes, (3, 3) float32.
      perspective: Strength of the perspective; 0 for none.
    """

    rotation: np.ndarray
    perspective: float

    def see(self, joints: np.ndarray) -> np.ndarray:
        """Returns joints, (num_frames, K, 3), as the camera sees them, in body heights, (num_frames, K, 2) float32."""
        seen = joints @ self.rotation.T
        nearness = 1.0 / np.maximum(1.0 - seen[..., 2:] * self.perspective, 0.4)
        return seen[..., :2] * nearness


def draw_viewpoint(rng: np.random.Generator) -> Viewpoint:
    """Returns a random viewpoint, of a figure that stands or lies."""
    turn, _ = cv2.Rodrigues(np.array([0.0, rng.uniform(-np.pi, np.pi), 0.0]))
    tilt, _ = cv2.Rodrigues(np.array([rng.normal(0, 0.25), 0.0, 0.0]))
    kind = rng.random()
    roll = rng.normal(0, 0.1) if kind < 0.6 else rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.2)
    if kind > 0.85:
        roll = rng.uniform(-np.pi, np.pi)
    lie, _ = cv2.Rodrigues(np.array([0.0, 0.0, roll]))
    return Viewpoint((tilt @ turn @ lie).astype(np.float32), float(rng.choice([0.0, 0.3, 0.7])))
