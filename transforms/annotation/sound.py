"""Reads the packets of a video's sound, to copy them as they are. Imports no Beam."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import BinaryIO

from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Disposition

from transforms.decoding.container_reader import open_container, read_packets

MP4_CODECS = ("aac", "ac3", "alac", "eac3", "flac", "mp3", "opus")
"""FFmpeg's names of the codecs of sound that MP4 can hold and players know."""

MAX_GAP_SEC = 10.0
"""Longest time in seconds between the starts of sound and video that is kept; a longer one is a fault of the file."""


class SharedFile(io.RawIOBase):
    """Reads an open file from a position of its own, whatever others do with the same descriptor, which it does not close.

    Needs no right to open files.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._position = 0

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        """Reads into a buffer; returns the number of bytes, 0 at the end of the file."""
        content = os.pread(self._descriptor, len(buffer), self._position)
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves the position; returns it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence)
        self._position = offset + (os.fstat(self._descriptor).st_size if start is None else start)
        return self._position

    def tell(self) -> int:
        """Returns the position."""
        return self._position


class Sound:
    """The sound that players play with a video: the default stream, else the first.

    It is read from a container of its own, as the video goes on, so that no packet waits in memory.

    Attributes:
      stream: The stream; None if there is none that MP4 can hold.
      left_out: FFmpeg's name of the codec of a sound that MP4 cannot hold, else "".
    """

    def __init__(self, file: BinaryIO, opened: contextlib.ExitStack) -> None:
        """Opens the sound of a file until `opened` is closed.

        Args:
          file: The video; nobody else may move its position.
          opened: Closes what is opened.

        Raises:
          DecodeError: As for `open_container`.
        """
        container = open_container(file, opened)
        # FFmpeg finds no sample rate for a sound that the file announces and does not have.
        found = [stream for stream in container.streams.audio if not stream.codec_context or stream.codec_context.sample_rate]
        streams = sorted(found, key=lambda stream: not stream.disposition & Disposition.default)
        codecs = [stream.codec_context.codec.canonical_name if stream.codec_context else "unknown" for stream in streams]
        fits = bool(codecs) and codecs[0] in MP4_CODECS
        self.stream: AudioStream | None = streams[0] if fits else None
        self.left_out = codecs[0] if codecs and not fits else ""
        packets = read_packets(container, [streams[0]]) if fits else iter(())
        self._packets = (packet for packet in packets if packet is not None and packet.size)  # None is damage
        self._waiting: Packet[AudioStream] | None = None
        self._last_ticks: int | None = None

    @property
    def start_sec(self) -> float | None:
        """Time in the container at which the sound starts, in seconds; None if there is no sound or the file does not say."""
        if self.stream is None or self.stream.start_time is None or not self.stream.time_base:
            return None
        return float(self.stream.start_time * self.stream.time_base)

    def until(self, container_sec: float) -> Iterator[Packet[AudioStream]]:
        """Yields the next packets that start before a time in the container, in order; packets without times are left out."""
        while (packet := self._waiting or next(self._packets, None)) is not None:
            self._waiting = None
            ticks = packet.pts if packet.dts is None else packet.dts
            if ticks is None or (self._last_ticks is not None and ticks <= self._last_ticks):
                continue
            if float(ticks * packet.time_base) >= container_sec:
                self._waiting = packet
                return
            self._last_ticks = ticks
            yield packet
