"""Draws motion for clips: when repetitions happen, and the joints of a figure in each frame."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

_TABLE = 256
"""Samples per cycle in a wave's table."""


def smooth_noise(rng: np.random.Generator, num_frames: int, scale: float, channels: int = 1, most_knots: int = 8) -> np.ndarray:
    """Returns smooth noise of size `scale`, (num_frames, channels) float32. More knots make it change faster."""
    knots = rng.standard_normal((int(rng.integers(3, most_knots + 1)), channels)).astype(np.float32) * scale
    interpolation = cv2.INTER_LINEAR if rng.random() < 0.3 else cv2.INTER_CUBIC
    return cv2.resize(knots, (channels, num_frames), interpolation=interpolation).reshape(num_frames, channels)


def draw_wave(rng: np.random.Generator) -> np.ndarray:
    """Returns one cycle of a movement there and back, with holds or asymmetry, (256,) float32, mostly within 0..1."""
    phase = np.arange(_TABLE) / _TABLE
    kind = rng.random()
    if kind < 0.3:
        wave = 0.5 - 0.5 * np.cos(2 * np.pi * phase)
    elif kind < 0.7:
        up, top, down, bottom = rng.dirichlet([3.0, rng.choice([0.3, 1.5, 5.0]), 3.0, rng.choice([0.3, 1.5, 5.0])])
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


def at_phase(wave: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Returns a wave's values at phases in cycles."""
    return wave[(np.floor(phase * _TABLE).astype(int)) % _TABLE]


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


def draw_timing(rng: np.random.Generator, num_frames: int, shortest: float = 2.7, longest: float = 64.0) -> Timing:
    """Returns the timing of a clip: a set with drifting speed, perhaps starting late or ending early, or no set."""
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
    base = np.exp(rng.uniform(np.log(shortest), np.log(longest if rng.random() < 0.15 else 32.0)))
    drift = np.exp(smooth_noise(rng, num_frames, float(rng.choice([0.0, 0.05, 0.12, 0.2])))[:, 0])
    period = np.maximum(base * drift / drift.mean(), 2.2)
    phase = np.cumsum(1.0 / period) + rng.random()
    if rng.random() < 0.4:  # every repetition has its own duration
        jitter = np.exp(rng.standard_normal(int(phase[-1]) + 2) * rng.uniform(0.03, 0.15))
        period = np.maximum(period * jitter[np.floor(phase).astype(int)], 2.2)
        phase = np.cumsum(1.0 / period) + rng.random()
    active &= runs_of_two_cycles(phase, active)
    return Timing(phase, period, active)


def draw_set(rng: np.random.Generator, num_frames: int, shortest: float = 9.0, longest: float = 150.0) -> Timing:
    """Returns the timing of a whole video: one set, mostly with idling before and after it, or no set."""
    base = np.exp(rng.uniform(np.log(shortest), np.log(longest)))
    active = np.zeros(num_frames, bool)
    if rng.random() < 0.85:
        before, after = rng.uniform(0.0, 0.35, 2) * (rng.random(2) < 0.8) * num_frames
        active[int(before) : num_frames - int(after)] = True
    drift = np.exp(smooth_noise(rng, num_frames, float(rng.choice([0.0, 0.05, 0.12])))[:, 0])
    period = np.maximum(base * drift / drift.mean(), 0.5 * shortest)
    phase = np.cumsum(1.0 / period) + rng.random()
    return Timing(phase, period, active & runs_of_two_cycles(phase, active))


def runs_of_two_cycles(phase: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Returns `active` with only its runs of nearly two cycles or more; shorter ones look like a single movement."""
    out = np.zeros_like(active)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], active.astype(np.int8), [0]])))
    for start, end in edges.reshape(-1, 2):
        if phase[end - 1] - phase[start] >= 1.75:
            out[start:end] = True
    return out


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
_PARTNER = np.array([2 if i == 4 else 4 if i == 2 else 3 if i == 5 else 5 if i == 3 else s[2] for i, s in enumerate(SEGMENTS)])
_PARTNER[6:] = (8, 9, 6, 7)
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
    """

    rest: np.ndarray
    goal: np.ndarray
    detour: np.ndarray
    wave: np.ndarray
    detour_wave: np.ndarray
    lag: np.ndarray
    anchor: int
    travel: np.ndarray


def draw_exercise(rng: np.random.Generator) -> Exercise:
    """Returns a random exercise."""
    symmetric = rng.random() < 0.7
    rest = _draw_pose(rng, _STANDING, rng.choice([0.2, 0.6, 1.4]), symmetric)
    goal = _draw_pose(rng, rest, rng.uniform(0.5, 2.4), symmetric)
    detour = _draw_pose(rng, rest, 1.0, symmetric) if rng.random() < 0.25 else rest
    lag = np.zeros(len(SEGMENTS), np.float32)
    if rng.random() < 0.15:
        lag[[4, 5, 8, 9]] = 0.5
    elif rng.random() < 0.15:
        lag += rng.uniform(-0.1, 0.1, len(SEGMENTS)).astype(np.float32)
    anchor = int(rng.choice([-1, -1, 3, 7, 7, 7, 9, 1]))
    travel = rng.standard_normal(3).astype(np.float32) * rng.choice([0.0, 0.0, 0.1, 0.25])
    return Exercise(rest, goal, detour, draw_wave(rng), draw_wave(rng), lag, anchor, travel)


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
    weights = active.astype(np.float32)
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


def move_figure(rng: np.random.Generator, exercise: Exercise, timing: Timing, fidgets: bool = True) -> np.ndarray:
    """Returns the joints in body heights, y down, (num_frames, 11, 3) float32: the hip first, then each segment's end.

    Outside the repetitions the figure idles, see `draw_idling`. It always sways a little.
    """
    num_frames = len(timing.phase)
    weight = blend_weights(rng, timing.active)[:, None]
    idling = draw_idling(rng, num_frames, fidgets)[:, None]
    phases = timing.phase[:, None] + exercise.lag[None, :]
    amplitude = 1.0 + smooth_noise(rng, num_frames, float(rng.choice([0.0, 0.05, 0.15])))
    towards = weight * at_phase(exercise.wave, phases) * amplitude + (1 - weight) * idling
    aside = weight * at_phase(exercise.detour_wave, phases)
    directions = (
        exercise.rest
        + towards[..., None] * (exercise.goal - exercise.rest)
        + aside[..., None] * (exercise.detour - exercise.rest)
    )
    sway = smooth_noise(rng, num_frames, float(rng.choice([0.01, 0.05, 0.1])), channels=30).reshape(num_frames, 10, 3)
    restless = smooth_noise(rng, num_frames, float(rng.choice([0.0, 0.3, 0.6])), channels=30).reshape(num_frames, 10, 3)
    directions = directions + sway + (1 - weight[..., None]) * restless
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True) + 1e-3

    joints = np.zeros((num_frames, len(SEGMENTS) + 1, 3), np.float32)
    for i, (parent, length, _) in enumerate(SEGMENTS):
        joints[:, i + 1] = joints[:, parent + 1] + directions[:, i] * length
        joints[:, i + 1, 0] += _SIDE[i]
    if exercise.anchor >= 0:
        joints -= joints[:, exercise.anchor + 1 : exercise.anchor + 2] - joints[:1, exercise.anchor + 1 : exercise.anchor + 2]
    joints += (towards[:, :1] * exercise.travel)[:, None, :]
    return joints


def view_figure(rng: np.random.Generator, joints: np.ndarray) -> np.ndarray:
    """Returns the joints as a random camera sees them, standing or lying, in body heights, (num_frames, 11, 2) float32."""
    turn, _ = cv2.Rodrigues(np.array([0.0, rng.uniform(-np.pi, np.pi), 0.0]))
    tilt, _ = cv2.Rodrigues(np.array([rng.normal(0, 0.25), 0.0, 0.0]))
    kind = rng.random()
    roll = rng.normal(0, 0.1) if kind < 0.6 else rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.2)
    if kind > 0.85:
        roll = rng.uniform(-np.pi, np.pi)
    lie, _ = cv2.Rodrigues(np.array([0.0, 0.0, roll]))
    seen = joints @ (tilt @ turn @ lie).T.astype(np.float32)
    nearness = 1.0 / np.maximum(1.0 - seen[..., 2:] * rng.choice([0.0, 0.3, 0.7]), 0.4)
    return seen[..., :2] * nearness
