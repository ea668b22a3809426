"""Paints fine rhythmic work that is no exercise: make-up, typing or knitting hands, chewing."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from model.config import FRAME_SIZE
from model.training.drawing import Camera, draw_background, draw_colour, paste
from model.training.timing import smooth_noise


def draw_strokes(rng: np.random.Generator, num_frames: int) -> np.ndarray:
    """Returns small strokes to and fro, (num_frames,) float32 in about −1..1: bursts of uneven pace and size, with pauses."""
    pace = np.exp(smooth_noise(rng, num_frames, float(rng.uniform(0.1, 0.35)), knot_frames=float(rng.uniform(6, 20))))[:, 0]
    phase = np.cumsum(pace / rng.uniform(3.5, 13.0)) + rng.random()
    size = np.clip(0.6 + smooth_noise(rng, num_frames, 0.5, knot_frames=float(rng.uniform(8, 40))), 0, 1.2)[:, 0]
    return (np.sin(2 * np.pi * phase) * size).astype(np.float32)


def paint_strokes(rng: np.random.Generator, frames: np.ndarray, camera: Camera, photographs: Sequence[np.ndarray] = ()) -> None:
    """Paints one of the kinds of fine work onto each frame.

    Args:
      rng: Source of randomness.
      frames: Frames to paint on, (num_frames, 112, 112, 3) uint8; changed in place.
      camera: Camera that sees the scene.
      photographs: Photographs of which some textures are parts; none by default.
    """
    kind = rng.random()
    if kind < 0.4:
        _paint_face(rng, frames, camera, draws=True)
    elif kind < 0.65:
        _paint_face(rng, frames, camera, draws=False)
    else:
        _paint_hands_at_work(rng, frames, camera, photographs)


def _wander(rng: np.random.Generator, num_frames: int, size: float) -> np.ndarray:
    """Returns slow drift in pixels, (num_frames, 2)."""
    return smooth_noise(rng, num_frames, size, 2, knot_frames=float(rng.uniform(12, 50)))


def _patch(rng: np.random.Generator, width: float, height: float, colour: tuple[float, float, float]) -> np.ndarray:
    """Returns a shaded oval of skin or cloth with its cover as a fourth channel, (2·height, 2·width, 4) uint8."""
    rows, columns = max(4, round(2 * height)), max(4, round(2 * width))
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    light = rng.normal(0, 0.25, 2)
    shade = np.clip(1.0 - 0.35 * (x**2 + y**2) + light[0] * x + light[1] * y, 0.3, 1.3)[..., None]
    out = np.zeros((rows, columns, 4), np.uint8)
    out[..., :3] = np.clip(np.array(colour) * shade, 0, 255)
    out[..., 3] = np.where(x**2 + y**2 < 1, 255, 0)
    return out


def _paste(frames: np.ndarray, patch: np.ndarray, maps: np.ndarray) -> None:
    """Pastes a patch with its cover, (H, W, 4), onto each frame, see `drawing.paste`."""
    paste(frames, np.ascontiguousarray(patch[..., :3]), np.ascontiguousarray(patch[..., 3]), maps)


def _maps(camera: Camera, patch: np.ndarray, middle: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Returns the maps of a patch with its middle at `middle`, (num_frames, 2), turned by `turn`, (num_frames,)."""
    cos, sin = np.cos(turn), np.sin(turn)
    local = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)
    linear = camera.maps[:, :, :2] @ local
    half = np.array([patch.shape[1] / 2, patch.shape[0] / 2])
    offset = camera.place(middle[:, None])[:, 0] - linear @ half
    return np.concatenate([linear, offset[..., None]], axis=-1)


def _paint_face(rng: np.random.Generator, frames: np.ndarray, camera: Camera, draws: bool) -> None:
    """Paints a face near the camera: a hand strokes it with a brush (`draws`), or its jaw chews."""
    num_frames, size = len(frames), float(rng.uniform(22, 48))
    skin, hair = draw_colour(rng), draw_colour(rng)
    middle = FRAME_SIZE / 2 + rng.normal(0, 12, 2) + _wander(rng, num_frames, float(rng.uniform(0.3, 2.5)))
    turn = float(rng.normal(0, 0.15)) + smooth_noise(rng, num_frames, 0.03, knot_frames=20.0)[:, 0]
    for place, width, height, colour in ((1.75, 1.5, 0.9, draw_colour(rng)), (-0.15, 0.92, 1.25, hair)):  # shoulders, hair
        patch = _patch(rng, width * size, height * size, colour)
        _paste(frames, patch, _maps(camera, patch, middle + np.array([0.0, place * size]), turn))
    face = _patch(rng, 0.8 * size, 1.05 * size, skin)
    rows, columns = face.shape[:2]
    thick = max(1, round(size / 14))
    dark = tuple(0.3 * channel for channel in skin)
    for side in (0.3, 0.7):
        eye = (round(columns * side), round(rows * 0.42))
        cv2.ellipse(face, eye, (round(size / 7), round(size / 12)), 0, 0, 360, (240, 240, 240, 255), -1)
        cv2.circle(face, eye, max(1, round(size / 14)), (*dark, 255), -1)
        cv2.line(face, (eye[0] - thick * 2, eye[1] - thick * 3), (eye[0] + thick * 2, eye[1] - thick * 3), (*dark, 255), thick)
    cv2.line(face, (columns // 2, round(rows * 0.45)), (columns // 2, round(rows * 0.6)), (*dark, 255), 1)
    if draws:
        cv2.ellipse(face, (columns // 2, round(rows * 0.75)), (round(size / 4), round(size / 12)), 0, 0, 360, (*dark, 255), -1)
    _paste(frames, face, _maps(camera, face, middle, turn))
    strokes = draw_strokes(rng, num_frames)
    if draws:
        angle, aside = rng.uniform(0, 2 * np.pi), rng.choice([-1, 1])
        target = middle + np.array([aside * 0.35 * size, rng.uniform(-0.4, 0.5) * size])
        direction = np.array([np.cos(angle), np.sin(angle)])
        target = target + strokes[:, None] * direction * rng.uniform(0.8, 4.5) + _wander(rng, num_frames, 1.5)
        _paint_hand(rng, frames, camera, target, size, skin, from_side=int(aside))
    else:
        mouth = camera.place((middle + np.array([0.0, 0.5 * size]))[:, None])[:, 0]
        opening = size * 0.05 * (1 + rng.uniform(0.6, 2.5) * np.abs(strokes))
        chew = strokes * rng.uniform(0.0, 1.5)
        for t, frame in enumerate(frames):
            at = (round(float(mouth[t, 0] + chew[t]) * 8), round(float(mouth[t, 1] + opening[t]) * 8))
            box = (round(size / 4 * 8), round(float(opening[t]) * 8))
            cv2.ellipse(frame, at, box, 0, 0, 360, dark, -1, cv2.LINE_AA, 3)


def _paint_hand(
    rng: np.random.Generator,
    frames: np.ndarray,
    camera: Camera,
    target: np.ndarray,
    size: float,
    skin: tuple[float, float, float],
    from_side: int,
) -> None:
    """Paints a forearm, a hand and a brush whose tip is at `target` in the scene, (num_frames, 2)."""
    sleeve, brush = draw_colour(rng), draw_colour(rng)
    reach = np.array([from_side * rng.uniform(0.5, 0.9), rng.uniform(0.3, 0.8)]) * size
    elbow = target.mean(axis=0) + reach * rng.uniform(2.5, 4.0)
    lines = camera.place(np.stack([target, target + reach, np.broadcast_to(elbow, target.shape)], axis=1))
    fixed = np.round(np.clip(lines, -400, 500) * 8).astype(int)
    for t, frame in enumerate(frames):
        tip, hand, arm = (tuple(map(int, place)) for place in fixed[t])
        cv2.line(frame, hand, arm, sleeve, max(2, round(size * 0.4)), cv2.LINE_AA, 3)
        cv2.circle(frame, hand, round(size * 0.26 * 8), skin, -1, cv2.LINE_AA, 3)
        cv2.line(frame, tip, hand, brush, max(1, round(size * 0.06)), cv2.LINE_AA, 3)


def _paint_hands_at_work(
    rng: np.random.Generator, frames: np.ndarray, camera: Camera, photographs: Sequence[np.ndarray]
) -> None:
    """Paints one or two hands that type, knit, stir or write on something flat."""
    num_frames, size = len(frames), float(rng.uniform(10, 24))
    skin, sleeve = draw_colour(rng), draw_colour(rng)
    middle = FRAME_SIZE / 2 + rng.normal(0, 10, 2)
    board = draw_background(rng, 64, photographs)
    for at in range(4, 64, int(rng.integers(5, 12))):  # keys, lines or rows of stitches
        cv2.line(board, (0, at), (64, at), draw_colour(rng), 1)
    board = np.concatenate([board, np.full((64, 64, 1), 255, np.uint8)], axis=-1)
    still, level = np.tile(middle + np.array([0.0, -0.4 * size]), (num_frames, 1)), np.full(num_frames, rng.normal(0, 0.15))
    _paste(frames, board, _maps(camera, board, still, level))
    for side in rng.permutation([-1, 1])[: int(rng.integers(1, 3))]:
        angle = rng.uniform(0, np.pi)
        stroke = draw_strokes(rng, num_frames)[:, None] * np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(0.7, 3.5)
        hand = middle + np.array([side * size * 1.3, 0]) + stroke + _wander(rng, num_frames, 2.0)
        elbow = np.tile(middle + np.array([side * rng.uniform(2, 4), 4.5]) * size, (num_frames, 1))
        fixed = np.round(np.clip(camera.place(np.stack([hand, elbow], axis=1)), -400, 500) * 8).astype(int)
        for t, frame in enumerate(frames):
            start, end = (tuple(map(int, place)) for place in fixed[t])
            cv2.line(frame, start, end, sleeve, max(2, round(size * 0.8)), cv2.LINE_AA, 3)
        patch = _patch(rng, size * 0.75, size * 0.6, skin)
        for finger in range(4):
            at = round(patch.shape[1] * (0.25 + 0.17 * finger))
            cv2.line(patch, (at, 0), (at, patch.shape[0] // 2), (*(0.6 * channel for channel in skin), 255), 1)
        _paste(frames, patch, _maps(camera, patch, hand, stroke[:, 0] * 0.02))
