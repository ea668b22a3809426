"""Checks what the decoder process sends, since a file may have taken it over. Imports no Beam."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeVar

import numpy as np

from model.errors import one_line
from transforms.decoding.channel import InvalidMessageError
from transforms.decoding.options import DecodingOptions
from transforms.decoding.samples import DecodeError, Samples
from transforms.decoding.video_facts import NvdecUse, VideoFacts, VideoHeader
from transforms.failure_codes import FailureCode

_MAX_WHOLE_NUMBER = 2**31 - 1

_MAX_TEXT_CHARS = 64
"""Longest text among the facts: the name of a codec."""

_MAX_MESSAGE_CHARS = 500

_Record = TypeVar("_Record", VideoFacts, VideoHeader)


def to_error(message: dict[str, Any]) -> DecodeError:
    """Returns the error that `{"code": …, "message": …}` stands for, with its text in one printable line."""
    try:
        code = FailureCode(message["code"])
    except (ValueError, TypeError) as error:
        raise InvalidMessageError("an unknown failure code") from error
    words = one_line(message.get("message"))[:_MAX_MESSAGE_CHARS]
    return DecodeError(code, "".join(char if char.isprintable() else "�" for char in words))


def to_presented_sec(message: dict[str, Any], options: DecodingOptions) -> float:
    """Returns the seconds of video that `{"presented_sec": …}` reports: at most those that a video may have."""
    return min(_number(message["presented_sec"], "presented_sec"), options.max_sec)


def to_samples(
    message: dict[str, Any], frames: np.ndarray, times_sec: np.ndarray, options: DecodingOptions, last_sec: float
) -> Samples:
    """Returns the samples that `{"num_frames": …, "facts": …}` announces. Frames are not copied; their bytes may be any.

    Args:
      message: What the process sent.
      frames: As in `Samples`, in memory that the process shares.
      times_sec: As in `Samples`, likewise.
      options: How the video is decoded.
      last_sec: Time of the last frame before these, in seconds; -inf if there is none.

    Raises:
      InvalidMessageError: a number, a text or a time is not possible.
    """
    num_frames, facts = message.get("num_frames"), message.get("facts")
    if type(num_frames) is not int or not 1 <= num_frames <= options.chunk_frames:
        raise InvalidMessageError("an impossible number of frames")
    if facts is None and num_frames != options.chunk_frames:
        raise InvalidMessageError("a chunk with fewer frames that is not the last")
    times_sec = times_sec[:num_frames].copy()  # the process could change them after they have been checked
    steps = np.diff(times_sec, prepend=last_sec)
    if not (np.isfinite(times_sec).all() and times_sec[0] >= 0 and (steps > 0).all()):
        raise InvalidMessageError("frame times that are not in order")
    if times_sec[-1] > options.max_sec:
        raise InvalidMessageError("frame times beyond the longest video")
    return Samples(frames[:num_frames], times_sec, None if facts is None else _to_record(VideoFacts, facts))


def to_header(message: dict[str, Any]) -> VideoHeader:
    """Returns the header that `{"header": …}` carries; raises InvalidMessageError for an impossible number or text."""
    return _to_record(VideoHeader, message.get("header"))


def _to_record(kind: type[_Record], facts: object) -> _Record:
    fields = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    if not isinstance(facts, dict) or facts.keys() != fields.keys():
        raise InvalidMessageError("facts that are not those of a video")
    checked: dict[str, Any] = {name: _CHECKS[type_name](facts[name], name) for name, type_name in fields.items()}
    return kind(**checked)


def _whole_number(value: object, name: str) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_WHOLE_NUMBER:
        raise InvalidMessageError(f"{name} is not a possible number")
    return value


def _number(value: object, name: str) -> float:
    if type(value) not in (int, float) or not 0 <= value < math.inf:  # type: ignore[operator]
        raise InvalidMessageError(f"{name} is not a possible number")
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError as error:
        raise InvalidMessageError(f"{name} is not a possible number") from error


def _truth(value: object, name: str) -> bool:
    if type(value) is not bool:
        raise InvalidMessageError(f"{name} is neither true nor false")
    return value


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value.isprintable() or not value.isascii() or len(value) > _MAX_TEXT_CHARS:
        raise InvalidMessageError(f"{name} is not a short text")
    return value


def _nvdec_use(value: object, name: str) -> NvdecUse:
    try:
        return NvdecUse(value)  # type: ignore[arg-type]
    except ValueError as error:
        raise InvalidMessageError(f"{name} is none of the known words") from error


_CHECKS = {"int": _whole_number, "float": _number, "bool": _truth, "str": _text, "NvdecUse": _nvdec_use}
"""Check of a fact by the type of its field."""
