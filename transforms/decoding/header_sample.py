"""Reads the headers of a few listed videos, side by side, each in a decoder process of its own. Does not import Beam."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Sequence

from transforms.decoding.local_copy import open_video
from transforms.decoding.options import DecodingOptions
from transforms.decoding.process import DecoderProcess
from transforms.decoding.samples import DecodeError, DecoderStartError
from transforms.decoding.video_facts import VideoHeader
from transforms.failure_codes import FailureCode
from transforms.records import VideoRef

_LOGGER = logging.getLogger(__name__)

_THREADS = 4
"""Most headers that are read at the same time."""

_HEADER_SEC = 10.0
"""Seconds that a decoder process may take for one header."""

_SAMPLE_SEC = 60.0
"""Seconds after which no further header is read."""


def read_headers(
    videos: Sequence[VideoRef],
    options: DecodingOptions,
    make_decoder: Callable[[], DecoderProcess] = DecoderProcess,
) -> dict[VideoRef, VideoHeader]:
    """Returns the headers that can be read and name a duration. One that cannot be read is missing, and a log line says why.

    A remote object is not copied whole: only its two ends are.

    Args:
      videos: Videos to look at, as listed.
      options: Limits on files, on memory and on the sandbox, and the project that pays.
      make_decoder: Returns a new decoder; tests pass one that a file takes over.
    """
    options = dataclasses.replace(options, timeout_sec=min(options.timeout_sec, _HEADER_SEC), decoder="cpu")
    headers: dict[VideoRef, VideoHeader] = {}
    until_sec, stopped = time.monotonic() + _SAMPLE_SEC, threading.Event()

    def read(video: VideoRef) -> None:
        if time.monotonic() >= until_sec or stopped.is_set():
            return
        try:
            # Each header gets a new process: a file that takes one over cannot falsify the next header.
            with contextlib.closing(make_decoder()) as decoder:
                headers[video] = _read_header(video, options, decoder)
        except DecoderStartError as error:  # the next one would not start either, and takes long to show it
            _LOGGER.warning("No header can be read: %s", error)
            stopped.set()
        except (DecodeError, OSError) as error:
            _LOGGER.info("The header of %r cannot be read: %s", video.uri, error)

    with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
        try:
            list(threads.map(read, videos))
        finally:
            stopped.set()
    return headers


def _read_header(video: VideoRef, options: DecodingOptions, decoder: DecoderProcess) -> VideoHeader:
    with open_video(video, options.max_bytes, options.billing_project, header_only=True) as file:
        header = decoder.read_header(file, options)
    _LOGGER.info(
        "The header of %r: %s, %d×%d, %.1f frames/s, %.1f s",
        video.uri,
        header.codec,
        header.width,
        header.height,
        header.fps,
        header.duration_sec,
    )
    if not header.duration_sec:
        raise DecodeError(FailureCode.READ_ERROR, "it names no duration")
    return header
