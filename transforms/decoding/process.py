"""Decodes videos in a child process, so that whatever a file does to the decoder fails that video only.

Decoders crash, hang and leak memory on bad files, and strangers upload files. So a child process decodes. It is killed when it
takes too long or too much memory, and the next video gets a new one. The child receives the open file and memory for frames,
and nothing else: no credentials, no name, no URI. A file may even take it over. Then the sandbox holds it (`sandbox`), and
everything that it sends is checked (`validation`).
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import errno
import logging
import math
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NoReturn

import numpy as np

from transforms.decoding import sandbox, validation
from transforms.decoding.channel import Channel, ChannelClosedError, InvalidMessageError, make_memory
from transforms.decoding.gpus import has_nvidia_gpu
from transforms.decoding.memory_limit import default_memory_bytes
from transforms.decoding.options import DecodingOptions
from transforms.decoding.samples import DecodeError, DecoderStartError, Samples
from transforms.decoding.video_facts import NvdecUse, VideoHeader
from transforms.decoding.watchdog import Watchdog
from transforms.failure_codes import FailureCode, signal_name
from transforms.import_path import import_path

_LOGGER = logging.getLogger(__name__)

VIDEOS_PER_PROCESS = 500
"""Videos after which a process is replaced, in case it leaks memory."""

_MAX_GPU_FAILURES = 3
"""Children that may fail while the GPU decodes, before none looks for it again."""

_PROCESS_FAULTS = (FailureCode.DECODER_CRASHED, FailureCode.DECODE_OUT_OF_MEMORY, FailureCode.DECODE_TIMEOUT)
"""Failures of a child rather than of what it decodes."""

_START_SEC = 120.0
"""Seconds that a child may take to start."""

_END_SEC = 5.0
"""Seconds that a child may take to end after it has closed its end of the socket."""

_SPARE_BYTES = 512 << 20
"""Memory that the system grants beyond the limit. This process then sees the limit exceeded before allocations fail, which
FFmpeg reports as damage."""

_KEPT_VARIABLES = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")
"""Environment variables that the child gets; none of them leads to credentials."""


class _KilledError(DecodeError):
    """The system has killed the child."""


class DecoderProcess:
    """A child process that decodes one video at a time, started with the first one. Not safe for use by several threads."""

    _noun, _module = "decoder", "transforms.decoding.child"

    def __init__(self, module: str = "") -> None:
        """Creates a decoder without starting it.

        Args:
          module: Name of the module that the child runs; tests pass one that misbehaves. "" for the class's own.
        """
        self._module = module or self._module
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._max_memory_bytes = 0
        self._nvdec = NvdecUse.UNUSED
        self._gpu_failures = 0
        self._num_videos = 0

    @property
    def pid(self) -> int | None:
        """Process id of the child; None if there is none."""
        return self._process.pid if self._process else None

    def read(self, file: BinaryIO, options: DecodingOptions) -> Iterator[Samples]:
        """Reads a video as `reader.read_video` does; the child decodes the next samples while the caller works on these.

        If a child ends, hangs or takes too much memory while the GPU decodes, the processor decodes the video. If the system
        kills a child, another one reads the video once more: the system frees memory for others by killing decoders first. Each
        time the video is cut into the same chunks, so those that were yielded before are not yielded again.

        Raises:
          DecodeError: As for `read_video`, or DECODER_CRASHED, DECODE_TIMEOUT or DECODE_OUT_OF_MEMORY.
          DecoderStartError: No child starts on this machine.
          OSError: This process has no descriptors or no memory left.
        """
        num_given, is_repeated, nvdec = 0, False, None
        while True:
            try:
                for number, samples in enumerate(self._read(file, options)):
                    if number >= num_given:
                        num_given += 1
                        facts = dataclasses.replace(samples.facts, nvdec=nvdec) if samples.facts and nvdec else samples.facts
                        yield dataclasses.replace(samples, facts=facts)
                return
            except DecoderStartError:
                raise
            except DecodeError as error:
                if self._nvdec is NvdecUse.USED and error.code in _PROCESS_FAULTS:
                    _LOGGER.info("Decoding on the GPU failed, and the processor decodes the video: %s", error.message)
                    self._gpu_failures += 1
                    options, nvdec = dataclasses.replace(options, decoder="cpu"), NvdecUse.FAILED
                elif isinstance(error, _KilledError) and not is_repeated:
                    _LOGGER.info("Another decoder reads the video once more, since %s", error.message)
                    is_repeated = True
                else:
                    raise

    def _read(self, file: BinaryIO, options: DecodingOptions) -> Iterator[Samples]:
        """Reads a video in one child."""
        with self._turn(options) as turn:
            is_new, is_silent = self._num_videos == 1, True
            file.seek(0)
            memory = _LentMemory(turn.channel, options)
            try:
                memory.lend(2, {"options": options_to_send(options)}, file.fileno())
                num_frames, last_sec = 0, -math.inf
                while not turn.is_over:
                    message = turn.receive()
                    is_silent = False
                    samples = validation.to_samples(message, *memory.take_back(), options, last_sec)
                    turn.is_over = samples.facts is not None
                    num_frames, last_sec = num_frames + len(samples.frames), samples.times_sec[-1]
                    if num_frames > options.max_frames:
                        raise InvalidMessageError("more frames than a video may have")
                    yield samples
                    if not turn.is_over:
                        memory.lend(1, {"more": True})
                return
            except ChannelClosedError:
                if is_new or not is_silent:
                    raise
        # The child may have been ending when it received this file. A new one shows whether the file is to blame.
        yield from self._read(file, options)

    def read_header(self, file: BinaryIO, options: DecodingOptions) -> VideoHeader:
        """Reads a file's header as `reader.read_header` does.

        Raises:
          DecodeError: As for `reader.read_header`, or DECODER_CRASHED, DECODE_TIMEOUT or DECODE_OUT_OF_MEMORY.
          DecoderStartError: No child starts on this machine.
          OSError: This process has no descriptors or no memory left.
        """
        with self._turn(options) as turn:
            file.seek(0)
            turn.channel.send({"options": options_to_send(options), "header_only": True}, (file.fileno(),))
            message = turn.receive()
            turn.is_over = True
            return validation.to_header(message)

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

    @contextlib.contextmanager
    def _turn(self, options: DecodingOptions) -> Iterator[_Turn]:
        """Yields what one file needs of a child, which is closed afterwards unless it is ready for the next file.

        Raises:
          DecodeError: The body raised InvalidMessageError or ChannelClosedError.
          DecoderStartError: No child starts on this machine.
        """
        channel = self._start(options)
        turn = _Turn(channel, Watchdog(self.pid or 0, options, self._max_memory_bytes))
        try:
            yield turn
        except InvalidMessageError as error:
            turn.is_over = False
            raise DecodeError(FailureCode.DECODER_CRASHED, f"the {self._noun} answered this file with {error}") from error
        except ChannelClosedError as error:
            raise self._explain_end() from error
        finally:
            # After a video that was not read to its end, the child is still busy with it.
            if not turn.is_over or self._num_videos >= VIDEOS_PER_PROCESS:
                self.close()

    def _start(self, options: DecodingOptions) -> Channel:
        """Returns the channel to the child; starts a child if there is none, or one that has ended or was started otherwise."""
        max_memory_bytes, nvdec = options.max_memory_bytes or default_memory_bytes(), self._use_of_nvdec(options)
        if self._channel is not None and (
            self._channel.is_closed() or self._max_memory_bytes != max_memory_bytes or self._nvdec is not nvdec
        ):
            self.close()
        if self._process is None or self._channel is None:
            self._max_memory_bytes, self._nvdec = max_memory_bytes, nvdec
            try:
                self._channel = self._start_child(options.require_sandbox)
            except DecoderStartError:
                if nvdec is not NvdecUse.USED:
                    raise
                self._gpu_failures = _MAX_GPU_FAILURES
                return self._start(options)
        self._num_videos += 1
        return self._channel

    def _use_of_nvdec(self, options: DecodingOptions) -> NvdecUse:
        """Returns `NvdecUse.USED` if the child is to look for the GPU, else why not."""
        if not options.wants_gpu:
            return NvdecUse.UNUSED
        if not has_nvidia_gpu():
            return NvdecUse.NO_GPU if options.decoder == "nvdec" else NvdecUse.UNUSED
        return NvdecUse.USED if self._gpu_failures < _MAX_GPU_FAILURES else NvdecUse.NOT_STARTED

    def _start_child(self, require_sandbox: bool) -> Channel:
        """Starts a child and returns the channel to it; raises DecoderStartError."""
        if not sys.executable:  # as where a program that is not Python embeds it
            raise DecoderStartError("the decoder needs Python, and sys.executable does not say where it is")
        sandbox.hide_this_process()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        for end in (ours, theirs):
            end.setblocking(True)  # a default timeout, which Beam's file system sets, makes sockets non-blocking
        with theirs:
            os.set_inheritable(theirs.fileno(), True)
            max_memory_bytes = self._max_memory_bytes + _SPARE_BYTES
            self._process = _starter.start(
                lambda: subprocess.Popen(
                    [sys.executable, "-m", self._module, str(theirs.fileno()), str(max_memory_bytes), self._nvdec.value],
                    cwd=os.sep,  # Python would import modules from the current folder, which may be full of uploads
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env=_environment(),
                    start_new_session=True,
                )
            )
        self._channel = Channel(ours, takes_files=False)
        self._await_start(self._channel, require_sandbox)
        return self._channel

    def _await_start(self, channel: Channel, require_sandbox: bool) -> None:
        """Waits until the child is ready, so that its start does not count as a video's time; raises DecoderStartError."""
        channel.connection.settimeout(_START_SEC)
        try:
            message, _ = channel.receive()
        except (ChannelClosedError, TimeoutError) as error:
            self.close()
            raise DecoderStartError from error
        _LOGGER.info("A decoder process runs in a sandbox of these layers: %s", ", ".join(message["layers"]))
        if require_sandbox and "seccomp" not in message["layers"]:
            self.close()
            raise DecoderStartError("a sandbox is required, and this machine cannot filter the decoder's system calls")
        channel.connection.settimeout(None)

    def _explain_end(self) -> DecodeError:
        """Returns why the child has ended or cannot be reached."""
        try:
            status = self._process.wait(_END_SEC) if self._process else 0
        except subprocess.TimeoutExpired:
            return DecodeError(FailureCode.DECODER_CRASHED, f"the {self._noun} closed its connection and did not end")
        if status == -signal.SIGKILL:
            return _KilledError(
                FailureCode.DECODE_OUT_OF_MEMORY, f"the system killed the {self._noun}, most likely for its memory"
            )
        if status == -signal.SIGXCPU:
            return DecodeError(FailureCode.DECODE_TIMEOUT, f"the {self._noun} took more processor time than any video may")
        how = signal_name(-status) if status < 0 else f"exit code {status}"
        return DecodeError(FailureCode.DECODER_CRASHED, f"the {self._noun} crashed on this file ({how})")


@dataclasses.dataclass
class _Turn:
    """The exchange with a child about one file.

    Attributes:
      channel: The channel to the child.
      watchdog: Enforces the limits.
      is_over: Whether the child is done with the file.
    """

    channel: Channel
    watchdog: Watchdog
    is_over: bool = False

    def receive(self) -> dict[str, Any]:
        """Returns the child's next message that is not only progress.

        Raises:
          DecodeError: The child reports that the video cannot be decoded; or as for `Watchdog.wait`.
          ChannelClosedError: The child has ended.
        """
        message = self.watchdog.wait(self.channel)
        if "code" in message:
            self.is_over = True
            raise validation.to_error(message)
        return message


class _LentMemory:
    """Memory for frames and times that the child fills, in the order in which it was lent."""

    def __init__(self, channel: Channel, options: DecodingOptions) -> None:
        self._channel = channel
        self._num_frames = options.chunk_frames
        self._timeout_sec = min(options.timeout_sec, threading.TIMEOUT_MAX)
        self._lent: collections.deque[tuple[np.ndarray, np.ndarray]] = collections.deque()

    def lend(self, num_chunks: int, message: dict[str, Any], *files: int) -> None:
        """Sends a message with files and new memory for chunks; raises ChannelClosedError or OSError."""
        made: list[int] = []
        try:
            for _ in range(num_chunks):
                file, frames, times_sec = make_memory(self._num_frames)
                made.append(file)
                self._lent.append((frames, times_sec))
            self._channel.send(message, (*files, *made), self._timeout_sec)  # a child that was taken over may read nothing
        finally:
            for file in made:
                os.close(file)

    def take_back(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the arrays that were lent first; raises InvalidMessageError if none are lent."""
        if not self._lent:
            raise InvalidMessageError("more frames than there is memory for")
        return self._lent.popleft()


def options_to_send(options: DecodingOptions) -> dict[str, Any]:
    """Returns the options that the child gets: without the project that pays, which is none of its business."""
    return dataclasses.asdict(dataclasses.replace(options, billing_project=None))


class _Starter:
    """A thread that starts all children and lives as long as this process: the system kills a child with its parent's thread.

    It is no thread of an executor, since Python ends those while other threads may still decode.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Makes the next start begin a thread, as a forked process needs."""
        self._lock = threading.Lock()
        self._calls: queue.SimpleQueue[Callable[[], None]] | None = None

    def start(self, program: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Returns what `program` returns, called in the thread. Raises what it raises, or OSError if no thread starts."""
        started: concurrent.futures.Future[subprocess.Popen[bytes]] = concurrent.futures.Future()

        def call() -> None:
            try:
                started.set_result(program())
            except BaseException as error:  # the caller gets it
                started.set_exception(error)

        with self._lock:
            if self._calls is None:
                calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
                try:
                    threading.Thread(target=_serve, args=(calls,), name="decoder-starter", daemon=True).start()
                except RuntimeError as error:
                    raise BlockingIOError(errno.EAGAIN, "no thread can be started") from error
                self._calls = calls
            self._calls.put(call)
        return started.result()


def _serve(calls: queue.SimpleQueue[Callable[[], None]]) -> NoReturn:
    while True:
        calls.get()()


_starter = _Starter()

os.register_at_fork(after_in_child=_starter.forget)


def _environment() -> dict[str, str]:
    """Returns the child's environment, in which it imports the same modules as this process."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": import_path(),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",  # or NumPy starts threads, which the sandbox would not hold
    }
