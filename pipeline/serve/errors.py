"""The errors that answer a request: an HTTP status, a code and one line."""

from __future__ import annotations

from transforms.machine_faults import MachineFaultError


class RequestError(Exception):
    """A request that is answered with an error.

    Attributes:
      status: HTTP status.
      code: What is wrong, as a code in capitals, such as "NOT_FOUND".
      message: What is wrong and what would be right, as one line without secrets.
      retry_after_sec: Whole seconds after which the client may try again; None if that is no use.
    """

    def __init__(self, status: int, code: str, message: str, retry_after_sec: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_sec = retry_after_sec


def of_the_server(error: BaseException | None) -> RequestError:
    """Returns the answer to a request that has met an error which is not its own; the log says more."""
    if isinstance(error, MachineFaultError):
        return RequestError(500, "MACHINE_FAULT", "the machine or a store has failed, not the video; the log says more")
    return RequestError(500, "INTERNAL", "the server has met an error; its log says more")


class InvalidRequestError(RequestError):
    """The request lacks something, or has a value that no request may have."""

    def __init__(self, message: str) -> None:
        super().__init__(400, "INVALID_REQUEST", message)


class ForbiddenPlaceError(RequestError):
    """The video is at a place that may not be read."""

    def __init__(self, message: str) -> None:
        super().__init__(403, "FORBIDDEN", message)


class NotFoundError(RequestError):
    """There is no such video."""

    def __init__(self, message: str) -> None:
        super().__init__(404, "NOT_FOUND", message)


class ServiceBusyError(RequestError):
    """As many videos wait as may wait, or uploads take as much disk as they may."""

    def __init__(self, retry_after_sec: int, reason: str = "the queue is full") -> None:
        super().__init__(429, "BUSY", f"{reason}; try again in {retry_after_sec} s", retry_after_sec)


class NotReadyError(RequestError):
    """The model is not loaded yet."""

    def __init__(self) -> None:
        super().__init__(503, "NOT_READY", "the model is not loaded yet; try again in a few seconds", 5)


class DrainingError(RequestError):
    """The server is about to end and takes nothing new."""

    def __init__(self) -> None:
        super().__init__(503, "DRAINING", "this server is about to end; try again, which reaches another one", 1)


class DeadlineError(RequestError):
    """The answer took longer than a request may."""

    def __init__(self, deadline_sec: float) -> None:
        super().__init__(504, "DEADLINE", f"the video was not counted within {deadline_sec:g} s")
