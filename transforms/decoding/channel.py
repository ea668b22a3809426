"""Messages between the decoder process and its parent: JSON over a Unix socket. Imports no Beam.

A message is a 4-byte length followed by that much JSON, `[number of attached files, content]`. Only the parent attaches files.
It sends `{"options": …}` with the open video and the memory for two chunks, and `{"more": true}` with the memory for another
chunk each time it wants the next samples. For the header alone it sends `{"options": …, "header_only": true}` with the open
video and no memory. The child sends:

- `{"ready": true, "layers": […]}` once, after it has started;
- `{"presented_sec": …}` about twice a second, as progress;
- `{"num_frames": …, "facts": …}` when it has filled the memory that it got first;
- `{"header": …}` if it was asked for the header alone;
- `{"code": …, "message": …}` if the video fails.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import socket
import tempfile
import time
from typing import Any

import numpy as np

from model.config import FRAME_SIZE

_LENGTH_BYTES = 4

_MAX_MESSAGE_BYTES = 1 << 20

_MAX_FILES = 4

_FRAME_BYTES = FRAME_SIZE * FRAME_SIZE * 3


class ChannelClosedError(Exception):
    """The other process has ended."""


class InvalidMessageError(Exception):
    """The other process sent something that is no message of this protocol."""


class Channel:
    """One end of the socket."""

    def __init__(self, connection: socket.socket, takes_files: bool = True) -> None:
        """Wraps a connected socket.

        Args:
          connection: Unix socket.
          takes_files: Whether the other process may attach files. If not, the system discards those that it attaches.
        """
        self.connection = connection
        self._takes_files = takes_files
        self._received = b""
        self._files: list[int] = []

    def send(self, message: dict[str, Any], files: tuple[int, ...] = (), timeout_sec: float | None = None) -> None:
        """Sends a message with file descriptors attached.

        Raises:
          ChannelClosedError: The other process has ended, or took nothing for `timeout_sec`.
        """
        content = json.dumps([len(files), message]).encode()
        content = len(content).to_bytes(_LENGTH_BYTES, "big") + content
        if timeout_sec is not None:  # the child's sandbox lets it change no timeout
            self.connection.settimeout(timeout_sec)
        try:
            sent = socket.send_fds(self.connection, [content], list(files))
            self.connection.sendall(content[sent:])
        except OSError as error:
            raise ChannelClosedError(str(error)) from error
        finally:
            if timeout_sec is not None:
                self.connection.settimeout(None)

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """Waits for a message, and returns it with the attached file descriptors, which the caller must close.

        Raises:
          ChannelClosedError: The other process has ended.
          InvalidMessageError: It sent something else, or did not attach the files that it announced.
          TimeoutError: The connection has a timeout, and no whole message arrived in time. A partial one is kept for the next
            call.
        """
        timeout_sec, started_sec = self.connection.gettimeout(), time.monotonic()
        while (taken := self._take()) is None:
            if timeout_sec is not None and time.monotonic() - started_sec > timeout_sec:
                raise TimeoutError("only a part of a message arrived in time")
            try:
                content, files = self._receive()
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
            raise InvalidMessageError(f"a message announced {num_files} files and came with {len(files)}")
        return message, files

    def is_closed(self) -> bool:
        """Returns whether the other process has closed its end, which happens when it ends."""
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Closes the socket, and the files that nobody has received."""
        self.connection.close()
        for file in self._files:
            os.close(file)
        self._files = []

    def _receive(self) -> tuple[bytes, list[int]]:
        """Returns the next bytes, and the files that came with them."""
        if not self._takes_files:
            return self.connection.recv(1 << 16), []
        content, files, _, _ = socket.recv_fds(self.connection, 1 << 16, _MAX_FILES)
        return content, files

    def _take(self) -> tuple[int, dict[str, Any]] | None:
        """Returns the number of files and the content of the first complete message; None if there is none yet."""
        if len(self._received) < _LENGTH_BYTES:
            return None
        length = int.from_bytes(self._received[:_LENGTH_BYTES], "big")
        if length > _MAX_MESSAGE_BYTES:
            raise InvalidMessageError(f"a message may have up to {_MAX_MESSAGE_BYTES:,} bytes. Received: {length:,}")
        end = _LENGTH_BYTES + length
        if len(self._received) < end:
            return None
        content, self._received = self._received[_LENGTH_BYTES:end], self._received[end:]
        try:
            num_files, message = json.loads(content)
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidMessageError("a message must be JSON, [number, object]") from error
        if type(num_files) is not int or not 0 <= num_files <= _MAX_FILES or not isinstance(message, dict):
            raise InvalidMessageError("a message must be JSON, [number, object]")
        return num_files, message


def make_memory(num_frames: int) -> tuple[int, np.ndarray, np.ndarray]:
    """Returns a descriptor of memory that can be sent to another process, and the arrays for frames and times in it.

    The arrays are as in `Samples`. On Linux, the memory cannot be made shorter or longer. Otherwise the other process could
    shorten it, which would end this one with SIGBUS.
    """
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("repcount-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        with tempfile.TemporaryFile(prefix="repcount-") as unnamed:
            file = os.dup(unnamed.fileno())
    try:
        os.ftruncate(file, _memory_bytes(num_frames))
        if hasattr(fcntl, "F_ADD_SEALS"):
            with contextlib.suppress(OSError):  # not every system can seal: sandboxes that play Linux, for instance
                fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return file, *map_memory(file, num_frames)
    except BaseException:
        os.close(file)
        raise


def map_memory(file: int, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the arrays for frames and times in memory of `make_memory(num_frames)`; it is freed with the last array."""
    memory = mmap.mmap(file, _memory_bytes(num_frames))
    # Times come first, so that the written part of the file has no gap: unwritten pages at its end take no memory.
    times_sec = np.frombuffer(memory, np.float64, num_frames)
    frames = np.frombuffer(memory, np.uint8, num_frames * _FRAME_BYTES, offset=times_sec.nbytes)
    return frames.reshape(num_frames, FRAME_SIZE, FRAME_SIZE, 3), times_sec


def _memory_bytes(num_frames: int) -> int:
    return num_frames * (_FRAME_BYTES + np.dtype(np.float64).itemsize)
