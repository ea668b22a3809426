"""The decoder process: `python -m transforms.decoding.child SOCKET BYTES NVDEC`. It receives open files and returns frames.

SOCKET is the descriptor of its socket, and BYTES the most private memory it may use. NVDEC is "used" to decode on the GPU, else
the reason not to, a value of `NvdecUse`. Before the first video it enters the sandbox. It has no credentials and no file names,
and decodes any number of videos, one after the other. Whatever a file does to it, only this process suffers; see
`transforms.decoding.process`.
"""

from __future__ import annotations

import base64
import collections
import contextlib
import dataclasses
import io
import os
import resource
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

from transforms.decoding import sandbox
from transforms.decoding.channel import Channel, ChannelClosedError, map_memory
from transforms.decoding.container_reader import load_ffmpeg
from transforms.decoding.nvdec import Gpu, NvdecRefusedError, load_driver
from transforms.decoding.options import DecodingOptions
from transforms.decoding.reader import Allocate, Progress, allocate_arrays, read_header, read_video
from transforms.decoding.samples import DecodeError, Samples
from transforms.decoding.video_facts import NvdecUse, VideoHeader
from transforms.failure_codes import FailureCode, describe_error

_PROGRESS_SEC = 0.5
"""Shortest time between two reports of progress."""

_SPARE_CPU_SEC = 120
"""Processor time beyond what the wall clock allows. Only a process that outlives its parent reaches this limit, where
the system does not kill it with its parent."""

Reader = Callable[[BinaryIO, DecodingOptions, Allocate, Progress], Iterator[Samples]]
"""Reads an open file, as `read_video` does."""

HeaderReader = Callable[[BinaryIO], VideoHeader]
"""Reads the header of an open file, as `reader.read_header` does."""


_WARM_UP_VIDEO = base64.b64decode(
    "AAABsAEAAAG1iRMAAAEAAAABIADEjYgAVQEEBBRDAAABskxhdmM2Mi4yOC4xMDIAAAGzABAHAAABthDAowhtv422/QAAwkYQ238bbfsAAAGwAQAAAbWJ"
    "EwAAAQAAAAEgAMSNiABVAQQEFEMAAAGyTGF2YzYyLjI4LjEwMgAAAbMAEAcAAAG2EcDjLNv422/fAADDRlm38bbfvw=="
)
"""Two pictures of 32×32, MPEG-4. What FFmpeg and OpenCV open or load when they are first used, they cannot in the sandbox."""

_GPU_WARM_UP_VIDEO = base64.b64decode(
    "RkxWAQEAAAAJAAAAABIAALgAAAAAAAAAAgAKb25NZXRhRGF0YQgAAAAIAAhkdXJhdGlvbgA/sOVgQYk3TAAFd2lkdGgAQFAAAAAAAAAABmhlaWdodABAUAAA"
    "AAAAAAANdmlkZW9kYXRhcmF0ZQAAAAAAAAAAAAAJZnJhbWVyYXRlAEA+AAAAAAAAAAx2aWRlb2NvZGVjaWQAQBwAAAAAAAAAB2VuY29kZXICAA1MYXZmNjIu"
    "MTIuMTAyAAhmaWxlc2l6ZQBAeDAAAAAAAAAACQAAAMMJAAAqAAAAAAAAABcAAAAAAULACv/hABVnQsAK2hCaEAAAAwAQAAADA8jxImoBAAVozgOcgAAAADUJ"
    "AAAfAAAAAAAAABcBAAAAAAAAFmWIhDomKAAIC8nJyddddddddddddeAAAAAqCQAAJQAAIQAAAAAnAQAAAAAAABxBmiAyonFAAEBPE+J8T5/P5/P5/P5/P5/P"
    "5/P4AAAAMAkAAAUAACEAAAAAFwIAAAAAAAAQ"
)
"""Two pictures of 64×64, H.264. What the GPU's driver opens when it first decodes, it cannot in the sandbox."""


class FrameBuffers:
    """Shared memory for samples, as it comes from the parent.

    Attributes:
      files: Descriptors of memory that is not used yet, in the order in which to fill it.
    """

    def __init__(self, files: list[int]) -> None:
        self.files = collections.deque(files)
        self._arrays: tuple[np.ndarray, np.ndarray] | None = None

    def allocate(self, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns arrays for frames and times; the same ones again until they were handed over."""
        if self._arrays is None:
            file = self.files.popleft()
            self._arrays = map_memory(file, num_frames)
            os.close(file)
        return self._arrays

    def hand_over(self) -> None:
        """Leaves the arrays of the last call of `allocate` to the parent."""
        self._arrays = None

    def close(self) -> None:
        """Closes the memory that was not used."""
        while self.files:
            os.close(self.files.popleft())


def serve(channel: Channel, layers: list[str], read: Reader = read_video, read_header: HeaderReader = read_header) -> None:
    """Decodes the videos that arrive on the channel until it is closed, which may be before the first one.

    Args:
      channel: To the parent.
      layers: Names of the sandbox's layers, which the parent is told.
      read: Reads an open file.
      read_header: Reads the header of an open file.
    """
    with contextlib.suppress(ChannelClosedError):
        channel.send({"ready": True, "layers": layers})
        while True:
            request, files = channel.receive()
            if "options" in request:
                options = DecodingOptions(**request["options"])
                limit_processor_time(options)
                with open(files[0], "rb") as file:
                    if "header_only" in request:
                        _send_header(channel, file, read_header)
                    else:
                        _decode(channel, file, FrameBuffers(files[1:]), options, read)
            else:  # the parent wanted more of a video that has failed
                FrameBuffers(files).close()


def _send_header(channel: Channel, file: BinaryIO, read_header: HeaderReader) -> None:
    with errors_are_sent(channel):
        channel.send({"header": dataclasses.asdict(read_header(file))})


def reporter(channel: Channel) -> Progress:
    """Returns a function that reports progress to the parent, about twice a second."""
    reported_sec = time.monotonic()

    def report(presented_sec: float) -> None:
        nonlocal reported_sec
        if time.monotonic() - reported_sec > _PROGRESS_SEC:
            reported_sec = time.monotonic()
            channel.send({"presented_sec": presented_sec})

    return report


def _decode(channel: Channel, file: BinaryIO, buffers: FrameBuffers, options: DecodingOptions, read: Reader) -> None:
    report = reporter(channel)
    try:
        with errors_are_sent(channel):
            is_first = True
            for samples in read(file, options, buffers.allocate, report):
                if not is_first:
                    buffers.files.extend(channel.receive()[1])  # the parent has taken the previous samples
                is_first = False
                buffers.hand_over()
                facts = dataclasses.asdict(samples.facts) if samples.facts else None
                channel.send({"num_frames": len(samples.frames), "facts": facts})
    finally:
        buffers.close()


@contextlib.contextmanager
def errors_are_sent(channel: Channel) -> Iterator[None]:
    """Sends an error of the body to the parent as a failure code with a message."""
    try:
        yield
    except DecodeError as error:
        channel.send({"code": error.code.value, "message": error.message})
    except MemoryError as error:
        channel.send({"code": FailureCode.DECODE_OUT_OF_MEMORY.value, "message": describe_error(error)})
    except OSError as error:
        channel.send({"code": FailureCode.READ_ERROR.value, "message": f"{type(error).__name__}: {error.strerror}"})
    except ChannelClosedError:
        raise
    except Exception as error:  # nobody sees this process's traceback
        channel.send({"code": FailureCode.DECODER_CRASHED.value, "message": describe_error(error)})


def limit_processor_time(options: DecodingOptions) -> None:
    """Limits the processor time of this process for the next video; a value too large for the system is ignored."""
    spent_sec = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    allowed_sec = (options.timeout_sec + options.max_sec) * options.decoder_threads * 20 + _SPARE_CPU_SEC
    with contextlib.suppress(ValueError, OSError, OverflowError):
        resource.setrlimit(resource.RLIMIT_CPU, (int(spent_sec + allowed_sec), resource.RLIM_INFINITY))


def _warm_up(handle: Callable[[BinaryIO], object]) -> None:
    """Loads all of the libraries, then handles a video, and a file that is none."""
    load_ffmpeg()
    for content in (_WARM_UP_VIDEO, b"no video"):
        with contextlib.suppress(DecodeError):
            handle(io.BytesIO(content))


def _exit_with_parent(connection: socket.socket) -> None:
    """Ends this process as soon as the other end of its socket is closed, even in the middle of a video."""
    poll = select.poll()
    poll.register(connection, select.POLLHUP | getattr(select, "POLLRDHUP", 0))
    poll.poll()
    os._exit(1)


def serve_in_sandbox(
    handle: Callable[[BinaryIO], object],
    serve: Callable[[Channel, list[str]], None],
    gpu: sandbox.GpuAccess | None = None,
) -> None:
    """Enters the sandbox and serves the socket that the command line names.

    Args:
      handle: Does to an open file what `serve` will, so that whatever is loaded when first used is there.
      serve: Serves the channel to the parent; it is given the names of the sandbox's layers, too.
      gpu: How to use a GPU in the sandbox.
    """
    connection = socket.socket(fileno=int(sys.argv[1]))
    _warm_up(handle)
    layers = sandbox.enter(int(sys.argv[2]), gpu)
    threading.Thread(target=_exit_with_parent, args=(connection,), daemon=True).start()
    serve(Channel(connection), layers)


class GpuFinder:
    """Finds the GPU to decode on, from within the sandbox.

    Attributes:
      gpu: The GPU, or why there is none.
    """

    def __init__(self, use: NvdecUse) -> None:
        """Loads the driver's libraries, if `use` is `NvdecUse.USED`; else there is no GPU, for that reason."""
        self.gpu: Gpu | NvdecUse = use
        self._library_folders: list[str] = []
        if use is NvdecUse.USED:
            self.gpu = NvdecUse.NOT_STARTED
            with contextlib.suppress(OSError):
                self._library_folders = load_driver()
                self.gpu = NvdecUse.SANDBOX

    def access(self) -> sandbox.GpuAccess | None:
        """Returns how to use the GPU; None if that is not wanted, or there is no driver."""
        return sandbox.GpuAccess(self._library_folders, self._connect) if self.gpu is NvdecUse.SANDBOX else None

    def _connect(self) -> bool:
        self.gpu = NvdecUse.NOT_STARTED
        with contextlib.suppress(NvdecRefusedError):
            gpu = Gpu()
            video = io.BytesIO(_GPU_WARM_UP_VIDEO)
            (samples,) = read_video(video, DecodingOptions(chunk_frames=2, decoder="auto"), gpu=gpu)
            if samples.facts and samples.facts.nvdec is NvdecUse.USED:
                self.gpu = gpu
        return not isinstance(self.gpu, NvdecUse)


def main(read: Reader | None = None, read_header: HeaderReader = read_header) -> None:
    """Serves the socket that the command line names; `read` is `read_video` unless tests pass another."""
    finder = GpuFinder(NvdecUse(sys.argv[3]) if read is None else NvdecUse.UNUSED)

    def read_one(file: BinaryIO, options: DecodingOptions, allocate: Allocate, progress: Progress) -> Iterator[Samples]:
        return read(file, options, allocate, progress) if read else read_video(file, options, allocate, progress, finder.gpu)

    def read_all(file: BinaryIO) -> None:
        list(read_one(file, DecodingOptions(chunk_frames=2), allocate_arrays, lambda presented_sec: None))

    serve_in_sandbox(read_all, lambda channel, layers: serve(channel, layers, read_one, read_header), finder.access())


if __name__ == "__main__":
    main()
