"""Ctrl-C and other polite ways to end a program: they stay what they are while Beam runs, and all clean up."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator


class StopSignals:
    """SIGTERM and SIGHUP, which services, shutdowns and closed terminals send. Once installed, they do what Ctrl-C does.

    Attributes:
      number: The signal that ended the program; SIGINT if none of these two has come.
    """

    def __init__(self) -> None:
        self.number = signal.SIGINT

    def install(self) -> None:
        """Takes both signals over, unless they are ignored, as under `nohup`. For the main thread."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, frame: object) -> None:
        self.number = signal.Signals(number)
        for again in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal sends SIGHUP twice, which would cut the clean-up off
            signal.signal(again, signal.SIG_IGN)
        if callable(signal.getsignal(signal.SIGINT)):
            signal.raise_signal(signal.SIGINT)
        else:  # a script's background job ignores SIGINT
            raise KeyboardInterrupt


@contextlib.contextmanager
def interrupts_stay_interrupts(end_workers: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Raises KeyboardInterrupt at the end of the body, whatever it raises, if SIGINT came; from then on nothing is logged.

    Beam turns an interrupt into an error of the step that it hits, with a traceback.
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
