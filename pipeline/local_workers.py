"""Worker processes of a local run: when one dies, Beam's runner waits for it for ever, and this puts an end to that."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator

_WATCHER = "run_worker"
"""Beam's name for a thread that waits for a worker process, and raises an error if it ends badly."""

_PROGRAM = "apache_beam.runners.worker.sdk_worker_main"
"""What a worker process runs, behind a shell."""


class WorkerLostError(RuntimeError):
    """A worker process died; what it was at is not done."""


@contextlib.contextmanager
def lost_workers_are_errors() -> Iterator[None]:
    """Raises WorkerLostError in the body if a worker process dies, and ends the others.

    Nothing is watched unless the main thread runs the body: only a signal wakes a thread that waits for a lock, and Python
    hands signals to that one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    lost: list[BaseException] = []
    report = threading.excepthook

    def note(error: threading.ExceptHookArgs) -> None:
        if error.thread is None or error.thread.name != _WATCHER or error.exc_value is None:
            report(error)
        elif not lost:
            lost.append(error.exc_value)
            _end_workers()  # the runner waits for them, too, and they for the one that is lost
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


def _end_workers() -> None:
    """Kills the worker processes that this process has started."""
    try:
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:  # a small system may lack it; then whoever started this run ends it
        return
    processes = [line.split(None, 2) for line in listed.splitlines() if _PROGRAM in line]
    family = {str(os.getpid())}
    for _ in range(2):  # a shell, and the worker that it started
        family |= {pid for pid, parent, _ in processes if parent in family}
    for pid in family - {str(os.getpid())}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
