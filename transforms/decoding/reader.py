"""Reading: from an open video file to its frames, 112×112, with the time at which each is shown. Knows no Beam.

FFmpeg decodes, by way of PyAV, which tells what OpenCV does not: streams, times, colour spaces, and which packet is damaged. It
gets an open file and never a name, since in FFmpeg a name may mean a protocol or a numbered sequence of pictures, and
strangers name uploads. It reads only formats that hold their own pictures and may open nothing else, so that a playlist
dressed up as a video leads nowhere.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import re
import statistics
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
from transforms.decoding.pixels import Orientation, orientation_of, shrink
from transforms.decoding.video_facts import VideoFacts
from transforms.failure_codes import FailureCode

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
"""FFmpeg's names of the formats that are read; none of them refers to another file or to an address."""

MAX_FAILED_READS = 1000
"""Failures in a row to read a packet before the rest of a video is given up."""

_USUAL_FPS = 30.0
"""Frames a second where neither the times nor the header tell."""

_PLAUSIBLE_FPS = (1.0, 500.0)
"""Outside these, a frame rate in a header is a clock's resolution: WebM from browsers claims 1000 frames a second."""

_RESTARTING_FORMATS = ("mpeg", "mpegts")
"""Whose clock may begin anew within a file: these may be put together by appending one to the other."""

_RESTART_SEC = 10.0
"""A step of their clock that is longer, either way, is a new beginning; it is what FFmpeg's command line takes for one."""

_DURATION_TAG = re.compile(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d+)?)", re.ASCII)
"""As Matroska's writers tell when a stream ends, for instance 00:00:05.000000000."""

_HEAD_BYTES = 12

_READ_BYTES = 1 << 20
"""That FFmpeg asks a file for at once."""

_SOUND_ONLY = "the file has sound, and no video in it"


class DecodeError(Exception):
    """A video of which nothing can be counted.

    Attributes:
      code: why.
      message: one line for people.
    """

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(code, message)  # both, so that it can be pickled
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclasses.dataclass(frozen=True)
class DecodingOptions:
    """How videos become frames.

    Attributes:
      max_fps: frames a second that are kept at most, in the mean and with 5 % of tolerance; frames beyond are left out by time.
        So the longest period that can be told is as many seconds whatever the camera, and 60 fps cost what 30 do.
      chunk_frames: frames of a chunk; `model.logits.chunk_frames` of the strides that are scored, or results differ from those
        on the whole video. A frame is 37,632 bytes.
      decoder_threads: threads that FFmpeg decodes a video with. Each holds frames of its own, and runners decode several videos
        at once, so not one for each core.
      max_bytes: of a file.
      max_sec: of a video, as its times tell.
      max_frames: of a video.
      max_pixels: of a frame; the default is more than 8K.
      timeout_sec: wall time in which nothing comes of a video, after which it is given up; see `SECONDS_PER_VIDEO_SEC`, too.
      max_memory_bytes: of the process that decodes.
    """

    max_fps: float = 30.0
    chunk_frames: int = 768
    decoder_threads: int = 2
    max_bytes: int = 16 << 30
    max_sec: float = 4 * 3600.0
    max_frames: int = 1_000_000
    max_pixels: int = 40_000_000
    timeout_sec: float = 60.0
    max_memory_bytes: int = 2 << 30

    def __post_init__(self) -> None:
        """Raises ValueError if a value cannot be meant."""
        if not (self.max_fps > 0 and math.isfinite(self.max_fps)):
            raise ValueError(f"max_fps must be a positive number of frames a second. Received: {self.max_fps}")
        for name in ("max_sec", "timeout_sec"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be a positive number of seconds. Received: {getattr(self, name)}")
        for name in ("chunk_frames", "decoder_threads", "max_bytes", "max_frames", "max_pixels", "max_memory_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1. Received: {getattr(self, name)}")


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """Consecutive sampled frames of a video.

    Attributes:
      frames: (num_frames, 112, 112, 3) uint8, RGB.
      times_sec: (num_frames,) float64, presentation times from the video's first frame.
      facts: with the video's last samples only, else None.
    """

    frames: np.ndarray
    times_sec: np.ndarray
    facts: VideoFacts | None = None


Allocate = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Makes room for so many frames and their times; see `Samples`."""

Progress = Callable[[float], None]
"""Is told, after every attempt to decode a frame, how many seconds of the video have been presented."""


def empty_samples(num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns room in memory."""
    return np.empty((num_frames, FRAME_SIZE, FRAME_SIZE, 3), np.uint8), np.empty(num_frames)


def read_video(
    file: BinaryIO,
    options: DecodingOptions,
    allocate: Allocate = empty_samples,
    progress: Progress = lambda presented_sec: None,
) -> Iterator[Samples]:
    """Reads a video from a file.

    The first video stream with a frame that decodes is the one that is read; pictures of a cover are none. What frames become
    is told by `transforms.decoding.pixels.shrink`; the rotation that a file asks for is applied there.

    Args:
      file: open, at its beginning; a regular file, or a copy without a name.
      options: how to decode it.
      allocate: makes room for `options.chunk_frames` frames, in which they are yielded.
      progress: see `Progress`.

    Yields:
      Samples of `options.chunk_frames` frames; the last ones can be fewer and carry the facts.

    Raises:
      DecodeError: NOT_A_VIDEO, NO_VIDEO_STREAM, NO_FRAMES, TOO_LARGE or TOO_LONG.
      OSError: the file cannot be read.
      MemoryError: FFmpeg gets no memory.
      FFmpegError: a frame cannot be converted.
      cv2.error: OpenCV raises it.
    """
    cv2.setNumThreads(1)  # to so small a picture more add nothing, and runners decode side by side
    number, num_streams = 0, 1
    while number < num_streams:
        file.seek(0)
        with _open_container(file) as container:
            streams = _video_streams(container)
            num_streams = len(streams)
            reading = _Reading(container, streams[number], options, progress)
            is_empty = True
            for samples in _fill(reading, options, allocate):
                is_empty = False
                yield samples
            if not is_empty:
                return
        number += 1
    raise DecodeError(FailureCode.NO_FRAMES, "the file opens as a video, but no frame of it decodes")


def _fill(reading: _Reading, options: DecodingOptions, allocate: Allocate) -> Iterator[Samples]:
    """Yields a reading's samples, the last of them with its facts; none if it has no frame."""
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
    """Opens a file; raises DecodeError NOT_A_VIDEO, or NO_VIDEO_STREAM for sound in a format of its own."""
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
    """Tells FLAC, MP3 (with ID3) and WAV by their first bytes; as formats they would let text and noise pass for sound."""
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


class PresentationClock:
    """Makes of the times that a container tells times that start at 0 and only go up.

    Frames come in the order in which they are shown, so a time that does not go up is wrong: AVI has no such times, and with
    B-frames the last is missing; recordings that were joined begin anew. Such a frame is put one step after the one before: the
    header's or the usual one, whichever is shorter, since right times soon catch up with a short step, but not with a long one.

    Attributes:
      num_frames: frames seen.
      first_sec: time of the first one in the container.
      last_sec: time of the last one.
      has_restarted: whether the container's clock has begun anew on the way.
    """

    _REMEMBERED_STEPS = 31

    def __init__(self, nominal_fps: float, restart_sec: float = math.inf) -> None:
        """Starts.

        Args:
          nominal_fps: frames a second to assume until times tell; not a plausible number: 30.
          restart_sec: a step that is longer, either way, is none: the container's clock has begun anew.
        """
        slowest, fastest = _PLAUSIBLE_FPS
        self._is_plausible = slowest <= nominal_fps <= fastest
        self._nominal_step_sec = 1 / (nominal_fps if self._is_plausible else _USUAL_FPS)
        self._recent_steps_sec: collections.deque[float] = collections.deque(maxlen=self._REMEMBERED_STEPS)
        self._restart_sec = restart_sec
        self._origin_sec = 0.0
        self._shortest_step_sec = math.inf
        self._longest_step_sec = 0.0
        self.num_frames = 0
        self.first_sec = 0.0
        self.last_sec = 0.0
        self.has_restarted = False

    def present(self, container_sec: float | None) -> float:
        """Takes the next frame's time in the container, if it has one, and returns its time in seconds from the first frame."""
        self.num_frames += 1
        if self.num_frames == 1:
            self.first_sec = self._origin_sec = container_sec or 0.0
            return 0.0
        time_sec = self.last_sec if container_sec is None else container_sec - self._origin_sec
        step_sec = time_sec - self.last_sec
        if 0 < step_sec <= self._restart_sec:
            self._recent_steps_sec.append(step_sec)
        else:
            guessed_sec = self._guess_step_sec()
            if abs(step_sec) > self._restart_sec:
                self.has_restarted = True
                self._origin_sec += step_sec - guessed_sec
            step_sec = guessed_sec
            time_sec = self.last_sec + step_sec
        self._shortest_step_sec = min(self._shortest_step_sec, step_sec)
        self._longest_step_sec = max(self._longest_step_sec, step_sec)
        self.last_sec = time_sec
        return time_sec

    def _guess_step_sec(self) -> float:
        if not self._recent_steps_sec:
            return self._nominal_step_sec
        usual_step_sec = statistics.median(self._recent_steps_sec)
        return min(usual_step_sec, self._nominal_step_sec) if self._is_plausible else usual_step_sec

    @property
    def mean_step_sec(self) -> float:
        """Seconds from one frame to the next, in the mean."""
        return self.last_sec / (self.num_frames - 1) if self.num_frames > 1 else self._nominal_step_sec

    @property
    def is_variable(self) -> bool:
        """Whether steps differ by more than half a mean step."""
        return self._longest_step_sec - self._shortest_step_sec > self.mean_step_sec / 2


class FrameSampler:
    """Chooses the frames to keep, so that no more than `max_fps` a second are, give or take 5 %, in the mean.

    A frame is due one step after the last one kept. It may come a quarter of a step early, since cameras do not keep exact
    time, but early ones put off those that follow. So up to 31.5 fps nothing is lost at 30, and of 60 every other frame.
    """

    _TOLERANCE = 1.05
    _EARLY_SHARE = 0.25

    def __init__(self, max_fps: float) -> None:
        self._step_sec = 1 / (max_fps * self._TOLERANCE)
        self._due_sec = 0.0

    def keeps(self, time_sec: float) -> bool:
        """Tells whether to keep the next frame, by its time in seconds."""
        if time_sec < self._due_sec - self._EARLY_SHARE * self._step_sec:
            return False
        self._due_sec = max(self._due_sec, time_sec) + self._step_sec
        return True


class _Reading:
    """One way through a stream of an open video: its samples, and after them the facts."""

    def __init__(self, container: InputContainer, stream: VideoStream, options: DecodingOptions, progress: Progress) -> None:
        self._container = container
        self._stream = stream
        self._options = options
        self._progress = progress
        restarts = container.format.name in _RESTARTING_FORMATS
        self._clock = PresentationClock(float(stream.guessed_rate or 0), _RESTART_SEC if restarts else math.inf)
        self._sampler = FrameSampler(options.max_fps)
        self._upright = Orientation()
        self._width = stream.width
        self._height = stream.height
        self._last_frame_sec = 0.0
        self._is_damaged = False
        self._is_avi = container.format.name == "avi"
        check_pixels(stream.width, stream.height, options)
        stream.thread_type = "AUTO"
        stream.thread_count = options.decoder_threads

    def samples(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yields the time in seconds and (112, 112, 3) uint8 RGB of each frame that is kept; the others are never converted."""
        for frame in self._frames():
            if not self._clock.num_frames:
                self._upright = orientation_of(frame)
            time_sec = self._clock.present(self._container_sec(frame))
            self._check_length(time_sec)
            if self._sampler.keeps(time_sec):
                check_pixels(frame.width, frame.height, self._options)  # it may change on the way
                self._width, self._height = frame.width, frame.height
                yield time_sec, shrink(frame, self._upright)

    def facts(self) -> VideoFacts:
        """Returns what the whole way through has shown."""
        on_its_side = self._upright.degrees in (90, 270)
        return VideoFacts(
            width=self._height if on_its_side else self._width,
            height=self._width if on_its_side else self._height,
            codec=self._stream.codec.canonical_name,
            rotation_degrees=self._upright.degrees,
            fps=1 / self._clock.mean_step_sec,
            decoded_frames=self._clock.num_frames,
            duration_sec=self._clock.last_sec + self._clock.mean_step_sec,
            truncated=self._is_damaged or self._misses_frames(),
            variable_frame_rate=self._clock.is_variable,
        )

    def _frames(self) -> Iterator[VideoFrame]:
        """Yields each frame that decodes, in the order in which they are shown; a damaged video goes on after the damage."""
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
                self._is_damaged |= frame.is_corrupt  # FFmpeg made up a part of it
                self._last_frame_sec = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.0
                yield frame
        self._is_damaged |= has_failed

    def _packets(self) -> Iterator[Packet | None]:
        """Yields the stream's packets and None for damage; the last one is empty and brings out what the decoder holds back."""
        num_failed = 0
        while num_failed < MAX_FAILED_READS:
            try:
                for packet in self._container.demux(self._stream):
                    num_failed = 0
                    yield packet
                return
            except MemoryError:
                raise
            except (FFmpegError, IndexError):  # the latter for streams that appear on the way, as damage makes them
                num_failed += 1
                yield None

    def _container_sec(self, frame: VideoFrame) -> float | None:
        """Returns when a frame is shown as its container tells; None if it does not.

        AVI stores no times of presentation, and what FFmpeg makes up for them goes back and forth.
        """
        first, second = (frame.dts, frame.pts) if self._is_avi else (frame.pts, frame.dts)
        ticks = second if first is None else first
        return float(ticks * frame.time_base) if ticks is not None and frame.time_base else None

    def _check_length(self, time_sec: float) -> None:
        """Raises DecodeError TOO_LONG as soon as a video is, whatever its header says."""
        if time_sec > self._options.max_sec:
            raise DecodeError(FailureCode.TOO_LONG, f"the video is longer than {self._options.max_sec:g} s")
        if self._clock.num_frames > self._options.max_frames:
            raise DecodeError(FailureCode.TOO_LONG, f"the video has more than {self._options.max_frames:,} frames")

    def _misses_frames(self) -> bool:
        """Tells whether the file declares clearly more than was shown."""
        if self._clock.has_restarted:
            return False  # what is declared is the difference of two clocks
        declared_sec = self._declared_sec()
        # The last frame may be held for longer than the others: in GIF and screen recordings it often is.
        shown_sec = self._clock.last_sec + max(self._clock.mean_step_sec, self._last_frame_sec)
        return declared_sec - shown_sec > max(min(0.1 * declared_sec, 2.0), 0.5)

    def _declared_sec(self) -> float:
        """Returns how long the video is by its file; 0 if that does not tell.

        In MP4 and MOV the number of frames counts what an edit list hides, and the duration does not. In AVI, FFmpeg makes the
        duration fit what there is of the file, and leaves the number of frames as it was declared. ASF, FLV and Matroska have
        the time at which the longest stream ends, which with sound may be another one; Matroska may have a tag for each stream.
        """
        stream = self._stream
        if self._is_avi and stream.time_base:
            return float(stream.frames * stream.time_base)
        has_sound = bool(self._container.streams.audio)
        if stream.duration is not None and stream.time_base and not (self._container.format.name == "asf" and has_sound):
            return float(stream.duration * stream.time_base)
        if tag := _DURATION_TAG.fullmatch(stream.metadata.get("DURATION", "")):
            end_sec = int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
        elif not has_sound:
            end_sec = (self._container.duration or 0) / av.time_base
        else:
            return 0.0
        return end_sec - self._clock.first_sec


def check_pixels(width: int, height: int, options: DecodingOptions) -> None:
    """Raises DecodeError TOO_LARGE for a frame with too many pixels."""
    if width * height > options.max_pixels:
        raise DecodeError(FailureCode.TOO_LARGE, f"a frame of {width}×{height} has more than {options.max_pixels:,} pixels")
