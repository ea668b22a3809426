"""TensorFlow without its notes about the processor, which no setting of its own silences."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


def import_tensorflow() -> None:
    """Imports TensorFlow; its native code writes to file descriptor 2 while it loads, whatever the log level."""
    if "tensorflow" in sys.modules:
        return
    # To it, a machine without a GPU is an error; what really fails raises an exception too.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _silent_stderr():
        import tensorflow  # noqa: F401


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Sends what native code writes to file descriptor 2 nowhere; Python's own exceptions come through."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
