"""Stands in for a GPU where there is none: FFmpeg's software decoders, whose frames are resized as NVDEC does it."""

from __future__ import annotations

import av
from av.error import ExternalError

from transforms.decoding.pixels import REFERENCE_SIZE


class SoftwareGpu:
    """Opens software decoders where `nvdec.Gpu` opens those of the GPU.

    Attributes:
      opened: Codecs of the decoders that were opened.
    """

    def __init__(self, fails_after: int | None = None, leaves_out: int | None = None, refuses: bool = False) -> None:
        """Creates a GPU.

        Args:
          fails_after: Number of frames after which decoding fails. None: never.
          leaves_out: Number of the frame that is lost. None: no frame.
          refuses: Whether no decoder can be opened.
        """
        self.opened: list[str] = []
        self._fails_after = fails_after
        self._leaves_out = leaves_out
        self._refuses = refuses

    def open(self, stream):
        if self._refuses:
            raise ExternalError(1, "the GPU refuses")
        self.opened.append(stream.codec.canonical_name)
        return _Context(stream, self._fails_after, self._leaves_out)


class _Context:
    def __init__(self, stream, fails_after, leaves_out):
        name = "libdav1d" if stream.codec.canonical_name == "av1" else stream.codec.canonical_name
        self._decoder = av.CodecContext.create(name, "r")
        self._decoder.extradata = stream.codec_context.extradata
        self._fails_after = fails_after
        self._leaves_out = leaves_out
        self._num_frames = 0

    @property
    def coded_width(self):
        return self._decoder.coded_width

    @property
    def coded_height(self):
        return self._decoder.coded_height

    def decode(self, packet):
        frames = []
        for frame in self._decoder.decode(packet):
            self._num_frames += 1
            if self._fails_after is not None and self._num_frames > self._fails_after:
                raise ExternalError(1, "the GPU fails")
            if self._num_frames - 1 != self._leaves_out:
                frames.append(_resized(frame))
        return frames


def _resized(frame):
    """Returns a frame as NVDEC returns it: small, without what the container says of it."""
    resized = frame.reformat(REFERENCE_SIZE, REFERENCE_SIZE, "nv12")
    resized.pts, resized.colorspace, resized.color_range = frame.pts, 2, 0
    return resized
