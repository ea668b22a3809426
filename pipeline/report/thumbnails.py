"""Pictures of videos for a page: a few frames in a row, as small JPEG files.

Frames come from the sandboxed decoder and go nowhere but into these pictures.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.report.content import ReviewedVideo
from transforms.decoding.local_copy import open_video
from transforms.decoding.options import DecodingOptions
from transforms.decoding.process import DecoderProcess
from transforms.decoding.samples import DecodeError, DecoderStartError
from transforms.objects import is_local, stored_name
from transforms.records import VideoRef

_LOGGER = logging.getLogger(__name__)

_OPTIONS = DecodingOptions(max_fps=2.0, chunk_frames=4, end_sec=12.0, timeout_sec=10.0, decoder="cpu")
"""The first seconds of a video, two frames a second: enough to see what moves, and little to decode."""

_MOST_REMOTE_BYTES = 64 << 20
"""Size of the largest remote object that is copied for a picture."""

_ALL_SEC = 45.0
"""Seconds after which a page does without the pictures that are still missing. A store that cannot be reached takes longer."""

_FRAME_HEIGHT = 96
"""Height of a picture in pixels."""

_STRIP_WIDTH = 480
"""Width in pixels that a picture comes near to: several frames of a portrait video, few of a wide one."""

_MOST_FRAMES = 6
"""Most frames in a picture."""

_WIDEST = 3.0
"""Most that a frame is wider than high, or higher than wide. A stranger's video may claim any size."""

_QUALITY = 70
"""Quality of the JPEG files, 0..100."""


def make_thumbnails(videos: Sequence[ReviewedVideo]) -> dict[tuple[str, int], bytes]:
    """Returns a JPEG file with frames of each video that is still there and can be read, by URI and generation.

    A video that is gone, was replaced, or takes too long has none; a log line says why.
    """
    pictures: dict[tuple[str, int], bytes] = {}
    until_sec = time.monotonic() + _ALL_SEC
    # A daemon, since a client that waits for a store cannot be interrupted, and the page does not wait for it.
    work = threading.Thread(target=_draw_all, args=(videos, until_sec, pictures), daemon=True)
    work.start()
    work.join(_ALL_SEC)
    if work.is_alive():
        _LOGGER.warning("The page lacks pictures, since the first %d of %d took long.", len(pictures), len(videos))
    return dict(pictures)


def _draw_all(videos: Sequence[ReviewedVideo], until_sec: float, pictures: dict[tuple[str, int], bytes]) -> None:
    """Adds the pictures of videos one by one, until a time of the monotonic clock."""
    with contextlib.closing(DecoderProcess()) as decoder:
        for video in videos:
            try:
                frames = _read_frames(video, decoder, until_sec)
            except DecoderStartError as error:  # the next one would not start either, and takes long to show it
                _LOGGER.warning("The page has no pictures: %s", error)
                return
            except (DecodeError, OSError) as error:
                _LOGGER.info("There is no picture of %r: %s", video.uri, error)
            else:
                pictures[video.uri, video.generation] = draw_strip(frames, video.width, video.height)
            if time.monotonic() > until_sec:
                return


def draw_strip(frames: np.ndarray, width: int, height: int) -> bytes:
    """Returns frames side by side in their true shape, as a JPEG file.

    Args:
      frames: (num_frames, frame_height, frame_width, 3) uint8, RGB, at least one.
      width: Width of the video in pixels, as shown.
      height: Height of the video in pixels, as shown.
    """
    shape = min(max(width / max(height, 1), 1 / _WIDEST), _WIDEST)
    frame_width = max(1, round(_FRAME_HEIGHT * shape))
    number = min(max(2, round(_STRIP_WIDTH / frame_width)), _MOST_FRAMES, len(frames))
    chosen = np.linspace(0, len(frames) - 1, number).round().astype(int)
    resized = [cv2.resize(frames[index], (frame_width, _FRAME_HEIGHT), interpolation=cv2.INTER_AREA) for index in chosen]
    strip = cv2.cvtColor(np.hstack(resized), cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", strip, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return encoded.tobytes()


def _read_frames(video: ReviewedVideo, decoder: DecoderProcess, until_sec: float) -> np.ndarray:
    """Returns (num_frames, 112, 112, 3) uint8, RGB, at least one; raises DecodeError."""
    listed = VideoRef(stored_name(video.uri), video.generation, video.size_bytes, video.updated)
    max_bytes = _OPTIONS.max_bytes if is_local(video.uri) else min(_OPTIONS.max_bytes, _MOST_REMOTE_BYTES)
    frames = []
    with open_video(listed, max_bytes) as file:
        for samples in decoder.read(file, _OPTIONS):
            frames.append(samples.frames)
            if time.monotonic() > until_sec:
                break
    return np.concatenate(frames)
