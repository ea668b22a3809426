"""Decodes a stream with NVDEC, the video decoder of NVIDIA's GPUs, which also resizes the frames. Imports no Beam.

FFmpeg reaches NVDEC through its `_cuvid` decoders. They return frames of 224×224, so a large frame never leaves the GPU. They
read only what most cameras write, and they conceal damage without a word. So whatever is unusual raises `NvdecRefusedError`,
and the processor decodes that video from its start.

Each packet must give one frame, at the packet's time. So the frames and their times are those that the processor would find.
"""

from __future__ import annotations

import contextlib
import ctypes
import heapq
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import av
from av.codec.hwaccel import HWAccel
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from transforms.decoding.pixels import FULL_RANGE, LIMITED_RANGE, REFERENCE_SIZE, Orientation, is_full_range, orientation_of
from transforms.decoding.video_facts import NvdecUse

CODECS = {"av1": "av1_cuvid", "h264": "h264_cuvid", "hevc": "hevc_cuvid"}
"""FFmpeg's name of the decoder that uses NVDEC, by codec. Its decoder of VP9 returns other times than the packets have."""

_EIGHT_BITS = ("yuv420p", "yuvj420p")

_TEN_BITS = (*_EIGHT_BITS, "yuv420p10le")

PIXEL_FORMATS = {"av1": _TEN_BITS, "h264": _EIGHT_BITS, "hevc": _TEN_BITS}
"""FFmpeg's names of the pixel formats to decode, by codec. Which others a GPU can decode depends on its generation."""


_LIBRARIES = ("libcuda.so.1", "libnvcuvid.so.1")
"""Libraries of NVIDIA's driver through which FFmpeg decodes."""


class NvdecRefusedError(Exception):
    """NVDEC does not decode a video, or no longer.

    Attributes:
      use: The reason.
    """

    def __init__(self, use: NvdecUse) -> None:
        super().__init__(use)
        self.use = use


def has_decoders() -> bool:
    """Returns whether FFmpeg, as installed, has decoders that use NVDEC."""
    return set(CODECS.values()) <= av.codecs_available


def load_driver() -> list[str]:
    """Loads the driver's libraries, which starts no thread; returns their folders. Raises OSError if there are none."""
    for name in _LIBRARIES:
        ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
    lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    paths = {line.split(maxsplit=5)[5] for line in lines if "/libcuda.so" in line or "/libnvcuvid.so" in line}
    return sorted({os.path.dirname(path) for path in paths})


class Gpu:
    """The first GPU of this machine, ready to decode.

    It keeps one decoder open, and with it the connection to the GPU that all decoders share.
    """

    def __init__(self) -> None:
        """Connects to the GPU; raises NvdecRefusedError if it cannot."""
        with _refusing(NvdecUse.NOT_STARTED):
            self._kept = self._create("h264", "yuv420p")
            self._kept.open()

    def open(self, stream: VideoStream) -> VideoCodecContext:
        """Returns a new decoder for a stream; raises FFmpegError if the GPU does not decode its codec in this size."""
        context = self._create(stream.codec.canonical_name, stream.pix_fmt or "yuv420p")
        context.extradata = stream.codec_context.extradata
        context.width, context.height = stream.width, stream.height
        context.options = {"resize": f"{REFERENCE_SIZE}x{REFERENCE_SIZE}"}
        context.open()
        return context

    def _create(self, codec: str, pixels: str) -> VideoCodecContext:
        accelerator = HWAccel("cuda", options={"primary_ctx": "1"})  # that of the process, or each video would wait for its own
        context = cast(VideoCodecContext, av.CodecContext.create(CODECS[codec], "r", accelerator))
        context.pix_fmt = pixels  # FFmpeg asks the GPU whether it decodes this
        return context


class NvdecStream:
    """Decodes the packets of one stream with NVDEC. The processor decodes the first frame, too, for its size and colours."""

    def __init__(self, stream: VideoStream, gpu: Gpu) -> None:
        """Raises NvdecRefusedError for a codec or a pixel format that NVDEC is not asked to decode."""
        codec = stream.codec.canonical_name
        if codec not in CODECS:
            raise NvdecRefusedError(NvdecUse.CODEC)
        if stream.pix_fmt not in PIXEL_FORMATS[codec]:
            raise NvdecRefusedError(NvdecUse.PIXELS)
        self._stream = stream
        self._gpu = gpu
        self._context: VideoCodecContext | None = None
        self._first: VideoFrame | None = None
        self._first_ticks = 0
        self._coded_size: tuple[int, int] | None = None
        self._upcoming: list[tuple[int, int, bool]] = []  # time, duration, and whether it is hidden: a heap

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames before they were resized, in pixels."""
        return (self._first.width, self._first.height) if self._first else (self._stream.width, self._stream.height)

    @property
    def orientation(self) -> Orientation:
        """How to turn the frames upright."""
        return orientation_of(self._first) if self._first else Orientation()

    def decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """Returns the frames that a packet completes, in the order of display; an empty one completes the last ones.

        Raises:
          NvdecRefusedError: The packet is damaged or unusual, or NVDEC fails or leaves out a frame.
        """
        if packet is None or packet.is_corrupt:
            raise NvdecRefusedError(NvdecUse.FAILED)
        if packet.size:
            self._note(packet)
        elif self._context is None:
            return []
        with _refusing(NvdecUse.FAILED):
            frames = self._context_for(packet).decode(_shown(packet) if packet.size else None)
        shown = [frame for frame in frames if self._is_shown(frame)]
        if not packet.size and self._upcoming:
            raise NvdecRefusedError(NvdecUse.FAILED)
        return shown

    def _note(self, packet: Packet[VideoStream]) -> None:
        """Notes the frame to expect; raises NvdecRefusedError if it has no time, or one before that of the first packet."""
        if packet.pts is None or (self._context and packet.pts < self._first_ticks):
            raise NvdecRefusedError(NvdecUse.IRREGULAR)
        heapq.heappush(self._upcoming, (packet.pts, packet.duration or 0, packet.is_discard))

    def _context_for(self, packet: Packet[VideoStream]) -> VideoCodecContext:
        """Returns the decoder, which is opened with the first packet."""
        if self._context is None:
            self._first_ticks = cast(int, packet.pts)
            with _refusing(NvdecUse.IRREGULAR):
                software = self._stream.codec_context
                frames = [*software.decode(packet), *software.decode(None)]
            if not frames or frames[0].is_corrupt:
                raise NvdecRefusedError(NvdecUse.IRREGULAR)
            self._first = frames[0]
            with _refusing(NvdecUse.NOT_OPENED):
                self._context = self._gpu.open(self._stream)
        return self._context

    def _is_shown(self, frame: VideoFrame) -> bool:
        """Completes a frame, and returns whether the container shows it; raises NvdecRefusedError if it is not the next one."""
        ticks, duration, is_hidden = heapq.heappop(self._upcoming) if self._upcoming else (None, 0, False)
        if ticks is None or frame.pts != ticks:
            raise NvdecRefusedError(NvdecUse.FAILED)
        context, first = self._context, self._first
        coded_size = (context.coded_width, context.coded_height) if context else None
        if coded_size != (self._coded_size or coded_size):
            raise NvdecRefusedError(NvdecUse.IRREGULAR)
        self._coded_size = coded_size
        frame.duration = duration
        if first is not None:
            frame.colorspace = first.colorspace
            frame.color_range = FULL_RANGE if is_full_range(first) else LIMITED_RANGE
        return not is_hidden


def _shown(packet: Packet[VideoStream]) -> Packet[VideoStream]:
    """Returns a packet without the container's wish to hide its frame, which FFmpeg would apply to another frame of NVDEC."""
    if not packet.is_discard:
        return packet
    copy = cast("Packet[VideoStream]", Packet(bytes(packet)))
    copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
    return copy


@contextlib.contextmanager
def _refusing(use: NvdecUse) -> Iterator[None]:
    """Turns errors of FFmpeg, among them a lack of the GPU's memory, into NvdecRefusedError."""
    try:
        yield
    except (FFmpegError, MemoryError) as error:
        raise NvdecRefusedError(use) from error
