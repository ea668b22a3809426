"""Reading: from an open video file to its frames, 112×112, with the time at which each is shown. Knows no Beam.

OpenCV's FFmpeg backend decodes. It gets a file by its descriptor, since in FFmpeg a name may mean a protocol or a numbered
sequence of pictures, and strangers name uploads. It reads only formats that hold their own pictures, so that a playlist dressed
up as a video cannot make it open another file or an address.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import math
import os
import statistics
from collections.abc import Callable, Iterator
from typing import BinaryIO

import cv2
import numpy as np

from model.config import FRAME_SIZE
from transforms.video_facts import FailureCode, VideoFacts

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

MAX_FAILED_GRABS = 1000
"""Packets in a row that do not decode before the rest of a video is given up. After the end every attempt fails at once."""

_REFERENCE_SIZE = 2 * FRAME_SIZE

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}

_USUAL_FPS = 30.0
"""Frames a second where neither the times nor the header tell."""

_MOV_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
"""What an MP4 or MOV can begin with, behind four bytes of length."""

_PLAUSIBLE_FPS = (1.0, 500.0)
"""Outside these, a frame rate in a header is a clock's resolution: WebM from browsers claims 1000 frames a second."""

_HEAD_BYTES = 64

_SCANNED_BYTES = 64 << 20
"""Bytes of an MP4 or MOV that are searched for its tracks, at each end."""


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

    A frame is resized to 224×224 (bilinear), as the network's authors do, then to 112×112 by the mean of each 2×2 block, which
    is what they do next, and rounded to whole numbers. The rotation that a file asks for is applied here, never by OpenCV.

    Args:
      file: open, at its beginning; a regular file, or a copy without a name.
      options: how to decode it.
      allocate: makes room for `options.chunk_frames` frames, in which they are yielded.
      progress: see `Progress`.

    Yields:
      Samples of `options.chunk_frames` frames; the last ones can be fewer and carry the facts.

    Raises:
      DecodeError: NOT_A_VIDEO, NO_VIDEO_STREAM, NO_FRAMES, TOO_LARGE or TOO_LONG.
      cv2.error: OpenCV raises it.
    """
    with _open_capture(file, options) as (capture, edited_bytes):
        reading = _Reading(capture, edited_bytes, options, progress)
        filled = 0
        frames, times_sec = allocate(options.chunk_frames)
        for time_sec, frame in reading.samples():
            if filled == options.chunk_frames:
                yield Samples(frames, times_sec)
                filled = 0
                frames, times_sec = allocate(options.chunk_frames)
            frames[filled], times_sec[filled] = frame, time_sec
            filled += 1
        if not filled:
            raise DecodeError(FailureCode.NO_FRAMES, "the file opens as a video, but no frame of it decodes")
        yield Samples(frames[:filled], times_sec[:filled], reading.facts())


class PresentationClock:
    """Makes of the times that a container tells times that start at 0 and only go up.

    Frames come in the order in which they are shown, so a time that does not go up is wrong: AVI has no such times, and with
    B-frames the last is missing; recordings that were joined begin anew. Such a frame is put one step after the one before: the
    header's or the usual one, whichever is shorter, since right times soon catch up with a short step, but not with a long one.

    Attributes:
      num_frames: frames seen.
      last_sec: time of the last one.
    """

    _REMEMBERED_STEPS = 31

    def __init__(self, nominal_fps: float) -> None:
        """Starts.

        Args:
          nominal_fps: frames a second to assume until times tell; not a plausible number: 30.
        """
        slowest, fastest = _PLAUSIBLE_FPS
        self._is_plausible = slowest <= nominal_fps <= fastest
        self._nominal_step_sec = 1 / (nominal_fps if self._is_plausible else _USUAL_FPS)
        self._recent_steps_sec: collections.deque[float] = collections.deque(maxlen=self._REMEMBERED_STEPS)
        self._origin_sec = 0.0
        self._shortest_step_sec = math.inf
        self._longest_step_sec = 0.0
        self.num_frames = 0
        self.last_sec = 0.0

    def present(self, container_sec: float) -> float:
        """Takes the next frame's time in the container and returns its time in seconds from the first frame."""
        self.num_frames += 1
        if self.num_frames == 1:
            self._origin_sec = container_sec
            return 0.0
        time_sec = container_sec - self._origin_sec
        step_sec = time_sec - self.last_sec
        if step_sec > 0:
            self._recent_steps_sec.append(step_sec)
        else:
            step_sec = self._guess_step_sec()
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


class Thinner:
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
    """One way through an open video: its samples, and after them the facts."""

    def __init__(self, capture: cv2.VideoCapture, edited_bytes: int, options: DecodingOptions, progress: Progress) -> None:
        self._capture = capture
        self._edited_bytes = edited_bytes
        self._options = options
        self._progress = progress
        self._clock = PresentationClock(capture.get(cv2.CAP_PROP_FPS))
        self._thinner = Thinner(options.max_fps)
        rotation_degrees = round(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
        self._rotation_degrees = rotation_degrees if rotation_degrees in _TURNS else 0
        self._width = 0
        self._height = 0
        self._skipped_packets = False

    def samples(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yields the time in seconds and (112, 112, 3) uint8 RGB of each frame that is kept; the others are never converted."""
        image: np.ndarray | None = None
        for container_sec in self._grabs():
            time_sec = self._clock.present(container_sec)
            self._check_length(time_sec)
            if self._thinner.keeps(time_sec):
                retrieved, image = self._capture.retrieve(image)
                if retrieved:
                    check_pixels(image.shape[1], image.shape[0], self._options)  # it may change on the way
                    self._height, self._width = image.shape[:2]
                    yield time_sec, self._shrink(image)

    def facts(self) -> VideoFacts:
        """Returns what the whole way through has shown."""
        on_its_side = self._rotation_degrees in (90, 270)
        return VideoFacts(
            width=self._height if on_its_side else self._width,
            height=self._width if on_its_side else self._height,
            codec=_codec_name(self._capture),
            rotation_degrees=self._rotation_degrees,
            fps=1 / self._clock.mean_step_sec,
            decoded_frames=self._clock.num_frames,
            duration_sec=self._shown_sec,
            truncated=self._skipped_packets or self._misses_frames(),
            variable_frame_rate=self._clock.is_variable,
        )

    @property
    def _shown_sec(self) -> float:
        return self._clock.last_sec + self._clock.mean_step_sec

    def _grabs(self) -> Iterator[float]:
        """Yields the container's time in seconds of each frame that decodes.

        OpenCV tells of the end and of a packet that does not decode in the same way, so it is asked again: a damaged video goes
        on after the damage, and the end stays the end.
        """
        failed = 0
        while failed < MAX_FAILED_GRABS:
            self._progress(self._clock.last_sec)
            if self._capture.grab():
                self._skipped_packets |= failed > 0
                failed = 0
                yield self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            else:
                failed += 1

    def _check_length(self, time_sec: float) -> None:
        """Raises DecodeError TOO_LONG as soon as a video is, whatever its header says."""
        if time_sec > self._options.max_sec:
            raise DecodeError(FailureCode.TOO_LONG, f"the video is longer than {self._options.max_sec:g} s")
        if self._clock.num_frames > self._options.max_frames:
            raise DecodeError(FailureCode.TOO_LONG, f"the video has more than {self._options.max_frames:,} frames")

    def _shrink(self, image: np.ndarray) -> np.ndarray:
        """From (height, width, 3) uint8 BGR to (112, 112, 3) uint8 RGB, upright."""
        reference = cv2.resize(image, (_REFERENCE_SIZE, _REFERENCE_SIZE), interpolation=cv2.INTER_LINEAR)
        frame = cv2.resize(reference, (FRAME_SIZE, FRAME_SIZE), interpolation=cv2.INTER_AREA)
        frame = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        return cv2.rotate(frame, _TURNS[self._rotation_degrees]) if self._rotation_degrees else frame

    def _misses_frames(self) -> bool:
        """Tells whether the file declares clearly more than was shown.

        Numbers of frames are compared by the time they take, since some containers only estimate them. In MP4 and MOV they also
        count what an edit list hides; the duration does not, and follows from the bit rate, which FFmpeg works out from it.
        """
        frame_count, fps = self._capture.get(cv2.CAP_PROP_FRAME_COUNT), self._capture.get(cv2.CAP_PROP_FPS)
        declared_sec = frame_count / fps if fps > 0 else 0.0
        bit_rate_hz = 1000 * self._capture.get(cv2.CAP_PROP_BITRATE)
        if self._edited_bytes and bit_rate_hz > 0:
            declared_sec = min(declared_sec, 8 * self._edited_bytes / bit_rate_hz)
        return declared_sec - self._shown_sec > max(0.1 * declared_sec, 0.5)


@contextlib.contextmanager
def _open_capture(file: BinaryIO, options: DecodingOptions) -> Iterator[tuple[cv2.VideoCapture, int]]:
    """Opens a file for decoding; gives the capture and, if it is an MP4 or MOV, so that it can be edited, its size in bytes."""
    _set_up_opencv()
    capture = cv2.VideoCapture(f"/dev/fd/{file.fileno()}", cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, options.decoder_threads])
    try:
        if not capture.isOpened():
            raise _explain(file)
        width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        check_pixels(round(width), round(height), options)
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)  # on or off by default, by version and build
        yield capture, os.fstat(file.fileno()).st_size if file.read(8)[4:] in _MOV_BOXES else 0
    finally:
        capture.release()


def check_pixels(width: int, height: int, options: DecodingOptions) -> None:
    """Raises DecodeError TOO_LARGE for a frame with too many pixels."""
    if width * height > options.max_pixels:
        raise DecodeError(FailureCode.TOO_LARGE, f"a frame of {width}×{height} has more than {options.max_pixels:,} pixels")


def _explain(file: BinaryIO) -> DecodeError:
    """Returns why a file does not open as a video."""
    if _is_sound(file):
        return DecodeError(FailureCode.NO_VIDEO_STREAM, "the file has sound, and no video in it")
    return DecodeError(FailureCode.NOT_A_VIDEO, "the file is in no video format that is read here, or has no video in it")


def _is_sound(file: BinaryIO) -> bool:
    """Tells whether a file that does not open as a video is one of sound, by its first bytes or its tracks.

    The signatures are those of FLAC, MP3 (with ID3), Ogg (with Vorbis or Opus), WAV; in MP4 and MOV, tracks say in their boxes
    `hdlr` whether they are `soun` or `vide` (ISO/IEC 14496-12).
    """
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    if head[:4] in (b"fLaC",) or head[:3] == b"ID3" or (head[:4] == b"RIFF" and head[8:12] == b"WAVE"):
        return True
    if head[:4] == b"OggS":
        return b"vorbis" in head or b"OpusHead" in head
    if head[4:8] not in _MOV_BOXES:
        return False
    ends = head + file.read(_SCANNED_BYTES)
    file.seek(max(file.tell(), file.seek(0, os.SEEK_END) - _SCANNED_BYTES))
    ends += file.read(_SCANNED_BYTES)
    return any(ends[place + 12 : place + 16] == b"soun" for place in _places(ends, b"hdlr")) and not any(
        ends[place + 12 : place + 16] == b"vide" for place in _places(ends, b"hdlr")
    )


def _places(content: bytes, name: bytes) -> Iterator[int]:
    place = content.find(name)
    while place >= 0:
        yield place
        place = content.find(name, place + 1)


def _set_up_opencv() -> None:
    """Sets what OpenCV reads from the environment whenever it opens a video, and what it is to print and to start.

    Its own and FFmpeg's messages about damaged files go nowhere unless the environment asks for them: what matters of them is
    in the failure's code. One thread resizes, since to so small a picture more add nothing and runners decode side by side.
    """
    capture_options = f"protocol_whitelist;file|format_whitelist;{','.join(FORMATS)}"
    if os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS") != capture_options:
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = capture_options
    _set_up_opencv_once()


@functools.cache
def _set_up_opencv_once() -> None:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    cv2.setNumThreads(1)


def _codec_name(capture: cv2.VideoCapture) -> str:
    """Returns the four-character code in lower case, "" where there is none."""
    code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    name = code.to_bytes(4, "little").decode("latin-1").strip().lower()
    return name if name.isascii() and name.isprintable() else ""
