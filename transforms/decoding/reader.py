"""Reads an open video file: decodes its best stream, and yields 112×112 RGB frames with their times. Imports no Beam.

FFmpeg decodes through PyAV, which reports what OpenCV hides: streams, times, colour spaces, and damaged packets.
Errors of FFmpeg and OpenCV end here: callers see `DecodeError`, `MemoryError` or `OSError`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeVar

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from model.config import FRAME_SIZE
from transforms.decoding.clock import FrameSampler, PresentationClock
from transforms.decoding.container_reader import (
    captured_sec,
    choose_streams,
    declared_sec,
    decodable_streams,
    open_container,
    open_streams,
    tagged_end_sec,
)
from transforms.decoding.frame_skipping import UnsafeSkippingError
from transforms.decoding.joined_files import has_second_file
from transforms.decoding.nvdec import Gpu, NvdecRefusedError
from transforms.decoding.options import DecodingOptions
from transforms.decoding.pixels import Orientation, resize_frame
from transforms.decoding.samples import DecodeError, Samples
from transforms.decoding.stream_reader import StreamReader, ThreadsLostFramesError
from transforms.decoding.video_facts import NvdecUse, VideoFacts, VideoHeader
from transforms.failure_codes import FailureCode, describe_error

_APPENDED_FORMATS = ("mpeg", "mpegts")
"""Formats in which files may be joined by appending one to the other, so that their clock often starts over."""

_APPENDED_RESTART_SEC = 10.0
"""Step in seconds above which their clock has started over; FFmpeg's command line uses the same value."""

_RESTART_SEC = 300.0
"""Step in seconds above which the clock of another format has started over. Shorter ones may be pauses of screen recordings."""

_LONGEST_STREAM_FORMATS = ("asf", "flv", "matroska")
"""Formats that declare the time at which the longest stream ends."""

Allocate = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Returns arrays for that many frames and their times; shapes and dtypes as in `Samples`."""

Progress = Callable[[float], None]
"""Called after every attempt to decode a frame, with the seconds of video decoded so far."""

_Item = TypeVar("_Item")


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """A frame as decoded.

    Attributes:
      time_sec: Seconds since the video's first frame.
      frame: The frame. Its pixels belong to the decoder: copy them before changing them.
      orientation: How to turn it upright.
      start_sec: Time in the container of what is second 0 here. It changes if the container's clock starts over.
      clock_restarted: Whether it has started over.
      guessed_fps: Frames per second according to the container; 0 if it does not say.
      aspect: Width of a pixel by its height; 0 if the container does not say.
      is_only: Whether the video has no other frame.
    """

    time_sec: float
    frame: VideoFrame
    orientation: Orientation
    start_sec: float
    clock_restarted: bool
    guessed_fps: float
    aspect: float
    is_only: bool


def allocate_arrays(num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns uninitialised arrays for frames and times in this process's memory; see `Allocate`."""
    return np.empty((num_frames, FRAME_SIZE, FRAME_SIZE, 3), np.uint8), np.empty(num_frames)


def read_video(
    file: BinaryIO,
    options: DecodingOptions,
    allocate: Allocate = allocate_arrays,
    progress: Progress = lambda presented_sec: None,
    gpu: Gpu | NvdecUse = NvdecUse.UNUSED,
) -> Iterator[Samples]:
    """Reads a video from a file.

    Reads the stream that players show: the default one, else the one with the most frames. If none of its frames decodes, the
    next best stream is read. A still picture is read only if no other stream has frames; cover art never is. In MPEG-TS, a
    stream that begins where another one ends continues it. `pixels.resize_frame` converts each frame and applies the rotation
    that the file asks for.

    Args:
      file: Regular file, open at its start.
      options: How to decode it, and which part: frames outside are neither converted nor yielded.
      allocate: Called for the arrays of each `Samples`, with `options.chunk_frames`.
      progress: Called as decoding goes on; see `Progress`.
      gpu: Where to decode, if `options.wants_gpu`, or why there is no GPU. What it refuses, the processor decodes from the
        start, except that samples that were yielded before are not yielded again. A damaged video starts again like that, with
        one thread, and one of which no frames can be skipped after all, decoded exactly.

    Yields:
      Samples of `options.chunk_frames` frames; the last ones may be fewer and carry the facts.

    Raises:
      DecodeError: NOT_A_VIDEO, NO_VIDEO_STREAM, NO_FRAMES, TOO_LARGE or TOO_LONG; READ_ERROR if a frame cannot be converted.
      OSError: The file cannot be read.
      MemoryError: FFmpeg or OpenCV cannot allocate memory.
    """
    cv2.setNumThreads(1)  # more threads do not speed up such small pictures, and runners decode several videos at once
    use, chip, last_sec = NvdecUse.UNUSED, None, -math.inf
    if options.wants_gpu:
        use, chip = (gpu, None) if isinstance(gpu, NvdecUse) else (use, gpu)
    with translate_errors():
        while True:
            try:
                for samples in _read_samples(file, options, allocate, progress, chip, last_sec):
                    last_sec = float(samples.times_sec[-1])
                    facts = samples.facts
                    if facts is not None and chip is None:
                        facts = dataclasses.replace(facts, nvdec=use)
                    yield dataclasses.replace(samples, facts=facts)
                return
            except NvdecRefusedError as refusal:
                use, chip = refusal.use, None
            except ThreadsLostFramesError:
                options = dataclasses.replace(options, decoder_threads=1)
            except UnsafeSkippingError as error:
                threads = 1 if error.is_damaged else options.decoder_threads
                options = dataclasses.replace(options, exact=True, decoder="cpu", decoder_threads=threads)


def _read_samples(
    file: BinaryIO,
    options: DecodingOptions,
    allocate: Allocate,
    progress: Progress,
    gpu: Gpu | None = None,
    after_sec: float = -math.inf,
) -> Iterator[Samples]:
    """Yields samples as `read_video` does, of frames after a time; raises what `StreamReader.frames` does."""
    return _read_best(
        file,
        options,
        progress,
        lambda reading: _fill(reading, options, allocate, after_sec),
        lambda samples: samples.facts is not None and samples.facts.decoded_frames == 1,
        gpu,
    )


def read_pictures(
    file: BinaryIO, options: DecodingOptions, progress: Progress = lambda presented_sec: None
) -> Iterator[Picture]:
    """Reads a video from a file as `read_video` does, and yields each of its frames as decoded, at its full size.

    Raises:
      DecodeError: As for `read_video`.
      OSError: The file cannot be read.
      MemoryError: FFmpeg cannot allocate memory.
    """
    whole, last_sec = dataclasses.replace(options, exact=True, decoder="cpu"), -math.inf
    with translate_errors():
        while True:
            try:
                for picture in _read_best(file, whole, progress, _Reading.pictures, lambda picture: picture.is_only):
                    if picture.time_sec > last_sec:
                        last_sec = picture.time_sec
                        yield picture
                return
            except ThreadsLostFramesError:
                whole = dataclasses.replace(whole, decoder_threads=1)


def _read_best(
    file: BinaryIO,
    options: DecodingOptions,
    progress: Progress,
    read: Callable[[_Reading], Iterator[_Item]],
    is_still: Callable[[_Item], bool],
    gpu: Gpu | None = None,
) -> Iterator[_Item]:
    """Yields what `read` makes of the best stream that has a frame; a still comes last: an item of which `is_still` is true."""
    trailing_data = has_second_file(file)
    untried: list[list[int]] | None = None
    stills: list[list[int]] = []
    while untried is None or untried or stills:
        with contextlib.ExitStack() as opened:
            container = open_container(file, opened)
            if untried is None:
                untried = choose_streams(container, lambda: progress(0.0))
                if sum(len(numbers) for numbers in untried) > 1:
                    container = open_container(file, opened)  # choosing may have read it
            numbers = (untried or stills).pop(0)
            reading = _Reading(open_streams(file, opened, container, numbers), trailing_data, options, progress, gpu)
            is_empty = True
            for item in read(reading):
                if is_still(item) and untried:
                    stills.append(numbers)  # another stream may be the video
                    break
                is_empty = False
                yield item
            if not is_empty:
                return
    where = "of it" if options.is_whole else "of the part to count"
    raise DecodeError(FailureCode.NO_FRAMES, f"the file opens as a video, but no frame {where} decodes")


def read_header(file: BinaryIO) -> VideoHeader:
    """Returns what a file declares about the stream that `read_video` tries first. Decodes no more than FFmpeg needs to tell.

    Args:
      file: Regular file. It may have zeros in place of its middle.

    Raises:
      DecodeError: NOT_A_VIDEO, NO_VIDEO_STREAM or NO_FRAMES; READ_ERROR if FFmpeg cannot read it.
      OSError: The file cannot be read.
      MemoryError: FFmpeg cannot allocate memory.
    """
    with translate_errors(), contextlib.ExitStack() as opened:
        container = open_container(file, opened)
        stream = decodable_streams(container)[0]
        return VideoHeader(
            width=stream.width,
            height=stream.height,
            codec=stream.codec.canonical_name,
            fps=float(stream.guessed_rate or 0),
            duration_sec=max(declared_sec(stream) or (container.duration or 0) / av.time_base, 0.0),
        )


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """Turns errors of FFmpeg and OpenCV into MemoryError or DecodeError READ_ERROR."""
    try:
        yield
    except MemoryError:  # PyAV's error for this is one
        raise
    except (FFmpegError, cv2.error) as error:
        if getattr(error, "code", None) == cv2.Error.StsNoMem:
            raise MemoryError(describe_error(error)) from error
        raise DecodeError(FailureCode.READ_ERROR, describe_error(error)) from error


def _fill(reading: _Reading, options: DecodingOptions, allocate: Allocate, after_sec: float) -> Iterator[Samples]:
    """Yields the samples of a reading after a time, the last ones with its facts; yields nothing if it has no such frame."""
    filled = 0
    frames, times_sec = allocate(options.chunk_frames)
    for time_sec, frame in reading.samples():
        if time_sec <= after_sec:
            continue
        if filled == options.chunk_frames:
            yield Samples(frames, times_sec)
            filled = 0
            frames, times_sec = allocate(options.chunk_frames)
        frames[filled], times_sec[filled] = frame, time_sec
        filled += 1
    if filled:
        yield Samples(frames[:filled], times_sec[:filled], reading.facts())


class _Reading:
    """One pass through the streams that make up a video, which stay open: its samples, and then the facts."""

    def __init__(
        self,
        streams: Iterator[tuple[InputContainer, VideoStream]],
        trailing_data: bool,
        options: DecodingOptions,
        progress: Progress,
        gpu: Gpu | None,
    ) -> None:
        container, stream = next(streams)
        self._container = container
        self._stream = stream
        self._later_streams = streams
        self._trailing_data = trailing_data
        self._options = options
        self._progress = progress
        self._gpu = gpu
        restart_sec = _APPENDED_RESTART_SEC if container.format.name in _APPENDED_FORMATS else _RESTART_SEC
        self._clock = PresentationClock(float(stream.guessed_rate or 0), restart_sec)
        self._sampler = FrameSampler(options.max_fps)
        self._orientation = Orientation()
        self._width = stream.width
        self._height = stream.height
        self._decoders: list[StreamReader] = []
        self._part_last_sec: float | None = None  # set where reading stops before the video's end

    def samples(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yields the time in seconds and (112, 112, 3) uint8 RGB of each frame to keep; other frames are not converted."""
        for time_sec, frame in self._part():
            if frame is not None and self._sampler.keeps(time_sec):
                self._note_size(frame)
                yield time_sec, resize_frame(frame, self._orientation, self._options.exact)

    def pictures(self) -> Iterator[Picture]:
        """Yields each frame of the part to read."""
        waiting: Picture | None = None
        for time_sec, frame in self._part():
            if frame is None:
                continue
            self._note_size(frame)
            if waiting is not None:
                yield dataclasses.replace(waiting, is_only=False)
            waiting = Picture(
                time_sec,
                frame,
                self._orientation,
                self._clock.start_sec,
                self._clock.has_restarted,
                float(self._stream.guessed_rate or 0),
                float(self._stream.sample_aspect_ratio or 0),
                is_only=waiting is None,
            )
        if waiting is not None:
            yield waiting

    def _part(self) -> Iterator[tuple[float, VideoFrame | None]]:
        """Yields the time in seconds of each frame of the part to read, with the frame; None if it was skipped."""
        for container_sec, frame in self._frames():
            if not self._clock.num_frames and frame is not None:  # the first one never is skipped
                self._orientation = self._decoders[-1].orientation(frame)
            last_sec = self._clock.last_sec
            time_sec = self._clock.present(container_sec)
            if self._clock.has_restarted and self._decoders[-1].may_skip:
                raise UnsafeSkippingError  # which frames are wanted was decided without the jump
            self._check_length(time_sec)
            number = self._clock.num_frames - 1
            if time_sec >= self._options.end_sec or number == self._options.end_frame:
                self._part_last_sec = last_sec  # this frame is after the part
                return
            if time_sec >= self._options.start_sec and number >= self._options.start_frame:
                yield time_sec, frame

    def _note_size(self, frame: VideoFrame) -> None:
        """Notes the size of a frame, which may change within a video; raises DecodeError TOO_LARGE."""
        self._width, self._height = self._decoders[-1].size(frame)
        _check_pixels(self._width, self._height, self._options)

    def facts(self) -> VideoFacts:
        """Returns what the whole pass has shown."""
        last_sec = self._clock.last_sec if self._part_last_sec is None else self._part_last_sec
        return VideoFacts(
            width=self._height if self._orientation.is_sideways else self._width,
            height=self._width if self._orientation.is_sideways else self._height,
            codec=self._stream.codec.canonical_name,
            rotation_degrees=self._orientation.degrees,
            fps=1 / self._clock.mean_step_sec,
            decoded_frames=self._clock.num_frames,
            duration_sec=last_sec + self._clock.last_step_sec,
            truncated=any(decoder.is_damaged for decoder in self._decoders) or self._misses_frames(),
            variable_frame_rate=self._clock.is_variable,
            trailing_data=self._trailing_data,
            first_frame_sec=self._first_frame_sec(),
            captured_sec=captured_sec(self._container, self._stream),
            nvdec=NvdecUse.USED if self._gpu else NvdecUse.UNUSED,
        )

    def _first_frame_sec(self) -> float:
        """Returns the time from the start of the file's first stream to the first frame; 0 if it is not within the file."""
        container = self._container
        if container.start_time is None or container.duration is None:
            return 0.0
        late_sec = self._clock.first_sec - container.start_time / av.time_base
        return late_sec if 0.0 < late_sec <= container.duration / av.time_base else 0.0

    def _frames(self) -> Iterator[tuple[float | None, VideoFrame | None]]:
        """Yields each frame that decodes, None for those skipped, with its time in the container, in display order."""
        yield from self._frames_of(self._container, self._stream)
        for container, stream in self._later_streams:
            # Sampling goes on where the stream before it ended.
            self._options = dataclasses.replace(self._options, exact=True, decoder="cpu")
            yield from self._frames_of(container, stream)

    def _frames_of(self, container: InputContainer, stream: VideoStream) -> Iterator[tuple[float | None, VideoFrame | None]]:
        _check_pixels(stream.width, stream.height, self._options)
        self._decoders.append(StreamReader(container, stream, self._options, self._gpu))
        yield from self._decoders[-1].frames(lambda: self._progress(self._clock.last_sec))

    def _check_length(self, time_sec: float) -> None:
        """Raises DecodeError TOO_LONG as soon as a video is too long, whatever its header says."""
        if time_sec > self._options.max_sec:
            raise DecodeError(FailureCode.TOO_LONG, f"the video is longer than {self._options.max_sec:g} s")
        if self._clock.num_frames > self._options.max_frames:
            raise DecodeError(FailureCode.TOO_LONG, f"the video has more than {self._options.max_frames:,} frames")

    def _misses_frames(self) -> bool:
        """Returns whether the file declares a clearly longer video than was shown."""
        if self._part_last_sec is not None:
            return False
        if self._clock.has_restarted or len(self._decoders) > 1:
            return False  # the declared duration is then the difference of two unrelated clocks
        declared_sec = self._declared_sec()
        # The last frame may be shown longer than the others, as GIFs and screen recordings often ask for.
        shown_sec = self._clock.last_sec + max(self._clock.mean_step_sec, self._decoders[-1].last_frame_sec)
        return declared_sec - shown_sec > max(min(0.1 * declared_sec, 2.0), 0.5)

    def _declared_sec(self) -> float:
        """Returns the video's duration in seconds as the file declares it; 0 if it does not.

        Which field to trust depends on the container. In MP4 and MOV, the number of frames includes those that an edit list
        hides, and the duration does not. In AVI, FFmpeg adapts the duration to what is left of a file that was cut, and keeps
        the declared number of frames. ASF, FLV and Matroska store the time at which the longest stream ends, which may be the
        sound. Matroska may also have a tag for each stream. In MPEG files, FFmpeg looks for the times of each stream, and uses
        those of the whole file if the stream starts too late to be found.
        """
        stream, container_format = self._stream, self._container.format.name
        has_sound = bool(self._container.streams.audio)
        if container_format == "avi" and stream.time_base:
            return float(stream.frames * stream.time_base)
        if any(name in container_format for name in _LONGEST_STREAM_FORMATS):
            end_sec = tagged_end_sec(stream)
            if end_sec is None and not has_sound:
                end_sec = (self._container.duration or 0) / av.time_base
            return 0.0 if end_sec is None else end_sec - self._clock.first_sec
        if stream.duration is None or not stream.time_base:
            return 0.0 if has_sound else (self._container.duration or 0) / av.time_base
        start_sec = float((stream.start_time or 0) * stream.time_base)
        if container_format in _APPENDED_FORMATS and abs(self._clock.first_sec - start_sec) > 1:
            return 0.0
        return float(stream.duration * stream.time_base)


def _check_pixels(width: int, height: int, options: DecodingOptions) -> None:
    """Raises DecodeError TOO_LARGE for a frame with too many pixels."""
    if width * height > options.max_pixels:
        raise DecodeError(FailureCode.TOO_LARGE, f"a frame of {width}×{height} has more than {options.max_pixels:,} pixels")
