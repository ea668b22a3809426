"""Imports TensorFlow with oneDNN and as Keras' backend, and without its messages about the processor.

None of its settings silences these.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator

from model.errors import UserError

_left_out: set[str] = set()
"""Packages that TensorFlow and Keras are imported without; see `leave_out_unused`."""


def import_tensorflow() -> None:
    """Imports TensorFlow, silently: its native code writes to file descriptor 2 while loading, whatever the log level.

    Set `TF_ENABLE_ONEDNN_OPTS=0` in the environment to do without oneDNN.

    Raises:
      UserError: Keras has another backend, or is told to have one.
    """
    choose_backend()
    if "tensorflow" in sys.modules:
        return
    # By default TensorFlow uses oneDNN on processors with AVX-512 only. With AVX2, too, its convolutions are faster.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    # TensorFlow logs a missing GPU as an error. Real failures also raise an exception.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if os.path.expanduser("~") == "~":  # without a home, Keras would keep its settings in a folder of that name
        os.environ.setdefault("KERAS_HOME", os.devnull)
    with _silent_stderr(), _without(_left_out):
        import tensorflow  # noqa: F401


def runs_tensorflow() -> bool:
    """Returns whether this process has used TensorFlow, whose threads do not live on in a fork. Does not import it.

    A process that has only imported it can be forked: it starts its threads when its context is first needed.
    """
    find_context = getattr(sys.modules.get("tensorflow.python.eager.context"), "context_safe", None)
    context = find_context() if find_context else None
    return context is not None and bool(getattr(context, "_initialized", True))  # no public name says it


def leave_out_unused() -> None:
    """Has TensorFlow and Keras imported without JAX and Matplotlib, which both import if they are there.

    JAX is for converting its models, and Matplotlib for galleries of pictures. Importing them takes a second and 130 MB. For
    programs of our own, which use neither, and import Matplotlib before TensorFlow if they draw with it.
    """
    _left_out.update(("jax", "matplotlib"))


def choose_backend() -> None:
    """Makes TensorFlow the backend of Keras, here and in child processes; raises UserError if KERAS_BACKEND names another."""
    if "keras" in sys.modules:
        import keras  # waits for a thread that still imports it

        backend = keras.backend.backend()
    else:
        backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend != "tensorflow":
        raise UserError(
            f"Keras' backend must be tensorflow: set KERAS_BACKEND=tensorflow before Keras is imported. Received: {backend!r}"
        )
    # TensorFlow imports Keras. Without the variable, the user's keras.json would choose.
    os.environ["KERAS_BACKEND"] = backend


@contextlib.contextmanager
def _without(names: Iterable[str]) -> Iterator[None]:
    """Makes packages that are not imported yet look as if they were not installed."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None stands for a module that is not there
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Discards what native code writes to file descriptor 2, if it is open. Python exceptions still propagate."""
    if sys.stderr is not None:  # a program without a console has none
        with contextlib.suppress(OSError, ValueError):  # it is closed
            sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
