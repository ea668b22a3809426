"""What a video's header declares, and what decoding learns about a video. Imports no Beam."""

from __future__ import annotations

import dataclasses


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
      duration_sec: Time from the first frame to the last one, plus one mean frame step.
      truncated: True if the file declares clearly more than was shown, or if a part was damaged or had to be guessed.
      variable_frame_rate: True if the steps between frames differ by more than half a mean step.
      trailing_data: True if another file is appended to this one, in a format of which players show the first only.
      first_frame_sec: Time in a player, in seconds, at which the first frame appears. Above 0 if the sound begins before.
      captured_sec: Time of recording that the file declares, true or not, in seconds since 1970 (UTC); 0 if it declares none.
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
