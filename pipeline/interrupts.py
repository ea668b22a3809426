"""Ctrl-C while Beam runs: Beam turns it into an error of the step that it hits, with a traceback. This keeps it what it is."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def interrupts_stay_interrupts(end_workers: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Raises KeyboardInterrupt at the end of the body, whatever it raises, if SIGINT came; from then on nothing is logged.

    Does nothing unless the main thread runs the body, since Python hands signals to that one.

    Args:
      end_workers: Called when SIGINT comes: ends processes for which the body would wait.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = False

    def interrupt(number: int, frame: object) -> None:
        nonlocal came
        came = True
        logging.disable(logging.CRITICAL)
        threading.excepthook = lambda error: None
        end_workers()
        raise KeyboardInterrupt

    report, before = threading.excepthook, signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception as error:
        if came:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            logging.disable(logging.NOTSET)
        threading.excepthook = report
