"""Draws the parts of clips: backgrounds, title cards and text, cameras, and damage to the picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from model.config import FRAME_SIZE
from model.training import photographs
from model.training.timing import smooth_noise

_HALF = FRAME_SIZE / 2


def draw_colour(rng: np.random.Generator) -> tuple[float, float, float]:
    """Returns a colour, from grey to bright; most are muted, as in rooms and gyms."""
    bright = rng.uniform(0, 255, 3)
    red, green, blue = bright.mean() + (bright - bright.mean()) * rng.beta(0.6, 1.2)
    return float(red), float(green), float(blue)


def _texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """Returns a few octaves of tinted noise, (size, size, 3) float32 in 0..255."""
    out = np.zeros((size, size, 3), np.float32)
    weight = 1.0
    for cells in rng.choice([2, 3, 4, 6, 8, 12, 16, 24, 40], size=int(rng.integers(1, 5)), replace=False):
        channels = 1 if rng.random() < 0.6 else 3
        grid = rng.random((int(cells), int(cells), channels)).astype(np.float32)
        layer = cv2.resize(grid, (size, size), interpolation=int(rng.choice([cv2.INTER_NEAREST, cv2.INTER_LINEAR])))
        out += weight * layer.reshape(size, size, channels)
        weight *= rng.uniform(0.3, 0.9)
    out = (out - out.min()) / max(float(np.ptp(out)), 1e-3)
    low, high = np.sort(rng.uniform(0, 255, 2))
    tint = rng.uniform(0.7, 1.15, 3).astype(np.float32)
    return np.clip((low + max(high - low, 10.0) * out) * tint, 0, 255)


def draw_background(rng: np.random.Generator, size: int, pictures: Sequence[np.ndarray] = ()) -> np.ndarray:
    """Returns a background, (size, size, 3) uint8: a wall or sky, a floor and objects; sometimes only texture or one colour.

    Args:
      rng: Source of randomness.
      size: Height and width in pixels.
      pictures: Photographs of which some textures are parts, see `photographs.load`; none by default.
    """
    natural = len(pictures) > 0 and rng.random() < photographs.SHARE
    image: np.ndarray = (photographs.crop(rng, pictures, size) if natural else _texture(rng, size)).astype(np.uint8)
    kind = rng.random()
    if kind < 0.2:
        image[:] = draw_colour(rng)
    if kind < 0.7:
        floor = int(size * rng.uniform(0.45, 0.85))
        image[floor:] = (0.5 * image[floor:] + 0.5 * np.array(draw_colour(rng))).astype(np.uint8)
        cv2.line(
            image, (0, floor), (size, floor + int(rng.normal(0, 8))), draw_colour(rng), int(rng.integers(1, 4)), cv2.LINE_AA
        )
    for _ in range(int(rng.integers(0, 12))):
        corners = rng.integers(0, size, (4, 2)).astype(np.int32)
        form = rng.random()
        colour = draw_colour(rng)
        if form < 0.5:
            x, y = (int(v) for v in corners[0])
            w, h = (int(v) for v in rng.integers(3, size // 2 + 2, 2))
            cv2.rectangle(image, (x, y), (x + w, y + h), colour, -1 if rng.random() < 0.7 else int(rng.integers(1, 4)))
        elif form < 0.65:
            cv2.fillPoly(image, [corners], colour)
        elif form < 0.8:
            cv2.circle(image, tuple(map(int, corners[0])), int(rng.integers(1, size // 5 + 2)), colour, -1, cv2.LINE_AA)
        else:
            cv2.line(
                image, tuple(map(int, corners[0])), tuple(map(int, corners[1])), colour, int(rng.integers(1, 6)), cv2.LINE_AA
            )
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.8, 3)))
    return image


@dataclasses.dataclass(frozen=True, eq=False)
class Camera:
    """A camera, fixed or moving.

    Attributes:
      maps: Affine maps from scene pixels to picture pixels, (num_frames, 2, 3) float32.
      background: The same for what is far behind; it passes by while the camera follows the actor.
    """

    maps: np.ndarray
    background: np.ndarray

    def place(self, points: np.ndarray) -> np.ndarray:
        """Returns points of the scene, (num_frames, K, 2), in picture pixels."""
        return np.einsum("tij,tkj->tki", self.maps[:, :, :2], points) + self.maps[:, None, :, 2]


def fix_camera(num_frames: int) -> Camera:
    """Returns a fixed camera."""
    maps = np.tile(np.eye(2, 3, dtype=np.float32), (num_frames, 1, 1))
    return Camera(maps, maps)


def draw_camera(rng: np.random.Generator, num_frames: int, kind: str | None = None) -> Camera:
    """Returns a random camera.

    Args:
      rng: Source of randomness.
      num_frames: Number of frames.
      kind: "stand" may be fixed, panning, zooming, turning or trembling. "hand" is held by somebody who stands, "walk" by
        somebody who walks. Default: any of them.
    """
    shift = np.zeros((num_frames, 2), np.float32)
    turn = np.zeros((num_frames, 1), np.float32)
    log_zoom = np.zeros((num_frames, 1), np.float32)
    if rng.random() < 0.6:
        shift += smooth_noise(rng, num_frames, float(rng.choice([0.8, 2.0, 5.0])), 2, most_knots=int(rng.choice([8, 8, 24])))
    if rng.random() < 0.15:
        shift += np.linspace(-0.5, 0.5, num_frames)[:, None].astype(np.float32) * rng.normal(0, 25, 2).astype(np.float32)
    if rng.random() < 0.3:
        turn += smooth_noise(rng, num_frames, float(rng.choice([0.01, 0.04])))
    if rng.random() < 0.3:
        log_zoom += smooth_noise(rng, num_frames, float(rng.choice([0.02, 0.06])))
    if rng.random() < 0.15:
        log_zoom += np.linspace(-0.5, 0.5, num_frames)[:, None].astype(np.float32) * float(rng.normal(0, 0.35))
    if rng.random() < 0.2:
        shift += rng.standard_normal((num_frames, 2)).astype(np.float32) * float(rng.uniform(0.2, 1.0))
    kind = kind or str(rng.choice(["stand", "hand", "walk"], p=[0.7, 0.2, 0.1]))
    if kind != "stand":
        shift += smooth_noise(rng, num_frames, float(rng.uniform(0.3, 1.2)), 2, knot_frames=float(rng.uniform(3, 8)))
        shift += smooth_noise(rng, num_frames, float(rng.uniform(0.5, 3.5)), 2, knot_frames=float(rng.uniform(10, 40)))
        turn += smooth_noise(rng, num_frames, float(rng.uniform(0.003, 0.02)), knot_frames=float(rng.uniform(8, 25)))
        log_zoom += smooth_noise(rng, num_frames, float(rng.uniform(0.0, 0.03)), knot_frames=float(rng.uniform(15, 60)))
    maps = _maps(shift, turn[:, 0], log_zoom[:, 0])
    if kind != "walk":
        return Camera(maps, maps)
    shift += _draw_steps(rng, num_frames)
    # The camera stays with the actor, but for what the hand lags behind; the room passes by and comes closer.
    path = smooth_noise(rng, num_frames, float(rng.uniform(6, 16)), 2, knot_frames=float(rng.uniform(40, 120)))
    closer = smooth_noise(rng, num_frames, float(rng.uniform(0.02, 0.12)), knot_frames=float(rng.uniform(40, 120)))
    near, far = float(rng.uniform(0, 0.3)), path * np.array([1.0, 0.3], np.float32)
    maps = _maps(shift + near * far, turn[:, 0], log_zoom[:, 0] + closer[:, 0])
    return Camera(maps, _maps(shift + far, turn[:, 0], log_zoom[:, 0] + 0.5 * closer[:, 0]))


def _draw_steps(rng: np.random.Generator, num_frames: int) -> np.ndarray:
    """Returns how steps shift a camera, (num_frames, 2) float32: down with each step, sideways and back with every two."""
    uneven = np.exp(smooth_noise(rng, num_frames, 0.12, knot_frames=20))[:, 0]
    steps = np.cumsum(uneven / rng.uniform(8, 18)) + rng.random()
    size = float(rng.uniform(0.4, 2.5)) * np.exp(smooth_noise(rng, num_frames, 0.4, knot_frames=15))[:, 0]
    down, aside = np.abs(np.sin(np.pi * steps)), rng.uniform(0.3, 0.8) * np.sin(np.pi * steps)
    return (np.stack([aside, down], axis=-1) * size[:, None]).astype(np.float32)


def _maps(shift: np.ndarray, turn: np.ndarray, log_zoom: np.ndarray) -> np.ndarray:
    """Returns affine maps about the middle of the picture, (num_frames, 2, 3) float32."""
    zoom = np.exp(log_zoom)
    cos, sin = np.cos(turn) * zoom, np.sin(turn) * zoom
    rotation = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)
    middle = np.array([_HALF, _HALF], np.float32)
    offset = middle - rotation @ middle + shift
    return np.concatenate([rotation, offset[..., None]], axis=-1).astype(np.float32)


def paint_backgrounds(image: np.ndarray, camera: Camera) -> np.ndarray:
    """Returns the background as the camera sees it, (num_frames, 112, 112, 3) uint8."""
    margin = (image.shape[0] - FRAME_SIZE) / 2
    maps = camera.background.copy()
    maps[:, :, 2] -= maps[:, :, :2] @ np.array([margin, margin], np.float32)
    out = np.empty((len(maps), FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
    for t, matrix in enumerate(maps):
        cv2.warpAffine(image, matrix, (FRAME_SIZE, FRAME_SIZE), dst=out[t], borderMode=cv2.BORDER_REFLECT)
    return out


def paste(frames: np.ndarray, patch: np.ndarray, cover: np.ndarray, maps: np.ndarray) -> None:
    """Pastes a patch onto each frame.

    Args:
      frames: Frames to paint on, (num_frames, 112, 112, 3) uint8; changed in place.
      patch: Patch, (H, W, 3) uint8.
      cover: 255 where the patch covers what is behind, else 0, (H, W) uint8.
      maps: Affine maps from the patch's pixels to the picture's, (num_frames, 2, 3).
    """
    height, width = cover.shape
    corners = maps[:, :, :2] @ np.array([[0, width, width, 0], [0, 0, height, height]]) + maps[:, :, 2:]
    # Only the part of the frame around the patch is computed.
    lowest = np.clip(np.floor(corners.min(axis=2)), 0, FRAME_SIZE).astype(int)
    highest = np.clip(np.ceil(corners.max(axis=2)) + 1, 0, FRAME_SIZE).astype(int)
    local = maps.astype(np.float64)
    local[:, :, 2] -= lowest
    for frame, matrix, (left, top), (right, bottom) in zip(frames, local, lowest.tolist(), highest.tolist(), strict=True):
        size = (right - left, bottom - top)
        if min(size) > 0:
            seen = cv2.warpAffine(patch, matrix, size, borderMode=cv2.BORDER_REPLICATE)
            covered = cv2.warpAffine(cover, matrix, size, flags=cv2.INTER_NEAREST)
            cv2.copyTo(seen, covered, frame[top:bottom, left:right])


def draw_card(rng: np.random.Generator) -> np.ndarray:
    """Returns a title card with lines of text, (112, 112, 3) uint8."""
    card = np.empty((FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
    card[:] = draw_colour(rng) if rng.random() < 0.6 else (0, 0, 0)
    for _ in range(int(rng.integers(0, 5))):
        write(card, rng, "".join(rng.choice(list("ABCDEFGHIKLMNOPRSTUVWabcdefgh 0123456789"), int(rng.integers(3, 12)))))
    return card


def write(image: np.ndarray, rng: np.random.Generator, text: str) -> None:
    """Writes `text` at a random place in the picture."""
    place = (int(rng.integers(0, 80)), int(rng.integers(10, FRAME_SIZE)))
    cv2.putText(
        image,
        text,
        place,
        int(rng.integers(0, 4)),
        float(rng.uniform(0.3, 1.2)),
        draw_colour(rng),
        int(rng.integers(1, 3)),
        cv2.LINE_AA,
    )


def degrade(rng: np.random.Generator, frames: np.ndarray) -> np.ndarray:
    """Returns the frames with the damage of cheap cameras, codecs and editing."""
    num_frames = len(frames)
    steps: list[Callable[[np.ndarray], np.ndarray]] = []
    if rng.random() < 0.25:
        small = int(rng.integers(36, 90))
        steps.append(
            lambda f: cv2.resize(cv2.resize(f, (small, small), interpolation=cv2.INTER_AREA), (FRAME_SIZE, FRAME_SIZE))
        )
    if rng.random() < 0.25:
        sigma = float(rng.uniform(0.5, 2.0))
        steps.append(lambda f: cv2.GaussianBlur(f, (0, 0), sigma))
    if rng.random() < 0.3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(8, 60))]
        steps.append(lambda f: np.asarray(cv2.imdecode(cv2.imencode(".jpg", f, quality)[1], cv2.IMREAD_COLOR)))
    if steps:
        for t in range(num_frames):
            frame = frames[t]
            for step in steps:
                frame = step(frame)
            frames[t] = frame

    _pulse(rng, frames)
    light = 1.0 + smooth_noise(rng, num_frames, float(rng.choice([0.0, 0.0, 0.04, 0.12])))[:, 0]
    light += rng.standard_normal(num_frames) * float(rng.choice([0.0, 0.0, 0.01, 0.04]))
    contrast, level = rng.uniform(0.5, 1.2), rng.uniform(-60, 40)
    gamma = float(np.exp(rng.normal(0, 0.3)))
    tone = 255 * (np.arange(256) / 255) ** gamma
    tone = np.clip((tone - 128) * contrast + 128 + level, 0, 255)
    tables = np.clip(tone[None] * light[:, None], 0, 255).astype(np.uint8)
    for t in range(num_frames):
        frames[t] = cv2.LUT(frames[t], tables[t])
    if rng.random() < 0.15:
        for t in range(num_frames):
            frames[t] = cv2.cvtColor(frames[t], cv2.COLOR_RGB2GRAY)[..., None]
    if rng.random() < 0.5:
        grain = (rng.standard_normal((4, FRAME_SIZE, FRAME_SIZE, 1)) * rng.choice([2.0, 5.0, 12.0])).astype(np.int16)
        which, roll = rng.integers(0, 4, num_frames), rng.integers(0, FRAME_SIZE, num_frames)
        for t in range(num_frames):
            noisy = frames[t].astype(np.int16) + np.roll(grain[which[t]], roll[t], axis=0)
            frames[t] = np.clip(noisy, 0, 255)
    return frames


def _pulse(rng: np.random.Generator, frames: np.ndarray) -> None:
    """Sometimes blurs the frames in the rhythm of key frames: after each one, a codec's quality improves."""
    if rng.random() < 0.2:
        gap, first = int(rng.integers(4, 31)), int(rng.integers(0, 31))
        worst = float(rng.uniform(0.4, 1.4))
        for t in range(len(frames)):
            sigma = worst * (1 - ((t + first) % gap) / gap)
            if sigma > 0.3:
                frames[t] = cv2.GaussianBlur(frames[t], (0, 0), sigma)
