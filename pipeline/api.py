"""Counting from Python. Needs neither Beam nor BigQuery, and for `gs://` URIs the extra `gcp`.

    from pipeline.api import count_video

    result = count_video("demo/videos/squats.mp4")
    print(result.count_rounded, result.count, result.confidence)
    print(result.repetition_times_sec)

See `count_video` for its options and errors.
"""

from __future__ import annotations

import argparse
import functools
import os
from typing import Any

from model.presets import DEFAULT_PRESET
from pipeline import counter
from pipeline.command_line import CommandParser, UsageError
from pipeline.counted_video import CountedVideo, describe
from pipeline.options import add_model_options
from transforms.failure_codes import FailureCode, Stage
from transforms.machine_faults import is_machine_fault, machine_fault
from transforms.objects import absolute, find_object
from transforms.records import Failure, TimeSegment

__all__ = ["CountError", "CountedVideo", "TimeSegment", "count_video"]

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


def count_video(video: str | os.PathLike[str], model: str = DEFAULT_PRESET, **options: Any) -> CountedVideo:
    """Counts the repetitions in a video.

    The first call loads the model, which takes seconds. Later calls with the same model and options use it again. For one
    thread at a time.

    Args:
      video: Path of a local file, or `gs://` URI.
      model: Name of a preset, or path of a checkpoint, as for `repcount count --model`.
      **options: Options of `repcount count` for the model, decoding and counting by their names, such as `max_fps=15.0` or
        `strides=(1, 2)`, and `billing_project`.

    Raises:
      FileNotFoundError: There is no such file.
      OSError: The system or the store does not let it be read.
      CountError: The video could not be counted; its `code` says why.
      MachineFaultError: This machine or the store has failed, not the video.
      UsageError: An option is invalid.
      WeightsError: The model is unknown or cannot be loaded.
      StorageError: The model is on Cloud Storage, which cannot be read.
      TypeError: There is no such option.
    """
    uri = absolute(os.fspath(video))
    try:
        found = find_object(uri, options.get("billing_project"))
    except OSError as error:
        if is_machine_fault(error):
            raise machine_fault(f"looking for {uri!r}", error) from error
        raise
    if found is None:
        raise FileNotFoundError(f"the video must be a file. Received: {uri!r}")
    names = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    loaded = _load_counter(model, tuple(sorted(names.items())))
    result = counter.count_video(found, loaded)
    if isinstance(result, Failure):
        raise CountError(result.message, result.stage, result.code)
    return describe(result, loaded)


@functools.lru_cache(maxsize=_CACHED_MODELS)
def _load_counter(model: str, options: tuple[tuple[str, Any], ...]) -> counter.Counter:
    parser = CommandParser(prog="count_video")
    add_model_options(parser)
    known = {**vars(parser.parse_args([])), "billing_project": None}
    del known["prog"]
    for name, _ in options:
        if name not in known:
            raise TypeError(f"count_video has no option {name!r}; it has {', '.join(sorted(known))}")
    try:
        return counter.load_counter(argparse.Namespace(**{**known, "model": model, **dict(options)}))
    except TypeError as error:
        raise UsageError(f"an option has a value of the wrong type: {error}. Received: {dict(options)}") from error
