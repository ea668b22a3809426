"""Decoding: from a video to its frames, 112×112 and in bounded chunks, with the time at which each is shown.

OpenCV's FFmpeg backend decodes. It gets a file by its descriptor, since in FFmpeg a name may mean a protocol or a numbered
sequence of pictures, and strangers name uploads. It reads only formats that hold their own pictures, so that a playlist dressed
up as a video cannot make it open another file or an address.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import logging
import math
import os
import shutil
import stat
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

import apache_beam as beam
import cv2
import numpy as np
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics

from model.config import FRAME_SIZE
from transforms.listing import find_object, is_local
from transforms.records import METRICS_NAMESPACE, Failure, FailureCode, FrameChunk, Stage, VideoFacts, VideoRef, describe_error

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

COPY_BUFFER_BYTES = 8 << 20
"""Bytes of a remote video that are in memory while it is copied to local disk."""

_REFERENCE_SIZE = 2 * FRAME_SIZE

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}

_USUAL_FPS = 30.0
"""Frames a second where neither the times nor the header tell."""

_MOV_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
"""What an MP4 or MOV can begin with, behind four bytes of length."""

_PLAUSIBLE_FPS = (1.0, 500.0)
"""Outside these, a frame rate in a header is a clock's resolution: WebM from browsers claims 1000 frames a second."""

_DELETED = "the video was deleted after it was listed"

_REPLACED = "the video was replaced after it was listed; the next run counts the new one"

_LOGGER = logging.getLogger(__name__)


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
    """

    max_fps: float = 30.0
    chunk_frames: int = 768
    decoder_threads: int = 2

    def __post_init__(self) -> None:
        """Raises ValueError if a value cannot be meant."""
        if not (self.max_fps > 0 and math.isfinite(self.max_fps)):
            raise ValueError(f"max_fps must be a positive number of frames a second. Received: {self.max_fps}")
        for name in ("chunk_frames", "decoder_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1. Received: {getattr(self, name)}")


Decoder = Callable[[str, VideoRef, DecodingOptions], Iterator[FrameChunk]]
"""Decodes the file at a local path; see `decode_video`."""


def decode_video(path: str, video: VideoRef, options: DecodingOptions) -> Iterator[FrameChunk]:
    """Decodes a local file.

    A frame is resized to 224×224 (bilinear), as the network's authors do, then to 112×112 by the mean of each 2×2 block, which
    is what they do next, and rounded to whole numbers. The rotation that a file asks for is applied here, never by OpenCV.

    Args:
      path: the file.
      video: what it is, for the chunks. If the path is its own, the file must be and stay the one that was listed.
      options: how to decode it.

    Yields:
      Chunks of `options.chunk_frames` frames; the last one can be shorter and carries the facts.

    Raises:
      DecodeError: EMPTY_FILE, NOT_A_VIDEO, NO_FRAMES, READ_ERROR or GONE.
    """
    listed_ns = video.generation if path == video.uri else None
    with _open_file(path) as file, _open_capture(file, options) as (capture, edited_bytes):
        _check_unchanged(file, listed_ns)
        reading = _Reading(capture, edited_bytes, options.max_fps)
        index, filled = 0, 0
        frames, times_sec = _empty_chunk(options)
        for time_sec, frame in reading.samples():
            if filled == options.chunk_frames:
                yield FrameChunk(video, index, frames, times_sec)
                index, filled = index + 1, 0
                frames, times_sec = _empty_chunk(options)
            frames[filled], times_sec[filled] = frame, time_sec
            filled += 1
        _check_unchanged(file, listed_ns)
        if not filled:
            raise DecodeError(FailureCode.NO_FRAMES, "the file opens as a video, but no frame of it decodes")
        yield FrameChunk(video, index, frames[:filled].copy(), times_sec[:filled].copy(), reading.facts())


def decode_or_fail(video: VideoRef, options: DecodingOptions, decode: Decoder = decode_video) -> Iterator[FrameChunk | Failure]:
    """Yields the chunks of a video, wherever it lies, and a failure if it comes to that; raises nothing.

    Args:
      video: which.
      options: how to decode it.
      decode: what decodes a local file.
    """
    try:
        with local_file(video) as path:
            yield from decode(path, video, options)
    except DecodeError as error:
        yield Failure(video, Stage.DECODE, error.code, error.message)
    except Exception as error:  # one bad video must not fail the others
        message = describe_error(error)
        _LOGGER.info("Decoding %r failed: %s", video.uri, message)
        _LOGGER.debug("It failed here:", exc_info=True)
        yield Failure(video, Stage.DECODE, FailureCode.READ_ERROR, message)


@dataclasses.dataclass(eq=False)
class DecodeVideos(beam.PTransform):
    """Decodes each `VideoRef` of a PCollection into `FrameChunk`s, in order, and a `Failure` if that does not work out.

    A failure can follow chunks of the same video. Chunks are made as they are asked for, so that a worker holds one or two of
    them whatever a video's length. Metrics in the namespace "repcount": counters `frames_decoded` and `frames_sampled`, and the
    distribution `decode_msec`, wall time of reading and decoding a video.

    Attributes:
      options: how videos become frames. They decide the numbers and belong to the identity of a row.
      decode: what decodes a local file.
      clock: tells seconds.
    """

    options: DecodingOptions = DecodingOptions()
    decode: Decoder = decode_video
    clock: Callable[[], float] = time.monotonic

    def expand(self, videos: beam.PCollection) -> beam.PCollection:
        """Decodes in one step, which runners fuse with the one that takes the frames."""
        decode_fn = _DecodeFn(self.options, self.decode, self.clock)
        return videos | "Decode" >> beam.ParDo(decode_fn).with_output_types(FrameChunk | Failure)


@contextlib.contextmanager
def local_file(video: VideoRef) -> Iterator[str]:
    """Gives a path under which a video can be read: its own, or that of a copy that is gone afterwards.

    The copy has no name in the file system, so that it goes with the process, too, however that ends.

    Raises:
      DecodeError: GONE if the video is no longer there as it was when it was listed; READ_ERROR if it cannot be read.
    """
    with contextlib.ExitStack() as stack:
        with _as_decode_errors(Exception):  # those of a remote store are of any kind
            _check_listed(video)
            if is_local(video.uri):
                path = video.uri
            else:
                copy = stack.enter_context(tempfile.TemporaryFile(prefix="repcount-"))
                _copy(video.uri, copy)
                _check_listed(video)  # what was copied may be what had just taken its place
                path = f"/dev/fd/{copy.fileno()}"
        yield path


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


class _DecodeFn(beam.DoFn):
    """Decodes videos and turns what goes wrong into failures."""

    def __init__(self, options: DecodingOptions, decode: Decoder, clock: Callable[[], float]) -> None:
        self._options = options
        self._decode = decode
        self._clock = clock
        self._frames_decoded = Metrics.counter(METRICS_NAMESPACE, "frames_decoded")
        self._frames_sampled = Metrics.counter(METRICS_NAMESPACE, "frames_sampled")
        self._decode_msec = Metrics.distribution(METRICS_NAMESPACE, "decode_msec")

    def process(self, video: VideoRef) -> Iterator[FrameChunk | Failure]:
        """Yields a video's chunks, and a failure if it comes to that."""
        spent_sec, started_sec = 0.0, self._clock()
        for item in decode_or_fail(video, self._options, self._decode):
            if isinstance(item, FrameChunk):
                self._frames_sampled.inc(len(item.frames))
                self._frames_decoded.inc(item.facts.decoded_frames if item.facts else 0)
            spent_sec += self._clock() - started_sec
            yield item
            started_sec = self._clock()  # what was done with the chunk meanwhile is not decoding
        self._decode_msec.update(round(1000 * (spent_sec + self._clock() - started_sec)))


class _Reading:
    """One way through an open video: its samples, and after them the facts."""

    def __init__(self, capture: cv2.VideoCapture, edited_bytes: int, max_fps: float) -> None:
        self._capture = capture
        self._edited_bytes = edited_bytes
        self._clock = PresentationClock(capture.get(cv2.CAP_PROP_FPS))
        self._thinner = Thinner(max_fps)
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
            if self._thinner.keeps(time_sec):
                retrieved, image = self._capture.retrieve(image)
                if retrieved:
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
            if self._capture.grab():
                self._skipped_packets |= failed > 0
                failed = 0
                yield self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            else:
                failed += 1

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
def _open_file(path: str) -> Iterator[BinaryIO]:
    """Opens a file that has something in it; what goes wrong while it is open is its READ_ERROR."""
    with _as_decode_errors(OSError, cv2.error), open(path, "rb", opener=_open_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise DecodeError(FailureCode.READ_ERROR, "this is not a file")
        if status.st_size == 0:
            raise DecodeError(FailureCode.EMPTY_FILE, "the file is empty")
        yield file


@contextlib.contextmanager
def _open_capture(file: BinaryIO, options: DecodingOptions) -> Iterator[tuple[cv2.VideoCapture, int]]:
    """Opens a file for decoding; gives the capture and, if it is an MP4 or MOV, so that it can be edited, its size in bytes."""
    _set_up_opencv()
    capture = cv2.VideoCapture(f"/dev/fd/{file.fileno()}", cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, options.decoder_threads])
    try:
        if not capture.isOpened():
            raise DecodeError(
                FailureCode.NOT_A_VIDEO, "the file is in no video format that is read here, or has no video in it"
            )
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)  # on or off by default, by version and build
        yield capture, os.fstat(file.fileno()).st_size if file.read(8)[4:] in _MOV_BOXES else 0
    finally:
        capture.release()


def _check_listed(video: VideoRef) -> None:
    """Raises DecodeError GONE if a video is no longer there as it was when it was listed."""
    found = find_object(video.uri)
    if found is None:
        raise DecodeError(FailureCode.GONE, _DELETED)
    if found.generation != video.generation:
        raise DecodeError(FailureCode.GONE, _REPLACED)


def _check_unchanged(file: BinaryIO, listed_ns: int | None) -> None:
    """Raises DecodeError GONE if an open file is another than was listed, or has been written to since.

    Args:
      file: the open file. One that was deleted or that another one took the place of by renaming still reads as it was.
      listed_ns: its time of modification as listed, in nanoseconds; None for a copy, which nobody changes.
    """
    if listed_ns is not None and os.fstat(file.fileno()).st_mtime_ns != listed_ns:
        raise DecodeError(FailureCode.GONE, _REPLACED)


@contextlib.contextmanager
def _as_decode_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turns errors of some kinds into those of the video that is being read."""
    try:
        yield
    except DecodeError:
        raise
    except kinds as error:
        raise DecodeError(FailureCode.READ_ERROR, describe_error(error)) from error


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


def _open_without_waiting(path: str, flags: int) -> int:
    """Opens, but does not wait for somebody to write if it is a pipe; raises DecodeError GONE if nothing is there."""
    try:
        return os.open(path, flags | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise DecodeError(FailureCode.GONE, _DELETED) from error


def _copy(uri: str, copy: BinaryIO) -> None:
    """Copies a remote object and leaves the copy at its beginning."""
    # Uncompressed: Beam would unpack what ends in .gz, however small the archive and however large what is in it.
    with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as source:
        shutil.copyfileobj(source, copy, COPY_BUFFER_BYTES)
    copy.seek(0)


def _empty_chunk(options: DecodingOptions) -> tuple[np.ndarray, np.ndarray]:
    return np.empty((options.chunk_frames, FRAME_SIZE, FRAME_SIZE, 3), np.uint8), np.empty(options.chunk_frames)


def _codec_name(capture: cv2.VideoCapture) -> str:
    """Returns the four-character code in lower case, "" where there is none."""
    code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    name = code.to_bytes(4, "little").decode("latin-1").strip().lower()
    return name if name.isascii() and name.isprintable() else ""
