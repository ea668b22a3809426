"""Enforces the limits on a decoder process: its time, its memory and its threads."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from transforms.attempts import LONGEST_SEC
from transforms.decoding import validation
from transforms.decoding.channel import Channel
from transforms.decoding.options import DecodingOptions
from transforms.decoding.samples import DecodeError
from transforms.failure_codes import FailureCode

SECONDS_PER_VIDEO_SEC = 20.0
"""Seconds that decoding may take per second of video, in addition to `DecodingOptions.timeout_sec`. 8K may take eight.
All together, they are at most `LONGEST_SEC`, or the timeout if that is more."""

_POLL_SEC = 0.1
"""Seconds between two checks of the child's limits."""

_MOST_TURN_SEC = 1.0
"""Most time between two checks that counts. What is beyond is the time for which this process was stopped, by Ctrl-Z or a pause
of its container or machine, and of no decoder."""

_MOST_THREADS = 200
"""Threads that a child may have, besides those that decode. A user or a container may only have so many in all."""

_STREAMS = 20
"""Streams of a file that may be decoded one after the other, each with threads of its own."""

_REPORTED = ("RssAnon", "RssShmem", "VmPTE", "HugetlbPages", "Threads")
"""What is read of a process's status: memory in KiB, and the number of threads."""


class Watchdog:
    """Waits for messages of a child, and enforces the limits on it.

    Attributes:
      waited_sec: Seconds spent so far.
    """

    def __init__(self, pid: int, options: DecodingOptions, max_memory_bytes: int) -> None:
        self._pid = pid
        self._max_memory_bytes = max_memory_bytes
        self._options = options
        self._presented_sec = 0.0
        self.waited_sec = 0.0

    def wait(self, channel: Channel) -> dict[str, Any]:
        """Returns the child's next message that is not only progress.

        Only time spent in this call counts: a child that has decoded in advance waits until its samples are taken.

        Raises:
          DecodeError: DECODE_TIMEOUT, DECODE_OUT_OF_MEMORY or DECODER_CRASHED.
          ChannelClosedError: The child has ended.
          InvalidMessageError: The child sent something that is no message.
        """
        quiet_sec, checked_sec = 0.0, time.monotonic()
        channel.connection.settimeout(_POLL_SEC)
        while True:
            message = None
            with contextlib.suppress(TimeoutError):
                message, _ = channel.receive()
            turn_sec = min(time.monotonic() - checked_sec, _MOST_TURN_SEC)
            checked_sec = time.monotonic()
            self.waited_sec += turn_sec
            quiet_sec = quiet_sec + turn_sec if message is None else 0.0
            if message and "presented_sec" in message:
                # A video that is decoded again begins anew.
                self._presented_sec = max(self._presented_sec, validation.to_presented_sec(message, self._options))
            self._check(quiet_sec)
            if message and "presented_sec" not in message:
                channel.connection.settimeout(None)
                return message

    def add(self, seconds: float) -> None:
        """Counts time that was spent on the child's behalf outside of `wait`."""
        self.waited_sec += min(seconds, _MOST_TURN_SEC)

    def _check(self, quiet_sec: float) -> None:
        """Raises DecodeError DECODE_TIMEOUT, DECODE_OUT_OF_MEMORY or DECODER_CRASHED if the child has exceeded a limit."""
        options = self._options
        if quiet_sec > options.timeout_sec:
            raise DecodeError(FailureCode.DECODE_TIMEOUT, f"no frame could be decoded for {options.timeout_sec:g} s")
        allowed_sec = options.timeout_sec + SECONDS_PER_VIDEO_SEC * self._presented_sec
        allowed_sec = min(allowed_sec, max(options.timeout_sec, LONGEST_SEC))
        if self.waited_sec > allowed_sec:
            raise DecodeError(
                FailureCode.DECODE_TIMEOUT,
                f"decoding took more than {allowed_sec:.0f} s for {self._presented_sec:.0f} s of video",
            )
        memory_bytes, threads = _resource_use(self._pid)
        if memory_bytes > self._max_memory_bytes:
            raise DecodeError(
                FailureCode.DECODE_OUT_OF_MEMORY,
                f"decoding takes more than {self._max_memory_bytes >> 20:,} MiB of memory",
            )
        most_threads = _MOST_THREADS + _STREAMS * options.decoder_threads
        if threads > most_threads:
            raise DecodeError(FailureCode.DECODER_CRASHED, f"the decoder started more than {most_threads} threads")


def _resource_use(pid: int) -> tuple[int, int]:
    """Returns the bytes of memory that a process takes, its own and shared and page tables but not the code, and its threads.

    Both are 0 where the system does not report them.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0, 0
    values = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in status) if name in _REPORTED}
    threads = values.pop("Threads", 0)
    return sum(values.values()) << 10, threads
