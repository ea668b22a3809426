"""Worker processes of a local run: those that die are noticed, since Beam's runner would wait forever, and Ctrl-C ends all.

The process that runs them gives back the memory of what it has shuffled.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import threading
from collections.abc import Iterator

_WATCHER = "run_worker"
"""Name of the Beam thread that waits for a worker process, and raises an error if the process fails."""

_END_SEC = 5.0
"""Seconds to wait for those threads after the worker processes were killed."""

_PROGRAM = "apache_beam.runners.worker.sdk_worker_main"
"""Module that a worker process runs; its parent process is a shell."""


_THRESHOLDS = (-1, -3)
"""Parameters of glibc's mallopt(), in bytes: unused end of the heap that is kept, and size of blocks that are mapped apart."""

_LARGE_BYTES = 128 << 10
"""glibc's first value for both."""


class WorkerLostError(RuntimeError):
    """A worker process died, and its part of the run is missing."""


@contextlib.contextmanager
def lost_workers_are_errors() -> Iterator[None]:
    """Raises WorkerLostError in the body if a worker process dies, and kills the other workers.

    Worker processes that start in the body ignore SIGINT. A terminal sends it to them as well, and each would print a
    traceback. `end_workers` ends them.

    Does nothing unless the body runs in the main thread: only a signal interrupts a thread that waits for a lock, and Python
    delivers signals to the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _let_workers_ignore_interrupts()
    lost: list[BaseException] = []
    report = threading.excepthook

    def note(error: threading.ExceptHookArgs) -> None:
        if error.thread is None or error.thread.name != _WATCHER or error.exc_value is None:
            report(error)
        elif not lost:
            lost.append(error.exc_value)
            _kill_workers()  # the runner also waits for them, and they wait for the one that died
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    def wake(number: int, frame: object) -> None:
        raise WorkerLostError(f"a worker process died: {lost[0]}")

    before = signal.signal(signal.SIGUSR1, wake)
    threading.excepthook = note
    try:
        yield
    finally:
        threading.excepthook = report
        signal.signal(signal.SIGUSR1, before)


def give_large_blocks_back() -> None:
    """Makes the C library give every freed block of 128 KiB or more back to the system; does nothing without glibc.

    After the first such block, glibc would keep larger and larger ones in its heap. What Beam's runner shuffles then leaves
    holes, and the heap grows from slice to slice. Not for processes that score: they would map memory for each array anew.
    """
    with contextlib.suppress(AttributeError, OSError):
        set_option = ctypes.CDLL(None).mallopt
        for threshold in _THRESHOLDS:
            set_option(threshold, _LARGE_BYTES)


def end_workers() -> None:
    """Kills the worker processes of this process, and waits for Beam's threads to notice."""
    watchers = [thread for thread in threading.enumerate() if thread.name == _WATCHER]
    if watchers:
        _kill_workers()
    for thread in watchers:
        thread.join(_END_SEC)


@functools.cache
def _let_workers_ignore_interrupts() -> None:
    """Replaces how Beam starts worker processes. They inherit from the shell that SIGINT is ignored."""
    from apache_beam.portability import python_urns
    from apache_beam.runners.portability.fn_api_runner.worker_handlers import SubprocessSdkWorkerHandler, WorkerHandler

    @WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)
    def start(command: bytes, *others: object) -> SubprocessSdkWorkerHandler:
        return SubprocessSdkWorkerHandler(b"trap '' INT; exec " + command, *others)


def _kill_workers() -> None:
    """Kills the worker processes that this process started."""
    try:
        command = ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="]  # -ww: $COLUMNS does not cut lines short
        listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:  # a minimal system may lack ps; then the user has to end the run
        return
    processes = [line.split(None, 2) for line in listed.splitlines() if _PROGRAM in line]
    family = {str(os.getpid())}
    for _ in range(2):  # a shell, then the worker that it started
        family |= {pid for pid, parent, _ in processes if parent in family}
    for pid in family - {str(os.getpid())}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
