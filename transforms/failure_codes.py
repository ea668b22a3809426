"""Why a video could not be counted, and at which step. Imports no Beam, because the decoder's process imports it.

To add a code, add a line to `FailureCode` and a row to `docs/failure_codes.md`. `tests/transforms/test_failure_codes.py` checks
that the two agree.
"""

from __future__ import annotations

import enum

_MAX_MESSAGE_CHARS = 500


class Stage(enum.StrEnum):
    """The step at which a video failed."""

    DECODE = "decode"
    SCORE = "score"
    COUNT = "count"


class FailureCode(enum.StrEnum):
    """Why a video could not be counted. `docs/failure_codes.md` says what each code means and what to do."""

    EMPTY_FILE = "EMPTY_FILE"
    NOT_A_VIDEO = "NOT_A_VIDEO"
    NO_VIDEO_STREAM = "NO_VIDEO_STREAM"
    NO_FRAMES = "NO_FRAMES"
    TOO_LARGE = "TOO_LARGE"
    TOO_LONG = "TOO_LONG"
    READ_ERROR = "READ_ERROR"
    GONE = "GONE"
    DECODER_CRASHED = "DECODER_CRASHED"
    DECODE_TIMEOUT = "DECODE_TIMEOUT"
    DECODE_OUT_OF_MEMORY = "DECODE_OUT_OF_MEMORY"
    WORKER_DIED = "WORKER_DIED"
    SCORING_FAILED = "SCORING_FAILED"
    INCOMPLETE = "INCOMPLETE"
    COUNTING_FAILED = "COUNTING_FAILED"


def describe_error(error: BaseException) -> str:
    """Returns an error's type and text in one line of at most 500 characters, as the message of a failure."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_MESSAGE_CHARS]
