"""Paints figures with volume: tapered limbs, shaded and textured clothes, hair, hands and shoes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from model.config import FRAME_SIZE
from model.training.drawing import draw_background, draw_colour
from model.training.motion import SEGMENTS

SUBPIXEL_BITS = 3
"""Fractional bits of OpenCV's coordinates: units of 1/8 pixel, so that slow movements do not jump."""

_STARTS = np.array([11 + (2, 4, 6, 8).index(i) if i in (2, 4, 6, 8) else s[0] + 1 for i, s in enumerate(SEGMENTS)])
"""Joint where each segment starts."""

_TRUNK = [11, 12, 14, 13]
"""Shoulders and hip joints, around the torso."""

_ARC = np.linspace(-np.pi / 2, np.pi / 2, 4)
_TEXTURE_SIZE = 48

Colour = tuple[float, float, float]


@dataclasses.dataclass(frozen=True, eq=False)
class Look:
    """Clothes and build of a figure.

    Attributes:
      colours: RGB colour of each segment, 0..255.
      thickness: Thickness of each segment at its start and its end in body heights, (10, 2) float32.
      head_radius: Radius of the head in body heights.
      head_colour: RGB colour of the head and the hands, 0..255.
      hair_colour: RGB colour of the hair, 0..255; None for no hair.
      shoe_colour: RGB colour of the shoes, 0..255; None for bare feet that look like the end of the leg.
      order: Segments in drawing order, (10,).
      holds_bar: Whether the figure holds a bar in its hands.
      bar_colour: RGB colour of the bar, 0..255.
      light: Direction to the light in the picture, (2,) float32, of length 1.
      shade: How much darker the side away from the light is, 0..1; 0 for flat limbs.
      pattern: Texture of the top, (48, 48, 3) uint8; None for plain cloth.
    """

    colours: list[Colour]
    thickness: np.ndarray
    head_radius: float
    head_colour: Colour
    hair_colour: Colour | None
    shoe_colour: Colour | None
    order: np.ndarray
    holds_bar: bool
    bar_colour: Colour
    light: np.ndarray
    shade: float
    pattern: np.ndarray | None


def draw_look(rng: np.random.Generator, volume: bool = True, photographs: Sequence[np.ndarray] = ()) -> Look:
    """Returns a random look.

    Args:
      rng: Source of randomness.
      volume: Whether limbs may have volume, and clothes a texture; otherwise they are flat and plain.
      photographs: Photographs of which some textures are parts; none by default.
    """
    skin, top, bottom = draw_colour(rng), draw_colour(rng), draw_colour(rng)
    long_sleeves, long_trousers = rng.random() < 0.5, rng.random() < 0.5
    colours = [top, skin, top, top if long_sleeves else skin, top, top if long_sleeves else skin]
    colours += [bottom, bottom if long_trousers else skin] * 2
    if rng.random() < 0.3:  # a darker shade on the far side of the body
        for i in (4, 5, 8, 9):
            colours[i] = _darken(colours[i], 0.75)
    build = rng.uniform(0.7, 1.5)
    thickness = np.array([0.17, 0.07, 0.065, 0.055, 0.065, 0.055, 0.09, 0.07, 0.09, 0.07], np.float32) * build
    thickness = thickness[:, None] * rng.uniform(0.8, 1.25, (len(SEGMENTS), 1)).astype(np.float32)
    if volume:
        taper = np.array([1.0, 1.0, 1.25, 1.1, 1.25, 1.1, 1.35, 1.1, 1.35, 1.1], np.float32)[:, None]
        thickness = thickness * np.concatenate([taper, 0.75 + 0.2 * rng.random((len(SEGMENTS), 1))], axis=1).astype(np.float32)
    else:
        thickness = np.repeat(thickness, 2, axis=1)
    order = np.array([4, 5, 8, 9, 0, 1, 6, 7, 2, 3]) if rng.random() < 0.7 else rng.permutation(len(SEGMENTS))
    head_radius, holds_bar, bar_colour = 0.07 * rng.uniform(0.8, 1.3), rng.random() < 0.2, draw_colour(rng)
    angle = rng.uniform(0, 2 * np.pi)
    return Look(
        colours=colours,
        thickness=thickness,
        head_radius=head_radius,
        head_colour=skin,
        hair_colour=draw_colour(rng) if volume and rng.random() < 0.7 else None,
        shoe_colour=draw_colour(rng) if volume and rng.random() < 0.6 else None,
        order=order,
        holds_bar=holds_bar,
        bar_colour=bar_colour,
        light=np.array([np.cos(angle), np.sin(angle)], np.float32),
        shade=float(rng.uniform(0.15, 0.5)) if volume and rng.random() < 0.75 else 0.0,
        pattern=_draw_pattern(rng, photographs) if volume and rng.random() < 0.35 else None,
    )


def _darken(colour: Colour, share: float) -> Colour:
    """Returns a colour with each channel multiplied by `share`."""
    red, green, blue = colour
    return (share * red, share * green, share * blue)


def _draw_pattern(rng: np.random.Generator, photographs: Sequence[np.ndarray]) -> np.ndarray:
    """Returns cloth with stripes, a print or folds, (48, 48, 3) uint8; darker towards the sides, as on a round body."""
    size = _TEXTURE_SIZE
    printed = rng.random() < 0.5
    cloth = draw_background(rng, size, photographs) if printed else np.full((size, size, 3), draw_colour(rng), np.uint8)
    if rng.random() < 0.5:
        width, colour = int(rng.integers(2, 9)), draw_colour(rng)
        for at in range(0, size, 2 * width):
            if rng.random() < 0.9:
                cloth[at : at + width] = colour
        if rng.random() < 0.3:
            cloth = cloth.transpose(1, 0, 2)
    across = np.linspace(-1, 1, size)[None, :, None]
    return (cloth * (1.0 - rng.uniform(0.1, 0.5) * across**2)).astype(np.uint8)


def _outlines(start: np.ndarray, end: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Returns the outlines of tapered limbs with round ends, (num_frames, S, 8, 2).

    Args:
      start: Where each limb starts, (num_frames, S, 2).
      end: Where each limb ends, (num_frames, S, 2).
      radii: Half the thickness of each limb at its start and its end, (S, 2).
    """
    along = end - start
    turn = np.arctan2(along[..., 1], along[..., 0])[..., None]
    ahead = np.stack([np.cos(turn + _ARC), np.sin(turn + _ARC)], axis=-1)
    return np.concatenate(
        [end[:, :, None] + radii[:, 1, None, None] * ahead, start[:, :, None] - radii[:, 0, None, None] * ahead], axis=2
    )


def _fix(places: np.ndarray) -> np.ndarray:
    """Returns places in pixels as fixed-point numbers of OpenCV."""
    return np.ascontiguousarray(np.round(np.clip(places, -400, 500) * (1 << SUBPIXEL_BITS)), np.int32)


def paint_figure(frames: np.ndarray, places: np.ndarray, look: Look, scale: float) -> None:
    """Paints one figure onto each frame.

    Args:
      frames: Frames to paint on, (num_frames, 112, 112, 3) uint8; changed in place.
      places: Joints in pixels, (num_frames, 15, 2), see `motion.move_figure`.
      look: Clothes and build.
      scale: Pixels per body height.
    """
    start, end = places[:, _STARTS], places[:, 1 : len(SEGMENTS) + 1]
    radii = np.maximum(look.thickness * scale / 2, 0.5)
    dark = [_darken(colour, 1 - look.shade) for colour in look.colours]
    outlines = _fix(_outlines(start, end, radii))
    lit = radii.max(axis=1) >= 1.0  # thinner limbs are too small for a lit side
    towards = look.light * (0.35 * radii.mean(axis=1, keepdims=True))
    bright = _fix(_outlines(start + towards, end + towards, 0.62 * radii))
    fixed, trunk = _fix(places), _fix(places[:, _TRUNK])
    for t, image in enumerate(frames):
        if look.holds_bar:
            _paint_bar(image, fixed[t], look, scale)
        for i in look.order:
            cv2.fillConvexPoly(image, outlines[t, i], dark[i], cv2.LINE_AA, SUBPIXEL_BITS)
            if i == 0:
                cv2.fillConvexPoly(image, cv2.convexHull(trunk[t]), look.colours[0], cv2.LINE_AA, SUBPIXEL_BITS)
            if look.shade and lit[i]:
                cv2.fillConvexPoly(image, bright[t, i], look.colours[i], cv2.LINE_AA, SUBPIXEL_BITS)
            if i == 0 and look.pattern is not None:
                _paint_pattern(image, outlines[t, 0], places[t, _TRUNK], look.pattern)
            elif i == 1:
                _paint_head(image, fixed[t, 2], fixed[t, 1], look, scale)
            elif i in (3, 5):
                _dot(image, fixed[t, i + 1], look.head_colour, 0.032 * scale)
            elif i in (7, 9) and look.shoe_colour is not None:
                _dot(image, fixed[t, i + 1], look.shoe_colour, 0.042 * scale)


def _dot(image: np.ndarray, place: np.ndarray, colour: Colour, radius: float) -> None:
    """Paints a circle; `place` is fixed-point, the radius in pixels."""
    size = max(1, round(radius * (1 << SUBPIXEL_BITS)))
    cv2.circle(image, (int(place[0]), int(place[1])), size, colour, -1, cv2.LINE_AA, SUBPIXEL_BITS)


def _paint_bar(image: np.ndarray, fixed: np.ndarray, look: Look, scale: float) -> None:
    """Paints a level bar between the hands."""
    middle = (fixed[4] + fixed[6]) // 2
    reach = int(scale * 0.35 * (1 << SUBPIXEL_BITS))
    start, end = (int(middle[0]) - reach, int(middle[1])), (int(middle[0]) + reach, int(middle[1]))
    cv2.line(image, start, end, look.bar_colour, max(1, round(scale * 0.03)), cv2.LINE_AA, SUBPIXEL_BITS)


def _paint_head(image: np.ndarray, head: np.ndarray, neck: np.ndarray, look: Look, scale: float) -> None:
    """Paints a head, with hair on the side away from the neck, and a lit side."""
    radius = look.head_radius * scale
    if look.hair_colour is not None:
        up = (head - neck) * (0.3 * look.head_radius / SEGMENTS[1][1])
        _dot(image, head + up.astype(np.int32), look.hair_colour, 1.1 * radius)
        radius *= 0.85
    _dot(image, head, _darken(look.head_colour, 1 - look.shade), radius)
    if look.shade and radius > 2:
        towards = look.light * (0.25 * radius * (1 << SUBPIXEL_BITS))
        _dot(image, head + towards.astype(np.int32), look.head_colour, 0.7 * radius)


def _paint_pattern(image: np.ndarray, outline: np.ndarray, trunk: np.ndarray, pattern: np.ndarray) -> None:
    """Paints cloth over the torso, which moves and turns with it.

    Args:
      image: Image to paint on.
      outline: Fixed-point outline of the torso, (8, 2).
      trunk: Shoulders and hip joints in pixels, (4, 2).
      pattern: Cloth, (48, 48, 3) uint8.
    """
    top, bottom = trunk[:2].mean(axis=0), trunk[2:].mean(axis=0)
    down = (bottom - top) * (1.15 / _TEXTURE_SIZE)
    # The cloth is as wide as the torso's outline, also when the shoulders are seen from the side.
    width = float(np.hypot(*(outline[0] - outline[3]))) / (1 << SUBPIXEL_BITS)
    width = max(1.3 * width, 1.15 * float(np.hypot(*(trunk[0] - trunk[1]))))
    length = max(float(np.hypot(*down)), 1e-3)
    right = np.array([-down[1], down[0]]) / length * (width / _TEXTURE_SIZE)
    matrix = np.stack([right, down, top - down * (0.1 * _TEXTURE_SIZE) - right * (_TEXTURE_SIZE / 2)], axis=1)
    hull = cv2.convexHull(_fix(trunk))
    points = np.concatenate([outline, hull[:, 0]]) >> SUBPIXEL_BITS
    left, top_row = np.clip(points.min(axis=0) - 1, 0, FRAME_SIZE).tolist()
    right, bottom_row = np.clip(points.max(axis=0) + 2, 0, FRAME_SIZE).tolist()
    if right <= left or bottom_row <= top_row:
        return
    # Only the part of the picture around the torso is computed.
    corner = np.array([left, top_row])
    matrix[:, 2] -= corner
    mask = np.zeros((bottom_row - top_row, right - left), np.uint8)
    for shape in (outline, hull):
        cv2.fillConvexPoly(mask, shape - (corner << SUBPIXEL_BITS).astype(np.int32), 255, cv2.LINE_8, SUBPIXEL_BITS)
    cloth = cv2.warpAffine(pattern, matrix, mask.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    cv2.copyTo(cloth, mask, image[top_row:bottom_row, left:right])
