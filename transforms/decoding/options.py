"""How videos become frames: sampling rate, chunk size and limits. Imports neither Beam nor FFmpeg."""

from __future__ import annotations

import dataclasses
import math

DECODERS = ("cpu", "auto", "nvdec")
"""Values of `DecodingOptions.decoder`."""


@dataclasses.dataclass(frozen=True)
class DecodingOptions:
    """How videos become frames.

    Attributes:
      max_fps: Most frames per second to keep, on average and with 5 % tolerance. The longest period that the model can see
        then lasts the same number of seconds whatever the camera, and 60 fps cost as much as 30.
      repeat_below_fps: Frames a second below which the network is shown each frame several times, see
        `model.logits.slow_repeats`. 0: never.
      exact: Whether to decode every frame as the codec's standard says, even if it takes longer. See `StreamReader` and
        `resize_frame` for what is saved otherwise.
      decoder: Where to decode. "cpu": on the processor, as exact decoding always is. "auto": on an NVIDIA GPU if there is one;
        what that cannot decode, on the processor. "nvdec": as "auto", and of each video it is noted if there is no GPU.
      chunk_frames: Frames per chunk, 37,632 bytes each: `model.logits.chunk_frames` of the scored strides, or longer videos
        fail. `transforms.defaults.default_options` chooses what fits a model; the default is that of the default model.
      decoder_threads: Threads that FFmpeg uses for one video. Each holds frames of its own, and runners decode several videos
        at once, so do not use one per core.
      max_bytes: Largest file to decode, in bytes.
      max_sec: Longest video to decode, in seconds, measured by its frame times.
      max_frames: Most frames that a video may have.
      max_pixels: Most pixels that a frame may have; the default is more than 8K.
      timeout_sec: Seconds without a decoded frame after which a video fails. See `watchdog.SECONDS_PER_VIDEO_SEC` for the limit
        on its total time.
      billing_project: Project that pays for reading from "requester pays" buckets. None for the bucket's own.
      max_memory_bytes: Most memory that the decoder process may use, in bytes. None: an equal share for each core of the
        machine; see `memory_limit`.
      require_sandbox: Whether to decode nothing where system calls cannot be filtered. See `sandbox`.
      start_sec: Time of the first frame to keep, in seconds from the video's first frame.
      end_sec: Time of the first frame not to keep. Decoding ends there.
      start_frame: Number of the first frame to keep, from 0.
      end_frame: Number of the first frame not to keep. Decoding ends there. None for no end.
    """

    max_fps: float = 30.0
    repeat_below_fps: float = 0.0
    exact: bool = False
    decoder: str = "cpu"
    chunk_frames: int = 1536
    decoder_threads: int = 2
    max_bytes: int = 16 << 30
    max_sec: float = 4 * 3600.0
    max_frames: int = 1_000_000
    max_pixels: int = 40_000_000
    timeout_sec: float = 60.0
    max_memory_bytes: int | None = None
    billing_project: str | None = None
    require_sandbox: bool = False
    start_sec: float = 0.0
    end_sec: float = math.inf
    start_frame: int = 0
    end_frame: int | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a limit that is not positive, an infinite `max_fps`, or a part that ends before it starts."""
        if not (self.max_fps > 0 and math.isfinite(self.max_fps)):
            raise ValueError(f"max_fps must be a positive number of frames a second. Received: {self.max_fps}")
        if self.decoder not in DECODERS:
            raise ValueError(f"decoder must be one of {', '.join(DECODERS)}. Received: {self.decoder!r}")
        if self.exact and self.decoder == "nvdec":
            raise ValueError("exact decoding needs the decoder cpu or auto. Received: nvdec")
        if not 0 <= self.repeat_below_fps < math.inf:
            raise ValueError(f"repeat_below_fps must be a number of frames a second, or 0. Received: {self.repeat_below_fps}")
        for name in ("max_sec", "timeout_sec"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be a positive number of seconds. Received: {getattr(self, name)}")
        for name in ("chunk_frames", "decoder_threads", "max_bytes", "max_frames", "max_pixels", "max_memory_bytes"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be at least 1. Received: {value}")
        for start, end in (("start_sec", "end_sec"), ("start_frame", "end_frame")):
            first, last = getattr(self, start), getattr(self, end)
            if not 0 <= first < (math.inf if last is None else last):
                raise ValueError(f"{start} must be at least 0 and below {end}. Received: {first} and {last}")

    @property
    def wants_gpu(self) -> bool:
        """Whether to decode on a GPU if there is one."""
        return self.decoder != "cpu" and not self.exact

    @property
    def is_whole(self) -> bool:
        """Whether all of a video is decoded, not only a part."""
        return (self.start_sec, self.end_sec, self.start_frame, self.end_frame) == (0.0, math.inf, 0, None)
