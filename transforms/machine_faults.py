"""Tells faults of a machine or a service from faults of a video. Imports neither Beam nor TensorFlow.

A video's fault becomes its `Failure`, and later runs skip the video. A machine's fault says nothing about the video at hand,
and the machine's next hundred videos would fail, too. So it is raised. Dataflow then tries the bundle again, possibly on
another worker. A local run ends and records no failure.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from transforms.failure_codes import describe_error

_ERRNOS = frozenset(
    getattr(errno, name)
    for name in (
        "EAGAIN",  # no more processes
        "EDQUOT",
        "EFBIG",  # a limit of the process or the file system on the size of files
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "EIO",
        "EMFILE",
        "ENETDOWN",
        "ENETUNREACH",
        "ENFILE",
        "ENODEV",
        "ENOMEM",
        "ENOSPC",
        "ENOTCONN",  # the process behind a mounted folder has died
        "EREMOTEIO",
        "EROFS",
        "ESTALE",
    )
    if hasattr(errno, name)  # not every system has all
)
"""Errors of the system that no video causes: nothing left of a resource, a broken disk, a mounted folder that is lost."""

_TYPES = {
    "builtins": ("ConnectionError", "TimeoutError"),
    "socket": ("gaierror",),
    # Not InvalidArgumentError, OutOfRangeError or UnimplementedError, which depend on the chunk.
    "tensorflow": (
        "AbortedError",
        "CancelledError",
        "DeadlineExceededError",
        "FailedPreconditionError",  # cuDNN cannot be initialised
        "InternalError",
        "NotFoundError",  # no algorithm of cuDNN works
        "ResourceExhaustedError",
        "UnavailableError",
        "UnknownError",
    ),
    # Not ClientError: a 404 concerns one object, and a 403 may; see `transforms.store_faults`. The clients raise these when
    # their own retries are used up.
    "google": ("GoogleAuthError", "RetryError", "ServerError", "TooManyRequests", "Unauthorized"),
    "requests": ("ConnectionError", "Timeout", "ChunkedEncodingError"),
    "urllib3": ("HTTPError",),
    "botocore": ("HTTPClientError",),
}
"""Types of errors that no video causes, by top-level package; subclasses are included. By name, so that nothing is imported."""


class MachineFaultError(RuntimeError):
    """The machine or a service that it needs has failed, so nothing is known about the video at hand."""


def is_machine_fault(error: BaseException) -> bool:
    """Returns whether an error, or one that caused it, is a fault of the machine or of a service."""
    return any(map(_is_fault, causes(error)))


def is_service_fault(error: BaseException) -> bool:
    """Returns whether an error is a fault of a service, such as a store, and none of this machine, such as a full disk."""
    return is_machine_fault(error) and not any(map(_is_local_fault, causes(error)))


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and those that caused it, each once."""
    seen: list[BaseException] = []
    to_check: list[BaseException | None] = [error]
    while to_check:
        cause = to_check.pop()
        if cause is None or cause in seen:
            continue
        yield cause
        seen.append(cause)
        to_check.append(cause.__cause__)
        details = getattr(cause, "exception_details", None)  # Beam's file systems put the errors of objects here
        if isinstance(details, dict):
            to_check += [detail for detail in details.values() if isinstance(detail, BaseException)]


def machine_fault(action: str, error: BaseException) -> MachineFaultError:
    """Returns the error to raise in place of `error`.

    Args:
      action: What was being done, such as "scoring 'a.mp4'".
      error: Error for which `is_machine_fault` returns True.
    """
    return MachineFaultError(f"{action} met a fault of the machine, not of the video: {describe_error(error)}")


@contextlib.contextmanager
def machine_faults(action: str) -> Iterator[None]:
    """Raises MachineFaultError for any error in the body, which does something that concerns no single video.

    So the run ends with one line about it: refused rights, for instance, are no fault of a video here, whatever their type.

    Args:
      action: What the body does, to follow "cannot", such as "list 'videos/**'".
    """
    try:
        yield
    except MachineFaultError:
        raise
    except Exception as error:
        raise MachineFaultError(f"cannot {action}: {describe_error(error)}") from error


def _is_local_fault(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _ERRNOS)


def _is_fault(error: BaseException) -> bool:
    if isinstance(error, MachineFaultError) or _is_local_fault(error):
        return True
    return any(base.__name__ in _TYPES.get(base.__module__.partition(".")[0], ()) for base in type(error).__mro__)
