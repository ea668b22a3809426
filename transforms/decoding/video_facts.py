"""What decoding learns about a video. Knows no Beam."""

from __future__ import annotations

import dataclasses


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
