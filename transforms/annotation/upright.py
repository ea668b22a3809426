"""Copies decoded frames into frames to draw on and to encode: upright, 8-bit YCbCr 4:2:0, of even size. Imports no Beam."""

from __future__ import annotations

import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from transforms.annotation.panel import Colours
from transforms.decoding.pixels import FULL_RANGE, LIMITED_RANGE, Orientation, is_full_range, luma_weights, turn

PIXELS = "yuv420p"
"""FFmpeg's name of the pixel format that every player decodes."""

_SAME_PLANES = (PIXELS, "yuvj420p")

_BT_709 = 1
"""FFmpeg's number of the colour space of HD video."""

_WHITES = {16: 0.58, 18: 0.75}
"""Share of the greatest brightness that ordinary white has, by transfer characteristic: PQ and HLG, as in ITU-R BT.2408."""


class UprightFrames:
    """Copies frames of one video; all copies have the size of the first.

    Attributes:
      size: Width and height of the copies in pixels, both even.
      colours: How the copies store colours.
    """

    def __init__(self, first: VideoFrame, orientation: Orientation) -> None:
        """Decides on size and colours.

        Args:
          first: First frame of the video.
          orientation: How to turn the frames upright.
        """
        self._orientation = orientation
        self._stored = max(2, first.width // 2 * 2), max(2, first.height // 2 * 2)
        self.size = self._stored[::-1] if orientation.is_sideways else self._stored
        self._is_rgb = first.format.is_rgb or first.format.has_palette
        self._tags = {
            "colorspace": _BT_709 if self._is_rgb else first.colorspace,
            "color_range": FULL_RANGE if is_full_range(first) and not self._is_rgb else LIMITED_RANGE,
            "color_primaries": first.color_primaries,
            "color_trc": first.color_trc,
        }
        self.colours = Colours(
            *luma_weights(self._tags["colorspace"]),
            is_full_range=self._tags["color_range"] == FULL_RANGE,
            white=_WHITES.get(first.color_trc, 1.0),
        )

    def tag(self, encoder: VideoCodecContext) -> None:
        """Tells an encoder how colours are stored."""
        for name, value in self._tags.items():
            setattr(encoder, name, value)

    def copy(self, frame: VideoFrame) -> tuple[VideoFrame, list[np.ndarray]]:
        """Returns a new frame, and (height, width) uint8 views of its Y, Cb and Cr planes; raises FFmpegError."""
        width, height = self._stored
        if any(plane.line_size < 0 for plane in frame.planes):  # lines stored from the bottom to the top
            frame = frame.reformat(format="yuv444p", threads=1)
        is_same_size = frame.width - width in (0, 1) and frame.height - height in (0, 1)
        if frame.format.name not in _SAME_PLANES or not is_same_size:
            frame = self._convert(frame)
            if self._orientation == Orientation():
                return frame, _planes(frame, self.size)
        copy = VideoFrame(*self.size, PIXELS)
        planes = _planes(copy, self.size)
        for plane, source in zip(planes, _planes(frame, self._stored), strict=True):
            np.copyto(plane, turn(source, self._orientation))
        return copy, planes

    def _convert(self, frame: VideoFrame) -> VideoFrame:
        """Returns a new frame of the right size and format, as stored; the colours stay the same."""
        width, height = self._stored
        if self._is_rgb:
            return frame.reformat(width, height, PIXELS, dst_colorspace=_BT_709, dst_color_range=LIMITED_RANGE, threads=1)
        color_range = self._tags["color_range"]
        return frame.reformat(width, height, PIXELS, src_color_range=color_range, dst_color_range=color_range, threads=1)


def _planes(frame: VideoFrame, size: tuple[int, int]) -> list[np.ndarray]:
    """Returns views of the planes of a frame in `PIXELS`, cut to a size that is even."""
    width, height = size
    views = []
    for number, plane in enumerate(frame.planes):
        scale = 2 if number else 1
        stored = np.frombuffer(memoryview(plane), np.uint8)
        lines = stored[: plane.line_size * plane.height].reshape(plane.height, plane.line_size)
        views.append(lines[: height // scale, : width // scale])
    return views
