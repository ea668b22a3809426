"""Digits and the few letters of the panel, as strokes with round ends. Needs NumPy and OpenCV only.

OpenCV's own letters have corners when they are large. These are drawn at four times their size and averaged. All digits have
the same width, so that a number stays in place as it counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

SUPERSAMPLING = 4
"""Pixels drawn for each pixel of the result, in both directions."""

_WEIGHT = 0.15
"""Width of a stroke, as a share of a digit's height."""

_GAP = 0.29
"""Space between two characters, as a share of a digit's height."""

_SPACE = 0.2
"""Width of a space, likewise."""

_SUBPIXEL_BITS = 4

_Point = tuple[float, float]
_Stroke = list[_Point]


def _arc(x: float, y: float, across: float, down: float, start: float, end: float) -> _Stroke:
    """Returns points of an ellipse around (x, y) between two angles, in degrees clockwise from the right."""
    angles = np.radians(np.linspace(start, end, 2 + int(abs(end - start) / 6)))
    points = np.stack([x + across * np.cos(angles), y + down * np.sin(angles)], axis=1)
    return [(float(across), float(down)) for across, down in points]


_SIX = [_arc(0.3, 0.69, 0.3, 0.31, 0, 360), [(0.41, 0.0), (0.035, 0.55)]]
_TOP = 0.36
_STEM: _Stroke = [(0.0, _TOP), (0.0, 1.0)]

_GLYPHS: dict[str, tuple[float, list[_Stroke]]] = {
    "0": (0.6, [[*_arc(0.3, 0.3, 0.3, 0.3, 180, 360), *_arc(0.3, 0.7, 0.3, 0.3, 0, 180), (0.0, 0.3)]]),
    "1": (0.6, [[(0.1, 0.24), (0.38, 0.0), (0.38, 1.0)]]),
    "2": (0.6, [[*_arc(0.3, 0.29, 0.28, 0.29, 190, 400), (0.02, 1.0), (0.6, 1.0)]]),
    "3": (0.6, [[*_arc(0.29, 0.235, 0.26, 0.235, 205, 450), *_arc(0.29, 0.735, 0.3, 0.265, 270, 515)]]),
    "4": (0.6, [[(0.44, 1.0), (0.44, 0.0), (0.0, 0.72), (0.62, 0.72)]]),
    "5": (0.6, [[(0.54, 0.0), (0.1, 0.0), (0.06, 0.46), *_arc(0.28, 0.69, 0.31, 0.31, 228, 510)]]),
    "6": (0.6, _SIX),
    "7": (0.6, [[(0.0, 0.0), (0.6, 0.0), (0.2, 1.0)]]),
    "8": (0.6, [_arc(0.3, 0.24, 0.255, 0.24, 0, 360), _arc(0.3, 0.74, 0.3, 0.26, 0, 360)]),
    "9": (0.6, [[(0.6 - x, 1.0 - y) for x, y in stroke] for stroke in _SIX]),
    "–": (0.6, [[(0.04, 0.55), (0.56, 0.55)]]),
    "/": (0.36, [[(0.0, 1.1), (0.36, -0.1)]]),
    "c": (0.5, [_arc(0.27, 0.68, 0.27, 0.32, -50, -310)]),
    "d": (0.56, [_arc(0.28, 0.68, 0.28, 0.32, 0, 360), [(0.56, 0.0), (0.56, 1.0)]]),
    "e": (0.54, [[(0.02, 0.68), (0.54, 0.68), *_arc(0.27, 0.68, 0.27, 0.32, 0, -310)]]),
    "i": (0.0, [_STEM, [(0.0, 0.08), (0.0, 0.08)]]),
    "m": (
        0.76,
        [
            _STEM,
            [*_arc(0.19, 0.57, 0.19, 0.21, 180, 360), (0.38, 1.0)],
            [*_arc(0.57, 0.57, 0.19, 0.21, 180, 360), (0.76, 1.0)],
        ],
    ),
    "n": (0.5, [_STEM, [*_arc(0.25, 0.6, 0.25, 0.24, 180, 360), (0.5, 1.0)]]),
    "o": (0.56, [_arc(0.28, 0.68, 0.28, 0.32, 0, 360)]),
    "p": (0.56, [_arc(0.28, 0.68, 0.28, 0.32, 0, 360), [(0.0, _TOP), (0.0, 1.32)]]),
    "r": (0.32, [_STEM, _arc(0.28, 0.62, 0.28, 0.26, 180, 285)]),
    "s": (0.44, [[*_arc(0.22, 0.515, 0.19, 0.155, -25, -270), *_arc(0.22, 0.835, 0.22, 0.165, -90, 155)]]),
    "t": (0.38, [[(0.16, 0.1), (0.16, 0.8), *_arc(0.36, 0.8, 0.2, 0.2, 180, 90)], [(0.0, _TOP), (0.38, _TOP)]]),
    "y": (0.52, [[(0.0, _TOP), (0.26, 0.98)], [(0.52, _TOP), (0.14, 1.32)]]),
}
"""Width and strokes of each character; a digit has height 1, from y = 0 at the top to y = 1 at the foot."""


def text_width(text: str) -> float:
    """Returns the width of a text from the middle of its first stroke to that of its last, for digits of height 1."""
    widths = [_SPACE if char == " " else _GLYPHS[char][0] for char in text]
    return sum(widths) + _GAP * (len(widths) - 1)


def draw_text(shape: tuple[int, int], texts: Sequence[tuple[str, float, float, float]]) -> np.ndarray:
    """Draws texts into a mask.

    Args:
      shape: Height and width of the mask in pixels.
      texts: Text, x of its left end, y of its digits' feet, and height of its digits, in pixels. Strokes extend half of their
        width beyond.

    Returns:
      (height, width) float32, the share of each pixel that is covered, 0..1.
    """
    height, width = shape
    canvas = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
    for text, start, foot, size in texts:
        left = start
        thickness = max(1, round(_WEIGHT * size * SUPERSAMPLING))
        for char in text:
            if char == " ":
                left += (_SPACE + _GAP) * size
                continue
            advance, strokes = _GLYPHS[char]
            for stroke in strokes:
                points = np.array(stroke) * size + (left, foot - size)
                points = np.round(points * SUPERSAMPLING * (1 << _SUBPIXEL_BITS)).astype(np.int32)
                cv2.polylines(canvas, [points], False, 255, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
            left += (advance + _GAP) * size
    return average(canvas)


def average(canvas: np.ndarray) -> np.ndarray:
    """Returns a canvas of uint8, drawn at `SUPERSAMPLING` times its size, as a mask: float32, 0..1."""
    height, width = canvas.shape[0] // SUPERSAMPLING, canvas.shape[1] // SUPERSAMPLING
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
