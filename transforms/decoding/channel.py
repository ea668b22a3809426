"""What a decoding process and the one that started it say to each other: JSON over a socket, with open files beside it.

A message is four bytes of length and as much JSON: how many of the files are its own, and what it says. To the child go
`{"options": …}` with the open video, and `{"more": true}` whenever the next samples are wanted; from it come `{"ready": true}`,
`{"presented_sec": …}` about twice a second, `{"num_frames": …, "facts": …}` with the memory that holds the samples, and
`{"code": …, "message": …}` if nothing comes of the video. Knows no Beam.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import tempfile
from typing import Any

import numpy as np

from model.config import FRAME_SIZE

_LENGTH_BYTES = 4

_MAX_MESSAGE_BYTES = 1 << 20

_MAX_FILES = 4

_FRAME_BYTES = FRAME_SIZE * FRAME_SIZE * 3


class ChannelClosedError(Exception):
    """The other process is gone."""


class Channel:
    """One end of the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._received = b""
        self._files: list[int] = []

    def send(self, message: dict[str, Any], files: tuple[int, ...] = ()) -> None:
        """Sends a message, and file descriptors beside it; raises ChannelClosedError."""
        content = json.dumps([len(files), message]).encode()
        content = len(content).to_bytes(_LENGTH_BYTES, "big") + content
        try:
            sent = socket.send_fds(self.connection, [content], list(files))
            self.connection.sendall(content[sent:])
        except OSError as error:
            raise ChannelClosedError(str(error)) from error

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """Waits for a message, and returns it with the descriptors that came beside it, which the caller closes.

        Raises:
          ChannelClosedError: no more will come.
          TimeoutError: the connection has a timeout, and nothing came within it. A message that has begun is not lost.
        """
        while (taken := self._take()) is None:
            try:
                content, files, _, _ = socket.recv_fds(self.connection, 1 << 16, _MAX_FILES)
            except TimeoutError:
                raise
            except OSError as error:
                raise ChannelClosedError(str(error)) from error
            self._files += files
            if not content:
                raise ChannelClosedError("closed")
            self._received += content
        num_files, message = taken
        files, self._files = self._files[:num_files], self._files[num_files:]
        if len(files) != num_files:
            raise ChannelClosedError(f"{num_files} files were to come with a message, and {len(files)} did")
        return message, files

    def is_closed(self) -> bool:
        """Tells whether the other process has closed its end, as it does when it dies."""
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Closes the socket and the files that nobody has taken."""
        self.connection.close()
        for file in self._files:
            os.close(file)
        self._files = []

    def _take(self) -> tuple[int, dict[str, Any]] | None:
        """Returns the first message that is there whole, and how many of the files are its own."""
        if len(self._received) < _LENGTH_BYTES:
            return None
        length = int.from_bytes(self._received[:_LENGTH_BYTES], "big")
        if length > _MAX_MESSAGE_BYTES:
            raise ChannelClosedError(f"a message of {length} bytes is none")
        end = _LENGTH_BYTES + length
        if len(self._received) < end:
            return None
        content, self._received = self._received[_LENGTH_BYTES:end], self._received[end:]
        num_files, message = json.loads(content)
        return num_files, message


def make_memory(num_frames: int) -> tuple[int, np.ndarray, np.ndarray]:
    """Returns the descriptor of memory that can be handed over, and room for frames and their times in it; see `Samples`."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("repcount-frames")
    else:
        with tempfile.TemporaryFile(prefix="repcount-") as unnamed:
            file = os.dup(unnamed.fileno())
    os.ftruncate(file, num_frames * (_FRAME_BYTES + np.dtype(np.float64).itemsize))
    return file, *map_memory(file, num_frames)


def map_memory(file: int, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the frames and times in memory that was handed over, made for so many; it goes when the last array does."""
    memory = mmap.mmap(file, num_frames * (_FRAME_BYTES + np.dtype(np.float64).itemsize))
    # Times come first: a file that is larger than what was written to it takes no more memory than that.
    times_sec = np.frombuffer(memory, np.float64, num_frames)
    frames = np.frombuffer(memory, np.uint8, num_frames * _FRAME_BYTES, offset=times_sec.nbytes)
    return frames.reshape(num_frames, FRAME_SIZE, FRAME_SIZE, 3), times_sec
