"""What a video's header declares, and what decoding learns about a video. Imports no Beam."""

from __future__ import annotations

import dataclasses
import enum


class NvdecUse(enum.StrEnum):
    """Whether NVDEC, the video decoder of NVIDIA's GPUs, has decoded a video, or why not."""

    UNUSED = "unused"
    """It was not asked for."""

    USED = "used"
    """It has decoded the whole video, except that the processor decodes the first frame, too."""

    NO_GPU = "no_gpu"
    """The machine has no NVIDIA GPU."""

    NOT_STARTED = "not_started"
    """FFmpeg does not reach the GPU: a driver without video decoding, or too little memory."""

    SANDBOX = "sandbox"
    """The system cannot hold a process that uses the GPU to the files of the GPU's driver."""

    CODEC = "codec"
    """The codec is none of H.264, HEVC and AV1."""

    CONTAINER = "container"
    """The container does not store when a frame is shown."""

    PIXELS = "pixels"
    """The pixel format is neither 4:2:0 of 8 bits nor, in HEVC and AV1, of 10 bits."""

    NOT_OPENED = "not_opened"
    """This GPU does not decode the codec in that size, or has no memory left."""

    IRREGULAR = "irregular"
    """A frame has no time, comes before the first one, or has another size."""

    FAILED = "failed"
    """A packet is damaged, or NVDEC has failed or left out a frame."""


@dataclasses.dataclass(frozen=True)
class VideoHeader:
    """What a file declares about its video before any frame is decoded. Files may lie, or say nothing.

    Attributes:
      width: Width in pixels as stored, before rotation; 0 if unknown.
      height: Height in pixels as stored, before rotation; 0 if unknown.
      codec: FFmpeg's name of the codec, such as "h264"; "" if unknown.
      fps: Frames per second; 0 if unknown.
      duration_sec: Duration in seconds; 0 if unknown.
    """

    width: int
    height: int
    codec: str
    fps: float
    duration_sec: float


@dataclasses.dataclass(frozen=True)
class VideoFacts:
    """What decoding learned about a video.

    Attributes:
      width: Width in pixels as shown, after rotation.
      height: Height in pixels as shown, after rotation.
      codec: FFmpeg's name of the codec, such as "h264"; "" if unknown.
      rotation_degrees: Clockwise rotation that was applied: 0, 90, 180 or 270; after mirroring, if the file asks for that.
      fps: Frames per second, measured from the times of the decoded frames, before sampling by `max_fps`.
      decoded_frames: Number of frames that were read, also those that sampling left out.
      duration_sec: Time from the first frame to the last one, or the last one of the part to read, plus the usual step.
      truncated: True if the file declares clearly more than was shown, or if a part was damaged or had to be guessed.
      variable_frame_rate: True if the steps between frames differ by more than half a mean step.
      trailing_data: True if another file is appended to this one, in a format of which players show the first only.
      first_frame_sec: Time in a player, in seconds, at which the first frame appears. Above 0 if the sound begins before.
      captured_sec: Time of recording that the file declares, true or not, in seconds since 1970 (UTC); 0 if it declares none.
      nvdec: Whether NVDEC has decoded it, or why not.
    """

    width: int
    height: int
    codec: str
    rotation_degrees: int
    fps: float
    decoded_frames: int
    duration_sec: float
    truncated: bool
    variable_frame_rate: bool
    trailing_data: bool = False
    first_frame_sec: float = 0.0
    captured_sec: float = 0.0
    nvdec: NvdecUse = NvdecUse.UNUSED
