"""Annotates videos in a child process, for the same reasons as `transforms.decoding.process` decodes in one."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import tempfile
import time
from typing import Any, BinaryIO

from transforms.annotation.timeline import Timeline
from transforms.decoding.channel import InvalidMessageError
from transforms.decoding.memory_limit import MAX_BYTES, MEMORY_SHARE, default_memory_bytes, machine_memory_bytes
from transforms.decoding.options import DecodingOptions
from transforms.decoding.process import DecoderProcess, options_to_send
from transforms.decoding.samples import DecodeError
from transforms.failure_codes import FailureCode

_MAX_CODEC_CHARS = 32


class AnnotatorProcess(DecoderProcess):
    """A child process that annotates one video at a time, started with the first one. Not safe for use by several threads."""

    _noun, _module = "annotator", "transforms.annotation.child"

    def annotate(self, file: BinaryIO, timeline: Timeline, options: DecodingOptions, output: BinaryIO) -> str:
        """Writes a video with its count drawn on it, as `rewrite.annotate` does.

        Args:
          file: The video; a regular file, open for reading.
          timeline: What to show.
          options: How to decode the video, and its limits. The output may have up to `max_bytes`, too.
          output: Where to write, at its start. The child does not get it.

        Returns:
          FFmpeg's name of the codec of a sound that was left out, because MP4 cannot hold it, else "".

        Raises:
          DecodeError: As for `rewrite.annotate`; TOO_LARGE for an output that is too large; or DECODER_CRASHED, DECODE_TIMEOUT
            or DECODE_OUT_OF_MEMORY.
          DecoderStartError: No child starts on this machine.
          OSError: This process has no descriptors or no memory left, or the output cannot be written.
        """
        options = dataclasses.replace(options, max_memory_bytes=options.max_memory_bytes or _memory_bytes(), decoder="cpu")
        with self._turn(options) as turn:
            file.seek(0)
            with tempfile.TemporaryFile(prefix="repcount-") as described:
                described.write(timeline.to_bytes())
                described.seek(0)
                turn.channel.send({"options": options_to_send(options)}, (file.fileno(), described.fileno()))
            size_bytes = 0
            while "left_out" not in (message := turn.receive()):
                started_sec = time.monotonic()
                size_bytes = _write(message, size_bytes, options.max_bytes, output)
                turn.watchdog.add(time.monotonic() - started_sec)  # a child could have parts written without an end
            turn.is_over = True
            return _codec(message)


def _memory_bytes() -> int:
    """Returns the memory limit in bytes: videos are annotated one at a time, so it is that of all decoders together."""
    return max(default_memory_bytes(), min(int(MEMORY_SHARE * machine_memory_bytes()), MAX_BYTES))


def _write(message: dict[str, Any], size_bytes: int, max_bytes: int, output: BinaryIO) -> int:
    """Writes the part of the output that a message has, and returns the new size of the output in bytes.

    Raises:
      InvalidMessageError: The message is none, or leaves a gap in the output.
      DecodeError: TOO_LARGE.
      OSError: The output cannot be written.
    """
    position, content = message.get("at"), message.get("content")
    if type(position) is not int or not 0 <= position <= size_bytes:
        raise InvalidMessageError("a part of a video at an impossible position")
    try:
        part = base64.b64decode(content, validate=True)  # type: ignore[arg-type]
    except (binascii.Error, TypeError, ValueError) as error:
        raise InvalidMessageError("a part of a video that is not base64") from error
    if position + len(part) > max_bytes:
        raise DecodeError(FailureCode.TOO_LARGE, f"the annotated video has more than {max_bytes:,} bytes")
    output.seek(position)
    output.write(part)
    return max(size_bytes, position + len(part))


def _codec(message: dict[str, Any]) -> str:
    name = message["left_out"]
    if not isinstance(name, str) or len(name) > _MAX_CODEC_CHARS or not name.isascii() or not (name + "_").isidentifier():
        raise InvalidMessageError("a codec that is not a name")
    return name
