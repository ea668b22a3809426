"""Counting from Python. Needs neither Beam nor BigQuery.

    from pipeline.api import count_video

    result = count_video("demo/videos/squats.mp4")
    print(result.count_rounded, result.count, result.confidence)
    print(result.repetition_times_sec)

See `count_video` for its options and errors.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
from typing import Any

import numpy as np

from model.frame_counts import rounded_count
from model.presets import DEFAULT_PRESET
from pipeline import counter
from pipeline.command_line import CommandParser, UsageError
from pipeline.options import add_model_options
from transforms.failure_codes import FailureCode, Stage
from transforms.objects import absolute, find_object
from transforms.records import Failure, VideoCount

_CACHED_MODELS = 2


class CountError(Exception):
    """A video could not be counted.

    Attributes:
      stage: Step that failed.
      code: Failure code, explained in `docs/failure_codes.md`.
    """

    def __init__(self, message: str, stage: Stage, code: FailureCode) -> None:
        super().__init__(message)
        self.stage = stage
        self.code = code


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


@dataclasses.dataclass(frozen=True, eq=False)
class CountedVideo:
    """The count of a video.

    Attributes:
      uri: Absolute path or `gs://` URI of the video.
      count: Number of repetitions, fractions included.
      confidence: Confidence of the count, 0..1.
      certainty: Probability, 0..1, that the count is within one of the true number. None if nothing repeats, or the model has
        no such estimate.
      flags: Names of the flags of the count, explained in `docs/failure_codes.md`.
      stride: Frames from one position to the next at the stride that counted.
      repetition_times_sec: (count_rounded,) float64, the times in seconds at which repetitions 1, 2, 3 … are complete.
      segments: Parts of the video that repeat; their counts add up to `count`.
      times_sec: (num_frames,) float64, time of each frame in seconds.
      curve: (num_frames,) float64, number of repetitions up to and including each frame.
      periodicity: (num_frames,) float32 in 0..1, score of each frame for being part of a repetition.
      duration_sec: Duration in seconds.
      fps: Frames per second, before sampling by `max_fps`.
      width: Width in pixels, after rotation.
      height: Height in pixels, after rotation.
    """

    uri: str
    count: float
    confidence: float
    certainty: float | None
    flags: tuple[str, ...]
    stride: int
    repetition_times_sec: np.ndarray
    segments: tuple[TimeSegment, ...]
    times_sec: np.ndarray
    curve: np.ndarray
    periodicity: np.ndarray
    duration_sec: float
    fps: float
    width: int
    height: int

    @property
    def count_rounded(self) -> int:
        """The count rounded to the nearest whole number."""
        return rounded_count(self.count)


def count_video(video: str | os.PathLike[str], model: str = DEFAULT_PRESET, **options: Any) -> CountedVideo:
    """Counts the repetitions in a video.

    The first call loads the model, which takes seconds. Later calls with the same model and options use it again. For one
    thread at a time.

    Args:
      video: Path of a local file, or `gs://` URI.
      model: Name of a preset, or path of a checkpoint, as for `repcount count --model`.
      **options: Options of `repcount count` by their names, such as `max_fps=15.0` or `strides=(1, 2)`.

    Raises:
      FileNotFoundError: There is no such file.
      CountError: The video could not be counted; its `code` says why.
      MachineFaultError: This machine or the store has failed, not the video.
      UsageError: An option is invalid.
      WeightsError: The model is unknown or cannot be loaded.
      TypeError: There is no such option.
    """
    uri = absolute(os.fspath(video))
    found = find_object(uri)
    if found is None:
        raise FileNotFoundError(f"the video must be a file. Received: {uri!r}")
    names = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    result = counter.count_video(found, _load_counter(model, tuple(sorted(names.items()))))
    if isinstance(result, Failure):
        raise CountError(result.message, result.stage, result.code)
    return _describe(result)


@functools.lru_cache(maxsize=_CACHED_MODELS)
def _load_counter(model: str, options: tuple[tuple[str, Any], ...]) -> counter.Counter:
    parser = CommandParser(prog="count_video")
    add_model_options(parser)
    known = vars(parser.parse_args([]))
    for name, _ in options:
        if name not in known:
            raise TypeError(f"count_video has no option {name!r}; it has {', '.join(sorted(known))}")
    try:
        return counter.load_counter(argparse.Namespace(**{**known, "model": model, **dict(options)}))
    except TypeError as error:
        raise UsageError(f"an option has a value of the wrong type: {error}. Received: {dict(options)}") from error


def _describe(result: VideoCount) -> CountedVideo:
    edges_sec, counted, facts = result.frame_edges_sec, result.counted, result.facts
    return CountedVideo(
        uri=result.video.uri,
        count=counted.count,
        confidence=counted.confidence,
        certainty=counted.certainty,
        flags=tuple(flag.value for flag in result.flags),
        stride=counted.stride,
        repetition_times_sec=result.repetition_times_sec,
        segments=tuple(
            TimeSegment(float(edges_sec[segment.start_frame]), float(edges_sec[segment.end_frame]), segment.count)
            for segment in counted.segments
        ),
        times_sec=result.times_sec,
        curve=np.cumsum(counted.per_frame_count),
        periodicity=counted.periodicity,
        duration_sec=facts.duration_sec,
        fps=facts.fps,
        width=facts.width,
        height=facts.height,
    )
