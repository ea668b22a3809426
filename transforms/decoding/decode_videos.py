"""Decoding: from a video, wherever it lies, to chunks of its frames, or the failure that comes of it.

A file is read by a process of its own (`transforms.decoding.process`), which does what `transforms.decoding.reader` says.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import queue
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import BinaryIO, TypeVar

import apache_beam as beam
import cv2
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics
from av.error import FFmpegError

from model.storage import SCHEME, open_bucket
from transforms.decoding.process import DecoderProcess
from transforms.decoding.reader import DecodeError, DecodingOptions, Samples, read_video
from transforms.failure_codes import FailureCode, Stage
from transforms.objects import find_object, is_local
from transforms.records import METRICS_NAMESPACE, Failure, FrameChunk, VideoRef, describe_error

COPY_BUFFER_BYTES = 8 << 20
"""Bytes of a remote video that are in memory while it is copied to local disk."""

VIDEOS_TOGETHER = 4
"""Videos that are handed to a worker's thread together where the next one is decoded while the model works on one."""

_DELETED = "the video was deleted after it was listed"

_REPLACED = "the video was replaced after it was listed; the next run counts the new one"

_LOGGER = logging.getLogger(__name__)

_T = TypeVar("_T")


Reader = Callable[[BinaryIO, DecodingOptions], Iterator[Samples]]
"""Reads an open file: `video_reader.read_video` here, or `DecoderProcess.read` in a process of its own."""


def decode_video(path: str, video: VideoRef, options: DecodingOptions, read: Reader = read_video) -> Iterator[FrameChunk]:
    """Decodes a local file.

    Args:
      path: the file.
      video: what it is, for the chunks. If the path is its own, the file must be and stay the one that was listed.
      options: how to decode it.
      read: what reads it.

    Yields:
      Chunks of `options.chunk_frames` frames; the last one can be shorter and carries the facts.

    Raises:
      DecodeError: with any code of the stage.
    """
    listed_ns = video.generation if path == video.uri else None
    with _open_file(path, options) as file:
        _check_unchanged(file, listed_ns)
        for index, samples in enumerate(read(file, options)):
            if samples.facts is not None:
                _check_unchanged(file, listed_ns)
            yield FrameChunk(video, index, samples.frames, samples.times_sec, samples.facts)


def decode_or_fail(
    video: VideoRef, options: DecodingOptions, read: Reader = read_video
) -> Generator[FrameChunk | Failure, None, None]:
    """Yields the chunks of a video, wherever it lies, and a failure if it comes to that; raises nothing.

    Args:
      video: which.
      options: how to decode it.
      read: what reads a local file.
    """
    try:
        with local_file(video, options.max_bytes) as path:
            yield from decode_video(path, video, options, read)
    except DecodeError as error:
        yield Failure(video, Stage.DECODE, error.code, error.message)
    except Exception as error:  # one bad video must not fail the others
        message = describe_error(error)
        _LOGGER.info("Decoding %r failed: %s", video.uri, message)
        _LOGGER.debug("It failed here:", exc_info=True)
        yield Failure(video, Stage.DECODE, FailureCode.READ_ERROR, message)


class _InProcess:
    """Stands for `DecoderProcess` where a reader of this process is wanted."""

    def __init__(self, read: Reader) -> None:
        self.read = read

    def close(self) -> None:
        """Has nothing to close."""


@dataclasses.dataclass(eq=False)
class DecodeVideos(beam.PTransform):
    """Decodes each `VideoRef` of a PCollection into `FrameChunk`s, in order, and a `Failure` if that does not work out.

    A failure can follow chunks of the same video. Chunks are made as they are asked for, one ahead, so that a worker holds a
    few of them whatever a video's length. Metrics in the namespace "repcount": counters `frames_decoded` and `frames_sampled`,
    and the distribution `decode_msec`, wall time in which the steps that follow waited for a video's chunks.

    Attributes:
      options: how videos become frames. They decide the numbers and belong to the identity of a row.
      ahead: decode the next video while the steps that follow are busy with one. For runners that do one thing at a time;
        elsewhere, others are decoded by other threads.
      read: what reads a file, in this process; None has a process of its own do it.
      clock: tells seconds.
    """

    options: DecodingOptions = dataclasses.field(default_factory=DecodingOptions)
    ahead: bool = False
    read: Reader | None = None
    clock: Callable[[], float] = time.monotonic

    def expand(self, videos: beam.PCollection) -> beam.PCollection:
        """Decodes in one step, which runners fuse with the one that takes the frames."""
        together = VIDEOS_TOGETHER if self.ahead else 1
        decode_fn = _DecodeFn(self.options, self.read, self.clock)
        return (
            videos
            | "Take some" >> beam.BatchElements(min_batch_size=together, max_batch_size=together)
            | "Decode" >> beam.ParDo(decode_fn).with_output_types(FrameChunk | Failure)
        )


@contextlib.contextmanager
def local_file(video: VideoRef, max_bytes: int = DecodingOptions.max_bytes) -> Iterator[str]:
    """Gives a path under which a video can be read: its own, or that of a copy that is gone afterwards.

    The copy has no name in the file system, so that it goes with the process, too, however that ends.

    Raises:
      DecodeError: GONE if the video is no longer there as it was when it was listed; READ_ERROR; TOO_LARGE.
    """
    if video.size_bytes > max_bytes:
        raise _too_large(video.size_bytes, max_bytes)
    with contextlib.ExitStack() as stack:
        with _as_decode_errors(Exception):  # those of a remote store are of any kind
            _check_listed(video)
            if is_local(video.uri):
                path = video.uri
            else:
                copy = stack.enter_context(tempfile.TemporaryFile(prefix="repcount-"))
                _copy(video, copy, max_bytes)
                _check_listed(video)  # what was copied may be what had just taken its place
                path = f"/dev/fd/{copy.fileno()}"
        yield path


@dataclasses.dataclass(frozen=True)
class _End:
    """Comes after the last item, with the error that ended them, if one did."""

    error: BaseException | None


class _DecodeFn(beam.DoFn):
    """Decodes videos and turns what goes wrong into failures."""

    def __init__(self, options: DecodingOptions, read: Reader | None, clock: Callable[[], float]) -> None:
        self._options = options
        self._read = read
        self._clock = clock
        self._decoders: list[DecoderProcess | _InProcess] = []  # made in setup()
        self._frames_decoded = Metrics.counter(METRICS_NAMESPACE, "frames_decoded")
        self._frames_sampled = Metrics.counter(METRICS_NAMESPACE, "frames_sampled")
        self._decode_msec = Metrics.distribution(METRICS_NAMESPACE, "decode_msec")

    def setup(self) -> None:
        """Makes what decodes; processes start with their first video."""
        self._decoders = [_InProcess(self._read) if self._read else DecoderProcess() for _ in range(2)]

    def teardown(self) -> None:
        """Ends the processes."""
        for decoder in self._decoders:
            decoder.close()

    def process(self, videos: Sequence[VideoRef]) -> Iterator[FrameChunk | Failure]:
        """Yields the chunks of each video, and a failure if it comes to that; the next one is decoded meanwhile."""
        readings = [
            decode_or_fail(video, self._options, self._decoders[number % 2].read) for number, video in enumerate(videos)
        ]
        with contextlib.ExitStack() as stack:
            started: list[Iterator[FrameChunk | Failure]] = list(readings[:1])
            if len(readings) > 1:
                started = [stack.enter_context(_started(readings[0]))]
            for number in range(len(readings)):
                # With one decoder busy and one free, the next video can begin.
                if 0 < number + 1 < len(readings):
                    started.append(stack.enter_context(_started(readings[number + 1])))
                yield from self._counted(started[number])

    def _counted(self, items: Iterator[FrameChunk | Failure]) -> Iterator[FrameChunk | Failure]:
        """Yields what comes and keeps the books on it."""
        spent_sec, started_sec = 0.0, self._clock()
        for item in items:
            if isinstance(item, FrameChunk):
                self._frames_sampled.inc(len(item.frames))
                self._frames_decoded.inc(item.facts.decoded_frames if item.facts else 0)
            spent_sec += self._clock() - started_sec
            yield item
            started_sec = self._clock()  # what was done with the chunk meanwhile is not decoding
        self._decode_msec.update(round(1000 * (spent_sec + self._clock() - started_sec)))


@contextlib.contextmanager
def _started(items: Generator[_T, None, None]) -> Iterator[Iterator[_T]]:
    """Gives an iterator over the same items, the next of which a thread fetches ahead; the thread ends with the block."""
    fetched: queue.Queue[_T | _End] = queue.Queue(maxsize=1)
    is_over = threading.Event()

    def put(item: _T | _End) -> bool:
        while not is_over.is_set():
            with contextlib.suppress(queue.Full):
                fetched.put(item, timeout=0.1)
                return True
        return False

    def fetch() -> None:
        end = _End(None)
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as error:  # whoever takes the items is to have it
            end = _End(error)
        put(end)

    def take() -> Iterator[_T]:
        while not isinstance(item := fetched.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        is_over.set()
        thread.join()
        items.close()


@contextlib.contextmanager
def _open_file(path: str, options: DecodingOptions) -> Iterator[BinaryIO]:
    """Opens a file that has something in it, and not too much; what goes wrong while it is open is its READ_ERROR."""
    with _as_decode_errors(OSError, FFmpegError, cv2.error), open(path, "rb", opener=_open_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise DecodeError(FailureCode.READ_ERROR, "this is not a file")
        if status.st_size == 0:
            raise DecodeError(FailureCode.EMPTY_FILE, "the file is empty")
        if status.st_size > options.max_bytes:
            raise _too_large(status.st_size, options.max_bytes)
        yield file


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


def _open_without_waiting(path: str, flags: int) -> int:
    """Opens, but does not wait for somebody to write if it is a pipe; raises DecodeError GONE if nothing is there."""
    try:
        return os.open(path, flags | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise DecodeError(FailureCode.GONE, _DELETED) from error


def _too_large(size_bytes: int, max_bytes: int) -> DecodeError:
    return DecodeError(FailureCode.TOO_LARGE, f"the file has {size_bytes:,} bytes, more than {max_bytes:,}")


def _copy(video: VideoRef, copy: BinaryIO, max_bytes: int) -> None:
    """Copies a remote object and leaves the copy at its beginning; raises DecodeError TOO_LARGE or GONE.

    Objects on Cloud Storage come by its own client: see `benchmarks.reading`.
    """
    if video.uri.startswith(SCHEME):
        _download(video, copy)
    else:
        # Uncompressed: Beam would unpack what ends in .gz, however small the archive and however large what is in it.
        with FileSystems.open(video.uri, compression_type=CompressionTypes.UNCOMPRESSED) as source:
            while block := source.read(COPY_BUFFER_BYTES):
                if copy.tell() + len(block) > max_bytes:
                    raise _too_large(copy.tell() + len(block), max_bytes)
                copy.write(block)
    copy.seek(0)


def _download(video: VideoRef, copy: BinaryIO) -> None:
    """Copies the very version of an object that was listed, which has the size that was listed; raises DecodeError GONE."""
    from google.api_core.exceptions import NotFound

    bucket_name, _, name = video.uri.removeprefix(SCHEME).partition("/")
    try:
        open_bucket(bucket_name).blob(name, generation=video.generation).download_to_file(copy)
    except NotFound as error:
        raise DecodeError(FailureCode.GONE, _REPLACED) from error
