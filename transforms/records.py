"""The records that pass between the steps of the pipeline."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import hashlib

import numpy as np

from model.counting import Counted
from model.frame_counts import rounded_count
from model.frame_times import frame_lengths, periods_sec, split_at_pauses, times_at
from model.logits import StrideLogits
from transforms.decoding.video_facts import VideoFacts
from transforms.failure_codes import FailureCode, Stage

METRICS_NAMESPACE = "repcount"
"""Namespace of all Beam metrics of the pipeline."""


@dataclasses.dataclass(frozen=True, order=True)
class VideoRef:
    """The identity of an upload; a new generation of the same name is a new video.

    Attributes:
      uri: Local path or `gs://` URI.
      generation: Version of the object: Cloud Storage's generation, or the modification time of a local file in nanoseconds.
      size_bytes: Size in bytes when it was listed.
      updated: Upload time (UTC) when it was listed: creation of the generation, or modification of the local file.
    """

    uri: str
    generation: int
    size_bytes: int
    updated: datetime.datetime

    def __repr__(self) -> str:
        return f"{self.uri}#{self.generation}"

    @property
    def identity(self) -> bytes:
        """What hashes of the upload are made of: equal in all processes and runs."""
        return f"{self.uri}#{self.generation}".encode("utf-8", "surrogatepass")


@dataclasses.dataclass(frozen=True)
class Slice:
    """One of the parts into which a run divides its videos, by a hash of each video.

    Attributes:
      number: Number of this slice, from 1.
      total: Number of slices.
    """

    number: int
    total: int

    def __post_init__(self) -> None:
        """Raises ValueError unless 1 <= number <= total."""
        if not 1 <= self.number <= self.total:
            raise ValueError(f"the number of a slice must be from 1 to {self.total}. Received: {self.number}")

    def __str__(self) -> str:
        return f"slice {self.number} of {self.total}"


def slice_hash(video: VideoRef) -> int:
    """Returns an evenly distributed number in 0..2**31-1 that depends on the video's URI and generation alone."""
    return int.from_bytes(hashlib.sha256(video.identity).digest()[:4], "big") >> 1


def slice_number(hashed: int, total: int) -> int:
    """Returns the number of the slice, of `total`, that takes the videos with this `slice_hash`."""
    return hashed % total + 1


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which of the listed videos a run counts.

    Attributes:
      new_only: Whether to skip videos that the tables have, as a count or a failure, for the run's model and options.
      requeue: Failure codes to try again although the tables have the failure. Needs `new_only`.
      limit: Maximum number of videos to count, oldest uploads first; None for no maximum.
      part: The slice of the listing to select from; all others are neither listed, skipped nor left. None for all videos.
    """

    new_only: bool = True
    requeue: tuple[str, ...] = ()
    limit: int | None = None
    part: Slice | None = None

    def __post_init__(self) -> None:
        """Raises ValueError if `limit` is below 1, or if `requeue` is given without `new_only`."""
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be a whole number of at least 1. Received: {self.limit}")
        if self.requeue and not self.new_only:
            raise ValueError(f"requeue works only with mode=new. Received: {list(self.requeue)}")


@dataclasses.dataclass(frozen=True)
class SelectionTotals:
    """How many videos a selection listed, skipped and left to later runs.

    Attributes:
      listed: Number of different videos listed.
      skipped: Number of listed videos that the tables already have.
      left: Number of listed videos beyond the limit. They belong to later runs, not to this one.
    """

    listed: int
    skipped: int
    left: int

    @property
    def selected(self) -> int:
        """Number of videos that this run counts."""
        return self.listed - self.skipped - self.left


class VideoFlag(enum.StrEnum):
    """A remark on a count. `FLAG_MEANINGS` says what each flag means."""

    NOT_PERIODIC = "NOT_PERIODIC"
    TRUNCATED = "TRUNCATED"
    TRAILING_DATA = "TRAILING_DATA"
    TOO_SHORT = "TOO_SHORT"
    PERIOD_AT_LIMIT = "PERIOD_AT_LIMIT"
    AMBIGUOUS_STRIDE = "AMBIGUOUS_STRIDE"
    VARIABLE_FRAME_RATE = "VARIABLE_FRAME_RATE"
    ROTATED = "ROTATED"


FLAG_MEANINGS = {
    VideoFlag.NOT_PERIODIC: "The model finds no repetition; the count is 0.",
    VideoFlag.TRUNCATED: "Frames are missing or made up, since the file breaks off or is damaged. The count covers the frames "
    "that decoded. If nothing else shows damage, the end may lack up to 10 % of the declared duration without this flag, but "
    "no more than 2 s; up to 0.5 s always.",
    VideoFlag.TRAILING_DATA: "Another file is appended to this MP4, MOV, FLV or WMV. The count leaves it out, wholly or in "
    "part, as players do.",
    VideoFlag.TOO_SHORT: "The model saw fewer frames than one window (64).",
    VideoFlag.PERIOD_AT_LIMIT: "The period is the longest that the model knows. The true period may be longer and the count "
    "too high.",
    VideoFlag.AMBIGUOUS_STRIDE: "Another stride or period fits as well and gives another count.",
    VideoFlag.VARIABLE_FRAME_RATE: "Frames are unevenly spaced, as in phone recordings. Counts hold; rates at single frames "
    "are less exact.",
    VideoFlag.ROTATED: "The file asks for rotation. The frames were turned upright before counting.",
}
"""What each flag means. The column `flags` and the table in `docs/failure_codes.md` have the same texts."""


@dataclasses.dataclass(frozen=True, eq=False)
class FrameChunk:
    """At most 64 × lcm(strides) consecutive sampled frames of one video: the unit of inference.

    Attributes:
      video: Video of the frames.
      index: Number of the chunk within the video, from 0.
      frames: (num_frames, 112, 112, 3) uint8, RGB, 0..255.
      times_sec: (num_frames,) float64, presentation times in seconds from the video's first frame, strictly increasing.
      facts: Facts of the video, on its last chunk only; else None.
      repeats: Times that the network is shown each frame; the same for all chunks of a video.
    """

    video: VideoRef
    index: int
    frames: np.ndarray
    times_sec: np.ndarray
    facts: VideoFacts | None = None
    repeats: int = 1

    def __repr__(self) -> str:
        return f"FrameChunk({self.video!r}[{self.index}], {len(self.frames)} frames)"


@dataclasses.dataclass(frozen=True, eq=False)
class ChunkScores:
    """The network's output for one chunk, without its frames.

    Attributes:
      video: Video of the chunk.
      index: Number of the chunk within the video, from 0.
      logits: Period and periodicity logits by stride.
      times_sec: (num_frames,) float64, presentation times in seconds of the chunk's frames.
      facts: Facts of the video, on its last chunk only; else None.
      repeats: Times that the network was shown each frame; the same for all chunks of a video.
    """

    video: VideoRef
    index: int
    logits: dict[int, StrideLogits]
    times_sec: np.ndarray
    facts: VideoFacts | None = None
    repeats: int = 1


@dataclasses.dataclass(frozen=True)
class Failure:
    """A video, or a part of it, that could not be counted.

    Attributes:
      video: Video that failed.
      stage: Step at which it failed.
      code: Reason, as a code.
      message: Reason, as one line of text without secrets.
    """

    video: VideoRef
    stage: Stage
    code: FailureCode
    message: str


@dataclasses.dataclass(frozen=True)
class TimeSegment:
    """A part of a video that repeats.

    Attributes:
      start_sec: Time of its first frame in seconds.
      end_sec: Time in seconds at which its last frame ends.
      count: Number of repetitions in it, fractions included.
    """

    start_sec: float
    end_sec: float
    count: float

    @property
    def rate_hz(self) -> float:
        """Repetitions per second: the count divided by the segment's duration."""
        return self.count / (self.end_sec - self.start_sec)

    @property
    def rate_per_minute(self) -> float:
        """Repetitions per minute: the count divided by the segment's duration."""
        return 60.0 * self.rate_hz


@dataclasses.dataclass(frozen=True, eq=False)
class VideoCount:
    """A counted video.

    Attributes:
      video: Video that was counted.
      facts: Size, codec, frame rate and other facts from decoding.
      counted: Count, curve, segments, repetition times and scores by stride.
      times_sec: (num_frames,) float64, presentation times in seconds of the frames in the curve of `counted`.
      flags: Flags of the count, in the order of `VideoFlag`.
    """

    video: VideoRef
    facts: VideoFacts
    counted: Counted
    times_sec: np.ndarray
    flags: tuple[VideoFlag, ...]

    @property
    def frame_edges_sec(self) -> np.ndarray:
        """(num_frames + 1,) float64, the times in seconds at which each frame appears, and at which the last one ends."""
        return np.append(self.times_sec, np.fmax(self.times_sec[-1], self.facts.duration_sec))

    @property
    def frame_lengths_sec(self) -> np.ndarray:
        """(num_frames,) float64, the seconds that each frame lasts, without pauses; see `frame_times.frame_lengths`."""
        return frame_lengths(self.frame_edges_sec, self.counted.is_periodic, self.counted.period_frames_curve)

    @property
    def repetition_times_sec(self) -> np.ndarray:
        """(count_rounded,) float64, ascending, the times in seconds at which repetitions 1, 2, 3 … are complete."""
        return times_at(self.counted.repetition_frames, self.times_sec, self.frame_lengths_sec)

    @property
    def segments(self) -> tuple[TimeSegment, ...]:
        """Parts of the video that repeat, in order. A pause longer than a repetition ends one."""
        lengths_sec, counted = self.frame_lengths_sec, self.counted
        is_pause = lengths_sec < np.diff(self.frame_edges_sec)
        ends_sec = self.times_sec + lengths_sec
        return tuple(
            TimeSegment(float(self.times_sec[part.start_frame]), float(ends_sec[part.end_frame - 1]), part.count)
            for segment in counted.segments
            for part in split_at_pauses(segment, is_pause, counted.per_frame_count)
        )

    @property
    def mean_period_sec(self) -> float | None:
        """Mean seconds per repetition over the frames that count. None if nothing repeats."""
        periodic_sec = float(self.frame_lengths_sec[self.counted.is_periodic].sum())
        return periodic_sec / self.counted.count if self.counted.count > 0 else None

    @property
    def mean_rate_hz(self) -> float | None:
        """Mean repetitions per second over the frames that count. None if nothing repeats."""
        period_sec = self.mean_period_sec
        return 1.0 / period_sec if period_sec else None

    @property
    def period_sec(self) -> np.ndarray:
        """(num_frames,) float64, the seconds that one repetition around each frame takes; NaN where nothing repeats."""
        frames = np.flatnonzero(self.counted.is_periodic)
        curve_sec = np.full(len(self.times_sec), np.nan)
        curve_sec[frames] = periods_sec(frames, self.counted.period_frames_curve[frames], self.frame_lengths_sec)
        return curve_sec

    @property
    def rate_hz(self) -> np.ndarray:
        """(num_frames,) float64, the repetitions per second around each frame; 0 where nothing repeats."""
        period_sec = self.period_sec
        return np.divide(1.0, period_sec, out=np.zeros_like(period_sec), where=period_sec > 0)


@dataclasses.dataclass(frozen=True)
class VideoResult:
    """The result for one video, as people read it: a count with its confidence and flags, or why it could not be counted.

    Attributes:
      uri: Local path or `gs://` URI of the video.
      count: Number of repetitions, fractions included. None if the video failed.
      confidence: Confidence of the count, 0..1. None if the video failed.
      duration_sec: Duration of the video in seconds. None if it failed or the duration is unknown.
      flags: Names of the `VideoFlag`s of the count. Empty if the video failed.
      code: Name of the `FailureCode`. None if the video was counted.
      message: Reason of the failure, one line. None if the video was counted.
      stride: Frames from one position to the next at the stride with the best score; see `Counted`. None if the video failed or
        it was not read.
      wall_sec: Seconds that decoding and counting took. None if they were not measured.
      certainty: Probability that the count is within one of the true number; see `Counted`.
    """

    uri: str
    count: float | None
    confidence: float | None = None
    duration_sec: float | None = None
    flags: tuple[str, ...] = ()
    code: str | None = None
    message: str | None = None
    stride: int | None = None
    wall_sec: float | None = None
    certainty: float | None = None

    @classmethod
    def of(cls, result: VideoCount | Failure, wall_sec: float | None = None) -> VideoResult:
        """Returns the result of a counted or failed video."""
        if isinstance(result, Failure):
            return cls(result.video.uri, None, code=result.code.value, message=result.message, wall_sec=wall_sec)
        return cls(
            uri=result.video.uri,
            count=result.counted.count,
            confidence=result.counted.confidence,
            certainty=result.counted.certainty,
            duration_sec=result.facts.duration_sec,
            flags=tuple(flag.value for flag in result.flags),
            stride=result.counted.stride,
            wall_sec=wall_sec,
        )

    @property
    def count_rounded(self) -> int | None:
        """The count rounded to the nearest whole number. None if the video failed."""
        return None if self.count is None else rounded_count(self.count)

    @property
    def remark(self) -> str:
        """Code and message of a failure, or the flags of a count."""
        return ", ".join(self.flags) if self.code is None else f"{self.code}: {self.message}"
