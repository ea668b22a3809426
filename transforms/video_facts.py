"""What reading a video tells: facts about it, or a code that says why there are none. Knows no Beam."""

from __future__ import annotations

import dataclasses
import enum


class FailureCode(str, enum.Enum):
    """Why a video could not be counted; each value is documented in `docs/failure_codes.md`."""

    EMPTY_FILE = "EMPTY_FILE"
    NOT_A_VIDEO = "NOT_A_VIDEO"
    NO_VIDEO_STREAM = "NO_VIDEO_STREAM"
    NO_FRAMES = "NO_FRAMES"
    TOO_LARGE = "TOO_LARGE"
    TOO_LONG = "TOO_LONG"
    READ_ERROR = "READ_ERROR"
    GONE = "GONE"
    DECODER_CRASHED = "DECODER_CRASHED"
    DECODE_TIMEOUT = "DECODE_TIMEOUT"
    DECODE_OUT_OF_MEMORY = "DECODE_OUT_OF_MEMORY"
    SCORING_FAILED = "SCORING_FAILED"
    INCOMPLETE = "INCOMPLETE"
    COUNTING_FAILED = "COUNTING_FAILED"


@dataclasses.dataclass(frozen=True)
class VideoFacts:
    """What decoding learnt about a video.

    Attributes:
      width: pixels, as shown (after rotation).
      height: pixels, as shown (after rotation).
      codec: as FFmpeg names it, such as "h264"; "" where unknown.
      rotation_degrees: clockwise rotation that was applied: 0, 90, 180 or 270, after mirroring where the file asks for that.
      fps: frames a second as measured from presentation times of the decoded frames, before thinning by `max_fps`.
      decoded_frames: frames that decoded.
      duration_sec: presentation time of the last frame plus one mean frame step, less that of the first.
      truncated: the file declares clearly more than was shown, or a part of it did not decode, or only with guesses.
      variable_frame_rate: steps between frames differ by more than half a mean step.
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
