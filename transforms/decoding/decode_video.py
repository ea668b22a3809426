"""Decodes one listed video into chunks of frames, or records why it cannot be decoded. Does not import Beam."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from typing import BinaryIO

from model.logits import slow_repeats
from model.replacing import DISK_FULL
from transforms.decoding.local_copy import check_unchanged, open_video
from transforms.decoding.options import DecodingOptions
from transforms.decoding.samples import DecodeError, DecoderStartError, Samples
from transforms.failure_codes import FailureCode, Stage, describe_error
from transforms.machine_faults import is_machine_fault, machine_fault
from transforms.records import Failure, FrameChunk, VideoRef

_LOGGER = logging.getLogger(__name__)

Reader = Callable[[BinaryIO, DecodingOptions], Iterator[Samples]]
"""Reads an open file: `DecoderProcess.read`, or `reader.read_video` in this process."""

_START_ATTEMPTS = 3
"""Times that a decoder may fail to start, one after the other, before the machine is at fault."""


def decode_or_fail(video: VideoRef, options: DecodingOptions, read: Reader) -> Generator[FrameChunk | Failure, None, None]:
    """Decodes a video, local or remote.

    Args:
      video: Video to decode, as listed.
      options: How to decode it.
      read: Reads the open file.

    Yields:
      Chunks of `options.chunk_frames` frames, of which the last one may be shorter and carries the facts. If the video fails, a
      failure follows.

    Raises:
      MachineFaultError: The machine or the store has failed, not the video; see `transforms.machine_faults`.
    """
    try:
        yield from _decode(video, options, read)
    except DecoderStartError as error:
        raise machine_fault(f"decoding {video.uri!r}", error) from error
    except DecodeError as error:
        # A crash also closes connections, so only what could not be read is looked into.
        if error.code is FailureCode.READ_ERROR and is_machine_fault(error):
            cause = error.__cause__ or error
            is_written = getattr(cause, "errno", None) in DISK_FULL  # a copy of the video, or the memory for its frames
            action = "copying or decoding" if is_written else "reading"
            raise machine_fault(f"{action} {video.uri!r}", cause) from error
        yield Failure(video, Stage.DECODE, error.code, error.message)
    except Exception as error:  # one bad video must not fail the others
        if is_machine_fault(error):
            raise machine_fault(f"decoding {video.uri!r}", error) from error
        message = describe_error(error)
        _LOGGER.info("Decoding %r failed: %s", video.uri, message)
        _LOGGER.debug("Traceback of that failure:", exc_info=True)
        yield Failure(video, Stage.DECODE, FailureCode.READ_ERROR, message)


def _decode(video: VideoRef, options: DecodingOptions, read: Reader) -> Iterator[FrameChunk]:
    with open_video(video, options.max_bytes, options.billing_project) as file:
        repeats = 1
        for index, samples in enumerate(_read(file, options, read)):
            if index == 0:
                repeats = slow_repeats(samples.times_sec, options.repeat_below_fps)
            if samples.facts is not None:
                check_unchanged(video, file)
            yield FrameChunk(video, index, samples.frames, samples.times_sec, samples.facts, repeats)


def _read(file: BinaryIO, options: DecodingOptions, read: Reader) -> Iterator[Samples]:
    """Reads a file; starts the decoder again if it does not start, which happens before it gets the file."""
    for _ in range(_START_ATTEMPTS - 1):
        try:
            yield from read(file, options)
            return
        except DecoderStartError:
            _LOGGER.info("The decoder does not start on this machine; trying again.")
    yield from read(file, options)
