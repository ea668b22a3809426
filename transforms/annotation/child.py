"""The annotator process: `python -m transforms.annotation.child SOCKET BYTES`. It works in the decoder's sandbox.

It gets an open video and what to draw, and no file to write: it sends what it writes over its socket. It understands
`{"options": …}` with the video and a timeline as files. It sends:

- `{"at": …, "content": …}`, bytes as base64 and their position in the output;
- `{"left_out": …}` when the output is complete, with the codec of a sound that was left out, or "".
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
from typing import BinaryIO, cast

import numpy as np

from transforms.annotation.rewrite import annotate
from transforms.annotation.sound import SharedFile
from transforms.annotation.timeline import Timeline
from transforms.decoding.channel import Channel, ChannelClosedError
from transforms.decoding.child import errors_are_sent, limit_processor_time, reporter, serve_in_sandbox
from transforms.decoding.options import DecodingOptions

MAX_CONTENT_BYTES = 1 << 18
"""Most bytes of the output in a message."""


class SentFile(io.RawIOBase):
    """A file for writing that lies in another process."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        self._position = 0
        self._size = 0

    def writable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def write(self, content) -> int:  # type: ignore[no-untyped-def]
        """Sends bytes; returns their number. Raises ChannelClosedError."""
        content = bytes(content)
        for start in range(0, len(content), MAX_CONTENT_BYTES):
            part = content[start : start + MAX_CONTENT_BYTES]
            self._channel.send({"at": self._position, "content": base64.b64encode(part).decode("ascii")})
            self._position += len(part)
        self._size = max(self._size, self._position)
        return len(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves the position; returns it."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        """Returns the position."""
        return self._position


def serve(channel: Channel, layers: list[str]) -> None:
    """Annotates the videos that arrive on the channel until it is closed.

    Args:
      channel: To the parent.
      layers: Names of the sandbox's layers, which the parent is told.
    """
    with contextlib.suppress(ChannelClosedError):
        channel.send({"ready": True, "layers": layers})
        while True:
            request, files = channel.receive()
            options = DecodingOptions(**request["options"])
            limit_processor_time(options)
            with open(files[0], "rb") as file, open(files[1], "rb") as described, errors_are_sent(channel):
                timeline = Timeline.from_bytes(described.read())
                sound_file = cast(BinaryIO, io.BufferedReader(SharedFile(file.fileno())))
                output = cast(BinaryIO, SentFile(channel))
                channel.send({"left_out": annotate(file, sound_file, timeline, options, output, reporter(channel))})


def _annotate_here(file: BinaryIO) -> None:
    times_sec = np.arange(2) / 2
    timeline = Timeline(times_sec, times_sec, times_sec, times_sec[1:], np.array([[0.0, 1.0]]))
    copy = io.BytesIO(file.read())
    annotate(file, copy, timeline, DecodingOptions(), io.BytesIO())


def main() -> None:
    """Serves the socket that the command line names."""
    serve_in_sandbox(_annotate_here, serve)


if __name__ == "__main__":
    main()
