"""Converts a decoded frame to the network's 112×112 RGB. Imports no Beam.

Decoders return YCbCr: one plane of brightness and two smaller planes of colour. Each plane is resized first, and the result is
converted to RGB at 112×112. For 1080p this takes a tenth of the time of converting at full size. The pixels differ only by
rounding, because both operations are linear.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import cast

import cv2
import numpy as np
from av.buffer import Buffer
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from model.config import FRAME_SIZE

REFERENCE_SIZE = 2 * FRAME_SIZE
"""Size to which frames are resized first; then, each pixel of the result is the mean of a 2×2 block."""

_CV2_ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}

_GPU_BITS = {"nv12": 8, "p010le": 16, "p016le": 16}
"""Bits of the pixel formats in which GPUs return 4:2:0. Fewer than 16 bits are stored as the upper ones of 16."""

LIMITED_RANGE, FULL_RANGE = 1, 2
"""FFmpeg's numbers of the colour ranges in which brightness goes from 16 to 235, and from 0 to 255."""

_BT_601_WEIGHTS = (0.299, 0.114)

_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),  # BT.709
    5: _BT_601_WEIGHTS,  # BT.470 BG
    6: _BT_601_WEIGHTS,  # SMPTE 170M
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020
    10: (0.2627, 0.0593),
}
"""Weights of red and blue in the brightness, by the number of the colour space in ITU-T H.273, MatrixCoefficients."""


_MAX_SKEW = 0.02
"""Largest ratio of a display matrix's small entries to its large ones. Above it, the picture is tilted by a degree or more."""


@dataclasses.dataclass(frozen=True)
class Orientation:
    """How to turn a frame upright: mirror it first, then rotate it.

    Attributes:
      degrees: Clockwise rotation: 0, 90, 180 or 270.
      is_mirrored: Whether to swap left and right, as some phones ask for with their front camera.
    """

    degrees: int = 0
    is_mirrored: bool = False

    @property
    def is_sideways(self) -> bool:
        """Whether the width of the upright frame is the height of the stored one."""
        return self.degrees in (90, 270)


def orientation_of(frame: VideoFrame) -> Orientation:
    """Returns the orientation in a frame's display matrix; a matrix that is not a multiple of 90 degrees is ignored.

    The matrix shows a point (x, y) at (a·x + c·y, b·x + d·y); see `av_display_rotation_get` of FFmpeg.
    """
    matrix = cast(Mapping[str, Buffer], frame.side_data).get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(memoryview(matrix), np.int32)[:5].tolist()
    along, across = (abs(a), abs(d)), (abs(b), abs(c))
    if max(across) < _MAX_SKEW * min(along):
        degrees = 0 if d > 0 else 180
    elif max(along) < _MAX_SKEW * min(across):
        degrees = 90 if c < 0 else 270
    else:
        return Orientation()
    return Orientation(degrees, is_mirrored=a * d - b * c < 0)


def turn(plane: np.ndarray, orientation: Orientation) -> np.ndarray:
    """Returns a plane or an image upright."""
    if orientation.is_mirrored:
        plane = cv2.flip(plane, 1)
    return cv2.rotate(plane, _CV2_ROTATIONS[orientation.degrees]) if orientation.degrees else plane


def resize_frame(frame: VideoFrame, orientation: Orientation, exact: bool = True) -> np.ndarray:
    """Returns a frame at the network's size, upright, as (112, 112, 3) uint8 RGB.

    As RepNet's authors do, the frame is resized to 224×224 (bilinear), and then to 112×112 by averaging 2×2 blocks. The result
    is rounded to whole numbers. High dynamic range is not mapped to standard range.

    Args:
      frame: Decoded frame in any pixel format.
      orientation: How to turn it upright; see `orientation_of`.
      exact: Whether to resize colours in those two steps, too. If not, they are resized to 112×112 at once, which takes a
        quarter of the time. Brightness is the same either way.

    Raises:
      FFmpegError: FFmpeg cannot convert the pixel format.
      cv2.error: OpenCV cannot resize the frame.
    """
    bits = _planar_bits(frame.format.name)
    planes = None if bits is None else _planes(frame, bits)
    if bits is None or planes is None:
        rgb = frame.reformat(format="rgb24", threads=1).to_ndarray()
        image = _halve(cv2.resize(rgb, (REFERENCE_SIZE, REFERENCE_SIZE), interpolation=cv2.INTER_LINEAR))
    else:
        brightness, *colours = planes
        resized = [_halve(_resize_plane(brightness, REFERENCE_SIZE, bits))]
        if exact:
            resized += [_halve(_resize_plane(plane, REFERENCE_SIZE, bits)) for plane in colours]
        else:
            resized += [_resize_plane(plane, FRAME_SIZE, bits) for plane in colours]
        image = cv2.merge(resized)
        image = cv2.transform(image, _rgb_matrix(frame.colorspace, is_full_range(frame)))
    return turn(image, orientation)


def is_full_range(frame: VideoFrame) -> bool:
    """Returns whether a frame's brightness goes from 0 to 255 rather than from 16 to 235."""
    return frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")


def luma_weights(colorspace: int) -> tuple[float, float]:
    """Returns the weights of red and blue in the brightness; an unspecified colour space is taken for BT.601.

    Args:
      colorspace: Number of the colour space, in ITU-T H.273.
    """
    return _LUMA_WEIGHTS.get(colorspace, _BT_601_WEIGHTS)


def _halve(image: np.ndarray) -> np.ndarray:
    """Returns an image or plane of 224×224 as 112×112, each pixel the mean of a 2×2 block."""
    return cv2.resize(image, (FRAME_SIZE, FRAME_SIZE), interpolation=cv2.INTER_AREA)


def _planes(frame: VideoFrame, bits: int) -> list[np.ndarray] | None:
    """Returns (height, width) views of the Y, Cb and Cr planes, uint8 or uint16; None if they are stored upside down."""
    planes = frame.planes[:3]
    if any(plane.line_size <= 0 for plane in planes):
        return None
    dtype = np.dtype(np.uint8 if bits == 8 else "<u2")
    rows = [
        np.frombuffer(memoryview(plane), dtype).reshape(plane.height, plane.line_size // dtype.itemsize) for plane in planes
    ]
    if len(planes) == 2:  # Cb and Cr take turns in one plane, as graphics cards store them
        brightness, colours = rows
        return [
            brightness[:, : planes[0].width],
            *(np.ascontiguousarray(colours[:, first : 2 * planes[1].width : 2]) for first in (0, 1)),
        ]
    return [row[:, : plane.width] for row, plane in zip(rows, planes, strict=True)]


@functools.cache
def _planar_bits(name: str) -> int | None:
    """Returns the bits of a pixel format with separate planes of Y, Cb and Cr, as most software decoders return.

    The same for those of GPUs, which have one plane for Cb and Cr. None for other formats. A video may have a million frames,
    so this is not asked for each.
    """
    if name in _GPU_BITS:
        return _GPU_BITS[name]
    pixels = VideoFormat(name)
    components = pixels.components
    is_planar = (
        name.startswith("yuv")
        and len(components) >= 3
        and [component.plane for component in components[:3]] == [0, 1, 2]
        and 8 <= components[0].bits <= 16
        and not pixels.is_big_endian
    )
    return components[0].bits if is_planar else None


def _resize_plane(plane: np.ndarray, size: int, bits: int) -> np.ndarray:
    """Returns a plane resized to (size, size) uint8, bilinear; more than 8 bits are rounded to the upper 8."""
    resized = cv2.resize(plane, (size, size), interpolation=cv2.INTER_LINEAR)
    return resized if bits == 8 else cv2.convertScaleAbs(resized, alpha=1 / (1 << (bits - 8)))


@functools.cache
def _rgb_matrix(colorspace: int, has_full_range: bool) -> np.ndarray:
    """Returns the (3, 4) matrix that maps (Y, Cb, Cr, 1) of 8 bits to (R, G, B) in 0..255, as in ITU-T H.273, 8.3.

    Args:
      colorspace: Number of the colour space; an unspecified one is taken for BT.601.
      has_full_range: Whether brightness goes from 0 to 255 rather than from 16 to 235; colours are scaled likewise.
    """
    red, blue = luma_weights(colorspace)
    green = 1 - red - blue
    brightness, colour, black = (1.0, 1.0, 0.0) if has_full_range else (255 / 219, 255 / 224, 16.0)
    matrix = np.array(
        [
            [brightness, 0, 2 * (1 - red) * colour],
            [brightness, -2 * (1 - blue) * blue / green * colour, -2 * (1 - red) * red / green * colour],
            [brightness, 2 * (1 - blue) * colour, 0],
        ]
    )
    offset = -matrix @ np.array([black, 128.0, 128.0])
    return np.concatenate([matrix, offset[:, None]], axis=1)
