"""Worker processes of a local run: when one dies, Beam's runner waits for it for ever, and this puts an end to that."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

_WATCHER = "run_worker"
"""Beam's name for a thread that waits for a worker process, and raises an error if it ends badly."""


class WorkerLostError(RuntimeError):
    """A worker process died; what it was at is not done."""


@contextlib.contextmanager
def lost_workers_are_errors() -> Iterator[None]:
    """Raises WorkerLostError in the body if a worker process dies; for the main thread."""
    lost: list[BaseException] = []
    hook = threading.excepthook

    def note(error: threading.ExceptHookArgs) -> None:
        if error.thread is None or error.thread.name != _WATCHER or error.exc_value is None:
            hook(error)
        elif not lost:
            lost.append(error.exc_value)
            # Nothing else wakes a thread that waits for a lock.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.excepthook = note
    try:
        yield
    except BaseException as error:
        if lost:
            raise WorkerLostError(f"a worker process died: {lost[0]}") from error
        raise
    finally:
        threading.excepthook = hook
