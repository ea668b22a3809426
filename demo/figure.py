"""A drawn person: a two-dimensional skeleton, posed by its hips, hands and feet.

Lengths are metres, with x to the right and y up from the floor. A `Camera` converts them to pixels. Colours are BGR, 0..255.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np

Colour = tuple[int, int, int]

_TORSO_M = 0.50
_NECK_M = 0.21  # from the shoulders to the centre of the head
_UPPER_ARM_M = 0.29
_FOREARM_M = 0.31  # to the centre of the fist
_THIGH_M = 0.44
_SHIN_M = 0.43
_FOOT_M = 0.19
_HEAD_RADIUS_M = 0.115
ANKLE_HEIGHT_M = 0.07
ARM_M = _UPPER_ARM_M + _FOREARM_M
STANDING_HIPS_M = ANKLE_HEIGHT_M + _THIGH_M + _SHIN_M - 0.002

_SUBPIXEL_BITS = 4


def point(x: float, y: float) -> np.ndarray:
    """Returns a position as (2,) float64, in metres."""
    return np.array([x, y], np.float64)


@dataclasses.dataclass(frozen=True)
class Look:
    """Colours of a person and their clothes, BGR."""

    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    shoes: Colour


@dataclasses.dataclass(frozen=True)
class Camera:
    """Mapping from metres to pixels of the canvas.

    Attributes:
      pixels_per_m: Pixels per metre.
      floor_row: Row of y = 0.
      center_column: Column of x = 0.
    """

    pixels_per_m: float
    floor_row: float
    center_column: float

    def pixel(self, position: np.ndarray) -> np.ndarray:
        """Returns (column, row) of a position in metres."""
        return np.array(
            [self.center_column + position[0] * self.pixels_per_m, self.floor_row - position[1] * self.pixels_per_m]
        )


@dataclasses.dataclass(frozen=True)
class Stance:
    """Pose of a person: everything that a movement changes.

    Pairs are (far side, near side) if the person is seen from the side, and (left, right in the picture) if from the front.

    Attributes:
      hips: Centre of the hips.
      lean_deg: Angle of the torso from upright, in the direction the person faces; seen from the front, to the right.
      hands: Centres of both fists. A hand out of reach is drawn with the arm straight in its direction.
      feet: Positions of both ankles.
      heel_lift_deg: Angle of the feet, from flat (0) to standing on the toes (90).
      gaze: Direction of the face: -1 left, 0 to the viewer, 1 right.
      nod_deg: Angle of the head against the torso. Positive looks down.
      bar: Centre of a barbell held across, seen from the front; None without one.
    """

    hips: np.ndarray
    lean_deg: float
    hands: tuple[np.ndarray, np.ndarray]
    feet: tuple[np.ndarray, np.ndarray]
    heel_lift_deg: float = 0.0
    gaze: float = 1.0
    nod_deg: float = 0.0
    bar: np.ndarray | None = None

    @property
    def shoulders(self) -> np.ndarray:
        """Centre of the line between the shoulders."""
        return shoulders_of(self.hips, self.lean_deg)


def shoulders_of(hips: np.ndarray, lean_deg: float) -> np.ndarray:
    """Returns the centre of the line between the shoulders, given hips and lean."""
    return hips + _TORSO_M * _upright(lean_deg)


def blend(first: Stance, second: Stance, share: float) -> Stance:
    """Returns the stance between two others: the first at share 0, the second at share 1."""

    def mix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a + (b - a) * share

    return dataclasses.replace(
        first,
        hips=mix(first.hips, second.hips),
        lean_deg=first.lean_deg + (second.lean_deg - first.lean_deg) * share,
        hands=(mix(first.hands[0], second.hands[0]), mix(first.hands[1], second.hands[1])),
        feet=(mix(first.feet[0], second.feet[0]), mix(first.feet[1], second.feet[1])),
        heel_lift_deg=first.heel_lift_deg + (second.heel_lift_deg - first.heel_lift_deg) * share,
        gaze=first.gaze + (second.gaze - first.gaze) * share,
        nod_deg=first.nod_deg + (second.nod_deg - first.nod_deg) * share,
    )


def mirrored(stance: Stance) -> Stance:
    """Returns the stance mirrored at x = 0, for a person seen from the side who faces the other way."""
    flip = np.array([-1.0, 1.0])
    return dataclasses.replace(
        stance,
        hips=stance.hips * flip,
        lean_deg=-stance.lean_deg,
        hands=(stance.hands[0] * flip, stance.hands[1] * flip),
        feet=(stance.feet[0] * flip, stance.feet[1] * flip),
        gaze=-stance.gaze,
        nod_deg=-stance.nod_deg,
    )


def draw_from_side(canvas: np.ndarray, camera: Camera, look: Look, stance: Stance, faces: int) -> None:
    """Draws the person, seen from the side.

    Args:
      canvas: (height, width, 3) uint8, BGR. Drawn on.
      camera: Mapping from metres to pixels.
      look: Colours of the person.
      stance: Pose of the person.
      faces: 1 if the person faces right, -1 if left.
    """
    pen = _Pen(canvas, camera)
    shoulders = stance.shoulders
    away = dataclasses.replace(
        look, skin=_darker(look.skin), shirt=_darker(look.shirt), trousers=_darker(look.trousers), shoes=_darker(look.shoes)
    )
    offset, foot = point(0.03 * faces, 0.0), point(_FOOT_M * faces, 0.0)
    _draw_arm(pen, away, shoulders + offset, stance.hands[0], bend=faces)
    _draw_leg(pen, away, _leg_from_side(stance.hips + offset, stance.feet[0], faces), stance.heel_lift_deg, foot)
    head = _head_position(shoulders, stance.lean_deg + stance.nod_deg * 0.5)
    pen.limb(look.skin, shoulders, head, 0.055, 0.05)
    _draw_leg(pen, look, _leg_from_side(stance.hips, stance.feet[1], faces), stance.heel_lift_deg, foot)
    chest = stance.hips + 0.75 * (shoulders - stance.hips)
    pen.hull(look.shirt, [(stance.hips, 0.105), (chest, 0.125), (shoulders, 0.085)])
    pen.hull(look.trousers, [(stance.hips, 0.115), (stance.hips + 0.08 * _upright(stance.lean_deg), 0.108)])
    _draw_head(pen, look, head, stance.lean_deg + stance.nod_deg, stance.gaze)
    _draw_arm(pen, look, shoulders, stance.hands[1], bend=faces)


def draw_from_front(canvas: np.ndarray, camera: Camera, look: Look, stance: Stance, pressing: bool = False) -> None:
    """Draws the person, seen from the front, and the barbell.

    Args:
      canvas: (height, width, 3) uint8, BGR. Drawn on.
      camera: Mapping from metres to pixels.
      look: Colours of the person.
      stance: Pose of the person.
      pressing: Keep the elbows outside the raised hands, as under a barbell.
    """
    pen = _Pen(canvas, camera)
    shoulders = stance.shoulders
    for side, foot in zip((-1, 1), stance.feet, strict=True):
        hip = stance.hips + point(0.085 * side, -0.02)
        knee = hip + (foot - hip) * _THIGH_M / (_THIGH_M + _SHIN_M)  # seen from the front, knees bend towards the viewer
        _draw_leg(pen, look, (hip, knee, foot), stance.heel_lift_deg, point(0.09 * side, 0.0))
    head = _head_position(shoulders, stance.lean_deg)
    pen.limb(look.skin, shoulders, head, 0.06, 0.055)
    right, down = point(1.0, 0.0), point(0.0, -1.0)
    pen.hull(
        look.shirt,
        [(shoulders + side * 0.155 * right + 0.03 * down, 0.065) for side in (-1, 1)]
        + [(stance.hips + side * 0.085 * right, 0.075) for side in (-1, 1)],
    )
    pen.hull(look.trousers, [(stance.hips + side * 0.085 * right + 0.02 * down, 0.085) for side in (-1, 1)])
    _draw_head(pen, look, head, stance.lean_deg + stance.nod_deg, stance.gaze)
    for side, hand in zip((-1, 1), stance.hands, strict=True):
        _draw_arm(pen, look, shoulders + side * 0.185 * right + 0.03 * down, hand, bend=side if pressing else -side)
    if stance.bar is not None:
        _draw_bar_across(pen, stance.bar)


@dataclasses.dataclass(frozen=True)
class _Pen:
    canvas: np.ndarray
    camera: Camera

    def hull(self, colour: Colour, circles: Sequence[tuple[np.ndarray, float]]) -> None:
        """Fills the convex hull of circles (centre, radius), shaded with light from the upper left."""
        self._fill(_scaled(colour, 0.78), circles, 1.0, point(0.0, 0.0))
        self._fill(colour, circles, 0.72, point(-0.16, 0.16))
        self._fill(_scaled(colour, 1.13), circles, 0.30, point(-0.36, 0.36))

    def limb(self, colour: Colour, start: np.ndarray, end: np.ndarray, start_radius_m: float, end_radius_m: float) -> None:
        """Draws a straight body part that tapers from one end to the other."""
        self.hull(colour, [(start, start_radius_m), (end, end_radius_m)])

    def circle(self, colour: Colour, center: np.ndarray, radius_m: float) -> None:
        """Fills a circle without shading."""
        self._fill(colour, [(center, radius_m)], 1.0, point(0.0, 0.0))

    def _fill(self, colour: Colour, circles: Sequence[tuple[np.ndarray, float]], scale: float, shift: np.ndarray) -> None:
        rims = [
            self.camera.pixel(center + shift * radius_m) + _UNIT_CIRCLE * (radius_m * scale * self.camera.pixels_per_m)
            for center, radius_m in circles
        ]
        corners = cv2.convexHull(np.concatenate(rims).astype(np.float32))
        fixed_point = np.round(corners * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        cv2.fillConvexPoly(self.canvas, fixed_point, colour, cv2.LINE_AA, _SUBPIXEL_BITS)


_UNIT_CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 20)), np.sin(np.linspace(0, 2 * np.pi, 20))], axis=1)


def _draw_arm(pen: _Pen, look: Look, shoulder: np.ndarray, hand: np.ndarray, bend: int) -> None:
    elbow, hand = _two_bones(shoulder, hand, _UPPER_ARM_M, _FOREARM_M, bend)
    pen.limb(look.skin, elbow, hand, 0.042, 0.034)
    pen.limb(look.skin, shoulder, elbow, 0.055, 0.043)
    pen.limb(look.shirt, shoulder, shoulder + 0.5 * (elbow - shoulder), 0.066, 0.060)
    pen.hull(look.skin, [(hand, 0.046)])


def _draw_leg(
    pen: _Pen, look: Look, joints: tuple[np.ndarray, np.ndarray, np.ndarray], heel_lift_deg: float, foot: np.ndarray
) -> None:
    hip, knee, ankle = joints
    lift = math.radians(heel_lift_deg)
    length_m = float(np.hypot(*foot))
    toe = ankle + foot * math.cos(lift) - point(0.0, length_m * math.sin(lift) + 0.025 * math.cos(lift))
    pen.limb(look.skin, knee, ankle, 0.058, 0.040)
    pen.limb(look.trousers, hip, knee, 0.092, 0.066)
    pen.limb(look.trousers, knee, knee + 0.45 * (ankle - knee), 0.066, 0.060)
    pen.limb(look.shoes, ankle - 0.1 * foot - point(0.0, 0.015), toe, 0.052, 0.040)


def _draw_head(pen: _Pen, look: Look, head: np.ndarray, tilt_deg: float, gaze: float) -> None:
    up = _upright(tilt_deg)
    across = point(up[1], -up[0])
    pen.hull(look.hair, [(head + 0.018 * up - 0.025 * gaze * across, _HEAD_RADIUS_M)])
    pen.hull(look.skin, [(head - 0.02 * up + 0.028 * gaze * across, 0.094), (head - 0.05 * up + 0.03 * gaze * across, 0.080)])
    pen.circle(_scaled(look.skin, 0.85), head - 0.025 * up + 0.108 * gaze * across, 0.020)
    for eye in (-1, 1):
        sideways = 0.036 * eye * (1 - abs(gaze)) + 0.075 * gaze
        pen.circle((40, 35, 35), head + 0.01 * up + sideways * across, 0.014)


def _draw_bar_across(pen: _Pen, center: np.ndarray) -> None:
    right = point(1.0, 0.0)
    pen.limb((175, 175, 180), center - 0.56 * right, center + 0.56 * right, 0.016, 0.016)
    for side in (-1, 1):
        for distance_m, half_height_m, colour in ((0.44, 0.155, (150, 70, 40)), (0.50, 0.115, (60, 55, 55))):
            plate = center + side * distance_m * right
            pen.limb(colour, plate - point(0, half_height_m), plate + point(0, half_height_m), 0.026, 0.026)


def _two_bones(start: np.ndarray, end: np.ndarray, first_m: float, second_m: float, bend: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the joint between two bones, and the point that they reach. `bend`: side of the joint, seen from the start."""
    line = end - start
    distance = max(float(np.hypot(*line)), 1e-6)
    direction = line / distance
    reached = min(max(distance, abs(first_m - second_m) + 0.02), first_m + second_m - 1e-3)
    along = (first_m**2 - second_m**2 + reached**2) / (2 * reached)
    aside = math.sqrt(max(first_m**2 - along**2, 0.0))
    sideways = point(-direction[1], direction[0]) * -bend
    return start + along * direction + aside * sideways, start + reached * direction


def _leg_from_side(hip: np.ndarray, ankle: np.ndarray, faces: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    knee, ankle = _two_bones(hip, ankle, _THIGH_M, _SHIN_M, -faces)
    return hip, knee, ankle


def _head_position(shoulders: np.ndarray, tilt_deg: float) -> np.ndarray:
    return shoulders + _NECK_M * _upright(tilt_deg)


def _upright(lean_deg: float) -> np.ndarray:
    angle = math.radians(lean_deg)
    return point(math.sin(angle), math.cos(angle))


def _scaled(colour: Colour, factor: float) -> Colour:
    blue, green, red = (min(255, round(channel * factor)) for channel in colour)
    return blue, green, red


def _darker(colour: Colour) -> Colour:
    return _scaled(colour, 0.66)
