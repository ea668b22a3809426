"""The process that decodes: `python -m transforms.decoding.child SOCKET`. It is handed open files and hands back frames.

It has no credentials and no names, and stays for as many videos as it is asked to decode. Whatever a file makes of it, only
this process suffers: see `transforms.decoding.process`.
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

import cv2
import numpy as np
from av.error import FFmpegError

from transforms.decoding.channel import Channel, ChannelClosedError, make_memory
from transforms.decoding.reader import Allocate, DecodeError, DecodingOptions, Progress, Samples, read_video
from transforms.failure_codes import FailureCode

_PROGRESS_SEC = 0.5
"""From one word of progress to the next."""

_SPARE_BYTES = 512 << 20
"""Beyond its limit, so that the parent sees that it was passed before allocations fail, which FFmpeg takes for damage."""

_CPU_SPARE_SEC = 120
"""Processor time beyond what the wall clock allows. Only a process whose parent was killed ever comes to it."""

Reader = Callable[[BinaryIO, DecodingOptions, Allocate, Progress], Iterator[Samples]]


class _Room:
    """Makes room for samples in memory of its own, and knows the last one made."""

    def __init__(self) -> None:
        self.file = -1

    def allocate(self, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
        """Makes the next room; the one before has been handed over."""
        self.close()
        self.file, frames, times_sec = make_memory(num_frames)
        return frames, times_sec

    def close(self) -> None:
        """Closes this end's descriptor."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


def serve(channel: Channel, read: Reader = read_video) -> None:
    """Says that it is ready, and decodes what the channel asks for until it is closed, which it may be from the first."""
    with contextlib.suppress(ChannelClosedError):
        channel.send({"ready": True})
        while True:
            request, files = channel.receive()
            if "options" in request:
                with open(files[0], "rb") as file:
                    _decode(channel, file, DecodingOptions(**request["options"]), read)


def _decode(channel: Channel, file: BinaryIO, options: DecodingOptions, read: Reader) -> None:
    _limit(options)
    room, told_sec = _Room(), time.monotonic()

    def tell(presented_sec: float) -> None:
        nonlocal told_sec
        if time.monotonic() - told_sec > _PROGRESS_SEC:
            told_sec = time.monotonic()
            channel.send({"presented_sec": presented_sec})

    try:
        is_first = True
        for samples in read(file, options, room.allocate, tell):
            if not is_first:
                channel.receive()  # the one before was taken
            is_first = False
            facts = dataclasses.asdict(samples.facts) if samples.facts else None
            channel.send({"num_frames": len(samples.frames), "facts": facts}, (room.file,))
    except DecodeError as error:
        channel.send({"code": error.code.value, "message": error.message})
    except (MemoryError, FFmpegError, cv2.error) as error:
        is_memory = isinstance(error, MemoryError) or getattr(error, "code", None) == cv2.Error.StsNoMem
        code = FailureCode.DECODE_OUT_OF_MEMORY if is_memory else FailureCode.READ_ERROR
        channel.send({"code": code.value, "message": " ".join(f"{type(error).__name__}: {error}".split())[:300]})
    except OSError as error:
        channel.send({"code": FailureCode.READ_ERROR.value, "message": f"{type(error).__name__}: {error.strerror}"})
    finally:
        room.close()


def _limit(options: DecodingOptions) -> None:
    """Sets what the system lets this process take for the next video; what is more than it can count is no limit."""
    with contextlib.suppress(ValueError, OSError, OverflowError):  # not every system has them all
        resource.setrlimit(resource.RLIMIT_DATA, (options.max_memory_bytes + _SPARE_BYTES, resource.RLIM_INFINITY))
    spent_sec = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    allowed_sec = (options.timeout_sec + options.max_sec) * options.decoder_threads * 20 + _CPU_SPARE_SEC
    with contextlib.suppress(ValueError, OSError, OverflowError):
        resource.setrlimit(resource.RLIMIT_CPU, (int(spent_sec + allowed_sec), resource.RLIM_INFINITY))


def _leave_with_parent(connection: socket.socket) -> None:
    """Ends this process when the other end of its socket is closed, be it in the middle of a video."""
    poll = select.poll()
    poll.register(connection, select.POLLHUP | getattr(select, "POLLRDHUP", 0))
    poll.poll()
    os._exit(1)


def main(read: Reader = read_video) -> None:
    """Serves the socket that the parent has handed over."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=_leave_with_parent, args=(connection,), daemon=True).start()
    serve(Channel(connection), read)


if __name__ == "__main__":
    main()
