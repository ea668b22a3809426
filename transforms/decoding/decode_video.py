"""Decodes one listed video into chunks of frames, or records why it cannot be decoded. Does not import Beam."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from typing import BinaryIO

from transforms.decoding.local_copy import check_unchanged, open_video
from transforms.decoding.options import DecodingOptions
from transforms.decoding.samples import DecodeError, Samples
from transforms.failure_codes import FailureCode, Stage, describe_error
from transforms.records import Failure, FrameChunk, VideoRef

_LOGGER = logging.getLogger(__name__)

Reader = Callable[[BinaryIO, DecodingOptions], Iterator[Samples]]
"""Reads an open file: `DecoderProcess.read`, or `reader.read_video` in this process."""


def decode_or_fail(video: VideoRef, options: DecodingOptions, read: Reader) -> Generator[FrameChunk | Failure, None, None]:
    """Decodes a video, local or remote.

    Args:
      video: Video to decode, as listed.
      options: How to decode it.
      read: Reads the open file.

    Yields:
      Chunks of `options.chunk_frames` frames, of which the last one may be shorter and carries the facts. If the video fails, a
      failure follows; no error is raised.
    """
    try:
        yield from _decode(video, options, read)
    except DecodeError as error:
        yield Failure(video, Stage.DECODE, error.code, error.message)
    except Exception as error:  # one bad video must not fail the others
        message = describe_error(error)
        _LOGGER.info("Decoding %r failed: %s", video.uri, message)
        _LOGGER.debug("Traceback of that failure:", exc_info=True)
        yield Failure(video, Stage.DECODE, FailureCode.READ_ERROR, message)


def _decode(video: VideoRef, options: DecodingOptions, read: Reader) -> Iterator[FrameChunk]:
    with open_video(video, options.max_bytes, options.billing_project) as file:
        for index, samples in enumerate(read(file, options)):
            if samples.facts is not None:
                check_unchanged(video, file)
            yield FrameChunk(video, index, samples.frames, samples.times_sec, samples.facts)
