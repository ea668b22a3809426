"""From a decoded frame to the network's 112×112 RGB. Knows no Beam.

Decoders give YCbCr: a plane of brightness, and two of colour that are smaller. Each is resized before colours are made of
them: from 1080p that takes a tenth of the time that colours at full size take, and differs by rounding only, since both are
linear.
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

_REFERENCE_SIZE = 2 * FRAME_SIZE

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}

_FULL_RANGE = 2

_USUAL_WEIGHTS = (0.299, 0.114)

_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),  # BT.709
    5: _USUAL_WEIGHTS,  # BT.470 BG
    6: _USUAL_WEIGHTS,  # SMPTE 170M
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020
    10: (0.2627, 0.0593),
}
"""Shares of red and blue in the brightness, by the number of the colour space in ITU-T H.273, MatrixCoefficients."""


_SQUARE_SHARE = 0.02
"""Of a display matrix's greater entries that the smaller ones may have; beyond, the picture lies askew: by a degree, about."""


@dataclasses.dataclass(frozen=True)
class Orientation:
    """What puts a frame upright: it is mirrored, and then turned.

    Attributes:
      degrees: clockwise: 0, 90, 180 or 270.
      is_mirrored: left and right change places, as in what some phones record with the camera at the front.
    """

    degrees: int = 0
    is_mirrored: bool = False


def orientation_of(frame: VideoFrame) -> Orientation:
    """Returns what a frame's display matrix asks for; nothing for one that is askew.

    A point (x, y) is shown at (a·x + c·y, b·x + d·y), see `av_display_rotation_get` of FFmpeg.
    """
    matrix = cast(Mapping[str, Buffer], frame.side_data).get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(memoryview(matrix), np.int32)[:5].tolist()
    along, across = (abs(a), abs(d)), (abs(b), abs(c))
    if max(across) < _SQUARE_SHARE * min(along):
        degrees = 0 if d > 0 else 180
    elif max(along) < _SQUARE_SHARE * min(across):
        degrees = 90 if c < 0 else 270
    else:
        return Orientation()
    return Orientation(degrees, is_mirrored=a * d - b * c < 0)


def shrink(frame: VideoFrame, upright: Orientation) -> np.ndarray:
    """Returns a frame at the network's size, as (112, 112, 3) uint8 RGB.

    It is resized to 224×224 (bilinear), as the network's authors do, then to 112×112 by the mean of each 2×2 block, which is
    what they do next, and rounded to whole numbers. High dynamic range is not mapped to a lower one.

    Args:
      frame: as decoded, in any pixel format.
      upright: what puts it upright, see `orientation_of`.
    """
    planes = _planes(frame)
    if planes is None:
        whole = frame.reformat(format="rgb24", threads=1).to_ndarray()
        image = _resize(cv2.resize(whole, (_REFERENCE_SIZE, _REFERENCE_SIZE), interpolation=cv2.INTER_LINEAR))
    else:
        bits = frame.format.components[0].bits
        image = _resize(cv2.merge([_to_bytes(plane, bits) for plane in planes]))
        is_full = frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj")
        image = cv2.transform(image, _to_rgb(frame.colorspace, is_full))
    if upright.is_mirrored:
        image = cv2.flip(image, 1)
    return cv2.rotate(image, _TURNS[upright.degrees]) if upright.degrees else image


def _resize(reference: np.ndarray) -> np.ndarray:
    return cv2.resize(reference, (FRAME_SIZE, FRAME_SIZE), interpolation=cv2.INTER_AREA)


def _planes(frame: VideoFrame) -> list[np.ndarray] | None:
    """Returns (height, width) views of brightness and the two colours, uint8 or uint16; None if they do not lie so."""
    planes = frame.planes
    if not _is_planar_ycbcr(frame.format) or any(plane.line_size <= 0 for plane in planes[:3]):
        return None
    dtype = np.dtype(np.uint8 if frame.format.components[0].bits == 8 else "<u2")
    return [
        np.frombuffer(memoryview(plane), dtype).reshape(plane.height, plane.line_size // dtype.itemsize)[:, : plane.width]
        for plane in planes[:3]
    ]


def _is_planar_ycbcr(pixels: VideoFormat) -> bool:
    """Tells whether brightness and colours lie in a plane each, with 8 bits or more, as software decoders mostly give them."""
    components = pixels.components
    return (
        pixels.name.startswith("yuv")
        and len(components) >= 3
        and [component.plane for component in components[:3]] == [0, 1, 2]
        and 8 <= components[0].bits <= 16
        and not pixels.is_big_endian
    )


def _to_bytes(plane: np.ndarray, bits: int) -> np.ndarray:
    """Resizes a plane to (224, 224) uint8; of more than eight bits, the upper eight are kept, rounded."""
    reference = cv2.resize(plane, (_REFERENCE_SIZE, _REFERENCE_SIZE), interpolation=cv2.INTER_LINEAR)
    return reference if bits == 8 else cv2.convertScaleAbs(reference, alpha=1 / (1 << (bits - 8)))


@functools.cache
def _to_rgb(colorspace: int, is_full: bool) -> np.ndarray:
    """Returns the (3, 4) matrix from Y, Cb, Cr (8 bits) and 1 to R, G, B (0 to 255), as in ITU-T H.273, 8.3.

    Args:
      colorspace: its number; one that says nothing is taken for BT.601.
      is_full: brightness goes from 0 to 255, not from 16 to 235, and colours do alike.
    """
    red, blue = _LUMA_WEIGHTS.get(colorspace, _USUAL_WEIGHTS)
    green = 1 - red - blue
    brightness, colour, black = (1.0, 1.0, 0.0) if is_full else (255 / 219, 255 / 224, 16.0)
    matrix = np.array(
        [
            [brightness, 0, 2 * (1 - red) * colour],
            [brightness, -2 * (1 - blue) * blue / green * colour, -2 * (1 - red) * red / green * colour],
            [brightness, 2 * (1 - blue) * colour, 0],
        ]
    )
    offset = -matrix @ np.array([black, 128.0, 128.0])
    return np.concatenate([matrix, offset[:, None]], axis=1)
