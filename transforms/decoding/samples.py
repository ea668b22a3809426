"""The result of reading a video: sampled frames (`Samples`), or a `DecodeError`. Imports neither Beam nor FFmpeg."""

from __future__ import annotations

import dataclasses

import numpy as np

from transforms.decoding.video_facts import VideoFacts
from transforms.failure_codes import FailureCode


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """Consecutive sampled frames of a video.

    Attributes:
      frames: (num_frames, 112, 112, 3) uint8, RGB, 0..255.
      times_sec: (num_frames,) float64, seconds since the video's first frame.
      facts: Facts about the whole video; only with its last samples, else None.
    """

    frames: np.ndarray
    times_sec: np.ndarray
    facts: VideoFacts | None = None


class DecodeError(Exception):
    """The video cannot be decoded.

    Attributes:
      code: The reason, as a failure code.
      message: The reason in one line of text.
    """

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(code, message)  # both arguments, so that the error can be pickled
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


class DecoderStartError(DecodeError):
    """The decoder does not start on this machine, whatever the video."""

    def __init__(self, message: str = "the decoder does not start on this machine") -> None:
        super().__init__(FailureCode.DECODER_CRASHED, message)

    def __reduce__(self) -> tuple[type[DecoderStartError], tuple[str]]:
        """Pickles without the code, which is always the same."""
        return DecoderStartError, (self.message,)
