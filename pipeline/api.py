"""Counting from Python. Needs neither Beam nor BigQuery, and for `gs://` URIs the extra `gcp`.

    from pipeline.api import count_video

    result = count_video("demo/videos/squats.mp4")
    print(result.count_rounded, result.count, result.confidence)
    print(result.repetition_times_sec)

See `count_video` for its options and errors.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import numpy as np

from model.presets import DEFAULT_PRESET, load_model
from model.storage import StorageError
from model.tensorflow_import import runs_tensorflow
from pipeline import counter
from pipeline.command_line import CommandParser, UsageError, natural_number, positive_whole_number
from pipeline.counted_video import CountedVideo, describe
from pipeline.extras import explain_missing
from pipeline.options import add_billing_project, add_model_options
from transforms.failure_codes import FailureCode, Stage
from transforms.machine_faults import is_machine_fault, machine_fault
from transforms.objects import absolute, find_object
from transforms.records import Failure, TimeSegment
from transforms.scoring import ModelConfig

__all__ = ["CountError", "CountedVideo", "TimeSegment", "count_video"]

_MAX_PATH = 4096
"""Longest path that Linux takes, and longer than a `gs://` URI may be."""

_ONE_AT_A_TIME = threading.Lock()
"""Held while a video is counted: the model and the decoder are for one thread at a time."""

_FORKED_FROM: dict[str, int] = {}
"""`pid` is the first process that counted, or used TensorFlow and was forked. TensorFlow's threads do not live on in a fork."""


def _note_fork() -> None:
    """Notes that forks of this process cannot count, also if the program around this package has used TensorFlow."""
    if runs_tensorflow():
        _FORKED_FROM.setdefault("pid", os.getpid())


os.register_at_fork(before=_note_fork)


class CountError(Exception):
    """A video could not be counted.

    Attributes:
      stage: Step that failed.
      code: Failure code, explained in `docs/failure_codes.md`.
    """

    def __init__(self, message: str, stage: Stage, code: FailureCode) -> None:
        super().__init__(message, stage, code)  # all of them, so that it can be pickled
        self.stage = stage
        self.code = code

    def __str__(self) -> str:
        return str(self.args[0])


def count_video(
    video: str | bytes | os.PathLike[str], model: str | os.PathLike[str] = DEFAULT_PRESET, **options: Any
) -> CountedVideo:
    """Counts the repetitions in a video.

    The first call loads the model, which takes seconds. Later calls with the same model, strides, overlap, precision and batch
    size use it again. Threads take turns. To count several videos at a time, use processes, started with the method "spawn" or
    "forkserver".

    Args:
      video: Path of a local file, or `gs://` URI.
      model: Name of a preset, or path of a checkpoint, as for `repcount count --model`.
      **options: Options of `repcount count` for the model, decoding and counting by their names, such as `max_fps=15.0`,
        `strides=(1, 2)` or `exact_decoding=True`, and `billing_project`. None is the default.

    Raises:
      FileNotFoundError: There is no such file.
      OSError: The system or the store does not let it be read.
      CountError: The video could not be counted; its `code` says why.
      MachineFaultError: This machine or the store has failed, not the video.
      UsageError: An option is invalid, an extra is not installed, or this process is a fork of one that has used TensorFlow,
        for instance to count.
      UserError: Keras has another backend than TensorFlow.
      WeightsError: The model is unknown or cannot be loaded.
      StorageError: The model is on Cloud Storage, which cannot be read; or the video's URI names no object.
      TypeError: There is no such option, or the video is no path.
    """
    arguments = _parse_options(model, options)
    uri = _to_uri(video)
    try:
        with _missing_extras(uri):
            found = find_object(uri, arguments.billing_project)
    except (StorageError, UsageError):
        raise
    except ValueError as error:
        raise UsageError(f"{error} Received: {uri!r}") from error
    except OSError as error:
        if is_machine_fault(error):
            raise machine_fault(f"looking for {uri!r}", error) from error
        raise
    if found is None:
        raise FileNotFoundError(f"the video must be a file. Received: {uri!r}")
    if os.getpid() != _FORKED_FROM.setdefault("pid", os.getpid()):
        raise UsageError(
            "a fork of a process that has used TensorFlow cannot count: start processes with the method "
            f'"spawn" or "forkserver". Received: process {os.getpid()}, forked from {_FORKED_FROM["pid"]}'
        )
    with _ONE_AT_A_TIME, _missing_extras(arguments.model):
        loaded = _load_counter(arguments)
        result = counter.count_video(found, loaded)
    if isinstance(result, Failure):
        raise CountError(result.message, result.stage, result.code)
    return describe(result, loaded)


def _to_uri(video: str | bytes | os.PathLike[str]) -> str:
    """Returns a path made absolute, or a URI; raises TypeError or UsageError for what may be a video's contents or frames."""
    rule = "video must be the path of a file or a gs:// URI. Write contents and frames to a file first."
    try:
        path = os.fsdecode(video)
    except TypeError as error:
        raise TypeError(f"{rule} Received: {type(video).__name__}") from error
    if "\0" in path or len(path) > _MAX_PATH:
        size = f"{len(video):,} bytes" if isinstance(video, bytes) else f"{len(path):,} characters"
        raise UsageError(f"{rule} Received: {size}")
    return absolute(path)


@contextlib.contextmanager
def _missing_extras(uri: str) -> Iterator[None]:
    """Raises UsageError with the extra to install if the body cannot import what reading `uri` needs."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(explain_missing(error, (uri,))) from error


class _OptionParser(CommandParser):
    """Parses options as the command line does, and raises UsageError instead of ending the program."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def _parse_options(model: str | os.PathLike[str], options: Mapping[str, Any]) -> argparse.Namespace:
    """Returns the model and the options as on the command line; raises UsageError, or TypeError if one is unknown."""
    parser = _OptionParser(prog="count_video", add_help=False)
    add_model_options(parser)
    add_billing_project(parser)
    known = {
        name.removeprefix("--"): action
        for action in parser._actions
        for name in action.option_strings
        if action.dest not in ("model", "verbose", "quiet")
    }
    known["exact"] = known["exact_decoding"]  # its former name
    words, switched_off = [f"--model={os.fspath(model)}"], []
    for name, value in options.items():
        if name not in known:
            raise TypeError(f"count_video has no option {name!r}; it has {', '.join(sorted(known))}")
        option = known[name].option_strings[0]
        if known[name].nargs == 0 and value is not None:
            if not isinstance(value, bool | np.bool_):
                raise UsageError(f"{name} must be True or False. Received: {value!r}")
            if value:
                words.append(option)
            else:
                switched_off.append(known[name].dest)
        elif value is not None:
            items = value if isinstance(value, list | tuple | range | np.ndarray) else (value,)
            if known[name].type in (natural_number, positive_whole_number):
                items = [int(item) if isinstance(item, float) and item.is_integer() else item for item in items]  # such as 1e9
            words.append(f"{option}={','.join(str(item) for item in items)}")
    arguments = parser.parse_args(words)
    for name in switched_off:
        setattr(arguments, name, False)
    return arguments


_load_model = functools.lru_cache(maxsize=2)(load_model)

_make_scorer = functools.lru_cache(maxsize=2)(ModelConfig.make_scorer)
"""Keeps scorers by what they depend on. Each takes seconds and memory, and decoding and counting options change none."""


def _load_counter(arguments: argparse.Namespace) -> counter.Counter:
    return counter.make_counter(arguments, _load_model, _make_scorer)
