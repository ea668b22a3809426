"""Draws the panel of an annotated video onto the planes of its frames. Needs NumPy and OpenCV only.

The panel is a translucent dark field with a ring that fills with each repetition and has the count in it, the repetitions a
minute, and a bar of periodicity. Its size follows the shorter side of the video. Only pixels below the panel are computed, in
the video's own YCbCr: a pixel becomes (pixel · keep + add) / 256. Both factors are kept, and change only where the panel does.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np

from transforms.annotation.glyphs import SUPERSAMPLING, average, draw_text, text_width
from transforms.annotation.timeline import Shown

_HEIGHT_SHARE = 0.29
"""Height of the panel as a share of the video's shorter side."""

_ASPECT = 2.16
"""Width of the panel, in heights."""

_MARGIN_SHARE = 0.03
"""Distance of the panel from the edges of the video, as a share of its shorter side."""

_LEAST_HEIGHT, _LEAST_DRAWN_HEIGHT = 72, 12
"""Pixels of height that the panel has where it fits, and below which nothing is drawn."""

_BACKGROUND_ALPHA, _TRACK_ALPHA, _LABEL_ALPHA = 0.68, 0.22, 0.82

_BLACK, _WHITE, _GREEN, _AMBER = (14, 17, 22), (255, 255, 255), (70, 222, 132), (255, 186, 56)

_PROGRESS_STEPS, _PERIODICITY_STEPS = 360, 100
"""Steps in which the ring and the bar fill."""

_PADDING = 0.1
_DIAL = 1 - 2 * _PADDING
_RING_SHARE = 0.11
_COLUMN_LEFT = _PADDING + _DIAL + 0.13
_COLUMN_RIGHT = _ASPECT - 0.12
_RATE_FOOT, _RATE_SIZE, _RATE_GAP, _UNIT_SIZE = 0.43, 0.25, 0.09, 0.14
_LABEL_FOOT, _LABEL_SIZE = 0.66, 0.1
_BAR_TOP, _BAR_BOTTOM = 0.765, 0.865
"""Measures of the panel's parts in heights of the panel; the ring's width is a share of the dial."""

_Place = tuple[slice, slice] | tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Colours:
    """How a video stores colours.

    Attributes:
      red_weight: Weight of red in the brightness, such as 0.2126.
      blue_weight: Weight of blue in the brightness, such as 0.0722.
      is_full_range: Whether brightness goes from 0 to 255 rather than from 16 to 235.
      white: Share of the greatest brightness that ordinary white has; below 1 in videos of high dynamic range.
    """

    red_weight: float = 0.2126
    blue_weight: float = 0.0722
    is_full_range: bool = False
    white: float = 1.0

    def ycbcr(self, rgb: tuple[int, int, int]) -> tuple[float, float, float]:
        """Returns a colour of 0..255 as brightness and the two differences of colour, of 0..255."""
        red, green, blue = (self.white * value / 255 for value in rgb)
        luma = self.red_weight * red + (1 - self.red_weight - self.blue_weight) * green + self.blue_weight * blue
        black, brightness, colour = (0, 255, 255) if self.is_full_range else (16, 219, 224)
        return (
            black + brightness * luma,
            128 + colour * (blue - luma) / (2 * (1 - self.blue_weight)),
            128 + colour * (red - luma) / (2 * (1 - self.red_weight)),
        )


class Panel:
    """The panel of one video.

    Attributes:
      left: Distance from the left edge of the video in pixels, even, as are the others.
      top: Distance from the top edge.
      width: Width in pixels; 0 if the video is too small for a panel.
      height: Height in pixels.
    """

    def __init__(self, size: tuple[int, int], colours: Colours) -> None:
        """Lays the panel out.

        Args:
          size: Width and height of the video's frames in pixels, both even.
          colours: How the frames store colours.
        """
        shorter = min(size)
        margin = _even(_MARGIN_SHARE * shorter)
        tallest = min(size[1] - 2 * margin, (size[0] - 2 * margin) / _ASPECT)
        unit = min(max(_HEIGHT_SHARE * shorter, _LEAST_HEIGHT), tallest)
        if unit < _LEAST_DRAWN_HEIGHT:
            unit = 0
        self.left = self.top = margin
        self.width, self.height = _even(_ASPECT * unit), _even(unit)
        if not self.width:
            return
        self._unit = float(self.height)
        self._colours = colours
        self._dial = self._unit * _DIAL
        self._middle = self._unit * (_PADDING + _DIAL / 2)
        self._levels = [_Level(1, (self.height, self.width)), _Level(2, (self.height // 2, self.width // 2))]
        self._rings = [_Ring(level, self._middle, self._dial) for level in self._levels]
        self._bar = self._rounded(_COLUMN_LEFT, _BAR_TOP, _COLUMN_RIGHT, _BAR_BOTTOM, (_BAR_BOTTOM - _BAR_TOP) / 2)
        self._lay_base()
        self._shown: dict[str, int | None] = {}

    def draw(self, planes: Sequence[np.ndarray], shown: Shown) -> None:
        """Draws the panel into a frame.

        Args:
          planes: Y (height, width), Cb and Cr (height / 2, width / 2), uint8; changed in place.
          shown: What to show.
        """
        if not self.width:
            return
        self._update(shown)
        for number, plane in enumerate(planes):
            level = self._levels[min(number, 1)]
            top, left = self.top // level.scale, self.left // level.scale
            height, width = level.alpha.shape
            target = plane[top : top + height, left : left + width]
            blended = np.multiply(target, level.keep, dtype=np.uint16)
            blended += level.add[number]
            blended >>= 8
            target[:] = blended

    def _update(self, shown: Shown) -> None:
        """Changes the parts of the panel that show something else than before."""
        if self._shown.get("count") != shown.count:
            self._shown.pop("progress", None)  # corners of the place of the count touch the ring
        for name, value, change in (
            ("count", shown.count, self._show_count),
            ("progress", round(min(max(shown.progress, 0), 1) * _PROGRESS_STEPS), self._show_progress),
            ("rate", shown.per_minute, self._show_rate),
            ("periodicity", round(min(max(shown.periodicity, 0), 1) * _PERIODICITY_STEPS), self._show_periodicity),
        ):
            if name not in self._shown or self._shown[name] != value:
                change(value)  # type: ignore[arg-type]
                self._shown[name] = value

    def _show_progress(self, steps: int) -> None:
        for level, ring in zip(self._levels, self._rings, strict=True):
            level.lay(ring.place, ring.filled(steps / _PROGRESS_STEPS), self._colours.ycbcr(_GREEN))

    def _show_count(self, count: int) -> None:
        half_width, half_height = 0.3 * self._dial, 0.19 * self._dial
        middle = self._middle - 0.06 * self._dial
        place = self._place(middle - half_height, middle + half_height, self._middle - half_width, self._middle + half_width)
        text = f"{count}"
        size = min(0.32 * self._dial, 0.52 * self._dial / text_width(text))
        left = self._middle - place[1].start - size * text_width(text) / 2
        self._lay_text(place, [(text, left, middle - place[0].start + size / 2, size)])

    def _show_rate(self, per_minute: int | None) -> None:
        unit = self._unit
        place = self._place(0.1 * unit, 0.5 * unit, (_COLUMN_LEFT - 0.05) * unit, self.width - 2)
        text, left = "–" if per_minute is None else f"{per_minute}", _COLUMN_LEFT * unit - place[1].start
        foot = _RATE_FOOT * unit - place[0].start
        left += 0.02 * unit
        room = _COLUMN_RIGHT - _COLUMN_LEFT - 0.04 - _RATE_GAP - text_width("/min") * _UNIT_SIZE
        size = min(_RATE_SIZE, room / text_width(text)) * unit
        unit_left = left + size * text_width(text) + _RATE_GAP * unit
        self._lay_text(place, [(text, left, foot, size), ("/min", unit_left, foot, _UNIT_SIZE * unit)])

    def _show_periodicity(self, steps: int) -> None:
        unit = self._unit
        place = self._place(_BAR_TOP * unit - 2, _BAR_BOTTOM * unit + 2, _COLUMN_LEFT * unit - 2, _COLUMN_RIGHT * unit + 2)
        end = (_COLUMN_LEFT + (_COLUMN_RIGHT - _COLUMN_LEFT) * steps / _PERIODICITY_STEPS) * unit
        share = np.clip(end - np.arange(self.width, dtype=np.float32), 0, 1)
        mask = self._bar * share if steps else np.zeros_like(self._bar)
        self._lay(place, mask[place], _AMBER)

    def _lay_base(self) -> None:
        """Draws what never changes: the dark field, the ring and the bar when empty, and the labels."""
        unit = self._unit
        shape = self._levels[0].alpha.shape
        field = self._rounded(0, 0, self.width / unit, 1, 0.14)
        size = 0.1 * self._dial
        labels = draw_text(
            shape,
            [
                ("reps", self._middle - size * text_width("reps") / 2, self._middle + 0.27 * self._dial, size),
                ("periodicity", (_COLUMN_LEFT + 0.015) * unit, _LABEL_FOOT * unit, _LABEL_SIZE * unit),
            ],
        )
        everywhere = self._place(0, self.height, 0, self.width)
        for mask, colour in (
            (_BACKGROUND_ALPHA * field, _BLACK),
            (_TRACK_ALPHA * np.maximum(self._rings[0].mask, self._bar), _WHITE),
            (_LABEL_ALPHA * labels, _WHITE),
        ):
            self._lay(everywhere, mask, colour)
            for level in self._levels:
                level.keep_base()

    def _place(self, top: float, bottom: float, left: float, right: float) -> tuple[slice, slice]:
        """Returns rows and columns with even bounds around a rectangle, within the panel."""
        bounds = (_even(max(value, 0)) for value in (top, left))
        ends = (min(_even(value + 1.999), most) for value, most in ((bottom, self.height), (right, self.width)))
        rows, columns = (slice(min(start, end), end) for start, end in zip(bounds, ends, strict=True))
        return rows, columns

    def _lay_text(self, place: tuple[slice, slice], texts: list[tuple[str, float, float, float]]) -> None:
        shape = place[0].stop - place[0].start, place[1].stop - place[1].start
        self._lay(place, draw_text(shape, texts), _WHITE)

    def _lay(self, place: tuple[slice, slice], mask: np.ndarray, colour: tuple[int, int, int]) -> None:
        """Lays a colour over the base at an even place, through a mask of the brightness plane's size."""
        for level in self._levels:
            rows, columns = (slice(part.start // level.scale, part.stop // level.scale) for part in place)
            size = columns.stop - columns.start, rows.stop - rows.start
            scaled = mask if level.scale == 1 else cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
            level.lay((rows, columns), scaled, self._colours.ycbcr(colour))

    def _rounded(self, left: float, top: float, right: float, bottom: float, radius: float) -> np.ndarray:
        """Returns the mask of a rectangle with round corners; all measures are in heights of the panel."""
        height, width = self._levels[0].alpha.shape
        canvas = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
        scale = self._unit * SUPERSAMPLING
        x0, y0, x1, y1, r = (round(value * scale) for value in (left, top, right, bottom, radius))
        cv2.rectangle(canvas, (x0 + r, y0), (x1 - r - 1, y1 - 1), 255, -1)
        cv2.rectangle(canvas, (x0, y0 + r), (x1 - 1, y1 - r - 1), 255, -1)
        for centre in ((x0 + r, y0 + r), (x1 - r - 1, y0 + r), (x0 + r, y1 - r - 1), (x1 - r - 1, y1 - r - 1)):
            cv2.circle(canvas, centre, r, 255, -1)
        return average(canvas)


class _Level:
    """The panel at the size of a plane: full for brightness, half for colours.

    Attributes:
      scale: Pixels of brightness for each of its pixels, in both directions.
      alpha: (height, width) float32, how much the base covers the video, 0..1.
      keep: (height, width) uint16, factor of the video's pixels in 256ths.
      add: What is added to them, in 256ths, by number of the plane: (height, width) uint16.
    """

    def __init__(self, scale: int, shape: tuple[int, int]) -> None:
        self.scale = scale
        self.alpha = np.zeros(shape, np.float32)
        self.keep = np.full(shape, 256, np.uint16)
        numbers = (0,) if scale == 1 else (1, 2)
        self.add = {number: np.zeros(shape, np.uint16) for number in numbers}
        self._base = {number: np.zeros(shape, np.float32) for number in numbers}
        self._laid: tuple[np.ndarray, dict[int, np.ndarray]] = (self.alpha, self._base)

    def lay(self, place: _Place, mask: np.ndarray, ycbcr: tuple[float, float, float]) -> None:
        """Lays a colour over the base at a place, through a mask, instead of what lay there."""
        alpha = self.alpha[place] * (1 - mask) + mask
        values = {number: base[place] * (1 - mask) + ycbcr[number] * mask for number, base in self._base.items()}
        self.keep[place] = np.round(256 * (1 - alpha)).astype(np.uint16)
        for number, value in values.items():
            self.add[number][place] = np.round(255 * value + 128 * alpha).astype(np.uint16)
        self._laid = alpha, values

    def keep_base(self) -> None:
        """Makes what was laid last, over all of the level, part of the base."""
        self.alpha, self._base = self._laid


class _Ring:
    """The pixels of the ring in a level.

    Attributes:
      mask: (height, width), how much of each of the level's pixels is in the ring, 0..1.
      place: Rows and columns of the pixels.
    """

    def __init__(self, level: _Level, middle: float, diameter: float) -> None:
        middle, outer = middle / level.scale, diameter / 2 / level.scale
        inner = outer * (1 - 2 * _RING_SHARE)
        distance, turn = _distances(level.alpha.shape, middle)
        self.mask = np.clip(outer - distance + 0.5, 0, 1) * np.clip(distance - inner + 0.5, 0, 1)
        rows, columns = np.nonzero(self.mask)
        self.place = rows, columns
        self._mask = self.mask[self.place].astype(np.float32)
        self._turn = turn[self.place].astype(np.float32)
        self._pixels_around = math.pi * (outer + inner)

    def filled(self, progress: float) -> np.ndarray:
        """Returns the mask of the part that is filled, clockwise from the top, for each of the ring's pixels."""
        if progress <= 0:
            return np.zeros_like(self._mask)
        return self._mask * np.clip((progress - self._turn) * self._pixels_around + 0.5, 0, 1)


def _distances(shape: tuple[int, ...], middle: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns each pixel's distance from (middle, middle), and its direction as a share of a turn clockwise from the top."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5 - middle
    return np.hypot(x, y), np.arctan2(-x, y) / (2 * math.pi) + 0.5


def _even(value: float) -> int:
    return int(value) // 2 * 2
