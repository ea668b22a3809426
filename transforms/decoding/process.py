"""Decodes videos in a child process, so that whatever a file does to the decoder fails that video only.

Decoders crash, hang and leak memory on bad files, and strangers upload files. So a child process decodes. It is killed when it
takes too long or too much memory, and the next video gets a new one. The child receives the open file and nothing else: no
credentials, no name, no URI.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from transforms.decoding.channel import Channel, ChannelClosedError, map_memory
from transforms.decoding.options import DecodingOptions
from transforms.decoding.samples import DecodeError, DecoderStartError, Samples
from transforms.decoding.video_facts import VideoFacts
from transforms.failure_codes import FailureCode

SECONDS_PER_VIDEO_SEC = 20.0
"""Seconds that decoding may take per second of video, in addition to `DecodingOptions.timeout_sec`. 8K may take eight."""

VIDEOS_PER_PROCESS = 500
"""Videos after which a process is replaced, in case it leaks memory."""

_START_SEC = 120.0
"""Seconds that a child may take to start."""

_END_SEC = 5.0
"""Seconds that a child may take to end after it has closed its end of the socket."""

_POLL_SEC = 0.1
"""Seconds between two checks of the child's time and memory."""

_KEPT_VARIABLES = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")
"""Environment variables that the child gets; none of them leads to credentials."""


class DecoderProcess:
    """A child process that decodes one video at a time, started with the first one. Not safe for use by several threads."""

    def __init__(self, module: str = "transforms.decoding.child") -> None:
        """Creates a decoder without starting it.

        Args:
          module: Name of the module that the child runs; tests pass one that misbehaves.
        """
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._num_videos = 0

    @property
    def pid(self) -> int | None:
        """Process id of the child; None if there is none."""
        return self._process.pid if self._process else None

    def read(self, file: BinaryIO, options: DecodingOptions) -> Iterator[Samples]:
        """Reads a video as `reader.read_video` does; the child decodes the next samples while the caller works on these.

        Raises:
          DecodeError: As for `read_video`, or DECODER_CRASHED, DECODE_TIMEOUT or DECODE_OUT_OF_MEMORY.
          DecoderStartError: No child starts on this machine.
        """
        channel = self._start()
        is_new, is_silent, is_idle = self._num_videos == 1, True, False
        try:
            file.seek(0)
            channel.send({"options": dataclasses.asdict(options)}, (file.fileno(),))
            watchdog = _Watchdog(self._process.pid if self._process else 0, options)
            while True:
                message, files = watchdog.wait(channel)
                is_silent = False
                if "code" in message:
                    is_idle = True
                    raise DecodeError(FailureCode(str(message["code"])), str(message["message"]))
                samples = _to_samples(message, files, options)
                is_idle = samples.facts is not None
                yield samples
                if is_idle:
                    return
                channel.send({"more": True})
        except ChannelClosedError as error:
            if is_new or not is_silent:
                raise self._explain_end() from error
        finally:
            # After a video that was not read to its end, the child is still busy with it.
            if not is_idle or self._num_videos >= VIDEOS_PER_PROCESS:
                self.close()
        # The child may have been ending when it received this file. A new one shows whether the file is to blame.
        yield from self.read(file, options)

    def close(self) -> None:
        """Kills the child, if there is one."""
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
        self._process = self._channel = None
        self._num_videos = 0

    def _start(self) -> Channel:
        """Returns the channel to the child; starts a child if there is none, or if the last one has ended."""
        if self._channel is not None and self._channel.is_closed():
            self.close()
        if self._process is None or self._channel is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            for end in (ours, theirs):
                end.setblocking(True)  # a default timeout, which Beam's file system sets, makes sockets non-blocking
            with theirs:
                os.set_inheritable(theirs.fileno(), True)
                self._process = subprocess.Popen(
                    [sys.executable, "-m", self._module, str(theirs.fileno())],
                    cwd=os.sep,  # Python would import modules from the current folder, which may be full of uploads
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env=_environment(),
                    start_new_session=True,
                )
            self._channel = Channel(ours)
            self._await_start(self._channel)
        self._num_videos += 1
        return self._channel

    def _await_start(self, channel: Channel) -> None:
        """Waits until the child is ready, so that its start does not count as a video's time."""
        channel.connection.settimeout(_START_SEC)
        try:
            channel.receive()
        except (ChannelClosedError, TimeoutError) as error:
            self.close()
            raise DecoderStartError from error
        channel.connection.settimeout(None)

    def _explain_end(self) -> DecodeError:
        """Returns why the child has ended or cannot be reached."""
        try:
            status = self._process.wait(_END_SEC) if self._process else 0
        except subprocess.TimeoutExpired:
            message = "the decoder's frames do not arrive; most likely this process has too many open files"
            return DecodeError(FailureCode.READ_ERROR, message)
        if status == -signal.SIGKILL:
            return DecodeError(FailureCode.DECODE_OUT_OF_MEMORY, "the system killed the decoder, most likely for its memory")
        if status == -signal.SIGXCPU:
            return DecodeError(FailureCode.DECODE_TIMEOUT, "the decoder took more processor time than any video may")
        how = signal.Signals(-status).name if status < 0 else f"exit code {status}"
        return DecodeError(FailureCode.DECODER_CRASHED, f"the decoder crashed on this file ({how})")


class _Watchdog:
    """Waits for messages of a child, and enforces the limits on its time and memory."""

    def __init__(self, pid: int, options: DecodingOptions) -> None:
        self._pid = pid
        self._options = options
        self._waited_sec = 0.0
        self._presented_sec = 0.0

    def wait(self, channel: Channel) -> tuple[dict[str, object], list[int]]:
        """Returns the child's next message that is not only progress, with its files.

        Only time spent in this call counts: a child that has decoded in advance waits until its samples are taken.

        Raises:
          DecodeError: DECODE_TIMEOUT or DECODE_OUT_OF_MEMORY.
          ChannelClosedError: The child has ended.
        """
        quiet_since_sec = started_sec = time.monotonic()
        channel.connection.settimeout(_POLL_SEC)
        while True:
            try:
                message, files = channel.receive()
            except TimeoutError:
                self._check(time.monotonic() - quiet_since_sec, time.monotonic() - started_sec)
                continue
            if "presented_sec" not in message:
                self._waited_sec += time.monotonic() - started_sec
                channel.connection.settimeout(None)
                return message, files
            quiet_since_sec = time.monotonic()
            self._presented_sec = float(message["presented_sec"])
            self._check(0.0, time.monotonic() - started_sec)

    def _check(self, quiet_sec: float, waiting_sec: float) -> None:
        """Raises DecodeError DECODE_TIMEOUT or DECODE_OUT_OF_MEMORY if the child has exceeded a limit."""
        options = self._options
        if quiet_sec > options.timeout_sec:
            raise DecodeError(FailureCode.DECODE_TIMEOUT, f"no frame could be decoded for {options.timeout_sec:g} s")
        allowed_sec = options.timeout_sec + SECONDS_PER_VIDEO_SEC * self._presented_sec
        if self._waited_sec + waiting_sec > allowed_sec:
            raise DecodeError(
                FailureCode.DECODE_TIMEOUT,
                f"decoding took more than {allowed_sec:.0f} s for {self._presented_sec:.0f} s of video",
            )
        if _memory_bytes(self._pid) > options.max_memory_bytes:
            raise DecodeError(
                FailureCode.DECODE_OUT_OF_MEMORY,
                f"decoding takes more than {options.max_memory_bytes >> 20:,} MiB of memory",
            )


def _to_samples(message: dict[str, object], files: list[int], options: DecodingOptions) -> Samples:
    """Returns samples in the memory that the child shares, without copying them."""
    try:
        frames, times_sec = map_memory(files[0], options.chunk_frames)
    finally:
        for file in files:
            os.close(file)
    num_frames, facts = int(str(message["num_frames"])), message["facts"]
    return Samples(frames[:num_frames], times_sec[:num_frames], VideoFacts(**facts) if isinstance(facts, dict) else None)


def _memory_bytes(pid: int) -> int:
    """Returns a process's private memory in bytes; 0 where the system does not report it."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    return 0


def _environment() -> dict[str, str]:
    """Returns the child's environment, in which it imports the same modules as this process."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}
