"""Backgrounds of the drawn clips: a gym, a living room and a yard. Colours are BGR, 0..255."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Scene = Callable[[np.ndarray, int, np.random.Generator], None]
"""Paints a canvas, (height, width, 3) uint8, BGR, on which wall and floor meet at the given row."""


def paint_gym(canvas: np.ndarray, horizon_row: int, rng: np.random.Generator) -> None:
    """Paints a gym: grey wall with a mirror and a rack of dumbbells, speckled rubber floor, and a blue mat."""
    height, width = canvas.shape[:2]
    _shade(canvas, 0, horizon_row, (150, 145, 138), (120, 116, 112))
    _shade(canvas, horizon_row, height, (62, 60, 60), (88, 84, 82))
    floor = canvas[horizon_row:]
    speckles = rng.random(floor.shape[:2]) < 0.02
    floor[speckles] = (120, 120, 125)
    _box(canvas, (0.06, 0.08, 0.44, 0.80), (182, 176, 166), horizon_row)
    _box(canvas, (0.08, 0.10, 0.42, 0.78), (168, 160, 150), horizon_row)
    cv2.line(
        canvas, (int(0.12 * width), int(0.7 * horizon_row)), (int(0.28 * width), int(0.15 * horizon_row)), (188, 182, 174), 9
    )
    for shelf_share in (0.52, 0.76):
        row = int(shelf_share * horizon_row)
        cv2.rectangle(canvas, (int(0.58 * width), row), (int(0.97 * width), row + 7), (58, 56, 54), -1)
        for column in np.linspace(0.61, 0.94, 7):
            center = (int(column * width), row - 11)
            cv2.circle(canvas, center, 12, (45, 42, 40), -1, cv2.LINE_AA)
            cv2.circle(canvas, center, 5, (110, 108, 106), -1, cv2.LINE_AA)
    _skirting(canvas, horizon_row, (70, 66, 64))
    depth = height - horizon_row
    mat = [(0.10, 0.32), (0.90, 0.32), (0.99, 0.86), (0.01, 0.86)]
    corners = np.array([(x * width, horizon_row + y * depth) for x, y in mat], np.int32)
    cv2.fillConvexPoly(canvas, corners, (128, 84, 52), cv2.LINE_AA)
    cv2.polylines(canvas, [corners], True, (150, 104, 70), 3, cv2.LINE_AA)


def paint_living_room(canvas: np.ndarray, horizon_row: int, rng: np.random.Generator) -> None:
    """Paints a living room: warm wall with a window, a picture and a plant, wooden floor and a rug."""
    height, width = canvas.shape[:2]
    _shade(canvas, 0, horizon_row, (178, 204, 216), (160, 188, 202))
    _shade(canvas, horizon_row, height, (84, 118, 150), (108, 146, 180))
    depth = height - horizon_row
    for share in np.linspace(-1.2, 2.2, 24):
        top, bottom = (
            (int((0.5 + (share - 0.5) * 0.7) * width), horizon_row),
            (int((0.5 + (share - 0.5) * 1.5) * width), height),
        )
        cv2.line(canvas, top, bottom, (70, 100, 130), 1 + int(rng.integers(0, 2)), cv2.LINE_AA)
    _box(canvas, (0.05, 0.10, 0.33, 0.66), (232, 238, 240), horizon_row)
    _box(canvas, (0.07, 0.13, 0.31, 0.63), (226, 206, 172), horizon_row)
    _box(canvas, (0.185, 0.13, 0.195, 0.63), (232, 238, 240), horizon_row)
    _box(canvas, (0.70, 0.14, 0.90, 0.42), (62, 74, 92), horizon_row)
    _box(canvas, (0.715, 0.165, 0.885, 0.395), (150, 170, 120), horizon_row)
    cv2.circle(canvas, (int(0.80 * width), int(0.28 * horizon_row)), int(0.03 * width), (80, 150, 220), -1, cv2.LINE_AA)
    _skirting(canvas, horizon_row, (206, 222, 228))
    pot = (int(0.93 * width), int(horizon_row + 0.06 * depth))
    for angle in np.linspace(-70, 70, 9):
        length = 0.20 * width * rng.uniform(0.75, 1.0)
        axes = (int(length / 2), int(0.012 * width))
        tip = (pot[0] + length / 2 * np.sin(np.radians(angle)), pot[1] - 46 - length / 2 * np.cos(np.radians(angle)))
        green = (50, int(rng.integers(95, 135)), 60)
        cv2.ellipse(canvas, (int(tip[0]), int(tip[1])), axes, angle - 90, 0, 360, green, -1, cv2.LINE_AA)
    cv2.rectangle(canvas, (pot[0] - 26, pot[1] - 52), (pot[0] + 26, pot[1] + 6), (70, 100, 170), -1)
    rug = (int(0.5 * width), int(horizon_row + 0.55 * depth))
    cv2.ellipse(canvas, rug, (int(0.42 * width), int(0.33 * depth)), 0, 0, 360, (96, 88, 122), -1, cv2.LINE_AA)
    cv2.ellipse(canvas, rug, (int(0.38 * width), int(0.27 * depth)), 0, 0, 360, (122, 114, 148), 3, cv2.LINE_AA)


def paint_yard(canvas: np.ndarray, horizon_row: int, rng: np.random.Generator) -> None:
    """Paints a yard: sky, a tree, a wooden fence with bushes behind it, and grass."""
    height, width = canvas.shape[:2]
    _shade(canvas, 0, horizon_row, (236, 206, 168), (240, 228, 208))
    for _ in range(60):
        center = (int(rng.integers(0, width)), int(horizon_row * rng.uniform(0.50, 0.72)))
        cv2.circle(canvas, center, int(rng.integers(20, 36)), (60, int(rng.integers(90, 125)), 66), -1, cv2.LINE_AA)
    trunk_column = int(0.86 * width)
    cv2.rectangle(canvas, (trunk_column - 12, int(0.2 * horizon_row)), (trunk_column + 12, horizon_row), (60, 82, 104), -1)
    for _ in range(60):
        offset = rng.normal(0, 1, 2) * (0.075 * width, 0.10 * horizon_row)
        center = (int(trunk_column + offset[0]), int(0.2 * horizon_row + offset[1]))
        cv2.circle(canvas, center, int(rng.integers(20, 30)), (56, int(rng.integers(110, 150)), 72), -1, cv2.LINE_AA)
    fence_top = int(0.68 * horizon_row)
    for column in range(0, width, 32):
        brown = int(rng.integers(112, 140))
        cv2.rectangle(canvas, (column, fence_top), (column + 28, horizon_row), (brown - 44, brown - 16, brown), -1)
    for row in (fence_top + 14, horizon_row - 22):
        cv2.rectangle(canvas, (0, row), (width, row + 8), (66, 92, 110), -1)
    _shade(canvas, horizon_row, height, (62, 128, 84), (78, 158, 104))
    for _ in range(900):
        row = int(rng.integers(horizon_row + 4, height))
        column, green = int(rng.integers(0, width)), int(rng.integers(130, 160))
        cv2.line(canvas, (column, row), (column + int(rng.integers(-3, 4)), row - 5), (64, green, 84), 1)


def _shade(canvas: np.ndarray, top: int, bottom: int, upper: tuple[int, int, int], lower: tuple[int, int, int]) -> None:
    share = np.linspace(0, 1, bottom - top)[:, None, None]
    canvas[top:bottom] = np.round(np.array(upper) * (1 - share) + np.array(lower) * share).astype(np.uint8)


def _box(canvas: np.ndarray, sides: tuple[float, float, float, float], colour: tuple[int, int, int], wall_rows: int) -> None:
    """Fills a rectangle on the wall: left, top, right, bottom as shares of the canvas' width and the wall's height."""
    left, top, right, bottom = sides
    width = canvas.shape[1]
    corners = (int(left * width), int(top * wall_rows)), (int(right * width), int(bottom * wall_rows))
    cv2.rectangle(canvas, *corners, colour, -1)


def _skirting(canvas: np.ndarray, horizon_row: int, colour: tuple[int, int, int]) -> None:
    cv2.rectangle(canvas, (0, horizon_row - 12), (canvas.shape[1], horizon_row), colour, -1)
