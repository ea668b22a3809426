"""A counted video as users get it, in Python (`pipeline.api`) and as JSON, under the same names."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from model.frame_counts import rounded_count
from pipeline.counter import Counter
from pipeline.options import effective_options
from transforms.records import TimeSegment, VideoCount


@dataclasses.dataclass(frozen=True, eq=False)
class CountedVideo:
    """The count of a video.

    Attributes:
      video_uri: Absolute path or `gs://` URI of the video.
      count: Number of repetitions, fractions included.
      confidence: Confidence of the count, 0..1.
      certainty: Probability, 0..1, that the count is within one of the true number. None if nothing repeats, or the model has
        no such estimate.
      flags: Names of the flags of the count, explained in `docs/failure_codes.md`.
      stride: Frames from one position to the next at the stride with the best score. It counted the video, unless all strides
        voted, as in `lite`.
      stride_scores: Mean periodicity score, 0..1, by stride.
      mean_period_sec: Mean seconds per repetition over the frames that count. None if nothing repeats.
      mean_rate_hz: Mean repetitions per second over the frames that count. None if nothing repeats.
      repetition_times_sec: (count_rounded,) float64, the times in seconds at which repetitions 1, 2, 3 … are complete.
      segments: Parts of the video that repeat; their counts add up to `count`.
      times_sec: (num_frames,) float64, time of each frame in seconds.
      curve: (num_frames,) float64, number of repetitions up to and including each frame.
      periodicity: (num_frames,) float32 in 0..1, score of each frame for being part of a repetition.
      period_sec: (num_frames,) float64, seconds that one repetition around each frame takes; NaN where nothing repeats.
      rate_hz: (num_frames,) float64, repetitions per second around each frame; 0 where nothing repeats.
      duration_sec: Duration in seconds.
      first_frame_sec: Time in a player at which the first frame appears; above 0 if the sound begins before. All other times
        are from the first frame.
      fps: Frames per second, before sampling by `max_fps`.
      width: Width in pixels, after rotation.
      height: Height in pixels, after rotation.
      codec: FFmpeg's name of the codec, such as "h264"; "" if unknown.
      model: Name of the preset, or path of the checkpoint.
      model_sha256: SHA-256 of the model's configuration and weights, in hexadecimal.
      options: Options that decide the numbers, by name. The tables have the same as `options_json`.
    """

    video_uri: str
    count: float
    confidence: float
    certainty: float | None
    flags: tuple[str, ...]
    stride: int
    stride_scores: dict[int, float]
    mean_period_sec: float | None
    mean_rate_hz: float | None
    repetition_times_sec: np.ndarray
    segments: tuple[TimeSegment, ...]
    times_sec: np.ndarray
    curve: np.ndarray
    periodicity: np.ndarray
    period_sec: np.ndarray
    rate_hz: np.ndarray
    duration_sec: float
    first_frame_sec: float
    fps: float
    width: int
    height: int
    codec: str
    model: str
    model_sha256: str
    options: dict[str, Any]

    @property
    def count_rounded(self) -> int:
        """The count rounded to the nearest whole number."""
        return rounded_count(self.count)

    @property
    def uri(self) -> str:
        """Former name of `video_uri`."""
        return self.video_uri


def describe(result: VideoCount, counter: Counter) -> CountedVideo:
    """Returns what users get of a count.

    Args:
      result: Count of the video.
      counter: Model and options that counted it.
    """
    counted, facts = result.counted, result.facts
    return CountedVideo(
        video_uri=result.video.uri,
        count=counted.count,
        confidence=counted.confidence,
        certainty=counted.certainty,
        flags=tuple(flag.value for flag in result.flags),
        stride=counted.stride,
        stride_scores=dict(sorted(counted.stride_scores.items())),
        mean_period_sec=result.mean_period_sec,
        mean_rate_hz=result.mean_rate_hz,
        repetition_times_sec=result.repetition_times_sec,
        segments=result.segments,
        times_sec=result.times_sec,
        curve=np.cumsum(counted.per_frame_count),
        periodicity=counted.periodicity,
        period_sec=result.period_sec,
        rate_hz=result.rate_hz,
        duration_sec=facts.duration_sec,
        first_frame_sec=facts.first_frame_sec,
        fps=facts.fps,
        width=facts.width,
        height=facts.height,
        codec=facts.codec,
        model=counter.model.name,
        model_sha256=counter.model.sha256,
        options=effective_options(counter.decoding, counter.model, counter.options),
    )
