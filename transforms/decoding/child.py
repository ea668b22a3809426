"""The decoder process: `python -m transforms.decoding.child SOCKET`. It receives open files and returns frames.

It has no credentials and no file names, and decodes any number of videos, one after the other. Whatever a file does to it, only
this process suffers; see `transforms.decoding.process`.
"""

from __future__ import annotations

import contextlib
import dataclasses
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

from transforms.decoding.channel import Channel, ChannelClosedError, make_memory
from transforms.decoding.options import DecodingOptions
from transforms.decoding.reader import Allocate, Progress, read_video
from transforms.decoding.samples import DecodeError, Samples
from transforms.failure_codes import FailureCode, describe_error

_PROGRESS_SEC = 0.5
"""Shortest time between two reports of progress."""

_SPARE_BYTES = 512 << 20
"""Memory that the system grants beyond the limit. The parent then sees the limit exceeded before allocations fail, which FFmpeg
reports as damage."""

_SPARE_CPU_SEC = 120
"""Processor time beyond what the wall clock allows. Only a process whose parent was killed reaches this limit."""

Reader = Callable[[BinaryIO, DecodingOptions, Allocate, Progress], Iterator[Samples]]
"""Reads an open file, as `read_video` does."""


class FrameBuffer:
    """Shared memory for the samples that are being decoded.

    Attributes:
      file: Descriptor of the memory allocated last; -1 if there is none.
    """

    def __init__(self) -> None:
        self.file = -1

    def allocate(self, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns new arrays for frames and times; the previous ones now belong to the parent."""
        self.close()
        self.file, frames, times_sec = make_memory(num_frames)
        return frames, times_sec

    def close(self) -> None:
        """Closes this process's descriptor."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


def serve(channel: Channel, read: Reader = read_video) -> None:
    """Decodes the videos that arrive on the channel until it is closed, which may be before the first one."""
    with contextlib.suppress(ChannelClosedError):
        channel.send({"ready": True})
        while True:
            request, files = channel.receive()
            if "options" in request:
                with open(files[0], "rb") as file:
                    _decode(channel, file, DecodingOptions(**request["options"]), read)


def _decode(channel: Channel, file: BinaryIO, options: DecodingOptions, read: Reader) -> None:
    _limit(options)
    buffer, reported_sec = FrameBuffer(), time.monotonic()

    def report(presented_sec: float) -> None:
        nonlocal reported_sec
        if time.monotonic() - reported_sec > _PROGRESS_SEC:
            reported_sec = time.monotonic()
            channel.send({"presented_sec": presented_sec})

    try:
        is_first = True
        for samples in read(file, options, buffer.allocate, report):
            if not is_first:
                channel.receive()  # the parent has taken the previous samples
            is_first = False
            facts = dataclasses.asdict(samples.facts) if samples.facts else None
            channel.send({"num_frames": len(samples.frames), "facts": facts}, (buffer.file,))
    except DecodeError as error:
        channel.send({"code": error.code.value, "message": error.message})
    except MemoryError as error:
        channel.send({"code": FailureCode.DECODE_OUT_OF_MEMORY.value, "message": describe_error(error)})
    except OSError as error:
        channel.send({"code": FailureCode.READ_ERROR.value, "message": f"{type(error).__name__}: {error.strerror}"})
    finally:
        buffer.close()


def _limit(options: DecodingOptions) -> None:
    """Sets the system's limits on this process for the next video; values too large for the system are ignored."""
    with contextlib.suppress(ValueError, OSError, OverflowError):  # not every system has every limit
        resource.setrlimit(resource.RLIMIT_DATA, (options.max_memory_bytes + _SPARE_BYTES, resource.RLIM_INFINITY))
    spent_sec = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    allowed_sec = (options.timeout_sec + options.max_sec) * options.decoder_threads * 20 + _SPARE_CPU_SEC
    with contextlib.suppress(ValueError, OSError, OverflowError):
        resource.setrlimit(resource.RLIMIT_CPU, (int(spent_sec + allowed_sec), resource.RLIM_INFINITY))


def _exit_with_parent(connection: socket.socket) -> None:
    """Ends this process as soon as the other end of its socket is closed, even in the middle of a video."""
    poll = select.poll()
    poll.register(connection, select.POLLHUP | getattr(select, "POLLRDHUP", 0))
    poll.poll()
    os._exit(1)


def main(read: Reader = read_video) -> None:
    """Serves the socket whose descriptor is the first command-line argument."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=_exit_with_parent, args=(connection,), daemon=True).start()
    serve(Channel(connection), read)


if __name__ == "__main__":
    main()
