"""Reads an open video file: picks a stream, decodes it, and yields 112×112 RGB frames with their times. Imports no Beam.

FFmpeg decodes through PyAV, which reports what OpenCV hides: streams, times, colour spaces, and damaged packets. Two rules make
it safe for files from strangers. It gets an open file, never a name, because FFmpeg may read a name as a protocol or as a
numbered sequence of pictures. And it reads only formats that contain their own pictures and may open nothing else, so a
playlist disguised as a video leads nowhere.

Errors of FFmpeg and OpenCV end here: callers see `DecodeError`, `MemoryError` or `OSError`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from model.config import FRAME_SIZE
from transforms.decoding.clock import FrameSampler, PresentationClock
from transforms.decoding.options import DecodingOptions
from transforms.decoding.pixels import Orientation, orientation_of, resize_frame
from transforms.decoding.samples import DecodeError, Samples
from transforms.decoding.video_facts import VideoFacts
from transforms.failure_codes import FailureCode, describe_error

FORMATS = (
    "asf",
    "avi",
    "flv",
    "gif",
    "h264",
    "hevc",
    "ivf",
    "m4v",
    "matroska",
    "mov",
    "mpeg",
    "mpegts",
    "mpegvideo",
    "mxf",
    "ogg",
)
"""FFmpeg's names of the formats to read; none of them refers to another file or to a URI."""

MAX_FAILED_READS = 1000
"""Consecutive failures to read a packet after which the rest of a video is skipped."""

_APPENDED_FORMATS = ("mpeg", "mpegts")
"""Formats in which files may be joined by appending one to the other, so that their clock often starts over."""

_APPENDED_RESTART_SEC = 10.0
"""Step in seconds above which their clock has started over; FFmpeg's command line uses the same value."""

_RESTART_SEC = 300.0
"""Step in seconds above which the clock of another format has started over. Shorter ones may be pauses of screen recordings."""

_DURATION_TAG = re.compile(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d+)?)", re.ASCII)
"""Time at which a stream ends, as Matroska files store it, for example 00:00:05.000000000."""

_HEAD_BYTES = 12
"""Bytes that identify a sound format."""

_READ_BYTES = 1 << 20
"""Bytes that FFmpeg requests from a file at a time."""

_SOUND_ONLY = "the file has sound, and no video in it"

Allocate = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Returns arrays for that many frames and their times; shapes and dtypes as in `Samples`."""

Progress = Callable[[float], None]
"""Called after every attempt to decode a frame, with the seconds of video decoded so far."""


def allocate_arrays(num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns uninitialised arrays for frames and times in this process's memory; see `Allocate`."""
    return np.empty((num_frames, FRAME_SIZE, FRAME_SIZE, 3), np.uint8), np.empty(num_frames)


def read_video(
    file: BinaryIO,
    options: DecodingOptions,
    allocate: Allocate = allocate_arrays,
    progress: Progress = lambda presented_sec: None,
) -> Iterator[Samples]:
    """Reads a video from a file.

    Reads the stream that players show: the default one, else the one with the most frames. If none of its frames decodes, the
    next best stream is read. A still picture is read only if no other stream has frames; cover art never is.
    `pixels.resize_frame` converts each frame and applies the rotation that the file asks for.

    Args:
      file: Regular file, open at its start.
      options: How to decode it.
      allocate: Called for the arrays of each `Samples`, with `options.chunk_frames`.
      progress: Called as decoding goes on; see `Progress`.

    Yields:
      Samples of `options.chunk_frames` frames; the last ones may be fewer and carry the facts.

    Raises:
      DecodeError: NOT_A_VIDEO, NO_VIDEO_STREAM, NO_FRAMES, TOO_LARGE or TOO_LONG; READ_ERROR if a frame cannot be converted.
      OSError: The file cannot be read.
      MemoryError: FFmpeg or OpenCV cannot allocate memory.
    """
    cv2.setNumThreads(1)  # more threads do not speed up such small pictures, and runners decode several videos at once
    untried: list[int] | None = None
    stills: list[int] = []
    with _translate_errors():
        while untried is None or untried or stills:
            file.seek(0)
            with _open_container(file) as container:
                if untried is None:
                    untried = [stream.index for stream in sorted(_video_streams(container), key=_preference)]
                number = (untried or stills).pop(0)
                stream = next(stream for stream in container.streams.video if stream.index == number)
                is_empty = True
                for samples in _fill(_Reading(container, stream, options, progress), options, allocate):
                    if samples.facts and samples.facts.decoded_frames == 1 and untried:
                        stills.append(number)  # another stream may be the video
                        break
                    is_empty = False
                    yield samples
                if not is_empty:
                    return
    raise DecodeError(FailureCode.NO_FRAMES, "the file opens as a video, but no frame of it decodes")


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    """Turns errors of FFmpeg and OpenCV into MemoryError or DecodeError READ_ERROR."""
    try:
        yield
    except MemoryError:  # PyAV's error for this is one
        raise
    except (FFmpegError, cv2.error) as error:
        if getattr(error, "code", None) == cv2.Error.StsNoMem:
            raise MemoryError(describe_error(error)) from error
        raise DecodeError(FailureCode.READ_ERROR, describe_error(error)) from error


def _fill(reading: _Reading, options: DecodingOptions, allocate: Allocate) -> Iterator[Samples]:
    """Yields the samples of a reading, the last ones with its facts; yields nothing if it has no frame."""
    filled = 0
    frames, times_sec = allocate(options.chunk_frames)
    for time_sec, frame in reading.samples():
        if filled == options.chunk_frames:
            yield Samples(frames, times_sec)
            filled = 0
            frames, times_sec = allocate(options.chunk_frames)
        frames[filled], times_sec[filled] = frame, time_sec
        filled += 1
    if filled:
        yield Samples(frames[:filled], times_sec[:filled], reading.facts())


def _open_container(file: BinaryIO) -> InputContainer:
    """Opens a file; raises DecodeError NO_VIDEO_STREAM for FLAC, MP3 and WAV, else NOT_A_VIDEO."""
    options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "none"}
    try:
        return av.open(file, "r", container_options=options, buffer_size=_READ_BYTES, metadata_errors="replace")
    except MemoryError:
        raise
    except FFmpegError as error:
        file.seek(0)
        if _is_sound(file.read(_HEAD_BYTES)):
            raise DecodeError(FailureCode.NO_VIDEO_STREAM, _SOUND_ONLY) from error
        raise DecodeError(FailureCode.NOT_A_VIDEO, "the file is in no video format that is read here") from error


def _is_sound(head: bytes) -> bool:
    """Returns whether a file starts as FLAC, MP3 (with ID3) or WAV; FFmpeg's readers of these also accept text and noise."""
    return head[:4] == b"fLaC" or head[:3] == b"ID3" or (head[:4] == b"RIFF" and head[8:12] == b"WAVE")


def _video_streams(container: InputContainer) -> list[VideoStream]:
    """Returns the streams that can be decoded; raises DecodeError NO_VIDEO_STREAM or NO_FRAMES if there is none."""
    pictures = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & pictures]
    if not streams:
        raise DecodeError(
            FailureCode.NO_VIDEO_STREAM, _SOUND_ONLY if container.streams.audio else "the file has no video in it"
        )
    decodable = [stream for stream in streams if stream.codec_context is not None]
    if not decodable:
        raise DecodeError(FailureCode.NO_FRAMES, "the file has a video in it, but no decoder is known for it")
    return decodable


def _preference(stream: VideoStream) -> tuple[bool, bool, float, int]:
    """Returns the sort key of a stream; the one that players show has the lowest.

    Stills come last, whatever the file marks as the default. Files without a default are read by length, and streams of the
    same rank in the file's order.
    """
    is_still = stream.frames == 1 or bool(stream.disposition & Disposition.still_image)
    is_default = bool(stream.disposition & Disposition.default)
    return is_still, not is_default, 0.0 if is_default else -_declared_frames(stream), stream.index


def _declared_frames(stream: VideoStream) -> float:
    """Returns the number of frames that a file declares for a stream, estimated from its duration if need be; 0 if unknown."""
    duration_sec = float((stream.duration or 0) * (stream.time_base or 0)) or _tagged_end_sec(stream) or 0.0
    return stream.frames or duration_sec * float(stream.guessed_rate or 0)


def _tagged_end_sec(stream: VideoStream) -> float | None:
    """Returns the time in seconds at which a stream of a Matroska file ends; None if the file does not say."""
    tag = _DURATION_TAG.fullmatch(stream.metadata.get("DURATION", ""))
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) if tag else None


class _Reading:
    """One pass through a stream of an open video: its samples, and then the facts."""

    def __init__(self, container: InputContainer, stream: VideoStream, options: DecodingOptions, progress: Progress) -> None:
        self._container = container
        self._stream = stream
        self._options = options
        self._progress = progress
        restart_sec = _APPENDED_RESTART_SEC if container.format.name in _APPENDED_FORMATS else _RESTART_SEC
        self._clock = PresentationClock(float(stream.guessed_rate or 0), restart_sec)
        self._sampler = FrameSampler(options.max_fps)
        self._orientation = Orientation()
        self._width = stream.width
        self._height = stream.height
        self._last_frame_sec = 0.0
        self._is_damaged = False
        self._is_avi = container.format.name == "avi"
        _check_pixels(stream.width, stream.height, options)
        stream.thread_type = "AUTO"
        stream.thread_count = options.decoder_threads

    def samples(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yields the time in seconds and (112, 112, 3) uint8 RGB of each frame to keep; other frames are not converted."""
        for frame in self._frames():
            if not self._clock.num_frames:
                self._orientation = orientation_of(frame)
            time_sec = self._clock.present(self._container_sec(frame))
            self._check_length(time_sec)
            if self._sampler.keeps(time_sec):
                _check_pixels(frame.width, frame.height, self._options)  # the size may change within a video
                self._width, self._height = frame.width, frame.height
                yield time_sec, resize_frame(frame, self._orientation)

    def facts(self) -> VideoFacts:
        """Returns what the whole pass has shown."""
        is_on_its_side = self._orientation.degrees in (90, 270)
        return VideoFacts(
            width=self._height if is_on_its_side else self._width,
            height=self._width if is_on_its_side else self._height,
            codec=self._stream.codec.canonical_name,
            rotation_degrees=self._orientation.degrees,
            fps=1 / self._clock.mean_step_sec,
            decoded_frames=self._clock.num_frames,
            duration_sec=self._clock.last_sec + self._clock.mean_step_sec,
            truncated=self._is_damaged or self._misses_frames(),
            variable_frame_rate=self._clock.is_variable,
        )

    def _frames(self) -> Iterator[VideoFrame]:
        """Yields each frame that decodes, in display order; reading continues after damage."""
        has_failed = False
        for packet in self._packets():
            self._progress(self._clock.last_sec)
            try:
                frames = packet.decode() if packet else []
            except MemoryError:
                raise
            except FFmpegError:
                frames = []
                has_failed = True
            has_failed |= packet is None
            for frame in frames:
                self._is_damaged |= frame.is_corrupt  # FFmpeg guessed a part of it
                self._last_frame_sec = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.0
                yield frame
        self._is_damaged |= has_failed

    def _packets(self) -> Iterator[Packet | None]:
        """Yields the stream's packets, and None for damage; the last packet is empty and flushes the decoder."""
        num_failed = 0
        while num_failed < MAX_FAILED_READS:
            try:
                for packet in self._container.demux(self._stream):
                    num_failed = 0
                    yield packet
                return
            except MemoryError:
                raise
            except (FFmpegError, IndexError):  # PyAV raises IndexError for streams that damage makes appear midway
                num_failed += 1
                yield None

    def _container_sec(self, frame: VideoFrame) -> float | None:
        """Returns the time in seconds at which the container shows a frame; None if it does not say.

        AVI stores no display times, and those that FFmpeg invents for it go back and forth.
        """
        first, second = (frame.dts, frame.pts) if self._is_avi else (frame.pts, frame.dts)
        ticks = second if first is None else first
        return float(ticks * frame.time_base) if ticks is not None and frame.time_base else None

    def _check_length(self, time_sec: float) -> None:
        """Raises DecodeError TOO_LONG as soon as a video is too long, whatever its header says."""
        if time_sec > self._options.max_sec:
            raise DecodeError(FailureCode.TOO_LONG, f"the video is longer than {self._options.max_sec:g} s")
        if self._clock.num_frames > self._options.max_frames:
            raise DecodeError(FailureCode.TOO_LONG, f"the video has more than {self._options.max_frames:,} frames")

    def _misses_frames(self) -> bool:
        """Returns whether the file declares a clearly longer video than was shown."""
        if self._clock.has_restarted:
            return False  # the declared duration is then the difference of two unrelated clocks
        declared_sec = self._declared_sec()
        # The last frame may be shown longer than the others, as GIFs and screen recordings often ask for.
        shown_sec = self._clock.last_sec + max(self._clock.mean_step_sec, self._last_frame_sec)
        return declared_sec - shown_sec > max(min(0.1 * declared_sec, 2.0), 0.5)

    def _declared_sec(self) -> float:
        """Returns the video's duration in seconds as the file declares it; 0 if it does not.

        Which field to trust depends on the container. In MP4 and MOV, the number of frames includes those that an edit list
        hides, and the duration does not. In AVI, FFmpeg adapts the duration to what is left of a file that was cut, and keeps
        the declared number of frames. ASF, FLV and Matroska store the time at which the longest stream ends, which may be the
        sound. Matroska may also have a tag for each stream.
        """
        stream = self._stream
        if self._is_avi and stream.time_base:
            return float(stream.frames * stream.time_base)
        has_sound = bool(self._container.streams.audio)
        if stream.duration is not None and stream.time_base and not (self._container.format.name == "asf" and has_sound):
            return float(stream.duration * stream.time_base)
        end_sec = _tagged_end_sec(stream)
        if end_sec is None:
            if has_sound:
                return 0.0
            end_sec = (self._container.duration or 0) / av.time_base
        return end_sec - self._clock.first_sec


def _check_pixels(width: int, height: int, options: DecodingOptions) -> None:
    """Raises DecodeError TOO_LARGE for a frame with too many pixels."""
    if width * height > options.max_pixels:
        raise DecodeError(FailureCode.TOO_LARGE, f"a frame of {width}×{height} has more than {options.max_pixels:,} pixels")
