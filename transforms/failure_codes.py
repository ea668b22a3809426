"""Why a video could not be counted, and at which step. Imports no Beam, because the decoder's process imports it.

To add a code, add a line to `FailureCode`, its explanation to `EXPLANATIONS`, and a row to `docs/failure_codes.md`.
`tests/transforms/test_failure_codes.py` checks that they agree.
"""

from __future__ import annotations

import dataclasses
import enum
import signal

_MAX_MESSAGE_CHARS = 500


class Stage(enum.StrEnum):
    """The step at which a video failed."""

    DECODE = "decode"
    SCORE = "score"
    COUNT = "count"


class FailureCode(enum.StrEnum):
    """Why a video could not be counted. `EXPLANATIONS` says what each code means and what to do."""

    EMPTY_FILE = "EMPTY_FILE"
    NOT_A_VIDEO = "NOT_A_VIDEO"
    NO_VIDEO_STREAM = "NO_VIDEO_STREAM"
    NO_FRAMES = "NO_FRAMES"
    TOO_LARGE = "TOO_LARGE"
    TOO_LONG = "TOO_LONG"
    READ_ERROR = "READ_ERROR"
    GONE = "GONE"
    NOT_DELIVERED = "NOT_DELIVERED"
    DECODER_CRASHED = "DECODER_CRASHED"
    DECODE_TIMEOUT = "DECODE_TIMEOUT"
    DECODE_OUT_OF_MEMORY = "DECODE_OUT_OF_MEMORY"
    WORKER_DIED = "WORKER_DIED"
    SCORING_FAILED = "SCORING_FAILED"
    INCOMPLETE = "INCOMPLETE"
    COUNTING_FAILED = "COUNTING_FAILED"


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What a failure code means, in Markdown that has no markup but code between backticks.

    Attributes:
      stage: Step at which videos fail with this code.
      meaning: What happened.
      advice: What to do.
    """

    stage: Stage
    meaning: str
    advice: str


EXPLANATIONS = {
    FailureCode.EMPTY_FILE: Explanation(
        Stage.DECODE,
        "The file has no bytes, most often because its upload broke off at the start.",
        "Upload it again.",
    ),
    FailureCode.NOT_A_VIDEO: Explanation(
        Stage.DECODE,
        "The content is in no supported video format: text or a picture with a video's name, a Git LFS pointer,"
        " a playlist, or a recording that broke off before its header was written.",
        "Look at the file. If it is not a video, narrow the pattern of `--input`; otherwise convert it, for "
        "example to H.264 in MP4.",
    ),
    FailureCode.NO_VIDEO_STREAM: Explanation(
        Stage.DECODE,
        "The file has sound, and no video.",
        "Narrow the pattern of `--input`, or upload the recording with its picture.",
    ),
    FailureCode.NO_FRAMES: Explanation(
        Stage.DECODE,
        "The file opens as a video, but no frame can be decoded: the codec is not supported, or the first frame"
        " is already damaged.",
        "Convert it, for example to H.264 in MP4.",
    ),
    FailureCode.TOO_LARGE: Explanation(
        Stage.DECODE,
        "The file has more bytes than `--max_bytes`, or a frame more pixels than `--max_pixels`. An object "
        "stored with `Content-Encoding: gzip` counts unpacked, and may have 64 MiB, or 20 times its stored size"
        " if that is more. The message says which.",
        "Make the video smaller, or raise the limit in a run of its own with `--requeue TOO_LARGE`.",
    ),
    FailureCode.TOO_LONG: Explanation(
        Stage.DECODE,
        "The video is longer than `--max_sec`, or has more frames than `--max_frames`. The message says which. "
        "Where the clock of the file jumps by more than 5 minutes, or 10 seconds in MPEG-TS and MPEG-PS, the jump does not "
        "count as time.",
        "Cut the video, or raise the limit in a run of its own with `--requeue TOO_LONG`.",
    ),
    FailureCode.READ_ERROR: Explanation(
        Stage.DECODE,
        "The file cannot be read, or a frame cannot be converted, for example for lack of permission on this file or on "
        "a damaged disk. The message says why.",
        "Remove the cause, for example grant the permission, and use `--requeue READ_ERROR`.",
    ),
    FailureCode.GONE: Explanation(
        Stage.DECODE,
        "The file was deleted after it was listed, or replaced or written to before its last frame was read. "
        "The listed version no longer exists, so it has no count. The message says which.",
        "Nothing. If there is a new version, or this one is there again, as in a folder that was not mounted for a while, "
        "the next run counts it.",
    ),
    FailureCode.NOT_DELIVERED: Explanation(
        Stage.DECODE,
        "Cloud Storage did not deliver this object, while other objects of its folder could be read: it answered 429 or "
        "5xx, or the connection broke, for 2 minutes, 1 s more per MiB, and at most 30 minutes.",
        "Nothing. The next run tries it again. If it is not delivered then, either, upload the video again.",
    ),
    FailureCode.DECODER_CRASHED: Explanation(
        Stage.DECODE,
        "The decoder process crashed on this file; the message says how. Other videos are not affected.",
        "Convert the file, for example to H.264 in MP4.",
    ),
    FailureCode.DECODE_TIMEOUT: Explanation(
        Stage.DECODE,
        "No frame could be decoded for 60 s (`--timeout_sec`), or decoding took longer than that plus 20 s per "
        "second of video, or longer than six hours. Time for which the program itself was stopped does not count.",
        "Convert the file. If the machine or its disk was stuck, use `--requeue DECODE_TIMEOUT`.",
    ),
    FailureCode.DECODE_OUT_OF_MEMORY: Explanation(
        Stage.DECODE,
        "Decoding needed more memory than `--max_memory_bytes` (half of the machine's memory divided by its "
        "cores, from 1 to 4 GiB), or the system killed two decoders that read the video.",
        "Convert the file to a smaller frame size, or raise the limit in a run of its own with `--requeue "
        "DECODE_OUT_OF_MEMORY`.",
    ),
    FailureCode.WORKER_DIED: Explanation(
        Stage.DECODE,
        "Two workers died while they worked on this video, and so did a process that then tried it alone; or "
        "three workers died. The message says which. Other videos are not affected.",
        "Convert the file, for example to H.264 in MP4, or report it. If the machines were at fault, for "
        "example for lack of memory, use `--requeue WORKER_DIED`.",
    ),
    FailureCode.SCORING_FAILED: Explanation(
        Stage.SCORE,
        "The network failed twice on a chunk of this video's frames, the second time with half the batch. "
        "Chunks are scored one at a time, so no other video is the cause.",
        "Report it with the message: the program is at fault.",
    ),
    FailureCode.INCOMPLETE: Explanation(
        Stage.COUNT,
        "Parts of the video are missing, and no step reported a failure.",
        "Use `--requeue INCOMPLETE`; report it if it happens again.",
    ),
    FailureCode.COUNTING_FAILED: Explanation(
        Stage.COUNT,
        "The video was scored, but turning the scores into a count raised an error.",
        "Report it with the message: the program is at fault.",
    ),
}
"""Stage, meaning and advice of each code. The table in `docs/failure_codes.md` has the same texts."""


def signal_name(number: int) -> str:
    """Returns the name of the signal that ended a process, such as "SIGKILL"; most real-time signals have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def describe_error(error: BaseException) -> str:
    """Returns an error's type and text in one line of at most 500 characters, as the message of a failure."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_MESSAGE_CHARS]
